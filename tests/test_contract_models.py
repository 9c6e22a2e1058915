"""What every backbone and every likelihood promises; a plug-in's is tested by the same file.

R = 3 runs, B = 5 series, T = 7 steps, C = 2 channels, D = 4 latent dimensions (of each latent step): all different.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from bench import registry
from bench.contracts import DiffusionConfig, InputError, ModelConfig
from bench.metrics.dependency import dependency_measures
from bench.models.autoregression import previous_values
from bench.models.build import StackedModel
from bench.models.head import ChannelHead, make_head
from bench.models.stacked import initialise
from bench.parts.cells import Lattice
from bench.parts.decoder_inputs import HIDDEN
from bench.parts.likelihoods import Family
from bench.randomness import Randomness
from bench.registry import BACKBONES, LIKELIHOODS, METHODS

R, B, T, C, D, H = 3, 5, 7, 2, 4, 8
KEYS = [("contract", seed) for seed in range(R)]
EVERY_BACKBONE = pytest.mark.parametrize("backbone", BACKBONES)
CHANNELS = ("independent", "autoregressive")
FORMS = [
    pytest.param((name, channels), id=name if channels == "independent" else f"{name} {channels}")
    for name in LIKELIHOODS
    for channels in CHANNELS
    if channels == "independent" or issubclass(LIKELIHOODS[name], ChannelHead)
]
EVERY_LIKELIHOOD = pytest.mark.parametrize("likelihood", FORMS)
ROUTES = pytest.mark.parametrize("route", ["first", "every_step", "latent_steps"])


Form = tuple[str, str]
GAUSSIAN: Form = ("gaussian", "independent")


def config_of(likelihood: Form, latent_steps: int = 1) -> ModelConfig:
    name, channels = likelihood
    return ModelConfig(hidden=H, latent=D, likelihood=name, channels=channels, latent_steps=latent_steps)


def model_of(
    backbone: str = "lstm", likelihood: Form = GAUSSIAN, route: str = "first", keys=tuple(KEYS)
) -> StackedModel:
    """route: where z enters; with `latent_steps` every step has a latent of its own."""
    config = config_of(likelihood, T if route == "latent_steps" else 1)
    method = METHODS["latent_diffusion"](latent_route="first" if route == "first" else "every_step")
    model = StackedModel(len(keys), (T, C), method, backbone, config, DiffusionConfig(L=20, hidden=H))
    initialise(model, Randomness(keys))
    return model.eval()


def inputs(keys=tuple(KEYS), route: str = "first") -> tuple[torch.Tensor, torch.Tensor]:
    draws = Randomness(keys).draws("inputs")
    return draws.normal(B, T * D if route == "latent_steps" else D), draws.normal(B, T, C)


def head_of(likelihood: Form, channels: int = C, runs: int = R):
    """A head away from where training begins, fitted to skewed windows; its marginal knows the same windows."""
    head = make_head(runs, H, channels, config_of(likelihood))
    initialise(head, Randomness(KEYS[:runs]))
    with torch.no_grad():
        for weights in head.parameters():
            weights += 0.3 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(1))
    windows = (0.5 * Randomness(KEYS[:1]).draws("windows").normal(400, T, channels)[0]).exp()
    windows = (windows - windows.mean(dim=0)) / windows.std(dim=0)
    head.fit([windows] * runs, [None] * runs)
    return head, windows


@pytest.fixture(autouse=True)
def quick_marginals(monkeypatch):
    """Few updates are enough to see what a marginal promises; `test_cell_likelihoods` has one fitted to the end."""
    monkeypatch.setattr("bench.models.marginal.UPDATES", 40)


@EVERY_BACKBONE
@ROUTES
def test_a_state_sees_the_latent_and_the_past_and_nothing_else(backbone, route):
    model, (z, x) = model_of(backbone, route=route), inputs(route=route)
    z.requires_grad_()
    past = x[:, :, :-1].clone().requires_grad_()
    h = model.decoder.states(z, past)
    assert h.shape[:3] == (R, B, T)
    for t in range(T):
        of_z, of_past = torch.autograd.grad(h[:, :, t].square().sum(), (z, past), retain_graph=True, allow_unused=True)
        assert of_z.abs().sum() > 0
        if of_past is None:  # the first state has no past
            of_past = torch.zeros_like(past)
        assert (of_past[:, :, t:] == 0).all()
        assert (of_past[:, :, :t].abs().sum(dim=-1) > 0).all()


@EVERY_BACKBONE
@ROUTES
def test_a_stack_of_three_is_three_runs(backbone, route):
    model, (z, x) = model_of(backbone, route=route), inputs(route=route)
    h, code = model.decoder.states(z, x[:, :, :-1]), model.encoder(x)
    for run, key in enumerate(KEYS):
        alone, (one_z, one_x) = model_of(backbone, route=route, keys=(key,)), inputs((key,), route)
        torch.testing.assert_close(h[run], alone.decoder.states(one_z, one_x[:, :, :-1])[0], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(code[run], alone.encoder(one_x)[0], rtol=1e-6, atol=1e-6)
        single = model.decoder.single(run)(z[run], x[run, :, :-1])
        torch.testing.assert_close(single, h[run], rtol=0, atol=1e-5)


@EVERY_BACKBONE
@pytest.mark.parametrize(("name", "share"), [("no_latent", 0.0), ("feed_forward", 1.0)])
def test_a_decoder_without_a_latent_or_a_past_has_the_dependency_of_one(backbone, name, share):
    """Whether or not the backbone's decoder has tangents of its own, as a plug-in's need not."""
    model = StackedModel(R, (T, C), METHODS[name](), backbone, config_of(GAUSSIAN), DiffusionConfig(L=20, hidden=H))
    initialise(model.eval(), Randomness(KEYS))
    z, x = inputs()
    for function in (model.decoder.single(1), model.decoder.single_mean(1)):
        found = dependency_measures(function, z[1], x[1, :, :-1], 1e-3).global_[:, 1:]
        torch.testing.assert_close(found, torch.full_like(found, share), rtol=0, atol=1e-3)


@EVERY_BACKBONE
@ROUTES
def test_a_hidden_step_is_seen_as_hidden_and_not_as_a_value(backbone, route):
    """It is told from the training mean, 0, and what was in it is not seen."""
    model, (z, x) = model_of(backbone, route=route), inputs(route=route)
    past, step = x[:, :, :-1].clone(), 2
    past[:, :, step] = 0
    at_mean = model.decoder.states(z, past)
    past[:, :, step] = HIDDEN
    hidden = model.decoder.states(z, past)
    assert hidden.isfinite().all()
    assert torch.equal(hidden[:, :, : step + 1], at_mean[:, :, : step + 1])
    assert (hidden != at_mean)[:, :, step + 1].any(dim=-1).all()


@EVERY_BACKBONE
@EVERY_LIKELIHOOD
@ROUTES
def test_a_generated_step_is_a_draw_from_the_distribution_that_training_sees(backbone, likelihood, route):
    model, (z, _) = model_of(backbone, likelihood, route), inputs(route=route)
    model.decoder.head.fit([head_of(likelihood)[1]] * R, [None] * R)
    x = model.decoder.generate(z, Randomness(KEYS).draws("noise"))
    assert x.shape == (R, B, T, C)
    h, again = model.decoder.states(z, x[:, :, :-1]), Randomness(KEYS).draws("noise")
    previous = previous_values(x[:, :, :-1])
    for t in range(T):
        now = slice(t, t + 1)
        step = model.decoder.head(h[:, :, now], previous[:, :, now]).sample(again).squeeze(2)
        torch.testing.assert_close(x[:, :, t], step, rtol=0, atol=1e-5)


@EVERY_LIKELIHOOD
def test_log_probabilities_are_one_number_per_series_and_have_finite_gradients(likelihood):
    head, windows = head_of(likelihood)
    h = Randomness(KEYS).draws("h").normal(B, T, H).requires_grad_()
    x = windows[:B].expand(R, B, T, C)
    previous = previous_values(x[:, :, :-1])
    log_p = head(h, previous).log_prob(x)
    assert log_p.shape == (R, B)
    assert (log_p <= 0).all()
    assert head(h, previous).mean.shape == (R, B, T, C)
    log_p.sum().backward()
    assert h.grad is not None
    assert h.grad.isfinite().all()
    for name, weights in head.named_parameters():
        assert weights.shape[0] == R, f"{name}: the run dimension comes first"
        assert weights.grad is not None
        assert weights.grad.isfinite().all()


@EVERY_LIKELIHOOD
def test_a_run_does_not_know_its_neighbours(likelihood):
    head, windows = head_of(likelihood)
    h, x = Randomness(KEYS).draws("h").normal(B, T, H), windows[:B].expand(R, B, T, C)
    previous = previous_values(x[:, :, :-1])
    together = head(h, previous).log_prob(x)
    for run in range(R):
        alone = make_head(1, H, C, config_of(likelihood))
        alone.load_state_dict({name: value[run : run + 1] for name, value in head.state_dict().items()})
        one = slice(run, run + 1)
        for single in (alone, head.alone(run)):
            found = single(h[one], previous[one]).log_prob(x[one])
            torch.testing.assert_close(found, together[one], rtol=1e-6, atol=1e-5)


def cumulative(head, h: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The distribution function of one value given h (1, 1, 1, H), from a density or probabilities of narrow cells."""
    lattice, narrow = isinstance(head.cells, Lattice), 1e-3
    if lattice:  # its cells fill the line, and the end cells hold all that is beyond
        head.cells.low.clamp_(min=-40), head.cells.high.clamp_(max=40)
        grid = torch.arange(head.cells.low.item(), head.cells.high.item() + narrow / 2, narrow, dtype=torch.float64)
        head.cells.high.fill_(grid[-1].item())
    else:
        grid = torch.linspace(-40, 40, 160_001, dtype=torch.float64)
    with torch.no_grad():
        p = head(h.expand(1, len(grid), 1, H))
        density = p.log_prob(grid[None, :, None, None])[0].exp().numpy()
    if lattice:
        return grid.numpy() + narrow / 2, np.cumsum(density)
    if isinstance(p, Family):  # the probability of a cell, over its width
        density = density / narrow
    steps = (density[1:] + density[:-1]) / 2 * np.diff(grid.numpy())
    return grid.numpy(), np.concatenate([[0.0], np.cumsum(steps)])


