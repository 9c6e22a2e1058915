"""Codebooks of a discrete latent."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bench.models.stacked import parameter


class Codebook(nn.Module):
    """The latent in groups, each replaced by the nearest of its K codes: v (R, B, D) -> (R, B, D).

    Codes are (R, groups, K, D / groups), uniform with variance 1 at first, like a normalised v.
    """

    def __init__(self, runs: int, latent: int, groups: int, codes: int) -> None:
        super().__init__()
        self.codes = parameter(runs, groups, codes, latent // groups, bound=math.sqrt(3), decays=False)

    def nearest(self, v: Tensor) -> Tensor:
        """The index of every group's code, (R, B, groups)."""
        parts = v.detach().unflatten(-1, (self.codes.shape[1], 1, -1))
        return (parts - self.codes.detach().unsqueeze(1)).square().sum(dim=-1).argmin(dim=-1)

    def look_up(self, index: Tensor) -> Tensor:
        """The codes of indices (R, B, groups), (R, B, D), with gradients."""
        each = index.transpose(1, 2).unsqueeze(-1).expand(-1, -1, -1, self.codes.shape[-1])
        return torch.gather(self.codes, 2, each).transpose(1, 2).flatten(-2)

    def forward(self, v: Tensor) -> Tensor:
        """Each group's nearest code."""
        return self.look_up(self.nearest(v))
