"""Lagging inference: the encoder may catch up before the decoder moves."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.contracts import Draws, Model, Step, option
from bench.method import Method
from bench.parts.objectives import negative_elbo
from bench.registry import register_method


@register_method("lagging_inference")
@dataclass(frozen=True)
class LaggingInference(Method):
    """Early in training the encoder alone is updated many times before every update of the decoder.

        phi* = argmin_phi L(theta, phi) by at most `encoder_updates` steps,  then  theta <- one step on
        L = E_q(z|x)[-ln p(x|z)] + KL(q(z|x) || N(0, I));  afterwards, both move on L together

    Shapes: x (R, B, T, C); terms (R).
    Source: He et al. 2019, arXiv:1901.05534, algorithm 1: all of it ends when the mutual information of x and z over
    validation series stops to rise (sec. 4.2). Their code makes at most 100 inner steps, and leaves when the loss of 10
    of them is not below that of the 10 before.
    Ours: the mutual information is looked at 20 times in training, and the first time it has not risen is the last;
    the inner steps have an Adam state of their own. Costs many times the others' seconds at the same number of decoder
    updates.
    """

    version = 2  # 1 moved the encoder along with the decoder after an inner loop
    encoder_updates: int = option(100, at_least=1, at_most=100)  # type: ignore[misc]  # at most, before every update

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """The negative ELBO, in nats per series."""
        q, _, p = self.explain(model, x, draws)
        return negative_elbo(q, p, x)
