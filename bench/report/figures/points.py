"""A point with an interval in both directions."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from bench.report.formatting import number
from bench.report.statistics import Interval


def draw_point(ax: Axes, x: Interval, y: Interval, label: str, style: dict[str, Any], at_bound: bool = False) -> None:
    """The means with their intervals, which few seeds do not have; an arrow to the right where x may be larger."""
    bars = np.nan_to_num([x.half, y.half])
    marker = {**{key: value for key, value in style.items() if key != "linewidth"}, "linestyle": "", "markersize": 6}
    ax.errorbar([x.mean], [y.mean], xerr=bars[:1], yerr=bars[1:], label=label, elinewidth=0.8, capsize=2, **marker)
    if at_bound:
        arrow = {"arrowstyle": "->", "color": style["color"]}
        ax.annotate("", (x.mean + 0.9, y.mean), (x.mean + 0.1, y.mean), arrowprops=arrow)


def nats_text(information: Interval, at_bound: bool) -> str:
    """A mean information in words."""
    return f"{'at least ' * at_bound}{number(information.mean)} nats"
