"""What the parts share: CPU seconds of two ways of doing the same work, taken in turn, and how a line is shown.

CPU seconds of one thread (`time.process_time`), because wall-clock time on a machine that is shared says more about the
neighbours; A B A B, because a busy machine's speed drifts; a ratio is the median of the pairs' own ratios.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from bench.contracts import Splits
from bench.randomness import numpy_generator

Scale = Literal["tiny", "quick", "full", "whole"]
"""tiny: for the tests; quick: all parts in under three minutes; full: the sizes of the targets; whole: a whole run."""


@dataclass(frozen=True)
class Line:
    """One row of the table; `ratio` is how many times cheaper ours is (a share, where `what` says so)."""

    what: str
    ratio: float
    ours: float = float("nan")  # CPU seconds
    other: float = float("nan")
    target: str = ""
    note: str = ""

    def __str__(self) -> str:
        seconds = "".join(" " * 10 if value != value else f"{value:10.3g}" for value in (self.ours, self.other))
        return f"  {self.what:58}{seconds}{self.ratio:10.3g}  {self.target:8}{self.note}".rstrip()


class Pair(NamedTuple):
    """Medians of CPU seconds, and of the pairs' ratios other / ours."""

    ours: float
    other: float
    ratio: float


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process that `work` takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


class Stopwatch:
    """CPU seconds by phase: `with watch("sampling"): ..`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Add what happens inside to the phase."""
        began = time.process_time()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.process_time() - began


def in_turn(ours: Callable[[], object], other: Callable[[], object], repeats: int, warm: bool = True) -> Pair:
    """A B A B ..; `warm` runs both once before, unmeasured."""
    if warm:
        ours()
        other()
    pairs = [(cpu_seconds(ours), cpu_seconds(other)) for _ in range(repeats)]
    first, second = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Pair(first, second, statistics.median(b / a for a, b in pairs))


def windows(series: int, window: int, channels: int) -> Splits:
    """AR(1) windows around a level per series, train-scaled: something for a latent to say, nothing to download."""
    rng = numpy_generator("perf", 0, "series")
    noise = rng.standard_normal((series, window, channels))
    for t in range(1, window):
        noise[:, t] = 0.6 * noise[:, t - 1] + 0.8 * noise[:, t]
    x = (0.8 * rng.standard_normal((series, 1, channels)) + 0.6 * noise).astype(np.float32)
    part, ones, names = max(series // 5, 2), np.ones(channels), tuple(f"c{k}" for k in range(channels))
    cut = series - 2 * part
    return Splits(x[:cut], x[cut:-part], x[-part:], 0 * ones, ones, names, ("1",) * channels, window, "perf")
