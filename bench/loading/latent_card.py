"""How much a window knows of itself: what a latent of the whole window could carry in a data set.

The numbers choose data sets on which the question makes sense, and are no bound: a better regressor can raise or lower
them. Differences of a few hundredths mean nothing, least of all with few windows.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.contracts import Splits
from bench.loading.cache import cache_folder
from bench.loading.evenly_spaced import evenly_spaced
from bench.randomness import numpy_generator

VERSION = 2  # raised when the same windows give another card
COMPONENTS = 8  # leading principal components, of windows and of their last thirds
MOST = 1500  # windows of each part that are looked at, from everywhere
RIDGES = tuple(10.0**k for k in range(-1, 6))  # penalties of the linear regression
KERNEL_RIDGES = tuple(10.0**k for k in range(-3, 2))  # and of the kernel's,
WIDTHS = (0.25, 1.0, 4.0)  # whose exponent is -width d^2 / (the median of d^2)
MATTERS, HARDLY = 0.1, 0.03  # gains from which on a latent can matter, and can matter a little
FAILS = 0.05  # of a loss: more predictors predict worse
SETTLED = 0.95  # a share of the variance that leaves nothing to a latent


@dataclass(frozen=True)
class LatentCard:
    """Shares of variance. R2 is of the 8 leading principal components of a window's last third, over test windows."""

    between_windows: float  # share of a channel's variance that lies between window means, mean over channels
    components: float  # share of the windows' variance (less their mean) in 8 principal components
    components_shuffled: float  # the same after the time steps of each window are permuted
    last_steps: float  # R2 from the two steps before the last third, ridge regression
    two_thirds: float  # R2 from the first two thirds, ridge regression
    last_steps_kernel: float  # the same two by kernel ridge regression (RBF)
    two_thirds_kernel: float
    windows: int  # training windows that share no row
    groups: int  # groups of test windows that resemble each other within a group only

    @property
    def gain(self) -> float:
        """What the first two thirds add to the last two steps, ridge regression."""
        return self.two_thirds - self.last_steps

    @property
    def gain_kernel(self) -> float:
        """The same by kernel ridge regression."""
        return self.two_thirds_kernel - self.last_steps_kernel

    @property
    def verdict(self) -> str:
        """One sentence: can a latent matter here? The better regression is taken on either side."""
        last, whole = max(self.last_steps, self.last_steps_kernel), max(self.two_thirds, self.two_thirds_kernel)
        last = max(last, 0.0)  # worse than the mean says as little as the mean
        gain = whole - last
        if not math.isfinite(gain):
            return "It cannot be said whether a latent can matter: the last thirds do not vary, or windows are too few."
        if gain <= -FAILS:
            return (
                "It cannot be said whether a latent can matter: the regression on the first two thirds fails on the "
                "test windows, which differ too much from the training windows or are too few."
            )
        if gain >= HARDLY:
            return (
                f"A latent can matter{'' if gain >= MATTERS else ' a little'}: the first two thirds of a window say "
                f"{gain:.2f} more of the variance of the last third than the two steps before it do."
            )
        if last >= SETTLED:
            return "A latent has little to do: the last two steps say nearly all that can be known of what follows."
        if whole < MATTERS:
            return "A latent has little to do: nothing in the first two thirds of a window predicts the last third."
        return "A latent has little to do: what the first two thirds say of the last third, its last two steps say."

    def to_facts(self) -> dict[str, str]:
        """The numbers as text, a name for each."""
        words = {
            "share of the variance between windows": f"{self.between_windows:.2f}",
            "share of the variance in 8 principal components": f"{self.components:.2f} "
            f"({self.components_shuffled:.2f} with the time steps shuffled)",
        }
        kinds = {
            "ridge": (self.last_steps, self.two_thirds, self.gain),
            "kernel": (self.last_steps_kernel, self.two_thirds_kernel, self.gain_kernel),
        }
        for kind, (last, whole, gain) in kinds.items():
            words[f"R2 of the last third, {kind} regression"] = (
                f"{last:.2f} from the two steps before it, {whole:.2f} from the first two thirds, gain {gain:.2f}"
            )
        groups = f", {self.groups:,} independent groups of test windows" if self.groups else ""
        words["independent windows"] = f"{self.windows:,} training windows that share no row{groups}"
        words["can a latent matter"] = self.verdict
        return words


