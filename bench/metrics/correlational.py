"""Differences of the correlations between channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.contracts import Measurement, SampleEvaluation
from bench.metrics.base import SampleMetric, spread, undefined
from bench.registry import register_metric

LAGS = 3
DRAWS = 5  # of windows, in the published score


def lagged_correlations(windows: np.ndarray, lag: int) -> np.ndarray:
    """Correlation of x_{t,a} with x_{t+lag,b}, pooled over windows and t, (C, C); 0 where a channel is constant."""
    x = windows.astype(np.float64)
    x = x - x.mean(axis=(0, 1))
    sd = x.std(axis=(0, 1))
    x = x / np.where(sd > 1e-9, sd, np.inf)
    pairs = len(x) * (x.shape[1] - lag)
    return np.einsum("nta,ntb->ab", x[:, : x.shape[1] - lag], x[:, lag:]) / pairs


@register_metric("correlational")
@dataclass(frozen=True)
class Correlational(SampleMetric):
    """The mean absolute difference between the correlations of channel pairs, real against generated.

        d_lag = mean over pairs a != b of | corr(x_{t,a}, x_{t+lag,b}) - corr(y_{t,a}, y_{t+lag,b}) |

    `correlational` is lag 0; `correlational_lagged` has lags 1, 2, 3. sd is over pairs; n is the number of windows.
    Shapes: windows (n, T, C). Unit: correlation, 0 .. 2; a constant channel has correlation 0. Errors: undefined for
    one channel, and lags for T = 1.
    Source: Liao et al. 2020, arXiv:2006.05421. Ours: divided by the number of pairs, not by a constant 10; lags.
    Blind to: everything but second moments, and samples that shrink towards their mean window.
    """

    version = 1
    outputs = ("correlational", "correlational_lagged")
    unit = "correlation"
    direction = "lower"
    source = "Liao et al. 2020, arXiv:2006.05421"
    sees: ClassVar = {"correlational": ()}

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """One value, and one per lag."""
        n, steps, channels = evaluation.reference.shape
        if channels < 2:
            return undefined(self.outputs, "one channel has no pairs", n)
        pairs = ~np.eye(channels, dtype=bool)
        rows = []
        for lag in range(min(LAGS, steps - 1) + 1):
            real, generated = (lagged_correlations(w, lag) for w in (evaluation.reference, evaluation.samples))
            gaps = np.abs(real - generated)[pairs]
            rows.append(
                spread("correlational_lagged", gaps, n, "lag", lag) if lag else spread("correlational", gaps, n)
            )
        if steps < 2:
            rows += undefined(("correlational_lagged",), "needs 2 time steps", n)
        return rows


@register_metric("correlational.diffusion_ts")
@dataclass(frozen=True)
class DiffusionTSCorrelational(SampleMetric):
    """The correlational score as Diffusion-TS's published code computes it, to compare with its tables.

        mean over 5 draws of 1/10 sum over pairs a <= b of | corr(x_{t,a}, x_{t,b}) - corr(y_{t,a}, y_{t,b}) |

    In every draw both sets are n // 5 windows drawn with replacement, so that the number is above 0 for identical sets
    and larger than that of all windows at once; sd is over draws. A sum over pairs divided by a constant grows with
    the square of the number of channels. Standard deviations there have N - 1 in the denominator and means N.
    Shapes: windows (n, T, C). Unit: correlation, summed over pairs, a tenth. Errors: undefined for one channel and
    below 5 windows.
    Source: Yuan and Qiao 2024, ICLR (arXiv:2403.01742), published code (Utils/cross_correlation.py and its notebook
    Experiments/metric_pytorch.ipynb, after Liao et al. 2020). Ours: a constant channel has correlation 0, theirs NaN.
    Blind to: everything but second moments, and the order of time.
    """

    version = 2  # 2: the mean over 5 draws of a fifth of the windows, as their notebook has it
    outputs = ("correlational.diffusion_ts",)
    unit = "correlation"
    direction = "lower"
    source = "Yuan and Qiao 2024, arXiv:2403.01742, published code (Utils/cross_correlation.py, metric_pytorch.ipynb)"
    fast = False

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """One value at n, the mean over draws."""
        n, steps, channels = evaluation.reference.shape
        size = n // DRAWS
        if channels < 2 or not size:
            return undefined(self.outputs, f"needs 2 channels and {DRAWS} windows", n)
        rng = evaluation.rng("correlational.diffusion_ts")
        pairs = np.triu_indices(channels)
        bessel = 1 - 1 / (size * steps)
        totals = []
        for _ in range(DRAWS):
            real, generated = (
                lagged_correlations(windows[rng.integers(len(windows), size=size)], 0)[pairs]
                for windows in (evaluation.reference, evaluation.samples)
            )
            totals.append(bessel * np.abs(real - generated).sum() / 10)
        return [spread("correlational.diffusion_ts", np.array(totals), n)]
