"""Which runs a sweep's report shows: one small JSON file per sweep."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from bench.contracts import Contrast, InputError
from bench.store.durable import replacing
from bench.store.lock import locked


class Membership(NamedTuple):
    """Which runs a sweep's report shows."""

    name: str
    description: str
    written: str
    command: str
    runs: dict[str, str]  # run_id -> label
    equivalence: Mapping[str, float] = MappingProxyType({})  # metric -> differences below it do not matter
    contrasts: Sequence[Contrast] = ()


def write_membership(
    folder: Path,
    name: str,
    runs: Mapping[str, str],
    description: str = "",
    command: str = "",
    merge: bool = False,
    equivalence: Mapping[str, float] | None = None,
    contrasts: Sequence[Contrast] = (),
) -> None:
    """Which runs a sweep's report shows (run_id -> label); `merge` keeps those that were there.

    equivalence, contrasts: what was stated of the report's comparisons, see `bench.report.statistics.judge`.
    The file of a sweep that was written last and says the same stays as it is, and so do reports made from it.
    """
    with locked(folder.parent / ".sweeps.lock"):  # two that merge at once must not lose each other's runs
        memberships = read_memberships(folder)
        known = next((m for m in memberships if m.name == name), None)
        known_runs = known.runs if merge and known else {}
        now = datetime.now(UTC).isoformat()
        new = Membership(name, description, now, command, {**known_runs, **runs}, equivalence or {}, contrasts)
        if known and known is memberships[-1] and _text(known) == _text(new._replace(written=known.written)):
            return
        with replacing(folder / f"{name}.json") as temporary:
            temporary.write_text(_text(new), encoding="utf-8")


def _text(sweep: Membership) -> str:
    """What its file holds, the runs in their order."""
    mappings = {"equivalence": dict(sweep.equivalence), "contrasts": [asdict(contrast) for contrast in sweep.contrasts]}
    return json.dumps({**sweep._asdict(), **mappings}, indent=1)


def read_memberships(folder: Path) -> list[Membership]:
    """Every sweep of a folder, the most recently written last. Raises InputError on a damaged file."""
    found = []
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            content["contrasts"] = [Contrast(**contrast) for contrast in content.get("contrasts", ())]
            membership = Membership(**content)
            words = [*membership[:4], *membership.runs, *membership.runs.values()]
            words += [word for each in membership.contrasts for word in (each.name, each.of, each.against)]
            if not all(isinstance(word, str) for word in words):
                raise TypeError("not all of it is text")
            if not all(isinstance(bound, int | float) for bound in membership.equivalence.values()):
                raise TypeError("not every bound of an equivalence is a number")
            if membership.name != path.stem:
                raise ValueError(f"its name is '{membership.name}'")
        except (ValueError, TypeError, AttributeError, OSError, RecursionError) as error:
            raise InputError(f"{path}: expected a sweep's list of runs: {error}") from error
        found.append(membership)
    return sorted(found, key=lambda membership: membership.written)
