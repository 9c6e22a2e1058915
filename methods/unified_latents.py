"""Unified latents: the encoder's noise is the least noise of a diffusion prior that is trained along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bench.contracts import DiffusionConfig, Draws, InputError, Model, ModelConfig, PerRun, Posterior, Step, option
from bench.method import Method
from bench.parts.diffusion import linear_schedule, reverse_diffusion
from bench.parts.diffusion_prior import least_noise, noised, path_bound
from bench.parts.objectives import beside, reconstruction
from bench.parts.posteriors import DeterministicPosterior
from bench.registry import register_method


@register_method("unified_latents")
@dataclass(frozen=True)
class UnifiedLatents(Method):
    """v = f_enc(x) is a point; the decoder sees it with a fixed noise, up to which a diffusion prior is trained along.

        L = c E[-ln p(x | z^a)] + rate,   z^a ~ q_forw(. | v) = N(sqrt(alpha_bar_a) v, (1 - alpha_bar_a) I)
        rate = sum_{i > a} w_i E||eps - eps_theta(z^i, i)||^2 + KL(q_forw(z^L | v) || N(0, I)) >= KL(q(z^a|x) || p(z^a))
        w_i = (SNR_{i-1} / SNR_i - 1) / 2,   a: the last step with ln SNR_a >= 5

    The rate is in nats per series, with its gradient into encoder and denoiser. A series is decoded from z^a, where the
    reverse diffusion stops. L steps with few noise levels have none that small: then a is 1.
    Shapes: x (R, B, T, C), v and z (R, B, D); terms (R).
    Source: Heek et al. 2026, arXiv:2602.17270, eq. 3 and algorithm 1 (with w = 1), sec. 3.1 (ln SNR 5), sec. 3.2 (loss
    factors c of 1.3 to 1.7) and sec. 3.3 (the second stage).
    Ours: the L steps of the harness in place of continuous time, so that the rate is that of `ddpm` sampling with all
    steps. c is 1.5 and weighs the likelihood of an autoregressive decoder, in place of a diffusion decoder's reweighted
    bound. The second stage goes on with the same denoiser on the frozen encoder, with the denoising loss of every
    method in place of a larger one's sigmoid weighting, for the updates that the first stage leaves of
    `diffusion.steps`. `kl` is that of q(z^a | x) to N(0, I); the rate is the term `rate` of the training curves, and
    `rate_of`.
    """

    log_snr: PerRun = option(5, at_least=-10, at_most=20)  # ln SNR of the latent that the decoder sees
    loss_factor: PerRun = option(1.5, above=0)  # c

    standardises_latents: ClassVar[bool] = False  # the rate is that of the space in which the noise is fixed
    objective_denoises: ClassVar[bool] = True

    def check(self, model: ModelConfig, diffusion: DiffusionConfig) -> None:
        """There must be noise left for the prior to take away."""
        super().check(model, diffusion)
        if int(least_noise(self.log_snr, linear_schedule(diffusion.L))) == diffusion.L:
            raise InputError(f"{self.name}.log_snr = {self.log_snr:g}: expected more than at the last diffusion step")

    def encoder_width(self, latent: int) -> int:
        """The width of v."""
        return latent

    def codes(self, model: Model, x: Tensor) -> Posterior:
        """The point v."""
        return DeterministicPosterior(model.encoder(x))

    def posterior(self, model: Model, x: Tensor) -> Posterior:
        """q_forw(z^a | v)."""
        return noised(self.codes(model, x).mean, least_noise(self.log_snr, model.alpha_bar), model.alpha_bar)

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """The decoder's part, c times nats per series, and the rate in nats per series."""
        v, a = self.codes(model, x).mean, least_noise(self.log_snr, model.alpha_bar)
        p = model.decoder(noised(v, a, model.alpha_bar).rsample(draws), self.decoder_input(x, draws))
        explained = reconstruction(p, x)
        rate = path_bound(model, v, a, draws).mean(dim=-1)
        return {"reconstruction": beside(self.loss_factor, explained) * explained, "rate": rate}

    def rate_of(self, model: Model, x: Tensor, draws: Draws) -> Tensor:
        """What the prior charges for z^a, an upper bound."""
        return path_bound(model, self.codes(model, x).mean, least_noise(self.log_snr, model.alpha_bar), draws)

    def latents(self, model: Model, n: int, draws: Draws) -> Tensor:
        """z^a: the reverse diffusion stops at the noise that the decoder was trained with."""
        stop = least_noise(self.log_snr, model.alpha_bar).unsqueeze(-1).expand(model.runs, n)
        return reverse_diffusion(model, n, draws, stop)
