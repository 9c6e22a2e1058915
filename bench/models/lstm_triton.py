"""The LSTM's recurrence as one kernel per direction: a program keeps its run's state, and weights, for all T steps.

    i, f, g, o = from_input_t + h_{t-1} W_hh^T
    c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g),   h_t = sigmoid(o) tanh(c_t)

`bench.models.lstm` launches some eight kernels per step where runs are stacked; here a step launches none. A program
has one run and `ROWS` of its series, which need nothing of each other. The products with the input, and the gradient of
W_hh (a sum over series and steps), stay one batched product each, outside.

Products are full float32, as three TF32 products (`tf32x3`); one where training asks for TF32 or bfloat16.
Needs Triton, which torch's CUDA builds bring. Source of the equations: Hochreiter and Schmidhuber 1997, with the forget
gate of Gers et al. 2000, as in torch.nn.LSTM.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

try:
    import triton
    import triton.language as tl
except ImportError:  # a CPU build of torch: nothing here can be called
    triton = tl = None

ROWS = 16  # series per program: as few as a tensor core takes, so that a single run still spreads over the GPU
WIDEST = 64
"""H up to which the kernels are used. W_hh takes 64 KB then, with what `tf32x3` makes of it 139 KB of shared memory
(compiled for compute capability 9.0: no register spilled). At 128 it is 256 KB and fits nowhere; loaded anew at every
step, one gate at a time, the compiler spills 1 to 5 KB per thread: `bench.models.lstm` keeps batched products there."""
SHARED_BYTES = 36  # per weight of one gate
CAPABILITY = (8, 0)  # of the first devices with TF32

_WANTED: ContextVar[bool] = ContextVar("fused", default=True)


@contextmanager
def fusing(wanted: bool) -> Iterator[None]:
    """Inside, the kernels are used where they can be, or never."""
    token = _WANTED.set(wanted)
    try:
        yield
    finally:
        _WANTED.reset(token)


def usable(u: Tensor, hidden: int) -> bool:
    """Whether a layer of this width should go through the kernels: they are wanted, and its weights fit on chip."""
    if triton is None or not _WANTED.get() or not u.is_cuda or u.dtype != torch.float32 or hidden > WIDEST:
        return False
    return SHARED_BYTES * _width(hidden) ** 2 <= _shared_memory(u.get_device())


@functools.cache
def _shared_memory(device: int) -> int:
    """Bytes that a program may have; 0 where the tensor cores have no TF32."""
    if torch.cuda.get_device_capability(device) < CAPABILITY:
        return 0
    return int(triton.runtime.driver.active.utils.get_device_properties(device)["max_shared_mem"])


def _width(hidden: int) -> int:
    """H padded to a power of two, at least 16 for the tensor cores."""
    return max(16, 1 << (hidden - 1).bit_length())


_jit = triton.jit if triton is not None else lambda function: function


@_jit
def _tanh(x):  # type: ignore[no-untyped-def]
    e = tl.exp(-2 * tl.abs(x))
    y = (1 - e) / (1 + e)
    return tl.where(x < 0, -y, y)


@_jit
def _forward(  # type: ignore[no-untyped-def]
    from_input, weight, h_out, c_out, gates_out, batch, hidden, run_stride,
    STEPS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr,
    SAVE: tl.constexpr,
):  # fmt: skip
    row, run = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None], tl.program_id(1)
    j, k = tl.arange(0, WIDTH)[None, :], tl.arange(0, WIDTH)[:, None]
    inside, square = (row < batch) & (j < hidden), (k < hidden) & (j < hidden)
    size = hidden * hidden
    w = weight + run.to(tl.int64) * run_stride + j * hidden + k  # W^T of a gate: h_k -> gate_j
    w_i, w_f = tl.load(w, square, 0.0), tl.load(w + size, square, 0.0)
    w_g, w_o = tl.load(w + 2 * size, square, 0.0), tl.load(w + 3 * size, square, 0.0)
    first = (run.to(tl.int64) * batch + row) * STEPS  # of this series, counted in steps
    h = tl.zeros((ROWS, WIDTH), tl.float32)
    c = tl.zeros((ROWS, WIDTH), tl.float32)
    for t in range(STEPS):
        place = (first + t) * hidden + j
        gate = from_input + (first + t) * 4 * hidden + j
        i = tl.sigmoid(tl.load(gate, inside, 0.0) + tl.dot(h, w_i, input_precision=PRECISION))
        f = tl.sigmoid(tl.load(gate + hidden, inside, 0.0) + tl.dot(h, w_f, input_precision=PRECISION))
        g = _tanh(tl.load(gate + 2 * hidden, inside, 0.0) + tl.dot(h, w_g, input_precision=PRECISION))
        o = tl.sigmoid(tl.load(gate + 3 * hidden, inside, 0.0) + tl.dot(h, w_o, input_precision=PRECISION))
        c = f * c + i * g
        h = tl.where(inside, o * _tanh(c), 0.0)
        tl.store(h_out + place, h, inside)
        if SAVE:
            tl.store(c_out + place, c, inside)
            gate = gates_out + (first + t) * 4 * hidden + j
            tl.store(gate, i, inside)
            tl.store(gate + hidden, f, inside)
            tl.store(gate + 2 * hidden, g, inside)
            tl.store(gate + 3 * hidden, o, inside)


@_jit
def _backward(  # type: ignore[no-untyped-def]
    of_h, gates, c_all, weight, of_gates, batch, hidden, run_stride,
    STEPS: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    row, run = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None], tl.program_id(1)
    j, k = tl.arange(0, WIDTH)[None, :], tl.arange(0, WIDTH)[:, None]
    inside, square = (row < batch) & (j < hidden), (k < hidden) & (j < hidden)
    size = hidden * hidden
    w = weight + run.to(tl.int64) * run_stride + k * hidden + j  # W of a gate: d gate_k -> d h_j
    w_i, w_f = tl.load(w, square, 0.0), tl.load(w + size, square, 0.0)
    w_g, w_o = tl.load(w + 2 * size, square, 0.0), tl.load(w + 3 * size, square, 0.0)
    first = (run.to(tl.int64) * batch + row) * STEPS
    dh = tl.zeros((ROWS, WIDTH), tl.float32)
    dc = tl.zeros((ROWS, WIDTH), tl.float32)
    for back in range(STEPS):
        t = STEPS - 1 - back
        place = (first + t) * hidden + j
        gate = gates + (first + t) * 4 * hidden + j
        i, f = tl.load(gate, inside, 0.0), tl.load(gate + hidden, inside, 0.0)
        g, o = tl.load(gate + 2 * hidden, inside, 0.0), tl.load(gate + 3 * hidden, inside, 0.0)
        squashed = _tanh(tl.load(c_all + place, inside, 0.0))
        before = tl.load(c_all + place - hidden, inside & (t > 0), 0.0)
        dh += tl.load(of_h + place, inside, 0.0)
        dc += dh * o * (1 - squashed * squashed)
        d_o = dh * squashed * o * (1 - o)
        d_i, d_f, d_g = dc * g * i * (1 - i), dc * before * f * (1 - f), dc * i * (1 - g * g)
        gate = of_gates + (first + t) * 4 * hidden + j
        tl.store(gate, d_i, inside)
        tl.store(gate + hidden, d_f, inside)
        tl.store(gate + 2 * hidden, d_g, inside)
        tl.store(gate + 3 * hidden, d_o, inside)
        dc = dc * f
        dh = tl.dot(d_i, w_i, input_precision=PRECISION)
        dh += tl.dot(d_f, w_f, input_precision=PRECISION)
        dh += tl.dot(d_g, w_g, input_precision=PRECISION)
        dh += tl.dot(d_o, w_o, input_precision=PRECISION)


def _precision() -> str:
    exact = torch.get_float32_matmul_precision() == "highest" and not torch.is_autocast_enabled("cuda")
    return "tf32x3" if exact else "tf32"


def _launch(from_input: Tensor) -> tuple[tuple[int, int], dict[str, Any]]:
    """The grid, and what the kernels are compiled for."""
    runs, batch, steps, gates = from_input.shape
    width = _width(gates // 4)
    constants = {"STEPS": steps, "ROWS": ROWS, "WIDTH": width}
    return (triton.cdiv(batch, ROWS), runs), {**constants, "num_warps": max(1, width // 8), "num_stages": 1}


class _Recurrence(torch.autograd.Function):
    """from_input (R, B, T, 4H), weight_hh (R, 4H, H), rows of a run contiguous -> h (R, B, T, H), float32."""

    @staticmethod
    def forward(ctx: Any, from_input: Tensor, weight_hh: Tensor, save: bool) -> Tensor:
        runs, batch, steps, gates = from_input.shape
        hidden = gates // 4
        h = from_input.new_empty(runs, batch, steps, hidden)
        c, activations = (torch.empty_like(h), torch.empty_like(from_input)) if save else (h, h)
        grid, constants = _launch(from_input)
        ctx.precision = _precision()
        _forward[grid](
            from_input, weight_hh, h, c, activations, batch, hidden, weight_hh.stride(0),
            SAVE=save, PRECISION=ctx.precision, **constants,
        )  # fmt: skip
        if save:
            ctx.save_for_backward(h, c, activations, weight_hh)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_h: Tensor) -> tuple[Tensor, Tensor, None]:
        h, c, activations, weight_hh = ctx.saved_tensors
        _, batch, _, hidden = h.shape
        of_gates = torch.empty_like(activations)
        grid, constants = _launch(activations)
        _backward[grid](
            of_h.contiguous(), activations, c, weight_hh, of_gates, batch, hidden, weight_hh.stride(0),
            PRECISION=ctx.precision, **constants,
        )  # fmt: skip
        past, later = h[:, :, :-1].flatten(1, 2), of_gates[:, :, 1:].flatten(1, 2)
        return of_gates, later.mT @ past, None


def recurrence(from_input: Tensor, weight_hh: Tensor) -> Tensor:
    """All hidden states of a layer, given what each step gets from its input.

    from_input (R, B, T, 4H) with gates i, f, g, o, weight_hh (R, 4H, H) -> h (R, B, T, H), float32. It has first
    derivatives only. Raises RuntimeError without Triton.
    """
    if triton is None:
        raise RuntimeError("the fused recurrence needs Triton, which is not installed")
    save = torch.is_grad_enabled() and (from_input.requires_grad or weight_hh.requires_grad)
    result: Tensor = _Recurrence.apply(from_input.float().contiguous(), weight_hh, save)
    return result
