"""BN-VAE: batch normalisation keeps the posterior means apart."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from bench.contracts import Draws, Model, PerRun, Posterior, Sizes, Step, option
from bench.method import Method
from bench.models.batch_norm import BatchNorm
from bench.parts.objectives import beside, negative_elbo
from bench.parts.posteriors import GaussianPosterior
from bench.registry import register_method


@register_method("bn_vae")
@dataclass(frozen=True)
class BNVAE(Method):
    """The posterior mean is batch-normalised with a fixed scale, so its spread over series cannot vanish.

        L = E_q(z|x)[-ln p(x|z)] + KL(q(z|x) || N(0, I)),   mu_j = gamma (m_j - E_x m_j) / sd_x(m_j) + b_j
        E_x KL >= sum_j (gamma^2 + b_j^2) / 2 >= D gamma^2 / 2

    Shapes: x (R, B, T, C), m the encoder's output (R, B, D); terms (R).
    Source: Zhu et al. 2020, arXiv:2004.12585, sec. 3: gamma is fixed, the shift b learned, as in their code. The
    section is not checked against the text.
    Ours: gamma .5; outside training, running statistics are used, to which every batch contributes a tenth.
    """

    gamma: PerRun = option(0.5, above=0)

    def networks(self, standard: dict[str, nn.Module], sizes: Sizes) -> dict[str, nn.Module]:
        """The standard networks and the normalisation of the mean."""
        return {**standard, "mean_norm": BatchNorm(sizes.runs, sizes.latent)}

    def posterior(self, model: Model, x: Tensor) -> Posterior:
        """N(mu, sigma^2) with mu normalised over the batch."""
        q = GaussianPosterior.from_encoder(model.encoder(x))
        mean = model.get_submodule("mean_norm")(q.mean, beside(self.gamma, q.mean))
        return GaussianPosterior(mean, q.log_sigma)

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """The negative ELBO, in nats per series."""
        q, _, p = self.explain(model, x, draws)
        return negative_elbo(q, p, x)
