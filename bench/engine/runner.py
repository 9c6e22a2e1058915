"""Workers, limits, retries, resume: gets a list of stacks done whatever happens to the processes.

One single-worker loky executor per slot: a worker that dies breaks its own executor only, and each
has its own device. The worker writes its part of the results itself; the supervisor writes a row
only for a run that had no chance to (killed, over a limit). Done is what the store says is done, so
a supervisor that was killed is simply started again, and two at once share the work by leases.
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
import traceback
import warnings
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from bench.contracts import InputError
from bench.engine.provenance import provenance
from bench.hardware.devices import Device
from bench.store import COMPACT_AT, LEASE_SECONDS, Done, Store, Unwritable, lease_owner
from bench.sweeps.run import Run
from bench.sweeps.stacks import Stack, alone, halves

JOB = "bench.engine.job:run_stack"

Outcome = tuple[str, str, str]
"""run_id, status, reason."""

_TICK = 0.2  # seconds between two looks at limits and signals
_START_SECONDS = 300.0  # a worker that has not started by then counts as started, so that time limits hold


# ---------------------------------------------------------------- what is left to do


def to_do(
    runs: Iterable[Run], done: Mapping[str, Done], retry: Iterable[str] = (), max_retries: int = 2
) -> list[tuple[Run, int]]:
    """The runs without a final row, each with the attempt it is at (1 is the first).

    killed and oom are final after `max_retries` repetitions; a skipped run is tried again once its data are there.
    """
    again = set(retry)
    left = []
    for run in runs:
        status, attempt = done.get(run.run_id, ("", 0))
        unfinished = status in ("killed", "oom") and attempt <= max_retries
        if not status or status in again or unfinished or (status == "skipped" and run.data_sha256):
            left.append((run, attempt + 1))
    return left


@dataclass(frozen=True)
class Task:
    """A stack and its place among the tries."""

    stack: Stack
    attempt: int
    tries: int = 1  # this is the how-manieth


@dataclass(frozen=True)
class Limits:
    """What a run may take before it is stopped from outside."""

    max_retries: int = 2
    seconds: float | None = None  # per run; a stack has it once per run
    memory: int | None = None  # bytes per worker, resident


# ---------------------------------------------------------------- inside a worker


def _initialise(supervisor: int) -> None:
    """Runs once in a new worker of the process `supervisor`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to handle
    with contextlib.suppress(OSError):  # where memory runs out, the kernel should take a worker, not the supervisor
        Path("/proc/self/oom_score_adj").write_text("500")
    threading.Thread(target=_die_with, args=(supervisor,), daemon=True).start()
    import torch

    torch.set_num_threads(1)


def _die_with(parent: int) -> None:
    """A worker whose supervisor is gone must not live on: parts are written whole, so it may stop anywhere.

    The supervisor tells its own pid: it may have died before the worker could ask who its parent is.
    """
    while os.getppid() == parent:
        time.sleep(_TICK)
    os._exit(1)


def _function(job: str) -> Any:
    """MODULE:FUNCTION, imported."""
    module, _, function = job.partition(":")
    return getattr(importlib.import_module(module), function)


def _ready(job: str) -> None:
    """The first thing a worker does: import what the job needs, which no time limit should count."""
    _function(job)


def work(job: str, stack: Stack, settings: Any, attempt: int) -> list[Outcome]:
    """One stack."""
    outcomes: list[Outcome] = _function(job)(stack, settings, attempt)
    return outcomes


# ---------------------------------------------------------------- a worker, from outside


class WorkerDied(Exception):
    """A worker is gone, with how if that is known."""


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
        """Called a few times per second while it is at a stack."""
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
        except BrokenProcessPool:  # it died while it was idle, which costs nobody a try
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


# ---------------------------------------------------------------- progress


class Progress(Protocol):
    """Where the supervisor says what is happening."""

    def advance(self, done: int, total: int, left: float | None) -> None:
        """So many runs are done; `left` seconds are expected to remain."""
        ...

    def working(self, stacks: Sequence[tuple[Stack, float]]) -> None:
        """What the workers are at, and for how many seconds."""
        ...

    def finished(self, part: str, outcomes: Sequence[Outcome]) -> None:
        """Runs ended; the store has their numbers in `part`, if there are any."""
        ...

    def say(self, text: str) -> None:
        """One line that stays."""
        ...

    def close(self) -> None:
        """Nothing will follow."""
        ...


