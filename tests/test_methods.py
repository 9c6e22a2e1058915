"""Each method does what its name says: one test per idea, which fails where the idea is missing."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import make_splits
from test_contract_methods import DIFFUSION, KEYS, MODEL, B, C, D, L, R, T, build, of, terms_of
from torch.nn import functional

from bench.contracts import DatasetSpec, DiffusionConfig, EvaluateConfig, InputError, ModelConfig, Step, TrainConfig
from bench.early_diffusion import AUTO_M, AUTO_N
from bench.loading.windows import load_splits
from bench.method import stacked
from bench.metrics.dependency import dependency_measures
from bench.models.brenier import BrenierMap
from bench.models.build import StackedModel
from bench.models.denoiser import SeriesDenoiser
from bench.models.head import FollowingHead
from bench.models.stacked import Flat, RowAdam, initialise
from bench.parts.decoder_inputs import HIDDEN, sampled_past
from bench.parts.diffusion import denoising_loss, linear_schedule, reverse_diffusion
from bench.parts.likelihoods import Gaussian, fitted
from bench.parts.objectives import free_bits, info_nce, kernel_mmd, likelihood_contrast, other_series
from bench.parts.posteriors import DeterministicPosterior, GaussianPosterior, mutual_information
from bench.randomness import Randomness
from bench.registry import BACKBONES, METHODS
from bench.scoring.scores import Scope, draw_samples, score_run
from bench.training.device_windows import ValidationSeries
from bench.training.lagging import Lagging
from bench.training.stack import train_stack
from methods.proposed import ceil_of_ratio

BOTH = pytest.mark.parametrize("backbone", BACKBONES)


def objective_of(method, model, x):
    return stacked([method] * R).objective(model, x, Step(5, 10), Randomness(KEYS).draws("objective"))


def draws(role="here"):
    return Randomness(KEYS).draws(role)


# ---------------------------------------------------------------- every objective


STEP = 1e-7  # so small that the strongest frequencies of a seasonality stay the strongest on the way


@BOTH
@pytest.mark.parametrize("name", METHODS)
def test_gradients_agree_with_finite_differences(name, backbone):
    model, method, x = build(name, backbone)
    model, x = model.double(), x.double()
    if name == "sampled_pasts":
        method = replace(method, sampling_rate=0.0)  # no gradient goes through values that were drawn
    for part in model.modules():
        if isinstance(part, FollowingHead):
            part.eval()  # a penalty takes the running scale as it is, and it moves with every reconstruction
    # past the straight-through step of vq the gradient is not that of the objective: its decoder alone
    parts = [model.get_submodule("decoder")] if name == "vq" else model.autoencoder()
    flat = Flat(parts or [model.denoiser])

    def loss():
        return sum(terms_of(model, method, x).values()).sum()

    gradient = flat.gradient(loss())
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        direction = torch.randn(flat.values.shape, generator=generator, dtype=torch.float64)
        ends = []
        for sign in (1, -1):
            flat.values += sign * STEP * direction
            ends.append(loss().item())
            flat.values -= sign * STEP * direction
        slope = (gradient * direction).sum().item()
        assert abs(slope) > 1e-3
        assert (ends[0] - ends[1]) / (2 * STEP) == pytest.approx(slope, rel=1e-4, abs=1e-4)


# ---------------------------------------------------------------- what the decoder sees


def test_variable_masking_hides_its_share_of_whole_steps():
    x = torch.ones(2, 200, 21, 3)
    method = stacked([METHODS["variable_masking"](masking_rate=rate) for rate in (0.3, 0.8)])
    past = method.decoder_input(x, Randomness(KEYS[:2]).draws("mask"))
    assert torch.equal(past.amin(dim=-1), past.amax(dim=-1))  # all channels of a step together
    assert (past == HIDDEN).float().mean(dim=(1, 2, 3)).tolist() == pytest.approx([0.3, 0.8], abs=0.03)
    assert METHODS["variable_masking"]().masking_rate == 0.3


def test_sampled_pasts_are_draws_of_the_model_given_the_true_past_and_constants_to_the_gradient(monkeypatch):
    """At the end of the rise; at its beginning the objective is that of vanilla latent diffusion."""
    model, _, x = build("sampled_pasts", "lstm")
    method = stacked([METHODS["sampled_pasts"](sampling_rate=rate) for rate in (0.0, 0.4, 1.0)])
    model.eval()  # the scale of what is drawn stays as it is
    seen = []
    decoder = model.decoder.forward
    monkeypatch.setattr(model.decoder, "forward", lambda z, past: seen.append((z, past)) or decoder(z, past))
    terms = method.objective(model, x, Step(9, 10), draws("objective"))
    (z, true), (again, past) = seen
    assert torch.equal(z, again)
    assert torch.equal(true, x[:, :, :-1])
    assert not past.requires_grad
    stream = draws("objective")
    stream.normal(B, D)  # of z
    stream.uniform(B, T - 1, 1)  # of the mask
    with torch.no_grad():
        predicted = decoder(z, true).sample(stream)
    assert torch.equal(past[0], true[0])
    assert torch.equal(past[2], predicted[2, :, :-1])
    replaced = stream.uniform(B, T - 1, 1)[1] < 0.4
    assert torch.equal(past[1], torch.where(replaced, predicted[1, :, :-1], true[1]))
    # the target stays the true series
    torch.testing.assert_close(terms["reconstruction"], -fitted(decoder(z, past), x).log_prob(x).mean(dim=-1))

    first = method.objective(model, x, Step(0, 10), draws("objective"))
    vanilla = METHODS["latent_diffusion"]().objective(model, x, Step(0, 10), draws("objective"))
    assert all(torch.equal(first[name], value) for name, value in vanilla.items())


def test_a_share_of_whole_steps_is_sampled_and_a_hidden_step_stays_hidden():
    past, predicted = torch.zeros(2, 400, 20, 3), torch.ones(2, 400, 21, 3)
    past[:, :, 4] = HIDDEN
    found = sampled_past(past, predicted, torch.tensor([0.3, 0.8]), Randomness(KEYS[:2]).draws("share"))
    assert (found[:, :, 4] == HIDDEN).all()
    seen = found[:, :, torch.arange(20) != 4]
    assert torch.equal(seen.amin(dim=-1), seen.amax(dim=-1))  # all channels of a step together
    assert seen.mean(dim=(1, 2, 3)).tolist() == pytest.approx([0.3, 0.8], abs=0.02)


@BOTH
@pytest.mark.parametrize(
    ("preset", "options"),
    [("variable_masking", {"masking_rate": 0.3}), ("skip_connections", {"latent_route": "every_step"})],
)
def test_presets_only_set_options(preset, options, backbone):
    model, _, x = build(preset, backbone)
    found = objective_of(METHODS[preset](), model, x)
    for vanilla, same in ((METHODS["latent_diffusion"](**options), True), (METHODS["latent_diffusion"](), False)):
        expected = StackedModel(R, (T, C), stacked([vanilla] * R), backbone, MODEL, DIFFUSION)
        initialise(expected, Randomness(KEYS))
        terms = objective_of(vanilla, expected, x)
        assert torch.equal(found["reconstruction"], terms["reconstruction"]) == same
        assert torch.equal(found["kl"], terms["kl"])


@BOTH
def test_kl_free_is_proposed_without_its_penalty_with_skip_and_masking(backbone):
    preset = METHODS["kl_free"](N=2)
    same = METHODS["proposed"](N=2, M=18, collapse_penalty="none", latent_route="every_step", masking_rate=0.3)
    model, _, x = build("kl_free", backbone)
    assert torch.equal(objective_of(preset, model, x)["variational"], objective_of(same, model, x)["variational"])


@BOTH
def test_no_latent_ignores_the_latent(backbone):
    model, method, x = build("no_latent", backbone)
    with torch.no_grad():
        z = method.posterior(model, x).rsample(draws())
        past = x[:, :, :-1]
        own = model.decoder(z, past).log_prob(x)
        assert torch.equal(own, model.decoder(z.roll(1, dims=1), past).log_prob(x))
        assert torch.equal(method.decoder_input(x, draws()), past)
        found = dependency_measures(model.decoder.single(0), z[0], past[0])
    assert (found.global_[:, 1:] == 0).all()  # h_1 depends on nothing: 0 / 0
    assert found.unresolved == B


@BOTH
def test_feed_forward_ignores_the_past(backbone):
    model, method, x = build("feed_forward", backbone)
    with torch.no_grad():
        z = method.posterior(model, x).mean
        one, other = (model.decoder(z, past).log_prob(x) for past in (x[:, :, :-1], 9 * x[:, :, :-1]))
        assert torch.equal(one, other)
        assert not torch.equal(one, model.decoder(z + 1, x[:, :, :-1]).log_prob(x))
        found = dependency_measures(model.decoder.single(0), z[0], x[0, :, :-1])
        drawn = model.decoder.generate(z, draws())
        expected = model.decoder(z, torch.zeros_like(x[:, :, :-1])).sample(draws())
    torch.testing.assert_close(found.global_, torch.ones(B, T), rtol=0, atol=1e-2)
    assert torch.equal(drawn, expected)


@BOTH
def test_inverse_lipschitz_keeps_latents_apart(backbone):
    bounds = [0.5, 1.0, 3.0]
    method = stacked([METHODS["inverse_lipschitz"](lipschitz=bound) for bound in bounds])
    model = StackedModel(R, (T, C), method, backbone, MODEL, DIFFUSION)
    initialise(model, Randomness(KEYS))
    latent_map = model.decoder.latent_map
    with torch.no_grad():
        for weights in latent_map.parameters():
            weights.mul_(5)  # far from where it began
        z, other = draws("a").normal(2000, D), draws("b").normal(2000, D)
        ratio = (latent_map(z) - latent_map(other)).norm(dim=-1) / (z - other).norm(dim=-1)
        assert (ratio.amin(dim=-1) >= torch.tensor(bounds) * (1 - 1e-5)).all()
        x = draws("x").normal(B, T, C)
        z = z[:, :B]
        through = model.decoder.inner.states(latent_map(z), x[:, :, :-1])
        assert torch.equal(model.decoder.states(z, x[:, :, :-1]), through)
        found = dependency_measures(model.decoder.single(1), z[1], x[1, :, :-1])
    assert found.unresolved <= B  # and the measures go through the map


def test_the_brenier_map_is_a_gradient():
    latent_map = BrenierMap(1, 3, 6, 0.7)
    initialise(latent_map, Randomness([("map", 0)]))
    latent_map = latent_map.double()
    jacobian = torch.func.jacrev(latent_map.single(0))(torch.tensor([[0.3, -1.0, 0.5]], dtype=torch.float64))[0, :, 0]
    torch.testing.assert_close(jacobian, jacobian.T)
    assert torch.linalg.eigvalsh(jacobian).min() > 0.7
    assert not torch.allclose(jacobian, 0.7 * torch.eye(3, dtype=torch.float64), atol=1e-3)


# ---------------------------------------------------------------- the KL and what stands in its place


def test_free_bits_pass_no_gradient_below_the_floor():
    mean = torch.tensor([[[0.1, 2.0]]], requires_grad=True)  # KL .005 and 2 nats
    q = GaussianPosterior(mean, torch.zeros(1, 1, 2))
    paid = free_bits(q, 0.25)
    paid.sum().backward()
    assert paid.item() == pytest.approx(0.25 + 2.0)
    assert mean.grad.flatten().tolist() == pytest.approx([0.0, 2.0])
    model, _, x = build("free_bits", "lstm")
    huge = objective_of(METHODS["free_bits"](floor=50.0), model, x)["kl"]
    assert huge.tolist() == pytest.approx([50.0 * D] * R)


def test_beta_weighs_the_kl():
    model, _, x = build("beta_vae", "lstm")
    whole = objective_of(METHODS["latent_diffusion"](), model, x)
    for beta in (0.0, 0.3, 1.0):
        found = objective_of(METHODS["beta_vae"](beta=beta), model, x)
        assert torch.equal(found["reconstruction"], whole["reconstruction"])
        torch.testing.assert_close(found["kl"], beta * whole["kl"])


def test_annealing_weights_at_given_steps():
    linear = METHODS["kl_annealing"](warm_up=0.5)
    assert [float(linear.weight(Step(k, 100))) for k in (0, 25, 50, 80)] == pytest.approx([0, 0.5, 1, 1])
    cyclical = METHODS["kl_annealing"](schedule="cyclical")
    assert [float(cyclical.weight(Step(k, 80))) for k in (0, 5, 10, 19, 20, 25, 70)] == pytest.approx(
        [0, 0.5, 1, 1, 0, 0.5, 1]
    )


@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0])
def test_delta_vae_commits_its_rate(scale):
    rates = [0.1, 2.0, 20.0]
    method = stacked([METHODS["delta_vae"](rate=rate) for rate in rates])
    model, _, x = build("delta_vae", "lstm")
    with torch.no_grad():
        for weights in model.encoder.output.parameters():
            weights.mul_(scale)
        model.encoder.output.bias[:, D:] -= 30 * (scale == 0)  # sigma at its bound, mean 0: the least it can spend
        kl = method.posterior(model, x).kl().sum(dim=-1)
    assert (kl >= torch.tensor(rates)[:, None] * (1 - 1e-4)).all()
    if scale == 0:
        torch.testing.assert_close(
            kl.mean(dim=-1),
            torch.tensor(rates) + 0.5 * model.encoder.output.bias[:, :D].square().sum(-1),
            rtol=1e-3,
            atol=1e-3,
        )


@pytest.mark.parametrize("scale", [1e-2, 1.0, 100.0])
def test_bn_vae_bounds_the_mean_kl_from_below(scale):
    gammas = [0.25, 0.5, 2.0]
    method = stacked([METHODS["bn_vae"](gamma=gamma) for gamma in gammas])
    model, _, x = build("bn_vae", "lstm")
    x = draws("many").normal(200, T, C)
    with torch.no_grad():
        model.encoder.output.weight.mul_(scale)
        for _ in range(300):  # until the running statistics are the data's
            q = method.posterior(model, x)
        bound = D * torch.tensor(gammas).square() / 2
        kl = q.kl().sum(dim=-1).mean(dim=-1)
        assert (kl >= bound * 0.999).all()
        torch.testing.assert_close(q.mean.var(dim=1, correction=0).mean(-1), 2 * bound / D, rtol=1e-2, atol=0)
        model.eval()
        everyone, one = method.posterior(model, x).mean, method.posterior(model, x[:, :1]).mean
    torch.testing.assert_close(everyone[:, :1], one, rtol=1e-4, atol=1e-4)  # no series' code depends on its batch
    torch.testing.assert_close(everyone, q.mean, rtol=2e-2, atol=2e-2)  # the running statistics are the data's


def test_info_vae_is_its_formula_with_both_signs():
    model, _, x = build("info_vae", "lstm")
    method = stacked(
        [METHODS["info_vae"](alpha=alpha, lambda_=lam) for alpha, lam in ((0.0, 1000.0), (0.4, 3.0), (-1.0, 5.0))]
    )
    with torch.no_grad():
        found = method.objective(model, x, Step(5, 10), draws("objective"))
        stream = draws("objective")
        q = method.posterior(model, x)
        z = q.rsample(stream)
        method.decoder_input(x, stream)
        prior = stream.normal(B, D)
    for run, (alpha, lam) in enumerate(((0.0, 1000.0), (0.4, 3.0), (-1.0, 5.0))):
        a, b = z[run].double().numpy(), prior[run].double().numpy()

        def kernel(one, two):
            return np.exp(-((one[:, None] - two[None]) ** 2).sum(-1) / D)

        apart = ~np.eye(B, dtype=bool)
        mmd = kernel(a, a)[apart].mean() + kernel(b, b)[apart].mean() - 2 * kernel(a, b).mean()
        kl = q.kl()[run].sum(-1).mean().item()
        assert found["mmd"][run].item() == pytest.approx((alpha + lam - 1) * mmd, rel=1e-4)
        assert found["kl"][run].item() == pytest.approx((1 - alpha) * kl, rel=1e-5)
    with pytest.raises(InputError, match=r"info_vae.lambda_ = 0.5: expected at least 1 - alpha = 1"):
        METHODS["info_vae"](alpha=0.0, lambda_=0.5).check(ModelConfig(), DiffusionConfig())


@pytest.mark.slow
def test_info_vae_keeps_more_of_a_latent_than_vanilla():
    """On series that have a level and a shape of their own, at equal updates; its MMD^2 is no noise of whole nats."""
    spec = DatasetSpec("regimes", (("series", 600),))
    splits, config = load_splits(spec, 0, None), ModelConfig(hidden=32, latent=4)
    x, found = torch.from_numpy(splits.validation)[None], {}
    for name in ("latent_diffusion", "info_vae"):
        budget = [TrainConfig(steps=500)], [DiffusionConfig(steps=1, hidden=8)]
        trained = train_stack([METHODS[name]()], [splits], [(spec.key, 0)], "lstm", config, *budget)
        with torch.no_grad():
            q = trained.method.posterior(trained.model, x)
            found[name] = mutual_information(q, Randomness([(spec.key, 0)]).draws("z")).item()
    assert found["info_vae"] > found["latent_diffusion"] + 0.5
    stream, method = Randomness([("mmd", seed) for seed in range(200)]).draws("z"), METHODS["info_vae"]()
    weight = method.alpha + method.lambda_ - 1
    assert weight * kernel_mmd(stream.normal(64, 16), stream.normal(64, 16)).std() < 0.25  # nats


@pytest.mark.slow
def test_latent_reconstruction_keeps_a_latent_alive_where_the_elbo_alone_does_not():
    """The information that the decoder of the sweep `quick` takes from z; alpha 0 is `skip_connections`."""
    spec = DatasetSpec("regimes", (("channels", 2), ("series", 2000), ("window", 12)))
    model = ModelConfig(hidden=48, latent=4, likelihood="mixed", channels="autoregressive", marks=True)
    budget = [TrainConfig(steps=600, learning_rate=0.006, warm_up=50)], [DiffusionConfig(steps=1, hidden=8)]
    splits, found = load_splits(spec, 0, None), []
    for alpha in (0.0, 3.0):
        method = METHODS["latent_reconstruction"](alpha=alpha)
        trained = train_stack([method], [splits], [(spec.key, 0)], "lstm", model, *budget)
        scope = Scope(spec.key, 0), ["latent_information"]
        with torch.no_grad():
            rows = score_run(trained.model, trained.method, splits, splits.train[:50], EvaluateConfig(), *scope)
        found += [row["value"] for row in rows if row["metric"] == "latent_information" and not row["coordinate"]]
    assert found[0] < 0.1
    assert found[1] > 0.5


def test_mutual_information_pays_for_information_and_no_more_than_ln_b():
    assert info_nce(torch.zeros(1, B, B)).item() == pytest.approx(0, abs=1e-6)  # knows nothing
    assert info_nce(100 * torch.eye(B)[None]).item() == pytest.approx(math.log(B), abs=1e-5)  # knows all
    model, _, x = build("mutual_information", "lstm")
    plain, paid = (objective_of(METHODS["mutual_information"](alpha=alpha), model, x) for alpha in (0.0, 2.0))
    assert plain["information"].abs().max() == 0
    flat = Flat([model.get_submodule("critic")])
    before = paid["information"].sum()
    flat.values -= 0.05 * flat.gradient(before)
    assert objective_of(METHODS["mutual_information"](alpha=2.0), model, x)["information"].sum() < before
    spread, same = torch.eye(B)[None] * 20, torch.zeros(1, B, B)
    q_of = [GaussianPosterior(mean, torch.zeros(1, B, B)) for mean in (spread, same)]
    informed, collapsed = (mutual_information(q, Randomness(KEYS[:1]).draws("q")).item() for q in q_of)
    assert informed == pytest.approx(math.log(B), abs=1e-3)
    assert collapsed == pytest.approx(0, abs=1e-4)


def test_latent_reconstruction_encodes_what_was_decoded():
    model, _, x = build("latent_reconstruction", "lstm")
    model.eval()
    method = stacked([METHODS["latent_reconstruction"](alpha=alpha, warm_up=0.5) for alpha in (0.0, 1.0, 3.0)])
    found = method.objective(model, x, Step(2, 10), draws("objective"))
    stream = draws("objective")
    mean, log_sigma = model.encoder(x).chunk(2, dim=-1)
    z = mean + log_sigma.exp() * stream.normal(B, D)
    again = model.encoder(model.decoder(z, x[:, :, :-1]).mean)[..., :D]
    distance = ((again - z) ** 2).sum(dim=-1).mean(dim=-1) / 2
    torch.testing.assert_close(found["latent_reconstruction"], 0.4 * torch.tensor([0.0, 1.0, 3.0]) * distance)
    vanilla = METHODS["latent_diffusion"]().objective(model, x, Step(2, 10), draws("objective"))
    assert all(torch.equal(found[name], value) for name, value in vanilla.items())


def test_latent_reconstruction_rewards_a_decoder_that_keeps_latents_apart_and_an_encoder_that_undoes_it():
    """One latent dimension, x_tc = a z at every step, mu(x) = b times the mean of x: the distance is (a b - 1)^2."""
    method = METHODS["latent_reconstruction"](alpha=1.0)

    def distance(a: float, b: float) -> float:
        def encoder(x):
            mean = b * x.mean(dim=(-2, -1), keepdim=True)[..., 0]
            return torch.cat([mean, torch.zeros_like(mean)], dim=-1)

        def decoder(z, past):
            return Gaussian((a * z).unsqueeze(-1).expand(-1, -1, T, C), torch.ones(1))

        model = SimpleNamespace(encoder=encoder, decoder=decoder, latent=1)
        x = torch.zeros(1, 4000, T, C)  # all the same, so that q is N(0, 1) and z is noise that only x^ can tell
        terms = method.objective(model, x, Step(10, 10), Randomness(KEYS[:1]).draws("objective"))
        return float(terms["latent_reconstruction"])

    for a, b in ((0.0, 1.0), (1.0, 0.0), (0.5, 1.0), (1.0, 1.0), (4.0, 0.25), (2.0, 1.0)):
        assert distance(a, b) == pytest.approx((a * b - 1) ** 2 / 2, rel=0.1, abs=1e-6)


def test_vq_decodes_codes_and_passes_the_gradient_straight_through():
    model, method, x = build("vq", "lstm")
    book = model.get_submodule("codebook")
    codes = method.posterior(model, x).mean
    sampled = method.latents(model, 9, draws("latents"))
    groups = METHODS["vq"]().groups
    for values in (codes, sampled):
        parts = values.detach().unflatten(-1, (groups, -1))
        distance = (parts.unsqueeze(3) - book.codes.detach().unsqueeze(1)).abs().sum(-1).amin(-1)
        assert distance.max() == 0
    v = DeterministicPosterior.normalised(model.encoder(x)).mean
    index = book.nearest(v)
    nearest = ((v.unflatten(-1, (groups, 1, -1)) - book.codes.unsqueeze(1)) ** 2).sum(-1).amin(-1)
    chosen = ((v - book.look_up(index)) ** 2).unflatten(-1, (groups, -1)).sum(-1)
    torch.testing.assert_close(chosen, nearest)

    of_terms = {}
    for term, value in terms_of(model, method, x).items():
        parts = (model.encoder.output.weight, book.codes)
        of_terms[term] = [
            g is not None and bool(g.abs().sum() > 0)
            for g in torch.autograd.grad(value.sum(), parts, retain_graph=True, allow_unused=True)
        ]
    assert of_terms == {"reconstruction": [True, False], "codebook": [False, True], "commitment": [True, False]}


# ---------------------------------------------------------------- lagging inference


def lagging_of(updates=30):
    method = stacked([METHODS["lagging_inference"](encoder_updates=updates)] * R)
    model = StackedModel(R, (T, C), method, "lstm", MODEL, DIFFUSION)
    randomness = Randomness(KEYS)
    initialise(model, randomness)
    flat = Flat(model.autoencoder())
    return Lagging(flat, model, method, stacked([TrainConfig()] * R), randomness), model, flat


def test_lagging_inference_moves_only_the_encoder_in_its_inner_loop():
    lagging, model, flat = lagging_of()
    before, width = flat.values.clone(), sum(weights[0].numel() for weights in model.encoder.parameters())
    calls = []

    def terms(step, order, stream):
        calls.append(step)
        return {
            "loss": sum(
                (weights - 1).square().sum(dim=tuple(range(1, weights.ndim)))
                for part in model.autoencoder()
                for weights in part.parameters()
            )
        }

    lagging.catch_up(Step(7, 10), terms, torch.tensor([True, True, False]))
    moved = flat.values != before
    assert moved[:2, :width].any(dim=-1).all()
    assert not moved[:, width:].any()  # the decoder waits
    assert not moved[2].any()  # and so does a run that is not active
    assert calls == [Step(7, 10)] * 30  # the loss fell all the time: every update that is allowed


def test_after_the_inner_loop_the_decoder_moves_alone_until_the_run_has_left_it():
    lagging, model, flat = lagging_of()
    before, width = flat.values.clone(), sum(weights[0].numel() for weights in model.encoder.parameters())
    lagging.running[1] = False
    moved = lagging.step(torch.ones_like(flat.values), torch.tensor([True, True, False]))
    assert moved.tolist() == [True, True, False]
    changed = flat.values != before
    assert not changed[0, :width].any()
    assert changed[0, width:].all()
    assert changed[1].all()  # like any other run
    assert not changed[2].any()


def test_the_inner_loop_stops_per_run_when_its_loss_stops_falling():
    lagging, model, flat = lagging_of(100)
    before_update = []

    def terms(step, order, stream):
        count = len(before_update)
        before_update.append(flat.values.clone())
        weights = model.encoder.output.bias.sum(dim=-1)
        return {"loss": weights - weights.detach() + torch.tensor([-count, count, -min(count, 25)])}

    lagging.catch_up(Step(0, 10), terms, torch.ones(R, dtype=torch.bool))
    moves = [[not torch.equal(*pair) for pair in itertools.pairwise(run)] for run in zip(*before_update, strict=True)]
    assert [sum(run) for run in moves] == [99, 20, 50]  # falls for ever (100, the last unseen), never, until update 25
    assert all(run == sorted(run, reverse=True) for run in moves)  # who has stopped stays


def test_lagging_ends_for_good_when_the_mutual_information_does_not_rise():
    lagging, model, _ = lagging_of()
    x = draws("validation").normal(30, T, C)
    lagging.check(ValidationSeries(x, [x.shape[1]] * R))
    assert lagging.running.all()
    with torch.no_grad():
        model.encoder.output.weight[0].zero_()  # run 0 collapses
        model.encoder.output.weight[1, :D].mul_(20)  # run 1 says more
        model.encoder.output.weight[2, :D].mul_(20)
    lagging.check(ValidationSeries(x, [x.shape[1]] * R))
    assert lagging.running.tolist() == [False, True, True]
    calls = []
    lagging.catch_up(Step(0, 10), lambda *given: calls.append(1), torch.tensor([True, False, False]))
    assert calls == []


# ---------------------------------------------------------------- early diffusion


@pytest.mark.parametrize("name", ["proposed", "kl_free"])
def test_penalties_of_other_series_are_their_formulas(name):
    model, _, x = build("proposed", "lstm")
    model.marginal_sigma.fill_(10)  # F so low that the relu is open
    shared = {"N": 0, "latent_route": "first", "masking_rate": 0.0}  # N = 0: z^i is v itself
    method = METHODS[name](**shared, **({"M": 18} if name == "proposed" else {}))
    past = x[:, :, :-1]
    with torch.no_grad():
        v = stacked([method] * R).posterior(model, x).mean
        model.eval()  # the running scale of the decoder stays as it is
        own = model.decoder(v, past).log_prob(x)
        plain = objective_of(replace(method, collapse_penalty="none"), model, x)
        best = fitted(model.decoder(v, past), x).log_prob(x)
        torch.testing.assert_close(plain["variational"], -best.mean(dim=-1))
        stream = draws("objective")
        stream.uniform(B, T - 1, 1)  # the mask
        stream.steps(0, 0, B)  # i
        stream.normal(B, D)
        if name == "proposed":  # draws k and its noise whatever the penalty is
            stream.steps(18, L, B)
            stream.normal(B, D)
        other = other_series(B, stream)
        assert (other != torch.arange(B)).all()
        assert torch.equal(other.sort(dim=-1).values, torch.arange(B).expand(R, B))
        moved = torch.stack([v[run, other[run]] for run in range(R)])
        theirs = model.decoder(moved, past).log_prob(x)
        expected = {
            "permuted": (theirs - model.marginal_log_prob(x)).relu().mean(dim=-1),
            "contrast": (T * functional.softplus((theirs - own) / T)).mean(dim=-1),
        }
        for form, value in expected.items():
            assert (value > 0).all()
            found = objective_of(replace(method, collapse_penalty=form), model, x)
            torch.testing.assert_close(found["collapse_penalty"], value)


def test_the_contrast_ends_where_the_own_latent_is_clearly_better():
    own, other = torch.tensor([[10.0, 10.0]]), torch.tensor([[10.0, -1000.0]])
    assert likelihood_contrast(own, other, 7).item() == pytest.approx(7 * math.log(2) / 2)


def test_auto_steps_have_their_signal_to_noise_ratio_for_every_number_of_steps():
    for steps in (50, 100, 1000):
        config = DiffusionConfig(L=steps)
        method = METHODS["proposed"](N="auto", M="auto").resolved(config)
        alpha_bar = build_schedule(config)
        ratio = alpha_bar[1:] / (1 - alpha_bar[1:])  # ratio[i - 1] is that of step i
        assert ratio[method.N - 1] >= AUTO_N > ratio[method.N]
        assert ratio[method.M - 1] <= AUTO_M < ratio[method.M - 2]
        METHODS["proposed"](N="auto", M="auto").check(ModelConfig(), config)
    assert METHODS["kl_free"](N="auto").resolved(DiffusionConfig()).N == 51  # the paper's choice by hand is 50


def build_schedule(config):
    return StackedModel(1, (T, C), stacked([of("proposed")]), "lstm", MODEL, config).alpha_bar.double()


def test_latent_norm_none_leaves_the_encoder_its_scale():
    model, _, x = build("proposed", "lstm")
    layer, none = (
        stacked([METHODS["proposed"](latent_norm=norm)] * R).posterior(model, x).mean for norm in ("layer", "none")
    )
    torch.testing.assert_close(layer.square().sum(-1), torch.full((R, B), float(D)), rtol=0.1, atol=0)
    torch.testing.assert_close(none, model.encoder(x))
    METHODS["proposed"](latent_norm="none").check(ModelConfig(latent=1), DiffusionConfig())
    with pytest.raises(InputError, match=r"model.latent = 1: proposed normalises v"):
        METHODS["proposed"]().check(ModelConfig(latent=1), DiffusionConfig())


def test_the_kl_ablation_of_proposed_has_the_vanilla_posterior():
    method = METHODS["proposed"](N=2, M=18, kl=True)
    model = StackedModel(R, (T, C), stacked([method] * R), "lstm", MODEL, DIFFUSION)
    vanilla, _, x = build("latent_diffusion", "lstm")
    initialise(model, Randomness(KEYS))
    model.fit_marginal(list(x))
    expected = objective_of(METHODS["latent_diffusion"](), vanilla, x)["kl"]
    assert torch.equal(objective_of(method, model, x)["kl"], expected)


# ---------------------------------------------------------------- diffusion in data space


def test_data_diffusion_has_no_latent_and_says_so_in_every_row():
    splits, scope = make_splits(), Scope("tiny", 0)
    config = EvaluateConfig(n_samples=8)
    trained = train_stack(
        [of("data_diffusion")], [splits], [("tiny", 0)], "lstm", MODEL, [TrainConfig(steps=5)], [DIFFUSION]
    )
    assert {row[2] for row in trained.curves.rows} == {"denoiser"}
    assert max(row[1] for row in trained.curves.rows) == 5 + DIFFUSION.steps  # the budget of both stages
    samples = draw_samples(trained.model, trained.method, splits, config, scope)
    assert samples.shape == (8, T, C)
    rows = score_run(trained.model, trained.method, splits, samples, config, scope)
    states = {row["metric"]: (row["status"], row["reason"]) for row in rows}
    for metric in ("kl", "active_units", "nll_own", "nll_permuted", "dependency_global", "dependency_unresolved"):
        assert states[metric] == ("undefined", "data_diffusion has no latent")
    assert states["sliced_wasserstein"][0] == "ok"
    assert not [row for row in rows if row["status"] == "failed"]


def test_the_series_denoiser_sees_every_step_and_has_about_as_many_weights():
    latent, data = (
        StackedModel(1, (24, 6), stacked([METHODS[name]()]), "lstm", ModelConfig(), DiffusionConfig()).denoiser
        for name in ("latent_diffusion", "data_diffusion")
    )
    sizes = [sum(weights.numel() for weights in network.parameters()) for network in (latent, data)]
    assert 0.5 < sizes[1] / sizes[0] < 2
    initialise(data, Randomness([("d", 0)]))
    x = torch.zeros(1, 1, 24 * 6, requires_grad=True)
    (slope,) = torch.autograd.grad(data(x, torch.tensor([[3]])).sum(), x)
    assert (slope != 0).all()


@pytest.mark.parametrize("channels", [1, 6, 26, 64])
def test_the_series_denoiser_removes_noise_in_every_direction(channels):
    """White Gaussian series of correlated channels: samples vary as the data in every principal direction."""
    window, runs = 4, 1
    randomness = Randomness([("rank", channels)])
    denoiser = SeriesDenoiser(runs, window, channels, 128, 50)
    assert denoiser.patch * channels <= denoiser.input.weight.shape[1]
    initialise(denoiser, randomness)
    flat = Flat([denoiser])
    optimiser, stream = RowAdam(flat, torch.tensor([2e-3]), 1.0), randomness.draws("x")
    axes = torch.linalg.qr(stream.normal(channels, channels)[0])[0]
    deviations = torch.linspace(0.4, 1.4, channels) if channels > 1 else torch.ones(1)
    latent = window * channels
    model = SimpleNamespace(
        denoiser=denoiser,
        alpha_bar=linear_schedule(50),
        loss_weights=torch.ones(51),
        latent=latent,
        sampler="ddpm",
        sampling_steps=0,
        latent_mean=torch.zeros(1, latent),
        latent_scale=torch.ones(1, latent),
    )
    for _ in range(250):
        x = (stream.normal(128, window, channels) @ (axes * deviations).T).flatten(-2)
        loss = denoising_loss(model, x, stream).mean(dim=-1) / latent
        optimiser.step(flat.gradient(loss.sum()), torch.ones(1, dtype=torch.bool))
    drawn = reverse_diffusion(model, 500, stream).unflatten(-1, (window, channels))[0] @ axes
    ratio = drawn.square().mean(dim=(0, 1)) / deviations**2
    assert ratio.min() > 0.7, ratio
    assert ratio.max() < 1.5, ratio


@pytest.mark.parametrize("eta", [1, 2, 4, 10, 1.3, 1.7, 2.05])
def test_the_step_of_the_collapse_penalty_is_rounded_up_from_the_exact_ratio(eta):
    """In a stack, where eta is a float32, and alone; for whole eta it is what float32 gives as well."""
    k, exact = torch.arange(1, 1001)[None], Fraction(str(eta))
    expected = torch.tensor([[math.ceil(step / exact) for step in range(1, 1001)]])
    for given in (eta, torch.tensor([eta], dtype=torch.float32)):
        assert torch.equal(ceil_of_ratio(k, given), expected)
    if eta == int(eta):
        assert torch.equal(torch.ceil(k / torch.tensor([float(eta)])).long(), expected)
