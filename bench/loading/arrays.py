"""From an array in memory to recordings: independent windows, overlapping windows of a recording, or one long series.

Nothing is read from a file, so every message names the argument that it is about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.contracts import InputError, Recordings
from bench.loading.evenly_spaced import evenly_spaced

FEWEST = 10  # windows, so that 7 train, 1 validates and 2 test
_PAIRS = 256  # neighbours that are compared to find out whether windows share rows


def read_numbers(x: Any, name: str) -> np.ndarray:
    """`x` as an array of finite numbers. Raises InputError that names the argument."""
    try:
        values = np.asarray(x)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists; a tensor with a gradient or on a GPU
        raise InputError(f"{name}: cannot be read as an array: {str(error).splitlines()[0]}") from error
    if values.dtype.kind not in "fiu":
        raise InputError(f"{name} has the type {values.dtype}: expected numbers")
    if not values.size:
        raise InputError(f"{name} has shape {values.shape}: expected some values")
    bad = ~np.isfinite(values)
    if bad.any():
        first = ", ".join(map(str, np.argwhere(bad)[0]))
        raise InputError(
            f"{name}[{first}] is {values[bad][0]}, one of {bad.sum()} values that are no finite numbers: "
            "fill in what is missing, or leave those windows out"
        )
    return values


def read_windows(x: Any, name: str, least: int = 1, like: tuple[int, int] | None = None) -> np.ndarray:
    """`x` as windows (n, T, C) with n >= `least`, of the shape `like` = (T, C) where it is given. Raises InputError."""
    values = read_numbers(x, name)
    window, channels = like or ("T", "C")
    if values.ndim != 3 or (like is not None and values.shape[1:] != like):
        raise InputError(
            f"{name} has shape {values.shape}: expected (n, {window}, {channels}): windows, time steps, channels"
        )
    if len(values) < least:
        raise InputError(f"{name} holds {len(values)} windows: expected at least {least}")
    return values


def as_recordings(
    x: Any,
    window: int | None = None,
    stride: int | None = None,
    channels: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
) -> Recordings:
    """What `x` holds, before any split.

    x (n, T, C): windows that are independent of each other, divided one by one; with `stride` below T windows of
    recordings in order, which begin `stride` rows apart: the recordings are put together again and divided by blocks,
    so that no row is in two parts.
    x (rows, C): one long series with `window` = T and `stride` (1) rows between two training windows. Test windows
    begin T // 4 rows apart, or `stride` where that is more, as for a user's own file.
    channels, units: C names each (none: x1..xC without a unit).
    Raises InputError.
    """
    values = read_numbers(x, "x")
    for name, value, least in (("window", window, 2), ("stride", stride, 1)):
        if value is not None and (not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least):
            raise InputError(f"{name} = {value!r}: expected a whole number >= {least}")
    if values.ndim == 2 and window is not None:
        series, steps, every = [values], int(window), int(stride or 1)
    elif values.ndim == 3:
        series, steps, every = _of_windows(values, window, stride)
    else:
        raise InputError(
            f"x has shape {values.shape}: expected windows (n, T, C), or one long series (rows, C) with window=T"
        )
    overlapping = every < steps
    count = values.shape[-1]
    names = _names(channels, "channels", count) or tuple(f"x{c + 1}" for c in range(count))
    if len(set(names)) < count:
        raise InputError("channels: expected different names")
    return Recordings(
        series=series,
        channels=names,
        units=_names(units, "units", count) or ("",) * count,
        window=steps,
        train_stride=every,
        test_stride=max(every, steps // 4) if overlapping else every,
        split="blocks" if overlapping or values.ndim == 2 else "entity",
    )


def _of_windows(values: np.ndarray, window: int | None, stride: int | None) -> tuple[list[np.ndarray], int, int]:
    """Series, T and stride of windows (n, T, C)."""
    steps = values.shape[1]
    if len(values) < FEWEST:
        raise InputError(f"x holds {len(values)} windows: expected at least {FEWEST} (to train, to validate, to test)")
    if steps < 2:
        raise InputError(f"x has shape {values.shape}: expected windows (n, T, C) of T >= 2 time steps")
    if window not in (None, steps):
        raise InputError(f"window = {window}: x holds windows of {steps} time steps already; leave window out")
    if stride is None or stride >= steps:
        return list(values), steps, steps
    goes_on = _goes_on(values, int(stride))
    if 2 * goes_on.sum() <= len(goes_on):
        found = shared_stride(values)
        hint = f"stride={found} fits" if found else "leave stride out if the windows are independent"
        raise InputError(
            f"stride = {stride}: x[1] does not begin with x[0, {stride}:], nor do most windows after it: expected "
            f"windows of a recording in order, {stride} rows apart ({hint})"
        )
    pieces = np.split(values, np.flatnonzero(~goes_on) + 1)
    return [np.concatenate([piece[0], *piece[1:, steps - stride :]]) for piece in pieces], steps, int(stride)


def _names(given: Sequence[str] | None, name: str, count: int) -> tuple[str, ...]:
    if given is None:
        return ()
    names = tuple(given)
    if isinstance(given, str) or not all(isinstance(item, str) for item in names) or len(names) != count:
        raise InputError(f"{name} = {given!r}: expected {count} names, one per channel")
    return names


def _goes_on(windows: np.ndarray, stride: int) -> np.ndarray:
    """Whether each window but the last shares its rows from `stride` on with the window after it, (n - 1,)."""
    return (windows[:-1, stride:] == windows[1:, : windows.shape[1] - stride]).all(axis=(1, 2))


def shared_stride(windows: np.ndarray) -> int | None:
    """How many rows apart neighbouring windows (n, T, C) begin, where most of them share rows; else None.

    Rows that do not change say nothing, so pairs of windows that share only such rows are left out.
    """
    starts = evenly_spaced(len(windows) - 1, _PAIRS)
    steps = windows.shape[1]
    for stride in range(1, steps - 1):  # one common row may be chance
        rows = windows[starts, stride:]
        telling = (rows != rows[:, :1]).any(axis=(1, 2))
        same = (rows == windows[starts + 1, : steps - stride]).all(axis=(1, 2))
        if 2 * (same & telling).sum() > max(telling.sum(), 4):  # and three pairs at least
            return stride
    return None


def look_swapped(windows: np.ndarray) -> bool:
    """Whether windows (n, T, C) look like (n, C, T): T is at most half of C, and the last axis is the smoother one."""
    _, steps, channels = windows.shape
    if steps < 2 or 2 * steps > channels:
        return False
    values = windows[:_PAIRS].astype(np.float64)
    over_time, over_channels = (np.abs(np.diff(values, axis=axis)).mean() for axis in (1, 2))
    return bool(2 * over_channels < over_time)