@EVERY_LIKELIHOOD
def test_a_distribution_integrates_to_one_and_samples_follow_it(likelihood):
    """One channel and one step: Kolmogorov's distance between 20,000 draws and the integrated distribution."""
    head = head_of(likelihood, channels=1, runs=1)[0].double()
    h = Randomness(KEYS[:1]).draws("h").normal(1, 1, H).double()
    grid, below = cumulative(head, h)
    assert below[-1] == pytest.approx(1, abs=5e-3)  # a cell that lies across two bins is counted in one
    n = 20_000
    with torch.no_grad():
        p = head(h.expand(1, n, 1, H))
        drawn = np.sort(p.sample(Randomness(KEYS[:1]).draws("samples")).flatten().numpy())
        mean = np.sort(p.mean.flatten().numpy())
    if likelihood[0] == "mse":  # its sample is the mean: noise of a fixed size would be no model of anything
        assert np.array_equal(drawn, mean)
        return
    distance = np.abs(np.searchsorted(drawn, grid) / n - below).max()
    assert distance < 1.95 / np.sqrt(n)  # exceeded by chance once in a thousand


@EVERY_LIKELIHOOD
def test_the_marginal_knows_the_training_windows_and_is_kept_with_the_weights(likelihood):
    windows = head_of(likelihood)[1]
    model = model_of(likelihood=likelihood)
    model.fit_marginal([windows] * R)
    seen = model.marginal_log_prob(windows.expand(R, *windows.shape))
    moved = model.marginal_log_prob((windows + 1).expand(R, *windows.shape))
    assert seen.shape == (R, len(windows))
    assert (seen.mean(dim=-1) > moved.mean(dim=-1) + 0.1 * T * C).all()
    kept = model_of(likelihood=likelihood, keys=(KEYS[0],))
    kept.load_state_dict(model.state_of(0))
    assert torch.equal(kept.marginal_log_prob(windows[None])[0], seen[0])


@pytest.mark.parametrize("registry", [BACKBONES, LIKELIHOODS], ids=["backbones", "likelihoods"])
def test_the_cards_say_what_they_are(registry):
    for name in registry:
        card = inspect.getdoc(registry[name]) or ""
        assert "Source:" in card, f"{name}: Source: is missing"
        assert card.splitlines()[0].endswith("."), name
        module = registry[name].__module__
        assert module.startswith(("bench.models.", "bench_plugin_")), name


def test_a_module_that_does_not_import_is_said_at_every_look_up(tmp_path, monkeypatch):
    package = tmp_path / "broken_methods"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "half_written.py").write_text("import no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "bench/registry.py"))
    found = registry.Registry("method", "broken_methods")
    for _ in range(2):
        with pytest.raises(InputError, match=r"half_written\.py: does not import: .*'no_such_module' \(line 1\)"):
            found["anything"]
