"""Columns that nobody named and that are no channels: times, row numbers, names of entities.

A column that was not understood is refused with the option that reads it. It is never a channel by default, and the
advice never leaves out what tells entities apart or puts rows into order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bench.contracts import InputError
from bench.loading.delimited import RawTable
from bench.loading.files import looks_like_times

FEWEST_ROWS = 10  # with fewer, numbers in equal steps may be chance
_TIMES = r"(?i)(?:date|time|datetime|timestamp|ts|t|epoch|unix(?:[ _]?time)?|date[ _]?time|time[ _]?stamp)"
_YEARS = r"(?i)years?"
_ENTITIES = (
    r"(?i)(?:.*[ _])?(?:id|uid|uuid)|patient|subject|person|entity|stay|icustay"
    r"|machine|device|station|store|customer|user"
)
_DATES = r"\s*\d{1,4}[-./]\d{1,2}[-./]\d{1,4}"
_EPOCHS = (("s", 3e8, 5e9), ("ms", 3e11, 5e12), ("us", 3e14, 5e15), ("ns", 3e17, 5e18))  # 1979 to 2128


def refuse_unread_columns(
    frame: pd.DataFrame, rest: Sequence[str], channels: Sequence[str], id_: str, time: str, raw: RawTable, path: Path
) -> list[str]:
    """Check the columns that are neither `id` nor `time`, as they stand in the file.

    Returns doubts about columns that `channels` leaves out. Raises InputError for a column that would be a channel and
    looks like something else, and for rows that are not in the order of a time that is left out.
    """
    doubts = []
    for name in rest:
        if name in channels:
            continue
        column = _plain(frame[name], raw.decimal)
        if name in raw.unnamed and not channels and not looks_like_times(column):
            raise InputError(
                f"{path}: column {list(raw.frame.columns).index(name) + 1} has no name (here '{name}') and begins with "
                f"{_first(column)}: choose `time: {name}` if it numbers the rows, `id: {name}` if it tells entities "
                "apart, or name the `channels`"
            )
        options = _as_time(column, frame[id_] if id_ else None, len(rest) > 1 or bool(id_))
        if options and time and not channels:
            doubts.append(
                f"{path}: column '{name}' begins with {_first(column)} and looks like a time beside '{time}', and is a "
                "channel: name the `channels`, with or without it"
            )
        if options and channels and not time:
            _refuse_other_order(column, frame[id_] if id_ else None, options, path)
        elif options and not time:
            raise InputError(
                f"{path}: column '{name}' begins with {_first(column)} and looks like a time: choose {options} (or "
                "list it among the `channels` if it is one)"
            )
        if not id_ and not channels and _stays_the_same(column):
            doubts.append(
                f"{path}: column '{name}' stays the same over long runs of rows and is a channel: if "
                f"it tells entities apart, choose `id: {name}`"
            )
        if id_ or not _as_entity(column, name):
            continue
        if channels:
            doubts.append(
                f"{path}: column '{name}' is not used: if it tells entities apart, windows mix them: choose "
                f"`id: {name}`"
            )
        elif pd.to_numeric(column, errors="coerce").notna().all():
            raise InputError(
                f"{path}: column '{name}' begins with {_first(column)} and looks like the name of an entity: choose "
                f"`id: {name}` (or list it among the `channels` if it is one)"
            )
    return doubts


def _first(column: pd.Series) -> str:
    return ", ".join(repr(str(cell)) for cell in column.iloc[:3])


def _as_time(column: pd.Series, entity: pd.Series | None, others: bool) -> str:
    """The options that read a column as the time; empty where it does not look like one."""
    name = column.name
    if looks_like_times(column):
        return f"`time: {name}`"
    if not pd.api.types.is_numeric_dtype(column):
        cells = column.dropna().astype(str)
        dates = cells[cells.str.match(_DATES)]
        if len(dates) and 2 * len(dates) > len(cells):
            return f"`time: {name}` and `time_format: {_format(dates)}`"
    numbers = pd.to_numeric(column, errors="coerce")
    if not others or not np.isfinite(numbers).all():
        return ""
    values = numbers.to_numpy(dtype=np.float64)
    for unit, low, high in _EPOCHS:
        if (values > low).all() and (values < high).all() and _all_different(column, entity):
            return f"`time: {name}` and `time_unit: {unit}`"
    if (values > 1.8e7).all() and (values < 2.2e7).all() and (values % 1 == 0).all():
        days = pd.to_datetime(numbers.astype("int64").astype(str), format="%Y%m%d", errors="coerce")
        if days.notna().all():
            return f"`time: {name}` and `time_format: '%Y%m%d'`"
    if re.fullmatch(_TIMES, str(name)):
        return f"`time: {name}`"
    if len(values) < FEWEST_ROWS:
        return ""
    years = re.fullmatch(_YEARS, str(name)) and (values > 1000).all() and (values < 3000).all()
    return f"`time: {name}`" if years or _counts(values, entity) else ""


def _all_different(column: pd.Series, entity: pd.Series | None) -> bool:
    keys = column.to_frame("time") if entity is None else pd.DataFrame({"time": column, "entity": entity})
    return len(column) > 1 and not keys.duplicated().any()


def _counts(values: np.ndarray, entity: pd.Series | None) -> bool:
    """Whether numbers go up in equal steps, within every entity."""
    steps = np.diff(values)
    if entity is not None:
        codes = pd.factorize(entity)[0]
        order = np.argsort(codes, kind="stable")
        steps = np.diff(values[order])[np.diff(codes[order]) == 0]
    return len(steps) >= FEWEST_ROWS // 2 and steps[0] > 0 and bool(np.allclose(steps, steps[0], rtol=1e-6, atol=0))


def _format(dates: pd.Series) -> str:
    """The format of dates that are not ISO 8601, and of a time of day behind them, as far as they say."""
    parts = dates.str.extract(r"\s*(\d+)([-./])(\d+)[-./](\d+)(?:[ T]+(\d+)([:.]\d+)?([:.]\d+)?)?(.*)")
    sign = parts[1].iloc[0]
    first, second = (pd.to_numeric(parts[k]) for k in (0, 2))
    clock = "".join(mark for k, mark in ((4, " %H"), (5, ":%M"), (6, ":%S")) if parts[k].notna().any())
    ends = parts[7].iloc[0]
    if re.fullmatch(r"(?i)\s*[ap]m", ends):
        clock = clock.replace("%H", "%I") + " %p"
    elif re.fullmatch(r"\s*[+-]\d\d:?\d\d", ends):
        clock += " %z" if ends[0] == " " else "%z"
    elif (parts[7] == ends).all():
        clock += ends.replace("%", "%%")
    year = "%Y" if (parts[3].str.len() == 4).all() else "%y"
    if (parts[0].str.len() == 4).all():
        return f"'%Y{sign}%m{sign}%d{clock}'"
    day_first, month_first = (f"'{order}{sign}{year}{clock}'" for order in (f"%d{sign}%m", f"%m{sign}%d"))
    if (first > 12).any():
        return day_first
    return month_first if (second > 12).any() else f"{day_first} (day first) or {month_first}"


def _refuse_other_order(column: pd.Series, entity: pd.Series | None, options: str, path: Path) -> None:
    """A time that `channels` leaves out must not say that the rows stand in another order."""
    times = pd.to_numeric(column, errors="coerce")
    if not times.notna().all():
        times = pd.to_datetime(column, format="ISO8601", errors="coerce", utc=True)
    groups = [times] if entity is None else [part for _, part in times.groupby(entity.to_numpy())]
    if not times.notna().all() or not all(part.is_monotonic_increasing for part in groups):
        raise InputError(
            f"{path}: the rows are not in the order of column '{column.name}', which `channels` leaves out: choose "
            f"{options}"
        )


def _as_entity(column: pd.Series, name: str) -> bool:
    """Whether a column may tell entities apart: text that repeats, or whole numbers under such a name."""
    cells = column.dropna()
    different = cells.nunique()
    if not 1 < different < len(cells):
        return False
    numbers = pd.to_numeric(cells, errors="coerce")
    if numbers.notna().all():
        return bool((numbers % 1 == 0).all()) and bool(re.fullmatch(_ENTITIES, name))
    return bool(2 * numbers.isna().sum() > len(cells))


def _stays_the_same(column: pd.Series) -> bool:
    """Whether whole numbers are those of parts of a file that stand one after another."""
    numbers = pd.to_numeric(column, errors="coerce")
    runs = int((numbers != numbers.shift()).sum())
    whole = numbers.notna().all() and bool((numbers % 1 == 0).all())
    return bool(whole and 1 < runs == numbers.nunique() and len(numbers) >= FEWEST_ROWS * runs)


def _plain(column: pd.Series, decimal: str) -> pd.Series:
    """Text with a point as the decimal mark; other columns as they are."""
    if decimal == "." or not pd.api.types.is_string_dtype(column):
        return column
    return column.str.replace(decimal, ".", regex=False)
