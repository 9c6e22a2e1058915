"""`python -m bench.tune`: choose hyper-parameters on validation windows, with the same number of trials per method.

Random search (Bergstra and Bengio 2012, JMLR 13) over the space that a sweep file declares: `tune.space` for every
method, and `search` of an entry for its own. The first trial is the entry as it stands, so that a change is made only
where it helps. A trial is judged by its mean rank over (data set, backbone, seed) in one metric on validation windows.
It must also beat the entry's own setting by `tune.margin` in the mean of their differences, so that a tie changes
nothing. The test windows of a run are never used. But every seed divides a recording anew, so the validation windows of
one seed may be test windows of another. Trials are ordinary runs of a sweep of their own: they can be resumed, and a
failed trial is a row.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from bench import command, run


def main(words: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status of the trials."""
    parser = command.parser("tune", "Choose hyper-parameters on validation windows, equally many trials per method.")
    parser.add_argument("--grid", required=True, metavar="SWEEP", help="a sweep file with a block `tune`")
    parser.add_argument("--reduced", action="store_true", help="tune the sweep's smaller form")
    parser.add_argument("--results", default="results/tune", metavar="DIR", help="folder of the trials (results/tune)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the tuned sweep (DIR/NAME-tuned.yaml)")
    parser.add_argument("--data", metavar="DIR", help="folder of the real data (or the variable BENCH_DATA)")
    parser.add_argument("--jobs", default="auto", metavar="N|auto", help="number of workers")
    parser.add_argument("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda or cuda:0,cuda:1")
    command.add_plugin(parser)
    given = parser.parse_args(words)

    # here, after the parser, so that --help does not wait for what these import
    from bench.registry import load_plugins
    from bench.sweeps.file import find_sweep, read_file
    from bench.sweeps.tuning import choose, folder_key, trial_sweep, tuned_sweep, write_sweep

    load_plugins(given.plugin)
    own = command.plugin_flags(given.plugin)
    path = find_sweep(given.grid)
    file = read_file(path, given.reduced)
    out = given.out or Path(given.results) / f"{file.name}-tuned.yaml"
    command.refuse_overwriting(out, path, *given.plugin)
    entries = [entry.model_dump(exclude_defaults=True) for entry in file.methods]
    document, results = trial_sweep(file, entries, str(path)), Path(given.results)
    assert file.tune is not None
    again = shlex.join(["python", "-m", "bench.tune", "--grid", str(given.grid)] + ["--reduced"] * given.reduced + own)
    trial_file = results / f"{document['name']}.yaml"
    write_sweep(trial_file, {**document, **folder_key(file, trial_file)}, f"Written by: {again}")
    flags = ["--grid", str(trial_file), "--results", str(results), "--jobs", given.jobs, "--device", given.device]
    flags += ["--keep", "none", *own] + (["--data", given.data] if given.data else [])
    status = run.main(flags)
    if status not in (0, 1):
        return status

    chosen = choose(results, document, file.tune)
    comment = f"Written by: {again}\n{file.tune.trials} trials per method on validation windows ({file.tune.metric})."
    write_sweep(out, {**tuned_sweep(file, chosen), **folder_key(file, out)}, comment)
    command.write(f"\ntuned sweep: {out}")
    return status


if __name__ == "__main__":
    command.run_command(main)
