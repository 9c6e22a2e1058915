"""`regimes`: the latent fixes the shape of the whole series."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.contracts import Dataset, Recordings, option
from bench.randomness import numpy_generator
from bench.registry import register_dataset


@register_dataset("regimes")
@dataclass(frozen=True)
class Regimes(Dataset):
    """One of 8 fixed shapes per series, scaled, shifted and with white noise.

        x_{t,c} = a p_{k,t,c} + l_c + .3 e_{t,c}
        k ~ U{1..8},  a ~ U(.6, 1.4),  l_c ~ N(0, .3^2),  e ~ N(0, 1)

    The prototypes p_k are random walks over t, standardised per channel. They are the same for every seed; only the
    series differ. A latent with k, a and l explains all but white noise, so this data set shows collapse most clearly.
    Channels: x1..xC, no unit. Split by series.
    """

    source = "simulated: x = a p_k + l + .3 e (see the card)"
    licence = "none needed (simulated)"

    series: int = option(4000, at_least=10)
    window: int = option(24, at_least=2)  # T
    channels: int = option(6, at_least=1)  # C
    prototypes: int = option(8, at_least=1)

    def shapes(self) -> np.ndarray:
        """The prototypes, (K, T, C)."""
        rng = numpy_generator("regimes", 0, "prototypes")
        walks = rng.standard_normal((self.prototypes, self.window, self.channels)).cumsum(axis=1)
        return (walks - walks.mean(axis=1, keepdims=True)) / walks.std(axis=1, keepdims=True)

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """A fresh draw of all series."""
        n, size = self.series, (self.series, self.window, self.channels)
        prototype = rng.integers(self.prototypes, size=n)
        shape = self.shapes()[prototype]
        amplitude = rng.uniform(0.6, 1.4, size=(n, 1, 1))
        level = 0.3 * rng.standard_normal((n, 1, self.channels))
        x = amplitude * shape + level + 0.3 * rng.standard_normal(size)
        which = np.eye(self.prototypes)[prototype]
        return Recordings.simulated(x, prototype=which, amplitude=amplitude[:, 0], level=level[:, 0])
