"""Limits, retries and resuming: works through a list of stacks whatever happens to the worker processes.

A worker writes its part of the results itself. The supervisor writes a row only for a run whose worker could not,
because it was killed or exceeded a limit. The store decides which runs are done. So a supervisor that was killed is
simply started again, and two supervisors at once share the work by leases.
"""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

from bench.contracts import InputError, in_one_line
from bench.engine.held_leases import HeldLeases
from bench.engine.interrupts import Interrupts
from bench.engine.progress import Progress, Silent, clock
from bench.engine.provenance import provenance
from bench.engine.tally import Report, Tally
from bench.engine.tasks import CodeChanged, Outcome, Task
from bench.engine.workers import JOB, Worker, WorkerDied
from bench.store import COMPACT_AT, Store, Unwritable
from bench.sweeps.stacks import Stack, alone, halves

_TICK = 0.2  # seconds between two checks of limits and signals


@dataclass(frozen=True)
class Limits:
    """The time and memory that a run may take before it is stopped from outside."""

    max_retries: int = 2
    seconds: float | None = None  # per run; a stack of R runs has R times as long
    memory: int | None = None  # bytes per worker, resident


class Supervisor:
    """Works through stacks on slots. `run` returns when nothing is left, or after Ctrl-C."""

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
        self._leases = HeldLeases(store)
        self._tally = Tally(self.progress)
        self._interrupts = Interrupts(self.progress.say)
        self._look_again = 0.0  # when stacks that others hold are asked for again
        self._parts = 0  # written since the last compaction
        self._left_out: dict[str, None] = {}  # why runs ended without a row, each reason once

    # ---- the loop

    def run(self, stacks: Iterable[tuple[Stack, int]], before: int = 0) -> Report:
        """Do (stack, attempt) pairs; `before` runs of the sweep are done already and are only counted.

        Raises InputError where results cannot be written, and after everything else where the code of a method changed
        meanwhile: such a run gets no row. Whatever happens, no worker is left behind.
        """
        self._waiting.extend(Task(stack, attempt) for stack, attempt in stacks)
        self._tally.begin(before, sum(len(task.stack.runs) for task in self._waiting))
        try:
            with self._interrupts.listening():
                while (self._waiting and not self._interrupts.heard) or self._busy:
                    if self._interrupts.stop_now:
                        break
                    if not self._interrupts.heard:
                        self._hand_out()
                    self._wait()
                    for worker in self._busy:
                        self._look_at(worker)
                    self.progress.working([(w.task.stack, w.seconds()) for w in self._workers if w.task])
                    self._keep_house()
        finally:
            for worker in self._workers:
                worker.stop()
            self._leases.release_all()
            self.progress.close()
        if not self._interrupts.heard:
            self._compact()
            if self._left_out:
                raise InputError("\n".join(self._left_out))
        report = self._tally.report
        report.interrupted = self._interrupts.signal
        return report

    @property
    def _busy(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.task]

    def _wait(self) -> None:
        futures = [worker.future for worker in self._busy if worker.future]
        if futures:
            wait(futures, timeout=_TICK, return_when=FIRST_COMPLETED)
        elif self._waiting:
            time.sleep(_TICK)  # everything left is leased by another supervisor

    def _keep_house(self) -> None:
        self._give_up(self._leases.renew())
        if self._parts > COMPACT_AT:
            self._parts = 0
            self._compact()

    def _compact(self) -> None:
        try:
            self.store.compact()
        except Unwritable as error:  # there may be room for one run but not for a merged part of many
            self.progress.say(f"small files were not merged: {error}")

    def _give_up(self, taken: set[str]) -> None:
        """Leave stacks to a supervisor that took them over because this one had not renewed its leases in time."""
        for worker in self._busy:
            task = worker.task
            if task and taken.intersection(task.stack.run_ids):
                worker.stop()
                worker.clear()
                self._leases.release(task.stack.run_ids)
                self._waiting.append(task)  # what the other one has not done by then

    # ---- handing out

    def _hand_out(self) -> None:
        """Give every idle worker the first stack that no other supervisor is working on."""
        idle = [worker for worker in self._workers if not worker.task]
        if not idle or not self._waiting or time.monotonic() < self._look_again:
            return
        refused: list[Task] = []
        while idle and self._waiting:
            task = self._waiting.popleft()
            silent = self._leases.claim(task.stack.run_ids)
            if silent is None:
                refused.append(task)
                continue
            task = self._still_to_do(task)
            if task.stack.runs:
                if silent:  # the earlier owner may still write its rows: ours must not be the same attempt
                    task = task.again(task.stack)
                self._submit(idle.pop(), task)
        self._waiting.extendleft(reversed(refused))
        if refused and not self._busy:
            self._look_again = time.monotonic() + 5 * _TICK

    def _submit(self, worker: Worker, task: Task) -> None:
        try:
            worker.submit(task, self.settings, self._job)
        except OSError as error:  # no process, no memory or no file is available
            why = error.strerror or error
            raise InputError(f"no worker can be started: {why}; finished runs are safe: start again") from error

    def _still_to_do(self, task: Task) -> Task:
        """Without the runs that another supervisor finished before the lease was ours."""
        done = self.store.done()
        left = tuple(run for run in task.stack.runs if not task.is_done(run, done))
        gone = [run.run_id for run in task.stack.runs if run not in left]
        if not gone:
            return task
        self._leases.release(gone)
        self._tally.count_elsewhere(len(gone))
        return task.with_stack(Stack(left))

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
        except CodeChanged as error:
            self._leave_out(task, str(error))
        except InputError:
            raise  # the results folder cannot be written: nothing that follows could be
        except BaseException as error:  # the worker's, whose work raised it: the future is done
            self._lost(task, "failed", in_one_line(error), traceback.format_exc())
        else:
            self._finished(task, outcomes)

    def _leave_out(self, task: Task, reason: str) -> None:
        """No row: what a worker of now computes belongs to a run that this sweep was not planned with."""
        if reason not in self._left_out:
            self.progress.say(reason)
        self._left_out[reason] = None
        self._leases.release(task.stack.run_ids)

    def _stopped(self, worker: Worker, task: Task, status: str, reason: str) -> None:
        worker.stop()
        worker.clear()
        self._lost(task, status, reason)

    def _finished(self, task: Task, outcomes: Sequence[Outcome]) -> None:
        """A stack's part is written. Runs that ran out of memory are repeated in smaller stacks, otherwise unchanged.

        They left no row, and this does not count as an attempt, because the size of the stack may be the reason.
        """
        self._parts += 1
        without = {run_id for run_id, status, _ in outcomes if status == "oom"}
        short = tuple(run for run in task.stack.runs if run.run_id in without)
        if short and len(task.stack.runs) > 1:
            smaller = halves(Stack(short)) if len(short) == len(task.stack.runs) else [Stack(short)]
            self._waiting.extendleft(task.with_stack(stack) for stack in reversed(smaller))
            outcomes = [outcome for outcome in outcomes if outcome[1] != "oom"]
        elif short and task.tries <= self.limits.max_retries:
            self._waiting.appendleft(task.again(task.stack))
            outcomes = []
        self._tally.count(task, outcomes)
        self._leases.release(task.stack.run_ids)

    def _lost(self, task: Task, status: str, reason: str, trace: str = "") -> None:
        """A stack ended without its part: repeat its runs one by one, or write the rows that the worker could not."""
        done = self.store.done()
        written = [run for run in task.stack.runs if task.is_done(run, done)]
        if written:  # it died after its part was moved into place
            self._finished(task, [(run.run_id, done[run.run_id].status, reason) for run in written])
            if rest := tuple(run for run in task.stack.runs if run not in written):
                self._waiting.extendleft(task.again(stack) for stack in alone(Stack(rest)))
            return
        several = len(task.stack.runs) > 1  # the run at fault is unknown: no row before each had an attempt of its own
        repeat = status in ("killed", "oom") and task.tries <= self.limits.max_retries
        if self._interrupts.heard:
            pass  # no row: the run is simply not done
        elif repeat or (several and status != "failed"):
            self._waiting.extendleft(task.again(stack) for stack in alone(task.stack))
        else:
            self._write_rows(task, status, reason, trace)
            self._tally.count(task, [(run.run_id, status, reason) for run in task.stack.runs])
        self._leases.release(task.stack.run_ids)

    def _write_rows(self, task: Task, status: str, reason: str, trace: str) -> None:
        shared = {"attempt": task.attempt, "status": status, "reason": reason, "traceback": trace}
        shared |= {"device": self.settings.device, "stack_size": len(task.stack.runs), **provenance()}
        rows = [{**run.columns(), **shared} for run in task.stack.runs]
        self.store.write_part(task.part, rows)
        self._parts += 1


def _how(error: BaseException) -> str:
    """The signal as loky reports it, e.g. " (SIGKILL(-9))"."""
    text = str(error)
    start = text.rfind("{")
    return f" ({text[start + 1 : text.rfind('}')]})" if start >= 0 and text.rfind("}") > start else ""
