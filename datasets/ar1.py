"""`ar1`: no latent at all, the negative control."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.contracts import Dataset, Recordings, option
from bench.registry import register_dataset


@register_dataset("ar1")
@dataclass(frozen=True)
class AR1(Dataset):
    """Independent first-order autoregressions: the past holds all the information about the next step.

        x_{t,c} = .8 x_{t-1,c} + .6 e_{t,c},  e ~ N(0, 1),  x_{1,c} ~ N(0, 1)

    Stationary with variance .6^2 / (1 - .8^2) = 1. There is no global latent, so no method can gain from one.
    Channels: x1..xC, no unit. Split by series.
    """

    source = "simulated: x_t = .8 x_{t-1} + .6 e_t"
    licence = "none needed (simulated)"

    series: int = option(4000, at_least=10)
    window: int = option(24, at_least=2)  # T
    channels: int = option(5, at_least=1)  # C

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """A fresh draw of all series."""
        x = rng.standard_normal((self.series, self.window, self.channels))
        for t in range(1, self.window):
            x[:, t] = 0.8 * x[:, t - 1] + 0.6 * x[:, t]
        return Recordings.simulated(x)
