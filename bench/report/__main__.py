"""`python -m bench.report`: render a results folder."""

from __future__ import annotations

import gc
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from bench import command
from bench.contracts import InputError, Scored
from bench.registry import load_plugins
from bench.report import Bars
from bench.report.unchanged import fingerprint, remember, remembered


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
    parser.add_argument("--compact", action="store_true", help="page, text, claims and the main plots: to commit")
    command.add_plugin(parser)
    parser.add_argument("--watch", action="store_true", help="render again whenever results arrive, until Ctrl-C")
    parser.add_argument("--every", type=float, default=10.0, metavar="SECONDS", help="how often --watch looks")
    given = parser.parse_args(arguments)
    if not 0 < given.every <= 86400:
        raise InputError(f"--every {given.every:g}: expected a number of seconds > 0, a day at most")
    gc.set_threshold(100_000)  # a large report is millions of objects that stay: no use looking for cycles
    results = Path(given.results)
    out = Path(given.out) if given.out else results / "report"
    seen: set[str] | None = None
    while True:
        if (now := _parts(results)) != seen:
            status, page = _rendered(results, out, given)
            command.write(f"{status}\nreport: {page}")
            seen = now
        if not given.watch:
            return 0
        time.sleep(given.every)


def _rendered(results: Path, out: Path, given: Namespace) -> tuple[str, Path]:
    """The report's sweep with the status of its runs, and the page; rendered only where anything has changed."""
    options = given.sweep, given.bars, given.split
    # a compact report is to be committed, and times of files mean nothing elsewhere; a plug-in may import anything
    key = "" if given.compact or given.plugin else fingerprint(results, options)
    if (status := remembered(out, key)) is not None:
        return status, out / "index.html"

    from bench.report.page import MANIFEST  # here: what these import takes longer than to see that nothing has changed
    from bench.report.rendering import render

    load_plugins(given.plugin)
    report, page = render(results, out, given.sweep, cast(Bars, given.bars), given.compact, given.split)
    runs = ", ".join(f"{count} {word}" for word, count in report.status) or "no runs"
    status = f"{report.selection.name}: {runs}"
    if key:
        remember(out, key, status, (out / MANIFEST).read_text(encoding="utf-8").splitlines())
    return status, page


def _parts(results: Path) -> set[str]:
    """What tells whether anything has been added; parts never change."""
    return {str(path) for folder in ("runs", "metrics", "sweeps") for path in (results / folder).glob("[!.]*.*")}


if __name__ == "__main__":
    command.run_command(main)
