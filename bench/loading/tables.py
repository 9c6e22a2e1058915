"""From a user's own table to recordings: wide (a row per time step) or long (id, time, variable, value)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from bench.contracts import Dataset, InputError, Recordings, nearest, option
from bench.loading.columns import refuse_unread_columns
from bench.loading.delimited import RawTable
from bench.loading.division import too_short
from bench.loading.files import (
    as_numbers,
    as_times,
    check_columns,
    has_zone,
    locate,
    looks_like_times,
    read_parquet,
    refuse_beyond,
)
from bench.loading.suspicions import suspicious_values

Missing = Literal["refuse", "drop", "ffill", "mask"]
MissingValues = str | float | tuple[str | float, ...] | list[str | float]
TimeUnit = Literal["none", "s", "ms", "us", "ns", "min", "h", "d"]
FIRST_ROWS = 3  # that the description of a file shows
FIRST_COLUMNS = 8


@dataclass(frozen=True)
class Table(Dataset):
    """What `csv` and `parquet` share: the options, and the way from a table to recordings.

    wide: one row per time step, one column per channel; `id` names a column that tells entities apart.
    long: the columns `id`, `time`, `variable`, `value` (the first two may be named by the options).
    A first column that parses as timestamps is the time; rows are sorted by it within an entity, a time that occurs
    twice is refused. Any other text column is refused by name; `channels` chooses columns. What looks like a time, a
    row number or the name of an entity is never a channel unless `channels` says so (see `bench.loading.columns`).
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
    time_format: str = option("", later=True)  # "%d.%m.%Y %H:%M"; "": ISO 8601 or numbers
    time_unit: TimeUnit = option("none", later=True)  # of numbers that count from 1970-01-01; none: they stay numbers
    missing_values: MissingValues = option((), later=True)  # cells that are empty, beside "", NA, NaN, nan, null

    def locate(self, data_dir: Path | None) -> Path:
        """The file: from the current directory, else below the data folders. Raises InputError where there is none."""
        return locate(self.path, self.name, data_dir)

    def recordings(self, raw: RawTable, path: Path) -> Recordings:
        """The table's rows as entities, sorted by time, with the policy for missing values applied."""
        if raw.frame.empty:
            raise InputError(f"{path}: has no rows, expected some")
        facts = _Facts(first=_shown(raw.frame))
        entity, time, frame = self._long(raw, path, facts) if self.format == "long" else self._wide(raw, path, facts)
        values, names = treat_missing(frame, self.missing, path)
        series, entities, times = [], [], []
        for key, every in by_entity(entity).items():
            rows = every[~np.isnan(values[every]).any(axis=1)] if self.missing == "drop" else every
            pieces = [piece for piece in self._stretches(rows, time, path) if len(piece) >= self.window]
            if not pieces:
                if not self._has_entities and self.longest_pause == "":
                    raise InputError(too_short(str(path), [len(rows)], self.window, self._split))
                whose = f"entity '{key}' has" if self._has_entities else "has"
                most = " without a pause" if self.longest_pause else ""
                raise InputError(
                    f"{path}: {whose} {len(rows)} rows, expected at least one window of {self.window}{most}"
                )
            facts.left_out["with an empty cell (missing: drop)"] += len(every) - len(rows)
            facts.left_out["in pieces shorter than a window"] += len(rows) - sum(map(len, pieces))
            series += [values[piece] for piece in pieces]
            entities += [key] * len(pieces)
            times += [time[piece] for piece in pieces] if time is not None and time.dtype.kind == "M" else []
        facts.entities = len(set(entities)) if self._has_entities else 0
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
            notes=facts.lines(),
            doubts=(*facts.doubts, *suspicious_values(frame.to_numpy(), list(map(str, frame.columns)), path)),
        )

    def _stretches(self, rows: np.ndarray, time: np.ndarray | None, path: Path) -> list[np.ndarray]:
        """Rows of one entity, cut where the time between two of them is longer than `longest_pause`."""
        if self.longest_pause == "":
            return [rows]
        assert time is not None  # `_wide` refuses a table without one
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

    def _wide(self, raw: RawTable, path: Path, facts: _Facts) -> tuple[np.ndarray, np.ndarray | None, pd.DataFrame]:
        frame = raw.frame
        named = [name for name in (self.id, self.time) if name]
        check_columns(path, list(frame.columns), named)
        self._check_channels(frame, path)
        rest = [name for name in frame.columns if name not in named]
        if {"variable", "value"} <= set(rest) and not {"variable", "value"} & set(self.channels):
            raise InputError(
                f"{path}: has the columns variable and value: choose `format: long` (or name the `channels`)"
            )
        time = self.time
        if not time and rest and rest[0] not in self.channels and looks_like_times(frame[rest[0]]):
            time, rest = rest[0], rest[1:]
        if not time and self.longest_pause != "":
            raise InputError(f"{self.name}.longest_pause: {path} has no time: name its column with `time`")
        if self.id:
            if (empty := frame[self.id].isna()).any():
                row = int(empty.argmax()) + 1
                raise InputError(f"{path}: row {row}, column '{self.id}' is empty, expected an entity")
            frame = frame.assign(**{self.id: frame[self.id].astype(str)})
        chosen = list(self.channels) or rest
        facts.doubts += refuse_unread_columns(frame, rest, self.channels, self.id, time, raw, path)
        values = self._numbers(frame[chosen], path, raw.decimal)
        facts.unused = [name for name in rest if name not in chosen]
        clock = None
        if time:
            facts.state_time(frame[time], time)
            times = self._clock(frame[time], path, raw.decimal)
            hint = "" if self.id else _join(frame[rest], time) or " (or an `id`, the column that tells entities apart)"
            order = in_order(frame.assign(**{time: times}), [self.id] if self.id else [], time, path, hint).index
            facts.sorted_already = _sorted_within(frame[self.id] if self.id else None, times)
            frame, values, clock = frame.loc[order], values.loc[order], times.loc[order].to_numpy()
        entity = frame[self.id].to_numpy(dtype=object) if self.id else np.zeros(len(frame), dtype=object)
        facts.id = self.id
        return entity, clock, values

    def _long(self, raw: RawTable, path: Path, facts: _Facts) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
        entity, time = self.id or "id", self.time or "time"
        keys = [entity, time, "variable"]
        frame = raw.frame
        check_columns(path, list(frame.columns), [*keys, "value"], " (`id` and `time` may be named by the options)")
        facts.state_time(frame[time], time)
        facts.id, facts.unused = entity, [name for name in frame.columns if name not in (*keys, "value")]
        values = self._numbers(frame[["value"]], path, raw.decimal)["value"]
        frame = frame.assign(**{time: self._clock(frame[time], path, raw.decimal), "value": values})
        facts.sorted_already = _sorted_within(frame[entity], frame[time])
        whose, when, wide = widen(frame, path, entity, time)
        self._check_channels(wide, path)
        return whose, when, wide[list(self.channels)] if self.channels else wide

    def _check_channels(self, frame: pd.DataFrame, path: Path) -> None:
        for number, name in enumerate(self.channels):
            if name in self.channels[:number]:
                raise InputError(f"{self.name}.channels: '{name}' twice, expected different columns")
            if name not in frame.columns:
                hint = nearest(name, map(str, frame.columns), "the columns of the file")
                raise InputError(f"{path}: no column '{name}' for `channels`, {hint}")

    def _numbers(self, frame: pd.DataFrame, path: Path, decimal: str) -> pd.DataFrame:
        if frame.columns.empty:
            raise InputError(f"{path}: expected at least one column of numbers")
        expected = "a number (text may be the `id` or the `time`; all others are left out where `channels` names some)"
        codes = missing_values(self.missing_values)
        return pd.DataFrame(
            {
                name: refuse_beyond(
                    without(as_numbers(without_text(frame[name], codes), path, expected, decimal), codes),
                    frame[name],
                    path,
                )
                for name in frame.columns
            }
        )

    def _clock(self, column: pd.Series, path: Path, decimal: str) -> pd.Series:
        """A time column: numbers stay numbers (hours since admission, a day's index), text becomes times."""
        if pd.api.types.is_datetime64_any_dtype(column):
            return as_times(column, path)
        if self.time_format:
            return as_times(column, path, self.time_format)
        numbers = pd.to_numeric(column, errors="coerce") if decimal == "." else as_if_numbers(column, decimal)
        if 2 * np.isfinite(numbers).sum() <= column.notna().sum():
            if self.time_unit != "none":
                raise InputError(f"{self.name}.time_unit: {path}: column '{column.name}' holds no numbers")
            return as_times(column, path)
        as_numbers(column, path, "a time as a number, as in the other rows", decimal)
        if (wrong := ~np.isfinite(numbers)).any():
            row = int(wrong.argmax())
            what = "empty" if pd.isna(column.iloc[row]) else "infinite"
            raise InputError(f"{path}: row {row + 1}, column '{column.name}' is {what}, expected a time")
        if self.time_unit == "none":
            return numbers
        try:
            since = pd.to_timedelta(numbers, unit="D" if self.time_unit == "d" else self.time_unit)
            return (pd.Timestamp("1970-01-01") + since).astype("datetime64[ns]")
        except (ValueError, OverflowError):
            raise InputError(
                f"{self.name}.time_unit = {self.time_unit!r}: {path}: column '{column.name}' holds numbers up to "
                f"{numbers.max():g}, which are too many of this unit since 1970"
            ) from None


