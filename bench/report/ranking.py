"""Which cells are compared, and which of them is the best of each column.

A group is what is compared: all cells of one data set, shuffle and backbone, beside the reference
rows (floors and controls) of that data. Reference generators stand among the cells and have no rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bench.contracts import ONE_SPLIT
from bench.report.cautions import is_reference
from bench.report.cells import Cell
from bench.report.columns import Column, MetricFacts, columns_of
from bench.report.statistics import (
    ALPHA,
    EACH_ITS_OWN,
    NOTHING,
    Comparison,
    Interval,
    Repeats,
    Standing,
    comparisons,
    difference,
    standings,
)

BASELINE = "latent_diffusion"
"""What a mitigation is compared with."""

FLOORS = {
    "floor_held_out": "training windows against windows held out of the training blocks",
    "floor_shift": "training against test windows",
    "half_against_half": "a random half of the training windows against the other half",
}
"""The reference rows that stand for a perfect sampler, the first that was measured, and what they compare."""


def floor_of(references: Iterable[Cell], metric: str) -> Cell | None:
    """The reference row of one data set that is the floor of a measure."""
    rows = {cell.label: cell for cell in references if cell.values.get(metric)}
    return next((rows[label] for label in FLOORS if label in rows), None)


def above_floor(cell: Cell, floor: Cell | None, metric: str) -> Interval:
    """A measure of a cell minus that of the floor on the same seed, over seeds; NOTHING for the floor itself."""
    if floor is None or floor is cell:
        return NOTHING
    repeats = cell.repeats._replace(overlapping=False)  # nothing is tested: its interval is that of the mean beside it
    return difference(cell.values.get(metric, {}), floor.values[metric], repeats=repeats)


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
    equivalence: Mapping[str, float] = field(default_factory=dict)  # metric -> differences below it do not matter

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
        settings: dict[str, list[Cell]] = {}
        for cell in self.cells:
            settings.setdefault(cell.label, []).append(cell)
        if column is None:
            return {label: cells[0] for label, cells in settings.items()}
        sign = 1.0 if column.direction == "lower" else -1.0

        def order(cell: Cell) -> float:
            if is_reference(cell):
                found = cell.interval(column.metric)
                return sign * found.mean if found.n else math.inf
            return self.standings[column.metric][cell.id].rank or math.inf

        return {label: min(cells, key=order) for label, cells in settings.items()}

    @cached_property
    def baseline(self) -> Cell | None:
        """What the others are compared with: the best setting of BASELINE, else of the first label; None if alone."""
        best = self.best_settings
        return best.get(BASELINE) or next(iter(best.values())) if len(best) > 1 else None

    @property
    def baseline_settings(self) -> int:
        """Settings of the baseline's label, of which the baseline is the best."""
        return sum(cell.label == self.baseline.label for cell in self.cells) if self.baseline else 0

    def comparisons(self, column: Column) -> list[tuple[Cell, Comparison]]:
        """Every cell of another label against the baseline, in one quality column; one family for Holm."""
        base = self.baseline
        if base is None or column.direction == "none":
            return []
        others = [cell for cell in self.cells if cell.label != base.label and cell.values.get(column.metric)]
        values = {cell.id: cell.values.get(column.metric, {}) for cell in [base, *others]}
        bound = self.equivalence.get(column.metric, math.nan)
        found = comparisons(
            values, base.id, column.direction, bound, self.baseline_settings, base.repeats, column.saturated
        )
        return [(cell, found[cell.id]) for cell in others]

    @property
    def repeats(self) -> Repeats:
        """What the seeds repeat on this data set."""
        return self.cells[0].repeats if self.cells else EACH_ITS_OWN

    @property
    def about_seeds(self) -> str:
        """What a seed repeats on this data set, in one sentence; "" where that is not known."""
        division, repeats = self.cells[0].division if self.cells else "", self.repeats
        averaged = "Initialisations are averaged within each split, and the splits are the repeats."
        mean = f" {averaged}" if repeats.units else ""
        if division in ONE_SPLIT:
            return "One split: seeds are initialisations, and the intervals say nothing about another split."
        if repeats.overlapping:
            corrected = "Comparisons are corrected for that, intervals of means are not."
            return f"Every split deals the same recording anew, so splits overlap. {corrected}{mean}"
        return f"Every split is a fresh draw of the simulator.{mean}" if division == "drawn" else mean.strip()

    def n_of(self, metric: str) -> str:
        """Series behind a column: "1000", or "200 to 1000" where cells differ."""
        found = sorted({cell.series[metric] for cell in self.cells + self.references if cell.series.get(metric)})
        return "" if not found else str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"

    def floor(self, metric: str) -> Interval | None:
        """The mean of the floor; see FLOORS."""
        cell = floor_of(self.references, metric)
        return cell.interval(metric) if cell else None

    def about_floor(self, metric: str) -> str:
        """What the floor of a measure compares, with the name of its row; "" where there is none."""
        cell = floor_of(self.references, metric)
        return f"{FLOORS[cell.label]}, {cell.label}" if cell else ""

    def above_floor(self, cell: Cell, column: Column) -> Interval:
        """A measure of samples minus its floor, paired over seeds; NOTHING for other columns and the floor itself."""
        floor = floor_of(self.references, column.metric) if column.question == "samples" else None
        return above_floor(cell, floor, column.metric)


def groups_of(
    cells: Sequence[Cell],
    facts: Mapping[str, MetricFacts],
    equivalence: Mapping[str, float] | None = None,
    alpha: float = ALPHA,
) -> list[Group]:
    """One group per data set, shuffle and backbone; the best and its ties per quality column, at the level `alpha`."""
    places = dict.fromkeys((c.dataset, c.shuffle, c.backbone) for c in cells if c.kind == "method")
    groups: list[Group] = []
    for dataset, shuffle, backbone in sorted(places):
        same = [c for c in cells if c.dataset == dataset and c.shuffle == shuffle]
        mine = [c for c in same if c.kind == "method" and c.backbone == backbone]
        references = [c for c in same if c.kind != "method"]
        columns = columns_of({metric for cell in mine for metric in cell.values}, facts)
        found: dict[str, dict[str, Standing]] = {}
        for column in columns:
            if column.direction != "none":
                values = {cell.id: cell.values.get(column.metric, {}) for cell in mine if not is_reference(cell)}
                unranked = {cell.id: Standing("none") for cell in mine if is_reference(cell)}
                found[column.metric] = unranked | standings(values, column.direction, alpha, mine[0].repeats)
        place = f"group-{len(groups) + 1}", dataset, shuffle, backbone
        groups.append(Group(*place, mine, references, columns, found, equivalence or {}))
    return groups
