"""The forward and the reverse diffusion of the latent (Ho et al. 2020, arXiv:2006.11239; Song et al. 2021).

Shapes: R runs, B series, D latent dimensions; i in 0..L is the diffusion step.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from bench.contracts import Draws, Model, PerRun
from bench.hardware.recorded_steps import Index, Program, recorder_on
from bench.randomness import Ahead


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


def to_denoiser(model: Model, z: Tensor) -> Tensor:
    """A latent (R, B, D) in the space of the denoiser, where training latents have mean 0 and deviation 1."""
    return (z - model.latent_mean.unsqueeze(1)) / model.latent_scale.unsqueeze(1)


def from_denoiser(model: Model, z: Tensor) -> Tensor:
    """The way back, (R, B, D)."""
    return z * model.latent_scale.unsqueeze(1) + model.latent_mean.unsqueeze(1)


Predicts: TypeAlias = Literal["noise", "x0", "v"]
"""What a denoiser's network gives: eps, z^0, or v = sqrt(alpha_bar_i) eps - sqrt(1 - alpha_bar_i) z^0."""

SNR_BOUND = 5.0
"""Of the weighting `min_snr`; the value of its source."""


def noise_from(predicts: Predicts, alpha_bar: Tensor) -> Tensor:
    """(a, b) with eps = a f + b z^i for what the network gives, f, at each step: (L + 1, 2).

        noise  eps = f,   x0  eps = (z^i - sqrt(alpha_bar_i) f) / sqrt(1 - alpha_bar_i),
        v      eps = sqrt(alpha_bar_i) f + sqrt(1 - alpha_bar_i) z^i

    At step 0 there is no noise, and x0 says nothing about it: (0, 0).
    Source: Salimans and Ho 2022, arXiv:2202.00512, sec. 4 and app. D.
    """
    signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    if predicts == "noise":
        return torch.stack([torch.ones_like(signal), torch.zeros_like(signal)], dim=-1)
    if predicts == "v":
        return torch.stack([signal, noise], dim=-1)
    some = torch.where(noise > 0, noise, torch.inf)
    return torch.stack([-signal / some, 1 / some], dim=-1)


def loss_weights(predicts: Predicts, weighting: Literal["uniform", "min_snr"], alpha_bar: Tensor) -> Tensor:
    """w_i with w_i ||eps - eps_theta||^2 the loss of step i, (L + 1,); SNR_i = alpha_bar_i / (1 - alpha_bar_i).

        uniform  the squared error of what the network gives: w_i = 1 (noise), 1 / SNR_i (x0), 1 / alpha_bar_i (v)
        min_snr  min(SNR_i, 5) times the squared error of z^0, whatever the network gives: w_i = min(1, 5 / SNR_i)

    Source: Hang et al. 2023, arXiv:2303.09556, sec. 3.4 (for a network of z^0) and sec. 4.2 (for one of the noise, and
    the factor SNR + 1 for one of v). At step 0, which no loss draws, w is 0.
    """
    ratio = alpha_bar / (1 - alpha_bar)
    if weighting == "min_snr":
        weights = (SNR_BOUND / ratio).clamp(max=1)
    else:
        weights = {"noise": torch.ones_like(ratio), "x0": 1 / ratio, "v": 1 / alpha_bar}[predicts]
    return torch.where(alpha_bar < 1, weights, 0.0)


def x0_weights(model: Model) -> Tensor:
    """w_i with w_i ||z^0 - z^0_theta||^2 the loss of step i, (L + 1,): `model.loss_weights` times SNR_i.

    The squared errors of z^0 and of eps differ by that factor. For `predicts: x0` and uniform steps it is 1.
    """
    ratio = model.alpha_bar / (1 - model.alpha_bar)
    return torch.where(model.alpha_bar < 1, ratio * model.loss_weights, 0.0)


