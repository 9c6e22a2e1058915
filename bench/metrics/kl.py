"""How far the posterior is from the prior."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.contracts import LatentEvaluation, Measurement
from bench.metrics.base import LatentMetric, groups_of, posteriors, spread, undefined
from bench.registry import register_metric


@register_metric("kl")
@dataclass(frozen=True)
class KL(LatentMetric):
    """The Kullback-Leibler divergence of the posterior from the standard normal prior, per series.

        kl = E_x sum_j KL(q(z_j | x) || N(0, 1)),   kl_per_dimension: each j = 1..D

    Shapes: series (n, T, C), D latent dimensions. Unit: nats per series. sd is over series.
    Errors: undefined where q is no density (a deterministic encoder), never a made-up number.
    Source: Kingma and Welling 2014, arXiv:1312.6114, eq. 10. Blind to: whether the decoder listens to z.
    """

    version = 2  # in 1 the error was too small where windows overlap
    outputs = ("kl", "kl_per_dimension")
    unit = "nats per series"
    direction = "none"
    source = "Kingma and Welling 2014, arXiv:1312.6114"

    @torch.no_grad()
    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """The total over dimensions, and each of them."""
        parts = []
        for _, q in posteriors(evaluation):
            kl = q.kl()
            if kl is None:
                return undefined(self.outputs, "the posterior is no density", len(evaluation.series))
            parts.append(kl[0])
        kl = torch.cat(parts)
        groups = groups_of(evaluation)
        rows = [
            spread("kl_per_dimension", kl[:, j], coordinate="dimension", index=j + 1, groups=groups)
            for j in range(kl.shape[1])
        ]
        return [spread("kl", kl.sum(-1), groups=groups), *rows]
