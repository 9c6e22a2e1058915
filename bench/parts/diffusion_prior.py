"""A diffusion model in the place of the prior: how many nats it charges for a latent.

Shapes: R runs, B series, D latent dimensions; i in 0..L is the diffusion step, SNR_i = alpha_bar_i / (1 - alpha_bar_i).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.contracts import Draws, Model, PerRun
from bench.parts.diffusion import diffuse
from bench.parts.objectives import beside
from bench.parts.posteriors import GaussianPosterior

STEPS = 4  # of the diffusion per series and update, so that 64 series show the denoiser 256 noised latents


def noised(z: Tensor, i: Tensor, alpha_bar: Tensor) -> GaussianPosterior:
    """q_forw(z^i | z^0) = N(sqrt(alpha_bar_i) z^0, (1 - alpha_bar_i) I) with one step per run: z (R, B, D), i (R)."""
    kept = beside(alpha_bar[i], z)
    return GaussianPosterior(kept.sqrt() * z, (0.5 * (1 - kept).log()).expand_as(z))


def least_noise(log_snr: PerRun, alpha_bar: Tensor) -> Tensor:
    """The last step with ln SNR_i of at least `log_snr`, and at least step 1: (R), or (1) for a number.

    >>> from bench.parts.diffusion import linear_schedule
    >>> [int(least_noise(5.0, linear_schedule(L))) for L in (1000, 100, 20, 10)]
    [21, 2, 1, 1]
    """
    ratios = alpha_bar.logit().unsqueeze(0)
    return ((ratios >= beside(log_snr, ratios)).sum(dim=-1) - 1).clamp(min=1)


def bound_weights(alpha_bar: Tensor) -> Tensor:
    """w_i with w_i E||eps - eps_theta(z^i, i)||^2 = KL(q(z^{i-1} | z^i, z) || p(z^{i-1} | z^i)), (L + 1,), float64.

        w_i = (SNR_{i-1} / SNR_i - 1) / 2

    p has the variance of the posterior q(z^{i-1} | z^i, z), as `ddpm` sampling has. Steps 0 and 1, which lead to no
    density, have the weight 0.
    Source: Ho et al. 2020, arXiv:2006.11239, eq. 12; in terms of SNR Kingma et al. 2021, arXiv:2107.00630.
    """
    kept = alpha_bar.double()
    before, after = kept[:-1], kept[1:]
    weights = 0.5 * (before - after) / (after * (1 - before))
    return torch.cat([torch.zeros_like(kept[:2]), weights[1:]])


def path_bound(model: Model, z: Tensor, first: Tensor, draws: Draws) -> Tensor:
    """KL(q(z^first .. z^L | z) || p(z^first .. z^L)) >= KL(q(z^first | z) || p(z^first)): z (R, B, D) -> (R, B), nats.

        sum_{i > first} w_i E||eps - eps_theta(z^i, i)||^2 + KL(q_forw(z^L | z) || N(0, I))

    p(z^first) is what `ddpm` sampling with all L steps draws when it stops at `first` >= 1, (R) or (1).
    """
    steps = torch.arange(len(model.alpha_bar), device=z.device)
    return _charged(model, z, torch.where(steps > first.unsqueeze(-1), bound_weights(model.alpha_bar), 0), draws)


def cross_entropy(model: Model, z: Tensor, first: int, draws: Draws) -> Tensor:
    """-ln p(z), bounded from above: z (R, B, D) -> (R, B), nats.

        -ln N(z; z_theta(z^first), I / SNR_first) + sum_{i > first} w_i ||eps - eps_theta(z^i, i)||^2
        + KL(q_forw(z^L | z) || N(0, I))

    The Gaussian is the last step, from z^first to z, and costs ||eps - eps_theta||^2 / 2 + D ln(2 pi / SNR_first) / 2.
    """
    steps = torch.arange(len(model.alpha_bar), device=z.device)
    weights = torch.where(steps > first, bound_weights(model.alpha_bar), 0.5 * (steps == first))
    widths = 0.5 * z.shape[-1] * (math.log(2 * math.pi) - model.alpha_bar[first].logit())
    return _charged(model, z, weights.unsqueeze(0), draws) + widths


def _charged(model: Model, z: Tensor, weights: Tensor, draws: Draws) -> Tensor:
    """sum_i weights_i E||eps - eps_theta(z^i, i)||^2 + KL(q_forw(z^L | z) || N(0, I)): weights (R or 1, L + 1).

    The sum is estimated at STEPS steps per series, drawn with probabilities in proportion to the weights, one from each
    of STEPS ranges of equal probability.
    """
    reached = weights.expand(len(z), -1).cumsum(dim=-1)
    shares = (draws.uniform(z.shape[1], STEPS) + torch.arange(STEPS, device=z.device)) / STEPS
    i = torch.searchsorted(reached, shares.flatten(1) * reached[:, -1:], right=True).clamp(max=len(model.alpha_bar) - 1)
    clean = z.repeat_interleave(STEPS, dim=1)
    noise = draws.normal(*clean.shape[1:])
    error = (noise - model.denoiser(diffuse(clean, i, model.alpha_bar, noise), i)).square().sum(dim=-1)
    path = reached[:, -1:].to(error.dtype) * error.unflatten(1, (-1, STEPS)).mean(dim=-1)
    end = torch.full((1,), len(model.alpha_bar) - 1, device=z.device)
    return path + noised(z, end, model.alpha_bar).kl().sum(dim=-1)
