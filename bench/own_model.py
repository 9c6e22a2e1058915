"""Has a model collapsed that was trained elsewhere? Judged as runs of this benchmark are; see bench/docs/library.md."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from bench.contracts import InputError
from bench.metrics.base import every_other, from_everywhere, spread
from bench.metrics.latent_information import LATENTS, SERIES, fitted_tau, information, parts_of
from bench.metrics.nll import crossed_log_probs
from bench.verdict import NEAR_BOUND, Estimate, Verdict, verdict_by_information

LogProbSteps: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""x (B, T, C), z (B, D) -> ln p(x_t | z, x_1 .. x_{t-1}) in nats, (B, T)."""

FEWEST = 8  # series: half of them fit tau, and of the others a mean has an error


@dataclass(frozen=True)
class LatentUse:
    """What a decoder takes from its latent, in nats per series; printing it gives a few lines."""

    information: Estimate  # of all steps
    second_half: Estimate  # of the steps after T / 2, with the true past given
    bound: float  # ln M, which neither exceeds
    n: int  # series that they are means of

    @property
    def verdict(self) -> Verdict:
        """The word of `bench.verdict.verdict_by_information`."""
        return verdict_by_information(self.information, self.second_half)

    def __str__(self) -> str:
        def said(name: str, of: Estimate) -> str:
            least = "at least " if of.value > self.bound - NEAR_BOUND else ""
            return f"{name}: {least}{of.value:.2f} ± {1.96 * of.error:.2f} nats per series"

        return "\n".join(
            [
                f"The latent is {self.verdict}.",
                said("all steps", self.information),
                said("second half", self.second_half),
                f"{self.n} series; no value can exceed {self.bound:.1f}. ± is half of a 95 % interval.",
            ]
        )


@torch.no_grad()
def latent_information(log_prob_steps: LogProbSteps, z: Tensor, x: Tensor) -> LatentUse:
    """How many nats about a series a decoder takes from its latent, and the verdict; for any model and any encoder.

    log_prob_steps: the decoder's log-likelihood of each step, given the latent and the true past. x (n, T, C): series
    that the model was not trained on, in the scale that it takes. z (n, D): one draw from the posterior of each.
    The measure is `bench.metrics.latent_information` (its card has equation and source), with up to 512 series as
    latents and 128 of them scored: half of these fit its one parameter, the others give the values. Series that share
    rows, or come from one person, are taken as if they were independent: give every fourth of windows that begin T / 4
    apart.
    Raises InputError.
    """
    if x.ndim != 3 or z.ndim != 2 or len(x) != len(z):
        raise InputError(
            f"latent_information: x {tuple(x.shape)}, z {tuple(z.shape)}: expected (n, T, C) and (n, D), a latent for "
            "each series"
        )
    if len(x) < FEWEST or x.shape[1] < 2:
        raise InputError(f"latent_information: {len(x)} series of {x.shape[1]} steps: expected {FEWEST} of 2 or more")

    def score(latents: Any, here: Tensor) -> Tensor:
        steps = log_prob_steps(here[0], latents[0])
        if steps.shape != here.shape[1:3]:
            raise InputError(
                f"latent_information: log_prob_steps gave {tuple(steps.shape)} for x {tuple(here.shape[1:])}: expected "
                f"{tuple(here.shape[1:3])}, a number for each step"
            )
        if not steps.isfinite().all():
            raise InputError("latent_information: log_prob_steps gave a value that is not finite: expected finite ones")
        return parts_of(steps)

    pool = torch.from_numpy(from_everywhere(len(x), LATENTS)).to(x.device)
    own = torch.from_numpy(from_everywhere(len(pool), SERIES)).to(x.device)
    # a model whose decoder passes its latent on, so that the score can hand it to the caller's function
    passed_on = SimpleNamespace(decoder=lambda latents, past: latents)
    found = crossed_log_probs(passed_on, z[None, pool], x[pool[own]], score)
    scored = torch.from_numpy(every_other(own.cpu().numpy())).to(x.device)
    values = []
    for log_probs in found:
        tau = fitted_tau(log_probs[~scored], own[~scored])
        values.append(spread("", information(log_probs[scored], own[scored], tau)))
    whole, later = (Estimate(one.value, one.sd / math.sqrt(one.n)) for one in values)
    return LatentUse(whole, later, math.log(len(pool)), values[0].n)
