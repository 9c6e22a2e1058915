"""`python -m bench.perf.methods`: what each method costs, relative to vanilla latent diffusion.

One run, one thread, default sizes, T = 24 and C = 6. Both stages are timed at the budget's ratio of
updates; `relative` compares the seconds that the default budget would take.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import torch

from bench.contracts import DiffusionConfig, ModelConfig, Splits, TrainConfig
from bench.models.build import BACKBONES
from bench.randomness import numpy_generator
from bench.registry import METHODS
from bench.train import train_stack

WINDOW, CHANNELS, SERIES = 24, 6, 500


def _splits() -> Splits:
    x = (
        numpy_generator("perf", 0, "series")
        .standard_normal((SERIES, WINDOW, CHANNELS))
        .astype(np.float32)
        .cumsum(axis=1)
    )
    ones, names = np.ones(CHANNELS), tuple(f"c{k}" for k in range(CHANNELS))
    return Splits(x, x[:50], x[:50], 0 * ones, ones, names, ("1",) * CHANNELS, WINDOW, "perf")


def seconds_of(name: str, backbone: str, share: float) -> tuple[float, float]:
    """Seconds of the autoencoder stage and of the denoiser stage at the default budget, from `share` of it."""
    whole, diffusion = TrainConfig(), DiffusionConfig()
    train = TrainConfig(steps=max(20, round(share * whole.steps)))
    denoiser = DiffusionConfig(steps=max(20, round(share * diffusion.steps)))
    splits = _splits()
    found = train_stack([METHODS[name]()], [splits], [("perf", 0)], backbone, ModelConfig(), [train], [denoiser])
    return (
        found.autoencoder_seconds * whole.steps / train.steps,
        found.denoiser_seconds * diffusion.steps / denoiser.steps,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table: updates per second of both stages, seconds at the default budget, relative cost."""
    parser = argparse.ArgumentParser(prog="python -m bench.perf.methods", description=__doc__)
    parser.add_argument("--backbone", default="lstm", choices=sorted(BACKBONES))
    parser.add_argument("--share", type=float, default=0.05, help="of the default budget that is timed")
    parser.add_argument("names", nargs="*", help="methods (default: all)")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    seconds_of("latent_diffusion", given.backbone, 0.01)  # first use of everything
    whole, diffusion = TrainConfig(), DiffusionConfig()
    base = sum(seconds_of("latent_diffusion", given.backbone, given.share))
    print(f"{'method':20}{'autoencoder/s':>15}{'denoiser/s':>12}{'seconds':>10}{'relative':>10}")
    for name in given.names or METHODS:
        first, second = seconds_of(name, given.backbone, given.share)
        rate = f"{whole.steps / first:.0f}" if first > 1e-3 else "-"
        total = first + second
        print(f"{name:20}{rate:>15}{diffusion.steps / second:>12.0f}{total:>10.1f}{total / base:>10.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
