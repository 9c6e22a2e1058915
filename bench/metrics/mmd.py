"""Maximum mean discrepancy between windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.spatial.distance import cdist, pdist

from bench.contracts import Measurement, SampleEvaluation
from bench.metrics.base import SampleMetric, undefined
from bench.registry import register_metric


@register_metric("mmd2")
@dataclass(frozen=True)
class MMD2(SampleMetric):
    """The unbiased estimate of the squared maximum mean discrepancy under a Gaussian kernel.

        MMD^2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{ij} k(x_i, y_j)
        k(a, b) = exp(-||a - b||^2 / (2 s^2)),   s the median distance between two reference windows

    Shapes: windows (n, T, C), flattened. Unit: none. Unbiased, so values slightly below zero are chance, not an error.
    Errors: undefined below 2 windows, and where more than half of the reference windows are identical (s = 0).
    Source: Gretton et al. 2012, JMLR 13, eq. 3. Ours: s from the reference alone, so that every
    method has the same kernel.
    Blind to: differences much finer than s.
    """

    version = 1
    outputs = ("mmd2",)
    unit = "none"
    direction = "lower"
    source = "Gretton et al. 2012, JMLR 13:723-773, eq. 3"
    sees: ClassVar = {"mmd2": ("mean_only", "mode_dropping", "time_warping", "channel_permutation")}

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """One value at n."""
        x, y = (w.reshape(len(w), -1).astype(np.float64) for w in (evaluation.reference, evaluation.samples))
        n = len(x)
        if n < 2:
            return undefined(self.outputs, "needs 2 windows", n)
        among_x = pdist(x, "sqeuclidean")
        scale = 2 * float(np.median(np.sqrt(among_x))) ** 2
        if scale == 0:
            return undefined(self.outputs, "the median distance between reference windows is 0", n)
        within = np.exp(-among_x / scale).mean() + np.exp(-pdist(y, "sqeuclidean") / scale).mean()
        between = np.exp(-cdist(x, y, "sqeuclidean") / scale).mean()
        return [Measurement("mmd2", float(within - 2 * between), n=n)]
