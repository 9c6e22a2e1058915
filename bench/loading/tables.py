"""From a user's own table to recordings: wide (a row per time step) or long (id, time, variable, value)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from bench.contracts import Dataset, InputError, Recordings, nearest, option
from bench.loading.files import as_numbers, as_times, check_columns, locate, looks_like_times
from bench.loading.windows import too_short

Missing = Literal["refuse", "drop", "ffill", "mask"]


@dataclass(frozen=True)
class Table(Dataset):
    """What `csv` and `parquet` share: the options, and the way from a table to recordings.

    wide: one row per time step, one column per channel; `id` names a column that tells entities apart.
    long: the columns `id`, `time`, `variable`, `value` (the first two may be named by the options).
    A first column that parses as timestamps is the time; rows are sorted by it within an entity, a time that occurs
    twice is refused. Any other text column is refused by name; `channels` chooses columns.
    """

    path: str = ""
    format: Literal["wide", "long"] = "wide"
    id: str = ""  # column of the entity; wide without it: one series
    time: str = ""  # column of the time; wide without it: the first column if it parses as timestamps
    channels: tuple[str, ...] | list[str] = ()  # none: all others
    missing: Missing = "refuse"
    window: int = option(24, at_least=2)  # T
    stride: int = option(1, at_least=1)
    test_stride: int | None = option(None, at_least=1)  # none: max(stride, T // 4)
    split: Literal["auto", "blocks", "time", "entity"] = "auto"  # auto: entity where there is an `id`, else blocks
    longest_pause: str | float = option("", later=True)  # "2h" or a number of the time column's units; "": any

    def locate(self, data_dir: Path | None) -> Path:
        """The file: from the current directory, else below the data folders. Raises InputError where there is none."""
        return locate(self.path, self.name, data_dir)

    def recordings(self, frame: pd.DataFrame, path: Path) -> Recordings:
        """The table's rows as entities, sorted by time, with the policy for missing values applied."""
        if frame.empty:
            raise InputError(f"{path}: has no rows, expected some")
        time: np.ndarray | None
        if self.format == "long":
            entity, time, frame = widen(frame, path, self.id or "id", self.time or "time")
        else:
            entity, time, frame = self._wide(frame, path)
        frame = self._choose(frame, path)
        values, names = treat_missing(frame, self.missing, path)
        series, entities, times = [], [], []
        for key, rows in by_entity(entity).items():
            if self.missing == "drop":
                rows = rows[~np.isnan(values[rows]).any(axis=1)]
            pieces = [piece for piece in self._stretches(rows, time, path) if len(piece) >= self.window]
            if not pieces:
                if not self._has_entities and self.longest_pause == "":
                    raise InputError(too_short(str(path), [len(rows)], self.window, self._split))
                whose = f"entity '{key}' has" if self._has_entities else "has"
                most = " without a pause" if self.longest_pause else ""
                raise InputError(
                    f"{path}: {whose} {len(rows)} rows, expected at least one window of {self.window}{most}"
                )
            series += [values[piece] for piece in pieces]
            entities += [key] * len(pieces)
            times += [time[piece] for piece in pieces] if time is not None and time.dtype.kind == "M" else []
        return Recordings(
            series=series,
            channels=tuple(names),
            units=("",) * len(names),
            window=self.window,
            train_stride=self.stride,
            test_stride=self.test_stride or max(self.stride, self.window // 4),
            split=self._split,
            entities=entities if self._has_entities else (),
            times=times,
        )

    def _stretches(self, rows: np.ndarray, time: np.ndarray | None, path: Path) -> list[np.ndarray]:
        """Rows of one entity, cut where the time between two of them is longer than `longest_pause`."""
        if self.longest_pause == "":
            return [rows]
        if time is None:
            raise InputError(f"{self.name}.longest_pause: {path} has no time: name its column with `time`")
        longest: Any
        try:
            longest = pd.Timedelta(self.longest_pause) if time.dtype.kind == "M" else float(self.longest_pause)
        except ValueError:
            kind = "a duration such as 2h or 30min" if time.dtype.kind == "M" else "a number in units of the time"
            raise InputError(f"{self.name}.longest_pause = {self.longest_pause!r}: expected {kind}") from None
        zero: Any = pd.Timedelta(0) if time.dtype.kind == "M" else 0.0
        if pd.isna(longest) or longest <= zero:
            raise InputError(f"{self.name}.longest_pause = {self.longest_pause!r}: expected more than 0")
        return np.split(rows, np.flatnonzero(np.diff(time[rows]) > longest) + 1)

    @property
    def _has_entities(self) -> bool:
        return bool(self.id) or self.format == "long"

    @property
    def _split(self) -> Literal["blocks", "time", "entity"]:
        return self.split if self.split != "auto" else ("entity" if self._has_entities else "blocks")

    def _wide(self, frame: pd.DataFrame, path: Path) -> tuple[np.ndarray, np.ndarray | None, pd.DataFrame]:
        named = [name for name in (self.id, self.time) if name]
        check_columns(path, list(frame.columns), named)
        rest = [name for name in frame.columns if name not in named]
        time = self.time
        if not time and rest and looks_like_times(frame[rest[0]]):
            time, rest = rest[0], rest[1:]
        if self.id:
            if (empty := frame[self.id].isna()).any():
                row = int(empty.argmax()) + 1
                raise InputError(f"{path}: row {row}, column '{self.id}' is empty, expected an entity")
            frame = frame.assign(**{self.id: frame[self.id].astype(str)})
        if time:
            hint = "" if self.id else " (or an `id`, the column that tells entities apart)"
            entities = [self.id] if self.id else []
            frame = in_order(frame.assign(**{time: as_clock(frame[time], path)}), entities, time, path, hint)
        entity = frame[self.id].to_numpy(dtype=object) if self.id else np.zeros(len(frame), dtype=object)
        return entity, frame[time].to_numpy() if time else None, frame[rest]

    def _choose(self, frame: pd.DataFrame, path: Path) -> pd.DataFrame:
        for number, name in enumerate(self.channels):
            if name in self.channels[:number]:
                raise InputError(f"{self.name}.channels: '{name}' twice, expected different columns")
            if name not in frame.columns:
                hint = nearest(name, map(str, frame.columns), "the columns of the file")
                raise InputError(f"{path}: no column '{name}' for `channels`, {hint}")
        chosen = frame[list(self.channels)] if self.channels else frame
        if chosen.columns.empty:
            raise InputError(f"{path}: expected at least one column of numbers")
        hint = "a number (or leave the column out with `channels`)"
        return pd.DataFrame({str(name): as_numbers(chosen[name], path, hint) for name in chosen.columns})


def as_clock(column: pd.Series, path: Path) -> pd.Series:
    """A time column: numbers stay numbers (hours since admission, a day's index), text becomes times."""
    numbers = pd.to_numeric(column, errors="coerce") if not pd.api.types.is_datetime64_any_dtype(column) else None
    if numbers is not None and numbers.notna().all():
        return numbers
    return as_times(column, path)


def in_order(frame: pd.DataFrame, entity: list[str], time: str, path: Path, hint: str = "") -> pd.DataFrame:
    """Rows sorted by time, entities kept in the order of the file. Raises InputError for a time that occurs twice."""
    twice = frame.duplicated([*entity, time])
    if twice.any():
        row = int(np.flatnonzero(twice.to_numpy())[0])
        place = ", ".join(f"{name} {frame[name].iloc[row]}" for name in [*entity, time])
        raise InputError(f"{path}: row {row + 1} repeats {place}, expected every time once{hint}")
    return frame.sort_values(time, kind="stable")


def widen(frame: pd.DataFrame, path: Path, entity: str, time: str) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """A long table as (entity of each row, its time, one column per variable), sorted by time within an entity."""
    keys = [entity, time, "variable"]
    check_columns(path, list(frame.columns), [*keys, "value"], " (`id` and `time` may be named by the options)")
    frame = frame.assign(**{time: as_clock(frame[time], path), "value": as_numbers(frame["value"], path)})
    for name in (entity, "variable"):
        if frame[name].isna().any():
            raise InputError(f"{path}: row {int(frame[name].isna().argmax()) + 1}, column '{name}' is empty")
    twice = frame.duplicated(keys)
    if twice.any():
        row = int(np.flatnonzero(twice.to_numpy())[0])
        place = ", ".join(f"{name} {frame[name].iloc[row]}" for name in keys)
        raise InputError(f"{path}: row {row + 1} repeats {place}, expected every variable once per time")
    wide = frame.pivot(index=[entity, time], columns="variable", values="value").sort_index()
    wide.columns.name = None
    whose, when = (wide.index.get_level_values(level) for level in (0, 1))
    return whose.astype(str).to_numpy(dtype=object), when.to_numpy(), wide


def by_entity(entity: np.ndarray) -> dict[str, np.ndarray]:
    """The numbers of each entity's rows, in their order; entities sorted by name, wherever they stand in the file."""
    codes, keys = pd.factorize(entity, sort=True)
    order = np.argsort(codes, kind="stable")
    pieces = np.split(order, np.cumsum(np.bincount(codes, minlength=len(keys)))[:-1])
    return dict(zip(map(str, keys), pieces, strict=True)) if len(keys) else {}


def treat_missing(frame: pd.DataFrame, missing: Missing, path: Path) -> tuple[np.ndarray, list[str]]:
    """Values (rows, C) and names under a policy; what is still NaN `bench.loading.windows` fills after the split.

    refuse: an empty cell is an error with its place. drop: the caller leaves such rows out.
    ffill: filled forward within a piece, then by the training median.
    mask: as ffill, plus a channel of 0 and 1 (1 = observed) for every channel that has an empty cell.
    """
    values, names = frame.to_numpy(dtype=np.float64), [str(name) for name in frame.columns]
    values = np.ascontiguousarray(values)  # numpy sums another layout in another order, which rounds otherwise
    absent = np.isnan(values)
    if missing == "refuse" and absent.any():
        row, channel = map(int, np.argwhere(absent)[0])
        label = frame.index[row]  # the row in the file, whatever the order is now; (entity, time) of a long table
        place = ", ".join(map(str, label)) if isinstance(label, tuple) else f"row {label + 1}"
        raise InputError(
            f"{path}: {place}, column '{names[channel]}' is empty, expected a number "
            "(or choose missing: drop, ffill or mask)"
        )
    if missing != "mask":
        return values, names
    masked = np.flatnonzero(absent.any(axis=0)).tolist()
    return np.hstack([values, ~absent[:, masked]]), [*names, *(f"{names[c]} observed" for c in masked)]
