"""`python -m bench.evaluate`: measure runs that are trained already, or the samples of any other model.

It has two uses. With `--results DIR` it adds metrics to finished runs without training; a metric that a run has
already in the same version (a plug-in's: with the same code) is not measured again. With `--samples FILE.npz
--dataset NAME` it scores series that any other model drew, beside the floors and controls of that data set.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from bench.command import add_plugin, data_dir, parser, refuse_overwriting, run_command, write
from bench.contracts import InputError, Metric, Scale, Scored
from bench.registry import load_plugins

BESIDE = {
    **dict.fromkeys(("dataset", "decoder", "out"), "samples"),
    **dict.fromkeys(("scaled", "scale", "seed", "n"), "dataset"),
    "tolerance": "decoder",
}
"""Flags that have an effect only beside another one."""

OF_FINISHED_RUNS = ("results", "sweep", "metric_seeds", "split")


def main(words: Sequence[str] | None = None) -> int:
    """The command. Returns the exit status."""
    arguments = parser("evaluate", "Add metrics to finished runs, or score samples of any model against a data set.")
    arguments.add_argument("--results", default="results", help="results folder of finished runs (default: results)")
    arguments.add_argument("--metrics", nargs="+", default=["fast"], metavar="NAME", help="fast, all, or names")
    arguments.add_argument("--sweep", metavar="NAME", help="runs of this sweep only (default: all of the folder)")
    seeds = "evaluate finished runs under this many metric seeds (default: as in the sweep)"
    arguments.add_argument("--metric-seeds", type=int, default=1, metavar="K", help=seeds)
    where = "evaluate finished runs on these windows (default: as in the sweep)"
    arguments.add_argument("--split", choices=get_args(Scored), help=where)
    arguments.add_argument("--data", help="folder of the real data files (also: BENCH_DATA)")
    add_plugin(arguments)
    arguments.add_argument(
        "--samples",
        type=Path,
        metavar="FILE",
        help="score the array `samples` (n, T, C) of an .npz file, or a table that --save-samples wrote",
    )
    dataset = "the data set to score --samples against: NAME, csv:PATH, NAME,window=48, or a YAML mapping"
    arguments.add_argument("--dataset", help=dataset)
    arguments.add_argument("--scaled", action="store_true", help="the same as --scale train")
    units = "of the samples: units of the data set (default), train (mean 0, sd 1) or minmax (0 to 1)"
    arguments.add_argument("--scale", choices=get_args(Scale), help=units)
    arguments.add_argument("--seed", type=int, default=0, help="seed of the split and of the metrics (default: 0)")
    arguments.add_argument("--n", type=int, default=1000, help="the largest number of series (default: 1000)")
    arguments.add_argument("--decoder", metavar="MODULE:FUNCTION", help="add dependency measures of decoder(z, x_prev)")
    arguments.add_argument(
        "--tolerance", type=float, default=1e-2, help="tolerance of the dependency measures (default: 0.01)"
    )
    arguments.add_argument("--out", type=Path, metavar="FILE.csv", help="write the rows to this file as well")
    given = arguments.parse_args(words)
    _refuse_idle_flags(given, arguments)

    # here, after the parser, so that --help does not wait for what these import
    from bench.engine.evaluation import Row, measure_decoder, print_rows, score_file, write_rows
    from bench.loading.windows import load_splits
    from bench.scoring.scores import Scope, choose
    from bench.sweeps.expand import named_dataset

    load_plugins(given.plugin)
    names = given.metrics[0] if given.metrics in (["fast"], ["all"]) else given.metrics
    data = data_dir(given.data)
    if given.samples is None:
        if given.metric_seeds < 1:
            raise InputError(f"--metric-seeds {given.metric_seeds}: expected a whole number >= 1")
        return _main_kept(Path(given.results), data, choose(names), given.metric_seeds, given.split, given.sweep)
    if given.n < 2 or given.seed < 0:
        raise InputError(f"--n {given.n} --seed {given.seed}: expected n >= 2 and a seed >= 0")
    refuse_overwriting(given.out, given.samples, *given.plugin)
    rows: list[Row] = []
    if given.dataset is not None:
        if given.scaled and given.scale not in (None, "train"):
            raise InputError(f"--scaled --scale {given.scale}: expected one of them")
        if not (metrics := choose(names, "samples")):
            raise InputError(f"--metrics {' '.join(given.metrics)}: expected some that need samples only")
        if names not in ("fast", "all"):
            for metric in (metric for metric in choose(names) if metric not in metrics):
                sys.stderr.write(f"note: {metric.name} needs a trained model: left out\n")
        spec = named_dataset(given.dataset, f"--dataset {given.dataset}")
        refuse_overwriting(given.out, dict(spec.options).get("path") or None)
        splits = load_splits(spec, given.seed, data)
        scope = Scope.on(spec, given.seed)
        scale: Scale | None = "train" if given.scaled else given.scale
        rows += score_file(given.samples, splits, metrics, scope, scale, given.n)
    if given.decoder is not None:
        rows += measure_decoder(given.decoder, given.samples, given.tolerance)
    print_rows(rows)
    if given.out is not None:
        try:
            write_rows(rows, given.out)
        except OSError as error:
            raise InputError(f"--out {given.out}: cannot be written: {error.strerror or error}") from error
    return 0


def _refuse_idle_flags(given: Namespace, arguments: ArgumentParser) -> None:
    """Raises InputError for a flag that changes nothing beside the others; nobody should believe that it did."""
    if given.samples is not None and given.dataset is None and given.decoder is None:
        listed_by = "`python -m bench.list datasets` lists them"
        raise InputError(f"--samples {given.samples}: expected --dataset NAME with it ({listed_by})")
    idle = [(name, f"without --{other}") for name, other in BESIDE.items() if getattr(given, other) is None]
    if given.samples is not None:
        idle += [(name, "with --samples") for name in OF_FINISHED_RUNS]
        idle += [("metrics", "without --dataset")] if given.dataset is None else []
    for name, why in idle:
        if getattr(given, name) != arguments.get_default(name):
            raise InputError(f"--{name.replace('_', '-')} has no effect {why} (see --help)")


def _main_kept(
    results: Path,
    data: Path | None,
    wanted: Sequence[Metric],
    metric_seeds: int,
    split: Scored | None,
    sweep: str | None,
) -> int:
    from bench.engine.evaluation import evaluate_kept  # here, as in `main`
    from bench.engine.progress import Lines

    if not results.is_dir():
        raise InputError(f"--results {results}: no such folder")
    count, notes = evaluate_kept(results, data, wanted, metric_seeds, split, sweep, Lines())
    for note in notes:
        write(f"not evaluated: {note}")
    write(f"{count} runs got new metrics in {results}")
    return 0


if __name__ == "__main__":
    run_command(main)