def _log(text: str) -> None:
    """One line on standard error; a log that is gone (a closed pipe, a full disk) stops no sweep."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


class Silent:
    """--quiet: only what went wrong, on standard error."""

    def advance(self, done: int, total: int, left: float | None) -> None:
        """Nothing."""

    def working(self, stacks: Sequence[tuple[Stack, float]]) -> None:
        """Nothing."""

    def finished(self, part: str, outcomes: Sequence[Outcome]) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """One line on standard error."""
        _log(text)

    def close(self) -> None:
        """Nothing."""


class Lines(Silent):
    """For a log: a line when something changed, at most one every few seconds."""

    def __init__(self, every: float = 5.0) -> None:
        self._every, self._last = every, (-1.0, -1)

    def advance(self, done: int, total: int, left: float | None) -> None:
        """done / total, time left."""
        now = time.monotonic()
        if done != self._last[1] and (now - self._last[0] >= self._every or done == total):
            self._last = now, done
            _log(f"{done}/{total} runs{'' if left is None else f', about {clock(left)} left'}")


def clock(seconds: float) -> str:
    """45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


# ---------------------------------------------------------------- the supervisor


@dataclass
class Report:
    """What a supervisor did."""

    statuses: dict[str, str] = field(default_factory=dict)  # of the runs that ended this time, by run_id
    elsewhere: int = 0  # runs that another supervisor finished meanwhile
    interrupted: int = 0  # the signal that stopped it, or 0

    @property
    def counts(self) -> Counter[str]:
        """Runs per status, this time."""
        return Counter(self.statuses.values())


