"""Merging many small parts into one, so that a hundred thousand runs load quickly."""

from __future__ import annotations

import contextlib
import secrets
import time

import pyarrow as pa

from bench.store.lock import locked
from bench.store.parquet import write
from bench.store.parts import COMPACTED, Parts
from bench.store.schema import STORED
from bench.store.tables import joined

COMPACT_AT = 250
"""Small parts beyond this number are merged into one file."""


def compact(parts: Parts, at: int) -> bool:
    """Merge the small parts into one if there are more than `at` of them. True if it did.

    Not on a file system without locks, where another process might delete as an orphan what this one has just written.
    """
    with locked(parts.path / ".compaction.lock", wait=False) as mine:
        return mine and _merge(parts, at)


def _merge(parts: Parts, at: int) -> bool:
    _delete_replaced(parts)
    paths, replaced = parts.listed()
    small = [name for name in paths if not name.startswith(COMPACTED)] + parts.evaluated(replaced)
    if len(small) <= at:
        return False
    tables: dict[str, list[pa.Table]] = {folder: [] for folder in STORED}
    names = []
    for name in small:
        try:
            found = parts.tables(name, paths.get(name), list(STORED))
        except FileNotFoundError:  # set aside by another process
            found = None
        if found is not None:
            names.append(name)
            for folder, table in found.items():
                tables[folder].append(table)
    merged = f"{COMPACTED}{time.time_ns():020d}-{secrets.token_hex(4)}"
    belongings = [folder for folder in ("metrics", "curves") if tables[folder]]
    for folder in (*belongings, "runs"):  # the runs file last: it makes the part
        facts = {"replaces": names, "with": belongings} if folder == "runs" else {}
        write(parts.path / folder / f"{merged}.parquet", joined(tables[folder], STORED[folder]), facts)
    _delete_replaced(parts)
    return True


def _delete_replaced(parts: Parts) -> None:
    """Delete what compacted parts replace, and compacted metrics whose runs file was never written."""
    kept, replaced = parts.listed()
    for folder in ("runs", "metrics", "curves"):  # in this order: a part without its runs file is no part
        present = {path.stem for path in (parts.path / folder).glob("[!.]*.parquet")}
        orphans = {name for name in present if name.startswith(COMPACTED)} - set(kept)
        for name in present & (replaced | orphans):
            with contextlib.suppress(OSError):
                (parts.path / folder / f"{name}.parquet").unlink()
