"""The difference of a contrast on every data set against the gain that the data hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure

from bench.registry import DATASETS
from bench.report.columns import title_of
from bench.report.figures.captions import in_units, joined, short_names, shorten
from bench.report.figures.layout import add_legend
from bench.report.figures.picture import Picture, slug
from bench.report.figures.points import draw_point, mark_cut_ends, name_points
from bench.report.figures.style import COLOURS, INK, PAPER, REAL
from bench.report.formatting import number, probability, signed
from bench.report.gains import Gains
from bench.report.statistics import Interval

NAMES = 430, 220  # about the size of the axes, in points of 1/72 inch


def gain_pictures(found: Sequence[Gains], bound: float = math.nan) -> list[Picture]:
    """One for every question; bound: a difference below it does not matter, NaN where none is stated."""
    several = len({one.backbone for one in found}) > 1
    return [_picture(one, f" ({one.backbone})" if several else "", bound) for one in found]


def _picture(one: Gains, backbone: str, bound: float) -> Picture:
    contrast, (tau, p, n) = one.contrast, one.correlation
    sides, title = f"{contrast.of} minus {contrast.against}", title_of(one.column.metric)
    better = "negative" if one.column.direction == "lower" else "positive"
    counts = sorted({point.difference.n for point in one.points.values()})
    seeds = " to ".join(map(str, counts[:1] + counts[1:][-1:]))
    names = short_names(one.points)
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
                f"A point per data set with 95 % t intervals over n = {seeds} seeds; an open one is not in the "
                "contrast. Arrowheads: the interval goes on.",
                "" if math.isnan(bound) else f"Grey band: differences below {number(bound)} do not matter.",
                rank,
            ]
        ),
        f"{sides} in the {title} against the gain of the data: {'; '.join(texts)}. {rank}".strip(),
        (7.0, 4.2),
        partial(
            _draw,
            points=[(shorten(names[name], 22), contrast.covers(name), *point) for name, point in one.points.items()],
            ylabel=f"{shorten(contrast.of)} minus {shorten(contrast.against)}:\ndifference in the {title}"
            f"{in_units(one.column.unit)}\n{better}: {shorten(contrast.of)} is better",
            bound=bound,
            open_name=_open_name([name for name in one.points if not contrast.covers(name)]),
        ),
    )


def _open_name(datasets: Sequence[str]) -> str:
    """Of the data sets that a contrast leaves out, in the legend."""
    names = [dataset.partition(",")[0] for dataset in datasets]
    simulated = all(name in DATASETS and DATASETS[name].source.startswith("simulated") for name in names)
    return "not in the contrast (simulated)" if simulated else "not in the contrast"


def _draw(
    figure: Figure,
    points: Sequence[tuple[str, bool, Interval, Interval]],
    ylabel: str,
    bound: float,
    open_name: str,
) -> None:
    ax = figure.subplots()
    means = [gap.mean for *_, gap in points]
    marks = [*means, *((-bound, bound) if math.isfinite(bound) else ())]
    room = 0.4 * (max(marks) - min(marks)) + 0.02
    low, high = min(marks) - room, max(marks) + room
    if math.isfinite(bound):
        ax.axhspan(-bound, bound, color=REAL, alpha=0.25, linewidth=0)
    ax.axhline(0, color=INK, linewidth=1)
    for _, covered, gain, gap in points:
        fill, label = (COLOURS[0], "data set of the contrast") if covered else (PAPER, open_name)
        draw_point(ax, gain, gap, label, {"marker": "o", "color": COLOURS[0], "markerfacecolor": fill})
    ax.set_xlim(ax.get_xlim())
    ax.set_ylim(low, high)  # an interval of two seeds may go on beyond the axes
    for _, _, gain, gap in points:
        mark_cut_ends(ax, gain, gap, COLOURS[0])
    name_points(ax, [(name, gain, gap) for name, _, gain, gap in points], NAMES)
    ax.set_xlabel("gain of the data (share of the variance of the last third)")
    ax.set_ylabel(ylabel)
    if not all(covered for _, covered, _, _ in points):
        add_legend(figure, [ax])
