"""A whole run (train, sample, dependency, fast sample metrics) against `bench.perf.straightforward`, same results.

hidden 128, T = 48, batch 128, one core. A share of the default budget is run on both sides, and every phase is then
scaled to the whole of it (1,500 + 3,000 updates, 1,000 samples in 1,000 steps, 500 series); our training along the line
through two budgets, because its 20 checks and the encoding of the windows are the same for any. captum gets the fewest
nodes that reach our tolerance of 1e-2 on the trained decoder. The other side is a process of its own, whose memory is
the C library's to manage.

`python -m bench.perf.whole_run` spends the whole budget on both sides (ten minutes); only the 50 series of captum
stand for 500. It matters because a decoder that is trained for longer needs more nodes.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import torch

from bench.contracts import DiffusionConfig, EvaluateConfig, ModelConfig, TrainConfig
from bench.hardware.memory import keep_freed
from bench.method import stacked
from bench.metrics.dependency import dependency_measures
from bench.models.build import StackedModel
from bench.models.lstm import LSTMDecoder
from bench.models.stacked import initialise
from bench.perf import straightforward
from bench.perf.dependency import enough_nodes, native
from bench.perf.measure import Line, Scale, Stopwatch, windows
from bench.randomness import Randomness
from bench.registry import METHODS
from bench.scoring.scores import Scope, choose, score_samples
from bench.training.stack import Trained, train_stack

KEY = ("perf", 0)


def measure(scale: Scale) -> Iterator[Line]:
    """The ratio, as run and scaled to the default budget, phase by phase, and the peak of memory."""
    # hidden, T, batch, autoencoder steps, denoiser steps, L, samples, series of the dependency measures
    sizes = {
        "tiny": (4, 5, 8, 3, 3, 10, 6, 3),
        "quick": (128, 48, 128, 40, 80, 100, 200, 10),
        "full": (128, 48, 128, 150, 300, 1000, 500, 50),
        "whole": (128, 48, 128, TrainConfig().steps, DiffusionConfig().steps, 1000, 1000, 50),
    }[scale]
    hidden, window, batch, steps, denoiser_steps, last, n, count = sizes
    splits, method = windows({"tiny": 40, "whole": 1250}.get(scale, 600), window, 6), METHODS["latent_diffusion"]()
    config = ModelConfig(hidden=hidden, latent=4 if scale == "tiny" else 16)
    train, diffusion = TrainConfig(steps=steps, batch_size=batch), DiffusionConfig(L=last, steps=denoiser_steps)
    series = torch.from_numpy(splits.test[:count])
    n = min(n, len(splits.test) * 4)
    source = StackedModel(1, (window, 6), stacked([method]), "lstm", config, diffusion)
    initialise(source, Randomness([KEY]))
    metrics = choose("fast", "samples")
    reference = np.resize(splits.test, (n, window, 6))

    def score(samples: np.ndarray) -> None:
        score_samples(reference, samples, splits, metrics, Scope(*KEY))

    mine = Stopwatch()

    def trained_for(share: int) -> tuple[Trained, dict[str, float]]:
        """One `share`-th of the updates, and the CPU seconds of both stages."""
        budget = replace(train, steps=steps // share), replace(diffusion, steps=denoiser_steps // share)
        began = time.process_time()
        found = train_stack([method], [splits], [KEY], "lstm", config, [budget[0]], [budget[1]])
        both = time.process_time() - began
        first = both * found.autoencoder_seconds / (found.autoencoder_seconds + found.denoiser_seconds)
        return found, {"autoencoder": first, "denoiser": both - first}

    trained_for(steps)  # the first updates of a process do not count
    half = trained_for(2)[1] if steps < TrainConfig().steps else {}
    trained, mine.seconds = trained_for(1)
    model, randomness, ready = trained.model.eval(), Randomness([KEY]), stacked([method])
    with mine("sampling"), torch.no_grad():
        samples = ready.sample(model, n, randomness.draws("metric 0 samples"))[0].numpy()
    assert isinstance(model.decoder, LSTMDecoder)
    decoder, past = model.decoder.single(0), series[:, :-1]
    with mine("dependency"):
        with torch.no_grad():
            z = ready.posterior(model, series[None]).rsample(randomness.draws("metric 0 posterior"))[0]
        measures = dependency_measures(decoder, z, past)
    loss = sum(value for _, step, stage, term, value in trained.curves.rows if _is_last(stage, step, steps, term))
    with mine("metrics"):
        score(samples)

    nodes = enough_nodes(native(decoder), z[:8], past[:8], 8 if scale == "tiny" else 256, accuracy=1e-2)
    given = source, splits, config, train, diffusion, KEY, n, series, nodes
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        other, theirs = process.submit(straightforward.timed, *given).result()
    with theirs("metrics"):
        score(other.samples)

    first, second = (sum(watch.seconds.values()) for watch in (mine, theirs))
    samples_apart = float(np.abs(samples - other.samples).max())
    shares_apart = float((torch.stack(measures[:2]) - other.dependency[:2]).abs().max())
    note = f"samples differ by at most {samples_apart:.1g}, dependency by {shares_apart:.1g}"
    what = f"hidden {hidden}, T = {window}, {steps} + {denoiser_steps} updates, {n} samples, {count} series"
    yield Line(what, second / first, first, second, note=note)
    whole = {
        "autoencoder": TrainConfig().steps / steps,
        "denoiser": DiffusionConfig().steps / denoiser_steps,
        "sampling": EvaluateConfig().n_samples * DiffusionConfig().L / (n * last),
        "dependency": EvaluateConfig().dependency_series / count,
        "metrics": 1.0,
    }
    ours, others = ({phase: watch.seconds[phase] * times for phase, times in whole.items()} for watch in (mine, theirs))
    for phase, before in half.items():
        now = mine.seconds[phase]
        ours[phase] = now + max(now - before, 0) * 2 * (whole[phase] - 1)
    first, second = sum(ours.values()), sum(others.values())
    note = f"captum: {nodes} nodes; loss {abs(loss / other.loss - 1):.1g} apart"
    yield Line("every phase scaled to the default budget, seconds", second / first, first, second, ">= 3", note)
    for phase in whole:
        note = f"{ours[phase] / first:.0%} of ours, {others[phase] / second:.0%} of the other"
        yield Line(f"  {phase}", others[phase] / ours[phase], ours[phase], others[phase], note=note)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    yield Line("peak memory of this process so far, GB", peak, target="<= 1")


def main() -> int:
    """Print the measurement of the whole budget."""
    torch.set_num_threads(1)
    keep_freed()
    for line in measure("whole"):
        print(line, flush=True)
    return 0


def _is_last(stage: str, step: int, steps: int, term: str) -> bool:
    return stage == "autoencoder" and step == steps and term in ("reconstruction", "kl")


if __name__ == "__main__":
    raise SystemExit(main())
