"""What the supervisor costs per stack on the cluster backend, at the beginning and at the end of sweeps of many runs.

Fake jobs write a part with as many numbers as a run has and train nothing. At the beginning of a sweep N runs wait; at
the end N runs are done, in parts as compaction leaves them. From there a few hundred stacks are worked through, by two
dask workers on this machine; the scheduler is in the supervisor's process. CPU seconds are of that process; each
measurement has one of its own. Ratio: the target of .05 CPU seconds a stack over ours.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.engine.cluster import Cluster
from bench.engine.progress import Silent
from bench.engine.supervisor import Supervisor
from bench.engine.tasks import Outcome, to_do
from bench.hardware.memory import resident_peak
from bench.perf.measure import Line, Scale
from bench.store import COMPACT_AT, RUNS, SCHEMA_VERSION, Store
from bench.store.parquet import write
from bench.store.parts import COMPACTED
from bench.store.tables import table_of
from bench.sweeps.expand import read_sweep
from bench.sweeps.run import Run
from bench.sweeps.stacks import Stack, make_stacks

NUMBERS = 240  # of a run
SECONDS = 0.05  # a stack, so that a supervisor of 100 workers serves runs of 5 s
SIZES: dict[Scale, tuple[tuple[int, ...], int]] = {
    "tiny": ((20,), 5),
    "quick": ((1_000,), 100),
    "full": ((1_000, 10_000, 100_000), 400),
}
"""Runs, and stacks that are timed."""
MOMENTS = ("beginning", "end")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a fake job needs to know."""

    results: Path
    device: str = "cpu"


def fake_stack(stack: Stack, settings: Settings, attempt: int) -> list[Outcome]:
    """Write the part of a stack whose runs were not trained."""
    runs = [{**run.columns(), "attempt": attempt, "status": "ok"} for run in stack.runs]
    facts: dict[str, Any] = {"metric": "kl", "version": 1, "n": 1, "coordinate": "t"}
    numbers = [{**facts, "run_id": run.run_id, "index": k, "value": 0.1} for run in stack.runs for k in range(NUMBERS)]
    Store(settings.results).write_part(f"{stack.stack_id}-{attempt}", runs, numbers)
    return [(run.run_id, "ok", "") for run in stack.runs]


class Enough(Exception):
    """As many stacks as are timed are done."""


class Watch(Silent):
    """Notes the clock and the CPU seconds after the first stack and after the last one that is timed."""

    def __init__(self, stacks: int) -> None:
        self.stacks, self.seen = stacks, 0
        self.marks: list[tuple[float, float]] = []

    def finished(self, part: str, outcomes: Sequence[Outcome]) -> None:
        """Raises Enough after the last one."""
        self.seen += 1
        if self.seen in (1, self.stacks):
            self.marks.append((time.monotonic(), time.process_time()))
        if self.seen == self.stacks:
            raise Enough


class Cost(NamedTuple):
    """What a stack costs, and the supervisor."""

    clock: float
    cpu: float
    peak: float  # GB, resident


def fake_runs(count: int) -> list[Run]:
    """As many different runs."""
    first = next(run for run in read_sweep("smoke").runs if run.kind == "method")
    return [dataclasses.replace(first, seed=seed) for seed in range(count)]


def write_done(runs: Sequence[Run], store: Store) -> None:
    """Runs that are done, in parts as compaction leaves them."""
    for place, begin in enumerate(range(0, len(runs), COMPACT_AT)):
        some = runs[begin : begin + COMPACT_AT]
        rows = [
            {**run.columns(), "attempt": 1, "status": "ok", "schema_version": SCHEMA_VERSION, "finished_at": ""}
            for run in some
        ]
        facts = {"replaces": [f"{run.run_id}-1" for run in some], "with": []}
        write(store.path / "runs" / f"{COMPACTED}{place:020d}-0.parquet", table_of(rows, RUNS), facts)


def supervise(folder: str, moment: str, count: str, stacks: str) -> None:
    """Print the cost of a stack as JSON; in a process of its own."""
    store, timed = Store(folder), int(stacks)
    store.prepare()
    runs = fake_runs(int(count) + timed)
    left = make_stacks([run for run, _ in to_do(runs, store.done())], 1)
    assert len(left) == (timed if moment == "end" else len(runs))
    watch, cluster = Watch(timed), Cluster("local:2")
    try:
        job = "bench.perf.scheduler:fake_stack"
        workers = cluster.workers(None, store, job)
        Supervisor(store, Settings(store.path), workers, progress=watch, job=job).run([(stack, 1) for stack in left])
    except Enough:
        pass
    finally:
        cluster.close()
    (began, cpu), (ended, used) = watch.marks
    print(json.dumps([(ended - began) / (timed - 1), (used - cpu) / (timed - 1), resident_peak() / 1e9]))


def cost_of(moment: str, count: int, stacks: int) -> Cost:
    """Of a stack at this moment of a sweep of so many runs."""
    with tempfile.TemporaryDirectory() as place:
        if moment == "end":
            store = Store(place)
            store.prepare()
            write_done(fake_runs(count), store)
        words = [sys.executable, "-m", "bench.perf.scheduler", place, moment, str(count), str(stacks)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        return Cost(*json.loads(done.stdout.splitlines()[-1]))


def measure(scale: Scale) -> Iterator[Line]:
    """A line per number of runs and moment."""
    counts, stacks = SIZES[scale]
    for count, moment in itertools.product(counts, MOMENTS):
        cost = cost_of(moment, count, stacks)
        note = f"{1 / cost.clock:.0f} stacks per second by the clock, {cost.peak:.2f} GB"
        yield Line(
            f"{moment} of {count:,} runs: a stack", SECONDS / cost.cpu, cost.cpu, SECONDS, f"{SECONDS:g} s", note
        )


if __name__ == "__main__":
    supervise(*sys.argv[1:])
