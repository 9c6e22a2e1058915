"""Reference rows: floors that no sampler can beat by luck, and controls that show what a metric rewards.

Each takes the windows of a data set and returns (reference, samples), n of each, as if a method
had drawn the samples. Under the literature's protocol, where the reference is the training set, they are the rows that
its tables lack: half of the windows against the other half, a Gaussian, a constant, the training windows themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from bench.contracts import Splits

Pair = tuple[np.ndarray, np.ndarray]
Reference = Callable[[Splits, int, np.random.Generator], Pair]


def evaluation_size(splits: Splits, n_samples: int) -> int:
    """How many samples are drawn: as many as are compared with reference windows or with test windows."""
    return min(n_samples, max(len(splits.reference), len(splits.test)))


def some_rows(windows: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Which n of real windows (or all, where there are fewer) every method of a (data set, seed) meets, in order."""
    return np.sort(rng.permutation(len(windows))[:n])


def reference_windows(splits: Splits, n: int, rng: np.random.Generator) -> np.ndarray:
    """At most n of the windows that samples are compared with, the same for every method, (n, T, C)."""
    return splits.reference[some_rows(splits.reference, n, rng)]


class Origin(NamedTuple):
    """Where windows (n, T, C) come from, as far as they are windows of the data; NaN for one that is none of them."""

    start: np.ndarray | None  # (n,), the row at which each begins; none where no windows of these data share rows
    entity: np.ndarray | None  # (n,), whose window each is; none where no entity has several


def origin(windows: np.ndarray, splits: Splits) -> Origin:
    """Where each of these windows comes from.

    Two windows share no row where their first rows differ by T or more. Rows are counted through all parts, also where
    recordings end at places that are not known (no `starts`).
    """
    parts = [(name, part) for name in splits.strides if (part := getattr(splits, name)) is not None]
    shared = any(splits.strides[name] < splits.window for name, _ in parts)
    if not shared and not splits.entities:
        return Origin(None, None)
    places: dict[bytes, int] = {}
    start: list[np.ndarray] = []
    entity: list[np.ndarray] = []
    before = after = 0
    for name, part in parts:
        stride = splits.strides[name]
        for place, window in enumerate(part, start=before):
            places.setdefault(digest(window), place)
        before += len(part)
        start.append(after + splits.starts.get(name, stride * np.arange(len(part))))
        entity.append(splits.entities.get(name, np.full(len(part), np.nan)))
        after = start[-1].max(initial=after) + stride + splits.window
    found = np.array([places.get(digest(window), -1) for window in windows], dtype=np.int64)

    def of(values: list[np.ndarray]) -> np.ndarray:
        return np.append(np.concatenate(values).astype(np.float64), np.nan)[found]  # -1 is the last one

    return Origin(of(start) if shared else None, of(entity) if splits.entities else None)


