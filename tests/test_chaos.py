"""Real training while everything goes wrong: every run ends as its row, and no number moves."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import InlineWorker
from safetensors import SafetensorError
from test_runner import finished, until, workers

import bench.scoring.artifacts
from bench.contracts import InputError
from bench.engine.job import JobSettings, run_stack
from bench.engine.progress import Silent
from bench.engine.supervisor import Limits, Supervisor
from bench.engine.tally import Report
from bench.engine.tasks import to_do
from bench.registry import METHODS, load_plugin
from bench.run import main
from bench.store import Store, load_curves, load_results
from bench.sweeps.expand import read_sweep
from bench.sweeps.stacks import Stack, alone, make_stacks

SWEEP = """
name: chaos
datasets: [{name: ar1, series: 60}]
methods: [{name: proposed, set: {M: 9}, grid: {N: [1, 2, 3, 4, 5]}}]
seeds: 8
model: {hidden: 8, latent: 4}
train: {steps: 60, batch_size: 8}
diffusion: {L: 20, steps: 20, batch_size: 8, hidden: 8}
evaluate: {n_samples: 12, metrics: [sliced_wasserstein, nll], during_training: 0}
"""
KILLS = 20
NOT_NUMBERS = ("attempt", "finished_at", "peak_memory_bytes", "git_commit", "git_dirty", "stack_size")


def launch(sweep: Path, results: Path) -> subprocess.Popen[bytes]:
    words = ["--grid", str(sweep), "--results", str(results), "--jobs", "2", "--device", "cpu"]
    command = [sys.executable, "-m", "bench.run", *words, "--max-retries", str(KILLS), "--quiet"]
    root = Path(__file__).parent.parent
    return subprocess.Popen(command, cwd=root, stderr=subprocess.DEVNULL, start_new_session=True)


def numbers(results: Path) -> list[pd.DataFrame]:
    runs, metrics = load_results(results)
    same = [name for name in runs if name not in NOT_NUMBERS and not name.endswith("_seconds")]
    tables = (runs[same], metrics, load_curves(results))
    keys = (["run_id"], ["run_id", "metric", "coordinate", "index"], ["run_id", "stage", "term", "step"])
    return [table.sort_values(key, ignore_index=True) for table, key in zip(tables, keys, strict=True)]


class Killer(threading.Thread):
    """SIGKILL to a random worker, or to the supervisor, which is then started again.

    Every second kill waits for a run to finish, so that they fall all over the sweep; the next one follows soon and
    finds whatever is there: training, a start, a write.
    """

    def __init__(self, sweep: Path, results: Path, seed: int) -> None:
        super().__init__(daemon=True)
        self._sweep, self._results, self._dice = sweep, results, random.Random(seed)
        self.killed = {"worker": 0, "supervisor": 0}
        self.supervisor = launch(sweep, results)

    def run(self) -> None:
        for number in range(KILLS):
            if number % 2 == 0:
                before = finished(self._results)
                until(lambda before=before: finished(self._results) > before, 200)
            time.sleep(self._dice.uniform(0, 0.8))
            until(lambda: workers(self.supervisor.pid), 100)
            if self._dice.random() < 0.2:
                self.supervisor.kill()
                self.supervisor.wait()
                self.supervisor = launch(self._sweep, self._results)
                self.killed["supervisor"] += 1
            else:
                os.kill(self._dice.choice(workers(self.supervisor.pid)), signal.SIGKILL)
                self.killed["worker"] += 1


@pytest.mark.slow  # about 160 CPU seconds: every kill is a worker that starts again; CI runs it by name
def test_kills_move_no_number(tmp_path: Path) -> None:
    sweep = tmp_path / "chaos.yaml"
    sweep.write_text(SWEEP)
    killer = Killer(sweep, tmp_path / "stormy", seed=2)
    try:
        killer.start()
        (tmp_path / "calm").mkdir()
        stacks = make_stacks(read_sweep(sweep).runs, 1)
        for stack in stacks:
            run_stack(stack, JobSettings(tmp_path / "calm", None))
        killer.join(400)
        assert sum(killer.killed.values()) == KILLS, "the sweep was over before the kills were"
        assert killer.killed["supervisor"] > 0
        assert killer.supervisor.wait(200) == 0
    finally:
        killer.supervisor.kill()
        killer.supervisor.wait()
    calm, storm = numbers(tmp_path / "calm"), numbers(tmp_path / "stormy")
    assert sum(calm[0].kind == "method") == 40
    assert set(storm[0].status) == {"ok"}
    for was, now in zip(calm, storm, strict=True):
        pd.testing.assert_frame_equal(was, now, check_exact=True)


# ---------------------------------------------------------------- methods that misbehave

BAD = """
import os, time
from dataclasses import dataclass
import torch
from bench.method import Method
from bench.parts.objectives import kl_to_prior, reconstruction
from bench.registry import register_method

