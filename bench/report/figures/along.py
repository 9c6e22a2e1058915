"""Metrics with an index of their own: diffusion steps, lags, latent dimensions, thresholds, factors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from bench.contracts import TEST_BLOCKS
from bench.report.columns import MetricFacts
from bench.report.figures.captions import series_text, shown
from bench.report.figures.lines import rows_of
from bench.report.figures.panels import legend_names, metric_panel, panels_picture
from bench.report.figures.picture import Picture
from bench.report.figures.style import Styles
from bench.report.formatting import plain
from bench.report.ranking import Group
from bench.report.selection import Selection

COORDINATES = {
    "diffusion_step": (
        "Along the diffusion",
        "diffusion step i",
        "How much the latent still says about x after noise has been added up to step i.",
    ),
    "lag": ("Over lags", "lag (steps)", ""),
    "dimension": (
        "Over latent dimensions",
        "latent dimension, by size",
        "Dimensions are sorted by size within each run, because their order has no meaning.",
    ),
    "threshold": ("Over thresholds", "threshold", ""),
    "factor": ("By factor", "factor, component", "The factors that the simulator drew for each series."),
}
"""Coordinate -> title, label of the axis, and what is seen; any other coordinate names a factor."""

BOUNDS = {"noised_information": "noised_information_capacity"}
"""Metric -> the metric that bounds it from above; it has no panel of its own."""

CAPACITY = "Dashed: the largest capacity of the noise for these latents, more than which none of them can tell."


def along(
    selection: Selection, groups: Sequence[Group], styles: Styles, facts: Mapping[str, MetricFacts]
) -> list[Picture]:
    """Every metric that has an index other than t, against that index."""
    pictures = []
    indexed = selection.metrics[~selection.metrics["coordinate"].isin(["", "t", TEST_BLOCKS])]
    kinds = indexed["coordinate"].astype(str)
    for coordinate, rows in indexed.groupby(kinds.where(kinds.isin(list(COORDINATES)), "factor")):
        title, xlabel, what = COORDINATES[str(coordinate)]
        if coordinate == "dimension":
            place = rows.groupby(["run_id", "metric"], observed=True)["value"].rank(ascending=False, method="first")
            rows = rows.assign(index=place)
        for group in groups:
            names, mine = legend_names(group), [(cell.label, rows_of(rows, cell)) for cell in shown(group)]
            ticks: tuple[str, ...] = ()
            if coordinate == "factor":
                ticks, mine = _by_component(mine)
            panels, bounded = [], False
            for metric in sorted(set(rows["metric"].unique()) - set(BOUNDS.values())):
                lines = {
                    label: points.loc[points["metric"] == metric, ["index", "value"]].set_axis(["x", "value"], axis=1)
                    for label, points in mine
                }
                panel = metric_panel(metric, facts, lines, styles, names)._replace(ticks=ticks)
                bound = _bound(BOUNDS.get(metric), [points for _, points in mine])
                panels.append(panel._replace(bound=bound))
                bounded |= bound is not None
            n = series_text(n for _, points in mine for n in points["n"].unique())
            caption = [what, f"Measured on {n}." if n else "", CAPACITY if bounded else ""]
            words = (str(coordinate), "over-training", title, xlabel)
            pictures += panels_picture(group, panels, *words, caption)
    return pictures


def _bound(name: str | None, rows: Sequence[pd.DataFrame]) -> pd.Series | None:
    """The largest value of a bound by index; None where there is none."""
    found = [points.loc[points["metric"] == name].groupby("index")["value"].max() for points in rows]
    largest = pd.concat(found).groupby(level=0).max() if name and found else pd.Series(dtype=float)
    return largest if len(largest) else None


def _by_component(rows: Sequence[tuple[str, pd.DataFrame]]) -> tuple[tuple[str, ...], list[tuple[str, pd.DataFrame]]]:
    """A name for every component of every factor ("level 2"), and the rows with its place among them as index."""
    found = sorted({pair for _, points in rows for pair in zip(points["coordinate"], points["index"], strict=True)})
    alone = {factor for factor, count in Counter(factor for factor, _ in found).items() if count == 1}
    ticks = tuple(str(factor) if factor in alone else f"{factor} {plain(index)}" for factor, index in found)
    places = {pair: place for place, pair in enumerate(found, 1)}
    renumbered = [
        (label, points.assign(index=[places[pair] for pair in zip(points["coordinate"], points["index"], strict=True)]))
        for label, points in rows
    ]
    return ticks, renumbered
