"""Pictures of a sweep, as SVG and PNG text and bytes; nothing here touches a file.

Every picture has one colour, marker and line style per label, the same in all of them, readable
in grayscale; every caption says what n is and what the bars are.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle

from bench.report.statistics import RankTest, interval, standings
from bench.report.tables import SHORT, Cell, Group, Selection, number, plain

matplotlib.use("Agg")

INK, GRID, PAPER = "#1a1c1e", "#d4d7da", "#fffffe"  # the page swaps these for its theme's colours
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f"]
MARKERS = [
    "o",
    "s",
    "^",
    "D",
    "v",
    "P",
    "X",
    "<",
    ">",
    "*",
    "p",
]  # eleven: with eight colours, 88 pairs before one recurs
LINES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1))]
MOST_LINES = 8
MOST_NUMBERS = 80  # printed into one heat map; a larger one shows its colours only
UNRESOLVED = 0.05  # share of series above which a point is drawn hollow

Bars = Literal["seeds", "series", "windows"]

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 10,
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


@dataclass(frozen=True)
class Picture:
    """One finished picture."""

    name: str  # of its files
    section: str  # of the page
    title: str
    caption: str
    alt: str
    svg: str
    png: bytes
    dataset: str = ""
    backbone: str = ""


def shorten(text: str, width: int = 34) -> str:
    """A name that fits a legend, and that matplotlib does not read as mathematics."""
    text = "".join(c if c.isprintable() else "\ufffd" for c in text)
    return (text if len(text) <= width else text[: width - 1] + "…").replace("$", r"\$")


def slug(text: str) -> str:
    """A file name, distinct for texts that differ in more than case, spaces and dots."""
    plain_text = re.sub(r"[ .·]+", "-", text.lower()).strip("-")
    word = re.sub(r"[^a-z0-9_]+", "-", plain_text).strip("-")[:60]
    return word if word == plain_text else f"{word}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


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


def draw(
    make: Any, size: tuple[float, float], name: str, section: str, title: str, caption: str, alt: str, **where: str
) -> Picture:
    """Call `make(figure)` in the report's style and turn the figure into a picture."""
    style: Any = {**STYLE, "svg.hashsalt": name}
    with warnings.catch_warnings(), matplotlib.rc_context(style):
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a name in a script the font lacks
        figure = Figure(figsize=size)
        make(figure)
        svg, png = io.StringIO(), io.BytesIO()
        ConstrainedLayoutEngine().execute(figure)  # once for both files, not at each draw
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=130, facecolor="white")
    return Picture(name, section, title, caption, alt, svg.getvalue(), png.getvalue(), **where)


def shown(group: Group) -> list[Cell]:
    """At most one cell per label, the best by the first quality column, and at most MOST_LINES labels."""
    column = next(iter(group.quality), None)
    ranks = group.standings[column.metric] if column else {}
    best: dict[str, Cell] = {}
    for cell in group.cells:
        held = best.get(cell.label)
        if held is None or (0 < (ranks[cell.id].rank if ranks else 0) < (ranks[held.id].rank or 10**9 if ranks else 0)):
            best[cell.label] = cell
    return list(best.values())[:MOST_LINES]


def legend_name(group: Group, cell: Cell, width: int = 30) -> str:
    """The label, and of how many settings this is the best."""
    count = sum(other.label == cell.label for other in group.cells)
    return shorten(cell.label, width) + (f" (best of {count})" if count > 1 else "")


def _note_on_choice(groups: Sequence[Group]) -> str:
    labels = {cell.label for group in groups for cell in group.cells}
    notes = []
    if any(len(group.cells) > len({cell.label for cell in group.cells}) for group in groups):
        notes.append("Of several settings of one method, the best by the first quality column.")
    if len(labels) > MOST_LINES:
        notes.append(f"The first {MOST_LINES} of {len(labels)} methods.")
    return " ".join(notes)


def _legend(figure: Figure, axes: Iterable[Axes]) -> None:
    entries: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        figure.legend(
            entries.values(), entries.keys(), loc="outside lower center", ncols=min(len(entries), 5), fontsize=8.5
        )


def _placed(groups: Sequence[Group]) -> dict[tuple[str, str], list[Group]]:
    """Ordered beside shuffled: groups by data set and backbone."""
    found: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        found.setdefault((group.dataset, group.backbone), []).append(group)
    return found


def _side(group: Group) -> str:
    return "time shuffled" if group.shuffle else "ordered"