def latent_card(splits: Splits) -> LatentCard:
    """The card of these windows; computed once for their hash, and kept in the user's cache folder."""
    found = kept_card([splits.sha256])
    if found is None:
        found = measure_card(splits)
        cache = cache_folder()
        if cache is not None:
            with suppress(OSError):  # a folder that cannot be written costs time only
                _write(found, _place(cache, splits.sha256))
    return found


def kept_card(hashes: Iterable[str], results: Path | None = None) -> LatentCard | None:
    """The first card of the windows of these hashes that was published with `results`, or kept in the cache folder."""
    folders = [folder for folder in (results, cache_folder()) if folder is not None]
    for sha256 in hashes:
        for folder in folders:
            with suppress(OSError, ValueError, TypeError):  # none, or damaged
                return LatentCard(**json.loads(_place(folder, sha256).read_text(encoding="utf-8")))
    return None


def publish_cards(hashes: Iterable[str], source: Path, out: Path) -> None:
    """Write those cards that are known of the windows of these hashes to `out`, for readers who lack the data."""
    for sha256 in hashes:
        found = kept_card([sha256], source)
        if found is not None:
            _write(found, _place(out, sha256))


def _place(folder: Path, sha256: str) -> Path:
    return folder / "cards" / f"{sha256[:32]}-{VERSION}.json"


