"""Faster samplers of the latent against all steps of DDPM, on the kept models of a results folder.

Per sampler and data set: how many times fewer CPU seconds its latents take, and the difference of the primary measure,
c2st_auc, from that of the samples of DDPM in all its steps. Both sides decode with the same noise and are measured
beside the same windows; the differences are paired by run. A sampler is equivalent where two one-sided t tests (TOST)
say of every data set that the mean difference is within .02. The sampler "ddpm, all steps, again" has other noise than
the reference: its differences are those of chance alone.

A run whose samples no sampler changes, such as one without a latent, is left out. A generator of series, which has no
latent, is a group of its own.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.contracts import SampleEvaluation, Splits
from bench.loading.cells import as_recorded
from bench.loading.references import evaluation_size, origin, reference_windows
from bench.loading.windows import load_splits
from bench.method import DataSpaceMethod, Method
from bench.metrics.c2st import REPEATS, both_kinds, separation
from bench.metrics.window_features import features_by_family
from bench.models.build import StackedModel
from bench.perf.measure import Line, Scale
from bench.report.statistics import Interval, difference, holm, p_equivalence
from bench.scoring.artifacts import load_model, load_run
from bench.scoring.scores import Scope
from bench.sweeps.run import Run

MEASURE, BOUND = "c2st_auc", 0.02
REFERENCE = ("ddpm", 0)
CHANCE = "ddpm, all steps, again"
SAMPLERS = (
    ("ddpm", 100),
    ("ddim", 50),
    ("ddim", 20),
    ("dpm_solver", 20),
    ("dpm_solver", 10),
    ("dpm_solver_sde", 100),
    ("dpm_solver_sde", 50),
    ("dpm_solver_sde", 20),
)
RUNS: Mapping[Scale, int] = {"tiny": 2, "quick": 3}  # at most


@dataclasses.dataclass(frozen=True)
class Kept:
    """A trained run that is sampled again."""

    run: Run
    model: StackedModel
    method: Method
    splits: Splits

    @property
    def group(self) -> str:
        """Whose runs are taken together."""
        return "series, without a latent" if isinstance(self.method, DataSpaceMethod) else self.run.dataset.key

    def latents(self, sampler: str, steps: int, role: str) -> tuple[Tensor, float]:
        """z (1, n, D) of as many samples as are measured, and the CPU seconds that a thousand take."""
        self.model.sampler, self.model.sampling_steps = sampler, steps
        scope = Scope.of(self.run)
        n = evaluation_size(scope.measured(self.splits), self.run.evaluate.n_samples)
        began = time.process_time()
        z = self.method.latents(self.model, n, scope.draws(role))
        return z, (time.process_time() - began) / n * 1000

    @torch.no_grad()
    def series(self, z: Tensor) -> np.ndarray:
        """The samples that belong to latents z, (n, T, C), always with the same noise of the decoder."""
        given = copy.copy(self.method)
        object.__setattr__(given, "latents", lambda *_: z)  # a method is frozen; what it does around them stays its own
        x = given.sample(self.model, z.shape[1], Scope.of(self.run).draws("decoder")).numpy()[0]
        return as_recorded(x, self.splits.cells) if self.run.evaluate.round else x

    def distance(self, samples: np.ndarray) -> float:
        """The primary measure of samples beside the run's reference windows."""
        scope = Scope.of(self.run)
        measured = scope.measured(self.splits)
        real = reference_windows(measured, len(samples), scope.reference())
        starts = origin(real, measured).start, origin(samples[: len(real)], measured).start
        return primary(
            SampleEvaluation(
                real,
                samples[: len(real)],
                measured.train,
                scope.numpy,
                cells=measured.cells,
                reference_start=starts[0],
                sample_start=starts[1],
            )
        )


def primary(evaluation: SampleEvaluation) -> float:
    """c2st_auc alone, to the bit; the metric also measures families of features, which takes as long again."""
    rng = evaluation.rng("c2st")
    values, windows = both_kinds(evaluation)
    folds = [windows.folds(rng) for _ in range(REPEATS)]
    seed = int(rng.integers(2**31))
    features = np.concatenate(list(features_by_family(values).values()), axis=1)
    return float(np.mean([separation(features, windows, fold, seed)[0] for fold in folds]))


