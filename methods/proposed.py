"""The framework of the paper: early diffusion steps as variational inference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench.contracts import DiffusionConfig, Draws, InputError, Model, ModelConfig, PerRun, Posterior, Step, option
from bench.method import Method
from bench.parts.diffusion import denoising_loss, diffuse, reverse_diffusion
from bench.parts.posteriors import DeterministicPosterior
from bench.registry import register_method


@register_method("proposed")
@dataclass(frozen=True)
class Proposed(Method):
    """No KL term: v = f_enc(x) is a point, the first N diffusion steps make it a distribution.

        L_VI = E_{i ~ U{0..N}} [ -alpha_bar_{gamma i} ln p(x | z^i) ]                z^i ~ q_forw(. | v)
        L_CS = E_{k ~ U{M..L}} [ (1 - alpha_bar_{ceil(k / eta)}) relu(ln p(x | z^k) - F(x)) ]
        L_DM = E_{i ~ U{1..L}} || eps - eps_theta(v^i, i) ||^2

    A series is decoded from z^i, the reverse diffusion stopped at i ~ U{0..N}. F is the
    log-likelihood under the per-time, per-channel Gaussian marginal of the training data.

    Shapes: x (R, B, T, C); terms (R).
    Source: Li et al. 2024, arXiv:2405.14021 (registry name of its framework).
    Ours: L_CS as printed, without F and the relu, has no lower bound and diverges; that form is
    `collapse_penalty: literal`, and `none` leaves L_CS out. v has layer norm (no affine part),
    and L_DM is fitted afterwards on the frozen encoder; `joint: true` trains it together with the
    others and lets its gradient into the encoder. M is read as the first step of the tail,
    default 900; N and M below 1 (N above 0) are shares of L.
    """

    N: PerRun = option(50, at_least=0)  # the last step of variational inference, or its share of L
    M: PerRun = option(900, above=0)  # the first step of the collapse penalty, or its share of L
    gamma: PerRun = option(2, at_least=1, whole=True)
    eta: PerRun = option(1, at_least=1)
    collapse_penalty: Literal["bounded", "literal", "none"] = "bounded"
    joint: bool = False

    def check(self, model: ModelConfig, diffusion: DiffusionConfig) -> None:
        """0 <= N, gamma N <= L, 1 <= M <= L, whole steps, and more than one latent dimension."""
        last = diffusion.L
        for name, value in (("N", self.N), ("M", self.M)):
            if value >= 1 and value != int(value):
                raise InputError(f"{self.name}.{name} = {value:g}: expected a whole step, or a share of L below 1")
        reach = int(self.gamma * _steps(self.N, last))
        if reach > last:
            raise InputError(f"{self.name}.N = {self.N:g}: gamma * N is {reach}: expected at most L = {last}")
        if not 1 <= _steps(self.M, last) <= last:
            raise InputError(f"{self.name}.M = {self.M:g}: expected 1 <= M <= L = {last}")
        if model.latent == 1:
            raise InputError(f"model.latent = 1: {self.name} normalises v over its dimensions: expected at least 2")

    @property
    def denoises_jointly(self) -> bool:  # type: ignore[override]
        """Whether the objective itself trains the denoiser."""
        return self.joint

    def encoder_width(self, latent: int) -> int:
        """v alone."""
        return latent

    def posterior(self, model: Model, x: Tensor) -> Posterior:
        """The point v."""
        return DeterministicPosterior.normalised(model.encoder(x))

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """L_VI and L_CS (and, with `joint`, L_DM), in nats per series."""
        alpha_bar, last, batch = model.alpha_bar, len(model.alpha_bar) - 1, x.shape[1]
        v = self.posterior(model, x).mean
        past = self.decoder_input(x, draws)

        i = draws.steps(0, _steps(self.N, last), batch)
        log_p = model.decoder(diffuse(v, i, alpha_bar, draws.normal(batch, model.latent)), past).log_prob(x)
        weight = alpha_bar[_per_series(self.gamma, i) * i]
        terms = {"variational": -(weight * log_p).mean(dim=-1)}

        k = draws.steps(_steps(self.M, last), last, batch)
        noise = draws.normal(batch, model.latent)
        if self.collapse_penalty != "none":
            log_p = model.decoder(diffuse(v, k, alpha_bar, noise), past).log_prob(x)
            weight = 1 - alpha_bar[torch.ceil(k / _per_series(self.eta, k.float())).long()]
            if self.collapse_penalty == "bounded":
                log_p = (log_p - model.marginal_log_prob(x)).relu()
            terms["collapse_penalty"] = (weight * log_p).mean(dim=-1)
        if self.joint:
            terms["denoising"] = denoising_loss(model, v, draws).mean(dim=-1)
        return terms

    def latents(self, model: Model, n: int, draws: Draws) -> Tensor:
        """z^i with i ~ U{0..N}: the reverse diffusion stops early."""
        stop = draws.steps(0, _steps(self.N, len(model.alpha_bar) - 1), n)
        return reverse_diffusion(model, n, draws, stop)


def _steps(value: PerRun, last: int) -> Tensor:
    """A diffusion step given as a step or as a share of L."""
    value = torch.as_tensor(value, dtype=torch.float64)
    return torch.where((value > 0) & (value < 1), (value * last).round(), value).long()


def _per_series(value: PerRun, like: Tensor) -> Tensor:
    """A number per run beside a tensor (R, B)."""
    return torch.as_tensor(value, device=like.device).to(like.dtype).reshape(-1, 1)
