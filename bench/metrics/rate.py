"""What the prior of the method's own objective charges for the latent."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.contracts import LatentEvaluation, Measurement
from bench.metrics.base import CHUNK, LatentMetric, groups_of, spread, undefined
from bench.registry import register_metric

REPEATS = 8  # of the draws of a rate that is estimated


@register_metric("rate")
@dataclass(frozen=True)
class Rate(LatentMetric):
    """The divergence of the posterior from the prior that the method trains with, per series.

        rate = E_x KL(q(z | x) || p(z)),   p(z) = N(0, I), or the diffusion where a method trains it as its prior

    With N(0, I) it is `kl`. With the diffusion it is the upper bound that the method minimises (`Method.rate_of`),
    estimated with 8 draws for every series.
    Shapes: series (n, T, C). Unit: nats per series. sd is over series.
    Errors: undefined where q is a point and the method has no rate of its own.
    Source: Alemi et al. 2018, arXiv:1711.00464, sec. 2. Blind to: whether the decoder listens to z.
    """

    version = 1
    outputs = ("rate",)
    unit = "nats per series"
    direction = "none"
    source = "Alemi et al. 2018, arXiv:1711.00464"
    fast = False

    @torch.no_grad()
    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """One value."""
        draws, parts = evaluation.draws("rate"), []
        for x in evaluation.series[None].split(CHUNK, dim=1):
            found = [evaluation.method.rate_of(evaluation.model, x, draws) for _ in range(REPEATS)]
            if found[0] is None:
                return undefined(self.outputs, "the posterior is no density", len(evaluation.series))
            parts.append(torch.stack(found).mean(dim=0)[0])
        return [spread("rate", torch.cat(parts), groups=groups_of(evaluation))]
