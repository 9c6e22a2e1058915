"""The networks of TimeVAE: convolutions that read a series, and a decoder of trend, seasonality and residual."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.models.head import Head
from bench.models.one_pass import OnePassDecoder
from bench.models.stacked import Linear
from bench.parts.bases import polynomials, waves

LAYERS = 3
"""Of the encoder and of the residual decoder; each halves, or doubles, the number of steps."""


def _neighbours(x: Tensor) -> Tensor:
    """Each step beside the one before and the one after it, zeros beyond the ends: (.., T, H) -> (.., T, 3 H)."""
    wide = functional.pad(x, (0, 0, 1, 1))
    return torch.cat([wide[..., :-2, :], x, wide[..., 2:, :]], dim=-1)


class ConvolutionalEncoder(nn.Module):
    """x (R, B, T, C) -> a linear map of what three convolutions of stride 2 leave, (R, B, outputs)."""

    def __init__(self, runs: int, window: int, channels: int, hidden: int, outputs: int) -> None:
        super().__init__()
        widths = [channels, *[hidden] * LAYERS]
        self.convolutions = nn.ModuleList(Linear(runs, 3 * wide, hidden) for wide in widths[:-1])
        self.output = Linear(runs, math.ceil(window / 2**LAYERS) * hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(R, B, T, C) -> (R, B, outputs)."""
        for convolution in self.convolutions:
            x = functional.relu(convolution(_neighbours(x)[..., ::2, :]))
        return self.output(x.flatten(-2))


class DecomposedDecoder(OnePassDecoder):
    """h = trend(z) + seasonality(z) + residual(z), each (R, B, T, H), and p(x | h).

        trend        sum_p theta_p(z) t^p, p = 0 .. 3
        seasonality  sum_k a_k(z) cos(2 pi k t / T) + b_k(z) sin(2 pi k t / T), k = 1 .. 8
        residual     three convolutions, each of which doubles the steps, from a linear map of z

    theta, a and b are networks of one hidden layer.
    """

    degree = 3
    harmonics = 8

    def __init__(self, runs: int, latent: int, hidden: int, window: int, head: Head) -> None:
        super().__init__()
        self.window, self.hidden = window, hidden
        every = waves(window).unflatten(0, (2, window // 2))[:, : self.harmonics].flatten(0, 1)
        self.basis: Tensor  # (coefficients, T), trend first
        both = torch.cat([polynomials(window, self.degree).mT, every])
        self.register_buffer("basis", both.float() * math.sqrt(window), persistent=False)
        self.trend_size = min(self.degree + 1, window)
        self.theta = nn.ModuleList([Linear(runs, latent, hidden), Linear(runs, hidden, len(both) * hidden)])
        self.start = Linear(runs, latent, math.ceil(window / 2**LAYERS) * hidden)
        self.convolutions = nn.ModuleList(Linear(runs, 3 * hidden, 2 * hidden) for _ in range(LAYERS))
        self.output = Linear(runs, hidden, hidden)
        self.head = head

    def parts(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Trend, seasonality and residual of h, each (R, B, T, H): z (R, B, D)."""
        first, second = self.theta
        theta = second(functional.relu(first(z))).unflatten(-1, (-1, self.hidden))
        n = self.trend_size
        trend, season = self.basis[:n].mT @ theta[..., :n, :], self.basis[n:].mT @ theta[..., n:, :]
        x = functional.relu(self.start(z)).unflatten(-1, (-1, self.hidden))
        for convolution in self.convolutions:
            x = functional.relu(convolution(_neighbours(x))).unflatten(-1, (2, -1)).flatten(-3, -2)
        return trend, season, self.output(x[..., : self.window, :])

    def every_state(self, z: Tensor) -> Tensor:
        """The sum of the three: z (R, B, D) -> h (R, B, T, H)."""
        trend, season, residual = self.parts(z)
        return trend + season + residual
