"""How much of what a decoder predicts is due to the latent, and how much to the last input, anchor included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from bench.contracts import LatentEvaluation, Measurement, Undefined
from bench.metrics.base import LatentMetric
from bench.metrics.dependency import measured_along
from bench.registry import register_metric


@register_metric("dependency_mean")
@dataclass(frozen=True)
class DependencyMean(LatentMetric):
    """The global and the first-order local dependency of the predictive mean of x_t at every time t.

        mean_t = E[x_t | h_t, x_{t-1}],   m_{t,j} as in `dependency`, with mean_t in the place of h_t

    A likelihood may know x_{t-1} beside h_t (a component anchored there, "the same as before"). That way into x_t goes
    past h_t, so that measures of h_t alone show too much dependence on the latent. With autoregressive channels the
    mean of a channel is the one given that the channels before it are at their own mean.
    Shapes: test series as for `dependency`, coordinate t = 1..T; the same four values. Unit: share of the mean's
    change, signed.
    Errors: undefined for a decoder without `single_mean`.
    Source: Li et al., arXiv:2405.14021, the dependency measures. Ours: of the predictive mean.
    Blind to: what the latent says about the spread and the shape of the distribution.
    """

    version = 1
    outputs = (
        "dependency_mean_global",
        "dependency_mean_local",
        "dependency_mean_completeness_error",
        "dependency_mean_unresolved",
    )
    diagnostics = outputs[2:]
    unit = "share"
    direction = "none"
    source = "Li et al., arXiv:2405.14021"
    fast = False  # as costly as `dependency`

    @torch.no_grad()
    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """Four values for every t."""

        def single() -> Any:
            decoder = evaluation.model.decoder
            if not hasattr(decoder, "single_mean"):
                raise Undefined("the decoder has no predictive mean as a function (`single_mean`)")
            return decoder.single_mean(0)

        return measured_along(self.outputs, single, evaluation)
