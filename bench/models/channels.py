"""The channels of a step one after another: a masked network, and the likelihood whose parameters it moves.

    theta_tc = W_c h_t + b_c + O_c relu(U h_t + sum_{c' < c} V_cc' f(x_tc', x_{t-1,c'}) + d_c)

theta_tc are the numbers that a likelihood has for a channel. In training all channels are computed in one pass, given
the true values before them; in generation one after another. Source: MADE, Germain et al. 2015, arXiv:1502.03509; the
hidden layer's shared part U as in NADE, Uria et al. 2016, arXiv:1605.02226.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from bench.contracts import Draws, Likelihood
from bench.models.stacked import Linear, by_run, linear, linear_outputs_first, parameter, per_run
from bench.parts.cells import MeasuredIntervals, by_channel
from bench.parts.likelihoods import Family, Standardised, Stepwise, tempered

WIDTH = 32  # hidden units per channel
FEATURES = 3
REACH = 5.0  # of a value and of its change, in units of their usual size; larger ones are cut


class MaskedChannels(nn.Module):
    """The part of theta that depends on the channels before, (R, B, T, C, outputs); zero where training begins.

    f(x, before) = [x, (x - before) / usual change, (x - before) / cell], each cut off, the changes 0 where the step
    before is hidden: the last one says exactly whether a value stayed the same.
    """

    def __init__(self, runs: int, hidden: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.channels = channels
        self.of_state = Linear(runs, hidden, WIDTH)
        bound = 1 / math.sqrt(channels * FEATURES)
        self.of_channels = parameter(runs, channels * WIDTH, channels * FEATURES, bound=bound)
        self.bias = parameter(runs, channels, WIDTH, bound=bound, decays=False)
        self.output = parameter(runs, channels, WIDTH, outputs, bound=0.0)
        self.change: Tensor  # the usual size of x_t - x_{t-1}
        self.register_buffer("change", torch.ones(runs, channels))
        before = torch.ones(channels, channels).tril(-1)
        self.before: Tensor
        self.register_buffer(
            "before", before.repeat_interleave(WIDTH, 0).repeat_interleave(FEATURES, 1), persistent=False
        )

    def features(self, x: Tensor, previous: Tensor | None, cells: MeasuredIntervals, c: slice) -> Tensor:
        """f of some channels, x (R, B, T, c) -> (R, B, T, c FEATURES)."""
        value = x.clamp(-REACH, REACH)
        if previous is None:
            changes = [torch.zeros_like(value)] * 2
        else:
            seen = 1 - previous[..., -1:]
            change = (x - previous[..., :-1][..., c]) * seen
            width = cells.cell(x)[1]
            usual = change / self.change[:, None, None, c]
            changes = [usual.clamp(-REACH, REACH), (change / width).clamp(-1, 1)]
        return torch.stack([by_channel(part) for part in (value, *changes)], dim=2).flatten(1, 2).movedim(1, -1)

    def forward(self, context: Tensor, features: Tensor) -> Tensor:
        """context U h (R, B, T, WIDTH), features (R, B, T, C FEATURES) -> (R, B, T, C, outputs).

        In memory series and steps are last: each number of each channel is a contiguous row.
        """
        hidden = linear_outputs_first(features, self.of_channels * self.before, self.bias.flatten(1))
        hidden = hidden.flatten(2).unflatten(1, (self.channels, WIDTH))
        hidden = (hidden + context.flatten(1, 2).mT.contiguous().unsqueeze(1)).relu_()
        if hidden.device.type == "cpu":
            moved = per_run([of_run.mT @ own for of_run, own in zip(by_run(self.output), by_run(hidden), strict=True)])
        else:
            moved = self.output.mT @ hidden
        return moved.unflatten(-1, context.shape[1:3]).permute(0, 3, 4, 1, 2).to(context.dtype)

    def channel(self, context: Tensor, before: Tensor, c: int) -> Tensor:
        """Of one channel, given the features of those before it, (R, B, T, c FEATURES) -> (R, B, T, 1, outputs)."""
        rows = slice(c * WIDTH, (c + 1) * WIDTH)
        hidden = context + self.bias[:, None, None, c]
        if c:
            hidden = hidden + linear(before, self.of_channels[:, rows, : c * FEATURES])
        return linear_outputs_first(hidden.relu(), self.output[:, c].mT).movedim(1, -1).unsqueeze(-2)


class ByChannel(Protocol):
    """What a head offers to a likelihood whose channels are predicted one after another."""

    masked: MaskedChannels
    cells: MeasuredIntervals
    channels: int
    follows: bool  # whether it has a scale that follows the residuals

    def moved(self, parts: Any, by: Tensor) -> Any:
        """The parts with the numbers of each channel moved by (R, B, T, C, outputs)."""
        ...

    def some(self, parts: Any, c: slice) -> Any:
        """The parts of some channels."""
        ...

    def build(self, parts: Any, previous: Tensor | None, c: slice, square: Tensor | None) -> Family:
        """The distribution of some channels."""
        ...

    def observe(self, residual: Tensor, weight: Tensor | None) -> Tensor:
        """The scale of these residuals."""
        ...


@dataclass(frozen=True)
class AutoregressiveChannels(Family):
    """p(x_t | h_t) = prod_c p(x_tc | h_t, x_t1 .. x_t,c-1), of any family; see the file's head."""

    head: ByChannel
    parts: Any  # what h says of the channels
    context: Tensor  # U h, (R, B, T, WIDTH)
    previous: Tensor | None  # x_{t-1} and whether it is hidden, (R, B, T, C + 1)
    square: Tensor | None = None  # a scale that was fitted
    temperature: Tensor | None = None  # of each run, (R,); none: 1
    _known: list[Any] = field(default_factory=list, repr=False, compare=False)  # the last x and its parts

    def given(self, x: Tensor) -> Any:
        """The distribution whose every channel is given those of x (R, B, T, C) before it: a family of one pass."""
        if not self._known or self._known[0] is not x:
            features = self.head.masked.features(x, self.previous, self.head.cells, slice(None))
            moved = self.head.moved(self.parts, self.head.masked(self.context, features))
            self._known[:] = [x, moved]
        return self._family(self._known[1])

    def _family(self, parts: Any, c: slice = slice(None)) -> Any:
        """The distribution of some channels, at the temperature."""
        p = cast(Likelihood, self.head.build(parts, self.previous, c, self.square))
        return tempered(p, self.temperature)

    def tempered(self, temperature: Tensor) -> AutoregressiveChannels:
        """Every channel, given those before it, at these temperatures."""
        return dataclasses.replace(self, temperature=temperature)

    def log_prob_steps(self, x: Tensor) -> Tensor:
        """ln P(cells of x_t) in nats per step, (R, B, T)."""
        p: Stepwise = self.given(x)
        return p.log_prob_steps(x)

    def cdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """P(X_c < l_c) and P(X_c <= u_c) given the channels before, (R, B, T, C)."""
        below, upto = self.given(x).cdf(x)
        return below, upto

    def residual(self, x: Tensor) -> Tensor:
        """x minus what is predicted from h and the channels before, (R, B, T, C)."""
        residual: Tensor = self.given(x).residual(x)
        return residual

    def fitted(self, x: Tensor, weight: Tensor | None = None) -> Likelihood:
        """With the scale of this batch."""
        if not self.head.follows:
            return self
        return dataclasses.replace(self, square=self.head.observe(self.residual(x), weight))

    @property
    def mean(self) -> Tensor:
        """(R, B, T, C), of each channel given that those before it are at their own mean."""
        return self._in_turn(lambda p, c: p.mean)

    def sample(self, draws: Draws) -> Tensor:
        """x ~ p, (R, B, T, C), channel by channel."""
        noise = self._family(self.parts).noise(draws)
        return self._in_turn(lambda p, c: p.place(noise[..., c, :]))

    def _in_turn(self, value: Callable[[Any, slice], Tensor]) -> Tensor:
        """`value` of each channel's distribution given the values of those before it."""
        masked, values, before = self.head.masked, [], self.context[..., :0]
        for channel in range(self.head.channels):
            c = slice(channel, channel + 1)
            parts = self.head.moved(self.head.some(self.parts, c), masked.channel(self.context, before, channel))
            values.append(value(self._family(parts, c), c))
            found = masked.features(values[-1], self.previous, self.head.cells.of_channels(c), c)
            before = torch.cat([before, found], dim=-1)
        return torch.cat(values, dim=-1)


@dataclass(frozen=True)
class AutoregressiveGaussians(AutoregressiveChannels):
    """The same of a family that has residuals in units of the stated deviation."""

    def standardised(self, x: Tensor) -> Tensor:
        """Independent N(0, 1) values under p, (R, B, T, C)."""
        p: Standardised = self.given(x)
        return p.standardised(x)
