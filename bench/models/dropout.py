"""Dropout whose noise comes from a stream of `bench.randomness`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from bench.contracts import Draws


class Dropout(nn.Module):
    """In training a share `rate` of the numbers become 0, and the others grow by 1 / (1 - rate).

    Where a network has such a part, the rate is set by `set_rates`, and the noise comes from the stream of `dropping`.
    Without a rate, or outside training, the numbers pass unchanged and nothing is drawn.
    Source: Srivastava et al. 2014, JMLR 15, in the inverted form.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rate = 0.0
        self.draws: Draws | None = None

    def forward(self, a: Tensor) -> Tensor:
        """(R, ...) -> (R, ...). Raises RuntimeError in training outside `dropping`."""
        if not self.training or not self.rate:
            return a
        if self.draws is None:
            raise RuntimeError("dropout in training, outside `dropping`: no stream to take its noise from")
        return a * (self.draws.uniform(*a.shape[1:]) >= self.rate) / (1 - self.rate)


def set_rates(network: nn.Module, rate: float) -> bool:
    """Every `Dropout` of a network drops this share; whether it has any."""
    parts = [part for part in network.modules() if isinstance(part, Dropout)]
    for part in parts:
        part.rate = rate
    return bool(parts)


@contextmanager
def dropping(network: nn.Module, draws: Draws) -> Iterator[None]:
    """Inside, dropout takes its noise from `draws`."""
    parts = [part for part in network.modules() if isinstance(part, Dropout) and part.rate]
    for part in parts:
        part.draws = draws
    try:
        yield
    finally:
        for part in parts:
            part.draws = None
