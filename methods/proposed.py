"""The framework of the paper: early diffusion steps as variational inference."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from bench.contracts import DiffusionConfig, Draws, InputError, Model, ModelConfig, PerRun, Posterior, Step, option
from bench.early_diffusion import AUTO_M, EarlyDiffusion, auto_step, check_step, step_of, steps_of
from bench.parts.diffusion import diffuse
from bench.parts.objectives import beside, kl_to_prior
from bench.parts.posteriors import GaussianPosterior
from bench.registry import register_method

ROUNDING = 1e-7  # of a number in float32, relative: at most 2^-24


@register_method("proposed")
@dataclass(frozen=True)
class Proposed(EarlyDiffusion):
    """No KL term: v = f_enc(x) is a point, the first N diffusion steps make it a distribution.

        L_VI = E_{i ~ U{0..N}} [ -alpha_bar_{gamma i} ln p(x | z^i) ]                z^i ~ q_forw(. | v)
        L_CS = E_{k ~ U{M..L}} [ (1 - alpha_bar_{ceil(k / eta)}) relu(ln p(x | z^k) - F(x)) ]
        L_DM = E_{i ~ U{1..L}} || eps - eps_theta(v^i, i) ||^2

    A series is decoded from z^i, the reverse diffusion stopped at i ~ U{0..N}. F is the log-likelihood under the
    marginal of the training data at each time, in the decoder's likelihood family.

    Shapes: x (R, B, T, C); terms (R).
    Source: Li et al. 2024, arXiv:2405.14021, sec. 4.2 (registry name of its framework), with N = 50, gamma = 2 and
    eta = 1. The section is not checked against the text.
    Ours: L_CS as printed, without F and the relu, has no lower bound and diverges; that form is
    `collapse_penalty: literal`, and `none` leaves L_CS out. `permuted` and `contrast` use latents of
    other series in place of noised latents:

        permuted   E[ relu(ln p(x | z^i_other) - F(x)) ]
        contrast   E[ T softplus((ln p(x | z^i_other) - ln p(x | z^i)) / T) ]

    v has layer norm (no affine part; `latent_norm: none` leaves it out), and L_DM is fitted
    afterwards on the frozen encoder; `joint: true` trains it together with the others, on batches of
    its own and at its own learning rate, and lets its gradient into the encoder. `kl: true` is the
    ablation that restores the KL term: v ~ N(mu, sigma^2) as in `latent_diffusion`, without layer norm.
    M is read as the first of the late steps that L_CS draws from. Where they are not given, N is .05 L
    and M is .9 L, rounded: 50 and 900 at L = 1,000. N and M below 1 (N above 0) are shares of L. `auto`
    chooses them by the signal-to-noise ratio alpha_bar / (1 - alpha_bar): at least 15 dB up to N, at
    most -30 dB from M on.
    """

    M: PerRun | Literal["auto"] = option(900, above=0)  # the first step of the collapse penalty, or its share of L
    eta: PerRun = option(1, at_least=1)
    collapse_penalty: Literal["bounded", "literal", "permuted", "contrast", "none"] = "bounded"
    joint: bool = False
    kl: bool = False

    @classmethod
    def defaults(cls, diffusion: DiffusionConfig) -> dict[str, Any]:
        """N and M as shares of L: 50 and 900 at L = 1,000."""
        return {**super().defaults(diffusion), "M": round(0.9 * diffusion.L)}

    def check(self, model: ModelConfig, diffusion: DiffusionConfig) -> None:
        """Check 0 <= N, gamma N <= L, 1 <= M <= L, whole steps, and more than one latent dimension under layer norm."""
        if self.kl and self.latent_norm == "layer":
            dataclasses.replace(self, latent_norm="none").check(model, diffusion)
            return
        super().check(model, diffusion)
        first = self.resolved(diffusion).M
        check_step(self.name, "M", first)
        if not 1 <= step_of(first, diffusion.L) <= diffusion.L:
            raise InputError(f"{self.name}.M = {self.M:g}: expected 1 <= M <= L = {diffusion.L}")

    def resolved(self, diffusion: DiffusionConfig) -> Proposed:
        """`N: auto` and `M: auto` as steps."""
        first = auto_step("first", AUTO_M, diffusion.L) if self.M == "auto" else self.M
        return dataclasses.replace(self, N=super().resolved(diffusion).N, M=first)

    def without_use(self) -> tuple[str, ...]:
        """M and eta are those of the noised latents of L_CS."""
        return () if self.collapse_penalty in ("bounded", "literal") else ("M", "eta")

    @property
    def denoises_jointly(self) -> bool:  # type: ignore[override]
        """Whether the denoiser is trained along, L_DM reaching the encoder."""
        return self.joint

    def encoder_width(self, latent: int) -> int:
        """The width of v, or with `kl` that of mu and ln sigma together."""
        return 2 * latent if self.kl else latent

    def posterior(self, model: Model, x: Tensor) -> Posterior:
        """The point v, or with `kl` the Gaussian that it is drawn from."""
        return GaussianPosterior.from_encoder(model.encoder(x)) if self.kl else super().posterior(model, x)

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """L_VI and L_CS (with `kl` the KL), in nats per series."""
        alpha_bar, last, batch = model.alpha_bar, len(model.alpha_bar) - 1, x.shape[1]
        q = self.posterior(model, x)
        v = q.rsample(draws)
        past = self.decoder_input(x, draws)

        early = self.early(model, x, v, past, draws)
        terms = {"variational": self.variational(model, x, early)}

        k = draws.steps(steps_of(self.M, last), last, batch)  # drawn under every penalty, so that draws stay paired
        noise = draws.normal(batch, model.latent)
        if self.collapse_penalty in ("bounded", "literal"):
            log_p = model.decoder(diffuse(v, k, alpha_bar, noise), past).log_prob(x)
            weight = 1 - alpha_bar[ceil_of_ratio(k, self.eta)]
            if self.collapse_penalty == "bounded":
                log_p = (log_p - model.marginal_log_prob(x)).relu()
            terms["collapse_penalty"] = (weight * log_p).mean(dim=-1)
        elif self.collapse_penalty in ("permuted", "contrast"):
            terms["collapse_penalty"] = self.against_others(self.collapse_penalty, model, x, past, early, draws)
        if self.kl:
            terms["kl"] = kl_to_prior(q)
        return terms


def ceil_of_ratio(k: Tensor, eta: PerRun) -> Tensor:
    """ceil(k / eta) of steps k (R, B), eta a number or (R,), int64.

    A stack holds eta in float32. There 1.3 is a little less, and 39 / 1.3 a little more than 30. So a ratio within
    rounding of a whole number is that number.

    >>> ceil_of_ratio(torch.tensor([[39, 40]]), torch.tensor([1.3])).tolist()
    [[30, 31]]
    """
    ratio = k.double() / beside(eta, k.double())
    return (ratio - ROUNDING * ratio).ceil().long()
