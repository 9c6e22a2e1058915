"""The dependency measures against series time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bench.report import Bars
from bench.report.cells import Cell
from bench.report.figures.captions import (
    by_place,
    choice_note,
    legend_name,
    place_name,
    seeds_text,
    series_text,
    shown,
    side_name,
)
from bench.report.figures.layout import add_legend
from bench.report.figures.lines import Line, rows_of
from bench.report.figures.picture import Picture, slug
from bench.report.figures.style import INK, PAPER, Styles
from bench.report.formatting import number
from bench.report.ranking import Group
from bench.report.selection import Selection
from bench.report.statistics import by_unit, interval

UNRESOLVED = 0.05  # share of series above which a point is drawn hollow

DEPENDENCY = {"dependency_global": r"global $m_{t,0}$", "dependency_local": r"local $m_{t,t-1}$"}


def dependency(selection: Selection, groups: Sequence[Group], styles: Styles, bars: Bars = "seeds") -> list[Picture]:
    """m_{t,0} and m_{t,t-1} against t, ordered beside shuffled."""
    along_t = selection.metrics[selection.metrics["coordinate"] == "t"]
    curves = {str(name): rows for name, rows in along_t.groupby("metric", observed=True)}
    pictures = []
    for (dataset, backbone), here in by_place(groups).items():
        runs = {run for group in here for cell in group.cells for run in cell.seeds}
        mine = {name: rows[rows["run_id"].isin(runs)] for name, rows in curves.items()}
        present = [name for name in DEPENDENCY if name in mine and mine[name]["value"].notna().any()]
        if not present:
            continue
        panels: list[list[list[Line]]] = []  # measure, side, line
        for measure in present:
            panels.append([])
            for group in here:
                lines = []
                for cell in shown(group):
                    t, mean, down, up = _curve(rows_of(mine[measure], cell), bars, cell)
                    if len(t):
                        hollow = _unresolved(mine.get("dependency_unresolved"), cell, t)
                        lines.append(Line(legend_name(group, cell), styles[cell.label], t, mean, down, up, hollow))
                panels[-1].append(lines)
        ends = [
            f"{side_name(group, here)} {line.name} {number(float(line.mean[-1]))}".strip()
            for group, lines in zip(here, panels[0], strict=True)
            for line in lines
        ]
        what = {
            "seeds": "Bars: 95 % interval over seeds (none for one seed).",
            "series": "Bars: 3 standard deviations over series (a spread, not an interval), averaged over seeds.",
            "windows": "Bars: 95 % interval of one run's mean over test windows, by groups that share a "
            "recording, averaged over seeds.",
        }[bars]
        name, n = place_name(dataset, backbone), series_text(mine[present[0]]["n"])
        caption = (
            f"The share of the decoder's state h at time t that is attributed to the latent (global) and to the value "
            f"just before (local). The global share falls to 0 where the latent is forgotten. Mean over {n} and "
            f"{seeds_text(here)}. {what} Bars may extend beyond the axes. Hollow markers: the attribution is undefined "
            f"or not accurate enough for more than {UNRESOLVED:.0%} of the series. At t = 1 both shares are 1 by "
            f"definition. {choice_note(here)}"
        )
        titles = [DEPENDENCY[measure] for measure in present]
        pictures.append(
            Picture(
                slug(f"dependency {dataset} {backbone}"),
                "dependency",
                f"Dependency measures: {name}",
                caption.strip(),
                f"Global and local dependency of each method against series time on {name}. At the last step the "
                f"{'global' if present[0] == 'dependency_global' else 'local'} one is: {', '.join(ends)}.",
                (4.6 * len(here) + 0.6, 2.6 * len(present) + 0.7),
                partial(_dependency, titles=titles, sides=[side_name(group, here) for group in here], panels=panels),
                dataset,
                backbone,
            )
        )
    return pictures


def _dependency(
    figure: Figure, titles: Sequence[str], sides: Sequence[str], panels: Sequence[Sequence[Sequence[Line]]]
) -> None:
    axes = figure.subplots(len(titles), len(sides), squeeze=False, sharex=True, sharey="row")
    for row, title in enumerate(titles):
        heights = []
        for ax, lines in zip(axes[row], panels[row], strict=True):
            for place, line in enumerate(lines):
                heights += [value for value in line.mean if math.isfinite(value)]
                x = line.x + (place - (len(lines) - 1) / 2) * 0.09
                ax.errorbar(
                    x, line.mean, [line.down, line.up], **line.style, elinewidth=0.7, capsize=1.5, label=line.name
                )
                if line.hollow.any():
                    ax.plot(
                        x[line.hollow], line.mean[line.hollow], linestyle="", marker=line.style["marker"],
                        markersize=4.5, color=line.style["color"], markerfacecolor=PAPER, zorder=3,
                    )  # fmt: skip
            ax.axhline(0, color=INK, linewidth=0.8)
        axes[row][0].set_ylabel(f"{title} (share of $h_t$)")
        if heights:
            low, high = np.quantile(heights, [0.01, 0.99])
            axes[row][0].set_ylim(min(low, 0) - 0.15, max(high, 1) + 0.15)
    for column, side in enumerate(sides):
        axes[0][column].set_title(side)
        axes[-1][column].set_xlabel("series time t (steps)")
    add_legend(figure, axes.ravel())


def _curve(rows: pd.DataFrame, bars: Bars, cell: Cell) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Index, mean, and the two lengths of the error bar; rows of one cell."""
    at, mean, down, up = [], [], [], []
    for index, here in rows.groupby("index"):
        of_seeds = {cell.seeds[str(run)]: value for run, value in zip(here["run_id"], here["value"], strict=True)}
        found = interval(list(by_unit(of_seeds, cell.repeats.units).values()))
        if bars == "series":
            spread = 3 * math.sqrt(float((here["sd"] ** 2).mean()))
            lengths = (spread, spread)
        elif bars == "windows":
            half = 1.96 * math.sqrt(float((here["error"] ** 2).mean()))
            lengths = (half, half)
        else:
            lengths = (found.mean - found.low, found.high - found.mean)
        at.append(float(str(index)))
        mean.append(found.mean)
        down.append(lengths[0])
        up.append(lengths[1])
    return np.asarray(at), np.asarray(mean), np.nan_to_num(down), np.nan_to_num(up)


def _unresolved(table: pd.DataFrame | None, cell: Cell, t: np.ndarray) -> np.ndarray:
    if table is None:
        return np.zeros(len(t), dtype=bool)
    rows = rows_of(table, cell)
    share = (rows["value"] / rows["n"].clip(lower=1)).groupby(rows["index"]).mean()
    return np.asarray([share.get(step, 0.0) > UNRESOLVED for step in t])
