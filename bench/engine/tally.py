"""Counts runs that ended, by status, and estimates how long the remaining ones take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.contracts import printable
from bench.engine.progress import Progress
from bench.engine.tasks import Outcome, Task


@dataclass
class Report:
    """The result of a supervisor."""

    statuses: dict[str, str] = field(default_factory=dict)  # of the runs that ended this time, by run_id
    elsewhere: int = 0  # runs that another supervisor finished meanwhile
    interrupted: int = 0  # the signal that stopped it, or 0

    @property
    def counts(self) -> Counter[str]:
        """Runs per status, this time."""
        return Counter(self.statuses.values())


class Tally:
    """Counts runs into a report, and announces them."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._began = time.monotonic()
        self._before = self._total = 0
        self.report = Report()

    def begin(self, before: int, to_do: int) -> None:
        """`before` runs of the sweep are done already and are only counted; the time left is estimated from now on."""
        self._before, self._total = before, before + to_do
        self._began = time.monotonic()
        self._say()

    def count(self, task: Task, outcomes: Sequence[Outcome]) -> None:
        """Runs of a task ended here."""
        runs = {run.run_id: run for run in task.stack.runs}
        self._progress.finished(task.part, outcomes)
        for run_id, status, reason in outcomes:
            self.report.statuses[run_id] = status
            run = runs[run_id]
            if status != "skipped" and (reason or status != "ok"):  # skipped runs are counted at the end
                where = f"{run.label}, {run.dataset.key}, seed {run.seed} ({run_id})"
                self._progress.say(printable(f"{status}: {where}: {reason}"))
        self._say()

    def count_elsewhere(self, runs: int) -> None:
        """`count` runs were finished by another supervisor."""
        self.report.elsewhere += runs
        self._say()

    def _say(self) -> None:
        finished = len(self.report.statuses)
        here = finished + self.report.elsewhere
        left = self._total - self._before - here
        each = (time.monotonic() - self._began) / finished if finished else 0.0
        self._progress.advance(self._before + here, self._total, each * left if finished and left else None)
