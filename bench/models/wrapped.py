"""A backbone's networks behind a change of what goes in or comes out.

Decoders that see less, or see the latent through a map: the state h_t stays the backbone's, and the dependency measures
are those of the whole, from z and the past. An encoder whose numbers are put into another order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from bench.contracts import Draws, Likelihood
from bench.models.head import Head


class SeriesDecoder(Protocol):
    """What a backbone's decoder offers beside `bench.contracts.Decoder`."""

    window: int
    head: Head

    def described(self, past: Tensor) -> Tensor:
        """The past as its network sees it."""
        ...

    def states(self, z: Tensor, past: Tensor) -> Tensor:
        """h, (R, B, T, H)."""
        ...

    def __call__(self, z: Tensor, past: Tensor) -> Likelihood:
        """p(x | z, past)."""
        ...

    def generate(self, z: Tensor, draws: Draws) -> Tensor:
        """x, (R, B, T, C)."""
        ...

    def single(self, run: int) -> Any:
        """h of one run as a function of z (B, D) and x_prev (B, T-1, C)."""
        ...

    def single_mean(self, run: int, sees_past: bool = True) -> Any:
        """E[x_t] of one run, the same way."""
        ...


class DescribingEncoder(nn.Module):
    """An encoder that sees the marks of values; see `bench.models.marks`."""

    def __init__(self, inner: nn.Module, head: Head) -> None:
        super().__init__()
        self.inner = inner
        self._head = (head,)  # in a tuple: it is the decoder's, and its buffers are saved once

    def forward(self, x: Tensor) -> Tensor:
        """x (R, B, T, C) -> what the encoder gives."""
        return self.inner(self._head[0].described(x))


class StepwiseEncoder(nn.Module):
    """An encoder of several latent steps that gives its numbers in the order of one step.

    A backbone gives all numbers of step 1, then those of step 2: [mu_1, ln sigma_1, mu_2, ..]. A method cuts them into
    equal parts, [mu, ln sigma]. So here they are mu of all steps, then ln sigma of all steps.
    """

    def __init__(self, inner: nn.Module, latent_steps: int, latent: int) -> None:
        super().__init__()
        self.inner, self.shape = inner, (latent_steps, -1, latent)

    def forward(self, x: Tensor) -> Tensor:
        """x (R, B, T, C) -> (R, B, k T' D'), k numbers per latent dimension."""
        return self.inner(x).unflatten(-1, self.shape).transpose(-3, -2).flatten(-3)


class BlindDecoder(nn.Module):
    """A decoder to which the latent, or the past, is always zero; see `bench.contracts.Decoder`.

    Without the past nothing that it draws is an input, so a series is drawn in one pass.
    """

    def __init__(self, inner: nn.Module, to: Literal["latent", "past"]) -> None:
        super().__init__()
        self.inner: SeriesDecoder = inner  # type: ignore[assignment]
        self.blind_to = to

    def described(self, past: Tensor) -> Tensor:
        """The past as the inner decoder's network sees it."""
        return self.inner.described(past)

    def _seen(self, z: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        return (torch.zeros_like(z), past) if self.blind_to == "latent" else (z, torch.zeros_like(self.described(past)))

    def states(self, z: Tensor, past: Tensor) -> Tensor:
        """z (R, B, D), past (R, B, T-1, C) -> h (R, B, T, H)."""
        return self.inner.states(*self._seen(z, past))

    def forward(self, z: Tensor, past: Tensor) -> Likelihood:
        """z (R, B, D), past (R, B, T-1, C) -> p(x | z, past); a likelihood knows no value before it either."""
        if self.blind_to == "past":
            return self.inner.head(self.states(z, past))
        return self.inner(*self._seen(z, past))

    @torch.no_grad()
    def generate(self, z: Tensor, draws: Draws) -> Tensor:
        """z (R, B, D) -> (R, B, T, C)."""
        if self.blind_to == "latent":
            return self.inner.generate(torch.zeros_like(z), draws)
        past = z.new_zeros(*z.shape[:2], self.inner.window - 1, self.inner.head.channels)
        return self.inner.head.drawn(draws, self.states(z, past))

    def single(self, run: int) -> SingleBlindDecoder:
        """The decoder of one run as a plain function of z (B, D) and x_prev (B, T-1, C)."""
        return _blind(self.inner.single(run), self._seen)

    def single_mean(self, run: int, sees_past: bool = True) -> SingleBlindDecoder:
        """E[x_t] of one run as a plain function of z (B, D) and x_prev (B, T-1, C)."""
        mean = self.inner.single_mean(run, sees_past and self.blind_to != "past")
        return _blind(mean, self._seen)


class SingleBlindDecoder:
    """One run's h."""

    def __init__(self, inner: Any, seen: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
        self.inner, self.seen = inner, seen

    def __call__(self, z: Tensor, x_prev: Tensor) -> Tensor:
        """z (B, D), x_prev (B, T-1, C) -> h (B, T, H)."""
        return self.inner(*self.seen(z, x_prev))


class SweptBlindDecoder(SingleBlindDecoder):
    """The same with the inner decoder's tangents, because a zeroed input is linear in s."""

    def tangent_sweep(self, z: Tensor, x_prev: Tensor) -> Any:
        """h and its three tangents at points of the path; see `bench.metrics.dependency.Sweep`."""
        return self.inner.tangent_sweep(*self.seen(z, x_prev))


def _blind(inner: Any, seen: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> SingleBlindDecoder:
    """With tangents where the inner function has them: the dependency measures look for the method."""
    kind = SweptBlindDecoder if hasattr(inner, "tangent_sweep") else SingleBlindDecoder
    return kind(inner, seen)


class MappedDecoder(nn.Module):
    """A decoder that gets f(z) in the latent's place; see `bench.contracts.Decoder`.

    f is a network z (R, B, D) -> (R, B, D) with a method `single(run)`, the same for one run.
    """

    def __init__(self, inner: nn.Module, latent_map: nn.Module) -> None:
        super().__init__()
        self.inner: SeriesDecoder = inner  # type: ignore[assignment]
        self.latent_map = latent_map

    def described(self, past: Tensor) -> Tensor:
        """The past as the inner decoder's network sees it."""
        return self.inner.described(past)

    def states(self, z: Tensor, past: Tensor) -> Tensor:
        """z (R, B, D), past (R, B, T-1, C) -> h (R, B, T, H)."""
        return self.inner.states(self.latent_map(z), past)

    def forward(self, z: Tensor, past: Tensor) -> Likelihood:
        """z (R, B, D), past (R, B, T-1, C) -> p(x | f(z), past)."""
        return self.inner(self.latent_map(z), past)

    @torch.no_grad()
    def generate(self, z: Tensor, draws: Draws) -> Tensor:
        """z (R, B, D) -> (R, B, T, C)."""
        return self.inner.generate(self.latent_map(z), draws)

    def single(self, run: int) -> Callable[[Tensor, Tensor], Tensor]:
        """h of one run as a function of z (B, D) and x_prev (B, T-1, C), differentiable in forward mode."""
        inner, latent_map = self.inner.single(run), self.latent_map.single(run)  # type: ignore[operator]
        return lambda z, x_prev: inner(latent_map(z), x_prev)

    def single_mean(self, run: int, sees_past: bool = True) -> Callable[[Tensor, Tensor], Tensor]:
        """E[x_t] of one run, the same way."""
        inner, latent_map = self.inner.single_mean(run, sees_past), self.latent_map.single(run)  # type: ignore[operator]
        return lambda z, x_prev: inner(latent_map(z), x_prev)
