"""Sliced Wasserstein distance between windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from bench.contracts import Measurement, SampleEvaluation
from bench.metrics.base import SampleMetric
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
    Blind to: little blur, and time warping of windows that hardly move within T (`energy`).
    Blind to: what shows only in few directions of many (high-frequency noise in one channel).
    """

    version = 1
    outputs = ("sliced_wasserstein",)
    unit = "train standard deviations"
    direction = "lower"
    source = "Rabin et al. 2011; Bonneel et al. 2015"
    sees: ClassVar = {"sliced_wasserstein": ("noise", "mean_only", "mode_dropping", "channel_permutation")}

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """One value at n."""
        reference = evaluation.reference
        directions = evaluation.rng("projections").standard_normal((reference[0].size, PROJECTIONS))
        distance = sliced_distance(reference, evaluation.samples, directions, device=evaluation.device)
        return [Measurement("sliced_wasserstein", distance, n=len(reference))]
