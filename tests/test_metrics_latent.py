"""Known answers for the measures of a trained model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm
from torch import Tensor

from bench.contracts import LatentEvaluation, Measurement, Posterior
from bench.method import stacked
from bench.metrics.nll import shifted
from bench.metrics.probe import explained
from bench.parts.diffusion import linear_schedule
from bench.parts.likelihoods import Gaussian
from bench.parts.posteriors import DeterministicPosterior, GaussianPosterior, pairwise_log_density
from bench.randomness import Randomness
from bench.registry import DATASETS, METHODS, METRICS

N, T, C = 300, 4, 2
SIGMA = 0.5
ALPHA_BAR = torch.cat([torch.ones(1), torch.linspace(0.999, 0, 100)])
ZEROS, ONES = torch.zeros(1, C), torch.ones(1, C)


@dataclass(frozen=True)
class LevelModel:
    """x_t = gain * z + SIGMA * noise at every t, with D = C: the optimal q(z | x) is known."""

    gain: float = 1.0
    runs: int = 1
    latent: int = C
    alpha_bar: Tensor = ALPHA_BAR
    latent_mean: Tensor = ZEROS
    latent_scale: Tensor = ONES

    def decoder(self, z: Tensor, past: Tensor) -> Gaussian:
        steps = past.shape[2] + 1
        mean = (self.gain * z)[:, :, None].expand(-1, -1, steps, -1)
        return Gaussian(mean, torch.tensor(SIGMA))

    def marginal_log_prob(self, x: Tensor) -> Tensor:
        return Gaussian(torch.zeros(()), torch.tensor(math.sqrt(self.gain**2 + SIGMA**2))).log_prob(x)


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
    x = torch.from_numpy(series).float()
    return LatentEvaluation(LevelModel(gain), Answer(answer), x, Randomness([("test", 0)]).draws, train=x)


def curve(name: str, output: str, at: LatentEvaluation) -> dict[float, float]:
    return {row.index: row.value for row in METRICS[name]().measure(at) if row.name == output}


def measure(name: str, at: LatentEvaluation) -> dict[str, Measurement]:
    return {row.name: row for row in METRICS[name]().measure(at) if not row.coordinate}


def test_nll_is_the_mean_log_probability_per_value() -> None:
    at = evaluation(level)
    rows = measure("nll", at)
    x = at.series.double().numpy()
    cell = -math.log(1e-3)  # continuous values have narrow cells: the density times their width
    own = cell - norm.logpdf(x, x.mean(axis=1, keepdims=True), SIGMA).mean(axis=(1, 2))
    assert rows["nll_own"].value == pytest.approx(own.mean(), abs=1e-5)
    assert rows["nll_own"].sd == pytest.approx(own.std(ddof=1), abs=1e-5)
    zero, marginal = (cell - norm.logpdf(x, 0, s).mean(axis=(1, 2)) for s in (SIGMA, math.hypot(1, SIGMA)))
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


def test_kl_per_dimension_and_the_curve_of_active_units() -> None:
    def posterior(x: Tensor) -> GaussianPosterior:
        mean = x.mean(dim=2) * torch.tensor([1.0, 0.2])  # variances about 1.06 and .04
        return GaussianPosterior(mean, torch.zeros_like(mean))

    at = evaluation(posterior)
    kl = curve("kl", "kl_per_dimension", at)
    means = at.series.mean(dim=1) * torch.tensor([1.0, 0.2])
    assert list(kl.values()) == pytest.approx((means.square().mean(dim=0) / 2).tolist(), rel=1e-4)
    assert sum(kl.values()) == pytest.approx(measure("kl", at)["kl"].value, rel=1e-5)
    assert curve("active_units", "active_units_curve", at) == {
        0.001: 2, 0.003: 2, 0.01: 2, 0.03: 2, 0.1: 1, 0.3: 1, 1.0: float(means[:, 0].var() >= 1)
    }  # fmt: skip


def exact(x: Tensor) -> GaussianPosterior:
    """p(z | x) of the level model with gain 1."""
    precision = 1 + T / SIGMA**2
    mean = x.sum(dim=2) / SIGMA**2 / precision
    return GaussianPosterior(mean, torch.full_like(mean, -0.5 * math.log(precision)))


def test_mutual_information_in_closed_form() -> None:
    def posterior(x: Tensor) -> GaussianPosterior:
        mean = x.mean(dim=2)
        return GaussianPosterior(mean, torch.zeros_like(mean))

    rows = measure("mutual_information", evaluation(posterior, n=2000))
    truth = C / 2 * math.log(1 + 1 + SIGMA**2 / T)  # a Gaussian channel with unit noise
    assert rows["mutual_information"].value == pytest.approx(truth, rel=0.1)
    assert rows["mutual_information_bound"].value == pytest.approx(math.log(2000))


def test_mutual_information_of_nothing_of_everything_and_of_a_point() -> None:
    assert measure("mutual_information", evaluation(prior))["mutual_information"].value == pytest.approx(0, abs=1e-6)

    def sharp(x: Tensor) -> GaussianPosterior:
        mean = 1e3 * x.mean(dim=2)
        return GaussianPosterior(mean, torch.full_like(mean, -5.0))

    rows = measure("mutual_information", evaluation(sharp))
    assert rows["mutual_information"].value == pytest.approx(math.log(N), abs=1e-3)
    assert measure("mutual_information", evaluation(level))["mutual_information"].status == "undefined"


@pytest.mark.parametrize("log_sigma", [0.0, -7.0])
def test_pairs_of_a_stack_are_those_of_its_runs_and_do_not_cancel_where_q_is_sharp(log_sigma: float) -> None:
    mean = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 70, 3))).float()
    q = GaussianPosterior(mean, torch.full_like(mean, log_sigma))
    z = q.rsample(Randomness([("test", 0), ("test", 1)]).draws("z"))
    pairs = pairwise_log_density(q, z)
    sigma = math.exp(log_sigma)
    for run in range(2):
        centre, draw = mean[run].double().numpy(), z[run].double().numpy()
        truth = norm.logpdf(draw[:, None], centre[None], sigma).sum(axis=-1)
        np.testing.assert_allclose(np.diag(pairs[run].numpy()), np.diag(truth), atol=2e-3)
        np.testing.assert_allclose(pairs[run].numpy(), truth, rtol=1e-3, atol=2e-3)


@dataclass(frozen=True)
class TwoHumps:
    """A posterior that is no Gaussian: z = mean +- 1 with equal chances, each hump of deviation 1, (R, B, D)."""

    mean: Tensor

    def rsample(self, draws: Any) -> Tensor:
        shape = self.mean.shape[1:]
        return self.mean + (2 * draws.steps(0, 1, *shape) - 1) + draws.normal(*shape)

    def log_prob(self, z: Tensor) -> Tensor:
        humps = torch.stack([-0.5 * (z - self.mean + way).square() for way in (-1, 1)])
        return (humps.logsumexp(0) - math.log(2) - 0.5 * math.log(2 * math.pi)).sum(-1)

    def kl(self) -> None:
        return None

    def rows(self, index: Tensor) -> TwoHumps:
        return TwoHumps(self.mean[:, index[0]])


def test_a_posterior_of_ones_own_is_measured_by_its_density() -> None:
    at = evaluation(lambda x: TwoHumps(0 * x.mean(dim=2)), n=60)  # the same for every series: nothing is told
    assert measure("mutual_information", at)["mutual_information"].value == pytest.approx(0, abs=1e-5)
    told = measure("mutual_information", evaluation(lambda x: TwoHumps(100 * x.mean(dim=2)), n=60))
    assert told["mutual_information"].value == pytest.approx(math.log(60), rel=0.05)
    wide = evaluation(lambda x: TwoHumps(x.mean(dim=2)), n=30)
    truth = -log_evidence(wide.series).mean() / (T * C)
    assert truth < measure("nll_importance", wide)["nll_importance"].value < truth + 0.1


def log_evidence(x: Tensor) -> np.ndarray:
    covariance = np.ones((T, T)) + SIGMA**2 * np.eye(T)
    density = multivariate_normal(np.zeros(T), covariance).logpdf(np.moveaxis(x.double().numpy(), 2, 1))
    return density.sum(axis=1) + T * C * math.log(1e-3)  # of the cells


def test_importance_weighting_is_exact_with_the_true_posterior_and_an_upper_bound_without() -> None:
    at = evaluation(exact, n=30)
    truth = -log_evidence(at.series).mean() / (T * C)
    rows = measure("nll_importance", at)
    assert rows["nll_importance"].value == pytest.approx(truth, abs=1e-5)
    assert rows["nll_importance_ess"].value == pytest.approx(500, rel=1e-3)
    loose = measure("nll_importance", evaluation(prior, n=30))
    assert truth < loose["nll_importance"].value < truth + 0.1
    assert loose["nll_importance_ess"].value < 100
    assert measure("nll_importance", evaluation(level, n=30))["nll_importance"].status == "undefined"


def test_probe_reads_what_the_latent_holds() -> None:
    assert measure("probe", evaluation(level))["probe_level"].value == pytest.approx(1, abs=1e-4)
    assert measure("probe", evaluation(prior))["probe_level"].value == pytest.approx(0, abs=0.05)

    def first_only(x: Tensor) -> DeterministicPosterior:
        return DeterministicPosterior(x.mean(dim=2) * torch.tensor([3.0, 0.0]))

    row = measure("probe", evaluation(first_only))["probe_level"]
    assert row.value == pytest.approx(0.5, abs=0.05)
    assert row.sd == pytest.approx(math.sqrt(0.5), abs=0.05)


def linear_gaussian(answer: Callable[[Tensor], Posterior], n: int = 1500) -> tuple[LatentEvaluation, np.ndarray]:
    """Half of a draw of x = W s + u for testing, half for fitting; and the exact covariance of (s, x), (4 + T C,)^2."""
    dataset = DATASETS["linear_gaussian"](series=2 * n, window=6, channels=2)
    recordings = dataset.load(None, np.random.default_rng(0))
    x = torch.from_numpy(np.stack(recordings.series)).float()
    s = recordings.truth["latent"]
    weights, steps = dataset.loadings()[0].reshape(-1, 4), np.arange(6)
    noise = np.kron(0.5 ** np.abs(steps[:, None] - steps) * 0.3**2 / 0.75, np.eye(2))
    covariance = np.block([[np.eye(4), weights.T], [weights, weights @ weights.T + noise]])
    draws = Randomness([("test", 0)]).draws
    at = LatentEvaluation(
        LevelModel(), Answer(answer), x[:n], draws, train=x[n:], truth={"latent": s[:n]}, train_truth={"latent": s[n:]}
    )
    return at, covariance


def read(covariance: np.ndarray, of: np.ndarray, where: np.ndarray) -> np.ndarray:
    """B in E[of x' | x_where] = B x_where for jointly Gaussian x: of (k, N) a linear map, where indices of N."""
    return of @ covariance[:, where] @ np.linalg.inv(covariance[np.ix_(where, where)])


def test_the_truth_is_read_as_far_as_theory_allows() -> None:
    """E[s | x] is linear in x here, so a code that keeps x is read with R^2 = 1 - Var(s | x) / Var(s)."""
    at, covariance = linear_gaussian(lambda x: DeterministicPosterior(x.flatten(2)))
    latent, series = np.eye(16)[:4], np.arange(4, 16)
    left = 1 - np.diag(read(covariance, latent, series) @ covariance[4:, :4])
    rows = measure("probe_truth", at)
    assert rows["probe_truth"].value == pytest.approx(1 - left.mean(), abs=0.02)
    assert rows["probe_truth_series"].value == pytest.approx(rows["probe_truth"].value, abs=1e-9)
    assert rows["probe_truth"].n == 1500
    found = METRICS["probe_truth"]().measure(at)
    by_factor = {(row.coordinate, row.index): row.value for row in found if row.name == "probe_truth_by_factor"}
    assert list(by_factor) == [("latent", k) for k in (1, 2, 3, 4)]
    assert list(by_factor.values()) == pytest.approx(list(1 - left), abs=0.05)


def test_a_latent_that_says_nothing_tells_no_truth_and_real_data_have_none() -> None:
    rows = measure("probe_truth", linear_gaussian(prior)[0])
    assert rows["probe_truth"].value == pytest.approx(0, abs=0.02)
    assert rows["probe_truth_series"].value > 0.5
    none = measure("probe_truth", evaluation(level))["probe_truth"]
    assert (none.status, math.isnan(none.value)) == ("undefined", True)
    assert "no simulator" in none.reason


def test_split_half_reliability_in_closed_form() -> None:
    """z a linear map of x: z^_A and z^_B are linear too, and their covariance is exact."""
    of = np.zeros((2, 16))
    of[0, 4:] = 1 / 12  # the level
    of[1, [8, 9]] = (1, -1)  # a detail of the third step
    weights = torch.from_numpy(of[:, 4:]).float()
    at, covariance = linear_gaussian(lambda x: DeterministicPosterior(x.flatten(2) @ weights.T), n=4000)
    first, last = np.arange(4, 8), np.arange(12, 16)
    agreed = read(covariance, of, first) @ covariance[np.ix_(first, last)] @ read(covariance, of, last).T
    truth = np.trace(agreed) / np.trace(of @ covariance @ of.T)
    row = measure("split_half", at)["split_half_reliability"]
    assert 0.2 < truth < 0.8
    assert row.value == pytest.approx(truth, abs=3 * row.sd / math.sqrt(row.n))


def test_split_half_prices_a_code_that_holds_the_noise_of_a_series() -> None:
    """The same code, the same decoder: on independent steps the permuted gap is large and nothing of it is global."""

    def first_step(x: Tensor) -> DeterministicPosterior:
        return DeterministicPosterior(x[:, :, 0])

    noise = np.random.default_rng(0).standard_normal((2000, 6, C))
    level_ = np.random.default_rng(1).standard_normal((2000, 1, C)) + SIGMA * noise
    found = {}
    for name, series in (("noise", noise), ("level", level_)):
        x = torch.from_numpy(series).float()
        at = LatentEvaluation(
            LevelModel(), Answer(first_step), x[:1000], Randomness([("test", 0)]).draws, train=x[1000:]
        )
        found[name] = {**measure("nll", at), **measure("split_half", at)}
    for rows in found.values():  # z is used: the first step is told by it
        assert rows["nll_permuted"].value - rows["nll_own"].value > 0.3
    for output in ("split_half_reliability", "split_half_gap"):
        row = found["noise"][output]
        assert abs(row.value) < 3.5 * row.sd / math.sqrt(row.n)
        assert abs(row.value) < 0.05
        assert found["level"][output].value > 0.4


def test_split_half_of_a_constant_code_is_undefined() -> None:
    rows = measure("split_half", evaluation(lambda x: DeterministicPosterior(torch.ones_like(x[:, :, 0]))))
    assert {row.reason for row in rows.values()} == {"z does not vary"}
    prior_rows = measure("split_half", evaluation(prior))
    assert prior_rows["split_half_reliability"].value == pytest.approx(0, abs=0.02)


def test_information_falls_from_all_to_nothing_along_the_diffusion() -> None:
    at = evaluation(level)
    rows = measure("nll", at)
    gain = curve("diffusion_information", "diffusion_information", at)
    assert list(gain) == [0, 1, 2, 5, 10, 20, 30, 50, 75, 100]
    assert gain[0] == pytest.approx(rows["nll_permuted"].value - rows["nll_own"].value, rel=1e-5)
    assert gain[100] == pytest.approx(0, abs=0.25 * gain[0])  # z^L is noise: own and permuted differ by chance
    values = list(gain.values())
    assert all(late < early for early, late in itertools.pairwise(values[2:]))
    probe = curve("diffusion_information", "diffusion_probe", at)
    assert probe[0] == pytest.approx(1, abs=1e-4)
    assert probe[100] == pytest.approx(0, abs=0.1)


def test_a_probe_reads_no_series_of_the_group_that_it_was_fitted_on() -> None:
    """z names the group, and a group's target is a number of its own: nothing that other groups could tell."""
    groups = np.repeat(np.arange(20), 5)
    z, y = torch.eye(20)[groups], torch.from_numpy(np.random.default_rng(0).standard_normal(20))[groups][:, None]
    assert explained(z[:0], y[:0], z, y, np.arange(100)) > 0.9  # each series its own group: neighbours tell
    assert explained(z[:0], y[:0], z, y, groups) < 0.01
    assert explained(z, y, z, y, groups) > 0.9  # training series are always seen


def test_a_probe_along_the_diffusion_is_not_misled_by_a_drift() -> None:
    """A recording whose level rises from its first window to its last; R^2 falls with the noise from everywhere."""
    rise = np.linspace(-3, 3, N)[:, None, None] + SIGMA * np.random.default_rng(0).standard_normal((N, T, C))
    series = torch.from_numpy(rise).float()
    draws = Randomness([("test", 0)]).draws
    at = LatentEvaluation(LevelModel(), Answer(level), series, draws, groups=np.arange(N) * 8 // N)
    probe = list(curve("diffusion_information", "diffusion_probe", at).values())
    assert probe[0] == pytest.approx(1, abs=1e-4)
    assert all(late < early + 0.02 for early, late in itertools.pairwise(probe))
    assert probe[-1] == pytest.approx(0, abs=0.1)


class RepeatingDecoder:
    """x_t = z at every t: nothing is lost between a constant series and its latent."""

    def generate(self, z: Tensor, draws: Any) -> Tensor:
        return z[:, :, None].expand(-1, -1, T, -1)


class RepeatingModel:
    decoder = RepeatingDecoder()


@dataclass(frozen=True)
class Shifted(Answer):
    """Its diffusion draws the levels of `from_`, moved by `by`."""

    from_: Tensor | None = None
    by: float = 0.0
    noise: float = 0.0

    def as_generated(self, model: Any, z: Tensor, draws: Any) -> Tensor:
        return z + self.noise * draws.normal(*z.shape[1:])

    def latents(self, model: Any, n: int, draws: Any) -> Tensor:
        assert self.from_ is not None
        return (self.from_.mean(dim=1) + self.by)[None, :n]


def test_the_decoding_gap_tells_the_decoder_from_the_diffusion() -> None:
    levels = Randomness([("levels", 0)]).draws("levels").normal(2 * N, C)[0]
    series = levels[:, None].expand(-1, T, -1)
    test, train = series[:N], series[N:]

    def measured(by: float, train: Tensor | None = train, noise: float = 0.0) -> dict[str, Measurement]:
        method = Shifted(level, from_=test, by=by, noise=noise)
        draws = Randomness([("level", 0)]).draws
        evaluation = LatentEvaluation(RepeatingModel(), method, test, draws, train=train)
        return {item.name: item for item in METRICS["decoding_gap"]().measure(evaluation)}

    exact, moved = measured(0.0), measured(2.0)
    assert exact["sliced_from_diffusion"].value == 0  # the very test series
    u = Randomness([("level", 0)]).draws("directions of the decoding gap").normal(T * C, 500)[0].double()
    shift = 2 * (u / u.norm(dim=0)).sum(dim=0).abs().mean()  # W_1 of a shift is its length along each direction
    assert moved["sliced_from_diffusion"].value == pytest.approx(float(shift), rel=1e-6)
    floor = exact["sliced_from_posteriors"]
    assert floor.value == moved["sliced_from_posteriors"].value  # whatever the diffusion does
    assert 0 < floor.value < 0.2
    assert floor.n == N
    assert {item.status for item in measured(0.0, train[: N - 1]).values()} == {"undefined"}
    noised = measured(0.0, noise=3.0)  # a diffusion that stops early leaves noise to the decoder
    assert noised["sliced_from_posteriors"].value > 10 * floor.value


def test_a_diffusion_that_stops_early_is_compared_with_posteriors_noised_alike() -> None:
    method = stacked([METHODS["kl_free"](N=300)])
    model = SimpleNamespace(alpha_bar=linear_schedule(1000), latent=2)
    z = torch.full((1, 20000, 2), 5.0)
    as_generated = method.as_generated(model, z, Randomness([("noise", 0)]).draws("noise"))
    kept = model.alpha_bar[:301]
    assert as_generated.mean().item() == pytest.approx(5 * kept.sqrt().mean().item(), abs=0.02)
    power = (25 * kept + 1 - kept).mean().item()
    assert as_generated.square().mean().item() == pytest.approx(power, rel=0.01)
    vanilla = stacked([METHODS["latent_diffusion"]()])
    assert vanilla.as_generated(model, z, Randomness([("noise", 0)]).draws("noise")) is z
