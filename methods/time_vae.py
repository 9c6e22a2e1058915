"""TimeVAE: a variational autoencoder of whole series, sampled from its prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from torch import nn

from bench.contracts import Sizes
from bench.models.denoiser import StandardNormalDenoiser
from bench.models.head import Head
from bench.models.time_vae import ConvolutionalEncoder, DecomposedDecoder
from bench.one_pass_vae import OnePassVAE
from bench.registry import register_method


@register_method("time_vae")
@dataclass(frozen=True)
class TimeVae(OnePassVAE):
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
    without_effect = (*OnePassVAE.without_effect, "model.layers", "model.marks")  # its networks are its own
    latent_route: Literal["every_step"] = "every_step"

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
