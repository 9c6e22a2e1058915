"""From a decoder's state to a distribution of the next values: one head per `model.likelihood`."""

from __future__ import annotations

import copy
import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from bench.contracts import Cells, Draws, Likelihood, ModelConfig, Unavailable
from bench.models.channels import AutoregressiveChannels, AutoregressiveGaussians, ByChannel, MaskedChannels
from bench.models.marks import MARKS, Marks
from bench.models.stacked import Linear
from bench.parts.cells import MeasuredIntervals
from bench.parts.likelihoods import (
    SCORES,
    CorrelatedGaussian,
    Family,
    Gaussian,
    Marginal,
    Mixture,
    WarpedGaussian,
    tempered,
)
from bench.registry import LIKELIHOODS, register_likelihood

MEMORY = 100.0  # updates that the running scale remembers, but at most a tenth of those that were made
FINEST_SIGMA = 1e-3  # no floor is below it
CELL_SERIES = 2000  # at most, evenly spaced among the training windows, for the mean width of a cell
RAW_LIMIT = 7.0  # a deviation is at most e^7 times the residuals', or less than its floor


ALL = slice(None)


class Head(nn.Module, ABC):
    """h (R, B, T, H), x_{t-1} -> p(x | h), and the same family without h as the marginal F of the training windows.

    The class docstring is the card of the likelihood. A scale is no parameter: it is the mean square of the residuals,
    of the batch where the reconstruction is trained (`bench.parts.likelihoods.fitted`) and elsewhere a running mean,
    never below `floor`. An optimiser would move it by its learning rate per update, so that at a small budget it would
    show how many updates were made.
    Raises Unavailable for autoregressive channels where the head is no `ChannelHead`.
    """

    intervals: ClassVar[type[MeasuredIntervals]] = MeasuredIntervals
    fits_marginal: bool = False  # whether F is a head of its own, fitted to the windows; see `bench.models.marginal`
    temperature: Tensor | None = None  # of each run in generation, (R,); none: 1. See `StackedModel.temperature`

    def __init__(self, runs: int, hidden: int, channels: int, config: ModelConfig) -> None:
        super().__init__()
        if config.channels == "autoregressive" and not isinstance(self, ChannelHead):
            raise Unavailable(
                f"model.channels = autoregressive: the likelihood {config.likelihood} has no numbers per channel "
                "(it is no `bench.models.head.ChannelHead`)"
            )
        self.channels = channels
        self.cells = self.intervals(runs, channels)
        self.marks = Marks(runs, channels) if config.marks else None
        if self.predicts_means:
            self.mean = Linear(runs, hidden, config.components * channels if self.mixes else channels)
        self.sigma_min = config.sigma_min
        self.floor: Tensor  # of a standard deviation, in train-scaled units
        self.register_buffer("floor", torch.full((runs, channels), self.sigma_min or FINEST_SIGMA))

    mixes: ClassVar[bool] = False  # whether the head predicts `components` means
    predicts_means: ClassVar[bool] = True  # whether it has the layer `mean`

    @property
    def described_width(self) -> int:
        """How many numbers a step of `described` values has."""
        return self.channels if self.marks is None else self.channels * (1 + MARKS)

    def described(self, x: Tensor, before: Tensor | None = None) -> Tensor:
        """Values x (R, B, T, C) as networks see them, with marks where they have any; see `bench.models.marks`."""
        return x if self.marks is None else self.marks(x, self.cells, before)

    @abstractmethod
    def forward(self, h: Tensor, previous: Tensor | None = None) -> Likelihood:
        """(R, B, T, H) -> p(x | h).

        previous: x_{t-1} and in one more channel whether it is hidden, (R, B, T, C + 1); none: it is hidden everywhere.
        """

    def drawn(self, draws: Draws, h: Tensor, previous: Tensor | None = None) -> Tensor:
        """x ~ p(x | h) at the sampling temperature, (R, B, T, C): what every generation draws."""
        return tempered(self(h, previous), self.temperature).sample(draws)

    def marginal(self, x: Tensor, floor: Tensor) -> Marginal:
        """F of one run, fitted to its windows x (n, T, C) with its floor (C,); the fields without R and B."""
        return Gaussian.marginal(x, floor)

    def fit(self, windows: Sequence[Tensor], cells: Sequence[Cells | None]) -> None:
        """Take what is no parameter from each run's training windows (n, T, C) and its cells (none: continuous ones).

        Without a stated `sigma_min` the floor of a channel is the deviation within its mean cell, width / sqrt(12).
        """
        for run, (x, of_run) in enumerate(zip(windows, cells, strict=True)):
            if of_run is not None:
                self.cells.fit(run, of_run)
            if self.marks is not None:
                self.marks.fit(run, x)
            if self.sigma_min is None:
                some = x[None, :: -(-len(x) // CELL_SERIES)]
                width = self.cells.of_run(run).cell(some)[1].expand_as(some)
                self.floor[run] = (width.mean(dim=(0, 1, 2)) / math.sqrt(12)).clamp(min=FINEST_SIGMA)

    def alone(self, run: int) -> Head:
        """A copy of one run, R = 1, without gradients."""
        one, runs = copy.deepcopy(self), len(self.floor)
        for part in one.modules():
            for name, value in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
                if len(value) == runs and name not in part._non_persistent_buffers_set:
                    value.data = value.data[run : run + 1]
        return one.requires_grad_(False)


Parts = tuple[Tensor, ...]
"""What h says of the channels: numbers per channel in the last dimension of each, unless a head says otherwise."""


class ChannelHead(Head):
    """A head that has numbers for every channel, which channels before it may move; see `bench.models.channels`."""

    numbers: ClassVar[int] = 1  # per channel that the channels before it move
    follows: ClassVar[bool] = False  # whether it has a scale that follows the residuals

    def __init__(self, runs: int, hidden: int, channels: int, config: ModelConfig) -> None:
        super().__init__(runs, hidden, channels, config)
        self.masked: MaskedChannels | None = None
        if config.channels == "autoregressive":
            self.masked = MaskedChannels(runs, hidden, channels, self.numbers_per_channel(config))
            self.fits_marginal = True

    def numbers_per_channel(self, config: ModelConfig) -> int:
        """How many numbers of a channel the channels before it move."""
        return self.numbers

    @abstractmethod
    def parts(self, h: Tensor) -> Parts:
        """What h (R, B, T, H) says of the channels."""

    def moved(self, parts: Parts, by: Tensor) -> Parts:
        """The parts moved by (R, B, T, C, numbers)."""
        return tuple(part + move for part, move in zip(parts, by.unbind(dim=-1), strict=True))

    def some(self, parts: Parts, c: slice) -> Parts:
        """The parts of some channels."""
        return tuple(part[..., c] for part in parts)

    @abstractmethod
    def build(self, parts: Parts, previous: Tensor | None, c: slice = ALL, square: Tensor | None = None) -> Family:
        """The distribution of some channels, each given its parts. square: of the residuals, where it is known."""

    def forward(self, h: Tensor, previous: Tensor | None = None) -> Likelihood:
        """(R, B, T, H), (R, B, T, C + 1) -> p(x | h)."""
        if self.masked is None:
            return cast(Likelihood, self.build(self.parts(h), previous))
        own = AutoregressiveGaussians if self.follows and not self.mixes else AutoregressiveChannels
        return own(cast(ByChannel, self), self.parts(h), self.masked.of_state(h), previous)

    def fit(self, windows: Sequence[Tensor], cells: Sequence[Cells | None]) -> None:
        """Also the usual change of each channel from one step to the next."""
        super().fit(windows, cells)
        if self.masked is not None:
            for run, x in enumerate(windows):
                self.masked.change[run] = usual_change(x)


def usual_change(x: Tensor) -> Tensor:
    """mean |x_t - x_{t-1}| of windows (n, T, C), nowhere below the narrowest cell; 1 where there is one step, (C,)."""
    if x.shape[1] == 1:
        return torch.ones_like(x[0, 0])
    return x.diff(dim=1).abs().mean(dim=(0, 1)).clamp(min=FINEST_SIGMA)


class FollowingHead(ChannelHead):
    """A head whose scale follows the residuals."""

    follows = True

    def __init__(self, runs: int, hidden: int, channels: int, config: ModelConfig) -> None:
        super().__init__(runs, hidden, channels, config)
        self.square: Tensor  # running mean square of the residuals
        self.register_buffer("square", self.squares(torch.ones(runs, 1, 1, channels), None))
        self.updates: Tensor  # that it has seen
        self.register_buffer("updates", torch.zeros(runs))

    @abstractmethod
    def family(self, parts: Parts, square: Tensor, c: slice) -> Family:
        """The distribution of some channels with the scale of these mean squares."""

    def build(self, parts: Parts, previous: Tensor | None, c: slice = ALL, square: Tensor | None = None) -> Family:
        """With the running scale, unless another one is given; once fitted with a batch's."""

        def refit(residual: Tensor, weight: Tensor | None) -> Any:
            return self.build(parts, previous, c, self.observe(residual, weight))

        p = self.family(parts, self.square if square is None else square, c)
        return dataclasses.replace(p, cells=self.cells.of_channels(c), refit=refit)

    @torch.no_grad()
    def observe(self, residual: Tensor, weight: Tensor | None) -> Tensor:
        """The mean square of residuals (R, B, T, C), each series weighted; in training the running one follows it."""
        square = self.squares(residual, weight)
        if self.training:
            self.updates += 1
            rate = (10 / self.updates).clamp(1 / MEMORY, 1)
            rate = rate.reshape(-1, *(1,) * (square.ndim - 1))
            self.square.copy_(torch.where(square.isfinite(), self.square + rate * (square - self.square), self.square))
        return square

    def squares(self, residual: Tensor, weight: Tensor | None) -> Tensor:
        """The mean square of each channel, (R, C)."""
        return _mean(residual.square(), weight)

    def forget(self) -> None:
        """The next residuals that are observed in training are all that the running scale knows."""
        self.updates.zero_()

    def sigma(self, square: Tensor) -> Tensor:
        """The deviation that mean squares (R, C) stand for, (R, 1, 1, C)."""
        return torch.maximum(square.sqrt(), self.floor)[:, None, None]


def _mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """Over series and steps, each series weighted: (R, B, T, ...) -> (R, ...)."""
    of_series = values.mean(dim=2)
    if weight is None:
        return of_series.mean(dim=1)
    share = weight / weight.sum(dim=1, keepdim=True).clamp(min=1e-12)
    return (share.reshape(*share.shape, *(1,) * (of_series.ndim - 2)) * of_series).sum(dim=1)


def _stretched(base: Tensor, raw: Tensor, floor: Tensor) -> Tensor:
    """base e^raw, never below the floor and nowhere without a gradient: the root of the sum of their squares."""
    spread = base * raw.clamp(-RAW_LIMIT, RAW_LIMIT).exp()
    return (spread.square() + floor.square()).sqrt()


@register_likelihood("gaussian")
class GaussianHead(FollowingHead):
    """Independent Gaussians with a standard deviation per channel.

        p(x_t | h_t) = N(x_t; W h_t + b, diag sigma^2),   sigma^2 = max(mean (x - W h - b)^2, floor^2)

    Source: Kingma and Welling 2014, arXiv:1312.6114, app. C.2; sigma is the best one for the residuals, as in
    sigma-VAE, Rybkin et al. 2021, arXiv:2006.13202, eq. 5.
    Ours: sigma depends on the channel; outside the reconstruction term it is a running mean.
    """

    def parts(self, h: Tensor) -> Parts:
        """The means."""
        return (self.mean(h),)

    def family(self, parts: Parts, square: Tensor, c: slice) -> Gaussian:
        """N(mean, sigma^2)."""
        return Gaussian(parts[0], self.sigma(square)[..., c])


@register_likelihood("mse")
class MSEHead(ChannelHead):
    """Independent Gaussians of variance 1: the squared error as a likelihood.

        p(x_t | h_t) = N(x_t; W h_t + b, I),   -ln p = |x_t - W h_t - b|^2 / 2 + const

    Source: the squared error that most autoencoders are trained with.
    Ours: a sample is the mean, because noise of size 1 would be no model of anything.
    """

    def parts(self, h: Tensor) -> Parts:
        """The means."""
        return (self.mean(h),)

    def build(self, parts: Parts, previous: Tensor | None, c: slice = ALL, square: Tensor | None = None) -> Gaussian:
        """N(mean, 1)."""
        (mean,) = parts
        return Gaussian(mean, torch.ones_like(mean[:, :1, :1]), noisy=False, cells=self.cells.of_channels(c))

    def marginal(self, x: Tensor, floor: Tensor) -> Gaussian:
        """With the same sigma = 1."""
        mean = x.mean(dim=0)
        return Gaussian(mean, torch.ones_like(mean))


@register_likelihood("heteroscedastic")
class HeteroscedasticHead(FollowingHead):
    """Independent Gaussians with a standard deviation for every step and channel.

        p(x_t | h_t) = N(x_t; mean(h_t), diag sigma(h_t)^2),   sigma^2 = floor^2 + (s exp(W h + b))^2

    Source: Kingma and Welling 2014, arXiv:1312.6114, app. C.2.
    Ours: s is the root mean square of the residuals per channel, so the rest begins at 1 and moves on a log scale.
    """

    numbers = 2

    def __init__(self, runs: int, hidden: int, channels: int, config: ModelConfig) -> None:
        super().__init__(runs, hidden, channels, config)
        self.raw_sigma = small(Linear(runs, hidden, channels))

    def parts(self, h: Tensor) -> Parts:
        """The means, and the logarithms by which the deviations are stretched."""
        return self.mean(h), self.raw_sigma(h)

    def family(self, parts: Parts, square: Tensor, c: slice) -> Gaussian:
        """N(mean, sigma^2)."""
        mean, raw = parts
        return Gaussian(mean, _stretched(self.sigma(square)[..., c], raw, self.floor[:, None, None, c]))


@register_likelihood("correlated")
class CorrelatedHead(FollowingHead):
    """A Gaussian with a covariance of the channels, the same at every step.

        p(x_t | h_t) = N(x_t; W h_t + b, S + diag floor^2),   S the mean of (x - W h - b) (x - W h - b)^T

    Source: the multivariate normal distribution; S as sigma^2 in sigma-VAE, Rybkin et al. 2021,
    arXiv:2006.13202, eq. 5.
    """

    def __init__(self, runs: int, hidden: int, channels: int, config: ModelConfig) -> None:
        super().__init__(runs, hidden, channels, config)
        self.square.copy_(torch.eye(channels))

    def squares(self, residual: Tensor, weight: Tensor | None) -> Tensor:
        """The mean product of each pair of channels, (R, C, C)."""
        runs, batch, steps = residual.shape[:3]
        weight = residual.new_ones(runs, batch) if weight is None else weight
        share = weight / (weight.sum(dim=1, keepdim=True).clamp(min=1e-12) * steps)
        flat = residual.flatten(1, 2).double()  # in float64, which no lower precision of products touches
        weighted = share.repeat_interleave(steps, dim=1).unsqueeze(-1) * flat
        return (weighted.mT @ flat).to(residual.dtype)

    def parts(self, h: Tensor) -> Parts:
        """The means."""
        return (self.mean(h),)

    def family(self, parts: Parts, square: Tensor, c: slice) -> CorrelatedGaussian:
        """N(mean, S + floor^2); of some channels the covariance is that of all, which their places do not need."""
        return CorrelatedGaussian.of_covariance(parts[0], square[:, None, None], self.floor[:, None, None])

    def marginal(self, x: Tensor, floor: Tensor) -> CorrelatedGaussian:
        """With a covariance per time step."""
        return CorrelatedGaussian.marginal(x, floor)


@register_likelihood("quantile")
class QuantileHead(FollowingHead):
    """A Gaussian of g(x), where g maps each channel's training quantiles to those of a normal distribution.

        p(x_t | h_t) = N(g(x_t); W h_t + b, diag sigma^2) prod_c g'(x_{t,c})
        sigma^2 = max(mean (g(x) - W h - b)^2, floor^2)

    Source: the rank-based inverse normal transform, Beasley et al. 2009, Behavior Genetics 39, 580-595.
    Ours: g is piecewise linear between 25 quantiles; see `bench.parts.likelihoods.WarpedGaussian`.
    """

    def __init__(self, runs: int, hidden: int, channels: int, config: ModelConfig) -> None:
        super().__init__(runs, hidden, channels, config)
        self.knots: Tensor
        self.register_buffer("knots", torch.tensor(SCORES).repeat(runs, channels, 1))

    def fit(self, windows: Sequence[Tensor], cells: Sequence[Cells | None]) -> None:
        """The cells and g of each run."""
        super().fit(windows, cells)
        for run, x in enumerate(windows):
            self.knots[run].copy_(WarpedGaussian.fitted_knots(x, self.floor[run]))

    def parts(self, h: Tensor) -> Parts:
        """The means of g(x)."""
        return (self.mean(h),)

    def family(self, parts: Parts, square: Tensor, c: slice) -> WarpedGaussian:
        """N(mean, sigma^2) of g(x)."""
        return WarpedGaussian(parts[0], self.sigma(square)[..., c], self.knots[:, None, None, c])

    def marginal(self, x: Tensor, floor: Tensor) -> WarpedGaussian:
        """With the same g."""
        return WarpedGaussian.marginal(x, floor)


@register_likelihood("mixture")
class MixtureHead(FollowingHead):
    """A mixture of K diagonal Gaussians whose weights, means and standard deviations depend on h.

        p(x_t | h_t) = sum_k w_k(h_t) N(x_t; mean_k(h_t), diag sigma_k(h_t)^2)
        sigma_k^2 = floor^2 + (s exp(W_k h + b_k))^2

    Source: Bishop 1994, mixture density networks.
    Ours: the K components are shared by the channels of a step; s is the root mean square of x - sum_k w_k mean_k per
    channel. See `bench.parts.likelihoods.Mixture`.
    """

    mixes = True

    def __init__(self, runs: int, hidden: int, channels: int, config: ModelConfig) -> None:
        super().__init__(runs, hidden, channels, config)
        self.components = config.components
        self.mean.bias.bound = 1.0  # type: ignore[attr-defined]  # components that begin together part slowly
        self.raw_sigma = small(Linear(runs, hidden, channels * self.components))
        self.weights = Linear(runs, hidden, self.components)

    def numbers_per_channel(self, config: ModelConfig) -> int:
        """A mean and a deviation for every component."""
        return 2 * config.components

    def parts(self, h: Tensor) -> Parts:
        """Means and raw deviations (R, B, T, K, C), and the logarithms of the weights (R, B, T, K)."""
        means, raw = (part(h).unflatten(-1, (self.components, -1)) for part in (self.mean, self.raw_sigma))
        return means, raw, self.weights(h).log_softmax(dim=-1)

    def moved(self, parts: Parts, by: Tensor) -> Parts:
        """Means and deviations moved by (R, B, T, C, 2 K); the weights are those of the step."""
        means, raw, log_weights = parts
        of_means, of_raw = by.mT.chunk(2, dim=-2)
        return means + of_means, raw + of_raw, log_weights

    def some(self, parts: Parts, c: slice) -> Parts:
        """Means and deviations of some channels; the weights are those of the step."""
        means, raw, log_weights = parts
        return means[..., c], raw[..., c], log_weights

    def family(self, parts: Parts, square: Tensor, c: slice) -> Mixture:
        """The mixture."""
        means, raw, log_weights = parts
        sigma, floor = self.sigma(square).unsqueeze(-2)[..., c], self.floor[:, None, None, None, c]
        return Mixture(log_weights, means, _stretched(sigma, raw, floor))

    def marginal(self, x: Tensor, floor: Tensor) -> Mixture:
        """With as many components per time step."""
        return Mixture.marginal(x, floor, self.components)


def small(layer: Linear) -> Linear:
    """The layer with weights that begin at zero, so that what it gives begins at zero."""
    for weights in layer.parameters():
        weights.bound = 0.0  # type: ignore[attr-defined]
    return layer


def make_head(runs: int, hidden: int, channels: int, config: ModelConfig) -> Head:
    """The head that `model.likelihood` names, on states h of width `hidden`."""
    head: Head = LIKELIHOODS[config.likelihood](runs, hidden, channels, config)
    return head
