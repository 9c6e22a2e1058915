"""`sines`: level, amplitude, frequency and phase are the latent; the noise is autoregressive."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bench.contracts import Dataset, Recordings, option
from bench.registry import register_dataset


@register_dataset("sines")
@dataclass(frozen=True)
class Sines(Dataset):
    """One sine per series, shared by all channels up to level and phase, plus autoregressive noise.

        x_{t,c} = l_c + a sqrt(2) sin(2 pi f t / T + p + p_c) + u_{t,c},   t = 1..T
        l_c ~ N(0, 1),  a ~ U(.5, 1.5),  f ~ U(1, 4),  p ~ U(0, 2 pi),  p_c ~ U(-.7, .7)
        u_{t,c} = .5 u_{t-1,c} + .3 e_{t,c},  e ~ N(0, 1),  u_1 stationary

    Amplitude, frequency and phase p are one per series; level and phase shift p_c one per series and channel.
    `form: timegan` is the set of this name in the literature, as published code draws it:

        x_{t,c} = (1 + sin(f_c t + p_c)) / 2,   t = 0..T-1,   f_c, p_c ~ U(0, .1) per series and channel

    with 10,000 series and 5 channels there. Its scores are computed on these values, without any further scaling.
    Source of that form: Yoon et al. 2019 (TimeGAN), published code, whose paper states U(0, 1) and U(-pi, pi); Yuan and
    Qiao 2024 (Diffusion-TS) draw the same.
    Channels: x1..xC, no unit. Split by series.
    """

    source = "simulated: a level, a sine and AR(1) noise (see the card)"
    licence = "none needed (simulated)"

    series: int = option(4000, at_least=10)
    window: int = option(24, at_least=2)  # T
    channels: int = option(6, at_least=1)  # C
    form: Literal["noisy", "timegan"] = "noisy"

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """A fresh draw of all series."""
        n, channels = self.series, self.channels
        if self.form == "timegan":
            frequency, phase = rng.uniform(0, 0.1, size=(2, n, 1, channels))
            x = (1 + np.sin(frequency * np.arange(self.window)[None, :, None] + phase)) / 2
            truth = {"frequency": frequency[:, 0], "phase": phase[:, 0]}
            return dataclasses.replace(Recordings.simulated(x, **truth), zero_one=(0.0, 1.0))
        level = rng.standard_normal((n, 1, channels))
        amplitude = rng.uniform(0.5, 1.5, size=(n, 1, 1))
        frequency = rng.uniform(1, 4, size=(n, 1, 1))
        phase = rng.uniform(0, 2 * np.pi, size=(n, 1, 1)) + rng.uniform(-0.7, 0.7, size=(n, 1, channels))
        t = np.arange(1, self.window + 1)[None, :, None]
        noise = 0.3 * rng.standard_normal((n, self.window, channels))
        noise[:, 0] /= np.sqrt(1 - 0.5**2)
        for step in range(1, self.window):
            noise[:, step] += 0.5 * noise[:, step - 1]
        x = level + amplitude * np.sqrt(2) * np.sin(2 * np.pi * frequency * t / self.window + phase) + noise
        phase = phase[:, 0]
        return Recordings.simulated(
            x,
            level=level[:, 0],
            amplitude=amplitude[:, 0],
            frequency=frequency[:, 0],
            phase=np.hstack([np.sin(phase), np.cos(phase)]),
        )
