"""One stack from its windows to trained models: the autoencoder stage, then the denoiser stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from bench.contracts import DiffusionConfig, ModelConfig, Splits, TrainConfig
from bench.hardware.precision import check_precision, products
from bench.method import Method, stacked
from bench.models.build import StackedModel
from bench.models.stacked import has_weights, initialise
from bench.randomness import Randomness
from bench.training.autoencoder import Passes, train_autoencoder
from bench.training.denoiser import train_denoiser
from bench.training.device_windows import Windows, validation_series
from bench.training.loop import Curves, StageEnd, Watch
from bench.training.stopping import Guard


@dataclass
class Trained:
    """A stack after training. `diverged` holds a run's reason, or an empty text; `programs`: see `Program.how`."""

    model: StackedModel
    method: Method
    diverged: list[str]
    curves: Curves
    autoencoder_seconds: float
    denoiser_seconds: float
    watching_seconds: float = 0.0
    programs: Mapping[str, str] = field(default_factory=dict)  # how the steps of each stage were done
    decoder_passes: float = 0.0  # per update of the autoencoder stage
    stages: Mapping[str, StageEnd] = field(default_factory=dict)  # each run's updates, and whether it converged


def train_stack(
    methods: Sequence[Method],
    splits: Sequence[Splits],
    keys: Sequence[tuple[str, int]],
    backbone: str,
    config: ModelConfig,
    train: Sequence[TrainConfig],
    diffusion: Sequence[DiffusionConfig],
    device: torch.device | str = "cpu",
    watch: Callable[[StackedModel, int], None] | None = None,
    looks: int = 0,
) -> Trained:
    """Train R runs together; keys are (data set key, seed), the other sequences hold one item per run.

    `watch(model, step)` is called at `looks` steps, evenly over the autoencoder stage, and may not
    change the model. Raises Unavailable where the device has no products of `train.precision`.
    """
    device, runs, precision = torch.device(device), len(methods), train[0].precision
    check_precision(precision, device)
    resolved = [method.resolved(config) for method, config in zip(methods, diffusion, strict=True)]
    method, budget, schedule = stacked(resolved, device), stacked(train, device), stacked(diffusion, device)
    randomness = Randomness(keys, device)
    model = StackedModel(runs, splits[0].train.shape[1:], method, backbone, config, diffusion[0]).to(device)
    initialise(model, randomness)
    windows = Windows([part.train for part in splits], device)
    model.fit_marginal(windows.parts, [part.cells for part in splits])

    curves, guard, watched = Curves(runs), Guard(runs), None
    stages: dict[str, StageEnd] = {}
    validation = validation_series(splits, randomness)
    began = time.perf_counter()
    denoiser_steps, fewer, decoder_passes = schedule.steps, [0] * runs, 0.0
    if model.autoencoder():
        if not has_weights(model.denoiser):  # latents from the prior: the autoencoder gets the updates of both stages
            budget, denoiser_steps = replace(budget, steps=budget.steps + schedule.steps), 0
        model.train()
        watched = Watch(model, watch, budget.steps, looks) if watch is not None else None
        passes = Passes(model)
        shares = [float(each.schedule_share) for each in resolved]
        with products(precision):
            stages["autoencoder"] = train_autoencoder(
                model, method, shares, windows, validation, budget, schedule, randomness, guard, curves, watched, passes
            )
        model.eval()
        decoder_passes = passes.per_update
        if method.moves_denoiser:  # once per update of this stage, which leaves each run as many as every method has
            made = stages["autoencoder"].updates
            least = 0 if budget.patience else budget.steps  # alike in every stack, as the times of the checks are
            denoiser_steps -= least
            fewer = [max(each - least, 0) for each in made]
    else:  # diffusion in data space: its one network gets the updates of both stages
        denoiser_steps += budget.steps
    middle = time.perf_counter()
    with products(precision):
        stages["denoiser"] = train_denoiser(
            model, method, windows, validation, schedule, denoiser_steps, fewer, precision, randomness, guard, curves
        )
    ended = time.perf_counter()
    watching = watched.seconds if watched is not None else 0.0
    times = middle - began - watching, ended - middle, watching
    programs = {stage: end.how for stage, end in stages.items()}
    return Trained(model, method, guard.reasons, curves, *times, programs, decoder_passes, stages)
