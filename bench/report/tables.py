"""From the store's rows to the tables a report prints.

A cell is what differs by its seed only: data set, shuffle, backbone, label, and every
hyper-parameter that varies under that label. A group is what is compared: all cells of one data
set, shuffle and backbone, beside the reference rows (floors and controls) of that data.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from bench.contracts import TRAINING_BLOCKS, Scored, later_options
from bench.report.statistics import Interval, Standing, difference, interval, standings
from bench.store import RUNS, Membership, existing
from bench.verdict import THRESHOLDS, dependency_illusion, standard_error, verdict

RUN_COLUMNS = frozenset(RUNS) - {"method"}
"""Columns of a run that are no hyper-parameter; `method` varies like one, should a label name two methods."""

COSTS = {
    "train_seconds": ("training", "s"),
    "denoiser_seconds": ("denoiser", "s"),
    "sample_seconds": ("sampling", "s"),
    "n_parameters": ("parameters", ""),
    "energy_joules": ("energy", "J"),
}
COST_OF = "Cost of one run, mean over seeds."
DERIVED = {
    "nll_gap": "How much less likely a series is under another series' latent than under its own; 0: z says nothing.",
    "dependency_end": "The share of the decoder's last state that goes back to z; 0: z is forgotten at the end.",
}
"""Numbers this report computes from others, per run."""

SHORT = {
    "wasserstein": "Wasserstein",
    "sliced_wasserstein": "sliced W.",
    "mmd2": "MMD²",
    "c2st_accuracy": "C2ST acc.",
    "c2st_auc": "C2ST AUC",
    "nll_own": "own NLL",
    "nll_gap": "permuted − own",
    "dependency_end": "m_T,0",
    "kl": "KL",
    "active_units": "active units",
    "nll_noise": "NLL given noise",
    "nll_zero": "NLL given z = 0",
    "probe_level": "probe of the level (R²)",
    "diffusion_information": "information left",
    "diffusion_nll_own": "NLL given the noised latent",
    "diffusion_probe": "probe of the level (R²)",
    "active_units_curve": "active units by threshold",
    "split_half_reliability": "split-half",
}
LATENT = ("nll_own", "nll_gap", "dependency_end", "kl", "active_units", "split_half_reliability")


LONG = {
    "sliced_wasserstein": "sliced Wasserstein distance",
    "wasserstein": "Wasserstein distance",
    "mmd2": "squared MMD",
}


def title_of(metric: str) -> str:
    """A metric's name as a reader sees it."""
    return SHORT.get(metric, metric.replace("_", " "))


class MetricFacts(NamedTuple):
    """What a column needs to know of its metric."""

    unit: str = ""
    direction: Literal["lower", "higher", "none"] = "none"
    needs: str = "samples"
    about: str = ""


# ---------------------------------------------------------------- what one report shows


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
    runs = _with_later_options(runs)
    tables = [_where(table, table["run_id"].isin(runs["run_id"])) for table in (at_end, during)]
    split = split or _scored(runs, tables)
    at_end, during = _newest([_where(table, table["split"] == split) for table in tables])
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
    )


def _scored(runs: pd.DataFrame, tables: Sequence[pd.DataFrame]) -> Scored:
    """Validation where every number of a method is of validation windows; references may have been scored before."""
    if not any((table["split"] == "validation").any() for table in tables):
        return "test"
    methods = runs.loc[runs["kind"] == "method", "run_id"]
    of_methods = (table.loc[table["run_id"].isin(methods), "split"] for table in tables)
    return "test" if any((splits == "test").any() for splits in of_methods) else "validation"


