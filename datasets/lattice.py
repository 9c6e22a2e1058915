"""`lattice`: whole numbers with atoms, bounds and repeats, whose exact entropy is known."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.contracts import Dataset, Recordings, Resolution, option
from bench.registry import register_dataset

LEVELS = 21  # of `smooth`
STEPS = {-2: 0.05, -1: 0.25, 0: 0.4, 1: 0.25, 2: 0.05}
ZERO, SEVEN = 0.5, 0.2  # of `jumping`
KEPT = 0.7  # of the steps of `holding`
FOLLOWS = 0.9


@register_dataset("lattice")
@dataclass(frozen=True)
class Lattice(Dataset):
    """Four channels of whole numbers: a bounded walk, a zero-inflated one, one that repeats, and a dependent one.

        smooth_t    = min(max(smooth_{t-1} + s_t, 0), 20),   s_t in {-2, .., 2}, smooth_1 ~ U{0..20}
        jumping_t   = 0 (share .5), 7 (.2), or uniform on 10..39,   without memory
        holding_t   = holding_{t-1} (probability .7), or anew from a logistic truncated to 0..15
        dependent_t = [jumping_t = 0] with probability .9, or else the opposite

    Its law is that of a Markov chain with few states, so that the probability of every series and the entropy are
    exact: a likelihood of cells can be compared with them. There is no global latent. Channels without a unit. Split
    by series.
    """

    source = "simulated: four chains of whole numbers (see the card)"
    licence = "none needed (simulated)"

    series: int = option(4000, at_least=10)
    window: int = option(24, at_least=2)  # T

    def _smooth(self) -> np.ndarray:
        """P(smooth_t | smooth_{t-1}), (21, 21)."""
        chances = np.zeros((LEVELS, LEVELS))
        for level in range(LEVELS):
            for step, chance in STEPS.items():
                chances[level, min(max(level + step, 0), LEVELS - 1)] += chance
        return chances

    def _jumping(self) -> np.ndarray:
        """P(jumping_t), (40,)."""
        chances = np.zeros(40)
        chances[0], chances[7], chances[10:] = ZERO, SEVEN, (1 - ZERO - SEVEN) / 30
        return chances

    def _anew(self) -> np.ndarray:
        """P(holding_1), (16,): a logistic around 5 of scale 2, truncated."""
        upto = 1 / (1 + np.exp(-(np.arange(-0.5, 16.5) - 5) / 2))
        return np.diff(upto) / (upto[-1] - upto[0])

    def _holding(self) -> np.ndarray:
        """P(holding_t | holding_{t-1}), (16, 16)."""
        anew = self._anew()
        return KEPT * np.eye(len(anew)) + (1 - KEPT) * anew

    def log_likelihood(self, x: np.ndarray) -> np.ndarray:
        """ln P of each series x (n, T, 4) in recorded units, nats, (n,); -inf for one that cannot be."""
        smooth, jumping, holding, dependent = np.round(x).astype(int).transpose(2, 0, 1)
        with np.errstate(divide="ignore"):
            walk, table, anew, hold = (
                np.log(c) for c in (self._smooth(), self._jumping(), self._anew(), self._holding())
            )
        walked = -np.log(LEVELS) + walk[smooth[:, :-1], smooth[:, 1:]].sum(axis=1)
        held = anew[holding[:, 0]] + hold[holding[:, :-1], holding[:, 1:]].sum(axis=1)
        agrees = dependent == (jumping == 0)
        return walked + table[jumping].sum(axis=1) + held + np.log(np.where(agrees, FOLLOWS, 1 - FOLLOWS)).sum(axis=1)

    def entropy(self) -> float:
        """-E ln P of a series, in nats."""

        def of(chances: np.ndarray) -> np.ndarray:
            return -np.sum(chances * np.log(np.where(chances > 0, chances, 1)), axis=-1)

        total = self.window * float(of(self._jumping()) + of(np.array([FOLLOWS, 1 - FOLLOWS])))
        for first, moves in ((np.full(LEVELS, 1 / LEVELS), self._smooth()), (self._anew(), self._holding())):
            total += float(of(first))
            for _ in range(self.window - 1):
                total += float(first @ of(moves))
                first = first @ moves
        return total

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """A fresh draw of all series."""
        n, steps = self.series, self.window
        smooth, holding = np.empty((2, n, steps))
        jumping = rng.choice(40, size=(n, steps), p=self._jumping())
        moves = rng.choice(list(STEPS), size=(n, steps), p=list(STEPS.values()))
        anew, keeps = rng.choice(16, size=(n, steps), p=self._anew()), rng.random((n, steps)) < KEPT
        smooth[:, 0], holding[:, 0] = rng.integers(LEVELS, size=n), anew[:, 0]
        for t in range(1, steps):
            smooth[:, t] = np.clip(smooth[:, t - 1] + moves[:, t], 0, LEVELS - 1)
            holding[:, t] = np.where(keeps[:, t], holding[:, t - 1], anew[:, t])
        dependent = (jumping == 0) == (rng.random((n, steps)) < FOLLOWS)
        x = np.stack([smooth, jumping, holding, dependent], axis=-1).astype(float)
        names = ("smooth", "jumping", "holding", "dependent")
        return dataclasses.replace(Recordings.simulated(x), channels=names, resolutions=(Resolution(1),) * 4)
