"""Two measures of use: how much of the last state is attributed to the latent, and the nats taken from it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from bench.report.columns import title_of
from bench.report.figures.captions import choice_note, joined, legend_name, seeds_text, short_names, shorten, shown
from bench.report.figures.information import INFORMATION
from bench.report.figures.layout import add_legend
from bench.report.figures.picture import Picture, slug
from bench.report.figures.points import draw_point, mark_cut_ends, nats_text
from bench.report.figures.style import INK, Styles
from bench.report.formatting import number
from bench.report.ranking import Group
from bench.report.statistics import Interval

SHARE = "dependency_end"
LEAST = 3  # points, below which there is nothing to see
NAMED = 0.1  # of either measure, from which on a point has its data set's name, where there is room for it


class Point(NamedTuple):
    """One method on one data set."""

    label: str
    dataset: str
    style: dict[str, Any]
    information: Interval
    at_bound: bool
    share: Interval


def agreement_pictures(groups: Sequence[Group], styles: Styles) -> list[Picture]:
    """One per backbone: every method on every data set that has both measures."""
    pictures = []
    for backbone in dict.fromkeys(group.backbone for group in groups):
        here = [group for group in groups if group.backbone == backbone and not group.shuffle]
        cells = [(group.dataset, legend_name(group, cell), cell) for group in here for cell in shown(group)]
        points = [
            Point(name, dataset, styles[cell.label], information, cell.at_bound(INFORMATION), share)
            for dataset, name, cell in cells
            if (information := cell.interval(INFORMATION)).n and (share := cell.interval(SHARE)).n
        ]
        if len(points) >= LEAST:
            pictures.append(_picture(here, points, backbone))
    return pictures


def _picture(groups: Sequence[Group], points: Sequence[Point], backbone: str) -> Picture:
    name = title_of(SHARE)
    texts = [
        f"{point.label} on {point.dataset}: {nats_text(point.information, point.at_bound)}, {number(point.share.mean)}"
        for point in points
    ]
    return Picture(
        slug(f"dependency and information {backbone}"),
        "comparison",
        f"Two measures of whether the latent is used{f': {backbone}' if backbone else ''}",
        joined(
            [
                f"{name}, the signed attribution of the decoder's last state to the latent (0: none, 1: all of it; it "
                "can leave that range), against the nats per series that the decoder takes from the latent; a point "
                f"per method and data set, mean over {seeds_text(groups)} with 95 % t intervals. "
                "Arrowheads at the edge: the interval goes on.",
                "An attribution near 1 beside few nats: a decoder that notices its latent and learns little about the "
                "series. An arrow to the right of a point: the information is at its bound, so it may be larger. "
                "Points that lie close share a name.",
                f"Not drawn: where {name} is undefined, or seeds have other bounds of the information.",
                choice_note(groups),
            ]
        ),
        f"{name} against nats per series. {'; '.join(texts)}.",
        (6.4, 4.0),
        partial(_draw, points=points, ylabel=f"signed attribution {name}\n(can leave 0 to 1)"),
        backbone=backbone,
    )


def _draw(figure: Figure, points: Sequence[Point], ylabel: str) -> None:
    ax = figure.subplots()
    for level in (0, 1):
        ax.axhline(level, color=INK, linewidth=0.8)
    shares, nats = [point.share.mean for point in points], [point.information.mean for point in points]
    low, high = min(-0.1, min(shares) - 0.1), max(1.2, max(shares) + 0.1)
    left, right = min(-0.5, min(nats) - 0.3), max(nats) + 1.3
    names = short_names(point.dataset for point in points)
    named: list[tuple[float, float]] = []
    for point in points:
        place = point.information.mean, point.share.mean
        draw_point(ax, point.information, point.share, point.label, point.style, point.at_bound)
        free = all(abs(x - place[0]) > (right - left) / 6 or abs(y - place[1]) > (high - low) / 20 for x, y in named)
        if free and max(map(abs, place)) > NAMED:
            named.append(place)
            text = shorten(names[point.dataset], 18)
            ax.annotate(text, place, xytext=(5, 4), textcoords="offset points", fontsize=7)
    ax.set_ylim(low, high)
    ax.set_xlim(left, right)
    for point in points:
        mark_cut_ends(ax, point.information, point.share, point.style["color"])
    ax.set_xlabel("information (nats per series)")
    ax.set_ylabel(ylabel)
    add_legend(figure, [ax])
