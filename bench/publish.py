"""`python -m bench.publish`: results in the compact form that can be committed, cited and compared with.

The tables of the finished runs of every sweep, without weights; the lists of the sweeps; a report per sweep; and, with
`--samples N`, a few generated series of every method on every data set. `python -m bench.compare results PUBLISHED`
then shows how other results differ from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench import command
from bench.contracts import InputError


def main(words: Sequence[str] | None = None) -> int:
    """The command."""
    parser = command.parser("publish", "Write results in the compact form that can be committed and compared with.")
    parser.add_argument("--results", default="results", metavar="DIR", help="results folder (default: results)")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="output folder (replaced if it was published before)"
    )
    parser.add_argument("--sweep", action="append", default=[], metavar="NAME", help="only this sweep (repeatable)")
    samples = "series of one run of each method on each data set, of runs that had --save-samples (default: none)"
    parser.add_argument("--samples", type=int, default=0, metavar="N", help=samples)
    command.add_plugin(parser)
    given = parser.parse_args(words)
    if given.samples < 0:
        raise InputError(f"--samples {given.samples}: expected a whole number >= 0")

    # here, after the parser, so that --help does not wait for what these import
    from bench.registry import DATASETS, load_plugins
    from bench.report.__main__ import main as report
    from bench.report.cards import restricted_datasets
    from bench.report.formatting import plural
    from bench.store import existing
    from bench.store.publication import publish

    source = Path(given.results)
    if given.out.resolve() == source.resolve():
        raise InputError(f"--out {given.out}: expected another folder than --results")
    store = existing(source)
    sweeps = [store.membership(name) for name in given.sweep] or store.memberships()
    load_plugins([])
    open_data = set(DATASETS) - restricted_datasets()  # no data set of a --plugin: it may be restricted
    load_plugins(given.plugin)
    size = publish(source, given.out, sweeps, given.samples, open_data)
    count = len({run_id for sweep in sweeps for run_id in sweep.runs})
    drawn = len(list(given.out.glob("samples/*.parquet")))
    words_of_samples = f" and samples of {drawn} runs" if given.samples else ""
    amount = f"{plural(len(sweeps), 'sweep')}, {plural(count, 'run')}"
    command.write(f"{amount}: {size / 2**20:.1f} MB of tables{words_of_samples} in {given.out}")
    for sweep in sweeps:
        folder = str(given.out / "report" / sweep.name)
        own = command.plugin_flags(given.plugin)
        report(["--results", str(given.out), "--sweep", sweep.name, "--out", folder, "--compact", *own])
    return 0


if __name__ == "__main__":
    command.run_command(main)
