"""Predicts seconds and memory of runs from those of earlier runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.contracts import ModelConfig, later_options
from bench.sweeps.run import Run
from bench.sweeps.stacks import Stack

# The columns of the runs table that a phase's seconds are proportional to (1 where a phase has none).
WORK = {
    "train_seconds": ("train.batch_size", "window"),
    "denoiser_seconds": ("diffusion.batch_size",),
    "sample_seconds": ("diffusion.L", "evaluate.n_samples"),
    "evaluate_seconds": (),
}

# Besides, a stage's seconds are proportional to its updates: the column of those that the past run made, of its own
# budget, and of the other stage's, which is added where more were made than that (generators that lack a stage).
STAGES = {
    "train_seconds": ("updates", "train.steps", "diffusion.steps"),
    "denoiser_seconds": ("denoiser_updates", "diffusion.steps", "train.steps"),
}

# The columns in which a past run must agree, the strictest list first; the first list that finds a run is used.
# A reference row has no backbone, so that it is predicted from reference rows.
ALIKE: tuple[list[str], ...] = (
    ["kind", "method", "backbone", "dataset", "latent_route", "model.hidden", "model.latent", "model.layers",
     "model.latent_steps"],
    ["kind", "method", "backbone", "dataset"],
    ["kind", "backbone", "dataset"],
    ["kind", "backbone", "model.hidden"],
    ["kind", "backbone"],
    ["kind"],
)  # fmt: skip


# The columns that determine a run's memory.
SHAPE = ("method", "backbone", "dataset", "model.hidden", "model.latent", "model.layers", "model.latent_steps",
         "train.batch_size", "diffusion.batch_size", "evaluate.n_samples")  # fmt: skip


LATEST = 200
"""Of similar runs at most this many of the latest are used, because the machine may have changed."""


@dataclass(frozen=True)
class Estimate:
    """The expected time and memory of one run."""

    seconds: float
    memory: float  # bytes


class Past:
    """Finished runs and reference rows of one kind of device, to predict others from."""

    def __init__(self, runs: pd.DataFrame, device: str) -> None:
        right = (runs.status == "ok") & runs.device.str.startswith(device)
        factors = [factor for phase in (*WORK.values(), *STAGES.values()) for factor in phase]
        alike = [name for names in ALIKE for name in names]
        used = dict.fromkeys((*WORK, *factors, *alike, *SHAPE, "peak_memory_bytes", "stack_size"))
        self.runs = runs.loc[right, [name for name in used if name in runs]].reset_index(drop=True)
        self.runs = self.runs.assign(**{"model.latent_steps": _latent_steps(self.runs)})
        self._alike: list[tuple[list[str], dict[Any, np.ndarray]]] = []
        for names in ALIKE:
            present = [name for name in names if name in self.runs]
            places = self.runs.groupby(present).indices
            self._alike.append(
                (present, {k if isinstance(k, tuple) else (k,): np.asarray(v) for k, v in places.items()})
            )

    def predict(self, wanted: Mapping[str, object], leaving_out: int = -1) -> Estimate | None:
        """The prediction from the latest runs most like it, each phase scaled by its work; None without a past run."""
        for names, places in self._alike:
            found = places.get(tuple(wanted.get(name) for name in names), np.array([], dtype=int))
            found = found[found != leaving_out][-LATEST:]
            if len(found):
                return self._from(self.runs.iloc[found], wanted)
        return None

    def _from(self, alike: pd.DataFrame, wanted: Mapping[str, object]) -> Estimate:
        seconds = 0.0
        for phase, factors in WORK.items():
            measured = alike.reindex(columns=[phase])[phase]  # reference rows alone have no column of training
            scaled = measured.fillna(0.0) * _more_updates(phase, alike, wanted)
            for factor in factors:
                if isinstance(target := wanted.get(factor), (int, float)) and target > 0:
                    scaled = scaled * (target / alike[factor].clip(lower=1))
            middle = float(scaled.median())
            seconds += 0.0 if math.isnan(middle) else middle  # a reference row has no such phase
        return Estimate(seconds, float(alike.peak_memory_bytes.fillna(0).max()))

    def memory(self, stacks: Iterable[Stack]) -> float:
        """Bytes that the largest of these stacks takes: its runs times the peak per run of its shape; 0 if unknown."""
        sizes: dict[tuple[object, ...], tuple[Run, int]] = {}
        for stack in stacks:
            run, size = stack.runs[0], len(stack.runs)
            key = (run.method, run.backbone, run.dataset, run.model, run.train, run.diffusion, run.evaluate)
            if run.kind == "method" and size > sizes.get(key, (run, 0))[1]:
                sizes[key] = run, size
        most, each = 0.0, self.runs.peak_memory_bytes / self.runs.stack_size.clip(lower=1)
        for run, size in sizes.values():
            wanted, alike = run.columns(), each > 0
            for name in SHAPE:
                alike &= self.runs[name] == wanted[name]
            most = max(most, size * each[alike].max()) if alike.any() else most
        return most

    def error(self) -> float:
        """The factor by which predictions of past runs from the others were typically wrong; NaN below two runs."""
        ratios = []
        for place, row in enumerate(self.runs.tail(LATEST).to_dict("records")):
            index = place + max(0, len(self.runs) - LATEST)
            guess = self.predict({str(key): value for key, value in row.items()}, leaving_out=index)
            truth = sum(float(row[phase]) for phase in WORK if row[phase] == row[phase])
            if guess and guess.seconds > 0 and truth > 0:
                ratios.append(abs(math.log(guess.seconds / truth)))
        return math.exp(float(pd.Series(ratios).median())) if ratios else math.nan


def _latent_steps(runs: pd.DataFrame) -> pd.Series:
    """Of runs from before there was such an option the neutral value, which is what they did."""
    neutral = later_options(ModelConfig)["latent_steps"]
    return runs.reindex(columns=["model.latent_steps"])["model.latent_steps"].fillna(neutral)


def _more_updates(phase: str, alike: pd.DataFrame, wanted: Mapping[str, object]) -> pd.Series | float:
    """How many times the updates of each of these runs a stage of the wanted one has; 1 for a phase without updates."""
    if phase not in STAGES:
        return 1.0
    made, own, other = STAGES[phase]
    mine, theirs = wanted.get(own), wanted.get(other)
    if not isinstance(mine, (int, float)) or not isinstance(theirs, (int, float)):
        return 1.0
    both = alike.reindex(columns=[made])[made].fillna(0) > alike[own]
    return (mine + theirs * both) / (alike[own] + alike[other] * both).clip(lower=1)
