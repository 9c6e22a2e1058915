"""How long commands take to begin, in CPU seconds of a process of their own, beside a bare `import torch`.

The best of five, because whatever else runs on the machine only adds. Ratio: the import of torch over ours, which says
the same on a fast machine and on a slow one.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence

from bench.__main__ import ORDER
from bench.perf.measure import Line, Scale

TORCH = ("-c", "import torch")
HELP_SECONDS, BENCH_SECONDS, LIST_SECONDS, DRY_RUN_SECONDS = 0.4, 0.2, 0.8, 1.5


def seconds(words: Sequence[str], repeats: int) -> float:
    """The fewest CPU seconds that a Python with these arguments takes, of several."""

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    found = []
    for _ in range(repeats):
        before = spent()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found.append(spent() - before)
    return min(found)


def measure(scale: Scale) -> Iterator[Line]:
    """A line for `import bench`, the help of every command, the list and a dry run of the sweep `quick`."""
    begun: dict[str, tuple[tuple[str, ...], float]] = {"import bench": (("-c", "import bench"), BENCH_SECONDS)}
    if scale != "tiny":
        for verb in ORDER:
            begun[f"bench.{verb} --help"] = ("-m", f"bench.{verb}", "--help"), HELP_SECONDS
        begun["bench.list"] = ("-m", "bench.list"), LIST_SECONDS
        begun["bench.run --grid quick --dry-run"] = ("-m", "bench.run", "--grid", "quick", "--dry-run"), DRY_RUN_SECONDS
    repeats = 1 if scale == "tiny" else 5
    torch = seconds(TORCH, repeats)
    for what, (words, target) in begun.items():
        ours = seconds(words, repeats)
        yield Line(what, torch / ours, ours, torch, f"{target:g} s", "" if ours <= target else "not met")