def denoising_loss(model: Model, z: Tensor, draws: Draws) -> Tensor:
    """L_DM = E_{i ~ U{1..L}} w_i || eps - eps_theta(z^i, i) ||^2: z (R, B, D) -> (R, B).

    w_i = 1 as in Ho et al. 2020, eq. 14, unless `diffusion.predicts` or `diffusion.weighting` asks for another weight
    (`loss_weights`). z^i is noised in the space of the denoiser (`to_denoiser`). Rombach et al. 2022, arXiv:2112.10752,
    app. D.1 and G, rescale latents as well, but by one deviation for all dimensions, and keep the mean.
    """
    z = to_denoiser(model, z)
    i = draws.steps(1, len(model.alpha_bar) - 1, z.shape[1])
    noise = draws.normal(*z.shape[1:])
    error = (noise - model.denoiser(diffuse(z, i, model.alpha_bar, noise), i)).square().sum(dim=-1)
    return error * model.loss_weights[i]


WITH_NOISE, SECOND_ORDER = ("ddpm", "dpm_solver_sde"), ("dpm_solver", "dpm_solver_sde")
"""The samplers that draw noise on the way, and those that use the estimate of the step before."""


def sampling_grid(diffusion_steps: int, sampling_steps: int, quadratic: bool = False) -> list[int]:
    """The steps that a sampling loop visits, from L down to 0; a number of 0 (or more than L) is all of them.

    They are evenly spaced or, `quadratic`, evenly in the square root of the step, so that most of them lie near 0.

    >>> sampling_grid(10, 4), len(sampling_grid(1000, 0))
    ([10, 8, 5, 2, 0], 1001)
    >>> sampling_grid(1000, 8, quadratic=True), sampling_grid(10, 8, quadratic=True)
    ([1000, 766, 562, 391, 250, 141, 62, 16, 0], [10, 8, 6, 5, 4, 3, 2, 1, 0])
    """
    count = min(sampling_steps or diffusion_steps, diffusion_steps)
    if quadratic:  # the k-th step is at least k, so that no two are the same
        return [max(round(diffusion_steps * (k / count) ** 2), k) for k in range(count, -1, -1)]
    return [round(diffusion_steps * k / count) for k in range(count, -1, -1)]


