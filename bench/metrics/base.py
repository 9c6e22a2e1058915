"""What the measures of samples share, and what the measures of a trained model share."""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from bench.contracts import LatentEvaluation, Measurement, Metric, Posterior, SampleEvaluation

CHUNK = 256  # series evaluated at once; fixed, so that a stream of draws means the same numbers everywhere
MAX_TRAIN = 2048  # training series that a measure looks at

Rows = TypeVar("Rows", Tensor, np.ndarray)


def undefined(
    names: tuple[str, ...], reason: str, n: int = 0, coordinate: str = "", index: float = math.nan
) -> list[Measurement]:
    """A row per name for what is not defined here, and why."""
    return [Measurement(name, math.nan, math.nan, n, coordinate, index, "undefined", reason) for name in names]


def group_error(values: np.ndarray, groups: np.ndarray) -> float:
    """The error of the mean of values (n,) that resemble each other within a group and not across groups.

        e^2 = G / (G - 1) * sum_g ( sum_{k in g} (v_k - mean) )^2 / n^2 * (t_{G-1} / 1.96)^2

    the standard error of a mean under clustered sampling, widened by the .975 quantile of Student's t so that 1.96
    errors are a 95 % interval however few groups there are. With a group for each value and many of them it is
    sd / sqrt(n). NaN below two groups.
    Source: Liang and Zeger 1986, Biometrika 73, 13; Cameron and Miller 2015, J. Human Resources 50, 317, sec. VI. The
    section is not checked against the text.
    """
    _, place = np.unique(groups, return_inverse=True)
    count = int(place.max()) + 1
    if count < 2:
        return math.nan
    from scipy.special import stdtrit  # here: the dependency measures alone need numpy and torch only

    squares = float(np.square(np.bincount(place, weights=values - values.mean())).sum())
    return math.sqrt(count / (count - 1) * squares) / len(values) * float(stdtrit(count - 1, 0.975)) / 1.96


def spread(
    name: str,
    values: Tensor | np.ndarray,
    n: int | None = None,
    coordinate: str = "",
    index: float = math.nan,
    groups: np.ndarray | None = None,
) -> Measurement:
    """Mean and standard deviation (n - 1 in the denominator) of one number's values, one per series or repeat.

    n: how many series are behind it, where that is not the number of values.
    groups: which of the values belong together, as `groups_of` has them; with them the mean has its error.
    """
    values = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)
    n = values.size if n is None else n
    if not values.size:
        return Measurement(name, math.nan, math.nan, n, coordinate, index, "undefined", "no values")
    bad = int((~np.isfinite(values)).sum())
    if bad:
        reason = f"{bad} of {values.size} values are not finite"
        return Measurement(name, math.nan, math.nan, n, coordinate, index, "failed", reason)
    sd = float(values.std(ddof=1)) if values.size > 1 else math.nan
    error = math.nan if groups is None else group_error(values.ravel(), groups)
    return Measurement(name, float(values.mean()), sd, n, coordinate, index, error=error)


def rounded(evaluation: SampleEvaluation, windows: np.ndarray) -> np.ndarray:
    """Windows with every value at the centre of its cell; as they are where cells are not known."""
    return windows if evaluation.cells is None else evaluation.cells.rounded(windows)


def flattened(*parts: np.ndarray) -> list[np.ndarray]:
    """Windows (n, T, C) as rows (n, T * C), float64."""
    return [windows.reshape(len(windows), -1).astype(np.float64) for windows in parts]


def increments(evaluation: SampleEvaluation) -> tuple[np.ndarray, np.ndarray]:
    """x_{t+1} - x_t of reference and samples, (n, T - 1, C), in standard deviations of the training increments.

    A channel whose training increments do not vary keeps its scale.
    """
    sd = np.diff(evaluation.train, axis=1).std(axis=(0, 1), dtype=np.float64)
    scale = np.where(sd > 1e-6, sd, 1.0)
    real, generated = (
        np.diff(w.astype(np.float64), axis=1) / scale for w in (evaluation.reference, evaluation.samples)
    )
    return real, generated


