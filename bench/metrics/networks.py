"""Small networks that judge windows, drawn from a numpy generator so that a seed means the same judge everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn


def drawn(rng: np.random.Generator, make: Callable[..., nn.Module], *sizes: int, fan_in: int) -> nn.Module:
    """make(*sizes) with every parameter uniform within +- 1 / sqrt(fan_in), as torch draws it, but from `rng`."""
    module = make(*sizes, device="meta").to_empty(device="cpu")  # torch's own initial values are never drawn
    bound = 1 / math.sqrt(fan_in)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.from_numpy(rng.uniform(-bound, bound, tuple(parameter.shape))))
    return module


class Recurrent(nn.Module):
    """K independent GRUs side by side, each with a linear map of its states.

        r, u = sigmoid(W x + b + V h + c),   n = tanh(W x + b + r (V h + c)),   h' = (1 - u) n + u h

    x (K, B, T, inputs) -> (K, B, T, outputs). Side by side because a small GRU spends its time on calls, not on
    arithmetic: K repeats cost little more than one.
    """

    def __init__(self, rng: np.random.Generator, k: int, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(hidden)

        def drawn_parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.tensor(rng.uniform(-bound, bound, (k, *shape)), dtype=torch.float32))

        self.from_input, self.input_bias = drawn_parameter(inputs, 3 * hidden), drawn_parameter(1, 3 * hidden)
        self.from_state, self.state_bias = drawn_parameter(hidden, 3 * hidden), drawn_parameter(1, 3 * hidden)
        self.output, self.output_bias = drawn_parameter(hidden, outputs), drawn_parameter(1, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(K, B, T, inputs) -> (K, B, T, outputs)."""
        k, batch, steps, _ = x.shape
        hidden = self.from_state.shape[1]
        gates = torch.baddbmm(self.input_bias, x.flatten(1, 2), self.from_input).unflatten(1, (batch, steps))
        h, states = x.new_zeros(k, batch, hidden), []
        for of_input in gates.unbind(2):
            of_state = torch.baddbmm(self.state_bias, h, self.from_state)
            reset, keep = (of_input[..., : 2 * hidden] + of_state[..., : 2 * hidden]).sigmoid().chunk(2, dim=-1)
            new = torch.addcmul(of_input[..., 2 * hidden :], reset, of_state[..., 2 * hidden :]).tanh()
            h = torch.lerp(new, h, keep)
            states.append(h)
        top = torch.stack(states, dim=2).flatten(1, 2)
        return torch.baddbmm(self.output_bias, top, self.output).unflatten(1, (batch, steps))


def train(network: nn.Module, loss: Callable[[], Tensor], steps: int, learning_rate: float) -> None:
    """Minimise `loss`, which draws its own batch, with Adam."""
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)
    for _ in range(steps):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()


def trained_judges(
    rng: np.random.Generator,
    k: int,
    sizes: tuple[int, int, int],
    loss: Callable[[Recurrent], Tensor],
    steps: int,
    learning_rate: float,
) -> Callable[[Tensor], Tensor]:
    """K fresh GRUs of sizes (inputs, hidden, outputs) once trained: (B, T, inputs) -> (K, B, T, outputs), no gradient.

    loss: of all K on a batch that it draws itself; a sum over the K, so that their gradients stay their own.
    """
    network = Recurrent(rng, k, *sizes)
    train(network, lambda: loss(network), steps, learning_rate)

    @torch.no_grad()
    def judge(x: Tensor) -> Tensor:
        return network(x.expand(k, -1, -1, -1))

    return judge


def unit_scaled(train_windows: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Windows with the range of the training windows, per channel, mapped to [0, 1]: the scale of TimeGAN's scores."""
    low, high = train_windows.min(axis=(0, 1)), train_windows.max(axis=(0, 1))
    return [(windows - low) / np.maximum(high - low, 1e-7) for windows in others]
