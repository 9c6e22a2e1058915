"""The sampling loop against one that embeds the step of every series anew, and what fewer steps cost in quality."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from bench.contracts import DatasetSpec, DiffusionConfig, Draws, EvaluateConfig, Model, ModelConfig, TrainConfig
from bench.loading.windows import load_splits
from bench.method import stacked
from bench.models.build import StackedModel
from bench.models.stacked import initialise
from bench.parts.diffusion import from_denoiser, reverse_diffusion
from bench.perf.measure import Line, Scale, cpu_seconds, in_turn
from bench.randomness import Randomness
from bench.registry import METHODS
from bench.scoring.scores import Scope, choose, draw_samples, score_samples
from bench.training.stack import train_stack


@torch.no_grad()
def plain_reverse_diffusion(model: Model, n: int, draws: Draws) -> Tensor:
    """Ho et al. 2020, algorithm 2, as it is printed: eps_theta(z, i) with the step of every series."""
    z = draws.normal(n, model.latent)
    for i in range(len(model.alpha_bar) - 1, 0, -1):
        here, there = model.alpha_bar[i], model.alpha_bar[i - 1]
        alpha = here / there
        predicted = model.denoiser(z, torch.full((z.shape[0], n), i))
        z = (z - (1 - alpha) / (1 - here).sqrt() * predicted) / alpha.sqrt()
        z = z + ((1 - there) / (1 - here) * (1 - alpha)).sqrt() * draws.normal(n, model.latent)
    return from_denoiser(model, z)


def _model(diffusion: DiffusionConfig) -> StackedModel:
    model = StackedModel(1, (4, 1), stacked([METHODS["latent_diffusion"]()]), "lstm", ModelConfig(), diffusion)
    initialise(model, Randomness([("perf", 0)]))
    return model.eval()


def _quality(scale: Scale) -> Iterator[Line]:
    sizes = {"tiny": (2, 2, 10, 12), "quick": (150, 300, 1000, 300), "full": (1500, 3000, 1000, 1000)}[scale]
    steps, denoiser_steps, last, n = sizes
    splits, scope = load_splits(DatasetSpec("regimes"), 0, None), Scope("regimes", 0)
    method = METHODS["proposed"](N=0.05, M=0.9)
    train, diffusion = TrainConfig(steps=steps), DiffusionConfig(L=last, steps=denoiser_steps)
    config = ModelConfig(hidden=8) if scale == "tiny" else ModelConfig()
    model = train_stack([method], [splits], [("regimes", 0)], "lstm", config, [train], [diffusion]).model
    model.eval()
    whole = 0.0
    for sampler, count in (("ddpm", 0), ("ddim", 100), ("ddim", 50), ("ddpm", 100), ("ddpm", 50)):
        count = min(count, last // 2)
        model.sampler, model.sampling_steps = sampler, count
        ready = stacked([method])
        seconds = cpu_seconds(partial(ready.latents, model, n, scope.draws("timing")))
        samples = draw_samples(model, ready, splits, EvaluateConfig(n_samples=n), scope)
        real = splits.test[: len(samples)]
        rows = score_samples(real, samples, splits, choose(["sliced_wasserstein", "wasserstein"]), scope)
        found = {row["metric"]: row["value"] for row in rows}
        whole = whole or seconds
        note = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
        what = f"{sampler}, {count or last} of {last} steps, `proposed` on regimes"
        yield Line(what, whole / seconds, seconds, note=note)


def measure(scale: Scale) -> Iterator[Line]:
    """2,000 samples in 1,000 steps against the plain loop, then DDIM and shorter loops with their distances."""
    last, n, repeats = {"tiny": (10, 5, 1), "quick": (100, 2000, 1), "full": (1000, 2000, 3)}[scale]
    model, randomness = _model(DiffusionConfig(L=last)), Randomness([("perf", 0)])

    def ours() -> Tensor:
        return reverse_diffusion(model, n, randomness.draws("samples"))

    def plain() -> Tensor:
        return plain_reverse_diffusion(model, n, randomness.draws("samples"))

    theirs = plain()
    apart = float(((ours() - theirs).abs() / (1 + theirs.abs())).max())
    found = in_turn(ours, plain, repeats, warm=False)
    what = f"{last} steps, {n} samples, against the plain loop"
    yield Line(what, found.ratio, found.ours, found.other, ">= 1.5", f"largest difference {apart:.1g}")
    yield from _quality(scale)
