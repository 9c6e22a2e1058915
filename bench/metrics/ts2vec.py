"""TS2Vec, the encoder of windows behind the published context-FID, written again from its equations."""

from __future__ import annotations

import copy
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.metrics.networks import drawn

HIDDEN, WIDTH, DEPTH = 64, 320, 10  # channels inside, of the representation, and blocks before the last one
BATCH, LEARNING_RATE, DROPOUT = 8, 1e-3, 0.1
STEPS, FEWER_STEPS, SMALL = 600, 200, 100_000  # updates, and how many for sets of at most SMALL numbers
CHUNK = 1024  # windows that are encoded at once


class Convolution(nn.Module):
    """A convolution over time of width 3 and some dilation that keeps the length: (B, T, inputs) -> (B, T, outputs).

    y_t = W_0 x_{t-d} + W_1 x_t + W_2 x_{t+d} + b,   x = 0 outside of the series
    """

    def __init__(self, rng: np.random.Generator, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.convolution = cast(nn.Conv1d, drawn(rng, nn.Conv1d, inputs, outputs, 3, fan_in=3 * inputs))
        self.dilation = dilation

    def forward(self, x: Tensor) -> Tensor:
        """One product of matrices, which is faster than a convolution for windows this short."""
        weight, bias, d, steps = self.convolution.weight, self.convolution.bias, self.dilation, x.shape[1]
        if d >= steps:  # only the middle weight meets a value that is not padding
            return functional.linear(x, weight[:, :, 1], bias)
        padded = functional.pad(x, (0, 0, d, d))
        joined = torch.cat([padded[:, :steps], x, padded[:, 2 * d :]], dim=2)
        return functional.linear(joined, weight.transpose(1, 2).flatten(1), bias)


class Block(nn.Module):
    """x -> P x + conv(gelu(conv(gelu(x)))), P a linear map where the width changes and nothing elsewhere."""

    def __init__(self, rng: np.random.Generator, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.first = Convolution(rng, inputs, outputs, dilation)
        self.second = Convolution(rng, outputs, outputs, dilation)
        changes = inputs != outputs
        self.projection = drawn(rng, nn.Linear, inputs, outputs, fan_in=inputs) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, inputs) -> (B, T, outputs)."""
        return self.projection(x) + self.second(functional.gelu(self.first(functional.gelu(x))))


class TS2Vec(nn.Module):
    """A representation of every time step by dilated convolutions: (B, T, C) -> (B, T, WIDTH).

    A linear map of each step, DEPTH + 1 blocks of dilations 1, 2, 4, .., and in training two kinds of noise: a step is
    hidden with probability 1/2 after the linear map, and a number of the result with probability DROPOUT.
    Source: Yue et al. 2022, arXiv:2106.10466, section Method, and the published code for the sizes.
    """

    def __init__(self, rng: np.random.Generator, channels: int) -> None:
        super().__init__()
        self.input = drawn(rng, nn.Linear, channels, HIDDEN, fan_in=channels)
        widths = [HIDDEN] * (DEPTH + 1) + [WIDTH]
        self.blocks = nn.Sequential(*(Block(rng, widths[k], widths[k + 1], 2**k) for k in range(DEPTH + 1)))

    def forward(self, x: Tensor, noise: np.random.Generator | None = None) -> Tensor:
        """noise: of training; none: nothing is hidden."""
        h = self.input(x)
        if noise is not None:
            h = h * torch.from_numpy(noise.random((*x.shape[:2], 1)) < 0.5)
        h = self.blocks(h)
        if noise is not None:
            h = h * torch.from_numpy(noise.random(h.shape) >= DROPOUT) / (1 - DROPOUT)
        return h


def _contrast(z: Tensor) -> Tensor:
    """-ln of the share that each of 2 n things gives to its partner, n places away: z (G, 2 n, K), mean over all."""
    n = z.shape[1] // 2
    similar = z @ z.transpose(1, 2)
    itself = torch.eye(2 * n, dtype=torch.bool)
    share = similar.masked_fill(itself, -torch.inf).log_softmax(dim=-1)
    partner = torch.arange(2 * n).roll(n)
    return -share[:, torch.arange(2 * n), partner].mean()


def hierarchical_loss(first: Tensor, second: Tensor) -> Tensor:
    """The loss of two views of the same steps, (B, T, K) each, summed over scales of time and divided by their number.

    On every scale: half of the contrast with other windows at the same step and, where there are two steps or more,
    half of that with other steps of the same window. The next scale has the maximum of two neighbouring steps.
    Source: Yue et al. 2022, arXiv:2106.10466, section Method (hierarchical contrasting), and the published code.
    """
    total, scales = first.new_zeros(()), 0
    while True:
        if first.shape[0] > 1:
            total = total + _contrast(torch.cat([first, second], dim=0).transpose(0, 1)) / 2
        scales += 1
        if first.shape[1] == 1:
            return total / scales
        total = total + _contrast(torch.cat([first, second], dim=1)) / 2
        first, second = (functional.max_pool1d(z.transpose(1, 2), 2).transpose(1, 2) for z in (first, second))


def fit(encoder: TS2Vec, windows: np.ndarray, rng: np.random.Generator) -> None:
    """Train on windows (n, T, C), T at least 2, by two overlapping crops of each; the mean of all weights is kept.

    The mean is over the weights after every update and the initial ones, as stochastic weight averaging has it.
    """
    x = torch.tensor(windows, dtype=torch.float32)
    n, length = len(x), x.shape[1]
    size = min(BATCH, n)
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=LEARNING_RATE)
    average = copy.deepcopy(encoder.state_dict())
    order = np.empty(0, dtype=np.int64)
    for step in range(FEWER_STEPS if x.numel() <= SMALL else STEPS):
        if len(order) < size:  # every window once, then again in another order; what is left over is dropped
            order = rng.permutation(n)
        batch, order = order[:size], order[size:]
        shared = int(rng.integers(2, length + 1))
        left = int(rng.integers(length - shared + 1))
        right = left + shared
        earlier, later = int(rng.integers(left + 1)), int(rng.integers(right, length + 1))
        offset = rng.integers(-earlier, length - later + 1, size=size)

        def crop(begin: int, end: int, batch: np.ndarray = batch, offset: np.ndarray = offset) -> Tensor:
            return x[torch.from_numpy(batch)[:, None], torch.from_numpy(offset[:, None] + np.arange(begin, end))]

        first = encoder(crop(earlier, right), rng)[:, -shared:]
        second = encoder(crop(left, later), rng)[:, :shared]
        optimiser.zero_grad()
        hierarchical_loss(first, second).backward()
        optimiser.step()
        for name, weights in encoder.state_dict().items():
            average[name] += (weights - average[name]) / (step + 2)
    encoder.load_state_dict(average)


@torch.no_grad()
def representations(encoder: TS2Vec, windows: np.ndarray) -> np.ndarray:
    """The maximum over time of each window's representation: (n, T, C) -> (n, WIDTH), float64."""
    chunks = torch.tensor(windows, dtype=torch.float32).split(CHUNK)
    return torch.cat([encoder(x).amax(dim=1) for x in chunks]).double().numpy()
