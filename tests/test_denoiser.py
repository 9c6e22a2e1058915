"""The denoiser and its optimiser: parametrisations, weights of the loss, averages, decay, dropout, by known answers."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import make_splits
from torch import nn
from torch.nn import functional

from bench.contracts import DiffusionConfig, InputError, ModelConfig, TrainConfig, check_options
from bench.method import stacked
from bench.models.build import StackedModel
from bench.models.denoiser import Denoiser, FilmDenoiser
from bench.models.dropout import Dropout, dropping
from bench.models.stacked import Flat, Linear, RowAdam, initialise
from bench.parts.diffusion import denoising_loss, diffuse, linear_schedule, loss_weights, noise_from, reverse_diffusion
from bench.randomness import Randomness
from bench.registry import METHODS
from bench.training.stack import train_stack

L = 1000  # at 100 steps the posterior variance of ddpm loses 7 % of the deviation
PREDICTS = ("noise", "x0", "v")
MEAN = torch.tensor([1.0, -0.5, 0.0])
COVARIANCE = torch.tensor([[1.0, 0.6, 0.0], [0.6, 0.5, -0.1], [0.0, -0.1, 0.2]])


class Exact(Denoiser):
    """The best guess for latents of N(MEAN, COVARIANCE): linear in z^i, and in the space that it is asked for."""

    def __init__(self, predicts):
        super().__init__(1, 3, 4, L, predicts=predicts)
        alpha_bar, spread = linear_schedule(L).double()[:, None, None], COVARIANCE.double()
        self.maps = spread @ torch.linalg.inv(alpha_bar * spread + (1 - alpha_bar) * torch.eye(3).double())

    def table(self):
        return self.embed(torch.arange(L + 1)[None])

    def embed(self, i):
        embedded = i.float().unsqueeze(-1)
        return embedded if self.predicts == "noise" else torch.cat([embedded, self.to_noise[i]], dim=-1)

    def network(self, z, embedded):
        i = embedded[..., 0].long()
        alpha_bar = linear_schedule(L).double()[i].unsqueeze(-1)
        clean = alpha_bar.sqrt()
        x0 = MEAN + clean * (self.maps[i] @ (z.double() - clean * MEAN).unsqueeze(-1)).squeeze(-1)
        noise = (z - clean * x0) / (1 - alpha_bar).clamp(min=1e-12).sqrt()
        found = {"noise": noise, "x0": x0, "v": clean * noise - (1 - alpha_bar).sqrt() * x0}
        return found[self.predicts].float()


def model_of(denoiser, weighting="uniform", sampler="ddpm"):
    alpha_bar = linear_schedule(L)
    return SimpleNamespace(
        denoiser=denoiser,
        alpha_bar=alpha_bar,
        loss_weights=loss_weights(denoiser.predicts, weighting, alpha_bar),
        latent=denoiser.latent,
        sampler=sampler,
        sampling_steps=0,
        latent_mean=torch.zeros(1, denoiser.latent),
        latent_scale=torch.ones(1, denoiser.latent),
    )


@pytest.mark.parametrize("predicts", PREDICTS)
def test_every_parametrisation_gives_the_noise(predicts):
    draws = Randomness([("p", 0)]).draws("z")
    z, i = draws.normal(500, 3), draws.steps(1, L, 500)
    torch.testing.assert_close(Exact(predicts)(z, i), Exact("noise")(z, i), rtol=0, atol=2e-4)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm_solver"])
@pytest.mark.parametrize("predicts", PREDICTS)
def test_a_gaussian_latent_is_drawn_with_its_mean_and_covariance(predicts, sampler):
    drawn = reverse_diffusion(model_of(Exact(predicts), sampler=sampler), 10_000, Randomness([("g", 1)]).draws("z"))[0]
    torch.testing.assert_close(drawn.mean(dim=0), MEAN, rtol=0, atol=0.04)
    torch.testing.assert_close(drawn.T.cov(), COVARIANCE, rtol=0, atol=0.04)


def test_noise_is_made_of_what_the_network_gives():
    draws, alpha_bar = Randomness([("n", 0)]).draws("z"), linear_schedule(L)
    z, noise, i = draws.normal(50, 3), draws.normal(50, 3), draws.steps(1, L, 50)
    noised, kept = diffuse(z, i, alpha_bar, noise), alpha_bar[i].unsqueeze(-1)
    given = {"noise": noise, "x0": z, "v": kept.sqrt() * noise - (1 - kept).sqrt() * z}
    for predicts in PREDICTS:
        of_output, of_latent = noise_from(predicts, alpha_bar)[i].unsqueeze(-1).unbind(dim=-2)
        assert noise_from(predicts, alpha_bar).isfinite().all()
        torch.testing.assert_close(of_output * given[predicts] + of_latent * noised, noise, rtol=0, atol=2e-4)


@pytest.mark.parametrize("weighting", ["uniform", "min_snr"])
@pytest.mark.parametrize("predicts", PREDICTS)
def test_the_loss_is_the_error_of_what_is_predicted_weighted_as_in_its_source(predicts, weighting):
    denoiser = Denoiser(1, 3, 8, L, predicts=predicts)
    initialise(denoiser, Randomness([("w", 0)]))
    model, alpha_bar = model_of(denoiser, weighting), linear_schedule(L)
    found = denoising_loss(model, Randomness([("w", 1)]).draws("z").normal(64, 3), Randomness([("w", 2)]).draws("z"))
    z, draws = Randomness([("w", 1)]).draws("z").normal(64, 3), Randomness([("w", 2)]).draws("z")
    i, noise = draws.steps(1, L, 64), draws.normal(64, 3)
    kept = alpha_bar[i].unsqueeze(-1)
    noised, ratio = diffuse(z, i, alpha_bar, noise), (kept / (1 - kept)).squeeze(-1)
    given = denoiser.network(noised, denoiser.step(denoiser.waves[i]))
    target = {"noise": noise, "x0": z, "v": kept.sqrt() * noise - (1 - kept).sqrt() * z}[predicts]
    error = (target - given).square().sum(dim=-1)
    if weighting == "min_snr":  # Hang et al. 2023, sec. 3.4
        clipped = ratio.clamp(max=5)
        error = error * {"noise": clipped / ratio, "x0": clipped, "v": clipped / (ratio + 1)}[predicts]
    torch.testing.assert_close(found, error, rtol=2e-3, atol=1e-4)


# ---------------------------------------------------------------- the optimiser


def linear_and_gradients(runs, count):
    module = Linear(runs, 3, 4)
    initialise(module, Randomness([("m", seed) for seed in range(runs)]))
    flat = Flat([module])
    noise = torch.Generator().manual_seed(0)
    return module, flat, [torch.randn(flat.values.shape, generator=noise) for _ in range(count)]


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_the_average_is_that_of_a_loop(decay):
    _, flat, gradients = linear_and_gradients(2, 40)
    optimiser = RowAdam(flat, torch.tensor([0.1, 0.01]), 1.0, average=decay)
    expected, seen = torch.zeros_like(flat.values), [0, 0]
    for k, gradient in enumerate(gradients):
        moved = optimiser.step(gradient, torch.tensor([True, k % 3 > 0]))
        for run in range(2):
            if moved[run]:
                seen[run] += 1
                share = min(decay, (seen[run] - 1) / (seen[run] + 8))
                expected[run] = share * expected[run] + (1 - share) * flat.values[run]
    assert seen == [40, 26]
    last = flat.values.clone()
    with optimiser.averaged():
        torch.testing.assert_close(flat.values, expected, rtol=0, atol=1e-6)
    assert torch.equal(flat.values, last)
    optimiser.settle()
    torch.testing.assert_close(flat.values, expected, rtol=0, atol=1e-6)


def test_after_one_update_nothing_is_left_of_the_initial_weights():
    _, flat, gradients = linear_and_gradients(1, 1)
    optimiser = RowAdam(flat, torch.tensor([0.1]), 1.0, average=0.999)
    optimiser.step(gradients[0], torch.tensor([True]))
    last = flat.values.clone()
    optimiser.settle()
    assert torch.equal(flat.values, last)


def test_weight_decay_moves_matrices_and_nothing_else():
    """Biases per channel, codes and what is learned of a softplus have the shape of a matrix and are none."""
    config, diffusion = ModelConfig(hidden=8, latent=4, channels="autoregressive"), DiffusionConfig(L=20, hidden=8)
    for method, kept in (
        (METHODS["vq"](groups=2), {"codebook.codes", "decoder.head.masked.bias"}),
        (METHODS["inverse_lipschitz"](), {"decoder.latent_map.positive", "decoder.latent_map.last"}),
        (METHODS["frequency_diffusion"](), {"denoiser.places"}),
    ):
        model = StackedModel(1, (7, 2), stacked([method]), "lstm", config, diffusion)
        decays = {name: weights.decays for name, weights in model.named_parameters()}
        assert not any(decays[name] for name in kept)
        assert not any(own for name, own in decays.items() if name.rpartition(".")[2] in ("bias", "first_bias"))
        assert all(decays[f"{part}.weight"] for part in ("denoiser.input", "denoiser.output"))
        flat = Flat([model])
        shares = flat.decays.split([weights[0].numel() for weights in flat.parameters])
        assert [bool(share.all()) for share in shares] == [weights.decays for weights in flat.parameters]


def test_weight_decay_is_torchs_adamw_on_matrices_alone():
    module, flat, gradients = linear_and_gradients(2, 20)
    layers = []
    for run in range(2):
        layer = nn.Linear(3, 4)
        layer.load_state_dict({name: value[run].detach().clone() for name, value in module.state_dict().items()})
        groups = [{"params": [layer.weight], "weight_decay": 0.3}, {"params": [layer.bias], "weight_decay": 0.0}]
        layers.append((layer, torch.optim.AdamW(groups, lr=(0.1, 0.02)[run])))
    optimiser = RowAdam(flat, torch.tensor([0.1, 0.02]), clip_norm=1e9, weight_decay=0.3)
    for gradient in gradients:
        optimiser.step(gradient, torch.tensor([True, True]))
        for run, (layer, adam) in enumerate(layers):
            layer.weight.grad, layer.bias.grad = gradient[run, :12].view(4, 3).clone(), gradient[run, 12:].clone()
            adam.step()
    for run, (layer, _) in enumerate(layers):
        torch.testing.assert_close(module.weight[run], layer.weight, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(module.bias[run], layer.bias, rtol=1e-5, atol=1e-6)


def test_a_rate_of_zero_moves_nothing():
    _, flat, gradients = linear_and_gradients(2, 2)
    optimiser = RowAdam(flat, torch.tensor([0.1, 0.1]), 1.0, weight_decay=0.1)
    optimiser.step(gradients[0], torch.tensor([True, True]))
    before = flat.values.clone()
    optimiser.step(gradients[1], torch.tensor([True, True]), torch.tensor([0.0, 0.5]))
    assert (flat.values != before).any(dim=-1).tolist() == [False, True]


# ---------------------------------------------------------------- networks


def test_the_film_denoiser_is_its_equation():
    denoiser = FilmDenoiser(2, 3, 8, L, blocks=2)
    initialise(denoiser, Randomness([("f", 0), ("f", 1)]))
    draws = Randomness([("f", 0), ("f", 1)]).draws("z")
    z, i = draws.normal(5, 3), draws.steps(1, L, 5)
    found = denoiser(z, i)
    for run in range(2):
        own = {name: value[run] for name, value in denoiser.state_dict().items()}

        def layer(name, a, own=own):
            return a @ own[f"{name}.weight"].T + own[f"{name}.bias"]

        h, steps = layer("input", z[run]), layer("step", denoiser.waves[i[run]]).chunk(4, dim=-1)
        for block in range(2):
            normed = functional.layer_norm(h, (8,))
            inner = layer(f"film.{block}.up", (1 + steps[2 * block]) * normed + steps[2 * block + 1])
            h = h + layer(f"film.{block}.down", functional.silu(inner))
        expected = layer("output", functional.silu(functional.layer_norm(h, (8,))))
        torch.testing.assert_close(found[run], expected, rtol=1e-4, atol=1e-5)
    table = denoiser.table()[:, 7:8]
    torch.testing.assert_close(denoiser.with_step(z, table), denoiser(z, torch.full((2, 5), 7)), rtol=1e-5, atol=1e-6)


def test_dropout_zeroes_its_share_of_a_stream_and_keeps_the_mean():
    part, randomness = Dropout(), Randomness([("d", 0), ("d", 1)])
    a = torch.ones(2, 200, 300)
    assert part(a) is a
    part.rate = 0.3
    with pytest.raises(RuntimeError, match="outside `dropping`"):
        part(a)
    with dropping(part, randomness.draws("x")):
        found = part(a)
    assert torch.equal(found != 0, randomness.draws("x").uniform(200, 300) >= 0.3)
    assert found.mean(dim=(1, 2)).tolist() == pytest.approx([1, 1], abs=0.01)
    assert part.eval()(a) is a


@pytest.mark.parametrize("backbone", ["lstm", "transformer"])
def test_dropout_acts_in_training_only_and_a_stack_is_its_runs(backbone):
    model = ModelConfig(hidden=8, latent=4, layers=2)
    diffusion = DiffusionConfig(L=20, steps=6, batch_size=8, hidden=8, block="film", dropout=0.2, ema=0.9)
    diffusion = replace(diffusion, predicts="v", weighting="min_snr", weight_decay=0.1)
    budget = TrainConfig(steps=12, batch_size=8, weight_decay=0.1)

    def trained(seeds, dropout):
        config, methods = replace(model, dropout=dropout), [METHODS["kl_free"](N=2)] * len(seeds)
        splits, keys = [make_splits(seed=seed) for seed in seeds], [("tiny", seed) for seed in seeds]
        each = [budget] * len(seeds), [diffusion] * len(seeds)
        return train_stack(methods, splits, keys, backbone, config, *each)

    together = trained([0, 1, 2], 0.3)
    alone, without = trained([1], 0.3), trained([1], 0.0)
    first, second = together.model.state_of(1), alone.model.state_of(0)
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=1e-6, msg=name)
    assert not torch.equal(second["encoder.output.weight"], without.model.state_of(0)["encoder.output.weight"])
    x = torch.from_numpy(make_splits().test)[None]
    network = alone.model.eval()
    assert torch.equal(network.encoder(x), network.encoder(x))
    other = copy.deepcopy(network)
    for part in other.modules():
        if isinstance(part, Dropout):
            part.rate = 0.0
    assert torch.equal(network.encoder(x), other.encoder(x))


def test_the_information_that_ends_lagging_inference_is_measured_without_dropout():
    splits, train = make_splits(window=6), TrainConfig(steps=3, batch_size=8)
    method, model = METHODS["lagging_inference"](encoder_updates=2), ModelConfig(hidden=8, latent=4, dropout=0.2)
    diffusion = DiffusionConfig(L=20, steps=2, batch_size=8, hidden=8)
    trained = train_stack([method], [splits], [("x", 0)], "lstm", model, [train], [diffusion])
    assert trained.diverged == [""]
    assert trained.stages["autoencoder"].updates == [3]


def test_every_weight_of_a_deep_model_gets_a_gradient():
    config = ModelConfig(hidden=8, latent=4, layers=4)
    diffusion = DiffusionConfig(L=20, hidden=8, block="film", blocks=4, predicts="v")
    for backbone in ("lstm", "transformer"):
        method = stacked([METHODS["kl_free"](N=2)])
        model = StackedModel(1, (7, 2), method, backbone, config, diffusion)
        initialise(model, Randomness([("deep", 0)]))
        x, draws = torch.from_numpy(make_splits().train)[None, :16], Randomness([("deep", 0)]).draws("x")
        terms = method.objective(model, x, SimpleNamespace(index=0, total=1, fraction=0.0), draws)
        loss = sum(terms.values()) + method.denoising(model, method.codes(model, x), draws)
        gradients = torch.autograd.grad(loss.sum(), list(model.parameters()), allow_unused=True)
        for (name, _), gradient in zip(model.named_parameters(), gradients, strict=True):
            assert gradient is not None, name
            assert gradient.isfinite().all(), name
            assert gradient.abs().max() > 0, name


@pytest.mark.parametrize(
    ("block", "options", "message"),
    [
        (DiffusionConfig, {"ema": 1.0}, "x.ema = 1.0: expected a number >= 0 and < 1"),
        (DiffusionConfig, {"predicts": "eps"}, "x.predicts = 'eps': expected one of noise, x0, v"),
        (DiffusionConfig, {"weighting": "snr"}, "x.weighting = 'snr': expected one of uniform, min_snr"),
        (DiffusionConfig, {"block": "mlp"}, "x.block = 'mlp': expected one of linear, film"),
        (DiffusionConfig, {"blocks": 0}, "x.blocks = 0: expected a whole number >= 1"),
        (DiffusionConfig, {"dropout": 1}, "x.dropout = 1: expected a number >= 0 and < 1"),
        (DiffusionConfig, {"weight_decay": -1}, "x.weight_decay = -1: expected a number >= 0"),
        (DiffusionConfig, {"patience": 1.5}, "x.patience = 1.5: expected a whole number >= 0"),
        (DiffusionConfig, {"tolerance": -0.1}, "x.tolerance = -0.1: expected a number >= 0"),
        (TrainConfig, {"ema": -0.1}, "x.ema = -0.1: expected a number >= 0 and < 1"),
        (TrainConfig, {"patience": -1}, "x.patience = -1: expected a whole number >= 0"),
        (TrainConfig, {"warm_up": -1}, "x.warm_up = -1: expected a whole number >= 0"),
        (TrainConfig, {"schedule_steps": 0.5}, "x.schedule_steps = 0.5: expected a whole number >= 0"),
        (TrainConfig, {"weight_decay": "no"}, "x.weight_decay = 'no': expected a number >= 0"),
        (TrainConfig, {"tolerance": float("nan")}, "x.tolerance = nan: expected a number >= 0"),
        (ModelConfig, {"dropout": 1.0}, "x.dropout = 1.0: expected a number >= 0 and < 1"),
    ],
)
def test_a_bad_value_is_one_clear_line(block, options, message):
    with pytest.raises(InputError) as caught:
        check_options(block(**options), "x")
    assert str(caught.value) == message
