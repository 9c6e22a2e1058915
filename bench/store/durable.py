"""Writing files that are whole or absent, also after a power cut, and the error where that is impossible."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from bench.contracts import InputError


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
    """The error for a file of a results folder that cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unwritable(f"{path}: the disk is full; what is finished is safe: make room and start again")
    return Unwritable(f"{path}: cannot be written: {error.strerror or error}")
