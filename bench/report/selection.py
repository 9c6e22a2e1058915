"""Which rows of the store a report shows: one sweep, the newest version of each metric, one split.

A plug-in's metric has no such order of its code: where runs were measured by several forms of it, it is left out. So
are runs on windows that have changed since, and runs that a later one has replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from bench.contracts import TRAINING_BLOCKS, Contrast, Scored, later_options
from bench.registry import METHODS
from bench.report.formatting import plural
from bench.store import RUNS, Membership, existing

RUN_COLUMNS = frozenset(RUNS) - {"method"}
"""Columns of a run that are no hyper-parameter; `method` varies like one, should a label name two methods."""


@dataclass(frozen=True)
class Selection:
    """The rows of one sweep, one row per run, in the sweep's order."""

    name: str
    description: str
    command: str
    written: str
    pending: int  # runs of the sweep that have no row yet
    folder: Path
    runs: pd.DataFrame
    metrics: pd.DataFrame  # newest version of each, at the end of training
    history: pd.DataFrame  # the same during training, train_step >= 0
    split: Scored  # the windows that all numbers are of
    curves: Callable[[Iterable[str]], pd.DataFrame]  # training curves of some runs: of a large sweep few are drawn
    equivalence: Mapping[str, float] = field(default_factory=dict)  # metric -> differences below it do not matter
    contrasts: Sequence[Contrast] = ()  # what the sweep states, tested over all data sets
    left_out: Sequence[str] = ()  # what is not shown although it was measured, or does not compare, and why


def load(folder: Path, sweep: str | None = None, split: Scored | None = None) -> Selection:
    """The named sweep of a results folder, by default the one written last; all runs where there is no sweep.

    split: the windows that the numbers are of; by default validation where no method was scored on test windows.

    Raises InputError when the folder is not there or has no such sweep.
    """
    store = existing(folder)
    chosen = store.membership(sweep) if sweep is not None else next(reversed(store.memberships()), None)
    return select(*store.results_apart(), store.curves, chosen, folder, split)


def select(
    runs: pd.DataFrame,
    at_end: pd.DataFrame,
    during: pd.DataFrame,
    curves: Callable[[Iterable[str]], pd.DataFrame],
    sweep: Membership | None,
    folder: Path,
    split: Scored | None = None,
) -> Selection:
    """Keep the runs of a sweep (all of them where there is none) and their rows in the other tables."""
    if sweep is not None:
        known = set(runs["run_id"])
        runs = runs.set_index("run_id").loc[[run for run in sweep.runs if run in known]].reset_index()
        runs["label"] = [sweep.runs[run] or label for run, label in zip(runs["run_id"], runs["label"], strict=True)]
    runs, older = _latest(_with_later_options(runs))
    tables = [_where(table, table["run_id"].isin(runs["run_id"])) for table in (at_end, during)]
    split = split or _scored(runs, tables)
    at_end, during, outdated = _newest(*(_where(table, table["split"] == split) for table in tables))
    at_end, left_out = _of_one_code(at_end)
    return Selection(
        name=sweep.name if sweep else "all runs",
        description=sweep.description if sweep else "",
        command=sweep.command if sweep else "",
        written=sweep.written if sweep else "",
        pending=len(sweep.runs.keys() - set(runs["run_id"])) if sweep else 0,
        folder=folder,
        runs=runs.reset_index(drop=True),
        metrics=at_end.reset_index(drop=True),
        history=during.reset_index(drop=True),
        split=split,
        curves=curves,
        equivalence=sweep.equivalence if sweep else {},
        contrasts=sweep.contrasts if sweep else (),
        left_out=[*older, *outdated, *left_out, *_of_other_sizes(runs)],
    )


def is_setting(column: str) -> bool:
    """Whether a column of the runs table is a hyper-parameter; how a run is measured is none."""
    return column not in RUN_COLUMNS and not column.startswith(("version_", "evaluate."))


