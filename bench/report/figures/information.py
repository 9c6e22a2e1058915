"""What the decoder takes from the latent against how good the samples are: every method on one plane per data set."""

from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from bench.report.columns import Column, title_of
from bench.report.figures.captions import choice_note, joined, legend_name, seeds_text, short_names, shorten, shown
from bench.report.figures.layout import add_legend, legend_height
from bench.report.figures.picture import Picture, slug
from bench.report.figures.points import draw_point, mark_cut_ends, nats_text
from bench.report.figures.style import INK, Styles
from bench.report.formatting import number
from bench.report.ranking import Group
from bench.report.statements import listed
from bench.report.statistics import Interval

INFORMATION = "latent_information"
ACROSS = 3
GREY = "#8a8f94"


class Mark(NamedTuple):
    """One method on one data set."""

    name: str
    style: dict[str, Any]
    information: Interval  # NOTHING of a method without a decoder, and of seeds with other bounds
    other_bounds: bool
    at_bound: bool
    quality: Interval


class Panel(NamedTuple):
    """One data set."""

    title: str
    marks: list[Mark]
    others: list[tuple[str, float, float]]  # label and means of methods beyond those with a style of their own


def information_pictures(groups: Sequence[Group], styles: Styles) -> list[Picture]:
    """One per backbone, of the data sets on which some method has a latent information and a measure that ranks."""
    pictures = []
    for backbone in dict.fromkeys(group.backbone for group in groups):
        here = [group for group in groups if group.backbone == backbone and not group.shuffle and group.quality]
        columns = {column.metric: column for group in here for column in group.quality[:1]}
        for column in columns.values():
            drawn = [group for group in here if group.quality[0].metric == column.metric]
            names = short_names(group.dataset for group in drawn)
            panels = [_panel(group, column, styles, names[group.dataset]) for group in drawn]
            measured = [(g, p) for g, p in zip(drawn, panels, strict=True) if any(m.information.n for m in p.marks)]
            if measured:
                several = [g.dataset for g in drawn if any(len(cell.latents(INFORMATION)) > 1 for cell in shown(g))]
                groups_of_panels, drawn_panels = [g for g, _ in measured], [p for _, p in measured]
                pictures.append(_picture(groups_of_panels, drawn_panels, several, column, backbone))
    return pictures


def _panel(group: Group, column: Column, styles: Styles, title: str) -> Panel:
    marks, others, named = [], [], shown(group)
    for cell in group.best_settings.values():
        above = group.above_floor(cell, column)
        quality, information = above if above.n else cell.interval(column.metric), cell.interval(INFORMATION)
        if quality.n and cell in named:
            name, at_bound = legend_name(group, cell), cell.at_bound(INFORMATION)
            other_bounds = len(cell.latents(INFORMATION)) > 1
            marks.append(Mark(name, styles[cell.label], information, other_bounds, at_bound, quality))
        elif quality.n and information.n:
            others.append((cell.label, information.mean, quality.mean))
    return Panel(shorten(title, 30), marks, others)


def _picture(
    groups: Sequence[Group], panels: Sequence[Panel], several: Sequence[str], column: Column, backbone: str
) -> Picture:
    title, floor = title_of(column.metric), any(group.floor(column.metric) for group in groups)
    name = f"{title}{' minus its floor' if floor else ''}"
    texts = [f"{panel.title}: {', '.join([*map(_words, panel.marks), *map(_point, panel.others)])}" for panel in panels]
    rows = math.ceil(len(panels) / ACROSS)
    labels = dict.fromkeys(label for panel in panels for label, _, _ in panel.others)
    letters = dict(zip(labels, string.ascii_lowercase, strict=False))
    width = max(3.1 * min(ACROSS, len(panels)) + 0.6, 6.2 if letters else 0.0)
    legend = dict.fromkeys([*(mark.name for panel in panels for mark in panel.marks), *map(shorten, letters)])
    return Picture(
        slug(f"information and quality {column.metric} {backbone}"),
        "comparison",
        f"Information in the latent and quality of the samples{f': {backbone}' if backbone else ''}",
        joined(
            [
                f"Nats per series that the decoder takes from the latent, against the {name} ({column.direction} is "
                f"better); mean over {seeds_text(groups)} with 95 % t intervals. Arrowheads at the edge: the interval "
                "goes on.",
                "An arrow to the right of a point: the information is at its bound, so it may be larger.",
                "A dashed horizontal line: a method without this number, such as a generator without a latent.",
                f"Of {listed(several)} seeds have other bounds, and are not averaged." if several else "",
                choice_note(groups, "Points with a letter: the means of the others that have a latent."),
            ]
        ),
        f"Nats per series and {name}. {'; '.join(texts)}.",
        (width, 2.5 * rows + 0.2 + legend_height([*legend, ""], width)),
        partial(_draw, panels=panels, ylabel=name, rows=rows, from_floor=floor, letters=letters),
        backbone=backbone,
    )


def _words(mark: Mark) -> str:
    nothing = "seeds with other bounds" if mark.other_bounds else "no latent"
    information = nats_text(mark.information, mark.at_bound) if mark.information.n else nothing
    return f"{mark.name} {information}, {number(mark.quality.mean)}"


def _point(other: tuple[str, float, float]) -> str:
    label, nats, quality = other
    return f"{label} {number(nats)} nats, {number(quality)}"


def _draw(
    figure: Figure, panels: Sequence[Panel], ylabel: str, rows: int, from_floor: bool, letters: Mapping[str, str]
) -> None:
    across = min(ACROSS, len(panels))
    grid = figure.subplots(rows, across, squeeze=False)
    for ax in grid.flat[len(panels) :]:
        ax.set_visible(False)
    for place, (ax, panel) in enumerate(zip(grid.flat, panels, strict=False)):
        values = [mark.quality.mean for mark in panel.marks] + [0.0] * from_floor + [y for _, _, y in panel.others]
        for name, style, information, _, at_bound, quality in panel.marks:
            if not information.n:
                ax.axhline(quality.mean, label=name, **{**style, "marker": "", "linestyle": "--"})
                continue
            draw_point(ax, information, quality, name, style, at_bound)
        for label, x, y in panel.others:
            letter = letters.get(label, "")
            name = f"{letter}: {shorten(label)}" if letter else "others"
            # with error bars, as legends name last what has none
            ax.errorbar([x], [y], label=name, color=GREY, marker="o", markersize=3, linestyle="")
            ax.annotate(letter, (x, y), (3, 1), textcoords="offset points", fontsize=8, color=INK)
        room = (0.2 if from_floor else 0.5) * (max(values) - min(values)) + 0.02
        ax.set_ylim(min(values) - room, max(values) + room)
        nats = [each.information.mean for each in panel.marks if each.information.n] + [x for _, x, _ in panel.others]
        ax.set_xlim(min(-0.5, min(nats) - 0.3), max(nats) + 1.3)
        for mark in panel.marks:
            if mark.information.n:
                mark_cut_ends(ax, mark.information, mark.quality, mark.style["color"])
        if from_floor:
            ax.axhline(0, color=INK, linewidth=0.8)
        ax.set_title(panel.title)
        if place % across == 0:
            ax.set_ylabel(ylabel)
        if place + across >= len(panels):
            ax.set_xlabel("information (nats per series)")
    add_legend(figure, list(grid.flat))
