"""Known answers for the measures that ask how much a decoder takes from its latent, and whether it is calibrated.

`linear_gaussian` has an exact posterior and an exact decoder, so everything here has a closed form.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_splits
from torch import Tensor

from bench.contracts import (
    CONTINUOUS,
    DiffusionConfig,
    EvaluateConfig,
    LatentEvaluation,
    Measurement,
    ModelConfig,
    TrainConfig,
)
from bench.method import stacked
from bench.metrics.latent_information import fitted_tau, information
from bench.parts.likelihoods import Gaussian
from bench.randomness import Randomness
from bench.registry import DATASETS, METHODS, METRICS
from bench.scoring.scores import Scope, score_run
from bench.training.stack import train_stack

T, C, D = 8, 2, 2


class Exact:
    """The decoder p(x | z) and the posterior p(z | x) of `linear_gaussian`; `factor` widens the stated deviations."""

    def __init__(self, noise: float, factor: float = 1.0) -> None:
        self.dataset = DATASETS["linear_gaussian"](series=10, window=T, channels=C, latent=D, noise=noise)
        weights, offset = self.dataset.loadings()
        self.weights, self.offset = torch.from_numpy(weights), torch.from_numpy(offset)
        steps = np.arange(T)
        correlation = 0.5 ** np.abs(steps[:, None] - steps) * noise**2 / 0.75
        flat = self.weights.reshape(-1, D)
        told = torch.linalg.inv(torch.from_numpy(np.kron(correlation, np.eye(C)))) @ flat
        self.precision = torch.eye(D) + flat.T @ told
        self.reader = told @ torch.linalg.inv(self.precision)  # of x - b: the posterior's mean
        deviations = torch.full((T, 1), noise, dtype=torch.float64)
        deviations[0] /= math.sqrt(0.75)
        self.sigma = factor * deviations
        self.decoder = self.decode

    @property
    def truth(self) -> float:
        """I(x; z)"""
        return 0.5 * float(torch.logdet(self.precision))

    def decode(self, z: Tensor, past: Tensor) -> Gaussian:
        told = torch.einsum("tcd,rbd->rbtc", self.weights, z.double()) + self.offset
        rest = 0.5 * (past.double() - told[:, :, :-1])
        return Gaussian(torch.cat([told[:, :, :1], told[:, :, 1:] + rest], dim=2), self.sigma)

    def series(self, n: int, seed: int) -> Tensor:
        load = dataclasses.replace(self.dataset, series=n).load
        return torch.from_numpy(np.stack(load(None, np.random.default_rng(seed)).series))


@dataclass(frozen=True)
class ExactPosterior:
    mean: Tensor
    root: Tensor

    def rsample(self, draws: Any) -> Tensor:
        return self.mean + draws.normal(*self.mean.shape[1:]).double() @ self.root


@dataclass(frozen=True)
class ExactMethod:
    """Asks the model for its posterior; samples its latents from the prior. `blind`: the prior whatever x is."""

    model: Exact
    blind: bool = False
    name: str = "exact"

    def posterior(self, model: Any, x: Tensor) -> ExactPosterior:
        mean = (x.double() - self.model.offset).flatten(2) @ self.model.reader
        if self.blind:
            return ExactPosterior(0 * mean, torch.eye(D, dtype=torch.float64))
        return ExactPosterior(mean, torch.linalg.cholesky(torch.linalg.inv(self.model.precision)).T)

    def latents(self, model: Any, n: int, draws: Any) -> Tensor:
        return draws.normal(n, D).double()


def evaluation(noise: float = 1.0, factor: float = 1.0, n: int = 1500, blind: bool = False) -> LatentEvaluation:
    model = Exact(noise, factor)
    draws = Randomness([("test", 0)]).draws
    return LatentEvaluation(
        model, ExactMethod(model, blind), model.series(n, 0), draws, validation=model.series(max(n, 200), 1)
    )


def measure(name: str, at: LatentEvaluation) -> dict[str, Measurement]:
    rows = METRICS[name]().measure(at)
    assert {row.name for row in rows} == set(METRICS[name].outputs)
    return {row.name: row for row in rows if not row.coordinate}


@pytest.mark.parametrize("noise", [0.2, 0.5, 1.0, 2.0])
def test_latent_information_in_closed_form(noise):
    at = evaluation(noise)
    rows, truth = measure("latent_information", at), at.model.truth
    value, tau = rows["latent_information"], rows["latent_information_tau"].value
    assert 0.1 < truth < math.log(512) - 1
    assert value.value == pytest.approx(truth, abs=3 * value.error + 0.02 * truth)
    assert value.error < 0.15
    assert value.n == 128
    assert 0.6 < tau < 1.7  # the exact density is the best critic
    assert rows["latent_information_tau_1"].value == pytest.approx(value.value, abs=0.05)
    assert rows["latent_information_bound"].value == pytest.approx(math.log(512))


class KnowsTheNoise(Exact):
    """The decoder p(x | z^i) at one step of the diffusion, z^i = sqrt(kept) size z + sqrt(1 - kept) e."""

    def __init__(self, noise: float, kept: float, size: float = 1.0) -> None:
        super().__init__(noise)
        self.alpha_bar = torch.tensor([1.0, kept], dtype=torch.float64)
        self.latent_mean, self.latent_scale = torch.zeros(1, D), torch.ones(1, D)
        flat, steps = self.weights.reshape(-1, D), np.arange(T)
        correlation = torch.from_numpy(np.kron(0.5 ** np.abs(steps[:, None] - steps) * noise**2 / 0.75, np.eye(C)))
        self.size, self.variance = size, kept * size**2 + 1 - kept  # of each dimension of z^i
        self.told = math.sqrt(kept) * size / self.variance * flat
        self.law = torch.distributions.MultivariateNormal(
            self.offset.repeat(T), correlation + (1 - kept) / self.variance * flat @ flat.T
        )

    def noised_truth(self) -> float:
        """I(x; z^i) = ln det Cov(z^i) / 2 - ln det Cov(z^i | x) / 2."""
        kept = self.alpha_bar[1]
        given = kept * self.size**2 * torch.linalg.inv(self.precision) + (1 - kept) * torch.eye(D)
        return 0.5 * (D * math.log(self.variance) - float(torch.logdet(given)))

    def decode(self, z: Tensor, past: Tensor) -> Any:
        mean = z.double() @ self.told.T
        return SimpleNamespace(log_prob=lambda x: self.law.log_prob(x.double().flatten(2) - mean))


@dataclass(frozen=True)
class Larger(ExactMethod):
    """The exact posterior of `size` times z."""

    def posterior(self, model: Any, x: Tensor) -> ExactPosterior:
        exact, size = super().posterior(model, x), model.size
        return ExactPosterior(size * exact.mean, size * exact.root)


@pytest.mark.parametrize("kept", [0.9, 0.5, 0.1])
@pytest.mark.parametrize(("noise", "size"), [(0.3, 1.0), (1.0, 1.0), (0.3, 3.0)])
def test_information_after_noise_in_closed_form(noise, size, kept, monkeypatch):
    monkeypatch.setattr("bench.metrics.diffusion_information.PLACES", (1.0,))
    model = KnowsTheNoise(noise, kept, size)
    at = LatentEvaluation(model, Larger(model), model.series(3000, 0), Randomness([("test", 0)]).draws)
    information, capacity = METRICS["noised_information"]().measure(at)
    assert (information.name, information.coordinate, information.index) == ("noised_information", "diffusion_step", 1)
    assert information.value == pytest.approx(model.noised_truth(), abs=3 * information.error)
    assert 0 < information.error < 0.3
    at_scale = 0.5 * D * math.log(1 + size**2 * kept / (1 - kept))  # the variance of 256 latents is known to a tenth
    assert capacity.value == pytest.approx(at_scale, abs=0.5 * D * math.log(1.2))
    assert information.value < capacity.value + 3 * information.error
    assert math.isnan(capacity.sd)


def test_a_decoder_that_does_not_know_the_noise_takes_less(monkeypatch):
    """The exact p(x | z) at z^i: a lower bound still, and far below the truth where z^i is mostly noise."""
    monkeypatch.setattr("bench.metrics.diffusion_information.PLACES", (1.0,))
    knows = KnowsTheNoise(0.3, 0.5)
    found = {}
    for name, model in (("knows", knows), ("does not", Exact(0.3))):
        model.alpha_bar, model.latent_mean, model.latent_scale = knows.alpha_bar, knows.latent_mean, knows.latent_scale
        at = LatentEvaluation(model, ExactMethod(model), model.series(3000, 0), Randomness([("test", 0)]).draws)
        found[name] = METRICS["noised_information"]().measure(at)[0]
    assert found["does not"].value < knows.noised_truth() + 2 * found["does not"].error
    assert found["does not"].value < found["knows"].value
    assert (
        METRICS["noised_information"]().measure(dataclasses.replace(at, series=at.series[:3]))[0].status == "undefined"
    )


def test_the_second_half_is_scored_given_the_true_past():
    """At tau = 1 and large M: E ln p(x_2 | x_1, z) - ln int p(x_2 | x_1, z) p(z) dz, here by 4,000 draws."""
    at = evaluation()
    rows, model = measure("latent_information", at), at.model
    x = at.series[np.linspace(0, len(at.series) - 1, 128).round().astype(int)][None]
    draws = Randomness([("fresh", 0)]).draws("z")

    def second(z: Tensor) -> Tensor:
        return model.decode(z, x[:, :, :-1]).log_prob_steps(x)[0, :, T // 2 :].sum(dim=-1)

    own = second(at.method.posterior(model, x).rsample(draws))
    others = torch.stack([second(z.expand(1, 128, D)) for z in draws.normal(4000, D).double()[0, :, None, None]])
    truth = own - (others.logsumexp(dim=0) - math.log(4000))
    value = rows["latent_information_second_half_tau_1"]
    assert value.value == pytest.approx(float(truth.mean()), abs=3 * value.error)
    assert value.value - value.error < rows["latent_information_second_half"].value
    assert 0.1 < rows["latent_information_second_half"].value < rows["latent_information"].value


def test_a_common_factor_on_the_deviations_changes_nothing_but_tau():
    exact, wide, sharp = (measure("latent_information", evaluation(factor=f, n=300)) for f in (1, 3, 1 / 4))
    for name in ("latent_information", "latent_information_second_half"):
        assert wide[name].value == pytest.approx(exact[name].value, abs=1e-6)
        assert sharp[name].value == pytest.approx(exact[name].value, abs=1e-6)
        assert wide[f"{name}_tau"].value == pytest.approx(9 * exact[f"{name}_tau"].value, rel=1e-5)
        assert wide[f"{name}_tau_1"].value < exact[f"{name}_tau_1"].value - 0.1
        assert sharp[f"{name}_tau_1"].value < 0 < exact[f"{name}_tau_1"].value


def test_a_latent_that_knows_nothing_has_no_information():
    rows = measure("latent_information", evaluation(blind=True))
    for name in ("latent_information", "latent_information_second_half"):
        assert abs(rows[name].value) <= 2 * rows[name].error + 1e-3
        assert rows[f"{name}_tau"].value < 0.2
        assert rows[f"{name}_tau_1"].value < -0.2  # what tau is for


@pytest.mark.parametrize("n", [2, 40, 600])
def test_it_is_never_above_the_logarithm_of_the_number_of_latents(n):
    at = evaluation(noise=0.01, n=n)
    assert at.model.truth > math.log(512) + 1
    rows = measure("latent_information", at)
    bound = rows["latent_information_bound"].value
    assert bound == pytest.approx(math.log(min(n, 512)))
    assert bound - 0.1 < rows["latent_information"].value <= bound


def test_without_validation_windows_half_of_the_series_fit_tau():
    at = dataclasses.replace(evaluation(), validation=None)
    value = measure("latent_information", at)["latent_information"]
    assert value.n == 64
    assert value.value == pytest.approx(at.model.truth, abs=3 * value.error)


def test_the_best_tau_is_found_and_has_an_end_where_all_are_identified():
    table = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 60)))
    own = torch.arange(50)
    table[own, own] += 1.5
    tau = fitted_tau(table, own)
    best = max(float(information(table, own, t).mean()) for t in np.linspace(0, 5, 2001))
    assert float(information(table, own, tau).mean()) == pytest.approx(best, abs=1e-6)
    table[own, own] += 20
    tau = fitted_tau(table, own)
    assert math.log(60) - 1e-3 < float(information(table, own, tau).mean()) <= math.log(60)
    assert fitted_tau(7 * table, own) == pytest.approx(tau / 7)
    table[own, own] -= 30
    assert fitted_tau(table, own) == 0  # the own latent is worse than the others
    assert fitted_tau(torch.full((3, 60), -5.0), own[:3]) == 0
    assert math.isnan(fitted_tau(torch.full((3, 60), math.nan), own[:3]))
    table[:10, 0] = -math.inf  # series that cannot be scored do not take part
    assert math.isfinite(fitted_tau(table, own))


@dataclass(frozen=True)
class Wholesale:
    """A likelihood of somebody else's that gives a logarithm per series and nothing more."""

    inner: Gaussian

    def log_prob(self, x: Tensor) -> Tensor:
        return self.inner.log_prob(x)


