"""From the store's rows to cells, the rows of a comparison table.

A cell is what differs by its seed only: data set, shuffle, backbone, label, and every
hyper-parameter that varies under that label on one data set.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from bench.contracts import ONE_SPLIT, OVERLAPPING, TEST_BLOCKS
from bench.report.columns import BOUNDED, COSTS, ENDED
from bench.report.formatting import number, plain, with_interval
from bench.report.selection import Selection, is_setting, places_in
from bench.report.statistics import EACH_ITS_OWN, Interval, Repeats, by_unit, interval
from bench.verdict import NEAR_BOUND, UNKNOWN, Estimate, Verdict, dependency_illusion, standard_error, verdict

VERDICTS = ("alive", "partial", "collapsed", "undecided", "mixed over seeds", "not measured", "absent")


@dataclass(frozen=True)
class Cell:
    """One row of a comparison table: runs that differ by their seed only."""

    id: str
    dataset: str
    shuffle: bool
    backbone: str
    label: str
    method: str
    kind: str
    settings: dict[str, Any]  # the hyper-parameters that vary under this label
    seeds: dict[str, int]  # run_id -> seed
    status: Counter[str]
    said: dict[str, str] = field(default_factory=dict)  # finished run -> its verdict
    verdicts: Counter[str] = field(default_factory=Counter)  # how often each, "-" of runs that did not end well
    illusions: Counter[str] = field(default_factory=Counter)
    values: dict[str, dict[int, float]] = field(default_factory=dict)  # metric -> seed -> value
    series: dict[str, int] = field(default_factory=dict)  # metric -> n, the fewest over seeds
    repeats: Repeats = EACH_ITS_OWN
    has_latent: bool = True  # of a method without one nobody can say whether its decoder uses it
    fixed: int = 0  # finished runs that made a fixed number of updates, so that nobody knows of a plateau
    division: str = ""  # of the data: see `bench.contracts.Splits`; "" where it is not known
    noise: dict[str, float] = field(default_factory=dict)  # metric -> its own sd: over metric seeds, within a run
    beside_test: dict[str, dict[int, float]] = field(default_factory=dict)  # metric -> seed -> value; see TEST_BLOCKS
    _intervals: dict[str, Interval] = field(default_factory=dict, compare=False, repr=False)
    _texts: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def variant(self) -> str:
        """The settings as text: "M = 900, N = 50"."""
        return ", ".join(f"{name} = {plain(value)}" for name, value in self.settings.items())

    @property
    def name(self) -> str:
        """The label, with the settings where there are several."""
        return f"{self.label} ({self.variant})" if self.settings else self.label

    @property
    def ok(self) -> int:
        """Seeds that finished."""
        return self.status["ok"]

    def latents(self, metric: str) -> list[int]:
        """The numbers M of latents behind a measure that cannot exceed ln M, over seeds; [] for other measures."""
        return sorted({round(math.exp(bound)) for bound in self.values.get(BOUNDED.get(metric, ""), {}).values()})

    def at_bound(self, metric: str, seed: int | None = None) -> bool:
        """Whether the value of a seed (of any, where none is named) lies within NEAR_BOUND of its ln M."""
        bounds, values = self.values.get(BOUNDED.get(metric, ""), {}), self.values.get(metric, {})
        shared = values.keys() & bounds.keys() if seed is None else {seed} & values.keys() & bounds.keys()
        return any(values[key] > bounds[key] - NEAR_BOUND for key in shared)

    def interval(self, metric: str) -> Interval:
        """Mean and interval over the seeds that finished; none where their ln M differ, which is never pooled."""
        if metric not in self._intervals:  # a page asks for each several times
            values = self.values.get(metric, {}) if len(self.latents(metric)) < 2 else {}
            self._intervals[metric] = interval(list(by_unit(values, self.repeats.units).values()))
        return self._intervals[metric]

    def text(self, metric: str) -> str:
        """Mean and interval as they are printed, with the number of seeds if some are missing; "-" where all are.

        ">= mean" at the bound ln M. Values of several M are printed as their range, which is no mean.
        """
        if metric not in self._texts:
            found, values, several = self.interval(metric), self.values.get(metric, {}), self.latents(metric)
            known, total = len(values), self.status.total()
            few = f" ({known} of {total} seeds)" if known < total else ""
            least = ">= " if self.at_bound(metric) else ""
            if found.n:
                text = f"{least}{number(found.mean)}" if least else with_interval(found)
            elif values and len(several) > 1:
                ends = " to ".join(number(value) for value in (min(values.values()), max(values.values())))
                text = f"{least}{ends} (M = {several[0]} to {several[-1]})"
            else:
                text, few = "-", ""
            self._texts[metric] = text + few
        return self._texts[metric]

    def text_of(self, metric: str, seed: int) -> str:
        """The value of one seed as it is printed."""
        value = self.values.get(metric, {}).get(seed, math.nan)
        return f"{'>= ' if self.at_bound(metric, seed) else ''}{number(value)}"


def verdict_of(cell: Cell) -> str:
    """One word for all seeds of a cell, those that did not end well included."""
    words = set(cell.verdicts)
    if not cell.has_latent:
        return "absent"
    return "not measured" if words <= {"-"} else words.pop() if len(words) == 1 else "mixed over seeds"


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def beside_test(selection: Selection) -> dict[str, dict[str, float]]:
    """run_id -> metric -> its value beside the test windows, for what was measured there as well."""
    rows = selection.metrics[selection.metrics["coordinate"] == TEST_BLOCKS].dropna(subset="value")
    found: dict[str, dict[str, float]] = {}
    means = rows.groupby(["run_id", "metric"], observed=True)["value"].mean()
    for (run, metric), value in zip(means.index, means.tolist(), strict=True):
        found.setdefault(str(run), {})[str(metric)] = float(value)
    return found


def per_run(selection: Selection) -> pd.DataFrame:
    """Scalars by run (rows run_id, columns metric), with the derived ones; repeats of a metric are averaged."""
    return scalars_by(selection.metrics, ["run_id"]).reindex(selection.runs["run_id"].tolist())


def scalars_by(metrics: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Means of the scalars (columns metric), with the derived ones, in rows that `by` names."""
    needed = [*by, "metric", "value"]  # of millions of rows only what is asked for
    scalars = metrics.loc[(metrics["coordinate"] == "") & metrics["value"].notna(), needed]
    table = scalars.groupby([*by, "metric"], observed=True)["value"].mean().unstack("metric")
    table.columns = pd.Index(table.columns.tolist(), dtype=object)  # no categories: more columns follow
    if {"nll_own", "nll_permuted"} <= set(table.columns):
        table["nll_gap"] = table["nll_permuted"] - table["nll_own"]
    of_z = (metrics["metric"] == "dependency_global") & (metrics["coordinate"] == "t")
    if of_z.any():
        curve = metrics.loc[of_z, [*by, "index", "value"]]
        last = curve["index"] == curve.groupby("run_id", observed=True)["index"].transform("max")
        table["dependency_end"] = curve[last].groupby(by, observed=True)["value"].mean()
    return table


