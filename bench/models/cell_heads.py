"""Likelihoods whose every channel is a distribution over its own cells: logistics, a repeat, a table of bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from bench.contracts import Cells, ModelConfig
from bench.models.head import ALL, ChannelHead, Parts, small, usual_change
from bench.models.stacked import Linear, linear_outputs_first
from bench.parts.cell_mixture import CellMixture
from bench.parts.cells import Lattice, by_channel
from bench.registry import register_likelihood

RAW_LIMIT = 7.0  # a logistic's scale is at most e^7 times where it began, or as much less
NARROWER = 1.2  # each anchored logistic begins e^1.2 times as narrow as the one before
MEAN_OF_LOGISTIC = 1.386294  # E|X| of the standard logistic, 2 ln 2
EXACT = 0.004  # a value with a larger share of the training windows has a bin of its own, where there are enough bins
REPEATS = 0.01  # a channel that keeps its value more often may say so
IN_TABLE = 0.5  # of the weight of a table beside logistics, where training begins
VALUES = 200_000  # at most per channel, evenly spaced, that the bins are made from
FINEST = 1e-6  # the narrowest bin, in training standard deviations
NEARLY_ALL = 0.9  # of the values in a cell that are equal, from which on they are drawn exactly


class CellHead(ChannelHead):
    """The head of `bench.parts.cell_mixture.CellMixture`; what each part begins with is taken from the windows.

    A logistic is anchored at x_{t-1}, or free. Where x_{t-1} is hidden, anchored ones and "the same" have no weight.
    """

    intervals = Lattice
    predicts_means = False
    fits_marginal = True
    logistic: ClassVar[bool] = False
    most_bins: ClassVar[int] = 0  # of a channel, where the sweep file does not say
    repeats: ClassVar[bool] = False  # the part "the same"
    cells: Lattice

    def __init__(self, runs: int, hidden: int, channels: int, config: ModelConfig) -> None:
        super().__init__(runs, hidden, channels, config)
        self.logistics, self.bins = config.components * self.logistic, self.bins_of(config)
        self.anchored = (self.logistics + 1) // 2
        self.others = self.logistics + self.repeats  # weights beside those of the bins
        self.raw = small(Linear(runs, hidden, channels * self.numbers_per_channel(config)))
        self.location: Tensor  # where each logistic begins, from its anchor
        self.register_buffer("location", torch.zeros(runs, channels, self.logistics))
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(runs, channels, self.logistics))
        self.logit: Tensor
        self.register_buffer("logit", torch.zeros(runs, channels, self.others + self.bins))
        self.edges: Tensor  # of the bins, train-scaled
        ends = torch.linspace(-4, 4, self.bins + 1) if self.bins else torch.zeros(0)
        self.register_buffer("edges", ends.repeat(runs, channels, 1))
        self.points: Tensor  # see `CellMixture`
        self.register_buffer("points", torch.full((runs, channels, self.bins), torch.nan))
        needs = torch.zeros(self.others, dtype=torch.bool)
        needs[: self.anchored] = True
        needs[self.logistics :] = True
        self.needs_previous: Tensor  # which weights
        self.register_buffer("needs_previous", needs, persistent=False)
        anchored = (torch.arange(self.logistics) < self.anchored).float()
        self.is_anchored: Tensor
        self.register_buffer("is_anchored", anchored, persistent=False)

    def bins_of(self, config: ModelConfig) -> int:
        """How many bins a channel may have."""
        return (config.bins or self.most_bins) if self.most_bins else 0

    def numbers_per_channel(self, config: ModelConfig) -> int:
        """Weights, and a location and a scale per logistic."""
        logistics = config.components * self.logistic
        return 3 * logistics + self.repeats + self.bins_of(config)

    def parts(self, h: Tensor) -> Parts:
        """All numbers of each channel, (R, C, numbers, B, T): weights, locations, scales, bins."""
        begin = [self.logit[..., : self.others], self.location / self.scale, self.scale.log()]
        offset = torch.cat([*begin, self.logit[..., self.others :]], dim=-1).flatten(1)
        numbers = linear_outputs_first(h, self.raw.weight, self.raw.bias + offset)
        return (numbers.unflatten(1, (self.channels, -1)),)

    def moved(self, parts: Parts, by: Tensor) -> Parts:
        """Their sum."""
        return (parts[0] + by.permute(0, 3, 4, 1, 2),)

    def some(self, parts: Parts, c: slice) -> Parts:
        """Of some channels."""
        return (parts[0][:, c],)

    def build(self, parts: Parts, previous: Tensor | None, c: slice = ALL, square: Tensor | None = None) -> CellMixture:
        """The mixture of some channels."""
        sizes = [self.others, self.logistics, self.logistics, self.bins]
        logits, locations, log_scales, table = parts[0].split(sizes, dim=2)
        scale = self.scale[:, c, :, None, None]
        if previous is None:
            before, hidden = torch.zeros_like(parts[0][:, :, 0]), None
        else:
            before, hidden = by_channel(previous[..., :-1][..., c]), previous[..., -1:].movedim(-1, 1) > 0
        if self.others:
            without = self.needs_previous[:, None, None]
            if hidden is not None:
                without = without & hidden.unsqueeze(2)
            logits = logits + torch.zeros_like(without, dtype=logits.dtype).masked_fill(without, -torch.inf)
            locations = scale * locations + before.unsqueeze(2) * self.is_anchored[:, None, None]
            least = scale.log()
            log_scales = log_scales.clamp(least - RAW_LIMIT, least + RAW_LIMIT)
        cells = self.cells.of_channels(c)
        edges, points = self.edges[:, c], self.points[:, c]
        return CellMixture(logits, table, locations, log_scales, before, edges, points, cells=cells)

    def fit(self, windows: Sequence[Tensor], cells: Sequence[Cells | None]) -> None:
        """Bounds, bins, and where the logistics and the weights begin, of each run."""
        super().fit(windows, cells)
        for run, x in enumerate(windows):
            own = self.cells.of_run(run)
            if self.bins and not own.low.isfinite().all():  # no cells are known: the table ends where the windows do
                low, high = x.amin(dim=(0, 1)), x.amax(dim=(0, 1))
                own.low[0], own.high[0] = low, high
            if self.logistics:
                self._fit_logistics(run, x)
            for channel in range(self.channels):
                self._fit_weights(run, channel, x[..., channel])

    def _fit_logistics(self, run: int, x: Tensor) -> None:
        """Anchored ones as wide as the usual change and narrower, free ones where the quantiles are."""
        change = usual_change(x) / MEAN_OF_LOGISTIC
        free = self.logistics - self.anchored
        narrower = torch.exp(-NARROWER * torch.arange(self.anchored, device=x.device))
        self.scale[run, :, : self.anchored] = change[:, None] * narrower
        values = x.flatten(0, 1)
        values = values[:: -(-len(values) // VALUES)].double()
        shares = (torch.arange(free, device=x.device) + 0.5).double() / free
        spread = values.std(dim=0, correction=0).clamp(min=1e-2)[:, None] / free
        self.location[run, :, self.anchored :] = torch.quantile(values, shares, dim=0).mT.to(x.dtype)
        self.scale[run, :, self.anchored :] = spread.expand(-1, free).to(x.dtype)

    def _fit_weights(self, run: int, channel: int, x: Tensor) -> None:
        """Where the weights of a channel begin, and its bins: x (n, T)."""
        logistics, repeats = self.logistics, 0.0
        logit = self.logit[run, channel]
        own = self.cells.of_run(run).of_channels(slice(channel, channel + 1))
        if self.repeats:
            width = own.cell(x[None, ..., None])[1].expand(1, *x.shape, 1)[0, ..., 0]
            if x.shape[1] > 1:
                repeats = float(((x.diff(dim=1)).abs() < width[:, 1:] / 2).float().mean())
            repeats = repeats if repeats > REPEATS else 0.0
            logit[logistics] = torch.tensor(repeats).log()
        rest = max(1 - repeats, 1e-2)
        if self.bins:
            table = bins_of(x.flatten(), own, self.bins)
            mine = rest * (IN_TABLE if logistics else 1.0)
            rest -= mine
            self.edges[run, channel], self.points[run, channel] = table.edges, table.point
            logit[self.others :] = table.share.log() + torch.tensor(mine).log()
        if logistics:
            logit[:logistics] = torch.tensor(rest / logistics).log()


class Table(NamedTuple):
    """The bins of a channel: edges (N + 1,) ascending, and of each the share of the values, 0 for one of no width."""

    edges: Tensor
    share: Tensor
    point: Tensor  # the value whose cell a bin is, and that nearly all values in it have; else NaN


def bins_of(values: Tensor, cells: Lattice, most: int) -> Table:
    """At most `most` bins of a channel's values (n,): common values have their own, the rest lies between quantiles.

    cells: of this channel. Bins end where cells do. A bin that holds no value keeps a share of 1e-6 and a bit.
    """
    values = values[:: -(-len(values) // VALUES)].double()
    different, counts = torch.unique(values, return_counts=True)
    at = different[None, None, :, None].float()
    middle, width = (part.flatten() for part in cells.cell(at, FINEST))  # a common value's own cell, however narrow
    width = width.expand_as(different).double()
    lower, upper = middle.double() - width / 2, middle.double() + width / 2
    share, gap = counts / counts.sum(), 0.25 * width.min()
    edges = _apart(torch.cat([lower, upper]), gap)
    if len(edges) > most + 1:  # not every value can have its own
        exact = share.argsort(descending=True, stable=True)[: most // 3]
        exact = exact[share[exact] >= EXACT]
        rest = torch.ones_like(share, dtype=torch.bool)
        rest[exact] = False
        upto, left = share[rest].cumsum(dim=0), most - 2 * len(exact)
        at = torch.arange(1, left, device=values.device) / left * upto[-1]
        quantiles = lower[rest][torch.searchsorted(upto, at).clamp(max=len(upto) - 1)]
        edges = _apart(torch.cat([lower[:1], upper[-1:], lower[exact], upper[exact], quantiles]), gap)
    inside = torch.bucketize((lower + upper) / 2, edges[1:-1])
    held = torch.zeros(len(edges) - 1, device=values.device).index_add_(0, inside, share.float())
    atom = (share > NEARLY_ALL * held[inside]) & (edges.diff()[inside] <= width + 2 * gap)
    held = (held + 1e-6) / (held + 1e-6).sum()
    point = torch.full_like(held, torch.nan).index_copy_(0, inside[atom], different[atom].float())
    missing = most - len(held)
    return Table(
        functional.pad(edges[None], (0, missing), mode="replicate")[0].float() if missing else edges.float(),
        functional.pad(held, (0, missing)),
        functional.pad(point, (0, missing), value=torch.nan),
    )


def _apart(places: Tensor, gap: Tensor) -> Tensor:
    """Places in order, those that are no more than `gap` after another left out."""
    places = places.sort().values
    return places[functional.pad(places.diff() > gap, (1, 0), value=True)]


@register_likelihood("discretized_logistic")
class DiscretizedLogisticHead(CellHead):
    """A mixture of logistics per channel, as the probability of the value's cell.

        P(x_tc) = sum_k w_k (F_k(u) - F_k(l)),   F_k logistic around x_{t-1,c} + m_k or around m_k

    Half of the `components` (rounded up) are anchored at the value before, because series move smoothly, and the others
    are not, because a purely anchored mixture is a random walk. Where x_{t-1} is hidden only the latter have weight.
    The cells at the least and the largest training value are open-ended; a value beyond them is in those cells.
    Weights, m_k and the logarithms of the scales are linear in h_t; they begin at the channel's usual change, or at its
    quantiles and deviation.
    Source: Salimans et al. 2017, PixelCNN++, arXiv:1701.05517, sec. 2.1.
    Ours: the anchors, and weights of its own for each channel.
    """

    logistic = True


@register_likelihood("categorical")
class CategoricalHead(CellHead):
    """A table of at most `bins` bins per channel.

        P(x_tc) = w_bin(x) (u - l) / width of the bin,   w = softmax(W h_t + b)

    Where there are enough bins, every value of the training windows has its own; else those with a share of .4 % or
    more do, at most a third as many as there are bins. The rest is in bins between quantiles, uniform inside, so that
    a channel of many levels (10,000 and more) is merged into them, and a value that only test windows have keeps a
    probability. A bin is uniform in train-scaled units, which on a grid without a transform is uniform over its cells.
    Values beyond the bounds of the training values are in the last cell.
    Source: van den Oord et al. 2016, arXiv:1601.06759 (a softmax over values).
    Ours: the bins.
    """

    most_bins = 128


@register_likelihood("mixed")
class MixedHead(CellHead):
    """Point masses at common values and at the value before, bins, and discretised logistics in one mixture.

        P(x_tc) = sum_k w_k (F_k(u) - F_k(l)) + w_same [x_tc = x_{t-1,c}] + w_bin(x) (u - l) / width of the bin

    The logistics are those of `discretized_logistic`; the bins are those of `categorical`, by default at most 32 of
    them, so that common values are exact and a channel that jumps has its shape. "The same" has a weight where more
    than 1 % of the training steps repeat the value before. All weights of a channel are one softmax; they begin at the
    shares in the training windows.
    Source: Salimans et al. 2017, arXiv:1701.05517; zero-inflated distributions, Lambert 1992, Technometrics 34, 1.
    Ours: their sum.
    """

    logistic = True
    repeats = True
    most_bins = 32  # few, because logistics do the rest
