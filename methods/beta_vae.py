"""A constant weight on the KL term: below 1, information in the latent costs less than the ELBO charges for it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bench.contracts import Draws, Model, PerRun, Step, option
from bench.method import Method
from bench.parts.objectives import beside, kl_to_prior, reconstruction
from bench.registry import register_method


@register_method("beta_vae")
@dataclass(frozen=True)
class BetaVAE(Method):
    """The KL term has a constant weight; beta = 0 is an autoencoder with noise, the control without any prior.

        L = E_q(z|x)[-ln p(x|z)] + beta KL(q(z|x) || N(0, I))

    Shapes: x (R, B, T, C); terms (R).
    Source: Higgins et al. 2017, ICLR, eq. 4 (beta > 1); Alemi et al. 2018, arXiv:1711.00464, sec. 3 (beta < 1 against
    collapse). The section of Alemi et al. is not checked against the text.
    Ours: 0 <= beta <= 1, the range that works against collapse; .1 is our choice. The latents are then far from
    N(0, I), and the diffusion learns their distribution.
    """

    beta: PerRun = option(0.1, at_least=0, at_most=1)

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """Reconstruction and the weighted KL, in nats per series."""
        q, _, p = self.explain(model, x, draws)
        kl = kl_to_prior(q)
        return {"reconstruction": reconstruction(p, x), "kl": beside(self.beta, kl) * kl}
