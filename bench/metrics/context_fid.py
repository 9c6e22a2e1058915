"""A Frechet distance between learned representations of whole windows."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import Measurement, SampleEvaluation
from bench.metrics.base import SampleMetric, thinned, undefined
from bench.metrics.networks import drawn, train
from bench.randomness import numpy_generator
from bench.registry import register_metric

WIDTH = 32
STEPS, BATCH, LEARNING_RATE, TEMPERATURE, MASKED = 300, 64, 3e-3, 0.1, 0.2


class Encoder(nn.Module):
    """Two dilated convolutions over time, pooled: windows (B, T, C) of any length -> (B, WIDTH)."""

    def __init__(self, rng: np.random.Generator, channels: int) -> None:
        super().__init__()
        self.input = drawn(rng, nn.Conv1d, channels, WIDTH, 3, fan_in=3 * channels)
        self.hidden = drawn(rng, nn.Conv1d, WIDTH, WIDTH, 3, fan_in=3 * WIDTH)
        self.output = drawn(rng, nn.Linear, 2 * WIDTH, WIDTH, fan_in=2 * WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, WIDTH)."""
        h = functional.gelu(self.input(functional.pad(x.transpose(1, 2), (1, 1))))
        h = h + functional.gelu(self.hidden(functional.pad(h, (1, 1))))
        return self.output(torch.cat([h.mean(dim=2), h.amax(dim=2)], dim=1))


def trained_encoder(windows: np.ndarray, cache: Path | None = None) -> Encoder:
    """An encoder that recognises a window from a masked piece of it, fitted on real windows alone.

    Two views of a window (pieces of one random length, a fifth of the values masked) must be nearer to each other than
    to views of other windows (InfoNCE). Everything random is seeded by the windows' hash: the same windows give the
    same encoder, in every run. It is kept under that hash in memory, and in the folder `cache` where there is one.
    """
    key = hashlib.sha256(f"{windows.shape}".encode() + windows.tobytes()).hexdigest()
    if key not in _ENCODERS:
        rng = numpy_generator(key, 0, "context_fid")
        encoder = Encoder(rng, windows.shape[2])
        file = cache and cache / f"context_fid-{ContextFID.version}-{key}.safetensors"
        if not (file and _load(encoder, file)):
            _fit(encoder, windows, rng)
            if file:
                _save(encoder, file)
        _ENCODERS[key] = encoder
    return _ENCODERS[key]


_ENCODERS: dict[str, Encoder] = {}


def _load(encoder: Encoder, file: Path) -> bool:
    try:
        encoder.load_state_dict(load_file(file))
    except (OSError, SafetensorError, RuntimeError):  # none, or damaged: made again
        return False
    return True


def _save(encoder: Encoder, file: Path) -> None:
    part = file.with_suffix(f".{os.getpid()}.part")
    with contextlib.suppress(OSError, SafetensorError):  # a folder that cannot be written costs time only
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(encoder.state_dict(), part)
        os.replace(part, file)  # whole or not at all, also with several processes


def _fit(encoder: Encoder, windows: np.ndarray, rng: np.random.Generator) -> None:
    x = torch.tensor(windows, dtype=torch.float32)
    steps, size = x.shape[1], min(BATCH, len(x))

    def loss() -> Tensor:
        batch = x[torch.from_numpy(rng.choice(len(x), size, replace=False))]
        length = int(rng.integers((steps + 1) // 2, steps + 1))
        views = []
        for _ in range(2):
            start = int(rng.integers(0, steps - length + 1))
            kept = torch.from_numpy(rng.random((size, length, x.shape[2])) >= MASKED)
            views.append(functional.normalize(encoder(batch[:, start : start + length] * kept), dim=1))
        return functional.cross_entropy(views[0] @ views[1].T / TEMPERATURE, torch.arange(size))

    train(encoder, loss, STEPS, LEARNING_RATE)


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    """|m_x - m_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2)) of two samples (n, K): the squared Frechet distance.

    The trace of the root comes from the symmetric S_x^(1/2) S_y S_x^(1/2), so that nothing imaginary can arise.
    Raises ValueError when an eigenvalue is negative beyond rounding.
    """

    def root(matrix: np.ndarray) -> tuple[np.ndarray, float]:
        values, vectors = np.linalg.eigh(matrix)
        if values[0] < -1e-6 * max(values[-1], 1e-12):
            raise ValueError(f"a covariance has the eigenvalue {values[0]:.3g} beside {values[-1]:.3g}")
        values = np.sqrt(values.clip(min=0))
        return vectors * values @ vectors.T, float(values.sum())

    s_x, s_y = (np.atleast_2d(np.cov(part, rowvar=False)) for part in (x, y))
    half, _ = root(s_x)
    _, overlap = root(half @ s_y @ half)
    return float(((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum() + np.trace(s_x) + np.trace(s_y) - 2 * overlap)


@register_metric("context_fid")
@dataclass(frozen=True)
class ContextFID(SampleMetric):
    """The squared Frechet distance between Gaussians fitted to representations of reference and samples.

        d = |m_x - m_y|^2 + tr( S_x + S_y - 2 (S_x S_y)^(1/2) )

    The representations (32 numbers per window, in standard deviations over training windows from everywhere) come from
    a convolutional encoder trained by contrast on the training windows, once for a set of windows; it is kept in the
    user's cache folder under the windows' hash, but for restricted data.
    Shapes: windows (n, T, C). Unit: squared standard deviations of the representation. Errors: undefined below 2
    windows; failed when a covariance is not positive.
    Source: Jeha et al. 2022, ICLR (PSA-GAN); the encoder's task follows Yue et al. 2022 (TS2Vec, arXiv:2106.10466).
    Ours: a small encoder of our own, so the numbers do not compare with published ones. Above 0 for two finite draws
    of one law: read it beside the floors. Blind to: what the encoder learned to ignore (noise of a few cells,
    by its masking; on energy blur and time warping, on earthquakes the order of time).
    """

    version = 2  # 2: scaled by training windows from everywhere, not by the earliest 10,000
    outputs = ("context_fid",)
    unit = "squared standard deviations"
    direction = "lower"
    source = "Jeha et al. 2022, ICLR (PSA-GAN); Yue et al. 2022, arXiv:2106.10466"
    sees: ClassVar = {"context_fid": ("channel_permutation", "flat_lines", "mode_dropping", "noise", "shrinking")}
    fast = False

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """One value at n."""
        n = len(evaluation.reference)
        if min(n, len(evaluation.samples)) < 2:
            return undefined(self.outputs, "needs 2 windows of either kind", n)
        encoder = trained_encoder(evaluation.train, evaluation.cache)
        with torch.no_grad():
            real, generated, known = (
                encoder(torch.tensor(windows, dtype=torch.float32)).double().numpy()
                for windows in (evaluation.reference, evaluation.samples, thinned(evaluation.train))
            )
        scale = known.std(axis=0).clip(min=1e-6)
        return [Measurement("context_fid", frechet(real / scale, generated / scale), n=n)]
