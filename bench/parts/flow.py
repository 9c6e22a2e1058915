"""Flow matching on straight paths from noise to data, and the ordinary differential equation that draws.

Shapes: R runs, B series, D numbers per series. s = i / L is 1 at noise and 0 at data, i in 0..L, as of a diffusion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor

from bench.contracts import Draws

Velocity: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""v(x^i, i): x (R, B, D), i (R, B) -> (R, B, D)."""


def flow_matching_loss(velocity: Velocity, x: Tensor, steps: int, draws: Draws) -> Tensor:
    """E_{i ~ U{0..L}} || v(x^i, i) - (x - eps) ||^2 with x^i = (1 - s) x + s eps: x (R, B, D) -> (R, B).

    Source: Lipman et al. 2023, arXiv:2210.02747, eq. 23 with sigma_min = 0 and their t = 1 - s.
    """
    i = draws.steps(0, steps, x.shape[1])
    noise = draws.normal(*x.shape[1:])
    s = (i / steps).unsqueeze(-1).to(x.dtype)
    return (velocity((1 - s) * x + s * noise, i) - (x - noise)).square().sum(dim=-1)


@torch.no_grad()
def heun(velocity: Velocity, x: Tensor, grid: Sequence[int]) -> Tensor:
    """x^i at the first step of the grid, (R, B, D), carried by dx = -v ds to its last step.

    Each step takes the mean of the velocities at its two ends (Heun's method, of second order): two evaluations.
    """

    def at(step: int) -> Tensor:
        return torch.full(x.shape[:2], step, device=x.device)

    for here, there in pairwise(grid):
        h = (here - there) / grid[0]
        first = velocity(x, at(here))
        x = x + 0.5 * h * (first + velocity(x + h * first, at(there)))
    return x


def runge_kutta(f: Callable[[Tensor], Tensor], z: Tensor, h: float) -> Tensor:
    """z carried by dz/ds = f(z) over a time h: one step of the classical method of fourth order, four evaluations.

    >>> round(float(runge_kutta(torch.neg, torch.ones(()), 0.1)), 7)  # exp(-.1)
    0.9048375
    """
    first = f(z)
    second = f(z + h / 2 * first)
    third = f(z + h / 2 * second)
    return z + h / 6 * (first + 2 * second + 2 * third + f(z + h * third))
