"""Probabilities of a channel's cells as a mixture: logistics, the value before, and a table of bins.

    P(x_tc) = sum_k w_k (F_k(u) - F_k(l)) + w_same [x_tc = x_{t-1,c}] + w_bin(x) (u - l) / width of the bin

Each channel has weights of its own. Any of the three parts may be absent.
Source of the logistics: Salimans et al. 2017, PixelCNN++, arXiv:1701.05517, sec. 2.1, eq. 2. Ours: cells of any width;
each channel has logistics of its own, where the source shares the component between the channels of a pixel (sec. 2.2).
Shapes: R runs, B series, T time steps, C channels, K logistics, N bins, S = 1 with the part "the same" and else 0.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from bench.contracts import Draws
from bench.parts.cells import Lattice, logistic_log_probability
from bench.parts.likelihoods import Family, of_runs

NEARLY_ZERO = 1e-7  # a uniform draw is at least this far from 0 and 1, so that a logistic's noise is finite


class _Picked(torch.autograd.Function):
    """ln sum_n exp a_n, and the a_n that an index picks: a (..., N), index (...) -> (...), (...).

    Both at once, because the table of bins is the largest tensor of a likelihood and each pass through it counts.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """The sum and the chosen ones."""
        index = index.unsqueeze(-1)
        most = logits.amax(dim=-1, keepdim=True)
        shares = (logits - most).exp_()
        total = shares.sum(dim=-1, keepdim=True)
        ctx.save_for_backward(shares, total, index)
        return (total.log() + most).squeeze(-1), logits.gather(-1, index).squeeze(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None]:
        """The shares, and one at the index."""
        shares, total, index = ctx.saved_tensors
        of_sum, of_one = (given.unsqueeze(-1) for given in above)
        return (shares * (of_sum / total)).scatter_add_(-1, index, of_one), None


