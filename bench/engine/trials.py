"""Predictions where no run has been done yet: a few updates of each method, one evaluation and references are timed."""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from bench.contracts import EvaluateConfig, Splits, Unavailable, in_one_line
from bench.hardware.memory import peak_bytes, reset_peak
from bench.loading.windows import load_splits
from bench.method import stacked
from bench.models.build import StackedModel
from bench.models.stacked import has_weights
from bench.parts.stopping_times import CHECKS
from bench.scoring.scores import (
    Scope,
    check_temperature,
    choose,
    draw_samples,
    score_during_training,
    score_reference,
    score_run,
)
from bench.sweeps.run import Run
from bench.training.stack import Trained, train_stack

UPDATES = 5  # of each stage, after a first one that is not timed
UPDATES_SECONDS = 6.0  # after this time no further method is timed
EVALUATION_SECONDS = 5.0  # after this time no further measure is timed

Row = dict[str, Any]


@dataclass(frozen=True)
class Trials:
    """Rows like those of the runs table, as if each run that was timed had been finished, and what was left out."""

    runs: pd.DataFrame
    seconds: float  # that the trials took
    notes: tuple[str, ...]

    def of(self, kind: str) -> pd.DataFrame:
        """The rows of methods, or of references."""
        return self.runs[self.runs["kind"] == kind] if len(self.runs) else self.runs


@dataclass(frozen=True)
class UpdateSeconds:
    """Seconds of one update of each stage; 0 for the autoencoder where a method has none."""

    autoencoder: float
    denoiser: float
    trained: Trained  # after a few updates


class _Enough(Exception):
    """Ends a training after enough updates were timed."""


def try_runs(runs: Sequence[Run], data: Path | None, device: torch.device) -> Trials:
    """Time one run of each method, backbone and data set, as long as there is time, and evaluate the first of them.

    Sampling and evaluation of the others are assumed to last as long, and so are the other reference rows of a data
    set of which one is timed. A run that cannot be timed raises nothing.
    """
    torch.set_num_threads(1)  # as a worker has
    began = time.monotonic()
    rows: list[Row] = []
    notes: list[str] = []
    first: tuple[Run, Splits, Trained] | None = None
    reset_peak(device)
    different = {_alike(run): run for run in reversed(runs) if run.kind == "method" and run.data_sha256}
    chosen = list(reversed(different.values()))
    for number, run in enumerate(chosen):
        if rows and time.monotonic() - began > UPDATES_SECONDS:
            notes.append(
                f"{len(chosen) - number} of {len(chosen)} settings were not timed: assumed to cost as much as these"
            )
            break
        try:
            splits = load_splits(run.dataset, run.data_seed, data)
            check_temperature(run, splits)
            timed = time_updates(run, splits, device)
        except Unavailable:  # it will be skipped
            continue
        except Exception as error:  # it will fail, and the row will say how
            notes.append(f"{run.label}: cannot be timed: {in_one_line(error)}")
            continue
        first = first or (run, splits, timed.trained)
        rows.append({**run.columns(), **_shared(splits, device), **_stages(run, timed)})
    scored: Row = {}
    if first is not None:
        scored, unfinished = _evaluation(*first)
        notes += unfinished
    rows = [{**row, **scored} for row in rows]
    references, unfinished = _references(runs, data, device)
    rows += references
    notes += unfinished
    memory = {"peak_memory_bytes": peak_bytes(device)}  # the same for all: this process keeps what the largest needed
    return Trials(pd.DataFrame([{**row, **memory} for row in rows]), time.monotonic() - began, tuple(notes))


def _alike(run: Run) -> tuple[object, ...]:
    """What runs of equal cost have in common, without numbers."""
    return run.method, dict(run.hyper).get("latent_route"), run.backbone, run.dataset


def _shared(splits: Splits, device: torch.device) -> Row:
    return {"status": "ok", "device": device.type, "stack_size": 1, "window": splits.window}


