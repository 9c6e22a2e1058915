"""Heat maps of metrics over two hyper-parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bench.report.cells import Cell, averaged
from bench.report.figures.captions import axis_name, heading, seeds_text
from bench.report.figures.picture import Picture, slug
from bench.report.formatting import number, plain
from bench.report.ranking import Group
from bench.report.statistics import interval, standings

MOST_NUMBERS = 80  # printed into one heat map; a larger one shows its colours only

PLACES = {"best": "\nbest", "tie": "\n≈ best", "incomplete": "\nfew seeds"}
"""What a cell of a heat map says beside its number."""


class Map(NamedTuple):
    """One heat map: means (rows, columns), what is printed on them, and the place of the best (None: no value)."""

    title: str
    unit: str
    direction: Literal["lower", "higher", "none"]  # none: nothing is ranked, and brighter is more
    means: np.ndarray
    texts: np.ndarray
    best: tuple[int, int] | None


def heat_maps(
    group: Group, label: str, cells: Sequence[Cell], pair: tuple[str, str], metrics: Any, others: bool
) -> Picture:
    """One heat map per metric over a pair of hyper-parameters of one method."""
    rows = sorted({float(cell.settings[pair[0]]) for cell in cells})
    columns = sorted({float(cell.settings[pair[1]]) for cell in cells})
    maps, words = [], []
    units = {column.metric: column.unit for column in group.columns}
    for metric, title, direction in metrics:
        values = averaged(cells, metric, pair)
        ranked = {str(key): found for key, found in values.items()} if direction != "none" else {}
        places = standings(ranked, direction)
        means, best = np.full((len(rows), len(columns)), np.nan), None
        texts = np.full(means.shape, "", dtype=object)
        for key, found in values.items():
            at = rows.index(key[0]), columns.index(key[1])
            if not found:
                continue
            summary = interval(list(found.values()))
            place = places[str(key)].place if ranked else "none"
            means[at] = summary.mean
            texts[at] = number(summary.mean, summary.half) + PLACES.get(place, "")
            if place == "best":
                best = at
                words.append(f"{title} {pair[0]} = {plain(key[0])}, {pair[1]} = {plain(key[1])}")
        maps.append(Map(title, units.get(metric, ""), direction, means, texts, best))
    average = "Averaged over the other settings. " if others else ""
    printed = len(rows) * len(columns) <= MOST_NUMBERS
    ties = "≈ best: not significantly worse (paired over seeds, at the 5 % level over the whole map)"
    note = ties if printed else "the ends of the scale are given above each map"
    brighter = " Where nothing is ranked, brighter is more." if any(each.direction == "none" for each in maps) else ""
    n = group.n_of(metrics[0][0])
    return Picture(
        slug(f"grid {pair[0]} {pair[1]} {label} {group.name}"),
        "grids",
        f"{label} over {pair[0]} and {pair[1]}: {group.name}",
        f"Mean over {seeds_text([group])}{f', n = {n} windows' if n else ''}. {average}Brighter is better. Framed: "
        f"best mean; {note}.{brighter}",
        f"Heat maps of {label} over {pair[0]} and {pair[1]} on {group.name}. Best: {'; '.join(words)}.",
        (2.9 * len(metrics) + 0.3, min(0.55 * len(rows), 6.0) + 1.3),
        partial(
            _maps,
            maps=maps,
            rows=[plain(v) for v in rows],
            columns=[plain(v) for v in columns],
            names=(axis_name(pair[0], rows), axis_name(pair[1], columns)),
            printed=printed,
        ),
        group.dataset,
        group.backbone,
    )


def _maps(
    figure: Figure,
    maps: Sequence[Map],
    rows: Sequence[str],
    columns: Sequence[str],
    names: tuple[str, str],
    printed: bool,
) -> None:
    import seaborn  # here: it takes a second, and few sweeps have a grid

    axes = figure.subplots(1, len(maps), squeeze=False, sharey=True)[0]
    for ax, found in zip(axes, maps, strict=True):
        if found.best is not None:
            corner = found.best[1], found.best[0]
            ax.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="#d55e00", linewidth=3, zorder=5))
        seaborn.heatmap(
            pd.DataFrame(found.means, list(rows), list(columns)), ax=ax, fmt="", cbar=False,
            annot=found.texts if printed else False, annot_kws={"fontsize": 8.5}, linewidths=0.5 if printed else 0,
            cmap="cividis_r" if found.direction == "lower" else "cividis",
            xticklabels=math.ceil(len(columns) / 6), yticklabels=math.ceil(len(rows) / 12),
        )  # fmt: skip
        ax.grid(False)
        ends = "" if printed else _ends(found)
        ax.set_title(f"{heading(found.title, found.direction, found.unit)}{ends}", fontsize=9)
        ax.set_xlabel(names[1])
        ax.tick_params(axis="y", rotation=0)
    axes[0].set_ylabel(names[0])
    if not printed:  # one scale for all: what its ends are is said above each map
        scale = figure.colorbar(ScalarMappable(cmap="cividis"), ax=axes.tolist(), ticks=[0, 1], aspect=30, pad=0.02)
        some = any(found.direction == "none" for found in maps)
        scale.ax.set_yticklabels(["worst, or least", "best, or most"] if some else ["worst", "best"])


def _ends(found: Map) -> str:
    """The values at the two ends of a map's colours, as a second line."""
    if np.isnan(found.means).all():
        return ""
    low, high = float(np.nanmin(found.means)), float(np.nanmax(found.means))
    best, worst = (low, high) if found.direction == "lower" else (high, low)
    words = ("most", "least") if found.direction == "none" else ("best", "worst")
    return f"\n{words[0]} {number(best, (high - low) / 10)}, {words[1]} {number(worst, (high - low) / 10)}"
