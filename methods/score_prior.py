"""A VAE whose prior is the diffusion itself, trained along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bench.contracts import Draws, Model, Step
from bench.method import Method
from bench.parts.diffusion_prior import cross_entropy
from bench.parts.objectives import reconstruction
from bench.parts.posteriors import GaussianPosterior
from bench.registry import register_method

FIRST = 0.01  # their time eps as a share of L: steps below it are one Gaussian


@register_method("score_prior")
@dataclass(frozen=True)
class ScorePrior(Method):
    """The prior of the VAE is the diffusion that samples are drawn from, in place of N(0, I).

        L = E_q[-ln p(x|z)] + rate,   rate = E_q[-ln p(z)] - H(q(z|x)),   q(z|x) = N(mu, sigma^2)
        -ln p(z) <= E[ sum_{i > a} w_i ||eps - eps_theta(z^i, i)||^2 + ||eps - eps_theta(z^a, a)||^2 / 2 ]
                    + KL(q_forw(z^L | z) || N(0, I)) + D ln(2 pi / SNR_a) / 2
        w_i = (SNR_{i-1} / SNR_i - 1) / 2,   a = .01 L

    The rate is in nats per series, with its gradient into encoder and denoiser. It asks whether the KL to N(0, I) is
    what makes latents collapse: all else is as in `latent_diffusion`.
    Shapes: x (R, B, T, C), z (R, B, D); terms (R).
    Source: Vahdat, Kreis and Kautz 2021, arXiv:2106.05931, theorem 1 and eq. 8 with w_ll = g(t)^2 / sigma_t^2. The text
    itself could not be read, so these numbers are unchecked; the weight g(t)^2 / (2 sigma_t^2), the constant
    D ln(2 pi e sigma_eps^2) / 2 and the density of t, proportional to d ln sigma_t^2 / dt, were read in its code.
    Ours: the L steps of the harness, which are their linear VPSDE, in place of continuous time. Theirs ends at
    eps = .01, where the error is taken to be D; here it is that of step a. Steps are drawn with probability
    w_i / sum w, which bounds each contribution. The score is not mixed with that of N(0, I), which large models need to
    train stably; `diffusion.predicts: v` begins there. Theirs begins with a trained VAE and has one joint stage; here a
    second one on the frozen encoder, with the denoising loss (their unweighted one), gives the denoiser as many updates
    as every method's. `kl` is that to N(0, I); the rate is the term `rate` of the training curves, and `rate_of`.
    """

    standardises_latents: ClassVar[bool] = False  # the denoiser learns the space of z along with the encoder
    objective_denoises: ClassVar[bool] = True

    def posterior(self, model: Model, x: Tensor) -> GaussianPosterior:
        """N(mu, sigma^2)."""
        return GaussianPosterior.from_encoder(model.encoder(x))

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """The negative ELBO, in nats per series."""
        q = self.posterior(model, x)
        z = q.rsample(draws)
        p = model.decoder(z, self.decoder_input(x, draws))
        return {"reconstruction": reconstruction(p, x), "rate": self._charged(model, q, z, draws).mean(dim=-1)}

    def rate_of(self, model: Model, x: Tensor, draws: Draws) -> Tensor:
        """What the diffusion charges for q, an upper bound."""
        q = self.posterior(model, x)
        return self._charged(model, q, q.rsample(draws), draws)

    def _charged(self, model: Model, q: GaussianPosterior, z: Tensor, draws: Draws) -> Tensor:
        first = max(1, round(FIRST * (len(model.alpha_bar) - 1)))
        return cross_entropy(model, z, first, draws) - q.entropy()
