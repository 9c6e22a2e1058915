"""Early diffusion steps as variational inference: what `proposed` and its preset share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.contracts import (
    DiffusionConfig,
    Draws,
    InputError,
    Likelihood,
    Model,
    ModelConfig,
    PerRun,
    Posterior,
    option,
)
from bench.method import Method
from bench.parts.diffusion import diffuse, linear_schedule, reverse_diffusion
from bench.parts.likelihoods import fitted
from bench.parts.objectives import beside, likelihood_contrast, other_series
from bench.parts.posteriors import DeterministicPosterior, take_rows

AUTO_N = 10**1.5  # signal-to-noise ratio, 15 dB: at most 1.74 nats per latent dimension pass
AUTO_M = 10**-3.0  # -30 dB: at most 5e-4 nats per latent dimension pass


class Early(NamedTuple):
    """The decoder's distribution of series x from z^i, i ~ U{0..N}."""

    z: Tensor  # z^i, (R, B, D)
    i: Tensor  # (R, B)
    p: Likelihood  # p(x | z^i, past)


@dataclass(frozen=True)
class EarlyDiffusion(Method):
    """v = f_enc(x) is a point; the first N diffusion steps make it a distribution, at both ends of the model.

        L_VI = E_{i ~ U{0..N}} [ -alpha_bar_{gamma i} ln p(x | z^i) ],   z^i ~ q_forw(. | v)

    A series is decoded from z^i, the reverse diffusion stopped at i ~ U{0..N}.
    N that is not given is .05 L, rounded: 50 at L = 1,000. N below 1 (and above 0) is a share of L; `auto` is the last
    step with a signal-to-noise ratio alpha_bar / (1 - alpha_bar) of 15 dB or more.
    Source: Li et al. 2024, arXiv:2405.14021, sec. 4.2. The section is not checked against the text. Ours: layer norm
    (no affine part) on v, `latent_norm`.
    """

    N: PerRun | Literal["auto"] = option(50, at_least=0)  # the last step of variational inference, or its share of L
    gamma: PerRun = option(2, at_least=1, whole=True)
    latent_norm: Literal["layer", "none"] = "layer"

    # z^i of L_VI, of the denoiser and of sampling is one latent in one space: that of v, which layer norm holds at unit
    # scale, and which with `latent_norm: none` is the encoder's own.
    standardises_latents: ClassVar[bool] = False

    @classmethod
    def defaults(cls, diffusion: DiffusionConfig) -> dict[str, Any]:
        """N as the share of L that it is at L = 1,000."""
        return {"N": round(0.05 * diffusion.L)}

    def check(self, model: ModelConfig, diffusion: DiffusionConfig) -> None:
        """0 <= N, gamma N <= L, whole steps, and more than one latent dimension under layer norm."""
        super().check(model, diffusion)
        resolved = self.resolved(diffusion)
        check_step(resolved.name, "N", resolved.N)
        reach = int(self.gamma * step_of(float(resolved.N), diffusion.L))
        if reach > diffusion.L:
            raise InputError(f"{self.name}.N = {self.N}: gamma * N is {reach}: expected at most L = {diffusion.L}")
        if self.latent_norm == "layer" and model.latent_dimensions == 1:
            raise InputError(f"model.latent = 1: {self.name} normalises v over its dimensions: expected at least 2")

    def resolved(self, diffusion: DiffusionConfig) -> EarlyDiffusion:
        """`N: auto` as a step."""
        return self if self.N != "auto" else dataclasses.replace(self, N=auto_step("last", AUTO_N, diffusion.L))

    def encoder_width(self, latent: int) -> int:
        """v alone."""
        return latent

    def posterior(self, model: Model, x: Tensor) -> Posterior:
        """The point v."""
        v = model.encoder(x)
        return DeterministicPosterior.normalised(v) if self.latent_norm == "layer" else DeterministicPosterior(v)

    def early(self, model: Model, x: Tensor, v: Tensor, past: Tensor, draws: Draws) -> Early:
        """Noise v to z^i and decode: x (R, B, T, C), v (R, B, D)."""
        i, z = self._noised(model, v, draws)
        return Early(z, i, model.decoder(z, past))

    def variational(self, model: Model, x: Tensor, early: Early) -> Tensor:
        """L_VI with the scale that explains this batch best, as it is weighted, (R)."""
        weight = model.alpha_bar[beside(self.gamma, early.i) * early.i]
        return -(weight * fitted(early.p, x, weight).log_prob(x)).mean(dim=-1)

    def against_others(
        self, form: Literal["permuted", "contrast"], model: Model, x: Tensor, past: Tensor, early: Early, draws: Draws
    ) -> Tensor:
        """What is paid when another series' latent explains x, (R); no noise detector can satisfy it.

        permuted   E[ relu(ln p(x | z_other) - F(x)) ]
        contrast   E[ T softplus((ln p(x | z_other) - ln p(x | z)) / T) ]
        """
        other = take_rows(early.z, other_series(x.shape[1], draws))
        log_p = model.decoder(other, past).log_prob(x)
        if form == "permuted":
            return (log_p - model.marginal_log_prob(x)).relu().mean(dim=-1)
        return likelihood_contrast(early.p.log_prob(x), log_p, x.shape[2])

    def as_generated(self, model: Model, z: Tensor, draws: Draws) -> Tensor:
        """z^i with i ~ U{0..N}, as L_VI trains the decoder."""
        return self._noised(model, z, draws)[1]

    def _noised(self, model: Model, v: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """i ~ U{0..N} and z^i ~ q_forw(. | v): v (R, B, D) -> (R, B), (R, B, D)."""
        i = self._steps(model, v.shape[1], draws)
        return i, diffuse(v, i, model.alpha_bar, draws.normal(v.shape[1], model.latent))

    def _steps(self, model: Model, n: int, draws: Draws) -> Tensor:
        """i ~ U{0..N}, (R, n)."""
        return draws.steps(0, steps_of(self.N, len(model.alpha_bar) - 1), n)

    def latents(self, model: Model, n: int, draws: Draws) -> Tensor:
        """z^i with i ~ U{0..N}: the reverse diffusion stops early."""
        return reverse_diffusion(model, n, draws, self._steps(model, n, draws))


def steps_of(value: PerRun, last: int) -> Tensor:
    """A diffusion step given as a step or as a share of L = last, int64."""
    if not isinstance(value, Tensor):
        return torch.tensor(step_of(value, last))
    value = value.double()
    return torch.where((value > 0) & (value < 1), (value * last).round(), value).long()


def step_of(value: PerRun, last: int) -> int:
    """The same of one number, without a tensor: a grid checks tens of thousands. Rounded as a stack's shares are."""
    return round(float(np.float32(value)) * last) if 0 < value < 1 else int(value)


def check_step(method: str, option_name: str, value: PerRun) -> None:
    """Raises InputError for a step that is neither whole nor a share of L."""
    if value >= 1 and value != int(value):
        raise InputError(f"{method}.{option_name} = {value:g}: expected a whole step, or a share of L below 1")


def auto_step(end: Literal["first", "last"], ratio: float, diffusion_steps: int) -> int:
    """The last step with a signal-to-noise ratio alpha_bar / (1 - alpha_bar) above `ratio`, or the first below it.

    A Gaussian channel of that ratio passes ln(1 + ratio) / 2 nats per dimension.

    >>> [(auto_step("last", AUTO_N, L), auto_step("first", AUTO_M, L)) for L in (1000, 100)]
    [(51, 827), (5, 81)]
    """
    alpha_bar = linear_schedule(diffusion_steps).double()
    ratios = alpha_bar / (1 - alpha_bar).clamp(min=1e-12)
    if end == "last":
        return int((ratios >= ratio).sum()) - 1
    return min(int((ratios > ratio).sum()), diffusion_steps)
