"""How many latent dimensions move with the series."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from bench.contracts import LatentEvaluation, Measurement
from bench.metrics.base import LatentMetric, posteriors, undefined
from bench.registry import register_metric

THRESHOLD = 0.01
NOT_FINITE = "the posterior mean is not finite"
CURVE = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


@register_metric("active_units")
@dataclass(frozen=True)
class ActiveUnits(LatentMetric):
    """The number of latent dimensions whose posterior mean varies over series.

        AU(d) = #{ j : Var_x( E_q[z_j | x] ) >= d },   active_units = AU(.01), active_units_curve: d = .001 .. 1

    Shapes: series (n, T, C), D latent dimensions. Unit: dimensions, 0..D.
    Errors: undefined for one series.
    Source: Burda et al. 2016, arXiv:1509.00519, sec. 5.2 (above .01, where ours counts .01 itself too).
    Blind to: whether the decoder listens to z. A latent that is normalised (layer norm) is active by construction.
    """

    version = 1
    outputs = ("active_units", "active_units_curve")
    unit = "dimensions"
    direction = "higher"
    source = "Burda et al. 2016, arXiv:1509.00519, sec. 5.2"

    @torch.no_grad()
    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """The count at .01, and at each threshold."""
        n = len(evaluation.series)
        if n < 2:
            return undefined(self.outputs, "needs 2 series", n)
        variance = torch.cat([q.mean[0] for _, q in posteriors(evaluation)]).double().var(dim=0)
        if not variance.isfinite().all():
            return [Measurement(name, math.nan, n=n, status="failed", reason=NOT_FINITE) for name in self.outputs]

        def count(threshold: float) -> float:
            return float((variance >= threshold).sum())

        curve = [Measurement("active_units_curve", count(d), n=n, coordinate="threshold", index=d) for d in CURVE]
        return [Measurement("active_units", count(THRESHOLD), n=n), *curve]
