"""A results folder as one object: what writes and reads its tables."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from bench.contracts import Contrast, InputError, nearest
from bench.store.compaction import COMPACT_AT, compact
from bench.store.durable import replacing, unwritable
from bench.store.frames import frames_of, newest
from bench.store.leases import Leases
from bench.store.memberships import Membership, read_memberships, write_membership
from bench.store.parquet import Corrupt, read, write
from bench.store.parts import EVALUATED, Parts
from bench.store.schema import METRICS, RUNS, SCHEMA_VERSION, STORED_CURVES, STORED_METRICS, TEXT
from bench.store.tables import in_few_tables, joined, latest_attempts, table_of

_PART = " part"  # a column that no run can have: of a runs table while it is gathered


class Done(NamedTuple):
    """The latest attempt at a run."""

    status: str
    attempt: int


class Store:
    """A results folder."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.leases = Leases(self.path)
        self._parts = Parts(self.path)
        self._done: dict[str, Done] = {}
        self._counted: set[str] = set()  # the parts that `_done` knows of
        self._latest: dict[str, tuple[int, str]] = {}  # by run, its last attempt and that one's part

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
        """Delete what killed writers and supervisors left behind, once no process can still use it."""
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
        for folder, rows, columns in (("metrics", metrics, STORED_METRICS), ("curves", curves, STORED_CURVES)):
            path = self.path / folder / f"{name}.parquet"
            if rows:
                numbered = [{**row, "attempt": attempts[row["run_id"]]} for row in rows]
                write(path, table_of(numbered, columns), {})
            else:
                path.unlink(missing_ok=True)  # of an attempt under this name that never got its runs file
        stamped = [{"finished_at": now, **row, "schema_version": SCHEMA_VERSION} for row in runs]
        with_metrics = [folder for folder, rows in (("metrics", metrics), ("curves", curves)) if rows]
        write(self.path / "runs" / f"{name}.parquet", table_of(stamped, RUNS), {"with": with_metrics})

    def write_evaluated(self, metrics: Sequence[Mapping[str, Any]]) -> None:
        """More numbers of runs that are here already; they replace earlier ones of the same key.

        Raises InputError where a run is not here.
        """
        done = self.done()
        for row in metrics:
            if row["run_id"] not in done:
                raise InputError(f"{self.path}: no run {row['run_id']} there")
        earlier = (path.stem for path in (self.path / "metrics").glob(f"{EVALUATED}*.parquet"))
        last = max((int(stem.split("-")[1]) for stem in earlier), default=0)  # a clock may have been set back
        name = f"{EVALUATED}{max(time.time_ns(), last + 1):020d}-{secrets.token_hex(4)}"
        rows = [{**row, "attempt": done[row["run_id"]].attempt, "added": True} for row in metrics]
        write(self.path / "metrics" / f"{name}.parquet", table_of(rows, STORED_METRICS), {})

    def take_in(self, files: Mapping[str, bytes]) -> None:
        """Write files of a job on a machine without this folder (path below it -> content), the runs last."""
        for name in sorted(files, key=lambda name: name.startswith("runs/")):
            with replacing(self.path / name) as temporary:
                temporary.write_bytes(files[name])

    # ---- reading

    def done(self) -> dict[str, Done]:
        """The latest attempt at every run, by run_id. Only what is new since the last call is read."""
        parts, _ = self._parts.listed()
        for name, path in parts.items():
            if name in self._counted:
                continue
            try:
                found = self._parts.tables(name, path, ["runs"], ["run_id", "status", "attempt"])
            except FileNotFoundError:  # compacted meanwhile
                continue
            if found is None:
                continue
            self._counted.add(name)
            for run_id, status, attempt in zip(*(c.to_pylist() for c in found["runs"].columns), strict=True):
                known = self._done.get(run_id)
                if known is None or attempt > known.attempt:
                    self._done[run_id] = Done(status, attempt)
        return self._done

    def runs(self) -> pd.DataFrame:
        """The runs table alone: the latest attempt at each run."""
        return self._latest_runs().to_pandas()

    def _latest_runs(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The runs table, or some columns of it; what is known of the latest attempts is known from here on."""

        def gather(tables: Iterator[tuple[str, pa.Table]]) -> list[pa.Table]:
            return in_few_tables(t.append_column(_PART, pa.array([name] * t.num_rows, TEXT)) for name, t in tables)

        kinds = {name: kind for name, kind in RUNS.items() if columns is None or name in columns}
        runs = latest_attempts(joined(self._parts.gathered("runs", gather, columns), {**kinds, _PART: TEXT}), self.path)
        known = zip(*(runs[name].to_pylist() for name in ("run_id", "attempt", _PART)), strict=True)
        self._latest = {run_id: (attempt, part) for run_id, attempt, part in known}
        return runs.drop_columns(_PART)

    def results(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """See `load_results`."""
        runs = self.runs()
        (metrics,) = self._numbers("metrics", STORED_METRICS, self._attempts())
        return runs, newest(metrics)

    def results_apart(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """The same, with numbers at the end of training and during it apart, because dividing them takes memory."""
        runs = self.runs()
        at_end, during = self._numbers("metrics", STORED_METRICS, self._attempts(), apart=True)
        return runs, newest(at_end), newest(during)

    def _attempts(self) -> dict[str, int]:
        return {run_id: attempt for run_id, (attempt, _) in self._latest.items()}

    def numbers_of(self, part: str) -> pd.DataFrame:
        """The metrics of one part; none where it has no numbers, is compacted already or cannot be read."""
        try:
            table = read(self.path / "metrics" / f"{part}.parquet", list(METRICS))
        except (FileNotFoundError, Corrupt):
            table = table_of([], METRICS)
        return table.to_pandas()

    def curves(self, of: Iterable[str] | None = None) -> pd.DataFrame:
        """See `load_curves`. Those of some runs that `results` gave are read from the parts that hold them."""
        if of is None:
            self._latest_runs(["run_id", "attempt"])
            attempts, parts = self._attempts(), None
        else:
            known = {run_id: self._latest[run_id] for run_id in of if run_id in self._latest}
            attempts = {run_id: attempt for run_id, (attempt, _) in known.items()}
            parts = {part for _, part in known.values()}
        (curves,) = self._numbers("curves", STORED_CURVES, attempts, only=parts)
        return curves

    def _numbers(
        self,
        folder: str,
        columns: Mapping[str, pa.DataType],
        attempts: Mapping[str, int],
        apart: bool = False,
        only: Set[str] | None = None,
    ) -> list[pd.DataFrame]:
        """The rows of these attempts at these runs; see `frames_of`."""
        words = [name for name, kind in columns.items() if kind == TEXT]

        def gather(tables: Iterator[tuple[str, pa.Table]]) -> list[pd.DataFrame]:
            return frames_of((table for _, table in tables), columns, attempts, apart)

        return self._parts.gathered(folder, gather, coded=words, only=only)

    # ---- compaction and sweeps

    def compact(self, at: int = COMPACT_AT) -> bool:
        """Merge the small parts into one if there are more than `at` of them. True if it did."""
        return compact(self._parts, at)

    def write_membership(
        self,
        name: str,
        runs: Mapping[str, str],
        description: str = "",
        command: str = "",
        merge: bool = False,
        equivalence: Mapping[str, float] | None = None,
        contrasts: Sequence[Contrast] = (),
    ) -> None:
        """See `bench.store.memberships.write_membership`."""
        write_membership(self.path / "sweeps", name, runs, description, command, merge, equivalence, contrasts)

    def memberships(self) -> list[Membership]:
        """Every sweep of this folder, the most recently written last. Raises InputError on a damaged file."""
        return read_memberships(self.path / "sweeps")

    def membership(self, name: str) -> Membership:
        """The named sweep. Raises InputError where there is none."""
        known = {membership.name: membership for membership in self.memberships()}
        if name not in known:
            hint = nearest(name, known, f"{self.path / 'sweeps'}")
            raise InputError(f"--sweep {name}: no such sweep in {self.path}: {hint}")
        return known[name]


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


def load_memberships(path: Path | str) -> list[Membership]:
    """The sweeps of a results folder, the most recently written last."""
    return existing(path).memberships()


def existing(path: Path | str) -> Store:
    """A results folder to read. Raises InputError where there is none."""
    if not (Path(path) / "runs").is_dir():
        raise InputError(f"--results {path}: no results there: expected a folder that bench.run has written")
    return Store(path)
