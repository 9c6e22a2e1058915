"""A critic of pairs: does this latent belong to this series?"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from bench.models.stacked import Linear


class PairCritic(nn.Module):
    """t(x_a, z_b) = <g(x_a), h(z_b)> / sqrt(H): x (R, B, T, C), z (R, B, D) -> (R, B, B).

    g is a network of one hidden layer on the flattened series, h one on the latent, both H wide.
    """

    def __init__(self, runs: int, values: int, latent: int, hidden: int) -> None:
        super().__init__()
        self.series = nn.ModuleList([Linear(runs, values, hidden), Linear(runs, hidden, hidden)])
        self.latent = nn.ModuleList([Linear(runs, latent, hidden), Linear(runs, hidden, hidden)])

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """The scores of all pairs of a batch."""
        g, h = (
            second(functional.silu(first(values)))
            for (first, second), values in ((self.series, x.flatten(-2)), (self.latent, z))
        )
        return (g.unsqueeze(2) * h.unsqueeze(1)).sum(dim=-1) / math.sqrt(g.shape[-1])
