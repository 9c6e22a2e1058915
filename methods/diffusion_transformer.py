"""A strong diffusion in data space: a Transformer that predicts the series itself."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from bench.contracts import Draws, Model, PerRun, Posterior, Sizes, option
from bench.method import DataSpaceMethod
from bench.models.series_transformer import SeriesTransformer
from bench.parts.bases import spectral_distance
from bench.parts.diffusion import diffuse, x0_weights
from bench.parts.objectives import beside
from bench.registry import register_method


@register_method("diffusion_transformer")
@dataclass(frozen=True)
class DiffusionTransformer(DataSpaceMethod):
    """Diffusion of the series by a Transformer that predicts it as trend, seasonality and residual.

        x_hat(x^i, i) = sum_d (V_d + S_d) + R
        L = E_{i ~ U{1..L}} w_i [ ||x - x_hat||^2 + fourier |F x - F x_hat|_1 ]
        x^i ~ N(sqrt(alpha_bar_i) x, (1 - alpha_bar_i) I)

    V_d is a polynomial of degree 3, S_d a sum of waves at the strongest frequencies, F the Fourier transform over time.
    Shapes: x (R, B, T, C), noised as (R, B, T * C); the term (R).
    Source: Yuan and Qiao 2024 (Diffusion-TS), arXiv:2403.01742, eq. 2 (V), 3 to 5 (S), 6 (x_hat), 7 and 8 (L).
    Ours: 6 blocks of one kind, in place of an encoder and a decoder that attends to it; width `diffusion.hidden` / 2,
    0.31 million weights at the default 128. Spectra are compared in absolute value, as the published code does: squared
    as in eq. 8 their distance is a multiple of the first term, by Parseval. w_i is that of `diffusion.weighting`, 1 by
    default. Schedule and sampler are the harness's, linear and not cosine, and nothing is clipped. The source averages
    the weights: `diffusion.ema` 0.995. Trained for the updates of both stages. Measures of a latent are undefined here.
    """

    reference = True
    fourier: PerRun = option(0.2, at_least=0)  # the weight of the Fourier term

    def networks(self, standard: dict[str, nn.Module], sizes: Sizes) -> dict[str, nn.Module]:
        """The Transformer, and nothing else."""
        shape = (sizes.runs, sizes.window, sizes.channels)
        return {"denoiser": SeriesTransformer(*shape, sizes.denoiser_hidden, sizes.diffusion_steps)}

    def denoising(self, model: Model, posterior: Posterior, draws: Draws) -> Tensor:
        """L on flattened series, summed over T * C, (R)."""
        denoiser, x = model.get_submodule("denoiser"), posterior.rsample(draws)
        i = draws.steps(1, len(model.alpha_bar) - 1, x.shape[1])
        found = denoiser.estimate(diffuse(x, i, model.alpha_bar, draws.normal(*x.shape[1:])), i)
        spectral = spectral_distance(*(of.unflatten(-1, (denoiser.window, denoiser.channels)) for of in (x, found)))
        loss = (x - found).square().sum(dim=-1) + beside(self.fourier, spectral) * spectral
        return (x0_weights(model)[i] * loss).mean(dim=-1)
