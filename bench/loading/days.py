"""Windows of days: from a table of whole days to recordings, and windows that begin with a day of any recordings."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from bench.contracts import InputError, Recordings, Resolution, Truth
from bench.loading.division import BLOCKS, PARTS, WINDOWS_PER_BLOCK, cuts_in_time

Begin = Literal["midnight", "any"]
"""Where a window may begin: a window is a calendar day, or it begins at any step."""

SHORT = 24  # steps of a window that begins at any of them, where no other number is asked for

Split = Literal["weeks", "time"]
"""Whole calendar weeks in random order, a new order for every seed; or two cuts in time."""


def day_recordings(
    name: str,
    days: np.ndarray,
    values: np.ndarray,
    units: Mapping[str, str],
    window: int | None,
    begin: Begin,
    split: Split,
    resolutions: Sequence[Resolution],
    truth: Truth,
) -> Recordings:
    """Recordings of whole days: `days` (n,) dates in order, `values` (n, steps of a day, C).

    Days that are not there end a series, so no window spans them. Calendar weeks and parts end a series as well.
    name: of the data set, for a message. units: a unit for each channel, in their order. window: T; none: a day where
    windows begin at midnight, with the `truth` of each day, (n, k), and 24 steps where they begin at any step.
    Raises InputError for windows from midnight on that are no day.
    """
    steps = values.shape[1]
    midnight = begin == "midnight"
    if midnight and window not in (None, steps):
        raise InputError(f"{name}.window = {window}: expected {steps}, a day, where begin = midnight; or begin = any")
    length = window or (steps if midnight else SHORT)
    clock = days[:, None].astype("datetime64[m]") + np.arange(steps) * np.timedelta64(24 * 60 // steps, "m")
    weeks = (days.astype("datetime64[D]").astype(np.int64) + 3) // 7  # 1970-01-01 was a Thursday
    parts = in_time(len(days))
    if midnight:
        runs = [slice(day, day + 1) for day in range(len(days))]
    else:
        owner = weeks if split == "weeks" else np.unique(parts, return_inverse=True)[1]
        ends = np.flatnonzero((np.diff(days) > np.timedelta64(1, "D")) | (np.diff(owner) != 0)) + 1
        runs = [slice(a, b) for a, b in itertools.pairwise([0, *ends, len(days)]) if (b - a) * steps >= length]
    return Recordings(
        series=[values[run].reshape(-1, values.shape[2]) for run in runs],
        channels=tuple(units),
        units=tuple(units.values()),
        window=length,
        train_stride=length if midnight else 1,
        test_stride=length if midnight else _through_the_day(max(1, length // 4), steps),
        split="entity" if split == "weeks" else "given",
        entities=[f"week {weeks[run.start]}" for run in runs],
        parts=() if split == "weeks" else [str(parts[run.start]) for run in runs],
        times=[clock[run].ravel() for run in runs],
        truth=truth if midnight else {},
        resolutions=resolutions,
    )


def _through_the_day(stride: int, steps: int) -> int:
    """The first stride from this one on with which windows begin at every step of a day in turn.

    Weeks begin at midnight. With a divisor of the day all test windows would begin at the same few hours, and the hour
    would tell them from training windows, which begin at any, and from samples.
    """
    return next(longer for longer in itertools.count(stride) if math.gcd(longer, steps) == 1)


def in_time(count: int) -> np.ndarray:
    """The part of each of `count` things in time's order, with the usual shares, (count,)."""
    return np.array(PARTS)[np.searchsorted(cuts_in_time(count), np.arange(count), side="right")]


def day_windows(recordings: Recordings, owner: str) -> Recordings:
    """Windows that begin with the first row of a day and share no row, each a series of its own.

    Days without T rows from their beginning on, and a first day that began before the recording did, are left out.
    blocks: blocks of neighbouring windows take the place of blocks of rows. time: the same two cuts. Other splits stay
    as they are. Where there is a gap, the last window of a block or part is left out beside another one.
    Raises InputError where the rows have no times, or no day has T rows.
    """
    window = recordings.window
    if not recordings.times:
        raise InputError(f"{owner}: align = 'day': its rows have no times, expected align = 'any'")
    begins = [_begins(times, window) for times in recordings.times]
    counts = [len(found) for found in begins]
    total, whose = sum(counts), np.repeat(np.arange(len(counts)), counts)
    if not total:
        raise InputError(f"{owner}: no day has {window} rows from its beginning on, expected some (window, align)")
    entities, parts, split = recordings.entities, recordings.parts, recordings.split
    kept = np.ones(total, dtype=bool)
    if split in ("blocks", "time"):
        per_block = max(WINDOWS_PER_BLOCK, total // BLOCKS)
        places = [np.arange(n) for n in counts]
        blocks = [f"series {k}, block {n}" for k, place in enumerate(places) for n in place // per_block]
        labels = blocks if split == "blocks" else [str(name) for n in counts for name in in_time(n)]
        if recordings.gap:
            same = [a == b for a, b in itertools.pairwise(labels)]
            kept[:-1] = np.array(same, dtype=bool) | (np.diff(whose) != 0)
        entities, parts, split = (labels, (), "entity") if split == "blocks" else ((), labels, "given")
    else:
        entities, parts = ([names[int(k)] for k in whose] if names else () for names in (entities, parts))
    rows = [slice(int(start), int(start) + window) for found in begins for start in found]
    chosen = np.flatnonzero(kept).tolist()
    return dataclasses.replace(
        recordings,
        series=[recordings.series[whose[k]][rows[k]] for k in chosen],
        times=[recordings.times[whose[k]][rows[k]] for k in chosen],
        entities=[entities[k] for k in chosen] if entities else (),
        parts=[parts[k] for k in chosen] if parts else (),
        truth={factor: values[whose[kept]] for factor, values in recordings.truth.items()},
        split=split,
        train_stride=window,
        test_stride=window,
    )


def _begins(times: np.ndarray, window: int) -> list[int]:
    """First rows of days, each `window` rows or more after the one before."""
    days = times.astype("datetime64[D]")
    first = np.flatnonzero(np.diff(days, prepend=days[:1] - 1) != np.timedelta64(0, "D"))
    if len(first) and times[0] != days[0]:
        first = first[1:]  # the recording began within this day
    found: list[int] = []
    for row in first[first <= len(times) - window].tolist():
        if not found or row >= found[-1] + window:
            found.append(row)
    return found
