"""The literature's predictive score: train a forecaster on generated windows, test it on real ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from bench.contracts import Measurement, SampleEvaluation
from bench.loading.evenly_spaced import evenly_spaced
from bench.metrics.base import SampleMetric, spread, undefined
from bench.metrics.networks import PublishedRecurrent, Recurrent, published_scale, trained_judges
from bench.registry import register_metric

REPEATS, BATCH = 5, 128
STEPS, TIMEGAN_STEPS = 500, 5000


def forecast_errors(
    windows: tuple[np.ndarray, np.ndarray],
    real: tuple[np.ndarray, np.ndarray],
    hidden: int,
    steps: int,
    learning_rate: float,
    rng: np.random.Generator,
    published: bool = False,
) -> np.ndarray:
    """Mean absolute errors on `real` of 5 GRUs trained on `windows`; both (inputs (n, T, .), targets (n, T, .)).

    published: TimeGAN's GRU with a sigmoid on the output, for targets in [0, 1], and no window twice in a batch.
    """
    inputs, targets = (torch.tensor(part, dtype=torch.float32) for part in windows)
    size = min(BATCH, len(inputs))

    def errors(found: Tensor, y: Tensor) -> Tensor:
        return ((found.sigmoid() if published else found) - y).abs().mean(dim=(1, 2, 3))

    def batches() -> np.ndarray:
        if published:
            return np.stack([rng.choice(len(inputs), size, replace=False) for _ in range(REPEATS)])
        return rng.integers(len(inputs), size=(REPEATS, size))

    def loss(network: nn.Module) -> Tensor:
        rows = torch.from_numpy(batches())
        return errors(network(inputs[rows]), targets[rows]).sum()

    sizes, kind = (inputs.shape[2], hidden, targets.shape[2]), PublishedRecurrent if published else Recurrent
    judge = trained_judges(rng, REPEATS, sizes, loss, steps, learning_rate, kind)
    seen, wanted = (torch.tensor(part, dtype=torch.float32) for part in real)
    return errors(judge(seen), wanted).numpy()


_REMEMBERED: dict[str, np.ndarray] = {}


def remembered(key: bytes, errors: Callable[[], np.ndarray]) -> np.ndarray:
    """errors(), worked out once per process and key: what samples are compared with is the same for every method."""
    word = hashlib.sha256(key).hexdigest()
    if word not in _REMEMBERED:
        _REMEMBERED[word] = errors()
    return _REMEMBERED[word]


def next_values(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x_1..x_{T-1} and x_2..x_T."""
    return windows[:, :-1], windows[:, 1:]


@register_metric("predictive")
@dataclass(frozen=True)
class Predictive(SampleMetric):
    """The one-step forecast error on real windows of a GRU that has seen generated windows only.

        predictive      = mean | x_{t+1} - GRU(x_1 .. x_t) |,   trained on samples, tested on the reference
        predictive_real   the same, trained on as many training windows: what perfect samples reach
        predictive_last = mean | x_{t+1} - x_t |: no training at all

    GRU of width max(8, C // 2), all channels predicted, 500 steps of 128 windows. Mean over 5 repeats with fresh
    weights; sd is over repeats.
    Shapes: windows (n, T, C). Unit: train standard deviations. Errors: undefined for T = 1.
    Source: Yoon et al. 2019 (TimeGAN), sec. 5, where a 2-layer LSTM forecasts all channels; their code has a GRU that
    forecasts the last one. Ours: the GRU, all channels, train-scaled, the two comparisons.
    Blind to: copies of training windows; time warping on `energy`; time shuffling on `earthquakes`, which it rewards,
    because the past says little there; a law's shape that a forecast of the mean does not need.
    """

    version = 1
    outputs = ("predictive", "predictive_real", "predictive_last")
    unit = "train standard deviations"
    direction = "lower"
    source = "Yoon et al. 2019, NeurIPS (TimeGAN)"
    sees: ClassVar = {
        "predictive": ("blur", "channel_permutation", "flat_lines", "mode_dropping", "noise", "shrinking")
    }
    fast = False

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """Three values at n."""
        n, steps, channels = evaluation.reference.shape
        if steps < 2:
            return undefined(self.outputs, "needs 2 time steps", n)
        real = next_values(evaluation.reference)

        def after(windows: np.ndarray) -> np.ndarray:
            rng = evaluation.rng("predictive")  # the same weights and batches for both
            return forecast_errors(next_values(windows), real, max(8, channels // 2), STEPS, 1e-2, rng)

        train = evaluation.train[evenly_spaced(len(evaluation.train), n)]
        seed = repr(evaluation.rng("predictive").bit_generator.state)
        key = train.tobytes() + evaluation.reference.tobytes() + seed.encode()
        return [
            spread("predictive", after(evaluation.samples), n),
            spread("predictive_real", remembered(key, lambda: after(train)), n),
            Measurement("predictive_last", float(np.abs(real[1] - real[0]).mean()), n=n),
        ]


@register_metric("predictive.timegan")
@dataclass(frozen=True)
class TimeGANPredictive(SampleMetric):
    """The predictive score as TimeGAN's published code computes it, for comparison with published tables.

    Windows on the published scale; a GRU of width int(C / 2) with TensorFlow's cell and initial weights and a sigmoid
    predicts the last channel one step ahead from the other channels; 5,000 steps of 128 windows at rate .001; mean
    absolute error. Mean over 5 restarts; sd is over restarts.
    Shapes: windows (n, T, C). Unit: share of the last channel's range. Errors: undefined for one channel.
    Source: Yoon et al. 2019, their metrics/predictive_metrics.py; Yuan and Qiao 2024 (Diffusion-TS) repeat it 5 times,
    TimeGAN 10 times.
    It is the published protocol on a data set with `protocol: literature`: there the forecasts are of the windows that
    the generator was trained on, on the scale of the whole series. Elsewhere they are of held-out windows, and 0 and 1
    are the ends of the training windows. Ours: torch's Adam, whose constant 1e-8 stands elsewhere in the fraction.
    Blind to: noise and diversity that a forecast of one channel does not need.
    """

    version = 2  # 2: their cell and initial weights, no window twice in a batch
    outputs = ("predictive.timegan",)
    unit = "share of the range"
    direction = "lower"
    source = "Yoon et al. 2019, NeurIPS (TimeGAN), published code"
    fast = False

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """One value at n."""
        n, steps, channels = evaluation.reference.shape
        if channels < 2 or steps < 2:
            return undefined(self.outputs, "needs 2 channels (its width is int(C / 2)) and 2 time steps", n)
        real, generated = (
            (windows[:, :-1, :-1], windows[:, 1:, -1:])
            for windows in published_scale(evaluation, evaluation.reference, evaluation.samples)
        )
        rng = evaluation.rng("predictive.timegan")
        errors = forecast_errors(generated, real, channels // 2, TIMEGAN_STEPS, 1e-3, rng, published=True)
        return [spread("predictive.timegan", errors, n)]
