"""TimeVAE: a variational autoencoder of whole series, sampled from its prior."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from bench.contracts import DiffusionConfig, Draws, InputError, Model, ModelConfig, Sizes, Step
from bench.method import Method
from bench.models.denoiser import StandardNormalDenoiser
from bench.models.head import Head
from bench.models.time_vae import ConvolutionalEncoder, DecomposedDecoder
from bench.parts.objectives import negative_elbo
from bench.registry import register_method


@register_method("time_vae")
@dataclass(frozen=True)
class TimeVae(Method):
    """A VAE whose decoder adds a trend, a seasonality and a residual, sampled from its prior: no diffusion.

        L = E_q(z|x)[-ln p(x | h(z))] + KL(q(z|x) || N(0, I)),   h(z) = trend(z) + seasonality(z) + residual(z)
        sampling: z ~ N(0, I), x ~ p(x | h(z))

    Shapes: x (R, B, T, C), z (R, B, D), h (R, B, T, H); terms (R).
    Source: Desai et al. 2021, arXiv:2111.08095, its interpretable decoder (trend, seasonality and residual blocks).
    Ours: the reconstruction has weight 1 and the run's likelihood, whose scale is fitted; the source weighs a squared
    error, and decodes the mean (`model.likelihood: mse`). h has the width `model.hidden`, and the head that every
    decoder has reads x from it: of Gaussians linearly, so their mean is a polynomial, waves and a residual as well. The
    seasonality is 8 harmonics of the window and not a table per season, because windows begin anywhere. 3 convolutions
    of one width on either side; 0.20 million weights at T = 24, 6 channels and the defaults. Trained for the updates of
    both stages.
    """

    reference = True
    standardises_latents = False  # the prior is N(0, I) in the latent's own space
    without_effect = (  # there is nothing to denoise, the updates go to the autoencoder, and its networks are its own
        *(f"diffusion.{item.name}" for item in dataclasses.fields(DiffusionConfig) if item.name not in ("steps", "L")),
        *("model.layers", "model.marks"),
    )
    latent_route: Literal["every_step"] = "every_step"
    masking_rate: Literal[0] = 0  # there is no past to mask

    def check(self, model: ModelConfig, diffusion: DiffusionConfig) -> None:
        """Raises InputError for a latent of several steps, which this decoder has no place for."""
        if model.latent_steps > 1:
            raise InputError(f"model.latent_steps = {model.latent_steps}: {self.name} decodes one z: expected 1")

    def networks(self, standard: dict[str, nn.Module], sizes: Sizes) -> dict[str, nn.Module]:
        """Convolutions for the backbone's networks, its head, and nothing to denoise."""
        head = cast(Head, standard["decoder"].get_submodule("head"))
        shape = sizes.runs, sizes.window, sizes.channels
        decoder = DecomposedDecoder(sizes.runs, sizes.latent, sizes.hidden, sizes.window, head)
        return {
            "encoder": ConvolutionalEncoder(*shape, sizes.hidden, self.encoder_width(sizes.latent)),
            "decoder": decoder,
            "denoiser": StandardNormalDenoiser(sizes.latent, sizes.diffusion_steps),
        }

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """The negative ELBO, in nats per series."""
        q, _, p = self.explain(model, x, draws)
        return negative_elbo(q, p, x)

    @torch.no_grad()
    def latents(self, model: Model, n: int, draws: Draws) -> Tensor:
        """z ~ N(0, I), (R, n, D)."""
        return draws.normal(n, model.latent)
