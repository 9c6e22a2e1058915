"""A lock between the processes that share a results folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from bench.store.durable import unwritable


@contextlib.contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """A lock between processes, given back by the system when its holder dies. Yields whether it was got.

    On a file system without locks nobody has it who would not wait for it, and everybody who would.
    """
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
        except OSError:  # no locks there: two supervisors at once may then repeat a run, but not merge and delete parts
            yield wait
            return
        yield True
    finally:
        os.close(handle)
