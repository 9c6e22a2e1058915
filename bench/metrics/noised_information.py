"""How many nats about a series the decoder still takes from its latent after noise has been added to it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import LatentEvaluation, Measurement
from bench.metrics.base import LatentMetric, every_other, from_everywhere, groups_of, own_latents, spread, undefined
from bench.metrics.diffusion_information import along_diffusion
from bench.metrics.latent_information import fitted_tau, information
from bench.metrics.nll import crossed_log_probs
from bench.parts.diffusion import to_denoiser
from bench.registry import register_metric

LATENTS = 256  # M
SERIES = 64


@register_metric("noised_information")
@dataclass(frozen=True)
class NoisedInformation(LatentMetric):
    """`latent_information` of the latent at diffusion step i, and the most that a latent of its size can tell there.

        z^i = sqrt(alpha_bar_i) z + sqrt(1 - alpha_bar_i) e,   z ~ q(z | x),   e ~ N(0, I), the same e at every i
        noised_information = E_x[ tau ln p(x | z_x^i, past) - ln (1/M) sum_m p(x | z_m^i, past)^tau ] <= I(x; z^i), ln M
        noised_information_capacity = (D / 2) ln(1 + P alpha_bar_i / (1 - alpha_bar_i)) >= I(x; z^i)

    P is the mean variance of a latent's numbers between series, where noise is added: 1 for standardised latents and,
    at most, under layer norm, so that the capacity is -(D / 2) ln(1 - alpha_bar_i) there; another value where the
    method sets its own scale. The capacity holds for every encoder and all data. It belongs to step i: training with
    steps that are drawn from 0 to N also sees less noise. At large i, where the value is far below ln M, what is left
    tells groups of series apart, and no longer one series from all others.
    Shapes: 64 test series evenly spaced against M = 256 latents (all, where there are fewer); coordinate
    diffusion_step, ten values of i from 0 to L, of the capacity all but i = 0, where it is infinite. tau is fitted at
    each i on half of the series' groups, every other one, and judged on the other half, both ways round. Unit: nats per
    series. sd is over series. Costs twice as much as `latent_information`.
    Errors: undefined below 4 series.
    Source: Li et al., arXiv:2405.14021, sec. 4.2, the question; van den Oord et al. 2018, arXiv:1807.03748, eq. 4, the
    bound; Cover and Thomas 2006, Elements of Information Theory, ch. 9, the capacity (section and chapter are not
    checked against the text). Ours: the decoder's likelihood to the power tau as the critic.
    Blind to: a latent that sets the first steps only; it scores all of them.
    """

    version = 1
    outputs = ("noised_information", "noised_information_capacity")
    unit = "nats per series"
    direction = "none"
    fast = False  # twice as costly as `latent_information`
    source = "van den Oord et al. 2018, arXiv:1807.03748, eq. 4; ours"

    @torch.no_grad()
    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """Two values at each of ten steps."""
        model, count = evaluation.model, len(evaluation.series)
        if count < 4:
            return undefined(self.outputs, "needs 4 series", count)
        pool = from_everywhere(count, LATENTS)
        places = from_everywhere(len(pool), SERIES)
        x, groups = evaluation.series[pool[places]], groups_of(evaluation)[pool[places]]
        own = torch.from_numpy(places).to(x.device)
        z = own_latents(evaluation)[:, pool]
        noise = evaluation.draws("diffusion noise").normal(*z.shape[1:])
        power = float(to_denoiser(model, z)[0].var(dim=0, correction=0).mean())
        rows = []
        for i, noised in along_diffusion(model, z, noise):
            log_probs = crossed_log_probs(model, noised, x, lambda p, series: p.log_prob(series))[0]
            values = _both_ways(log_probs, own, torch.from_numpy(every_other(groups)).to(x.device))
            rows.append(spread(self.outputs[0], values, len(x), "diffusion_step", i, groups))
            if i > 0:
                kept = float(model.alpha_bar[i])
                capacity = 0.5 * z.shape[-1] * math.log1p(power * kept / (1 - kept))
                rows.append(spread(self.outputs[1], torch.tensor([capacity]), len(pool), "diffusion_step", i))
        return rows


def _both_ways(log_probs: Tensor, own: Tensor, half: Tensor) -> Tensor:
    """The information of each series, (n,), with the tau that is fitted on the half to which it does not belong."""
    values = torch.empty(len(own), dtype=torch.float64, device=own.device)
    for side in (half, ~half):
        tau = fitted_tau(log_probs[~side], own[~side])
        values[side] = information(log_probs[side], own[side], tau)
    return values
