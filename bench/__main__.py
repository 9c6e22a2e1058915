"""`python -m bench`: the list of commands."""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import command
from bench.contracts import InputError, nearest

ORDER = (
    "run",
    "report",
    "list",
    "data",
    "diagnose",
    "plan",
    "tune",
    "evaluate",
    "compare",
    "replay",
    "longer",
    "publish",
    "claims",
    "metrics.validate",
    "perf",
)
"""The commands, in the order in which a newcomer needs them."""


def main(words: Sequence[str] = ()) -> int:
    """Name and purpose of every command, read from the files without importing them. Raises InputError."""
    if words and not {"-h", "--help"}.issuperset(words):
        verb = words[0].removeprefix("bench.")
        hint = f"expected python -m bench.{verb}" if verb in ORDER else nearest(verb, ORDER, "`python -m bench`")
        raise InputError(f"python -m bench {words[0]}: {hint}")
    here = Path(__file__).parent
    rows = []
    for verb in ORDER:
        path = here / verb.replace(".", "/")
        path = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
        purpose = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()[0]
        purpose = purpose.partition(": ")[2]
        rows.append((f"python -m bench.{verb}", purpose[:1].upper() + purpose[1:]))
    command.write_table(rows)
    command.write(
        "\nEach explains its options with --help. "
        "./run_all.sh does the main job: it sets up, runs a sweep and renders its report."
    )
    return 0


if __name__ == "__main__":
    command.run_command(lambda _: main(sys.argv[1:]))
