"""How many latent dimensions move with the series."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.contracts import LatentEvaluation, Measurement
from bench.metrics.base import LatentMetric, posteriors, undefined
from bench.registry import register_metric

THRESHOLD = 0.01


def posterior_mean_variances(evaluation: LatentEvaluation) -> torch.Tensor:
    """Var_x of the posterior mean of each dimension over the test series, float64, (D,)."""
    mean = torch.cat([q.mean[0] for _, q in posteriors(evaluation)]).double()
    return mean.var(dim=0)


@register_metric("active_units")
@dataclass(frozen=True)
class ActiveUnits(LatentMetric):
    """The number of latent dimensions whose posterior mean varies over series.

        AU = #{ j : Var_x( E_q[z_j | x] ) >= .01 }

    Shapes: series (n, T, C), D latent dimensions. Unit: dimensions, 0..D.
    Errors: undefined for one series.
    Source: Burda et al. 2016, arXiv:1509.00519, sec. 5.2.
    Blind to: whether the decoder listens to z. A latent that is normalised (layer norm) is active by construction.
    """

    version = 1
    outputs = ("active_units",)
    unit = "dimensions"
    direction = "higher"
    source = "Burda et al. 2016, arXiv:1509.00519, sec. 5.2"

    @torch.no_grad()
    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """The count at the threshold .01."""
        n = len(evaluation.series)
        if n < 2:
            return undefined(self.outputs, "needs 2 series", n)
        active = (posterior_mean_variances(evaluation) >= THRESHOLD).sum()
        return [Measurement("active_units", float(active), n=n)]
