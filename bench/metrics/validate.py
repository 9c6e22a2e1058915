"""`python -m bench.metrics.validate`: whether each measure sees what it claims to see.

Real windows are corrupted more and more, and every sample metric compares them with other real windows. A metric must
get worse with every step of a corruption that it claims to see (`sees` in its class), and have a number there; what it
is blind to, and what it even rewards, is printed. Metrics that claim nothing (the literature's variants) are left out.
Exit 1 where a claim does not hold. The table that reports print was made with

    python -m bench.metrics.validate --dataset regimes energy earthquakes pendigits --n 200 --repeats 2 \\
        --out bench/metrics/validation.csv

A claim holds on all four: what is seen on some of them only is in the table, and in no claim.

`context_fid`, `discriminative` and `predictive` train networks (half an hour of CPU a data set); they have not been
through it at their present versions and claim nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench import command
from bench.contracts import InputError
from bench.registry import load_plugins


def main(arguments: Sequence[str] | None = None) -> int:
    """A line per metric and corruption; exit 1 where a claimed corruption is not seen."""
    parser = command.parser("metrics.validate", "Check every sample metric on graded corruptions of real windows.")
    parser.add_argument(
        "--dataset", nargs="+", default=["regimes"], metavar="NAME", help="data sets, or csv:FILE (default: regimes)"
    )
    parser.add_argument("--data", metavar="DIR", help="where data files are (default: BENCH_DATA)")
    parser.add_argument("--metrics", nargs="+", default=["fast"], help="fast, all, or names (default: fast)")
    parser.add_argument("--n", type=int, default=500, help="windows on either side (default: 500)")
    parser.add_argument("--repeats", type=int, default=3, help="draws of windows and metric seeds (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="of the split and of the corruptions (default: 0)")
    parser.add_argument("--out", metavar="FILE.csv", help="write the values too")
    command.add_plugin(parser)
    given = parser.parse_args(arguments)
    for name, least in (("n", 10), ("repeats", 2)):
        if getattr(given, name) < least:
            raise InputError(f"--{name} {getattr(given, name)}: expected a whole number >= {least}")

    # here, after the parser, so that --help does not wait for what these import
    from bench.loading.windows import load_splits
    from bench.metrics.base import SampleMetric
    from bench.scoring.scores import Scope, choose
    from bench.scoring.validation import most_windows, print_findings, row_of, spec_of, validate, write_csv

    load_plugins(given.plugin)
    words = given.metrics[0] if len(given.metrics) == 1 else given.metrics
    metrics = [metric for metric in choose(words) if isinstance(metric, SampleMetric) and metric.sees]
    if not metrics:
        raise InputError(
            f"--metrics {' '.join(given.metrics)}: expected some that claim to see a corruption of samples"
        )
    found, failed = [], 0
    specs = [spec_of(word) for word in given.dataset]
    for spec in specs:
        splits = load_splits(spec, given.seed, command.data_dir(given.data))
        scopes = [Scope.on(spec, given.seed, repeat) for repeat in range(given.repeats)]
        n = min(given.n, most_windows(splits))
        findings = validate(splits, metrics, n, given.repeats, scopes.__getitem__)
        command.write(f"{spec.key}, n = {n}")
        failed += print_findings(findings)
        found += [{"dataset": spec.key, "n": n, **row_of(finding)} for finding in sorted(findings)]
    if given.out:
        write_csv(Path(given.out), found)
    return int(bool(failed))


if __name__ == "__main__":
    command.run_command(main)