@dataclass(frozen=True)
class CellMixture(Family):
    """See the file's head. A weight whose logit is -inf is exactly 0; the logits need no normalisation.

    Those of the bins lie apart from the others, because there are many of them.
    """

    logits: Tensor  # (R, B, T, C, K + S): logistics, the same
    table: Tensor  # (R, B, T, C, N): bins
    locations: Tensor  # (R, B, T, C, K)
    log_scales: Tensor  # (R, B, T, C, K)
    before: Tensor  # x_{t-1}, (R, B, T, C); 0 where it is hidden
    edges: Tensor  # (R, C, N + 1), ascending; a bin without width has the weight 0. (R, C, 0) without bins
    points: Tensor  # the value of a bin that is the cell of a common value, (R, C, N); NaN of any other bin

    @property
    def _lattice(self) -> Lattice:
        return cast(Lattice, self.cells)

    @property
    def _sizes(self) -> tuple[int, int, int]:
        """K, S, N."""
        logistics = self.locations.shape[-1]
        return logistics, self.logits.shape[-1] - logistics, self.table.shape[-1]

    @property
    def _weights(self) -> Tensor:
        """Of all parts in this order, (R, B, T, C, K + S + N)."""
        return torch.cat([self.logits, self.table], dim=-1).softmax(dim=-1)

    def _bin(self, x: Tensor) -> Tensor:
        """The index of each value's bin, (R, B, T, C)."""
        values = x.detach().flatten(1, 2).mT.contiguous()
        inner = self.edges[..., 1:-1].contiguous()
        return torch.searchsorted(inner, values, right=True).mT.unflatten(1, x.shape[1:3])

    def _of_bins(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The left edge and the width of the bins `index` (R, B, T, C)."""
        flat = index.flatten(1, 2).mT
        left, width = (v.gather(-1, flat).mT.unflatten(1, index.shape[1:3]) for v in (self.edges, self.edges.diff()))
        return left, width

    def _standard(self, low: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """Cells from `low` in units of every logistic, (R, B, T, C, K)."""
        rate = (-self.log_scales).exp()
        return (low.unsqueeze(-1) - self.locations) * rate, width.unsqueeze(-1) * rate

    def _cell(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """x inside the bounds, its cell's lower end and width, and whether it is the lowest or the highest cell."""
        x = self._lattice.clipped(x)
        middle, width = self.cells.cell(x)
        lowest, highest = self._lattice.ends(x, width)
        return x, middle - width / 2, width, lowest, highest

    def _same(self, x: Tensor, width: Tensor) -> Tensor:
        """Whether each value is in the cell of the one before."""
        return (x - self._lattice.clipped(self.before)).abs() < width / 2

    def log_prob_channels(self, x: Tensor) -> Tensor:
        """ln P(cell of x_tc), (R, B, T, C)."""
        x, low, width, lowest, highest = self._cell(x)
        logistics, same, bins = self._sizes
        parts, whole = [], []
        if logistics:
            at = self._standard(low, width)
            each = logistic_log_probability(*at, lowest.unsqueeze(-1), highest.unsqueeze(-1))
            parts.append(self.logits[..., :logistics] + each if same else self.logits + each)
        if same:
            weight = self.logits[..., logistics]
            parts.append(weight.masked_fill(~self._same(x, width), -torch.inf).unsqueeze(-1))
        if logistics + same:
            whole.append(self.logits.logsumexp(dim=-1))
        if bins:
            index = self._bin(x)
            of_table, weight = _Picked.apply(self.table, index)
            share = (width.log() - self._of_bins(index)[1].log()).clamp(max=0)
            parts.append((weight + share).unsqueeze(-1))
            whole.append(of_table)
        together = parts[0].squeeze(-1) if len(parts) == 1 and bins else torch.cat(parts, dim=-1).logsumexp(dim=-1)
        total = whole[0] if len(whole) == 1 else torch.logaddexp(*whole)
        return (together - total).clamp(max=0)

    def log_prob_steps(self, x: Tensor) -> Tensor:
        """ln P(cells of x_t) in nats per step, (R, B, T)."""
        return self.log_prob_channels(x).sum(dim=-1)

    def cdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """P(X < l) and P(X <= u) of each value's cell, (R, B, T, C)."""
        probability = self.log_prob_channels(x).exp()
        x, low, width, lowest, _ = self._cell(x)
        logistics, same, bins = self._sizes
        weights = self._weights
        below = torch.zeros_like(x)
        if logistics:
            below = (weights[..., :logistics] * self._standard(low, width)[0].sigmoid()).sum(dim=-1)
            below = below.masked_fill(lowest, 0)
        if same:
            earlier = ~self._same(x, width) & (self._lattice.clipped(self.before) < x)
            below = below + weights[..., logistics] * earlier
        if bins:
            index, table = self._bin(x), weights[..., logistics + same :]
            (left, bin_width), here = self._of_bins(index), table.gather(-1, index.unsqueeze(-1)).squeeze(-1)
            upto = functional.pad(table.cumsum(dim=-1), (1, 0)).gather(-1, index.unsqueeze(-1)).squeeze(-1)
            below = below + upto + here * ((low - left) / bin_width).clamp(0, 1)
        return below, below + probability

    @property
    def mean(self) -> Tensor:
        """(R, B, T, C), of values inside the bounds, before they are rounded."""
        logistics, same, bins = self._sizes
        weights = self._weights
        mean = torch.zeros_like(weights[..., 0])
        if logistics:
            scales = self.log_scales.exp()
            low, high = (end[:, None, None, :, None] for end in (self._lattice.low, self._lattice.high))
            cut = functional.softplus((low - self.locations) / scales)
            cut = cut - functional.softplus((self.locations - high) / scales)
            mean = (weights[..., :logistics] * (self.locations + scales * cut)).sum(dim=-1)
        if same:
            mean = mean + weights[..., logistics] * self._lattice.clipped(self.before)
        if bins:
            middles = (self.edges[..., 1:] + self.edges[..., :-1]) / 2
            middles = torch.where(self.points.isnan(), middles, self.points)[:, None, None]
            mean = mean + (weights[..., logistics + same :] * middles).sum(dim=-1)
        return mean

    def noise(self, draws: Draws) -> Tensor:
        """Two uniform numbers per value, (R, B, T, C, 2): which part, and where in it."""
        return draws.uniform(*self.logits.shape[1:4], 2).to(self.logits)

    def place(self, noise: Tensor) -> Tensor:
        """The values that this noise stands for, on the grid and inside the bounds, (R, B, T, C)."""
        logistics, same, bins = self._sizes
        which, where = noise.unbind(dim=-1)
        where = where.clamp(NEARLY_ZERO, 1 - NEARLY_ZERO)
        upto = self._weights.cumsum(dim=-1)
        chosen = (which.unsqueeze(-1) * upto[..., -1:] >= upto[..., :-1]).sum(dim=-1)
        x = torch.zeros_like(which)
        if logistics:
            index = chosen.clamp(max=logistics - 1).unsqueeze(-1)
            location, log_scale = (v.gather(-1, index).squeeze(-1) for v in (self.locations, self.log_scales))
            x = location + log_scale.exp() * torch.logit(where)
        if bins:
            index = (chosen - logistics - same).clamp(min=0)
            left, width = self._of_bins(index)
            point = self.points.gather(-1, index.flatten(1, 2).mT).mT.unflatten(1, index.shape[1:3])
            inside = torch.where(point.isnan(), left + where * width, point)
            x = torch.where(chosen >= logistics + same, inside, x)
        x = self._lattice.rounded(x)
        if same:
            x = torch.where(chosen == logistics, self._lattice.clipped(self.before), x)
        return x

    def tempered(self, temperature: Tensor) -> CellMixture:
        """Weights to the power 1 / tau, of all parts and bins together; the logistics' scales times tau.

        A bin stays as wide as it is.
        """
        logits, table = (values / of_runs(temperature, values) for values in (self.logits, self.table))
        log_scales = self.log_scales + of_runs(temperature, self.log_scales).log()
        return dataclasses.replace(self, logits=logits, table=table, log_scales=log_scales)
