"""A job that trains nothing: it does what its run's `act` says, to see what the supervisor makes of it."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from bench.contracts import DatasetSpec, DiffusionConfig, EvaluateConfig, ModelConfig, PerRun, TrainConfig
from bench.engine.progress import Lines
from bench.engine.supervisor import Supervisor
from bench.engine.tasks import to_do
from bench.engine.workers import LocalWorker
from bench.hardware.devices import Device
from bench.registry import METHODS, register_method
from bench.store import Store
from bench.sweeps.run import Run
from bench.sweeps.stacks import Stack, make_stacks

JOB = "fake_job:run_stack"


@dataclass(frozen=True)
class Settings:
    results: Path
    device: str = "cpu"
    seconds: float = 0.0


def register() -> None:
    """The method of the runs below, known where a test or a worker asks for it."""

    @dataclass(frozen=True)
    class Fake:
        """Trains nothing. It is no `Method`, because that takes torch, and a process with torch starts slowly."""

        act: str = "ok"
        number: PerRun = 0
        version: ClassVar[int] = 1

    if "pytest" not in sys.modules:  # a process of a test: it knows no other method, and so imports none of them
        METHODS._discovered = True
    if "fake" not in METHODS:
        register_method("fake")(Fake)


def fake_run(act: str, number: float = 0, seed: int = 0, **changes: Any) -> Run:
    values: dict[str, Any] = {
        "sweep": "s",
        "label": act,
        "method": "fake",
        "hyper": (("act", act), ("number", number)),
        "dataset": DatasetSpec("sines"),
        "backbone": "lstm",
        "seed": seed,
        "model": ModelConfig(),
        "train": TrainConfig(),
        "diffusion": DiffusionConfig(),
        "evaluate": EvaluateConfig(),
        "data_sha256": "0" * 64,
    }
    return Run(**{**values, **changes})


def run_stack(stack: Stack, settings: Settings, attempt: int) -> list[tuple[str, str, str]]:
    register()
    act = stack.runs[0].label
    journal = settings.results / "journal"
    journal.mkdir(exist_ok=True)
    for run in stack.runs:
        with open(journal / run.run_id, "a", encoding="utf-8") as file:
            file.write(f"{attempt} of {len(stack.runs)}\n")
    time.sleep(settings.seconds)
    status = "ok"
    if act == "raise":
        raise ValueError("as it was told")
    if act == "exit" or (act == "exit once" and attempt == 1):
        os._exit(3)
    if act == "killed in company" and len(stack.runs) > 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if act == "loop":
        while True:
            time.sleep(0.1)
    if act == "allocate":
        hoard = []
        while True:
            hoard.append(b"x" * 2**26)
    if act == "grow":
        hoard = []
        while True:
            hoard.append(b"x" * 2**25)
            time.sleep(0.05)
    if act == "needs room" and len(stack.runs) > 1:
        status = "oom"
    if act == "wait":
        time.sleep(3)
    rows = [{**run.columns(), "attempt": attempt, "status": status} for run in stack.runs]
    numbers = [
        {"run_id": run.run_id, "metric": "kl", "version": 1, "value": float(run.seed) / 7, "n": 1} for run in stack.runs
    ]
    if status == "ok":
        Store(settings.results).write_part(f"{stack.stack_id}-{attempt}", rows, numbers)
    if act == "exit after writing":
        os._exit(3)
    return [(run.run_id, status, "") for run in stack.runs]


def main() -> None:
    """A supervisor to be killed: results folder, runs, seconds per run, workers."""
    register()
    results, count, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    store = Store(results)
    store.prepare()
    left = to_do([fake_run("ok", seed=seed) for seed in range(count)], store.done(), max_retries=1000)
    attempts = {run.run_id: attempt for run, attempt in left}
    stacks = [(stack, attempts[stack.run_ids[0]]) for stack in make_stacks([run for run, _ in left], 1)]
    workers = [LocalWorker(Device("cpu")) for _ in range(int(sys.argv[4]))]
    settings = Settings(results, seconds=seconds)
    report = Supervisor(store, settings, workers, progress=Lines(0), job=JOB).run(stacks)
    sys.exit(128 + report.interrupted if report.interrupted else 0)


if __name__ == "__main__":
    main()
