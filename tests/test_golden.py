"""Numbers do not move unless a version says so.

`python tests/test_golden.py` writes the file anew, after `TRAINING_VERSION` (bench/sweeps/run.py), the
method's or the metric's `version` was raised and CHANGELOG.md says that numbers change.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_splits

from bench.contracts import DiffusionConfig, EvaluateConfig, ModelConfig, Splits, TrainConfig
from bench.method import stacked
from bench.randomness import Randomness
from bench.registry import BACKBONES, METHODS, METRICS
from bench.scoring.scores import Scope, draw_samples, score_run
from bench.sweeps.run import TRAINING_VERSION
from bench.training.stack import train_stack

GOLDEN = Path(__file__).with_name("golden.json")
SMALL = {"N": 0.1, "M": 0.9, "encoder_updates": 3}
LEARNT = {
    *("context_fid", "context_fid.diffusion_ts"),
    *("discriminative", "discriminative.timegan", "predictive", "predictive.timegan"),
}
"""Metrics that train a network of their own, for seconds: of one backbone only, and a slow test."""
CASES = [(name, "lstm") for name in METHODS] + [(name, b) for b in BACKBONES for name in ("proposed",) if b != "lstm"]


def numbers(name: str, backbone: str) -> dict[str, list[float]]:
    """Versions, and a few numbers that every part of training and sampling moves."""
    fields = {field.name for field in dataclasses.fields(METHODS[name])}
    method = METHODS[name](**{key: value for key, value in SMALL.items() if key in fields})
    model, train = ModelConfig(hidden=8, latent=4), TrainConfig(steps=5, batch_size=8)
    diffusion = DiffusionConfig(L=20, steps=5, batch_size=8, hidden=8)
    key = [("golden", 0)]
    trained = train_stack([method], [make_splits()], key, backbone, model, [train], [diffusion])
    weights = sum(value.abs().double().sum() for value in trained.model.state_of(0).values())
    last = {(stage, term): value for _, _, stage, term, value in trained.curves.rows}
    ready = stacked([method.resolved(diffusion)])
    with torch.no_grad():
        samples = ready.sample(trained.model, 6, Randomness(key).draws("samples"))
    versions = [TRAINING_VERSION, METHODS[name].version]
    return {"versions": versions, "numbers": [float(weights), float(samples.abs().mean()), *last.values()]}


@pytest.mark.parametrize(("name", "backbone"), CASES)
def test_numbers_are_those_of_their_version(name, backbone):
    known = json.loads(GOLDEN.read_text())
    if f"{name} {backbone}" not in known and METHODS[name].__module__.startswith("bench_plugin_"):
        pytest.skip("a plug-in's method has no recorded numbers")
    before, now = known[f"{name} {backbone}"], numbers(name, backbone)
    assert now["versions"] == before["versions"], "a version was raised: run `python tests/test_golden.py`"
    # float32 sums differ a little between processors; an idea that changed differs much
    assert now["numbers"] == pytest.approx(before["numbers"], rel=2e-3, abs=2e-4), "numbers moved: raise a version"


@functools.cache
def scored(backbone: str) -> tuple[list, Splits, EvaluateConfig, np.ndarray]:
    """A small trained run of a method whose posterior is a density, on windows of pairs whose latent is known."""
    splits = make_splits(n=200)
    level = {name: getattr(splits, name).mean(axis=1) for name in ("train", "validation", "test")}
    splits = dataclasses.replace(splits, **{f"{name}_truth": {"level": value} for name, value in level.items()})
    splits = dataclasses.replace(splits, entities={name: np.arange(len(value)) // 2 for name, value in level.items()})
    method, diffusion = METHODS["latent_diffusion"](), DiffusionConfig(L=20, steps=5, batch_size=8, hidden=8)
    model, train = ModelConfig(hidden=8, latent=4), TrainConfig(steps=20, batch_size=16)
    trained = train_stack([method], [splits], [("golden", 0)], backbone, model, [train], [diffusion])
    config, ready = EvaluateConfig(n_samples=40, dependency_series=8), stacked([method.resolved(diffusion)])
    samples = draw_samples(trained.model.eval(), ready, splits, config, Scope("golden", 0))
    return [trained.model, ready], splits, config, samples


def measured(metric: str, backbone: str) -> dict[str, list[float]]:
    """The metric's version and, per output, the mean over its coordinates and the mean of its n."""
    run, splits, config, samples = scored(backbone)
    found = defaultdict(list)
    for row in score_run(*run, splits, samples, config, Scope("golden", 0), [metric]):
        assert row["status"] == "ok", f"{row['metric']}: {row['reason']}"
        found[row["metric"]].append((row["value"], row["n"]))
    means = {output: np.mean(rows, axis=0).tolist() for output, rows in found.items()}
    return {"version": [float(METRICS[metric].version)], **means}


MEASURES = [
    pytest.param(name, backbone, marks=[pytest.mark.slow] if name in LEARNT else [])
    for name in METRICS
    for backbone in BACKBONES
    if name not in LEARNT or backbone == "lstm"
]


@pytest.mark.parametrize(("metric", "backbone"), MEASURES)
def test_measures_are_those_of_their_version(metric, backbone):
    known = json.loads(GOLDEN.read_text())
    if f"{metric} of {backbone}" not in known and METRICS[metric].__module__.startswith("bench_plugin_"):
        pytest.skip("a plug-in's metric has no recorded numbers")
    before, now = known[f"{metric} of {backbone}"], measured(metric, backbone)
    assert now["version"] == before["version"], "a version was raised: run `python tests/test_golden.py`"
    assert set(now) == set(before)
    # a classifier of 80 windows moves by a few of its 1,600 pairs where a rounding error moves a split
    tolerance = 0.03 if metric.startswith("c2st") or metric in LEARNT else 2e-3
    for output, (value, n) in ((name, pair) for name, pair in now.items() if name != "version"):
        assert n == before[output][1], output
        assert value == pytest.approx(before[output][0], rel=tolerance, abs=tolerance / 10), output


if __name__ == "__main__":
    found = {f"{name} {backbone}": numbers(name, backbone) for name, backbone in CASES}
    found |= {f"{one.values[0]} of {one.values[1]}": measured(*one.values) for one in MEASURES}
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