def _write(found: LatentCard, path: Path) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(json.dumps(dataclasses.asdict(found), indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def measure_card(splits: Splits) -> LatentCard:
    """Everything about windows of shape (n, T, C), from at most 1,500 windows of each part."""
    train, validation, test = (_some(getattr(splits, part)) for part in ("train", "validation", "test"))
    means = train.mean(axis=1)
    variance = train.reshape(-1, train.shape[2]).var(axis=0)
    moves = variance > 0
    order = numpy_generator("latent card", 0, "shuffle").random(train.shape[:2]).argsort(axis=1)
    shuffled = np.take_along_axis(train, order[:, :, None], axis=1)
    (last, whole), (last_kernel, whole_kernel) = _predictability(train, validation, test)
    return LatentCard(
        between_windows=float((means.var(axis=0)[moves] / variance[moves]).mean()) if moves.any() else math.nan,
        components=_leading(train),
        components_shuffled=_leading(shuffled),
        last_steps=last,
        two_thirds=whole,
        last_steps_kernel=last_kernel,
        two_thirds_kernel=whole_kernel,
        windows=disjoint(splits.train, splits.strides["train"]),
        groups=len(np.unique(splits.test_groups)) if splits.test_groups is not None else 0,
    )


def _some(windows: np.ndarray) -> np.ndarray:
    return windows[evenly_spaced(len(windows), MOST)].astype(np.float64)


def disjoint(windows: np.ndarray, stride: int) -> int:
    """How many of windows (n, T, C), whose neighbours within a piece begin `stride` rows apart, share no row at most.

    Neighbours have T - stride rows in common, whatever the order of a window's steps, where no piece ends between them.
    """
    steps = windows.shape[1]
    if stride >= steps:
        return len(windows)
    rows = (Counter(row.tobytes() for row in window) for window in windows)
    ends = [(one & other).total() < steps - stride for one, other in itertools.pairwise(rows)]
    places = np.flatnonzero([True, *ends, True])
    return int(np.ceil(np.diff(places) / math.ceil(steps / stride)).sum())


def _leading(windows: np.ndarray) -> float:
    """Share of the variance of flattened windows, less their mean, in the first 8 principal components."""
    from sklearn.decomposition import PCA

    flat = windows.reshape(len(windows), -1)
    if len(flat) < 2 or not flat.var(axis=0).any():
        return math.nan
    count = min(COMPONENTS, *flat.shape)
    solver = PCA(count, svd_solver="randomized", iterated_power=7, random_state=0)
    return float(solver.fit(flat).explained_variance_ratio_.sum())


def _predictability(
    train: np.ndarray, validation: np.ndarray, test: np.ndarray
) -> tuple[tuple[float, float], tuple[float, float]]:
    """R2 from the last two steps and from the first two thirds: by ridge, and by kernel ridge regression."""
    posed = _last_thirds(train, validation, test)
    if posed is None:
        return (math.nan, math.nan), (math.nan, math.nan)
    pasts, targets = posed
    ridge, kernel = ([_r2(fits(past, targets), targets) for past in pasts] for fits in (_ridge, _kernel_ridge))
    return (ridge[0], ridge[1]), (kernel[0], kernel[1])


def by_ridge(train: np.ndarray, validation: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """R2 of the last thirds of test windows (n, T, C), from the two steps before them and from the first two thirds.

    Ridge regressions are fitted on the training windows, their penalty is chosen on the validation windows. NaN where
    fewer than three windows are given or the last thirds of the training windows do not vary.
    """
    posed = _last_thirds(*(_some(part) for part in (train, validation, test)))
    if posed is None:
        return math.nan, math.nan
    pasts, targets = posed
    last, whole = (_r2(_ridge(past, targets), targets) for past in pasts)
    return last, whole


def _last_thirds(*parts: np.ndarray) -> tuple[list[list[np.ndarray]], list[np.ndarray]] | None:
    """Of training, validation and test windows: the two pasts, and 8 components of the last third.

    None where it cannot be asked.
    """
    from sklearn.decomposition import PCA

    train, _, test = parts
    steps = train.shape[1]
    cut = min(max(round(2 * steps / 3), 1), steps - 1)
    ends = [part[:, cut:].reshape(len(part), -1) for part in parts]
    if len(train) < 3 or len(test) < 3 or not ends[0].var(axis=0).any():
        return None
    reduced = PCA(min(COMPONENTS, *ends[0].shape), random_state=0).fit(ends[0])
    pasts = [[part[:, first:cut].reshape(len(part), -1) for part in parts] for first in (max(cut - 2, 0), 0)]
    return pasts, [reduced.transform(part) for part in ends]


def _r2(predictions: Iterable[tuple[np.ndarray, np.ndarray]], targets: list[np.ndarray]) -> float:
    """R2 over the test windows of the fit that predicts the validation windows best, of pairs of predictions."""
    best = min(predictions, key=lambda pair: float(np.square(pair[0] - targets[1]).sum()))
    total = np.square(targets[2] - targets[2].mean(axis=0)).sum()
    return float(1 - np.square(best[1] - targets[2]).sum() / total) if total > 0 else math.nan


def _ridge(pasts: list[np.ndarray], targets: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from sklearn.linear_model import Ridge

    for alpha in RIDGES:
        fit = Ridge(alpha=alpha).fit(pasts[0], targets[0])
        validation, test = (fit.predict(past).reshape(len(past), -1) for past in pasts[1:])
        yield validation, test


def _kernel_ridge(pasts: list[np.ndarray], targets: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.metrics.pairwise import euclidean_distances

    squares = [euclidean_distances(past, pasts[0], squared=True) for past in pasts]
    usual = float(np.median(squares[0])) or 1.0
    for width in WIDTHS:
        kernels = [np.exp(-width / usual * square) for square in squares]
        for alpha in KERNEL_RIDGES:
            fit = KernelRidge(alpha=alpha, kernel="precomputed").fit(kernels[0], targets[0])
            yield fit.predict(kernels[1]), fit.predict(kernels[2])
