"""What generators share that are a VAE with a decoder of z alone: no past, and nothing to denoise."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench.contracts import DiffusionConfig, Draws, InputError, Model, ModelConfig, Step
from bench.method import Method
from bench.parts.objectives import negative_elbo


@dataclass(frozen=True)
class OnePassVAE(Method):
    """L = E_q(z|x)[-ln p(x | z)] + KL(q(z|x) || N(0, I)); sampling: z ~ N(0, I), x ~ p(x | z)."""

    standardises_latents = False  # the prior is N(0, I) in the latent's own space
    without_effect = (  # there is nothing to denoise, and the updates go to the autoencoder
        *(f"diffusion.{item.name}" for item in dataclasses.fields(DiffusionConfig) if item.name not in ("steps", "L")),
    )
    masking_rate: Literal[0] = 0  # there is no past to mask

    def check(self, model: ModelConfig, diffusion: DiffusionConfig) -> None:
        """Raises InputError for a latent of several steps, which such a decoder has no place for."""
        if model.latent_steps > 1:
            raise InputError(f"model.latent_steps = {model.latent_steps}: {self.name} decodes one z: expected 1")

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """The negative ELBO, in nats per series."""
        q, _, p = self.explain(model, x, draws)
        return negative_elbo(q, p, x)

    @torch.no_grad()
    def latents(self, model: Model, n: int, draws: Draws) -> Tensor:
        """z ~ N(0, I), (R, n, D)."""
        return draws.normal(n, model.latent)
