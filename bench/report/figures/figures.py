"""Pictures of a sweep, as SVG and PNG text and bytes; nothing here writes a file.

Every picture has one colour, marker and line style per label, the same in all of them, readable
in grayscale; every caption says what n is and what the bars are. A picture is planned first (its
words, and a function of this module with all that it draws), so that one whose inputs did not
change since the last report is not drawn again.
"""

from __future__ import annotations

import functools
import hashlib
import io
import math
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import joblib
import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, MaxNLocator

from bench.report.statistics import Interval, RankTest, interval, standings
from bench.report.tables import Cell, Group, MetricFacts, Selection, number, plain, scalars_by, title_of

matplotlib.use("Agg")

INK, GRID, PAPER = "#1a1c1e", "#d4d7da", "#fffffe"  # the page swaps these for its theme's colours
REAL = "#8a8f94"  # real windows behind generated ones: seen on a light and on a dark page
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
MOST_PANELS = 9
STEPS = [1, 2, 2.5, 5, 10]  # between ticks, times a power of ten
MOST_NUMBERS = 80  # printed into one heat map; a larger one shows its colours only
UNRESOLVED = 0.05  # share of series above which a point is drawn hollow

Bars = Literal["seeds", "series", "windows"]

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


@dataclass(frozen=True)
class Picture:
    """One picture: its words, what draws it on a figure, and once drawn its files."""

    name: str  # of its files
    section: str  # of the page
    title: str
    caption: str
    alt: str
    size: tuple[float, float]  # inches
    make: partial[None]  # a function of this module and all it draws; takes the figure
    dataset: str = ""
    backbone: str = ""
    svg: str = ""
    png: bytes = b""

    @property
    def key(self) -> str:
        """What decides how it looks: pictures of one key are the same files."""
        arguments = self.make.func.__name__, self.make.args, self.make.keywords
        return str(joblib.hash((_drawn_by(), self.name, self.size, arguments)))


@functools.cache
def _drawn_by() -> tuple[str, str]:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest(), matplotlib.__version__


def drawn(picture: Picture, earlier: Path | None = None) -> Picture:
    """The picture with its files: those of the same key in the folder `earlier`, else drawn now."""
    key = picture.key
    found = _found(picture, key, earlier) if earlier is not None else None
    if found is None:
        style: Any = {**STYLE, "svg.hashsalt": picture.name}
        with warnings.catch_warnings(), matplotlib.rc_context(style):
            warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a name in a script the font lacks
            figure = Figure(figsize=picture.size)
            picture.make(figure)
            svg, png = io.StringIO(), io.BytesIO()
            if picture.make.func is not _panels:  # which gives its axes their places itself
                ConstrainedLayoutEngine().execute(figure)  # once for both files, not at each draw
            for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
                axis.set_major_locator(FixedLocator(axis.get_majorticklocs().tolist()))  # nor are ticks chosen again
            figure.savefig(svg, format="svg", dpi=150, metadata={"Date": None, "Creator": None, "Identifier": key})
            figure.savefig(png, format="png", dpi=130, facecolor="white", metadata={"Identifier": key})
        found = svg.getvalue(), png.getvalue()
    return replace(picture, svg=found[0], png=found[1])


def _found(picture: Picture, key: str, earlier: Path) -> tuple[str, bytes] | None:
    try:
        svg = (earlier / f"{picture.name}.svg").read_text(encoding="utf-8")
        png = (earlier / f"{picture.name}.png").read_bytes()
    except (OSError, ValueError):
        return None
    return (svg, png) if f"<dc:identifier>{key}<" in svg and key.encode() in png[:1000] else None


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


def shown(group: Group) -> list[Cell]:
    """At most one cell per label, the best by the first quality column, and at most MOST_LINES labels."""
    return list(group.best_settings.values())[:MOST_LINES]


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


def _legend(figure: Figure, axes: Iterable[Axes], order: Sequence[str] = ()) -> float:
    """Below everything: every label of the axes once, in as many columns as the figure is wide. Its height, inches."""
    entries: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    labels = [label for label in order if label in entries] + [label for label in entries if label not in order]
    if labels:
        longest = 0.075 * max(len(label) for label in labels) + 0.65  # inches, at this size of the font
        columns = max(1, min(len(labels), int(figure.get_figwidth() / longest)))
        handles = [entries[label] for label in labels]
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8.5)
        return 0.16 + 0.177 * math.ceil(len(labels) / columns)
    return 0.0


