"""Vanilla latent diffusion: the model whose latent collapses."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.contracts import Draws, Model, Step
from bench.method import Method
from bench.parts.objectives import negative_elbo
from bench.registry import register_method


@register_method("latent_diffusion")
@dataclass(frozen=True)
class LatentDiffusion(Method):
    """A VAE whose latents a diffusion model learns to draw.

        L = E_q(z|x)[-ln p(x|z)] + KL(q(z|x) || N(0, I)),  then L_DM on z ~ q(z|x)

    Shapes: x (R, B, T, C); terms (R).
    Source: Rombach et al. 2022, arXiv:2112.10752, app. G, with a KL weight of about 1e-6; for time series, with the
    full KL, Li et al. 2024, arXiv:2405.14021, sec. 2. The section of Li et al. is not checked against the text.
    Ours: the full KL; the diffusion is fitted to samples of q on the frozen encoder, standardised per dimension
    (Rombach et al. divide all dimensions by one standard deviation).
    """

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """The negative ELBO, in nats per series."""
        q, _, p = self.explain(model, x, draws)
        return negative_elbo(q, p, x)
