"""A classifier two-sample test: can a small network tell generated windows from real ones?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from bench.contracts import Measurement, SampleEvaluation
from bench.metrics.base import SampleMetric, spread, undefined
from bench.registry import register_metric

FOLDS, REPEATS = 5, 5
COMPONENTS, HIDDEN = 32, 64
STEPS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 500, 64, 1e-2, 1e-2


def features(windows: np.ndarray) -> np.ndarray:
    """What the classifier sees of windows (n, T, C): standardised features (n, F).

    Per channel the mean, the log variance over time, the log mean square step, the minimum and the maximum; then the
    leading principal components of the flattened windows. The steps show blur, which is invisible in the values: it
    takes away zero-mean noise. The components show the global shape and what belongs together across channels.
    """
    steps = np.diff(windows, axis=1)
    flat = windows.reshape(len(windows), -1)
    flat = flat - flat.mean(axis=0)
    _, axes = np.linalg.eigh(flat.T @ flat)
    parts = [
        windows.mean(axis=1),
        np.log(windows.var(axis=1) + 1e-6),
        np.log((steps**2).mean(axis=1) + 1e-6),
        windows.min(axis=1),
        windows.max(axis=1),
        flat @ axes[:, -COMPONENTS:],
    ]
    table = np.concatenate(parts, axis=1)
    sd = table.std(axis=0)
    return (table - table.mean(axis=0)) / np.where(sd > 1e-9, sd, 1.0)


def folds(n: int, rng: np.random.Generator) -> np.ndarray:
    """The fold 0..4 of each of n windows: contiguous blocks, turned by a random offset, (n,).

    Contiguous because neighbouring windows of one recording resemble each other (with a stride below T they share
    rows): a random fold would let the classifier recognise test windows by their neighbours.
    """
    return np.roll(np.arange(n) * FOLDS // n, rng.integers(n))


def train_many(x: Tensor, y: Tensor, rows: Tensor, rng: np.random.Generator) -> Tensor:
    """Logits of K one-hidden-layer networks for every row of x, trained together but independent of each other.

    x (n, F), y (n,) in {0, 1}; rows (K, STEPS, BATCH): the rows network k sees at each step. Returns (K, n).
    """
    k, width = len(rows), x.shape[1]

    def start(*shape: int, fan_in: int) -> Tensor:
        return torch.tensor(rng.standard_normal(shape) / math.sqrt(fan_in), dtype=torch.float32)

    weights = [
        start(k, width, HIDDEN, fan_in=width),
        torch.zeros(k, 1, HIDDEN),
        start(k, HIDDEN, 1, fan_in=HIDDEN),
        torch.zeros(k, 1, 1),
    ]

    def logits(inputs: Tensor) -> Tensor:
        hidden = torch.relu(torch.matmul(inputs, weights[0]) + weights[1])
        return (hidden @ weights[2] + weights[3])[..., 0]

    first, second = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    for step in range(STEPS):  # Adam with decoupled weight decay
        for w in weights:
            w.requires_grad_(True)
        batch = rows[:, step]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits(x[batch]), y[batch], reduction="sum")
        gradients = torch.autograd.grad(loss / BATCH, weights)
        rate = LEARNING_RATE * (1 - step / STEPS)
        with torch.no_grad():
            for w, g, m, v in zip(weights, gradients, first, second, strict=True):
                m.lerp_(g, 0.1)
                v.lerp_(g * g, 0.01)
                move = (m / (1 - 0.9 ** (step + 1))) / ((v / (1 - 0.99 ** (step + 1))).sqrt() + 1e-8)
                w.sub_(rate * (move + WEIGHT_DECAY * w))
    with torch.no_grad():
        return logits(x[None])


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """The chance that a generated window scores above a real one, ties counting half."""
    ranks = rankdata(scores)
    positive = int(labels.sum())
    negative = len(labels) - positive
    return float((ranks[labels == 1].sum() - positive * (positive + 1) / 2) / (positive * negative))


@register_metric("c2st")
@dataclass(frozen=True)
class C2ST(SampleMetric):
    """Held-out accuracy and area under the ROC curve of a classifier between reference and generated windows.

        accuracy: share of held-out windows told right, .5 = indistinguishable, 1 = always told apart
        auc:      P(score of a generated window > score of a real one), within each held-out fold

    5 folds, 5 repeats: a window never judges a network that was trained on it. The network (one hidden layer of 64)
    sees the features above. sd is over repeats, which draw folds and initial weights anew; n is the number of windows
    of each kind.
    Shapes: windows (n, T, C). Unit: probability. Errors: undefined below 10 windows.
    Source: Lopez-Paz and Oquab 2017, arXiv:1610.06545. Ours: the features, the contiguous folds.
    Blind to: what its features and its size cannot express; .5 is no proof of equality. Sees blur.
    """

    version = 1
    outputs = ("c2st_accuracy", "c2st_auc")
    unit = "probability"
    direction = "lower"
    source = "Lopez-Paz and Oquab 2017, arXiv:1610.06545"
    sees = dict.fromkeys(outputs, ("noise", "blur", "mean_only", "time_warping", "channel_permutation"))

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """Two values at n, each the mean over repeats."""
        n = len(evaluation.reference)
        if n < 2 * FOLDS:
            return undefined(self.outputs, f"needs {2 * FOLDS} windows", n)
        rng = evaluation.rng("c2st")
        windows = np.concatenate([evaluation.reference, evaluation.samples]).astype(np.float64)
        x, labels = features(windows), np.repeat([0, 1], n)
        fold = np.stack([np.tile(folds(n, rng), 2) for _ in range(REPEATS)])
        fits = [(repeat, k) for repeat in range(REPEATS) for k in range(FOLDS)]
        rows = np.empty((len(fits), STEPS, BATCH), dtype=np.int64)
        for fit, (repeat, k) in enumerate(fits):
            for kind in (0, 1):  # half of every batch real, half generated
                pool = np.flatnonzero((fold[repeat] != k) & (labels == kind))
                half = slice(kind * BATCH // 2, (kind + 1) * BATCH // 2)
                rows[fit, :, half] = rng.choice(pool, (STEPS, BATCH // 2))
        tensors = (torch.tensor(x, dtype=torch.float32), torch.tensor(labels, dtype=torch.float32))
        scores = train_many(*tensors, torch.tensor(rows), rng).numpy()
        accuracy, area = np.zeros((2, REPEATS, FOLDS))
        for score, (repeat, k) in zip(scores, fits, strict=True):
            held = fold[repeat] == k
            accuracy[repeat, k] = ((score[held] > 0) == labels[held]).mean()
            area[repeat, k] = auc(score[held], labels[held])
        return [spread("c2st_accuracy", accuracy.mean(axis=1), n), spread("c2st_auc", area.mean(axis=1), n)]