def _metric_noise(selection: Selection) -> dict[str, dict[str, float]]:
    """The variance of a metric over metric seeds (the same run, measured again), by run; of runs with several."""
    metrics = selection.metrics
    if not len(metrics) or metrics["metric_seed"].max() < 1:
        return {}
    variance = scalars_by(metrics, ["run_id", "metric_seed"]).groupby(level="run_id", observed=True).var()
    return {
        str(run): {str(metric): float(value) for metric, value in row.dropna().items()}
        for run, row in variance.iterrows()
    }


def _illusions(selection: Selection, scalars: pd.DataFrame) -> dict[str, str]:
    """The dependency illusion of every shuffled run."""
    metrics, runs = selection.metrics, selection.runs
    shuffled = runs.loc[runs["shuffle"].astype(bool), "run_id"]
    needed = ["run_id", "index", "value", "error", "sd", "n"]
    local = metrics.loc[(metrics["metric"] == "dependency_local") & metrics["run_id"].isin(shuffled), needed]
    if not len(local):
        return {}
    local = local.assign(run_id=local["run_id"].astype(str))  # categories would be sorted in an order of their own
    local = local.sort_values(["run_id", "index"])
    ids, firsts = np.unique(local["run_id"].to_numpy(dtype=object), return_index=True)
    values, errors, sd, n = (local[name].to_numpy(dtype=float) for name in ("value", "error", "sd", "n"))
    nlls = scalars.reindex(index=ids, columns=["nll_own", "nll_marginal"]).to_numpy(dtype=float).tolist()
    known = runs.reindex(columns=["run_id", "window", "test_stride"]).set_index("run_id").fillna(0).loc[ids]
    found: dict[str, str] = {}
    ends = [*firsts[1:], len(local)]
    for run, first, end, own, window in zip(ids, firsts, ends, nlls, known.astype(int).to_numpy(), strict=True):
        of_run = slice(first, end)
        stated = errors[of_run].tolist()
        if not np.isfinite(errors[of_run]).all():
            pairs = zip(stated, sd[of_run], n[of_run], strict=True)
            stated = [e if math.isfinite(e) else standard_error(s, count, *window) for e, s, count in pairs]
        found[run] = dependency_illusion(True, values[of_run].tolist(), stated, *own)
    return found


