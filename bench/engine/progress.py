"""How a supervisor reports its progress: the protocol, and two implementations without a screen."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from typing import Protocol

from bench.engine.tasks import Outcome
from bench.sweeps.stacks import Stack


class Progress(Protocol):
    """Receives the progress of a supervisor."""

    def advance(self, done: int, total: int, left: float | None) -> None:
        """`done` runs of `total` are done; `left` seconds are expected to remain."""
        ...

    def working(self, stacks: Sequence[tuple[Stack, float]]) -> None:
        """What the workers are working on, and for how many seconds."""
        ...

    def finished(self, part: str, outcomes: Sequence[Outcome]) -> None:
        """Runs ended; the store has their numbers in `part`, if there are any."""
        ...

    def say(self, text: str) -> None:
        """A line that remains visible."""
        ...

    def close(self) -> None:
        """The end of the sweep."""
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
