"""One report, from the store to the page."""

from __future__ import annotations

from pathlib import Path

from bench.contracts import Scored
from bench.report import Bars
from bench.report.cards import cards_of, metric_facts
from bench.report.page import write
from bench.report.report import Report, build
from bench.report.selection import load


def render(
    results: Path,
    out: Path,
    sweep: str | None,
    bars: Bars = "seeds",
    compact: bool = False,
    split: Scored | None = None,
) -> tuple[Report, Path]:
    """The report of a sweep, and where its page is."""
    selection = load(results, sweep, split)
    report = build(selection, metric_facts(), cards_of(selection), bars, earlier=out)
    return report, write(report, out, compact)
