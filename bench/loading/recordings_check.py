"""What a data set returns is checked once, with one line per fault."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.contracts import ONE_SPLIT, OVERLAPPING, InputError, Recordings, in_one_line, nearest
from bench.loading.division import PARTS, too_short
from bench.loading.files import LARGEST

SPLITS = (*OVERLAPPING, *ONE_SPLIT)


def check(recordings: Recordings, owner: str) -> list[np.ndarray]:
    """The series as float64. Raises InputError for whatever a data set returns that recordings cannot be.

    This is the one place where the recordings of a data set are checked, a plug-in's and a user's file alike.
    """
    if not isinstance(recordings, Recordings):
        raise InputError(f"{owner}: `load` returns {type(recordings).__name__}, expected Recordings")
    _check_words(recordings, owner)
    channels = len(recordings.channels)
    series = [_rows(rows, number, channels, owner) for number, rows in enumerate(_listed(recordings.series, owner))]
    if not series:
        raise InputError(
            f"{owner}: holds no series, expected at least {len(PARTS)} windows of {recordings.window} rows"
        )
    if recordings.split == "given" and (len(recordings.parts) != len(series) or set(recordings.parts) != set(PARTS)):
        raise InputError(f"{owner}: expected a part for each of {len(series)} series, every one of {', '.join(PARTS)}")
    if len(recordings.entities) not in (0, len(series)):
        raise InputError(f"{owner}: {len(recordings.entities)} entities, expected one for each of {len(series)} series")
    if recordings.times and [len(times) for times in recordings.times] != [len(rows) for rows in series]:
        raise InputError(f"{owner}: `times` has other lengths than the series, expected a time for each row")
    for factor, values in recordings.truth.items():
        if np.ndim(values) != 2 or len(values) != len(series):
            raise InputError(
                f"{owner}: truth['{factor}'] has shape {np.shape(values)}, expected ({len(series)}, k), a row each"
            )
    for number, rows in enumerate(series):
        if len(rows) < recordings.window:
            if len(series) == 1 and recordings.split != "entity":
                raise InputError(too_short(owner, [len(rows)], recordings.window, recordings.split))
            raise InputError(
                f"{owner}: series {number} has {len(rows)} rows, expected at least one window of {recordings.window}"
            )
    if (np.abs(np.concatenate(series)) > LARGEST).any():
        number = next(number for number, rows in enumerate(series) if (np.abs(rows) > LARGEST).any())
        row, channel = np.argwhere(np.abs(series[number]) > LARGEST)[0]
        value = series[number][row, channel]
        raise InputError(
            f"{owner}: series {number}, row {row}, channel '{recordings.channels[channel]}' is "
            f"{'infinite' if np.isinf(value) else f'{value:g}'}, expected a finite number, at most {LARGEST:g} in size "
            "(or an empty cell where it is missing)"
        )
    return series


def _check_words(recordings: Recordings, owner: str) -> None:
    """Names, units, sizes and the split."""
    for name, values in (("channels", recordings.channels), ("units", recordings.units)):
        if isinstance(values, str) or not all(isinstance(word, str) for word in _listed(values, owner, name)):
            raise InputError(f"{owner}: {name} = {values!r}, expected a text for each channel")
    if not recordings.channels or len(set(recordings.channels)) < len(recordings.channels):
        raise InputError(f"{owner}: channels = {recordings.channels!r}, expected one name or more, each different")
    if len(recordings.units) != len(recordings.channels):
        raise InputError(
            f"{owner}: {len(recordings.units)} units, expected one for each of {len(recordings.channels)} channels "
            '("" where there is none)'
        )
    for name, least in (("window", 2), ("train_stride", 1), ("test_stride", 1)):
        value = getattr(recordings, name)
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
            raise InputError(f"{owner}: {name} = {value!r}, expected a whole number >= {least}")
    if recordings.split not in SPLITS:
        raise InputError(f"{owner}: split = {recordings.split!r}, {nearest(str(recordings.split), SPLITS)}")


def _listed(values: Any, owner: str, name: str = "series") -> list[Any]:
    try:
        return list(values)
    except TypeError:
        raise InputError(f"{owner}: {name} = {values!r}, expected a list") from None


def _rows(rows: Any, number: int, channels: int, owner: str) -> np.ndarray:
    """One series (rows, C) as float64."""
    try:
        values = np.asarray(rows)
    except (ValueError, TypeError, RuntimeError) as error:  # rows of several lengths; a tensor with a gradient
        raise InputError(f"{owner}: series {number} is no array: {in_one_line(error)}") from None
    if values.dtype.kind not in "fiub":
        raise InputError(f"{owner}: series {number} has the type {values.dtype}, expected numbers")
    if values.ndim != 2 or values.shape[1] != channels:
        raise InputError(f"{owner}: series {number} has shape {values.shape}, expected (rows, {channels} channels)")
    return np.asarray(values, dtype=np.float64)