@dataclass(frozen=True)
class Good(Method):
    def objective(self, model, x, step, draws):
        q = self.posterior(model, x)
        p = model.decoder(q.rsample(draws), self.decoder_input(x, draws))
        return {"reconstruction": reconstruction(p, x), "kl": kl_to_prior(q)}

@register_method("good")
@dataclass(frozen=True)
class Fine(Good):
    "Nothing special."

@register_method("raises")
@dataclass(frozen=True)
class Raises(Method):
    "Raises."
    def objective(self, model, x, step, draws):
        raise ValueError("this is mine")

@register_method("leaves")
@dataclass(frozen=True)
class Leaves(Method):
    "Ends the process, politely."
    def objective(self, model, x, step, draws):
        raise SystemExit(0)

@register_method("interrupts")
@dataclass(frozen=True)
class Interrupts(Method):
    "Says that somebody pressed Ctrl-C."
    def objective(self, model, x, step, draws):
        raise KeyboardInterrupt

@register_method("not_a_number")
@dataclass(frozen=True)
class NotANumber(Good):
    "Returns NaN."
    def objective(self, model, x, step, draws):
        return {"kl": super().objective(model, x, step, draws)["kl"] * float("nan")}

@register_method("exits")
@dataclass(frozen=True)
class Exits(Method):
    "Ends its process."
    def objective(self, model, x, step, draws):
        os._exit(7)

@register_method("loops")
@dataclass(frozen=True)
class Loops(Method):
    "Never returns."
    def objective(self, model, x, step, draws):
        while True:
            time.sleep(0.1)

@register_method("allocates")
@dataclass(frozen=True)
class Allocates(Method):
    "Takes more and more memory."
    def objective(self, model, x, step, draws):
        hoard = []
        while True:
            hoard.append(b"x" * 2**26)
            time.sleep(0.02)

@register_method("roomy")
@dataclass(frozen=True)
class Roomy(Good):
    "Has room for two runs at once, and notes how many it got, and with how large a batch."
    def objective(self, model, x, step, draws):
        with open(os.environ["ROOMY_JOURNAL"], "a") as file:
            file.write(f"{x.shape[0]} {x.shape[1]}\\n")
        if x.shape[0] > 2:
            raise torch.OutOfMemoryError("room for two")
        return super().objective(model, x, step, draws)
"""
NAMES = ("good", "raises", "leaves", "interrupts", "not_a_number", "exits", "loops", "allocates", "roomy")

TINY = """
name: tiny
datasets: [{name: ar1, series: 60}]
methods: [METHODS]
seeds: SEEDS
model: {hidden: 8, latent: 4}
train: {steps: 5, batch_size: 8}
diffusion: {L: 20, steps: 5, batch_size: 8, hidden: 8}
evaluate: {n_samples: 12, metrics: [sliced_wasserstein, nll], during_training: 0}
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Any:
    path = tmp_path / "bad.py"
    path.write_text(BAD)
    load_plugin(str(path))
    yield path
    for name in NAMES:
        METHODS._classes.pop(name, None)


def tiny(tmp_path: Path, methods: str, seeds: int) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.replace("METHODS", methods).replace("SEEDS", str(seeds)))
    return path


