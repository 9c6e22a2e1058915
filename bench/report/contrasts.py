"""Stated contrasts: one method against another over all data sets, with the data set as the unit.

A contrast is stated in the sweep file before its runs are made. On every data set the two methods are paired over
seeds. The mean of these differences over data sets has a t interval whose n is the number of data sets, because a
statement about methods generalises over data sets, and not over seeds. Measures are compared as they are: both methods
have the same floor on a seed, so that the difference of two values minus their floors is the same number.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from bench.contracts import Contrast
from bench.report.cautions import COPIES, copies, not_converged, uncalibrated
from bench.report.cells import Cell
from bench.report.columns import Column, in_order, title_of
from bench.report.formatting import number, plural, signed
from bench.report.ranking import Group
from bench.report.selection import Selection
from bench.report.statements import compared, listed
from bench.report.statistics import (
    EACH_ITS_OWN,
    Comparison,
    Gap,
    Interval,
    Repeats,
    difference,
    judge,
    paired,
)


class Sides(NamedTuple):
    """Both sides of a contrast on one data set, in one measure: seed -> value."""

    of: Mapping[int, float]
    against: Mapping[int, float]
    repeats: Repeats = EACH_ITS_OWN
    saturated: float = math.inf  # see `bench.report.statistics.paired`

    @property
    def gap(self) -> Gap:
        """Their difference, paired over seeds."""
        return paired(self.of, self.against, self.repeats, self.saturated)

    @property
    def seeds(self) -> Set[int]:
        """The seeds that both have."""
        return self.of.keys() & self.against.keys()

    @property
    def first_half(self) -> Sides:
        """The first half of the repeats, rounded down, at least one; a split has all its initialisations."""
        seeds = self.of.keys() | self.against.keys()
        units = {seed: self.repeats.units.get(seed, seed) for seed in seeds}
        repeats = sorted(set(units.values()))
        first = set(repeats[: max(len(repeats) // 2, 1)])
        return self.without({seed for seed in seeds if units[seed] not in first})

    def without(self, seeds: Set[int]) -> Sides:
        """Both sides without some seeds."""
        of, against = (
            {seed: value for seed, value in side.items() if seed not in seeds} for side in (self.of, self.against)
        )
        return self._replace(of=of, against=against)


def pooled(datasets: Mapping[str, Sides]) -> Gap:
    """The mean over data sets of their mean differences; a repeat is a data set that has both sides.

    Several options of one data set ("energy,window=24", "energy,window=48") are one repeat, their mean.
    """
    gaps = {name: sides.gap for name, sides in datasets.items()}
    means: dict[str, list[float]] = {}
    for name, sides in datasets.items():
        if sides.seeds:
            means.setdefault(name.partition(",")[0], []).append(gaps[name].at(0.95).mean)
    repeats = {place: float(np.mean(members)) for place, members in enumerate(means.values())}
    nothing = dict.fromkeys(repeats, 0.0)

    def at(confidence: float) -> Interval:
        return difference(repeats, nothing, confidence)

    lacks, other_lacks = any(gap.lacks for gap in gaps.values()), any(gap.other_lacks for gap in gaps.values())
    return Gap(at, lacks, other_lacks, all(gaps[name].saturated for name, sides in datasets.items() if sides.seeds))


class Question(NamedTuple):
    """A contrast on one backbone."""

    contrast: Contrast
    backbone: str


Family: TypeAlias = Mapping[Question, Mapping[str, Sides]]
"""Questions that are tested together -> data set -> both sides in one measure."""


class Finding(NamedTuple):
    """The answer to one question in one measure."""

    pooled: Comparison  # its repeats are data sets
    datasets: Mapping[str, Comparison]  # each by itself, corrected for the questions asked of that data set


def answers(family: Family, column: Column, bound: float = math.nan) -> dict[Question, Finding]:
    """Every question of a family, corrected by Holm for all of them; bound: see `judge`."""
    if column.direction == "none":
        raise ValueError(f"{column.metric} has no better side")
    names = {str(place): question for place, question in enumerate(family)}
    over_all = judge({name: pooled(family[q]) for name, q in names.items()}, column.direction, bound)
    datasets = dict.fromkeys(dataset for sides in family.values() for dataset, both in sides.items() if both.seeds)
    by_dataset: dict[str, dict[str, Comparison]] = {}
    for dataset in datasets:
        gaps = {name: family[q][dataset].gap for name, q in names.items() if dataset in family[q]}
        by_dataset[dataset] = judge(gaps, column.direction, bound)
    return {
        question: Finding(
            over_all[name],
            {d: found[name] for d, found in by_dataset.items() if name in found and found[name].difference.n},
        )
        for name, question in names.items()
    }


@dataclass(frozen=True)
class Stated:
    """One question, its answer in the measure that ranks, and what that answer depends on."""

    question: Question
    name: str  # of the contrast, and of the backbone where there are several
    column: Column
    bound: float  # a difference below it does not matter; NaN where none is stated
    finding: Finding
    without: Mapping[str, Comparison]  # data set -> the pooled answer of the others
    first_half: Comparison  # the pooled answer of the first half of the repeats
    trained: Comparison | None  # the pooled answer without the seeds of such runs; None where every run is
    trained_sides: Mapping[str, Sides]
    others: Sequence[tuple[Column, Finding]]  # the same question in every other measure that ranks
    sides: Mapping[str, Sides]  # by data set
    uncounted: Sequence[str]  # data sets of the sweep that lack a side
    runs: Mapping[str, Mapping[str, int]]  # every data set, also one that the contrast leaves out -> run -> seed
    unconverged: Set[str]  # of these runs
    uncalibrated: Set[str]
    copying: Mapping[str, Sequence[str]]  # label -> the data sets on which its samples are copies

    @property
    def seeds(self) -> Mapping[str, int]:
        """Data set -> seeds that both sides have."""
        return {dataset: len(both.seeds) for dataset, both in self.sides.items() if both.seeds}

    @property
    def sides_text(self) -> str:
        """ "proposed − no_latent", with a sign after a method whose samples are copies."""
        labels = self.question.contrast.of, self.question.contrast.against
        return " − ".join(f"{label} {COPIES}" if label in self.copying else label for label in labels)

    @property
    def seeds_text(self) -> str:
        """ "10", or "8 to 10" where data sets differ."""
        counts = sorted(set(self.seeds.values())) or [0]
        return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"

    @property
    def counted(self) -> Set[str]:
        """The finished runs behind the answer."""
        return {run for dataset in self.seeds for run in self.runs[dataset]}

    def share(self, marked: Set[str]) -> str:
        """ "2 of 80 runs", of those behind the answer."""
        return f"{len(marked & self.counted)} of {len(self.counted)} runs"


def stated_contrasts(selection: Selection, groups: Sequence[Group]) -> list[Stated]:
    """Every contrast that the sweep states, on every backbone; none where nothing ranks."""
    chosen = compared(groups)
    columns = in_order({column.metric: column for group in chosen for column in group.quality}.values())
    if not columns or not selection.contrasts:
        return []
    backbones = list(dict.fromkeys(group.backbone for group in chosen))
    families: dict[bool, list[Question]] = {}
    for contrast in selection.contrasts:
        families.setdefault(contrast.secondary, []).extend(Question(contrast, backbone) for backbone in backbones)
    return [
        stated for _, questions in sorted(families.items()) for stated in _family(questions, chosen, columns, selection)
    ]


def _family(
    questions: Sequence[Question],
    groups: Sequence[Group],
    columns: Sequence[Column],
    selection: Selection,
) -> list[Stated]:
    primary, *others = columns
    bounds = selection.equivalence
    bound = bounds.get(primary.metric, math.nan)
    family = sides_of(questions, groups, primary)
    found = answers(family, primary, bound)
    datasets = dict.fromkeys(dataset for sides in family.values() for dataset in sides)
    without = {
        name: answers({q: {d: s for d, s in sides.items() if d != name} for q, sides in family.items()}, primary, bound)
        for name in datasets
    }
    half = {question: {d: both.first_half for d, both in sides.items()} for question, sides in family.items()}
    halved = answers(half, primary, bound)
    unconverged = not_converged(selection.runs)
    trained = {question: _trained(question, sides, groups, unconverged) for question, sides in family.items()}
    retold = answers(trained, primary, bound)
    elsewhere = [
        (column, answers(sides_of(questions, groups, column), column, bounds.get(column.metric, math.nan)))
        for column in others
    ]
    finished = set(selection.runs.loc[selection.runs["status"] == "ok", "run_id"])
    several = len({question.backbone for question in questions}) > 1
    stated = []
    for question in questions:
        everywhere = dataclasses.replace(question.contrast, without=())
        cells = _cells(question._replace(contrast=everywhere), groups)
        counted = [dataset for dataset, both in family[question].items() if both.seeds]
        runs = {
            dataset: {run: seed for cell in of_both for run, seed in cell.seeds.items() if run in finished}
            for dataset, of_both in cells.items()
        }
        stated.append(
            Stated(
                question,
                question.contrast.name + (f" ({question.backbone})" if several else ""),
                primary,
                bound,
                found[question],
                {name: each[question].pooled for name, each in without.items() if name in counted},
                halved[question].pooled,
                None if trained[question] == family[question] else retold[question].pooled,
                trained[question],
                [(column, each[question]) for column, each in elsewhere],
                family[question],
                [dataset for dataset in family[question] if dataset not in counted],
                runs,
                unconverged,
                {run for of_both in cells.values() for cell in of_both for run in _uncalibrated(cell)},
                _copying(cell for dataset in counted for cell in cells[dataset]),
            )
        )
    return stated


def _trained(
    question: Question, sides: Mapping[str, Sides], groups: Sequence[Group], unconverged: Set[str]
) -> dict[str, Sides]:
    """Both sides of a question without the seeds on which a run of either has not converged or is not calibrated."""
    cells = _cells(question, groups)
    marked = {
        dataset: {
            seed
            for cell in cells[dataset]
            for run, seed in cell.seeds.items()
            if run in unconverged or run in _uncalibrated(cell)
        }
        for dataset in sides
    }
    return {dataset: both.without(marked[dataset]) for dataset, both in sides.items()}


def _uncalibrated(cell: Cell) -> Set[str]:
    seeds = set(uncalibrated(cell))
    return {run for run, seed in cell.seeds.items() if seed in seeds}


def _copying(cells: Iterable[Cell]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for cell in cells:
        if copies(cell):
            found.setdefault(cell.label, []).append(cell.dataset)
    return found


def _cells(question: Question, groups: Sequence[Group]) -> dict[str, list[Cell]]:
    """Data set -> the cells of both sides."""
    labels = question.contrast.of, question.contrast.against
    return {
        group.dataset: [cell for cell in group.cells if cell.label in labels]
        for group in groups
        if group.backbone == question.backbone and question.contrast.covers(group.dataset)
    }


def sides_of(
    questions: Sequence[Question], groups: Sequence[Group], column: Column
) -> dict[Question, dict[str, Sides]]:
    """Both sides of every question in one measure, by data set; none of a label that has several settings."""
    found: dict[Question, dict[str, Sides]] = {}
    for question in questions:
        contrast, backbone = question
        found[question] = {}
        for group in (group for group in groups if group.backbone == backbone and contrast.covers(group.dataset)):
            of, against = (_values(group, label, column.metric) for label in (contrast.of, contrast.against))
            found[question][group.dataset] = Sides(of, against, group.repeats, column.saturated)
    return found


def _values(group: Group, label: str, metric: str) -> dict[int, float]:
    cells = [cell for cell in group.cells if cell.label == label]
    values = cells[0].values.get(metric, {}) if len(cells) == 1 else {}
    return {seed: value for seed, value in values.items() if np.isfinite(value)}


def sensitivity(one: Stated) -> list[str]:
    """What the answer to a question depends on, in sentences: data sets, seeds, the measure."""
    pooled = one.finding.pooled
    sentences = []
    if len(one.without) > 1:
        order = sorted(one.without.items(), key=lambda item: item[1].difference.mean)
        ends = [f"{number(each.difference.mean)} (without {name})" for name, each in (order[0], order[-1])]
        other = [f"{each.verdict} without {name}" for name, each in order if each.verdict != pooled.verdict]
        verdict = f"The verdict changes: {listed(other)}." if other else "The verdict stays the same."
        sentences.append(f"Without one of the data sets, the mean is {ends[0]} to {ends[1]}. {verdict}")
    if max(one.seeds.values(), default=0) > 1:
        half = one.first_half
        sentences.append(f"From the first half of the seeds: {signed(half.difference)}, {half.verdict}.")
    if one.trained is not None:
        found = f"{signed(one.trained.difference)}, {one.trained.verdict}"
        sentences.append(f"Without the seeds of runs that have not converged or are not calibrated: {found}.")
    for dataset, both in one.sides.items():
        labels = one.question.contrast.of, one.question.contrast.against
        values = both.of, both.against
        for label, mine, theirs in zip(labels, values, reversed(values), strict=True):
            if lost := len(theirs.keys() - mine.keys()):
                sentences.append(
                    f"On {dataset} {label} lacks {plural(lost, 'seed')} that the other side has, and a side that lacks "
                    "runs is not called better."
                )
    by_verdict: dict[str, list[str]] = {}
    for column, finding in one.others:
        by_verdict.setdefault(finding.pooled.verdict, []).append(title_of(column.metric))
    if by_verdict:
        words = "; ".join(f"{verdict} by {listed(names)}" for verdict, names in sorted(by_verdict.items()))
        sentences.append(f"In the other measures that rank: {words}.")
    for label, places in one.copying.items():
        sentences.append(f"The samples of {label} are copies of training windows on {listed(places)}.")
    if blind := [name for name, both in one.sides.items() if both.seeds and both.gap.saturated]:
        sentences.append(
            f"On {listed(blind)} both sides are so near the worst {title_of(one.column.metric)} that it cannot tell "
            "them apart, and equivalence is not said."
        )
    if one.uncounted:
        reason = "one side has no finished run, or several settings"
        sentences.append(f"Not counted, because {reason}: {listed(one.uncounted)}.")
    return sentences
