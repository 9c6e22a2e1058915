"""Panels of lines that share their horizontal axis, one panel per measure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from textwrap import fill
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.report.columns import MetricFacts, title_of
from bench.report.figures.captions import choice_note, joined, legend_name, seeds_text, shorten, shown
from bench.report.figures.layout import add_legend, place_axes
from bench.report.figures.lines import Line
from bench.report.figures.picture import Picture, slug
from bench.report.figures.style import Styles
from bench.report.formatting import number
from bench.report.ranking import Group

MOST_PANELS = 9
MANY = 20  # values in a panel, from which on some may lie beyond its vertical axis
STEPS = [1, 2, 2.5, 5, 10]  # between ticks, times a power of ten

CUT = (
    "Of many values a vertical axis leaves out the smallest 1 % and the largest 3 %, but neither end of a curve that "
    "is not far beyond the rest; an arrowhead stands for the last value where it is."
)
"""Said where some value lies beyond an axis."""

SHARE_OF_VARIANCE = ("probe_level", "diffusion_probe", "probe_truth_by_factor")
"""Coefficients of determination: how far below -1 they are tells nothing."""


class Panel(NamedTuple):
    """One pair of axes: its title, the unit of its values, a line per method, and where the axis ends below."""

    title: str
    unit: str
    lines: list[Line]
    bottom: float = -math.inf
    ticks: tuple[str, ...] = ()  # of x = 1, 2, ..: kinds, which no line joins
    bound: pd.Series | None = None  # what no value can exceed, by x: a dashed line


def panel_of(
    title: str, unit: str, rows: Mapping[str, pd.DataFrame], styles: Styles, names: Mapping[str, str]
) -> Panel:
    """rows: label -> every seed's points, columns x and value. A line is the mean, the shade all seeds."""
    lines = []
    for label, points in rows.items():
        by_x = points[np.isfinite(points["value"])].groupby("x")["value"]
        mean, low, high = by_x.mean(), by_x.min(), by_x.max()
        if len(mean):
            x, middle = mean.index.to_numpy(dtype=float), mean.to_numpy()
            reach = middle - low.to_numpy(), high.to_numpy() - middle
            lines.append(Line(names[label], styles[label], x, middle, *reach, np.zeros(len(x), dtype=bool)))
    return Panel(title, unit, lines)


def metric_panel(
    metric: str,
    facts: Mapping[str, MetricFacts],
    rows: Mapping[str, pd.DataFrame],
    styles: Styles,
    names: Mapping[str, str],
) -> Panel:
    """The panel of one metric, with its title and unit."""
    if metric in SHARE_OF_VARIANCE:
        return panel_of(title_of(metric), "share of the variance", rows, styles, names)._replace(bottom=-1.0)
    source = {"nll_gap": "nll_own", "dependency_end": "dependency_global"}.get(metric, metric)
    return panel_of(title_of(metric), facts.get(source, MetricFacts()).unit or "value", rows, styles, names)


