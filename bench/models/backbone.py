"""What a backbone is: the networks that read a series and that write one."""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import nn

from bench.models.autoregression import AutoregressiveDecoder
from bench.models.head import Head


class MakeEncoder(Protocol):
    """Makes the network x (R, B, T, C) -> (R, B, T' outputs) for R runs: `outputs` numbers per latent step."""

    def __call__(
        self, runs: int, channels: int, hidden: int, layers: int, outputs: int, latent_steps: int = 1
    ) -> nn.Module:
        """The method says how many outputs it wants.

        latent_steps: T', a divisor of T. The numbers of one latent step stand together, one step after the other; each
        may see the whole series.
        """
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
        latent_steps: int = 1,
    ) -> AutoregressiveDecoder:
        """latent: D / T', the numbers of z that are an input of one step.

        every_step: whether z is an input of every step, and not of the first one only.
        latent_steps: T', the blocks of z; see `bench.models.autoregression.latent_inputs`.
        """
        ...


class Backbone:
    """An encoder and a decoder. The class docstring is the backbone's card: the network, its sizes, its source.

    Every parameter is (R, ...) and made by `bench.models.stacked.parameter` or a layer of that module.
    """

    name: ClassVar[str]  # set by the registry
    encoder: ClassVar[MakeEncoder]
    decoder: ClassVar[MakeDecoder]
