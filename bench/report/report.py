"""A report before it is written: its cells, groups, rank tests and pictures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from bench.report import Bars
from bench.report.aggregates import Aggregates, over_datasets
from bench.report.cards import Card
from bench.report.cautions import copies, is_reference, shown_signs
from bench.report.cells import Cell, cells_of
from bench.report.columns import Column, MetricFacts
from bench.report.contrasts import Stated, stated_contrasts
from bench.report.figures.all_pictures import all_pictures
from bench.report.figures.captions import shown
from bench.report.figures.forest import forests
from bench.report.figures.gains import gain_pictures
from bench.report.figures.kept_samples import sample_pictures
from bench.report.figures.picture import Picture, drawn
from bench.report.figures.ranks import critical_difference
from bench.report.gains import Gains, gains_of
from bench.report.literature import PublishedTable, published_tables
from bench.report.ranking import Group, groups_of
from bench.report.ranks import RankTest, rank_test
from bench.report.selection import Selection
from bench.report.statements import Answer, answer, compared, few_windows, headline
from bench.report.tables import Mark, overview

CD_DATASETS = 6  # a critical-difference diagram over fewer says nothing


@dataclass(frozen=True)
class Report:
    """Everything that the page prints."""

    selection: Selection
    cells: list[Cell]
    groups: list[Group]
    pictures: list[Picture]
    cards: list[Card]
    ranks: list[tuple[Column, RankTest]]
    made: str
    stated: list[Stated] = field(default_factory=list)
    gains: list[Gains] = field(default_factory=list)

    @cached_property
    def headline(self) -> list[Answer]:
        """The report in a few sentences."""
        return headline(self.groups, self.selection)

    @cached_property
    def answer(self) -> list[Answer]:
        """The same, one data set after the other."""
        return answer(self.groups)

    @cached_property
    def few_windows(self) -> dict[str, str]:
        """Data set -> a warning, where samples are compared with few windows."""
        return few_windows(self.selection.runs)

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before any number: where windows are few, and what is left out."""
        return [*self.few_windows.values(), *self.selection.left_out]

    @cached_property
    def overview(self) -> dict[str, list[Mark | None]]:
        """Every method on every data set, in two words each."""
        return overview(self.groups)

    @cached_property
    def published(self) -> list[PublishedTable]:
        """Published numbers beside ours, where the data hold the literature's protocol."""
        return published_tables(self.selection, self.cells)

    @cached_property
    def columns(self) -> list[Column]:
        """Every column of the comparison tables once."""
        return list({column.metric: column for group in self.groups for column in group.columns}.values())

    @cached_property
    def aggregates(self) -> list[Aggregates]:
        """Every method over all data sets, where there are several, for each backbone."""
        return over_datasets(self.groups)

    @cached_property
    def signs(self) -> list[tuple[str, str]]:
        """The signs of all methods, and what they mean."""
        return shown_signs(self.cells)

    @cached_property
    def copying(self) -> set[str]:
        """Methods whose samples are copies somewhere, by label and by label with backbone, as ranks name them."""
        cells = [cell for group in self.groups for cell in group.best_settings.values() if copies(cell)]
        return {name for cell in cells for name in (cell.label, f"{cell.label} ({cell.backbone})")}

    @property
    def repeated(self) -> bool:
        """Whether runs were measured under several metric seeds."""
        return any(cell.noise for cell in self.cells)

    def pictures_of(self, section: str) -> list[Picture]:
        """Pictures of one section of the page."""
        return [picture for picture in self.pictures if picture.section == section]

    @property
    def status(self) -> list[tuple[str, int]]:
        """How many runs ended how; `pending` have no row yet."""
        counts = Counter(self.selection.runs["status"].tolist()) if len(self.selection.runs) else Counter()
        if self.selection.pending:
            counts["pending"] = self.selection.pending
        return counts.most_common()


def build(
    selection: Selection,
    facts: Mapping[str, MetricFacts],
    cards: Sequence[Card] = (),
    bars: Bars = "seeds",
    made: str = "",
    earlier: Path | None = None,
) -> Report:
    """All tables and pictures of a selection; pictures that the report in `earlier` has are taken from there."""
    cells = cells_of(selection)
    groups = groups_of(cells, facts, selection.equivalence)
    stated = stated_contrasts(selection, groups)
    gains = gains_of(selection.contrasts, compared(groups), stated[0].column) if stated else []
    pictures = [
        *forests(stated),
        *gain_pictures(gains, stated[0].bound if stated else math.nan),
        *all_pictures(selection, groups, bars, facts),
        *sample_pictures(selection, groups),
    ]
    ranks = _ranks(groups)
    pictures += [critical_difference(test, column.metric) for column, test in ranks if test.n_datasets >= CD_DATASETS]
    folder = earlier / "figures" if earlier is not None else None
    finished = [drawn(picture, folder) for picture in pictures]
    return Report(selection, cells, groups, finished, list(cards), ranks, made or _now(), stated, gains)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _ranks(groups: Sequence[Group]) -> list[tuple[Column, RankTest]]:
    """Friedman's test per quality column over ordered data sets; a method's best setting stands for it.

    A block is a data set; where there are several backbones, what is ranked is a method on a backbone.
    """
    found = []
    several = len({group.backbone for group in groups}) > 1
    columns = {column.metric: column for group in groups for column in group.quality}
    for metric, column in columns.items():
        sign = 1.0 if column.direction == "lower" else -1.0
        scores: dict[str, dict[str, float]] = {}
        for group in groups:
            if group.shuffle:
                continue
            block = scores.setdefault(group.dataset, {})
            for cell in shown(group):
                if cell.values.get(metric) and not is_reference(cell):
                    name = f"{cell.label} ({group.backbone})" if several else cell.label
                    block[name] = sign * cell.interval(metric).mean
        test = rank_test(scores)
        if test is not None:
            found.append((column, test))
    return found
