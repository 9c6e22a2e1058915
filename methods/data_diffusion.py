"""Diffusion in data space: what a latent has to beat."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from bench.contracts import Sizes
from bench.method import DataSpaceMethod
from bench.models.denoiser import SeriesDenoiser
from bench.registry import register_method


@register_method("data_diffusion")
@dataclass(frozen=True)
class DataDiffusion(DataSpaceMethod):
    """The same diffusion, on the flattened series itself: no encoder, no decoder, no latent.

        L = E_{i ~ U{1..L}} || eps - eps_theta(x^i, i) ||^2,   x^i ~ N(sqrt(alpha_bar_i) x, (1 - alpha_bar_i) I)

    Shapes: x (R, B, T, C), noised as (R, B, T * C); the term (R).
    Source: Ho et al. 2020, arXiv:2006.11239, eq. 14 and algorithm 2.
    Ours: a convolutional denoiser, trained for the updates of both stages together. It has 55,456 weights at
    T = 24, 6 channels and the defaults, where the denoiser of a latent has 78,736. Measures of a latent are undefined
    here.
    """

    reference = True
    without_effect = (*DataSpaceMethod.without_effect, "diffusion.dropout")  # its denoiser drops nothing
    version = 3  # 1: no linear guess in its denoiser, samples could explode; 2: no direction beyond its width denoised

    def networks(self, standard: dict[str, nn.Module], sizes: Sizes) -> dict[str, nn.Module]:
        """A denoiser of series, and nothing else."""
        shape = (sizes.runs, sizes.window, sizes.channels)
        return {"denoiser": SeriesDenoiser(*shape, sizes.denoiser_hidden, sizes.diffusion_steps)}
