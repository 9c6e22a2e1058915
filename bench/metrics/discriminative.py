"""The literature's discriminative score: a recurrent classifier between real and generated windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import Measurement, SampleEvaluation
from bench.metrics.base import SampleMetric, spread, undefined
from bench.metrics.networks import Judge, PublishedRecurrent, Recurrent, published_scale, trained_judges
from bench.registry import register_metric

REPEATS, BATCH = 5, 128
STEPS, TIMEGAN_STEPS = 500, 2000


def held_out_accuracy(
    real: np.ndarray,
    generated: np.ndarray,
    learns: tuple[np.ndarray, np.ndarray],
    hidden: int,
    steps: int,
    learning_rate: float,
    rng: np.random.Generator,
    kind: Judge = Recurrent,
    replace: bool = True,
) -> np.ndarray:
    """Accuracy of K GRUs' last states on the windows where `learns` is false, trained where it is true, (K,).

    learns: of the real and of the generated windows, (K, n) each. replace: whether a batch may hold a window twice.
    """
    windows = torch.tensor(np.concatenate([real, generated]), dtype=torch.float32)
    n, k = len(real), len(learns[0])
    pools = [[np.flatnonzero(row) for row in part] for part in learns]
    size = min(BATCH, *(len(pool) for part in pools for pool in part))
    labels = torch.arange(2).repeat_interleave(size).expand(k, -1).float()

    def loss(network: nn.Module) -> Tensor:
        rows = [
            np.concatenate([rng.choice(of_real, size, replace), n + rng.choice(of_generated, size, replace)])
            for of_real, of_generated in zip(*pools, strict=True)
        ]
        logits = network(windows[torch.from_numpy(np.stack(rows))])[:, :, -1, 0]
        # a mean within each network and a sum over networks: their gradients stay their own
        return functional.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(dim=1).sum()

    judge = trained_judges(rng, k, (real.shape[2], hidden, 1), loss, steps, learning_rate, kind)
    found = judge(windows)[:, :, -1, 0] > 0
    right = found.numpy() == (np.arange(2 * n) >= n)
    judged = ~np.concatenate(learns, axis=1)
    return np.array([right[row][judged[row]].mean() for row in range(k)])


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
    Blind to: copies of training windows, and what so small a GRU does not learn in 500 steps. With 200 windows it did
    not see blur, permuted channels, flat lines, time shuffling and warping on `energy`, nor time shuffling on
    `earthquakes`.
    """

    version = 1
    outputs = ("discriminative",)
    unit = "probability"
    direction = "lower"
    source = "Yoon et al. 2019, NeurIPS (TimeGAN)"
    sees: ClassVar = {"discriminative": ("mode_dropping", "noise", "shrinking")}
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
        accuracy = held_out_accuracy(
            evaluation.reference, evaluation.samples, (learns, learns), width, STEPS, 1e-2, rng
        )
        return [spread("discriminative", np.abs(accuracy - 0.5), n)]


@register_metric("discriminative.timegan")
@dataclass(frozen=True)
class TimeGANDiscriminative(SampleMetric):
    """The discriminative score as TimeGAN's published code computes it, for comparison with published tables.

    Windows on the published scale; a GRU of width int(C / 2) with TensorFlow's cell and initial weights; 2,000 steps of
    128 + 128 windows at rate .001; 80 % of either kind at random for training, the rest for judging; |accuracy - 1/2|.
    Mean over 5 restarts, each with another division and other weights; sd is over restarts.
    Shapes: windows (n, T, C). Unit: 0 .. .5. Errors: undefined for one channel, where its width int(C / 2) is 0, below
    5 windows, and where there are not as many samples as reference windows.
    Source: Yoon et al. 2019, their metrics/discriminative_metrics.py (their paper, sec. 5, names a 2-layer LSTM); Yuan
    and Qiao 2024 (Diffusion-TS) repeat it 5 times, TimeGAN 10 times.
    It is the published protocol on a data set with `protocol: literature`: there the reference is the set that the
    generator was trained on, on the scale of the whole series. Elsewhere the windows are held out, and 0 and 1 are the
    ends of the training windows. Ours: torch's Adam, whose constant 1e-8 stands elsewhere in the fraction.
    Blind to: copies of training windows, and real windows that it remembers from overlapping neighbours.
    """

    version = 2  # 2: their cell and initial weights, a division for either kind, no window twice in a batch
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
        real, generated = published_scale(evaluation, evaluation.reference, evaluation.samples)
        learns = [np.stack([rng.permutation(n) < int(0.8 * n) for _ in range(REPEATS)]) for _ in range(2)]
        judge = channels // 2, TIMEGAN_STEPS, 1e-3, rng, PublishedRecurrent
        accuracy = held_out_accuracy(real, generated, (learns[0], learns[1]), *judge, replace=False)
        return [spread("discriminative.timegan", np.abs(accuracy - 0.5), n)]
