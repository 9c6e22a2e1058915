"""Lagging inference: the encoder catches up before every update of the decoder."""

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
    Source: He et al. 2019, arXiv:1901.05534, eq. 4 and algorithm 1 (whose line 12 updates theta; phi is a misprint).
    The extra updates end for good when the mutual information of x and z over validation series stops rising
    (sec. 4.2). Their code makes at most 99 inner steps and leaves the inner loop when the mean loss of 10 of them
    (images; 15 for text) is above that of as many before. It looks at the mutual information once per epoch; for text
    the first fall ends the extra updates, for images the fifth value below the best one.
    Ours: at most 100 inner steps, in blocks of 10. The mutual information is computed at every check of training, and
    the extra updates end the first time that it has not risen. There are 20 checks; with `train.patience` at least 5 in
    a patience, so that a long training has more and the extra updates may end earlier. The inner steps have an Adam
    state of their own. At the same number of decoder updates this method takes many times as long as the others.
    """

    version = 2  # after an inner loop, version 1 updated the encoder along with the decoder
    encoder_updates: int = option(100, at_least=1, at_most=100)  # type: ignore[misc]  # at most, before every update

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """The negative ELBO, in nats per series."""
        q, _, p = self.explain(model, x, draws)
        return negative_elbo(q, p, x)
