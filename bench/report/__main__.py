"""`python -m bench.report`: render a results folder."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from bench import command
from bench.contracts import InputError, Scored
from bench.registry import load_entry_points, load_plugin
from bench.report.cards import cards_of, metric_facts
from bench.report.figures.dependency import Bars
from bench.report.page import write
from bench.report.report import Report, build
from bench.report.selection import load


def main(arguments: Sequence[str] | None = None) -> int:
    """Render once, or again and again while a sweep runs."""
    parser = command.parser("report", "Render the report of a sweep; reads results only, trains nothing.")
    parser.add_argument("--results", default="results", metavar="DIR", help="results folder (default: results)")
    parser.add_argument("--out", metavar="DIR", help="where to write (default: RESULTS/report)")
    parser.add_argument("--sweep", metavar="NAME", help="which sweep (default: the one written last)")
    parser.add_argument(
        "--bars",
        choices=get_args(Bars),
        default="seeds",
        help="error bars of the dependency plots: 95%% over seeds (default), 3 standard deviations over series, or "
        "95%% of a run's mean over test windows (by groups that share a recording)",
    )
    which = "the windows whose numbers are shown (default: test; validation where no method was scored on test windows)"
    parser.add_argument("--split", choices=get_args(Scored), help=which)
    parser.add_argument("--compact", action="store_true", help="page, text and dependency plots: to commit")
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE", help="a Python file of your own")
    parser.add_argument("--watch", action="store_true", help="render again whenever results arrive, until Ctrl-C")
    parser.add_argument("--every", type=float, default=10.0, metavar="SECONDS", help="how often --watch looks")
    given = parser.parse_args(arguments)
    if not 0 < given.every <= 86400:
        raise InputError(f"--every {given.every:g}: expected a number of seconds > 0, a day at most")
    gc.set_threshold(100_000)  # a large report is millions of objects that stay: no use looking for cycles
    load_entry_points()
    for plugin in given.plugin:
        load_plugin(plugin)
    results = Path(given.results)
    out = Path(given.out) if given.out else results / "report"
    seen: set[str] | None = None
    while True:
        if (now := _parts(results)) != seen:
            report, page = render(results, out, given.sweep, cast(Bars, given.bars), given.compact, given.split)
            status = ", ".join(f"{count} {word}" for word, count in report.status) or "no runs"
            command.write(f"{report.selection.name}: {status}\nreport: {page}")
            seen = now
        if not given.watch:
            return 0
        time.sleep(given.every)


def render(
    results: Path,
    out: Path,
    sweep: str | None,
    bars: Bars = "seeds",
    compact: bool = False,
    split: Scored | None = None,
) -> tuple[Report, Path]:
    """One report, from the store to the page, and where the page is."""
    selection = load(results, sweep, split)
    report = build(selection, metric_facts(), cards_of(selection), bars, earlier=out)
    return report, write(report, out, compact)


def _parts(results: Path) -> set[str]:
    """What tells whether anything has been added; parts never change."""
    return {str(path) for folder in ("runs", "metrics", "sweeps") for path in (results / folder).glob("[!.]*.*")}


if __name__ == "__main__":
    command.run_command(main)
