"""Every picture of a report, in the page's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from bench.report import Bars
from bench.report.columns import MetricFacts
from bench.report.figures.agreement import agreement_pictures
from bench.report.figures.along import along
from bench.report.figures.captions import shown
from bench.report.figures.dependency import dependency
from bench.report.figures.grids import grids
from bench.report.figures.information import information_pictures
from bench.report.figures.likelihoods import likelihoods
from bench.report.figures.picture import Picture
from bench.report.figures.style import Styles
from bench.report.figures.training import over_training, training
from bench.report.ranking import Group
from bench.report.selection import Selection


def all_pictures(
    selection: Selection, groups: Sequence[Group], bars: Bars, facts: Mapping[str, MetricFacts]
) -> list[Picture]:
    """Every picture that the store's rows allow, in the page's order."""
    styles = Styles([cell.label for group in groups for cell in group.cells])
    runs = {run for group in groups for cell in shown(group) for run in cell.seeds}

    def of_shown(table: pd.DataFrame) -> pd.DataFrame:
        return table[table["run_id"].isin(runs)]

    # of thousands of settings only some are drawn
    few = replace(selection, metrics=of_shown(selection.metrics), history=of_shown(selection.history))
    return [
        *information_pictures(groups, styles),
        *agreement_pictures(groups, styles),
        *dependency(few, groups, styles, bars),
        *likelihoods(groups),
        *grids(groups, styles),
        *over_training(few, groups, styles, facts),
        *along(few, groups, styles, facts),
        *training(selection.curves(runs), groups, styles),
    ]
