"""Differences of the distribution of single values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.contracts import Measurement, SampleEvaluation
from bench.metrics.base import SampleMetric, spread, undefined
from bench.metrics.networks import unit_scaled
from bench.registry import register_metric

BINS = 50


def histogram(values: np.ndarray, low: float, high: float, bins: int = BINS) -> np.ndarray:
    """Shares of `values` in equal bins of [low, high], and below and above it, (bins + 2,); they sum to 1."""
    width = (high - low) / bins if high > low else 1.0
    within = np.clip(values, low, high)  # first, because no integer holds a value that is far outside
    inside = 1 + np.minimum(((within - low) / width).astype(int), bins - 1)
    cell = np.where(values < low, 0, np.where(values > high, bins + 1, inside))
    return np.bincount(cell, minlength=bins + 2) / len(values)


@register_metric("marginal")
@dataclass(frozen=True)
class Marginal(SampleMetric):
    """The total variation between the histograms of single values, real against generated, mean over channels.

        d = mean over c of 1/2 sum_b | p_{c,b} - q_{c,b} |,   b: 50 equal bins on the reference's range, below, above

    p and q are masses (density times bin width), pooled over windows and t, so d is a share of the values: 0 for equal
    histograms, 1 for disjoint ones. sd is over channels; n is the number of windows.
    Shapes: windows (n, T, C). Unit: share. Above 0 for two finite draws of one law: read it beside the floors.
    Source: the marginal distribution difference of Ang et al. 2023 (TSGBench, arXiv:2309.03755) and Liao et al. 2020
    (arXiv:2006.05421). Ours: the width multiplied in, and mass outside the reference's range counted.
    Blind to: time, and what joins values to each other.
    """

    version = 1
    outputs = ("marginal",)
    unit = "share"
    direction = "lower"
    source = "Ang et al. 2023, arXiv:2309.03755; Liao et al. 2020, arXiv:2006.05421"
    sees: ClassVar = {
        "marginal": (
            "noise",
            "noise_in_cells",
            "shrinking",
            "mode_dropping",
            "channel_permutation",
            "flat_lines",
        )
    }

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """One value at n."""
        gaps = []
        for x, y in zip(np.moveaxis(evaluation.reference, 2, 0), np.moveaxis(evaluation.samples, 2, 0), strict=True):
            low, high = float(x.min()), float(x.max())
            gaps.append(np.abs(histogram(x.ravel(), low, high) - histogram(y.ravel(), low, high)).sum() / 2)
        return [spread("marginal", np.array(gaps), len(evaluation.reference))]


@register_metric("marginal.tsgbench")
@dataclass(frozen=True)
class TSGBenchMarginal(SampleMetric):
    """The marginal distribution difference as TSGBench's published code computes it, to compare with its tables.

        mean over t = 2..T, c and 50 bins of | f_{t,c,b} - g_{t,c,b} |,   f, g: count / (n w) in a bin of width w

    Windows scaled to [0, 1] by the training range; bins on the reference's range at each (t, c). The width is not
    multiplied in and generated mass outside the range is dropped, so the number grows with narrow ranges and samples
    that are far off score no worse than samples that are just outside. A reference value on the border of two bins
    counts, a generated one does not, so that channels with many equal values (zeros) stay above 0 for identical sets.
    Per t and c, so noisy at small n.
    Shapes: windows (n, T, C). Unit: density per unit of the training range.
    Source: Ang et al. 2023, arXiv:2309.03755, published code (after Liao et al. 2020).
    Blind to: what joins values to each other, and how far off samples outside the reference's range are.
    """

    version = 2  # 2: without the first step, and without generated values on a border, as the code has it
    outputs = ("marginal.tsgbench",)
    unit = "density"
    direction = "lower"
    source = "Ang et al. 2023, arXiv:2309.03755, published code (feature_based_measures.py)"
    fast = False

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """One value at n."""
        n, steps, _ = evaluation.reference.shape
        if steps < 2:
            return undefined(self.outputs, "needs 2 time steps (its code leaves the first one out)", n)
        real, generated = (
            windows[:, 1:].reshape(len(windows), -1).T
            for windows in unit_scaled(evaluation.train, evaluation.reference, evaluation.samples)
        )
        gaps = []
        for x, y in zip(real, generated, strict=True):
            low = float(x.min())
            high = max(float(x.max()), low + 1e-5)
            width = (high - low) / BINS
            centres = low + width * (np.arange(BINS) + 0.5)
            inside = (np.abs(y[:, None] - centres) < width / 2).mean(axis=0)
            gaps.append(np.abs(histogram(x, low, high)[1:-1] - inside).mean() / width)
        return [Measurement("marginal.tsgbench", float(np.mean(gaps)), n=n)]
