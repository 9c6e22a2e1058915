"""Finding and reading the files of real data sets; every error is one line that names the file and the place."""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from bench.contracts import Dataset, InputError, Unavailable
from bench.loading.cache import cache_folder

LARGEST = 1e30  # of a value: float32 holds it, and its square has room in float64


@dataclass(frozen=True)
class Remote:
    """A file that `python -m bench.data fetch` downloads; a data set lists its own in the class attribute `remote`."""

    url: str
    path: str  # where it is put, below the data folder
    sha256: str = ""  # of the content at `path`; empty where none is published: recorded when first fetched
    member: str = ""  # the one member of the zip archive at `url` that is wanted
    begins: bytes = b""  # what the content must begin with
    instead: tuple[str, ...] = ()  # other names under which the data set finds the same data
    copies: tuple[str, ...] = ()  # SHA-256 of the same data packed otherwise (of the .csv inside a .csv.gz)
    known_from: str = ""  # how the address and the hash are known, for the card


def places(data_dir: Path | None) -> list[Path]:
    """Where data are looked for: `--data`, then the variable BENCH_DATA, then the user's cache folder."""
    found = [data_dir, os.environ.get("BENCH_DATA") or None, cache_folder()]
    return [Path(place) for place in found if place is not None]


def remotes(dataset: type[Dataset]) -> tuple[Remote, ...]:
    """The files that can be fetched."""
    return tuple(getattr(dataset, "remote", ()))


def stored(remote: Remote, data: Path | None) -> Path | None:
    """The path of a file, plain, compressed or under another name; None where it is missing."""
    names = (remote.path, f"{remote.path}.gz", *remote.instead)
    candidates = [place / name for place in places(data) for name in names]
    return next((path for path in candidates if path.is_file()), None)


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


def read_csv(
    path: Path, numbers: Sequence[str], text: Sequence[str] = (), times: Sequence[str] = (), *, keep: bool = True
) -> pd.DataFrame:
    """The named columns of a CSV file (plain or .gz): numbers as float64 (empty = NaN), text, times.

    Times with a zone become UTC, and those without stay as they are; the result has no zone. A file is read once per
    process and version, unless `keep` is false.
    Raises InputError: no such column, a cell that is not a number or a time (row and column), a damaged file.
    """
    status = check_file(path).stat()
    columns = tuple(numbers), tuple(text), tuple(times)
    if not keep:
        return _read_csv(path, *columns)
    return _remembered(path, *columns, status.st_mtime_ns, status.st_size).copy()


def check_file(path: Path) -> Path:
    """The path itself. Raises InputError where it is not a file."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected a file")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return path


def locate(given: str, owner: str, data_dir: Path | None) -> Path:
    """A user's own file, as `anchored` finds it from the current directory. Raises InputError where there is none."""
    if not given:
        raise InputError(f"{owner}.path is empty: expected the path of a file")
    return check_file(anchored(given, "", data_dir))


def anchored(given: str, folder: str, data_dir: Path | None) -> Path:
    """A user's own path as an absolute one; `~` and variables such as $HOME are replaced, unless a file is so named.

    A relative path starts in `folder` ("" is the current directory), or in a data folder where only that has it.
    """
    replaced = os.path.expandvars(os.path.expanduser(given))
    words = list(dict.fromkeys([given, replaced]))
    candidates = [place / word for place in (Path.cwd() / folder, *places(data_dir)) for word in words]
    return next((path for path in candidates if path.exists()), Path.cwd() / folder / replaced)


_STAND_INS = (
    (rb"\s*version https://git-lfs\.github\.com/spec/", "a pointer of Git LFS, expected the data (`git lfs pull`)"),
    (rb"[^\n]{0,300}/annex/objects/", "a pointer of git-annex, expected the data (`git annex get`)"),
    (rb"\s*<(?:!doctype|html|head|\?xml)", "an HTML or XML page, expected data: perhaps the answer of a web server"),
    (rb"PAR1", "a parquet file, expected the format that was named: choose parquet:PATH"),
    (rb"\x89HDF|CDF[\x01\x02]", "an HDF5 or NetCDF file, expected the format that was named"),
    (rb"\x93NUMPY", "a .npy file, expected the format that was named: `numpy.savez` writes .npz"),
    (rb"PK\x03\x04", "a zip archive, an .npz or an .xlsx file, expected the format that its name says"),
    (
        rb"\x1f\x8b|BZh\d1AY|\xfd7zXZ|\x28\xb5\x2f\xfd",
        "a compressed file, expected a name that says so (.gz, .bz2, .xz)",
    ),
    (rb"\s*[\[{]\s*[\[{\"]", "a JSON document, expected a table"),
)
_SUFFIXES = {".gz": b"\x1f\x8b", ".bz2": b"BZh", ".xz": b"\xfd7zXZ", ".zst": b"\x28\xb5", ".zip": b"PK"}


