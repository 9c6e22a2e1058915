"""Finished runs that are run again: what was changed since, which numbers moved, and whether that is noise."""

from __future__ import annotations

import hashlib
import math
import tempfile
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
from scipy import special

from bench.command import data_dir, write, write_table
from bench.contracts import InputError, Unavailable
from bench.engine.job import JobSettings, run_stack
from bench.engine.provenance import provenance
from bench.loading.references import version_of
from bench.loading.windows import load_splits
from bench.registry import METHODS, METRICS
from bench.store import load_results, spelled
from bench.sweeps.run import TRAINING_VERSION, Run
from bench.sweeps.stacks import Stack

KEY = ["metric", "version", "split", "train_step", "coordinate", "index", "metric_seed"]
MEASURE = [name for name in KEY if name != "index"]  # of all places of a curve
PLACE = ["train_step", "coordinate", "index"]  # of a number among those of its metric
NOT_INGREDIENTS = ("git_commit", "git_dirty")
VERSIONS = ("training_version", "method_version", "reference_version")
SECONDS = ["train_seconds", "denoiser_seconds", "sample_seconds", "evaluate_seconds"]

ROUNDING = 1e-6
"""Of a number or, below 1, of 1: what another order of the same sums may change."""

LEVEL = 0.05
"""In which share of rows chance alone is called a difference, about."""

TOLERANCES: Mapping[str, float] = dict.fromkeys(("dependency_global", "dependency_local"), 0.01)
"""By metric: what its algorithm promises no better than (`evaluate.dependency_tolerance`). A metric's diagnostics say
how it was computed; they count for identity alone."""


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
    changed = [
        (name, str(row[name]), str(value))
        for name, value in now.items()
        if name in row and name not in NOT_INGREDIENTS and str(row[name]) != str(value)
    ]
    if run.kind == "reference" and run.run_id != row.run_id:  # a row does not say its version, which is in its id
        changed.append(("reference_version", "another", str(version_of(run.method))))
    return changed


def spread(numbers: pd.DataFrame) -> pd.DataFrame:
    """`sd` and `df` by `MEASURE`: what seeds do to a number, of numbers with the columns `cell` and `value`.

    A cell of three seeds says little of its own spread, and methods spread unequally. So `sd` is that of the cell that
    spreads most, over all places of a curve together, with the degrees of freedom of all cells.
    """
    places = numbers.groupby([*KEY, "cell"], dropna=False)["value"].agg(["var", "count"])
    places = places[places["count"] > 1]
    cells = places.groupby([*MEASURE, "cell"], dropna=False).agg({"var": "mean", "count": "max"})
    by_measure = cells.groupby(level=MEASURE, dropna=False)
    return pd.DataFrame({"sd": by_measure["var"].max() ** 0.5, "df": by_measure["count"].sum() - by_measure.size()})


