"""What earlier runs took, and so what others will take: seconds and memory."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from bench.stacks import Stack
from bench.sweep import Run

# What a phase's seconds grow with: columns of the runs table (1 where a phase has none).
WORK = {
    "train_seconds": ("train.steps", "train.batch_size", "window"),
    "denoiser_seconds": ("diffusion.steps", "diffusion.batch_size"),
    "sample_seconds": ("diffusion.L", "evaluate.n_samples"),
    "evaluate_seconds": (),
}

# What a past run must have in common, from near to far; the first that finds any is used.
ALIKE: tuple[list[str], ...] = (
    ["method", "backbone", "dataset", "latent_route", "model.hidden", "model.latent", "model.layers"],
    ["method", "backbone", "dataset"],
    ["backbone", "dataset"],
    ["backbone", "model.hidden"],
    ["backbone"],
    [],
)


# What runs of one shape have in common: they take the same memory.
SHAPE = ("method", "backbone", "dataset", "model.hidden", "model.latent", "model.layers", "train.batch_size",
         "diffusion.batch_size", "evaluate.n_samples")  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    """What one run is expected to take."""

    seconds: float
    memory: float  # bytes


class Past:
    """Finished runs of one kind of device, to predict others from."""

    def __init__(self, runs: pd.DataFrame, device: str) -> None:
        right = (runs.kind == "method") & (runs.status == "ok") & runs.device.str.startswith(device)
        self.runs = runs[right].reset_index(drop=True)

    def predict(self, wanted: dict[str, object], leaving_out: int = -1) -> Estimate | None:
        """From the runs most like it, each phase scaled by its work; None without any past run."""
        runs = self.runs.drop(index=leaving_out) if leaving_out >= 0 else self.runs
        for names in ALIKE:
            alike = runs
            for name in names:
                if name in runs:
                    alike = alike[alike[name] == wanted.get(name)]
            if len(alike):
                return self._from(alike, wanted)
        return None

    def _from(self, alike: pd.DataFrame, wanted: dict[str, object]) -> Estimate:
        seconds = 0.0
        for phase, factors in WORK.items():
            scaled = alike[phase].fillna(0.0)
            for factor in factors:
                if isinstance(target := wanted.get(factor), (int, float)) and target > 0:
                    scaled = scaled * (target / alike[factor].clip(lower=1))
            seconds += float(scaled.median())
        return Estimate(seconds, float(alike.peak_memory_bytes.max()))

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
        """By what factor predictions of past runs from the others were typically wrong; NaN below two runs."""
        ratios = []
        for place, row in enumerate(self.runs.tail(200).to_dict("records")):
            index = place + max(0, len(self.runs) - 200)
            guess = self.predict({str(key): value for key, value in row.items()}, leaving_out=index)
            truth = sum(float(row[phase]) for phase in WORK if row[phase] == row[phase])
            if guess and guess.seconds > 0 and truth > 0:
                ratios.append(abs(math.log(guess.seconds / truth)))
        return math.exp(float(pd.Series(ratios).median())) if ratios else math.nan
