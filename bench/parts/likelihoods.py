"""p(x_t | h_t): what a decoder says about the next values."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from bench.contracts import Draws

LOG_TWO_PI = math.log(2 * math.pi)


def gaussian_log_prob(x: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
    """ln N(x; mean, sigma^2) summed over time and channels: (..., T, C) -> (...), in nats per series.

    >>> import torch
    >>> x = torch.zeros(1, 1, 3, 2)
    >>> round(float(gaussian_log_prob(x, x, torch.ones(2))), 4)  # -3 ln(2 pi)
    -5.5136
    """
    return -0.5 * (((x - mean) / sigma).square() + 2 * sigma.log() + LOG_TWO_PI).sum(dim=(-2, -1))


@dataclass(frozen=True)
class Gaussian:
    """Independent Gaussians: mean (R, B, T, C), sigma broadcastable to it, in train-scaled units."""

    mean: Tensor
    sigma: Tensor
    noisy: bool = True  # False: `sample` gives the mean

    def log_prob(self, x: Tensor) -> Tensor:
        """ln p(x) in nats per series, (R, B)."""
        return gaussian_log_prob(x, self.mean, self.sigma)

    def sample(self, draws: Draws) -> Tensor:
        """x ~ p, (R, B, T, C)."""
        if not self.noisy:
            return self.mean
        return self.mean + self.sigma * draws.normal(*self.mean.shape[1:])
