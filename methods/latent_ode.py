"""A latent ODE: the latent is where a differential equation begins, and the series is read off its path."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

from bench.contracts import DiffusionConfig, Draws, InputError, Model, ModelConfig, Sizes, Step
from bench.method import Method
from bench.models.denoiser import StandardNormalDenoiser
from bench.models.head import Head
from bench.models.latent_ode import OdeDecoder
from bench.parts.objectives import negative_elbo
from bench.registry import register_method


@register_method("latent_ode")
@dataclass(frozen=True)
class LatentOde(Method):
    """A VAE whose latent moves through the window by an ordinary differential equation: no past and no diffusion.

        L = E_q(z_1|x)[-sum_t ln p(x_t | z_t)] + KL(q(z_1|x) || N(0, I)),   dz/ds = f(z)
        sampling: z_1 ~ N(0, I), z_1 .. z_T = the path of f from z_1, x_t ~ p(x_t | z_t)

    Given z_1 the path is certain, so whatever it does not explain is noise without memory.
    Shapes: x (R, B, T, C), z_t (R, B, D); terms (R).
    Source: Rubanova, Chen and Duvenaud 2019, arXiv:1907.03907, sec. 3.2, eq. 5 to 7 and 9.
    Ours: windows have equal steps, so one Runge-Kutta step of fourth order leads from each time to the next, in place
    of a solver with adaptive steps, and gradients go through these steps. The encoder is that of the run's backbone, in
    place of an ODE-RNN that runs backwards, whose advantage are unequal steps. The likelihood is the run's, read
    linearly from z_t as theirs; theirs is a Gaussian of fixed variance. Their code takes the mean of the KL over the
    latent dimensions, here it is the sum of eq. 9. Trained for the updates of both stages.
    """

    reference = True
    standardises_latents = False  # the prior is N(0, I) in the latent's own space
    without_effect = (  # there is nothing to denoise, and the updates go to the autoencoder
        *(f"diffusion.{item.name}" for item in dataclasses.fields(DiffusionConfig) if item.name not in ("steps", "L")),
    )
    latent_route: Literal["first"] = "first"
    masking_rate: Literal[0] = 0  # there is no past to mask

    def check(self, model: ModelConfig, diffusion: DiffusionConfig) -> None:
        """Raises InputError for a latent of several steps: only the first one is drawn."""
        if model.latent_steps > 1:
            raise InputError(f"model.latent_steps = {model.latent_steps}: {self.name} decodes one z: expected 1")

    def networks(self, standard: dict[str, nn.Module], sizes: Sizes) -> dict[str, nn.Module]:
        """The backbone's encoder and head, the decoder of the path, and nothing to denoise."""
        head = cast(Head, standard["decoder"].get_submodule("head"))
        return {
            "encoder": standard["encoder"],
            "decoder": OdeDecoder(sizes.runs, sizes.latent, sizes.hidden, sizes.window, head),
            "denoiser": StandardNormalDenoiser(sizes.latent, sizes.diffusion_steps),
        }

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """The negative ELBO, in nats per series."""
        q, _, p = self.explain(model, x, draws)
        return negative_elbo(q, p, x)

    @torch.no_grad()
    def latents(self, model: Model, n: int, draws: Draws) -> Tensor:
        """z_1 ~ N(0, I), (R, n, D)."""
        return draws.normal(n, model.latent)