class Supervisor:
    """Gets stacks done on slots. `run` returns when nothing is left, or after Ctrl-C."""

    def __init__(
        self,
        store: Store,
        settings: Any,
        workers: Sequence[Worker],
        limits: Limits | None = None,
        progress: Progress | None = None,
        job: str = JOB,
    ) -> None:
        self.store, self.settings, self.limits = store, settings, limits or Limits()
        self.progress = progress or Silent()
        self._job = job
        self._workers = workers
        self._waiting: deque[Task] = deque()
        self._owner = lease_owner()
        self._report = Report()
        self._held: set[str] = set()  # runs whose leases are ours
        self._signals = 0
        self._began = time.monotonic()
        self._renewed = self._look_again = 0.0
        self._parts = 0
        self._total = 0

    # ---- the loop

    def run(self, stacks: Iterable[tuple[Stack, int]], before: int = 0) -> Report:
        """Do (stack, attempt) pairs; `before` runs of the sweep are done already and only counted.

        Raises InputError where results cannot be written. Whatever happens, no worker is left behind.
        """
        self._waiting.extend(Task(stack, attempt) for stack, attempt in stacks)
        self._before = before
        self._total = before + sum(len(task.stack.runs) for task in self._waiting)
        self._began = time.monotonic()
        self._advance()
        try:
            with self._listening():
                while (self._waiting and not self._signals) or self._busy:
                    if self._signals > 1:
                        break
                    if not self._signals:
                        self._hand_out()
                    self._wait()
                    for worker in self._busy:
                        self._look_at(worker)
                    self.progress.working([(w.task.stack, w.seconds()) for w in self._workers if w.task])
                    self._keep_house()
        finally:
            for worker in self._workers:
                worker.stop()
            self._release(tuple(self._held))
            self.progress.close()
        if not self._signals:
            self._compact()
        return self._report

    @property
    def _busy(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.task]

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Ctrl-C once: finish what is running. Twice, or SIGTERM: stop now."""

        def heard(number: int, frame: FrameType | None) -> None:
            self._signals += 1 if number == signal.SIGINT else 2
            self._report.interrupted = number
            if self._signals == 1:
                self.progress.say("finishing what is running; press Ctrl-C again to stop now")

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _wait(self) -> None:
        futures = [worker.future for worker in self._busy if worker.future]
        if futures:
            wait(futures, timeout=_TICK, return_when=FIRST_COMPLETED)
        elif self._waiting:
            time.sleep(_TICK)  # everything left is leased by another supervisor

    def _keep_house(self) -> None:
        now = time.monotonic()
        if now - self._renewed > LEASE_SECONDS / 6:
            self._renewed = now
            self._give_up(self.store.leases.renew(self._held, self._owner))
        if self._parts > COMPACT_AT:
            self._parts = 0
            self._compact()

    def _compact(self) -> None:
        try:
            self.store.compact()
        except Unwritable as error:  # room for a run is not yet room for a thousand of them
            self.progress.say(f"small files were not merged: {error}")

    def _give_up(self, taken: set[str]) -> None:
        """Leave stacks to a supervisor that took them over because this one had given no sign of life for so long."""
        self._held -= taken
        for worker in self._busy:
            task = worker.task
            if task and taken.intersection(task.stack.run_ids):
                worker.stop()
                worker.clear()
                self._release(task.stack.run_ids)
                self._waiting.append(task)  # what the other one has not done by then

    # ---- handing out

    def _hand_out(self) -> None:
        """Give every idle worker the first stack that no other supervisor is at."""
        idle = [worker for worker in self._workers if not worker.task]
        if not idle or not self._waiting or time.monotonic() < self._look_again:
            return
        refused: list[Task] = []
        while idle and self._waiting:
            task = self._waiting.popleft()
            silent = self.store.leases.claim(task.stack.run_ids, self._owner)
            if silent is None:
                refused.append(task)
                continue
            self._held.update(task.stack.run_ids)
            task = self._still_to_do(task)
            if task.stack.runs:
                if silent:  # the one that had them may write its rows yet: ours must not be the same attempt
                    task = dataclasses.replace(task, attempt=task.attempt + 1, tries=task.tries + 1)
                self._submit(idle.pop(), task)
        self._waiting.extendleft(reversed(refused))
        if refused and not self._busy:
            self._look_again = time.monotonic() + 5 * _TICK

    def _submit(self, worker: Worker, task: Task) -> None:
        try:
            worker.submit(task, self.settings, self._job)
        except OSError as error:  # the system gives no process, no memory, no file
            why = error.strerror or error
            raise InputError(f"no worker can be started: {why}; finished runs are safe: start again") from error

    def _release(self, run_ids: Sequence[str]) -> None:
        self.store.leases.release(run_ids, self._owner)
        self._held.difference_update(run_ids)

    def _still_to_do(self, task: Task) -> Task:
        """Without the runs that another supervisor finished before the lease was ours."""
        done = self.store.done()
        left = tuple(run for run in task.stack.runs if not self._is_done(run, task, done))
        gone = [run.run_id for run in task.stack.runs if run not in left]
        if not gone:
            return task
        self._release(gone)
        self._report.elsewhere += len(gone)
        self._advance()
        return dataclasses.replace(task, stack=Stack(left))

    @staticmethod
    def _is_done(run: Run, task: Task, done: Mapping[str, Done]) -> bool:
        """Whether a run has a row of this attempt, or a lasting one since the first of this task's tries."""
        status, attempt = done.get(run.run_id, ("", 0))
        return attempt >= task.attempt or (attempt > task.attempt - task.tries and status not in ("killed", "oom"))

    # ---- taking in

    def _look_at(self, worker: Worker) -> None:
        """Take in what a worker finished, or stop it at its limits."""
        worker.look()
        task, future = worker.task, worker.future
        assert task is not None
        assert future is not None
        if future.done():
            worker.clear()
            self._take_in(worker, task, future)
            return
        size = len(task.stack.runs)
        if self.limits.seconds and worker.seconds() > self.limits.seconds * size:
            limit = clock(self.limits.seconds)
            self._stopped(worker, task, "timeout", f"took longer than the time limit of {limit}")
        elif self.limits.memory and worker.memory() > self.limits.memory:
            limit = f"{self.limits.memory / 2**30:.2g} GiB"
            self._stopped(worker, task, "oom", f"took more memory than the limit of {limit}")

    def _take_in(self, worker: Worker, task: Task, future: Future[list[Outcome]]) -> None:
        from joblib.externals.loky.process_executor import BrokenProcessPool

        try:
            outcomes = future.result()
        except (BrokenProcessPool, WorkerDied) as error:
            worker.stop()
            self._lost(task, "killed", f"its worker died{_how(error)}")
        except InputError:
            raise  # the results folder cannot be written: nothing that follows could be
        except (Exception, KeyboardInterrupt) as error:  # the worker's, whose work raised it: the future is done
            self._lost(task, "failed", f"{type(error).__name__}: {error}", traceback.format_exc())
        else:
            self._finished(task, outcomes)

    def _stopped(self, worker: Worker, task: Task, status: str, reason: str) -> None:
        worker.stop()
        worker.clear()
        self._lost(task, status, reason)

    def _finished(self, task: Task, outcomes: Sequence[Outcome]) -> None:
        """A stack's part is written. Runs out of memory are tried again in smaller company, themselves unchanged.

        In company they left no row and it counts as no try: what there was no room for is the company.
        """
        self._parts += 1
        without = {run_id for run_id, status, _ in outcomes if status == "oom"}
        short = tuple(run for run in task.stack.runs if run.run_id in without)
        if short and len(task.stack.runs) > 1:
            smaller = halves(Stack(short)) if len(short) == len(task.stack.runs) else [Stack(short)]
            self._waiting.extendleft(dataclasses.replace(task, stack=stack) for stack in reversed(smaller))
            outcomes = [outcome for outcome in outcomes if outcome[1] != "oom"]
        elif short and task.tries <= self.limits.max_retries:
            self._again(task, [task.stack])
            outcomes = []
        self._count(task, outcomes)
        self._release(task.stack.run_ids)

    def _lost(self, task: Task, status: str, reason: str, trace: str = "") -> None:
        """A stack ended without its part: try its runs again one by one, or write the rows that it could not."""
        done = self.store.done()
        written = [run for run in task.stack.runs if self._is_done(run, task, done)]
        if written:  # it died after its part was moved into place
            self._finished(task, [(run.run_id, done[run.run_id].status, reason) for run in written])
            if rest := tuple(run for run in task.stack.runs if run not in written):
                self._again(task, alone(Stack(rest)))
            return
        several = len(task.stack.runs) > 1  # nobody knows whose fault it was: no row before each had a try of its own
        repeat = status in ("killed", "oom") and task.tries <= self.limits.max_retries
        if self._signals:
            pass  # no row: the run is simply not done
        elif repeat or (several and status != "failed"):
            self._again(task, alone(task.stack))
        else:
            self._write_rows(task, status, reason, trace)
            self._count(task, [(run.run_id, status, reason) for run in task.stack.runs])
        self._release(task.stack.run_ids)

    def _again(self, task: Task, stacks: Iterable[Stack]) -> None:
        self._waiting.extendleft(Task(stack, task.attempt + 1, task.tries + 1) for stack in stacks)

    def _write_rows(self, task: Task, status: str, reason: str, trace: str) -> None:
        shared = {"attempt": task.attempt, "status": status, "reason": reason, "traceback": trace}
        shared |= {"device": self.settings.device, "stack_size": len(task.stack.runs), **provenance()}
        rows = [{**run.columns(), **shared} for run in task.stack.runs]
        self.store.write_part(_part(task), rows)
        self._parts += 1

    # ---- counting

    def _count(self, task: Task, outcomes: Iterable[Outcome]) -> None:
        runs, outcomes = {run.run_id: run for run in task.stack.runs}, list(outcomes)
        self.progress.finished(_part(task), outcomes)
        for run_id, status, reason in outcomes:
            self._report.statuses[run_id] = status
            run = runs[run_id]
            if status != "ok" and run.data_sha256:  # that data are not there was said before the sweep began
                self.progress.say(f"{status}: {run.label}, {run.dataset.key}, seed {run.seed} ({run_id}): {reason}")
        self._advance()

    def _advance(self) -> None:
        finished = len(self._report.statuses)
        here = finished + self._report.elsewhere
        left = self._total - self._before - here
        each = (time.monotonic() - self._began) / finished if finished else 0.0
        self.progress.advance(self._before + here, self._total, each * left if finished and left else None)


def _part(task: Task) -> str:
    """The name of a stack's part in the store."""
    return f"{task.stack.stack_id}-{task.attempt}"


def _how(error: BaseException) -> str:
    """What loky says about the signal, e.g. " (SIGKILL(-9))"."""
    text = str(error)
    start = text.rfind("{")
    return f" ({text[start + 1 : text.rfind('}')]})" if start >= 0 and text.rfind("}") > start else ""
