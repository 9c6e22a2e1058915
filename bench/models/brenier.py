"""The gradient of a strongly convex function: a map that cannot bring two points closer together than it is told."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import PerRun
from bench.models.stacked import linear, parameter
from bench.parts.objectives import beside

Weights = tuple[Tensor, ...]


class BrenierMap(nn.Module):
    """f(z) = grad_z [ L |z|^2 / 2 + psi(z) ] with psi convex: z (R, B, D) -> (R, B, D), |f(z) - f(z')| >= L |z - z'|.

    psi is an input-convex network of two layers (Amos et al. 2017, arXiv:1609.07152, eq. 2),

        a = softplus(W_0 z + b_0),   psi = v^T softplus(P a + W_1 z + b_1),   P, v >= 0

    whose gradient is written out, so that it has derivatives in both modes. P and v are softplus of
    what is learned, about 1 / width at first: the map begins near L z.
    """

    def __init__(self, runs: int, latent: int, width: int, lipschitz: PerRun) -> None:
        super().__init__()
        bound, small = 1 / math.sqrt(latent), math.log(math.expm1(1 / width))
        self.first, self.first_bias = parameter(runs, width, latent, bound=bound), parameter(runs, width, bound=bound)
        self.second, self.second_bias = parameter(runs, width, latent, bound=bound), parameter(runs, width, bound=bound)
        # No decay: it would draw what is learned to 0, and so P and v to softplus(0) = .69, far above 1 / width.
        self.positive = parameter(runs, width, width, bound=0.5, centre=small, decays=False)
        self.last = parameter(runs, 1, width, bound=0.5, centre=small, decays=False)
        self.lipschitz: Tensor
        bounds = torch.as_tensor(lipschitz, dtype=torch.float32).expand(runs).clone()
        self.register_buffer("lipschitz", bounds, persistent=False)

    def _weights(self) -> Weights:
        positive, last = functional.softplus(self.positive), functional.softplus(self.last)
        return self.first, self.first_bias, self.second, self.second_bias, positive, last, self.lipschitz

    def forward(self, z: Tensor) -> Tensor:
        """f(z)."""
        return _gradient(z, *self._weights())

    def single(self, run: int) -> Callable[[Tensor], Tensor]:
        """f of one run, (B, D) -> (B, D)."""
        weights = [values[run : run + 1].detach() for values in self._weights()]
        return lambda z: _gradient(z.unsqueeze(0), *weights).squeeze(0)


def _gradient(
    z: Tensor,
    first: Tensor,
    first_bias: Tensor,
    second: Tensor,
    second_bias: Tensor,
    positive: Tensor,
    last: Tensor,
    lipschitz: Tensor,
) -> Tensor:
    low = linear(z, first, first_bias)
    high = linear(functional.softplus(low), positive) + linear(z, second, second_bias)
    of_high = last * high.sigmoid()
    of_low = linear(of_high, positive.mT) * low.sigmoid()
    return beside(lipschitz, z) * z + linear(of_low, first.mT) + linear(of_high, second.mT)
