"""From a trained run, a reference or the samples of any model to metric rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.code_hash import code_of
from bench.contracts import (
    TEST_BLOCKS,
    DatasetSpec,
    EvaluateConfig,
    InputError,
    LatentEvaluation,
    Measurement,
    Metric,
    SampleEvaluation,
    Scored,
    Splits,
    Unavailable,
    Undefined,
    in_one_line,
    nearest,
)
from bench.loading.cache import cache_folder
from bench.loading.cells import as_recorded
from bench.loading.references import (
    EVERY_REFERENCE,
    evaluation_size,
    origin,
    reference_windows,
    references_of,
    some_rows,
)
from bench.method import Method, stacked
from bench.metrics.base import from_everywhere
from bench.models.build import StackedModel
from bench.randomness import Randomness, Stream, numpy_generator
from bench.registry import DATASETS, METRICS, OWN
from bench.sweeps.run import Run

DURING_TRAINING = ("nll", "kl", "active_units", "probe")
SERIES_DURING_TRAINING = 250  # few enough that ten evaluations cost a few percent of training


@dataclass(frozen=True)
class Scope:
    """The scope of an evaluation: the seeds of all its random draws, and the windows that it uses."""

    dataset: str
    seed: int
    metric_seed: int = 0
    split: Scored = "test"
    remembers: bool = False  # whether metrics may keep what they fit on the training windows

    @classmethod
    def of(cls, run: Run) -> Scope:
        """The scope of a run as its sweep file defines it."""
        return dataclasses.replace(cls.on(run.dataset, run.seed), split=run.evaluate.split)

    @classmethod
    def on(cls, spec: DatasetSpec, seed: int, metric_seed: int = 0) -> Scope:
        """The scope of a data set and a seed. Nothing of restricted data is kept."""
        remembers = spec.name in DATASETS and not DATASETS[spec.name].restricted
        return cls(spec.stream, seed, metric_seed, remembers=remembers)

    def measured(self, splits: Splits) -> Splits:
        """The windows with those of `split` in the place of the test windows."""
        if self.split == "test":
            return splits
        return dataclasses.replace(
            splits,
            test=splits.validation,
            test_truth=splits.validation_truth,
            test_stride=splits.strides["validation"],
            test_groups=splits.validation_groups,
            starts={**splits.starts, "test": splits.starts["validation"]} if splits.starts else {},
            entities={**splits.entities, "test": splits.entities["validation"]} if splits.entities else {},
            held_out=None,
        )

    def numpy(self, role: str) -> np.random.Generator:
        """A numpy generator, the same for every method of a (data set, seed)."""
        return numpy_generator(self.dataset, self.seed, f"metric {self.metric_seed} {role}")

    def draws(self, role: str, device: torch.device | str = "cpu") -> Stream:
        """A stream of torch blocks, R = 1."""
        return self.draws_of([self], role, device)

    @staticmethod
    def draws_of(scopes: Sequence[Scope], role: str, device: torch.device | str = "cpu") -> Stream:
        """The same for the runs of a stack, which share the metric seed."""
        keys = [(scope.dataset, scope.seed) for scope in scopes]
        return Randomness(keys, device).draws(f"metric {scopes[0].metric_seed} {role}")

    def reference(self) -> np.random.Generator:
        """Chooses real windows (where there are more than are measured) and draws the references."""
        again = f" {self.metric_seed}" if self.metric_seed else ""
        return numpy_generator(self.dataset, self.seed, f"reference windows{again}")

    @property
    def cache(self) -> Path | None:
        """Where metrics may keep what they fit on the training windows."""
        folder = cache_folder()
        return folder / "metrics" if folder and self.remembers else None

    def repeats(self, config: EvaluateConfig) -> list[Scope]:
        """This scope under every metric seed, to separate the noise of the measures from that of the model seeds."""
        return [dataclasses.replace(self, metric_seed=k) for k in range(config.metric_seeds)]


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
                known = nearest(name, [*owners, "fast", "all"], "`python -m bench.list metrics`")
                raise InputError(f"evaluate.metrics: unknown metric '{name}': {known}; {OWN}")
        chosen = list(dict.fromkeys(owners[name] for name in names))
    return [metric for metric in chosen if needs in (None, metric.needs)]


def measure(metric: Metric, evaluation: SampleEvaluation | LatentEvaluation) -> list[Measurement]:
    """The numbers of a metric; one that is undefined or fails has its reason in their place, and the others go on."""
    try:
        return metric.measure(evaluation)
    except Undefined as error:
        return [Measurement(name, float("nan"), status="undefined", reason=str(error)) for name in metric.outputs]
    except Exception as error:  # whatever a metric raises
        reason = in_one_line(error)
        return [Measurement(name, float("nan"), status="failed", reason=reason) for name in metric.outputs]


def _rows(metric: Metric, found: Sequence[Measurement], scope: Scope, train_step: int = -1) -> list[dict[str, Any]]:
    shared: dict[str, Any] = {"version": metric.version, "metric_code": code_of(type(metric))}
    shared |= {"split": scope.split, "train_step": train_step, "metric_seed": scope.metric_seed}
    rows = []
    for item in found:
        values = dataclasses.asdict(item)
        rows.append({"metric": values.pop("name"), **shared, **values})
    return rows


def score_samples(
    reference: np.ndarray,
    samples: np.ndarray,
    splits: Splits,
    metrics: Sequence[Metric],
    scope: Scope,
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """Metric rows for generated windows beside as many real ones of `splits`, all (n, T, C) in train-scaled units."""
    of_reference, of_samples = origin(reference, splits), origin(samples, splits)
    evaluation = SampleEvaluation(
        reference,
        samples,
        splits.train,
        scope.numpy,
        scope.cache,
        device,
        splits.cells,
        of_reference.start,
        of_samples.start,
        of_reference.entity,
        of_samples.entity,
        splits.zero_one,
        splits.whole,
    )
    return [row for metric in metrics for row in _rows(metric, measure(metric, evaluation), scope)]


def score_beside_both(
    samples: np.ndarray, splits: Splits, metrics: Sequence[Metric], scope: Scope, device: str = "cpu"
) -> list[dict[str, Any]]:
    """Metric rows of samples (m, T, C) beside the reference windows, and of some metrics beside the test windows too.

    The latter, where these are others, are rows of the coordinate `test blocks`: what holds of other stretches of the
    same recordings. As many samples are used as there are real windows, at most all.
    """
    reference = reference_windows(splits, len(samples), scope.reference())
    rows = score_samples(reference, samples[: len(reference)], splits, metrics, scope, device)
    if splits.held_out is not None and (again := [metric for metric in metrics if metric.generalises]):
        test = splits.test[some_rows(splits.test, len(samples), scope.reference())]
        found = score_samples(test, samples[: len(test)], splits, again, scope, device)
        rows += [{**row, "coordinate": TEST_BLOCKS} for row in found if row["coordinate"] == ""]
    return rows


def score_beside_references(
    label: str, samples: np.ndarray, splits: Splits, metrics: Sequence[Metric], scope: Scope, n: int
) -> list[dict[str, Any]]:
    """Metric rows of any model's samples (m, T, C), train-scaled, and of every reference; each row has its `label`.

    At most n of the samples, chosen by chance, beside as many reference windows, and beside as many test windows. They
    are rounded as those of a method are.
    """
    samples = as_recorded(samples, splits.cells)
    n = min(evaluation_size(splits, n), len(samples))
    chosen = samples[scope.numpy("samples of a file").permutation(len(samples))[:n]]
    found = score_beside_both(chosen, splits, metrics, scope)
    rows = [{"label": label, **row} for row in found]
    config, names = EvaluateConfig(n_samples=n), [metric.name for metric in metrics]
    for name in references_of(splits):
        rows += [{"label": name, **row} for row in score_reference(name, splits, config, scope, names)]
    return rows


def score_reference(
    name: str, splits: Splits, config: EvaluateConfig, scope: Scope, metrics: str | Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Metric rows of one of `bench.loading.references`; `metrics` in place of the configuration's."""
    splits = scope.measured(splits)
    n, rows = evaluation_size(splits, config.n_samples), []
    for again in scope.repeats(config):
        reference, samples = EVERY_REFERENCE[name](splits, n, again.reference())
        if config.round:
            samples = as_recorded(samples, splits.cells)
        chosen = choose(config.metrics if metrics is None else metrics, "samples")
        rows += score_samples(reference, samples, splits, chosen, again)
    return rows


