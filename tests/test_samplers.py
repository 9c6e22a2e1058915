"""Samplers of a Gaussian latent with the exact denoiser: mean and variance against the closed form, at few steps too.

With the exact denoiser every sampler maps noise to the latent by an affine function, so that mean and variance follow
from a recursion, and the probability flow has a solution in closed form.
"""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from bench.models.denoiser import Denoiser
from bench.parts.diffusion import linear_schedule, reverse_diffusion, sampling_grid
from bench.randomness import Randomness

L = 1000
MEAN = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)
VARIANCE = torch.tensor([1.0, 0.1, 0.01, 2.0], dtype=torch.float64)
ALPHA_BAR = linear_schedule(L).double()


class Exact(Denoiser):
    """E[eps | z^i] of latents N(MEAN, VARIANCE), independent dimensions."""

    def __init__(self) -> None:
        super().__init__(1, len(MEAN), 4, L)

    def embed(self, i: Tensor) -> Tensor:
        return i.double().unsqueeze(-1)

    def table(self) -> Tensor:
        return self.embed(torch.arange(L + 1)[None])

    def network(self, z: Tensor, embedded: Tensor) -> Tensor:
        kept = ALPHA_BAR[embedded[..., 0].long()].unsqueeze(-1)
        return (1 - kept).sqrt() * (z - kept.sqrt() * MEAN) / (kept * VARIANCE + 1 - kept)


class Given:
    """Draws that give z^L, for a sampler that asks for nothing else."""

    def __init__(self, start: Tensor) -> None:
        self.start = start

    def normal(self, *shape: int) -> Tensor:
        return self.start


class Doubles:
    """A stream of float64."""

    def __init__(self) -> None:
        self.stream = Randomness([("gauss", 0)]).draws("z")

    def normal(self, *shape: int) -> Tensor:
        return self.stream.normal(*shape).double()


def model_of(sampler: str, steps: int) -> SimpleNamespace:
    zero, one = torch.zeros(1, len(MEAN)).double(), torch.ones(1, len(MEAN)).double()
    return SimpleNamespace(
        denoiser=Exact(),
        alpha_bar=ALPHA_BAR,
        latent=len(MEAN),
        sampler=sampler,
        sampling_steps=steps,
        latent_mean=zero,
        latent_scale=one,
    )


def moments(sampler: str, steps: int, stop: int = 0) -> tuple[Tensor, Tensor]:
    """Mean and variance of what a sampler without noise draws at a step, from its values at z^L = 0 and 1."""
    start = torch.stack([torch.zeros(len(MEAN)), torch.ones(len(MEAN))]).double()[None]
    at_zero, at_one = reverse_diffusion(model_of(sampler, steps), 2, Given(start), torch.full((1, 2), stop))[0]
    return at_zero, (at_one - at_zero).square()


def flow(stop: int = 0) -> tuple[Tensor, Tensor]:
    """The same of the exact probability flow from z^L ~ N(0, I), which keeps (z^i - sqrt(a_i) mean) / sd_i."""
    variance = ALPHA_BAR[:, None] * VARIANCE + 1 - ALPHA_BAR[:, None]
    scale = (variance[stop] / variance[L]).sqrt()
    return (ALPHA_BAR[stop].sqrt() - scale * ALPHA_BAR[L].sqrt()) * MEAN, scale.square()


NO_NOISE = [
    ("ddim", 0, (0.996, 0.991, 0.967, 0.997)),
    ("ddim", 100, (0.963, 0.915, 0.739, 0.968)),
    ("ddim", 50, (0.928, 0.838, 0.550, 0.937)),
    ("dpm_solver", 0, (1.000, 1.000, 0.994, 1.000)),
    ("dpm_solver", 50, (1.002, 1.008, 1.011, 1.000)),
    ("dpm_solver", 20, (1.014, 1.057, 1.028, 1.004)),
    ("dpm_solver", 10, (1.054, 1.084, 0.773, 1.018)),
]
"""Samplers without noise on the way, and their shares of the true variances: few steps of DDIM lose some of it."""