def refuse_stand_in(path: Path, allowed: bytes | tuple[bytes, ...] = b"") -> None:
    """Raises InputError where a file is no data but a pointer or a page, or of another format than its name says.

    allowed: what the content of this format begins with.
    """
    try:
        with path.open("rb") as file:
            begins = file.read(512)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    expected = allowed or _SUFFIXES.get(path.suffix.lower(), b"")
    if expected and begins.startswith(expected):
        return
    for pattern, what in _STAND_INS:
        if re.match(pattern, begins, re.IGNORECASE):
            raise InputError(f"{path}: is {what}")


@lru_cache(maxsize=8)
def _remembered(
    path: Path, numbers: tuple[str, ...], text: tuple[str, ...], times: tuple[str, ...], *_version: int
) -> pd.DataFrame:
    return _read_csv(path, numbers, text, times)


def _read_csv(path: Path, numbers: tuple[str, ...], text: tuple[str, ...], times: tuple[str, ...]) -> pd.DataFrame:
    wanted = [*times, *text, *numbers]
    # Read as text first, so that an error can name the cell that is not a number.
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
    refuse_stand_in(path)
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
    except CUT_SHORT as error:
        raise InputError(f"{path}: cannot be read, perhaps cut short or damaged: {first_line(error)}") from None
    except (ValueError, UnicodeError) as error:  # what pandas raises for a file that is no table
        raise InputError(f"{path}: expected a table as UTF-8 CSV: {first_line(error)}") from None


CUT_SHORT = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError, OSError, ImportError)
"""What is raised for a file that is shorter than it says, damaged, or packed in a way that cannot be read here."""