def cut_limits(panel: Panel) -> tuple[float, float] | None:
    """Where the vertical axis of many values ends, so that one divergence does not flatten the rest; None: at all.

    At their 1st and 97th percentile; farther out where a curve begins or ends there, unless that is farther away than
    these two are apart.
    """
    heights = [height for line in panel.lines for height in np.maximum(line.mean, panel.bottom).tolist()]
    if panel.bound is not None or len(heights) <= MANY:
        return None
    low, high = (float(end) for end in np.quantile(heights, [0.01, 0.97]))
    reach = high - low
    ends = [max(float(end), panel.bottom) for line in panel.lines for end in line.mean[[0, -1]]]
    near = [end for end in ends if low - reach <= end <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    margin = 0.1 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def _cuts(panel: Panel) -> bool:
    """Whether some value lies beyond the vertical axis."""
    limits = cut_limits(panel)
    return limits is not None and any(((line.mean < limits[0]) | (line.mean > limits[1])).any() for line in panel.lines)


def _mark_ends(ax: Axes, lines: Sequence[Line], limits: tuple[float, float]) -> None:
    """An arrowhead where the end of a line lies beyond the vertical axis."""
    for line in lines:
        end, colour = float(line.mean[-1]), line.style["color"]
        if not limits[0] <= end <= limits[1]:
            edge, marker = (limits[0], "v") if end < limits[0] else (limits[1], "^")
            ax.plot(line.x[-1], edge, color=colour, marker=marker, clip_on=False)


def _panels(figure: Figure, panels: Sequence[Panel], xlabel: str, order: Sequence[str]) -> None:
    across = min(len(panels), 3)
    down = math.ceil(len(panels) / across)
    grid = figure.subplots(down, across, squeeze=False)
    axes = grid.ravel()
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    for ax, panel in zip(axes, panels, strict=False):
        heights: list[float] = []
        for k, line in enumerate(panel.lines):
            style = {**line.style, "markersize": 3.5, "label": line.name}
            if panel.ticks:
                x = line.x + (k - (len(panel.lines) - 1) / 2) * 0.1
                ax.errorbar(x, line.mean, [line.down, line.up], **{**style, "linestyle": ""}, elinewidth=0.8)
            else:
                ax.plot(line.x, line.mean, **style, markevery=max(len(line.x) // 8, 1))
                if (line.up > 0).any() or (line.down > 0).any():
                    ax.fill_between(
                        line.x, line.mean - line.down, line.mean + line.up, color=line.style["color"], alpha=0.15,
                        linewidth=0,
                    )  # fmt: skip
            heights += np.maximum(line.mean, panel.bottom).tolist()
        if panel.bound is not None:
            ax.plot(panel.bound.index, panel.bound.to_numpy(), color="0.35", linestyle="--", linewidth=1)
            # a bound far above all values would flatten them
            low = min((line.mean - line.down).min() for line in panel.lines)
            high = max((line.mean + line.up).max() for line in panel.lines)
            margin = 0.1 * (high - low) or 0.05
            ax.set_ylim(low - margin, high + margin)
        elif limits := cut_limits(panel):
            ax.set_ylim(limits)
            _mark_ends(ax, panel.lines, limits)
        elif heights and ax.get_ylim()[0] < panel.bottom:
            ax.set_ylim(panel.bottom - 0.1, max(heights) + 0.1)
        if panel.ticks:
            ax.set_xticks(range(1, len(panel.ticks) + 1), map(shorten, panel.ticks), rotation=90, fontsize=8)
        else:
            whole = all((line.x == line.x.round()).all() for line in panel.lines)
            ax.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS, integer=whole))
        ax.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
        ax.set_title(shorten(panel.title, 40))
        ax.set_ylabel(fill(panel.unit, 26))
        ax.set_xlabel(xlabel)
    place_axes(figure, grid, add_legend(figure, axes, order))


def panels_picture(
    group: Group,
    panels: Sequence[Panel],
    name: str,
    section: str,
    title: str,
    xlabel: str,
    caption: Sequence[str],
) -> list[Picture]:
    """One picture of panels that share their x, or none where there are no panels."""
    kept = [panel for panel in panels if panel.lines][:MOST_PANELS]
    if not kept:
        return []
    across = min(len(kept), 3)
    first = kept[0]
    ends = ", ".join(f"{line.name} {number(float(line.mean[-1]))}" for line in first.lines)
    left_out = len([panel for panel in panels if panel.lines]) - len(kept)
    words = [
        *caption,
        CUT if any(map(_cuts, kept)) else "",
        f"Lines and markers: mean of {seeds_text([group])}. Shades and bars: lowest to highest seed.",
        f"The first {MOST_PANELS} of {MOST_PANELS + left_out} measures are shown." if left_out else "",
        choice_note([group]),
    ]
    return [
        Picture(
            slug(f"{name} {group.name}"),
            section,
            f"{title}: {group.name}",
            joined(words),
            f"{', '.join(panel.title for panel in kept)} of each method against {xlabel} on {group.name}. "
            f"{first.title} at the end: {ends}.",
            (3.4 * max(across, 2 if first.ticks else 1) + 0.8, 2.4 * math.ceil(len(kept) / across) + 0.8),
            partial(_panels, panels=kept, xlabel=xlabel, order=list(legend_names(group).values())),
            group.dataset,
            group.backbone,
            placed=True,
        )
    ]


def legend_names(group: Group) -> dict[str, str]:
    """Label -> its name in the legend, for the cells that are drawn."""
    return {cell.label: legend_name(group, cell) for cell in shown(group)}
