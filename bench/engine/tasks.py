"""What is left to do: the runs without a final row, and the attempts at a stack of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.contracts import InputError
from bench.store import Done
from bench.sweeps.run import Run
from bench.sweeps.stacks import Stack

Outcome = tuple[str, str, str]
"""run_id, status, reason."""


class CodeChanged(InputError):
    """A worker has other code than the process that planned the sweep: its numbers belong to other runs."""


def to_do(
    runs: Iterable[Run], done: Mapping[str, Done], retry: Iterable[str] = (), max_retries: int = 2
) -> list[tuple[Run, int]]:
    """The runs without a final row, each with the number of its next attempt (1 is the first).

    killed and oom are final after `max_retries` repetitions; a skipped run is repeated once its data are there.
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
    """A stack and the number of the attempt at it."""

    stack: Stack
    attempt: int
    tries: int = 1  # attempts at this stack, with this one

    @property
    def part(self) -> str:
        """The name of the stack's part in the store."""
        return f"{self.stack.stack_id}-{self.attempt}"

    def is_done(self, run: Run, done: Mapping[str, Done]) -> bool:
        """Whether a run has a row of this attempt, or a final one since the first of this task's attempts."""
        status, attempt = done.get(run.run_id, ("", 0))
        return attempt >= self.attempt or (attempt > self.attempt - self.tries and status not in ("killed", "oom"))

    def with_stack(self, stack: Stack) -> Task:
        """The same attempt, with some of the runs."""
        return dataclasses.replace(self, stack=stack)

    def again(self, stack: Stack) -> Task:
        """The next attempt, with all or some of the runs."""
        return Task(stack, self.attempt + 1, self.tries + 1)
