"""A Frechet distance between learned representations of whole windows."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import Measurement, SampleEvaluation
from bench.metrics import ts2vec
from bench.metrics.base import SampleMetric, spread, thinned, undefined
from bench.metrics.networks import drawn, published_scale, train
from bench.metrics.ts2vec import TS2Vec
from bench.randomness import numpy_generator
from bench.registry import register_metric

AnyEncoder = TypeVar("AnyEncoder", bound=nn.Module)

Moments = tuple[np.ndarray, np.ndarray]

RESTARTS = 5  # of the published encoder
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
    rng = numpy_generator(key := digest_of(windows), 0, "context_fid")
    word = f"context_fid-{ContextFID.version}-{key}"
    return _kept(word, cache, lambda: Encoder(rng, windows.shape[2]), lambda encoder: _fit(encoder, windows, rng))


def published_encoder(windows: np.ndarray, restart: int, cache: Path | None = None) -> TS2Vec:
    """The TS2Vec of one restart, fitted on windows of the published scale, and kept in the same way."""
    rng = numpy_generator(key := digest_of(windows), restart, "context_fid.diffusion_ts")
    word = f"context_fid.diffusion_ts-{DiffusionTSContextFID.version}-{restart}-{key}"
    return _kept(word, cache, lambda: TS2Vec(rng, windows.shape[2]), lambda encoder: ts2vec.fit(encoder, windows, rng))


def digest_of(windows: np.ndarray) -> str:
    """What identifies a set of windows."""
    return hashlib.sha256(f"{windows.shape}".encode() + windows.tobytes()).hexdigest()


_ENCODERS: dict[str, nn.Module] = {}


def _kept(
    word: str, cache: Path | None, make: Callable[[], AnyEncoder], fit: Callable[[AnyEncoder], None]
) -> AnyEncoder:
    """The encoder of that name: from memory, else from the folder, else made and fitted."""
    if word not in _ENCODERS:
        encoder = make()
        file = cache and cache / f"{word}.safetensors"
        if not (file and _load(encoder, file)):
            fit(encoder)
            if file:
                _save(encoder, file)
        _ENCODERS[word] = encoder
    return cast(AnyEncoder, _ENCODERS[word])


def _load(encoder: nn.Module, file: Path) -> bool:
    try:
        encoder.load_state_dict(load_file(file))
    except (OSError, SafetensorError, RuntimeError):  # none, or damaged: made again
        return False
    return True


def _save(encoder: nn.Module, file: Path) -> None:
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

    return frechet_of(moments(x), moments(y))


def moments(x: np.ndarray) -> Moments:
    """Mean and covariance of a sample (n, K)."""
    return x.mean(axis=0), np.atleast_2d(np.cov(x, rowvar=False))


def frechet_of(first: Moments, second: Moments) -> float:
    """The squared Frechet distance between Gaussians of these moments; see `frechet`."""

    def root(matrix: np.ndarray) -> tuple[np.ndarray, float]:
        values, vectors = np.linalg.eigh(matrix)
        if values[0] < -1e-6 * max(values[-1], 1e-12):
            raise ValueError(f"a covariance has the eigenvalue {values[0]:.3g} beside {values[-1]:.3g}")
        values = np.sqrt(values.clip(min=0))
        return vectors * values @ vectors.T, float(values.sum())

    (m_x, s_x), (m_y, s_y) = first, second
    half, _ = root(s_x)
    _, overlap = root(half @ s_y @ half)
    return float(((m_x - m_y) ** 2).sum() + np.trace(s_x) + np.trace(s_y) - 2 * overlap)


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


@register_metric("context_fid.diffusion_ts")
@dataclass(frozen=True)
class DiffusionTSContextFID(SampleMetric):
    """The context-FID as Diffusion-TS's published code computes it, to compare with its tables.

        d = |m_x - m_y|^2 + tr( S_x + S_y - 2 (S_x S_y)^(1/2) )

    of representations of reference and samples by TS2Vec: 320 numbers per window, the maximum over time, of an encoder
    that is fitted to the training windows by 600 updates of 8 windows (200 for a small set). Nothing is rescaled. Mean
    over 5 encoders of other initial weights and batches; sd is over encoders. No subsets of the windows are drawn; the
    correlational score of the same source draws some.
    Shapes: windows (n, T, C), on the published scale. Unit: squared units of the representation. Errors: undefined
    below 2 windows and for T = 1; failed when a covariance is not positive.
    Source: Yuan and Qiao 2024, ICLR (arXiv:2403.01742), published code (Utils/context_fid.py and its notebook
    Experiments/metric_pytorch.ipynb), after Jeha et al. 2022 (PSA-GAN); TS2Vec is Yue et al. 2022, arXiv:2106.10466.
    It is the published protocol on a data set with `protocol: literature`. Elsewhere the reference is held out, and 0
    and 1 are the ends of the training windows. Ours: the five encoders are the same for every method of a data set.
    Above 0 for two finite draws of one law: read it beside the floors.
    Blind to: what the encoder learned to ignore.
    """

    version = 1
    outputs = ("context_fid.diffusion_ts",)
    unit = "squared units of the representation"
    direction = "lower"
    source = "Yuan and Qiao 2024, arXiv:2403.01742, published code (Utils/context_fid.py, metric_pytorch.ipynb)"
    fast = False

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """One value at n, the mean over encoders."""
        n, steps, _ = evaluation.reference.shape
        if min(n, len(evaluation.samples)) < 2 or steps < 2:
            return undefined(self.outputs, "needs 2 windows of either kind and 2 time steps", n)
        parts = published_scale(evaluation, evaluation.train, evaluation.reference, evaluation.samples)
        train, reference, samples = (part.astype(np.float32) for part in parts)
        words, values = f"{digest_of(train)} {digest_of(reference)}", []
        for restart in range(RESTARTS):
            encoder = published_encoder(train, restart, evaluation.cache)
            if (
                word := f"{restart} {words}"
            ) not in _MOMENTS:  # what samples are compared with: the same for all methods
                _MOMENTS[word] = moments(ts2vec.representations(encoder, reference))
            values.append(frechet_of(_MOMENTS[word], moments(ts2vec.representations(encoder, samples))))
        return [spread("context_fid.diffusion_ts", np.array(values), n)]


_MOMENTS: dict[str, Moments] = {}
