"""`python -m bench.replay RUN_ID`: run one finished run again and compare; `--all --sample 5` does it to random rows.

Answers `identical` (every number, bit for bit), `within noise` (no number moved further than another seed moves it) or
`different`, and says which ingredients are not what they were. A row that says itself that it cannot be had again,
because its method or the training code has another version by now, is `older` and is not run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from bench.command import add_plugin, parser, run_command
from bench.contracts import InputError
from bench.hardware.devices import parse_devices
from bench.registry import load_plugins


def main(words: Sequence[str] | None = None) -> int:
    """The verb. Exit 0 where numbers are identical or within noise, 1 where they differ or no row of a sample ran."""
    arguments = parser("replay", "Run finished runs again and compare their numbers.")
    arguments.add_argument("run_id", nargs="?", help="of the runs table, or its first characters")
    arguments.add_argument("--all", action="store_true", help="all finished rows of the folder, as a table")
    arguments.add_argument("--sample", type=int, metavar="N", help="... but only so many, drawn at random")
    arguments.add_argument("--seed", metavar="TEXT", help="of the draw, such as a commit (default: the folder's rows)")
    arguments.add_argument("--under", type=float, metavar="SECONDS", help="... of rows that took less than that")
    arguments.add_argument("--results", default="results", help="results folder (default: results)")
    arguments.add_argument("--data", help="folder of the real data files (also: BENCH_DATA)")
    arguments.add_argument("--device", default="cpu", help="cpu or cuda:K (default: cpu)")
    arguments.add_argument(
        "--level", type=float, default=0.05, metavar="SHARE", help="of rows that chance calls different (.05)"
    )
    add_plugin(arguments)
    given = arguments.parse_args(words)
    if given.all == (given.run_id is not None):
        raise InputError("bench.replay: expected a RUN_ID, or --all")
    if given.sample is not None and given.sample < 1:
        raise InputError(f"--sample {given.sample}: expected a whole number >= 1")
    if not given.all and not (given.sample is given.seed is given.under is None):
        raise InputError("--sample, --seed and --under choose among rows: expected --all with them")
    if not 0 < given.level < 1:  # as NaN is neither
        raise InputError(f"--level {given.level}: expected a number between 0 and 1")
    if given.under is not None and not 0 <= given.under < math.inf:
        raise InputError(f"--under {given.under}: expected a finite number >= 0")
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", given.device):
        raise InputError(f"--device {given.device}: expected cpu or cuda:K")
    parse_devices(given.device)  # raises where it is not here

    # here, after the parser, so that --help does not wait for what these import
    from bench.engine.repetition import one, several
    from bench.store import load_results

    load_plugins(given.plugin)
    runs, metrics = load_results(given.results)
    return several(runs, metrics, given) if given.all else one(runs, metrics, given)


if __name__ == "__main__":
    run_command(main)
