"""What the measures of samples share, and what the measures of a trained model share."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from bench.contracts import LatentEvaluation, Measurement, Metric, Posterior, SampleEvaluation

CHUNK = 256  # series evaluated at once; fixed, so that a stream of draws means the same numbers everywhere


def undefined(
    names: tuple[str, ...], reason: str, n: int = 0, coordinate: str = "", index: float = math.nan
) -> list[Measurement]:
    """A row per name for what is not defined here, and why."""
    return [Measurement(name, math.nan, math.nan, n, coordinate, index, "undefined", reason) for name in names]


def spread(
    name: str, values: Tensor | np.ndarray, n: int | None = None, coordinate: str = "", index: float = math.nan
) -> Measurement:
    """Mean and standard deviation (n - 1 in the denominator) of one number's values, one per series or repeat.

    n: how many series are behind it, where that is not the number of values.
    """
    values = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)
    n = values.size if n is None else n
    bad = int((~np.isfinite(values)).sum())
    if bad:
        reason = f"{bad} of {values.size} values are not finite"
        return Measurement(name, math.nan, math.nan, n, coordinate, index, "failed", reason)
    sd = float(values.std(ddof=1)) if values.size > 1 else math.nan
    return Measurement(name, float(values.mean()), sd, n, coordinate, index)


class SampleMetric(Metric):
    """A measure of generated windows against real ones; both (n, T, C), as many of each."""

    needs: ClassVar[Literal["samples", "latent"]] = "samples"
    sees: ClassVar[tuple[str, ...]] = ()  # the corruptions of `bench.metrics.validate` it claims to rank

    def measure(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """Refuse what is not finite or not comparable with a reason, and compare the rest."""
        reference, samples = evaluation.reference, evaluation.samples
        bad = int((~np.isfinite(samples)).any(axis=(1, 2)).sum())
        reason = ""
        if reference.shape != samples.shape:
            reason = f"samples of shape {samples.shape} beside a reference of shape {reference.shape}"
        elif bad:
            reason = f"{bad} of {len(samples)} samples hold NaN or inf"
        if reason:
            return [
                Measurement(name, math.nan, n=len(samples), status="failed", reason=reason) for name in self.outputs
            ]
        return self.compare(evaluation)

    @abstractmethod
    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """The measure itself, on finite windows."""


class LatentMetric(Metric):
    """A measure of a trained model (R = 1) on test series."""

    needs: ClassVar[Literal["samples", "latent"]] = "latent"

    @abstractmethod
    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """The measure itself."""


def posteriors(evaluation: LatentEvaluation) -> Iterator[tuple[Tensor, Posterior]]:
    """The test series in chunks x (1, b, T, C), each with its posterior q(z | x)."""
    for x in evaluation.series[None].split(CHUNK, dim=1):
        yield x, evaluation.method.posterior(evaluation.model, x)


def own_latents(evaluation: LatentEvaluation) -> Tensor:
    """One draw z ~ q(z | x) for every test series, (1, n, D): the same draw in every measure."""
    draws = evaluation.draws("posterior")
    return torch.cat([q.rsample(draws) for _, q in posteriors(evaluation)], dim=1)
