"""A classifier two-sample test: can a classifier tell generated windows from real ones, and by what?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.contracts import Measurement, SampleEvaluation
from bench.metrics.base import SampleMetric, rounded, spread, undefined
from bench.metrics.window_features import features_by_family
from bench.registry import register_metric

FOLDS, REPEATS = 5, 2
BLOCK = 4  # so many windows' lengths of a recording stay in one fold,
BLOCKS_PER_FOLD = 4  # where the recording is long enough for so many of them


def auc(scores: np.ndarray, kind: np.ndarray) -> float:
    """The chance that a generated window (kind 1) scores above a real one (kind 0), ties counting half."""
    from scipy.stats import rankdata  # half a second to import

    ranks = rankdata(scores)
    positive = int(kind.sum())
    negative = len(kind) - positive
    return float((ranks[kind == 1].sum() - positive * (positive + 1) / 2) / (positive * negative))


@dataclass(frozen=True)
class Windows:
    """Real and generated windows in one list, and what must not be torn apart when it is cut into folds."""

    kind: np.ndarray  # (N,), 0 real, 1 generated
    same: np.ndarray  # (N,), equal windows have equal numbers
    start: np.ndarray  # (N,), the row at which a window begins in its recording, NaN for a window of no recording
    length: int  # T
    entity: np.ndarray | None = None  # (N,), whose windows stay together, NaN for a window of nobody; none: by rows

    @classmethod
    def of(cls, windows: np.ndarray, kind: np.ndarray, start: np.ndarray) -> Windows:
        """Find equal windows; one that equals a window of a recording begins where that one does."""
        _, same = np.unique(windows.reshape(len(windows), -1), axis=0, return_inverse=True)
        first = np.full(same.max() + 1, np.inf)
        known = ~np.isnan(start)
        np.minimum.at(first, same[known], start[known])
        found = np.where(np.isinf(first), np.nan, first)[same]
        return cls(kind, same, np.where(known, start, found), windows.shape[1])

    def groups(self) -> np.ndarray:
        """What goes into one fold as a whole, (N,): a unit of the data, or the windows that are equal.

        A window that fills more than a fold by itself is no group: a sampler that returns one window only would leave
        nothing to learn from.
        """
        group = self.same + 0.0
        per_fold = np.bincount(self.kind, minlength=2) / FOLDS
        often = np.stack([np.bincount(self.same, self.kind == k, self.same.max() + 1) for k in (0, 1)], axis=1)
        repeated = np.any(often > np.maximum(per_fold, 2 * FOLDS), axis=1)[self.same]
        unit = self._blocks() if self.entity is None else self.entity
        known = ~np.isnan(unit)
        if known.any():
            # equal windows of several units go where the first of them goes, without their units
            first = np.full(self.same.max() + 1, np.inf)
            np.minimum.at(first, self.same[known], unit[known])
            group = np.where(np.isinf(first[self.same]), self.same, -1 - first[self.same])
        group[repeated] = group.max() + 1 + np.arange(repeated.sum())
        return np.unique(group, return_inverse=True)[1]

    def _blocks(self) -> np.ndarray:
        """The block of its recording in which each window begins, (N,), NaN for a window of no recording."""
        block, recorded = self.start.copy(), ~np.isnan(self.start)
        if recorded.any():
            rows = np.unique(self.start[recorded])
            gaps = np.minimum(np.diff(rows), self.length)  # between recordings nothing is counted
            place = np.concatenate([[0.0], np.cumsum(gaps)])
            size = max(1.0, min(BLOCK * self.length, place[-1] / (FOLDS * BLOCKS_PER_FOLD)))
            block[recorded] = place[np.searchsorted(rows, self.start[recorded])] // size
        return block

    def folds(self, rng: np.random.Generator) -> np.ndarray:
        """The fold of every window, (N,): groups are drawn one by one, the large ones first.

        Each goes where there are fewest windows of its kind. Nothing else about the kind is used, so that under
        equality of the two laws the kinds of held-out windows say nothing about those of the others.
        """
        group = self.groups()
        counts = np.zeros((group.max() + 1, 2))
        np.add.at(counts, (group, self.kind), 1)
        order = rng.permutation(len(counts))
        order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
        filled, fold = np.zeros((FOLDS, 2)), np.empty(len(counts), dtype=np.int64)
        for one in order:
            fold[one] = np.argmin(filled @ counts[one])
            filled[fold[one]] += counts[one]
        return fold[group]

    def repeated_folds(self, rng: np.random.Generator, repeats: int) -> list[np.ndarray]:
        """The folds of every window, drawn so many times; none where some draw leaves no judge both kinds."""
        drawn = [self.folds(rng) for _ in range(repeats)]
        return drawn if all(any(self.rounds(fold)) for fold in drawn) else []

    def rounds(self, fold: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Which windows a judge learns from and which it judges, (N,) each, for every fold that holds both kinds.

        It does not learn from a window that shares rows with one that it judges.
        """
        for k in range(FOLDS):
            judged = fold == k
            learns = ~judged & ~self._overlaps(judged)
            if all(len(np.unique(self.kind[part])) == 2 for part in (learns, judged)):
                yield learns, judged

    def _overlaps(self, judged: np.ndarray) -> np.ndarray:
        rows = np.unique(self.start[judged & ~np.isnan(self.start)])
        if not len(rows):
            return np.zeros(len(self.start), dtype=bool)
        after = np.searchsorted(rows, self.start)
        before = np.abs(self.start - rows[np.clip(after - 1, 0, None)])
        return np.fmin(before, np.abs(self.start - rows[np.clip(after, None, len(rows) - 1)])) < self.length


