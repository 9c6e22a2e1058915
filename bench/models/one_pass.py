"""A decoder of z alone: all steps of a series in one pass, without a past."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.contracts import Draws, Likelihood
from bench.models.autoregression import SingleMean
from bench.models.head import Head


class OnePassDecoder(nn.Module, ABC):
    """h_1 .. h_T = f(z), and p(x | h); see `bench.contracts.Decoder`.

    The past plays no part, but for its length: of a series that ends early the first steps are told.
    """

    head: Head

    @abstractmethod
    def every_state(self, z: Tensor) -> Tensor:
        """z (R, B, D) -> h (R, B, T, H)."""

    def states(self, z: Tensor, past: Tensor) -> Tensor:
        """z (R, B, D), past (R, B, T-1, C) -> h (R, B, T, H)."""
        return self.every_state(z)[..., : past.shape[-2] + 1, :]

    def forward(self, z: Tensor, past: Tensor) -> Likelihood:
        """p(x | z), with the likelihood of the run: z (R, B, D), past (R, B, T-1, C)."""
        return self.head(self.states(z, past))

    @torch.no_grad()
    def generate(self, z: Tensor, draws: Draws) -> Tensor:
        """z (R, B, D) -> (R, B, T, C), all steps at once."""
        return self.head.drawn(draws, self.every_state(z))

    def single(self, run: int) -> Callable[[Tensor, Tensor], Tensor]:
        """h of one run as a function of z (B, D) and x_prev (B, T-1, C)."""
        one = copy.deepcopy(self).requires_grad_(False)
        for weights in one.parameters():
            weights.data = weights.data[run : run + 1]
        return lambda z, x_prev: one.states(z[None], x_prev[None])[0]

    def single_mean(self, run: int, sees_past: bool = True) -> SingleMean:
        """E[x_t] of one run, the same way."""
        return SingleMean(self.single(run), self.head.alone(run), sees_past)
