"""The likelihood of a series under the generative model itself: latents as the method draws them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from bench.contracts import LatentEvaluation, Measurement
from bench.metrics.base import LatentMetric, from_everywhere, groups_of, spread, undefined
from bench.metrics.nll import crossed_log_probs
from bench.registry import register_metric

LATENTS = 1000  # M
FEWER = 500  # how far the value has moved since then says how loose it is
SERIES = 64


@register_metric("prior_bound")
@dataclass(frozen=True)
class PriorBound(LatentMetric):
    """A lower bound, in expectation, of ln p(x) of the model that samples are drawn from.

        ln (1/M) sum_m p(x | z_m, past),   z_m as the method samples them (its reverse diffusion),   M = 1,000

    Exact where the decoder ignores z. Loose where the posterior's distance from the sampled latents exceeds ln M = 6.9
    nats: then hardly any z_m explains x. `prior_bound_500` has the first 500 latents only; a value that has moved by
    more than .1 nats from there is too loose to be compared with others.
    Shapes: 64 test series evenly spaced, the same 1,000 latents for all. Unit: nats per series. sd is over series.
    Costs the drawing of 1,000 latents and 64,000 passes of a series through the decoder, 4 CPU seconds for an LSTM of
    width 64 at T = 24 and 1,000 diffusion steps, so that it is not part of `fast`.
    Errors: undefined for a method without a decoder.
    Source: Burda et al. 2016, arXiv:1509.00519, eq. 8, with the sampler in the posterior's place.
    Blind to: how much of the looseness is the model's fault and how much the estimate's.
    """

    version = 1
    outputs = ("prior_bound", "prior_bound_500")
    diagnostics = outputs[1:]
    unit = "nats per series (probabilities of its cells)"
    direction = "higher"
    source = "Burda et al. 2016, arXiv:1509.00519, eq. 8"
    fast = False

    @torch.no_grad()
    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """Two values."""
        model, chosen = evaluation.model, from_everywhere(len(evaluation.series), SERIES)
        if getattr(model, "decoder", None) is None:
            return undefined(self.outputs, f"{evaluation.method.name} has no decoder", len(chosen))
        z = evaluation.method.latents(model, LATENTS, evaluation.draws("latents of the prior bound"))
        found = crossed_log_probs(model, z, evaluation.series[chosen], lambda p, x: p.log_prob(x))[0]
        groups = groups_of(evaluation)[chosen]
        return [
            spread(name, found[:, :m].logsumexp(dim=-1) - math.log(m), groups=groups)
            for name, m in zip(self.outputs, (LATENTS, FEWER), strict=True)
        ]
