"""What every registered measure must declare."""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_splits

from bench.contracts import DiffusionConfig, EvaluateConfig, LatentEvaluation, ModelConfig, TrainConfig
from bench.method import stacked
from bench.metrics import prior_bound
from bench.metrics.base import spread
from bench.models.build import StackedModel
from bench.registry import METHODS, METRICS
from bench.scoring.scores import Scope, choose
from bench.training.stack import train_stack


@pytest.mark.parametrize("name", METRICS)
def test_every_measure_has_a_card(name: str) -> None:
    metric = METRICS[name]
    card = inspect.getdoc(metric) or ""
    for word in ("Shapes:", "Unit:", "Source:"):
        assert word in card, f"{name}: the docstring lacks '{word}'"
    assert metric.version >= 1
    assert metric.needs in ("samples", "latent")
    assert metric.direction in ("lower", "higher", "none")
    assert metric.unit
    assert metric.source


def test_no_two_measures_write_the_same_number() -> None:
    names = Counter(output for name in METRICS for output in METRICS[name].outputs)
    assert max(names.values()) == 1


def test_the_literatures_variants_are_named_after_their_source_and_never_fast() -> None:
    variants = [name for name in METRICS if "." in name]
    assert set(variants) == {
        "discriminative.timegan",
        "predictive.timegan",
        "marginal.tsgbench",
        "autocorrelation.tsgbench",
        "correlational.diffusion_ts",
        "context_fid.diffusion_ts",
    }
    everything = {metric.name for metric in choose("all")}
    for name in variants:
        assert name.partition(".")[0] in METRICS
        assert not METRICS[name].fast
        assert name not in everything
        assert [metric.name for metric in choose([name])] == [name]
    assert everything == set(METRICS) - set(variants)


def test_spread_says_why_there_is_no_number() -> None:
    assert spread("a", np.array([1.0, 3.0])).value == 2
    assert spread("a", np.array([1.0, 3.0])).sd == pytest.approx(math.sqrt(2))
    one = spread("a", np.array([5.0]))
    assert (one.value, one.n, one.status) == (5, 1, "ok")
    assert math.isnan(one.sd)
    assert (spread("a", np.array([])).status, spread("a", np.array([])).reason) == ("undefined", "no values")
    broken = spread("a", np.array([1.0, math.inf]), n=9)
    assert (broken.status, broken.n, broken.reason) == ("failed", 9, "1 of 2 values are not finite")


LATENT = [name for name in METRICS if METRICS[name].needs == "latent"]


@pytest.fixture(scope="module", params=["latent_diffusion", "proposed"])
def trained(request: pytest.FixtureRequest) -> Callable[[int, int], tuple[StackedModel, LatentEvaluation]]:
    """A model of windows (T = 4, C channels) after two updates, beside n test series; a point or a density as q."""

    @cache
    def build(n: int, channels: int) -> tuple[StackedModel, LatentEvaluation]:
        splits = make_splits(60, 4, channels)
        diffusion = DiffusionConfig(L=50, steps=1, batch_size=4, hidden=8)  # latents are drawn for several measures
        method = METHODS[request.param](**METHODS[request.param].defaults(diffusion))
        config, train = ModelConfig(hidden=4, latent=3), TrainConfig(steps=2, batch_size=4)
        model = train_stack([method], [splits], [("tiny", 0)], "lstm", config, [train], [diffusion]).model.eval()
        truth = {"factor": np.random.default_rng(0).standard_normal((60, 2))}
        x, others = torch.from_numpy(splits.test[:n]), torch.from_numpy(splits.train)
        scope, first, rest = (
            Scope("tiny", 0),
            {"factor": truth["factor"][:n]},
            {"factor": truth["factor"][-len(others) :]},
        )
        ready = stacked([method.resolved(diffusion)])
        at = LatentEvaluation(model, ready, x, scope.draws, EvaluateConfig(), others, first, rest)
        return model, at

    return build


def checked(name: str, at: LatentEvaluation) -> list[tuple]:
    """The measure's rows; every output has one, and a number that is missing says why."""
    rows = METRICS[name]().measure(at)
    assert {row.name for row in rows} == set(METRICS[name].outputs)
    for row in rows:
        assert math.isfinite(row.value) == (row.status == "ok"), row
        assert bool(row.reason) == (row.status != "ok"), row
    return [(row.name, row.coordinate, row.index, row.value, row.status) for row in rows]


@pytest.mark.parametrize("name", LATENT)
def test_one_series_one_channel_and_the_same_again(name: str, trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prior_bound, "LATENTS", 100)
    monkeypatch.setattr(prior_bound, "FEWER", 50)
    for n, channels in ((12, 2), (12, 1), (2, 1), (1, 1)):
        _, at = trained(n, channels)
        assert repr(checked(name, at)) == repr(checked(name, at))


@pytest.mark.parametrize("name", LATENT)
def test_a_broken_encoder_is_a_row_with_a_reason(name: str, trained: Any) -> None:
    model, at = trained(12, 2)
    kept = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.fill_(math.nan)
    try:
        rows = checked(name, at)
    finally:
        model.load_state_dict(kept)
    # what does not look at the encoder's z, counts, and bounds may stand; nothing else may
    assert {row[0] for row in rows if row[4] == "ok"} <= {
        "nll_noise", "nll_zero", "nll_marginal", "probe_truth_series", "dependency_unresolved",
        "dependency_mean_unresolved", "noised_information_capacity",
        "mutual_information_bound", "sliced_from_diffusion", "latent_information_bound", "prior_bound",
        "prior_bound_500", "sampling_temperature",
    }  # fmt: skip