def test_edges_have_a_reason():
    at = evaluation(n=60)
    halves = {name for name in METRICS["latent_information"].outputs if "second_half" in name}

    def missing(changed: LatentEvaluation) -> dict[str, str]:
        return {name: row.reason for name, row in measure("latent_information", changed).items() if row.status != "ok"}

    model = Exact(1.0)
    model.decoder = lambda z, past: Wholesale(model.decode(z, past))
    reason = "the likelihood gives no logarithm per step (`log_prob_steps`)"
    assert missing(dataclasses.replace(at, model=model)) == dict.fromkeys(halves, reason)
    calibration = measure("decoder_calibration", dataclasses.replace(at, model=model))
    assert {row.status for row in calibration.values()} == {"undefined"}

    model = Exact(1.0)
    model.decoder = lambda z, past: Gaussian(z[:, :, None], torch.ones(()))  # of one step
    method = ExactMethod(model)
    object.__setattr__(method, "posterior", lambda model, x: ExactPosterior(x[:, :, 0].double(), torch.eye(D).double()))
    single = dataclasses.replace(at, model=model, method=method, series=at.series[:, :1], validation=None)
    assert missing(single) == dict.fromkeys(halves, "series of one step have no second half")

    broken = missing(dataclasses.replace(at, series=at.series * math.nan))
    assert set(broken) == set(METRICS["latent_information"].outputs) - {
        "latent_information_bound", "latent_information_tau", "latent_information_second_half_tau"
    }  # fmt: skip
    assert set(missing(dataclasses.replace(at, series=at.series[:1]))) == set(METRICS["latent_information"].outputs)