def _coefficients(sampler: str, here: Tensor, there: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """b, sqrt(alpha) and sd of a step between two values of alpha_bar; see `reverse_diffusion`."""
    alpha = here / there
    if sampler in WITH_NOISE:
        return (1 - alpha) / (1 - here).sqrt(), alpha.sqrt(), ((1 - there) / (1 - here) * (1 - alpha)).sqrt()
    return (1 - here).sqrt() - (alpha * (1 - there)).sqrt(), alpha.sqrt(), torch.zeros_like(alpha)


def _turn(sampler: str, before: Tensor, here: Tensor, there: Tensor) -> Tensor:
    """c of a step between two values of alpha_bar, after one from a third value; see `reverse_diffusion`.

    It is 0 where that value is `here`, in the first step, and where the step ends at 0, where lambda is infinite.
    """
    finite = there.clamp(max=1 - torch.finfo(there.dtype).eps)
    first, second, third = (torch.logit(alpha_bar) / 2 for alpha_bar in (before, here, finite))
    last = torch.where(second > first, second - first, torch.inf)
    share = -torch.expm1((2 if sampler in WITH_NOISE else 1) * (second - third))
    return torch.where(there < 1, finite.sqrt() * share * (third - second) / (2 * last), 0.0)


@torch.no_grad()
def reverse_diffusion(model: Model, n: int, draws: Draws, stop: PerRun | None = None) -> Tensor:
    """Draw z^L ~ N(0, I) and step back to z^stop, in the space of the denoiser; then as latents: (R, n, D).

    A step from i to j < i, with alpha = alpha_bar_i / alpha_bar_j and eps = eps_theta(z^i, i):

        z^j = (z^i - b eps) / sqrt(alpha) + sd noise + c (x^i - x^h)
        ddpm  b = (1 - alpha) / sqrt(1 - alpha_bar_i),  sd^2 = (1 - alpha_bar_j) / (1 - alpha_bar_i) (1 - alpha)
        ddim  b = sqrt(1 - alpha_bar_i) - sqrt(alpha (1 - alpha_bar_j)),  sd = 0
        dpm_solver      b and sd of ddim,  c = sqrt(alpha_bar_j) (1 - e^(lambda_i - lambda_j)) / 2 r
        dpm_solver_sde  b and sd of ddpm,  c = sqrt(alpha_bar_j) (1 - e^(2 (lambda_i - lambda_j))) / 2 r

    x^i = (z^i - sqrt(1 - alpha_bar_i) eps) / sqrt(alpha_bar_i) is the latent without noise as step i sees it, x^h that
    of the step before, from h to i, r = (lambda_i - lambda_h) / (lambda_j - lambda_i) and
    lambda_i = ln(alpha_bar_i / (1 - alpha_bar_i)) / 2. c is 0 for `ddpm` and `ddim`, in the first step, and in the last
    step, to 0.

    `model.sampler` and `model.sampling_steps` choose the form and the steps, which both of `dpm_solver` space
    quadratically. `stop` (R, n) holds a step for every series, None means 0; a stop between two steps of the grid is
    reached by a shorter step from the one before it. The embedding of the step is computed once for all steps, not in
    the loop.

    Source: Ho et al. 2020, algorithm 2, with the posterior variance; Song et al. 2021, arXiv:2010.02502, eq. 12 and
    16 with eta = 1 (for j = i - 1 the same) and eta = 0; Lu et al. 2022, arXiv:2211.01095, DPM-Solver++(2M) and
    SDE-DPM-Solver++(2M), the first checked in the authors' program and the second in another, neither in the text.
    Ours: their last step.
    """
    alpha_bar, second = model.alpha_bar, model.sampler in SECOND_ORDER
    grid = sampling_grid(len(alpha_bar) - 1, model.sampling_steps, quadratic=second)
    b, root, sd = _coefficients(model.sampler, alpha_bar[grid[:-1]], alpha_bar[grid[1:]])
    before = [grid[0], *grid[:-2]]  # the step before each, for the first one itself
    turn = _turn(model.sampler, alpha_bar[before], alpha_bar[grid[:-1]], alpha_bar[grid[1:]])
    table, steps = model.denoiser.table(), torch.tensor(grid, device=alpha_bar.device)
    sources = torch.tensor(before, device=alpha_bar.device)
    z = draws.normal(n, model.latent)
    stopped, no_noise, ahead = z.clone(), torch.zeros_like(z), Ahead(draws)
    clean = torch.zeros_like(z)
    first_stop, gaps = -1 if stop is None else int(stop.max()), len(grid) <= len(alpha_bar) - 1
    plainly = recorder_on(z.device) is None

    def step(index: Index) -> None:
        i, j = _pick(steps, index, 0), _pick(steps, index, 1)
        # A step to be recorded is the same for all.
        known = grid[index + 1] if plainly and isinstance(index, int) else 0
        predicted = model.denoiser.with_step(z, table.index_select(1, i))
        noise = ahead.normal(n, model.latent) if model.sampler in WITH_NOISE else no_noise
        new = (z - _pick(b, index) * predicted) / _pick(root, index) + _pick(sd, index) * noise
        change = no_noise
        if second:
            seen = (z - (1 - alpha_bar[i]).sqrt() * predicted) / alpha_bar[i].sqrt()
            change = seen - clean
            new = new + _pick(turn, index) * change
            clean.copy_(seen)
        if stop is not None and known <= first_stop:
            own = new
            if gaps:
                target = alpha_bar[stop.clamp(j, i)].unsqueeze(-1)
                shorter = _coefficients(model.sampler, alpha_bar[i], target)
                own = (z - shorter[0] * predicted) / shorter[1] + shorter[2] * noise
                if second:
                    earlier = alpha_bar[_pick(sources, index)]
                    own = own + _turn(model.sampler, earlier, alpha_bar[i], target) * change
            stopped.copy_(torch.where(((j <= stop) & (stop < i)).unsqueeze(-1), own, stopped))
        z.copy_(new)

    with Program(step, [ahead], len(grid) - 1, z.device) as program:
        for _ in grid[1:]:
            program.run()
    return from_denoiser(model, z if stop is None else stopped)


def _pick(values: Tensor, index: Index, after: int = 0) -> Tensor:
    """Element index + after of a vector, (1,)."""
    if isinstance(index, int):
        return values[index + after : index + after + 1]
    return values.index_select(0, index.long().reshape(1) + after)
