"""The denoiser stage: a diffusion model of what the frozen encoder says of the training windows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.contracts import DiffusionConfig, Posterior, Step
from bench.hardware.precision import forward
from bench.method import Method
from bench.models.build import StackedModel
from bench.models.dropout import dropping
from bench.models.stacked import Flat, RowAdam
from bench.parts.posteriors import concatenate
from bench.randomness import Ahead, Randomness
from bench.training.device_windows import ValidationSeries, Windows, by_count
from bench.training.loop import Curves, StageEnd, run_updates
from bench.training.stopping import BestWeights, Guard, Plateau

CONSTANT = 1e-6  # a smaller deviation of a latent dimension is none
REPEATS = 8  # diffusion steps and noises per validation series: the loss depends on them more than on the series


def train_denoiser(
    model: StackedModel,
    method: Method,
    windows: Windows,
    validation: ValidationSeries,
    schedule: DiffusionConfig,
    steps: int,
    fewer: Sequence[int],
    precision: str,
    randomness: Randomness,
    guard: Guard,
    curves: Curves,
) -> StageEnd:
    """Train the denoiser on the codes of the training windows; afterwards it is as of the last update.

    A run makes `steps` updates less its own number in `fewer`.
    With `schedule.patience` it is as of the best check on the codes of the validation series.
    """
    left = [steps - each if active else 0 for each, active in zip(fewer, guard.active, strict=True)]
    if max(left) <= 0:
        nothing: list[None] = [None] * model.runs
        return StageEnd("nothing to do", [0] * model.runs, [*nothing], [*nothing])
    order, draws = (Ahead(randomness.draws(role)) for role in ("denoiser batches", "denoiser"))
    flat, device = Flat([model.denoiser]), windows.last.device
    optimiser = denoiser_adam(flat, schedule)
    ends = schedule.patience, schedule.tolerance, schedule.warm_up
    plateau = Plateau([0] * model.runs, steps, *ends, device, fewer)
    best = BestWeights([flat.values], model.runs) if schedule.patience else None
    latents = encode(model, method, windows)
    if method.standardises_latents:
        standardise(model, latents, windows, randomness)

    def terms_at(step: Step) -> dict[str, Tensor]:
        rows = order.steps(0, windows.last, schedule.batch_size)
        with forward(precision, windows.last.device), dropping(model.denoiser, draws):
            loss = method.denoising(model, latents.rows(rows), draws)
        return {"denoising": loss / model.latent}

    def check(step: int, active: list[bool]) -> None:
        if best is None:
            return
        with optimiser.averaged():
            seen = validation.each(lambda x: validation_denoising(model, method, x, randomness))
            best.compare(seen, [a and b for a, b in zip(active, plateau.comparable(step), strict=True)])
        curves.record("denoiser", step, {"validation_denoising": seen}, 1, torch.tensor(active))
        plateau.watch(seen.tolist(), step, active)

    model.denoiser.train()
    end = run_updates(terms_at, (order, draws), optimiser, plateau, "denoiser", guard, curves, check)
    model.denoiser.eval()
    optimiser.settle()
    if best is not None:
        end = end._replace(objective=best.restore())
    return end


def denoiser_adam(flat: Flat, schedule: DiffusionConfig) -> RowAdam:
    """The optimiser of the denoiser."""
    return RowAdam(flat, schedule.learning_rate, 1.0, schedule.weight_decay, schedule.ema)


@torch.no_grad()
def validation_denoising(model: StackedModel, method: Method, x: Tensor, randomness: Randomness) -> Tensor:
    """L_DM of series x (R, n, T, C) per latent dimension, with the same REPEATS draws of each at every call, (R)."""
    training = model.denoiser.training
    model.denoiser.eval()
    codes = method.codes(model, x).rows(torch.arange(x.shape[1], device=x.device).repeat(model.runs, REPEATS))
    loss = method.denoising(model, codes, randomness.draws("validation denoising")) / model.latent
    model.denoiser.train(training)
    return loss


@torch.no_grad()
def standardise(model: StackedModel, latents: Posterior, windows: Windows, randomness: Randomness) -> None:
    """Keep mean and deviation of a draw of all latents; a dimension that is constant keeps its scale.

    latents: what `encode` gives, of which each run has as many as windows.
    """
    device = windows.last.device
    for n, own in by_count(windows.counts, device):
        z = latents.rows(torch.arange(n, device=device).expand(model.runs, -1)).rsample(
            randomness.draws("latent scale")
        )
        scale = z.std(dim=1, correction=0)
        scale = torch.where(scale > CONSTANT, scale, 1.0)
        model.latent_mean.copy_(torch.where(own[:, None], z.mean(dim=1), model.latent_mean))
        model.latent_scale.copy_(torch.where(own[:, None], scale, model.latent_scale))


@torch.no_grad()
def encode(model: StackedModel, method: Method, windows: Windows, chunk: int = 1024) -> Posterior:
    """What the denoiser learns of all training windows; a run with fewer windows than another repeats its last one."""
    index = torch.minimum(torch.arange(max(windows.counts), device=windows.last.device), windows.last[:, None])
    return concatenate([method.codes(model, windows.at(rows)) for rows in index.split(chunk, dim=1)])