def verdicts_by_run(selection: Selection, scalars: pd.DataFrame) -> dict[str, Verdict]:
    """The verdict of every run in `scalars` (see `per_run`); "-" where a number that decides is missing."""
    information, second_half = (_estimates(selection, f"latent_information{part}") for part in ("", "_second_half"))
    decisive = scalars.reindex(columns=["nll_own", "nll_permuted", "dependency_end"])
    return {
        str(run): verdict(own, permuted, end, information.get(str(run), UNKNOWN), second_half.get(str(run), UNKNOWN))
        for run, (own, permuted, end) in zip(decisive.index, decisive.to_numpy(dtype=float).tolist(), strict=True)
    }


def _estimates(selection: Selection, metric: str) -> dict[str, Estimate]:
    """A scalar of every run with its error; repeats of a metric are averaged."""
    rows = selection.metrics[(selection.metrics["metric"] == metric) & (selection.metrics["coordinate"] == "")]
    means = rows.groupby(rows["run_id"].astype(str))[["value", "error"]].mean()
    return {str(run): Estimate(*map(float, row)) for run, row in zip(means.index, means.to_numpy(), strict=True)}


def _fewest(selection: Selection, scalars: pd.DataFrame) -> np.ndarray:
    """n of every number in `scalars`; infinite where none is stated."""
    ends = selection.metrics.loc[selection.metrics["coordinate"] == "", ["run_id", "metric", "n"]]
    rows, columns = places_in(ends["run_id"], scalars.index), places_in(ends["metric"], scalars.columns)
    counts = np.full(scalars.shape, np.inf)
    good = (rows >= 0) & (columns >= 0)
    counts[rows[good], columns[good]] = ends["n"].to_numpy(dtype=float)[good]
    return counts


def _repeats(runs: pd.DataFrame, divisions: Mapping[str, str]) -> dict[str, Repeats]:
    """Data set -> what its seeds repeat: initialisations of several splits where there are such; else seeds."""
    known = runs.reindex(columns=["dataset", "seed", "split_seed"]).drop_duplicates()
    known["split_seed"] = known["split_seed"].fillna(known["seed"])  # of before there was such a seed: `seed` was both
    found: dict[str, Repeats] = {}
    for dataset, rows in known.groupby("dataset", sort=False):
        splits = rows["split_seed"].astype(int).tolist()
        several = 1 < len(set(splits)) < len(splits)
        units = dict(zip(rows["seed"].astype(int), splits, strict=True)) if several else {}
        found[str(dataset)] = Repeats(units, divisions[str(dataset)] in OVERLAPPING)
    return found


def _divisions(runs: pd.DataFrame) -> dict[str, str]:
    """Data set -> how it was divided; "given" where several seeds had one split, whatever dealt it.

    Of older runs only that is known: several seeds saw the same windows.
    """
    found = {}
    for dataset, rows in runs.groupby("dataset", sort=False):
        stated = [word for word in rows.get("division", pd.Series(dtype=object)).dropna().unique() if word]
        trained = rows[(rows["shuffle"] == rows["shuffle"].iloc[0]) & (rows["data_sha256"].astype(str) != "")]
        same = trained["seed"].nunique() > 1 and trained["data_sha256"].nunique() == 1
        division = str(stated[0]) if stated else ""
        one_split = rows["seed"].nunique() > 1 == rows["split_seed"].nunique() if "split_seed" in rows else False
        given = (one_split and division not in ONE_SPLIT) or (same and not division)
        found[str(dataset)] = "given" if given else division
    return found


