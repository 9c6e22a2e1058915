"""Mutual information: the objective rewards information about the series in the latent."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from bench.contracts import Draws, Model, PerRun, Sizes, Step, option
from bench.method import Method
from bench.models.critic import PairCritic
from bench.parts.objectives import beside, info_nce, negative_elbo
from bench.registry import register_method


@register_method("mutual_information")
@dataclass(frozen=True)
class MutualInformation(Method):
    """A lower bound of the information between x and z is added to the ELBO, made tight by a critic t.

        L = E_q(z|x)[-ln p(x|z)] + KL(q(z|x) || N(0, I)) - alpha I_t(x; z)
        I(x; z) >= I_t = E[ t(x, z) - ln mean_b exp t(x, z_b) ],   z_b the latents of the batch

    E_x KL = I(x; z) + KL(q(z) || N(0, I)), so at alpha = 1 information costs nothing up to ln B nats, the most that
    the bound can reach.
    Shapes: x (R, B, T, C), t (R, B, B); terms (R).
    Source: InfoMax-VAE, Rezaabad and Vishwanath 2020, arXiv:1912.13361, sec. 3 (ELBO + alpha I, I by a critic that is
    trained with it). The section is not checked against the text.
    Ours: the paper of `proposed` names a mutual-information constraint without a formula; this is our reading. The
    bound is InfoNCE (van den Oord et al. 2018, arXiv:1807.03748, eq. 4). It is at most ln B (4.2 nats at B = 64), so it
    cannot grow without limit, and a latent that already carries more gains nothing from it. alpha is 1.
    """

    alpha: PerRun = option(1.0, at_least=0)

    def networks(self, standard: dict[str, nn.Module], sizes: Sizes) -> dict[str, nn.Module]:
        """The standard networks and the critic t."""
        critic = PairCritic(sizes.runs, sizes.window * sizes.channels, sizes.latent, sizes.hidden)
        return {**standard, "critic": critic}

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """The negative ELBO and the information, in nats per series."""
        q, z, p = self.explain(model, x, draws)
        information = info_nce(model.get_submodule("critic")(x, z))
        return {**negative_elbo(q, p, x), "information": -beside(self.alpha, information) * information}
