"""The critical-difference diagram: mean ranks over data sets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure

from bench.report.columns import title_of
from bench.report.figures.captions import shorten
from bench.report.figures.picture import Picture, slug
from bench.report.figures.style import COLOURS, INK
from bench.report.ranks import RankTest


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
        "joins methods that do not differ significantly.",
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
