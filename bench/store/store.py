"""The parquet tables of a results folder; the only reader and writer of it.

    results/runs/PART.parquet      one row per (run_id, attempt)
    results/metrics/PART.parquet   one row per number measured
    results/curves/PART.parquet    one row per point of a training curve
    results/sweeps/NAME.json       which runs a sweep's report shows
    results/models/RUN_ID/         weights and samples that were kept
    results/leases/RUN_ID          which supervisor is working on a run

A part holds one finished stack and never changes. Its metrics and curves are written first, then
its runs; every file under a temporary name, flushed to disk, and moved. So a part exists exactly
when its runs file does, whatever is killed at whatever moment. Many small parts are compacted
into one whose runs file lists the parts that it replaces: that move is the switch, and the old
files are deleted afterwards.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import os
import secrets
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.contracts import InputError, nearest

SCHEMA_VERSION = 1

STATUSES = ("ok", "diverged", "failed", "oom", "timeout", "killed", "skipped")

_TEXT, _INT, _FLOAT, _BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()

RUNS: dict[str, pa.DataType] = {
    **dict.fromkeys(("run_id", "sweep", "label", "kind", "method", "dataset", "backbone"), _TEXT),
    **{"shuffle": _BOOL, "seed": _INT, "attempt": _INT},
    **dict.fromkeys(("status", "reason", "traceback", "device", "programs"), _TEXT),
    "stack_size": _INT,
    **dict.fromkeys(
        ("train_seconds", "denoiser_seconds", "sample_seconds", "evaluate_seconds", "energy_joules"), _FLOAT
    ),
    **dict.fromkeys(
        ("peak_memory_bytes", "n_parameters", "n_train", "n_test", "window", "test_stride", "n_channels"), _INT
    ),
    **{"data_sha256": _TEXT, "git_commit": _TEXT, "git_dirty": _BOOL},
    **dict.fromkeys(("version_python", "version_torch", "version_numpy", "version_bench"), _TEXT),
    **dict.fromkeys(("training_version", "method_version", "schema_version"), _INT),
    **{"finished_at": _TEXT, "config": _TEXT},
}
"""The columns that every runs table has; the hyper-parameters stand after them."""

METRICS: dict[str, pa.DataType] = {
    **{"run_id": _TEXT, "metric": _TEXT, "version": _INT, "split": _TEXT, "train_step": _INT},
    **{"coordinate": _TEXT, "index": _FLOAT, "metric_seed": _INT},
    **{"value": _FLOAT, "sd": _FLOAT, "error": _FLOAT, "n": _INT, "status": _TEXT, "reason": _TEXT},
}

CURVES: dict[str, pa.DataType] = {"run_id": _TEXT, "step": _INT, "stage": _TEXT, "term": _TEXT, "value": _FLOAT}

# As stored: which attempt a number is of, and whether it was added after the run ended.
_METRICS = {**METRICS, "attempt": _INT, "added": _BOOL}
_CURVES = {**CURVES, "attempt": _INT}

_LATER: dict[str, dict[str, pa.DataType]] = {"metrics": {"error": _FLOAT}}
"""Columns that parts written before them lack; read as null."""
_NEEDED: dict[str, Iterable[str]] = {
    "runs": ("run_id", "status", "attempt"),
    "metrics": [name for name in _METRICS if name not in _LATER["metrics"]],
    "curves": _CURVES,
}
"""By folder: the columns without which a file is none of ours."""

_STORED: dict[str, Mapping[str, pa.DataType]] = {"metrics": _METRICS, "curves": _CURVES, "runs": RUNS}

_T = TypeVar("_T")
_ABSENT = {_TEXT: "", _INT: 0, _FLOAT: float("nan"), _BOOL: False}
_DEFAULTS: dict[str, Any] = {"split": "test", "train_step": -1, "status": "ok"}  # where a writer leaves a column out
_KEY = ["run_id", "metric", "split", "train_step", "coordinate", "index", "metric_seed"]  # of one number
_COMPACTED = "compact-"
_PART = " part"  # a column that no run can have: of a runs table while it is gathered
_EVALUATED = "evaluated-"

COMPACT_AT = 250
"""Small parts beyond this number are merged into one file."""

LEASE_SECONDS = 60.0
"""A lease whose supervisor, on another machine, gave no sign of life for so long may be taken over."""


# ---------------------------------------------------------------- files


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path`, whole, when the block ends without an error.

    Raises Unwritable where the folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
        flush(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Get a file, or a folder's list of names, onto the disk: a power cut must not undo what counts as done."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if path.is_file():  # a full disk may show only here; some file systems cannot do it for a folder
            raise
    finally:
        os.close(handle)


class Unwritable(InputError):
    """Results cannot be written there: no run that follows could be kept either."""


def unwritable(path: Path, error: OSError) -> Unwritable:
    """What to say about a file of a results folder that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unwritable(f"{path}: the disk is full; what is finished is safe: make room and start again")
    return Unwritable(f"{path}: cannot be written: {error.strerror or error}")


