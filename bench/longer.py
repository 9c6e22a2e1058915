"""`python -m bench.longer`: train finished runs again with twice the updates, and say whether it would have mattered.

A run ends where its objective on validation windows has not improved for a stated number of updates. Whether it would
have improved later is seen only by training on. This draws a share of the finished runs at random, gives each twice the
updates that it made, and compares the objective, the classifier's AUC, and the latent information. A run counts as
converged where its objective improves by less than 1 %. The longer runs have a results folder of their own; a second
call trains only what is missing there.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import command, run
from bench.contracts import InputError
from bench.registry import load_plugins


def main(words: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status of the runs, or 1 where there is none to compare."""
    parser = command.parser("longer", "Train finished runs again with twice the updates, and compare.")
    parser.add_argument("--results", default="results", metavar="DIR", help="the results folder (default: results)")
    parser.add_argument("--sweep", metavar="NAME", help="only runs of this sweep (default: all)")
    parser.add_argument("--share", type=float, default=0.05, metavar="SHARE", help="of the runs to train again (.05)")
    parser.add_argument("--seed", default="", metavar="TEXT", help="of the draw (default: an empty text)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the longer runs (default: RESULTS/longer)")
    parser.add_argument(
        "--retry", default="", metavar="LIST", help="repeat longer runs that ended so, as for bench.run"
    )
    parser.add_argument("--data", metavar="DIR", help="folder of the real data (or the variable BENCH_DATA)")
    parser.add_argument("--jobs", default="auto", metavar="N|auto", help="number of workers")
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda or cuda:0,cuda:1")
    command.add_plugin(parser)
    given = parser.parse_args(words)
    if not 0 < given.share <= 1:  # as NaN is neither
        raise InputError(f"--share {given.share}: expected a number above 0, at most 1")
    load_plugins(given.plugin)

    # here, after the parser, so that --help does not wait for what these import
    from bench.engine.longer import compared, pairs, show, sweep_of
    from bench.store import existing, load_results

    store, out = existing(given.results), given.out or Path(given.results) / "longer"
    runs = store.runs()
    if given.sweep is not None:
        runs = runs[runs.run_id.isin(store.membership(given.sweep).runs)]
    found, left = pairs(runs, given.share, given.seed, command.data_dir(given.data))
    for reason, count in left.items():
        command.write(f"left out: {reason} ({count} runs)")
    if not found:
        command.write("no finished run of a method to train again")
        return 1
    flags = ["--results", str(out), "--jobs", given.jobs, "--device", given.device, "--keep", "none"]
    flags += ["--retry", given.retry, *command.plugin_flags(given.plugin)]
    flags += ["--data", given.data] if given.data else []
    line = shlex.join(["python", "-m", "bench.longer", *(sys.argv[1:] if words is None else words)])
    status = run.run_sweep(sweep_of(found), flags, line)
    if status in (0, 1):
        again, metrics = load_results(out)
        ends = {pair.longer.run_id for pair in found}
        for row in again[again.run_id.isin(ends) & (again.status != "ok")].itertuples():
            command.write(f"{row.label} on {row.dataset}, seed {row.seed}, ended as {row.status}: {row.reason}")
        show(list(compared(found, store.results()[1], again, metrics)))
    return status


if __name__ == "__main__":
    command.run_command(main)
