"""Free bits: the first nats of every latent dimension cost nothing."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.contracts import Draws, Model, PerRun, Step, option
from bench.method import Method
from bench.parts.objectives import free_bits, reconstruction
from bench.registry import register_method


@register_method("free_bits")
@dataclass(frozen=True)
class FreeBits(Method):
    """A latent dimension pays no KL until it carries `floor` nats.

        L = E_q(z|x)[-ln p(x|z)] + sum_j max(floor, E_x KL(q(z_j|x) || N(0, 1)))

    Shapes: x (R, B, T, C), j = 1..D; terms (R).
    Source: Kingma et al. 2016, arXiv:1606.04934, app. C.8, eq. 15.
    Ours: every dimension is a group of its own; .25 is one of the floors that the source tries.
    """

    floor: PerRun = option(0.25, at_least=0)  # nats per latent dimension

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """Reconstruction and the KL above its floor, in nats per series."""
        q, _, p = self.explain(model, x, draws)
        return {"reconstruction": reconstruction(p, x), "kl": free_bits(q, self.floor)}
