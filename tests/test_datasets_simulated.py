"""Simulators: the law they claim, drawn anew by the seed and repeated by the same seed."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from bench.contracts import DatasetSpec
from bench.loading.windows import load_splits, open_dataset

SIMULATED = ["regimes", "sines", "ar1", "linear_gaussian", "dialled_latent"]


def draw(name, seed=0, **options):
    dataset = open_dataset(DatasetSpec(name, tuple(sorted(options.items()))))
    return dataset, np.stack(dataset.load(None, np.random.default_rng(seed)).series)


@pytest.mark.parametrize("name", SIMULATED)
def test_shape_seed_and_splits(name):
    _, first = draw(name, series=50)
    assert first.shape == (50, 24, {"regimes": 6, "sines": 6}.get(name, 5))
    np.testing.assert_array_equal(first, draw(name, series=50)[1])
    assert not np.isin(draw(name, 1, series=50)[1], first).any()
    splits = load_splits(DatasetSpec(name, (("series", 50),)), 0)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [35, 5, 10]


def test_ar1_is_stationary_with_unit_variance_and_memory():
    _, x = draw("ar1", series=20000, channels=1)
    x = x[:, :, 0]
    np.testing.assert_allclose(x.var(0), 1, atol=0.05)
    np.testing.assert_allclose((x[:, 5:] * x[:, :-5]).mean(0), 0.8**5, atol=0.04)
    residual = x[:, 1:] - 0.8 * x[:, :-1]
    np.testing.assert_allclose(residual.std(0), 0.6, atol=0.02)


def test_regimes_are_one_of_eight_fixed_shapes():
    dataset, x = draw("regimes", series=400)
    shapes = dataset.shapes()
    assert shapes.shape == (8, 24, 6)
    np.testing.assert_allclose(shapes.std(axis=1), 1)
    centred = x - x.mean(axis=1, keepdims=True)
    nearest = ((centred[:, None] - shapes) ** 2).sum((2, 3))
    kind = nearest.argmin(1)
    assert set(kind) == set(range(8))
    amplitude = (centred * shapes[kind]).sum((1, 2)) / (24 * 6)
    assert amplitude.min() > 0.5
    assert amplitude.max() < 1.5
    rest = centred - amplitude[:, None, None] * shapes[kind]
    assert abs(rest.std() - 0.3) < 0.02


def test_sines_are_a_level_a_sine_and_noise():
    _, x = draw("sines", series=20000, channels=2)
    variance = 1 + (1 + 1 / 12) + 0.09 / 0.75  # level, E a^2, noise
    np.testing.assert_allclose(x.var(axis=(0, 1)), variance, rtol=0.03)
    np.testing.assert_allclose(x.mean(axis=1).var(axis=0), 1, atol=0.15)  # the level, and a bit of slow sines


def test_linear_gaussian_knows_its_own_likelihood():
    dataset, x = draw("linear_gaussian", series=4000, window=4, channels=2, latent=2)
    weights, offset = dataset.loadings()
    flat = x.reshape(len(x), -1)
    loads = weights.reshape(-1, 2)
    lag = np.abs(np.subtract.outer(range(4), range(4)))
    covariance = loads @ loads.T + np.kron(0.09 / 0.75 * 0.5**lag, np.eye(2))
    truth = multivariate_normal(np.tile(offset, 4), covariance).logpdf(flat)
    np.testing.assert_allclose(dataset.log_likelihood(x), truth, atol=1e-8)
    np.testing.assert_allclose(np.cov(flat.T), covariance, atol=0.12 * covariance.max())

    mean, scale = np.array([1.0, -2.0]), np.array([3.0, 0.5])
    scaled = dataset.log_likelihood((x - mean) / scale, mean, scale)
    np.testing.assert_allclose(scaled, truth + 4 * np.log(scale).sum(), atol=1e-8)


def test_dialled_latent_moves_information_at_fixed_marginals():
    explained = []
    for information in (0.0, 0.5, 1.0):
        dataset, x = draw("dialled_latent", series=8000, information=information)
        np.testing.assert_allclose(x.var(axis=0), 1, atol=0.07)
        directions = dataset.directions().reshape(-1, 4)
        flat = x.reshape(len(x), -1)
        fitted = flat @ np.linalg.pinv(directions).T @ directions.T
        explained.append(1 - ((flat - fitted) ** 2).mean())
    assert explained[2] > 0.999
    assert explained[0] < explained[1] < explained[2]
    ar1 = draw("dialled_latent", series=8000, information=0.0)[1]
    np.testing.assert_allclose((ar1[:, 1:] * ar1[:, :-1]).mean(), 0.8, atol=0.01)


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_truth_stays_with_its_windows(shuffle):
    options = (("information", 1.0), ("series", 60))  # no noise: the window is a function of what was drawn
    splits = load_splits(DatasetSpec("dialled_latent", options, shuffle), 3)
    directions = open_dataset(DatasetSpec("dialled_latent", options)).directions()
    for windows, truth in ((splits.train, splits.train_truth), (splits.test, splits.test_truth)):
        assert list(truth) == ["latent"]
        told = np.einsum("tcd,nd->ntc", directions, truth["latent"])
        told = (told - splits.mean) / splits.scale
        if shuffle:  # time is permuted, the series' latent is not: the same values in another order
            windows, told = np.sort(windows, axis=1), np.sort(told, axis=1)
        np.testing.assert_allclose(windows, told, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "factors"),
    [
        ("regimes", {"prototype": 8, "amplitude": 1, "level": 6}),
        ("sines", {"level": 6, "amplitude": 1, "frequency": 1, "phase": 12}),
        ("linear_gaussian", {"latent": 4}),
        ("dialled_latent", {"latent": 4}),
        ("ar1", {}),
    ],
)
def test_what_was_drawn_is_handed_over(name, factors):
    splits = load_splits(DatasetSpec(name, (("series", 50),)), 0)
    assert {factor: values.shape[1] for factor, values in splits.train_truth.items()} == factors
    assert all(len(values) == len(splits.train) for values in splits.train_truth.values())
    assert all(len(values) == len(splits.test) for values in splits.test_truth.values())


def test_a_sine_is_made_of_its_truth():
    splits = load_splits(DatasetSpec("sines", (("series", 60),)), 0)
    truth, t = splits.test_truth, np.arange(1, 25)[None, :, None] / 24
    sine, cosine = (part[:, None] for part in np.hsplit(truth["phase"], 2))
    turn = 2 * np.pi * truth["frequency"][:, None] * t
    wave = np.sin(turn) * cosine + np.cos(turn) * sine  # sin(turn + phase)
    told = truth["level"][:, None] + truth["amplitude"][:, None] * np.sqrt(2) * wave
    left = splits.test * splits.scale + splits.mean - told
    np.testing.assert_allclose(left.std(), 0.3 / np.sqrt(0.75), rtol=0.1)
