"""Small networks that judge windows, drawn from a numpy generator so that a seed means the same judge everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from bench.contracts import SampleEvaluation
from bench.loading.windows import zero_and_span

CHUNK = 8192  # windows that a trained judge sees at once


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


class PublishedRecurrent(nn.Module):
    """K independent GRUs as TimeGAN's judges are, TensorFlow's cell with its initial weights, each with a linear map.

        r, u = sigmoid([x, h] W + 1),   n = tanh([x, r h] V),   h' = u h + (1 - u) n

    x (K, B, T, inputs) -> (K, B, T, outputs). W, V and the linear map begin uniform within +- sqrt(6 / (fan_in +
    fan_out)), biases at 1 (of r and u) and at 0. The reset gate comes before the product, as in Cho et al. 2014, where
    `Recurrent` has it after.
    """

    def __init__(self, rng: np.random.Generator, k: int, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()

        def matrix(*shape: int) -> nn.Parameter:
            bound = math.sqrt(6 / sum(shape))
            return nn.Parameter(torch.tensor(rng.uniform(-bound, bound, (k, *shape)), dtype=torch.float32))

        self.gates, self.gates_bias = matrix(inputs + hidden, 2 * hidden), nn.Parameter(torch.ones(k, 1, 2 * hidden))
        self.state, self.state_bias = matrix(inputs + hidden, hidden), nn.Parameter(torch.zeros(k, 1, hidden))
        self.output, self.output_bias = matrix(hidden, outputs), nn.Parameter(torch.zeros(k, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(K, B, T, inputs) -> (K, B, T, outputs)."""
        k, batch, steps, inputs = x.shape
        hidden = self.state.shape[2]
        from_input = torch.cat([self.gates[:, :inputs], self.state[:, :inputs]], dim=2)
        bias = torch.cat([self.gates_bias, self.state_bias], dim=2)
        of_inputs = torch.baddbmm(bias, x.flatten(1, 2), from_input).unflatten(1, (batch, steps))
        gates, state = self.gates[:, inputs:], self.state[:, inputs:]
        h, states = x.new_zeros(k, batch, hidden), []
        for of_input in of_inputs.unbind(2):
            reset, keep = torch.baddbmm(of_input[..., : 2 * hidden], h, gates).sigmoid().chunk(2, dim=-1)
            new = torch.baddbmm(of_input[..., 2 * hidden :], reset * h, state).tanh()
            h = torch.lerp(new, h, keep)
            states.append(h)
        top = torch.stack(states, dim=2).flatten(1, 2)
        return torch.baddbmm(self.output_bias, top, self.output).unflatten(1, (batch, steps))


Judge = type[Recurrent] | type[PublishedRecurrent]


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
    loss: Callable[[nn.Module], Tensor],
    steps: int,
    learning_rate: float,
    kind: Judge = Recurrent,
) -> Callable[[Tensor], Tensor]:
    """K fresh GRUs of sizes (inputs, hidden, outputs) once trained: (B, T, inputs) -> (K, B, T, outputs), no gradient.

    loss: of all K on a batch that it draws itself; a sum over the K, so that their gradients stay their own.
    """
    network = kind(rng, k, *sizes)
    train(network, lambda: loss(network), steps, learning_rate)

    @torch.no_grad()
    def judge(x: Tensor) -> Tensor:
        return torch.cat([network(part.expand(k, -1, -1, -1)) for part in x.split(CHUNK)], dim=1)

    return judge


def unit_scaled(train_windows: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Windows with the range of the training windows, per channel, mapped to [0, 1]."""
    low, high = train_windows.min(axis=(0, 1)), train_windows.max(axis=(0, 1))
    return [(windows - low) / np.maximum(high - low, 1e-7) for windows in others]


def published_scale(evaluation: SampleEvaluation, *windows: np.ndarray) -> list[np.ndarray]:
    """Windows on the scale of published scores: 0 and 1 are the ends of each channel's range, or as the data state."""
    low, span = zero_and_span(evaluation.train, evaluation.zero_one)
    return [(part - low) / span for part in windows]
