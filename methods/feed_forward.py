"""A decoder without autoregression: the latent is its only input, so nothing can replace the latent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from bench.contracts import Draws, Model, Sizes, Step
from bench.method import Method
from bench.models.wrapped import BlindDecoder
from bench.parts.objectives import negative_elbo
from bench.registry import register_method


@register_method("feed_forward")
@dataclass(frozen=True)
class FeedForward(Method):
    """The decoder sees z only and decodes all steps in one pass: a reference that cannot replace z by the past.

        L = E_q(z|x)[-ln prod_t p(x_t | f_dec(z, t))] + KL(q(z|x) || N(0, I))

    m_{t,0} = 1 for all t. Given z the steps are independent, so whatever z does not explain is noise without memory.
    Shapes: x (R, B, T, C); terms (R).
    Source: Kingma and Welling 2014, arXiv:1312.6114, eq. 3, with a decoder that has no past.
    Ours: the past is zero in training and in generation; z enters at every step.
    """

    latent_route: Literal["first", "every_step"] = "every_step"
    masking_rate: Literal[0] = 0  # there is no past to mask

    def networks(self, standard: dict[str, nn.Module], sizes: Sizes) -> dict[str, nn.Module]:
        """The standard networks, with a decoder that sees no past."""
        return {**standard, "decoder": BlindDecoder(standard["decoder"], "past")}

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """The negative ELBO, in nats per series."""
        q, _, p = self.explain(model, x, draws)
        return negative_elbo(q, p, x)
