"""Collapse predicted from second moments: closed forms, linear models trained below and above the threshold, a VAE."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from bench import fit
from bench.diagnose import decoder_variance
from bench.loading.phase_transition import SecondMoments
from bench.registry import DATASETS
from bench.report.diagnosis import Expected

# ---------------------------------------------------------------- closed forms


def hand_made(*eigenvalues: float) -> np.ndarray:
    """A covariance with these eigenvalues in directions that no channel has for itself."""
    directions = np.linalg.qr(np.random.default_rng(0).normal(size=(len(eigenvalues),) * 2))[0]
    return directions * np.asarray(eigenvalues) @ directions.T


def autoregressive(steps: int, weight: float, noise: float = 1.0) -> np.ndarray:
    """The covariance of a stationary x_t = weight x_{t-1} + noise e_t of one channel."""
    t = np.arange(steps)
    return noise**2 / (1 - weight**2) * weight ** np.abs(t[:, None] - t)


def test_a_dimension_lives_where_its_eigenvalue_exceeds_beta_sigma_squared():
    moments = SecondMoments.of_covariance(hand_made(4.0, 2.0, 0.5, 0.1), channels=2)
    spectrum = moments.criterion(np.full(2, 0.4)).windows
    assert spectrum.eigenvalues == pytest.approx([10.0, 5.0, 1.25, 0.25])
    assert spectrum.largest_beta == pytest.approx(10.0)
    assert [spectrum.alive(4, beta) for beta in (0.2, 1.0, 2.0, 6.0, 9.99, 10.01)] == [4, 3, 2, 1, 1, 0]
    assert spectrum.alive(2) == 2  # no more than there are
    assert moments.criterion(np.full(2, 4.01)).windows.alive(4) == 0  # sigma^2 above the largest eigenvalue


def test_every_channel_has_a_variance_of_its_own():
    moments = SecondMoments.of_covariance(np.diag([3.0, 3.0, 3.0, 3.0]), channels=2)
    assert moments.criterion(np.array([1.0, 6.0])).windows.eigenvalues == pytest.approx([3.0, 3.0, 0.5, 0.5])


def test_the_known_optimum_of_the_simulated_linear_model():
    """Without its memory the noise is white, so that the covariance has D eigenvalues above s^2 and the rest at it."""
    dataset = DATASETS["linear_gaussian"](series=10, window=6, channels=3, latent=4, noise=0.5)
    flat = dataset.loadings()[0].reshape(-1, 4)
    covariance = flat @ flat.T + 0.25 * np.eye(18)
    spectrum = SecondMoments.of_covariance(covariance, 3).criterion(np.full(3, 0.25)).windows
    own = 1 + np.linalg.svd(flat, compute_uv=False) ** 2 / 0.25
    assert spectrum.eigenvalues[:4] == pytest.approx(own)
    assert spectrum.eigenvalues[4:] == pytest.approx(np.ones(14))
    assert spectrum.alive(16, beta=1.001) == 4
    assert spectrum.largest_beta == pytest.approx(own[0])


def test_windows_of_the_simulated_linear_model_have_its_spectrum():
    dataset = DATASETS["linear_gaussian"](series=4000, window=6, channels=2, latent=3)
    x = np.stack(dataset.load(None, np.random.default_rng(1)).series)
    flat, t = dataset.loadings()[0].reshape(-1, 3), np.arange(6)
    noise = np.kron(dataset.noise**2 / 0.75 * 0.5 ** np.abs(t[:, None] - t), np.eye(2))
    exact = SecondMoments.of_covariance(flat @ flat.T + noise, 2).criterion()
    found = SecondMoments.of_windows(x).criterion()
    assert found.variance == pytest.approx(exact.variance, rel=0.05)
    for name in ("windows", "given_past", "second_half"):
        assert getattr(found, name).largest_beta == pytest.approx(getattr(exact, name).largest_beta, rel=0.08)
        assert getattr(found, name).alive(3) == getattr(exact, name).alive(3)


def test_what_the_past_predicts_needs_no_latent():
    """Of an autoregression only x_1 is left: it varies by noise^2 / (1 - weight^2), and every later step by noise^2."""
    moments = SecondMoments.of_covariance(autoregressive(10, 0.9), channels=1)
    assert moments.residuals[:, 0, 0] == pytest.approx([1 / 0.19, *[1.0] * 9])
    assert moments.linear_variance == pytest.approx([(1 / 0.19 + 9) / 10])
    criterion = moments.criterion(np.array([1.01]))
    assert criterion.windows.alive(16) > 1
    assert criterion.given_past.alive(16) == 1
    assert criterion.given_past.largest_beta == pytest.approx(1 / 0.19 / 1.01)
    assert criterion.second_half.alive(16) == 0


def test_channels_that_share_their_noise_give_a_latent_work_at_every_step():
    shared = np.array([[1.0, 0.8], [0.8, 1.0]])
    criterion = SecondMoments.of_covariance(np.kron(autoregressive(8, 0.5), shared), channels=2).criterion(np.ones(2))
    assert criterion.second_half.eigenvalues == pytest.approx([1.8] * 4 + [0.2] * 4)
    assert criterion.second_half.alive(16) == 4


@pytest.mark.parametrize(("n", "steps", "channels"), [(400, 12, 3), (60, 12, 3), (8, 4, 3)])
def test_few_windows_do_not_make_the_past_predict_more_than_it_does(n, steps, channels):
    """White noise: nothing is predicted, and the variance is 1 however many values of the past there are."""
    draws = np.random.default_rng(3).normal(size=(20, n, steps, channels))
    variance = np.mean([SecondMoments.of_windows(x).linear_variance for x in draws])
    assert variance == pytest.approx(1.0, abs=0.06)


def test_a_constant_channel_and_a_single_step_have_a_criterion():
    x = np.random.default_rng(0).normal(size=(50, 4, 2))
    x[..., 1] = 0.0
    criterion = SecondMoments.of_windows(x).criterion()
    assert np.isfinite(criterion.windows.eigenvalues).all()
    single = SecondMoments.of_windows(x[:, :1, :1]).criterion(np.array([0.5]))
    assert single.given_past.alive(4) == single.windows.alive(4) == 1
    assert single.second_half.alive(4) == single.second_half.largest_beta == 0


# ---------------------------------------------------------------- linear models that are trained


def trained_variances(
    covariance: np.ndarray, sigma: float, beta: float, dimensions: int, reads_past: bool
) -> np.ndarray:
    """Variances of the posterior mean of a linear VAE of one channel, sorted, trained on the exact objective.

    E|x - A x - W V x|^2 / (2 sigma^2) + sigma-free terms + beta KL, with Gaussian q = N(V x, diag g).
    """
    draws = torch.Generator().manual_seed(0)
    sigma_x, n = torch.from_numpy(covariance), len(covariance)
    w, v = (
        0.1 * torch.randn(*shape, dtype=torch.double, generator=draws) for shape in ((n, dimensions), (dimensions, n))
    )
    log_g, a = torch.zeros(dimensions, dtype=torch.double), torch.zeros(n, n, dtype=torch.double)
    moved = [w, v, log_g, *([a] if reads_past else [])]
    for tensor in moved:
        tensor.requires_grad_()
    optimiser = torch.optim.LBFGS(
        moved, max_iter=1000, tolerance_grad=1e-9, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        optimiser.zero_grad()
        left = torch.eye(n, dtype=torch.double) - a.tril(-1) - w @ v
        g = log_g.exp()
        error = (left @ sigma_x @ left.T).trace() + (w.square() * g).sum()
        kl = 0.5 * (g.sum() + (v @ sigma_x @ v.T).trace() - dimensions - log_g.sum())
        loss = error / (2 * sigma**2) + beta * kl
        loss.backward()
        return loss

    optimiser.step(objective)
    return np.sort((v @ sigma_x @ v.T).diagonal().detach().numpy())[::-1]


@pytest.mark.parametrize("beta", [1.0, 0.5, 4.0])
@pytest.mark.parametrize("sigma", [0.5, 1.2, 1.7, 2.3])
def test_a_linear_vae_has_the_dimensions_that_are_expected(sigma, beta):
    covariance = hand_made(4.0, 2.0, 0.9, 0.3)
    expected = SecondMoments.of_covariance(covariance, 1).criterion(np.array([sigma**2])).windows
    found = trained_variances(covariance, sigma, beta, 3, reads_past=False)
    assert (found > 0.01).sum() == expected.alive(3, beta)
    # z may be rotated, but not the sum of its variances
    assert found.sum() == pytest.approx(np.maximum(1 - beta / expected.eigenvalues[:3], 0).sum(), abs=1e-3)


@pytest.mark.parametrize("beta", [0.9 / 0.19, 1.1 / 0.19])
def test_a_linear_decoder_with_a_past_collapses_where_its_residuals_say(beta):
    """The windows would let a latent live at twice this weight; given the past nothing but x_1 is left to say."""
    covariance = autoregressive(6, 0.9)
    criterion = SecondMoments.of_covariance(covariance, 1).criterion(np.ones(1))
    assert criterion.windows.largest_beta > 2 * beta
    alive = criterion.given_past.alive(2, beta)
    assert alive == (beta < 1 / 0.19)
    assert (trained_variances(covariance, 1.0, beta, 2, reads_past=True) > 0.01).sum() == alive
    assert (trained_variances(covariance, 1.0, beta, 2, reads_past=False) > 0.01).sum() >= 1


# ---------------------------------------------------------------- networks


@pytest.mark.slow
@pytest.mark.parametrize(("share", "alive"), [(0.2, True), (1.5, False)])
def test_a_feed_forward_vae_lives_below_the_threshold_and_is_dead_above(share, alive):
    """The decoder's sigma is held by its floor at a share of the largest eigenvalue."""
    dataset = DATASETS["linear_gaussian"](series=600, window=4, channels=2, latent=1)
    x = np.stack(dataset.load(None, np.random.default_rng(0)).series)
    settings = {"hidden": 16, "latent": 2}
    short = {"train": {"steps": 1}, "diffusion": {"steps": 1}}
    moments = SecondMoments.of_windows(fit(x, "feed_forward", model=settings, **short).splits.train)
    sigma = math.sqrt(share * np.linalg.eigvalsh(moments.covariance)[-1])
    long = {"train": {"steps": 600, "learning_rate": 5e-3}, "diffusion": {"steps": 1}}
    fitted = fit(x, "feed_forward", model={**settings, "sigma_min": sigma}, **long)
    variance = decoder_variance(fitted.model, fitted.method, fitted.splits)
    assert variance == pytest.approx(np.full(2, sigma**2), rel=1e-5)
    expected = moments.criterion(variance).windows
    assert expected.largest_beta == pytest.approx(1 / share, rel=1e-5)
    units = fitted.score(["active_units"]).set_index(["metric", "coordinate"]).value["active_units", ""]
    assert (units > 0) == (expected.alive(2) > 0) == alive