@torch.no_grad()
def draw_samples(
    model: StackedModel, method: Method, splits: Splits, config: EvaluateConfig, scope: Scope
) -> np.ndarray:
    """The samples that are measured: as many as real windows, (n, T, C), train-scaled."""
    return draw_stack(model, method, [splits], config, [scope])[0]


@torch.no_grad()
def draw_stack(
    model: StackedModel, method: Method, splits: Sequence[Splits], config: EvaluateConfig, scopes: Sequence[Scope]
) -> np.ndarray:
    """`draw_samples` of all runs of a stack in one go, (R, n, T, C). All are measured with as many."""
    n = evaluation_size(scopes[0].measured(splits[0]), config.n_samples)
    return draw_series(model, method, splits, config, scopes, n)


@torch.no_grad()
def draw_series(
    model: StackedModel,
    method: Method,
    splits: Sequence[Splits],
    config: EvaluateConfig,
    scopes: Sequence[Scope],
    n: int,
) -> np.ndarray:
    """n series of each run of a stack, (R, n, T, C), at the temperature that the configuration asks for.

    The model keeps the sampling temperatures, so that measures that draw series draw them in the same way.
    Raises Unavailable where the configuration asks for a temperature that this model cannot have.
    """
    _try_temperature(model, method, config)
    model.temperature = _chosen_temperatures(model, method, splits, config, scopes)
    return _drawn(model, method, splits, config, Scope.draws_of(scopes, "samples", model.alpha_bar.device), n)


