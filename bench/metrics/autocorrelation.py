"""Differences of the autocorrelation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.contracts import Measurement, SampleEvaluation
from bench.metrics.base import SampleMetric, spread, undefined
from bench.metrics.correlational import lagged_correlations
from bench.registry import register_metric

TSGBENCH_LAGS = 64


@register_metric("autocorrelation")
@dataclass(frozen=True)
class Autocorrelation(SampleMetric):
    """The mean absolute difference between the autocorrelations of each channel, real against generated.

        d_lag = mean over c of | corr(x_{t,c}, x_{t+lag,c}) - corr(y_{t,c}, y_{t+lag,c}) |,   lag = 1 .. T // 2

    Moments are pooled over windows and t, so that the level of a window counts as correlation within it.
    `autocorrelation` is the mean over lags, `autocorrelation_by_lag` each of them. sd is over lags or channels; n is
    the number of windows.
    Shapes: windows (n, T, C). Unit: correlation, 0 .. 2. A constant channel has correlation 0. Errors: undefined for
    T = 1.
    Source: Liao et al. 2020, arXiv:2006.05421. Ours: pooled over windows, mean over lags.
    Blind to: what joins the channels, the marginals' scale and location.
    """

    version = 1
    outputs = ("autocorrelation", "autocorrelation_by_lag")
    unit = "correlation"
    direction = "lower"
    source = "Liao et al. 2020, arXiv:2006.05421"
    sees: ClassVar = {
        "autocorrelation": (
            "blur",
            "shrinking",
            "channel_permutation",
            "flat_lines",
        )
    }

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """One value, and one per lag."""
        n, steps, _ = evaluation.reference.shape
        if steps < 2:
            return undefined(self.outputs, "needs 2 time steps", n)
        rows = []
        for lag in range(1, steps // 2 + 1):
            real, generated = (np.diag(lagged_correlations(w, lag)) for w in (evaluation.reference, evaluation.samples))
            rows.append(spread("autocorrelation_by_lag", np.abs(real - generated), n, "lag", lag))
        return [spread("autocorrelation", np.array([row.value for row in rows]), n), *rows]


@register_metric("autocorrelation.tsgbench")
@dataclass(frozen=True)
class TSGBenchAutocorrelation(SampleMetric):
    """The autocorrelation difference as TSGBench's published code computes it, to compare with its tables.

        mean over c of sqrt( sum over lag = 0 .. min(64, T) - 1 of ( corr_lag(x_c) - corr_lag(y_c) )^2 )

    Moments are pooled over windows and t, as in ours; a sum over lags in place of a mean makes it grow with T.
    sd is over channels.
    Shapes: windows (n, T, C). Unit: correlation, summed in squares over lags. Errors: undefined for T = 1.
    Source: Ang et al. 2023, arXiv:2309.03755, published code, `stationary=True`. An older script beside it
    (`eval/feature_distance_eval.py`) correlates every pair of steps instead: its numbers do not compare.
    Blind to: what joins the channels, the marginals' scale and location.
    """

    version = 1
    outputs = ("autocorrelation.tsgbench",)
    unit = "correlation"
    direction = "lower"
    source = "Ang et al. 2023, arXiv:2309.03755, published code (feature_based_measures.py)"
    fast = False

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """One value at n."""
        n, steps, _ = evaluation.reference.shape
        if steps < 2:
            return undefined(self.outputs, "needs 2 time steps", n)
        real, generated = (
            np.stack([np.diag(lagged_correlations(w, lag)) for lag in range(min(TSGBENCH_LAGS, steps))])
            for w in (evaluation.reference, evaluation.samples)
        )
        return [spread("autocorrelation.tsgbench", np.sqrt(((real - generated) ** 2).sum(axis=0)), n)]
