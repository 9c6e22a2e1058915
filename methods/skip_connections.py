"""Skip connections: the latent enters the decoder at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from bench.contracts import Draws, Model, Step
from bench.method import Method
from bench.parts.objectives import negative_elbo
from bench.registry import register_method


@register_method("skip_connections")
@dataclass(frozen=True)
class SkipConnections(Method):
    """The latent is an input of every decoder step, so its path to x_t does not grow with t.

        L = E_q(z|x)[-ln prod_t p(x_t | f_dec(z, [z, x_1], .., [z, x_{t-1}]))] + KL(q(z|x) || N(0, I))

    Shapes: x (R, B, T, C), z (R, B, D); terms (R).
    Source: Dieng et al. 2019, arXiv:1807.04863, sec. 3. The section is not checked against the text.
    Ours: a preset of `latent_diffusion`; the skip goes to the decoder's input, not to its hidden layers.
    """

    latent_route: Literal["every_step"] = "every_step"

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """The negative ELBO, in nats per series."""
        q, _, p = self.explain(model, x, draws)
        return negative_elbo(q, p, x)
