"""delta-VAE: the family of posteriors does not contain the prior."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from bench.contracts import DiffusionConfig, Draws, InputError, Model, ModelConfig, PerRun, Posterior, Step, option
from bench.method import Method
from bench.parts.objectives import beside, negative_elbo
from bench.parts.posteriors import GaussianPosterior
from bench.registry import register_method

LOWEST = -7.0  # lower bound of ln sigma, as for every Gaussian posterior here


@register_method("delta_vae")
@dataclass(frozen=True)
class DeltaVAE(Method):
    """Posterior variances are kept so far below 1 that the KL cannot fall under a committed rate.

        L = E_q(z|x)[-ln p(x|z)] + KL(q(z|x) || N(0, I)),   sigma_j(x) <= s,   D (s^2 - 1 - ln s^2) / 2 = rate

    For each dimension KL = mu^2 / 2 + (sigma^2 - 1 - ln sigma^2) / 2; the first term is at least 0, the second falls
    in sigma on (0, 1), so it is at least its value at s: the sum over D dimensions is at least `rate`.
    Shapes: x (R, B, T, C); terms (R).
    Source: Razavi et al. 2019, arXiv:1901.03416, sec. 2 (a family with min KL >= delta). What is said below of the
    source is not checked against the text.
    Ours: the source has a sequence of latents under an autoregressive prior. For independent latents it bounds mu by
    sigma, mu^2 >= 2 delta + 1 + ln sigma^2 - sigma^2 per dimension, which keeps mu away from 0. Here there is one z
    under N(0, I). Only sigma is bounded, by ln sigma = ln s - softplus(output), and mu is free. The default of 2 nats
    is the rate that `bn_vae` commits at gamma .5 and D = 16.
    """

    rate: PerRun = option(2.0, above=0)  # lower bound of the KL, in nats per series

    def check(self, model: ModelConfig, diffusion: DiffusionConfig) -> None:
        """Raises InputError for a rate that no legal sigma can commit."""
        super().check(model, diffusion)
        most = model.latent_dimensions * (-1 - 2 * LOWEST) / 2
        if self.rate > most:
            raise InputError(f"{self.name}.rate = {self.rate:g}: expected at most {most:g}, 6.5 per latent dimension")

    def posterior(self, model: Model, x: Tensor) -> Posterior:
        """N(mu, sigma^2) with sigma <= s."""
        mean, raw = model.encoder(x).chunk(2, dim=-1)
        bound = 0.5 * log_variance_at(beside(self.rate, mean) / mean.shape[-1])
        return GaussianPosterior(mean, (bound - functional.softplus(raw)).clamp(min=LOWEST))

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """The negative ELBO, in nats per series."""
        q, _, p = self.explain(model, x, draws)
        return negative_elbo(q, p, x)


def log_variance_at(rate: Tensor) -> Tensor:
    """u = ln s^2 < 0 with (e^u - u - 1) / 2 = rate, by Newton's method from the left, where it cannot overshoot.

    >>> u = log_variance_at(torch.tensor([0.125]))
    >>> round(float((u.exp() - u - 1) / 2), 5)
    0.125
    """
    target = 1 + 2 * rate.double()
    u = -target
    for _ in range(40):  # each step at least halves the distance, near u = 0 as well
        u = u - (u.exp() - u - target) / torch.expm1(u)
    return u.to(rate.dtype)
