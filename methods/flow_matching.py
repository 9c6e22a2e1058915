"""Flow matching in data space: straight paths from noise to the series."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.contracts import Draws, Model, Posterior, Sizes, option
from bench.method import DataSpaceMethod
from bench.models.series_transformer import SeriesVelocity
from bench.parts.diffusion import sampling_grid
from bench.parts.flow import flow_matching_loss, heun
from bench.registry import register_method


@register_method("flow_matching")
@dataclass(frozen=True)
class FlowMatching(DataSpaceMethod):
    """A Transformer learns the velocity of straight paths from noise to series, and samples follow it.

        L = E_{s ~ U[0,1], eps} || v(x^s, s) - (x - eps) ||^2,   x^s = (1 - s) x + s eps
        sampling: dx = -v(x, s) ds from s = 1, x ~ N(0, I), to s = 0

    Shapes: x (R, B, T, C), as (R, B, T * C) on the path; the term (R).
    Source: Lipman et al. 2023, arXiv:2210.02747, eq. 23 (L); for time series Hu et al. 2024, arXiv:2411.07506.
    Ours: the network of `diffusion_transformer` (trend, seasonality and residual of v), 0.31 million weights at the
    default `diffusion.hidden`. s is i / L with i ~ U{0..L}, and 1 at noise where the source has t = 0; sigma_min is 0.
    Heun's method with `solver_steps` equal steps, two evaluations each, in place of an adaptive solver;
    `diffusion.weighting`, `diffusion.sampler` and `diffusion.sampling_steps` do not apply. Trained for the updates of
    both stages. Measures of a latent are undefined here.
    """

    reference = True
    without_effect = (
        *DataSpaceMethod.without_effect,
        *("diffusion.weighting", "diffusion.sampler", "diffusion.sampling_steps"),
    )
    solver_steps: int = option(50, at_least=1)  # of Heun's method, at most L

    def networks(self, standard: dict[str, nn.Module], sizes: Sizes) -> dict[str, nn.Module]:
        """The network of the velocity, and nothing else."""
        shape = (sizes.runs, sizes.window, sizes.channels)
        return {"denoiser": SeriesVelocity(*shape, sizes.denoiser_hidden, sizes.diffusion_steps)}

    def denoising(self, model: Model, posterior: Posterior, draws: Draws) -> Tensor:
        """L on flattened series, summed over T * C, (R)."""
        velocity = model.get_submodule("denoiser").estimate
        return flow_matching_loss(velocity, posterior.rsample(draws), len(model.alpha_bar) - 1, draws).mean(dim=-1)

    @torch.no_grad()
    def latents(self, model: Model, n: int, draws: Draws) -> Tensor:
        """n series, flattened: noise carried along the velocity."""
        grid = sampling_grid(len(model.alpha_bar) - 1, self.solver_steps)
        return heun(model.get_submodule("denoiser").estimate, draws.normal(n, model.latent), grid)
