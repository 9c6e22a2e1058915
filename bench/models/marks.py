"""What a network is told of a value beside the number: whether it is a bound, a common value, or the one before again.

A network is smooth in the number, so it hardly tells 0 from 1 on a scale of 0 to 100, and forgets that a stroke has
touched its border. As with words, an input of its own for each value that matters says it exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.parts.cells import MeasuredIntervals
from bench.parts.decoder_inputs import HIDDEN

COMMON = 3  # values of a channel, beside its least and its largest one
OWN = COMMON + 2  # values of a channel that have a mark
MARKS = OWN + 1  # also "the same as before"
SHARE = 0.01  # of the training values that a common value has at least
VALUES = 200_000  # at most per channel, evenly spaced, that are counted


class Marks(nn.Module):
    """x (R, B, T, C) -> [x, marks] (R, B, T, C (1 + MARKS)); a mark is 1 or 0.

    The marks of a channel: x is in the cell of its least training value, of the largest one, of each of at most COMMON
    values that hold SHARE of the training values or more, and of the value one step before. A hidden step is hidden.
    """

    def __init__(self, runs: int, channels: int) -> None:
        super().__init__()
        self.values: Tensor  # train-scaled; NaN where a channel has fewer
        self.register_buffer("values", torch.full((runs, channels, OWN), torch.nan))

    def fit(self, run: int, x: Tensor) -> None:
        """Take the values that are marked from one run's training windows x (n, T, C)."""
        for channel, values in enumerate(x.flatten(0, 1).unbind(dim=-1)):
            ends = torch.stack([values.min(), values.max()])
            different, counts = torch.unique(values[:: -(-len(values) // VALUES)], return_counts=True)
            counts[torch.isin(different, ends) | (counts < SHARE * counts.sum())] = 0
            order = counts.argsort(descending=True, stable=True)[:COMMON]
            self.values[run, channel, :2] = ends
            self.values[run, channel, 2 : 2 + len(order)] = different[order].masked_fill(counts[order] == 0, torch.nan)

    def forward(self, x: Tensor, cells: MeasuredIntervals, before: Tensor | None = None) -> Tensor:
        """before: x one step before the first, (R, B, 1, C); none: there is nothing, or it is hidden."""
        hidden = x[..., :1] == HIDDEN
        value = x.masked_fill(hidden, 0)
        earlier = torch.cat([torch.full_like(x[:, :, :1], HIDDEN) if before is None else before, x[:, :, :-1]], dim=2)
        reference = torch.cat([self.values[:, None, None].expand(*x.shape, -1), earlier.unsqueeze(-1)], dim=-1)
        half = (cells.cell(value)[1] / 2).unsqueeze(-1)
        marks = ((value.unsqueeze(-1) - reference).abs() < half).to(x.dtype)
        return torch.cat([x, marks.flatten(-2)], dim=-1)
