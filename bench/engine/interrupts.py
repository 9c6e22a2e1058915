"""Ctrl-C and SIGTERM, as requests that the supervisor checks for between two polls of its workers."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


class Interrupts:
    """Ctrl-C once: finish the running stacks. Twice, or SIGTERM: stop now."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """say: prints the answer to the first Ctrl-C."""
        self._say = say
        self._weight = 0
        self.signal = 0  # the last one received, or 0

    @property
    def heard(self) -> bool:
        """Whether no new stack may begin."""
        return self._weight > 0

    @property
    def stop_now(self) -> bool:
        """Whether running stacks must stop as well."""
        return self._weight > 1

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, signals are handled if this is the main thread; Python delivers none to other threads."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._weight += 1 if number == signal.SIGINT else 2
        self.signal = number
        if self._weight == 1:
            self._say("finishing what is running; press Ctrl-C again to stop now")
