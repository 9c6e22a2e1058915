"""From a trained run, a reference or somebody's samples to metric rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bench.contracts import (
    EvaluateConfig,
    InputError,
    LatentEvaluation,
    Measurement,
    Metric,
    SampleEvaluation,
    Splits,
    Undefined,
    nearest,
)
from bench.method import Method
from bench.models.build import StackedModel
from bench.randomness import Randomness, Stream, numpy_generator
from bench.references import REFERENCES, evaluation_size, reference_windows
from bench.registry import METRICS


@dataclass(frozen=True)
class Scope:
    """Whose numbers these are: the seeds of everything that evaluation draws."""

    dataset: str
    seed: int
    metric_seed: int = 0

    def numpy(self, role: str) -> np.random.Generator:
        """A numpy generator, the same for every method of a (data set, seed)."""
        return numpy_generator(self.dataset, self.seed, f"metric {self.metric_seed} {role}")

    def draws(self, role: str, device: torch.device | str = "cpu") -> Stream:
        """A stream of torch blocks, R = 1."""
        return Randomness([(self.dataset, self.seed)], device).draws(f"metric {self.metric_seed} {role}")

    def reference(self) -> np.random.Generator:
        """Chooses the test windows and draws the references: not the metric seed's."""
        return numpy_generator(self.dataset, self.seed, "reference windows")


def choose(metrics: str | Sequence[str], needs: str | None = None) -> list[Metric]:
    """The metrics that `fast`, `all` or a list of names (of metrics or of their outputs) asks for.

    Raises InputError for an unknown name.
    """
    registered = [METRICS[name]() for name in METRICS]
    if metrics == "all":
        chosen = [metric for metric in registered if "." not in metric.name]  # the literature's variants are named
    elif metrics == "fast":
        chosen = [metric for metric in registered if metric.fast]
    else:
        names = [metrics] if isinstance(metrics, str) else list(metrics)
        owners = {output: metric for metric in registered for output in metric.outputs}
        owners.update({metric.name: metric for metric in registered})
        for name in names:
            if name not in owners:
                known = nearest(name, [*owners, "fast", "all"])
                raise InputError(f"evaluate.metrics: unknown metric '{name}': {known}")
        chosen = list(dict.fromkeys(owners[name] for name in names))
    return [metric for metric in chosen if needs in (None, metric.needs)]


def _measure(metric: Metric, evaluation: SampleEvaluation | LatentEvaluation) -> list[Measurement]:
    try:
        return metric.measure(evaluation)
    except Undefined as error:
        return [Measurement(name, float("nan"), status="undefined", reason=str(error)) for name in metric.outputs]
    except Exception as error:  # a metric that fails is a row with its reason; the others go on
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return [Measurement(name, float("nan"), status="failed", reason=reason) for name in metric.outputs]


def _rows(metric: Metric, found: Sequence[Measurement], scope: Scope) -> list[dict[str, Any]]:
    shared = {"version": metric.version, "split": "test", "train_step": -1, "metric_seed": scope.metric_seed}
    rows = []
    for item in found:
        values = dataclasses.asdict(item)
        rows.append({"metric": values.pop("name"), **shared, **values})
    return rows


def score_samples(
    reference: np.ndarray, samples: np.ndarray, train: np.ndarray, metrics: Sequence[Metric], scope: Scope
) -> list[dict[str, Any]]:
    """Metric rows for generated windows beside as many real ones, all (n, T, C) in train-scaled units."""
    evaluation = SampleEvaluation(reference, samples, train, scope.numpy)
    return [row for metric in metrics for row in _rows(metric, _measure(metric, evaluation), scope)]


def score_reference(
    name: str, splits: Splits, config: EvaluateConfig, scope: Scope, metrics: str | Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Metric rows of one of `bench.references`; `metrics` in place of the configuration's."""
    n = evaluation_size(splits, config.n_samples)
    reference, samples = REFERENCES[name](splits, n, scope.reference())
    return score_samples(reference, samples, splits.train, choose(metrics or config.metrics, "samples"), scope)


@torch.no_grad()
def draw_samples(
    model: StackedModel, method: Method, splits: Splits, config: EvaluateConfig, scope: Scope
) -> np.ndarray:
    """The samples that are measured: as many as reference windows, (n, T, C), train-scaled."""
    n = evaluation_size(splits, config.n_samples)
    draws = scope.draws("samples", model.alpha_bar.device)
    return method.sample(model, n, draws)[0].cpu().numpy()


def score_run(
    model: StackedModel,
    method: Method,
    splits: Splits,
    samples: np.ndarray,
    config: EvaluateConfig,
    scope: Scope,
    metrics: str | Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Metric rows of one trained run (R = 1) and its samples; `metrics` in place of the configuration's."""
    reference = reference_windows(splits, len(samples), scope.reference())
    rows = []
    device = model.alpha_bar.device
    series, train = (torch.from_numpy(windows).to(device) for windows in (reference, splits.train))
    latent = LatentEvaluation(model, method, series, lambda role: scope.draws(role, device), config, train)
    for metric in choose(metrics or config.metrics):
        if metric.needs == "samples":
            rows += score_samples(reference, samples, splits.train, [metric], scope)
        else:
            rows += _rows(metric, _measure(metric, latent), scope)
    return rows
