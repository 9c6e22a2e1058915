"""How many nats about a series the decoder takes from its latent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import LatentEvaluation, Likelihood, Measurement
from bench.metrics.base import LatentMetric, every_other, from_everywhere, groups_of, own_latents, spread, undefined
from bench.metrics.nll import crossed_log_probs
from bench.parts.likelihoods import Stepwise
from bench.registry import register_metric

LATENTS = 512  # M
SERIES = 128
VALIDATION_SERIES, VALIDATION_LATENTS = 64, 256  # scored for tau
NEARLY = 1e-3  # nats below ln M at which no larger tau is tried
ROUNDING = 1e-6  # of ln p: a smaller advantage of the own latent is none
WITHOUT_STEPS = "the likelihood gives no logarithm per step (`log_prob_steps`)"
ONE_STEP = "series of one step have no second half"


def both_parts(p: Likelihood, x: Tensor) -> Tensor:
    """ln p of all steps and of those after T / 2, (2, b); the first only, (1, b), where a likelihood gives no steps."""
    return parts_of(p.log_prob_steps(x)[0]) if isinstance(p, Stepwise) else p.log_prob(x)


def parts_of(steps: Tensor) -> Tensor:
    """ln p per step (b, T) -> of all steps and of those after T / 2, (2, b)."""
    return torch.stack([steps.sum(dim=-1), steps[:, steps.shape[1] // 2 :].sum(dim=-1)])


def information(log_probs: Tensor, own: Tensor, tau: float) -> Tensor:
    """tau ln p(x | z_x) - ln (1/M) sum_m p(x | z_m)^tau of each series, (n,), at most ln M.

    log_probs (n, M); own (n,) is the place of each series' own latent among the M.

    >>> told = torch.tensor([[0.0, -1e3], [-1e3, 0.0]])
    >>> information(told, torch.tensor([0, 1]), 1.0).exp().tolist()
    [2.0, 2.0]
    """
    scores = tau * log_probs
    return scores.gather(1, own[:, None])[:, 0] - scores.logsumexp(dim=-1) + math.log(scores.shape[-1])


def fitted_tau(log_probs: Tensor, own: Tensor) -> float:
    """The tau >= 0 of the largest mean `information`, a concave function of tau: its slope's root, by bisection.

    0 where the own latent is no better than the others; where every series is identified and there is no largest one,
    the first that is found within .001 nats of ln M; NaN where no series has finite values.
    """
    finite = log_probs.isfinite().all(dim=-1)
    log_probs, own = log_probs[finite], own[finite]
    if not len(own):
        return math.nan
    told = log_probs.gather(1, own[:, None])[:, 0]

    def slope(tau: float) -> float:
        return float((told - ((tau * log_probs).softmax(dim=-1) * log_probs).sum(dim=-1)).mean())

    if not slope(0) > ROUNDING * float(log_probs.abs().mean()):
        return 0.0
    low, high = 0.0, 1 / slope(0)
    while slope(high) > 0:
        if float(information(log_probs, own, high).mean()) > math.log(log_probs.shape[-1]) - NEARLY:
            return high
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return (low + high) / 2


@register_metric("latent_information")
@dataclass(frozen=True)
class LatentInformation(LatentMetric):
    """A lower bound of the information between a series and its latent, as far as the decoder uses it.

        I_M = E_x[ tau ln p(x | z_x, past) - ln (1/M) sum_m p(x | z_m, past)^tau ],   I_M <= I(x; z),   I_M <= ln M

    z_x is drawn from x's own posterior; the z_m are it and draws from the posteriors of M - 1 other series. One tau, at
    least 0, is fitted per run on validation windows and makes the bound as large as it gets there: a common factor on
    the decoder's deviations changes nothing, and an overconfident decoder is not punished. `.._tau_1` is the same
    without it, lower where the decoder is badly calibrated. `.._second_half` scores only the steps after T / 2, with
    the true past given and a tau of its own: a latent that sets the first steps and is then forgotten has next to
    nothing there. A value within .5 of `latent_information_bound` = ln M says "at least this much", and such values
    have no order; values of different M cannot be compared.
    Shapes: 128 test series evenly spaced (n says how many) against M = 512 latents (all, where there are fewer). Unit:
    nats per series. sd is over series. Without validation windows tau is fitted on half of the series, every other
    group, and the values are of the other half. Costs 82,000 passes of a series through the decoder: 2 CPU seconds
    for an LSTM of width 64 at T = 24, 5 at width 128, 11 for a transformer of width 128, 30 for an LSTM of width 256 at
    T = 48.
    Errors: undefined for one series, and for a method without a latent; the second half also for T = 1 and for a
    likelihood that does not give its steps.
    Source: van den Oord et al. 2018, arXiv:1807.03748, eq. 4 and app. A.1 (InfoNCE); Poole et al. 2019,
    arXiv:1905.06922, sec. 2.3. The section of Poole et al. is not checked against the text. Ours: the decoder's
    likelihood to the power tau as the critic, the second half.
    Blind to: whether the data hold a latent. A code without a price stores a series' own noise and is near ln M.
    """

    version = 1
    outputs = (
        "latent_information",
        "latent_information_second_half",
        "latent_information_tau_1",
        "latent_information_second_half_tau_1",
        "latent_information_tau",
        "latent_information_second_half_tau",
        "latent_information_bound",
    )
    diagnostics = outputs[2:]
    unit = "nats per series"
    direction = "higher"
    source = "van den Oord et al. 2018, arXiv:1807.03748, eq. 4"

    @torch.no_grad()
    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """Three values for all steps, three for the second half, and ln M."""
        count, validation = len(evaluation.series), evaluation.validation
        if count < 2:
            return undefined(self.outputs, "needs 2 series", count)
        pool = from_everywhere(count, LATENTS)
        places = from_everywhere(len(pool), SERIES)
        scored, own = pool[places], torch.from_numpy(places).to(evaluation.series.device)
        groups, z = groups_of(evaluation)[scored], own_latents(evaluation)[:, pool]
        found = crossed_log_probs(evaluation.model, z, evaluation.series[scored], both_parts)
        if validation is None or len(validation) < 2:
            apart = every_other(groups)
            first, second = (torch.from_numpy(side).to(own.device) for side in (~apart, apart))
            fit, fit_own = found[:, first], own[first]
            found, own, groups = found[:, second], own[second], groups[apart]
        else:
            some = validation[from_everywhere(len(validation), VALIDATION_LATENTS)]
            fit_places = from_everywhere(len(some), VALIDATION_SERIES)
            fit_own = torch.from_numpy(fit_places).to(own.device)
            fit_z = own_latents(evaluation, some)
            fit = crossed_log_probs(evaluation.model, fit_z, some[fit_places], both_parts)
        rows = [Measurement(self.outputs[-1], math.log(len(pool)), n=len(own))]
        one_step = evaluation.series.shape[1] < 2
        for name, log_probs, fitted in zip(self.outputs, found[: 1 if one_step else 2], fit, strict=False):
            tau = fitted_tau(fitted, fit_own)
            rows += [
                spread(name, information(log_probs, own, tau), groups=groups),
                spread(f"{name}_tau_1", information(log_probs, own, 1.0), groups=groups),
                spread(f"{name}_tau", torch.tensor([tau]), len(fit_own)),
            ]
        if one_step or len(found) < 2:
            missing = [name for name in self.outputs if "second_half" in name]
            rows += undefined(tuple(missing), ONE_STEP if one_step else WITHOUT_STEPS, len(own))
        return rows
