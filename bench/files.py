"""Finding and reading the files of real data sets; every fault is one line that names the file and the place."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from bench.contracts import InputError, Unavailable


def places(data_dir: Path | None) -> list[Path]:
    """Where data are looked for: `--data`, then the variable BENCH_DATA, then the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    found = [data_dir, os.environ.get("BENCH_DATA") or None, Path(cache) / "latent-diffusion-bench"]
    return [Path(place) for place in found if place is not None]


def find(names: Sequence[str], data_dir: Path | None, how: str) -> Path:
    """The first of `names` (paths below a data folder) that exists.

    Raises Unavailable with `how` (a sentence: how to get the file) where none does, InputError where it is a folder.
    """
    for place in places(data_dir):
        for name in names:
            path = place / name
            if path.is_dir():
                raise InputError(f"{path}: is a folder, expected a file")
            if path.exists():
                return path
    raise Unavailable(f"{names[0]} is not in the data folder (--data or BENCH_DATA): {how}")


def read_csv(path: Path, numbers: Sequence[str], text: Sequence[str] = (), times: Sequence[str] = ()) -> pd.DataFrame:
    """The named columns of a CSV file (plain or .gz): numbers as float64 (empty = NaN), text, times.

    Times with a mark of their zone become UTC, those without stay as they are. Read once per process and file version.
    Raises InputError: no such column, a cell that is not a number or a time (row and column), a damaged file.
    """
    status = check_file(path).stat()
    return _read_csv(path, tuple(numbers), tuple(text), tuple(times), status.st_mtime_ns, status.st_size).copy()


def check_file(path: Path) -> Path:
    """The path itself. Raises InputError where it is not a file."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected a file")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return path


@lru_cache(maxsize=8)
def _read_csv(
    path: Path, numbers: tuple[str, ...], text: tuple[str, ...], times: tuple[str, ...], *_version: int
) -> pd.DataFrame:
    wanted = [*times, *text, *numbers]
    # As text first: a column that pandas cannot read as numbers could not be blamed on a cell afterwards.
    frame = read_text(path, wanted)
    for name in numbers:
        frame[name] = as_numbers(frame[name], path)
    for name in times:
        frame[name] = as_times(frame[name], path)
    return frame


def read_text(path: Path, wanted: Sequence[str] | None = None) -> pd.DataFrame:
    """Columns of a CSV file as text, NaN where a cell is empty.

    Raises InputError for a missing column or a damaged file.
    """
    try:
        header = pd.read_csv(path, nrows=0, encoding="utf-8-sig", skipinitialspace=True)
        if wanted is not None:
            check_columns(path, list(header.columns), wanted)
        frame = pd.read_csv(
            path,
            usecols=None if wanted is None else list(wanted),
            dtype=str,
            encoding="utf-8-sig",
            keep_default_na=False,
            na_values=["", "NA", "NaN", "nan", "null"],
        )
        if not isinstance(frame.index, pd.RangeIndex):  # pandas takes surplus cells for an index
            raise ValueError(f"the first row has more cells than the header ({len(header.columns)})")
        return frame
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(f"{path}: cannot be read, perhaps cut short or damaged: {_first_line(error)}") from None
    except (ValueError, UnicodeError) as error:  # what pandas raises for a file that is no table
        raise InputError(f"{path}: expected a table as UTF-8 CSV: {_first_line(error)}") from None


def check_columns(path: Path, present: Sequence[str], wanted: Sequence[str]) -> None:
    """Raises InputError that names the columns that are missing."""
    missing = [name for name in wanted if name not in present]
    if missing:
        raise InputError(f"{path}: the columns {', '.join(missing)} are missing, found {', '.join(map(str, present))}")


def as_numbers(column: pd.Series, path: Path, expected: str = "a number") -> pd.Series:
    """A column as float64, empty to NaN. Raises InputError with row (counted from 1 below the header) and column."""
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        column = column.astype(str).where(column.notna())  # so that true, times and lists are refused, not converted
    values = pd.to_numeric(column, errors="coerce").astype(np.float64)
    _blame(column, values.isna() & column.notna(), path, expected)
    return values


def looks_like_times(column: pd.Series) -> bool:
    """Whether a column holds times: a column of times already, or text that is a date or time in every row."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return True
    if len(column) == 0 or pd.api.types.is_numeric_dtype(column) or not column.astype(str).str.match(_DATE).all():
        return False
    return bool(pd.to_datetime(column, format="ISO8601", errors="coerce", utc=True).notna().all())


_DATE = r"\s*\d{4}-\d\d-\d\d"  # ISO 8601; without it a column of whole numbers would pass for years


def as_times(column: pd.Series, path: Path) -> pd.Series:
    """Text (ISO 8601) to times, in UTC where the text has a zone. Raises InputError with row and column."""
    if pd.api.types.is_datetime64_any_dtype(column):
        _blame(column, column.isna(), path, "a time")
        return column
    column = column.astype(str).where(column.notna())
    zoned = column.str.contains(r"(?:Z|[+-]\d\d:?\d\d)$", na=False)
    if zoned.any() and not zoned.all():
        _blame(column, ~zoned & column.notna(), path, "a time with a zone, as in the other rows (zones are mixed)")
    times = pd.to_datetime(column, format="ISO8601", errors="coerce", utc=bool(zoned.any()))
    _blame(column, times.isna(), path, "a time such as 2016-01-31 17:00:00")
    return times


def _blame(column: pd.Series, wrong: pd.Series, path: Path, expected: str) -> None:
    if wrong.any():
        row = int(np.flatnonzero(wrong.to_numpy())[0])
        cell = column.iloc[row]
        shown = "empty" if pd.isna(cell) else repr(cell)
        raise InputError(f"{path}: row {row + 1}, column '{column.name}' is {shown}, expected {expected}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
