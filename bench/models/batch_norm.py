"""Batch normalisation of a latent mean, for several runs at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.models.stacked import parameter


class BatchNorm(nn.Module):
    """scale * (a - mean) / sd + shift over the batch, with a learned shift: a (R, B, D), scale (R, 1, 1) -> (R, B, D).

    In evaluation mode mean and variance are running ones, so that a series' code does not depend on
    its batch. Source: Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1; the scale is given, not learned.
    """

    momentum = 0.1
    epsilon = 1e-10  # so small that an encoder cannot leave the bound on its variance by giving small numbers

    def __init__(self, runs: int, width: int) -> None:
        super().__init__()
        self.shift = parameter(runs, width, bound=0.0)
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(runs, width))
        self.variance: Tensor
        self.register_buffer("variance", torch.ones(runs, width))

    def forward(self, a: Tensor, scale: Tensor) -> Tensor:
        """Normalise; in training mode the running mean and variance move by a tenth."""
        mean, variance = self.mean, self.variance
        if self.training:
            mean, variance = a.mean(dim=-2), a.var(dim=-2, correction=0)
            self.mean.lerp_(mean.detach().to(self.mean.dtype), self.momentum)
            self.variance.lerp_(variance.detach().to(self.variance.dtype), self.momentum)
        normal = (a - mean.unsqueeze(-2)) * (variance.unsqueeze(-2) + self.epsilon).rsqrt()
        return scale * normal + self.shift.unsqueeze(-2)
