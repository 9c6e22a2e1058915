"""A discrete latent: the decoder gets codes of a codebook."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.contracts import (
    DiffusionConfig,
    Draws,
    InputError,
    Model,
    ModelConfig,
    PerRun,
    Posterior,
    Sizes,
    Step,
    option,
)
from bench.method import Method
from bench.models.codebook import Codebook
from bench.parts.diffusion import reverse_diffusion
from bench.parts.objectives import beside, reconstruction
from bench.parts.posteriors import DeterministicPosterior
from bench.registry import register_method


@register_method("vq")
@dataclass(frozen=True)
class VQ(Method):
    """The encoder's output is replaced by the nearest codes e, so information costs nothing up to groups * ln K nats.

        L = -ln p(x | e) + |sg(v) - e|^2 + beta |v - sg(e)|^2,   e_g = argmin_k |v_g - c_gk|,   d e / d v := 1

    sg stops the gradient; the decoder's gradient passes straight through to v. The diffusion learns the distribution of
    the codes, and its samples are replaced by the nearest codes.
    Shapes: x (R, B, T, C), v and e (R, B, D) in groups g; terms (R).
    Source: van den Oord et al. 2017, arXiv:1711.00937, eq. 3, beta .25 (printed with + ln p, where a loss has - ln p).
    Ours: v is the encoder's output after layer norm; z has 4 groups with 64 codes each (product quantisation), and both
    distances are summed over the groups, where the source averages over its latents; a diffusion on the codes takes the
    place of an autoregressive prior. There is no density, so there is no KL.
    """

    beta: PerRun = option(0.25, at_least=0)  # weight of the commitment term
    groups: int = option(4, at_least=1)
    codes_per_group: int = option(64, at_least=2)  # K

    def check(self, model: ModelConfig, diffusion: DiffusionConfig) -> None:
        """Check that the groups divide the latent, and that layer norm has more than one dimension."""
        super().check(model, diffusion)
        size = model.latent_dimensions
        if size == 1 or size % self.groups:
            name = "model.latent" if model.latent_steps == 1 else "model.latent_steps * model.latent"
            raise InputError(f"{self.name}.groups = {self.groups}: expected a divisor of {name} = {size} > 1")

    def encoder_width(self, latent: int) -> int:
        """The width of v."""
        return latent

    def networks(self, standard: dict[str, nn.Module], sizes: Sizes) -> dict[str, nn.Module]:
        """The standard networks and the codebook."""
        return {**standard, "codebook": Codebook(sizes.runs, sizes.latent, self.groups, self.codes_per_group)}

    def posterior(self, model: Model, x: Tensor) -> Posterior:
        """The point e."""
        v = DeterministicPosterior.normalised(model.encoder(x)).mean
        return DeterministicPosterior(model.get_submodule("codebook")(v))

    def objective(self, model: Model, x: Tensor, step: Step, draws: Draws) -> dict[str, Tensor]:
        """Reconstruction in nats per series, and the two squared distances, summed over D."""
        v = DeterministicPosterior.normalised(model.encoder(x)).mean
        e = model.get_submodule("codebook")(v)
        p = model.decoder(v + (e - v).detach(), self.decoder_input(x, draws))
        codebook = (v.detach() - e).square().sum(dim=-1).mean(dim=-1)
        commitment = (v - e.detach()).square().sum(dim=-1).mean(dim=-1)
        weight = beside(self.beta, commitment)
        return {"reconstruction": reconstruction(p, x), "codebook": codebook, "commitment": weight * commitment}

    @torch.no_grad()
    def latents(self, model: Model, n: int, draws: Draws) -> Tensor:
        """The codes nearest to the samples of the reverse diffusion."""
        return model.get_submodule("codebook")(reverse_diffusion(model, n, draws))