def missing_values(given: MissingValues) -> tuple[str | float, ...]:
    """The option `missing_values` as a tuple: it may be one value."""
    return (given,) if isinstance(given, str | int | float) else tuple(given)


def without_text(column: pd.Series, codes: Sequence[str | float]) -> pd.Series:
    """A column of a file with the cells that are one of these texts empty."""
    words = [code for code in codes if isinstance(code, str)]
    return column.mask(column.isin(words)) if words and not pd.api.types.is_numeric_dtype(column) else column


def without(numbers: pd.Series, codes: Sequence[str | float]) -> pd.Series:
    """Numbers with those that are one of these empty, however they are written."""
    values = pd.to_numeric(pd.Series(codes, dtype=object), errors="coerce").dropna().astype(np.float64)
    return numbers.mask(numbers.isin(values)) if len(values) else numbers


def as_if_numbers(column: pd.Series, decimal: str) -> pd.Series:
    """Text with this decimal mark as numbers, NaN for what is none."""
    return pd.to_numeric(column.astype(str).str.replace(decimal, ".", regex=False), errors="coerce")


def read_columns(path: Path) -> RawTable:
    """A parquet file; an index becomes columns, those without a name noted. Raises InputError."""
    frame = read_parquet(path)
    frame.columns = [str(name) for name in frame.columns]
    for name in frame.columns[frame.columns.duplicated()]:
        raise InputError(f"{path}: the column '{name}' stands there twice, expected different names")
    unnamed = [name for name in frame.columns if name in ("index", "level_0", "") or name.startswith("Unnamed: ")]
    return RawTable(frame, tuple(unnamed))


