"""`python -m bench.perf [NAME...] [--quick]`: what the fast paths gain, as ratios on the same work in one run.

`gpu` and its parts `gpu.NAME` need a CUDA device, and of all packages torch and numpy only. `sampler` needs the kept
models of a results folder, and `resolved` the rows of a sweep that states contrasts; they measure nothing without.
"""

from __future__ import annotations

import importlib
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench import command
from bench.contracts import InputError, nearest
from bench.hardware.devices import parse_count
from bench.hardware.memory import keep_freed

if TYPE_CHECKING:  # it imports torch, which --help does not wait for
    from bench.perf.measure import Line, Scale


def _measure(name: str, scale: Scale, *folder: Path) -> Iterator[Line]:
    """A part's lines; its module is imported only now, because it may need what is not installed."""
    lines: Iterator[Line] = importlib.import_module(f"bench.perf.{name}").measure(scale, *folder)
    return lines


NAMES = (
    "start_up", "dependency", "sampling", "sampler", "denoiser", "whole_run", "lstm", "likelihood", "sweep_overhead",
    "metrics", "loading", "many_runs", "scheduler", "resolved",
)  # fmt: skip
GPU = ("agreement", "lstm", "stages", "runs", "processes", "memory", "precision", "creep")
OF_RESULTS = ("sampler", "resolved")  # they measure what a results folder holds
PARTS: Mapping[str, Callable[..., Iterator[Line]]] = {name: partial(_measure, name) for name in NAMES}
ON_A_GPU = {"gpu": GPU, **{f"gpu.{name}": (name,) for name in GPU}}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table per part. Exit 0; 1 where a part of `gpu` failed; 2 for one that is unknown or cannot run here."""
    parser = command.parser("perf", str(__doc__))
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"parts (default: all): {', '.join(PARTS)}; {', '.join(ON_A_GPU)}"
    )
    parser.add_argument("--quick", action="store_true", help="smaller sizes, all parts in about three minutes")
    parser.add_argument(
        "--json", default="results/perf-gpu.json", metavar="FILE", help="where `gpu` writes (%(default)s)"
    )
    parser.add_argument("--results", default="results", metavar="FOLDER", help="what `sampler` and `resolved` look at")
    parser.add_argument("--stacks", default="auto", metavar="N", help="stacks that `gpu.creep` trains (60; quick: 20)")
    given = parser.parse_args(arguments)
    stacks = parse_count(given.stacks, "--stacks") or 0
    for name in given.names:
        if name not in PARTS and name not in ON_A_GPU:
            hint = nearest(name, [*PARTS, *ON_A_GPU], "`python -m bench.perf --help`")
            raise InputError(f"bench.perf: unknown part '{name}': {hint}")

    import torch  # here, after the parser

    from bench.perf import gpu

    torch.set_num_threads(1)
    keep_freed()  # as a worker does; so does the other side, but for that of `whole_run`
    scale: Scale = "quick" if given.quick else "full"
    parts = list(dict.fromkeys(part for name in given.names for part in ON_A_GPU.get(name, ())))
    good = not parts or gpu.measure(parts, scale, command.write, Path(given.json), stacks)
    names = [name for name in given.names if name in PARTS] if given.names else list(PARTS)
    if not names:
        return 0 if good else 1
    command.write(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread, CPU seconds")
    for name in names:
        command.write(f"\n{name:60}{'ours':>10}{'other':>10}{'ratio':>10}  target")
        began = time.process_time()
        for line in PARTS[name](scale, *([Path(given.results)] if name in OF_RESULTS else [])):
            command.write(str(line))
        command.write(f"  ({time.process_time() - began:.0f} CPU seconds)")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(command.run_command(main))
