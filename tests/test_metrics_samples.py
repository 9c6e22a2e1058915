"""Known answers for the measures of generated windows."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

from bench.contracts import DatasetSpec, Measurement, SampleEvaluation
from bench.metrics import context_fid, discriminative, predictive, ts2vec
from bench.metrics.c2st import auc
from bench.metrics.context_fid import frechet, trained_encoder
from bench.metrics.marginal import histogram
from bench.metrics.networks import Recurrent
from bench.randomness import numpy_generator
from bench.registry import METRICS
from bench.scoring.scores import Scope

SAMPLE_METRICS = [name for name in METRICS if METRICS[name].needs == "samples"]
PAIRS_OF_CHANNELS = ("correlational", "correlational.diffusion_ts", "discriminative.timegan", "predictive.timegan")


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch, few_trees: None) -> None:
    """The slow measures with few steps of training: what is tested does not depend on how good their judges are."""
    for module, names in (
        (context_fid, ("STEPS",)),
        (discriminative, ("STEPS", "TIMEGAN_STEPS")),
        (predictive, ("STEPS", "TIMEGAN_STEPS")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, 30)
    for module, name, value in (
        (context_fid, "RESTARTS", 1),
        (ts2vec, "FEWER_STEPS", 2),
        (ts2vec, "DEPTH", 2),
        (ts2vec, "WIDTH", 16),
    ):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(context_fid, "_ENCODERS", {})  # nothing of other sizes, and nothing that is left for others
    monkeypatch.setattr(context_fid, "_MOMENTS", {})


def evaluation(reference: np.ndarray, samples: np.ndarray, train: np.ndarray | None = None) -> SampleEvaluation:
    reference, samples = np.float32(reference), np.float32(samples)
    train = reference if train is None else np.float32(train)
    pairs = np.arange(len(reference)) // 2.0  # two windows each of so many people
    return SampleEvaluation(
        reference, samples, train, lambda role: numpy_generator("test", 0, role), reference_entity=pairs
    )


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


def test_distances_of_single_values_are_scipys() -> None:
    x, y = np.float32(gaussian(0, 60, 1, 1)), np.float32(gaussian(1, 60, 1, 1) * 2 + 0.3)
    truth = wasserstein_distance(x.ravel(), y.ravel())
    for name in ("wasserstein", "sliced_wasserstein"):  # every direction of a line is the line
        assert measure(name, x, y)[name].value == pytest.approx(truth, rel=1e-5)


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


def test_c2st_sees_the_blur_that_wasserstein_rewards() -> None:
    rng = np.random.default_rng(0)

    def level(n: int) -> np.ndarray:
        return rng.standard_normal((n, 1, 2)) + np.zeros((n, 12, 2))

    def noise(n: int) -> np.ndarray:
        return 0.5 * rng.standard_normal((n, 12, 2))

    real, mean_decoded = level(200) + noise(200), level(200)
    stochastic = mean_decoded + noise(200)
    assert measure("wasserstein", real, mean_decoded)["wasserstein"].value < (
        measure("wasserstein", real, stochastic)["wasserstein"].value
    )
    for name in ("c2st_accuracy", "c2st_auc"):
        assert measure("c2st", real, mean_decoded)[name].value > 0.95
        assert measure("c2st", real, stochastic)[name].value < 0.6


def test_auc_counts_pairs() -> None:
    assert auc(np.array([0.0, 1.0, 1.0, 2.0]), np.array([0, 0, 1, 1])) == pytest.approx(3.5 / 4)


@pytest.mark.parametrize("name", SAMPLE_METRICS)
def test_every_measure_is_reproducible_and_ignores_the_order_of_the_samples(name: str, brief: None) -> None:
    x, y = gaussian(0, 60), gaussian(1, 60) * 1.2 + 0.3
    first, again, turned = (measure(name, x, w) for w in (y, y, y[::-1]))
    for key, row in first.items():
        assert row.status == "ok"
        assert row == again[key]
        # a judge sees the samples in another order: equal up to the noise of its training
        trained = name in ("c2st", "correlational.diffusion_ts") or name.startswith(("discriminative", "predictive"))
        tolerance = 0.15 if trained else 1e-9
        assert turned[key].value == pytest.approx(row.value, abs=tolerance)


@pytest.mark.parametrize("name", SAMPLE_METRICS)
def test_what_is_not_finite_fails_with_a_reason(name: str) -> None:
    x, y = gaussian(0, 30), gaussian(1, 30)
    y[3, 2, 1], y[7, 0, 0] = np.nan, np.inf
    rows = measure(name, x, y)
    assert set(rows) == set(METRICS[name].outputs)
    for row in rows.values():
        assert row.status == "failed"
        assert row.reason == "2 of 30 samples hold NaN or inf"


def rows_with_reasons(name: str, reference: np.ndarray, samples: np.ndarray) -> list[Measurement]:
    """The rows; every output has one, a number is finite, and what is no number says why and does not fail."""
    rows = METRICS[name]().measure(evaluation(reference, samples, gaussian(2, 40, *reference.shape[1:])))
    assert {row.name for row in rows} == set(METRICS[name].outputs)
    for row in rows:
        assert row.status in ("ok", "undefined"), row
        assert math.isfinite(row.value) == (row.status == "ok"), row
        assert bool(row.reason) == (row.status != "ok"), row
    return rows


@pytest.mark.parametrize("name", SAMPLE_METRICS)
@pytest.mark.parametrize("shape", [(30, 2, 1), (1, 5, 3), (2, 5, 3), (5, 3, 2), (30, 1, 2), (30, 1, 1), (10, 3, 2)])
def test_few_windows_steps_and_channels(name: str, shape: tuple[int, int, int], brief: None) -> None:
    n, steps, _ = shape
    for row in rows_with_reasons(name, gaussian(0, *shape), gaussian(1, *shape)):
        # one channel has no pairs, and no half for the width of TimeGAN's networks
        missing = name in PAIRS_OF_CHANNELS or row.name == "c2st_auc_cross_channel"
        assert row.status == "ok" or n < 30 or steps == 1 or missing, row


@pytest.mark.parametrize("name", SAMPLE_METRICS)
def test_equal_windows_and_flat_channels(name: str, brief: None) -> None:
    x, one = gaussian(0, 30, 6, 2), np.repeat(gaussian(1, 1, 6, 2), 30, axis=0)
    flat = x.copy()
    flat[:, :, 1] = 3.0
    for reference, samples in ((x, x), (x, one), (one, x), (one, one), (flat, flat), (flat, x), (x, flat)):
        rows_with_reasons(name, reference, samples)


@pytest.mark.parametrize("name", SAMPLE_METRICS)
def test_another_number_of_samples_is_a_value_or_a_reason(name: str, brief: None) -> None:
    for n, m in ((30, 20), (20, 30), (30, 1), (1, 30)):
        rows = rows_with_reasons(name, gaussian(0, n), gaussian(1, m))
        if METRICS[name].as_many:
            assert {row.status for row in rows} == {"undefined"}
        elif min(n, m) > 10:
            assert {row.status for row in rows} == {"ok"}
    (row, *_) = METRICS[name]().measure(evaluation(gaussian(0, 30), gaussian(1, 30, 7)))
    assert (row.status, "shape" in row.reason) == ("failed", True)


@pytest.mark.parametrize("name", SAMPLE_METRICS)
def test_a_reference_that_is_not_finite_fails_with_a_reason(name: str) -> None:
    x = gaussian(0, 30)
    x[3, 2, 1] = np.nan
    for row in measure(name, x, gaussian(1, 30)).values():
        assert (row.status, row.reason) == ("failed", "1 of 30 reference windows hold NaN or inf")


def test_correlational_is_the_mean_gap_over_pairs() -> None:
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((2000, 6, 1))
    noise = rng.standard_normal((2000, 6, 3))
    joined = np.sqrt(0.8) * shared + np.sqrt(0.2) * noise  # every pair has correlation .8 at lag 0 and 0 at lag 1
    rows = measure("correlational", joined, noise)
    assert rows["correlational"].value == pytest.approx(0.8, abs=0.02)
    assert rows["correlational_lagged"].value == pytest.approx(0.0, abs=0.02)
    delayed = np.concatenate([noise[:, :, :1], np.roll(noise[:, :, :1], 1, axis=1)], axis=2)[:, 1:]
    lagged = METRICS["correlational"]().measure(evaluation(delayed, noise[:, 1:, 1:]))
    assert [row.index for row in lagged[1:]] == [1, 2, 3]
    assert lagged[1].value == pytest.approx(0.5, abs=0.03)  # a leads b by one step, not b a: one ordered pair of two
    assert lagged[0].value == pytest.approx(0.0, abs=0.03)


def test_long_range_is_the_gain_of_a_level_and_nothing_of_a_random_walk() -> None:
    rng = np.random.default_rng(0)
    draw = [np.float32(rng.standard_normal((20_000, 1, 1)) + rng.standard_normal((20_000, 12, 1))) for _ in range(2)]
    rows = measure("long_range", draw[0], draw[1])
    # x_t = z + noise: k past steps explain k / (k + 1) of z, which is half of a value's variance
    assert rows["long_range_r2"].value == pytest.approx(8 / 9 / 2, abs=0.03)
    assert rows["long_range_gain"].value == pytest.approx(8 / 9 / 2 - 2 / 3 / 2, abs=0.03)
    walk = np.cumsum(rng.standard_normal((2, 3000, 12, 1)), axis=2, dtype=np.float32)
    rows = measure("long_range", *walk)
    assert rows["long_range_r2"].value > 0.7
    assert rows["long_range_gain"].value == pytest.approx(0, abs=0.01)
    # windows whose last third forgets the level teach that it says nothing
    without = draw[1].copy()
    without[:, 8:] = rng.standard_normal((20_000, 4, 1))
    assert measure("long_range", draw[0], without)["long_range_gain"].value == pytest.approx(0, abs=0.03)


def test_correlational_of_one_channel_is_undefined() -> None:
    assert {row.status for row in measure("correlational", gaussian(0, 9, 4, 1), gaussian(1, 9, 4, 1)).values()} == {
        "undefined"
    }


def test_autocorrelation_of_noise_against_levels() -> None:
    noise, levels = gaussian(0, 4000, 6, 1), gaussian(1, 4000, 1, 1) + np.zeros((1, 6, 1))
    rows = METRICS["autocorrelation"]().measure(evaluation(noise, levels))
    assert [row.name for row in rows] == ["autocorrelation"] + 3 * ["autocorrelation_by_lag"]
    for row in rows:
        assert row.value == pytest.approx(1, abs=0.03)
    identical = METRICS["autocorrelation"]().measure(evaluation(noise, noise))
    assert all(row.value == 0 for row in identical)


def test_marginal_counts_the_mass_outside() -> None:
    x = np.random.default_rng(0).uniform(size=(500, 4, 2))
    assert measure("marginal", x, x)["marginal"].value == 0
    assert measure("marginal", x, x + 5)["marginal"].value == pytest.approx(1)
    moved = x.copy()
    moved[:125] -= 5  # a quarter of the mass leaves the range
    assert measure("marginal", x, moved)["marginal"].value == pytest.approx(0.25, abs=0.01)
    assert measure("marginal", np.ones((9, 3, 1)), np.ones((9, 3, 1)))["marginal"].value == 0


def test_manifold_on_identical_disjoint_and_half_covered_sets() -> None:
    x = gaussian(0, 100)
    identical = measure("manifold", x, x)
    assert [identical[key].value for key in ("precision", "recall", "coverage")] == [1, 1, 1]
    apart = measure("manifold", x, x + 100)
    assert [row.value for row in apart.values()] == [0, 0, 0, 0]
    x[50:] += 100
    half = measure("manifold", x, np.concatenate([x[:50], x[:50] + 1e-3]))
    assert half["precision"].value == 1
    assert half["recall"].value == half["coverage"].value == 0.5


def test_manifold_is_the_definition_written_out() -> None:
    x, y = np.float32(gaussian(0, 20, 3, 1)).reshape(20, -1), np.float32(gaussian(1, 20, 3, 1) * 2).reshape(20, -1)

    def radius(points: np.ndarray, i: int) -> float:
        return float(sorted(np.linalg.norm(points - points[i], axis=1))[5])

    inside = [[np.linalg.norm(x[i] - y[j]) <= radius(x, i) for j in range(20)] for i in range(20)]
    covered = [any(np.linalg.norm(x[i] - y[j]) <= radius(y, j) for j in range(20)) for i in range(20)]
    rows = measure("manifold", x.reshape(20, 3, 1), y.reshape(20, 3, 1))
    assert rows["precision"].value == np.mean([any(inside[i][j] for i in range(20)) for j in range(20)])
    assert rows["recall"].value == np.mean(covered)
    assert rows["density"].value == pytest.approx(np.sum(inside) / (5 * 20))
    assert rows["coverage"].value == np.mean([any(row) for row in inside])


def test_side_by_side_networks_are_independent_and_are_torchs_gru() -> None:
    rng = np.random.default_rng(0)
    network = Recurrent(rng, 3, 2, 5, 4)
    x = torch.from_numpy(rng.standard_normal((3, 7, 6, 2))).float()
    for k in range(3):
        gru, output = torch.nn.GRU(2, 5, batch_first=True), torch.nn.Linear(5, 4)
        with torch.no_grad():
            gru.weight_ih_l0.copy_(network.from_input[k].T)
            gru.weight_hh_l0.copy_(network.from_state[k].T)
            gru.bias_ih_l0.copy_(network.input_bias[k, 0])
            gru.bias_hh_l0.copy_(network.state_bias[k, 0])
            output.weight.copy_(network.output[k].T)
            output.bias.copy_(network.output_bias[k, 0])
            torch.testing.assert_close(network(x)[k], output(gru(x[k])[0]), rtol=0, atol=1e-5)


def test_discriminative_is_at_chance_on_one_law_and_certain_on_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.metrics.discriminative.STEPS", 40)
    real, other = gaussian(0, 80, 6, 1), gaussian(1, 80, 6, 1)
    assert measure("discriminative", real, other + 4)["discriminative"].value > 0.45
    same = measure("discriminative", real, other)["discriminative"]
    assert same.value < 0.2
    assert same == measure("discriminative", real, other)["discriminative"]


def test_timegan_variants_need_two_channels_and_rank_like_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.metrics.discriminative.TIMEGAN_STEPS", 300)
    monkeypatch.setattr("bench.metrics.predictive.TIMEGAN_STEPS", 300)
    for name in ("discriminative.timegan", "predictive.timegan"):
        row = measure(name, gaussian(0, 20, 4, 1), gaussian(1, 20, 4, 1))[name]
        assert row.status == "undefined"
        assert "2 channels" in row.reason
    real = gaussian(0, 60, 4, 4)
    low, high = (measure("discriminative.timegan", real, gaussian(1, 60, 4, 4) + k) for k in (0, 4))
    assert low["discriminative.timegan"].value + 0.2 < high["discriminative.timegan"].value
    error = measure("predictive.timegan", real, gaussian(1, 60, 4, 4))["predictive.timegan"].value
    last = np.float32(real)[:, 1:, 3]
    best = np.abs(last - np.median(last)).mean() / np.ptp(np.float32(real)[:, :, 3])  # nothing to predict: the median
    assert best < error < 1.3 * best


def walk(seed: int, n: int, sign: float) -> np.ndarray:
    x = gaussian(seed, n, 6, 1)
    for t in range(1, 6):
        x[:, t] = sign * 0.95 * x[:, t - 1] + 0.1 * x[:, t]
    return x


def test_predictive_knows_good_samples_from_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.metrics.predictive.STEPS", 150)
    reference, train = walk(0, 200, 1), walk(1, 400, 1)
    good, bad = (
        {row.name: row.value for row in METRICS["predictive"]().measure(evaluation(reference, samples, train))}
        for samples in (walk(2, 200, 1), walk(2, 200, -1))
    )
    ideal = 0.1 * math.sqrt(2 / math.pi)  # E|.1 e|
    assert good["predictive_real"] == pytest.approx(ideal, rel=0.25)
    assert good["predictive"] == pytest.approx(ideal, rel=0.25)
    assert bad["predictive"] > 4 * ideal
    assert good["predictive_last"] == pytest.approx(np.abs(np.diff(np.float32(reference), axis=1)).mean(), rel=1e-5)


def test_frechet_of_gaussians_in_closed_form() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 4, 4))
    s_a, s_b = a @ a.T, b @ b.T

    def sample(covariance: np.ndarray, mean: float) -> np.ndarray:
        """1,000 rows with exactly this mean and covariance."""
        x = rng.standard_normal((1000, 4))
        x = (x - x.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
        return mean + x @ np.linalg.cholesky(covariance).T

    expected = 4 * 3.0**2 + np.trace(s_a + s_b - 2 * sqrtm(s_a @ s_b).real)
    assert frechet(sample(s_a, 1), sample(s_b, 4)) == pytest.approx(expected, rel=1e-6)
    assert frechet(sample(s_a, 0), sample(s_a, 0)) == pytest.approx(0, abs=1e-6)


def test_context_fid_sees_the_context_and_keeps_its_encoder() -> None:
    train = walk(0, 300, 1)
    reference, same, other = walk(1, 200, 1), walk(2, 200, 1), walk(3, 200, -1)
    values = [
        METRICS["context_fid"]().measure(evaluation(reference, samples, train))[0].value
        for samples in (reference, same, other, reference)
    ]
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert values[1] < 0.2 * values[2]
    assert values[3] == values[0]
    assert trained_encoder(np.float32(train)) is trained_encoder(np.float32(train))


def test_the_encoder_is_trained_once_per_set_of_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = np.float32(walk(5, 80, 1))
    encoder = trained_encoder(windows, tmp_path)
    (file,) = tmp_path.iterdir()
    assert hashlib.sha256(f"{windows.shape}".encode() + windows.tobytes()).hexdigest() in file.name
    known = encoder.state_dict()
    fits = []
    monkeypatch.setattr(context_fid, "train", lambda *_: fits.append(1))
    monkeypatch.setattr(context_fid, "_ENCODERS", {})
    again = trained_encoder(windows, tmp_path).state_dict()
    assert all(torch.equal(again[name], known[name]) for name in known)
    assert not fits
    file.write_bytes(b"cut short")
    monkeypatch.setattr(context_fid, "_ENCODERS", {})
    trained_encoder(windows, tmp_path)
    assert len(fits) == 1
    assert file.stat().st_size > 1000  # mended
    assert Scope.on(DatasetSpec("ar1", (("series", 60),)), 0).cache is not None
    assert Scope.on(DatasetSpec("wards"), 0).cache is None  # weights fitted on restricted data are not kept


def test_histograms_count_values_that_are_far_outside() -> None:
    x = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    low, high = float(x.min()), float(x.max())
    shares = histogram(np.concatenate([x, np.float32([1e30, -1e30, 3e38])]), low, high)
    np.testing.assert_allclose(shares * 1003, [1, *np.histogram(x, 50, (low, high))[0], 2])
    assert histogram(np.float32([1e30, 2, 2]), 2.0, 2.0).tolist() == [0, 2 / 3, *[0] * 49, 1 / 3]


def test_tsgbench_marginal_is_numpys_density_histogram() -> None:
    x, y = np.float32(gaussian(0, 90, 3, 2)), np.float32(gaussian(1, 90, 3, 2) * 1.5)
    low, high = x.min(axis=(0, 1)), x.max(axis=(0, 1))
    u, v = (x - low) / (high - low), (y - low) / (high - low)
    gaps = []
    for t in (1, 2):  # its code leaves the first step out
        for c in range(2):
            edges = np.linspace(u[:, t, c].min(), u[:, t, c].max(), 51)
            masses = [np.histogram(w[:, t, c], edges)[0] / 90 for w in (u, v)]
            gaps.append(np.abs(masses[0] - masses[1]) / (edges[1] - edges[0]))
    value = measure("marginal.tsgbench", x, y)["marginal.tsgbench"].value
    assert value == pytest.approx(np.mean(gaps), rel=0.02)
    changed = y.copy()
    changed[:, 0] = 7
    assert measure("marginal.tsgbench", x, changed)["marginal.tsgbench"].value == value
    far, farther = (measure("marginal.tsgbench", x, y + k)["marginal.tsgbench"].value for k in (50, 5000))
    assert far == farther  # the flaws that `marginal` does not have
    zeros = np.float32(np.maximum(x, 0))
    assert measure("marginal.tsgbench", zeros, zeros)["marginal.tsgbench"].value > 0.1
    assert measure("marginal", zeros, zeros)["marginal"].value == 0


def test_tsgbench_autocorrelation_is_the_root_of_a_sum_over_lags() -> None:
    x, y = np.float64(np.float32(gaussian(0, 40, 6, 2).cumsum(axis=1))), np.float64(np.float32(gaussian(1, 40, 6, 2)))

    def correlation(w: np.ndarray, lag: int) -> np.ndarray:
        w = w - w.mean(axis=(0, 1))
        return (w[:, : 6 - lag] * w[:, lag:]).mean(axis=(0, 1)) / w.var(axis=(0, 1))

    squares = sum((correlation(x, lag) - correlation(y, lag)) ** 2 for lag in range(6))
    found = measure("autocorrelation.tsgbench", x, y)["autocorrelation.tsgbench"].value
    assert found == pytest.approx(np.sqrt(squares).mean(), rel=1e-6)


def test_diffusion_ts_correlational_is_the_published_code() -> None:
    """Written again after their files, with torch's means and standard deviations."""
    x, y = (torch.from_numpy(np.float64(np.float32(w))) for w in (gaussian(0, 50, 6, 4), gaussian(1, 50, 6, 4)))
    y = y.cumsum(2)

    def correlations(w: torch.Tensor) -> torch.Tensor:
        w = (w - w.mean((0, 1), keepdim=True)) / w.std((0, 1), keepdim=True)
        lower = torch.tril_indices(4, 4)
        return (w[..., lower[0]] * w[..., lower[1]]).mean(1).mean(0)

    rng = numpy_generator("test", 0, "correlational.diffusion_ts")
    draws = []
    for _ in range(5):
        real, generated = (torch.from_numpy(rng.integers(50, size=10)) for _ in range(2))
        draws.append(float((correlations(x[real]) - correlations(y[generated])).abs().sum() / 10))
    row = METRICS["correlational.diffusion_ts"]().measure(evaluation(x.numpy(), y.numpy()))[0]
    assert row.value == pytest.approx(np.mean(draws), rel=1e-5)
    assert row.sd == pytest.approx(np.std(draws, ddof=1), rel=1e-5)
    same = measure("correlational.diffusion_ts", x.numpy(), x.numpy())["correlational.diffusion_ts"]
    assert same.value > 0.05  # other draws of the same windows