def _table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, pa.DataType]) -> pa.Table:
    """Rows as a table: the stated columns, then any others in order of appearance."""
    arrays = {}
    for name, kind in columns.items():
        default = _DEFAULTS.get(name, _ABSENT[kind])
        values = [default if row.get(name) is None else row[name] for row in rows]
        try:
            arrays[name] = pa.array(values, kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise TypeError(f"column {name}: {error}") from error
    for name in dict.fromkeys(name for row in rows for name in row):
        if name not in arrays:
            arrays[name] = _hyper_column([row.get(name) for row in rows])
    return pa.table(arrays)


def _hyper_column(values: Sequence[Any]) -> pa.Array:
    """Numbers as float64, bools as bool, anything else as text; None stays null."""
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, bool) for value in present):
        return pa.array(values, _BOOL)
    if present and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in present):
        return pa.array([None if value is None else float(value) for value in values], _FLOAT)
    text = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return pa.array(text, _TEXT if present else pa.null())


def _write(path: Path, table: pa.Table, facts: Mapping[str, Any]) -> None:
    stated = {"schema_version": str(SCHEMA_VERSION), **{key: json.dumps(value) for key, value in facts.items()}}
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(stated), temporary, compression="zstd", write_page_checksum=True)


def _fact(metadata: Mapping[bytes, bytes] | None, key: str, default: Any) -> Any:
    return json.loads((metadata or {}).get(key.encode(), json.dumps(default).encode()))


class _Corrupt(Exception):
    """A file that is no whole parquet table."""


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Tell a damaged file (_Corrupt) from one that the system does not hand out just now (InputError)."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:  # also JSON in a footer, no column
        if isinstance(error, OSError) and error.errno:  # too many open files, a server that does not answer, ...
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
        raise _Corrupt(f"{path.parent.name}/{path.name}: {' '.join(str(error).split())}") from error


def _open(path: Path, coded: Sequence[str] = ()) -> tuple[pq.ParquetFile, pa.Schema]:
    """A table and its schema, which the file makes anew at every look; `coded` columns of words come as codes."""
    with _reading(path):
        file = pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=list(coded))
        schema = file.schema_arrow
        version = int(_fact(schema.metadata, "schema_version", 0))
    if version > SCHEMA_VERSION:
        file.close()
        raise InputError(
            f"{path}: written by a newer version of this benchmark (schema {version}, expected <= {SCHEMA_VERSION})"
        )
    for name in _NEEDED[path.parent.name]:
        if name not in schema.names:
            file.close()
            raise _Corrupt(f"{path.parent.name}/{path.name} has no column {name}")
    for name, kind in _STORED[path.parent.name].items():
        if name in schema.names and not _alike(schema.field(name).type, kind):
            file.close()
            raise _Corrupt(f"{path.parent.name}/{path.name}: column {name} holds {schema.field(name).type}, not {kind}")
    return file, schema


