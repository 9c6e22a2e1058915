"""The LSTM backbone: one operation with three kernels, an encoder and an autoregressive decoder.

On a CPU (and for one run on CUDA) each run goes through torch's native LSTM; several runs on a
GPU go through one batched recurrence, fused into one kernel (`bench.models.lstm_triton`) where its weights fit on chip.
All are the same function (tested against each other).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from bench.models import lstm_triton
from bench.models.autoregression import AutoregressiveDecoder, decoder_inputs
from bench.models.backbone import Backbone
from bench.models.dropout import Dropout
from bench.models.head import Head
from bench.models.lstm_tangent import lstm_tangent_sweep
from bench.models.stacked import Linear, linear, parameter, per_run
from bench.registry import register_backbone

Weights = tuple[Tensor, Tensor, Tensor]
"""One layer: weight_ih (R, 4H, in), weight_hh (R, 4H, H), bias (R, 4H); gates in torch's order i, f, g, o."""


def _cell(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """h and c after one step: gates (..., 4H), c (..., H)."""
    i, f, g, o = gates.chunk(4, dim=-1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _native(u: Tensor, layers: Sequence[Weights]) -> Tensor:
    outputs = []
    for run, inputs in enumerate(u.unbind()):
        flat = []
        for weight_ih, weight_hh, bias in layers:
            b = bias.unbind()[run]
            flat += [weight_ih.unbind()[run], weight_hh.unbind()[run], b, torch.zeros_like(b)]
        zeros = u.new_zeros(len(layers), u.shape[1], layers[0][1].shape[-1])
        train = torch.is_grad_enabled()
        h = torch._VF.lstm(inputs, (zeros, zeros), flat, True, len(layers), 0.0, train, False, True)[0]
        outputs.append(h.to(u.dtype))
    return per_run(outputs)


def _stacked(u: Tensor, layers: Sequence[Weights]) -> Tensor:
    for weight_ih, weight_hh, bias in layers:
        from_input = (u.flatten(1, 2) @ weight_ih.mT + bias[:, None]).unflatten(1, u.shape[1:3])
        h = c = u.new_zeros(*u.shape[:2], weight_hh.shape[-1])
        states = []
        for gates in from_input.unbind(2):  # unbind, not [:, :, t]: its backward does not fill zeros T times
            h, c = _cell(torch.baddbmm(gates, h, weight_hh.mT), c)
            states.append(h)
        u = torch.stack(states, dim=2)
    return u


def _fused(u: Tensor, layers: Sequence[Weights]) -> Tensor:
    for weight_ih, weight_hh, bias in layers:
        from_input = torch.baddbmm(bias[:, None], u.flatten(1, 2), weight_ih.mT).unflatten(1, u.shape[1:3])
        u = lstm_triton.recurrence(from_input, weight_hh)
    return u


def lstm(u: Tensor, layers: Sequence[Weights]) -> Tensor:
    """The top layer's hidden states from zero initial states: u (R, B, T, in) -> (R, B, T, H)."""
    if u.device.type == "cpu":
        return _native(u, layers)
    if lstm_triton.usable(u, layers[0][1].shape[-1]):
        return _fused(u, layers)
    return _native(u, layers) if len(u) == 1 else _stacked(u, layers)


class LSTM(nn.Module):
    """`lstm` with its parameters, drawn as torch's nn.LSTM draws them (one bias: torch's second is redundant)."""

    def __init__(self, runs: int, inputs: int, hidden: int, layers: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(hidden)
        self.dropout = Dropout()
        self.weights = nn.ParameterList()
        for layer in range(layers):
            width = inputs if layer == 0 else hidden
            for shape in ((4 * hidden, width), (4 * hidden, hidden), (4 * hidden,)):
                self.weights.append(parameter(runs, *shape, bound=bound))

    @property
    def layers(self) -> list[Weights]:
        """Per layer: weight_ih, weight_hh, bias."""
        flat = list(self.weights)
        return [(flat[k], flat[k + 1], flat[k + 2]) for k in range(0, len(flat), 3)]

    def forward(self, u: Tensor) -> Tensor:
        """(R, B, T, inputs) -> (R, B, T, H); dropout acts on what each layer gives."""
        if not self.dropout.rate or not self.training:
            return lstm(u, self.layers)
        for layer in self.layers:
            u = self.dropout(lstm(u, [layer]))
        return u

    def stepper(self, batch: int, steps: int) -> Callable[[Tensor], Tensor]:
        """One step at a time, from zero states; see `bench.models.autoregression.CausalNetwork`."""
        layers = self.layers
        states = [(hh.new_zeros(len(hh), batch, hh.shape[-1]),) * 2 for _, hh, _ in layers]

        def step(u: Tensor) -> Tensor:
            for layer, (weight_ih, weight_hh, bias) in enumerate(layers):
                h, c = states[layer]
                states[layer] = _cell(linear(u, weight_ih, bias) + linear(h, weight_hh), c)
                u = states[layer][0]
            return u

        return step


class LSTMEncoder(nn.Module):
    """x (R, B, T, C) -> a linear map of the last hidden state, (R, B, outputs).

    With T' > 1 latent steps a second LSTM reads the series from its end. Step k gets the state of the first one after
    block k of T / T' steps and the state of the second one before it: both have read the block, and together they have
    read the series.
    """

    def __init__(self, runs: int, channels: int, hidden: int, layers: int, outputs: int, latent_steps: int = 1) -> None:
        super().__init__()
        self.latent_steps = latent_steps
        self.lstm = LSTM(runs, channels, hidden, layers)
        if latent_steps > 1:
            self.backward_lstm = LSTM(runs, channels, hidden, layers)
        self.output = Linear(runs, hidden if latent_steps == 1 else 2 * hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(R, B, T, C) -> (R, B, T' outputs)."""
        h = self.lstm(x)
        if self.latent_steps == 1:
            return self.output(h[:, :, -1])
        length = x.shape[2] // self.latent_steps
        after, before = h[:, :, length - 1 :: length], self.backward_lstm(x.flip(2)).flip(2)[:, :, ::length]
        return self.output(torch.cat([after, before], dim=-1)).flatten(-2)


class LSTMDecoder(AutoregressiveDecoder):
    """The state h_t is the top layer's hidden state (not the LSTM's cell)."""

    def __init__(
        self,
        runs: int,
        channels: int,
        latent: int,
        hidden: int,
        layers: int,
        window: int,
        every_step: bool,
        head: Head,
        latent_steps: int = 1,
    ) -> None:
        super().__init__(window, every_step, latent_steps)
        self.lstm = LSTM(runs, channels + 1 + latent, hidden, layers)
        self.head = head

    @property
    def network(self) -> LSTM:
        """The LSTM."""
        return self.lstm

    def single(self, run: int) -> SingleLSTMDecoder:
        """The decoder of one run as a plain function of z (B, D) and x_prev (B, T-1, C)."""
        layers = [(ih[run].detach(), hh[run].detach(), bias[run].detach()) for ih, hh, bias in self.lstm.layers]
        return SingleLSTMDecoder(layers, self.every_step, self.latent_steps)


@register_backbone("lstm")
class LSTMBackbone(Backbone):
    """An LSTM reads the series, and another one writes it.

        h_t, c_t = LSTM([x_{t-1}, hidden_{t-1}, z_t], h_{t-1}, c_{t-1}),   q(z | x) from h_T of the encoder

    hidden_t is 1 where a step is hidden in training, and else 0. With `model.latent_steps` above 1 the encoder is
    bidirectional, with two LSTMs of width H.
    Shapes: x (R, B, T, C), z (R, B, D), h (R, B, T, H).
    Source: Hochreiter and Schmidhuber 1997; gates in torch's order and form.
    """

    encoder = LSTMEncoder
    decoder = LSTMDecoder


class SingleLSTMDecoder:
    """One run's h = f_dec(z, x_prev), with exact tangents for the dependency measures."""

    def __init__(self, layers: list[Weights], every_step: bool, latent_steps: int = 1) -> None:
        self.layers, self.every_step, self.latent_steps = layers, every_step, latent_steps

    def __call__(self, z: Tensor, x_prev: Tensor) -> Tensor:
        """z (B, D), x_prev (B, T-1, C) -> h (B, T, H)."""
        layers = [(ih[None], hh[None], bias[None]) for ih, hh, bias in self.layers]
        return lstm(decoder_inputs(z, x_prev, self.every_step, self.latent_steps)[None], layers)[0]

    def tangent_sweep(self, z: Tensor, x_prev: Tensor) -> Callable[[Tensor, Tensor], tuple[Tensor, ...]]:
        """h and its three tangents at points of the paths to z and x_prev; see `lstm_tangent_sweep`."""
        return lstm_tangent_sweep(self.layers, z, x_prev, self.every_step, self.latent_steps)
