"""Reference rows: floors that no sampler can beat by luck, and controls that show what a metric rewards.

Each takes the windows of a data set and returns (reference, samples), n of each, as if a method
had drawn the samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import numpy as np

from bench.contracts import Splits

REFERENCES_VERSION = 2  # 2: halves of train that share no rows; windows in time's order

Pair = tuple[np.ndarray, np.ndarray]


def evaluation_size(splits: Splits, n_samples: int) -> int:
    """n of every sample metric: min(n_samples, test windows)."""
    return min(n_samples, len(splits.test))


def reference_rows(splits: Splits, n: int, rng: np.random.Generator) -> np.ndarray:
    """Which n test windows every method of a (data set, seed) is compared with, in time's order, (n,)."""
    return np.sort(rng.permutation(len(splits.test))[:n])


def reference_windows(splits: Splits, n: int, rng: np.random.Generator) -> np.ndarray:
    """Those windows, (n, T, C)."""
    return splits.test[reference_rows(splits, n, rng)]


def first_rows(windows: np.ndarray, splits: Splits) -> np.ndarray | None:
    """The row at which each window (n, T, C) of the data begins, (n,), NaN for a window that is none of them.

    Rows are counted through all parts, the ends of recordings not being known: two windows share no row where their
    first rows differ by T or more. None where no windows of these data share rows.
    """
    train_stride = splits.train_stride or splits.test_stride
    parts = ((splits.train, train_stride), (splits.validation, train_stride), (splits.test, splits.test_stride))
    if all(stride >= splits.window for _, stride in parts):
        return None
    rows: dict[bytes, int] = {}
    after = 0
    for part, stride in parts:
        for place, window in enumerate(part):
            rows.setdefault(_digest(window), after + place * stride)
        after += len(part) * stride + splits.window
    return np.array([rows.get(_digest(window), np.nan) for window in windows], dtype=np.float64)


def _digest(window: np.ndarray) -> bytes:
    return hashlib.blake2b(window.tobytes(), digest_size=16).digest()


def alternate_runs(windows: np.ndarray, parts: int) -> list[np.ndarray]:
    """Parts of windows in time's order that share rows only at borders: alternate runs of 10 T windows.

    Random parts of overlapping windows would hold near copies of each other, and any distance between them would be
    far below sampling noise. Windows that are too few for a run in every part are cut into as many pieces.
    """
    position, run = np.arange(len(windows)), 10 * windows.shape[1]
    part = position // run % parts if len(windows) >= parts * run else parts * position // len(windows)
    return [windows[part == k] for k in range(parts)]


def halves(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two such parts."""
    first, second = alternate_runs(windows, 2)
    return first, second


def floor_noise(splits: Splits, n: int, rng: np.random.Generator) -> Pair:
    """Half of train against the other half: sampling noise alone (n is smaller where train is short)."""
    parts = halves(splits.train)
    n = min(n, *map(len, parts))
    first, second = (part[np.sort(rng.permutation(len(part))[:n])] for part in parts)
    return first, second


def floor_shift(splits: Splits, n: int, rng: np.random.Generator) -> Pair:
    """Train against test: sampling noise plus the shift between the parts, what a perfect copy of train scores."""
    return reference_windows(splits, n, rng), _train(splits, n, rng)


def constant_mean(splits: Splits, n: int, rng: np.random.Generator) -> Pair:
    """The mean training window, n times: what a metric gives for no diversity at all."""
    return reference_windows(splits, n, rng), np.repeat(splits.train.mean(axis=0, keepdims=True), n, axis=0)


def gaussian_fit(splits: Splits, n: int, rng: np.random.Generator) -> Pair:
    """Draws from one Gaussian with the full covariance of the flattened training windows."""
    reference = reference_windows(splits, n, rng)
    flat = splits.train.reshape(len(splits.train), -1).astype(np.float64)
    mean = flat.mean(axis=0)
    # x = mean + (X - mean)^T w / sqrt(n - 1) with w ~ N(0, I) has the sample covariance, singular or not.
    values, vectors = np.linalg.eigh(np.cov(flat, rowvar=False))
    root = vectors * np.sqrt(np.clip(values, 0, None))
    draws = mean + rng.standard_normal((n, len(mean))) @ root.T
    return reference, draws.reshape(n, *splits.train.shape[1:]).astype(np.float32)


def time_shuffled(splits: Splits, n: int, rng: np.random.Generator) -> Pair:
    """Training windows with their time steps permuted: right marginals, no dynamics."""
    reference = reference_windows(splits, n, rng)
    order = rng.permuted(np.tile(np.arange(splits.window), (n, 1)), axis=1)
    return reference, np.take_along_axis(_train(splits, n, rng), order[:, :, None], axis=1)


def _train(splits: Splits, n: int, rng: np.random.Generator) -> np.ndarray:
    return splits.train[np.sort(rng.choice(len(splits.train), size=n, replace=len(splits.train) < n))]


REFERENCES: Mapping[str, Callable[[Splits, int, np.random.Generator], Pair]] = {
    name.__name__: name for name in (floor_noise, floor_shift, constant_mean, gaussian_fit, time_shuffled)
}
