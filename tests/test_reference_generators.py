"""Generators that stand beside the cures: each would fail here without its idea. T = 12 steps, C = 2 channels."""

from __future__ import annotations

import dataclasses
import inspect
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import make_splits
from torch import Tensor

from bench.contracts import (
    DiffusionConfig,
    EvaluateConfig,
    InputError,
    ModelConfig,
    Sizes,
    Step,
    TrainConfig,
    Unavailable,
)
from bench.engine import trials
from bench.engine.trials import time_updates
from bench.list import main as list_main
from bench.method import stacked
from bench.models.build import StackedModel
from bench.models.denoiser import StandardNormalDenoiser
from bench.models.latent_ode import OdeDecoder
from bench.models.series_transformer import SeriesTransformer, SeriesVelocity, Synthesis
from bench.models.stacked import Flat, RowAdam, initialise, linear
from bench.models.time_vae import DecomposedDecoder
from bench.parts.bases import polynomials, spectral_distance, spectrum_basis, waves
from bench.parts.diffusion import diffuse, linear_schedule, reverse_diffusion, sampling_grid, x0_weights
from bench.parts.flow import flow_matching_loss, heun, runge_kutta
from bench.parts.likelihoods import fitted
from bench.parts.posteriors import DeterministicPosterior, GaussianPosterior
from bench.randomness import Randomness
from bench.registry import METHODS
from bench.report.cautions import said_name
from bench.report.statistics import NOTHING
from bench.scoring.scores import Scope, draw_samples, score_run
from bench.sweeps.expand import read_sweep
from bench.training.stack import train_stack

T, C, L = 12, 2, 50
FEW = {"flow_matching": {"solver_steps": 5}}
"""Of the solver's 50, where a test does not depend on how well it solves."""
KEYS = [("references", 0), ("references", 1)]
t = torch.arange(T, dtype=torch.float64)


def draws(role: str = "x", keys=(("references", 0),)):
    return Randomness(keys).draws(role)


def built(name: str, window: int = T, channels: int = C, keys=(("references", 0),), **options):
    method = stacked([METHODS[name](**options)] * len(keys))
    config, diffusion = ModelConfig(hidden=8, latent=4), DiffusionConfig(L=L, hidden=16)
    model = StackedModel(len(keys), (window, channels), method, "lstm", config, diffusion)
    initialise(model, Randomness(keys))
    return model.eval(), method


# ---------------------------------------------------------------- trend and seasonality