DAMAGED_NPZ: tuple[type[Exception], ...] = (
    *(OSError, ValueError, EOFError, TypeError, AttributeError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What numpy raises for a file that is no .npz archive of plain arrays, or a damaged, encrypted or pretended one."""


def read_parquet(path: Path) -> pd.DataFrame:
    """A parquet file as a table; an index becomes columns. Raises InputError for a damaged file."""
    refuse_stand_in(check_file(path), b"PAR1")
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError, KeyError, TypeError) as error:  # pyarrow's errors are among these
        raise InputError(f"{path}: cannot be read as parquet: {first_line(error)}") from None
    numbered = isinstance(frame.index, pd.RangeIndex) and frame.index.name is None
    return frame if numbered else frame.reset_index()


def check_columns(path: Path, present: Sequence[str], wanted: Sequence[str], hint: str = "") -> None:
    """Raises InputError that names the columns that are missing."""
    missing = [name for name in wanted if name not in present]
    if missing:
        found = ", ".join(map(str, present))
        raise InputError(f"{path}: the columns {', '.join(missing)} are missing, found {found}{hint}")


def as_numbers(column: pd.Series, path: Path, expected: str = "a number", decimal: str = ".") -> pd.Series:
    """A column as float64, empty to NaN. Raises InputError with row (counted from 1 below the header) and column.

    decimal: the mark of a decimal fraction in text; where it is a comma, a cell with a point is no number.
    """
    if pd.api.types.is_bool_dtype(column) or not pd.api.types.is_numeric_dtype(column):
        column = column.astype(str).where(column.notna())  # so that true, times and lists are refused, not converted
    text = column
    if decimal != "." and not pd.api.types.is_numeric_dtype(column):
        text = column.where(~column.str.contains(".", regex=False, na=False), "no number")
        text = text.str.replace(decimal, ".", regex=False)
    values = pd.to_numeric(text, errors="coerce").astype(np.float64)
    refuse_cells(column, (values.isna() & column.notna()) | np.isinf(values), path, expected)
    return values


def looks_like_times(column: pd.Series) -> bool:
    """Whether a column holds times: a column of times already, or text that is a date or time in most of its cells.

    Most and not all, so that one cell that is none is named as that and the column is not taken for text.
    """
    if pd.api.types.is_datetime64_any_dtype(column):
        return True
    if pd.api.types.is_numeric_dtype(column):
        return False
    cells = column.dropna().astype(str)
    dates = cells[cells.str.match(_DATE)]
    if not len(dates) or 2 * len(dates) <= len(cells):
        return False
    return bool(2 * pd.to_datetime(dates, format="ISO8601", errors="coerce", utc=True).notna().sum() > len(cells))


_DATE = r"\s*\d{4}-\d\d(?:-\d\d|\s*$)"  # ISO 8601; without it a column of whole numbers would pass for years
_ZONE = r"[T ]\d\d?(?:[:\d.,]*)\s*(?:[Zz]|[+-]\d\d(?::?\d\d)?)\s*$"  # of a time of day, not of a date alone


def as_times(column: pd.Series, path: Path, pattern: str = "") -> pd.Series:
    """Text (ISO 8601, or as `pattern` says: %d.%m.%Y) to times, those with a zone as UTC.

    Raises InputError with row and column.
    """
    if pd.api.types.is_datetime64_any_dtype(column):
        refuse_cells(column, column.isna(), path, "a time")
        return column.dt.tz_convert("UTC").dt.tz_localize(None) if column.dt.tz is not None else column
    column = column.astype(str).where(column.notna())
    if pattern:
        zones = "%z" in pattern
        times = pd.to_datetime(column, format=pattern, errors="coerce", utc=zones)
        refuse_cells(column, times.isna(), path, f"a time as `time_format: {pattern!r}` says")
        return times.dt.tz_localize(None)
    zoned = has_zone(column)
    refuse_cells(column, ~column.str.contains(r"\d", na=False), path, "a time such as 2016-01-31 17:00:00")
    if zoned.any() and not zoned.all():
        mixed = "a time with a zone, as in the other rows (zones are mixed)"
        refuse_cells(column, ~zoned & column.notna(), path, mixed)
    times = pd.to_datetime(column, format="ISO8601", errors="coerce", utc=bool(zoned.any()))
    refuse_cells(column, times.isna(), path, "a time such as 2016-01-31 17:00:00")
    return times.dt.tz_localize(None)


def has_zone(column: pd.Series) -> pd.Series:
    """Whether each cell of text is a time of day with a zone, such as 17:00+02 or 17:00Z."""
    return column.str.contains(_ZONE, na=False)


def refuse_beyond(numbers: pd.Series, column: pd.Series, path: Path) -> pd.Series:
    """The numbers read from a column of a file. Raises InputError with row and column for one that is far too large."""
    refuse_cells(column, numbers.abs() > LARGEST, path, f"a number of at most {LARGEST:g} in size")
    return numbers


def refuse_empty(frame: pd.DataFrame, names: Sequence[str], path: Path, expected: str = "a number") -> None:
    """Raises InputError with row and column where a cell of these columns of a file is empty."""
    for name in names:
        refuse_cells(frame[name], frame[name].isna(), path, expected)


def refuse_cells(column: pd.Series, wrong: pd.Series, path: Path, expected: str) -> None:
    """Raises InputError with row and column for the first cell of a file's column that is wrong, if any is."""
    if wrong.any():
        row = int(np.flatnonzero(wrong.to_numpy())[0])
        cell = column.iloc[row]
        shown = "empty" if pd.isna(cell) else f"{cell:g}" if isinstance(cell, float) else repr(cell)
        raise InputError(
            f"{path}: row {row + 1}, column '{column.name}' is {shown}, expected {expected}{_advice(cell)}"
        )


def _advice(cell: object) -> str:
    """How a cell that is no number may be read after all."""
    text = str(cell)
    if re.fullmatch(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?", text):
        return "; a comma between thousands is not read, and `decimal: comma` reads it as the decimal mark"
    if re.fullmatch(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?", text):
        return "; `decimal: comma` reads a comma as the decimal mark"
    if re.fullmatch(r"(?i)[-?.*x]+|n/?a|none|missing|nil|#.*|<na>|nat|inf|-inf", text):
        return f"; `missing_values: [{text!r}]` reads it as an empty cell"
    return ""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where there is none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


# ---------------------------------------------------------------- extracts


def fingerprint(path: Path) -> str:
    """A name for a file's content: its SHA-256, or above 256 MB that of its size, time, first and last megabyte."""
    status = path.stat()
    return _fingerprint(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _fingerprint(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        if size <= 256 * 2**20:
            return hashlib.file_digest(file, "sha256").hexdigest()
        first = file.read(2**20)
        file.seek(-(2**20), os.SEEK_END)
        last = file.read()
    return hashlib.sha256(f"{size},{changed}".encode() + first + last).hexdigest()


def extract(
    label: str, sources: Sequence[Path], build: Callable[[], pd.DataFrame], *, private: bool = False
) -> pd.DataFrame:
    """A table made from source files, kept in memory and as parquet, so that it is made once per content of the files.

    `label` names the data set, its version and the options that change the table. The parquet file lies in the user's
    cache folder. A `private` one never leaves the folder of its data: it lies beside them (`.bench/`), or nowhere, and
    it is looked for there even where nothing may be written.
    """
    words = [label, *(fingerprint(source) for source in sources)]
    key = f"{label.split()[0]}-{hashlib.sha256(' '.join(words).encode()).hexdigest()[:16]}.parquet"
    if key not in _EXTRACTS:
        beside = sources[0].parent
        writable = beside.stat().st_mode & 0o222  # a folder marked read-only is left alone, also by a superuser
        cache = cache_folder()
        folder = beside / ".bench" if private else cache / "extracts" if cache else None
        _EXTRACTS[key] = _kept(folder, key, build, write=bool(writable) or not private)
    return _EXTRACTS[key]


_EXTRACTS: dict[str, pd.DataFrame] = {}


def _kept(folder: Path | None, key: str, build: Callable[[], pd.DataFrame], *, write: bool) -> pd.DataFrame:
    if folder is None:
        return build()
    with contextlib.suppress(OSError, ValueError):  # none, or damaged: made again
        return pd.read_parquet(folder / key)
    frame = build()
    if write:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            part = folder / f"{key}.{os.getpid()}.part"
            frame.to_parquet(part)
            os.replace(part, folder / key)  # whole or not at all, also with several processes
    return frame
