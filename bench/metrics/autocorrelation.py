"""Differences of the autocorrelation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.contracts import Measurement, SampleEvaluation
from bench.metrics.base import SampleMetric, spread
from bench.metrics.correlational import lagged_correlations
from bench.registry import register_metric


@register_metric("autocorrelation")
@dataclass(frozen=True)
class Autocorrelation(SampleMetric):
    """The mean absolute difference between the autocorrelations of each channel, real against generated.

        d_lag = mean over c of | corr(x_{t,c}, x_{t+lag,c}) - corr(y_{t,c}, y_{t+lag,c}) |,   lag = 1 .. T // 2

    Moments are pooled over windows and t, so that the level of a window counts as correlation within it.
    `autocorrelation` is the mean over lags, `autocorrelation_by_lag` each of them. sd is over lags or channels; n is
    the number of windows.
    Shapes: windows (n, T, C). Unit: correlation, 0 .. 2. A constant channel has correlation 0.
    Source: Liao et al. 2020, arXiv:2006.05421. Ours: pooled over windows, mean over lags.
    Blind to: what joins the channels, the marginals' scale and location.
    """

    version = 1
    outputs = ("autocorrelation", "autocorrelation_by_lag")
    unit = "correlation"
    direction = "lower"
    source = "Liao et al. 2020, arXiv:2006.05421"
    sees: ClassVar = {"autocorrelation": ("noise", "blur")}

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """One value, and one per lag."""
        n, steps, _ = evaluation.reference.shape
        rows = []
        for lag in range(1, max(steps // 2, 1) + 1):
            real, generated = (np.diag(lagged_correlations(w, lag)) for w in (evaluation.reference, evaluation.samples))
            rows.append(spread("autocorrelation_by_lag", np.abs(real - generated), n, "lag", lag))
        return [spread("autocorrelation", np.array([row.value for row in rows]), n), *rows]
