"""What generated windows teach of the future beyond the last two steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.contracts import Measurement, SampleEvaluation
from bench.loading.latent_card import by_ridge
from bench.metrics.base import SampleMetric, undefined
from bench.registry import register_metric


@register_metric("long_range")
@dataclass(frozen=True)
class LongRange(SampleMetric):
    """How well the last third of real windows is predicted by a regression that was fitted on generated ones.

        long_range_r2 = R2( first two thirds -> last third )
        long_range_gain = long_range_r2 - R2( two steps before the last third -> last third )

    Ridge regression; the last third is its 8 leading principal components. The penalty is chosen on every fourth
    generated window, the fit is on the others, R2 is over the real windows. Windows with no structure beyond their last
    steps teach no gain. The row `floor_held_out`, whose windows are the training windows, has the gain that the data
    hold, as the data set's card (`python -m bench.data describe`); a method is to be read beside it, not above it.
    Shapes: windows (n, T, C). Unit: shares of variance, at most 1; R2 is negative where a regression predicts worse
    than the mean. Errors: undefined below 2 time steps or 12 windows, and where generated last thirds do not vary.
    Source: train on synthetic, test on real, Esteban et al. 2017, arXiv:1706.02633. Ours: the two pasts.
    Blind to: everything but linear dependence of the last third on what comes before it.
    """

    version = 1
    outputs = ("long_range_gain", "long_range_r2")
    unit = "share of variance"
    direction = "none"
    source = "Esteban et al. 2017, arXiv:1706.02633"

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """Two values."""
        samples, reference = evaluation.samples, evaluation.reference
        n, steps, _ = reference.shape
        if steps < 2 or min(n, len(samples)) < 12:
            return undefined(self.outputs, "needs 2 time steps and 12 windows of either kind", n)
        samples = samples[np.lexsort(samples.reshape(len(samples), -1).T)]  # whatever order they came in
        chosen = np.arange(len(samples)) % 4 == 0
        last, whole = by_ridge(samples[~chosen], samples[chosen], reference)
        if not np.isfinite(last + whole):
            return undefined(self.outputs, "the last thirds do not vary", n)
        return [Measurement("long_range_gain", whole - last, n=n), Measurement("long_range_r2", whole, n=n)]
