"""The literature's discriminative score: a recurrent classifier between real and generated windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.contracts import Measurement, SampleEvaluation
from bench.metrics.base import SampleMetric, spread, undefined
from bench.metrics.networks import Recurrent, trained_judges, unit_scaled
from bench.registry import register_metric

REPEATS, BATCH = 5, 128
STEPS, TIMEGAN_STEPS = 500, 2000


def held_out_accuracy(
    real: np.ndarray,
    generated: np.ndarray,
    learns: np.ndarray,
    hidden: int,
    steps: int,
    learning_rate: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Accuracy of K GRUs' last states on the windows where `learns` (K, n) is false, trained where it is true, (K,)."""
    windows = torch.tensor(np.concatenate([real, generated]), dtype=torch.float32)
    n, k = len(real), len(learns)
    pools = [np.flatnonzero(row) for row in learns]
    size = min(BATCH, min(len(pool) for pool in pools))
    labels = torch.arange(2).repeat_interleave(size).expand(k, -1).float()

    def loss(network: Recurrent) -> Tensor:
        rows = [np.concatenate([rng.choice(pool, size), n + rng.choice(pool, size)]) for pool in pools]
        logits = network(windows[torch.from_numpy(np.stack(rows))])[:, :, -1, 0]
        # a mean within each network and a sum over networks: their gradients stay their own
        return functional.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(dim=1).sum()

    judge = trained_judges(rng, k, (real.shape[2], hidden, 1), loss, steps, learning_rate)
    found = judge(windows)[:, :, -1, 0] > 0
    right = found.numpy() == (np.arange(2 * n) >= n)
    return np.array([right[row][np.tile(~learns[row], 2)].mean() for row in range(k)])


@register_metric("discriminative")
@dataclass(frozen=True)
class Discriminative(SampleMetric):
    """|accuracy - 1/2| of a GRU that tells generated windows from real ones, on windows it was not trained on.

    The GRU (width max(8, C // 2), 500 steps of 128 + 128 windows) learns on one half of both sets and is judged on the
    other half. The halves of the reference are contiguous, so that neighbouring windows do not give each other away.
    Mean over 5 repeats with fresh halves and weights; sd is over repeats.
    Shapes: windows (n, T, C). Unit: 0 = never told apart, .5 = always. Errors: undefined below 4 windows,
    and where there are not as many samples as reference windows.
    Source: Yoon et al. 2019 (TimeGAN), sec. 5, where the classifier is a 2-layer LSTM; their code has a GRU. Ours: a
    GRU of another width, train-scaled windows, disjoint halves, seeds. The absolute value keeps the mean of a perfect
    sampler above 0: read it beside the floors.
    Blind to: copies of training windows, and what so small a GRU does not learn in 500 steps.
    """

    version = 1
    outputs = ("discriminative",)
    unit = "probability"
    direction = "lower"
    source = "Yoon et al. 2019, NeurIPS (TimeGAN)"
    sees: ClassVar = {"discriminative": ()}  # no claim before `bench.metrics.validate` has been run on it
    fast = False
    as_many = True

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """One value at n."""
        n, _, channels = evaluation.reference.shape
        if n < 4:
            return undefined(self.outputs, "needs 4 windows", n)
        rng = evaluation.rng("discriminative")
        learns = np.stack([np.roll(np.arange(n) < n // 2, rng.integers(n)) for _ in range(REPEATS)])
        width = max(8, channels // 2)
        accuracy = held_out_accuracy(evaluation.reference, evaluation.samples, learns, width, STEPS, 1e-2, rng)
        return [spread("discriminative", np.abs(accuracy - 0.5), n)]


@register_metric("discriminative.timegan")
@dataclass(frozen=True)
class TimeGANDiscriminative(SampleMetric):
    """The discriminative score as TimeGAN's published code computes it, for comparison with published tables.

    Windows scaled to [0, 1] by the training range; GRU of width int(C / 2); 2,000 steps at rate .001; 80 % of the
    windows at random for training, the rest for judging; |accuracy - 1/2|. Mean over 5 repeats; sd is over repeats.
    Shapes: windows (n, T, C). Unit: 0 .. .5. Errors: undefined for one channel, where its width int(C / 2) is 0, below
    5 windows, and where there are not as many samples as reference windows.
    Source: Yoon et al. 2019, their metrics/discriminative_metrics.py (their paper, sec. 5, names a 2-layer LSTM).
    Theirs: the windows that the generator was trained on are the reference, scaled by the range of the whole series,
    and overlap on both sides; 10 repeats.
    Blind to: copies of training windows, and real windows that it remembers from overlapping neighbours.
    """

    version = 1
    outputs = ("discriminative.timegan",)
    unit = "probability"
    direction = "lower"
    source = "Yoon et al. 2019, NeurIPS (TimeGAN), published code"
    fast = False
    as_many = True

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """One value at n."""
        n, _, channels = evaluation.reference.shape
        if channels < 2 or n < 5:
            return undefined(self.outputs, "needs 2 channels (its width is int(C / 2)) and 5 windows", n)
        rng = evaluation.rng("discriminative.timegan")
        real, generated = unit_scaled(evaluation.train, evaluation.reference, evaluation.samples)
        learns = np.stack([rng.permutation(n) < int(0.8 * n) for _ in range(REPEATS)])
        accuracy = held_out_accuracy(real, generated, learns, channels // 2, TIMEGAN_STEPS, 1e-3, rng)
        return [spread("discriminative.timegan", np.abs(accuracy - 0.5), n)]
