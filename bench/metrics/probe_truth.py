"""How much of what a simulator drew a linear model reads from the latent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.contracts import LatentEvaluation, Measurement, Truth
from bench.metrics.base import LatentMetric, groups_of, own_latents, spread, thinned, training_series, undefined
from bench.metrics.probe import explained
from bench.registry import register_metric


def _columns(truth: Truth, like: Tensor) -> Tensor:
    """All columns of all factors side by side, (n, K)."""
    return torch.from_numpy(np.hstack(list(truth.values()))).to(like.device)


@register_metric("probe_truth")
@dataclass(frozen=True)
class ProbeTruth(LatentMetric):
    """The share of the variance of a simulator's own latent that a linear model reads from z, on test series.

        R^2_k = 1 - sum (s_k - s^_k)^2 / sum (s_k - E_fit s_k)^2,   s^ = a + B z,   fitted as in `probe`

    s_k are the numbers that the simulator drew for the whole series (the data set's card names them; a prototype is an
    indicator per prototype, a phase its sine and cosine). `probe_truth` is the mean over k and sd is over k;
    `probe_truth_by_factor` has each k, with the factor as coordinate. `probe_truth_series` is the same linear model on
    the flattened series in place of z: what a latent could reach that kept all the series tells linearly.
    Shapes: series (n, T, C), one own latent z ~ q(z | x) each. Unit: share, at most 1; below 0 is worse than the mean.
    Errors: undefined where the data set knows no truth (real data; `ar1`, which has no latent), and without training
    series; numbers that never vary are left out.
    Source: Alain and Bengio 2017, arXiv:1610.01644. Ours: the simulator's latent as the target.
    Blind to: what z holds in curved form, and whether the decoder uses it.
    """

    version = 2  # 1 was fitted on training series only
    outputs = ("probe_truth", "probe_truth_series", "probe_truth_by_factor")
    unit = "share"
    direction = "higher"
    source = "Alain and Bengio 2017, arXiv:1610.01644"

    @torch.no_grad()
    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """Two values, and one per number that was drawn."""
        train, test = training_series(evaluation), evaluation.series
        if not evaluation.truth or not evaluation.train_truth:
            return undefined(self.outputs, "the data set knows no truth: no simulator drew a latent", len(test))
        if train is None:
            return undefined(self.outputs, "no training series at hand")
        drawn, other = thinned(_columns(evaluation.train_truth, train)), _columns(evaluation.truth, test)
        varies = (drawn.std(dim=0, correction=0) > 0) & (other.std(dim=0, correction=0) > 0)
        if not varies.any():
            return undefined(self.outputs, "nothing that was drawn varies", len(test))
        z, other_z = own_latents(evaluation, train)[0], own_latents(evaluation)[0]
        told = explained(z, drawn, other_z, other, groups_of(evaluation))
        reached = explained(train.flatten(1), drawn, test.flatten(1), other, groups_of(evaluation))
        places = [(name, k + 1) for name, values in evaluation.truth.items() for k in range(values.shape[1])]
        return [
            spread("probe_truth", told[varies], len(test)),
            spread("probe_truth_series", reached[varies], len(test)),
            *(
                spread("probe_truth_by_factor", share[None], len(test), name, k)
                for (name, k), share, kept in zip(places, told, varies, strict=True)
                if kept
            ),
        ]
