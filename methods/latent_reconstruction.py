"""Latent reconstruction: the encoder must find a latent again in what the decoder makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from bench.contracts import Draws, Model, PerRun, Step, option
from bench.method import Method
from bench.parts.objectives import linear_warm_up, negative_elbo
from bench.registry import register_method


@register_method("latent_reconstruction")
@dataclass(frozen=True)
class LatentReconstruction(Method):
    """The decoded series is encoded again, and the latent must come back: no two latents may mean the same.

        L = E_q(z|x)[-ln p(x | z)] + KL(q(z|x) || N(0, I)) + a(step) E_q(z|x) || mu(E[x | z]) - z ||^2 / 2

    mu(x) is the mean of q(z|x), E[x | z] that of the decoder, and a rises from 0 to `alpha` over the first `warm_up` of
    training. An encoder that undoes the decoder shows that it is injective, so that it cannot ignore z. The term alone
    does not rule collapse out: a narrow peak that is the same for all series satisfies it, too, and pays KL for
    nothing.
    Shapes: x (R, B, T, C), z (R, B, D); terms (R).
    Source: Song, Kim and Lee 2025, arXiv:2508.12530, latent reconstruction loss. The abstract was read. The formula,
    its weight and its rise from 0 are from an account of the paper, so they are not checked against the text.
    Ours: the decoder's mean is that of one pass given the true past, E[x_t | z, x_1 .. x_{t-1}], as in the
    reconstruction, so that the map is injective for each past. z enters the decoder at every step, as it reaches every
    output of a decoder without a past; with z at the first step alone half as much information was left (`regimes`,
    one seed). Half the squared distance is in nats of a Gaussian of variance 1 / alpha. alpha is 3, and the rise is
    linear over the first half.
    """

    latent_route: Literal["first", "every_step", "none"] = "every_step"
    alpha: PerRun = option(3.0, at_least=0)  # the weight of the distance at last
    warm_up: PerRun = option(0.5, above=0, at_most=1)  # share of training over which it rises

    @property
    def schedule_share(self) -> PerRun:
        """The end of the rise."""
        return self.warm_up

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """The negative ELBO and the weighted distance, in nats per series."""
        q, z, p = self.explain(model, x, draws)
        again = self.posterior(model, p.mean).mean
        distance = 0.5 * (again - z).square().sum(dim=-1).mean(dim=-1)
        weight = (self.alpha * linear_warm_up(step, self.warm_up)).to(x.device)
        return {**negative_elbo(q, p, x), "latent_reconstruction": weight * distance}