def digest(window: np.ndarray) -> bytes:
    """Of the values of a window or series."""
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
    """Half of train against the other half: sampling noise alone (n is smaller where train is short).

    Every second entity is in the same half; where none are known, every second stretch of 10 T rows, or every second
    window where windows share no rows.
    """
    stride = splits.strides["train"]
    stretch = 10 * splits.window // stride if stride < splits.window else 1
    position = np.arange(len(splits.train))
    unit = splits.entities.get("train", position // stretch)
    units, number = np.unique(unit, return_inverse=True)
    second = number % 2 == 1 if len(units) > 1 else position >= len(position) // 2
    parts = splits.train[~second], splits.train[second]
    n = min(n, len(splits.reference), *map(len, parts))
    first, other = (part[np.sort(rng.permutation(len(part))[:n])] for part in parts)
    return first, other


def floor_held_out(splits: Splits, n: int, rng: np.random.Generator) -> Pair:
    """Train beside the windows that samples are compared with: what draws from the law of the training data score."""
    reference = reference_windows(splits, n, rng)
    return reference, _train(splits, len(reference), rng)


def floor_shift(splits: Splits, n: int, rng: np.random.Generator) -> Pair:
    """Train against test: sampling noise plus the shift between the parts; as `floor_held_out` where none is held out.

    A method's values beside the test windows are to be read beside it.
    """
    reference = splits.test[some_rows(splits.test, n, rng)]
    return reference, _train(splits, len(reference), rng)


def constant_mean(splits: Splits, n: int, rng: np.random.Generator) -> Pair:
    """The mean training window, n times: what a metric gives for no diversity at all."""
    reference = reference_windows(splits, n, rng)
    return reference, np.repeat(splits.train.mean(axis=0, keepdims=True), len(reference), axis=0)


def gaussian_fit(splits: Splits, n: int, rng: np.random.Generator) -> Pair:
    """Draws from one Gaussian with the full covariance of the flattened training windows."""
    reference = reference_windows(splits, n, rng)
    flat = splits.train.reshape(len(splits.train), -1).astype(np.float64)
    mean = flat.mean(axis=0)
    # x = mean + (X - mean)^T w / sqrt(n - 1) with w ~ N(0, I) has the sample covariance, singular or not.
    values, vectors = np.linalg.eigh(np.cov(flat, rowvar=False))
    root = vectors * np.sqrt(np.clip(values, 0, None))
    draws = mean + rng.standard_normal((len(reference), len(mean))) @ root.T
    return reference, draws.reshape(len(reference), *splits.train.shape[1:]).astype(np.float32)


def time_shuffled(splits: Splits, n: int, rng: np.random.Generator) -> Pair:
    """Training windows with their time steps permuted: right marginals, no dynamics."""
    reference = reference_windows(splits, n, rng)
    order = rng.permuted(np.tile(np.arange(splits.window), (len(reference), 1)), axis=1)
    return reference, np.take_along_axis(_train(splits, len(reference), rng), order[:, :, None], axis=1)


def half_against_half(splits: Splits, n: int, rng: np.random.Generator) -> Pair:
    """A random half of the training windows beside the other half: neighbours that share rows are in both."""
    order = rng.permutation(len(splits.train))
    half = len(order) // 2
    first, second = (splits.train[np.sort(part[:n])] for part in (order[:half], order[half : 2 * half]))
    return first, second


def memorised(splits: Splits, n: int, rng: np.random.Generator) -> Pair:
    """Training windows beside the reference, which is the training set: what a generator that stores them scores."""
    reference = reference_windows(splits, n, rng)
    return reference, _train(splits, len(reference), rng)


def noise_redrawn(splits: Splits, n: int, rng: np.random.Generator) -> Pair:
    """Training windows whose channels of pure noise are drawn anew, each by itself, from the channel's own values."""
    reference = reference_windows(splits, n, rng)
    samples = _train(splits, len(reference), rng).copy()
    for channel in (splits.channels.index(name) for name in splits.noise):
        samples[:, :, channel] = rng.choice(splits.train[:, :, channel].ravel(), size=samples.shape[:2])
    return reference, samples


def _train(splits: Splits, n: int, rng: np.random.Generator) -> np.ndarray:
    return splits.train[np.sort(rng.choice(len(splits.train), size=n, replace=len(splits.train) < n))]


def _named(*functions: Reference) -> dict[str, Reference]:
    return {function.__name__: function for function in functions}


REFERENCES: Mapping[str, Reference] = _named(
    floor_noise, floor_held_out, floor_shift, constant_mean, gaussian_fit, time_shuffled
)
"""Those of data that are divided."""

UNDIVIDED: Mapping[str, Reference] = _named(
    half_against_half, floor_noise, memorised, constant_mean, gaussian_fit, noise_redrawn
)
"""Those of data under the literature's protocol; see `references_of`."""

EVERY_REFERENCE: Mapping[str, Reference] = {**REFERENCES, **UNDIVIDED}


def version_of(reference: str) -> int:
    """What a reference's numbers depend on beside the data.

    2: halves of train that share no rows; windows in order of time. 3: beside held-out windows. 4, `floor_noise` alone:
    whole entities, or stretches counted in rows and not in windows; no more windows than the other rows have.
    """
    return 4 if reference == floor_noise.__name__ else 3


def references_of(splits: Splits) -> list[str]:
    """The names of the references of a data set."""
    if not splits.whole:
        return list(REFERENCES)
    return [name for name in UNDIVIDED if name != noise_redrawn.__name__ or splits.noise]
