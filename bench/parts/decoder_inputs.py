"""What past the decoder may see."""

from __future__ import annotations

from torch import Tensor

from bench.contracts import Draws, PerRun


def masked_past(x: Tensor, rate: PerRun, draws: Draws) -> Tensor:
    """x_1 .. x_{T-1} with whole time steps dropped at random (set to 0, the training mean).

    x (R, B, T, C) -> (R, B, T-1, C); each (series, step) is dropped with probability `rate`, a
    number or (R,). Source: word dropout, Bowman et al. 2016, arXiv:1511.06349, sec. 3.1.
    The stream is advanced whatever the rate is, so that the draws after it stay paired.
    """
    _, batch, steps, _ = x.shape
    least = rate.reshape(-1, 1, 1, 1) if isinstance(rate, Tensor) else rate
    return x[:, :, :-1] * (draws.uniform(batch, steps - 1, 1) >= least)
