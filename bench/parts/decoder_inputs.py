"""What past the decoder may see."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.contracts import Draws, PerRun

HIDDEN = math.inf
"""What stands in a hidden step of the past: no value of a series, so that 0, the training mean, stays a value."""


def masked_past(x: Tensor, rate: PerRun, draws: Draws) -> Tensor:
    """x_1 .. x_{T-1} with whole time steps dropped at random (set to `HIDDEN`, which the decoder knows from a value).

    x (R, B, T, C) -> (R, B, T-1, C); each (series, step) is dropped with probability `rate`, a
    number or (R,). Source: word dropout, Bowman et al. 2016, arXiv:1511.06349, sec. 3.1.
    The stream is advanced whatever the rate is, so that the draws after it stay paired.
    """
    _, batch, steps, _ = x.shape
    least = rate.reshape(-1, 1, 1, 1) if isinstance(rate, Tensor) else rate
    return x[:, :, :-1].masked_fill(draws.uniform(batch, steps - 1, 1) < least, HIDDEN)


def sampled_past(past: Tensor, predicted: Tensor, rate: PerRun, draws: Draws) -> Tensor:
    """The past with whole time steps replaced at random by what a decoder predicts for them.

    past x_1 .. x_{T-1} (R, B, T-1, C), predicted x^_1 .. x^_T (R, B, T, C) -> (R, B, T-1, C); each (series, step) is
    replaced with probability `rate`, a number or (R,). A hidden step stays hidden.
    Source: scheduled sampling, Bengio et al. 2015, arXiv:1506.03099.
    """
    _, batch, steps, _ = past.shape
    least = rate.reshape(-1, 1, 1, 1) if isinstance(rate, Tensor) else rate
    replaced = (draws.uniform(batch, steps, 1) < least) & (past[..., :1] != HIDDEN)
    return torch.where(replaced, predicted[:, :, :-1], past)


def with_mask(past: Tensor) -> Tensor:
    """The past (..., C) with its hidden steps set to 0 and said to be hidden in one more channel, (..., C + 1).

    >>> with_mask(torch.tensor([[0.5, -2.0], [HIDDEN, HIDDEN]]))
    tensor([[ 0.5000, -2.0000,  0.0000],
            [ 0.0000,  0.0000,  1.0000]])
    """
    hidden = past[..., :1] == HIDDEN
    return torch.cat([past.masked_fill(hidden, 0), hidden.to(past.dtype)], dim=-1)
