"""The windows of a stack on the device: batches of them, and the series that training is checked on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from bench.contracts import Splits
from bench.randomness import Randomness

VALIDATION_SERIES = 256


class Windows:
    """The windows of each run on the device, and batches of them."""

    def __init__(self, parts: Sequence[np.ndarray], device: torch.device) -> None:
        different = {id(part): part for part in parts}  # runs that share their windows share the memory
        loaded = [torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in different.values()]
        self._values = loaded[0] if len(loaded) == 1 else torch.cat(loaded)
        split = dict(zip(different, self._values.split([len(part) for part in loaded]), strict=True))
        first = dict(zip(different, np.cumsum([0, *map(len, loaded)]).tolist(), strict=False))
        self.parts = [split[id(part)] for part in parts]
        self._first = torch.tensor([[first[id(part)]] for part in parts], device=device)
        self.counts = [len(part) for part in parts]
        self.last = torch.tensor([count - 1 for count in self.counts], device=device)

    def at(self, index: Tensor) -> Tensor:
        """index (R, B) -> (R, B, T, C)."""
        return self._values[index + self._first]


def by_count(counts: Sequence[int], device: torch.device) -> Iterator[tuple[int, Tensor]]:
    """Every number of series that some run has, and which runs have it, (R,)."""
    for n in sorted(set(counts)):
        yield n, torch.tensor([count == n for count in counts], device=device)


@dataclass(frozen=True)
class ValidationSeries:
    """Validation series of each run, at most VALIDATION_SERIES.

    A run with fewer than another is padded. What is computed of it must not notice that: neither its means nor the
    shapes of its random draws.
    """

    padded: Tensor  # (R, most, T, C)
    counts: Sequence[int]  # of each run

    @property
    def values(self) -> int:
        """How many values a series has."""
        return self.padded[0, 0].numel()

    def by_count(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Series (R, n, T, C) for every number n that some run has, and which runs have it, (R,)."""
        for n, own in by_count(self.counts, self.padded.device):
            yield self.padded[:, :n], own

    def each(self, measure: Callable[[Tensor], Tensor]) -> Tensor:
        """What `measure` of series (R, n, T, C) says of each run, (R), n being its own number of series."""
        (first, _), *others = self.by_count()
        found = measure(first)
        for x, own in others:
            found = torch.where(own, measure(x), found)
        return found


def validation_series(splits: Sequence[Splits], randomness: Randomness) -> ValidationSeries:
    """Validation series of each run, drawn without repetition."""
    windows = Windows([part.validation for part in splits], randomness.device)
    keys = {n: randomness.draws("validation series").uniform(n) for n in set(windows.counts)}
    chosen = [keys[n][run].argsort()[:VALIDATION_SERIES] for run, n in enumerate(windows.counts)]
    return ValidationSeries(windows.at(pad_sequence(chosen, batch_first=True)), [len(each) for each in chosen])
