"""What the metrics cost per run at n = 1,000 on one core: `fast` under 10 s, `all` under 180 s, and each of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bench.contracts import DiffusionConfig, EvaluateConfig, ModelConfig, TrainConfig
from bench.method import stacked
from bench.perf.measure import Line, Scale, cpu_seconds, windows
from bench.registry import METHODS
from bench.scoring.scores import Scope, choose, draw_samples, score_run
from bench.training.stack import train_stack


def measure(scale: Scale) -> Iterator[Line]:
    """Seconds of `fast` and of `all` on a trained `proposed` run with z at every step; `ratio` is seconds.

    z at every step makes the sharpest decoders, and sharp decoders the dearest dependency measures. T = 24, C = 6; the
    dependency measures look at n / 2 series. The encoder that `context_fid` keeps is fitted within the time.
    """
    steps, n, series, wanted = {
        "tiny": (3, 10, 60, ("sliced_wasserstein", "nll")),
        "quick": (60, 500, 2500, tuple(metric.name for metric in choose("fast"))),
        "full": (1000, 1000, 5000, tuple(metric.name for metric in choose("all"))),
    }[scale]
    method, scope = METHODS["proposed"](latent_route="every_step"), Scope("perf", 0)
    splits = windows(series, 24, 6)
    train, diffusion = TrainConfig(steps=steps), DiffusionConfig(steps=steps, sampling_steps=50)
    config = ModelConfig(hidden=4) if scale == "tiny" else ModelConfig()
    model = train_stack([method], [splits], [("perf", 0)], "lstm", config, [train], [diffusion]).model.eval()
    ready, evaluate = stacked([method]), EvaluateConfig(n_samples=n, dependency_series=n // 2)
    samples = draw_samples(model, ready, splits, evaluate, scope)
    fast, total = {metric.name for metric in choose("fast")}, {"fast": 0.0, "all": 0.0}
    for name in wanted:
        seconds = cpu_seconds(partial(score_run, model, ready, splits, samples, evaluate, scope, [name]))
        total["all"] += seconds
        total["fast"] += seconds if name in fast else 0
        target = "<= 10" if name == "latent_information" else ""  # above that it is no part of `fast`
        yield Line(f"{name}{'' if name in fast else ' (all)'}, n = {len(samples)}: seconds", seconds, target=target)
    yield Line("fast together: seconds", total["fast"], target="<= 10")
    if scale == "full":
        yield Line("all together: seconds", total["all"], target="<= 180")