def _newest(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """The rows of the highest version of each metric in any of the tables."""
    highest = pd.concat([table.groupby("metric", observed=True)["version"].max() for table in tables])
    newest = highest.groupby(highest.index.astype(str)).max()
    versions = (newest.to_numpy()[_places(table["metric"], newest.index)] for table in tables)
    return [_where(table, table["version"] == version) for table, version in zip(tables, versions, strict=True)]


def _with_later_options(runs: pd.DataFrame) -> pd.DataFrame:
    """What a run could not say because the option came after it: the default, which is what it did."""
    later = {
        f"{block}.{name}": default
        for block, config in TRAINING_BLOCKS.items()
        for name, default in later_options(config).items()
    }
    return runs.fillna({name: default for name, default in later.items() if name in runs})


def _where(table: pd.DataFrame, mask: pd.Series) -> pd.DataFrame:
    """The rows of a mask; the table itself where that is all of them, because there may be millions."""
    return table if mask.all() else table[mask]


# ---------------------------------------------------------------- cells


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
    verdicts: Counter[str] = field(default_factory=Counter)
    illusions: Counter[str] = field(default_factory=Counter)
    values: dict[str, dict[int, float]] = field(default_factory=dict)  # metric -> seed -> value
    series: dict[str, int] = field(default_factory=dict)  # metric -> n, the fewest over seeds
    noise: dict[str, float] = field(default_factory=dict)  # metric -> its own sd: over metric seeds, within a run
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

    def interval(self, metric: str) -> Interval:
        """Mean and interval over the seeds that finished."""
        if metric not in self._intervals:  # a page asks for each several times
            self._intervals[metric] = interval(list(self.values.get(metric, {}).values()))
        return self._intervals[metric]

    def text(self, metric: str) -> str:
        """Mean and interval as they are printed, with the number of seeds if some are missing; "-" where all are."""
        if metric not in self._texts:
            found, total = self.interval(metric), self.status.total()
            few = f" ({found.n} of {total} seeds)" if found.n < total else ""
            self._texts[metric] = with_interval(found) + few if found.n else "-"
        return self._texts[metric]


def plain(value: Any) -> str:
    """A setting as a reader writes it: 900, not 900.0."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:g}"
    return "none" if value is None or value is pd.NA or value != value else str(value)


def is_setting(column: str) -> bool:
    """Whether a column of the runs table is a hyper-parameter; how a run is measured is none."""
    return column not in RUN_COLUMNS and not column.startswith(("version_", "evaluate."))


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


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


def _fewest(selection: Selection, scalars: pd.DataFrame) -> np.ndarray:
    """n of every number in `scalars`; infinite where none is stated."""
    ends = selection.metrics.loc[selection.metrics["coordinate"] == "", ["run_id", "metric", "n"]]
    rows, columns = _places(ends["run_id"], scalars.index), _places(ends["metric"], scalars.columns)
    counts = np.full(scalars.shape, np.inf)
    good = (rows >= 0) & (columns >= 0)
    counts[rows[good], columns[good]] = ends["n"].to_numpy(dtype=float)[good]
    return counts


def _places(column: pd.Series, index: pd.Index) -> np.ndarray:
    """Where the words of a column stand in an index, -1 where they do not; each word is looked up once."""
    words = pd.Categorical(column)
    return index.get_indexer(words.categories.astype(str))[words.codes]


def cells_of(selection: Selection) -> list[Cell]:
    """All cells, in the sweep's order of labels, then by their settings."""
    runs = selection.runs
    if not len(runs):
        return []
    scalars = per_run(selection)
    names, counts = [str(name) for name in scalars.columns], _fewest(selection, scalars)
    numbers, place_of = scalars.to_numpy(dtype=float), {run: place for place, run in enumerate(scalars.index.tolist())}
    illusions, noise = _illusions(selection, scalars), _metric_noise(selection)
    varying: dict[str, list[str]] = {}
    hyper = [name for name in runs.columns if is_setting(name)]
    for label, same in runs.groupby("label", sort=False):
        varying[str(label)] = [name for name in hyper if same[name].drop_duplicates().map(plain).nunique() > 1]

    fixed = ["run_id", "dataset", "shuffle", "backbone", "label", "method", "kind", "seed", "status"]
    wanted = {*fixed, *COSTS, *(name for names in varying.values() for name in names)}
    members: dict[tuple[Any, ...], list[dict[Any, Any]]] = {}
    columns = [str(name) for name in runs.columns if name in wanted]
    for values in zip(*(runs[name].tolist() for name in columns), strict=True):  # a third of the time of `to_dict`
        row = dict(zip(columns, values, strict=True))
        place = (str(row["dataset"]), bool(row["shuffle"]), str(row["backbone"] or ""), str(row["label"]))
        members.setdefault((*place, *(plain(row[name]) for name in varying[place[3]])), []).append(row)

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
            settings={name: first[name] for name in varying[str(first["label"])] if not _missing(first[name])},
            seeds={str(row["run_id"]): int(row["seed"]) for row in rows},
            status=Counter(str(row["status"]) for row in rows),
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
        for seed, row in zip(seeds, finished, strict=True) if cell.kind == "method" else ():
            for cost in COSTS:
                if not _missing(row.get(cost)):
                    cell.values.setdefault(cost, {})[seed] = float(row[cost])
            own, permuted, end = (
                cell.values.get(name, {}).get(seed, math.nan) for name in ("nll_own", "nll_permuted", "dependency_end")
            )
            cell.verdicts[verdict(own, permuted, end)] += 1
            cell.illusions[illusions.get(str(row["run_id"]), "-")] += 1
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


# ---------------------------------------------------------------- groups


class Column(NamedTuple):
    """One column of a comparison table."""

    metric: str
    title: str
    unit: str
    direction: Literal["lower", "higher", "none"]
    about: str = ""

    @property
    def first(self) -> bool:
        """Whether a narrow table shows it."""
        return self.metric in NARROW


@dataclass(frozen=True)
class Group:
    """One comparison table."""

    id: str
    dataset: str
    shuffle: bool
    backbone: str
    cells: list[Cell]
    references: list[Cell]
    columns: list[Column]
    standings: dict[str, dict[str, Standing]]  # metric -> cell id -> standing

    @property
    def name(self) -> str:
        """ "energy · shuffled · lstm"."""
        return " · ".join(filter(None, [self.dataset, "shuffled" if self.shuffle else "", self.backbone]))

    @property
    def quality(self) -> list[Column]:
        """The columns in which there is a best."""
        return [column for column in self.columns if column.direction != "none"]

    def best(self, metric: str) -> Cell | None:
        """The cell with the best mean."""
        places = self.standings.get(metric, {})
        return next((cell for cell in self.cells if cell.id in places and places[cell.id].place == "best"), None)

    @cached_property
    def best_settings(self) -> dict[str, Cell]:
        """Label -> the setting with the best mean of the first quality column; the first one where there is none."""
        column = next(iter(self.quality), None)
        places = self.standings[column.metric] if column else {}
        found: dict[str, Cell] = {}
        for cell in self.cells:
            held = found.get(cell.label)
            if held is None or 0 < _rank(places, cell) < (_rank(places, held) or 10**9):
                found[cell.label] = cell
        return found

    def n_of(self, metric: str) -> str:
        """Series behind a column: "1000", or "200 to 1000" where cells differ."""
        found = sorted({cell.series[metric] for cell in self.cells + self.references if cell.series.get(metric)})
        return "" if not found else str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"

    def floor(self, metric: str, label: str = "floor_shift") -> Interval | None:
        """The mean of a reference row."""
        cell = next((cell for cell in self.references if cell.label == label and cell.values.get(metric)), None)
        return cell.interval(metric) if cell else None


FIRST = ("sliced_wasserstein", "wasserstein", "mmd2")
"""The quality columns, first the one that ranks; others follow by name."""

NARROW = {*FIRST, "c2st_auc", "nll_gap", "dependency_end", "train_seconds"}
"""Columns that answer the question; a page shows the others when asked."""


def _columns(cells: Sequence[Cell], facts: Mapping[str, MetricFacts]) -> list[Column]:
    present = {metric for cell in cells for metric in cell.values}

    def column(metric: str) -> Column:
        fact = facts.get(metric, MetricFacts())
        return Column(metric, title_of(metric), fact.unit, fact.direction, fact.about)

    quality = {name for name in present if facts.get(name, MetricFacts()).needs == "samples" and name in facts}
    first = [name for name in FIRST if name in present and name in facts]
    ordered = first + sorted(quality - set(first))
    latent = [name for name in LATENT if name in present]
    costs = [Column(name, *COSTS[name], "none", COST_OF) for name in COSTS if name in present]
    own = facts.get("nll_own", MetricFacts()).unit
    extra = {"nll_gap": own, "dependency_end": ""}
    return (
        [column(name) for name in ordered]
        + [
            Column(n, SHORT[n], extra[n], "none", DERIVED[n]) if n in extra else column(n)._replace(direction="none")
            for n in latent
        ]
        + costs
    )


def groups_of(cells: Sequence[Cell], facts: Mapping[str, MetricFacts]) -> list[Group]:
    """One group per data set, shuffle and backbone; the best and its ties per quality column."""
    places = dict.fromkeys((c.dataset, c.shuffle, c.backbone) for c in cells if c.kind == "method")
    groups: list[Group] = []
    for dataset, shuffle, backbone in sorted(places):
        same = [c for c in cells if c.dataset == dataset and c.shuffle == shuffle]
        mine = [c for c in same if c.kind == "method" and c.backbone == backbone]
        references = [c for c in same if c.kind != "method"]
        columns = _columns(mine, facts)
        found: dict[str, dict[str, Standing]] = {}
        for column in columns:
            if column.direction != "none":
                values = {cell.id: cell.values.get(column.metric, {}) for cell in mine}
                found[column.metric] = standings(values, column.direction)
        groups.append(Group(f"group-{len(groups) + 1}", dataset, shuffle, backbone, mine, references, columns, found))
    return groups


# ---------------------------------------------------------------- numbers and words


def number(value: float, half: float = math.nan) -> str:
    """A number as precise as it deserves: two digits of its interval, else three of its own."""
    if not math.isfinite(value):
        return "-"
    if abs(value) >= 1e6 or 0 < abs(value) < 1e-4:
        return f"{value:.2e}"
    scale = half if math.isfinite(half) and half > 1e-9 * abs(value) else abs(value) / 10
    decimals = 0 if scale == 0 else min(max(1 - math.floor(math.log10(scale)), 0), 5)
    return f"{value:.{decimals}f}"


def with_interval(found: Interval) -> str:
    """ "0.172 ± 0.015", a bootstrap's uneven ends as "0.172 [0.160, 0.190]", or the mean alone."""
    if not math.isfinite(found.low):
        return number(found.mean)
    half = found.half if found.half > 1e-9 * abs(found.mean) else 0.0
    if abs(found.mean - (found.low + found.high) / 2) < 1e-9 * max(half, abs(found.mean), 1e-300):
        return f"{number(found.mean, half)} ± {number(half, half)}"
    return f"{number(found.mean, half)} [{number(found.low, half)}, {number(found.high, half)}]"


def counted(words: Counter[str]) -> str:
    """ "alive 2, partial 1", the most frequent first; one word alone when all agree."""
    known = Counter({word: count for word, count in words.items() if word != "-"})
    if not known:
        return "-"
    total = sum(words.values())
    if len(known) == 1 and sum(known.values()) == total:
        return f"{next(iter(known))} {total}/{total}"
    return ", ".join(f"{word} {count}/{total}" for word, count in sorted(known.items(), key=lambda kv: (-kv[1], kv[0])))


def ties_text(group: Group, column: Column) -> str:
    """Who is best in a column and what cannot be told from it, in one sentence; "" where there is no value."""
    best = group.best(column.metric)
    if best is None:
        return ""
    places = group.standings[column.metric]
    text = f"best mean: {best.name}, {best.text(column.metric)}"
    tied = [(cell, places[cell.id]) for cell in group.cells if places[cell.id].place == "tie"]
    tied.sort(key=lambda pair: pair[1].rank)
    if not tied:
        return text + ("; every other is worse (95 %)" if len(places) > 1 else "")
    named = []
    for cell, standing in tied[:3]:
        if standing.gap.n < 2:
            hint = "fewer than two shared seeds"
        elif standing.more is None:
            hint = "no number of seeds in sight"
        else:
            hint = f"about {standing.more} more seed{'s' if standing.more > 1 else ''}"
        named.append(f"{cell.name} ({hint})")
    rest = f" and {len(tied) - 3} more" if len(tied) > 3 else ""
    return f"{text}; not resolved against {', '.join(named)}{rest}"


def _by_label(group: Group, chosen: Sequence[Cell]) -> str:
    """Cells as a reader counts them: "proposed (20 of its 24 settings), kl_annealing"."""
    settings, mine = Counter(cell.label for cell in group.cells), Counter(cell.label for cell in chosen)
    named = [
        label if settings[label] == 1 else f"{label} ({count} of its {settings[label]} settings)"
        for label, count in mine.items()
    ]
    return ", ".join(named)


BASELINE = "latent_diffusion"
"""What a mitigation is compared with."""

VERDICTS = ("alive", "partial", "collapsed", "mixed over seeds", "not measured")


def verdict_of(cell: Cell) -> str:
    """One word for all seeds of a cell, those that did not end well included."""
    words = set(cell.verdicts)
    return "not measured" if words <= {"-"} else words.pop() if len(words) == 1 else "mixed over seeds"


def _rank(places: Mapping[str, Standing], cell: Cell) -> int:
    return places[cell.id].rank if cell.id in places else 0


class Answer(NamedTuple):
    """What the numbers allow to be said about one thing."""

    about: str
    sentences: list[str]


def compared(groups: Sequence[Group]) -> list[Group]:
    """The groups that the headline counts: ordered data, unless all of them are shuffled."""
    return [group for group in groups if not group.shuffle] or list(groups)


def headline(groups: Sequence[Group], selection: Selection) -> list[Answer]:
    """The three questions over all data sets: does the latent live, are the samples better, how sure is that."""
    chosen = compared(groups)
    found = [
        Answer("Which method keeps its latent?", _who_lives(chosen)),
        Answer("Does it sample better?", _who_samples_better(chosen)),
        Answer("How sure is that?", _how_sure(groups, selection)),
    ]
    return [about for about in found if about.sentences]


class Mark(NamedTuple):
    """What the overview says of one method on one data set."""

    cell: Cell
    verdict: str
    value: str  # of the first quality column
    place: str


def overview(groups: Sequence[Group]) -> dict[str, list[Mark | None]]:
    """Label -> a mark per group for its best setting there; None where the group lacks the label."""
    settings = [group.best_settings for group in groups]
    found: dict[str, list[Mark | None]] = {}
    for label in dict.fromkeys(label for cells in settings for label in cells):
        found[label] = []
        for group, cells in zip(groups, settings, strict=True):
            column, cell = next(iter(group.quality), None), cells.get(label)
            if cell is None:
                found[label].append(None)
                continue
            value = cell.text(column.metric) if column else "-"
            place = group.standings[column.metric][cell.id].place if column else "none"
            found[label].append(Mark(cell, verdict_of(cell), value, place))
    return found


def _who_lives(groups: Sequence[Group]) -> list[str]:
    seen: dict[str, Counter[str]] = {}
    for group in groups:
        for label, cell in group.best_settings.items():
            seen.setdefault(label, Counter())[verdict_of(cell)] += 1
    profiles: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for label, words in seen.items():
        profile = tuple((word, words[word]) for word in VERDICTS if words[word])
        profiles.setdefault(profile, []).append(label)
    sentences = []
    for profile in sorted(profiles, key=lambda profile: (len(profile), VERDICTS.index(profile[0][0]))):
        total = _of(sum(count for _, count in profile), groups)
        words_ = profile[0][0] if len(profile) == 1 else ", ".join(f"{word} on {count}" for word, count in profile)
        where = f"on {total}" if len(profile) == 1 else f"of {total}"
        sentences.append(f"{words_.capitalize()} {where}: {', '.join(profiles[profile])}.")
    return sentences


def _of(count: int, groups: Sequence[Group]) -> str:
    """ "4 data sets"; where there are several backbones, pairs are counted; one is called by its name."""
    if len(groups) == 1:
        return groups[0].name
    kind = "data sets" if len({group.backbone for group in groups}) == 1 else "pairs of data set and backbone"
    return f"{count} {kind}"


def _who_samples_better(groups: Sequence[Group]) -> list[str]:
    """Every method's best setting against the baseline, paired over seeds; and whose samples are best."""
    ranked = [group for group in groups if group.quality]
    if not ranked:
        return []
    column = ranked[0].quality[0]
    measure = LONG.get(column.metric, column.title)
    gaps = _against_baseline(ranked, column)
    scored = {c.label for group in ranked for c in group.best_settings.values() if c.values.get(column.metric)}
    outcomes: dict[str, list[str]] = {"better": [], "worse": [], "not resolved": []}
    for label, found in gaps.items():
        if label not in scored:
            continue
        better, worse = sum(gap.high < 0 for gap in found), sum(gap.low > 0 for gap in found)
        for word, count in (("better", better), ("worse", worse)):
            if count:
                outcomes[word].append(f"{label} ({count} of {len(found)})" if len(ranked) > 1 else label)
        if not better and not worse:
            outcomes["not resolved"].append(label)
    sentences = [
        f"{start} {BASELINE} by the {measure}: {', '.join(outcomes[word])}."
        for word, start in (("better", "Better than"), ("worse", "Worse than"), ("not resolved", "Not told from"))
        if outcomes[word]
    ]
    if silent := [label for label in gaps if label not in scored]:
        sentences.append(f"No finished run to compare: {', '.join(silent)}.")
    best = [(cell, group) for group in ranked if (cell := group.best(column.metric))]
    words = Counter(verdict_of(cell) for cell, _ in best)
    if len(best) == 1:
        sentences.append(f"The best mean is that of {best[0][0].name}, whose latent is {next(iter(words))}.")
    elif best:
        counts = ", ".join(f"{word} on {words[word]}" for word in VERDICTS if words[word])
        sentences.append(f"The latent of the method with the best mean is {counts} of {_of(len(best), ranked)}.")
    return sentences


def _against_baseline(groups: Sequence[Group], column: Column) -> dict[str, list[Interval]]:
    """Label -> its best setting minus the baseline's, per group, below 0 where it is better; paired over seeds.

    Widened for every comparison that could have been made (Bonferroni): the numbers that choose a setting judge it.
    """
    sign = 1.0 if column.direction == "lower" else -1.0
    pairs: list[tuple[str, Cell, Cell]] = []
    count = 0
    for group in groups:
        cells = group.best_settings
        base = cells.get(BASELINE)
        settings = Counter(cell.label for cell in group.cells)
        count += sum(settings[label] * settings[BASELINE] for label in cells if label != BASELINE)
        pairs += [(label, cell, base) for label, cell in cells.items() if base is not None and cell is not base]
    found: dict[str, list[Interval]] = {}
    for label, *both in pairs:
        mine, other = ({seed: sign * v for seed, v in c.values.get(column.metric, {}).items()} for c in both)
        found.setdefault(label, []).append(difference(mine, other, 1 - 0.05 / count))
    return found


def _how_sure(groups: Sequence[Group], selection: Selection) -> list[str]:
    counts = sorted({cell.ok for group in groups for cell in group.cells} - {0})
    sentences = []
    if counts == [1]:
        sentences.append("One seed: no interval, so nothing here is resolved; give it more before concluding.")
    elif counts:
        seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        few = " With so few, intervals are wide; give it more before concluding." if counts[0] < 3 else ""
        sentences.append(
            f"{seeds} seeds behind a number. Better and worse are said at 95 %, paired over seeds and corrected for "
            f"the number of comparisons; what is not told apart may differ all the same.{few}"
        )
    runs = selection.runs
    if selection.pending:
        sentences.append(f"{selection.pending} runs of this sweep have not finished yet.")
    bad = Counter(runs["status"].astype(str)) if len(runs) else Counter()
    bad.pop("ok", None)
    if bad:
        sentences.append("Not every run ended well: " + ", ".join(f"{n} {word}" for word, n in bad.most_common()) + ".")
    return sentences


def answer(groups: Iterable[Group]) -> list[Answer]:
    """One data set after the other, never more than the numbers allow."""
    found = []
    for group in groups:
        words: dict[str, list[Cell]] = {}
        for cell in group.cells:
            words.setdefault(verdict_of(cell), []).append(cell)
        kinds = [f"{word}: {_by_label(group, words[word])}" for word in VERDICTS if word in words]
        sentences = [f"Latent {'; '.join(kinds)}."]
        column = next(iter(group.quality), None)
        if column is not None and (ties := ties_text(group, column)):
            floor = group.floor(column.metric)
            beside = f" Floor (train against test): {number(floor.mean)}." if floor is not None else ""
            sentences.append(f"{column.title}: {ties}.{beside}")
        illusions = [cell for cell in group.cells if cell.illusions["yes"]]
        if illusions:
            sentences.append(f"Dependency illusion: {_by_label(group, illusions)}.")
        found.append(Answer(group.name, sentences))
    return found


def recommendations(group: Group) -> list[str]:
    """For every method with several settings: which one, and how many others cannot be told from it.

    Among settings whose latent is alive in every seed, where there are any, the best mean of the first quality column.
    """
    column = next(iter(group.quality), None)
    lines = []
    for label in dict.fromkeys(cell.label for cell in group.cells):
        cells = [cell for cell in group.cells if cell.label == label and column and cell.values.get(column.metric)]
        if column is None or column.direction == "none" or len(cells) < 2:
            continue
        alive = [cell for cell in cells if verdict_of(cell) == "alive"]
        pool = alive or cells
        places = standings({cell.id: cell.values[column.metric] for cell in pool}, column.direction)
        best = next(cell for cell in pool if places[cell.id].place == "best")
        ties = sum(standing.place == "tie" for standing in places.values())
        whose = f"{len(alive)} settings whose latent is alive" if alive else f"{len(cells)} settings (none is alive)"
        value = best.text(column.metric)
        lines.append(
            f"{group.name}, {label}: {best.variant}, the best mean {column.title} ({value}) of {whose}; "
            f"{ties or 'none'} of the others cannot be told from it."
        )
    return lines


def collapse_began(selection: Selection, groups: Iterable[Group]) -> list[str]:
    """When the latent fell silent: the first check from which permuted - own NLL stays below `gap_collapsed`."""
    history = selection.history
    wide = scalars_by(history[history["metric"].isin(["nll_own", "nll_permuted"])], ["run_id", "train_step"])
    if not {"nll_own", "nll_permuted"} <= set(wide.columns):
        return []
    differences = (wide["nll_permuted"] - wide["nll_own"]).dropna()
    gaps: dict[str, list[tuple[int, float]]] = {}  # run -> (update, gap), in the order of updates
    for (run, step), gap in zip(differences.index, differences.tolist(), strict=True):
        gaps.setdefault(str(run), []).append((int(step), gap))
    lines = []
    for group in groups:
        for cell in group.cells:
            mine = [gaps[run] for run in cell.seeds if run in gaps]
            silent = [checks for checks in mine if checks[-1][1] < THRESHOLDS.gap_collapsed]
            if not silent:
                continue
            last = [
                max((k for k, (_, gap) in enumerate(c) if gap >= THRESHOLDS.gap_collapsed), default=-1) for c in silent
            ]
            at = sorted(checks[k + 1][0] for checks, k in zip(silent, last, strict=True) if k >= 0)
            words = [f"never informed x at any check in {len(silent) - len(at)}"] if len(at) < len(silent) else []
            if at:
                when = str(at[0]) if at[0] == at[-1] else f"{at[0]} to {at[-1]}"
                words.append(f"fell silent for good at update {when} in {len(at)}")
            lines.append(f"{group.name}, {cell.name}: the latent {' and '.join(words)} of {len(mine)} runs.")
    return lines


WHOSE = ("dataset", "shuffle", "backbone", "kind", "label", "setting")
NUMBERS = ("metric", "mean", "low", "high", "sd", "seeds", "sd_over_metric_seeds", "series", "place", "more_seeds")
WORDS = ("verdict", "dependency_illusion")
"""The columns of the table of everything: whose a number is, the number, and what is said of the cell."""


def long_table(groups: Iterable[Group]) -> pd.DataFrame:
    """Every number of every comparison table, one row each."""
    wholes: list[tuple[Any, ...]] = []  # what is the same in all rows of a cell
    rows: list[tuple[Any, ...]] = []
    none = Standing("none")
    for group in groups:
        shown = dict.fromkeys(column.metric for column in group.columns)
        for cell in group.cells + group.references:
            words = counted(cell.verdicts), counted(cell.illusions)
            for metric in {**shown, **dict.fromkeys(sorted(cell.values))}:
                if metric in cell.values:
                    standing = group.standings.get(metric, {}).get(cell.id, none)
                    noise, series = cell.noise.get(metric, math.nan), cell.series.get(metric, 0)
                    place = standing.place, standing.more
                    rows.append((len(wholes), metric, *cell.interval(metric), noise, series, *place))
            wholes.append((cell.dataset, cell.shuffle, group.backbone, cell.kind, cell.label, cell.variant, *words))
    numbers = pd.DataFrame(rows, columns=["cell", *NUMBERS]).astype({"cell": int})
    whole = pd.DataFrame(wholes, columns=[*WHOSE, *WORDS])
    return numbers.join(whole, on="cell")[[*WHOSE, *NUMBERS, *WORDS]]


def wide_table(group: Group) -> pd.DataFrame:
    """One comparison table as it is printed, floors and controls last."""
    cells = group.cells + group.references
    table: dict[str, list[str]] = {
        "": ["" if cell.kind == "method" else "reference" for cell in cells],
        "method": [cell.name for cell in cells],
        "seeds": [f"{cell.ok}/{cell.status.total()}" for cell in cells],
    }
    noisy = {metric for cell in group.cells for metric in cell.noise}
    for metric, title in ((column.metric, column.title) for column in group.columns):
        table[title] = [cell.text(metric) for cell in cells]
        if metric in noisy:
            table[f"{title}, sd over metric seeds"] = [number(cell.noise.get(metric, math.nan)) for cell in cells]
    table["verdict"] = [counted(cell.verdicts) for cell in cells]
    table["dependency illusion"] = [counted(cell.illusions) for cell in cells]
    return pd.DataFrame(table)
