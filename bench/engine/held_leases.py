"""The leases of one supervisor: while it holds that of a run, no other supervisor begins the run."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench.store import LEASE_SECONDS, Store, lease_owner


class HeldLeases:
    """The leases that one supervisor takes, renews in time and gives back."""

    def __init__(self, store: Store) -> None:
        self._store, self._owner = store, lease_owner()
        self._held: set[str] = set()
        self._renewed = 0.0

    def claim(self, run_ids: Sequence[str]) -> set[str] | None:
        """Take these runs' leases; returns runs whose earlier owner stopped renewing, or None where a lease is held."""
        silent = self._store.leases.claim(run_ids, self._owner)
        if silent is not None:
            self._held.update(run_ids)
        return silent

    def release(self, run_ids: Sequence[str]) -> None:
        """Give back the leases of these runs."""
        self._store.leases.release(run_ids, self._owner)
        self._held.difference_update(run_ids)

    def release_all(self) -> None:
        """Give back whatever is held."""
        self.release(tuple(self._held))

    def renew(self) -> set[str]:
        """Renew what is held, where it is time to. Returns the runs that another supervisor has taken over."""
        now = time.monotonic()
        if now - self._renewed <= LEASE_SECONDS / 6:
            return set()
        self._renewed = now
        taken = self._store.leases.renew(self._held, self._owner)
        self._held -= taken
        return taken