@pytest.mark.parametrize("steps", [1, 2, 3, 12, 13, 144])
def test_the_bases_are_orthonormal(steps):
    powers, sines = polynomials(steps, 3), waves(steps)
    torch.testing.assert_close(powers.mT @ powers, torch.eye(min(4, steps), dtype=torch.float64))
    lengths = (sines @ sines.mT).diagonal()
    nyquist = [1.0] * (steps // 2) + [0.0 if 2 * k == steps else 1.0 for k in range(1, steps // 2 + 1)]
    torch.testing.assert_close(lengths, torch.tensor(nyquist, dtype=torch.float64))
    whole = spectrum_basis(steps)
    assert whole.shape == (steps, steps)
    torch.testing.assert_close(whole.mT @ whole, torch.eye(steps, dtype=torch.float64))  # nothing is left out


def synthesis(width: int = 2) -> Synthesis:
    part = Synthesis(1, width, T, width).double()
    part.powers, part.waves = polynomials(T, 3), waves(T)
    for weights in part.parameters():
        weights.data.zero_()
    part.trend.weight.data.copy_(torch.eye(width))
    part.season.data.copy_(torch.eye(width))
    return part


def test_the_trend_is_any_polynomial_of_degree_three_and_no_other():
    cubic = torch.stack([1 - t + 0.1 * t**3, 2 * t**2 - 7], dim=-1)[None, None]
    trend, _ = synthesis()(cubic)
    torch.testing.assert_close(trend, cubic, rtol=1e-9, atol=1e-9)
    quartic = t[:, None].expand(T, 2)[None, None] ** 4
    assert (synthesis()(quartic)[0] - quartic).abs().max() > 1


def test_the_seasonality_is_a_sum_of_the_strongest_waves():
    part = synthesis()
    assert part.strongest == 1  # floor(ln 6)
    strong = torch.stack([3 * torch.cos(2 * math.pi * 2 * t / T + 0.7), torch.sin(2 * math.pi * 5 * t / T)], dim=-1)
    weak = 0.2 * torch.cos(2 * math.pi * 3 * t / T)[:, None]
    _, season = part((strong + weak + 4)[None, None])  # each channel at its own frequency; no level
    torch.testing.assert_close(season, strong[None, None], rtol=1e-9, atol=1e-9)
    assert Synthesis(1, 2, 24, 2).strongest == 2
    assert Synthesis(1, 2, 144, 2).strongest == 4
    assert not synthesis()(torch.zeros(1, 1, T, 2, dtype=torch.float64))[1].any()


def test_the_series_is_the_sum_of_trend_seasonality_and_residual():
    model, _ = built("diffusion_transformer")
    network = model.denoiser
    x, i = draws().normal(3, T * C), torch.tensor([[1, 20, L]])
    trend, season, residual = network.parts(x, network.said(i))
    torch.testing.assert_close((trend + season + residual).flatten(-2), network.estimate(x, i))
    powers = polynomials(T, 3).float()
    torch.testing.assert_close(powers @ (powers.mT @ trend), trend, rtol=1e-4, atol=1e-4)
    assert trend.abs().max() > 0
    assert season.abs().max() > 0
    torch.testing.assert_close(season.mean(dim=-2), torch.zeros(1, 3, C), rtol=0, atol=1e-5)


def test_every_step_of_the_output_sees_every_step_of_the_input():
    model, _ = built("diffusion_transformer")
    x = draws().normal(1, T * C).requires_grad_(True)
    (slope,) = torch.autograd.grad(model.denoiser.estimate(x, torch.tensor([[9]]))[0, 0, -1], x)
    assert (slope != 0).all()


@pytest.mark.parametrize(
    "name", ["diffusion_transformer", "flow_matching", "frequency_diffusion", "time_vae", "latent_ode"]
)
@pytest.mark.parametrize(("window", "channels"), [(1, 1), (2, 1), (3, 64), (144, 1)])
def test_every_shape_of_a_window(name, window, channels):
    model, method = built(name, window, channels, **FEW.get(name, {}))
    assert method.sample(model, 3, draws()).shape == (1, 3, window, channels)


def test_the_card_states_the_number_of_weights():
    for name in ("diffusion_transformer", "flow_matching", "frequency_diffusion", "time_vae"):
        method = stacked([METHODS[name]()])
        model = StackedModel(1, (24, 6), method, "lstm", ModelConfig(), DiffusionConfig())
        count = sum(w.numel() for part, w in model.named_parameters() if not part.startswith("marginal"))
        assert f"{count / 1e6:.2f} million weights" in " ".join(inspect.getdoc(METHODS[name]).split())


# ---------------------------------------------------------------- diffusion that predicts the series


def test_the_spectral_distance_is_that_of_a_discrete_fourier_transform():
    x, y = (draws(role).normal(5, T, C).double() for role in "xy")
    assert not spectral_distance(x, x).any()
    total = np.zeros(5)
    for b in range(5):
        for k in range(T):
            for c in range(C):
                difference = (x - y)[0, b, :, c].numpy()
                found = sum(value * np.exp(-2j * math.pi * k * n / T) for n, value in enumerate(difference))
                total[b] += (abs(found.real) + abs(found.imag)) / math.sqrt(T)
    torch.testing.assert_close(spectral_distance(x, y)[0], torch.from_numpy(total), rtol=1e-12, atol=1e-12)
    spectrum = torch.fft.fft(x - y, dim=-2, norm="ortho")  # squared, it says what the series say
    torch.testing.assert_close(spectrum.abs().square().sum(dim=(-2, -1)), (x - y).square().sum(dim=(-2, -1)))


FINE = 400
"""Diffusion steps of a sampler that must not lose variance: with few, the posterior variance of a step is too small."""


class Optimal:
    """E[x | x^i] of Gaussian series N(0, S), in closed form; also the noise, as `reverse_diffusion` asks for it."""

    def __init__(self, covariance: Tensor, alpha_bar: Tensor) -> None:
        self.latent, self.window, self.channels = len(covariance), len(covariance) // C, C
        self.covariance, self.alpha_bar = covariance, alpha_bar
        noisy = alpha_bar[:, None, None] * covariance + (1 - alpha_bar[:, None, None]) * torch.eye(self.latent)
        self.maps = alpha_bar.sqrt()[:, None, None] * covariance @ torch.linalg.inv(noisy)

    def estimate(self, x: Tensor, i: Tensor) -> Tensor:
        return (self.maps[i] @ x.unsqueeze(-1)).squeeze(-1)

    def table(self) -> Tensor:
        return torch.arange(len(self.alpha_bar))[None, :, None]

    def with_step(self, x: Tensor, i: Tensor) -> Tensor:
        a, best = self.alpha_bar[int(i)], self.maps[int(i)]  # one step for all
        return (x - a.sqrt() * x @ best.T) / (1 - a).sqrt()


def gaussian_model(steps: int = L) -> SimpleNamespace:
    mixing = draws("mixing").normal(T * C, T * C)[0] / math.sqrt(T * C)
    covariance, alpha_bar = mixing @ mixing.T + 0.05 * torch.eye(T * C), linear_schedule(steps)
    denoiser = Optimal(covariance, alpha_bar)
    ratio = torch.where(alpha_bar < 1, (1 - alpha_bar) / alpha_bar, 0.0)
    return SimpleNamespace(
        denoiser=denoiser,
        get_submodule=lambda _: denoiser,
        alpha_bar=alpha_bar,
        loss_weights=ratio,  # of `predicts: x0`
        latent=T * C,
        sampler="ddpm",
        sampling_steps=0,
        latent_mean=torch.zeros(1, T * C),
        latent_scale=torch.ones(1, T * C),
    )


def test_the_loss_of_the_best_linear_denoiser_is_the_posterior_variance():
    """E ||x - E[x | x^i]||^2 = tr(S - sqrt(alpha_bar) M S), and any other map loses more."""
    model, n = gaussian_model(), 20_000
    torch.testing.assert_close(x0_weights(model)[1:], torch.ones(L), rtol=1e-4, atol=0)
    covariance, method = model.denoiser.covariance, METHODS["diffusion_transformer"](fourier=0)
    x = draws().normal(n, T * C) @ torch.linalg.cholesky(covariance).T
    roots = model.alpha_bar.sqrt()[:, None, None]
    each = (covariance - roots * model.denoiser.maps @ covariance).diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    found = method.denoising(model, DeterministicPosterior(x), draws("loss")).item()
    assert found == pytest.approx(each[1:].mean().item(), rel=0.02)
    with_spectrum = METHODS["diffusion_transformer"](fourier=2.0)
    assert with_spectrum.denoising(model, DeterministicPosterior(x), draws("loss")).item() > found + 1
    model.denoiser.maps = 0.7 * model.denoiser.maps
    assert method.denoising(model, DeterministicPosterior(x), draws("loss")).item() > 1.01 * found


def test_sampling_from_the_best_linear_denoiser_gives_the_covariance_back():
    model = gaussian_model(FINE)
    drawn = METHODS["diffusion_transformer"]().sample(model, 10_000, draws("samples"))
    assert drawn.shape == (1, 10_000, T, C)
    found = torch.cov(drawn[0].flatten(-2).T)
    assert (found - model.denoiser.covariance).abs().max() < 0.08


def test_a_call_gives_the_noise_of_what_is_estimated():
    for cls in (SeriesTransformer, SeriesVelocity):
        network = cls(1, T, C, 16, L)
        initialise(network, Randomness(KEYS[:1]))
        x, i = draws().normal(4, T * C), torch.tensor([[1, 7, 20, L]])
        alpha_bar, s = linear_schedule(L)[i].unsqueeze(-1), (i / L).unsqueeze(-1)
        found, noise = network.estimate(x, i), network(x, i)
        if cls is SeriesTransformer:  # x^i = sqrt(alpha_bar) x_hat + sqrt(1 - alpha_bar) eps
            again = alpha_bar.sqrt() * found + (1 - alpha_bar).sqrt() * noise
        else:  # v = x - eps, x^i = (1 - s) x + s eps
            again = (1 - s) * (found + noise) + s * noise
        torch.testing.assert_close(again, x, rtol=1e-4, atol=1e-4)


def test_the_network_learns_the_closed_form_of_white_series():
    """x ~ N(0, .25 I): E[x | x^i] = .25 sqrt(alpha_bar) / (.25 alpha_bar + 1 - alpha_bar) x^i."""
    network, stream = SeriesTransformer(1, 4, 1, 16, L), draws("white")
    initialise(network, Randomness(KEYS[:1]))
    flat, alpha_bar = Flat([network]), linear_schedule(L)
    optimiser = RowAdam(flat, torch.tensor([1e-2]), 1.0)
    model = SimpleNamespace(
        get_submodule=lambda _: network,
        alpha_bar=alpha_bar,
        loss_weights=torch.where(alpha_bar < 1, (1 - alpha_bar) / alpha_bar, 0.0),
    )
    method = METHODS["diffusion_transformer"](fourier=0)
    for _ in range(200):
        loss = method.denoising(model, DeterministicPosterior(0.5 * stream.normal(64, 4)), stream)
        optimiser.step(flat.gradient(loss.sum()), torch.ones(1, dtype=torch.bool))
    for i in (2, 10, 25):
        a = alpha_bar[i]
        x = (0.25 * a + 1 - a).sqrt() * stream.normal(2000, 4)
        found = network.estimate(x, torch.full((1, 2000), i))
        slope = (found * x).sum() / x.square().sum()
        assert slope.item() == pytest.approx((0.25 * a.sqrt() / (0.25 * a + 1 - a)).item(), abs=0.15), i


# ---------------------------------------------------------------- flow matching


def velocity_of(mean: float, deviation: float, steps: int):
    """The best velocity from N(0, 1) to N(mean, deviation^2): E[x - eps | x^s], linear in x^s."""

    def velocity(x: Tensor, i: Tensor) -> Tensor:
        s = (i / steps).unsqueeze(-1)
        a, variance = 1 - s, ((1 - s) * deviation) ** 2 + s**2
        return mean + (a * deviation**2 - s) / variance * (x - a * mean)

    return velocity


def test_the_flow_carries_a_gaussian_to_a_shifted_gaussian():
    """The path of the closed form: x^0 = mean + deviation x^1, exactly; Heun's error falls with the square."""
    noise, errors = draws().normal(1000, 3).double(), []
    for steps in (10, 20, 40):
        grid = sampling_grid(1000, steps)
        found = heun(velocity_of(3.0, 0.5, 1000), noise, grid)
        errors.append((found - (3 + 0.5 * noise)).abs().max().item())
    assert errors[2] < 5e-3
    assert errors[0] / errors[1] > 3
    assert errors[1] / errors[2] > 3


def test_the_loss_of_flow_matching_is_least_at_the_closed_form():
    x = 3 + 0.5 * draws().normal(50_000, 2)
    best = flow_matching_loss(velocity_of(3.0, 0.5, L), x, L, draws("flow")).mean().item()
    s = torch.arange(L + 1) / L  # the variance of x - eps that x^s does not explain
    left = (0.5**2 + 1) - ((1 - s) * 0.25 - s) ** 2 / ((1 - s) ** 2 * 0.25 + s**2)
    assert best == pytest.approx(2 * left.mean().item(), rel=0.02)
    for other in (velocity_of(2.7, 0.5, L), velocity_of(3.0, 0.8, L)):
        assert flow_matching_loss(other, x, L, draws("flow")).mean().item() > best + 0.01


def test_a_trained_flow_reaches_mean_and_deviation():
    splits = make_splits(n=400, window=4, channels=1)
    config = DiffusionConfig(L=L, steps=300, batch_size=64, hidden=16, learning_rate=5e-3)
    method = METHODS["flow_matching"](solver_steps=10)
    trained = train_stack([method], [splits], [("flow", 0)], "lstm", ModelConfig(), [TrainConfig(steps=1)], [config])
    assert not trained.model.autoencoder()
    samples = method.sample(trained.model.eval(), 2000, draws())[0].numpy()
    assert np.abs(samples.mean(axis=0) - splits.train.mean(axis=0)).max() < 0.25
    spread = np.linalg.eigvalsh(np.cov(samples.reshape(2000, -1).T))
    wanted = np.linalg.eigvalsh(np.cov(splits.train.reshape(len(splits.train), -1).T))
    assert spread[-1] == pytest.approx(wanted[-1], rel=0.35)  # the level that the steps of a series share
    assert spread[-1] > 3 * spread[0]


def test_the_solver_takes_the_steps_that_it_is_given():
    model, method = built("flow_matching", solver_steps=7)
    calls = []
    estimate = model.denoiser.estimate
    model.denoiser.estimate = lambda x, i: (calls.append(int(i[0, 0])), estimate(x, i))[1]
    method.sample(model, 2, draws())
    assert len(calls) == 14
    assert calls[0] == L
    assert calls[-1] == 0


# ---------------------------------------------------------------- diffusion of the spectrum


def test_the_codes_of_frequency_diffusion_are_the_spectrum_and_samples_come_back_from_it():
    model, method = built("frequency_diffusion")
    x = draws().normal(4, T, C)
    y = method.codes(model, x).mean.unflatten(-1, (T, C))
    spectrum, half = torch.fft.rfft(x, dim=-2, norm="ortho"), T // 2
    between = math.sqrt(2) * spectrum[..., 1:half, :]  # each stands for -k as well
    constant, nyquist = spectrum[..., :1, :].real, spectrum[..., half:, :].real
    expected = torch.cat([constant, between.real, nyquist, -between.imag], dim=-2)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    again = method.codes(model, method.sample(model, 3, draws("z"))).mean
    torch.testing.assert_close(again, method.latents(model, 3, draws("z")), rtol=1e-4, atol=1e-3)


def test_every_frequency_has_variance_one_before_noise():
    splits = make_splits(n=100)
    diffusion = DiffusionConfig(L=20, steps=2, batch_size=8, hidden=8)
    method = METHODS["frequency_diffusion"]()
    model = train_stack(
        [method], [splits], [("tiny", 0)], "lstm", ModelConfig(), [TrainConfig(steps=1)], [diffusion]
    ).model
    y = method.codes(model, torch.from_numpy(splits.train)[None]).mean
    torch.testing.assert_close(model.latent_scale, y.std(dim=1, correction=0), rtol=1e-4, atol=1e-5)
    assert model.latent_scale[0, 0] > 2 * model.latent_scale[0, -1]  # the level of a series, beside its last wave


# ---------------------------------------------------------------- TimeVAE


def test_the_elbo_of_time_vae_is_that_of_its_two_parts():
    model, method = built("time_vae")
    x = draws().normal(6, T, C)
    model.fit_marginal(list(x))
    terms = method.objective(model.train(), x, Step(0, 10), draws("objective"))
    mean, log_sigma = model.encoder(x).chunk(2, dim=-1)
    kl = 0.5 * (mean**2 + torch.exp(2 * log_sigma) - 1 - 2 * log_sigma).sum(dim=-1).mean(dim=-1)
    torch.testing.assert_close(terms["kl"], kl)
    z = mean + log_sigma.exp() * draws("objective").normal(6, 4)
    residual = x - model.decoder(z, x[:, :, :-1]).mean
    variance = residual.square().mean(dim=(1, 2))  # the scale is that of the batch's residuals, per channel
    density = -0.5 * T * (torch.log(2 * math.pi * variance) + 1).sum(dim=-1)
    _, width = model.decoder.head.cells.cell(x)  # a likelihood is the probability of a cell
    nll = -density - width.expand_as(x).log().sum(dim=(-2, -1)).mean(dim=-1)
    torch.testing.assert_close(terms["reconstruction"], nll, rtol=1e-3, atol=0)


def test_the_decoder_of_time_vae_adds_a_trend_a_seasonality_and_a_residual():
    model, _ = built("time_vae")
    decoder: DecomposedDecoder = model.decoder
    z = draws().normal(5, 4)
    trend, season, residual = decoder.parts(z)
    assert trend.shape == season.shape == residual.shape == (1, 5, T, 8)
    torch.testing.assert_close(model.decoder.states(z, torch.zeros(1, 5, T - 1, C)), trend + season + residual)
    powers = polynomials(T, 3).float()
    torch.testing.assert_close(powers @ (powers.mT @ trend), trend, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(season.mean(dim=-2), torch.zeros(1, 5, 8), rtol=0, atol=1e-5)
    assert min(part.abs().max() for part in (trend, season, residual)) > 0.01
    # a cubic and a wave are within its reach, with a silent residual
    n = decoder.trend_size
    target, basis = (1 - t + 0.1 * t**3 + torch.cos(2 * math.pi * 3 * t / T))[:, None], decoder.basis.double().mT
    torch.testing.assert_close(basis @ (torch.linalg.pinv(basis, rtol=1e-5) @ target), target, rtol=1e-4, atol=1e-3)
    assert n == 4


def test_the_past_says_nothing_to_time_vae():
    model, _ = built("time_vae")
    z, past = draws().normal(5, 4), draws("past").normal(5, T - 1, C)
    assert torch.equal(model.decoder.states(z, past), model.decoder.states(z, 0 * past))


@pytest.mark.parametrize("name", ["time_vae", "latent_ode"])
def test_a_vae_draws_from_its_prior_and_has_the_updates_of_both_stages(name):
    splits, scope, config = make_splits(), Scope("tiny", 0), EvaluateConfig(n_samples=8)
    diffusion = DiffusionConfig(L=20, steps=30, batch_size=8, hidden=8)
    small = ModelConfig(hidden=8, latent=4)
    trained = train_stack(
        [METHODS[name]()], [splits], [("tiny", 0)], "lstm", small, [TrainConfig(steps=5)], [diffusion]
    )
    model, method = trained.model.eval(), trained.method
    assert trained.stages["autoencoder"].updates == [35]
    assert trained.stages["denoiser"].updates == [0]
    assert torch.equal(method.latents(model, 9, draws("z")), draws("z").normal(9, 4))
    samples = draw_samples(model, method, splits, config, scope)
    rows = score_run(model, method, splits, samples, config, scope)
    states = {row["metric"]: row["status"] for row in rows}
    assert {states[name] for name in ("kl", "active_units", "nll_own", "sliced_wasserstein")} == {"ok"}
    assert not [row for row in rows if row["status"] == "failed"]


def test_the_predicted_seconds_of_time_vae_are_those_of_both_stages(tmp_path, monkeypatch):
    timed = []
    monkeypatch.setattr(trials, "time_updates", lambda *given: timed.append(time_updates(*given)) or timed[-1])
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "datasets: [{name: sines, series: 60}]\nmethods: [time_vae]\nseeds: 1\nmodel: {hidden: 4, latent: 2}\n"
        "train: {steps: 50, batch_size: 4}\ndiffusion: {L: 10, steps: 80, batch_size: 4, hidden: 4}\n"
        "evaluate: {n_samples: 8, metrics: [kl], during_training: 1}\n"
    )
    found = trials.try_runs(read_sweep(path).runs, None, torch.device("cpu"))
    assert found.notes == ()
    (row,) = found.of("method").to_dict("records")
    assert row["train_seconds"] == pytest.approx(130 * timed[0].autoencoder)
    assert row["denoiser_seconds"] == 0


# ---------------------------------------------------------------- latent ODE


def test_a_runge_kutta_step_is_of_fourth_order():
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    end = torch.tensor([math.cos(2), math.sin(2)], dtype=torch.float64)  # after a time of 2

    def error(steps: int) -> float:
        z = torch.tensor([1.0, 0.0], dtype=torch.float64)
        for _ in range(steps):
            z = runge_kutta(lambda z: turn @ z, z, 2 / steps)
        return float((z - end).norm())

    assert error(10) < 1e-4
    assert math.log2(error(10) / error(20)) == pytest.approx(4, abs=0.1)


def test_the_path_of_a_latent_ode_is_that_of_one_velocity_that_knows_no_time():
    model, _ = built("latent_ode")
    decoder: OdeDecoder = model.decoder
    for weights in decoder.velocity.parameters():
        weights.data *= 3  # a path that bends
    z = draws().normal(5, 4)
    path = decoder.path(z)
    assert path.shape == (1, 5, T, 4)
    assert torch.equal(path[..., 0, :], z)
    assert (path[..., -1, :] - z).abs().max() > 0.1
    torch.testing.assert_close(decoder.path(path[..., 3, :])[..., : T - 3, :], path[..., 3:, :])  # begun anew at t = 4
    finer = z
    for _ in range(10 * (T - 1)):
        finer = runge_kutta(decoder.f, finer, 1 / (10 * T))
    torch.testing.assert_close(path[..., -1, :], finer, rtol=1e-4, atol=1e-4)  # the steps are fine enough
    past = draws("past").normal(5, T - 1, C)
    h = decoder.states(z, past)
    assert torch.equal(h, decoder.states(z, 0 * past))
    torch.testing.assert_close(h[..., 7, :], linear(path[..., 7, :], decoder.output.weight, decoder.output.bias))


def test_the_terms_of_a_latent_ode_are_an_elbo_and_its_samples_begin_at_the_prior():
    model, method = built("latent_ode")
    x = draws().normal(6, T, C)
    model.fit_marginal(list(x))
    terms = method.objective(model.train(), x, Step(0, 10), draws("objective"))
    q = GaussianPosterior.from_encoder(model.encoder(x))
    torch.testing.assert_close(terms["kl"], q.kl().sum(dim=-1).mean(dim=-1))
    z = q.rsample(draws("objective"))
    nll = -fitted(model.decoder(z, x[:, :, :-1]), x).log_prob(x).mean(dim=-1)
    torch.testing.assert_close(terms["reconstruction"], nll)
    stream = draws("samples")
    z = stream.normal(9, 4)
    assert torch.equal(method.sample(model.eval(), 9, draws("samples")), model.decoder.generate(z, stream))


def test_the_denoiser_of_a_standard_normal_keeps_it():
    denoiser, alpha_bar = StandardNormalDenoiser(3, FINE), linear_schedule(FINE)
    model = SimpleNamespace(
        denoiser=denoiser,
        alpha_bar=alpha_bar,
        latent=3,
        sampler="ddpm",
        sampling_steps=0,
        latent_mean=torch.zeros(1, 3),
        latent_scale=torch.ones(1, 3),
    )
    drawn = reverse_diffusion(model, 20_000, draws())[0]
    assert (torch.cov(drawn.T) - torch.eye(3)).abs().max() < 0.05
    z, noise = draws("z").normal(50_000, 3), draws("noise").normal(50_000, 3)
    i = torch.full((1, 50_000), 96)
    noisy = diffuse(z, i, alpha_bar, noise)
    left = (noise - denoiser(noisy, i)) * noisy  # the best guess leaves what is not correlated with z^i
    assert left.mean().abs() < 0.01


# ---------------------------------------------------------------- what they are


@pytest.mark.parametrize(("name", "card"), [("data_diffusion", "55,456"), ("latent_diffusion", "78,736")])
def test_the_card_of_diffusion_in_data_space_says_how_many_weights_there_are(name, card):
    """The sizes at T = 24, 6 channels and the defaults: its own, and those of the denoiser of a latent."""
    model = StackedModel(1, (24, 6), METHODS[name](), "lstm", ModelConfig(), DiffusionConfig())
    assert f"{sum(weights.numel() for weights in model.denoiser.parameters()):,}" == card
    assert card in METHODS["data_diffusion"].__doc__


OTHER = {
    **{"train.batch_size": 9, "train.learning_rate": 0.5, "train.clip_norm": 0.01, "train.select": "best_validation"},
    **{"train.patience": 5, "train.tolerance": 9.0, "train.warm_up": 7, "train.schedule_steps": 5},
    **{"train.weight_decay": 0.5, "train.ema": 0.9, "diffusion.batch_size": 9, "diffusion.hidden": 24},
    **{"train.fall_from": "best", "diffusion.learning_rate": 0.5},
    **{"diffusion.sampler": "ddim", "diffusion.sampling_steps": 5, "diffusion.block": "film", "diffusion.blocks": 2},
    **{"diffusion.predicts": "v", "diffusion.weighting": "min_snr", "diffusion.dropout": 0.5, "diffusion.ema": 0.9},
    **{"diffusion.weight_decay": 0.5, "diffusion.patience": 5, "diffusion.tolerance": 9.0, "diffusion.warm_up": 7},
    **{"model.hidden": 9, "model.latent": 3, "model.layers": 2, "model.likelihood": "mixed", "model.sigma_min": 0.5},
    **{"model.components": 3, "model.bins": 9, "model.channels": "autoregressive", "model.dropout": 0.5},
    **{"model.marks": True},
}


@pytest.mark.parametrize("method", [name for name in METHODS if METHODS[name].without_effect])
def test_options_without_effect_change_no_sample(method):
    """All of them at once, for every method that names some."""
    drawn = []
    for given in ({}, {key: OTHER[key] for key in METHODS[method].without_effect}):
        blocks = {"train": TrainConfig(steps=12, batch_size=8), "diffusion": DiffusionConfig(L=20, steps=12, hidden=8)}
        blocks["model"] = ModelConfig(hidden=8, latent=4)
        for key, value in given.items():
            block, _, name = key.partition(".")
            blocks[block] = dataclasses.replace(blocks[block], **{name: value})
        keys, budgets = [("tiny", 0)], ([blocks["train"]], [blocks["diffusion"]])
        given_method = METHODS[method](**FEW.get(method, {}))
        trained = train_stack([given_method], [make_splits(seed=0)], keys, "lstm", blocks["model"], *budgets)
        drawn.append(trained.method.sample(trained.model.eval(), 5, draws("samples")))
    assert torch.equal(*drawn)


@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("data_diffusion", "train.patience"),
        ("frequency_diffusion", "diffusion.block"),
        ("flow_matching", "diffusion.sampler"),
        ("time_vae", "diffusion.patience"),
        ("time_vae", "model.marks"),
        ("latent_ode", "diffusion.ema"),
        ("data_diffusion", "diffusion.dropout"),
        ("diffusion_transformer", "model.hidden"),
    ],
)
def test_an_option_without_effect_is_refused_for_one_method(tmp_path, method, key):
    """The sweep's own block may hold it, for other methods."""
    block, _, name = key.partition(".")
    text = "datasets: [sines]\nseeds: 1\nmethods: [{name: %s%s}]\n%s: {%s: %s}\n"
    value = str(OTHER[key]).lower()
    path = tmp_path / "s.yaml"
    path.write_text(text % (method, "", block, name, value))
    assert len(read_sweep(path).runs) > 1
    for word in (f", set: {{{key}: {value}}}", f", grid: {{{key}: [{value}]}}"):
        path.write_text(text % (method, word, block, name, value))
        with pytest.raises(InputError, match=f"{key}: changes nothing of {method}, expected no such key here"):
            read_sweep(path)


