"""How many runs to stack: 1 on a CPU, where it gains nothing; on a GPU as memory and a short measurement suggest."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeAlias

from bench.contracts import in_one_line
from bench.hardware.devices import CONTEXT_BYTES, Device, memory_of, parse_count
from bench.sweeps.run import Run

Choice: TypeAlias = int | Callable[[Sequence[Run]], int]
"""A size for every stack, or a function of the runs that could share one."""

LEAST, MOST = 8, 256
GAIN = 1.15  # doubling a stack must raise the runs per second by this factor
SHARE = 0.5  # of the device's memory that a stack may take
UPDATES = (70, 130)  # of both stages; the difference is timed


def choose(text: str, devices: Sequence[Device], data: Path | None, plugins: Sequence[str], measure: bool) -> Choice:
    """What `--stack` asks for. Without `measure` a GPU's memory alone decides. Raises InputError."""
    size = parse_count(text, "--stack")
    if size or devices[0].kind == "cpu":
        return size or 1
    if ":" not in devices[0].name:  # a cluster's, whose GPUs are not seen from here
        return LEAST
    memory = min(memory_of(device) for device in devices)
    found: dict[object, int] = {}

    def of(runs: Sequence[Run]) -> int:
        run = runs[0]
        shape = run.backbone, run.model, run.dataset, run.train.batch_size, run.diffusion.batch_size
        if shape not in found:
            fits = most_in(memory, run)
            wanted = min(fits, MOST)
            if measure and len(runs) > LEAST and fits > LEAST:
                wanted = measured(run, devices[0], data, plugins, wanted)
            found[shape] = wanted
        return found[shape]

    return of


def bytes_of(run: Run, window: int = 48, channels: int = 16) -> int:
    """Roughly the memory that one more run takes on a GPU in training, float32, from the shapes; rather too much.

    It is six times its weights (values, moments, gradients, a check's copy), and what the backward pass needs: some
    16 H numbers per layer, series and step in the encoder (twice that where it reads in both directions), twice that in
    the decoder, and some 12 layers of the denoiser.
    """
    hidden, layers, width = run.model.hidden, run.model.layers, run.diffusion.hidden
    inputs = max(hidden, channels + run.model.latent)
    networks = 2 if run.model.latent_steps == 1 else 3  # of the encoder and the decoder
    weights = networks * layers * 4 * hidden * (hidden + inputs) + 4 * width * width + 3 * 64 * width
    states = (networks + 1) * 16 * hidden * layers * run.train.batch_size * window
    return 4 * (6 * weights + states + 12 * width * run.diffusion.batch_size)


def most_in(memory: int, run: Run) -> int:
    """How many runs fit in a share of this many bytes, at least one."""
    return max(1, int((SHARE * memory - CONTEXT_BYTES) / bytes_of(run)))


def fastest(seconds: Callable[[int], float], most: int) -> int:
    """The number of runs beyond which doubling hardly raises the runs per second; seconds(R) is the time of R runs.

    Starts at `LEAST` and doubles. An error at a larger number (such as too little memory) ends the search; an error at
    the first number is raised.
    """
    best, rate = min(LEAST, most), 0.0
    size = best
    while size <= most:
        try:
            new = size / seconds(size)
        except Exception:
            if not rate:
                raise
            break
        if new < GAIN * rate:
            break
        best, rate, size = size, new, 2 * size
    return best


def measured(run: Run, device: Device, data: Path | None, plugins: Sequence[str], most: int) -> int:
    """`fastest` for runs like this one on the device, in a process of its own; `LEAST` where that fails."""
    began = time.monotonic()
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    if device.visible:
        os.environ["CUDA_VISIBLE_DEVICES"] = device.visible
    try:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            size = pool.submit(_fastest_of, run, device.kind, data, tuple(plugins), most).result()
    except Exception as error:
        reason = in_one_line(error)
        sys.stderr.write(f"note: --stack auto: could not be measured, {min(LEAST, most)} runs per stack ({reason})\n")
        return min(LEAST, most)
    finally:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        if before is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = before
    took = time.monotonic() - began
    sys.stderr.write(f"note: --stack auto: {size} runs per stack for {run.label} and similar runs ({took:.0f} s)\n")
    return size


def _fastest_of(run: Run, kind: str, data: Path | None, plugins: Sequence[str], most: int) -> int:
    import torch

    from bench.loading.windows import load_splits
    from bench.registry import load_plugins
    from bench.training.stack import train_stack

    torch.set_num_threads(1)
    load_plugins(plugins)
    splits, method = load_splits(run.dataset, run.data_seed, data), run.build_method()

    def train(size: int, updates: int) -> float:
        """Seconds of both stages."""
        train = dataclasses.replace(run.train, steps=updates)
        diffusion = dataclasses.replace(run.diffusion, steps=updates)
        keys = [(run.dataset.stream, seed % LEAST) for seed in range(size)]
        each = [method] * size, [splits] * size, keys, run.backbone, run.model, [train] * size, [diffusion] * size
        found = train_stack(*each, kind)
        return found.autoencoder_seconds + found.denoiser_seconds

    def seconds(size: int) -> float:
        """Of an update of each stage, of a whole stack."""
        few, many = (train(size, updates) for updates in UPDATES)
        return max(many - few, 1e-6) / (UPDATES[1] - UPDATES[0])

    return fastest(seconds, most)
