"""The difference of a contrast on every data set against the gain that the data hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure

from bench.report.columns import title_of
from bench.report.figures.captions import joined, shorten
from bench.report.figures.picture import Picture, slug
from bench.report.figures.points import draw_point
from bench.report.figures.style import COLOURS, INK
from bench.report.formatting import number, probability, signed
from bench.report.gains import Gains
from bench.report.statistics import Interval

LINE = 0.055  # of the height of the axes, which a name needs


def gain_pictures(found: Sequence[Gains]) -> list[Picture]:
    """One for every question."""
    several = len({one.backbone for one in found}) > 1
    return [_picture(one, f" ({one.backbone})" if several else "") for one in found]


def _picture(one: Gains, backbone: str) -> Picture:
    contrast, (tau, p, n) = one.contrast, one.correlation
    sides, title = f"{contrast.of} minus {contrast.against}", title_of(one.column.metric)
    rank = "" if math.isnan(tau) else f"Kendall's rank correlation {number(tau)}, p = {probability(p)}, n = {n}."
    texts = [
        f"{name}: gain {number(point.gain.mean)}, {signed(point.difference)}" for name, point in one.points.items()
    ]
    return Picture(
        slug(f"gain {contrast.name}{backbone}"),
        "contrasts",
        f"Where it holds: {contrast.name}{backbone}",
        joined(
            [
                f"{sides} in the {title}, {one.column.direction} is better, against what the first two thirds of a "
                "window say of its last third beyond the two steps before it (training windows).",
                "A point per data set with 95 % t intervals over seeds; an open one is not in the contrast.",
                rank,
            ]
        ),
        f"{sides} in the {title} against the gain of the data: {'; '.join(texts)}. {rank}".strip(),
        (7.0, 4.2),
        partial(
            _draw,
            points=[(shorten(name, 22), contrast.covers(name), *point) for name, point in one.points.items()],
            ylabel=f"{shorten(contrast.of)} minus {shorten(contrast.against)}:\ndifference in the {title}"
            + (f" ({one.column.unit})" if one.column.unit else ""),
        ),
    )


def apart(places: Sequence[float], least: float) -> list[float]:
    """The places (of 0 to 1) moved up as little as keeps them `least` apart, and down where the last leaves the range.

    >>> [round(place, 2) for place in apart([0.5, 0.5, 0.1], 0.2)]
    [0.5, 0.7, 0.1]
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    found, last = [0.0] * len(places), -least
    for i in order:
        last = found[i] = max(places[i], last + least)
    first = 1.0
    for i in reversed(order):
        first = found[i] = min(found[i], first)
        first -= least
    return found


def _draw(figure: Figure, points: Sequence[tuple[str, bool, Interval, Interval]], ylabel: str) -> None:
    ax = figure.subplots()
    ax.axhline(0, color=INK, linewidth=1)
    means = [gap.mean for *_, gap in points]
    room = 0.6 * (max(means) - min(means)) + 0.02
    low, high = min(means) - room, max(means) + room
    heights = apart([(mean - low) / (high - low) for mean in means], LINE)
    for (name, covered, gain, gap), height in zip(points, heights, strict=True):
        fill = COLOURS[0] if covered else "none"
        draw_point(ax, gain, gap, "", {"marker": "o", "color": COLOURS[0], "markerfacecolor": fill})
        ax.annotate(  # beside the axes, where no name lies on another or on a point
            name, (gain.mean, gap.mean), xytext=(1.03, height), textcoords="axes fraction", fontsize=8, va="center",
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.4, "alpha": 0.5},
        )  # fmt: skip
    ax.set_ylim(low, high)  # an interval of two seeds may go on beyond the axes
    ax.set_xlabel("gain of the data (share of the variance of the last third)")
    ax.set_ylabel(ylabel)
