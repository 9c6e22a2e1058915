"""`python -m bench.publish`: results in the compact form that can be committed, cited and compared with.

The tables of the finished runs of every sweep, without weights and samples; the lists of the sweeps; and a report per
sweep. `python -m bench.compare results PUBLISHED` then shows how other results differ from them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench import command
from bench.contracts import InputError
from bench.report.__main__ import main as report
from bench.store import Membership, Store, existing, load_curves, load_results

OWN = ("runs", "metrics", "curves", "sweeps", "report")


def publish(source: Path, out: Path, sweeps: Sequence[Membership]) -> int:
    """Write the tables and lists of these sweeps to `out`, in place of what was published there; its size in bytes.

    Files beside them (.md, .yaml) and folders `archive-VERSION` of older results stay; old tables are removed when the
    new ones are complete. Raises InputError where `out` holds anything else, or tables and reports that this command
    has not written.
    """
    staging = out / ".publishing"
    allowed = (*OWN, "leases", staging.name) if (out / "runs" / "published.parquet").is_file() else (staging.name,)
    beside = [p.name for p in out.glob("*") if p.suffix not in (".md", ".yaml") and not p.name.startswith("archive-")]
    strangers = [name for name in beside if name not in allowed]
    if strangers:
        raise InputError(
            f"--out {out}: holds {min(strangers)}: expected a new folder, or one that was published before"
        )
    wanted = {run_id for sweep in sweeps for run_id in sweep.runs}
    tables = [*load_results(source), load_curves(source)]
    runs, metrics, curves = (table[table["run_id"].isin(wanted)].astype(object) for table in tables)
    runs["config"] = runs["config"].map(without_folder)
    shutil.rmtree(staging, ignore_errors=True)
    target = Store(staging)
    target.prepare()
    target.write_part("published", _rows(runs), _rows(metrics), _rows(curves))
    for sweep in sorted(sweeps, key=lambda sweep: sweep.written):
        target.write_membership(sweep.name, sweep.runs, sweep.description, sweep.command, equivalence=sweep.equivalence)
    for name in OWN:
        shutil.rmtree(out / name, ignore_errors=True)
        if (staging / name).exists():
            (staging / name).rename(out / name)
    shutil.rmtree(staging)
    return sum(path.stat().st_size for path in out.glob("*/*.parquet"))


def without_folder(config: str) -> str:
    """A run's configuration without the folder of its data file, which is a place on the machine that trained it."""
    values = json.loads(config)
    if not values["dataset"].pop("folder", ""):
        return config
    return json.dumps(values, sort_keys=True)


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows without their empty cells."""
    return [{str(key): value for key, value in row.items() if value == value} for row in table.to_dict("records")]


def main(words: Sequence[str] | None = None) -> int:
    """The command."""
    parser = command.parser("publish", "Write results in the compact form that can be committed and compared with.")
    parser.add_argument("--results", default="results", metavar="DIR", help="results folder (default: results)")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="output folder (replaced if it was published before)"
    )
    parser.add_argument("--sweep", action="append", default=[], metavar="NAME", help="only this sweep (repeatable)")
    given = parser.parse_args(words)
    source = Path(given.results)
    if given.out.resolve() == source.resolve():
        raise InputError(f"--out {given.out}: expected another folder than --results")
    store = existing(source)
    sweeps = [store.membership(name) for name in given.sweep] or store.memberships()
    size = publish(source, given.out, sweeps)
    count = len({run_id for sweep in sweeps for run_id in sweep.runs})
    command.write(f"{len(sweeps)} sweeps, {count} runs: {size / 2**20:.1f} MB of tables in {given.out}")
    for sweep in sweeps:
        folder = str(given.out / "report" / sweep.name)
        report(["--results", str(given.out), "--sweep", sweep.name, "--out", folder, "--compact"])
    return 0


if __name__ == "__main__":
    command.run_command(main)
