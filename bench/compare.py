"""`python -m bench.compare A B`: what changed between two results folders, cell by cell, with significance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from bench import command
from bench.contracts import Scored


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what changed."""
    parser = command.parser("compare", "What changed between two results folders, per cell, with significance.")
    parser.add_argument("a", metavar="A", help="a results folder")
    parser.add_argument("b", metavar="B", help="another; differences are B - A")
    parser.add_argument("--sweep", metavar="NAME", help="which sweep of both (default: the one written last in each)")
    which = (
        "the windows whose numbers are compared (default: test; validation where no method was scored on test windows)"
    )
    parser.add_argument("--split", choices=get_args(Scored), help=which)
    parser.add_argument("--all", action="store_true", help="print every number, not only those that changed")
    given = parser.parse_args(arguments)

    # here, after the parser, so that --help does not wait for what these import
    from bench.report.comparison import compare, show
    from bench.report.selection import load

    a, b = (load(Path(folder), given.sweep, given.split) for folder in (given.a, given.b))
    show(compare(a, b), given.all)
    return 0


if __name__ == "__main__":
    command.run_command(main)