def _place(figure: Figure, axes: np.ndarray, below: float) -> None:
    """A grid of axes of one size, with room for the words around each; `below` is kept free, inches.

    A quarter of the time that drawing takes is what a layout engine measures; of panels like these it is known: one
    line of title, tick labels whose characters can be counted, one line of label.
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
    """Of the longest tick label, inches, at this size of the font."""
    return max((0.084 * len(text) - 0.04 * text.count(".") for text in _ticks(axis)), default=0.0)


def _height(axis: Axis) -> float:
    """Of the label, and of tick labels that stand upright, inches."""
    label = 0.2 if axis.get_label_text() else 0.0
    upright = axis.get_major_ticks(1)[0].label1.get_rotation() > 0
    return label + (0.07 * max(map(len, _ticks(axis)), default=0) if upright else 0.0)


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


def _series(counts: Iterable[float]) -> str:
    """ "n = 500 series" of the n column of rows; "" where there is none."""
    found = sorted({int(n) for n in counts if n == n and n > 0})
    return f"n = {' to '.join(map(str, found[:1] + found[1:][-1:]))} series" if found else ""


def _joined(words: Iterable[str]) -> str:
    return " ".join(word for word in words if word)


# ---------------------------------------------------------------- dependency and likelihoods


class Line(NamedTuple):
    """One method in one panel: x, the mean over seeds, and how far the bar or the shade reaches from it."""

    name: str
    style: dict[str, Any]
    x: np.ndarray
    mean: np.ndarray
    down: np.ndarray
    up: np.ndarray
    hollow: np.ndarray  # where a point is not to be trusted


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


DEPENDENCY = {"dependency_global": r"global $m_{t,0}$", "dependency_local": r"local $m_{t,t-1}$"}


def dependency(selection: Selection, groups: Sequence[Group], styles: Styles, bars: Bars = "seeds") -> list[Picture]:
    """m_{t,0} and m_{t,t-1} against t, ordered beside shuffled."""
    along_t = selection.metrics[selection.metrics["coordinate"] == "t"]
    curves = {str(name): rows for name, rows in along_t.groupby("metric", observed=True)}
    pictures = []
    for (dataset, backbone), here in _placed(groups).items():
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
                    t, mean, down, up = _curve(_rows_of(mine[measure], cell), bars)
                    if len(t):
                        hollow = _unresolved(mine.get("dependency_unresolved"), cell, t)
                        lines.append(Line(shorten(cell.label), styles[cell.label], t, mean, down, up, hollow))
                panels[-1].append(lines)
        ends = [
            f"{_side(group)} {line.name} {number(float(line.mean[-1]))}"
            for group, lines in zip(here, panels[0], strict=True)
            for line in lines
        ]
        what = {
            "seeds": "Bars: 95 % interval over seeds (none for one seed).",
            "series": "Bars: 3 standard deviations over series (a spread, no interval), averaged over seeds.",
            "windows": "Bars: 95 % interval of one run's mean over test windows, by blocks of 2 T / stride where they "
            "overlap, averaged over seeds.",
        }[bars]
        name, n = _place_name(dataset, backbone), _series(mine[present[0]]["n"])
        caption = (
            f"How much of the decoder's state h at time t goes back to the latent (global) and to the value just "
            f"before (local); a latent that is forgotten falls to 0. Mean over {n} and {_seeds(here)}. {what} Bars "
            f"may leave the axes. Hollow: unresolved for more than {UNRESOLVED:.0%} of the series. At t = 1 both are "
            f"1 by definition. {_note_on_choice(here)}"
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
                partial(_dependency, titles=titles, sides=[_side(group) for group in here], panels=panels),
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
    _legend(figure, axes.ravel())


def _unresolved(table: pd.DataFrame | None, cell: Cell, t: np.ndarray) -> np.ndarray:
    if table is None:
        return np.zeros(len(t), dtype=bool)
    rows = _rows_of(table, cell)
    share = (rows["value"] / rows["n"].clip(lower=1)).groupby(rows["index"]).mean()
    return np.asarray([share.get(step, 0.0) > UNRESOLVED for step in t])


NLLS: dict[str, tuple[str, dict[str, Any]]] = {
    "nll_own": ("own z", {"marker": "o", "color": INK}),
    "nll_permuted": ("another series' z", {"marker": "^", "color": REAL}),
    "nll_noise": ("noise", {"marker": "s", "color": INK, "markerfacecolor": PAPER}),
    "nll_zero": ("z = 0", {"marker": "D", "color": REAL, "markerfacecolor": PAPER}),
}
"""No colours here: those are the methods'."""


class Dots(NamedTuple):
    """One side of the likelihoods: a row per method, its intervals by measure, and the marginal's NLL (NaN: none)."""

    title: str
    names: list[str]
    found: dict[str, list[Interval]]
    marginal: float


def likelihoods(groups: Sequence[Group]) -> list[Picture]:
    """Own, permuted, noise and zero NLL side by side."""
    pictures = []
    for (dataset, backbone), here in _placed(groups).items():
        sides = []
        for group in here:
            cells = shown(group)
            marginal = [v for cell in cells for v in cell.values.get("nll_marginal", {}).values()]
            found = {name: [cell.interval(name) for cell in cells] for name in NLLS}
            names = [legend_name(group, cell, 24) for cell in cells]
            sides.append(Dots(_side(group), names, found, float(np.mean(marginal)) if marginal else math.nan))
        means = [f.mean for side in sides for found in side.found.values() for f in found if f.n]
        if not means:
            continue
        means += [side.marginal for side in sides if math.isfinite(side.marginal)]
        gaps = [
            f"{side.title} {name} {number(permuted.mean - own.mean)}"
            for side in sides
            for name, own, permuted in zip(side.names, side.found["nll_own"], side.found["nll_permuted"], strict=True)
        ]
        name, rows = _place_name(dataset, backbone), max(len(side.names) for side in sides)
        n = here[0].n_of("nll_own")
        pictures.append(
            Picture(
                slug(f"likelihoods {dataset} {backbone}"),
                "dependency",
                f"Does z say anything about x? {name}",
                _joined(
                    [
                        "Negative log-likelihood (NLL) of the test series under their own latent, another's, noise and "
                        "zero; further left is likelier. The distance from own to another's is the honest sign that z "
                        f"informs x. Mean over n = {n or '?'} series and {_seeds(here)}.",
                        "Bars: 95 % interval over seeds (none for one seed); they may leave the axes.",
                        _note_on_choice(here),
                    ]
                ),
                f"Negative log-likelihoods of each method under four latents on {name}. Another's minus own, nats per "
                f"value: {', '.join(gaps)}.",
                (5.2 * len(here), 0.5 * rows + 1.9),
                partial(_likelihoods, sides=sides, low=min(means), high=max(means)),
                dataset,
                backbone,
            )
        )
    return pictures


