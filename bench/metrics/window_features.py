"""What a judge may look at in a window, by family, so that it can say what gave a sample away."""

from __future__ import annotations

import numpy as np

from bench.randomness import numpy_generator

COMPONENTS = 32  # principal components of the flattened windows
ATOMS = 2  # of each channel: its most common values
PAIRS = 50  # of channels, at most
LAGS = 3
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)


def features_by_family(windows: np.ndarray) -> dict[str, np.ndarray]:
    """Features (n, F) of windows (n, T, C), family by family; every feature is a number of one window.

        marginals       values without their order: mean, sd, extremes, quantiles, share at the most common values
        dynamics        increments (size, share of zeros, quantiles), autocorrelation, halves, turning points, crossings
        cross_channel   per pair: correlation of values and of increments within a window, product of the levels
        components      the leading principal components of the flattened windows

    A family is absent where it has nothing to say: dynamics at T = 1, cross_channel at C = 1. Which values are common,
    which components lead and what a level is measured from is taken from all different windows, whatever kind they are
    of: each counts once, so that no feature knows how often a window was drawn.
    """
    flat, again = np.unique(windows.reshape(len(windows), -1).astype(np.float64), axis=0, return_inverse=True)
    return {family: table[again] for family, table in _features(flat.reshape(-1, *windows.shape[1:])).items()}


def _features(windows: np.ndarray) -> dict[str, np.ndarray]:
    families = {"marginals": marginals(windows)}
    if windows.shape[1] > 1:
        families["dynamics"] = dynamics(windows)
    if windows.shape[2] > 1:
        families["cross_channel"] = cross_channel(windows)
    return {**families, "components": components(windows)}


def marginals(windows: np.ndarray) -> np.ndarray:
    """Per channel what does not change when the time steps of a window change places, (n, 11 C)."""
    parts = [windows.mean(axis=1), windows.std(axis=1), windows.min(axis=1), windows.max(axis=1)]
    parts += [*np.quantile(windows, SHARES, axis=1)]
    parts += [(windows == value).mean(axis=1) for value in common_values(windows)]
    return np.concatenate(parts, axis=1)


def common_values(windows: np.ndarray) -> np.ndarray:
    """The most common values of each channel, (ATOMS, C); NaN where a channel has fewer values."""
    found = np.full((ATOMS, windows.shape[2]), np.nan)
    for c in range(windows.shape[2]):
        values, counts = np.unique(windows[:, :, c], return_counts=True)
        chosen = values[np.argsort(-counts, kind="stable")[:ATOMS]]
        found[: len(chosen), c] = chosen
    return found


def dynamics(windows: np.ndarray) -> np.ndarray:
    """Per channel what depends on the order of the time steps, (n, up to 13 C)."""
    steps = windows.shape[1]
    increments = np.diff(windows, axis=1)
    size = np.abs(increments)
    parts = [np.sqrt((size**2).mean(axis=1)), size.mean(axis=1), size.max(axis=1), (increments == 0).mean(axis=1)]
    parts += [*np.quantile(increments, (0.1, 0.5, 0.9), axis=1)]
    centred = windows - windows.mean(axis=1, keepdims=True)
    power = (centred**2).sum(axis=1)
    power[power < 1e-12] = np.inf  # a flat line has no autocorrelation
    for lag in range(1, min(LAGS, steps - 1) + 1):
        parts.append((centred[:, :-lag] * centred[:, lag:]).sum(axis=1) / power)
    parts.append(windows[:, steps // 2 :].mean(axis=1) - windows[:, : steps // 2].mean(axis=1))
    above = centred > 0
    parts.append((above[:, 1:] != above[:, :-1]).mean(axis=1))
    if steps > 2:
        parts.append((increments[:, 1:] * increments[:, :-1] < 0).mean(axis=1))  # turning points
    return np.concatenate(parts, axis=1)


def cross_channel(windows: np.ndarray) -> np.ndarray:
    """Per pair of channels how they move and stand together, (n, up to 3 * PAIRS); of many pairs a fixed draw."""
    channels = windows.shape[2]
    first, second = np.triu_indices(channels, 1)
    if len(first) > PAIRS:
        rng = numpy_generator("window features", channels, "pairs of channels")
        chosen = np.sort(rng.choice(len(first), PAIRS, replace=False))
        first, second = first[chosen], second[chosen]
    level = windows.mean(axis=1)
    level = level - level.mean(axis=0)
    parts = [within_window_correlation(windows, first, second), level[:, first] * level[:, second]]
    if windows.shape[1] > 2:
        parts.append(within_window_correlation(np.diff(windows, axis=1), first, second))
    return np.concatenate(parts, axis=1)


def within_window_correlation(windows: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlation over time of channel pairs in every window, (n, pairs); 0 where one of them is flat."""
    centred = windows - windows.mean(axis=1, keepdims=True)
    length = np.sqrt((centred**2).sum(axis=1))
    length[length < 1e-9] = np.inf
    products = np.einsum("ntk,ntk->nk", centred[:, :, first], centred[:, :, second])
    return products / (length[:, first] * length[:, second])


def components(windows: np.ndarray) -> np.ndarray:
    """The leading principal components of the flattened windows, (n, up to 32)."""
    from scipy.linalg import eigh  # a fifth of a second to import

    flat = windows.reshape(len(windows), -1)
    flat = flat - flat.mean(axis=0)
    n, size = flat.shape
    few = min(COMPONENTS, n, size)
    tall = n >= size
    square = flat.T @ flat if tall else flat @ flat.T  # the smaller of the two, with the same eigenvalues
    most = len(square)
    values, vectors = eigh(square, subset_by_index=(most - few, most - 1))
    return flat @ vectors if tall else vectors * np.sqrt(values.clip(min=0))