def test_increments_see_time_where_values_do_not() -> None:
    real, again = walk(0, 200, 1), walk(1, 200, 1)
    shuffled = np.random.default_rng(2).permuted(again, axis=1)
    for name in ("sliced_wasserstein", "mmd2"):
        by_values = [measure(name, real, w)[name].value for w in (again, shuffled)]
        by_increments = [measure(f"{name}_increments", real, w)[f"{name}_increments"].value for w in (again, shuffled)]
        assert by_increments[1] > 2 * abs(by_increments[0]), name
        assert by_increments[1] > by_values[1], name


def test_increments_are_in_units_of_the_training_increments() -> None:
    x, y, scale = gaussian(0, 60, 5, 2), gaussian(1, 60, 5, 2), np.array([1.0, 1000.0])
    for name in ("sliced_wasserstein_increments", "mmd2_increments"):
        plain, stretched = (METRICS[name]().measure(evaluation(x * s, y * s, x * s))[0].value for s in (1.0, scale))
        assert stretched == pytest.approx(plain, rel=1e-4)
    flat = np.repeat(gaussian(3, 60, 1, 2), 5, axis=1)  # training increments of 0 keep their scale
    for name in ("sliced_wasserstein_increments", "mmd2_increments"):
        (row,) = METRICS[name]().measure(evaluation(x, y, flat))
        assert (row.status, row.value < 10) == ("ok", True)


def test_context_fid_is_scaled_by_windows_from_everywhere() -> None:
    """The earliest training windows are flat: a scale from them alone would be tiny."""
    late = walk(0, 300, 1)
    train = np.concatenate([np.repeat(late[:1], 10_000, axis=0), np.repeat(late, 34, axis=0)])
    reference, samples = walk(1, 100, 1), walk(2, 100, 1)
    (row,) = METRICS["context_fid"]().measure(evaluation(reference, samples, train))
    assert row.value < 100