@pytest.mark.slow
def test_methods_that_misbehave_end_as_their_rows(plugin: Path, tmp_path: Path) -> None:
    sweep = tiny(tmp_path, "good, raises, leaves, interrupts, not_a_number, exits, loops, allocates", 1)
    words = ["--grid", str(sweep), "--plugin", str(plugin), "--results", str(tmp_path / "r"), "--jobs", "2"]
    words += ["--device", "cpu", "--time-limit", "10s", "--memory-limit", "1500M", "--max-retries", "1", "--quiet"]
    assert main(words) == 1
    runs = load_results(tmp_path / "r")[0].set_index("label")
    assert runs[runs.kind == "reference"].status.unique().tolist() == ["ok"]
    assert runs[runs.kind == "method"].status.to_dict() == {
        "good": "ok",
        "raises": "failed",
        "leaves": "failed",
        "interrupts": "failed",
        "not_a_number": "diverged",
        "exits": "killed",
        "loops": "timeout",
        "allocates": "oom",
    }
    assert "EXIT(7)" in runs.reason["exits"]
    assert "limit of 1.5 GiB" in runs.reason["allocates"]
    assert runs.attempt[["exits", "loops", "allocates"]].tolist() == [2, 1, 2]


def test_out_of_memory_halves_the_stack_and_changes_nothing_else(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [run for run in read_sweep(tiny(tmp_path, "roomy", 5)).runs if run.kind == "method"]
    monkeypatch.setenv("ROOMY_JOURNAL", str(tmp_path / "solo journal"))
    for name in ("solo", "together"):
        Store(tmp_path / name).prepare()
    for stack in alone(Stack(tuple(runs))):
        run_stack(stack, JobSettings(tmp_path / "solo", None))
    monkeypatch.setenv("ROOMY_JOURNAL", str(tmp_path / "journal"))
    store, settings = Store(tmp_path / "together"), JobSettings(tmp_path / "together", None)
    report = Supervisor(store, settings, [InlineWorker()], Limits(max_retries=0), Silent()).run(
        [(Stack(tuple(runs)), 1)]
    )
    assert report.counts == {"ok": 5}
    asked = [tuple(map(int, line.split())) for line in (tmp_path / "journal").read_text().splitlines()]
    assert {batch for _, batch in asked} == {8}, "the batch size is a hyper-parameter"
    assert [size for size, _ in dict.fromkeys(asked)] == [5, 3, 2, 1]
    table = load_results(tmp_path / "together")[0]
    assert (len(table), set(table.attempt), set(table.stack_size)) == (5, {1}, {1, 2})
    for solo, together in zip(numbers(tmp_path / "solo"), numbers(tmp_path / "together"), strict=True):
        pd.testing.assert_frame_equal(solo, together, check_exact=True)


@pytest.mark.parametrize("what", ["weights", "numbers", "lease"])
def test_a_full_disk_ends_the_sweep_with_one_line_and_loses_nothing(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = read_sweep(tiny(tmp_path, "latent_diffusion", 3)).runs
    stacks = [(stack, 1) for stack in make_stacks((run for run in runs if run.kind == "method"), 1)]
    store, settings = Store(tmp_path / "r"), JobSettings(tmp_path / "r", None)
    store.prepare()

    def full(*args: Any, **kwargs: Any) -> None:
        if what == "weights":  # as the library says it
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def supervise(left: Any) -> Report:
        return Supervisor(store, settings, [InlineWorker()], progress=Silent()).run(left)

    assert supervise(stacks[:1]).counts == {"ok": 1}
    place = {
        "weights": (bench.scoring.artifacts, "save_tensors"),
        "numbers": (pq, "write_table"),
        "lease": (Path, "write_text"),
    }
    with monkeypatch.context() as patch:
        patch.setattr(*place[what], full)
        with pytest.raises(InputError, match=r"the disk is full; what is finished is safe: make room and start again$"):
            supervise(stacks[1:])
    assert len(Store(store.path).done()) == len(load_results(store.path)[0]) == 1
    assert not list(store.path.rglob("*.tmp")) + list((store.path / "models").glob(".*"))
    assert not any((store.path / "leases").iterdir())
    left = to_do([stack.runs[0] for stack, _ in stacks], Store(store.path).done())
    assert supervise([(Stack((run,)), attempt) for run, attempt in left]).counts == {"ok": 2}
    assert set(load_results(store.path)[0].attempt) == {1}
