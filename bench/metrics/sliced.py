"""Sliced Wasserstein distance between windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from bench.contracts import Measurement, SampleEvaluation
from bench.metrics.base import SampleMetric, increments, undefined
from bench.registry import register_metric

PROJECTIONS = 500


def sliced_distance(x: np.ndarray, y: np.ndarray, directions: np.ndarray, *, device: str = "cpu") -> float:
    """The mean over directions of W_1 between projections: x, y (n, T, C), directions (T * C, K) of any length.

    In float64 everywhere: by numpy on the CPU, by torch on another device.
    """
    x, y = (windows.reshape(len(windows), -1).astype(np.float64) for windows in (x, y))
    u = directions / np.linalg.norm(directions, axis=0)
    if device == "cpu":
        return float(np.abs(np.sort(x @ u, axis=0) - np.sort(y @ u, axis=0)).mean())
    a, b, along = (torch.from_numpy(values).to(device) for values in (x, y, u))
    return float(((a @ along).sort(dim=0).values - (b @ along).sort(dim=0).values).abs().mean())


@register_metric("sliced_wasserstein")
@dataclass(frozen=True)
class SlicedWasserstein(SampleMetric):
    """The mean one-dimensional Wasserstein distance over fixed random directions.

        SW_1 = mean over k of W_1(<u_k, x>, <u_k, y>),   u_k uniform on the unit sphere of R^(T*C), k = 1..500
        W_1 of two equal samples = mean over ranks of |x_(r) - y_(r)|

    Shapes: windows (n, T, C), flattened. Unit: standard deviations of the training data.
    Source: Rabin et al. 2011; Bonneel et al. 2015. Ours: the 1-Wasserstein, averaged, not the 2-Wasserstein's root
    mean square. The directions depend on data set and seed only, so that methods are compared along the same ones.
    Errors: undefined where there are not as many samples as reference windows.
    Blind to: the order of time and its warping where windows hardly move within T (`energy`), little blur, copies, and
    what shows only in few directions of many (high-frequency noise in one channel).
    """

    version = 1
    outputs = ("sliced_wasserstein",)
    unit = "train standard deviations"
    direction = "lower"
    source = "Rabin et al. 2011; Bonneel et al. 2015"
    as_many = True
    generalises = True
    sees: ClassVar = {
        "sliced_wasserstein": (
            "noise",
            "shrinking",
            "mode_dropping",
            "flat_lines",
        )
    }

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """One value at n."""
        reference = evaluation.reference
        directions = evaluation.rng("projections").standard_normal((reference[0].size, PROJECTIONS))
        distance = sliced_distance(reference, evaluation.samples, directions, device=evaluation.device)
        return [Measurement("sliced_wasserstein", distance, n=len(reference))]


@register_metric("sliced_wasserstein_increments")
@dataclass(frozen=True)
class SlicedWassersteinIncrements(SampleMetric):
    """The sliced Wasserstein distance between the increments of windows, which shows what happens from step to step.

        SW_1 of d_t = (x_{t+1} - x_t) / s,   s the standard deviation of the training increments, per channel

    s is 1 for a channel whose training increments do not vary. Directions as in `sliced_wasserstein`, other draws.
    Shapes: windows (n, T, C). Unit: standard deviations of the training increments. Errors: undefined for T = 1, and
    where there are not as many samples as reference windows.
    Source: Rabin et al. 2011; Bonneel et al. 2015. Ours: on increments.
    Blind to: the level of a window, copies, and what shows only in few directions of many.
    """

    version = 1
    outputs = ("sliced_wasserstein_increments",)
    unit = "standard deviations of the training increments"
    direction = "lower"
    source = "Rabin et al. 2011; Bonneel et al. 2015"
    as_many = True
    generalises = True
    sees: ClassVar = {
        "sliced_wasserstein_increments": (
            "noise",
            "mode_dropping",
            "time_shuffling",
            "channel_permutation",
            "flat_lines",
        )
    }

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """One value at n."""
        n, steps, _ = evaluation.reference.shape
        if steps < 2:
            return undefined(self.outputs, "needs 2 time steps", n)
        real, generated = increments(evaluation)
        directions = evaluation.rng("projections of increments").standard_normal((real[0].size, PROJECTIONS))
        distance = sliced_distance(real, generated, directions, device=evaluation.device)
        return [Measurement("sliced_wasserstein_increments", distance, n=n)]