def _drawn(
    model: StackedModel, method: Method, splits: Sequence[Splits], config: EvaluateConfig, draws: Stream, n: int
) -> np.ndarray:
    """n series of each run at the model's temperatures, (R, n, T, C), rounded if they are to be."""
    drawn = method.sample(model, n, draws).cpu().numpy()
    if not config.round:
        return drawn
    return np.stack([as_recorded(of_run, part.cells) for of_run, part in zip(drawn, splits, strict=True)])


def _temperatures(config: EvaluateConfig, model: StackedModel) -> Sequence[float]:
    """The sampling temperatures to choose from, the nearest to 1 first.

    A model that draws series without a likelihood has no other than 1, where that is among those asked for.
    """
    given = config.temperature if isinstance(config.temperature, list | tuple) else [config.temperature]
    if 1 in given and not hasattr(model, "decoder"):
        return [1.0]
    return sorted(dict.fromkeys(given), key=lambda temperature: abs(temperature - 1))


def _asks_for_temperature(config: EvaluateConfig, model: StackedModel) -> bool:
    """Whether any other temperature than 1 is asked for."""
    return any(temperature != 1 for temperature in _temperatures(config, model))


def _chosen_temperatures(
    model: StackedModel, method: Method, splits: Sequence[Splits], config: EvaluateConfig, scopes: Sequence[Scope]
) -> list[float]:
    """Of each run, the temperature whose samples a classifier tells least from the run's validation windows.

    The draws are the same for every temperature, and others than those of the samples that are measured. An area below
    one half is chance, so it is no better than one half. Among equal ones the nearest to 1 is chosen, and so it is
    where the classifier has no number.
    """
    candidates = _temperatures(config, model)
    if len(candidates) == 1:
        return [candidates[0]] * model.runs
    there = [dataclasses.replace(scope, split="validation", metric_seed=0) for scope in scopes]
    beside = [scope.measured(part) for scope, part in zip(there, splits, strict=True)]
    sizes = [evaluation_size(part, config.n_samples) for part in beside]
    areas = np.empty((len(candidates), model.runs))
    for row, temperature in enumerate(candidates):
        model.temperature = [temperature] * model.runs
        for n in set(sizes):  # a run's draws must not depend on how many windows its neighbours have
            draws = Scope.draws_of(there, "samples to choose a temperature by", model.alpha_bar.device)
            drawn = _drawn(model, method, beside, config, draws, n)
            for run in (run for run, size in enumerate(sizes) if size == n):
                areas[row, run] = _area(drawn[run], beside[run], there[run])
    areas = np.maximum(np.where(np.isnan(areas), np.inf, areas), 0.5)
    return [candidates[row] for row in areas.argmin(axis=0)]


def _area(samples: np.ndarray, splits: Splits, scope: Scope) -> float:
    """The classifier's area beside the reference windows; NaN where it has none."""
    reference = reference_windows(splits, len(samples), scope.reference())
    rows = score_samples(reference, samples[: len(reference)], splits, choose(["c2st"]), scope)
    return next(float(row["value"]) for row in rows if row["metric"] == "c2st_auc")


