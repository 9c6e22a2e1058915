"""The tables that a sweep ends with on the terminal: per data set a row for each method, setting and backbone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import pandas as pd

from bench.report.cautions import about_bounds, about_training, shown_signs, signs
from bench.report.cells import Cell, cells_of
from bench.report.columns import Column, MetricFacts, columns_of
from bench.report.formatting import counted
from bench.report.ranking import FLOORS, above_floor, floor_of
from bench.report.selection import Selection
from bench.report.statements import few_windows

MOST_ROWS = 40  # per data set; all of them are in the report
MOST_SAMPLES = 2  # measures of samples that are shown, the first that there are; a user's own are shown in any case
CHOSEN = ("calibration_distance", "copies", "latent_information", "dependency_end")
"""Of the questions before the samples, these columns are shown, where they were measured."""


class Line(NamedTuple):
    """One row of a table before it has numbers; its runs differ by their seed only."""

    place: str  # the data set, and whether it is shuffled
    title: str  # the method's label and its settings
    backbone: str
    run_ids: list[str]


@dataclass(frozen=True)
class Table:
    """One data set: the heads, the first of which names it, and rows of as many words."""

    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass(frozen=True)
class Summary:
    """Every table of a sweep, and what stands below them."""

    selection: Selection
    lines: Sequence[Line]
    statuses: Mapping[str, str]
    facts: Mapping[str, MetricFacts]

    @cached_property
    def tables(self) -> list[Table]:
        """Per data set: means over seeds, verdicts, and how many runs ended how; no column without a value."""
        places: dict[str, list[Line]] = {}
        for line in self.lines:
            places.setdefault(line.place, []).append(line)
        return [self._table(place, lines) for place, lines in places.items()]

    @cached_property
    def legend(self) -> list[str]:
        """What the columns and the signs mean, which models are not trained, and where test windows are few."""
        heads = {head for table in self.tables for head in table.heads}
        columns = [column for column in self._columns if column.title in heads]
        text = [f"{column.title}: {column.hint}" for column in columns]
        if used := dict.fromkeys(floor.label for floor in self._floors.values() if floor):
            named = ", ".join(f"{label}: {FLOORS[label]}" for label in used)
            text.append(f"(+...): The value minus its floor, paired over seeds ({named}).")
        if "latent" in heads:
            text.append("latent: Whether the decoder uses the latent, by seed (see bench/docs/measures.md).")
        text += ["n_test: The number of test windows."] if "n_test" in heads else []
        text += [f"{sign}: {meaning}" for sign, meaning in shown_signs(self._cells)]
        for column in columns:
            text += about_bounds(self._cells, column.metric, column.title)
        text += about_training(self._cells)
        warnings = [*few_windows(self.selection.runs).values(), *self.selection.left_out]
        return [*text, *(f"warning: {warning}" for warning in warnings)]

    @cached_property
    def _cells(self) -> list[Cell]:
        return cells_of(self.selection)

    @cached_property
    def _cell_of(self) -> dict[str, Cell]:
        return {run: cell for cell in self._cells for run in cell.seeds}

    @cached_property
    def _columns(self) -> list[Column]:
        """In the order of the questions: trained, latent, samples."""
        columns = columns_of({metric for cell in self._cells for metric in cell.values}, self.facts)
        own = {column.metric for column in columns if column.metric in self.facts and self.facts[column.metric].own}
        ranked = [column.metric for column in columns if column.direction != "none" and column.metric not in own]
        shown = {*CHOSEN, *own, *ranked[:MOST_SAMPLES]}
        return [column for column in columns if column.metric in shown]

    @cached_property
    def _floors(self) -> dict[tuple[str, bool, str], Cell | None]:
        """By data set, shuffle and metric, of the columns that are measures of samples."""
        references: dict[tuple[str, bool], list[Cell]] = {}
        for cell in self._cells:
            if cell.kind != "method":
                references.setdefault((cell.dataset, cell.shuffle), []).append(cell)
        metrics = [column.metric for column in self._columns if column.question == "samples"]
        return {(*place, metric): floor_of(rows, metric) for place, rows in references.items() for metric in metrics}

    def _table(self, place: str, lines: Sequence[Line]) -> Table:
        before, after = (
            [column for column in self._columns if (column.question == "samples") == samples]
            for samples in (False, True)
        )
        trained = [column for column in before if column.question == "trained"]
        heads = [place, "backbone", *(column.title for column in trained), "latent"]
        heads += [column.title for column in [*before[len(trained) :], *after]] + ["n_test", "run status"]
        rows = []
        for line in lines[:MOST_ROWS]:
            cells = list({cell.id: cell for run in line.run_ids if (cell := self._cell_of.get(run))}.values())
            verdicts = sum((cell.verdicts for cell in cells), Counter[str]())
            numbers = {
                column.metric: " / ".join(self._number(cell, column) for cell in cells) or "-"
                for column in self._columns
            }
            title = " ".join(filter(None, [line.title, *dict.fromkeys(map(signs, cells))]))
            row = [title, line.backbone or "-", *(numbers[column.metric] for column in trained), counted(verdicts)]
            row += [numbers[column.metric] for column in [*before[len(trained) :], *after]]
            rows.append((*row, self._windows(line), self._status(line)))
        filled = [k for k in range(len(heads)) if k == 0 or any(row[k] != "-" for row in rows)]
        kept = [tuple(row[k] for k in filled) for row in rows]
        if len(lines) > MOST_ROWS:
            kept.append((f"and {len(lines) - MOST_ROWS} more, see the report", *[""] * (len(filled) - 1)))
        return Table(tuple(heads[k] for k in filled), kept)

    def _number(self, cell: Cell, column: Column) -> str:
        """A mean without its interval, and a measure of samples minus its floor."""
        found, metric = cell.interval(column.metric), column.metric
        if not found.n:
            return cell.text(metric)
        above = above_floor(cell, self._floors.get((cell.dataset, cell.shuffle, metric)), metric)
        beside = f" ({above.mean:+.3f})" if above.n else ""
        return f"{'>= ' if cell.at_bound(metric) else ''}{found.mean:.3f}{beside}"

    def _windows(self, line: Line) -> str:
        found = {int(n) for n in self._n_test.reindex(line.run_ids).dropna() if n > 0}
        return " to ".join(str(n) for n in sorted({min(found), max(found)})) if found else "-"

    def _status(self, line: Line) -> str:
        status = Counter(self.statuses.get(run, "to do") for run in line.run_ids)
        return ", ".join(f"{count} {word}" for word, count in status.items())

    @cached_property
    def _n_test(self) -> pd.Series:
        return self.selection.runs.set_index("run_id")["n_test"]
