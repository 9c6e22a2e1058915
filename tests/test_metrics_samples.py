"""Known answers for the measures of generated windows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from bench.contracts import Measurement, SampleEvaluation
from bench.metrics.c2st import auc, folds
from bench.randomness import numpy_generator
from bench.registry import METRICS

SAMPLE_METRICS = [name for name in METRICS if METRICS[name].needs == "samples"]
FAST_SAMPLE_METRICS = [name for name in SAMPLE_METRICS if METRICS[name].fast]


def evaluation(reference: np.ndarray, samples: np.ndarray, train: np.ndarray | None = None) -> SampleEvaluation:
    reference, samples = np.float32(reference), np.float32(samples)
    train = reference if train is None else np.float32(train)
    return SampleEvaluation(reference, samples, train, lambda role: numpy_generator("test", 0, role))


def measure(name: str, reference: np.ndarray, samples: np.ndarray) -> dict[str, Measurement]:
    return {row.name: row for row in METRICS[name]().measure(evaluation(reference, samples))}


def gaussian(seed: int, n: int = 200, steps: int = 8, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, steps, channels))


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 40), st.integers(1, 3), st.integers(0, 1000))
def test_wasserstein_is_the_best_assignment(n: int, channels: int, seed: int) -> None:
    x, y = gaussian(seed, n, 3, channels), gaussian(seed + 1, n, 3, channels) * 2 + 1
    cost = cdist(np.float32(x).reshape(n, -1), np.float32(y).reshape(n, -1))
    best = cost[linear_sum_assignment(cost)].mean()
    assert measure("wasserstein", x, y)["wasserstein"].value == pytest.approx(best, abs=1e-6)


def test_a_shift_by_v_costs_its_length() -> None:
    x, v = gaussian(0), np.random.default_rng(1).standard_normal((8, 2))
    assert measure("wasserstein", x, x + v)["wasserstein"].value == pytest.approx(np.linalg.norm(v), abs=1e-5)
    # over directions u of the sphere in d dimensions, E|<u, v>| = |v| Gamma(d/2) / (sqrt(pi) Gamma((d+1)/2))
    ratio = math.exp(math.lgamma(8) - math.lgamma(8.5)) / math.sqrt(math.pi)
    sliced = measure("sliced_wasserstein", x, x + v)["sliced_wasserstein"].value
    assert sliced == pytest.approx(ratio * np.linalg.norm(v), rel=0.1)  # 500 directions


def test_mmd2_is_the_sum_written_out() -> None:
    x, y = gaussian(0, 7), gaussian(1, 7) + 0.5
    a, b = np.float32(x).reshape(7, -1).astype(float), np.float32(y).reshape(7, -1).astype(float)
    pairs = [(i, j) for i in range(7) for j in range(7) if i != j]
    s = np.median([np.linalg.norm(a[i] - a[j]) for i, j in pairs])

    def k(u: np.ndarray, v: np.ndarray) -> float:
        return math.exp(-((u - v) ** 2).sum() / (2 * s**2))

    within = sum(k(a[i], a[j]) + k(b[i], b[j]) for i, j in pairs) / 42
    between = sum(k(u, v) for u in a for v in b) / 49
    assert measure("mmd2", x, y)["mmd2"].value == pytest.approx(within - 2 * between, abs=1e-9)


def test_mmd2_is_unbiased() -> None:
    values = [measure("mmd2", gaussian(i, 40), gaussian(i + 500, 40))["mmd2"].value for i in range(100)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 10
    assert min(values) < 0


def test_mmd2_without_a_scale_is_undefined() -> None:
    row = measure("mmd2", np.ones((9, 4, 1)), gaussian(0, 9, 4, 1))["mmd2"]
    assert (row.status, math.isnan(row.value)) == ("undefined", True)
    assert "distance" in row.reason


def test_c2st_is_at_chance_on_one_law_and_certain_on_two() -> None:
    same = measure("c2st", gaussian(0, 300), gaussian(1, 300))
    assert same["c2st_accuracy"].value == pytest.approx(0.5, abs=0.06)
    assert same["c2st_auc"].value == pytest.approx(0.5, abs=0.06)
    apart = measure("c2st", gaussian(0, 300), gaussian(1, 300) + 3)
    assert apart["c2st_accuracy"].value > 0.99
    assert apart["c2st_auc"].value > 0.99
    assert apart["c2st_auc"].n == 300


def test_c2st_sees_the_blur_that_wasserstein_rewards() -> None:
    rng = np.random.default_rng(0)

    def level(n: int) -> np.ndarray:
        return rng.standard_normal((n, 1, 2)) + np.zeros((n, 12, 2))

    def noise(n: int) -> np.ndarray:
        return 0.5 * rng.standard_normal((n, 12, 2))

    real, mean_decoded = level(400) + noise(400), level(400)
    stochastic = mean_decoded + noise(400)
    assert measure("wasserstein", real, mean_decoded)["wasserstein"].value < (
        measure("wasserstein", real, stochastic)["wasserstein"].value
    )
    for name in ("c2st_accuracy", "c2st_auc"):
        assert measure("c2st", real, mean_decoded)[name].value > 0.95
        assert measure("c2st", real, stochastic)[name].value < 0.6


def test_folds_are_contiguous_and_of_equal_size() -> None:
    fold = folds(103, np.random.default_rng(0))
    assert sorted(np.bincount(fold)) == [20, 20, 21, 21, 21]
    assert (np.diff(fold, append=fold[0]) != 0).sum() == 5  # five borders on the circle


def test_auc_counts_pairs() -> None:
    assert auc(np.array([0.0, 1.0, 1.0, 2.0]), np.array([0, 0, 1, 1])) == pytest.approx(3.5 / 4)


@pytest.mark.parametrize("name", FAST_SAMPLE_METRICS)
def test_every_measure_is_reproducible_and_ignores_the_order_of_the_samples(name: str) -> None:
    x, y = gaussian(0, 60), gaussian(1, 60) * 1.2 + 0.3
    first, again, turned = (measure(name, x, w) for w in (y, y, y[::-1]))
    for key, row in first.items():
        assert row.status == "ok"
        assert row == again[key]
        # a classifier sees the samples in another order: equal up to the noise of its training
        tolerance = 0.15 if name == "c2st" else 1e-9
        assert turned[key].value == pytest.approx(row.value, abs=tolerance)


@pytest.mark.parametrize("name", FAST_SAMPLE_METRICS)
def test_what_is_not_finite_fails_with_a_reason(name: str) -> None:
    x, y = gaussian(0, 30), gaussian(1, 30)
    y[3, 2, 1], y[7, 0, 0] = np.nan, np.inf
    rows = measure(name, x, y)
    assert set(rows) == set(METRICS[name].outputs)
    for row in rows.values():
        assert row.status == "failed"
        assert row.reason == "2 of 30 samples hold NaN or inf"


@pytest.mark.parametrize("name", FAST_SAMPLE_METRICS)
@pytest.mark.parametrize("shape", [(30, 2, 1), (1, 5, 3)])
def test_one_channel_and_one_window(name: str, shape: tuple[int, int, int]) -> None:
    for row in measure(name, gaussian(0, *shape), gaussian(1, *shape)).values():
        assert math.isfinite(row.value) == (row.status == "ok")
        assert row.status == "ok" or (shape[0] == 1 and row.reason)


@pytest.mark.parametrize("name", FAST_SAMPLE_METRICS)
def test_another_number_of_samples_is_refused(name: str) -> None:
    assert {row.status for row in measure(name, gaussian(0, 30), gaussian(1, 20)).values()} == {"failed"}