def _latest(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The runs without those that a later one stands for, and a sentence about what is left out.

    A folder can hold runs on windows that a file no longer has, and runs of older code beside newer ones.
    """
    ordered = runs.sort_values("finished_at", kind="stable", na_position="first")
    place = ["dataset", "shuffle", "seed", *(["split_seed"] if "split_seed" in runs else [])]
    outdated = _on_other_windows(ordered, place)
    replaced = _replaced(ordered[~outdated], place).reindex(ordered.index, fill_value=False)
    reasons = (
        (outdated, "the windows have changed since"),
        (replaced, "a later or more complete run has the same settings and seed"),
    )
    found = [
        f"{dataset}: {plural(count, 'run')} left out, because {reason}."
        for gone, reason in reasons
        for dataset, count in ordered[gone].groupby("dataset", sort=False, observed=True).size().items()
    ]
    return _where(runs, ~(outdated | replaced).reindex(runs.index)), found


def _on_other_windows(ordered: pd.DataFrame, place: Sequence[str]) -> pd.Series:
    """Whether each run had other windows than the last run of its data set and seed; one without windows had not."""
    windows = ordered["data_sha256"].astype(str)
    known = windows.where(~windows.isin(["", "nan", "None"]))
    last = known.groupby([ordered[name] for name in place], sort=False, dropna=False).transform("last")
    return known.notna() & (known != last)


def _replaced(ordered: pd.DataFrame, place: Sequence[str]) -> pd.Series:
    """Whether a later run differs from each run in no setting and no seed; a reference row has no settings.

    A run that was stopped from outside stands for none that ended.
    """
    ended = ordered["status"].isin(["ok", "diverged"])
    ordered = pd.concat([ordered[~ended], ordered[ended]])
    whose = [*place, "backbone", "label", "method"]
    settings = [str(name) for name in ordered if is_setting(str(name)) and ordered[name].nunique(dropna=False) > 1]
    methods = ordered["kind"] == "method"
    of_methods = ordered[methods].duplicated([*dict.fromkeys([*whose, *settings])], keep="last")
    return pd.concat([of_methods, ordered[~methods].duplicated(whose, keep="last")])


def _of_other_sizes(runs: pd.DataFrame) -> list[str]:
    """A sentence per data set whose runs were measured with different numbers of generated series."""
    if "evaluate.n_samples" not in runs:
        return []
    finished = runs[runs["status"] == "ok"]
    found = []
    for dataset, sizes in finished.groupby("dataset", sort=False, observed=True)["evaluate.n_samples"]:
        if len(several := sorted({int(size) for size in sizes.dropna()})) > 1:
            counts = " and ".join(f"{size:,}" for size in several)
            found.append(
                f"{dataset}: runs were measured with {counts} generated series. Measures of samples of different "
                "numbers do not compare, nor does one with a floor of another number. Use a results folder for each."
            )
    return found


def _scored(runs: pd.DataFrame, tables: Sequence[pd.DataFrame]) -> Scored:
    """Validation where every number of a method is of validation windows; references may have been scored before."""
    if not any((table["split"] == "validation").any() for table in tables):
        return "test"
    methods = runs.loc[runs["kind"] == "method", "run_id"]
    of_methods = (table.loc[table["run_id"].isin(methods), "split"] for table in tables)
    return "test" if any((splits == "test").any() for splits in of_methods) else "validation"


def _newest(at_end: pd.DataFrame, during: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """The rows of the highest version of each metric in either table, and a sentence about runs that have older ones.

    A metric that was renewed in some runs only is compared over these, so that the others must be named.
    """
    tables = at_end, during
    highest = pd.concat([table.groupby("metric", observed=True)["version"].max() for table in tables])
    newest = highest.groupby(highest.index.astype(str)).max()
    present = [table["version"] == newest.to_numpy()[places_in(table["metric"], newest.index)] for table in tables]
    kept, during = (_where(table, mask) for table, mask in zip(tables, present, strict=True))
    older = at_end.loc[~present[0], ["metric", "run_id"]].astype(str).drop_duplicates()
    lacking: dict[int, list[str]] = {}  # runs without the newest version -> metrics
    for metric, rows in older.groupby("metric"):
        renewed = kept.loc[kept["metric"] == metric, "run_id"].astype(str)
        if missing := len(set(rows["run_id"]) - set(renewed)):
            lacking.setdefault(missing, []).append(str(metric))
    sentences = [
        f"{', '.join(metrics)}: {plural(count, 'run')} left out, because only an older version was measured. "
        "`python -m bench.evaluate` measures runs whose models are kept by the present one."
        for count, metrics in lacking.items()
    ]
    return kept, during, sentences


def _of_one_code(metrics: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The rows of the metrics whose code was the same in every run, and a sentence about each of the others."""
    if metrics["metric_code"].nunique() < 2:  # of most tables: no metric of a plug-in
        return metrics, []
    pairs = metrics[["metric", "metric_code"]].astype(str)
    codes = pairs.drop_duplicates().groupby("metric")["metric_code"].nunique()
    mixed = codes.index[codes > 1].tolist()
    sentences = []
    for metric in mixed:
        rows = metrics.loc[pairs["metric"] == metric]
        runs = rows["run_id"].astype(str).groupby(rows["metric_code"].astype(str)).nunique()
        counts = " and ".join(plural(count, "run") for count in sorted(runs.tolist(), reverse=True))
        sentences.append(
            f"{metric} is left out: its code was edited, and {counts} were measured by different forms of it. "
            "`python -m bench.evaluate` measures all of them by the present one."
        )
    return _where(metrics, ~pairs["metric"].isin(mixed)), sentences


def _with_later_options(runs: pd.DataFrame) -> pd.DataFrame:
    """What a run could not say because the option came after it: the neutral value, which is what it did."""
    later = {
        f"{block}.{name}": neutral
        for block, config in TRAINING_BLOCKS.items()
        for name, neutral in later_options(config).items()
    }
    runs = runs.fillna({name: neutral for name, neutral in later.items() if name in runs})
    of_methods = [str(name) for name in runs if name not in RUNS and "." not in str(name)]
    for method, rows in runs.groupby("method", sort=False):
        silent = [name for name in of_methods if rows[name].isna().any() and rows[name].notna().any()]
        if not silent or method not in METHODS:  # methods are not imported, and torch with them, without a need
            continue
        neutral = later_options(METHODS[str(method)])
        for name in set(silent) & neutral.keys():
            runs.loc[rows.index[rows[name].isna()], name] = neutral[name]
    return runs


def _where(table: pd.DataFrame, mask: pd.Series) -> pd.DataFrame:
    """The rows of a mask; the table itself where that is all of them, because there may be millions."""
    return table if mask.all() else table[mask]


def places_in(column: pd.Series, index: pd.Index) -> np.ndarray:
    """Where the words of a column stand in an index, -1 where they do not; each word is looked up once."""
    words = pd.Categorical(column)
    return index.get_indexer(words.categories.astype(str))[words.codes]
