"""What the page states about single runs: their configuration, how to replay them, failures and environment."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from bench.report.cells import Cell
from bench.report.formatting import plain
from bench.report.report import Report


def run_rows(report: Report, cells: Sequence[Cell]) -> dict[str, dict[Any, Any]]:
    """The rows of the runs table of some cells, by run_id."""
    wanted = {run for cell in cells for run in cell.seeds}
    runs = report.selection.runs
    return {str(row["run_id"]): row for row in runs[runs["run_id"].isin(wanted)].to_dict("records")}


def settings_of(row: Mapping[str, Any]) -> str:
    """A run's whole configuration, one line per block."""
    try:
        config = json.loads(row["config"])
    except (TypeError, ValueError):
        return str(row["config"])
    return "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in config.items())


def replay_command(report: Report, run: str) -> str:
    """The command that runs one run again and compares, with the plug-ins and the data that the sweep was given."""
    try:
        given = shlex.split(report.selection.command)
    except ValueError:  # no command line
        given = []
    flags = [word for pair in pairwise(given) if pair[0] in ("--plugin", "--data") for word in pair]
    return shlex.join(["python", "-m", "bench.replay", run, "--results", str(report.selection.folder), *flags])


def failures(report: Report) -> pd.DataFrame:
    """Every run that did not end ok."""
    runs = report.selection.runs
    return runs[runs["status"] != "ok"]


def unmeasured(report: Report) -> list[tuple[str, str, int]]:
    """Metrics that failed or are undefined in finished runs: name, reason, in how many runs."""
    metrics = report.selection.metrics
    bad = metrics[metrics["status"] != "ok"]
    counts = bad.groupby(["metric", "reason"], observed=True)["run_id"].nunique()
    return [(str(key[0]), str(key[1]), int(n)) for key, n in counts.items()]  # type: ignore[index]


def environment(report: Report) -> list[tuple[str, str]]:
    """Versions, commit, devices and the time it all took; several values where runs differ."""
    runs = report.selection.runs

    def values(column: str) -> str:
        found = sorted({plain(value) for value in runs[column].unique()} - {"none", ""}) if column in runs else []
        return ", ".join(found) or "unknown"

    rows = [(name.removeprefix("version_"), values(name)) for name in runs.columns if name.startswith("version_")]
    dirty = bool(runs["git_dirty"].astype(bool).any()) if len(runs) else False
    rows.append(("commit", values("git_commit") + (" (with uncommitted changes)" if dirty else "")))
    rows.append(("device", values("device")))
    columns = [
        name for name in ("train_seconds", "denoiser_seconds", "sample_seconds", "evaluate_seconds") if name in runs
    ]
    seconds = float(np.nansum(runs[columns].to_numpy(dtype=float))) if len(runs) else 0.0
    rows.append(("total computing time", f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"))
    finished = sorted(word for word in map(str, runs["finished_at"].unique()) if word[:1].isdigit())
    if finished:
        rows.append(("runs finished between", f"{finished[0]} and {finished[-1]}"))
    known = runs["energy_joules"].dropna() if "energy_joules" in runs else ()
    if len(known):
        what = f"{sum(known) / 3.6e6:.3g} kWh over {len(known)} of {len(runs)} runs"
        rows.append(("energy", f"{what}, measured at the devices, including other work that ran on them"))
    else:
        rows.append(("energy", "unknown: no energy counter could be read on the machines of these runs"))
    return rows