def both_kinds(evaluation: SampleEvaluation) -> tuple[np.ndarray, Windows]:
    """Reference and samples in one list, at the centres of their cells, (N, T, C), and what belongs together."""
    parts = (evaluation.reference, evaluation.samples)
    values = rounded(evaluation, np.concatenate(parts))
    starts = [
        np.full(len(part), np.nan) if start is None else start
        for part, start in zip(parts, (evaluation.reference_start, evaluation.sample_start), strict=True)
    ]
    kind = np.repeat([0, 1], [len(part) for part in parts])
    return values, Windows.of(values, kind, np.concatenate(starts).astype(np.float64))


def judge(features: np.ndarray, kind: np.ndarray, learns: np.ndarray, judged: np.ndarray, seed: int) -> np.ndarray:
    """Log odds that judged windows are generated, were both kinds as common, by shallow gradient-boosted trees."""
    from sklearn.ensemble import HistGradientBoostingClassifier  # a second to import

    trees = HistGradientBoostingClassifier(
        max_iter=60, max_leaf_nodes=8, min_samples_leaf=5, max_bins=32, early_stopping=False, random_state=seed
    )
    share = kind[learns].mean()
    return trees.fit(features[learns], kind[learns]).decision_function(features[judged]) - np.log(share / (1 - share))


def separation(features: np.ndarray, windows: Windows, fold: np.ndarray, seed: int) -> tuple[float, float]:
    """Area under the curve within held-out folds, and balanced accuracy: means over folds, weighted by their pairs."""
    found = []
    for learns, judged in windows.rounds(fold):
        score, kind = judge(features, windows.kind, learns, judged, seed), windows.kind[judged]
        right = [(score[kind == 1] > 0).mean(), (score[kind == 0] <= 0).mean()]
        found.append((auc(score, kind), np.mean(right), kind.sum() * (1 - kind).sum()))
    areas, accuracies, pairs = np.array(found).T
    return float(np.average(areas, weights=pairs)), float(np.average(accuracies, weights=pairs))


