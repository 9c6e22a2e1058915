"""Leases on runs: which supervisor works on a run, so that two of them on one results folder share its stacks."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.store.durable import unwritable
from bench.store.lock import locked

LEASE_SECONDS = 60.0
"""A lease that its supervisor, on another machine, has not renewed for this time may be taken over."""


class Leases:
    """The leases of a results folder."""

    def __init__(self, path: Path) -> None:
        self._folder, self._lock = path / "leases", path / ".leases.lock"
        self._seen: dict[str, tuple[tuple[str, int] | None, float]] = {}  # leases of other machines, and since when so

    def claim(self, run_ids: Sequence[str], owner: str) -> set[str] | None:
        """Take the leases of all these runs, or None where another live supervisor holds one.

        owner: the result of `lease_owner`. A lease is void when its process is gone (on this machine) or has not
        renewed it for LEASE_SECONDS (on another). Returns the runs of the latter kind, which may still be finished
        there.
        """
        with locked(self._lock):
            holders = {run_id: self._holder(self._folder / run_id) for run_id in run_ids}
            if any(self._lives(self._folder / run_id, holder, owner) for run_id, holder in holders.items()):
                return None
            try:
                self._folder.mkdir(exist_ok=True)
                for run_id in run_ids:
                    (self._folder / run_id).write_text(owner, encoding="utf-8")
            except OSError as error:
                raise unwritable(self._folder, error) from error
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
        # Neither this machine's clock nor the file server's is trusted, only whether the lease changes.
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
        """Renew leases that are held. Returns those that another supervisor has taken over meanwhile."""
        taken = set()
        with locked(self._lock):
            for run_id in run_ids:
                lease = self._folder / run_id
                if self._holder(lease) not in ("", owner):
                    taken.add(run_id)
                else:
                    with contextlib.suppress(OSError):
                        os.utime(lease)
        return taken

    def release(self, run_ids: Iterable[str], owner: str) -> None:
        """Give leases back."""
        for run_id in run_ids:
            lease = self._folder / run_id
            if self._holder(lease) == owner:
                with contextlib.suppress(OSError):
                    lease.unlink()


def _machine() -> str:
    """The scope in which a process number is unique: the host's name, this boot of it, the container's own numbers."""
    words = [os.uname().nodename.replace(" ", "_")]
    with contextlib.suppress(OSError):  # not Linux
        words.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        words.append(str(os.stat("/proc/self/ns/pid").st_ino))
    return ":".join(words)


def _born(pid: int) -> str:
    """When a process began, in ticks since boot, because process numbers are reused. "0" where that is not known."""
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
    """This process, as `Leases.claim` wants it: "MACHINE PID BORN TOKEN"."""
    return f"{_machine()} {os.getpid()} {_born(os.getpid())} {secrets.token_hex(4)}"