def cells_of(selection: Selection) -> list[Cell]:
    """All cells, in the sweep's order of labels, then by their settings."""
    runs = selection.runs
    if not len(runs):
        return []
    scalars = per_run(selection)
    names, counts = [str(name) for name in scalars.columns], _fewest(selection, scalars)
    numbers, place_of = scalars.to_numpy(dtype=float), {run: place for place, run in enumerate(scalars.index.tolist())}
    illusions, noise = _illusions(selection, scalars), _metric_noise(selection)
    verdicts, elsewhere = verdicts_by_run(selection, scalars), beside_test(selection)
    varying: dict[str, list[str]] = {}
    hyper = [name for name in runs.columns if is_setting(name)]
    trained = runs[runs["kind"] == "method"]  # a reference's row states the settings of its sweep, and uses none
    for label, same in trained.groupby("label", sort=False):
        parts = [of_one for _, of_one in same.groupby("dataset", sort=False)]  # which may have settings of its own
        varying[str(label)] = [
            name for name in hyper if any(part[name].drop_duplicates().map(plain).nunique() > 1 for part in parts)
        ]

    divisions = _divisions(runs)
    repeats = _repeats(runs, divisions)
    fixed = ["run_id", "dataset", "shuffle", "backbone", "label", "method", "kind", "seed", "status"]
    wanted = {*fixed, "train.patience", "latent_route", *COSTS, *ENDED}
    wanted |= {name for names in varying.values() for name in names}
    members: dict[tuple[Any, ...], list[dict[Any, Any]]] = {}
    columns = [str(name) for name in runs.columns if name in wanted]
    for values in zip(*(runs[name].tolist() for name in columns), strict=True):  # a third of the time of `to_dict`
        row = dict(zip(columns, values, strict=True))
        place = (str(row["dataset"]), bool(row["shuffle"]), str(row["backbone"] or ""), str(row["label"]))
        members.setdefault((*place, *(plain(row[name]) for name in varying.get(place[3], ()))), []).append(row)

    cells: list[Cell] = []
    for rows in members.values():
        first = rows[0]
        cell = Cell(
            id=f"cell-{len(cells) + 1}",
            dataset=str(first["dataset"]),
            shuffle=bool(first["shuffle"]),
            backbone=str(first["backbone"] or ""),
            label=str(first["label"]),
            method=str(first["method"]),
            kind=str(first["kind"]),
            settings={n: first[n] for n in varying.get(str(first["label"]), ()) if not _missing(first[n])},
            seeds={str(row["run_id"]): int(row["seed"]) for row in rows},
            status=Counter(str(row["status"]) for row in rows),
            repeats=repeats[str(first["dataset"])],
            has_latent=first.get("latent_route") != "none",
            fixed=sum(row["status"] == "ok" and row.get("train.patience") == 0 for row in rows),
            division=divisions[str(first["dataset"])],
        )
        finished = [row for row in rows if row["status"] == "ok"]
        seeds = [int(row["seed"]) for row in finished]
        places = [place_of[row["run_id"]] for row in finished]
        found = numbers[places]
        n = np.where(np.isnan(found), np.inf, counts[places]).min(axis=0, initial=np.inf)
        for name, of_seeds, fewest in zip(names, found.T.tolist(), n.tolist(), strict=True):
            if known := {seed: value for seed, value in zip(seeds, of_seeds, strict=True) if value == value}:
                cell.values[name] = known
                if math.isfinite(fewest):
                    cell.series[name] = int(fewest)
        for seed, row in zip(seeds, finished, strict=True) if elsewhere else ():
            for name, value in elsewhere.get(str(row["run_id"]), {}).items():
                cell.beside_test.setdefault(name, {})[seed] = value
        for seed, row in zip(seeds, finished, strict=True) if cell.kind == "method" else ():
            for name in (*COSTS, *ENDED):
                if not _missing(row.get(name)):
                    cell.values.setdefault(name, {})[seed] = float(row[name])
            cell.said[str(row["run_id"])] = verdicts.get(str(row["run_id"]), "-") if cell.has_latent else "-"
            cell.illusions[illusions.get(str(row["run_id"]), "-")] += 1
        cell.verdicts.update(cell.said.values())
        if cell.kind == "method" and len(finished) < len(rows):  # what has not ended well speaks for nobody
            cell.verdicts["-"] += len(rows) - len(finished)
            cell.illusions["-"] += len(rows) - len(finished)
        if again := [noise[run] for run in cell.seeds if run in noise]:
            cell.noise.update({str(name): math.sqrt(value) for name, value in pd.DataFrame(again).mean().items()})
        cells.append(cell)

    rank = {label: place for place, label in enumerate(dict.fromkeys(runs["label"].astype(str)))}

    def order(cell: Cell) -> tuple[Any, ...]:
        return (
            rank[cell.label],
            [(isinstance(v, str), v if isinstance(v, str) else float(v)) for v in cell.settings.values()],
        )

    return sorted(cells, key=order)


def averaged(cells: Sequence[Cell], metric: str, names: Sequence[str]) -> dict[tuple[float, ...], dict[int, float]]:
    """Setting -> seed -> the mean over every setting that is not named; seeds that all of them share.

    Where splits have several initialisations, the keys are the splits.
    """
    pool: dict[tuple[float, ...], list[dict[int, float]]] = {}
    for cell in cells:
        pool.setdefault(tuple(float(cell.settings[name]) for name in names), []).append(cell.values.get(metric, {}))
    found = {}
    for key, members in pool.items():
        shared = set.intersection(*(set(member) for member in members))
        means = {seed: float(np.mean([member[seed] for member in members])) for seed in sorted(shared)}
        found[key] = by_unit(means, cells[0].repeats.units)
    return found
