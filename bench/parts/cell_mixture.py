"""Probabilities of a channel's cells as a mixture: logistics, the value before, and a table of bins.

    P(x_tc) = sum_k w_k (F_k(u) - F_k(l)) + w_same [x_tc = x_{t-1,c}] + w_bin(x) (u - l) / width of the bin

Each channel has weights of its own. Any of the three parts may be absent.
Source of the logistics: Salimans et al. 2017, PixelCNN++, arXiv:1701.05517, sec. 2.1, eq. 2. Ours: cells of any width;
each channel has logistics of its own, where the source shares the component between the channels of a pixel (sec. 2.2).
Shapes: R runs, B series, T time steps, C channels, K logistics, N bins, S = 1 with the part "the same" and else 0.
What a mixture is made of has series and steps last, so that each part of each channel is one row of contiguous memory;
values that come in and go out are (R, B, T, C).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from bench.contracts import Draws
from bench.parts.cells import Lattice, by_channel, logistic_log_probability, logistic_slopes
from bench.parts.likelihoods import Family, of_runs

NEARLY_ZERO = 1e-7  # a uniform draw is at least this far from 0 and 1, so that a logistic's noise is finite
BEYOND = 1e10  # a cell that is open on one side ends there: far in units of any logistic, and finite in float32
LEAST = -1e30  # a logarithm below it is that of 0
LOG2_E = math.log2(math.e)


def _shares(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """exp(a_j - max a) of each part j, their sum, and ln sum_j exp a_j: (R, C, parts, B, T) -> itself, 1 part, 1 part.

    As powers of 2, because torch's `exp` on a CPU takes four times as long where many results are 0.
    """
    most = logits.amax(dim=2, keepdim=True).clamp_(min=LEAST)
    shares = torch.add(most * -LOG2_E, logits, alpha=LOG2_E).exp2_()
    total = shares.sum(dim=2, keepdim=True)
    return shares, total, total.log() + most


class _LogProbability(torch.autograd.Function):
    """ln P of cells, and its derivative by responsibilities.

        ln P = ln sum_j w_j p_j,   w = softmax(a),   r_j = w_j p_j / P
        d ln P / d a_j = r_j - w_j,   d ln P / d theta_k = r_k d ln p_k / d theta_k

    r_j is 0 for every bin but that of the value. One function, because the table of bins is the largest tensor of a
    likelihood, so that each pass through it counts.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        table: Tensor,
        locations: Tensor,
        log_scales: Tensor,
        cell: tuple[Tensor, Tensor, Tensor],
        others: Tensor,
        index: Tensor,
    ) -> Tensor:
        """ln P, (R, C, 1, B, T). The first four arguments are those of `CellMixture`.

        cell: where it begins, ends, and how wide it is, each (R, C, 1, B, T). others (R, C, S + 1, B, T): ln p of "the
        same" and of the value's bin. index (R, C, 1, B, T): that bin. Without bins the last two have one part less.
        """
        rate = (-log_scales).exp_()
        low, high = ((end - locations).mul_(rate) for end in cell[:2])
        width = cell[2] * rate
        prior, of_all, whole = _shares(torch.cat([logits, table], dim=2))
        inside = torch.cat([logistic_log_probability(low, high, width), others], dim=2)
        inside += torch.cat([logits, table.gather(2, index)], dim=2)
        posterior, of_these, together = _shares(inside)
        ctx.save_for_backward(rate, low, high, width, prior, of_all, posterior, of_these, index)
        return (together - whole).clamp_(max=0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        """See the head of the class."""
        rate, low, high, width, prior, of_all, posterior, of_these, index = ctx.saved_tensors
        weights = prior * (-above[0] / of_all)
        explains = posterior * (above[0] / of_these)
        logistics, others = rate.shape[2], explains.shape[2] - index.shape[2]
        weights[:, :, :others] += explains[:, :, :others]
        weights[:, :, others:].scatter_add_(2, index, explains[:, :, others:])
        of_low, of_high, of_width = (
            slope.mul_(explains[:, :, :logistics]) for slope in logistic_slopes(low, high, width)
        )
        of_rate = of_low.mul(low).add_(of_high.mul(high)).add_(of_width.mul_(width))
        of_locations = of_low.add_(of_high).mul_(rate).neg_()
        return weights[:, :, :others], weights[:, :, others:], of_locations, of_rate.neg_(), None, None, None


@dataclass(frozen=True)
class CellMixture(Family):
    """See the file's head. A weight whose logit is -inf is exactly 0; the logits need no normalisation.

    Those of the bins lie apart from the others, because there are many of them.
    """

    logits: Tensor  # (R, C, K + S, B, T): logistics, the same
    table: Tensor  # (R, C, N, B, T): bins
    locations: Tensor  # (R, C, K, B, T)
    log_scales: Tensor  # (R, C, K, B, T)
    before: Tensor  # x_{t-1}, (R, C, B, T); 0 where it is hidden
    edges: Tensor  # (R, C, N + 1), ascending; a bin without width has the weight 0. (R, C, 0) without bins
    points: Tensor  # the value of a bin that is the cell of a common value, (R, C, N); NaN of any other bin

    @property
    def _lattice(self) -> Lattice:
        return cast(Lattice, self.cells)

    @property
    def _sizes(self) -> tuple[int, int, int]:
        """K, S, N."""
        logistics = self.locations.shape[2]
        return logistics, self.logits.shape[2] - logistics, self.table.shape[2]

    @property
    def _weights(self) -> Tensor:
        """Of all parts in this order, (R, C, K + S + N, B, T)."""
        return torch.cat([self.logits, self.table], dim=2).softmax(dim=2)

    def _bin(self, x: Tensor) -> Tensor:
        """The index of each value's bin, x (R, C, B, T) -> (R, C, B, T)."""
        inner = self.edges[..., 1:-1].contiguous()
        return torch.searchsorted(inner, x.detach().flatten(2), right=True).unflatten(2, x.shape[2:])

    def _of_bins(self, of_bin: Tensor, index: Tensor) -> Tensor:
        """What is known of each bin (R, C, N), of the bins `index` (R, C, B, T)."""
        return of_bin.gather(2, index.flatten(2)).unflatten(2, index.shape[2:])

    def _cell(self, x: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
        """x inside the bounds and the width of its cell; and where the cell begins, ends, and how wide it is there.

        The lowest and the highest cell are open: the last three go as far as `BEYOND`.
        x (R, B, T, C) -> (R, C, B, T), the first width broadcastable to it.
        """
        x = self._lattice.clipped(x)
        middle, width = self.cells.cell(x)
        lowest, highest = self._lattice.ends(x, width)
        low = (middle - width / 2).masked_fill(lowest, -BEYOND)
        high = (middle + width / 2).masked_fill(highest, BEYOND)
        across = width.expand_as(x).masked_fill(lowest | highest, BEYOND)
        return by_channel(x), by_channel(width), (by_channel(low), by_channel(high), by_channel(across))

    @property
    def _repeat(self) -> Tensor:
        """The value before, inside the bounds, (R, C, B, T)."""
        return by_channel(self._lattice.clipped(self.before.movedim(1, -1)))

    def log_prob_channels(self, x: Tensor) -> Tensor:
        """ln P(cell of x_tc), (R, B, T, C)."""
        x, width, ends = self._cell(x)
        _, same, bins = self._sizes
        others, index = [], x.new_empty(*x.shape[:2], 0, *x.shape[2:], dtype=torch.int64)
        if same:
            kept = (x - self._repeat).abs() < width / 2
            others.append(torch.zeros_like(x).masked_fill(~kept, -torch.inf))
        if bins:
            at = self._bin(x)
            others.append((width.log() - self._of_bins(self.edges.diff(), at).log()).clamp(max=0))
            index = at.unsqueeze(2)
        of_others = torch.stack(others, dim=2) if others else x.unsqueeze(2)[:, :, :0]
        low, high, across = (end.unsqueeze(2) for end in ends)
        found: Tensor = _LogProbability.apply(
            self.logits, self.table, self.locations, self.log_scales, (low, high, across), of_others, index
        )
        return found.squeeze(2).movedim(1, -1)

    def log_prob_steps(self, x: Tensor) -> Tensor:
        """ln P(cells of x_t) in nats per step, (R, B, T)."""
        return self.log_prob_channels(x).sum(dim=-1)

    def cdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """P(X < l) and P(X <= u) of each value's cell, (R, B, T, C)."""
        probability = self.log_prob_channels(x).exp()
        x, width, (low, *_) = self._cell(x)
        logistics, same, bins = self._sizes
        weights = self._weights
        below = torch.zeros_like(x)
        if logistics:
            standard = (low.unsqueeze(2) - self.locations) * (-self.log_scales).exp()
            below = (weights[:, :, :logistics] * standard.sigmoid()).sum(dim=2)
        if same:
            earlier = x - self._repeat >= width / 2
            below = below + weights[:, :, logistics] * earlier
        if bins:
            index, table = self._bin(x), weights[:, :, logistics + same :]
            left, bin_width = (self._of_bins(of_bin, index) for of_bin in (self.edges, self.edges.diff()))
            here = table.gather(2, index.unsqueeze(2)).squeeze(2)
            upto = (table.cumsum(dim=2) - table).gather(2, index.unsqueeze(2)).squeeze(2)
            below = below + upto + here * ((low - left) / bin_width).clamp(0, 1)
        below = below.movedim(1, -1)
        return below, below + probability

    @property
    def mean(self) -> Tensor:
        """(R, B, T, C), of values inside the bounds, before they are rounded."""
        logistics, same, bins = self._sizes
        weights = self._weights
        mean = torch.zeros_like(weights[:, :, 0])
        if logistics:
            scales = self.log_scales.exp()
            low, high = (end[:, :, None, None, None] for end in (self._lattice.low, self._lattice.high))
            cut = functional.softplus((low - self.locations) / scales)
            cut = cut - functional.softplus((self.locations - high) / scales)
            mean = (weights[:, :, :logistics] * (self.locations + scales * cut)).sum(dim=2)
        if same:
            mean = mean + weights[:, :, logistics] * self._repeat
        if bins:
            middles = (self.edges[..., 1:] + self.edges[..., :-1]) / 2
            middles = torch.where(self.points.isnan(), middles, self.points)[..., None, None]
            mean = mean + (weights[:, :, logistics + same :] * middles).sum(dim=2)
        return mean.movedim(1, -1)

    def noise(self, draws: Draws) -> Tensor:
        """Two uniform numbers per value, (R, B, T, C, 2): which part, and where in it."""
        channels, _, *sizes = self.logits.shape[1:]
        return draws.uniform(*sizes, channels, 2).to(self.logits)

    def place(self, noise: Tensor) -> Tensor:
        """The values that this noise stands for, on the grid and inside the bounds, (R, B, T, C)."""
        logistics, same, bins = self._sizes
        which, where = map(by_channel, noise.unbind(dim=-1))
        where = where.clamp(NEARLY_ZERO, 1 - NEARLY_ZERO)
        upto = self._weights.cumsum(dim=2)
        chosen = (which.unsqueeze(2) * upto[:, :, -1:] >= upto[:, :, :-1]).sum(dim=2)
        x = torch.zeros_like(which)
        if logistics:
            index = chosen.clamp(max=logistics - 1).unsqueeze(2)
            location, log_scale = (v.gather(2, index).squeeze(2) for v in (self.locations, self.log_scales))
            x = location + log_scale.exp() * torch.logit(where)
        if bins:
            index = (chosen - logistics - same).clamp(min=0)
            left, width, point = (self._of_bins(v, index) for v in (self.edges, self.edges.diff(), self.points))
            inside = torch.where(point.isnan(), left + where * width, point)
            x = torch.where(chosen >= logistics + same, inside, x)
        x = self._lattice.rounded(x.movedim(1, -1))
        if same:
            x = torch.where(chosen.movedim(1, -1) == logistics, self._repeat.movedim(1, -1), x)
        return x

    def tempered(self, temperature: Tensor) -> CellMixture:
        """Weights to the power 1 / tau, of all parts and bins together; the logistics' scales times tau.

        A bin stays as wide as it is.
        """
        logits, table = (values / of_runs(temperature, values) for values in (self.logits, self.table))
        log_scales = self.log_scales + of_runs(temperature, self.log_scales).log()
        return dataclasses.replace(self, logits=logits, table=table, log_scales=log_scales)
