"""Diffusion of the spectrum of a series in place of its values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.contracts import Draws, Model, Posterior, Sizes
from bench.method import DataSpaceMethod
from bench.models.series_transformer import TokenTransformer
from bench.parts.bases import spectrum_basis
from bench.parts.posteriors import DeterministicPosterior
from bench.registry import register_method


@register_method("frequency_diffusion")
@dataclass(frozen=True)
class FrequencyDiffusion(DataSpaceMethod):
    """The same diffusion, on the Fourier coefficients of the series: a Transformer over frequencies.

        L = E_{i ~ U{1..L}} || eps - eps_theta(y^i, i) ||^2
        y = U x,   y^i ~ N(sqrt(alpha_bar_i) y, (1 - alpha_bar_i) I)

    U is the real discrete Fourier transform over time, with orthonormal rows. Noise that is white in time is white in
    y, and in the complex spectrum it is the source's mirrored Brownian motion. Every coefficient of y is standardised.
    Shapes: x (R, B, T, C), y the same, noised as (R, B, T * C); the term (R).
    Source: Crabbe et al. 2024, arXiv:2402.05933: the dual diffusion in the frequency domain and its score matching.
    Ours: noise is predicted in discrete steps, with the schedule and the sampler of the harness. A token is a real
    coefficient of C channels; 6 blocks of width `diffusion.hidden` / 2, 0.31 million weights at the default 128.
    Trained for the updates of both stages. Measures of a latent are undefined here.
    """

    reference = True
    standardises_latents = True  # low frequencies carry most of the variance

    def networks(self, standard: dict[str, nn.Module], sizes: Sizes) -> dict[str, nn.Module]:
        """The Transformer, and nothing else."""
        shape = (sizes.runs, sizes.window, sizes.channels)
        return {"denoiser": TokenTransformer(*shape, sizes.denoiser_hidden, sizes.diffusion_steps)}

    def codes(self, model: Model, x: Tensor) -> Posterior:
        """y, flattened: x (R, B, T, C)."""
        return DeterministicPosterior((spectrum_basis(x.shape[-2]).to(x) @ x).flatten(-2))

    @torch.no_grad()
    def sample(self, model: Model, n: int, draws: Draws) -> Tensor:
        """n new series, (R, n, T, C)."""
        y = super().sample(model, n, draws)
        return spectrum_basis(y.shape[-2]).to(y).mT @ y