def _alike(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a column can be read as the wanted type: words as words, numbers as numbers, nothing as anything."""
    found = found.value_type if pa.types.is_dictionary(found) else found

    def words(kind: pa.DataType) -> bool:
        return pa.types.is_string(kind) or pa.types.is_large_string(kind)

    if pa.types.is_null(found) or (words(found) and words(wanted)):
        return True
    whole = pa.types.is_integer(found) and not pa.types.is_boolean(wanted) and not words(wanted)
    return whole or found == wanted


def _schema(path: Path) -> pa.Schema:
    file, schema = _open(path)
    file.close()
    return schema


def _read(path: Path, columns: Sequence[str] | None = None, coded: Sequence[str] = ()) -> pa.Table:
    """Whole columns, and the file's facts as the table's metadata."""
    file, _ = _open(path, coded)
    with file, _reading(path):
        table = file.read(columns=columns, use_threads=False)
    for name, kind in _LATER.get(path.parent.name, {}).items():
        if name not in table.column_names and (columns is None or name in columns):
            table = table.append_column(name, pa.nulls(table.num_rows, kind))
    return table


def _intact(path: Path) -> bool:
    """Whether a parquet file has its first and last four bytes: a cheap sign that it is not cut short."""
    with _reading(path), open(path, "rb") as file:
        head, size = file.read(4), file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 4))
        return head == b"PAR1" == file.read(4) and size >= 12


# ---------------------------------------------------------------- the store


class Done(NamedTuple):
    """The latest attempt at a run."""

    status: str
    attempt: int


class Membership(NamedTuple):
    """Which runs a sweep's report shows."""

    name: str
    description: str
    written: str
    command: str
    runs: dict[str, str]  # run_id -> label


@dataclass
class _Index:
    """What has been read of the runs folder so far."""

    parts: set[str] = field(default_factory=set)
    replaces: dict[str, list[str]] = field(default_factory=dict)  # by compacted part
    has: dict[str, list[str]] = field(default_factory=dict)  # by part, which of metrics and curves
    done: dict[str, Done] = field(default_factory=dict)
    latest: dict[str, tuple[int, str]] = field(default_factory=dict)  # by run, its last attempt and that one's part


class Store:
    """A results folder."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._index = _Index()
        self._seen: dict[str, tuple[tuple[str, int] | None, float]] = {}  # leases of other machines, and since when so

    # ---- writing

    def prepare(self) -> None:
        """Make the folder. Raises InputError where it is a file or cannot be written."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"--results {self.path}: is a file, expected a folder")
        try:
            for name in ("runs", "metrics", "curves", "sweeps", "leases"):
                (self.path / name).mkdir(parents=True, exist_ok=True)
            probe = self.path / "runs" / f".probe-{os.getpid()}.tmp"
            probe.write_bytes(b"x")
            probe.unlink()
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise unwritable(self.path, error) from error
            raise InputError(f"--results {self.path}: cannot be written: {error.strerror}") from error
        self._sweep_temporaries()

    def _sweep_temporaries(self) -> None:
        """Delete what killed writers and supervisors left behind, once it is surely nobody's any more."""
        limit = time.time() - 3600
        for pattern in ("*/.*.tmp", "models/.*", "leases/*"):  # a lease in force is renewed every few seconds
            for stale in self.path.glob(pattern):
                with contextlib.suppress(OSError):
                    if stale.stat().st_mtime >= limit:
                        continue
                    if stale.is_dir():
                        shutil.rmtree(stale)
                    else:
                        stale.unlink()

    def write_part(
        self,
        name: str,
        runs: Sequence[Mapping[str, Any]],
        metrics: Sequence[Mapping[str, Any]] = (),
        curves: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """One finished stack: all of it or nothing. A column left out is empty (0, "", NaN).

        Writing a part of the same name again replaces it. Raises InputError where the disk is full or read-only.
        """
        attempts = {row["run_id"]: int(row["attempt"]) for row in runs}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for folder, rows, columns in (("metrics", metrics, _METRICS), ("curves", curves, _CURVES)):
            path = self.path / folder / f"{name}.parquet"
            if rows:
                numbered = [{**row, "attempt": attempts[row["run_id"]]} for row in rows]
                _write(path, _table(numbered, columns), {})
            else:
                path.unlink(missing_ok=True)  # of an attempt under this name that never got its runs file
        stamped = [{"finished_at": now, **row, "schema_version": SCHEMA_VERSION} for row in runs]
        with_metrics = [folder for folder, rows in (("metrics", metrics), ("curves", curves)) if rows]
        _write(self.path / "runs" / f"{name}.parquet", _table(stamped, RUNS), {"with": with_metrics})

    def write_evaluated(self, metrics: Sequence[Mapping[str, Any]]) -> None:
        """More numbers of runs that are here already; they win over earlier ones of the same key.

        Raises InputError where a run is not here.
        """
        done = self.done()
        for row in metrics:
            if row["run_id"] not in done:
                raise InputError(f"{self.path}: no run {row['run_id']} there")
        earlier = (path.stem for path in (self.path / "metrics").glob(f"{_EVALUATED}*.parquet"))
        last = max((int(stem.split("-")[1]) for stem in earlier), default=0)  # a clock may have been set back
        name = f"{_EVALUATED}{max(time.time_ns(), last + 1):020d}-{secrets.token_hex(4)}"
        rows = [{**row, "attempt": done[row["run_id"]].attempt, "added": True} for row in metrics]
        _write(self.path / "metrics" / f"{name}.parquet", _table(rows, _METRICS), {})

    def take_in(self, files: Mapping[str, bytes]) -> None:
        """Files that a job wrote on a machine without this folder (path below it -> content): the runs last."""
        for name in sorted(files, key=lambda name: name.startswith("runs/")):
            with replacing(self.path / name) as temporary:
                temporary.write_bytes(files[name])

    # ---- reading

    def _parts(self) -> tuple[dict[str, Path], set[str]]:
        """Runs files by part name, compacted ones first; and the names that a compacted part replaces."""
        folder = self.path / "runs"
        names = sorted(path.stem for path in folder.glob("[!.]*.parquet")) if folder.is_dir() else []
        names.sort(key=lambda name: not name.startswith(_COMPACTED))
        paths = {name: folder / f"{name}.parquet" for name in names}
        replaced: set[str] = set()
        for name in names:
            if name.startswith(_COMPACTED):
                replaced |= set(self._replaces(paths[name]))
        return {name: path for name, path in paths.items() if name not in replaced}, replaced

    def _replaces(self, path: Path) -> list[str]:
        """The parts that a compacted one replaces."""
        if path.stem not in self._index.replaces:
            try:
                with _reading(path):
                    self._index.replaces[path.stem] = list(_fact(_schema(path).metadata, "replaces", []))
            except _Corrupt as error:
                self._set_aside(path.stem, str(error))
                return []
            except FileNotFoundError:
                return []
        return self._index.replaces[path.stem]

    def _set_aside(self, name: str, why: str) -> None:
        """Take a damaged part out of the tables; its runs count as not done."""
        lost = "its numbers are lost" if name.startswith(_EVALUATED) else "its runs will be redone"
        warnings.warn(f"{self.path}: part {name} is damaged and set aside, {lost} ({why})", stacklevel=2)
        for folder in ("runs", "metrics", "curves"):
            path = self.path / folder / f"{name}.parquet"
            with contextlib.suppress(OSError):
                path.rename(path.with_suffix(".corrupt"))

    def _belongings(self, name: str, runs: Path, facts: Mapping[bytes, bytes]) -> list[str]:
        """Which of metrics and curves a part has. Raises _Corrupt where they are not there, or cut short."""
        with _reading(runs):
            belongings: list[str] = _fact(facts, "with", [])
        for folder in belongings:
            other = self.path / folder / f"{name}.parquet"
            try:
                whole = _intact(other)
            except FileNotFoundError:
                if not runs.exists():
                    raise  # compacted meanwhile
                raise _Corrupt(f"{folder}/{other.name} is missing") from None
            if not whole:
                raise _Corrupt(f"{folder}/{other.name} is cut short")
        return belongings

    def _read_part(
        self,
        name: str,
        runs: Path | None,
        folders: Sequence[str],
        columns: Sequence[str] | None = None,
        coded: Sequence[str] = (),
    ) -> dict[str, pa.Table] | None:
        """The tables of a part, those of `folders` that it has; None where it is damaged: it is then set aside.

        `runs` is its runs file; a part of added numbers has none. Raises FileNotFoundError where it is compacted
        meanwhile.
        """
        try:
            tables: dict[str, pa.Table] = {}
            has = ["metrics"]
            if runs is not None:
                if "runs" in folders:
                    tables["runs"] = _read(runs, columns, coded)
                if name not in self._index.has:
                    schema = tables["runs"].schema if tables else _schema(runs)
                    self._index.has[name] = self._belongings(name, runs, schema.metadata)
                has = self._index.has[name]
            paths = {folder: self.path / folder / f"{name}.parquet" for folder in folders if folder in has}
            return tables | {folder: _read(path, columns, coded) for folder, path in paths.items()}
        except _Corrupt as error:
            self._set_aside(name, str(error))
            return None

    def done(self) -> dict[str, Done]:
        """The latest attempt at every run, by run_id. Only what is new since the last call is read."""
        parts, _ = self._parts()
        for name, path in parts.items():
            if name in self._index.parts:
                continue
            try:
                found = self._read_part(name, path, ["runs"], ["run_id", "status", "attempt"])
            except FileNotFoundError:  # compacted meanwhile
                continue
            if found is None:
                continue
            self._index.parts.add(name)
            for run_id, status, attempt in zip(*(c.to_pylist() for c in found["runs"].columns), strict=True):
                known = self._index.done.get(run_id)
                if known is None or attempt > known.attempt:
                    self._index.done[run_id] = Done(status, attempt)
        return self._index.done

    def _tables(
        self,
        folder: str,
        gather: Callable[[Iterator[tuple[str, pa.Table]]], _T],
        columns: Sequence[str] | None = None,
        coded: Sequence[str] = (),
        only: Set[str] | None = None,
    ) -> _T:
        """What `gather` makes of every part that counts; parts that vanish meanwhile were compacted: look again.

        only: the parts that hold what is asked for; all are read where one of them has been compacted.
        """
        for _ in range(5):
            parts, replaced = self._parts()
            names = [*parts, *(self._evaluated(replaced) if folder == "metrics" else ())]
            if only is not None and only <= parts.keys():
                names = [name for name in names if name in only]
            try:
                read = ((name, self._read_part(name, parts.get(name), [folder], columns, coded)) for name in names)
                return gather((name, tables[folder]) for name, tables in read if tables and folder in tables)
            except FileNotFoundError:
                self._index.has.clear()
        raise InputError(f"{self.path}: changes faster than it can be read: try again")

    def _evaluated(self, replaced: set[str]) -> list[str]:
        """Parts of added numbers that are in no compacted one, the oldest first."""
        found = sorted(path.stem for path in (self.path / "metrics").glob(f"{_EVALUATED}*.parquet"))
        return [name for name in found if name not in replaced]

    def runs(self) -> pd.DataFrame:
        """The runs table alone: the latest attempt at each run."""
        return self._latest_runs().to_pandas()

    def _latest_runs(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The runs table, or some columns of it; what is known of the latest attempts is known from here on."""

        def gather(tables: Iterator[tuple[str, pa.Table]]) -> list[pa.Table]:
            return _merged(t.append_column(_PART, pa.array([name] * t.num_rows, _TEXT)) for name, t in tables)

        kinds = {name: kind for name, kind in RUNS.items() if columns is None or name in columns}
        runs = _latest(_joined(self._tables("runs", gather, columns), {**kinds, _PART: _TEXT}), self.path)
        known = zip(*(runs[name].to_pylist() for name in ("run_id", "attempt", _PART)), strict=True)
        self._index.latest = {run_id: (attempt, part) for run_id, attempt, part in known}
        return runs.drop_columns(_PART)

    def results(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """See `load_results`."""
        runs = self.runs()
        (metrics,) = self._numbers("metrics", _METRICS, self._attempts())
        return runs, _newest(metrics)

    def results_apart(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """The same, numbers at the end of training apart from those during it: there may be no room to divide them."""
        runs = self.runs()
        at_end, during = self._numbers("metrics", _METRICS, self._attempts(), apart=True)
        return runs, _newest(at_end), _newest(during)

    def _attempts(self) -> dict[str, int]:
        return {run_id: attempt for run_id, (attempt, _) in self._index.latest.items()}

    def numbers_of(self, part: str) -> pd.DataFrame:
        """The metrics of one part; none where it has no numbers, is compacted already or cannot be read."""
        try:
            table = _read(self.path / "metrics" / f"{part}.parquet", list(METRICS))
        except (FileNotFoundError, _Corrupt):
            table = _table([], METRICS)
        return table.to_pandas()

    def curves(self, of: Iterable[str] | None = None) -> pd.DataFrame:
        """See `load_curves`. Those of some runs that `results` gave are read from the parts that hold them."""
        if of is None:
            self._latest_runs(["run_id", "attempt"])
            attempts, parts = self._attempts(), None
        else:
            known = {run_id: self._index.latest[run_id] for run_id in of if run_id in self._index.latest}
            attempts = {run_id: attempt for run_id, (attempt, _) in known.items()}
            parts = {part for _, part in known.values()}
        (curves,) = self._numbers("curves", _CURVES, attempts, only=parts)
        return curves

    def _numbers(
        self,
        folder: str,
        columns: Mapping[str, pa.DataType],
        attempts: Mapping[str, int],
        apart: bool = False,
        only: Set[str] | None = None,
    ) -> list[pd.DataFrame]:
        """The rows of these attempts at these runs; see `_frames`."""
        words = [name for name, kind in columns.items() if kind == _TEXT]

        def gather(tables: Iterator[tuple[str, pa.Table]]) -> list[pd.DataFrame]:
            return _frames((table for _, table in tables), columns, attempts, apart)

        return self._tables(folder, gather, coded=words, only=only)

    # ---- compaction

    def compact(self, at: int = COMPACT_AT) -> bool:
        """Merge the small parts into one if there are more than `at` of them. True if it did."""
        with self._locked("compaction", wait=False) as mine:
            return mine and self._compact(at)

    def _compact(self, at: int) -> bool:
        self._finish_compaction()
        parts, replaced = self._parts()
        small = [name for name in parts if not name.startswith(_COMPACTED)] + self._evaluated(replaced)
        if len(small) <= at:
            return False
        tables: dict[str, list[pa.Table]] = {folder: [] for folder in _STORED}
        names = []
        for name in small:
            try:
                found = self._read_part(name, parts.get(name), list(_STORED))
            except FileNotFoundError:  # set aside by somebody else, or this file system has no locks
                found = None
            if found is not None:
                names.append(name)
                for folder, table in found.items():
                    tables[folder].append(table)
        merged = f"{_COMPACTED}{time.time_ns():020d}-{secrets.token_hex(4)}"
        belongings = [folder for folder in ("metrics", "curves") if tables[folder]]
        for folder in (*belongings, "runs"):  # the runs file last: it makes the part
            facts = {"replaces": names, "with": belongings} if folder == "runs" else {}
            _write(self.path / folder / f"{merged}.parquet", _joined(tables[folder], _STORED[folder]), facts)
        self._index.parts.add(merged)
        self._finish_compaction()
        return True

    def _finish_compaction(self) -> None:
        """Delete what compacted parts replace, and compacted metrics whose runs file was never written."""
        kept, replaced = self._parts()
        for folder in ("runs", "metrics", "curves"):  # in this order: a part without its runs file is no part
            present = {path.stem for path in (self.path / folder).glob("[!.]*.parquet")}
            orphans = {name for name in present if name.startswith(_COMPACTED)} - set(kept)
            for name in present & (replaced | orphans):
                with contextlib.suppress(OSError):
                    (self.path / folder / f"{name}.parquet").unlink()

    # ---- sweeps

    def write_membership(
        self, name: str, runs: Mapping[str, str], description: str = "", command: str = "", merge: bool = False
    ) -> None:
        """Which runs a sweep's report shows (run_id -> label); `merge` keeps those that were there."""
        known = next((m for m in self.memberships() if m.name == name), None)
        content = {
            "name": name,
            "description": description,
            "written": datetime.now(UTC).isoformat(),
            "command": command,
            "runs": {**(known.runs if merge and known else {}), **runs},
        }
        with replacing(self.path / "sweeps" / f"{name}.json") as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")

    def memberships(self) -> list[Membership]:
        """Every sweep of this folder, the most recently written last. Raises InputError on a damaged file."""
        found = []
        for path in sorted((self.path / "sweeps").glob("[!.]*.json")):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                membership = Membership(**content)
                words = (*membership[:4], *membership.runs, *membership.runs.values())
                if not all(isinstance(word, str) for word in words):
                    raise TypeError("not all of it is text")
                if membership.name != path.stem:
                    raise ValueError(f"its name is '{membership.name}'")
            except (ValueError, TypeError, AttributeError, OSError, RecursionError) as error:
                raise InputError(f"{path}: expected a sweep's list of runs: {error}") from error
            found.append(membership)
        return sorted(found, key=lambda membership: membership.written)

    def membership(self, name: str) -> Membership:
        """The named sweep. Raises InputError where there is none."""
        known = {membership.name: membership for membership in self.memberships()}
        if name not in known:
            hint = nearest(name, known, f"{self.path / 'sweeps'}")
            raise InputError(f"--sweep {name}: no such sweep in {self.path}: {hint}")
        return known[name]

    # ---- leases

    @contextlib.contextmanager
    def _locked(self, name: str, wait: bool = True) -> Iterator[bool]:
        """A lock between processes, given back by the system when its holder dies. Yields whether it was got."""
        path = self.path / f".{name}.lock"
        try:
            handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            raise unwritable(path, error) from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            except OSError:  # a file system without locks: two supervisors at once may then repeat a run
                pass
            yield True
        finally:
            os.close(handle)

    def claim(self, run_ids: Sequence[str], owner: str) -> set[str] | None:
        """Take the leases of all these runs, or None where another live supervisor holds one.

        owner: what `lease_owner` says. A lease is void when its process is gone (of this machine) or gave no sign of
        life for LEASE_SECONDS (of another); returns the runs of the latter kind, which may be finished there yet.
        """
        folder = self.path / "leases"
        with self._locked("leases"):
            holders = {run_id: self._holder(folder / run_id) for run_id in run_ids}
            if any(self._lives(folder / run_id, holder, owner) for run_id, holder in holders.items()):
                return None
            try:
                folder.mkdir(exist_ok=True)
                for run_id in run_ids:
                    (folder / run_id).write_text(owner, encoding="utf-8")
            except OSError as error:
                raise unwritable(folder, error) from error
        here = owner.split()[0]
        return {run_id for run_id, holder in holders.items() if holder and holder.split()[0] != here}

    @staticmethod
    def _holder(lease: Path) -> str:
        try:
            return lease.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def _lives(self, lease: Path, holder: str, owner: str) -> bool:
        """Whether a lease is another's and in force."""
        if holder in ("", owner):
            return False
        machine, _, process = holder.partition(" ")
        if machine == owner.partition(" ")[0]:
            return _alive(process)
        # No clock is trusted, neither this machine's nor the file server's: only that the lease changes or does not.
        try:
            stamp = (holder, lease.stat().st_mtime_ns)
        except OSError:
            return False
        now = time.monotonic()
        seen, since = self._seen.get(lease.name, (None, now))
        if stamp != seen:
            since = now
        self._seen[lease.name] = stamp, since
        return now - since < LEASE_SECONDS

    def renew(self, run_ids: Iterable[str], owner: str) -> set[str]:
        """A sign of life for leases that are held. Returns those that another supervisor has taken over meanwhile."""
        taken = set()
        with self._locked("leases"):
            for run_id in run_ids:
                lease = self.path / "leases" / run_id
                if self._holder(lease) not in ("", owner):
                    taken.add(run_id)
                else:
                    with contextlib.suppress(OSError):
                        os.utime(lease)
        return taken

    def release(self, run_ids: Iterable[str], owner: str) -> None:
        """Give leases back."""
        for run_id in run_ids:
            lease = self.path / "leases" / run_id
            if self._holder(lease) == owner:
                with contextlib.suppress(OSError):
                    lease.unlink()


def _machine() -> str:
    """Where a process number means one process: the host's name, this boot of it, the container's own numbers."""
    words = [os.uname().nodename.replace(" ", "_")]
    with contextlib.suppress(OSError):  # not Linux
        words.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        words.append(str(os.stat("/proc/self/ns/pid").st_ino))
    return ":".join(words)


def _born(pid: int) -> str:
    """When a process began, in ticks since boot: numbers are given out again. "0" where the system does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError, UnicodeDecodeError):
        return "0"


def _alive(process: str) -> bool:
    """Whether a process of this machine, "PID BORN TOKEN", still runs."""
    pid, born, *_ = [*process.split(), "", ""]
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return _born(int(pid)) == born


def lease_owner() -> str:
    """This process, as `Store.claim` wants it: "MACHINE PID BORN TOKEN"."""
    return f"{_machine()} {os.getpid()} {_born(os.getpid())} {secrets.token_hex(4)}"


# ---------------------------------------------------------------- tables


def _joined(tables: Sequence[pa.Table], columns: Mapping[str, pa.DataType]) -> pa.Table:
    """One table of many: columns that a part lacks are null, columns of different types become text."""
    kinds: dict[str, set[pa.DataType]] = {}
    for table in tables:
        for item in table.schema:
            kinds.setdefault(item.name, set()).add(item.type)
    mixed = {name for name, found in kinds.items() if len(found - {pa.null()}) > 1}
    empty = pa.table({name: pa.array([], kind) for name, kind in columns.items()})
    even = []
    for table in tables:
        for name in mixed & set(table.column_names):
            table = table.set_column(table.column_names.index(name), name, table[name].cast(_TEXT))
        even.append(table.replace_schema_metadata(None))
    return pa.concat_tables([empty, *even], promote_options="default")


def _merged(tables: Iterator[pa.Table]) -> list[pa.Table]:
    """The same rows in few tables: a thousand small ones of eighty columns each hold more memory than their rows."""
    merged = []
    while group := list(itertools.islice(tables, 50)):
        merged.append(_joined(group, RUNS).combine_chunks())
    return merged


def _latest(runs: pa.Table, path: Path) -> pa.Table:
    """The row of the latest attempt at every run. Raises InputError where an attempt has two rows."""
    if not runs.num_rows:
        return runs
    counts = runs.group_by(["run_id", "attempt"]).aggregate([([], "count_all")])
    if counts.num_rows != runs.num_rows:
        row = counts.filter(pc.greater(counts["count_all"], 1)).slice(0, 1).to_pylist()[0]
        raise InputError(f"{path}: run {row['run_id']} has two rows for attempt {row['attempt']}: delete one part")
    ids, attempts = runs["run_id"].to_pylist(), runs["attempt"].to_pylist()
    last: dict[str, int] = {}
    for place, (run_id, attempt) in enumerate(zip(ids, attempts, strict=True)):
        if run_id not in last or attempt > attempts[last[run_id]]:
            last[run_id] = place
    return runs if len(last) == runs.num_rows else runs.take(pa.array(sorted(last.values()), pa.int64()))


class _Words:
    """A column of words as codes, in the order in which the words appear."""

    def __init__(self) -> None:
        self._code: dict[str, int] = {}

    def codes(self, column: pa.Array) -> np.ndarray:
        """The code of every row, in the smallest type that holds all so far."""
        if column.null_count:
            column = column.cast(_TEXT).fill_null("")
        coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        found = [self._code.setdefault(word, len(self._code)) for word in coded.dictionary.to_pylist()]
        return np.asarray(found, np.min_scalar_type(-len(self._code)))[coded.indices.to_numpy()]

    def categorical(self, codes: np.ndarray) -> Any:
        """The words of these codes, which it changes; the categories are in the order of the alphabet."""
        used = np.zeros(len(self._code), dtype=bool)
        blocks = [codes[k : k + 2**20] for k in range(0, len(codes), 2**20)]  # an index is copied, as 64 bits
        for block in blocks:
            used[block] = True
        words = sorted(word for word, code in self._code.items() if used[code])
        place = {word: k for k, word in enumerate(words)}
        order = np.asarray([place.get(word, -1) for word in self._code], codes.dtype)
        for block in blocks:
            block[:] = order[block]
        return pd.Categorical.from_codes(codes, pd.Index(words))


class _Frame:
    """A table that grows part by part: stated columns, in the types of `load_results`."""

    def __init__(self, columns: Mapping[str, pa.DataType]) -> None:
        kinds = {_TEXT: np.int8, _INT: np.int32, _FLOAT: np.float64, _BOOL: np.bool_}
        self._names = list(columns)
        self._words = {name: _Words() for name in columns if columns[name] == _TEXT}
        self._found: dict[str, np.ndarray] = {name: np.empty(0, kinds[columns[name]]) for name in columns}

    def add(self, table: pa.Table, mine: np.ndarray) -> None:
        """Some rows of a part. A column grows where it is: the system moves its pages, so that nothing exists twice."""
        for name in self._names:
            column = table[name].combine_chunks()
            words = self._words.get(name)
            values = words.codes(column) if words is not None else column.to_numpy(zero_copy_only=False)
            _append(self._found, name, values if mine.all() else values[mine])

    def made(self) -> pd.DataFrame:
        """The table; nothing can be added to it any more."""
        coded = {name: words.categorical(self._found.pop(name)) for name, words in self._words.items()}
        return pd.DataFrame({name: coded.get(name, self._found.get(name)) for name in self._names}, copy=False)


def _frames(
    tables: Iterable[pa.Table], columns: Mapping[str, pa.DataType], attempts: Mapping[str, int], apart: bool
) -> list[pd.DataFrame]:
    """The rows that belong to these attempts at their runs; every part is gone before the next one is read.

    apart: two tables, of the end of training and of what was measured during it, in place of one.
    """
    stated = {name: kind for name, kind in columns.items() if name != "attempt"}
    frames = [_Frame(stated) for _ in range(2 if apart else 1)]
    for table in tables:
        runs = table["run_id"].combine_chunks()
        latest = np.asarray([attempts.get(run_id, -1) for run_id in runs.dictionary.to_pylist()], np.int64)
        mine = table["attempt"].to_numpy() == latest[runs.indices.to_numpy()]
        masks = [mine]
        if apart:
            ended = table["train_step"].to_numpy() < 0
            masks = [mine & ended, mine & ~ended]
        for frame, mask in zip(frames, masks, strict=True):
            frame.add(table, mask)
    return [frame.made() for frame in frames]


def _append(found: dict[str, np.ndarray], name: str, values: np.ndarray) -> None:
    """Put values at the end of a column, which becomes of a wider type where they do not fit."""
    held = found[name]
    if values.dtype == np.int64 and (not values.size or max(abs(values.min()), abs(values.max())) < 2**31):
        values = values.astype(np.int32)
    if values.dtype.itemsize > held.dtype.itemsize:
        held = found[name] = held.astype(values.dtype)
    count = len(held)
    held.resize(count + len(values), refcheck=False)
    held[count:] = values


def _newest(metrics: pd.DataFrame) -> pd.DataFrame:
    """One row per key and the highest version of each (run, metric): added rows win over the stack's own."""
    added = metrics.pop("added")
    if not added.any():
        return metrics
    by = metrics.groupby(["run_id", "metric"], observed=True)
    newest = metrics["version"] == by["version"].transform("max")
    ordered = pd.concat([metrics[newest & ~added], metrics[newest & added]])  # a later one wins
    return ordered.drop_duplicates(_KEY, keep="last", ignore_index=True)


def load_results(path: Path | str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs table (latest attempt at each run) and the metrics table of a results folder.

    There may be millions of numbers, so the words of the metrics are categories (`category`, in the order of the
    alphabet, so that they sort as words do), whole numbers take 32 bits (64 where one needs them), and all others are
    float64. Two folders have different categories: `spelled` makes words of them again. The runs table has plain words.
    Raises InputError where the folder is none, is of a newer version, or holds two rows of one attempt.
    """
    return existing(path).results()


def load_curves(path: Path | str) -> pd.DataFrame:
    """The training curves of the latest attempts: (run_id, step, stage, term, value). Types as in `load_results`."""
    return existing(path).curves()


def spelled(table: pd.DataFrame) -> pd.DataFrame:
    """A small part of a table with its words as words: an index of them can be compared with another folder's."""
    return table.astype({name: str for name in table.columns if isinstance(table[name].dtype, pd.CategoricalDtype)})


def load_memberships(path: Path | str) -> list[Membership]:
    """The sweeps of a results folder, the most recently written last."""
    return existing(path).memberships()


def existing(path: Path | str) -> Store:
    """A results folder to read. Raises InputError where there is none."""
    if not (Path(path) / "runs").is_dir():
        raise InputError(f"--results {path}: no results there: expected a folder that bench.run has written")
    return Store(path)
