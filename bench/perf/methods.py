"""`python -m bench.perf.methods`: what each method costs, relative to vanilla latent diffusion.

One run, one thread, default sizes, T = 24 and C = 6, CPU seconds. `seconds` is the default budget, and `relative`
compares it. `data_diffusion` has one network: both columns are its updates.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
import torch

from bench.contracts import DiffusionConfig, ModelConfig, Splits, TrainConfig
from bench.randomness import numpy_generator
from bench.registry import BACKBONES, METHODS
from bench.training.stack import train_stack

WINDOW, CHANNELS, SERIES = 24, 6, 500


def _splits() -> Splits:
    x = numpy_generator("perf", 0, "series").standard_normal((SERIES, WINDOW, CHANNELS)).astype(np.float32)
    ones, names = np.ones(CHANNELS), tuple(f"c{k}" for k in range(CHANNELS))
    return Splits(x, x[:50], x[:50], 0 * ones, ones, names, ("1",) * CHANNELS, WINDOW, "perf")


def _cpu_seconds(name: str, backbone: str, steps: int, denoiser_steps: int) -> float:
    train, diffusion = TrainConfig(steps=steps), DiffusionConfig(steps=denoiser_steps)
    began = time.process_time()
    found = train_stack([METHODS[name]()], [_splits()], [("perf", 0)], backbone, ModelConfig(), [train], [diffusion])
    if found.diverged[0]:
        raise SystemExit(f"{name}: {found.diverged[0]}")
    return time.process_time() - began


def cost_of(name: str, backbone: str, share: float) -> tuple[float, float]:
    """CPU seconds of an update of either stage, from `share` of the default budget."""
    steps, denoiser_steps = (max(20, round(share * whole)) for whole in (TrainConfig().steps, DiffusionConfig().steps))
    first = _cpu_seconds(name, backbone, steps, 1)
    return first / steps, (_cpu_seconds(name, backbone, steps, 1 + denoiser_steps) - first) / denoiser_steps


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table: updates per second of both stages, seconds at the default budget, relative cost."""
    parser = argparse.ArgumentParser(prog="python -m bench.perf.methods", description=__doc__)
    parser.add_argument("--backbone", default="lstm", choices=sorted(BACKBONES), help="(default: %(default)s)")
    parser.add_argument("--share", type=float, default=0.05, help="of the default budget that is timed")
    parser.add_argument("names", nargs="*", help="methods (default: all)")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    _cpu_seconds("latent_diffusion", given.backbone, 20, 20)  # first use of everything
    print(f"{'method':20}{'autoencoder/s':>15}{'denoiser/s':>12}{'seconds':>10}{'relative':>10}")
    vanilla = 0.0
    for name in ["latent_diffusion", *(name for name in given.names or METHODS if name != "latent_diffusion")]:
        first, second = cost_of(name, given.backbone, given.share)
        total = first * TrainConfig().steps + second * DiffusionConfig().steps
        vanilla = vanilla or total
        print(f"{name:20}{1 / first:>15.0f}{1 / second:>12.0f}{total:>10.1f}{total / vanilla:>10.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
