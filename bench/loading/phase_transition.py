"""Collapse predicted from second moments: how many latent dimensions can live beside a decoder of a given variance.

A linear VAE  p(x|z) = N(W z + b, S),  q(z|x) = N(V (x - b), G)  that pays beta KL(q || N(0, I)) is probabilistic PCA
with the noise beta S. At its optimum dimension j is alive exactly where

    lambda_j > beta,   lambda_1 >= lambda_2 >= .. the eigenvalues of S^-1/2 Sigma S^-1/2,   Sigma = Cov(x)

It then has the KL  ln(lambda_j / beta) / 2,  and its posterior mean has the variance  1 - beta / lambda_j.  For
S = sigma^2 I and beta = 1 every dimension is dead where sigma^2 exceeds the largest eigenvalue of Sigma. lambda_1 is
the largest beta at which a dimension lives, and the factor by which the decoder's variances can grow before the last
one dies.

A decoder that is also linear in its past leaves e_t = x_t - (the best linear prediction of x_t from x_1 .. x_{t-1}).
Its collapsed solution, W = 0, is stable to a small W exactly where no eigenvalue of S^-1/2 Cov(e) S^-1/2 exceeds beta.
e_t is uncorrelated with e_s, so Cov(e) has one block per step and each eigenvector belongs to one step. All that z can
say there is how the channels of a step are correlated, and how far variances differ from step to step: above all that
of x_1, which has no past.

Source: Li et al. 2025, "Posterior collapse as a phase transition in variational autoencoders", arXiv:2510.01621: the
abstract of version 2 states the criterion, for one variance sigma^2 and beta = 1. Lucas et al. 2019, arXiv:1911.02469,
has the linear VAE as probabilistic PCA. Only the abstracts were read: no equation number is checked, and what stands
above is derived anew and tested.
Ours: a variance per channel, beta, and the residuals given the past.
Blind to: all that is not linear. A decoder with a memory may predict better than a linear one, and training may end in
the collapsed solution although it is not stable, or not the best.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench.contracts import CONTINUOUS
from bench.loading.evenly_spaced import evenly_spaced

MOST = 10_000  # training windows that are looked at, from everywhere
PREDICTORS = 1 / 4  # per window at most: values of the past that x_t is predicted from
RANK = 1e-10  # of the past's covariance: eigenvalues smaller than this share of the largest are rounding
LEAST_VARIANCE = CONTINUOUS**2 / 12  # of a decoder, train-scaled: that within the narrowest cell


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of a covariance in units of the decoder's variance."""

    eigenvalues: np.ndarray  # descending

    def alive(self, dimensions: int, beta: float = 1.0) -> int:
        """How many of D latent dimensions the criterion expects to be alive."""
        return min(int((self.eigenvalues > beta).sum()), dimensions)

    @property
    def largest_beta(self) -> float:
        """The weight of the KL below which at least one dimension lives; 0 where there is no step to judge."""
        return float(self.eigenvalues[0]) if len(self.eigenvalues) else 0.0


@dataclass(frozen=True)
class Criterion:
    """What the criterion says of a decoder with given variances."""

    variance: np.ndarray  # per channel (C,), train-scaled
    windows: Spectrum  # if the decoder has no past
    given_past: Spectrum  # if it is linear in its past
    second_half: Spectrum  # the same for the steps after T / 2, which the verdict `alive` needs as well


@dataclass(frozen=True)
class SecondMoments:
    """The covariance of flattened windows, and of what is left of each step given its past."""

    covariance: np.ndarray  # (T C, T C), time-major
    residuals: np.ndarray  # (T, C, C)

    @classmethod
    def of_covariance(cls, covariance: np.ndarray, channels: int, windows: float = math.inf) -> SecondMoments:
        """From a covariance (T C, T C).

        windows: how many it was estimated from. A fourth as many values of the past are used, the latest ones, and the
        covariance of the residuals is divided by the share of the degrees of freedom that is left.
        """
        residuals = []
        for start in range(0, len(covariance), channels):
            reach = min(start, int(min(PREDICTORS * (windows - 1), start)) // channels * channels)
            here, past = slice(start, start + channels), slice(start - reach, start)
            shared = covariance[past, here]
            inverse = np.linalg.pinv(covariance[past, past], rcond=RANK, hermitian=True)
            residuals.append((covariance[here, here] - shared.T @ inverse @ shared) / (1 - reach / (windows - 1)))
        return cls(covariance, np.stack(residuals))

    @classmethod
    def of_windows(cls, windows: np.ndarray) -> SecondMoments:
        """From train-scaled windows (n, T, C), at least 2."""
        chosen = windows[evenly_spaced(len(windows), MOST)]
        flat = chosen.reshape(len(chosen), -1).astype(np.float64)
        return cls.of_covariance(np.atleast_2d(np.cov(flat, rowvar=False)), windows.shape[2], len(flat))

    @property
    def linear_variance(self) -> np.ndarray:
        """The variances that a collapsed decoder fits if it is linear in its past, (C,)."""
        return np.maximum(np.diagonal(self.residuals, axis1=1, axis2=2).mean(axis=0), LEAST_VARIANCE)

    def criterion(self, variance: np.ndarray | None = None) -> Criterion:
        """The criterion for the variances of a decoder, (C,); before training they are `linear_variance`."""
        variance = self.linear_variance if variance is None else np.maximum(variance, LEAST_VARIANCE)
        steps, scale = len(self.residuals), 1 / np.sqrt(variance)
        whole = np.tile(scale, steps)
        blocks, half = self.residuals * np.outer(scale, scale), max(steps // 2, 1)
        late = _of_steps(blocks[half:])
        past = np.concatenate([_of_steps(blocks[:1]), _of_steps(blocks[1:half]), late])
        windows = np.linalg.eigvalsh(self.covariance * np.outer(whole, whole))
        return Criterion(variance, *(Spectrum(np.sort(found)[::-1]) for found in (windows, past, late)))


def _of_steps(blocks: np.ndarray) -> np.ndarray:
    """Eigenvalues of the mean covariance of some steps (T', C, C), once for each step, (T' C,).

    Of single steps about half would exceed their mean by the noise of the estimate alone.
    """
    return np.tile(np.linalg.eigvalsh(blocks.mean(axis=0)), len(blocks)) if len(blocks) else np.empty(0)