def test_only_a_gaussian_decoder_has_a_variance():
    x = np.random.default_rng(0).normal(size=(60, 4, 2))
    short = {"train": {"steps": 2}, "diffusion": {"steps": 2}}
    fitted = fit(x, "latent_diffusion", model={"hidden": 8, "latent": 2, "likelihood": "mixture"}, **short)
    assert decoder_variance(fitted.model, fitted.method, fitted.splits) is None


# ---------------------------------------------------------------- the text


def test_several_seeds_are_printed_as_a_range():
    moments = SecondMoments.of_covariance(hand_made(4.0, 2.0, 0.5, 0.1), channels=2)
    criteria = [moments.criterion(np.full(2, variance)) for variance in (0.4, 1.0)]
    cell = SimpleNamespace(name="latent_diffusion", values={}, text=lambda metric: f"{metric} of the runs")
    expected = Expected(cell, False, criteria, 16)
    assert expected.text(lambda criterion: criterion.windows) == "2 to 3 (7.00)"
    assert expected.row()[:3] == ["latent_diffusion, before training", "0.700", "2 to 3 (7.00)"]
    assert expected.row()[-2] == "latent_information of the runs"  # what happened stands beside what was expected
    assert dataclasses.replace(expected, trained=True).row()[0] == "latent_diffusion"
    assert dataclasses.replace(expected, criteria=criteria[:1]).text(lambda c: c.windows) == "3 (10.0)"
