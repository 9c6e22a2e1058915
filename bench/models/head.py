"""From a decoder's state to a distribution of the next values."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.models.stacked import Linear, parameter
from bench.parts.likelihoods import Gaussian


class Head(nn.Module):
    """h (R, B, T, H) -> a Gaussian with a linear mean.

    likelihood `gaussian`: sigma is learned per channel, never below sigma_min (forward-filled and
    zero-inflated channels make the likelihood unbounded otherwise). `mse`: sigma = 1, fixed, so
    that -ln p is half the squared error plus a constant; a sample is then the mean, because
    noise of size 1 would be no model of anything.
    """

    def __init__(self, runs: int, hidden: int, channels: int, likelihood: str, sigma_min: float) -> None:
        super().__init__()
        self.mean = Linear(runs, hidden, channels)
        self.learned, self.sigma_min = likelihood == "gaussian", sigma_min
        if self.learned:  # softplus(raw) = 1 - sigma_min at the beginning, so sigma = 1
            self.raw_sigma = parameter(runs, channels, bound=0.0, centre=math.log(math.expm1(max(1 - sigma_min, 1e-3))))

    def forward(self, h: Tensor) -> Gaussian:
        """(R, B, T, H) -> p(x | h)."""
        mean = self.mean(h)
        if not self.learned:
            return Gaussian(mean, torch.ones_like(mean[:, :1, :1]), noisy=False)
        sigma = self.sigma_min + functional.softplus(self.raw_sigma)
        return Gaussian(mean, sigma[:, None, None])
