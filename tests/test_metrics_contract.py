"""What every registered measure must declare."""

from __future__ import annotations

import inspect
import math
from collections import Counter

import numpy as np
import pytest

from bench.metrics.base import spread
from bench.registry import METRICS
from bench.scores import choose


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
