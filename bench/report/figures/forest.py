"""The forest plot of a stated contrast: its difference on every data set, and pooled over them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

from matplotlib.figure import Figure

from bench.report.columns import title_of
from bench.report.contrasts import Stated
from bench.report.figures.captions import in_units, joined, shorten
from bench.report.figures.picture import Picture, slug
from bench.report.figures.style import COLOURS, INK, REAL
from bench.report.formatting import number, plural, signed
from bench.report.statistics import Comparison, Interval


class _Row(NamedTuple):
    name: str
    found: Interval


def forests(stated: Sequence[Stated]) -> list[Picture]:
    """A picture for every contrast that some data set can answer."""
    return [_forest(one) for one in stated if one.finding.datasets]


def _forest(one: Stated) -> Picture:
    contrast = one.question.contrast
    pooled = one.finding.pooled
    rows = [
        _Row(f"{shorten(name, 26)}, {plural(one.seeds[name], 'seed')}", found.difference)
        for name, found in one.finding.datasets.items()
    ]
    title, unit = title_of(one.column.metric), one.column.unit
    sides = f"{contrast.of} minus {contrast.against}"
    last = _Row(f"pooled, {plural(pooled.difference.n, 'data set')}", pooled.difference)
    overlapping = any(both.repeats.overlapping for both in one.sides.values())
    band = "" if math.isnan(one.bound) else f"Grey band: differences below {number(one.bound)} do not matter."
    caption = [
        f"{sides}, {one.column.direction} is better.",
        f"Circles: mean over seeds on one data set{_interval_of(one.finding.datasets.values())} (secondary).",
        f"Diamond: mean over data sets, n = {pooled.difference.n}, with its {_percent(pooled)} t interval.",
        "Levels are by Holm. Arrows: the interval goes on.",
        "Where splits overlap: the interval of Nadeau and Bengio." if overlapping else "",
        band,
    ]
    texts = ", ".join(f"{row.name} {signed(row.found)}" for row in [*rows, last])
    return Picture(
        slug(f"contrast {one.name}"),
        "contrasts",
        one.name + (" (secondary)" if contrast.secondary else ""),
        joined(caption),
        f"{sides} in the {title}: {texts}.",
        (7.0, 0.3 * len(rows) + 1.9),
        partial(
            _draw,
            rows=rows,
            pooled=last,
            xlabel=f"{shorten(contrast.of)} minus {shorten(contrast.against)}:\ndifference in the {title}"
            + in_units(unit),
            better=one.column.direction,
            bound=one.bound,
        ),
    )


def _percent(found: Comparison) -> str:
    return f"{100 * (1 - found.level):.3g} %"


def _interval_of(found: Iterable[Comparison]) -> str:
    """Which intervals the rows have: Holm gives each its level."""
    levels = sorted({1 - each.level for each in found})
    ends = [f"{100 * level:.3g}" for level in (levels[:1] + levels[1:][-1:])]
    return f" with its {' to '.join(ends)} % t interval"


def _draw(figure: Figure, rows: Sequence[_Row], pooled: _Row, xlabel: str, better: str, bound: float) -> None:
    ax = figure.subplots()
    if math.isfinite(bound):
        ax.axvspan(-bound, bound, color=REAL, alpha=0.25, linewidth=0)
    ax.axvline(0, color=INK, linewidth=1)
    ax.axhline(len(rows) - 0.3, color=INK, linewidth=0.6)
    last = len(rows) + 0.4
    left, right = _limits([row.found for row in [*rows, pooled]], bound)
    for place, row in [*enumerate(rows), (last, pooled)]:
        of_all = row is pooled
        colour, width = (INK, 2.2) if of_all else (COLOURS[0], 1.3)
        ends = [end for end in (row.found.low, row.found.high) if math.isfinite(end)]
        ax.plot(ends, [place] * len(ends), color=colour, linewidth=width, marker="|", markersize=7)
        ax.plot(row.found.mean, place, color=colour, marker="D" if of_all else "o", markersize=8 if of_all else 5)
        for end, beyond, arrow in zip(ends, (left, right), "<>", strict=False):
            if not left <= end <= right:
                ax.plot(beyond, place, color=colour, marker=arrow, markersize=7, clip_on=False)
    ax.set_xlim(left, right)
    ax.set_ylim(last + 0.6, -0.6)
    ax.set_yticks([*range(len(rows)), last], [row.name for row in [*rows, pooled]])
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(xlabel)
    words = ("better", "worse") if better == "lower" else ("worse", "better")
    ax.set_title(f"\N{LEFTWARDS ARROW} {words[0]}", loc="left", fontsize=8.5)
    ax.set_title(f"{words[1]} \N{RIGHTWARDS ARROW}", loc="right", fontsize=8.5)


def _limits(found: Sequence[Interval], bound: float) -> tuple[float, float]:
    """Of the axis: all intervals, but one that is much wider than the means are apart is cut, and shown by an arrow."""
    marks = [0.0, *(each.mean for each in found), *([-bound, bound] if math.isfinite(bound) else [])]
    ends = [end for each in found for end in (each.low, each.high) if math.isfinite(end)]
    low, high = min(marks), max(marks)
    room = 1.5 * (high - low) or 1.0
    left, right = max(min([*marks, *ends]), low - room), min(max([*marks, *ends]), high + room)
    margin = 0.05 * (right - left) or 0.05
    return left - margin, right + margin