def check_temperature(run: Run, splits: Splits) -> None:
    """Raises Unavailable where `evaluate.temperature` asks for what the run cannot have; training is not needed."""
    if run.evaluate.temperature != 1:
        method = stacked([run.build_method()])
        shape = splits.window, len(splits.channels)
        model = StackedModel(1, shape, method, run.backbone, run.model, run.diffusion)
        _try_temperature(model.eval(), method, run.evaluate)


@torch.no_grad()
def _try_temperature(model: StackedModel, method: Method, config: EvaluateConfig) -> None:
    """Draws a series of each run at another temperature than 1, where one is asked for. Raises Unavailable."""
    if not _asks_for_temperature(config, model):
        return
    if not hasattr(model, "decoder"):
        raise Unavailable(
            f"evaluate.temperature: {method.name} draws series without a likelihood whose temperature could be "
            "changed: expected 1"
        )
    device = model.alpha_bar.device
    model.temperature = [0.5] * model.runs
    draws = Randomness([("temperature", run) for run in range(model.runs)], device).draws("a series to try")
    model.decoder.generate(torch.zeros(model.runs, 1, model.latent, device=device), draws)


def score_run(
    model: StackedModel,
    method: Method,
    splits: Splits,
    samples: np.ndarray,
    config: EvaluateConfig,
    scope: Scope,
    metrics: str | Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Metric rows of one trained run (R = 1) and its samples; `metrics` in place of the configuration's.

    With the configuration's, a temperature other than 1 is measured whether it is named or not.
    """
    splits = scope.measured(splits)
    wanted = config.metrics if metrics is None else metrics
    of_latent, of_samples = (choose(wanted, needs) for needs in ("latent", "samples"))
    if metrics is None and config.temperature != 1:
        of_latent = list(dict.fromkeys([*of_latent, *choose(["sampling_temperature"])]))
    rows = []
    for again in scope.repeats(config):
        evaluation = _latent(model, method, splits, len(samples), len(splits.train), config, again)
        for metric in of_latent:
            rows += _rows(metric, measure(metric, evaluation), again)
        rows += score_beside_both(samples, splits, of_samples, again, model.alpha_bar.device.type)
    return rows


def score_during_training(
    model: StackedModel, method: Method, splits: Splits, config: EvaluateConfig, scope: Scope, step: int
) -> list[dict[str, Any]]:
    """Rows of the cheap collapse measures of a run (R = 1) after `step` updates of the autoencoder."""
    splits = scope.measured(splits)
    n = evaluation_size(splits, SERIES_DURING_TRAINING)
    evaluation = _latent(model, method, splits, n, SERIES_DURING_TRAINING, config, scope)
    return [
        row
        for metric in choose(DURING_TRAINING)
        for row in _rows(metric, measure(metric, evaluation), scope, step)
        if row["coordinate"] == ""
    ]


def _latent(
    model: StackedModel,
    method: Method,
    splits: Splits,
    n: int,
    n_train: int,
    config: EvaluateConfig,
    scope: Scope,
) -> LatentEvaluation:
    """The model beside n test windows and n_train training windows; where neighbours share rows, from everywhere."""
    device, rows = model.alpha_bar.device, some_rows(splits.test, n, scope.reference())
    shared = splits.strides["validation"] < splits.window  # every k-th of the training windows are in time's order too
    step = max(1, len(splits.train) // n_train) if shared else 1
    spaced = np.arange(len(splits.train))[::step][:n_train]
    fitted = splits.validation[from_everywhere(len(splits.validation), n)]
    x, others, validation = (
        torch.from_numpy(windows).to(device) for windows in (splits.test[rows], splits.train[spaced], fitted)
    )
    return LatentEvaluation(
        model,
        method,
        x,
        lambda role: scope.draws(role, device),
        config,
        others,
        truth={factor: values[rows] for factor, values in splits.test_truth.items()},
        train_truth={factor: values[spaced] for factor, values in splits.train_truth.items()},
        groups=None if splits.test_groups is None else splits.test_groups[rows],
        validation=validation if scope.split == "test" else None,
        held_out=None if splits.held_out is None else torch.from_numpy(splits.held_out).to(device),
    )
