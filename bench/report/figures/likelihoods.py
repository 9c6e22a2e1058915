"""The likelihood of a series under its own latent, another's, noise and zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from bench.report.figures.captions import (
    by_place,
    choice_note,
    joined,
    legend_name,
    place_name,
    seeds_text,
    shown,
    side_name,
)
from bench.report.figures.layout import add_legend
from bench.report.figures.picture import Picture, slug
from bench.report.figures.style import INK, PAPER, REAL
from bench.report.formatting import number
from bench.report.ranking import Group
from bench.report.statistics import Interval

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
    for (dataset, backbone), here in by_place(groups).items():
        sides = []
        for group in here:
            cells = shown(group)
            marginal = [v for cell in cells for v in cell.values.get("nll_marginal", {}).values()]
            found = {name: [cell.interval(name) for cell in cells] for name in NLLS}
            names = [legend_name(group, cell, 24) for cell in cells]
            sides.append(Dots(side_name(group, here), names, found, float(np.mean(marginal)) if marginal else math.nan))
        means = [f.mean for side in sides for found in side.found.values() for f in found if f.n]
        if not means:
            continue
        means += [side.marginal for side in sides if math.isfinite(side.marginal)]
        gaps = [
            f"{side.title} {name} {number(permuted.mean - own.mean)}".strip()
            for side in sides
            for name, own, permuted in zip(side.names, side.found["nll_own"], side.found["nll_permuted"], strict=True)
        ]
        name, rows = place_name(dataset, backbone), max(len(side.names) for side in sides)
        n = here[0].n_of("nll_own")
        pictures.append(
            Picture(
                slug(f"likelihoods {dataset} {backbone}"),
                "dependency",
                f"Information in the latent about the series: {name}",
                joined(
                    [
                        "Negative log-likelihood (NLL) of the test series under their own latent, another's, noise and "
                        "zero. Further left is more likely. The distance from own to another's shows how much z says "
                        f"about x. Mean over n = {n or '?'} series and {seeds_text(here)}.",
                        "Bars: 95 % interval over seeds (none for one seed). They may extend beyond the axes.",
                        choice_note(here),
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
    add_legend(figure, axes, [f"x given {title}" for title, _ in NLLS.values()])
