"""All data sets at once: interquartile means, and how probably a run of one method is better than one of another.

Source: Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice, arXiv:2108.13264; the
estimators are those of its code (google-research/rliable, metrics.py), which has another resampling of seeds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from bench.report.cautions import is_reference
from bench.report.columns import Column, in_order
from bench.report.formatting import number
from bench.report.ranking import BASELINE, Group, floor_of
from bench.report.statements import compared
from bench.report.statistics import by_unit

Scores: TypeAlias = Mapping[str, Mapping[str, Mapping[int, float]]]
"""Data set -> method -> repeat -> value, lower is better."""

WITHOUT = "no_latent"
"""The method whose decoder has no latent: what any latent is compared with."""

LEAST_DATASETS = 3
LEAST_REPEATS = 2
REPLICATIONS = 1000


class Range(NamedTuple):
    """An estimate and its 95 % interval, the percentiles of a bootstrap over the repeats within each data set."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """ "0.172 (0.151 to 0.208)"."""
        value, low, high = (number(each, (self.high - self.low) / 2) for each in self)
        return f"{value} ({low} to {high})"


class Aggregate(NamedTuple):
    """One method over all data sets."""

    name: str
    mean: Range  # interquartile, of all runs together
    better: Mapping[str, Range]  # other method -> the probability that a run is better than one of it


class Aggregates(NamedTuple):
    """Methods by their interquartile mean, the best first, and what was counted."""

    methods: list[Aggregate]
    datasets: list[str]
    repeats: int  # of each method on each data set
    left_out: list[str]  # methods that lack some of these data sets
    measure: str = ""
    backbone: str = ""

    @property
    def against(self) -> list[str]:
        """The methods that all others are compared with."""
        return list(dict.fromkeys(name for each in self.methods for name in each.better))


def over_datasets(groups: Sequence[Group]) -> list[Aggregates]:
    """For each backbone all data sets in the order of time, in the measure that ranks, minus its floor.

    The best setting on a data set stands for a method. Several options of one data set are one: their mean.
    Initialisations of one split are averaged, and the splits are the repeats. Reference generators are not counted.
    """
    chosen, found = compared(groups), []
    columns = in_order({column.metric: column for group in chosen for column in group.quality}.values())
    for backbone in dict.fromkeys(group.backbone for group in chosen):
        here = [group for group in chosen if group.backbone == backbone]
        if columns and (all_together := aggregates(*_scores(here, columns[0]), [BASELINE, WITHOUT])):
            found.append(all_together._replace(backbone=backbone))
    return found


def _scores(groups: Sequence[Group], column: Column) -> tuple[Scores, str]:
    """What is compared, and how it is called."""
    floors = [floor_of(group.references, column.metric) for group in groups]
    sign = 1.0 if column.direction == "lower" else -1.0
    options: dict[str, dict[str, dict[int, list[float]]]] = {}
    for group, floor in zip(groups, floors, strict=True):
        for cell in group.best_settings.values():
            if is_reference(cell):
                continue
            least = floor.values[column.metric] if floor and all(floors) else None
            values = cell.values.get(column.metric, {})
            above = {
                seed: value - (least[seed] if least else 0.0)
                for seed, value in values.items()
                if not least or seed in least
            }
            repeats = options.setdefault(group.dataset.partition(",")[0], {}).setdefault(cell.label, {})
            for repeat, value in by_unit(above, cell.repeats.units).items():
                repeats.setdefault(repeat, []).append(sign * value)
    scores = {
        name: {label: {repeat: float(np.mean(v)) for repeat, v in of.items()} for label, of in row.items()}
        for name, row in options.items()
    }
    measure = f"{column.title}{' minus its floor' if all(floors) else ''}"
    return scores, measure if sign > 0 else f"minus the {measure}"


def aggregates(scores: Scores, measure: str = "", against: Sequence[str] = ()) -> Aggregates | None:
    """Every method over the data sets, and against the named ones. None below three data sets with two repeats each.

    Where methods lack data sets, the largest table without gaps is taken. Of each data set as many repeats count as all
    methods have on all data sets, the first ones. Each method's repeats are resampled by themselves within each data
    set. So an interval is about further seeds of these data sets, and not about other data sets; that methods share the
    windows of a seed, it does not use.

    >>> scores = {name: {"a": {0: 0.1, 1: 0.3}, "b": {0: 0.2, 1: 0.4}} for name in ("x", "y", "z")}
    >>> found = aggregates(scores, against=["b"])
    >>> [(each.name, round(each.mean.value, 3), each.better["b"].value) for each in found.methods if each.better]
    [('a', 0.2, 0.75)]
    """
    methods, common = _block(scores)
    if len(common) < LEAST_DATASETS or len(methods) < 2:
        return None
    datasets = list(common)
    repeats = min(len(common[name]) for name in datasets)
    values = np.asarray(
        [[[scores[name][m][repeat] for repeat in common[name][:repeats]] for name in datasets] for m in methods]
    )  # (methods, data sets, repeats)
    rng = np.random.default_rng(0)  # noqa: TID251 (bench.randomness imports torch, which no report needs)
    rivals = {name: values[methods.index(name)] for name in against if name in methods}
    found = []
    for name, mine in zip(methods, values, strict=True):
        better = {other: _probability(rng, mine, theirs) for other, theirs in rivals.items() if other != name}
        found.append(Aggregate(name, _mean(rng, mine), better))
    named = dict.fromkeys(method for row in scores.values() for method in row)
    left_out = [method for method in named if method not in methods]
    return Aggregates(sorted(found, key=lambda each: each.mean.value), datasets, repeats, left_out, measure)


def _block(scores: Scores) -> tuple[list[str], dict[str, list[int]]]:
    """The methods and data sets, with the repeats that these methods have in common: the largest table without gaps."""
    count = Counter(m for row in scores.values() for m, of in row.items() if len(of) >= LEAST_REPEATS)
    largest: tuple[list[str], dict[str, list[int]]] = [], {}
    for least in sorted(set(count.values())):
        methods = [method for method in count if count[method] >= least]
        rows = {name: [set(row.get(method, {})) for method in methods] for name, row in scores.items()}
        common = {name: sorted(set.intersection(*repeats)) for name, repeats in rows.items()}
        complete = {name: repeats for name, repeats in common.items() if len(repeats) >= LEAST_REPEATS}
        if len(complete) >= LEAST_DATASETS and len(methods) * len(complete) > len(largest[0]) * len(largest[1]):
            largest = methods, complete
    return largest


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """The mean of each row (B, n) without its lowest and highest quarter, rounded down: (B,).

    >>> interquartile_mean(np.asarray([[9.0, 1.0, 2.0, 3.0, -5.0]]))
    array([2.])
    """
    from scipy.stats import trim_mean  # half a second to import, and few reports have several data sets

    return np.asarray(trim_mean(values, 0.25, axis=1))


def _mean(rng: np.random.Generator, runs: np.ndarray) -> Range:
    """The interquartile mean of runs (data sets, repeats)."""
    (value,) = interquartile_mean(runs.reshape(1, -1))
    again = [of[rng.integers(len(of), size=(REPLICATIONS, len(of)))] for of in runs]
    return _range(value, interquartile_mean(np.concatenate(again, axis=1)))


def _probability(rng: np.random.Generator, runs: np.ndarray, others: np.ndarray) -> Range:
    """That a run is below one of another method on its data set, ties counted half; the mean over data sets."""
    values, again = [], []
    for ours, theirs in zip(runs, others, strict=True):
        n = len(ours)
        wins = (ours[:, None] < theirs) + 0.5 * (ours[:, None] == theirs)
        # how often each repeat is drawn in each replication, so that no array is larger than (replications, repeats)
        one, other = (rng.multinomial(n, np.full(n, 1 / n), size=REPLICATIONS) for _ in range(2))
        values.append(wins.mean())
        again.append((one @ wins * other).sum(axis=1) / n**2)
    return _range(np.mean(values), np.mean(again, axis=0))


def _range(value: Any, again: np.ndarray) -> Range:
    low, high = np.percentile(again, [2.5, 97.5])
    return Range(float(value), float(low), float(high))
