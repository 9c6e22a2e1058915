"""A results folder of many finished runs: how long its tables take to load, a dry run over it, and its report.

The numbers of one short run of a method and of one reference, repeated with a little noise for every run of a sweep
over a grid; parts as compaction leaves them, and a part each for the last ones. Each measurement is
a process of its own, imports and all. Ratio: the target's seconds over ours.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.engine.job import JobSettings, run_stack
from bench.perf.measure import Line, Scale
from bench.randomness import numpy_generator
from bench.store import COMPACT_AT, Store, load_curves, load_results
from bench.sweeps.expand import read_sweep
from bench.sweeps.run import Run
from bench.sweeps.stacks import Stack

SWEEP = """
name: many
datasets: {datasets}
methods:
  - latent_diffusion
  - kl_annealing
  - variable_masking
  - skip_connections
  - {{name: proposed, grid: {{N: {N}, M: {M}, gamma: {gamma}, eta: {eta}}}}}
seeds: {seeds}
model: {{hidden: 8, latent: 16}}
train: {{steps: 50, batch_size: 16}}
diffusion: {{L: 100, steps: 10, batch_size: 16}}
evaluate: {{n_samples: 100, during_training: 5}}
"""
SIZES: dict[Scale, tuple[int, int, int, int, int]] = {
    "tiny": (2, 1, 1, 1, 1),
    "quick": (5, 2, 2, 2, 5),
    "full": (10, 10, 10, 5, 5),
}
"""Values of N, M, gamma and eta, and seeds: 44, 1,000 and 100,000 runs, about."""

CHILD = """
import importlib, json, os, sys, time
from bench.hardware.memory import resident_peak

name, *words = sys.argv[1:]
module, _, function = name.partition(":")
began = time.perf_counter()
with open(os.devnull, "w") as nothing:
    printed, sys.stdout = sys.stdout, nothing
    getattr(importlib.import_module(module), function)(*([words] if function == "main" else words))
    sys.stdout = printed
used = time.process_time(), time.perf_counter() - began, resident_peak() / 1e9
print(json.dumps(used))
"""


class Cost(NamedTuple):
    """What a process took."""

    seconds: float  # CPU, imports and all
    wall: float  # without the first imports
    peak: float  # GB, resident


def cost_of(function: str, *words: str) -> Cost:
    """Of a call in a new process: "MODULE:FUNCTION" with these words; `main` takes them as a command line."""
    done = subprocess.run([sys.executable, "-c", CHILD, function, *words], capture_output=True, text=True, check=True)
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


def write_sweep(folder: Path, scale: Scale) -> Path:
    """The sweep file."""
    *counts, seeds = SIZES[scale]
    first = {"N": 1, "M": 21, "gamma": 1, "eta": 1}
    values = {name: list(range(k, k + count)) for (name, k), count in zip(first.items(), counts, strict=True)}
    path = folder / "many.yaml"
    specs = [{"name": name, "shuffle": shuffle} for name in ("regimes", "sines") for shuffle in (False, True)]
    datasets = json.dumps(specs[:1] if scale == "tiny" else specs)
    path.write_text(SWEEP.format(**values, seeds=seeds, datasets=datasets), encoding="utf-8")
    return path


Rows = list[dict[str, Any]]


def _templates(runs: Sequence[Run], folder: Path) -> dict[str, tuple[Rows, Rows, Rows]]:
    """By kind: the rows of runs, metrics and curves of one run that was really done."""
    store, found = Store(folder), {}
    for kind in ("method", "reference"):
        run = next(run for run in reversed(runs) if run.kind == kind)
        store.prepare()
        run_stack(Stack((run,)), JobSettings(folder, None, keep="none"))
        tables = *load_results(folder), load_curves(folder)
        rows, numbers, points = (_rows(table[table["run_id"] == run.run_id]) for table in tables)
        found[kind] = rows, numbers, points
    return found


def _rows(table: pd.DataFrame) -> Rows:
    return [{str(name): value for name, value in row.items()} for row in table.astype(object).to_dict("records")]


def write_results(runs: Sequence[Run], folder: Path) -> None:
    """Every run as done, as if a sweep had done it."""
    with tempfile.TemporaryDirectory() as place:
        templates = _templates(runs, Path(place))
    store = Store(folder)
    store.prepare()
    store.write_membership("many", {run.run_id: run.label for run in runs}, command="python -m bench.perf many_runs")
    single = min(COMPACT_AT - 1, len(runs) // 2)
    edges = [*range(0, len(runs) - single, COMPACT_AT), *range(len(runs) - single, len(runs) + 1)]
    noise = numpy_generator("perf", 0, "noise").normal(1.0, 0.01, len(runs))
    for begin, end in itertools.pairwise(edges):
        parts: tuple[Rows, Rows, Rows] = [], [], []
        for run, factor in zip(runs[begin:end], noise[begin:end].tolist(), strict=True):
            (row,), metrics, curves = templates[run.kind]
            parts[0].append({**row, **run.columns(), "attempt": 1})
            parts[1].extend({**number, "run_id": run.run_id, "value": number["value"] * factor} for number in metrics)
            parts[2].extend({**point, "run_id": run.run_id} for point in curves)
        store.write_part(f"many-{begin:07d}", *parts)


def measure(scale: Scale) -> Iterator[Line]:
    """Loading both tables, a dry run, and a report."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sweep = write_sweep(folder, scale)
        runs = read_sweep(sweep).runs
        write_results(runs, folder / "results")
        results = str(folder / "results")
        large = len(runs) > 10_000
        calls = (
            ("both tables", 60.0, 2.0, "bench.store:load_results", results),
            ("dry run", 10.0, float("inf"), "bench.run:main", "--grid", str(sweep), "--results", results, "--dry-run"),
            ("report", 60.0 if large else 20.0, float("inf"), "bench.report.__main__:main", "--results", results),
        )
        for what, target, most, *words in calls:
            cost = cost_of(*words)
            good = cost.wall < target and cost.peak < most
            note = f"{'' if good else '**missed** '}{cost.peak:.2f} GB, {cost.wall:.1f} s of wall clock"
            limits = f"{target:g} s" + (f", {most:g} GB" if np.isfinite(most) else "")
            yield Line(f"{len(runs):,} runs: {what}", target / cost.seconds, cost.seconds, target, limits, note)
            if what == "report" and not large:
                size = Path(results, "report", "index.html").stat().st_size / 1e6
                yield Line(f"{len(runs):,} runs: the report's page, MB", 5 / size, size, 5, "5 MB")