def _shown(frame: pd.DataFrame) -> list[str]:
    some = frame.iloc[:FIRST_ROWS, :FIRST_COLUMNS]
    more = ", .." if frame.shape[1] > FIRST_COLUMNS else ""
    rows = some.astype(object).where(some.notna(), "empty").to_numpy()
    cells = [[f"{name} = {cell}" for name, cell in zip(some.columns, row, strict=True)] for row in rows]
    return [f"row {number}: {', '.join(row)}{more}" for number, row in enumerate(cells, start=1)]


@dataclass
class _Facts:
    """What was understood of a file, for the description."""

    first: list[str]
    id: str = ""
    time: str = "none, rows are taken in the order of the file"
    sorted_already: bool | None = None
    entities: int = 0
    unused: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(
        default_factory=lambda: {"with an empty cell (missing: drop)": 0, "in pieces shorter than a window": 0}
    )

    def state_time(self, column: pd.Series, name: str) -> None:
        """Note the column of the time, and what is known of its zone."""
        if pd.api.types.is_datetime64_any_dtype(column):
            zone = column.dt.tz
        elif pd.api.types.is_numeric_dtype(column) or pd.to_numeric(column, errors="coerce").notna().all():
            self.time = f"column '{name}', numbers"
            return
        else:
            zone = has_zone(column.astype(str)).any() or None
        self.time = f"column '{name}', {'no zone, taken as they stand' if zone is None else 'with a zone, read as UTC'}"

    def lines(self) -> tuple[str, ...]:
        """One sentence each."""
        order = {None: "", True: "; sorted already", False: "; the rows were not in its order and were sorted"}
        lost = [f"{count:,} {why}" for why, count in self.left_out.items() if count]
        return (
            *self.first,
            f"time: {self.time}{order[self.sorted_already]}",
            f"entities: {f'{self.entities:,} of column {self.id!r}' if self.id else 'none, one series'}",
            f"columns not used: {', '.join(self.unused) or 'none'}",
            f"rows left out: {', '.join(lost) or 'none'}",
        )


def _join(rest: pd.DataFrame, time: str) -> str:
    """A hint where another column holds the time of day."""
    for name in rest:
        cells = rest[name].dropna().astype(str)
        if len(cells) and cells.str.fullmatch(r"\d{1,2}[:.]\d\d(?:[:.]\d\d)?").mean() > 0.5:
            return f" (join '{time}' and '{name}' into one column of times)"
    return ""


def _sorted_within(entity: pd.Series | None, times: pd.Series) -> bool:
    if entity is None:
        return bool(times.is_monotonic_increasing)
    return bool(times.groupby(entity.to_numpy(), sort=False).is_monotonic_increasing.all())


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
    for name in (entity, "variable"):
        if frame[name].isna().any():
            raise InputError(f"{path}: row {int(frame[name].isna().argmax()) + 1}, column '{name}' is empty")
    twice = frame.duplicated(keys)
    if twice.any():
        row = int(np.flatnonzero(twice.to_numpy())[0])
        place = ", ".join(f"{name} {frame[name].iloc[row]}" for name in keys)
        raise InputError(f"{path}: row {row + 1} repeats {place}, expected every variable once per time")
    wide = frame.pivot(index=[entity, time], columns="variable", values="value").sort_index()
    wide.columns = pd.Index([str(name) for name in wide.columns])
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