def _likelihoods(figure: Figure, sides: Sequence[Dots], low: float, high: float) -> None:
    wide = high - low > 30
    axes = figure.subplots(1, len(sides), squeeze=False, sharex=True)[0]
    for ax, side in zip(axes, sides, strict=True):
        for place, (name, (title, style)) in enumerate(NLLS.items()):
            found = side.found[name]
            y = np.arange(len(found)) + (place - 1.5) * 0.15
            bars = np.nan_to_num([[f.mean - f.low for f in found], [f.high - f.mean for f in found]])
            ax.errorbar(
                [f.mean for f in found], y, xerr=bars, linestyle="", **style, markersize=5, capsize=1.5,
                elinewidth=0.8, label=f"x given {title}",
            )  # fmt: skip
        if math.isfinite(side.marginal):
            ax.axvline(side.marginal, color=INK, linewidth=1, linestyle=":", label="marginal (no model)")
        if wide:
            ax.set_xscale("symlog", linthresh=1)
        else:  # two seeds can have bars that are ten times the distances
            ax.set_xlim(low - 0.12 * (high - low) - 0.05, high + 0.12 * (high - low) + 0.05)
        ax.set_yticks(range(len(side.names)), side.names)
        ax.set_ylim(len(side.names) - 0.5, -0.5)
        ax.set_xlabel("NLL (nats per value)" + (", symmetric log" if wide else ""))
        ax.set_title(side.title)
    _legend(figure, axes, [f"x given {title}" for title, _ in NLLS.values()])


# ---------------------------------------------------------------- lines over steps


class Panel(NamedTuple):
    """One pair of axes: its title, the unit of its values, a line per method, and where the axis ends below."""

    title: str
    unit: str
    lines: list[Line]
    bottom: float = -math.inf
    ticks: tuple[str, ...] = ()  # of x = 1, 2, ..: kinds, which no line joins


SHARE_OF_VARIANCE = ("probe_level", "diffusion_probe", "probe_truth_by_factor")
"""Coefficients of determination: how far below -1 they are tells nothing."""


def _panel(title: str, unit: str, rows: Mapping[str, pd.DataFrame], styles: Styles, names: Mapping[str, str]) -> Panel:
    """rows: label -> every seed's points, columns x and value. A line is the mean, the shade all seeds."""
    lines = []
    for label, points in rows.items():
        by_x = points[np.isfinite(points["value"])].groupby("x")["value"]
        mean, low, high = by_x.mean(), by_x.min(), by_x.max()
        if len(mean):
            x, middle = mean.index.to_numpy(dtype=float), mean.to_numpy()
            reach = middle - low.to_numpy(), high.to_numpy() - middle
            lines.append(Line(names[label], styles[label], x, middle, *reach, np.zeros(len(x), dtype=bool)))
    return Panel(title, unit, lines)


def _panels(figure: Figure, panels: Sequence[Panel], xlabel: str, order: Sequence[str]) -> None:
    across = min(len(panels), 3)
    down = math.ceil(len(panels) / across)
    grid = figure.subplots(down, across, squeeze=False)
    axes = grid.ravel()
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    for place, (ax, panel) in enumerate(zip(axes, panels, strict=False)):
        heights: list[float] = []
        for k, line in enumerate(panel.lines):
            style = {**line.style, "markersize": 3.5, "label": line.name}
            if panel.ticks:
                x = line.x + (k - (len(panel.lines) - 1) / 2) * 0.1
                ax.errorbar(x, line.mean, [line.down, line.up], **{**style, "linestyle": ""}, elinewidth=0.8)
            else:
                ax.plot(line.x, line.mean, **style, markevery=max(len(line.x) // 8, 1))
                if (line.up > 0).any() or (line.down > 0).any():
                    ax.fill_between(
                        line.x, line.mean - line.down, line.mean + line.up, color=line.style["color"], alpha=0.15,
                        linewidth=0,
                    )  # fmt: skip
            heights += np.maximum(line.mean, panel.bottom).tolist()
        if len(heights) > 20:  # one divergence must not flatten all the rest
            low, high = np.quantile(heights, [0.01, 0.97])
            margin = 0.1 * (high - low) or 0.05 * abs(high) or 0.05
            ax.set_ylim(low - margin, high + margin)
        elif heights and ax.get_ylim()[0] < panel.bottom:
            ax.set_ylim(panel.bottom - 0.1, max(heights) + 0.1)
        if panel.ticks:
            ax.set_xticks(range(1, len(panel.ticks) + 1), map(shorten, panel.ticks), rotation=90, fontsize=8)
        else:
            whole = all((line.x == line.x.round()).all() for line in panel.lines)
            ax.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS, integer=whole))
        ax.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
        ax.set_title(shorten(panel.title, 40))
        ax.set_ylabel(panel.unit)
        if place >= len(panels) - across:
            ax.set_xlabel(xlabel)
    _place(figure, grid, _legend(figure, axes, order))


