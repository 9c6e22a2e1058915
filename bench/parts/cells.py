"""Probabilities of cells: a recorded number stands for an interval, and a likelihood says how probable that is.

A density at a recorded number has no upper bound where a channel repeats its values, and the densities of two families
cannot be compared where one of them is of a transformed value. The probability of a cell is at most 1 for every family.

Shapes: R runs, B series, T time steps, C channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bench.contracts import CONTINUOUS, Cells

LOG_ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)
TRANSFORMS = ("identity", "log1p", "signed_log1p")
NEARLY_ALL = 1 - 1e-6  # of the way to the end of a logarithm's range, which no cell leaves


def by_channel(values: Tensor) -> Tensor:
    """(R, B, T, C) -> (R, C, B, T), in this order in memory."""
    return values.movedim(-1, 1).contiguous()


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

    def of_run(self, run: int) -> Self:
        """The cells of one run, R = 1, in the same memory."""
        return self._part(slice(run, run + 1), slice(None))

    def of_channels(self, channels: slice) -> Self:
        """The cells of some channels, in the same memory."""
        return self if channels == slice(None) else self._part(slice(None), channels)

    def _part(self, runs: slice, channels: slice) -> Self:
        part = type(self)(1, 1)
        for name, buffer in self.named_buffers():
            setattr(part, name, buffer[runs, channels])
        part.linear = self.linear
        return part

    def _load_from_state_dict(self, state: Any, prefix: str, *given: Any) -> None:
        super()._load_from_state_dict(state, prefix, *given)
        if (transform := state.get(f"{prefix}transform")) is not None:
            self.linear = not bool(transform.any())

    def cell(self, x: Tensor, narrowest: float = CONTINUOUS) -> tuple[Tensor, Tensor]:
        """The middle and the width of the cell of each value of x (R, B, T, C), nowhere narrower than 1e-3."""
        reach, mean, scale = (buffer[:, None, None] for buffer in (self.reach, self.mean, self.scale))
        if self.linear:
            return x, (2 * reach / scale).clamp(min=narrowest)
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
        low, high = (low / scale).clamp(max=-narrowest / 2), (high / scale).clamp(min=narrowest / 2)
        return x + (low + high) / 2, high - low


class Lattice(MeasuredIntervals):
    """Cells with the observed bounds, and the grid that values are rounded to; both saved with the weights.

    The lowest and the highest cell hold all that is beyond them, so that the cells of a channel fill the line: a value
    beyond the bounds, which only windows that nobody trained on have, is in the last cell on its side. Without measured
    cells there are no bounds.
    """

    def __init__(self, runs: int, channels: int) -> None:
        super().__init__(runs, channels)
        self.low: Tensor  # the least value of the training rows, train-scaled
        self.register_buffer("low", torch.full((runs, channels), -math.inf))
        self.high: Tensor  # the largest one
        self.register_buffer("high", torch.full((runs, channels), math.inf))
        self.point: Tensor  # one point of the grid, in raw units; NaN for a channel without a grid
        self.register_buffer("point", torch.full((runs, channels), math.nan))

    def fit(self, run: int, cells: Cells) -> None:
        """Take the cells, the bounds and the grid of one run's windows."""
        super().fit(run, cells)
        for buffer, end in ((self.low, -np.inf), (self.high, np.inf)):
            buffer[run] = torch.as_tensor(cells.clipped(np.full(len(cells.width), end)))
        self.point[run] = torch.as_tensor(cells.point)

    def clipped(self, x: Tensor) -> Tensor:
        """x (R, B, T, C) with values beyond the bounds put on them."""
        return torch.minimum(torch.maximum(x, self.low[:, None, None]), self.high[:, None, None])

    def ends(self, x: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """Whether the cell of each value, of this width, is the lowest and whether it is the highest one."""
        half = width / 2
        return x - self.low[:, None, None] < half, self.high[:, None, None] - x < half

    def rounded(self, x: Tensor) -> Tensor:
        """x (R, B, T, C) on the grid and inside the bounds; a channel without a grid keeps its values."""
        reach, mean, scale, point = (b[:, None, None] for b in (self.reach, self.mean, self.scale, self.point))
        x = self.clipped(x)
        recorded = x * scale + mean
        if self.linear:
            placed = torch.round((recorded - point) / (2 * reach)) * (2 * reach) + point
        else:
            transform, sign = self.transform[:, None, None], recorded.sign()
            raw = torch.where(transform == 2, sign * torch.expm1(recorded.abs()), torch.expm1(recorded))
            raw = torch.where(transform == 0, recorded, raw)
            raw = torch.round((raw - point) / (2 * reach)) * (2 * reach) + point
            placed = torch.where(transform == 2, raw.sign() * torch.log1p(raw.abs()), raw)
            placed = torch.where(transform == 1, torch.log1p(raw.clamp(min=-NEARLY_ALL)), placed)
        return self.clipped(torch.where(point.isnan(), x, (placed - mean) / scale))


def logistic_log_probability(low: Tensor, high: Tensor, width: Tensor) -> Tensor:
    """ln (F(u) - F(l)) of the standard logistic F for cells (l, u) of width w > 0; l, u and w may be very large.

        F(u) - F(l) = F(u) F(-l) (1 - e^-w),   ln F(u) = ln F(|u|) + min(u, 0)

    What the logarithm is taken of is a product of three factors, none below 1/2 but the last one, and each exact in
    float32 down to the narrowest cell and for any distance; no difference of near numbers is taken. The width is given,
    because u - l would be one.

    >>> import torch
    >>> round(float(logistic_log_probability(torch.tensor(-1.0), torch.tensor(1.0), torch.tensor(2.0)).exp()), 4)
    0.4621
    """
    product = (-width).expm1_().neg_().mul_(low.abs().sigmoid_()).mul_(high.abs().sigmoid_())
    return product.log_().sub_(low.clamp(min=0)).add_(high.clamp(max=0))


def logistic_slopes(low: Tensor, high: Tensor, width: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The derivatives of `logistic_log_probability` for l, u and w: -F(l), F(-u), 1 / (e^w - 1)."""
    return low.sigmoid().neg_(), high.neg().sigmoid_(), width.expm1().reciprocal_()


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
    shape = np.broadcast_shapes(middle.shape, width.shape)  # torch's own imports a computer algebra system
    result: Tensor = _LogProbability.apply(middle.expand(shape), width.expand(shape))
    return result
