"""The only place that draws.

A stream is named by (data set, seed, role) and never by the method, so that two methods on the
same data set and seed see the same split, batches, noise and evaluation subset: comparisons are
paired. Every run of a stack has a stream of its own, so a run's numbers do not depend on its
neighbours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bench.contracts import PerRun


def seed_of(dataset: str, seed: int, role: str) -> int:
    """64 bits that depend on all three words and on nothing else (not on the platform or the hash seed)."""
    digest = hashlib.sha256(f"{dataset}\x1f{seed}\x1f{role}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def numpy_generator(dataset: str, seed: int, role: str) -> np.random.Generator:
    """A numpy generator for one role."""
    return np.random.default_rng(seed_of(dataset, seed, role))


def _torch_generator(dataset: str, seed: int, role: str) -> torch.Generator:
    generator = torch.Generator()
    generator.manual_seed(seed_of(dataset, seed, role) % 2**63)
    return generator


class Randomness:
    """Streams for a stack of runs.

    keys: (data set key, seed) of each run; R = len(keys). Blocks are drawn on the CPU, so that a
    seed means the same numbers on every device, and moved to `device`.
    """

    def __init__(self, keys: Sequence[tuple[str, int]], device: torch.device | str = "cpu") -> None:
        self.keys = tuple(keys)
        self.device = torch.device(device)

    def draws(self, role: str) -> Stream:
        """The stream of one role, from its beginning."""
        return Stream([_torch_generator(dataset, seed, role) for dataset, seed in self.keys], self.device)


class Stream:
    """See `bench.contracts.Draws`."""

    def __init__(self, generators: Sequence[torch.Generator], device: torch.device) -> None:
        self._generators = generators
        self._device = device

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, (R, *shape), float32."""
        return torch.stack([torch.randn(shape, generator=g) for g in self._generators]).to(self._device)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform on [0, 1), (R, *shape), float32."""
        return torch.stack([torch.rand(shape, generator=g) for g in self._generators]).to(self._device)

    def steps(self, low: PerRun, high: PerRun, *shape: int) -> Tensor:
        """Integers uniform on {low, .., high}, (R, *shape); low and high are numbers or of shape (R,)."""
        ones = (1,) * len(shape)
        bounds = [torch.as_tensor(b, device=self._device).to(torch.int64).reshape(-1, *ones) for b in (low, high)]
        u = torch.stack([torch.rand(shape, generator=g, dtype=torch.float64) for g in self._generators])
        return bounds[0] + (u.to(self._device) * (bounds[1] - bounds[0] + 1)).to(torch.int64)

    def permutation(self, n: int) -> Tensor:
        """One permutation of 0..n-1 per run, (R, n)."""
        return torch.stack([torch.randperm(n, generator=g) for g in self._generators]).to(self._device)
