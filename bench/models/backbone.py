"""What a backbone is: the networks that read a series and that write one."""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import nn

from bench.models.autoregression import AutoregressiveDecoder
from bench.models.head import Head


class MakeEncoder(Protocol):
    """Makes the network x (R, B, T, C) -> (R, B, outputs) for R runs."""

    def __call__(self, runs: int, channels: int, hidden: int, layers: int, outputs: int) -> nn.Module:
        """The method says how many outputs it wants."""
        ...


class MakeDecoder(Protocol):
    """Makes the network z (R, B, D), x_1..x_{T-1} (R, B, T-1, C) -> p(x | h) for R runs; `head` is its last layer."""

    def __call__(
        self,
        runs: int,
        channels: int,
        latent: int,
        hidden: int,
        layers: int,
        window: int,
        every_step: bool,
        head: Head,
    ) -> AutoregressiveDecoder:
        """every_step: whether z is an input of every step, and not of the first one only."""
        ...


class Backbone:
    """An encoder and a decoder. The class docstring is the backbone's card: the network, its sizes, its source.

    Every parameter is (R, ...) and made by `bench.models.stacked.parameter` or a layer of that module.
    """

    name: ClassVar[str]  # set by the registry
    encoder: ClassVar[MakeEncoder]
    decoder: ClassVar[MakeDecoder]