@register_metric("c2st")
@dataclass(frozen=True)
class C2ST(SampleMetric):
    """How well a classifier tells generated windows from reference windows that it has not seen, and by what.

        c2st_auc        P(score of a generated window > score of a real one): .5 = indistinguishable, 1 = told apart
        c2st_accuracy   balanced accuracy of the same scores
        c2st_auc_*      the area of a classifier that sees one family of features only: marginals (values without their
                        order), dynamics (increments and order), cross_channel (pairs of channels)

    Both kinds are rounded to the cells of their channels first: noise strictly inside half a cell is invisible. The
    features are those of `bench.metrics.window_features`; the classifier is gradient-boosted trees (60 of 8 leaves).
    5 folds. Equal windows, and neighbouring windows of one recording (blocks of 4 T rows), share a fold, whatever kind
    they are of, and no judge learns from a window that shares rows with one it judges. Areas are taken within a fold.
    sd is over 2 repeats with fresh folds (families: one); n is the number of reference windows.
    Shapes: windows (n, T, C), numbers may differ. Unit: probability. Errors: undefined below 10 windows of either kind.
    Source: Lopez-Paz and Oquab 2017, arXiv:1610.06545. Ours: the features, the groups, the families.
    No value below .5 is better than .5: it is chance. Windows of few recordings have chance errors larger than their
    number suggests; independent samples beside one autocorrelated recording scored .52 in a simulation.
    Blind to: copies of training windows, and what none of the features shows; .5 is no proof of equality. Equal windows
    share a fold, so that a sampler of few different windows is told apart less surely: see `recall`.
    """

    version = 3  # 3: groups, cells, families of features, boosted trees; there is no 2
    outputs = ("c2st_auc", "c2st_accuracy", "c2st_auc_marginals", "c2st_auc_dynamics", "c2st_auc_cross_channel")
    unit = "probability"
    direction = "lower"
    unranked: ClassVar = dict.fromkeys(outputs[2:], "Not ranked: it says what gave the samples away to the classifier.")
    source = "Lopez-Paz and Oquab 2017, arXiv:1610.06545"
    generalises = True
    sees: ClassVar = {
        "c2st_auc": (
            "noise",
            "noise_in_cells",
            "blur",
            "shrinking",
            "time_shuffling",
            "time_warping",
            "channel_permutation",
            "flat_lines",
        ),
        "c2st_accuracy": (
            "noise",
            "noise_in_cells",
            "blur",
            "shrinking",
            "time_shuffling",
            "time_warping",
            "channel_permutation",
            "flat_lines",
        ),
        "c2st_auc_marginals": (
            "noise",
            "noise_in_cells",
            "blur",
            "shrinking",
            "channel_permutation",
            "flat_lines",
        ),
        "c2st_auc_dynamics": (
            "noise",
            "noise_in_cells",
            "blur",
            "shrinking",
            "time_shuffling",
            "time_warping",
            "channel_permutation",
            "flat_lines",
        ),
        "c2st_auc_cross_channel": (
            "noise",
            "blur",
            "shrinking",
            "time_warping",
            "flat_lines",
        ),
    }

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """Five values at n."""
        n, generated = len(evaluation.reference), len(evaluation.samples)
        if min(n, generated) < 2 * FOLDS:
            return undefined(self.outputs, f"needs {2 * FOLDS} windows of either kind", n)
        rng = evaluation.rng("c2st")
        values, windows = both_kinds(evaluation)
        folds = windows.repeated_folds(rng, REPEATS)
        if not folds:
            return undefined(self.outputs, "the windows are too few groups of equal or neighbouring ones", n)
        seed = int(rng.integers(2**31))
        families = features_by_family(values)
        together = np.concatenate(list(families.values()), axis=1)
        areas, accuracies = np.array([separation(together, windows, fold, seed) for fold in folds]).T
        rows = [spread("c2st_auc", areas, n), spread("c2st_accuracy", accuracies, n)]
        for family, reason in (("marginals", ""), ("dynamics", "one time step"), ("cross_channel", "one channel")):
            name = f"c2st_auc_{family}"
            if family in families:
                area, _ = separation(families[family], windows, folds[0], seed)
                rows.append(Measurement(name, area, n=n))
            else:
                rows += undefined((name,), f"needs more than {reason}", n)
        return rows
