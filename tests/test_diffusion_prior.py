"""A diffusion as the prior: what it charges, and the two methods that train it so."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import make_splits
from test_contract_methods import DIFFUSION, KEYS, MODEL, TRAIN, R, build, terms_of

from bench.contracts import DiffusionConfig, InputError, LatentEvaluation, ModelConfig
from bench.method import stacked
from bench.parts.diffusion import _coefficients, linear_schedule
from bench.parts.diffusion_prior import bound_weights, cross_entropy, least_noise, path_bound
from bench.parts.posteriors import GaussianPosterior
from bench.randomness import Randomness
from bench.registry import METHODS, METRICS
from bench.training.stack import train_stack

BOTH = pytest.mark.parametrize("name", ["unified_latents", "score_prior"])
N, WIDTH = 4000, 3  # series and latent dimensions of the toy


def toy(variance: float, steps: int = 1000, mean: float = 0.0) -> SimpleNamespace:
    """The best denoiser of latents N(mean, variance I); its encoder gives back what it is given."""
    alpha_bar = linear_schedule(steps)

    def denoiser(z, i):
        kept = alpha_bar[i].unsqueeze(-1)
        return (1 - kept).sqrt() * (z - kept.sqrt() * mean) / (kept * variance + 1 - kept)

    return SimpleNamespace(alpha_bar=alpha_bar, denoiser=denoiser, encoder=lambda x: x, latent=WIDTH, runs=1)


def normal(*shape: int, role: str = "toy") -> torch.Tensor:
    return Randomness([("toy", 0)]).draws(role).normal(*shape)


def draws(role: str = "here"):
    return Randomness([("toy", 0)]).draws(role)


def exact_bound(variance: float, first: int, steps: int) -> float:
    """`path_bound` for the best denoiser, per dimension and averaged over latents N(0, variance), in float64."""
    kept = linear_schedule(steps).double()
    error = kept * variance / (kept * variance + 1 - kept)
    end = 0.5 * (kept[-1] * (variance - 1) - (1 - kept[-1]).log())
    return float((bound_weights(kept) * error)[first + 1 :].sum() + end)


def exact_kl(variance: float, first: int, steps: int) -> float:
    """KL(q(z^first | z) || p(z^first)) per dimension with p the law of z^first over latents: a Gaussian channel."""
    kept = float(linear_schedule(steps)[first].double())
    return 0.5 * math.log1p(kept * variance / (1 - kept))


# ---------------------------------------------------------------- the bound


@pytest.mark.parametrize("steps", [20, 1000])
def test_weights_are_the_divergence_of_a_step_of_the_sampler(steps):
    kept = linear_schedule(steps).double()
    b, root, sd = _coefficients("ddpm", kept[2:], kept[1:-1])
    expected = (b / root).square() / (2 * sd.square())  # of two means that differ by b / root times the error
    torch.testing.assert_close(bound_weights(kept)[2:], expected)
    assert (bound_weights(kept)[:2] == 0).all()


@pytest.mark.parametrize("variance", [0.25, 4.0])
def test_the_best_denoiser_charges_the_kl_to_the_law_of_the_latents(variance):
    model = toy(variance)
    first = least_noise(5.0, model.alpha_bar)
    z = math.sqrt(variance) * normal(N, WIDTH)
    found = path_bound(model, z, first, draws())[0].double() / WIDTH
    error = float(found.std()) / math.sqrt(N)
    assert error < 0.05
    assert float(found.mean()) == pytest.approx(exact_bound(variance, int(first), 1000), abs=4 * error)


@pytest.mark.parametrize("variance", [0.25, 1.0, 4.0])
def test_the_bound_is_above_the_kl_and_near_it_with_many_steps(variance):
    gaps = []
    for steps in (100, 1000, 10000):
        first = int(least_noise(5.0, linear_schedule(steps)))
        gaps.append(exact_bound(variance, first, steps) - exact_kl(variance, first, steps))
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert gaps[1] < 0.05
    assert gaps[2] < 0.005


def test_another_denoiser_is_charged_more():
    z = 2 * normal(N, WIDTH)
    first = least_noise(5.0, linear_schedule(1000))
    best, other = (float(path_bound(toy(variance), z, first, draws()).mean()) for variance in (4.0, 1.0))
    assert other > best + 1


@pytest.mark.parametrize("variance", [1.0, 4.0])
def test_the_cross_entropy_is_that_of_the_law_of_the_latents(variance):
    z = math.sqrt(variance) * normal(N, WIDTH)
    found = cross_entropy(toy(variance), z, 10, draws())[0].double() / WIDTH
    exact = 0.5 * math.log(2 * math.pi * math.e * variance)
    assert exact < float(found.mean()) + 0.1
    assert float(found.mean()) == pytest.approx(exact, abs=0.2)


# ---------------------------------------------------------------- both methods


@BOTH
def test_the_rate_reaches_encoder_and_denoiser(name):
    model, method, x = build(name, "lstm")
    terms_of(model, method, x)["rate"].sum().backward()
    for part in (model.encoder, model.denoiser):
        moved = sum(weights.grad.flatten(1).abs().sum(dim=-1) for weights in part.parameters())
        assert (moved > 0).all()
    assert all(weights.grad is None for weights in model.decoder.parameters())


@BOTH
def test_the_objective_trains_the_denoiser_which_then_has_the_rest_of_its_updates(name):
    def train(steps: int, denoiser_steps: int):
        config, diffusion = replace(TRAIN, steps=steps), replace(DIFFUSION, steps=denoiser_steps)
        return train_stack([METHODS[name]()], [make_splits()], KEYS[:1], "lstm", MODEL, [config], [diffusion])

    short, joint, longer = train(1, 1), train(6, 6), train(6, 10)
    assert {row[3] for row in joint.curves.rows if row[2] == "autoencoder"} >= {"reconstruction", "rate"}
    assert not {row[3] for row in joint.curves.rows} & {"denoising", "kl"}
    assert longer.stages["denoiser"].updates == [4]
    before, after, rest = (trained.model.state_of(0) for trained in (short, joint, longer))
    assert not torch.equal(before["denoiser.output.weight"], after["denoiser.output.weight"])
    assert not torch.equal(after["denoiser.output.weight"], rest["denoiser.output.weight"])
    assert torch.equal(after["encoder.output.weight"], rest["encoder.output.weight"])
    assert (rest["latent_mean"] == 0).all()  # the denoiser goes on in the space that it was trained in
    assert (rest["latent_scale"] == 1).all()


# ---------------------------------------------------------------- unified latents


def test_the_encoders_noise_is_fixed_and_each_runs_own():
    levels = (0.0, 2.5, 5.0)
    model, _, x = build("unified_latents", "lstm")
    q = stacked([METHODS["unified_latents"](log_snr=level) for level in levels]).posterior(model, x)
    torch.testing.assert_close(q.log_sigma, q.log_sigma[:, :1, :1].expand_as(q.log_sigma), rtol=0, atol=0)
    assert not q.log_sigma.requires_grad
    kept, schedule = 1 - (2 * q.log_sigma[:, 0, 0]).exp(), model.alpha_bar.logit()
    assert len(set(kept.tolist())) == R
    for run, level in enumerate(levels):
        found = float(kept[run].logit())
        assert found >= level
        assert level > float(schedule[schedule < found - 1e-3].max())  # the next step has more noise than asked for
    torch.testing.assert_close(q.mean, kept.sqrt()[:, None, None] * model.encoder(x))


def test_series_are_decoded_from_latents_with_the_encoders_noise():
    model, method = toy(0.0, mean=2.0), stacked([METHODS["unified_latents"]()])  # every v is 2
    alpha_bar = model.alpha_bar
    model.denoiser = PointDenoiser(alpha_bar, 2.0)
    model.sampler, model.sampling_steps = "ddpm", 0
    model.latent_mean, model.latent_scale = torch.zeros(1, WIDTH), torch.ones(1, WIDTH)
    z = method.latents(model, N, draws())
    kept = float(alpha_bar[least_noise(5.0, alpha_bar)])
    assert z.shape == (1, N, WIDTH)
    assert float(z.mean()) == pytest.approx(2 * math.sqrt(kept), abs=0.01)
    assert float(z.std()) == pytest.approx(math.sqrt(1 - kept), rel=0.03)


class PointDenoiser:
    """The denoiser of latents that are all `point`."""

    def __init__(self, alpha_bar: torch.Tensor, point: float) -> None:
        self._point, self._kept = point, alpha_bar

    def table(self) -> torch.Tensor:
        return self._kept[None, :, None]

    def with_step(self, z: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        return (z - embedded.sqrt() * self._point) / (1 - embedded).sqrt()


def test_the_loss_factor_weighs_the_decoder_alone():
    model, _, x = build("unified_latents", "lstm")
    one, two = (
        stacked([METHODS["unified_latents"](loss_factor=factor)] * R).objective(
            model, x, None, Randomness(KEYS).draws("objective")
        )
        for factor in (1.0, 2.0)
    )
    torch.testing.assert_close(two["reconstruction"], 2 * one["reconstruction"])
    assert torch.equal(one["rate"], two["rate"])


def test_a_prior_with_nothing_to_take_away_is_refused():
    METHODS["unified_latents"](log_snr=-9).check(ModelConfig(), DiffusionConfig())
    with pytest.raises(InputError, match=r"unified_latents.log_snr = -9: expected more"):
        METHODS["unified_latents"](log_snr=-9).check(ModelConfig(), DiffusionConfig(L=2))


# ---------------------------------------------------------------- a score as the prior


@pytest.mark.parametrize("spread", [math.sqrt(0.75), 2.0])
def test_the_rate_is_the_kl_to_the_law_of_the_latents_and_not_to_the_standard_normal(spread):
    mean, log_sigma = spread * normal(N, WIDTH), torch.full((1, N, WIDTH), math.log(0.5))
    method, model = stacked([METHODS["score_prior"]()]), toy(spread**2 + 0.25)
    found = float(method.rate_of(model, torch.cat([mean, log_sigma], dim=-1), draws()).mean()) / WIDTH
    assert found == pytest.approx(0.5 * math.log((spread**2 + 0.25) / 0.25), abs=0.2)
    to_standard_normal = float(GaussianPosterior(mean, log_sigma).kl().mean())
    if spread == 2:
        assert found < to_standard_normal - 0.5
    else:  # the law of the latents is the standard normal
        assert found == pytest.approx(to_standard_normal, abs=0.2)


@BOTH
def test_the_measured_rate_is_that_of_the_objective(name):
    config, diffusion = replace(TRAIN, steps=5), replace(DIFFUSION, steps=5)
    splits = make_splits(n=200)
    model = train_stack([METHODS[name]()], [splits], KEYS[:1], "lstm", MODEL, [config], [diffusion]).model.eval()
    method, x = stacked([METHODS[name]()]), torch.from_numpy(splits.test)
    at = LatentEvaluation(model, method, x, lambda role: Randomness(KEYS[:1]).draws(role))
    (row,) = METRICS["rate"]().measure(at)
    with torch.no_grad():
        terms = [method.objective(model, x[None], None, draws(f"{k}"))["rate"] for k in range(20)]
    assert row.value == pytest.approx(float(torch.cat(terms).mean()), rel=0.1)


def test_the_rate_of_a_vae_is_its_kl_and_a_point_has_none():
    for name in ("latent_diffusion", "kl_free"):
        model, method, x = build(name, "lstm")
        found = method.rate_of(model, x, Randomness(KEYS).draws("rate"))
        if name == "latent_diffusion":
            torch.testing.assert_close(found, method.posterior(model, x).kl().sum(dim=-1))
            assert found.shape == (R, x.shape[1])
        else:
            assert found is None