def _over(
    group: Group,
    panels: Sequence[Panel],
    name: str,
    section: str,
    title: str,
    xlabel: str,
    caption: Sequence[str],
) -> list[Picture]:
    """One picture of panels that share their x, or none where there are no panels."""
    kept = [panel for panel in panels if panel.lines][:MOST_PANELS]
    if not kept:
        return []
    across = min(len(kept), 3)
    first = kept[0]
    ends = ", ".join(f"{line.name} {number(float(line.mean[-1]))}" for line in first.lines)
    left_out = len([panel for panel in panels if panel.lines]) - len(kept)
    words = [
        *caption,
        f"Lines and markers: mean of {_seeds([group])}; shades and bars: lowest to highest seed.",
        f"The first {MOST_PANELS} of {MOST_PANELS + left_out} measures." if left_out else "",
        _note_on_choice([group]),
    ]
    return [
        Picture(
            slug(f"{name} {group.name}"),
            section,
            f"{title}: {group.name}",
            _joined(words),
            f"{', '.join(panel.title for panel in kept)} of each method against {xlabel} on {group.name}. "
            f"{first.title} at the end: {ends}.",
            (3.4 * max(across, 2 if first.ticks else 1) + 0.8, 2.4 * math.ceil(len(kept) / across) + 0.8),
            partial(_panels, panels=kept, xlabel=xlabel, order=list(_names(group).values())),
            group.dataset,
            group.backbone,
        )
    ]


def _names(group: Group) -> dict[str, str]:
    return {cell.label: legend_name(group, cell) for cell in shown(group)}


def training(curves: pd.DataFrame, groups: Sequence[Group], styles: Styles) -> list[Picture]:
    """Every training term against the step, one panel per term."""
    pictures = []
    for group in groups:
        names, rows = _names(group), dict[tuple[str, str], dict[str, pd.DataFrame]]()
        for cell in shown(group):
            for (stage, term), points in _rows_of(curves, cell).groupby(["stage", "term"], observed=True):
                rows.setdefault((str(stage), str(term)), {})[cell.label] = points.rename(columns={"step": "x"})
        panels = [
            _panel(
                f"{stage}: {term.replace('_', ' ')}",
                "mean squared error" if stage == "denoiser" else "nats per value",
                lines,
                styles,
                names,
            )
            for (stage, term), lines in sorted(rows.items())
        ]
        caption = [
            "Terms as they are minimised, averaged over the training batches since the point before (validation terms: "
            "over the validation windows). The vertical axis leaves out the largest 3 %."
        ]
        words = ("training", "training", "Training curves", "update")
        pictures += _over(group, panels, *words, caption)
    return pictures


OVER_TRAINING = ("nll_gap", "dependency_end", "kl", "active_units", "nll_own", "nll_noise", "nll_zero")
"""Diagnostics in the order of their panels; others follow by name."""


def over_training(
    selection: Selection, groups: Sequence[Group], styles: Styles, facts: Mapping[str, MetricFacts]
) -> list[Picture]:
    """The collapse diagnostics against the update at which they were taken."""
    history = selection.history
    if not (history["coordinate"] == "").any():
        return []
    wide = scalars_by(history, ["run_id", "train_step"]).reset_index()
    # the marginal does not change, and what is permuted stands in the gap
    measured = set(wide.columns) - {"run_id", "train_step", "nll_permuted", "nll_marginal"}
    metrics = [name for name in OVER_TRAINING if name in measured] + sorted(measured - set(OVER_TRAINING))
    pictures = []
    for group in groups:
        names = _names(group)
        mine = [(cell.label, _rows_of(wide, cell)) for cell in shown(group)]
        panels = []
        for metric in metrics:
            lines = {label: rows[["train_step", metric]].set_axis(["x", "value"], axis=1) for label, rows in mine}
            panels.append(_of_metric(metric, facts, lines, styles, names))
        runs = {run for cell in shown(group) for run in cell.seeds}
        n = _series(history.loc[history["run_id"].isin(runs), "n"].unique())
        caption = [f"Measured while training{f', on {n}' if n else ''}."]
        words = ("over training", "over-training", "Collapse over training", "update")
        pictures += _over(group, panels, *words, caption)
    return pictures


def _of_metric(
    metric: str,
    facts: Mapping[str, MetricFacts],
    rows: Mapping[str, pd.DataFrame],
    styles: Styles,
    names: Mapping[str, str],
) -> Panel:
    if metric in SHARE_OF_VARIANCE:
        return _panel(title_of(metric), "share of the variance", rows, styles, names)._replace(bottom=-1.0)
    source = {"nll_gap": "nll_own", "dependency_end": "dependency_global"}.get(metric, metric)
    return _panel(title_of(metric), facts.get(source, MetricFacts()).unit or "value", rows, styles, names)


