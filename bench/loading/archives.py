"""The files of an archive (.zip, .tar.gz, .tar.xz), each as its name and its bytes."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from bench.contracts import InputError


def members(path: Path, ending: str | tuple[str, ...], expected: str) -> list[tuple[str, bytes]]:
    """Name and content of every file whose name has this ending, sorted by name.

    expected: what the names are like, for the message. Raises InputError for a damaged archive, or for a path that
    leaves its folder.
    """
    found = []
    try:
        for name, content in _zipped(path, ending) if path.suffix == ".zip" else _tarred(path, ending):
            if leaves_its_folder(name):
                raise InputError(f"{path}: member '{name}' leaves its folder, expected {expected}")
            found.append((name, content))
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, lzma.LZMAError, zlib.error, OSError) as error:
        raise InputError(f"{path}: cannot be read, perhaps cut short or damaged: {error}") from None
    return sorted(found)


def leaves_its_folder(name: str) -> bool:
    """Whether the path of a member would lie outside the folder that its archive is unpacked into."""
    return name.startswith(("/", "\\")) or ".." in PurePosixPath(name.replace("\\", "/")).parts


def _zipped(path: Path, ending: str | tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(ending):
                yield name, archive.read(name)


def _tarred(path: Path, ending: str | tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path, "r:*") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() and member.name.endswith(ending) else None
            if file is not None:
                yield member.name, file.read()
