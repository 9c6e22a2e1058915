"""Exact Wasserstein distance between windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.contracts import Measurement, SampleEvaluation
from bench.metrics.base import SampleMetric, flattened
from bench.registry import register_metric


@register_metric("wasserstein")
@dataclass(frozen=True)
class Wasserstein(SampleMetric):
    """How far the windows must be moved, on average, to turn the samples into the reference.

        W_1 = min over couplings P of sum_ij P_ij ||x_i - y_j||,   P with uniform marginals

    Shapes: windows (n, T, C), flattened to T * C values; Euclidean ground cost.
    Unit: standard deviations of the training data, over a whole window (grows with sqrt(T * C)).
    Source: Kantorovich 1942; the exact solver of POT (Flamary et al. 2021).
    Shown and never used to rank: its expectation between two finite draws of one law is above zero, and it rewards
    shrinking, blur and flat lines: windows of `energy` moved towards their mean by 30 % lie below that floor.
    Blind to: copies, and the warping of time where windows hardly move within T (`energy`).
    """

    version = 1
    outputs = ("wasserstein",)
    unit = "train standard deviations per window"
    direction = "lower"
    unranked: ClassVar = {"wasserstein": "Not ranked, because it rewards samples that vary too little."}
    source = "Kantorovich 1942; POT, Flamary et al. 2021"
    sees: ClassVar = {
        "wasserstein": (
            "noise",
            "noise_in_cells",
            "mode_dropping",
            "time_shuffling",
            "channel_permutation",
        )
    }

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """One value at n."""
        import ot  # two seconds to import

        x, y = flattened(evaluation.reference, evaluation.samples)
        value = ot.emd2([], [], ot.dist(x, y, metric="euclidean"), numItermax=10_000_000)
        return [Measurement("wasserstein", float(value), n=len(x))]