@pytest.mark.parametrize("name", ["no_latent", "data_diffusion"])
def test_methods_without_a_latent(name):
    splits = make_splits(60, 4, 2)
    method, train, diffusion = METHODS[name](), TrainConfig(steps=2, batch_size=4), DiffusionConfig(steps=1, L=5)
    config = ModelConfig(hidden=4, latent=3)
    model = train_stack([method], [splits], [("tiny", 0)], "lstm", config, [train], [diffusion]).model.eval()
    wanted = ["latent_information", "prior_bound", "nll"]
    with torch.no_grad():
        rows = score_run(model, stacked([method]), splits, splits.test, EvaluateConfig(), Scope("tiny", 0), wanted)
    found = {row["metric"]: row for row in rows}
    if name == "data_diffusion":
        assert {row["status"] for row in rows} == {"undefined"}
        assert found["prior_bound"]["reason"] == "data_diffusion has no decoder"
        return
    for output in ("latent_information", "latent_information_second_half", "latent_information_tau"):
        assert found[output]["value"] == pytest.approx(0, abs=1e-4)
    per_series = -found["nll_own"]["value"] * 8  # T C values
    for output in ("prior_bound", "prior_bound_500"):
        assert found[output]["value"] == pytest.approx(per_series, rel=1e-5)  # exact without a latent


