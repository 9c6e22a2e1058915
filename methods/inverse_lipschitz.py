"""Inverse Lipschitz: latents that differ remain different inside the decoder."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from bench.contracts import Draws, Model, PerRun, Sizes, Step, option
from bench.method import Method
from bench.models.brenier import BrenierMap
from bench.models.wrapped import MappedDecoder
from bench.parts.objectives import negative_elbo
from bench.registry import register_method


@register_method("inverse_lipschitz")
@dataclass(frozen=True)
class InverseLipschitz(Method):
    """The decoder gets f(z), a Brenier map of z that cannot shrink distances below a constant l.

        L = E_q(z|x)[-ln p(x | f(z))] + KL(q(z|x) || N(0, I)),   f = grad [ l |z|^2 / 2 + psi(z) ],  psi convex
        |f(z) - f(z')| >= l |z - z'|

    Shapes: x (R, B, T, C), z and f(z) (R, B, D); terms (R).
    Source: Kinoshita et al. 2023, arXiv:2304.12770, sec. 4 (Brenier maps by input-convex networks, after Wang et al.
    2021, arXiv:2301.00537). The section is not checked against the text.
    Ours: there is one map between z and the autoregressive decoder, so the bound holds for the map and not for the
    whole decoder; psi has two layers as wide as the backbone; l = 1 (the source tunes it).
    """

    lipschitz: PerRun = option(1.0, at_least=0)  # l

    def networks(self, standard: dict[str, nn.Module], sizes: Sizes) -> dict[str, nn.Module]:
        """The standard networks, with the map before the decoder."""
        latent_map = BrenierMap(sizes.runs, sizes.latent, sizes.hidden, self.lipschitz)
        return {**standard, "decoder": MappedDecoder(standard["decoder"], latent_map)}

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """The negative ELBO, in nats per series."""
        q, _, p = self.explain(model, x, draws)
        return negative_elbo(q, p, x)
