"""How many nats the latent holds about the series."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from bench.contracts import LatentEvaluation, Measurement
from bench.metrics.base import LatentMetric, posteriors, spread, training_series, undefined
from bench.parts.posteriors import Density, concatenate, pairwise_log_density
from bench.registry import register_metric


@register_metric("mutual_information")
@dataclass(frozen=True)
class MutualInformation(LatentMetric):
    """The mutual information of series and latent under q, by the aggregate posterior of M training series.

        I = E_x E_{z ~ q(z|x)} [ ln q(z | x) - ln (1/M) sum_m q(z | x_m) ],   M <= 2048

    The estimate cannot exceed ln M, which stands beside it as `mutual_information_bound`: a value close to it says
    "at least this much".
    Shapes: training series (M, T, C). Unit: nats. sd is over series.
    Errors: undefined where q has no density (`log_prob`): of a deterministic encoder with a continuous code it is
    infinite.
    Source: Hoffman and Johnson 2016 (ELBO surgery); Dieng et al. 2019, arXiv:1807.04863.
    Blind to: whether the decoder listens to z.
    """

    version = 1
    outputs = ("mutual_information", "mutual_information_bound")
    unit = "nats"
    direction = "higher"
    source = "Hoffman and Johnson 2016; Dieng et al. 2019, arXiv:1807.04863"

    @torch.no_grad()
    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """The estimate and its bound."""
        series = training_series(evaluation)
        if series is None:
            return undefined(self.outputs, "no training series at hand")
        q = concatenate([part for _, part in posteriors(evaluation, series)])
        if not isinstance(q, Density):
            return undefined(self.outputs, "the posterior is no density", len(series))
        pairs = pairwise_log_density(q, q.rsample(evaluation.draws("mutual information")))[0].double()
        bound = math.log(len(series))
        gained = pairs.diagonal() - (pairs.logsumexp(dim=-1) - bound)
        return [
            spread("mutual_information", gained),
            Measurement("mutual_information_bound", bound, n=len(series)),
        ]