COORDINATES = {
    "diffusion_step": ("Along the diffusion", "diffusion step i", "What is left of x in the latent noised to step i."),
    "lag": ("Over lags", "lag (steps)", ""),
    "dimension": (
        "Over latent dimensions",
        "latent dimension, by size",
        "Sorted by size within each run: the order of dimensions means nothing.",
    ),
    "threshold": ("Over thresholds", "threshold", ""),
    "factor": ("By factor", "factor, component", "Of what the simulator drew for a series."),
}
"""Coordinate -> title, label of the axis, and what is seen; any other coordinate names a factor."""


def along(
    selection: Selection, groups: Sequence[Group], styles: Styles, facts: Mapping[str, MetricFacts]
) -> list[Picture]:
    """Every metric that has an index other than t, against that index."""
    pictures = []
    indexed = selection.metrics[~selection.metrics["coordinate"].isin(["", "t"])]
    kinds = indexed["coordinate"].astype(str)
    for coordinate, rows in indexed.groupby(kinds.where(kinds.isin(list(COORDINATES)), "factor")):
        title, xlabel, what = COORDINATES[str(coordinate)]
        if coordinate == "dimension":
            place = rows.groupby(["run_id", "metric"], observed=True)["value"].rank(ascending=False, method="first")
            rows = rows.assign(index=place)
        for group in groups:
            names, mine = _names(group), [(cell.label, _rows_of(rows, cell)) for cell in shown(group)]
            ticks: tuple[str, ...] = ()
            if coordinate == "factor":
                ticks, mine = _by_component(mine)
            panels = []
            for metric in sorted(rows["metric"].unique()):
                lines = {
                    label: points.loc[points["metric"] == metric, ["index", "value"]].set_axis(["x", "value"], axis=1)
                    for label, points in mine
                }
                panels.append(_of_metric(metric, facts, lines, styles, names)._replace(ticks=ticks))
            n = _series(n for _, points in mine for n in points["n"].unique())
            caption = [what, f"On {n}." if n else ""]
            words = (str(coordinate), "over-training", title, xlabel)
            pictures += _over(group, panels, *words, caption)
    return pictures


def _by_component(rows: Sequence[tuple[str, pd.DataFrame]]) -> tuple[tuple[str, ...], list[tuple[str, pd.DataFrame]]]:
    """A name for every component of every factor ("level 2"), and the rows with its place among them as index."""
    found = sorted({pair for _, points in rows for pair in zip(points["coordinate"], points["index"], strict=True)})
    alone = {factor for factor, count in Counter(factor for factor, _ in found).items() if count == 1}
    ticks = tuple(str(factor) if factor in alone else f"{factor} {plain(index)}" for factor, index in found)
    places = {pair: place for place, pair in enumerate(found, 1)}
    renumbered = [
        (label, points.assign(index=[places[pair] for pair in zip(points["coordinate"], points["index"], strict=True)]))
        for label, points in rows
    ]
    return ticks, renumbered


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
    signs = [(name, title_of(name), "higher") for name in ("nll_gap", "dependency_end") if name in present]
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


class Map(NamedTuple):
    """One heat map: means (rows, columns), what is printed on them, and the place of the best (None: no value)."""

    title: str
    direction: Literal["lower", "higher"]
    means: np.ndarray
    texts: np.ndarray
    best: tuple[int, int] | None


PLACES = {"best": "\nbest", "tie": "\n≈ best", "incomplete": "\nfew seeds"}
"""What a cell of a heat map says beside its number."""


