"""Where the axes and the legend of a figure are placed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure


def add_legend(figure: Figure, axes: Iterable[Axes], order: Sequence[str] = ()) -> float:
    """Below everything: every label of the axes once, in as many columns as the figure is wide. Its height, inches."""
    entries: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    labels = [label for label in order if label in entries] + [label for label in entries if label not in order]
    if labels:
        handles, columns = [entries[label] for label in labels], _columns(labels, figure.get_figwidth())
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8.5)
    return legend_height(labels, figure.get_figwidth())


def legend_height(labels: Sequence[str], width: float) -> float:
    """Of a legend below a figure of this width; both in inches."""
    return 0.16 + 0.177 * math.ceil(len(labels) / _columns(labels, width)) if labels else 0.0


def _columns(labels: Sequence[str], width: float) -> int:
    longest = 0.075 * max(len(label) for label in labels) + 0.65  # inches, at this size of the font
    return max(1, min(len(labels), int(width / longest)))


def place_axes(figure: Figure, axes: np.ndarray, below: float) -> None:
    """A grid of axes of one size, with room for the words around each; `below` is kept free, inches.

    A quarter of the time that drawing takes is what a layout engine measures; of panels like these it is known: one
    line of title, tick labels whose characters can be counted, lines of label.
    """
    down, across = axes.shape
    left = [0.42 + max(_width(ax.yaxis) for ax in column if ax.get_visible()) for column in axes.T]
    under = [0.28 + max(_height(ax.xaxis) for ax in row if ax.get_visible()) for row in axes]
    width, height = figure.get_size_inches()
    wide = (width - sum(left) - 0.2 * across) / across
    high = (height - below - sum(under) - 0.28 * down) / down
    for r, row in enumerate(axes):
        for c, ax in enumerate(row):
            x = sum(left[: c + 1]) + c * (wide + 0.2)
            y = height - (r + 1) * (0.28 + high) - sum(under[:r])
            ax.set_position((x / width, y / height, wide / width, high / height))


def _ticks(axis: Axis) -> list[str]:
    (low, high), places = sorted(axis.get_view_interval()), axis.get_majorticklocs().tolist()
    texts = axis.get_major_formatter().format_ticks(places)
    return [text for text, at in zip(texts, places, strict=True) if low <= at <= high]


def _width(axis: Axis) -> float:
    """Of the longest tick label, and of all lines but one of the label, inches, at this size of the font."""
    lines = 0.17 * axis.get_label_text().count("\n")
    return lines + max((0.084 * len(text) - 0.04 * text.count(".") for text in _ticks(axis)), default=0.0)


def _height(axis: Axis) -> float:
    """Of the label, and of tick labels that stand upright, inches."""
    label = 0.2 if axis.get_label_text() else 0.0
    upright = axis.get_major_ticks(1)[0].label1.get_rotation() > 0
    return label + (0.07 * max(map(len, _ticks(axis)), default=0) if upright else 0.0)
