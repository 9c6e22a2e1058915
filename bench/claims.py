"""`python -m bench.claims`: what the stated contrasts of a sweep say, and whether prose says the same.

The report of a sweep that states contrasts leaves a table of claims beside itself. A paragraph of a Markdown file that
ends in `<!-- claim: ID -->` takes its numbers from that table: `--check` fails where it has others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench import command


def main(arguments: Sequence[str] | None = None) -> int:
    """List the claims of a results folder, or compare files with them."""
    parser = command.parser("claims", "List the claims of a results folder, or check prose against them.")
    parser.add_argument("results", type=Path, metavar="FOLDER", help="a results folder with a report")
    parser.add_argument("--all", action="store_true", help="list the sensitivity of the claims as well")
    parser.add_argument("--check", nargs="+", type=Path, metavar="FILE.md", help="compare marked paragraphs with them")
    given = parser.parse_args(arguments)

    # here, after the parser, so that --help does not wait for what these import
    from bench.report.claims import marks, mismatches, read_claims
    from bench.report.formatting import plural

    claims = read_claims(given.results)
    if given.check:
        lines = [line for file in given.check for line in mismatches(file, claims)]
        count = sum(map(marks, given.check))
        command.write("\n".join(lines) or f"{plural(count, 'mark')} compared: the numbers are those of the claims.")
        return 1 if lines else 0
    for claim in claims.values():
        if given.all or claim.role != "sensitivity":
            command.write(f"{claim.id} ({claim.role})\n  {claim.statement}\n  {', '.join(claim.numbers)}")
    return 0


if __name__ == "__main__":
    command.run_command(main)
