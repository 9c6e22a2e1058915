"""Autoencoder training: our LSTM against torch's nn.LSTM, and the share of the matrix product's peak."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from bench.hardware.precision import bf16_on_cpu
from bench.models.lstm import LSTM, lstm
from bench.models.stacked import initialise
from bench.perf.measure import Line, Scale, cpu_seconds, in_turn
from bench.randomness import Randomness


def native_of(ours: LSTM, run: int = 0) -> nn.LSTM:
    """torch's nn.LSTM with the weights of one run."""
    inputs, hidden = ours.layers[0][0].shape[2], ours.layers[0][1].shape[2]
    native = nn.LSTM(inputs, hidden, len(ours.layers), batch_first=True)
    with torch.no_grad():
        for layer, (weight_ih, weight_hh, bias) in enumerate(ours.layers):
            getattr(native, f"weight_ih_l{layer}").copy_(weight_ih[run])
            getattr(native, f"weight_hh_l{layer}").copy_(weight_hh[run])
            getattr(native, f"bias_ih_l{layer}").copy_(bias[run])
            getattr(native, f"bias_hh_l{layer}").zero_()
    return native


def _backward(network: nn.Module, u: Tensor) -> None:
    found = network(u)
    h = found[0] if isinstance(found, tuple) else found
    torch.autograd.grad(h.square().sum(), list(network.parameters()))


def peak_flops(size: int, repeats: int) -> float:
    """Floating-point operations per CPU second of a square float32 product."""
    a = Randomness([("perf", 0)]).draws("peak").normal(size, size)[0]
    torch.mm(a, a)
    return 2 * size**3 / min(cpu_seconds(partial(torch.mm, a, a)) for _ in range(repeats))


def measure(scale: Scale) -> Iterator[Line]:
    """Forward and backward at R = 1, and what autocast to bfloat16 gives."""
    cases = [(4, 3, 5)] if scale == "tiny" else [(64, 64, 24), (128, 128, 48)]
    repeats = {"tiny": 1, "quick": 9, "full": 31}[scale]
    inputs = 6 + 16
    peak = peak_flops(64 if scale == "tiny" else 1024, 5)
    for hidden, batch, window in cases:
        ours = LSTM(1, inputs, hidden, 1)
        initialise(ours, Randomness([("perf", 0)]))
        native = native_of(ours)
        u = Randomness([("perf", 0)]).draws("u").normal(batch, window, inputs)
        apart = float((lstm(u, ours.layers)[0] - native(u[0])[0]).detach().abs().max())
        found = in_turn(partial(_backward, ours, u), partial(_backward, native, u[0]), repeats)
        # forward: 8 H (in + H) per step and series; backward: twice that
        rate = 3 * 8 * hidden * (inputs + hidden) * batch * window / found.ours
        shape = f"hidden {hidden}, batch {batch}, T = {window}"
        note = f"{rate / 1e9:.3g} GFLOP/s, {rate / peak:.0%} of the product's {peak / 1e9:.3g}; difference {apart:.1g}"
        yield Line(f"{shape}, R = 1", found.ratio, found.ours, found.other, ">= .95", note)
        if not bf16_on_cpu():
            continue
        rounded = in_turn(partial(_in_bf16, ours, u), partial(_backward, ours, u), max(1, repeats // 3))
        yield Line(f"{shape}, bf16 against float32", rounded.ratio, rounded.ours, rounded.other)


def _in_bf16(network: nn.Module, u: Tensor) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _backward(network, u)
