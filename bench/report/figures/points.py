"""A point with an interval in both directions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes

from bench.report.formatting import number
from bench.report.statistics import Interval

Box: TypeAlias = tuple[float, float, float, float]
"""Left, bottom, right, top."""


def draw_point(ax: Axes, x: Interval, y: Interval, label: str, style: dict[str, Any], at_bound: bool = False) -> None:
    """The means with their intervals, which few seeds do not have; an arrow to the right where x may be larger."""
    bars = np.nan_to_num([x.half, y.half])
    marker = {**{key: value for key, value in style.items() if key != "linewidth"}, "linestyle": "", "markersize": 6}
    ax.errorbar([x.mean], [y.mean], xerr=bars[:1], yerr=bars[1:], label=label, elinewidth=0.8, capsize=2, **marker)
    if at_bound:
        arrow = {"arrowstyle": "->", "color": style["color"]}
        ax.annotate("", (x.mean + 0.9, y.mean), (x.mean + 0.1, y.mean), arrowprops=arrow)


def mark_cut_ends(ax: Axes, x: Interval, y: Interval, colour: str) -> None:
    """An arrowhead wherever a bar leaves the axes, whose limits are set."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    cut = [
        (x, x.low < left, (left, y.mean), "<"),
        (x, x.high > right, (right, y.mean), ">"),
        (y, y.low < low, (x.mean, low), "v"),
        (y, y.high > high, (x.mean, high), "^"),
    ]
    for found, beyond, place, marker in cut:
        if beyond and math.isfinite(found.half):
            ax.plot(*place, color=colour, marker=marker, markersize=6, clip_on=False, zorder=3)


def name_points(ax: Axes, points: Sequence[tuple[str, Interval, Interval]], size: tuple[float, float]) -> None:
    """A name beside each point, where it lies on the fewest bars, points and names.

    size: about that of the axes, whose limits are set, in points of 1/72 inch; so is everything below.
    """
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()

    def at(x: float, y: float) -> tuple[float, float]:
        return (x - left) / (right - left) * size[0], (y - low) / (high - low) * size[1]

    taken: list[Box] = []
    for _, x, y in points:
        (across, up), halves = at(x.mean, y.mean), np.nan_to_num([x.half, y.half])
        ends = at(x.mean + halves[0], y.mean + halves[1])
        reach = ends[0] - across, ends[1] - up
        taken.append((across - 4, up - 4, across + 4, up + 4))
        taken.append((across - reach[0], up - 1, across + reach[0], up + 1))
        taken.append((across - 1, up - reach[1], across + 1, up + reach[1]))
    for name, x, y in points:
        (across, up), wide = at(x.mean, y.mean), 4.9 * len(name)
        found: list[tuple[int, float, float, Box]] = []
        for down in (8.0, -8.0, 19.0, -19.0):
            for aside in (6.0, -6.0 - wide):
                box = across + aside, up + down - 5, across + aside + wide, up + down + 5
                outside = box[0] < 0 or box[1] < 0 or box[2] > size[0] or box[3] > size[1]
                found.append((10 * outside + sum(_meet(box, other) for other in taken), aside, down, box))
        _, aside, down, box = min(found, key=lambda each: each[0])
        taken.append(box)
        ax.annotate(
            name, (x.mean, y.mean), xytext=(aside, down), textcoords="offset points", fontsize=8, va="center",
        )  # fmt: skip


def _meet(one: Box, two: Box) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]


def nats_text(information: Interval, at_bound: bool) -> str:
    """A mean information in words."""
    return f"{'at least ' * at_bound}{number(information.mean)} nats"
