"""The forward and the reverse diffusion of the latent (Ho et al. 2020, arXiv:2006.11239).

Shapes: R runs, B series, D latent dimensions; i in 0..L is the diffusion step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.contracts import Draws, Model, PerRun


def linear_schedule(diffusion_steps: int) -> Tensor:
    """alpha_bar_0 .. alpha_bar_L for betas linear from 1e-4 to .02, scaled by 1000 / L; (L + 1,), float32.

    The scaling makes z^L noise for every L (at L = 1000 it is the schedule of the paper); a beta
    is at most .999. Computed in float64.

    >>> [round(float(linear_schedule(L)[-1]), 5) for L in (50, 1000)]
    [1e-05, 4e-05]
    """
    betas = torch.linspace(1e-4, 0.02, diffusion_steps, dtype=torch.float64) * (1000 / diffusion_steps)
    alpha_bar = torch.cumprod(1 - betas.clamp(max=0.999), dim=0)
    return torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar]).float()


def diffuse(z: Tensor, i: Tensor, alpha_bar: Tensor, noise: Tensor) -> Tensor:
    """z^i ~ q_forw(z^i | z^0) = N(sqrt(alpha_bar_i) z^0, (1 - alpha_bar_i) I): z, noise (R, B, D), i (R, B)."""
    kept = alpha_bar[i].unsqueeze(-1)
    return kept.sqrt() * z + (1 - kept).sqrt() * noise


def denoising_loss(model: Model, z: Tensor, draws: Draws) -> Tensor:
    """L_DM = E_{i ~ U{1..L}} || eps - eps_theta(z^i, i) ||^2 (Ho et al. 2020, eq. 14): z (R, B, D) -> (R, B)."""
    i = draws.steps(1, len(model.alpha_bar) - 1, z.shape[1])
    noise = draws.normal(*z.shape[1:])
    return (noise - model.denoiser(diffuse(z, i, model.alpha_bar, noise), i)).square().sum(dim=-1)


@torch.no_grad()
def reverse_diffusion(model: Model, n: int, draws: Draws, stop: PerRun | None = None) -> Tensor:
    """Draw z^L ~ N(0, I) and step back to z^stop: (R, n, D).

    Each step is Ho et al. 2020, algorithm 2, with the posterior variance
    (1 - alpha_bar_{i-1}) / (1 - alpha_bar_i) beta_i. `stop` (R, n) holds a step for every series;
    None means 0. The embedding of the step is computed once for all steps, not in the loop.
    """
    alpha_bar, last = model.alpha_bar, len(model.alpha_bar) - 1
    alpha = alpha_bar[1:] / alpha_bar[:-1]
    variance = (1 - alpha_bar[:-1]) / (1 - alpha_bar[1:]) * (1 - alpha)
    table = model.denoiser.table()
    z = draws.normal(n, model.latent)
    stopped = z
    first_stop = 0 if stop is None else int(stop.max())
    for i in range(last, 0, -1):
        if stop is not None and i <= first_stop:
            stopped = torch.where((stop == i).unsqueeze(-1), z, stopped)
        predicted = model.denoiser.with_step(z, table[:, i : i + 1])
        z = (z - (1 - alpha[i - 1]) / (1 - alpha_bar[i]).sqrt() * predicted) / alpha[i - 1].sqrt()
        z = z + variance[i - 1].sqrt() * draws.normal(n, model.latent)
    return z if stop is None else torch.where((stop == 0).unsqueeze(-1), z, stopped)
