"""Known answers for the measures of a trained model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from bench.contracts import LatentEvaluation, Measurement, Posterior
from bench.metrics.nll import shifted
from bench.parts.likelihoods import Gaussian, gaussian_log_prob
from bench.parts.posteriors import DeterministicPosterior, GaussianPosterior
from bench.randomness import Randomness
from bench.registry import METRICS

N, T, C = 300, 4, 2
SIGMA = 0.5


@dataclass(frozen=True)
class LevelModel:
    """x_t = gain * z + SIGMA * noise at every t, with D = C: the optimal q(z | x) is known."""

    gain: float = 1.0
    runs: int = 1
    latent: int = C

    def decoder(self, z: Tensor, past: Tensor) -> Gaussian:
        steps = past.shape[2] + 1
        mean = (self.gain * z)[:, :, None].expand(-1, -1, steps, -1)
        return Gaussian(mean, torch.tensor(SIGMA))

    def marginal_log_prob(self, x: Tensor) -> Tensor:
        return gaussian_log_prob(x, torch.zeros(()), torch.tensor(math.sqrt(self.gain**2 + SIGMA**2)))


@dataclass(frozen=True)
class Answer:
    """A method that knows one answer only: q(z | x)."""

    answer: Callable[[Tensor], Posterior]

    def posterior(self, model: Any, x: Tensor) -> Posterior:
        return self.answer(x)


def level(x: Tensor) -> DeterministicPosterior:
    return DeterministicPosterior(x.mean(dim=2))


def prior(x: Tensor) -> GaussianPosterior:
    zeros = torch.zeros_like(x[:, :, 0])
    return GaussianPosterior(zeros, zeros)


def evaluation(answer: Callable[[Tensor], Posterior], gain: float = 1.0, n: int = N) -> LatentEvaluation:
    rng = np.random.default_rng(0)
    series = gain * rng.standard_normal((n, 1, C)) + SIGMA * rng.standard_normal((n, T, C))
    draws = Randomness([("test", 0)]).draws
    return LatentEvaluation(LevelModel(gain), Answer(answer), torch.from_numpy(series).float(), draws)


def measure(name: str, at: LatentEvaluation) -> dict[str, Measurement]:
    return {row.name: row for row in METRICS[name]().measure(at)}


def test_nll_is_the_mean_log_density_per_value() -> None:
    at = evaluation(level)
    rows = measure("nll", at)
    x = at.series.double().numpy()
    own = -norm.logpdf(x, x.mean(axis=1, keepdims=True), SIGMA).mean(axis=(1, 2))
    assert rows["nll_own"].value == pytest.approx(own.mean(), abs=1e-5)
    assert rows["nll_own"].sd == pytest.approx(own.std(ddof=1), abs=1e-5)
    zero, marginal = (-norm.logpdf(x, 0, s).mean(axis=(1, 2)) for s in (SIGMA, math.hypot(1, SIGMA)))
    assert rows["nll_zero"].value == pytest.approx(zero.mean(), abs=1e-5)
    assert rows["nll_marginal"].value == pytest.approx(marginal.mean(), abs=1e-5)
    assert {row.n for row in rows.values()} == {N}


def test_permuted_and_noise_cost_what_theory_says() -> None:
    at = evaluation(level)
    rows = measure("nll", at)
    gap = rows["nll_permuted"].value - rows["nll_own"].value
    # E (x_t - m')^2 - E (x_t - m)^2 for the means m, m' of two independent series, over 2 SIGMA^2
    assert gap == pytest.approx((1 + SIGMA**2 / T) / SIGMA**2, rel=0.15)
    # noise: E (x_t - z)^2 = 2 + SIGMA^2 against E (x_t - m)^2 = SIGMA^2 (1 - 1/T)
    noise = rows["nll_noise"].value - rows["nll_own"].value
    assert noise == pytest.approx((2 + SIGMA**2 / T) / (2 * SIGMA**2), rel=0.15)


def test_a_decoder_that_ignores_z_has_one_nll() -> None:
    rows = measure("nll", evaluation(level, gain=0.0))
    for name in ("nll_permuted", "nll_noise", "nll_zero", "nll_marginal"):
        assert rows[name].value == pytest.approx(rows["nll_own"].value, abs=1e-6)


@pytest.mark.parametrize("n", [2, 3, 50])
def test_no_series_keeps_its_own_latent(n: int) -> None:
    other = shifted(Randomness([("test", 0)]).draws("permutation").permutation(n)[0])
    assert sorted(other.tolist()) == list(range(n))
    assert (other != torch.arange(n)).all()


def test_one_series_has_no_other_latent() -> None:
    rows = measure("nll", evaluation(level, n=1))
    assert rows["nll_permuted"].status == "undefined"
    assert math.isfinite(rows["nll_own"].value)
    assert measure("active_units", evaluation(level, n=1))["active_units"].status == "undefined"


def test_kl_in_closed_form() -> None:
    def posterior(x: Tensor) -> GaussianPosterior:
        first = torch.ones_like(x[:, :, 0])
        return GaussianPosterior(2 * first, torch.full_like(first, math.log(0.5)))

    row = measure("kl", evaluation(posterior))["kl"]
    assert row.value == pytest.approx(C * 0.5 * (4 + 0.25 - 1 - math.log(0.25)), abs=1e-5)
    assert row.sd == pytest.approx(0, abs=1e-6)
    assert measure("kl", evaluation(prior))["kl"].value == 0


def test_kl_of_a_point_is_undefined_not_a_number() -> None:
    row = measure("kl", evaluation(level))["kl"]
    assert (row.status, row.reason) == ("undefined", "the posterior is no density")
    assert math.isnan(row.value)


def test_active_units() -> None:
    assert measure("active_units", evaluation(level))["active_units"].value == C
    assert measure("active_units", evaluation(prior))["active_units"].value == 0

    def one_of_two(x: Tensor) -> DeterministicPosterior:
        return DeterministicPosterior(x.mean(dim=2) * torch.tensor([1.0, 0.05]))

    assert measure("active_units", evaluation(one_of_two))["active_units"].value == 1


def test_what_is_not_finite_fails_with_a_reason() -> None:
    def broken(x: Tensor) -> DeterministicPosterior:
        return DeterministicPosterior(x.mean(dim=2) / 0)

    row = measure("nll", evaluation(broken))["nll_own"]
    assert (row.status, row.reason) == ("failed", f"{N} of {N} values are not finite")
