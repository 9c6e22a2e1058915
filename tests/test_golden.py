"""Numbers do not move unless a version says so.

`python tests/test_golden.py` writes the file anew, after `TRAINING_VERSION` (bench/sweeps/run.py) or the
method's `version` was raised and CHANGELOG.md says that numbers change.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from conftest import make_splits

from bench.contracts import DiffusionConfig, ModelConfig, TrainConfig
from bench.method import stacked
from bench.randomness import Randomness
from bench.registry import BACKBONES, METHODS
from bench.sweeps.run import TRAINING_VERSION
from bench.training.stack import train_stack

GOLDEN = Path(__file__).with_name("golden.json")
SMALL = {"N": 0.1, "M": 0.9, "encoder_updates": 3}
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


if __name__ == "__main__":
    found = {f"{name} {backbone}": numbers(name, backbone) for name, backbone in CASES}
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
