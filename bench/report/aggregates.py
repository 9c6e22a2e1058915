"""All data sets at once: interquartile means, and how probably a run of one method is better than one of another.

Source: Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice, arXiv:2108.13264; the
estimators are those of its code (google-research/rliable, metrics.py), which has another resampling of seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from bench.report.cautions import is_reference
from bench.report.ranking import BASELINE, Group, floor_of

Scores: TypeAlias = Mapping[str, Mapping[str, Mapping[int, float]]]
"""Data set -> method -> seed -> value, lower is better."""

WITHOUT = "no_latent"
"""The method whose decoder has no latent: what any latent is compared with."""

LEAST_DATASETS = 3
LEAST_SEEDS = 2
REPLICATIONS = 2000


class Range(NamedTuple):
    """An estimate and its 95 % interval, the percentiles of a bootstrap over seeds within each data set."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """ "0.17 (0.15 to 0.21)"."""
        value, low, high = (f"{each:.2f}".replace("-0.00", "0.00") for each in self)
        return f"{value} ({low} to {high})"


class Aggregate(NamedTuple):
    """One method over all data sets."""

    name: str
    mean: Range  # interquartile, of all runs together
    better: Mapping[str, Range]  # other method -> the probability that a run is better than one of it


class Aggregates(NamedTuple):
    """Methods by their interquartile mean, the best first, and what was counted."""

    methods: list[Aggregate]
    datasets: int
    runs: int  # of each method
    measure: str = ""
    against: tuple[str, ...] = ()


def over_datasets(groups: Sequence[Group]) -> Aggregates | None:
    """The measure that ranks, minus its floor where every data set has one, over all data sets in their own order.

    The best setting on a data set stands for a method, and there is a method for each backbone. Reference generators
    are not among them.
    """
    ordered = [group for group in groups if group.quality and not group.shuffle]
    if not ordered:
        return None
    column = ordered[0].quality[0]
    floors = [floor_of(group.references, column.metric) for group in ordered]
    sign, several = 1.0 if column.direction == "lower" else -1.0, len({group.backbone for group in ordered}) > 1
    scores: dict[str, dict[str, dict[int, float]]] = {}
    for group, floor in zip(ordered, floors, strict=True):
        least = floor.values[column.metric] if floor and all(floors) else None
        for cell in group.best_settings.values():
            if not is_reference(cell) and (values := cell.values.get(column.metric)):
                name = f"{cell.label} ({group.backbone})" if several else cell.label
                known = {seed: least[seed] if least else 0.0 for seed in values if least is None or seed in least}
                above = {seed: sign * (values[seed] - low) for seed, low in known.items()}
                scores.setdefault(group.dataset, {})[name] = above
    backbones = dict.fromkeys(f" ({group.backbone})" if several else "" for group in ordered)
    against = [f"{name}{backbone}" for name in (BASELINE, WITHOUT) for backbone in backbones]
    found = aggregates(scores, against)
    if found is None:
        return None
    measured = {each.name for each in found.methods}
    measure = f"{column.title}{' minus its floor' if all(floors) else ''}"
    measure = measure if column.direction == "lower" else f"minus the {measure}"
    return found._replace(measure=measure, against=tuple(name for name in against if name in measured))


def aggregates(scores: Scores, against: Sequence[str] = ()) -> Aggregates | None:
    """Every method over the data sets, and against the named ones. None below three data sets with two seeds each.

    Only data sets count on which every method has a value, and of these the seeds that all have. Each method's seeds
    are resampled by themselves within each data set. So an interval is about further seeds of these data sets, and not
    about other data sets; that methods share the windows of a seed, it does not use.

    >>> scores = {name: {"a": {0: 0.1, 1: 0.3}, "b": {0: 0.2, 1: 0.4}} for name in ("x", "y", "z")}
    >>> found = aggregates(scores, ["b"])
    >>> [(each.name, round(each.mean.value, 3), each.better["b"].value) for each in found.methods if each.better]
    [('a', 0.2, 0.75)]
    """
    methods = list(dict.fromkeys(method for row in scores.values() for method in row))
    tables = [_complete(row, methods) for row in scores.values()]
    tables = [table for table in tables if table.shape[1] >= LEAST_SEEDS]
    if len(tables) < LEAST_DATASETS or len(methods) < 2:
        return None
    rng = np.random.default_rng(0)  # noqa: TID251 (bench.randomness imports torch, which no report needs)
    rivals = {name: [table[methods.index(name)] for table in tables] for name in against if name in methods}
    found = []
    for m, name in enumerate(methods):
        mine = [table[m] for table in tables]
        better = {other: _probability(rng, mine, theirs) for other, theirs in rivals.items() if other != name}
        found.append(Aggregate(name, _mean(rng, mine), better))
    runs = sum(table.shape[1] for table in tables)
    return Aggregates(sorted(found, key=lambda each: each.mean.value), len(tables), runs)


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """The mean of each row (B, n) without its lowest and highest quarter, rounded down: (B,).

    >>> interquartile_mean(np.asarray([[9.0, 1.0, 2.0, 3.0, -5.0]]))
    array([2.])
    """
    cut = values.shape[1] // 4
    return np.asarray(np.sort(values, axis=1)[:, cut : values.shape[1] - cut].mean(axis=1))


def _complete(row: Mapping[str, Mapping[int, float]], methods: Sequence[str]) -> np.ndarray:
    """(methods, seeds) of the seeds that all methods have; without seeds where a method is missing."""
    seeds = set.intersection(*(set(row.get(method, {})) for method in methods))
    return np.asarray([[row[method][seed] for seed in sorted(seeds)] for method in methods if method in row])


def _mean(rng: np.random.Generator, runs: Sequence[np.ndarray]) -> Range:
    """The interquartile mean of the runs of all data sets."""
    (value,) = interquartile_mean(np.concatenate(runs)[None])
    again = [of[rng.integers(len(of), size=(REPLICATIONS, len(of)))] for of in runs]
    return _range(value, interquartile_mean(np.concatenate(again, axis=1)))


def _probability(rng: np.random.Generator, runs: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> Range:
    """That a run is below one of another method on its data set, ties counted half; the mean over data sets."""
    values, again = [], []
    for ours, theirs in zip(runs, others, strict=True):
        n = len(ours)
        wins = (ours[:, None] < theirs) + 0.5 * (ours[:, None] == theirs)
        # how often each seed is drawn in each replication: no more than (replications, seeds) at a time
        one, other = (rng.multinomial(n, np.full(n, 1 / n), size=REPLICATIONS) for _ in range(2))
        values.append(wins.mean())
        again.append((one @ wins * other).sum(axis=1) / n**2)
    return _range(np.mean(values), np.mean(again, axis=0))


def _range(value: Any, again: np.ndarray) -> Range:
    low, high = np.percentile(again, [2.5, 97.5])
    return Range(float(value), float(low), float(high))
