"""The parts of a results folder: which of them count, and their tables."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from bench.contracts import InputError
from bench.store.parquet import Corrupt, fact, intact, read, reading, schema_of

_T = TypeVar("_T")

COMPACTED = "compact-"
"""How the name of a part begins that replaces many small ones."""
EVALUATED = "evaluated-"
"""How the name of a part begins that has only numbers that were added later."""


class Parts:
    """The parts of a results folder; what has been read of them once is not read again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._replaced_by: dict[str, list[str]] = {}  # by compacted part, the parts that it replaces
        self._replaced: tuple[list[str], set[str]] = [], set()  # the compacted parts, and all that they replace
        self._has: dict[str, list[str]] = {}  # by part, which of metrics and curves

    def listed(self) -> tuple[dict[str, Path], set[str]]:
        """Runs files by part name, compacted ones first; and the names that a compacted part replaces."""
        folder = self.path / "runs"
        found = os.listdir(folder) if folder.is_dir() else []  # `glob` takes ten times as long
        names = sorted(name.removesuffix(".parquet") for name in found if name.endswith(".parquet") and name[0] != ".")
        names.sort(key=lambda name: not name.startswith(COMPACTED))
        paths = {name: folder / f"{name}.parquet" for name in names}
        compacted, replaced = self._replaced
        if (now := [name for name in names if name.startswith(COMPACTED)]) != compacted:
            replaced = {other for name in now for other in self._replaces(paths[name])}
            self._replaced = now, replaced  # they change once in hundreds of parts, and may replace a million
        return {name: path for name, path in paths.items() if name not in replaced}, replaced

    def evaluated(self, replaced: set[str]) -> list[str]:
        """Parts of added numbers that are in no compacted one, the oldest first."""
        found = sorted(path.stem for path in (self.path / "metrics").glob(f"{EVALUATED}*.parquet"))
        return [name for name in found if name not in replaced]

    def tables(
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
                    tables["runs"] = read(runs, columns, coded)
                if name not in self._has:
                    schema = tables["runs"].schema if tables else schema_of(runs)
                    self._has[name] = self._belongings(name, runs, schema.metadata)
                has = self._has[name]
            paths = {folder: self.path / folder / f"{name}.parquet" for folder in folders if folder in has}
            return tables | {folder: read(path, columns, coded) for folder, path in paths.items()}
        except Corrupt as error:
            self._set_aside(name, str(error))
            return None

    def gathered(
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
            parts, replaced = self.listed()
            names = [*parts, *(self.evaluated(replaced) if folder == "metrics" else ())]
            if only is not None and only <= parts.keys():
                names = [name for name in names if name in only]
            try:
                found = ((name, self.tables(name, parts.get(name), [folder], columns, coded)) for name in names)
                return gather((name, tables[folder]) for name, tables in found if tables and folder in tables)
            except FileNotFoundError:
                self._has.clear()
        raise InputError(f"{self.path}: changes faster than it can be read: try again")

    def _replaces(self, path: Path) -> list[str]:
        """The parts that a compacted one replaces."""
        if path.stem not in self._replaced_by:
            try:
                with reading(path):
                    self._replaced_by[path.stem] = list(fact(schema_of(path).metadata, "replaces", []))
            except Corrupt as error:
                self._set_aside(path.stem, str(error))
                return []
            except FileNotFoundError:
                return []
        return self._replaced_by[path.stem]

    def _belongings(self, name: str, runs: Path, facts: Mapping[bytes, bytes]) -> list[str]:
        """Which of metrics and curves a part has. Raises Corrupt where they are not there, or cut short."""
        with reading(runs):
            belongings: list[str] = fact(facts, "with", [])
        for folder in belongings:
            other = self.path / folder / f"{name}.parquet"
            try:
                whole = intact(other)
            except FileNotFoundError:
                if not runs.exists():
                    raise  # compacted meanwhile
                raise Corrupt(f"{folder}/{other.name} is missing") from None
            if not whole:
                raise Corrupt(f"{folder}/{other.name} is cut short")
        return belongings

    def _set_aside(self, name: str, why: str) -> None:
        """Take a damaged part out of the tables; its runs count as not done."""
        lost = "its numbers are lost" if name.startswith(EVALUATED) else "its runs will be redone"
        warnings.warn(f"{self.path}: part {name} is damaged and set aside, {lost} ({why})", stacklevel=2)
        for folder in ("runs", "metrics", "curves"):
            path = self.path / folder / f"{name}.parquet"
            with contextlib.suppress(OSError):
                path.rename(path.with_suffix(".corrupt"))
