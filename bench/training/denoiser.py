"""The denoiser stage: a diffusion model of what the frozen encoder says of the training windows."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.contracts import DiffusionConfig, Posterior, Step
from bench.hardware.precision import forward
from bench.method import Method
from bench.models.build import StackedModel
from bench.models.stacked import Flat, RowAdam
from bench.parts.posteriors import concatenate
from bench.randomness import Ahead, Randomness
from bench.training.device_windows import Windows
from bench.training.loop import Curves, run_updates
from bench.training.stopping import Guard

CONSTANT = 1e-6  # a smaller deviation of a latent dimension is none


def train_denoiser(
    model: StackedModel,
    method: Method,
    windows: Windows,
    schedule: DiffusionConfig,
    steps: int,
    precision: str,
    randomness: Randomness,
    guard: Guard,
    curves: Curves,
) -> str:
    """Train the denoiser on the codes of the training windows. Returns how the updates were done, see `Program.how`."""
    if steps <= 0 or not any(guard.active):
        return "nothing to do"
    order, draws = (Ahead(randomness.draws(role)) for role in ("denoiser batches", "denoiser"))
    optimiser = RowAdam(Flat([model.denoiser]), schedule.learning_rate, clip_norm=1.0)
    latents = encode(model, method, windows)
    if method.standardises_latents:
        standardise(model, latents.rsample(randomness.draws("latent scale")))

    def terms_at(step: Step) -> dict[str, Tensor]:
        rows = order.steps(0, windows.last, schedule.batch_size)
        with forward(precision, windows.last.device):
            loss = method.denoising(model, latents.rows(rows), draws)
        return {"denoising": loss / model.latent}

    return run_updates(terms_at, (order, draws), optimiser, steps, "denoiser", guard, curves)


@torch.no_grad()
def standardise(model: StackedModel, z: Tensor) -> None:
    """Keep mean and deviation of latents z (R, n, D); a dimension that is constant keeps its scale."""
    model.latent_mean.copy_(z.mean(dim=1))
    scale = z.std(dim=1, correction=0)
    model.latent_scale.copy_(torch.where(scale > CONSTANT, scale, 1.0))


@torch.no_grad()
def encode(model: StackedModel, method: Method, windows: Windows, chunk: int = 1024) -> Posterior:
    """What the denoiser learns of all training windows; a run with fewer windows than another repeats its last one."""
    most = int(windows.last.max()) + 1
    index = torch.minimum(torch.arange(most, device=windows.last.device), windows.last[:, None])
    return concatenate([method.codes(model, windows.at(rows)) for rows in index.split(chunk, dim=1)])
