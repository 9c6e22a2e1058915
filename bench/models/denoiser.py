"""The noise predictor of the latent diffusion: a small MLP that knows the diffusion step."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.models.stacked import Linear


class Denoiser(nn.Module):
    """eps_theta(z^i, i): residual layers, each with the embedded step added (Ho et al. 2020, arXiv:2006.11239).

    z (R, B, D), i (R, B) in 1..L -> (R, B, D). The step enters as sines and cosines of 1000 i / L,
    so that the same network serves every L.
    """

    frequencies = 32
    blocks = 3

    def __init__(self, runs: int, latent: int, hidden: int, diffusion_steps: int) -> None:
        super().__init__()
        self.latent, self.diffusion_steps = latent, diffusion_steps
        self.input = Linear(runs, latent, hidden)
        self.step = Linear(runs, 2 * self.frequencies, self.blocks * hidden)
        self.hidden = nn.ModuleList(Linear(runs, hidden, hidden) for _ in range(self.blocks))
        self.output = Linear(runs, hidden, latent)

    def embed(self, i: Tensor) -> Tensor:
        """What each block adds at step i: (R, B) -> (R, B, blocks * hidden)."""
        powers = torch.arange(self.frequencies, device=i.device) / self.frequencies
        angles = (1000 / self.diffusion_steps) * i.unsqueeze(-1) * torch.exp(-math.log(1e4) * powers)
        return self.step(torch.cat([angles.sin(), angles.cos()], dim=-1))

    def table(self) -> Tensor:
        """`embed` of every step 0..L, (R, L + 1, blocks * hidden), for sampling loops."""
        steps = torch.arange(self.diffusion_steps + 1, device=self.step.weight.device)
        return self.embed(steps.expand(len(self.step.weight), -1))

    def forward(self, z: Tensor, i: Tensor) -> Tensor:
        """The noise in z^i."""
        return self.with_step(z, self.embed(i))

    def with_step(self, z: Tensor, embedded: Tensor) -> Tensor:
        """The noise in z^i, given `embed(i)` as (R, B, ...) or (R, 1, ...)."""
        h = self.input(z)
        for layer, step in zip(self.hidden, embedded.chunk(self.blocks, dim=-1), strict=True):
            h = h + layer(functional.silu(h + step))
        return self.output(functional.silu(h))