def _heat_maps(
    group: Group, label: str, cells: Sequence[Cell], pair: tuple[str, str], metrics: Any, others: bool
) -> Picture:
    rows = sorted({float(cell.settings[pair[0]]) for cell in cells})
    columns = sorted({float(cell.settings[pair[1]]) for cell in cells})
    maps, words = [], []
    for metric, title, direction in metrics:
        values = averaged(cells, metric, pair)
        places = standings({str(key): found for key, found in values.items()}, direction)
        means, best = np.full((len(rows), len(columns)), np.nan), None
        texts = np.full(means.shape, "", dtype=object)
        for key, found in values.items():
            at = rows.index(key[0]), columns.index(key[1])
            if not found:
                continue
            summary = interval(list(found.values()))
            place = places[str(key)].place
            means[at] = summary.mean
            texts[at] = number(summary.mean, summary.half) + PLACES.get(place, "")
            if place == "best":
                best = at
                words.append(f"{title} {pair[0]} = {plain(key[0])}, {pair[1]} = {plain(key[1])}")
        maps.append(Map(title, direction, means, texts, best))
    average = "Averaged over the other settings. " if others else ""
    printed = len(rows) * len(columns) <= MOST_NUMBERS
    ties = "≈ best: not distinguishable from it (paired over seeds, 95 % over the whole map)"
    note = ties if printed else "the scale's ends are said above each map"
    n = group.n_of(metrics[0][0])
    return Picture(
        slug(f"grid {pair[0]} {pair[1]} {label} {group.name}"),
        "grids",
        f"{label} over {pair[0]} and {pair[1]}: {group.name}",
        f"Mean over {_seeds([group])}{f', n = {n} windows' if n else ''}. {average}Brighter is better. Framed: best "
        f"mean; {note}.",
        f"Heat maps of {label} over {pair[0]} and {pair[1]} on {group.name}. Best: {'; '.join(words)}.",
        (2.9 * len(metrics) + 0.3, min(0.55 * len(rows), 6.0) + 1.3),
        partial(
            _maps,
            maps=maps,
            rows=[plain(v) for v in rows],
            columns=[plain(v) for v in columns],
            names=pair,
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
        ax.set_title(f"{found.title} ({found.direction} is better){ends}", fontsize=9)
        ax.set_xlabel(names[1])
        ax.tick_params(axis="y", rotation=0)
    axes[0].set_ylabel(names[0])
    if not printed:  # one scale for all: what its ends are is said above each map
        scale = figure.colorbar(ScalarMappable(cmap="cividis"), ax=axes.tolist(), ticks=[0, 1], aspect=30, pad=0.02)
        scale.ax.set_yticklabels(["worst", "best"])


def _ends(found: Map) -> str:
    """The values at the two ends of a map's colours, as a second line."""
    if np.isnan(found.means).all():
        return ""
    low, high = float(np.nanmin(found.means)), float(np.nanmax(found.means))
    best, worst = (low, high) if found.direction == "lower" else (high, low)
    return f"\nbest {number(best, (high - low) / 10)}, worst {number(worst, (high - low) / 10)}"


class Track(NamedTuple):
    """A metric against one setting; `floor` is NaN where none was measured."""

    title: str
    unit: str
    x: list[float]
    found: list[Interval]
    floor: float


def _setting_curves(
    group: Group, label: str, cells: Sequence[Cell], name: str, metrics: Any, styles: Styles, others: bool
) -> Picture:
    tracks = []
    units = {column.metric: column.unit for column in group.columns}
    for metric, title, direction in metrics:
        values = averaged(cells, metric, [name])
        points = sorted((key[0], interval(list(found.values()))) for key, found in values.items() if found)
        floor = group.floor(metric)
        tracks.append(
            Track(
                f"{title} ({direction} is better)",
                units.get(metric, ""),
                [x for x, _ in points],
                [f for _, f in points],
                floor.mean if floor is not None else math.nan,
            )
        )
    average = "Averaged over the other settings. " if others else ""
    n = group.n_of(metrics[0][0])
    ends = "; ".join(
        f"{track.title}: "
        + ", ".join(f"{plain(x)}: {number(f.mean, f.half)}" for x, f in zip(*track[2:4], strict=True))
        for track in tracks
    )
    return Picture(
        slug(f"curve {name} {label} {group.name}"),
        "grids",
        f"{label} over {name}: {group.name}",
        f"Mean over {_seeds([group])}{f', n = {n} windows' if n else ''}. {average}Bars: 95 % interval over seeds "
        "(none for one seed). Dotted: floor, train against test.",
        f"Metrics of {label} against {name} on {group.name}. {ends}.",
        (3.0 * len(metrics) + 0.3, 2.7),
        partial(_tracks, tracks=tracks, name=name, style=styles[label]),
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


# ---------------------------------------------------------------- ranks and samples


def critical_difference(test: RankTest, metric: str) -> Picture:
    """Mean ranks over the data sets; a bar joins methods whose ranks do not differ (Demsar 2006)."""
    order = sorted(test.mean_ranks.items(), key=lambda item: item[1])
    ranks = [rank for _, rank in order]
    spans: list[tuple[int, int]] = []
    for start, rank in enumerate(ranks):
        end = max(k for k, other in enumerate(ranks) if other - rank <= test.critical_difference)
        if end > start and not any(end <= right for _, right in spans):
            spans.append((start, end))
    return Picture(
        slug(f"ranks {metric}"),
        "comparison",
        f"Ranks by {title_of(metric)} over {test.n_datasets} data sets",
        f"Friedman p = {test.p_value:.2g}; critical difference {test.critical_difference:.2f} (Nemenyi, 5 %): a bar "
        "joins methods that the test does not tell apart.",
        "Mean rank of each method: " + ", ".join(f"{name} {rank:.2f}" for name, rank in order),
        (7.0, 0.32 * len(order) + 1.4),
        partial(_ranks, order=order, spans=spans),
    )


def _ranks(figure: Figure, order: Sequence[tuple[str, float]], spans: Sequence[tuple[int, int]]) -> None:
    ax = figure.subplots()
    ranks = [rank for _, rank in order]
    ax.plot(ranks, range(len(order)), linestyle="", marker="o", color=COLOURS[0])
    for place, (name, rank) in enumerate(order):
        ax.annotate(f"{shorten(name)}  {rank:.2f}", (rank, place), xytext=(8, -3), textcoords="offset points")
    for k, (start, end) in enumerate(spans):
        ax.plot([ranks[start], ranks[end]], [-0.6 - 0.3 * k] * 2, color=INK, linewidth=3, solid_capstyle="butt")
    ax.set_ylim(len(order) - 0.5, -1 - 0.3 * len(spans))
    ax.set_xlim(0.8, len(order) + 1.2)
    ax.set_yticks([])
    ax.set_xlabel("mean rank over data sets (1 is best)")


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


class Windows(NamedTuple):
    """The windows (n, T, C) of one source, train-scaled."""

    name: str
    style: dict[str, Any]
    x: np.ndarray


MOST_CHANNELS = 3
MOST_SOURCES = 5
MOST_POINTS = 300


def samples(
    group: Group,
    windows: Mapping[str, np.ndarray],
    real: np.ndarray,
    channels: Sequence[Channel],
    styles: Styles,
    seed: int,
    which: str,
) -> list[Picture]:
    """Generated beside real windows: some series, principal components, marginals, autocorrelation.

    windows: label -> (n, T, C), real (n, T, C), all train-scaled; the C channels; `which` real windows they are.
    """
    chosen = list(channels)[:MOST_CHANNELS]
    few = [Windows(shorten(label, 22), styles[label], x) for label, x in list(windows.items())[:MOST_SOURCES]]
    more = f" The first {MOST_SOURCES} of {len(windows)} methods." if len(windows) > MOST_SOURCES else ""
    flat, C = real.reshape(len(real), -1), real.shape[2]
    centre = flat.mean(axis=0)
    _, size, axes_of = np.linalg.svd(flat - centre, full_matrices=False)
    shares = (size**2 / max(float((size**2).sum()), 1e-12))[:2].tolist()
    points = [(w.name, w.style, _on_axes(w.x, centre, axes_of)) for w in few]
    spread = _spread(real, 6)  # of the windows kept: neighbours overlap
    lines = [w._replace(x=_spread(w.x, 6)[..., : len(chosen)]) for w in few]
    limits = [_limits(c, channel, real, few) for c, channel in enumerate(chosen)]

    def picture(make: partial[None], size: tuple[float, float], kind: str, title: str, caption: str) -> Picture:
        alt = f"{title} of {', '.join(w.name for w in few)} beside real ones on {group.name}."
        where = group.dataset, group.backbone
        name, heading = slug(f"{kind} {group.name}"), f"{title}: {group.name}"
        return Picture(name, "samples", heading, f"{caption} Seed {seed}.{more}", alt, size, make, *where)

    of_real = f"n = {len(real)} real windows ({which})"
    densities = [_density(channel, c, real, few) for c, channel in enumerate(chosen)]
    lags = min(real.shape[1], 25)
    correlation = [autocorrelation(x, lags) for x in (real, *(w.x for w in few))]
    real_style = {"color": INK, "linewidth": 2.0}
    sources = [("real", real_style), *((w.name, {**w.style, "marker": ""}) for w in few)]
    return [
        picture(
            partial(_series_panels, real=spread[..., : len(chosen)], few=lines, channels=chosen, limits=limits),
            (1.75 * (1 + len(few)) + 0.6, 1.4 * len(chosen) + 0.6),
            "samples",
            "Real and generated windows",
            f"Six windows each, evenly spread over those that are kept, on the same axes; {len(chosen)} of {C} "
            "channels. The axes hold the real windows, and generated ones up to one more range on either side.",
        ),
        picture(
            partial(_plane, real=_on_axes(real, centre, axes_of), points=points, shares=shares),
            (2.1 * len(few) + 0.7, 2.7),
            "components",
            "Principal components",
            f"The first two principal components of the real windows, train-scaled, with their shares of the variance: "
            f"a method that covers the grey dots covers the data. Up to {MOST_POINTS} of {of_real}.",
        ),
        picture(
            partial(_overlays, sources=sources, densities=densities, correlation=correlation),
            (2.5 * (len(chosen) + 1) + 0.4, 2.9),
            "marginals",
            "Marginals and autocorrelation",
            f"Over all steps of {of_real}; the autocorrelation is the mean over all {C} channels.",
        ),
    ]


def _spread(x: np.ndarray, count: int) -> np.ndarray:
    return x[np.unique(np.linspace(0, len(x) - 1, count).round().astype(int))]


def _on_axes(x: np.ndarray, centre: np.ndarray, axes_of: np.ndarray) -> np.ndarray:
    return (_spread(x, MOST_POINTS).reshape(-1, len(centre)) - centre) @ axes_of[:2].T


def _limits(c: int, channel: Channel, real: np.ndarray, few: Sequence[Windows]) -> tuple[float, float]:
    """The range of the real windows, and of the generated ones up to one more range on either side."""
    low, high = np.quantile(channel.of(real[..., c]), [0.001, 0.999]).tolist()
    inner = [np.nanquantile(channel.of(w.x[..., c]), [0.02, 0.98]) for w in few]
    bottom = max(min(low, *(float(ends[0]) for ends in inner)), 2 * low - high)
    top = min(max(high, *(float(ends[1]) for ends in inner)), 2 * high - low)
    margin = 0.08 * (top - bottom) + 1e-6
    return bottom - margin, top + margin


def _series_panels(
    figure: Figure, real: np.ndarray, few: Sequence[Windows], channels: Sequence[Channel], limits: Sequence[Any]
) -> None:
    axes = figure.subplots(len(channels), 1 + len(few), squeeze=False, sharex=True, sharey="row")
    columns = [Windows("real", {"color": INK}, real), *few]
    for c, channel in enumerate(channels):
        for ax, source in zip(axes[c], columns, strict=True):
            for row in source.x:
                steps = np.arange(1, len(row) + 1)
                ax.plot(steps, channel.of(row[:, c]), color=source.style["color"], linewidth=0.9, alpha=0.75)
            ax.set_ylim(*limits[c])
            if c == 0:
                ax.set_title(source.name, fontsize=9)
            if c == len(channels) - 1:
                ax.set_xlabel("t (steps)")
        axes[c][0].set_ylabel(channel.title(16))


def _plane(figure: Figure, real: np.ndarray, points: Sequence[Any], shares: Sequence[float]) -> None:
    panels = figure.subplots(1, len(points), squeeze=False, sharex=True, sharey=True)[0]
    reach = np.abs(np.quantile(real, [0.001, 0.999], axis=0)).max(axis=0) * 1.4 + 1e-6
    for ax, (name, style, theirs) in zip(panels, points, strict=True):
        # as an image inside the SVG: hundreds of markers are most of a page's bytes
        ax.plot(*_two(real), linestyle="", marker=".", markersize=3, color=REAL, label="real", rasterized=True)
        ax.plot(*_two(theirs), linestyle="", marker="x", markersize=3, color=style["color"], rasterized=True)
        ax.plot([], [], linestyle="", marker="x", markersize=3, color=INK, label="generated")
        ax.set_xlim(-reach[0], reach[0])
        ax.set_ylim(-reach[-1], reach[-1])
        ax.set_title(name, fontsize=9)
        ax.set_xlabel(f"component 1 ({shares[0]:.0%})")
    panels[0].set_ylabel(f"component 2 ({shares[1] if len(shares) > 1 else 0:.0%})")
    _legend(figure, panels)


def _two(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both components; the second is 0 where the windows have one."""
    return x[:, 0], x[:, 1] if x.shape[1] > 1 else np.zeros(len(x))


def _density(channel: Channel, c: int, real: np.ndarray, few: Sequence[Windows]) -> Any:
    """The channel's title, the middles of the bins, and a density for the real windows and for each source."""
    low, high = np.quantile(channel.of(real[..., c]), [0.002, 0.998]).tolist()
    edges = np.linspace(low, high, 41) if high > low else np.linspace(low - 1, high + 1, 41)
    heights = [
        np.histogram(channel.of(x[..., c]), edges)[0] / max(x[..., c].size, 1) / (edges[1] - edges[0])
        for x in (real, *(w.x for w in few))
    ]
    return channel.title(22), (edges[1:] + edges[:-1]) / 2, heights


def _overlays(
    figure: Figure, sources: Sequence[tuple[str, Any]], densities: Sequence[Any], correlation: Sequence[np.ndarray]
) -> None:
    axes = figure.subplots(1, len(densities) + 1, squeeze=False)[0]
    for ax, (title, x, heights) in zip(axes, densities, strict=False):
        for (name, style), height in zip(sources, heights, strict=True):
            ax.plot(x, height, **style, label=name)
        ax.set_xlabel(title)
    axes[0].set_ylabel("density")
    for (_, style), values in zip(sources, correlation, strict=True):
        axes[-1].plot(np.arange(len(values)), values, **style)
    axes[-1].set_xlabel("lag (steps)")
    axes[-1].set_ylabel("autocorrelation")
    _legend(figure, axes[:1])


def autocorrelation(x: np.ndarray, lags: int) -> np.ndarray:
    """E[(x_t - mu)(x_{t+k} - mu)] / Var[x] per channel, averaged over the channels, at k = 0 .. lags - 1; x (n, T, C).

    mu and Var are the channel's over all windows; each lag is divided by its own number of pairs.
    """
    centred = np.nan_to_num(x.astype(np.float64)) - np.nan_to_num(x.astype(np.float64)).mean(axis=(0, 1))
    power = np.maximum((centred**2).mean(axis=(0, 1)), 1e-12)
    T = x.shape[1]
    return np.asarray([((centred[:, : T - k] * centred[:, k:]).mean(axis=(0, 1)) / power).mean() for k in range(lags)])


def all_pictures(
    selection: Selection, groups: Sequence[Group], bars: Bars, facts: Mapping[str, MetricFacts]
) -> list[Picture]:
    """Every picture that the store's rows allow, in the page's order."""
    styles = Styles([cell.label for group in groups for cell in group.cells])
    runs = {run for group in groups for cell in shown(group) for run in cell.seeds}

    def of_shown(table: pd.DataFrame) -> pd.DataFrame:
        return table[table["run_id"].isin(runs)]

    # of thousands of settings only some are drawn
    few = replace(selection, metrics=of_shown(selection.metrics), history=of_shown(selection.history))
    return [
        *dependency(few, groups, styles, bars),
        *likelihoods(groups),
        *grids(groups, styles),
        *over_training(few, groups, styles, facts),
        *along(few, groups, styles, facts),
        *training(selection.curves(runs), groups, styles),
    ]
