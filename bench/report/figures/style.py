"""Colours, markers and line styles: one of each per label, the same in every picture, readable in grayscale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

INK, GRID, PAPER = "#1a1c1e", "#d4d7da", "#fffffe"  # the page swaps these for its theme's colours
REAL = "#8a8f94"  # real windows behind generated ones: seen on a light and on a dark page
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f"]
# eleven: with eight colours, 88 pairs before one recurs
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p"]
LINES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1))]

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titley": 1.0,  # no ticks are above an axes: where its title goes need not be worked out at every draw
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


class Styles:
    """Colour, marker and line style of each label, by its place in the sweep."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._place = {label: place for place, label in enumerate(dict.fromkeys(labels))}

    def __getitem__(self, label: str) -> dict[str, Any]:
        k = self._place[label]
        return {
            "color": COLOURS[k % len(COLOURS)],
            "marker": MARKERS[k % len(MARKERS)],
            "linestyle": LINES[k % len(LINES)],
            "markersize": 4.5,
            "linewidth": 1.4,
        }
