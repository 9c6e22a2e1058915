"""What every autoregressive decoder shares: its inputs, its likelihood, and drawing a series step by step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import Draws, Likelihood
from bench.models.head import Head
from bench.parts.decoder_inputs import with_mask


def decoder_inputs(z: Tensor, past: Tensor, every_step: bool) -> Tensor:
    """u_t = [x_{t-1}, hidden_{t-1}, z_t] with x_0 = 0, and z_t = z at t = 1 (at every t, with `every_step`).

    hidden_t is 1 where a step of the past is hidden (see `bench.parts.decoder_inputs`), and else 0.

    z (..., B, D), past x_1..x_{T-1} (..., B, T-1, C) -> (..., B, T, C + 1 + D). So the latent is the
    0-th input of the sequence [z, x_1, .., x_{T-1}], and h_1 depends on nothing else.
    """
    x = functional.pad(with_mask(past), (0, 0, 1, 0))
    steps = x.shape[-2]
    z = z.unsqueeze(-2)
    rest = z.expand(*z.shape[:-2], steps - 1, z.shape[-1])
    return torch.cat([x, torch.cat([z, rest if every_step else torch.zeros_like(rest)], dim=-2)], dim=-1)


def previous_values(past: Tensor) -> Tensor:
    """x_{t-1} as a likelihood may know it beside h_t: past (..., B, T-1, C) -> (..., B, T, C + 1).

    The last channel is 1 where the step is hidden; x_0, which there is not, counts as hidden.
    """
    nothing = functional.pad(past.new_zeros(*past.shape[:-2], 1, past.shape[-1]), (0, 1), value=1.0)
    return torch.cat([nothing, with_mask(past)], dim=-2)


class CausalNetwork(Protocol):
    """h_t = f(u_1, .., u_t)."""

    def __call__(self, u: Tensor) -> Tensor:
        """u (R, B, T, inputs) -> h (R, B, T, H)."""
        ...

    def stepper(self, batch: int, steps: int) -> Callable[[Tensor], Tensor]:
        """The same one step at a time: a function that takes u_1, u_2, .. (R, B, inputs) in turn and gives h_t."""
        ...


class AutoregressiveDecoder(nn.Module, ABC):
    """h_t = f_dec([z, x_1, .., x_{t-1}]), p(x_t | h_t); see `bench.contracts.Decoder`."""

    head: Head

    def __init__(self, window: int, every_step: bool) -> None:
        super().__init__()
        self.window, self.every_step = window, every_step

    @property
    @abstractmethod
    def network(self) -> CausalNetwork:
        """f_dec as a function of u_t = [x_{t-1}, hidden_{t-1}, z_t]."""

    def states(self, z: Tensor, past: Tensor) -> Tensor:
        """z (R, B, D), past (R, B, T-1, C) -> h (R, B, T, H)."""
        return self.network(decoder_inputs(z, past, self.every_step))

    def forward(self, z: Tensor, past: Tensor) -> Likelihood:
        """z (R, B, D), past (R, B, T-1, C) -> p(x | z, past)."""
        return self.head(self.states(z, past), previous_values(past))

    @torch.no_grad()
    def generate(self, z: Tensor, draws: Draws) -> Tensor:
        """Draw x_1, then each x_t from its own past: z (R, B, D) -> (R, B, T, C)."""
        x = z.new_zeros(*z.shape[:2], self.head.channels)
        nothing, hidden = torch.zeros_like(z), z.new_zeros(*z.shape[:2], 1)
        previous = functional.pad(x, (0, 1), value=1.0)  # there is no x_0
        step = self.network.stepper(z.shape[1], self.window)
        series = []
        for t in range(self.window):
            h = step(torch.cat([x, hidden, z if self.every_step or t == 0 else nothing], dim=-1))
            x = self.head(h.unsqueeze(2), previous.unsqueeze(2)).sample(draws).squeeze(2)
            previous = torch.cat([x, hidden], dim=-1)
            series.append(x)
        return torch.stack(series, dim=2)