def _place_name(dataset: str, backbone: str) -> str:
    return f"{dataset}, {backbone}" if backbone else dataset


def _seeds(groups: Sequence[Group]) -> str:
    counts = sorted({cell.ok for group in groups for cell in group.cells if cell.ok})
    if not counts:
        return "no finished seeds"
    text = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{text} seed{'s' if counts[-1] > 1 else ''}"


# ---------------------------------------------------------------- dependency and likelihoods


def _curve(rows: pd.DataFrame, bars: Bars) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Index, mean, and the two lengths of the error bar; rows of one cell."""
    at, mean, down, up = [], [], [], []
    for index, here in rows.groupby("index"):
        found = interval(here["value"].tolist())
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


def _rows_of(table: pd.DataFrame, cell: Cell) -> pd.DataFrame:
    return table[table["run_id"].isin(cell.seeds)]


def dependency(selection: Selection, groups: Sequence[Group], styles: Styles, bars: Bars = "seeds") -> list[Picture]:
    """m_{t,0} and m_{t,t-1} against t, ordered beside shuffled."""
    measures = {"dependency_global": r"global $m_{t,0}$", "dependency_local": r"local $m_{t,t-1}$"}
    along_t = selection.metrics[selection.metrics["coordinate"] == "t"]
    curves = {str(name): rows for name, rows in along_t.groupby("metric")}
    pictures = []
    for (dataset, backbone), here in _placed(groups).items():
        runs = {run for group in here for cell in group.cells for run in cell.seeds}
        mine = {name: rows[rows["run_id"].isin(runs)] for name, rows in curves.items()}
        present = [name for name in measures if name in mine and mine[name]["value"].notna().any()]
        if not present:
            continue
        series = sorted({int(n) for name in present for n in mine[name]["n"] if n})

        def make(
            figure: Figure, here: Sequence[Group] = here, present: Sequence[str] = present, mine: Any = mine
        ) -> None:
            axes = figure.subplots(len(present), len(here), squeeze=False, sharex=True, sharey="row")
            for row, measure in enumerate(present):
                heights = []
                for ax, group in zip(axes[row], here, strict=True):
                    cells = shown(group)
                    for place, cell in enumerate(cells):
                        t, mean, down, up = _curve(_rows_of(mine[measure], cell), bars)
                        if not len(t):
                            continue
                        heights += [value for value in mean if math.isfinite(value)]
                        nudge = (place - (len(cells) - 1) / 2) * 0.09
                        style, name = styles[cell.label], shorten(cell.label)
                        ax.errorbar(t + nudge, mean, [down, up], **style, elinewidth=0.7, capsize=1.5, label=name)
                        hollow = _unresolved(mine.get("dependency_unresolved"), cell, t)
                        ax.plot(
                            (t + nudge)[hollow], mean[hollow], linestyle="", marker=style["marker"], markersize=4.5,
                            color=style["color"], markerfacecolor=PAPER, zorder=3,
                        )  # fmt: skip
                    ax.axhline(0, color=INK, linewidth=0.8)
                    if row == 0:
                        ax.set_title(_side(group))
                    if row == len(present) - 1:
                        ax.set_xlabel("series time t (steps)")
                axes[row][0].set_ylabel(f"{measures[measure]} (share of $h_t$)")
                if heights:
                    low, high = np.quantile(heights, [0.01, 0.99])
                    axes[row][0].set_ylim(min(low, 0) - 0.15, max(high, 1) + 0.15)
            _legend(figure, axes.ravel())

        what = {
            "seeds": "Bars: 95 % interval over seeds (none for one seed).",
            "series": "Bars: 3 standard deviations over series (a spread, no interval), averaged over seeds.",
            "windows": "Bars: 95 % interval of one run's mean over test windows, by blocks of 2 T / stride where they "
            "overlap, averaged over seeds.",
        }[bars]
        name = _place_name(dataset, backbone)
        pictures.append(
            draw(
                make,
                (4.6 * len(here) + 0.6, 2.6 * len(present) + 0.7),
                slug(f"dependency {dataset} {backbone}"),
                "dependency",
                f"Dependency measures: {name}",
                f"Mean over n = {' to '.join(map(str, series[:1] + series[1:][-1:]))} series and {_seeds(here)}. "
                f"{what} Bars may leave the axes. Hollow: unresolved for more than {UNRESOLVED:.0%} of the series. "
                f"At t = 1 both are 1 by definition. {_note_on_choice(here)}".strip(),
                f"Global and local dependency of each method against series time on {name}.",
                dataset=dataset,
                backbone=backbone,
            )
        )
    return pictures


def _unresolved(table: pd.DataFrame | None, cell: Cell, t: np.ndarray) -> np.ndarray:
    if table is None:
        return np.zeros(len(t), dtype=bool)
    rows = _rows_of(table, cell)
    share = (rows["value"] / rows["n"].clip(lower=1)).groupby(rows["index"]).mean()
    return np.asarray([share.get(step, 0.0) > UNRESOLVED for step in t])


NLLS = {
    "nll_own": ("own z", "o"),
    "nll_permuted": ("another series' z", "^"),
    "nll_noise": ("noise", "s"),
    "nll_zero": ("z = 0", "D"),
}


def likelihoods(groups: Sequence[Group]) -> list[Picture]:
    """Own, permuted, noise and zero NLL side by side."""
    pictures = []
    for (dataset, backbone), here in _placed(groups).items():
        values = [v for g in here for c in shown(g) for name in NLLS for v in c.values.get(name, {}).values()]
        if not values:
            continue
        wide = max(values) - min(values) > 30
        rows = max(len(shown(group)) for group in here)

        def make(figure: Figure, here: Sequence[Group] = here, wide: bool = wide) -> None:
            axes = figure.subplots(1, len(here), squeeze=False, sharex=True)[0]
            for ax, group in zip(axes, here, strict=True):
                cells = shown(group)
                for place, (name, (title, marker)) in enumerate(NLLS.items()):
                    found = [cell.interval(name) for cell in cells]
                    y = np.arange(len(cells)) + (place - 1.5) * 0.15
                    bars = np.nan_to_num([[f.mean - f.low for f in found], [f.high - f.mean for f in found]])
                    ax.errorbar(
                        [f.mean for f in found], y, xerr=bars, linestyle="", marker=marker, markersize=5, capsize=1.5,
                        elinewidth=0.8, color=COLOURS[[2, 1, 3, 7][place]], label=f"x given {title}",
                    )  # fmt: skip
                marginal = [v for cell in cells for v in cell.values.get("nll_marginal", {}).values()]
                if marginal:
                    ax.axvline(
                        float(np.mean(marginal)), color=INK, linewidth=1, linestyle=":", label="marginal (no model)"
                    )
                if wide:
                    ax.set_xscale("symlog", linthresh=1)
                ax.set_yticks(range(len(cells)), [legend_name(group, cell, 24) for cell in cells])
                ax.set_ylim(len(cells) - 0.5, -0.5)
                ax.set_xlabel("NLL (nats per value)" + (", symmetric log" if wide else ""))
                ax.set_title(_side(group))
            _legend(figure, axes)

        name = _place_name(dataset, backbone)
        first = here[0]
        pictures.append(
            draw(
                make,
                (5.2 * len(here), 0.5 * rows + 1.7),
                slug(f"likelihoods {dataset} {backbone}"),
                "dependency",
                f"Does z say anything about x? {name}",
                f"NLL of the test series under their own latent, another's, noise and zero; permuted − own is the "
                f"honest sign that z informs x. Mean over n = {first.n_of('nll_own') or '?'} series and "
                f"{_seeds(here)}. Bars: 95 % interval over seeds (none for one seed). {_note_on_choice(here)}".strip(),
                f"Negative log-likelihoods of each method under four latents on {name}.",
                dataset=dataset,
                backbone=backbone,
            )
        )
    return pictures


# ---------------------------------------------------------------- lines over steps


def _lines(
    panels: Mapping[str, Mapping[str, pd.DataFrame]],
    styles: Styles,
    names: Mapping[str, str],
    xlabel: str,
    logx: bool = False,
) -> Any:
    """A maker of one panel per title: label -> rows (x, seed's value) as a frame with columns x and value."""

    def make(figure: Figure) -> None:
        across = min(len(panels), 3)
        down = math.ceil(len(panels) / across)
        axes = figure.subplots(down, across, squeeze=False).ravel()
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        for place, (ax, (title, lines)) in enumerate(zip(axes, panels.items(), strict=False)):
            heights: list[float] = []
            for label, rows in lines.items():
                by_x = rows[np.isfinite(rows["value"])].groupby("x")["value"]
                mean, low, high = by_x.mean(), by_x.min(), by_x.max()
                if not len(mean):
                    continue
                style = {**styles[label], "markersize": 3.5, "markevery": max(len(mean) // 8, 1)}
                ax.plot(mean.index, mean.values, **style, label=names[label])
                ax.fill_between(mean.index, low.values, high.values, color=style["color"], alpha=0.15, linewidth=0)
                heights += mean.tolist()
            if len(heights) > 20:  # one divergence must not flatten all the rest
                low, high = np.quantile(heights, [0.01, 0.97])
                if high > low:
                    ax.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
            if logx:
                ax.set_xscale("log")
            ax.set_title(shorten(title, 40))
            if place >= len(panels) - across:
                ax.set_xlabel(xlabel)
        _legend(figure, axes)

    return make


def _panel_size(count: int) -> tuple[float, float]:
    across = min(count, 3)
    return 3.4 * across + 0.8, 2.4 * math.ceil(count / across) + 0.8


def training(selection: Selection, groups: Sequence[Group], styles: Styles) -> list[Picture]:
    """Every training term against the step, one panel per term."""
    pictures = []
    curves = selection.curves
    for group in groups:
        cells = shown(group)
        panels: dict[str, dict[str, pd.DataFrame]] = {}
        for cell in cells:
            for (stage, term), rows in _rows_of(curves, cell).groupby(["stage", "term"]):
                panels.setdefault(f"{stage}: {term}", {})[cell.label] = rows.rename(columns={"step": "x"})
        if not panels:
            continue
        kept = dict(sorted(panels.items())[:9])
        pictures.append(
            draw(
                _lines(kept, styles, {c.label: legend_name(group, c) for c in cells}, "update"),
                _panel_size(len(kept)),
                slug(f"training {group.name}"),
                "training",
                f"Training curves: {group.name}",
                f"Terms as they are minimised (nats per value; the denoiser's mean squared error). Mean of "
                f"{_seeds([group])}, shaded: lowest to highest seed. The vertical axis leaves out the largest 3 %. "
                f"{_note_on_choice([group])}".strip(),
                f"Training terms of each method against the update on {group.name}.",
                dataset=group.dataset,
                backbone=group.backbone,
            )
        )
    return pictures


def over_training(selection: Selection, groups: Sequence[Group], styles: Styles) -> list[Picture]:
    """The collapse diagnostics against the update at which they were taken."""
    history = selection.history
    if not len(history):
        return []
    scalars = history[history["coordinate"] == ""]
    wide = scalars.pivot_table(index=["run_id", "train_step"], columns="metric", values="value").reset_index()
    if {"nll_own", "nll_permuted"} <= set(wide.columns):
        wide["nll_gap"] = wide["nll_permuted"] - wide["nll_own"]
    ends = history[(history["metric"] == "dependency_global") & (history["coordinate"] == "t")]
    if len(ends):
        last = ends[ends["index"] == ends.groupby("run_id")["index"].transform("max")]
        ends = last.groupby(["run_id", "train_step"])["value"].mean().rename("dependency_end").reset_index()
        wide = wide.merge(ends, how="outer", on=["run_id", "train_step"])
    pictures = []
    names = [name for name in wide.columns if name not in ("run_id", "train_step")]
    first = [name for name in ("nll_gap", "dependency_end", "kl", "active_units", "nll_own") if name in names]
    for group in groups:
        cells, panels = shown(group), {}
        for metric in first + sorted(set(names) - set(first) - {"nll_permuted"}):
            lines = {
                cell.label: _rows_of(wide, cell)[["train_step", metric]].set_axis(["x", "value"], axis=1)
                for cell in cells
            }
            if any(rows["value"].notna().any() for rows in lines.values()):
                panels[SHORT.get(metric, metric)] = lines
        if not panels:
            continue
        kept = dict(list(panels.items())[:9])
        pictures.append(
            draw(
                _lines(kept, styles, {c.label: legend_name(group, c) for c in cells}, "update"),
                _panel_size(len(kept)),
                slug(f"over training {group.name}"),
                "over-training",
                f"Collapse over training: {group.name}",
                f"Measured while training. Mean of {_seeds([group])}, shaded: lowest to highest seed. "
                f"{_note_on_choice([group])}".strip(),
                f"Collapse diagnostics of each method against the update on {group.name}.",
                dataset=group.dataset,
                backbone=group.backbone,
            )
        )
    return pictures


COORDINATES = {
    "diffusion_step": ("Along the diffusion", "diffusion step i"),
    "lag": ("Over lags", "lag (steps)"),
    "dimension": ("Over latent dimensions", "latent dimension"),
    "threshold": ("Over thresholds", "threshold"),
}


def along(selection: Selection, groups: Sequence[Group], styles: Styles) -> list[Picture]:
    """Every metric that has an index other than t, against that index."""
    pictures = []
    for coordinate, rows in selection.metrics.groupby("coordinate"):
        if coordinate in ("", "t"):
            continue
        title, xlabel = COORDINATES.get(str(coordinate), (f"Over {coordinate}", str(coordinate)))
        for group in groups:
            cells, panels = shown(group), {}
            for metric, mine in rows.groupby("metric"):
                lines = {
                    cell.label: _rows_of(mine, cell)[["index", "value"]].set_axis(["x", "value"], axis=1)
                    for cell in cells
                }
                if any(line["value"].notna().any() for line in lines.values()):
                    panels[SHORT.get(str(metric), str(metric))] = lines
            if not panels:
                continue
            kept = dict(list(panels.items())[:9])
            pictures.append(
                draw(
                    _lines(kept, styles, {c.label: legend_name(group, c) for c in cells}, xlabel),
                    _panel_size(len(kept)),
                    slug(f"{coordinate} {group.name}"),
                    "over-training",
                    f"{title}: {group.name}",
                    f"Mean of {_seeds([group])}, shaded: lowest to highest seed. {_note_on_choice([group])}".strip(),
                    f"Metrics of each method against {xlabel} on {group.name}.",
                    dataset=group.dataset,
                    backbone=group.backbone,
                )
            )
    return pictures


# ---------------------------------------------------------------- grids

PAIRS = [("N", "M"), ("gamma", "eta")]


def numeric_settings(cells: Sequence[Cell]) -> list[str]:
    """The hyper-parameters with several values, all of them numbers, among these cells."""
    found = []
    for name in dict.fromkeys(name for cell in cells for name in cell.settings):
        values = {cell.settings.get(name) for cell in cells}
        if len(values) > 1 and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
            found.append(name)
    return found


def averaged(cells: Sequence[Cell], metric: str, names: Sequence[str]) -> dict[tuple[float, ...], dict[int, float]]:
    """Setting -> seed -> the mean over every setting that is not named; seeds that all of them share."""
    pool: dict[tuple[float, ...], list[dict[int, float]]] = {}
    for cell in cells:
        pool.setdefault(tuple(float(cell.settings[name]) for name in names), []).append(cell.values.get(metric, {}))
    found = {}
    for key, members in pool.items():
        shared = set.intersection(*(set(member) for member in members))
        found[key] = {seed: float(np.mean([member[seed] for member in members])) for seed in sorted(shared)}
    return found


def grid_metrics(group: Group) -> list[tuple[str, str, Literal["lower", "higher"]]]:
    """What a grid is coloured by: two quality columns and the two signs of a living latent."""
    quality = [(c.metric, c.title, c.direction) for c in group.quality[:2] if c.direction != "none"]
    present = {column.metric for column in group.columns}
    signs = [(name, SHORT[name], "higher") for name in ("nll_gap", "dependency_end") if name in present]
    return [*quality, *signs]  # type: ignore[list-item]


def grids(groups: Sequence[Group], styles: Styles) -> list[Picture]:
    """Heat maps over the paper's pairs of hyper-parameters, curves over any other."""
    pictures = []
    for group in groups:
        for label in dict.fromkeys(cell.label for cell in group.cells):
            cells = [cell for cell in group.cells if cell.label == label and cell.ok]
            free = numeric_settings(cells)
            pairs = [pair for pair in PAIRS if set(pair) <= set(free)]
            if len(free) == 2 and not pairs:
                pairs = [(free[0], free[1])]
            alone = [name for name in free if not any(name in pair for pair in pairs)]
            metrics = [m for m in grid_metrics(group) if any(cell.values.get(m[0]) for cell in cells)]
            if not metrics:
                continue
            for pair in pairs:
                pictures.append(_heat_maps(group, label, cells, pair, metrics, len(free) > 2))
            for name in alone:
                pictures.append(_setting_curves(group, label, cells, name, metrics, styles, len(free) > 1))
    return pictures


def _heat_maps(
    group: Group, label: str, cells: Sequence[Cell], pair: tuple[str, str], metrics: Any, others: bool
) -> Picture:
    import seaborn  # here: it takes a second, and few sweeps have a grid

    rows = sorted({float(cell.settings[pair[0]]) for cell in cells})
    columns = sorted({float(cell.settings[pair[1]]) for cell in cells})
    small = len(rows) * len(columns) <= MOST_NUMBERS

    def make(figure: Figure) -> None:
        axes = figure.subplots(1, len(metrics), squeeze=False)[0]
        for ax, (metric, title, direction) in zip(axes, metrics, strict=True):
            values = averaged(cells, metric, pair)
            places = standings({str(key): found for key, found in values.items()}, direction)
            table = np.full((len(rows), len(columns)), np.nan)
            text = np.full(table.shape, "", dtype=object)
            for key, found in values.items():
                at = rows.index(key[0]), columns.index(key[1])
                if not found:
                    continue
                summary = interval(list(found.values()))
                place = places[str(key)].place
                table[at] = summary.mean
                text[at] = number(summary.mean, summary.half) + {"tie": "\n≈ best", "best": "\nbest"}.get(place, "")
                if place == "best":
                    ax.add_patch(
                        Rectangle((at[1], at[0]), 1, 1, fill=False, edgecolor="#d55e00", linewidth=3, zorder=5)
                    )
            seaborn.heatmap(
                pd.DataFrame(table, [plain(v) for v in rows], [plain(v) for v in columns]), ax=ax, fmt="",
                annot=text if small else False, annot_kws={"fontsize": 8.5}, linewidths=0.5 if small else 0,
                cmap="cividis_r" if direction == "lower" else "cividis", cbar=False,
            )  # fmt: skip
            ax.grid(False)
            ax.set_title(f"{title} ({direction} is better)", fontsize=9)
            ax.set_xlabel(pair[1])
            ax.set_ylabel(pair[0])
            ax.tick_params(axis="y", rotation=0)

    average = "Averaged over the other settings. " if others else ""
    return draw(
        make,
        (2.9 * len(metrics) + 0.3, min(0.55 * len(rows), 6.0) + 1.3),
        slug(f"grid {pair[0]} {pair[1]} {label} {group.name}"),
        "grids",
        f"{label} over {pair[0]} and {pair[1]}: {group.name}",
        f"Mean over {_seeds([group])}. {average}Brighter is better. Framed: best mean; ≈ best: not "
        "distinguishable from it (paired over seeds, 95 % over the whole map).",
        f"Heat maps of {label} over {pair[0]} and {pair[1]} on {group.name}.",
        dataset=group.dataset,
        backbone=group.backbone,
    )


def _setting_curves(
    group: Group, label: str, cells: Sequence[Cell], name: str, metrics: Any, styles: Styles, others: bool
) -> Picture:
    def make(figure: Figure) -> None:
        axes = figure.subplots(1, len(metrics), squeeze=False)[0]
        for ax, (metric, title, direction) in zip(axes, metrics, strict=True):
            values = averaged(cells, metric, [name])
            points = sorted((key[0], interval(list(found.values()))) for key, found in values.items() if found)
            bars = np.nan_to_num([[f.mean - f.low for _, f in points], [f.high - f.mean for _, f in points]])
            ax.errorbar(
                [x for x, _ in points], [f.mean for _, f in points], bars, **styles[label], elinewidth=0.8, capsize=2
            )
            ax.set_title(f"{title} ({direction} is better)", fontsize=9)
            ax.set_xlabel(name)
            if len(points) <= 6:
                ax.set_xticks([x for x, _ in points], [plain(x) for x, _ in points])
            floor = group.floor(metric)
            if floor is not None:
                ax.axhline(floor.mean, color=INK, linewidth=1, linestyle=":")

    average = "Averaged over the other settings. " if others else ""
    return draw(
        make,
        (3.0 * len(metrics) + 0.3, 2.7),
        slug(f"curve {name} {label} {group.name}"),
        "grids",
        f"{label} over {name}: {group.name}",
        f"Mean over {_seeds([group])}. {average}Bars: 95 % interval over seeds (none for one seed). Dotted: floor, "
        "train against test.",
        f"Metrics of {label} against {name} on {group.name}.",
        dataset=group.dataset,
        backbone=group.backbone,
    )


# ---------------------------------------------------------------- ranks and samples


def critical_difference(test: RankTest, metric: str) -> Picture:
    """Mean ranks over the data sets; a bar joins methods whose ranks do not differ (Demsar 2006)."""
    order = sorted(test.mean_ranks.items(), key=lambda item: item[1])
    names, ranks = [name for name, _ in order], [rank for _, rank in order]
    spans: list[tuple[int, int]] = []
    for start, rank in enumerate(ranks):
        end = max(k for k, other in enumerate(ranks) if other - rank <= test.critical_difference)
        if end > start and not any(end <= right for _, right in spans):
            spans.append((start, end))

    def make(figure: Figure) -> None:
        ax = figure.subplots()
        ax.plot(ranks, range(len(names)), linestyle="", marker="o", color=COLOURS[0])
        for place, (name, rank) in enumerate(order):
            ax.annotate(f"{shorten(name)}  {rank:.2f}", (rank, place), xytext=(8, -3), textcoords="offset points")
        for k, (start, end) in enumerate(spans):
            ax.plot([ranks[start], ranks[end]], [-0.6 - 0.3 * k] * 2, color=INK, linewidth=3, solid_capstyle="butt")
        ax.set_ylim(len(names) - 0.5, -1 - 0.3 * len(spans))
        ax.set_xlim(0.8, len(names) + 1.2)
        ax.set_yticks([])
        ax.set_xlabel("mean rank over data sets (1 is best)")

    return draw(
        make,
        (7.0, 0.32 * len(names) + 1.4),
        slug(f"ranks {metric}"),
        "comparison",
        f"Ranks by {SHORT.get(metric, metric)} over {test.n_datasets} data sets",
        f"Friedman p = {test.p_value:.2g}; critical difference {test.critical_difference:.2f} (Nemenyi, 5 %): a bar "
        "joins methods that the test does not tell apart.",
        "Mean rank of each method: " + ", ".join(f"{name} {rank:.2f}" for name, rank in order),
    )


class Channel(NamedTuple):
    """One channel of a data set, and the way from its train-scaled values to its unit."""

    name: str
    unit: str = ""
    mean: float = 0.0
    scale: float = 1.0

    def of(self, x: np.ndarray) -> np.ndarray:
        """Train-scaled values in this channel's unit."""
        return x * self.scale + self.mean

    def title(self, width: int) -> str:
        """The name, cut to a width, and the whole unit."""
        return shorten(self.name, width) + (f" ({self.unit})" if self.unit else "")


def samples(
    group: Group,
    windows: Mapping[str, np.ndarray],
    real: np.ndarray,
    channels: Sequence[Channel],
    styles: Styles,
    seed: int,
) -> list[Picture]:
    """Generated beside real windows: some series, principal components, marginals, autocorrelation.

    windows: label -> (n, T, C), real (n, T, C), all train-scaled; the C channels.
    """
    cells = {cell.label: cell for cell in group.cells}
    n_channels = min(real.shape[2], 3)
    few = list(windows)[:5]
    where = {"dataset": group.dataset, "backbone": group.backbone}
    source = f"Seed {seed}."

    def series(figure: Figure) -> None:
        axes = figure.subplots(n_channels, 1 + len(few), squeeze=False, sharex=True, sharey="row")
        for c in range(n_channels):
            low, high = np.quantile(channels[c].of(real[:, :, c]), [0.001, 0.999])
            margin = 0.15 * (high - low) + 1e-6
            for ax, label in zip(axes[c], ["real", *few], strict=True):
                x = real if label == "real" else windows[label]
                colour = INK if label == "real" else styles[label]["color"]
                for row in x[:6]:
                    ax.plot(
                        np.arange(1, len(row) + 1), channels[c].of(row[:, c]), color=colour, linewidth=0.9, alpha=0.75
                    )
                ax.set_ylim(low - margin, high + margin)
                if c == 0:
                    ax.set_title(shorten("real" if label == "real" else cells[label].label, 20), fontsize=9)
                if c == n_channels - 1:
                    ax.set_xlabel("t (steps)")
            axes[c][0].set_ylabel(channels[c].title(16))

    def plane(figure: Figure) -> None:
        flat = real.reshape(len(real), -1)
        centre = flat.mean(axis=0)
        _, size, axes_of = np.linalg.svd(flat - centre, full_matrices=False)
        shares = size**2 / max(float((size**2).sum()), 1e-12)
        panels = figure.subplots(1, len(few), squeeze=False, sharex=True, sharey=True)[0]
        mine = (flat - centre) @ axes_of[:2].T
        for ax, label in zip(panels, few, strict=True):
            theirs = (windows[label].reshape(len(windows[label]), -1) - centre) @ axes_of[:2].T
            ax.plot(*mine[:300].T, linestyle="", marker=".", markersize=3, color="#8a8f94", label="real")
            ax.plot(
                *theirs[:300].T, linestyle="", marker="x", markersize=3, color=styles[label]["color"], label="generated"
            )
            reach = np.abs(np.quantile(mine, [0.001, 0.999], axis=0)).max(axis=0) * 1.4 + 1e-6
            ax.set_xlim(-reach[0], reach[0])
            ax.set_ylim(-reach[-1], reach[-1])
            ax.set_title(shorten(cells[label].label, 22), fontsize=9)
            ax.set_xlabel(f"component 1 ({shares[0]:.0%})")
        panels[0].set_ylabel(f"component 2 ({shares[1] if len(shares) > 1 else 0:.0%})")
        panels[0].legend(fontsize=8)

    def overlays(figure: Figure) -> None:
        axes = figure.subplots(1, n_channels + 1, squeeze=False)[0]
        lags = np.arange(min(real.shape[1], 25))
        for c in range(n_channels):
            low, high = np.quantile(channels[c].of(real[:, :, c]), [0.002, 0.998]).tolist()
            edges = np.linspace(low, high, 41) if high > low else np.linspace(low - 1, high + 1, 41)
            centres = (edges[1:] + edges[:-1]) / 2
            for label in ["real", *few]:
                x = real if label == "real" else windows[label]
                heights = (
                    np.histogram(channels[c].of(x[:, :, c]), edges)[0] / max(x[:, :, c].size, 1) / (edges[1] - edges[0])
                )
                style = {"color": INK, "linewidth": 2.0} if label == "real" else {**styles[label], "marker": ""}
                axes[c].plot(centres, heights, **style, label=shorten(label))
            axes[c].set_xlabel(channels[c].title(22))
            axes[c].set_ylabel("density" if c == 0 else "")
        for label in ["real", *few]:
            style = {"color": INK, "linewidth": 2.0} if label == "real" else {**styles[label], "marker": ""}
            axes[-1].plot(lags, autocorrelation(real if label == "real" else windows[label], len(lags)), **style)
        axes[-1].set_xlabel("lag (steps)")
        axes[-1].set_ylabel("autocorrelation")
        _legend(figure, axes[:1])

    def picture(make: Any, size: tuple[float, float], kind: str, title: str, caption: str) -> Picture:
        return draw(
            make, size, slug(f"{kind} {group.name}"), "samples", f"{title}: {group.name}", f"{caption} {source}",
            f"{title} of each method on {group.name}.", **where,
        )  # fmt: skip

    wide = 1.75 * (1 + len(few)) + 0.6
    return [
        picture(series, (wide, 1.4 * n_channels + 0.6), "samples", "Real and generated windows",
                f"Six windows each, on the same axes; {n_channels} of {real.shape[2]} channels."),
        picture(plane, (2.1 * len(few) + 0.7, 2.5), "components", "Principal components",
                "The first two components of the real windows, train-scaled, with their shares of the variance; "
                f"up to 300 of n = {len(real)}."),
        picture(overlays, (2.5 * (n_channels + 1) + 0.4, 2.9), "marginals", "Marginals and autocorrelation",
                f"Over all steps of n = {len(real)} windows; the autocorrelation is the mean over channels."),
    ]  # fmt: skip


def autocorrelation(x: np.ndarray, lags: int) -> np.ndarray:
    """E[(x_t - mu)(x_{t+k} - mu)] / Var[x] per channel, averaged over the channels, at k = 0 .. lags - 1; x (n, T, C).

    mu and Var are the channel's over all windows; each lag is divided by its own number of pairs.
    """
    centred = np.nan_to_num(x.astype(np.float64)) - np.nan_to_num(x.astype(np.float64)).mean(axis=(0, 1))
    power = np.maximum((centred**2).mean(axis=(0, 1)), 1e-12)
    T = x.shape[1]
    return np.asarray([((centred[:, : T - k] * centred[:, k:]).mean(axis=(0, 1)) / power).mean() for k in range(lags)])


def all_pictures(selection: Selection, groups: Sequence[Group], bars: Bars) -> list[Picture]:
    """Every picture that the store's rows allow, in the page's order."""
    styles = Styles([cell.label for group in groups for cell in group.cells])
    return [
        *dependency(selection, groups, styles, bars),
        *likelihoods(groups),
        *grids(groups, styles),
        *over_training(selection, groups, styles),
        *along(selection, groups, styles),
        *training(selection, groups, styles),
    ]
