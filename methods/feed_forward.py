"""A decoder without autoregression: the latent is its only input, so nothing can replace the latent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from bench.contracts import Draws, Model, PerRun, Sizes, Step, option
from bench.method import Method
from bench.models.wrapped import BlindDecoder
from bench.parts.objectives import beside, kl_to_prior, reconstruction
from bench.registry import register_method


@register_method("feed_forward")
@dataclass(frozen=True)
class FeedForward(Method):
    """The decoder sees z only and decodes all steps in one pass: a reference that cannot replace z by the past.

        L = E_q(z|x)[-ln prod_t p(x_t | f_dec(z, t))] + beta KL(q(z|x) || N(0, I))

    m_{t,0} = 1 for all t. Given z the steps are independent, so whatever z does not explain is noise without memory.
    Shapes: x (R, B, T, C); terms (R).
    Source: Kingma and Welling 2014, arXiv:1312.6114, eq. 3, with a decoder that has no past.
    Ours: the past is zero in training and in generation; z enters at every step. beta is 1; a smaller one, with a
    latent per step (`model.latent_steps`), is the setting of latent diffusions such as Qian et al. 2024,
    arXiv:2407.04211.
    """

    latent_route: Literal["first", "every_step"] = "every_step"
    masking_rate: Literal[0] = 0  # there is no past to mask
    beta: PerRun = option(1.0, at_least=0, at_most=1, later=True)

    def networks(self, standard: dict[str, nn.Module], sizes: Sizes) -> dict[str, nn.Module]:
        """The standard networks, with a decoder that sees no past."""
        return {**standard, "decoder": BlindDecoder(standard["decoder"], "past")}

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """Reconstruction and the weighted KL, in nats per series."""
        q, _, p = self.explain(model, x, draws)
        kl = kl_to_prior(q)
        return {"reconstruction": reconstruction(p, x), "kl": beside(self.beta, kl) * kl}
