"""From measurements at any time to one row per hour of a stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bench.contracts import InputError, Recordings
from bench.loading.tables import Missing, treat_missing


class HourlyMeans:
    """Running means per hour and channel of many stays: rows of all stays one after another, filled batch by batch."""

    def __init__(self, lengths: np.ndarray, channels: int) -> None:
        """`lengths`: the hours of each stay; rows (sum of lengths, C) in float32 and 16-bit counts."""
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self._first = np.concatenate([[0], np.cumsum(self.lengths)])
        self._sum = np.zeros((int(self._first[-1]), channels), dtype=np.float32)
        self._count = np.zeros(self._sum.shape, dtype=np.uint16)

    def add(self, stay: np.ndarray, hours: np.ndarray, channel: np.ndarray, values: np.ndarray) -> None:
        """Measurements (n,): the stay's number, hours since its begin (others are ignored), the channel's number."""
        hour = np.floor(hours).astype(np.int64)
        inside = (hour >= 0) & (hour < self.lengths[stay]) & np.isfinite(values)
        place = (self._first[stay[inside]] + hour[inside], channel[inside])
        np.add.at(self._sum, place, values[inside].astype(np.float32))
        np.add.at(self._count, place, np.uint16(1))

    def means(self) -> np.ndarray:
        """(rows, C), NaN where nothing was measured; the end of adding, since the sums are divided in place."""
        with np.errstate(invalid="ignore"):
            return np.divide(self._sum, self._count, out=self._sum)


def within(values: np.ndarray, low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    """Values with what lies outside its plausible range as NaN."""
    return np.where((values >= low) & (values <= high), values, np.nan)


def stay_recordings(
    rows: np.ndarray,
    lengths: Sequence[int] | np.ndarray,
    owners: Sequence[str],
    units: Mapping[str, str],
    window: int,
    missing: Missing,
    path: Path,
) -> Recordings:
    """Stays of `lengths` hours, one after another in `rows` (hours, C), as recordings split by owner (patient).

    Windows are disjoint. `units` has the channels in their order. missing: drop leaves out hours with an empty
    cell; a stay with fewer hours than one window is left out. Raises InputError where no stay is left.
    """
    values, names = treat_missing(pd.DataFrame(rows, columns=list(units)), missing, path)
    series, entities = [], []
    ends = np.cumsum(lengths, dtype=np.int64)
    for begin, end, owner in zip(ends - lengths, ends, owners, strict=True):
        stay = values[begin:end]
        hours = stay[~np.isnan(stay).any(axis=1)] if missing == "drop" else stay
        if len(hours) >= window:
            series.append(hours)
            entities.append(owner)
    if not series:
        raise InputError(f"{path}: no stay with {window} hours is left, expected some (window, missing, channels)")
    return Recordings(
        series=series,
        channels=tuple(names),
        units=tuple(units.get(name, "") for name in names),
        window=window,
        train_stride=window,
        test_stride=window,
        split="entity",
        entities=entities,
    )
