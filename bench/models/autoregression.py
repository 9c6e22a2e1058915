"""What every autoregressive decoder shares: its inputs, its likelihood, and drawing a series step by step."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import Draws, Likelihood
from bench.models.head import Head
from bench.parts.decoder_inputs import with_mask


def latent_inputs(z: Tensor, steps: int, every_step: bool, latent_steps: int = 1, window: int = 0) -> Tensor:
    """z_t, the part of the latent that is an input of step t: z (..., B, D) -> (..., B, steps, D / T').

    One latent step, T' = 1: z_t = z at t = 1, and at every t with `every_step`; else 0.
    Several, T' a divisor of T: z is T' blocks, one after the other, and z_t is block ceil(t T' / T) of 1..T'.
    window: T, which counts where `steps` are the first steps of a series only; 0: they are all.

    >>> latent_inputs(torch.tensor([[1.0, 2.0]]), 4, every_step=True, latent_steps=2).flatten().tolist()
    [1.0, 1.0, 2.0, 2.0]
    """
    if latent_steps > 1:
        blocks = z.unflatten(-1, (latent_steps, 1, -1))
        length = (window or steps) // latent_steps
        return blocks.expand(*blocks.shape[:-2], length, -1).flatten(-3, -2)[..., :steps, :]
    z = z.unsqueeze(-2)
    rest = z.expand(*z.shape[:-2], steps - 1, z.shape[-1])
    return torch.cat([z, rest if every_step else torch.zeros_like(rest)], dim=-2)


def decoder_inputs(z: Tensor, past: Tensor, every_step: bool, latent_steps: int = 1, window: int = 0) -> Tensor:
    """u_t = [x_{t-1}, hidden_{t-1}, z_t] with x_0 = 0, and z_t as in `latent_inputs`.

    hidden_t is 1 where a step of the past is hidden (see `bench.parts.decoder_inputs`), and else 0.

    z (..., B, D), past x_1..x_{T-1} (..., B, T-1, C) -> (..., B, T, C + 1 + D / T'). So the latent is the
    0-th input of the sequence [z, x_1, .., x_{T-1}], and h_1 depends on nothing else.
    """
    x = functional.pad(with_mask(past), (0, 0, 1, 0))
    return torch.cat([x, latent_inputs(z, x.shape[-2], every_step, latent_steps, window)], dim=-1)


def previous_values(past: Tensor) -> Tensor:
    """x_{t-1} as a likelihood may know it beside h_t: past (..., B, T-1, C) -> (..., B, T, C + 1).

    The last channel is 1 where the step is hidden; x_0, which there is not, counts as hidden.
    """
    nothing = functional.pad(past.new_zeros(*past.shape[:-2], 1, past.shape[-1]), (0, 1), value=1.0)
    return torch.cat([nothing, with_mask(past)], dim=-2)


class CausalNetwork(Protocol):
    """h_t = f(u_1, .., u_t)."""

    def __call__(self, u: Tensor) -> Tensor:
        """u (R, B, T, inputs) -> h (R, B, T, H)."""
        ...

    def stepper(self, batch: int, steps: int) -> Callable[[Tensor], Tensor]:
        """The same one step at a time: a function that takes u_1, u_2, .. (R, B, inputs) in turn and gives h_t."""
        ...


class AutoregressiveDecoder(nn.Module, ABC):
    """h_t = f_dec([z, x_1, .., x_{t-1}]), p(x_t | h_t); see `bench.contracts.Decoder`."""

    head: Head

    def __init__(self, window: int, every_step: bool, latent_steps: int = 1) -> None:
        super().__init__()
        self.window, self.every_step, self.latent_steps = window, every_step, latent_steps

    @property
    @abstractmethod
    def network(self) -> CausalNetwork:
        """f_dec as a function of u_t = [x_{t-1}, hidden_{t-1}, z_t]."""

    def described(self, past: Tensor) -> Tensor:
        """The past as the network sees it: with the marks of its values, where the model has them (`model.marks`).

        (R, B, T-1, C) -> (R, B, T-1, C (1 + marks)); one that is described already stays as it is.
        """
        return past if past.shape[-1] > self.head.channels else self.head.described(past)

    def inputs(self, z: Tensor, past: Tensor) -> Tensor:
        """u_1 .. u_T: z (..., B, D), past (..., B, T-1, C) -> (..., B, T, inputs); fewer where the past is shorter."""
        return decoder_inputs(z, self.described(past), self.every_step, self.latent_steps, self.window)

    def states(self, z: Tensor, past: Tensor) -> Tensor:
        """z (R, B, D), past (R, B, T-1, C) -> h (R, B, T, H)."""
        return self.network(self.inputs(z, past))

    def forward(self, z: Tensor, past: Tensor) -> Likelihood:
        """z (R, B, D), past (R, B, T-1, C) -> p(x | z, past)."""
        return self.head(self.states(z, past), previous_values(past))

    def single_mean(self, run: int, sees_past: bool = True) -> SingleMean:
        """What one run predicts for x_t, as a plain function of z (B, D) and x_prev (B, T-1, C).

        sees_past: whether the likelihood knows x_{t-1} beside h_t.
        """
        states = self.single(run)  # type: ignore[operator]
        kind = SweptMean if hasattr(states, "tangent_sweep") else SingleMean
        return kind(states, self.head.alone(run), sees_past)

    @torch.no_grad()
    def generate(self, z: Tensor, draws: Draws) -> Tensor:
        """Draw x_1, then each x_t from its own past: z (R, B, D) -> (R, B, T, C)."""
        x = z.new_zeros(*z.shape[:2], self.head.channels)
        hidden = z.new_zeros(*z.shape[:2], 1)
        previous, seen = functional.pad(x, (0, 1), value=1.0), torch.zeros_like(self.described(x.unsqueeze(2)))
        step = self.network.stepper(z.shape[1], self.window)  # there is no x_0
        series: list[Tensor] = []
        for now in latent_inputs(z, self.window, self.every_step, self.latent_steps).unbind(dim=-2):
            h = step(torch.cat([seen.squeeze(2), hidden, now], dim=-1))
            x = self.head.drawn(draws, h.unsqueeze(2), previous.unsqueeze(2))
            seen = self.head.described(x, series[-1] if series else None)
            previous = torch.cat([x.squeeze(2), hidden], dim=-1)
            series.append(x)
        return torch.cat(series, dim=2)


class SingleMean:
    """One run's predictive mean E[x_t | h_t, x_{t-1}] as a plain function; see `AutoregressiveDecoder.single_mean`.

    With autoregressive channels it is the mean of each channel given that those before it are at their own mean.
    """

    def __init__(self, states: Any, head: Head, sees_past: bool) -> None:
        self.states, self.head, self.sees_past = states, head, sees_past

    def _mean(self, h: Tensor, last: Tensor) -> Tensor:
        """h (B, T, H), last x_{t-1} (B, T, C), 0 at t = 1 -> (B, T, C)."""
        if not self.sees_past:
            return self.head(h[None]).mean[0]
        hidden = (torch.arange(h.shape[1], device=h.device) == 0).to(last.dtype)
        flags = hidden[None, :, None].expand(len(h), -1, -1)  # x_0, which there is not, counts as hidden
        return self.head(h[None], torch.cat([last, flags], dim=-1)[None]).mean[0]

    def __call__(self, z: Tensor, x_prev: Tensor) -> Tensor:
        """z (B, D), x_prev (B, T-1, C) -> E[x_t | z, x_1 .. x_{t-1}], (B, T, C)."""
        return self._mean(self.states(z, x_prev), self._last(x_prev))

    def _last(self, x_prev: Tensor) -> Tensor:
        """x_{t-1} of every step, without its marks."""
        return functional.pad(x_prev[..., : self.head.channels], (0, 0, 1, 0))


class SweptMean(SingleMean):
    """The same of a decoder whose states have a sweep of their own."""

    def tangent_sweep(self, z: Tensor, x_prev: Tensor) -> Callable[[Tensor, Tensor], tuple[Tensor, ...]]:
        """Means and their three tangents at points of the path; see `bench.metrics.dependency.Sweep`.

        The chain rule: the tangents of the states, and x_{t-1} itself among the last inputs.
        """
        own, last = self.states.tangent_sweep(z, x_prev), self._last(x_prev)
        with warnings.catch_warnings():  # the first use of forward mode warns about torch's own use of torch.jit
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.func.jvp(torch.neg, (torch.zeros(()),), (torch.zeros(()),))

        def sweep(s: Tensor, row: Tensor) -> tuple[Tensor, ...]:
            h, total, global_, local = own(s, row)
            to_last = last[row]
            point, nothing = (h, s[:, None, None] * to_last), torch.zeros_like(to_last)
            directions = ((total, to_last), (global_, nothing), (local, to_last))
            found = [torch.func.jvp(self._mean, point, direction)[:2] for direction in directions]
            return found[0][0], *(tangent for _, tangent in found)

        return sweep
