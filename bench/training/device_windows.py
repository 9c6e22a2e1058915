"""The windows of a stack on the device: batches of them, and the series that training is checked on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

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
        self.last = torch.tensor([len(part) - 1 for part in parts], device=device)

    def at(self, index: Tensor) -> Tensor:
        """index (R, B) -> (R, B, T, C)."""
        return self._values[index + self._first]


def validation_series(splits: Sequence[Splits], randomness: Randomness) -> Tensor:
    """The same number of validation series for each run, (R, n, T, C)."""
    n = min(VALIDATION_SERIES, *(len(part.validation) for part in splits))
    windows = Windows([part.validation for part in splits], randomness.device)
    last = randomness.draws("validation series").uniform(max(len(part.validation) for part in splits))
    chosen = [order[: len(part.validation)].argsort()[:n] for order, part in zip(last, splits, strict=True)]
    return windows.at(torch.stack(chosen))