class SampleMetric(Metric):
    """A measure of generated windows against real ones, both (n, T, C)."""

    needs: ClassVar[Literal["samples", "latent"]] = "samples"
    sees: ClassVar[
        Mapping[str, tuple[str, ...]]
    ] = {}  # per score, the corruptions of `bench.metrics.validate` it ranks

    as_many: ClassVar[bool] = False  # whether it needs as many samples as reference windows

    def measure(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """Refuse what is not finite or not comparable with a reason, and compare the rest."""
        reference, samples = evaluation.reference, evaluation.samples
        n = len(samples)
        reason = ""
        if reference.shape[1:] != samples.shape[1:]:
            reason = f"samples of shape {samples.shape} beside a reference of shape {reference.shape}"
        for name, windows in (("samples", samples), ("reference windows", reference)):
            bad = int((~np.isfinite(windows)).any(axis=(1, 2)).sum())
            if bad and not reason:
                reason = f"{bad} of {len(windows)} {name} hold NaN or inf"
        if reason:
            return [Measurement(name, math.nan, n=n, status="failed", reason=reason) for name in self.outputs]
        if not min(len(reference), n):
            return undefined(self.outputs, "needs a window of either kind", n)
        if self.as_many and len(reference) != n:
            return undefined(self.outputs, f"needs as many samples ({n}) as reference windows ({len(reference)})", n)
        return [
            dataclasses.replace(row, value=math.nan, status="failed", reason=f"the value is {row.value}")
            if row.status == "ok" and not math.isfinite(row.value)
            else row
            for row in self.compare(evaluation)
        ]

    @abstractmethod
    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """The measure itself, on finite windows."""


class LatentMetric(Metric):
    """A measure of a trained model (R = 1) on test series."""

    needs: ClassVar[Literal["samples", "latent"]] = "latent"

    @abstractmethod
    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """The measure itself."""


def posteriors(evaluation: LatentEvaluation, series: Tensor | None = None) -> Iterator[tuple[Tensor, Posterior]]:
    """The test series (or others) in chunks x (1, b, T, C), each with its posterior q(z | x)."""
    series = evaluation.series if series is None else series
    for x in series[None].split(CHUNK, dim=1):
        yield x, evaluation.method.posterior(evaluation.model, x)


def own_latents(evaluation: LatentEvaluation, series: Tensor | None = None) -> Tensor:
    """One draw z ~ q(z | x) for every test series (or others), (1, n, D): the same draw in every measure."""
    draws = evaluation.draws("posterior" if series is None else "posterior of other series")
    return torch.cat([q.rsample(draws) for _, q in posteriors(evaluation, series)], dim=1)


def groups_of(evaluation: LatentEvaluation) -> np.ndarray:
    """The group of every test series, (n,); each its own where nothing else is known."""
    return np.arange(len(evaluation.series)) if evaluation.groups is None else evaluation.groups


def from_everywhere(n: int, most: int) -> np.ndarray:
    """Which of n series in time's order a measure of at most `most` takes: evenly spaced, in that order.

    Places are rounded, unlike those of `bench.loading.evenly_spaced`.
    """
    return np.linspace(0, n - 1, min(n, most)).round().astype(int)


def every_other(groups: np.ndarray) -> np.ndarray:
    """Two halves of series from everywhere: every other group of them, (n,) bool; one group is cut in the middle."""
    place = np.unique(groups, return_inverse=True)[1]
    if not place.any():
        place = 2 * np.arange(len(groups)) // len(groups)
    return place % 2 == 1


def thinned(rows: Rows) -> Rows:
    """At most 2,048 rows, evenly spaced because they may be in time's order."""
    return rows[:: -(-len(rows) // MAX_TRAIN)]


def training_series(evaluation: LatentEvaluation) -> Tensor | None:
    """The training series that a measure looks at, thinned; None where none are known."""
    return None if evaluation.train is None else thinned(evaluation.train)
