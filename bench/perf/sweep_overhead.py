"""What the harness costs beside training and measuring, and two workers against two hand-started processes.

The supervisor of `bench.run` drives a worker whose job is the usual one with a stopwatch. Overhead of a run: the
worker's CPU seconds outside training, sampling and measuring, and the supervisor's; the worker's idle time between two
runs by itself (wall clock). Shares are of a run of 10 s.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.engine import job
from bench.engine.progress import Silent
from bench.engine.supervisor import Supervisor
from bench.engine.workers import LocalWorker
from bench.hardware.devices import Device
from bench.perf.measure import Line, Scale
from bench.store import Store
from bench.sweeps.expand import Selection, read_sweep
from bench.sweeps.stacks import Stack, make_stacks

RUN_SECONDS = 10.0
PHASES = ("train_stack", "draw_samples", "score_run")
SWEEP = """
name: perf
datasets: [{name: sines, series: 200}]
methods: [latent_diffusion]
seeds: 20
model: {hidden: 16}
diffusion: {L: 50}
evaluate: {n_samples: 50, metrics: fast, during_training: 0}
"""


def timed_stack(stack: Stack, settings: job.JobSettings, attempt: int = 1) -> list[job.Outcome]:
    """`run_stack`, with its CPU seconds inside and outside the phases noted beside the results."""
    inside = 0.0
    kept = {name: getattr(job, name) for name in PHASES}

    def watched(work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any) -> Any:
            nonlocal inside
            began = time.process_time()
            found = work(*given)
            inside += time.process_time() - began
            return found

        return run

    began, wall = time.process_time(), time.time()
    for name, work in kept.items():
        setattr(job, name, watched(work))
    try:
        outcomes = job.run_stack(stack, settings, attempt)
    finally:
        for name, work in kept.items():
            setattr(job, name, work)
    ended = time.process_time()
    row = {"began": wall, "ended": time.time(), "all": ended - began, "inside": inside, "process": ended}
    (settings.results / f"perf-{os.getpid()}-{stack.stack_id}.json").write_text(json.dumps(row))
    return outcomes


def _stacks(folder: Path, steps: int, seeds: int) -> list[Stack]:
    path = folder / "perf.yaml"
    path.write_text(SWEEP)
    settings = (f"train.steps={steps}", f"diffusion.steps={steps}")
    runs = read_sweep(path, Selection(seeds=tuple(range(seeds)), settings=settings)).runs
    return make_stacks([run for run in runs if run.kind == "method"], 1)


def _noted(results: Path) -> dict[str, list[dict[str, float]]]:
    """Per process, its runs in order."""
    found: dict[str, list[dict[str, float]]] = {}
    for path in results.glob("perf-*.json"):
        found.setdefault(path.name.split("-")[1], []).append(json.loads(path.read_text()))
    return {process: sorted(rows, key=lambda row: row["began"]) for process, rows in found.items()}


def _supervised(stacks: Sequence[Stack], results: Path, workers: int) -> float:
    """CPU seconds of the supervisor."""
    store = Store(results)
    store.prepare()
    slots = [LocalWorker(Device("cpu")) for _ in range(workers)]
    name = "bench.perf.sweep_overhead:timed_stack"
    supervisor = Supervisor(store, job.JobSettings(results, None), slots, progress=Silent(), job=name)
    began = time.process_time()
    supervisor.run([(stack, 1) for stack in stacks], 0)
    return time.process_time() - began


def by_hand(folder: str, steps: str, seeds: str, part: str, parts: str) -> None:
    """What a user would start by hand: every `parts`-th run, one after another, in this process."""
    import torch

    torch.set_num_threads(1)
    place = Path(folder)
    for stack in _stacks(place, int(steps), int(seeds))[int(part) :: int(parts)]:
        timed_stack(stack, job.JobSettings(place / f"hand{part}", None))


def _hand_started(folder: Path, steps: int, seeds: int, processes: int) -> float:
    """CPU seconds of `processes` processes that share the runs."""
    call = "import sys; from bench.perf.sweep_overhead import by_hand; by_hand(*sys.argv[1:])"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = []
    for part in range(processes):
        Store(folder / f"hand{part}").prepare()
        words = [str(folder), str(steps), str(seeds), str(part), str(processes)]
        started.append(subprocess.Popen([sys.executable, "-c", call, *words], env=environment))
    if any(process.wait() for process in started):
        raise RuntimeError("a hand-started process failed")
    return sum(_last(_noted(folder / f"hand{part}")) for part in range(processes))


def _last(noted: dict[str, list[dict[str, float]]]) -> float:
    """CPU seconds that processes had used at the end of their last run, their start included."""
    return sum(rows[-1]["process"] for rows in noted.values())


def measure(scale: Scale) -> Iterator[Line]:
    """Overhead per warm run, its share of a run of 10 s, and the efficiency of two workers."""
    steps, seeds = {"tiny": (2, 3), "quick": (20, 6), "full": (700, 20)}[scale]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        stacks = _stacks(folder, steps, seeds)
        supervisor = _supervised(stacks, folder / "one", 1) / len(stacks)
        (rows,) = _noted(folder / "one").values()
        warm = rows[1:]
        outside = statistics.mean(row["all"] - row["inside"] for row in warm)
        idle = statistics.median(b["began"] - a["ended"] for a, b in itertools.pairwise(rows))
        each = statistics.mean(row["inside"] for row in warm)
        note = f"{1000 * outside:.0f} ms worker + {1000 * supervisor:.0f} ms supervisor"
        share = (outside + supervisor) / RUN_SECONDS
        what = f"{len(stacks)} runs of {each:.2g} s: overhead as a share of {RUN_SECONDS:.0f} s"
        yield Line(what, share, target="< .02", note=note)
        note = "wall clock, median: says nothing on a busy machine"
        yield Line(f"idle between two runs, as a share of {RUN_SECONDS:.0f} s", max(idle, 0) / RUN_SECONDS, note=note)
        if scale != "full":  # the start of a worker is most of what short runs show
            return
        clock = [time.monotonic()]
        own = _supervised(stacks, folder / "two", 2)
        harness = own + _last(_noted(folder / "two"))
        clock.append(time.monotonic())
        hand = _hand_started(folder, steps, seeds, 2)
        clock.append(time.monotonic())
        note = f"wall clock: {(clock[2] - clock[1]) / (clock[1] - clock[0]):.3g}"
        what = "two hand-started processes / two workers, CPU seconds"
        yield Line(what, hand / harness, harness, hand, ">= .97", note)
