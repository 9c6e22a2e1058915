"""Maximum mean discrepancy between windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.contracts import Measurement, SampleEvaluation
from bench.metrics.base import SampleMetric, flattened, increments, undefined
from bench.registry import register_metric


def discrepancy(name: str, real: np.ndarray, generated: np.ndarray) -> list[Measurement]:
    """The row `name`: MMD^2 between two sets (n, T, C) under the kernel whose width the real ones set."""
    from scipy.spatial.distance import cdist, pdist  # a quarter of a second to import

    x, y = flattened(real, generated)
    n = len(x)
    if min(n, len(y)) < 2:
        return undefined((name,), "needs 2 windows of either kind", n)
    among_x = pdist(x, "sqeuclidean")
    scale = 2 * float(np.median(np.sqrt(among_x))) ** 2
    if scale == 0:
        return undefined((name,), "the median distance between reference windows is 0", n)
    within = np.exp(-among_x / scale).mean() + np.exp(-pdist(y, "sqeuclidean") / scale).mean()
    between = np.exp(-cdist(x, y, "sqeuclidean") / scale).mean()
    return [Measurement(name, float(within - 2 * between), n=n)]


@register_metric("mmd2")
@dataclass(frozen=True)
class MMD2(SampleMetric):
    """The unbiased estimate of the squared maximum mean discrepancy under a Gaussian kernel.

        MMD^2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{ij} k(x_i, y_j)
        k(a, b) = exp(-||a - b||^2 / (2 s^2)),   s the median distance between two reference windows

    Shapes: windows (n, T, C), flattened. Unit: none. Unbiased, so values slightly below zero are chance, not an error.
    Errors: undefined below 2 windows, and where more than half of the reference windows are identical (s = 0).
    Source: Gretton et al. 2012, JMLR 13, eq. 3. The equation's number is not checked against the text. Ours: s from the
    reference alone, so that every method has the same kernel.
    Blind to: differences much finer than s, copies, and time's order where windows hardly move within T (`energy`).
    """

    version = 1
    outputs = ("mmd2",)
    unit = "none"
    direction = "lower"
    source = "Gretton et al. 2012, JMLR 13:723-773, eq. 3"
    sees: ClassVar = {
        "mmd2": (
            "shrinking",
            "mode_dropping",
            "channel_permutation",
            "flat_lines",
        )
    }

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """One value at n."""
        return discrepancy("mmd2", evaluation.reference, evaluation.samples)


@register_metric("mmd2_increments")
@dataclass(frozen=True)
class MMD2Increments(SampleMetric):
    """The unbiased squared maximum mean discrepancy between the increments of windows.

        MMD^2 as in `mmd2`, of d_t = (x_{t+1} - x_t) / s,   s the standard deviation of the training increments

    s per channel, 1 where the training increments of a channel do not vary; the kernel's width is the median distance
    between the increments of two reference windows.
    Shapes: windows (n, T, C). Unit: none. Errors: undefined for T = 1, below 2 windows, and where more than half of the
    reference windows have the same increments (flat lines).
    Source: Gretton et al. 2012, JMLR 13, eq. 3 (see `mmd2`). Ours: on increments.
    Blind to: the level of a window, copies, and differences much finer than the kernel.
    """

    version = 1
    outputs = ("mmd2_increments",)
    unit = "none"
    direction = "lower"
    source = "Gretton et al. 2012, JMLR 13:723-773, eq. 3"
    sees: ClassVar = {
        "mmd2_increments": (
            "noise",
            "blur",
            "shrinking",
            "mode_dropping",
            "flat_lines",
        )
    }

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """One value at n."""
        if evaluation.reference.shape[1] < 2:
            return undefined(self.outputs, "needs 2 time steps", len(evaluation.reference))
        return discrepancy("mmd2_increments", *increments(evaluation))
