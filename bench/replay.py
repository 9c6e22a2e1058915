"""`python -m bench.replay RUN_ID`: run one finished run again and compare.

Answers `identical` (every number, bit for bit), `within noise` (no number is further off than the
seeds of its cell are apart) or `different`, and says which ingredients are not what they were.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from bench.command import data_dir, parser, run_command, write, write_table
from bench.contracts import InputError, Unavailable
from bench.engine.job import JobSettings, run_stack
from bench.engine.provenance import provenance
from bench.loading.windows import load_splits
from bench.registry import METHODS, METRICS, load_entry_points, load_plugin
from bench.store import load_results, spelled
from bench.sweeps.run import TRAINING_VERSION, Run
from bench.sweeps.stacks import Stack

KEY = ["metric", "version", "split", "train_step", "coordinate", "index", "metric_seed"]
NOT_INGREDIENTS = ("git_commit", "git_dirty")


def find_run(runs: pd.DataFrame, word: str) -> pd.Series:
    """The row whose run_id begins with `word`. Raises InputError where that is none or several."""
    found = runs[runs.run_id.str.startswith(word)]
    if len(found) != 1:
        many = f"{len(found)} runs begin so" if len(found) else "no such run"
        raise InputError(f"RUN_ID {word}: {many}: expected one of the run_id column of the runs table")
    return found.iloc[0]


def changed_ingredients(row: pd.Series, run: Run, sha256: str) -> list[tuple[str, str, str]]:
    """(name, then, now) of whatever may move a number and is not what it was."""
    now = {**provenance(), "data_sha256": sha256, "training_version": TRAINING_VERSION}
    if run.kind == "method":
        now["method_version"] = METHODS[run.method].version
    return [
        (name, str(row[name]), str(value))
        for name, value in now.items()
        if name in row and name not in NOT_INGREDIENTS and str(row[name]) != str(value)
    ]


def cell_noise(runs: pd.DataFrame, metrics: pd.DataFrame, run: Run) -> pd.Series:
    """Standard deviation over the seeds of the run's cell, by `KEY`; NaN where there is one seed."""

    def without_seed(config: str) -> tuple[object, ...]:
        other = Run.from_config(config)
        return other.method, other.hyper, other.dataset, other.backbone, other.model, other.train, other.diffusion

    mine = without_seed(run.to_config())
    peers = [run_id for run_id, config in zip(runs.run_id, runs.config, strict=True) if without_seed(config) == mine]
    return spelled(metrics[metrics.run_id.isin(peers)]).groupby(KEY, dropna=False)["value"].std()


def judge(before: pd.Series, after: pd.Series, noise: pd.Series, within: float = 1.0) -> tuple[str, pd.DataFrame]:
    """The word, and a row per number that moved: then, now, how far in units of the seeds' spread.

    within: so many of these units still count as noise. A metric's diagnostics move with its algorithm: they count for
    identity alone.
    """
    both = pd.DataFrame({"then": before, "now": after})
    moved = both[~((both.then == both.now) | (both.then.isna() & both.now.isna()))].copy()
    if moved.empty:
        return "identical", moved
    moved["seeds_apart"] = (moved.now - moved.then).abs() / noise.reindex(moved.index)
    diagnostics = {name for metric in METRICS for name in METRICS[metric].diagnostics}
    inside = (moved.seeds_apart.fillna(math.inf) <= within) | moved.index.get_level_values(0).isin(diagnostics)
    return ("within noise" if inside.all() else "different"), moved


def main(words: Sequence[str] | None = None) -> int:
    """The verb. Exit 0 where the numbers are identical or within noise, 1 where they differ."""
    arguments = parser("replay", "Run one finished run again and compare its numbers.")
    arguments.add_argument("run_id", help="of the runs table, or its first characters")
    arguments.add_argument("--results", default="results", help="results folder (default: results)")
    arguments.add_argument("--data", help="folder of the real data files (also: BENCH_DATA)")
    arguments.add_argument("--device", default="cpu", help="cpu or cuda:K (default: cpu)")
    arguments.add_argument(
        "--within", type=float, default=1.0, metavar="SD", help="standard deviations over seeds that count as noise (1)"
    )
    arguments.add_argument("--plugin", action="append", default=[], metavar="FILE.py", help="a Python file of your own")
    given = arguments.parse_args(words)
    load_entry_points()
    for plugin in given.plugin:
        load_plugin(plugin)
    runs, metrics = load_results(given.results)
    row = find_run(runs, given.run_id)
    run, data = Run.from_config(row.config), data_dir(given.data)
    try:
        sha256 = load_splits(run.dataset, run.data_seed, data).sha256
    except Unavailable as reason:
        raise InputError(f"RUN_ID {run.run_id}: {reason}") from reason
    write(f"{run.run_id}  {run.label}  {run.dataset.key}  {run.backbone or '-'}  seed {run.seed}")
    changed = changed_ingredients(row, run, sha256)
    if changed:
        write_table(changed, ["ingredient", "then", "now"])

    with tempfile.TemporaryDirectory() as folder:
        settings = JobSettings(Path(folder), data, given.device, "none", tuple(given.plugin))
        again = run_stack(Stack((replace(run, data_sha256=sha256),)), settings)
        if again[0][1] != row.status:
            write(f"different: the run was {row.status} and is now {again[0][1]} {again[0][2]}")
            return 1
        found = spelled(load_results(folder)[1]).set_index(KEY)["value"]
    known = spelled(metrics[metrics.run_id == run.run_id]).set_index(KEY)["value"]
    shared = known.index.intersection(found.index)  # metrics added later have nothing to be compared with
    word, moved = judge(known.loc[shared], found.loc[shared], cell_noise(runs, metrics, run), given.within)
    write(f"{word}: {len(shared)} numbers compared, {len(moved)} moved")
    if len(moved):
        furthest = moved.sort_values("seeds_apart", ascending=False, na_position="first").head(10)
        lines = [
            [str(key[0]), "" if pd.isna(key[5]) else f"{key[5]:g}", f"{then:.8g}", f"{now:.8g}", f"{apart:.3g}"]
            for key, then, now, apart in furthest.itertuples()
        ]
        write_table(lines, ["metric", "index", "then", "now", "in sd over seeds"])
    return 1 if word == "different" else 0


if __name__ == "__main__":
    run_command(main)
