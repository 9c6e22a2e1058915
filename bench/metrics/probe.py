"""How much of a series' level a linear model reads from its latent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import LatentEvaluation, Measurement
from bench.metrics.base import LatentMetric, own_latents, spread, training_series, undefined
from bench.registry import register_metric

RIDGE = 1e-3


def linear_reading(z: Tensor, y: Tensor, other_z: Tensor) -> Tensor:
    """What a linear model reads from other_z (m, D), as a deviation from the mean of y, (m, K), float64.

    Ridge regression with an intercept of y (n, K) on standardised z (n, D), penalty 1e-3 per series.
    """
    z, y, other_z = (values.double() for values in (z, y, other_z))
    centre, scale = z.mean(dim=0), z.std(dim=0, correction=0).clamp(min=1e-6)
    z, other_z = (z - centre) / scale, (other_z - centre) / scale
    penalty = RIDGE * len(z) * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    return other_z @ torch.linalg.solve(z.T @ z + penalty, z.T @ (y - y.mean(dim=0)))


def explained(z: Tensor, y: Tensor, other_z: Tensor, other_y: Tensor) -> Tensor:
    """R^2 of each target of `linear_reading` on other series than the fit's, (K,); NaN for a constant target."""
    apart = other_y.double() - y.double().mean(dim=0)
    left = (apart - linear_reading(z, y, other_z)).square().sum(dim=0)
    return 1 - left / apart.square().sum(dim=0)


@register_metric("probe")
@dataclass(frozen=True)
class Probe(LatentMetric):
    """The share of the variance of each channel's mean that a linear model reads from z, on test series.

        R^2_c = 1 - sum (y_c - y^_c)^2 / sum (y_c - E_train y_c)^2,   y_c = mean over t of x_{t,c},   y^ = a + B z

    The linear model is fitted on training series. `probe_level` is the mean over channels, sd is over channels; n is
    the number of test series.
    Shapes: series (n, T, C), one own latent z ~ q(z | x) each. Unit: share, at most 1; below 0 is worse than the mean.
    Errors: channels whose mean never varies are left out; undefined without training series.
    Source: Alain and Bengio 2017, arXiv:1610.01644. Blind to: what z holds beyond linear reach of the level.
    """

    version = 1
    outputs = ("probe_level",)
    unit = "share"
    direction = "higher"
    source = "Alain and Bengio 2017, arXiv:1610.01644"

    @torch.no_grad()
    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """One value."""
        train, test = training_series(evaluation), evaluation.series
        if train is None:
            return undefined(self.outputs, "no training series at hand")
        z, other_z = own_latents(evaluation, train)[0], own_latents(evaluation)[0]
        share = explained(z, train.mean(dim=1), other_z, test.mean(dim=1))
        varies = test.mean(dim=1).std(dim=0, correction=0) > 0
        if not varies.any():
            return undefined(self.outputs, "no channel's mean varies", len(test))
        return [spread("probe_level", share[varies], len(test))]
