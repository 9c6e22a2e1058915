"""Probabilities of cells: a recorded number stands for an interval, and a likelihood says how probable that is.

A density at a recorded number has no upper bound where a channel repeats its values, and the densities of two families
cannot be compared where one of them is of a transformed value. The probability of a cell is at most 1 for every family.

Shapes: R runs, B series, T time steps, C channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bench.contracts import CONTINUOUS, Cells

LOG_ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)
TRANSFORMS = ("identity", "log1p", "signed_log1p")
NEARLY_ALL = 1 - 1e-6  # of the way to the end of a logarithm's range, which no cell leaves


class Intervals(Protocol):
    """Gives each value its cell (l, u)."""

    def cell(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Its middle (l + u) / 2 and its width u - l, each of a shape that meets x (R, B, T, C)."""
        ...


@dataclass(frozen=True)
class ContinuousCells:
    """Cells around every value, as narrow as any: their probability is the density times the width."""

    def cell(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x itself and the narrowest width."""
        return x, x.new_full((), CONTINUOUS)


class MeasuredIntervals(nn.Module):
    """The cells of each run's channels, saved with the weights; until they are `fitted` they are continuous ones.

    The same intervals as `bench.loading.cells.MeasuredCells`, written without differences of large numbers, because
    float32 has to do: with y = ln(1 + raw) the cell of raw -+ w / 2 ends at y + ln(1 -+ w e^-y / 2).
    """

    def __init__(self, runs: int, channels: int) -> None:
        super().__init__()
        self.transform: Tensor  # its place in TRANSFORMS
        self.register_buffer("transform", torch.zeros(runs, channels, dtype=torch.int64))
        for name, value in (("reach", CONTINUOUS / 2), ("mean", 0.0), ("scale", 1.0)):
            self.register_buffer(name, torch.full((runs, channels), value))
        self.linear = True  # whether no channel has a transform; the host knows it, so that no step asks the device
        self.reach: Tensor  # half a cell's width, in raw units
        self.mean: Tensor
        self.scale: Tensor

    def fit(self, run: int, cells: Cells) -> None:
        """Take the cells of one run's windows."""
        self.transform[run] = torch.tensor([TRANSFORMS.index(kind) for kind in cells.transforms])
        for buffer, value in ((self.reach, cells.width / 2), (self.mean, cells.mean), (self.scale, cells.scale)):
            buffer[run] = torch.as_tensor(value)
        self.linear = self.linear and set(cells.transforms) <= {"identity"}

    def of_run(self, run: int) -> MeasuredIntervals:
        """The cells of one run, R = 1, in the same memory."""
        one = MeasuredIntervals(1, self.reach.shape[1])
        for name in ("transform", "reach", "mean", "scale"):
            setattr(one, name, getattr(self, name)[run : run + 1])
        one.linear = self.linear
        return one

    def _load_from_state_dict(self, state: Any, prefix: str, *given: Any) -> None:
        super()._load_from_state_dict(state, prefix, *given)
        if (transform := state.get(f"{prefix}transform")) is not None:
            self.linear = not bool(transform.any())

    def cell(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The middle and the width of the cell of each value of x (R, B, T, C), nowhere narrower than 1e-3."""
        reach, mean, scale = (buffer[:, None, None] for buffer in (self.reach, self.mean, self.scale))
        if self.linear:
            return x, (2 * reach / scale).clamp(min=CONTINUOUS)
        transform = self.transform[:, None, None]
        recorded = x * scale + mean
        size = torch.where(transform == 1, recorded, recorded.abs())
        relative = reach * torch.exp(-size)
        outward, inward = torch.log1p(relative), torch.log1p(-relative.clamp(max=NEARLY_ALL))
        raw = torch.expm1(size)
        across = -torch.log1p((reach - raw).clamp(min=0)) - size  # of a cell with 0 inside
        inward = torch.where((transform == 2) & (reach > raw), across, inward)
        negative = (transform == 2) & (recorded < 0)
        low, high = torch.where(negative, -outward, inward), torch.where(negative, -inward, outward)
        low, high = (torch.where(transform == 0, plain, end) for plain, end in ((-reach, low), (reach, high)))
        low, high = (low / scale).clamp(max=-CONTINUOUS / 2), (high / scale).clamp(min=CONTINUOUS / 2)
        return x + (low + high) / 2, high - low


# Of the Mills ratio (1 - Phi(x)) / phi(x) = t Q(2 t - 1) with t = 1 / (1 + x / MILLS_SCALE), x >= 0: a Chebyshev fit of
# degree 9, at most 4e-8 from it, relatively. As a polynomial its differences need no subtraction of near numbers.
MILLS_SCALE = 4.0
MILLS = (
    9.85860470e-05,
    8.10428524e-05,
    -9.79958114e-04,
    -2.17836518e-03,
    4.70759290e-03,
    3.78471391e-02,
    1.16888282e-01,
    2.42602490e-01,
    3.80942578e-01,
    4.73304764e-01,
)


class _LogProbability(torch.autograd.Function):
    """See `log_probability`."""

    @staticmethod
    def forward(ctx: Any, middle: Tensor, width: Tensor) -> Tensor:
        """(...), (...) -> (...), of the broadcast shape."""
        middle, width = torch.broadcast_tensors(middle, width)
        size, half = middle.abs(), width / 2
        near, far = size - half, size + half  # the cell's edges, on the positive side
        t, s = (1 / (1 + edge.clamp(min=0) / MILLS_SCALE) for edge in (near, far))
        u, v = 2 * t - 1, 2 * s - 1
        at_near = at_far = torch.full_like(u, MILLS[0])
        slope = torch.zeros_like(u)  # (Q(u) - Q(v)) / (u - v)
        for coefficient in MILLS[1:]:
            slope = torch.addcmul(at_far, slope, u)
            at_far = torch.addcmul(torch.full((), coefficient, dtype=u.dtype, device=u.device), at_far, v)
        gap = t * s * width / MILLS_SCALE  # t - s, without the difference
        at_near = at_far + 2 * gap * slope
        ratio = gap * at_near + 2 * s * gap * slope - s * at_far * torch.expm1(-size * width)
        one_side = ratio.log() - 0.5 * near.square() - LOG_ROOT_TWO_PI
        root = math.sqrt(0.5)
        both_sides = (0.5 * (torch.erf(far * root) - torch.erf(near * root))).log()
        log_p = torch.where(near > 0, one_side, both_sides).clamp(max=0)
        ctx.save_for_backward(middle, width, log_p)
        return log_p

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """d ln P / d middle = (phi(u) - phi(l)) / P and d ln P / d width = (phi(u) + phi(l)) / 2 P."""
        middle, width, log_p = ctx.saved_tensors
        size = middle.abs()
        near = (-0.5 * (size - width / 2).square() - LOG_ROOT_TWO_PI - log_p).exp() * above[0]
        lost = torch.expm1(-size * width)
        of_middle = near * lost * middle.sign() if ctx.needs_input_grad[0] else None
        of_width = near * (1 + 0.5 * lost) if ctx.needs_input_grad[1] else None
        return of_middle, of_width


def log_probability(middle: Tensor, width: Tensor) -> Tensor:
    """ln P(l < Z < u) of a standard normal Z, for the cell with this middle (l + u) / 2 and this width u - l > 0.

    Exact to a few float32 steps from the narrowest cells to the widest and 40 deviations out; never above 0.

    >>> import torch
    >>> round(float(log_probability(torch.tensor(0.0), torch.tensor(2.0)).exp()), 4)  # within one deviation
    0.6827
    """
    shape = torch.broadcast_shapes(middle.shape, width.shape)
    result: Tensor = _LogProbability.apply(middle.expand(shape), width.expand(shape))
    return result
