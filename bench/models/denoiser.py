"""Noise predictors that know the diffusion step: a small MLP for latents, a convolutional network for series."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import DiffusionConfig
from bench.models.dropout import Dropout
from bench.models.layer_norm import LayerNorm
from bench.models.stacked import Linear
from bench.parts.diffusion import Predicts, linear_schedule, noise_from


class Denoiser(nn.Module):
    """eps_theta(z^i, i): residual layers, each with the embedded step added (Ho et al. 2020, arXiv:2006.11239).

    z (R, B, D), i (R, B) in 1..L -> (R, B, D). The step enters as sines and cosines of 1000 i / L,
    so that the same network serves every L. What `network` gives is the noise, z^0 or v, as `predicts` says; everything
    that calls a denoiser gets the noise.
    """

    frequencies = 32
    per_block = 1  # numbers that a block takes from the embedded step, per hidden unit

    def __init__(
        self, runs: int, latent: int, hidden: int, diffusion_steps: int, blocks: int = 3, predicts: Predicts = "noise"
    ) -> None:
        super().__init__()
        self.latent, self.diffusion_steps, self.blocks, self.predicts = latent, diffusion_steps, blocks, predicts
        self.input = Linear(runs, latent, hidden)
        self.step = Linear(runs, 2 * self.frequencies, self.per_block * blocks * hidden)
        self.add_blocks(runs, hidden)
        self.output = Linear(runs, hidden, latent)
        powers = torch.arange(self.frequencies) / self.frequencies
        steps = torch.arange(diffusion_steps + 1).unsqueeze(-1)
        angles = (1000 / diffusion_steps) * steps * torch.exp(-math.log(1e4) * powers)
        self.waves: Tensor
        self.register_buffer("waves", torch.cat([angles.sin(), angles.cos()], dim=-1), persistent=False)
        self.to_noise: Tensor
        to_noise = noise_from(predicts, linear_schedule(diffusion_steps))
        self.register_buffer("to_noise", to_noise, persistent=False)

    def add_blocks(self, runs: int, hidden: int) -> None:
        """What stands between `input` and `output`."""
        self.dropout = Dropout()
        self.hidden = nn.ModuleList(Linear(runs, hidden, hidden) for _ in range(self.blocks))

    def embed(self, i: Tensor) -> Tensor:
        """What each block takes from step i, and what makes noise of the output: (R, B) -> (R, B, ...)."""
        embedded = self.step(self.waves[i])
        return embedded if self.predicts == "noise" else torch.cat([embedded, self.to_noise[i]], dim=-1)

    def table(self) -> Tensor:
        """`embed` of every step 0..L, (R, L + 1, ...), for sampling loops."""
        steps = torch.arange(self.diffusion_steps + 1, device=self.step.weight.device)
        return self.embed(steps.expand(len(self.step.weight), -1))

    def forward(self, z: Tensor, i: Tensor) -> Tensor:
        """The noise in z^i."""
        return self.with_step(z, self.embed(i))

    def with_step(self, z: Tensor, embedded: Tensor) -> Tensor:
        """The noise in z^i, given `embed(i)` as (R, B, ...) or (R, 1, ...)."""
        if self.predicts == "noise":
            return self.network(z, embedded)
        embedded, of_output, of_latent = embedded.split([embedded.shape[-1] - 2, 1, 1], dim=-1)
        return of_output * self.network(z, embedded) + of_latent * z

    def network(self, z: Tensor, embedded: Tensor) -> Tensor:
        """What `predicts` says, given what the blocks take from the step."""
        h = self.input(z)
        for layer, step in zip(self.hidden, embedded.chunk(self.blocks, dim=-1), strict=True):
            h = h + layer(self.dropout(functional.silu(h + step)))
        return self.output(functional.silu(h))


class StandardNormalDenoiser(nn.Module):
    """E[eps | z^i] = sqrt(1 - alpha_bar_i) z^i, what the best denoiser of latents z ~ N(0, I) says: it has no weights.

    For a method that draws its latents from the prior, so that nothing is left to learn.
    """

    predicts: Predicts = "noise"

    def __init__(self, latent: int, diffusion_steps: int) -> None:
        super().__init__()
        self.latent = latent
        self.noise: Tensor
        self.register_buffer("noise", (1 - linear_schedule(diffusion_steps)).sqrt(), persistent=False)

    def table(self) -> Tensor:
        """sqrt(1 - alpha_bar_i) of every step 0..L, (1, L + 1, 1)."""
        return self.noise[None, :, None]

    def forward(self, z: Tensor, i: Tensor) -> Tensor:
        """The noise in z^i: z (R, B, D), i (R, B)."""
        return self.with_step(z, self.noise[i].unsqueeze(-1))

    def with_step(self, z: Tensor, embedded: Tensor) -> Tensor:
        """The same, given an entry of `table`."""
        return embedded * z


class FilmBlock(nn.Module):
    """h + W_2 silu(W_1 ((1 + s) LayerNorm(h) + t)): a pre-norm residual block, s and t from the embedded step.

    Source: Perez et al. 2018, arXiv:1709.07871, eq. 2 (scale and shift by a condition); the norm's place: Xiong et al.
    2020, arXiv:2002.04745.
    """

    def __init__(self, runs: int, width: int) -> None:
        super().__init__()
        self.norm = LayerNorm(runs, width)
        self.dropout = Dropout()
        self.up, self.down = Linear(runs, width, width), Linear(runs, width, width)

    def forward(self, h: Tensor, step: Tensor) -> Tensor:
        """h (R, B, H), step (R, B or 1, 2 H) -> (R, B, H)."""
        scale, shift = step.chunk(2, dim=-1)
        return h + self.down(self.dropout(functional.silu(self.up((1 + scale) * self.norm(h) + shift))))


class FilmDenoiser(Denoiser):
    """A `Denoiser` of pre-norm residual blocks, each scaled and shifted by the embedded step; for latents that live."""

    per_block = 2

    def add_blocks(self, runs: int, hidden: int) -> None:
        """`FilmBlock`s and a last norm."""
        self.film = nn.ModuleList(FilmBlock(runs, hidden) for _ in range(self.blocks))
        self.norm = LayerNorm(runs, hidden)

    def network(self, z: Tensor, embedded: Tensor) -> Tensor:
        """What `predicts` says, given what the blocks take from the step."""
        h = self.input(z)
        for block, step in zip(self.film, embedded.chunk(self.blocks, dim=-1), strict=True):
            h = block(h, step)
        return self.output(functional.silu(self.norm(h)))


def make_denoiser(runs: int, latent: int, config: DiffusionConfig) -> Denoiser:
    """The denoiser of a latent that `config` asks for."""
    made = FilmDenoiser if config.block == "film" else Denoiser
    return made(runs, latent, config.hidden, config.L, config.blocks, config.predicts)


class SeriesDenoiser(Denoiser):
    """eps_theta(x^i, i) for a whole series: convolutions over patches of steps, each with the embedded step added.

    x (R, B, T * C), i (R, B) in 1..L -> (R, B, T * C), so a "latent" here is a flattened series. A
    patch and its two neighbours at distance 1, 2, 1 are mixed by three residual layers. T is padded with zeros to whole
    patches.

        eps_theta = sqrt(1 - alpha_bar_i) x^i + A (g(i) * B x^i) + network(x^i, i)

    The first term is the best guess for data of variance 1. The second is linear and of full rank within a patch: for
    Gaussian data the best guess is such a map, B the principal directions and g(i) what is noise in each. A direction
    that neither passes would never be denoised, and sampling multiplies it by 1 / sqrt(alpha_bar_L). So the network is
    at least as wide as a step has channels, `hidden` / 2 if that is more, and a patch has as many steps, at most 4, as
    fit into its width.
    """

    longest_patch = 4
    dilations = (1, 2, 1)

    def __init__(self, runs: int, window: int, channels: int, hidden: int, diffusion_steps: int) -> None:
        width = max(hidden // 2, channels, 1)
        self.patch = max(1, min(self.longest_patch, width // channels))
        values = self.patch * channels
        super().__init__(runs, values, width, diffusion_steps, len(self.dilations))
        self.latent, self.window, self.channels = window * channels, window, channels
        self.directions, self.back = Linear(runs, values, values), Linear(runs, values, values)
        self.gain = Linear(runs, 2 * self.frequencies, values)
        self.guess: Tensor
        self.register_buffer("guess", (1 - linear_schedule(diffusion_steps)).sqrt(), persistent=False)

    def add_blocks(self, runs: int, hidden: int) -> None:
        """Convolutions of three patches each."""
        self.hidden = nn.ModuleList(Linear(runs, 3 * hidden, hidden) for _ in self.dilations)

    def embed(self, i: Tensor) -> Tensor:
        """What each block adds at step i, the gains, and the weight of the guess: (R, B) -> (R, B, ..)."""
        return torch.cat([super().embed(i), self.gain(self.waves[i]), self.guess[i].unsqueeze(-1)], dim=-1)

    def with_step(self, z: Tensor, embedded: Tensor) -> Tensor:
        """The noise in x^i, given `embed(i)` as (R, B, ...) or (R, 1, ...)."""
        values = self.patch * self.channels
        embedded, gain, guess = embedded.split([embedded.shape[-1] - values - 1, values, 1], dim=-1)
        x = z.unflatten(-1, (self.window, self.channels))
        x = functional.pad(x, (0, 0, 0, -self.window % self.patch))
        x = x.flatten(-2).unflatten(-1, (-1, values))  # (R, B, patches, values)
        h = self.input(x)
        for layer, step, gap in zip(self.hidden, embedded.chunk(self.blocks, dim=-1), self.dilations, strict=True):
            a = functional.pad(functional.silu(h + step.unsqueeze(2)), (0, 0, gap, gap))
            n = h.shape[2]
            h = h + layer(torch.cat([a[:, :, :n], a[:, :, gap : gap + n], a[:, :, 2 * gap :]], dim=-1))
        found = self.output(functional.silu(h)) + self.back(gain.unsqueeze(2) * self.directions(x))
        return guess * z + found.flatten(-2)[..., : self.latent]
