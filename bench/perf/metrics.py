"""What the metrics cost per run at n = 1,000: `fast` under 10 s, `all` under 180 s, and each of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bench.contracts import DiffusionConfig, EvaluateConfig, ModelConfig, TrainConfig
from bench.method import stacked
from bench.perf.measure import Line, Scale, cpu_seconds, windows
from bench.registry import METHODS
from bench.scores import Scope, choose, draw_samples, score_run
from bench.train import train_stack


def measure(scale: Scale) -> Iterator[Line]:
    """Seconds of `fast` (and, at full size, `all`) on a short `proposed` run, T = 24, C = 6; `ratio` is seconds."""
    steps, n, series, wanted = {
        "tiny": (3, 10, 60, ("sliced_wasserstein", "nll")),
        "quick": (60, 500, 2500, tuple(metric.name for metric in choose("fast"))),
        "full": (1500, 1000, 5000, tuple(metric.name for metric in choose("all"))),
    }[scale]
    splits, method, scope = windows(series, 24, 6), METHODS["proposed"](), Scope("perf", 0)
    train, diffusion = TrainConfig(steps=steps), DiffusionConfig(steps=steps)
    config = ModelConfig(hidden=4) if scale == "tiny" else ModelConfig()
    model = train_stack([method], [splits], [("perf", 0)], "lstm", config, [train], [diffusion]).model.eval()
    ready, evaluate = stacked([method]), EvaluateConfig(n_samples=n, dependency_series=n // 2)
    samples = draw_samples(model, ready, splits, evaluate, scope)
    fast, total = {metric.name for metric in choose("fast")}, {"fast": 0.0, "all": 0.0}
    seconds = {}
    for name in wanted:
        work = partial(score_run, model, ready, splits, samples, evaluate, scope, [name])
        seconds[name] = cpu_seconds(work)
        total["all"] += seconds[name]
        total["fast"] += seconds[name] if name in fast else 0
    for name, value in sorted(seconds.items(), key=lambda item: -item[1]):
        yield Line(f"{name}{'' if name in fast else ' (all)'}, n = {len(samples)}: seconds", value)
    yield Line("fast together: seconds", total["fast"], target="<= 10")
    if scale == "full":
        yield Line("all together: seconds", total["all"], target="<= 180")
