"""A decoder without a latent: the control in which every measure of collapse must find collapse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from bench.contracts import Draws, Model, Step
from bench.method import Method
from bench.parts.objectives import negative_elbo
from bench.registry import register_method


@register_method("no_latent")
@dataclass(frozen=True)
class NoLatent(Method):
    """The decoder never sees z, so the posterior has no reason to leave the prior: collapse by construction.

        L = -ln prod_t p(x_t | x_1, .., x_{t-1}) + KL(q(z|x) || N(0, I))

    m_{t,0} = 0 for t >= 2 (h_1 is a constant: undefined there), and the NLL is the same under any z.
    Shapes: x (R, B, T, C); terms (R).
    Source: what latent diffusion is after collapse, Li et al. 2024, arXiv:2405.14021, sec. 3.1, proposition 3.1. The
    section is not checked against the text.
    Ours: the control itself. The option `latent_route: none` makes any other method the same control.
    """

    latent_route: Literal["none"] = "none"

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """The negative ELBO of a model that ignores z, in nats per series."""
        q, _, p = self.explain(model, x, draws)
        return negative_elbo(q, p, x)