def noise_of(row: pd.Series, runs: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """The `spread` over seeds in the cells of a row's kind, sweep, and data set.

    The row itself is left out, so that a false number does not widen what it is judged by.
    """
    alike = (runs[["kind", "sweep", "dataset"]] == row[["kind", "sweep", "dataset"]]).all(axis=1)
    peers = runs[alike & (runs.run_id != row.run_id)]
    cells = {}
    for run_id, config in zip(peers.run_id, peers.config, strict=True):
        run = Run.from_config(config)
        all_but_seed = run.method, run.hyper, run.backbone, run.model, run.train, run.diffusion
        cells[run_id] = str(all_but_seed)
    numbers = spelled(metrics[metrics.run_id.isin(cells)])
    return spread(numbers.assign(cell=[cells[run_id] for run_id in numbers.run_id]))


def tolerance(metric: str, then: float) -> float:
    """How far a number may move whatever the seeds say: by rounding, and by what its metric promises no better than."""
    if metric in {name for owner in METRICS for name in METRICS[owner].diagnostics}:
        return math.inf
    return max(ROUNDING * max(abs(then), 1.0), TOLERANCES.get(metric, 0.0))


def judge(before: pd.Series, after: pd.Series, noise: pd.DataFrame, level: float = LEVEL) -> tuple[str, pd.DataFrame]:
    """The word, and a row per number that moved: then, now, how far in the seeds' spread, whether that is noise.

    noise: by `MEASURE`, as `spread` has it. Beyond its tolerance a number is no noise where a t test with Bonferroni's
    correction for all numbers of the row rejects, at `level`, that both are draws of one law, and where no seed tells.
    """
    both = pd.DataFrame({"then": before, "now": after})
    moved = both[~((both.then == both.now) | (both.then.isna() & both.now.isna()))].copy()
    if moved.empty:
        return "identical", moved
    seeds = noise.astype(float).reindex(pd.MultiIndex.from_frame(moved.index.to_frame()[MEASURE]))
    moved["seeds_apart"] = (moved.now - moved.then).abs() / seeds.sd.to_numpy()
    t = moved.seeds_apart / math.sqrt(2)  # as the difference of two draws has twice the variance of one
    p = 2 * special.stdtr(seeds.df.to_numpy(), -t.to_numpy())
    allowed = [tolerance(str(n), then) for n, then in zip(moved.index.get_level_values(0), moved.then, strict=True)]
    near = (moved.now - moved.then).abs() <= allowed
    moved["inside"] = near | (p * len(both) > level)  # False where one of them is NaN or no seed tells
    return ("within noise" if moved.inside.all() else "different"), moved


def comparable(known: pd.Series, found: pd.Series) -> tuple[pd.Series, pd.Series]:
    """The known numbers of metrics that were measured again, by `KEY`, and what they are now: NaN where one is gone.

    Metrics that were added later, or have another version by now, have nothing to be compared with.
    """
    before = known.loc[known.droplevel([*PLACE]).index.isin(found.droplevel([*PLACE]).index)]
    return before, found.reindex(before.index)


@dataclass(frozen=True)
class Outcome:
    """What became of one row that was run again."""

    run: Run
    word: str  # identical, within noise, different, older, or not here
    note: str = ""
    compared: int = 0
    moved: pd.DataFrame = field(default_factory=pd.DataFrame)
    changed: Sequence[tuple[str, str, str]] = ()  # ingredients: name, then, now


RELEASES = {1: "6f9256b"}
"""The last commit whose training code is of an older version."""


def refuse_older(row: pd.Series) -> None:
    """Raises InputError for a row of an older training version, which this code would train otherwise."""
    version = int(row.training_version)
    if version < TRAINING_VERSION:
        where = f"; `git checkout {RELEASES[version]}` has the code that does" if version in RELEASES else ""
        raise InputError(
            f"RUN_ID {row.run_id}: was trained by version {version} of the training code, this is version "
            f"{TRAINING_VERSION} and does not reproduce it{where}"
        )


def run_again(row: pd.Series, runs: pd.DataFrame, metrics: pd.DataFrame, given: Namespace) -> Outcome:
    """Run one row of a runs table again, in a folder that is thrown away, and compare its numbers."""
    run, data = Run.from_config(row.config), data_dir(given.data)
    try:
        sha256 = load_splits(run.dataset, run.data_seed, data).sha256
    except Unavailable as error:
        return Outcome(run, "not here", str(error))
    changed = changed_ingredients(row, run, sha256)
    if given.all and (older := [name for name, *_ in changed if name in VERSIONS]):
        return Outcome(run, "older", f"another {older[0].replace('_', ' ')}", changed=changed)
    if given.all and sha256 != row.data_sha256:
        return Outcome(run, "different", "other windows", changed=changed)
    with tempfile.TemporaryDirectory() as folder:
        settings = JobSettings(Path(folder), data, given.device, "none", tuple(given.plugin))
        ((_, status, reason),) = run_stack(Stack((replace(run, data_sha256=sha256),)), settings)
        if status != row.status:
            return Outcome(run, "different", f"the run was {row.status} and is now {status} {reason}", changed=changed)
        found = spelled(load_results(folder)[1]).set_index(KEY)["value"]
    known = spelled(metrics[metrics.run_id == row.run_id]).set_index(KEY)["value"]
    before, after = comparable(known, found)
    if before.empty:
        return Outcome(run, "older", "no metric has the version of then", changed=changed)
    word, moved = judge(before, after, noise_of(row, runs, metrics), given.level)
    left = len(known) - len(before)
    note = f"{left} not measured by the same version" if left else ""
    return Outcome(run, word, note, len(before), moved, changed)


def furthest(moved: pd.DataFrame, most: int) -> list[list[str]]:
    """The numbers that moved furthest, in standard deviations over seeds, as rows of text; first what is no noise."""
    order = moved.sort_values(["inside", "seeds_apart"], ascending=[True, False], na_position="first")
    return [
        [str(key[0]), "" if pd.isna(key[5]) else f"{key[5]:g}", f"{then:.8g}", f"{now:.8g}", f"{apart:.3g}"]
        for key, then, now, apart, _ in order.head(most).itertuples()
    ]


def drawn(runs: pd.DataFrame, seed: str | None, under: float | None) -> Iterator[pd.Series]:
    """The finished rows of a folder in a random order that depends on the seed alone, or on the rows where it is None.

    under: leave out rows that took so many seconds or more, as the table has it.
    """
    rows = runs[runs.status == "ok"]
    if under is not None:
        rows = rows[rows.reindex(columns=SECONDS).fillna(0).sum(axis=1) < under]
    word = seed if seed is not None else " ".join(sorted(rows.run_id))
    order = sorted(rows.index, key=lambda index: hashlib.sha256(f"{word} {rows.run_id[index]}".encode()).digest())
    return (rows.loc[index] for index in order)


def one(runs: pd.DataFrame, metrics: pd.DataFrame, given: Namespace) -> int:
    """One row that is run again, with the numbers that moved; returns the exit status."""
    row = find_run(runs, given.run_id)
    refuse_older(row)
    run = Run.from_config(row.config)
    write(f"{row.run_id}  {run.label}  {run.dataset.key}  {run.backbone or '-'}  seed {run.seed}")
    found = run_again(row, runs, metrics, given)
    if found.word == "not here":
        raise InputError(f"RUN_ID {row.run_id}: {found.note}")
    if found.changed:
        write_table(found.changed, ["ingredient", "then", "now"])
    if not found.compared:
        write(f"{found.word}: {found.note}")
        return 1
    note = f", {found.note}" if found.note else ""
    write(f"{found.word}: {found.compared} numbers compared, {len(found.moved)} moved{note}")
    if len(found.moved):
        write_table(furthest(found.moved, 10), ["metric", "index", "then", "now", "in sd over seeds"])
    return int(found.word == "different")


def several(runs: pd.DataFrame, metrics: pd.DataFrame, given: Namespace) -> int:
    """A table of rows that were run again; what is older or not here is counted and makes room for another row."""
    found: list[Outcome] = []
    left: Counter[str] = Counter()
    for row in drawn(runs, given.seed, given.under):
        if given.sample is not None and len(found) == given.sample:
            break
        try:
            outcome = run_again(row, runs, metrics, given)
        except InputError as error:  # of a plug-in that is not given, or an option that is gone
            left[f"not here: {error}"] += 1
            continue
        if outcome.word in ("older", "not here"):
            left[f"{outcome.word}: {outcome.note}"] += 1
        else:
            found.append(outcome)
    table = []
    for outcome in found:
        worst = " ".join(furthest(outcome.moved, 1)[0][::4]) if len(outcome.moved) else ""
        changed = ", ".join(name for name, *_ in outcome.changed)
        numbers = f"{len(outcome.moved)} of {outcome.compared}"
        run = outcome.run
        place = run.run_id, run.label, run.dataset.key, run.backbone or "-", str(run.seed)
        table.append((*place, outcome.word, numbers, worst, outcome.note, changed))
    if table:
        heads = (
            "run",
            "label",
            "data set",
            "backbone",
            "seed",
            "",
            "moved",
            "furthest, in sd",
            "note",
            "changed since",
        )
        write_table(table, heads)
    for reason, count in left.items():
        write(f"{reason} ({count} rows)")
    counts = Counter(outcome.word for outcome in found)
    asked = f", of the {given.sample} that --sample asks for" if given.sample is not None else ""
    write(", ".join(f"{count} {word}" for word, count in counts.most_common()) or f"no row was run again{asked}")
    return int(counts["different"] > 0 or bool(asked and not found))
