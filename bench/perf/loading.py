"""How long data sets take to load and to be windowed, from raw files and again, a process for each load.

Every one that needs nothing or whose files can be fetched; a user's own files have no common size.

CPU seconds after the imports, one thread. The files are linked into an empty folder, so that the first load finds no
extract of an earlier one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.loading.description import kind
from bench.loading.files import remotes, stored
from bench.perf.measure import Line, Scale
from bench.registry import DATASETS

CHILD = """
import json, sys, time
from pathlib import Path
import pyarrow.parquet
import torch
from bench.contracts import DatasetSpec
from bench.hardware.memory import peak_bytes
from bench.registry import DATASETS
from bench.loading.windows import load_splits

name, folder = sys.argv[1:]
DATASETS[name]
began = time.process_time()
splits = load_splits(DatasetSpec(name), 0, Path(folder))
seconds = time.process_time() - began
print(json.dumps([seconds, peak_bytes(torch.device("cpu")) / 1e9, len(splits.train)]))
"""
RAW = {"retail": 15.0, "emg": 15.0}  # seconds from raw files; 5 of any other


class Load(NamedTuple):
    """One load in a fresh process."""

    seconds: float  # CPU, without imports
    peak: float  # GB of the process, imports and all
    windows: int  # of the training part


def load(name: str, folder: Path) -> Load:
    """Load a data set's defaults in a new process that knows of no other data or cache."""
    environment = {**os.environ, "BENCH_DATA": "", "XDG_CACHE_HOME": str(folder / "cache")}
    words = [sys.executable, "-c", CHILD, name, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    return Load(*json.loads(done.stdout))


def measure(scale: Scale) -> Iterator[Line]:
    """A line per data set (tiny: a simulated one): the second load (ours) beside the first one (other)."""
    simulated = [name for name in DATASETS if kind(DATASETS[name]) == "simulated"]
    fetched = [name for name in DATASETS if remotes(DATASETS[name])]
    for name in simulated[:1] if scale == "tiny" else [*simulated, *fetched]:
        files = [stored(remote, None) for remote in remotes(DATASETS[name])]
        if None in files:
            yield Line(f"{name}: not measured, no files here", float("nan"))
            continue
        with tempfile.TemporaryDirectory() as place:
            for remote, path in zip(remotes(DATASETS[name]), files, strict=True):
                assert path is not None
                names = (remote.path, f"{remote.path}.gz", *remote.instead)
                link = Path(place, next(name for name in names if path.as_posix().endswith(name)))
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.exists():  # several files may lie in one archive
                    link.symlink_to(path.resolve())
            first, second = load(name, Path(place)), load(name, Path(place))
        good = first.seconds < RAW.get(name, 5.0) and second.seconds < 1 and max(first.peak, second.peak) < 1
        note = f"{'' if good else '**missed** '}{max(first.peak, second.peak):.2f} GB, {first.windows:,} windows"
        target = f"{RAW.get(name, 5.0):g}, 1 s"
        yield Line(
            f"{name}, again and from raw", first.seconds / second.seconds, second.seconds, first.seconds, target, note
        )
