"""Whether samples are copies of training windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.contracts import Measurement, SampleEvaluation
from bench.metrics.base import SampleMetric, flattened, rounded, undefined
from bench.registry import register_metric

CHUNK = 256  # windows whose distances to all training windows are in memory at once


def nearest(windows: np.ndarray, train: np.ndarray, own: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The index of the nearest training window and the distance to it, (n,) each; windows (n, K), train (N, K).

    own (n,): the training windows that `windows` are themselves; they are not their own neighbours.
    """
    length = (train**2).sum(axis=1)
    index = np.empty(len(windows), dtype=np.int64)
    for first in range(0, len(windows), CHUNK):
        part = slice(first, first + CHUNK)
        distance = length - 2 * windows[part] @ train.T  # squared, but for the length of the window itself
        if own is not None:
            distance[np.arange(len(distance)), own[part]] = np.inf
        index[part] = distance.argmin(axis=1)
    return index, np.linalg.norm(windows - train[index], axis=1)  # exact, so that a copy has distance 0


def rounded_and_flattened(evaluation: SampleEvaluation) -> list[np.ndarray]:
    """Training windows, reference and samples as rows (n, T * C) at the centres of their cells."""
    return flattened(*(rounded(evaluation, w) for w in (evaluation.train, evaluation.reference, evaluation.samples)))


def _incomparable(evaluation: SampleEvaluation) -> str:
    """Why nothing can be said of copies; "" where it can."""
    if evaluation.whole:
        return "nothing is held out: the reference windows are training windows"
    return "needs 2 training windows" if len(evaluation.train) < 2 else ""


@register_metric("copies")
@dataclass(frozen=True)
class Copies(SampleMetric):
    """Whether samples are nearer to the training windows than held-out windows are.

        copies = P( d(y) < d(x) ) + 1/2 P( d(y) = d(x) ),   d(.) the distance to the nearest training window

    y a sample, x a reference window. .5: as near as held-out windows; 1: every sample is nearer than every one of them.
    It is the statistic of Meehan et al. (a Mann-Whitney U) without their cells of the data space. `copies_z` is U in
    standard deviations of its law under equality, were all windows independent: above 3 is copying.
    Values below .5 are not better: samples far from everything are bad for another reason.
    Shapes: windows (n, T, C), flattened; Euclidean distance between windows that are rounded to their cells.
    Unit: probability. Errors: undefined below 2 training windows, and where the reference is the training set.
    Source: Meehan, Chaudhuri and Dasgupta 2020, arXiv:2004.05675. Ours: one cell; whole windows; the other sign (they
    count samples that are farther away, so copying is below .5 and a negative z there).
    A shift between training and reference windows looks like copying: read it beside a reference that is held out of
    the training blocks. `floor_shift` consists of training windows and scores near 1, as it should.
    Where nothing is held out and the test part is a few whole records (`ecg` with `split: record`, two of ten), that
    shift is the difference between records: windows of training records that nothing was fitted on score .66 to .79
    there, as if they were copies. Whole persons of `walking` and `emg`, weeks of `bike` and patients of `icu2012` are
    alike enough: .46 to .56. The windows alone do not tell the two cases apart, so the value is not withheld.
    Blind to: everything else, and copies that were moved by more than held-out windows are away.
    """

    version = 1
    outputs = ("copies", "copies_z")
    unit = "probability"
    direction = "lower"
    source = "Meehan et al. 2020, arXiv:2004.05675"
    unranked: ClassVar = dict.fromkeys(outputs, "Not ranked: samples far from everything are no copies either.")
    sees: ClassVar = {"copies": ("copies",)}

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """Two values at n."""
        from scipy.stats import rankdata  # half a second to import

        n, m = len(evaluation.reference), len(evaluation.samples)
        if reason := _incomparable(evaluation):
            return undefined(self.outputs, reason, n)
        train, reference, samples = rounded_and_flattened(evaluation)
        held_out, generated = nearest(reference, train)[1], nearest(samples, train)[1]
        ranks = rankdata(np.concatenate([held_out, generated]))
        u = ranks[:n].sum() - n * (n + 1) / 2  # pairs in which the held-out window is farther
        _, ties = np.unique(ranks, return_counts=True)
        total = n + m
        variance = n * m / 12 * (total + 1 - (ties**3 - ties).sum() / (total * max(total - 1, 1)))
        rows = [Measurement("copies", float(u / (n * m)), n=n)]
        if variance <= 0:
            return rows + undefined(("copies_z",), "all distances are equal", n)
        return [*rows, Measurement("copies_z", float((u - n * m / 2) / np.sqrt(variance)), n=n)]


@register_metric("authenticity")
@dataclass(frozen=True)
class Authenticity(SampleMetric):
    """The share of samples that are farther from their nearest training window than that window from its own nearest.

        authenticity = share of y with d(y, x*) > min over x != x* of d(x, x*),   x* the training window nearest to y

    `authenticity_held_out` is the same number of the reference windows: what honest draws score here.
    Shapes: windows (n, T, C), flattened; Euclidean distance between windows that are rounded to their cells.
    Unit: share. Errors: undefined below 2 training windows, and where the reference is the training set.
    Source: Alaa et al. 2022, arXiv:2102.08921, sec. 4.3. The section is not checked against the text. Ours: on the
    windows, not on an embedding; the second number.
    Blind to: copies with noise where training windows overlap: neighbours one step apart are near copies of each other,
    so hardly a sample is nearer. Read it beside the second number, and `copies` first.
    """

    version = 1
    outputs = ("authenticity", "authenticity_held_out")
    unit = "share"
    direction = "higher"
    source = "Alaa et al. 2022, arXiv:2102.08921"
    unranked: ClassVar = dict.fromkeys(outputs, "Not ranked: samples far from everything are no copies either.")
    sees: ClassVar = {"authenticity": ("copies",)}

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """Two values at n."""
        n = len(evaluation.reference)
        if reason := _incomparable(evaluation):
            return undefined(self.outputs, reason, n)
        train, reference, samples = rounded_and_flattened(evaluation)
        rows = []
        for name, windows in zip(self.outputs, (samples, reference), strict=True):
            index, distance = nearest(windows, train)
            chosen, place = np.unique(index, return_inverse=True)
            _, apart = nearest(train[chosen], train, own=chosen)
            rows.append(Measurement(name, float((distance > apart[place]).mean()), n=n))
        return rows
