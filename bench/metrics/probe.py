"""How much of a series' level a linear model reads from its latent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.contracts import LatentEvaluation, Measurement
from bench.metrics.base import LatentMetric, every_other, groups_of, own_latents, spread, training_series, undefined
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


def reading_of_test(z: Tensor, y: Tensor, test_z: Tensor, test_y: Tensor, groups: np.ndarray) -> tuple[Tensor, Tensor]:
    """What a linear model reads from test_z (n, D) that was fitted without the series' own group, two of (n, K).

    The mean of y in the fit, and the deviation from it. Each half of the groups is read by a model that is fitted on
    the training series z (N, D), y (N, K) and the other half, so that a model has seen all times of a recording, and
    none of the windows that overlap with those it reads.
    """
    second = torch.from_numpy(every_other(groups)).to(test_z.device)
    mean, deviation = (torch.zeros_like(test_y, dtype=torch.float64) for _ in range(2))
    for judged in (~second, second):
        fit_z, fit_y = torch.cat([z, test_z[~judged]]), torch.cat([y, test_y[~judged]])
        mean[judged] = fit_y.double().mean(dim=0)
        deviation[judged] = linear_reading(fit_z, fit_y, test_z[judged])
    return mean, deviation


def explained(z: Tensor, y: Tensor, test_z: Tensor, test_y: Tensor, groups: np.ndarray) -> Tensor:
    """R^2 of each target of `reading_of_test`, (K,); NaN for a constant target."""
    mean, deviation = reading_of_test(z, y, test_z, test_y, groups)
    apart = test_y.double() - mean
    return 1 - (apart - deviation).square().sum(dim=0) / apart.square().sum(dim=0)


@register_metric("probe")
@dataclass(frozen=True)
class Probe(LatentMetric):
    """The share of the variance of each channel's mean that a linear model reads from z, on test series.

        R^2_c = 1 - sum (y_c - y^_c)^2 / sum (y_c - E_fit y_c)^2,   y_c = mean over t of x_{t,c},   y^ = a + B z

    The linear model of a series is fitted on training series and on the half of the test series' groups that the series
    is not in. `probe_level` is the mean over channels, sd is over channels; n is
    the number of test series.
    Shapes: series (n, T, C), one own latent z ~ q(z | x) each. Unit: share, at most 1; below 0 is worse than the mean.
    Errors: channels whose mean never varies are left out; undefined without training series.
    Source: Alain and Bengio 2017, arXiv:1610.01644. Blind to: what z holds beyond linear reach of the level.
    """

    version = 2  # 1 was fitted on training series only, which may all be earlier
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
        share = explained(z, train.mean(dim=1), other_z, test.mean(dim=1), groups_of(evaluation))
        varies = test.mean(dim=1).std(dim=0, correction=0) > 0
        if not varies.any():
            return undefined(self.outputs, "no channel's mean varies", len(test))
        return [spread("probe_level", share[varies], len(test))]
