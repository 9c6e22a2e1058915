"""`python -m bench`: the list of commands."""

from __future__ import annotations

import ast
from pathlib import Path

from bench import command

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
    "publish",
    "claims",
    "metrics.validate",
    "perf",
)
"""The commands, in the order in which a newcomer needs them."""


def main() -> int:
    """Name and purpose of every command, read from the files without importing them."""
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
    command.run_command(lambda _: main())
