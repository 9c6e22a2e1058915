"""A whole run (train, sample, dependency, fast sample metrics) against `bench.perf.straightforward`, same results.

hidden 128, T = 48, batch 128, one core. A share of the default budget is run on both sides, the share of every phase
the same. captum gets 8 nodes; ours the default tolerance of 1e-2 and, because that is more than captum's 8 nodes reach
on a sharp decoder, the comparison says how far the two are apart.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator

import numpy as np
import torch

from bench.contracts import DiffusionConfig, ModelConfig, TrainConfig
from bench.method import stacked
from bench.metrics.dependency import dependency_measures
from bench.models.build import StackedModel
from bench.models.lstm import LSTMDecoder
from bench.models.stacked import initialise
from bench.perf import straightforward
from bench.perf.measure import Line, Scale, cpu_seconds, windows
from bench.perf.straightforward import Found
from bench.randomness import Randomness
from bench.registry import METHODS
from bench.scores import Scope, choose, score_samples
from bench.train import train_stack

KEY = ("perf", 0)


def measure(scale: Scale) -> Iterator[Line]:
    """The ratio, phase by phase of ours, and the peak of memory."""
    # hidden, T, batch, autoencoder steps, denoiser steps, L, samples, series of the dependency measures
    sizes = {
        "tiny": (4, 5, 8, 3, 3, 10, 6, 3),
        "quick": (128, 48, 128, 15, 30, 100, 200, 10),
        "full": (128, 48, 128, 150, 300, 1000, 500, 50),
    }[scale]
    hidden, window, batch, steps, denoiser_steps, last, n, count = sizes
    splits, method = windows(600 if scale != "tiny" else 40, window, 6), METHODS["latent_diffusion"]()
    config = ModelConfig(hidden=hidden, latent=4 if scale == "tiny" else 16)
    train, diffusion = TrainConfig(steps=steps, batch_size=batch), DiffusionConfig(L=last, steps=denoiser_steps)
    series = torch.from_numpy(splits.test[:count])
    n = min(n, len(splits.test) * 4)
    source = StackedModel(1, (window, 6), stacked([method]), "lstm", config, diffusion)
    initialise(source, Randomness([KEY]))
    metrics = choose("fast", "samples")
    reference = np.resize(splits.test, (n, window, 6))

    def score(samples: np.ndarray) -> None:
        score_samples(reference, samples, splits.train, metrics, Scope(*KEY))

    found: dict[str, Found] = {}

    def ours() -> None:
        trained = train_stack([method], [splits], [KEY], "lstm", config, [train], [diffusion])
        model, randomness, ready = trained.model, Randomness([KEY]), stacked([method])
        model.eval()
        with torch.no_grad():
            samples = ready.sample(model, n, randomness.draws("metric 0 samples"))[0].numpy()
            z = ready.posterior(model, series[None]).rsample(randomness.draws("metric 0 posterior"))[0]
            assert isinstance(model.decoder, LSTMDecoder)
            decoder = model.decoder.single(0)
        measures = dependency_measures(decoder, z, series[:, :-1])
        loss = sum(value for _, step, stage, term, value in trained.curves.rows if _is_last(stage, step, steps, term))
        found["ours"] = Found(loss, samples, torch.stack([measures.global_, measures.local]))
        score(samples)

    def other() -> None:
        given = (source, splits, config, train, diffusion, KEY, n, series)
        found["other"] = straightforward.run(*given)
        score(found["other"].samples)

    began = cpu_seconds(lambda: torch.optim.Adam([torch.zeros(1, requires_grad=True)]))
    first, second = cpu_seconds(ours), cpu_seconds(other)
    samples_apart = float(np.abs(found["ours"].samples - found["other"].samples).max())
    shares_apart = float((found["ours"].dependency - found["other"].dependency[:2]).abs().max())
    note = f"samples differ by at most {samples_apart:.1g}, dependency by {shares_apart:.1g}"
    what = f"hidden {hidden}, T = {window}, {steps} + {denoiser_steps} updates, {n} samples, {count} series"
    yield Line(what, second / first, first, second, ">= 3", note)
    yield Line("the first torch.optim.Adam of a process, in runs of ours", began / first, first, began)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    yield Line("peak memory of this process so far, GB", peak, target="<= 1")


def _is_last(stage: str, step: int, steps: int, term: str) -> bool:
    return stage == "autoencoder" and step == steps and term in ("reconstruction", "kl")