def test_references_are_named_as_such(capsys):
    marked = {name for name in METHODS if METHODS[name].reference}
    in_data_space = {"data_diffusion", "diffusion_transformer", "flow_matching", "frequency_diffusion"}
    assert marked == in_data_space | {"time_vae", "latent_ode"}
    list_main(["methods"])
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines if "[reference]" in line} == marked


def test_a_sentence_that_ranks_a_reference_says_so():
    def said(method: str) -> str:
        return said_name(SimpleNamespace(kind="method", method=method, name=method, interval=lambda _: NOTHING))

    assert said("flow_matching") == "flow_matching [reference generator]"
    assert said("proposed") == "proposed"
    assert said("a_plug_in_that_is_not_loaded") == "a_plug_in_that_is_not_loaded"


def test_sizes_of_a_method_are_enough_for_its_networks():
    """A network of many runs has every parameter once per run."""
    facts = Sizes(2, T, C, 4, 8, 16, L)
    for name in ("diffusion_transformer", "flow_matching"):
        network = METHODS[name]().networks({}, facts)["denoiser"]
        assert all(len(weights) == 2 for weights in network.parameters())


def test_dropout_of_a_method_that_has_none_is_a_reason_to_skip():
    """As every combination that only a built model can refuse: the row is `skipped`, the sweep goes on."""
    config, diffusion = ModelConfig(hidden=8, latent=4, dropout=0.1), DiffusionConfig(L=20, hidden=8)
    with pytest.raises(Unavailable, match=r"model.dropout = 0.1: time_vae on lstm has none, expected 0"):
        StackedModel(1, (7, 2), METHODS["time_vae"](), "lstm", config, diffusion)
