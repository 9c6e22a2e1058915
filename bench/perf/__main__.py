"""`python -m bench.perf [NAME...] [--quick]`: what the fast paths gain, as ratios on the same work in one run."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch

from bench import command
from bench.contracts import InputError, nearest
from bench.perf import denoiser, dependency, loading, lstm, metrics, sampling, sweep_overhead, whole_run
from bench.perf.measure import Line, Scale

PARTS: Mapping[str, Callable[[Scale], Iterator[Line]]] = {
    "dependency": dependency.measure,
    "sampling": sampling.measure,
    "denoiser": denoiser.measure,
    "whole_run": whole_run.measure,
    "lstm": lstm.measure,
    "sweep_overhead": sweep_overhead.measure,
    "metrics": metrics.measure,
    "loading": loading.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table per part. Exit 0; 2 for an unknown part."""
    parser = command.parser("perf", str(__doc__))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"parts (default: all): {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, all parts in under three minutes")
    given = parser.parse_args(arguments)
    for name in given.names:
        if name not in PARTS:
            raise InputError(f"bench.perf: unknown part '{name}': {nearest(name, PARTS)}")
    torch.set_num_threads(1)
    command.write(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread, CPU seconds")
    for name in given.names or PARTS:
        command.write(f"\n{name:60}{'ours':>10}{'other':>10}{'ratio':>10}  target")
        began = time.process_time()
        for line in PARTS[name]("quick" if given.quick else "full"):
            command.write(str(line))
        command.write(f"  ({time.process_time() - began:.0f} CPU seconds)")
    return 0


if __name__ == "__main__":
    raise SystemExit(command.run_command(main))
