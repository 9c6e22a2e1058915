"""The decoder of a latent ODE: a latent that moves through a window by an ordinary differential equation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.models.head import Head
from bench.models.one_pass import OnePassDecoder
from bench.models.stacked import Linear
from bench.parts.flow import runge_kutta


class OdeDecoder(OnePassDecoder):
    """dz/ds = f(z), z_1 = z, h_t = W z_t + b, and p(x | h); t = 1 .. T lies at s = (t - 1) / T.

    f is a network of two hidden layers with tanh. A step from t to t + 1 is one of the classical Runge-Kutta method.
    """

    def __init__(self, runs: int, latent: int, hidden: int, window: int, head: Head) -> None:
        super().__init__()
        self.window = window
        widths = [latent, hidden, hidden, latent]
        self.velocity = nn.ModuleList(Linear(runs, *widths[k : k + 2]) for k in range(3))
        self.output = Linear(runs, latent, hidden)
        self.head = head

    def f(self, z: Tensor) -> Tensor:
        """dz/ds, of any shape (R, ..., D)."""
        first, second, last = self.velocity
        return last(second(first(z).tanh()).tanh())

    def path(self, z: Tensor) -> Tensor:
        """z_1 .. z_T, (R, B, T, D), from z (R, B, D)."""
        states = [z]
        for _ in range(self.window - 1):
            states.append(runge_kutta(self.f, states[-1], 1 / self.window))
        return torch.stack(states, dim=-2)

    def every_state(self, z: Tensor) -> Tensor:
        """z (R, B, D) -> h (R, B, T, H)."""
        return self.output(self.path(z))
