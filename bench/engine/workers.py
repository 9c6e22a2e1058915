"""Workers: processes that do one stack at a time and may die.

One single-worker loky executor per slot: a worker that dies breaks its own executor only, and each has its own device.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import signal
import sys
import threading
import time
import warnings
from abc import ABC, abstractmethod
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from bench.engine.tasks import Outcome, Task
from bench.hardware.devices import Device
from bench.sweeps.stacks import Stack

JOB = "bench.engine.job:run_stack"
"""What a worker does with a stack, as MODULE:FUNCTION."""

_PARENT_SECONDS = 0.2  # between two checks that the supervisor is alive
_START_SECONDS = 300.0  # a worker that has not started by then counts as started, so that time limits hold


# ---------------------------------------------------------------- inside a worker


def _initialise(supervisor: int) -> None:
    """Runs once in a new worker of the process `supervisor`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to handle
    with contextlib.suppress(OSError):  # where memory runs out, the kernel should take a worker, not the supervisor
        Path("/proc/self/oom_score_adj").write_text("500")
    threading.Thread(target=_die_with, args=(supervisor,), daemon=True).start()


def _die_with(parent: int) -> None:
    """End the worker when its supervisor is gone: parts are written whole, so it may stop anywhere.

    The pid comes from the supervisor, because it may have died before the worker could ask for its parent.
    """
    while os.getppid() == parent:
        time.sleep(_PARENT_SECONDS)
    os._exit(1)


def _function(job: str) -> Any:
    """MODULE:FUNCTION, imported; torch has one thread where the job needs torch."""
    module, _, function = job.partition(":")
    found = getattr(importlib.import_module(module), function)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    return found


def _ready(job: str) -> None:
    """The first task of a worker: import what the job needs, which no time limit should count."""
    _function(job)


def work(job: str, stack: Stack, settings: Any, attempt: int) -> list[Outcome]:
    """One stack."""
    outcomes: list[Outcome] = _function(job)(stack, settings, attempt)
    return outcomes


# ---------------------------------------------------------------- a worker, from outside


class WorkerDied(Exception):
    """A worker process ended; the message says how, if that is known."""


class Worker(ABC):
    """Does one stack at a time, in a process that may die."""

    task: Task | None = None
    future: Future[list[Outcome]] | None = None

    @abstractmethod
    def submit(self, task: Task, settings: Any, job: str) -> None:
        """Begin a stack: sets `task` and `future`, which raises WorkerDied (or loky's like) where the process died."""

    @abstractmethod
    def seconds(self) -> float:
        """How long it has been at its stack, start-up left out."""

    @abstractmethod
    def memory(self) -> int:
        """Resident bytes; 0 where that is not known."""

    @abstractmethod
    def stop(self) -> None:
        """Kill the process, if there is one; the next submit finds another."""

    def look(self) -> None:
        """Called a few times per second while it works on a stack."""
        return

    def clear(self) -> None:
        """Ready for the next stack."""
        self.task = self.future = None


class LocalWorker(Worker):
    """A process of this machine: a single-worker executor that is replaced when it breaks."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._executor: Any = None
        self._submitted = self._started = 0.0

    def _start(self, job: str) -> None:
        from joblib.externals.loky.process_executor import ProcessPoolExecutor

        threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        env = {**threads, "OMP_WAIT_POLICY": "passive", "CUDA_VISIBLE_DEVICES": self.device.visible}
        mine = {"initializer": _initialise, "initargs": (os.getpid(),)}
        self._executor = ProcessPoolExecutor(max_workers=1, timeout=None, env=env, **mine)
        self._started = 0.0
        # By design: a process that has grown, as one does with its first stack, is replaced between two.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor", UserWarning)
        # A new process inherits the blocked signal: Ctrl-C while it imports must not kill it.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            self._executor.submit(_ready, job).add_done_callback(self._note_start)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])

    def _note_start(self, ready: Future[None]) -> None:
        if not ready.cancelled() and ready.exception() is None:
            self._started = time.monotonic()

    def submit(self, task: Task, settings: Any, job: str) -> None:
        """Begin a stack."""
        from joblib.externals.loky.process_executor import BrokenProcessPool

        self.task, self._submitted = task, time.monotonic()
        call = (work, job, task.stack, dataclasses.replace(settings, device=self.device.kind), task.attempt)
        if self._executor is None:
            self._start(job)
        try:
            self.future = self._executor.submit(*call)
        except BrokenProcessPool:  # it died while it was idle, which is no attempt at a run
            self.stop()
            self._start(job)
            self.future = self._executor.submit(*call)

    def seconds(self) -> float:
        """How long it has been at its stack, start-up left out."""
        now = time.monotonic()
        began = self._started or now
        return now - max(self._submitted, min(began, self._submitted + _START_SECONDS))

    def memory(self) -> int:
        """Resident bytes; 0 where the system does not say."""
        try:
            (pid,) = list(self._executor._processes)  # asked anew: loky may replace one that grew between stacks
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (OSError, IndexError, ValueError, AttributeError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        """Kill the process, if there is one; the next submit starts another."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True, kill_workers=True)
