"""From a table of whole days to recordings: a day is one window, or windows begin at any step."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from bench.contracts import TEST_SHARE, VALIDATION_SHARE, Recordings, Resolution, Truth

Begin = Literal["midnight", "any"]
"""Where a window may begin: a window is a calendar day, or it begins at any step."""

Split = Literal["weeks", "time"]
"""Whole calendar weeks in random order, a new order for every seed; or two cuts in time."""


def day_recordings(
    days: np.ndarray,
    values: np.ndarray,
    units: Mapping[str, str],
    window: int,
    begin: Begin,
    split: Split,
    resolutions: Sequence[Resolution],
    truth: Truth,
) -> Recordings:
    """Recordings of whole days: `days` (n,) dates in order, `values` (n, steps of a day, C).

    Days that are not there end a series, so no window spans them. Calendar weeks and parts end a series as well.
    units: a unit for each channel, in their order. window: T where windows begin at any step; a day where they begin at
    midnight, with the `truth` of each day, (n, k).
    """
    steps = values.shape[1]
    clock = days[:, None].astype("datetime64[m]") + np.arange(steps) * np.timedelta64(24 * 60 // steps, "m")
    weeks = (days.astype("datetime64[D]").astype(np.int64) + 3) // 7  # 1970-01-01 was a Thursday
    parts = in_time(len(days))
    if begin == "midnight":
        runs = [slice(day, day + 1) for day in range(len(days))]
    else:
        owner = weeks if split == "weeks" else np.unique(parts, return_inverse=True)[1]
        ends = np.flatnonzero((np.diff(days) > np.timedelta64(1, "D")) | (np.diff(owner) != 0)) + 1
        runs = [slice(a, b) for a, b in itertools.pairwise([0, *ends, len(days)]) if (b - a) * steps >= window]
    length = steps if begin == "midnight" else window
    return Recordings(
        series=[values[run].reshape(-1, values.shape[2]) for run in runs],
        channels=tuple(units),
        units=tuple(units.values()),
        window=length,
        train_stride=length if begin == "midnight" else 1,
        test_stride=length if begin == "midnight" else max(1, window // 4),
        split="entity" if split == "weeks" else "given",
        entities=[f"week {weeks[run.start]}" for run in runs] if split == "weeks" else (),
        parts=() if split == "weeks" else [str(parts[run.start]) for run in runs],
        times=[clock[run].ravel() for run in runs],
        truth=truth if begin == "midnight" else {},
        resolutions=resolutions,
    )


def in_time(count: int) -> np.ndarray:
    """The part of each of `count` things in time's order, with the usual shares, (count,)."""
    ends = [round(count * share) for share in (1 - VALIDATION_SHARE - TEST_SHARE, 1 - TEST_SHARE)]
    return np.array(["train", "validation", "test"])[np.searchsorted(ends, np.arange(count), side="right")]