def time_updates(run: Run, splits: Splits, device: torch.device) -> UpdateSeconds:
    """Seconds of an update of both stages, from a few of each; checks on the way are not among them."""
    times: list[float] = []

    def watch(model: StackedModel, step: int) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter())
        if len(times) > UPDATES:
            raise _Enough

    def train(steps: int, denoiser_steps: int, checks: int) -> Trained:
        budget = dataclasses.replace(run.train, steps=steps, patience=0)
        schedule = dataclasses.replace(run.diffusion, steps=denoiser_steps, patience=0)
        keys = [(run.dataset.stream, run.seed)]
        each = [run.build_method()], [splits], keys, run.backbone, run.model, [budget], [schedule]
        return train_stack(*each, device, watch if checks else None, checks)

    steps = CHECKS * (UPDATES + 2)  # so many that none of the updates that are seen has a check, which takes longer
    try:
        train(steps, 1, checks=steps)
    except _Enough:
        update = statistics.median(after - before for before, after in pairwise(times))
    else:  # there is no autoencoder: the one network has the updates of both stages
        update = 0.0
    few, many = train(1, 1, 0), train(1, 1 + UPDATES, 0)
    denoise = max(many.denoiser_seconds - few.denoiser_seconds, 0.0) / UPDATES
    return UpdateSeconds(update, denoise, many)


def _stages(run: Run, timed: UpdateSeconds) -> Row:
    """Seconds of both stages of a whole run."""
    first, second = run.train.steps, run.diffusion.steps
    if not timed.autoencoder:
        second += first
    elif not has_weights(timed.trained.model.denoiser):
        first, second = first + second, 0
    elif run.build_method().moves_denoiser:
        second = max(second - first, 0)
    seconds = {"train_seconds": timed.autoencoder * first, "denoiser_seconds": timed.denoiser * second}
    return {**seconds, "updates": first if timed.autoencoder else 0, "denoiser_updates": second}


def _evaluation(run: Run, splits: Splits, trained: Trained) -> tuple[Row, list[str]]:
    """Seconds of sampling, and of the measures as far as there is time for them."""
    model, config, scope = trained.model.eval(), run.evaluate, Scope.of(run)
    method = stacked([run.build_method()], model.alpha_bar.device)
    score_during_training(model, method, splits, config, scope, 1)  # imports, which a worker does once
    began = time.perf_counter()
    samples = draw_samples(model, method, splits, config, scope)
    drawn = time.perf_counter()
    score_during_training(model, method, splits, config, scope, 1)
    looked = time.perf_counter() - drawn
    once = dataclasses.replace(config, metric_seeds=1)
    names = [metric.name for metric in choose(config.metrics)]
    measured, notes = _measures(
        names, lambda name: score_run(model, method, splits, samples, once, scope, [name]), "measures"
    )
    evaluate = looked * config.during_training + measured * config.metric_seeds
    return {"sample_seconds": drawn - began, "evaluate_seconds": evaluate}, notes


def _references(runs: Sequence[Run], data: Path | None, device: torch.device) -> tuple[list[Row], list[str]]:
    """A row for one reference of each data set, as long as there is time."""
    began, rows, notes = time.monotonic(), list[Row](), list[str]()
    different = {run.dataset: run for run in reversed(runs) if run.kind == "reference" and run.data_sha256}
    for run in reversed(different.values()):
        if rows and time.monotonic() - began > EVALUATION_SECONDS:
            break  # the others are assumed to cost as much
        try:
            splits = load_splits(run.dataset, run.data_seed, data)
        except Unavailable:  # it will be skipped
            continue
        except Exception as error:  # it will fail, and the row will say how
            notes.append(f"{run.label}: cannot be timed: {in_one_line(error)}")
            continue
        once, scope = dataclasses.replace(run.evaluate, metric_seeds=1), Scope.of(run)
        names = [metric.name for metric in choose(run.evaluate.metrics, "samples")]
        seconds, missing = _measures(
            names, functools.partial(_score_reference, run.method, splits, once, scope), "measures of a reference row"
        )
        notes += missing
        rows.append(
            {**run.columns(), **_shared(splits, device), "evaluate_seconds": seconds * run.evaluate.metric_seeds}
        )
    return rows, notes


def _score_reference(method: str, splits: Splits, config: EvaluateConfig, scope: Scope, name: str) -> None:
    score_reference(method, splits, config, scope, [name])


def _measures(names: Sequence[str], score: Callable[[str], object], what: str) -> tuple[float, list[str]]:
    """Seconds of the measures as far as there is time for them, and a note where some were left out."""
    began, notes = time.perf_counter(), []
    for number, name in enumerate(names):
        if time.perf_counter() - began > EVALUATION_SECONDS:
            notes.append(f"{len(names) - number} of {len(names)} {what} were not timed: the sweep will take longer")
            break
        score(name)
    return time.perf_counter() - began, notes
