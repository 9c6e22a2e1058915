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
import json
import os
import secrets
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.contracts import InputError

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

_ABSENT = {_TEXT: "", _INT: 0, _FLOAT: float("nan"), _BOOL: False}
_DEFAULTS: dict[str, Any] = {"split": "test", "train_step": -1, "status": "ok"}  # where a writer leaves a column out
_KEY = ["run_id", "metric", "split", "train_step", "coordinate", "index", "metric_seed"]  # of one number
_COMPACTED = "compact-"
_EVALUATED = "evaluated-"

COMPACT_AT = 1000
"""Small parts beyond this number are merged into one file."""

LEASE_SECONDS = 60.0
"""A lease whose supervisor gave no sign of life for so long may be taken over."""


# ---------------------------------------------------------------- files


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path`, whole, when the block ends without an error.

    Raises InputError where the folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _unwritable(path: Path, error: OSError) -> InputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(f"{path}: the disk is full; what is finished is safe: make room and start again")
    return InputError(f"{path}: cannot be written: {error.strerror or error}")


def _table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, pa.DataType]) -> pa.Table:
    """Rows as a table: the stated columns, then any others in order of appearance."""
    arrays = {}
    for name, kind in columns.items():
        default = _DEFAULTS.get(name, _ABSENT[kind])
        values = [default if row.get(name) is None else row[name] for row in rows]
        try:
            arrays[name] = pa.array(values, kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
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
        pq.write_table(table.replace_schema_metadata(stated), temporary, compression="zstd")


def _fact(metadata: Mapping[bytes, bytes] | None, key: str, default: Any) -> Any:
    return json.loads((metadata or {}).get(key.encode(), json.dumps(default).encode()))


class _Corrupt(Exception):
    """A file that is no whole parquet table."""


def _open(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise _Corrupt(str(error)) from error
    version = _fact(file.schema_arrow.metadata, "schema_version", 0)
    if version > SCHEMA_VERSION:
        file.close()
        raise InputError(
            f"{path}: written by a newer version of this benchmark (schema {version}, expected <= {SCHEMA_VERSION})"
        )
    return file


def _read(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    with _open(path) as file:
        try:
            return file.read(columns=columns)
        except (pa.ArrowInvalid, OSError) as error:
            raise _Corrupt(str(error)) from error


def _intact(path: Path) -> bool:
    """Whether a parquet file has its first and last four bytes: a cheap sign that it is not cut short."""
    try:
        with open(path, "rb") as file:
            head = file.read(4)
            file.seek(-4, os.SEEK_END)
            return head == b"PAR1" == file.read(4)
    except FileNotFoundError:
        return True
    except OSError:
        return False


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
    done: dict[str, Done] = field(default_factory=dict)


class Store:
    """A results folder."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._index = _Index()

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
                raise _unwritable(self.path, error) from error
            raise InputError(f"--results {self.path}: cannot be written: {error.strerror}") from error
        self._sweep_temporaries()

    def _sweep_temporaries(self) -> None:
        """Delete what killed writers left behind, once it is surely nobody's any more."""
        limit = time.time() - 3600
        for folder in ("runs", "metrics", "curves", "sweeps", "leases"):
            for stale in (self.path / folder).glob(".*.tmp"):
                with contextlib.suppress(OSError):
                    if stale.stat().st_mtime < limit:
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
        name = f"{_EVALUATED}{time.time_ns():020d}-{secrets.token_hex(4)}"
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
                with _open(path) as file:
                    self._index.replaces[path.stem] = list(_fact(file.schema_arrow.metadata, "replaces", []))
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

    def _whole(self, name: str, path: Path) -> bool:
        """Whether the metrics and curves that belong to a part are there and not cut short."""
        with _open(path) as file:
            belongings = _fact(file.schema_arrow.metadata, "with", [])
        for folder in belongings:
            other = self.path / folder / f"{name}.parquet"
            if not other.exists() and path.exists():
                raise _Corrupt(f"{folder}/{other.name} is missing")
            if not _intact(other):
                raise _Corrupt(f"{folder}/{other.name} is cut short")
        return True

    def done(self) -> dict[str, Done]:
        """The latest attempt at every run, by run_id. Only what is new since the last call is read."""
        parts, _ = self._parts()
        for name, path in parts.items():
            if name in self._index.parts:
                continue
            try:
                self._whole(name, path)
                table = _read(path, ["run_id", "status", "attempt"])
            except FileNotFoundError:  # compacted meanwhile
                continue
            except _Corrupt as error:
                self._set_aside(name, str(error))
                continue
            self._index.parts.add(name)
            for run_id, status, attempt in zip(*(column.to_pylist() for column in table.columns), strict=True):
                known = self._index.done.get(run_id)
                if known is None or attempt > known.attempt:
                    self._index.done[run_id] = Done(status, attempt)
        return self._index.done

    def _tables(
        self, folder: str, columns: Sequence[str] | None = None, keep: Callable[[pa.Table], pa.Table] | None = None
    ) -> list[pa.Table]:
        """What `keep` leaves of every part that counts; parts that vanish meanwhile were compacted: look again."""
        for _ in range(5):
            parts, replaced = self._parts()
            names = list(parts)
            if folder == "metrics":
                extra = (self.path / "metrics").glob(f"{_EVALUATED}*.parquet")
                names += sorted(path.stem for path in extra if path.stem not in replaced)
            try:
                found = (table for name in names for table in self._table_of(folder, name, parts.get(name), columns))
                return [keep(table) if keep else table for table in found]
            except FileNotFoundError:
                continue
        raise InputError(f"{self.path}: changes faster than it can be read: try again")

    def _table_of(self, folder: str, name: str, runs: Path | None, columns: Sequence[str] | None) -> list[pa.Table]:
        try:
            if runs is not None:
                self._whole(name, runs)
            path = self.path / folder / f"{name}.parquet"
            if folder != "runs" and not path.exists():
                return []  # a part without metrics, such as a run that failed
            return [_read(path, columns)]
        except _Corrupt as error:
            self._set_aside(name, str(error))
            return []

    def runs(self) -> pd.DataFrame:
        """The runs table alone: the latest attempt at each run."""
        return _latest(_joined(self._tables("runs"), RUNS), self.path).to_pandas()

    def results(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """See `load_results`."""
        runs = _latest(_joined(self._tables("runs"), RUNS), self.path)
        metrics = self._tables("metrics", keep=lambda table: _of_latest(table, runs))
        return runs.to_pandas(), _newest(_frame(metrics, _METRICS))

    def numbers_of(self, part: str) -> pd.DataFrame:
        """The metrics of one part; none where it has no numbers, is compacted already or cannot be read."""
        try:
            table = _read(self.path / "metrics" / f"{part}.parquet", list(METRICS))
        except (FileNotFoundError, _Corrupt):
            table = _table([], METRICS)
        return table.to_pandas()

    def curves(self, of: Iterable[str] | None = None) -> pd.DataFrame:
        """See `load_curves`."""
        attempts = self._tables("runs", ["run_id", "attempt"])
        runs = _latest(_joined(attempts, {"run_id": _TEXT, "attempt": _INT}), self.path)
        if of is not None:
            runs = runs.filter(pc.is_in(runs["run_id"], pa.array(of, _TEXT)))
        return _frame(self._tables("curves", keep=lambda table: _of_latest(table, runs)), CURVES)

    # ---- compaction

    def compact(self, at: int = COMPACT_AT) -> bool:
        """Merge the small parts into one if there are more than `at` of them. True if it did."""
        with self._locked("compaction", wait=False) as mine:
            if not mine:
                return False
            self._finish_compaction()
            parts, _ = self._parts()
            small = []
            for name, path in parts.items():
                if not name.startswith(_COMPACTED):
                    try:
                        self._whole(name, path)
                        small.append((name, _read(path)))
                    except _Corrupt as error:
                        self._set_aside(name, str(error))
            if len(small) <= at:
                return False
            names = [name for name, _ in small]
            merged = f"{_COMPACTED}{time.time_ns():020d}-{secrets.token_hex(4)}"
            belongings = []
            for folder, columns in (("metrics", _METRICS), ("curves", _CURVES)):
                tables = [table for name in names for table in self._table_of(folder, name, None, None)]
                if tables:
                    _write(self.path / folder / f"{merged}.parquet", _joined(tables, columns), {})
                    belongings.append(folder)
            facts = {"replaces": names, "with": belongings}
            _write(self.path / "runs" / f"{merged}.parquet", _joined([table for _, table in small], RUNS), facts)
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
                found.append(Membership(**json.loads(path.read_text(encoding="utf-8"))))
            except (ValueError, TypeError) as error:
                raise InputError(f"{path}: expected a sweep's list of runs: {error}") from error
        return sorted(found, key=lambda membership: membership.written)

    # ---- leases

    @contextlib.contextmanager
    def _locked(self, name: str, wait: bool = True) -> Iterator[bool]:
        """A lock between processes, given back by the system when its holder dies. Yields whether it was got."""
        path = self.path / f".{name}.lock"
        try:
            handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            raise _unwritable(path, error) from error
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

    def claim(self, run_ids: Sequence[str], owner: str) -> bool:
        """Take the leases of all these runs, or none where another live supervisor holds one.

        owner: "HOST PID TOKEN". A lease is void when its process is gone (same host) or silent for LEASE_SECONDS.
        """
        folder = self.path / "leases"
        with self._locked("leases"):
            if any(self._held_by_another(folder / run_id, owner) for run_id in run_ids):
                return False
            try:
                folder.mkdir(exist_ok=True)
                for run_id in run_ids:
                    (folder / run_id).write_text(owner, encoding="utf-8")
            except OSError as error:
                raise _unwritable(folder, error) from error
        return True

    def _held_by_another(self, lease: Path, owner: str) -> bool:
        try:
            holder, silent = lease.read_text(encoding="utf-8"), time.time() - lease.stat().st_mtime
        except OSError:
            return False
        if holder == owner or silent > LEASE_SECONDS:
            return False
        words, mine = holder.split(), owner.split()
        if len(words) == 3 and words[0] == mine[0] and words[1].isdigit():
            return _alive(int(words[1]))
        return True

    def renew(self, run_ids: Iterable[str]) -> None:
        """A sign of life for leases that are held."""
        for run_id in run_ids:
            with contextlib.suppress(OSError):
                os.utime(self.path / "leases" / run_id)

    def release(self, run_ids: Iterable[str]) -> None:
        """Give leases back."""
        for run_id in run_ids:
            with contextlib.suppress(OSError):
                (self.path / "leases" / run_id).unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def lease_owner() -> str:
    """This process, as `Store.claim` wants it."""
    return f"{os.uname().nodename.replace(' ', '_')} {os.getpid()} {secrets.token_hex(4)}"


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


def _of_latest(rows: pa.Table, runs: pa.Table) -> pa.Table:
    """The rows that belong to the latest attempt at their run; words as codes, because millions of rows share few."""
    latest = pc.take(runs["attempt"], pc.index_in(rows["run_id"], runs["run_id"]))
    rows = rows.filter(pc.fill_null(pc.equal(rows["attempt"], latest), False)).drop_columns(["attempt"])
    for place, item in enumerate(rows.schema):
        if item.type == _TEXT:
            rows = rows.set_column(place, item.name, rows[item.name].dictionary_encode())
    return rows


def _frame(tables: list[pa.Table], columns: Mapping[str, pa.DataType]) -> pd.DataFrame:
    """The stated columns of many tables, one column at a time: all of them at once would need twice the memory."""
    series = {}
    for name, kind in columns.items():
        if name != "attempt":
            chunks = [chunk.cast(kind) for table in tables for chunk in table[name].chunks]
            series[name] = pa.chunked_array(chunks, kind).to_pandas()
            tables[:] = [table.drop_columns([name]) for table in tables]
    return pd.DataFrame(series, copy=False)


def _newest(metrics: pd.DataFrame) -> pd.DataFrame:
    """One row per key and the highest version of each (run, metric): added rows win over the stack's own."""
    added = metrics.pop("added")
    if not added.any():
        return metrics
    newest = metrics.groupby(["run_id", "metric"])["version"].transform("max")
    return metrics[metrics["version"] == newest].drop_duplicates(_KEY, keep="last", ignore_index=True)


def load_results(path: Path | str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs table (latest attempt at each run) and the metrics table of a results folder.

    Raises InputError where the folder is none, is of a newer version, or holds two rows of one attempt.
    """
    return _existing(path).results()


def load_curves(path: Path | str, of: Iterable[str] | None = None) -> pd.DataFrame:
    """The training curves of the latest attempts, of some runs or of all: (run_id, step, stage, term, value)."""
    return _existing(path).curves(of)


def load_memberships(path: Path | str) -> list[Membership]:
    """The sweeps of a results folder, the most recently written last."""
    return _existing(path).memberships()


def _existing(path: Path | str) -> Store:
    if not (Path(path) / "runs").is_dir():
        raise InputError(f"--results {path}: no results there: expected a folder that bench.run has written")
    return Store(path)