@dataclasses.dataclass
class Found:
    """What a sampler gave, by run: the measure, that of the reference, and both costs."""

    values: dict[int, float] = dataclasses.field(default_factory=dict)
    base: dict[int, float] = dataclasses.field(default_factory=dict)
    seconds: dict[int, float] = dataclasses.field(default_factory=dict)
    all_steps: dict[int, float] = dataclasses.field(default_factory=dict)

    def line(self, what: str, p: float, gap: Interval) -> Line:
        """The row of the table."""
        ratio = statistics.median(self.all_steps[run] / seconds for run, seconds in self.seconds.items())
        ours, other = (statistics.median(costs.values()) for costs in (self.seconds, self.all_steps))
        verdict = "equivalent" if p < 0.05 else "not shown"
        note = (
            f"{MEASURE} {gap.mean:+.4f} ({gap.low:+.4f} to {gap.high:+.4f}), {gap.n} runs, TOST p = {p:.2g}: {verdict}"
        )
        return Line(what, ratio, ours, other, note=note)

    @property
    def gap(self) -> Interval:
        """Its mean difference from the reference."""
        return difference(self.values, self.base)


def kept_runs(results: Path, scale: Scale) -> list[Run]:
    """The trained runs of a folder whose weights were kept, in the order of their data sets."""
    weights = sorted((results / "models").glob("*/weights.safetensors"))
    runs = [load_run(results, path.parent.name) for path in weights]
    return sorted(runs, key=lambda run: (run.dataset.key, run.label, run.seed))[: RUNS.get(scale)]


def resampled(kept: Kept) -> Iterator[tuple[str, float, float, float, float]]:
    """A sampler's name, the measure, that of the reference, and the seconds of both, for every sampler.

    Nothing where a run has its own way to latents, or no use for them.
    """
    z, all_steps = kept.latents(*REFERENCE, role="samples")
    other, seconds = kept.latents(*REFERENCE, role="other samples")
    base, by_chance = kept.series(z), kept.series(other)
    if torch.equal(z, kept.latents(*SAMPLERS[-1], role="samples")[0]) or np.array_equal(by_chance, base):
        return
    value = kept.distance(base)
    yield CHANCE, kept.distance(by_chance), value, seconds, all_steps
    for sampler, steps in SAMPLERS:
        z, seconds = kept.latents(sampler, steps, role="samples")
        yield f"{sampler}, {steps} steps", kept.distance(kept.series(z)), value, seconds, all_steps


def measure(scale: Scale, results: Path) -> Iterator[Line]:
    """A line per group and sampler, and one per sampler over all data sets; none where no weights were kept."""
    found: dict[str, dict[str, Found]] = defaultdict(lambda: defaultdict(Found))
    for number, run in enumerate(kept_runs(results, scale)):
        splits = load_splits(run.dataset, run.data_seed, None)
        loaded = load_model(results, run, splits)
        assert loaded is not None  # `kept_runs` saw the file
        kept = Kept(run, *loaded, splits)
        for name, value, base, seconds, all_steps in resampled(kept):
            one = found[kept.group][name]
            one.values[number], one.base[number] = value, base
            one.seconds[number], one.all_steps[number] = seconds, all_steps
    for group, by_sampler in found.items():
        for name, one in by_sampler.items():
            yield one.line(f"{group}: {name}", p_equivalence(one.gap, BOUND), one.gap)
    yield from _over_groups(list(found.values()))


def _over_groups(groups: Sequence[Mapping[str, Found]]) -> Iterator[Line]:
    """Equivalent where every group says so: its p is the largest of theirs, Holm's over the samplers."""
    if not groups:
        return
    names = list(groups[0])
    largest = {name: max((p_equivalence(group[name].gap, BOUND) for group in groups), key=_nan_last) for name in names}
    for name, adjusted in holm(largest).items():
        together = Found()
        for group in groups:
            for mine, more in zip(vars(together).values(), vars(group[name]).values(), strict=True):
                mine.update(more)
        yield together.line(f"all: {name}", adjusted.p, together.gap)


def _nan_last(p: float) -> float:
    return math.inf if math.isnan(p) else p
