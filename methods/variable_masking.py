"""Variable masking: the decoder cannot rely on a past that is partly hidden."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.contracts import Draws, Model, PerRun, Step, option
from bench.method import Method
from bench.parts.objectives import negative_elbo
from bench.registry import register_method


@register_method("variable_masking")
@dataclass(frozen=True)
class VariableMasking(Method):
    """Whole steps of the decoder's past are hidden at random in training.

        L = E_q(z|x)[-ln p(x | z, m * past)] + KL(q(z|x) || N(0, I)),   m_t ~ Bernoulli(1 - masking_rate)

    Shapes: x (R, B, T, C), m (R, B, T-1, 1); terms (R).
    Source: Bowman et al. 2016, arXiv:1511.06349, sec. 3.1 (word dropout).
    Ours: a preset of `latent_diffusion`; the decoder is told which steps are hidden, as the source's token for an
    unknown word does; the rate .3 is our choice.
    """

    masking_rate: PerRun = option(0.3, above=0, at_most=1)  # share of past steps hidden in training

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """The negative ELBO with a masked past, in nats per series."""
        q, _, p = self.explain(model, x, draws)
        return negative_elbo(q, p, x)
