"""Diffusion in data space: what a latent has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NoReturn

from torch import Tensor, nn

from bench.contracts import Draws, Model, Posterior, Sizes, Step, Undefined
from bench.method import Method
from bench.models.denoiser import SeriesDenoiser
from bench.parts.posteriors import DeterministicPosterior
from bench.registry import register_method


@register_method("data_diffusion")
@dataclass(frozen=True)
class DataDiffusion(Method):
    """The same diffusion, on the flattened series itself: no encoder, no decoder, no latent.

        L = E_{i ~ U{1..L}} || eps - eps_theta(x^i, i) ||^2,   x^i ~ N(sqrt(alpha_bar_i) x, (1 - alpha_bar_i) I)

    Shapes: x (R, B, T, C), noised as (R, B, T * C); the term (R).
    Source: Ho et al. 2020, arXiv:2006.11239, eq. 14 and algorithm 2.
    Ours: a convolutional denoiser with about the latent denoiser's number of weights, trained for the updates of both
    stages together. Measures of a latent are undefined here.
    """

    standardises_latents = False  # windows are standardised per channel already
    version = 3  # 1: no linear guess in its denoiser, samples could explode; 2: no direction beyond its width denoised
    latent_route: Literal["none"] = "none"
    masking_rate: Literal[0] = 0  # there is no decoder whose past could be masked

    def networks(self, standard: dict[str, nn.Module], sizes: Sizes) -> dict[str, nn.Module]:
        """A denoiser of series, and nothing else."""
        shape = (sizes.runs, sizes.window, sizes.channels)
        return {"denoiser": SeriesDenoiser(*shape, sizes.denoiser_hidden, sizes.diffusion_steps)}

    def posterior(self, model: Model, x: Tensor) -> NoReturn:
        """Raises Undefined."""
        raise Undefined(f"{self.name} has no latent")

    def codes(self, model: Model, x: Tensor) -> Posterior:
        """The series themselves, flattened."""
        return DeterministicPosterior(x.flatten(-2))

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """The denoising loss, summed over T * C."""
        return {"denoising": self.denoising(model, self.codes(model, x), draws)}

    def sample(self, model: Model, n: int, draws: Draws) -> Tensor:
        """n new series, (R, n, T, C)."""
        denoiser = model.get_submodule("denoiser")
        return self.latents(model, n, draws).unflatten(-1, (denoiser.window, denoiser.channels))
