"""Whether a written report is still the one that would be written now, found out without reading any table.

A report follows from the files of the results folder, the cards of the data in the user's cache, the code, the options
and the packages that draw. All of these have one fingerprint, which `remember` leaves beside the report. Whoever wants
everything drawn anew deletes the report's folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

from bench.loading.cache import cache_folder

STAMP = ".rendered"
TABLES = ("runs", "metrics", "curves", "sweeps")
ROOT = Path(__file__).resolve().parent.parent.parent
CODE = ("bench", "methods", "datasets")
ENDINGS = (".py", ".jinja", ".css", ".js", ".csv")
PACKAGES = ("matplotlib", "numpy", "pandas", "scipy", "jinja2", "seaborn", "scikit-posthocs")


def fingerprint(results: Path, options: Sequence[Any]) -> str:
    """A hash of all that decides what a report holds; "" where that is not known: installed packages add plug-ins."""
    if entry_points(group="bench.plugins"):
        return ""
    found = hashlib.sha256(json.dumps([str(results), os.getcwd(), list(options)]).encode())
    folders = [results / name for name in (*TABLES, "models", "cards")]
    if cache := cache_folder():
        folders.append(cache / "cards")
    for line in [*_versions(), *(line for folder in folders for line in _entries(folder))]:
        found.update(f"{line}\0".encode())
    for path in _sources():
        found.update(f"{path}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()


def _versions() -> Iterator[str]:
    yield platform.python_version()
    for package in PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            yield package


def _entries(folder: Path) -> Iterator[str]:
    """Name, size and time of what is in a folder: a file of results never changes once it is written.

    A running sweep renames its temporary files and replaces parts by compacted ones: what is gone by now is left out.
    """
    if folder.is_dir():
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            with contextlib.suppress(FileNotFoundError):
                seen = entry.stat()
                yield f"{entry.path} {seen.st_size} {seen.st_mtime_ns}"


def _sources() -> Iterator[Path]:
    for room in CODE:
        paths = sorted(path for path in (ROOT / room).rglob("*") if path.suffix in ENDINGS)
        yield from (path for path in paths if path.is_file())  # an editor's lock is a link that leads nowhere


def _written(out: Path, names: Sequence[str]) -> dict[str, list[int]]:
    """Size and time of the files of a report. Raises OSError where one is gone."""
    stats = {name: (out / name).stat() for name in names}
    return {name: [seen.st_size, seen.st_mtime_ns] for name, seen in stats.items()}


def remembered(out: Path, of: str) -> str | None:
    """What `remember` was told of the report in `out`, if nothing has changed since; else None."""
    try:
        stamp = json.loads((out / STAMP).read_text(encoding="utf-8"))
        same = stamp["fingerprint"] == of and _written(out, list(stamp["files"])) == stamp["files"]
        return str(stamp["status"]) if of and same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(out: Path, of: str, status: str, names: Sequence[str]) -> None:
    """Note that the files `names` in `out` are the report of the fingerprint `of`."""
    from bench.store import replacing  # here: the store takes half a second to import

    stamp = {"fingerprint": of, "status": status, "files": _written(out, names)}
    with replacing(out / STAMP) as temporary:
        temporary.write_text(json.dumps(stamp), encoding="utf-8")
