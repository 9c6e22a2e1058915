"""Metrics against one hyper-parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from bench.report.cells import Cell, averaged
from bench.report.figures.captions import axis_name, heading, seeds_text
from bench.report.figures.picture import Picture, slug
from bench.report.figures.style import INK, Styles
from bench.report.formatting import number, plain
from bench.report.ranking import Group
from bench.report.statistics import Interval, interval


class Track(NamedTuple):
    """A metric against one setting; `floor` is NaN where none was measured."""

    title: str
    unit: str
    x: list[float]
    found: list[Interval]
    floor: float


def setting_curves(
    group: Group, label: str, cells: Sequence[Cell], name: str, metrics: Any, styles: Styles, others: bool
) -> Picture:
    """One curve per metric over one hyper-parameter of one method."""
    tracks = []
    units = {column.metric: column.unit for column in group.columns}
    for metric, title, direction in metrics:
        values = averaged(cells, metric, [name])
        points = sorted((key[0], interval(list(found.values()))) for key, found in values.items() if found)
        floor = group.floor(metric)
        tracks.append(
            Track(
                heading(title, direction, units.get(metric, "")),
                units.get(metric, ""),
                [x for x, _ in points],
                [f for _, f in points],
                floor.mean if floor is not None else math.nan,
            )
        )
    average = "Averaged over the other settings. " if others else ""
    n = group.n_of(metrics[0][0])
    about = group.about_floor(metrics[0][0])
    dotted = f" Dotted line: floor ({about})." if about else ""
    ends = "; ".join(
        f"{' '.join(track.title.split())}: "
        + ", ".join(f"{plain(x)}: {number(f.mean, f.half)}" for x, f in zip(*track[2:4], strict=True))
        for track in tracks
    )
    return Picture(
        slug(f"curve {name} {label} {group.name}"),
        "grids",
        f"{label} over {name}: {group.name}",
        f"Mean over {seeds_text([group])}{f', n = {n} windows' if n else ''}. {average}Bars: 95 % interval over seeds "
        f"(none for one seed).{dotted}",
        f"Metrics of {label} against {name} on {group.name}. {ends}.",
        (3.0 * len(metrics) + 0.3, 2.7),
        partial(_tracks, tracks=tracks, name=axis_name(name, tracks[0].x), style=styles[label]),
        group.dataset,
        group.backbone,
    )


def _tracks(figure: Figure, tracks: Sequence[Track], name: str, style: Mapping[str, Any]) -> None:
    for ax, track in zip(figure.subplots(1, len(tracks), squeeze=False)[0], tracks, strict=True):
        bars = np.nan_to_num([[f.mean - f.low for f in track.found], [f.high - f.mean for f in track.found]])
        ax.errorbar(track.x, [f.mean for f in track.found], bars, **style, elinewidth=0.8, capsize=2)
        ax.set_title(track.title, fontsize=9)
        ax.set_xlabel(name)
        ax.set_ylabel(track.unit, fontsize=8.5)
        if len(track.x) <= 6:
            ax.set_xticks(track.x, [plain(x) for x in track.x])
        if math.isfinite(track.floor):
            ax.axhline(track.floor, color=INK, linewidth=1, linestyle=":")
