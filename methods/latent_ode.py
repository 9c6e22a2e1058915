"""A latent ODE: the latent is where a differential equation begins, and the series is read off its path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from torch import nn

from bench.contracts import Sizes
from bench.models.denoiser import StandardNormalDenoiser
from bench.models.head import Head
from bench.models.latent_ode import OdeDecoder
from bench.one_pass_vae import OnePassVAE
from bench.registry import register_method


@register_method("latent_ode")
@dataclass(frozen=True)
class LatentOde(OnePassVAE):
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
    latent_route: Literal["first"] = "first"

    def networks(self, standard: dict[str, nn.Module], sizes: Sizes) -> dict[str, nn.Module]:
        """The backbone's encoder and head, the decoder of the path, and nothing to denoise."""
        head = cast(Head, standard["decoder"].get_submodule("head"))
        return {
            "encoder": standard["encoder"],
            "decoder": OdeDecoder(sizes.runs, sizes.latent, sizes.hidden, sizes.window, head),
            "denoiser": StandardNormalDenoiser(sizes.latent, sizes.diffusion_steps),
        }
