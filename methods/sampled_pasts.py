"""Sampled pasts: in training the decoder sees in part what it has itself predicted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import Draws, Model, PerRun, Step, option
from bench.method import Method
from bench.parts.decoder_inputs import sampled_past
from bench.parts.objectives import linear_warm_up, negative_elbo
from bench.registry import register_method


@register_method("sampled_pasts")
@dataclass(frozen=True)
class SampledPasts(Method):
    """In training a growing share of the decoder's past are values that it has itself predicted (scheduled sampling).

        L = E_q(z|x)[-ln p(x | z, x~)] + KL(q(z|x) || N(0, I))
        x~_t = x_t with probability 1 - s_k, else x^_t ~ p(x_t | z, x_1 .. x_{t-1}),   s_k = s min(1, k / (w K))

    k is the update, of K; s `sampling_rate`, w `warm_up`. The target stays x. A past that may be wrong is worth less to
    the decoder, as a hidden one is in `variable_masking`, which leaves more for z to say. The objective is not proper:
    the true law of the data does not minimise it, because x_t does not follow from a past that was drawn anew, and it
    pushes a model to ignore what the past says (Huszar 2015, arXiv:1511.05101, sec. 4.1).
    Shapes: x (R, B, T, C), x~ (R, B, T-1, C); terms (R).
    Source: Bengio et al. 2015, arXiv:1506.03099, sec. 2.4, with one minus their epsilon for s_k, one of whose schedules
    is linear. The section is not checked against the text.
    Ours: all x^_t are drawn in one further pass given the true past, as in Duckworth et al. 2019, arXiv:1906.04331, so
    two neighbours that are both replaced were not drawn together; a draw, and never the most likely value; whole time
    steps; no gradient through a draw; s is .5, so that half of the past stays true. A hidden step stays hidden.
    """

    sampling_rate: PerRun = option(0.5, at_least=0, at_most=1)  # share of the past's steps that are predicted, at last
    warm_up: PerRun = option(0.5, above=0, at_most=1)  # share of training over which it rises

    @property
    def schedule_share(self) -> PerRun:
        """The rise ends there."""
        return self.warm_up

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """The negative ELBO with a past that is in part predicted, in nats per series."""
        q = self.posterior(model, x)
        z = q.rsample(draws)
        past = self.decoder_input(x, draws)
        with torch.no_grad():
            predicted = model.decoder(z, past).sample(draws)
        rate = (self.sampling_rate * linear_warm_up(step, self.warm_up)).to(x.device)
        p = model.decoder(z, sampled_past(past, predicted, rate, draws))
        return negative_elbo(q, p, x)
