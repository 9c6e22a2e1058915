"""`dialled_latent`: an option sets how much of the series a global latent explains, from nothing to everything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.contracts import Dataset, Recordings, option
from bench.randomness import numpy_generator
from bench.registry import register_dataset


@register_dataset("dialled_latent")
@dataclass(frozen=True)
class DialledLatent(Dataset):
    """A share of the variance comes from a global latent, the rest from autoregressive noise.

        x_{t,c} = sqrt(a) w_{t,c} . z + sqrt(1 - a) u_{t,c},   a = `information`,   z ~ N(0, I_D)
        u_{t,c} = .8 u_{t-1,c} + .6 e_{t,c},   e ~ N(0, 1),   u_1 stationary
        w_{t,c,d} ~ cos(pi d t / T + p_{c,d}),   |w_{t,c}| = 1,   phases p ~ U(0, 2 pi), the same for every seed

    The marginal of every x_{t,c} is N(0, 1) for every a; only the information that a latent can carry changes. a = 0 is
    `ar1`, where a latent carries none; at a = 1 there is no noise, and a latent of D dimensions determines the series.
    Channels: x1..xC, no unit. Split by series.
    """

    source = "simulated: x = sqrt(a) w z + sqrt(1 - a) u (see the card)"
    licence = "none needed (simulated)"

    information: float = option(0.5, at_least=0, at_most=1)  # a
    series: int = option(4000, at_least=10)
    window: int = option(24, at_least=2)  # T
    channels: int = option(5, at_least=1)  # C
    latent: int = option(4, at_least=1)  # D

    def directions(self) -> np.ndarray:
        """w, (T, C, D), of length 1 over D."""
        phase = numpy_generator("dialled_latent", 0, "phases").uniform(0, 2 * np.pi, (self.channels, self.latent))
        t, d = np.arange(1, self.window + 1)[:, None, None], np.arange(1, self.latent + 1)
        w = np.cos(np.pi * d * t / self.window + phase)
        return w / np.linalg.norm(w, axis=-1, keepdims=True)

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """A fresh draw of all series."""
        z = rng.standard_normal((self.series, self.latent))
        u = rng.standard_normal((self.series, self.window, self.channels))
        for t in range(1, self.window):
            u[:, t] = 0.8 * u[:, t - 1] + 0.6 * u[:, t]
        told = np.einsum("tcd,nd->ntc", self.directions(), z)
        x = np.sqrt(self.information) * told + np.sqrt(1 - self.information) * u
        return Recordings.simulated(x, latent=z)
