"""`linear_gaussian`: a latent variable model whose likelihood is known exactly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.contracts import Dataset, Recordings, option
from bench.randomness import numpy_generator
from bench.registry import register_dataset


@register_dataset("linear_gaussian")
@dataclass(frozen=True)
class LinearGaussian(Dataset):
    """A linear function of a Gaussian latent plus autoregressive noise; ln p(x) is known in closed form.

        x_t = W_t z + b + u_t,   z ~ N(0, I_D),   u_t = .5 u_{t-1} + s e_t,   e ~ N(0, I_C),   u_1 stationary
        (W_t)_{c,d} = a_{c,d} cos(pi (d - 1) (t - 1/2) / T) / sqrt(D),   a, b ~ N(0, 1), the same for every seed

    Flattened, x ~ N(b, W W' + S) with S the covariance of the noise. `log_likelihood` is this true likelihood; a
    model's mean test likelihood exceeds its mean only by chance. Channels: x1..xC, no unit. Split by series.
    """

    source = "simulated: x_t = W_t z + b + u_t (see the card)"
    licence = "none needed (simulated)"

    series: int = option(4000, at_least=10)
    window: int = option(24, at_least=2)  # T
    channels: int = option(5, at_least=1)  # C
    latent: int = option(4, at_least=1)  # D
    noise: float = option(0.3, above=0)  # s

    def loadings(self) -> tuple[np.ndarray, np.ndarray]:
        """W (T, C, D) and b (C,)."""
        rng = numpy_generator("linear_gaussian", 0, "loadings")
        a, b = rng.standard_normal((self.channels, self.latent)), rng.standard_normal(self.channels)
        t, d = np.arange(self.window)[:, None, None], np.arange(self.latent)
        return a * np.cos(np.pi * d * (t + 0.5) / self.window) / np.sqrt(self.latent), b

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """A fresh draw of all series."""
        weights, offset = self.loadings()
        z = rng.standard_normal((self.series, self.latent))
        u = self.noise * rng.standard_normal((self.series, self.window, self.channels))
        u[:, 0] /= np.sqrt(1 - 0.5**2)
        for t in range(1, self.window):
            u[:, t] += 0.5 * u[:, t - 1]
        x = np.einsum("tcd,nd->ntc", weights, z) + offset + u
        return Recordings.simulated(x, latent=z)

    def log_likelihood(
        self, x: np.ndarray, mean: np.ndarray | float = 0.0, scale: np.ndarray | float = 1.0
    ) -> np.ndarray:
        """ln p(x) of windows (n, T, C) in time order, in nats per series, (n,).

        With `mean` and `scale` of a split, x is in train-scaled units and so is the density:
        ln p_scaled(x) = ln p(x * scale + mean) + T sum_c ln scale_c.
        """
        from scipy.linalg import solve_triangular  # a fifth of a second to import

        weights, offset = self.loadings()
        steps = np.arange(self.window)
        correlation = 0.5 ** np.abs(steps[:, None] - steps) * self.noise**2 / (1 - 0.5**2)
        flat = weights.reshape(-1, self.latent)
        root = np.linalg.cholesky(flat @ flat.T + np.kron(correlation, np.eye(self.channels)))
        rows = (np.asarray(x, dtype=np.float64) * scale + mean - offset).reshape(len(x), -1)
        white = solve_triangular(root, rows.T, lower=True)
        log_density = -0.5 * (white**2).sum(0) - np.log(np.diag(root)).sum() - 0.5 * len(root) * np.log(2 * np.pi)
        return log_density + self.window * np.log(np.broadcast_to(scale, (self.channels,))).sum()