@pytest.mark.parametrize(("sampler", "steps", "shares"), NO_NOISE)
def test_samplers_without_noise_keep_the_mean_and_the_stated_share_of_the_variance(sampler, steps, shares) -> None:
    mean, variance = moments(sampler, steps)
    torch.testing.assert_close(mean, flow()[0], rtol=0, atol=2e-3)
    torch.testing.assert_close(mean, MEAN, rtol=0, atol=8e-3)  # alpha_bar_L is not 0
    torch.testing.assert_close(variance / VARIANCE, torch.tensor(shares).double(), rtol=0, atol=1e-3)


def test_the_error_of_dpm_solver_falls_with_the_square_of_the_steps_and_that_of_ddim_with_the_steps() -> None:
    def error(sampler: str, steps: int) -> float:
        return float((moments(sampler, steps, stop=40)[1] / flow(40)[1] - 1).abs().max())

    assert 3 < error("dpm_solver", 40) / error("dpm_solver", 80) < 6
    assert 1.6 < error("ddim", 40) / error("ddim", 80) < 2.5


@pytest.mark.parametrize("stop", [1, 17, 50, 333])
@pytest.mark.parametrize(("steps", "error"), [(0, 0.01), (20, 0.1)])
def test_a_stop_on_the_way_has_the_mean_and_variance_of_its_step(stop: int, steps: int, error: float) -> None:
    mean, variance = moments("dpm_solver", steps, stop)
    torch.testing.assert_close(mean, flow(stop)[0], rtol=0, atol=2e-3)
    assert (variance / flow(stop)[1] - 1).abs().max() < error


def recursion(sampler: str, steps: int) -> Tensor:
    """The variance that a sampler with noise on the way draws; that of dpm_solver_sde with the estimate before."""
    grid = sampling_grid(L, steps, quadratic=sampler != "ddpm")
    alpha, sigma = ALPHA_BAR.sqrt(), (1 - ALPHA_BAR).sqrt()
    step = (alpha / sigma).log()
    covariance = torch.zeros(len(MEAN), 2, 2).double()  # of z and of the estimate before
    covariance[:, 0, 0] = 1
    for k, (i, j) in enumerate(itertools.pairwise(grid)):
        h = step[j] - step[i]
        turn = (step[j] - step[i]) / (2 * (step[i] - step[grid[k - 1]])) if sampler != "ddpm" and k > 0 and j > 0 else 0
        clean = alpha[i] * VARIANCE / (ALPHA_BAR[i] * VARIANCE + 1 - ALPHA_BAR[i])  # d x / d z
        weight = -alpha[j] * torch.expm1(-2 * h)
        move = torch.zeros(len(MEAN), 2, 2).double()
        move[:, 0, 0] = sigma[j] / sigma[i] * torch.exp(-h) + weight * (1 + turn) * clean
        move[:, 0, 1] = -weight * turn
        move[:, 1, 0] = clean
        covariance = move @ covariance @ move.mT
        covariance[:, 0, 0] -= sigma[j].square() * torch.expm1(-2 * h)
    return covariance[:, 0, 0]


WITH_NOISE = [
    ("ddpm", 0, (0.991, 0.976, 0.928, 0.993)),
    ("ddpm", 100, (0.922, 0.829, 0.626, 0.934)),
    ("ddpm", 50, (0.857, 0.720, 0.466, 0.877)),
    ("dpm_solver_sde", 100, (1.002, 1.006, 1.005, 1.001)),
    ("dpm_solver_sde", 50, (1.010, 1.030, 1.050, 1.006)),
    ("dpm_solver_sde", 20, (1.070, 1.170, 1.071, 1.043)),
]
"""The same of samplers with noise: the posterior variance of ddpm is too small for a large step."""


@pytest.mark.parametrize(("sampler", "steps", "shares"), WITH_NOISE)
def test_samplers_with_noise_keep_the_mean_and_have_the_variance_of_their_recursion(sampler, steps, shares) -> None:
    variance = recursion(sampler, steps)
    torch.testing.assert_close(variance / VARIANCE, torch.tensor(shares).double(), rtol=0, atol=1e-3)
    drawn = reverse_diffusion(model_of(sampler, steps), 20_000, Doubles())[0]
    torch.testing.assert_close(drawn.mean(dim=0), MEAN, rtol=0, atol=0.04)
    torch.testing.assert_close(drawn.var(dim=0) / variance, torch.ones(len(MEAN)).double(), rtol=0, atol=0.05)