def test_the_prior_bound_is_below_the_likelihood_and_near_it_where_little_is_told():
    at = evaluation(noise=3.0)
    rows = measure("prior_bound", at)
    x = at.series[np.linspace(0, len(at.series) - 1, 64).round().astype(int)]
    cells = x[0].numel() * math.log(CONTINUOUS)  # a density is the probability of a cell over its width
    truth = float(at.model.dataset.log_likelihood(x.numpy()).mean()) + cells
    assert rows["prior_bound"].value == pytest.approx(truth, abs=0.02)
    assert rows["prior_bound"].n == 64
    loose = evaluation(noise=0.1)
    rows = measure("prior_bound", loose)
    truth = float(loose.model.dataset.log_likelihood(loose.series.numpy()[::23]).mean()) + cells
    assert rows["prior_bound_500"].value < rows["prior_bound"].value < truth - 0.3


def test_the_true_law_is_calibrated_and_a_wide_one_is_seen():
    right = measure("decoder_calibration", evaluation())
    assert right["calibration_distance"].value < 1.63 / math.sqrt(512 * T)
    assert right["residual_ratio"].value == pytest.approx(1, abs=0.03)
    wide = measure("decoder_calibration", evaluation(factor=2.0))
    place = math.sqrt(2 * math.log(2) / 3)  # where Phi(2 a) - Phi(a) is largest
    seen = torch.special.ndtr(torch.tensor([2 * place, place])).diff().abs()
    assert wide["calibration_distance"].value == pytest.approx(float(seen), abs=0.02)
    assert wide["residual_ratio"].value == pytest.approx(0.5, abs=0.02)
    rows = METRICS["decoder_calibration"]().measure(evaluation(n=20))
    assert [row.index for row in rows if row.name == "residual_ratio_by_channel"] == [1, 2]
    assert all(row.n == 200 for row in rows)


@dataclass(frozen=True)
class Coin:
    """Every value is 0 or 1 with equal chances: a law of atoms, whose transform must be randomised."""

    shape: torch.Size

    def cdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return 0.5 * x, 0.5 * (x + 1)


def test_values_with_a_probability_of_their_own_are_randomised():
    at = evaluation()
    at.model.decoder = lambda z, past: Coin(past.shape)
    coins = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (500, T, C))).float()
    rows = measure("decoder_calibration", dataclasses.replace(at, validation=coins))
    assert rows["calibration_distance"].value < 1.63 / math.sqrt(500 * T)
    assert rows["residual_ratio"].reason == "the likelihood is no Gaussian"
