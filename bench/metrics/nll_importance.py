"""The negative log-likelihood of a series, by importance weighting."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from bench.contracts import LatentEvaluation, Measurement
from bench.metrics.base import LatentMetric, from_everywhere, groups_of, spread, undefined
from bench.metrics.nll import nll_per_value
from bench.parts.likelihoods import LOG_TWO_PI
from bench.parts.posteriors import Density
from bench.registry import register_metric

SAMPLES = 500
MAX_SERIES = 200
TOGETHER = 20  # series at once, SAMPLES latents each


@register_metric("nll_importance")
@dataclass(frozen=True)
class ImportanceNLL(LatentMetric):
    """-ln p(x) of the model with the prior N(0, I), bounded from above with 500 latents per series.

        -ln (1/K) sum_k p(x | z_k) p(z_k) / q(z_k | x),   z_k ~ q(z | x),   K = 500, divided by T * C

    Its expectation is never below -ln p(x) and never above the ELBO's. `nll_importance_ess` is the effective number of
    latents, (sum w)^2 / sum w^2, of the 500: near 1 the bound rests on a single latent and is loose.
    Shapes: 200 test series, evenly spaced. Unit: nats per value; latents. sd is over series.
    Errors: undefined where q has no density (`log_prob`): the deterministic posterior has no such number.
    Source: Burda et al. 2016, arXiv:1509.00519, eq. 8. Ours: the prior is the VAE's N(0, I), not the diffusion's.
    Blind to: the diffusion model, so that it is no likelihood of what samples are drawn from.
    """

    version = 2  # 1 took the first 200 series, which lie beside each other
    outputs = ("nll_importance", "nll_importance_ess")
    unit = "nats per value (probability of its cell)"
    direction = "lower"
    source = "Burda et al. 2016, arXiv:1509.00519, eq. 8"
    fast = False

    @torch.no_grad()
    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """The bound, and how many latents carry it."""
        rows = from_everywhere(len(evaluation.series), MAX_SERIES)
        series, draws = evaluation.series[rows], evaluation.draws("importance")
        groups = groups_of(evaluation)[rows]
        bounds, sizes = [], []
        for x in series.split(TOGETHER):
            each = torch.arange(len(x), device=x.device).repeat_interleave(SAMPLES)
            q = evaluation.method.posterior(evaluation.model, x[None]).rows(each[None])
            z = q.rsample(draws)
            if not isinstance(q, Density):
                return undefined(self.outputs, "the posterior is no density", len(series))
            gap = -0.5 * (z.square() + LOG_TWO_PI).sum(dim=-1) - q.log_prob(z)  # ln p(z) - ln q(z | x)
            of_x = -nll_per_value(evaluation.model, z, x[each]) * x[0].numel()
            weights = (of_x + gap[0]).double().unflatten(0, (len(x), SAMPLES))
            bounds.append(math.log(SAMPLES) - weights.logsumexp(dim=-1))
            sizes.append(1 / weights.softmax(dim=-1).square().sum(dim=-1))
        return [
            spread("nll_importance", torch.cat(bounds) / series[0].numel(), groups=groups),
            spread("nll_importance_ess", torch.cat(sizes)),
        ]
