"""Likelihoods of cells and autoregressive channels: brute force, known laws, edges."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_splits
from scipy.stats import chisquare
from torch.nn import functional

from bench.contracts import DatasetSpec, DiffusionConfig, ModelConfig, Resolution, TrainConfig
from bench.loading.cells import MeasuredCells, from_raw, measure_cells
from bench.loading.windows import load_splits, open_dataset
from bench.metrics.dependency import dependency_measures, forward_sweep
from bench.models.autoregression import previous_values
from bench.models.build import StackedModel
from bench.models.head import make_head
from bench.models.marginal import FittedMarginal
from bench.models.stacked import initialise
from bench.parts.cell_mixture import BEYOND
from bench.parts.cells import Lattice, logistic_log_probability
from bench.parts.decoder_inputs import HIDDEN
from bench.parts.likelihoods import fitted
from bench.randomness import Randomness
from bench.registry import METHODS
from bench.training.stack import train_stack

H = 8
CELLS = ("discretized_logistic", "categorical", "mixed")
EVERY = pytest.mark.parametrize("likelihood", CELLS)
EVERY_WAY = pytest.mark.parametrize("channels", ["independent", "autoregressive"])


def draws(role: str, runs: int = 1):
    return Randomness([("cells", seed) for seed in range(runs)]).draws(role)


def recorded(transform: str = "identity", n: int = 400, steps: int = 6) -> tuple[torch.Tensor, MeasuredCells]:
    """Windows of counts with an atom at 0, and of a walk between two bounds; their cells."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(4, (n, steps)) * (rng.random((n, steps)) < 0.6)
    walk = np.clip(rng.integers(-6, 7, (n, 1)) + rng.integers(-1, 2, (n, steps)).cumsum(axis=1), -6, 6)
    kinds = [Resolution(1, 0, transform), Resolution(1)]  # type: ignore[arg-type]
    raw = np.stack([counts, walk], axis=-1).reshape(-1, 2).astype(float)
    rows = np.stack([from_raw(raw[:, c], kind.transform) for c, kind in enumerate(kinds)], axis=-1)
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    cells = measure_cells(rows, kinds, mean, scale)
    x = ((rows - mean) / scale).reshape(n, steps, 2).astype(np.float32)
    return torch.from_numpy(x), cells


def head_of(likelihood: str, channels: str = "independent", transform: str = "identity", runs: int = 1, **options):
    """A head away from where training begins, fitted to recorded windows; and those windows."""
    x, cells = recorded(transform)
    head = make_head(runs, H, 2, ModelConfig(hidden=H, likelihood=likelihood, channels=channels, **options))
    initialise(head, Randomness([("cells", seed) for seed in range(runs)]))
    with torch.no_grad():
        for weights in head.parameters():
            weights += 0.2 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(1))
    head.fit([x] * runs, [cells] * runs)
    return head, x, cells


def lattice_of(cells: MeasuredCells) -> list[torch.Tensor]:
    """All values of each channel between its bounds, train-scaled."""
    found = []
    for c, kind in enumerate(cells.transforms):
        raw = np.arange(cells.low[c], cells.high[c] + 0.5)
        found.append(torch.from_numpy((from_raw(raw, kind) - cells.mean[c]) / cells.scale[c]).float())
    return found


# ---------------------------------------------------------------- the logistic's cells


def test_the_logarithm_of_a_logistic_cell_is_exact_in_float32():
    mpmath = pytest.importorskip("mpmath")
    mpmath.mp.dps = 60
    for low in (-80.0, -9.0, -1.0, 0.0, 0.3, 12.0, 70.0):
        for width in (1e-4, 1e-2, 0.5, 3.0, 200.0):
            a, w = mpmath.mpf(float(np.float32(low))), mpmath.mpf(float(np.float32(width)))
            truth = mpmath.log(1 / (1 + mpmath.exp(-a - w)) - 1 / (1 + mpmath.exp(-a)))
            ends = torch.tensor(low), torch.tensor(low) + torch.tensor(width), torch.tensor(width)
            found = float(logistic_log_probability(*ends))
            assert found == pytest.approx(float(truth), rel=2e-6, abs=2e-7), (low, width)


def test_an_open_cell_of_the_logistic_ends_far_away():
    at = torch.tensor([-40.0, -1.0, 3.0, 50.0])
    far = torch.full_like(at, BEYOND)
    torch.testing.assert_close(logistic_log_probability(-far, at, far), functional.logsigmoid(at))
    torch.testing.assert_close(logistic_log_probability(at, far, far), functional.logsigmoid(-at))


# ---------------------------------------------------------------- one distribution


@EVERY
@EVERY_WAY
@pytest.mark.parametrize("transform", ["identity", "log1p"])
def test_probabilities_of_all_pairs_of_cells_sum_to_one(likelihood, channels, transform):
    head, x, cells = head_of(likelihood, channels, transform)
    pairs = torch.cartesian_prod(*lattice_of(cells))[None, :, None]
    h = draws("h").normal(1, 1, H).expand(1, pairs.shape[1], 1, H)
    for previous in (None, torch.cat([x[3, 2], torch.zeros(1)]).expand(1, pairs.shape[1], 1, 3)):
        with torch.no_grad():
            total = head(h, previous).log_prob(pairs).double().exp().sum()
        assert float(total) == pytest.approx(1, abs=2e-5)


@EVERY
@EVERY_WAY
def test_samples_are_on_the_lattice_and_as_frequent_as_they_are_probable(likelihood, channels):
    head, x, cells = head_of(likelihood, channels)
    n, pairs = 20_000, torch.cartesian_prod(*lattice_of(cells))
    h = draws("h").normal(1, 1, H)
    previous = torch.cat([x[3, 2], torch.zeros(1)])
    with torch.no_grad():
        sampled = head(h.expand(1, n, 1, H), previous.expand(1, n, 1, 3)).sample(draws("samples"))[0, :, 0]
        p = head(h.expand(1, len(pairs), 1, H), previous.expand(1, len(pairs), 1, 3))
        expected = n * p.log_prob(pairs[None, :, None]).double().exp()[0].numpy()
    np.testing.assert_allclose(cells.rounded(sampled.numpy()), sampled.numpy(), atol=1e-5)
    apart = (sampled[:, None] - pairs).abs().amax(dim=-1)
    assert float(apart.amin(dim=1).max()) < 1e-5
    counts = torch.bincount(apart.argmin(dim=1), minlength=len(pairs)).numpy()
    rare = expected < 5
    observed, wanted = np.append(counts[~rare], counts[rare].sum()), np.append(expected[~rare], expected[rare].sum())
    if wanted[-1] < 1e-6:
        observed, wanted = observed[:-1], wanted[:-1]
    assert chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue > 1e-3


@EVERY
@EVERY_WAY
def test_the_distribution_function_and_the_mean_are_those_of_the_probabilities(likelihood, channels):
    head, x, cells = head_of(likelihood, channels)
    first, second = lattice_of(cells)
    h = draws("h").normal(1, 1, H)
    at = torch.stack([first[4].expand(len(second)), second], dim=-1)[None, :, None]
    previous = torch.cat([x[3, 2], torch.zeros(1)]).expand(1, len(second), 1, 3)
    with torch.no_grad():
        p = head(h.expand(1, len(second), 1, H), previous)
        below, upto = (end[0, :, 0, 1] for end in p.cdf(at))
    torch.testing.assert_close(below[1:], upto[:-1], rtol=0, atol=2e-5)
    assert float(below[0]) == pytest.approx(0, abs=1e-6)
    assert float(upto[-1]) == pytest.approx(1, abs=2e-5)
    if channels == "independent":
        mean = ((upto - below) * second).sum()
        assert float(p.mean[0, 0, 0, 1]) == pytest.approx(float(mean), abs=0.02)  # before rounding


@EVERY
@EVERY_WAY
def test_gradients_are_finite_differences(likelihood, channels):
    head, x, _ = head_of(likelihood, channels)
    head = head.double()
    h = draws("h").normal(3, 6, H).double().requires_grad_()
    values = x[None, :3].double()
    previous = previous_values(values[:, :, :-1])
    assert torch.autograd.gradcheck(lambda h: head(h, previous).log_prob(values), h, atol=1e-4)


@EVERY
@EVERY_WAY
def test_a_stack_is_its_runs(likelihood, channels):
    head, x, _ = head_of(likelihood, channels, runs=3)
    h, values = draws("h", 3).normal(4, 6, H), x[:4].expand(3, 4, 6, 2)
    previous = previous_values(values[:, :, :-1])
    together = head(h, previous).log_prob(values)
    for run in range(3):
        one = slice(run, run + 1)
        assert torch.equal(head.alone(run)(h[one], previous[one]).log_prob(values[one])[0], together[run])


@EVERY
@EVERY_WAY
def test_a_value_that_nobody_trained_on_has_a_probability(likelihood, channels):
    """Beyond the bounds it is that of the last cell; inside, a level that no training window has is in a bin."""
    head, _, cells = head_of(likelihood, channels)
    h = draws("h").normal(1, 1, H).expand(1, 2, 1, H)
    bounds = torch.from_numpy(cells.clipped(np.full((1, 1, 1, 2), np.inf))).float()
    beyond = torch.cat([bounds, bounds + 50], dim=1)
    with torch.no_grad():
        found = head(h).log_prob_steps(beyond)[0]
        assert found.isfinite().all()
        if channels == "independent":
            assert torch.equal(found[0], found[1])
        previous = previous_values(torch.cat([beyond, beyond], dim=2))[:, :, 1:2]
        assert head(h, previous).log_prob(beyond).isfinite().all()


def test_many_levels_are_merged_and_atoms_keep_their_own_bin():
    """More than 10,000 levels, three in ten values at one of them."""
    rng = np.random.default_rng(0)
    raw = np.where(rng.random(60_000) < 0.3, 500, rng.integers(0, 20_000, 60_000)).astype(float)
    cells = measure_cells(raw[:, None], [Resolution(1)], np.array([raw.mean()]), np.array([raw.std()]))
    x = torch.from_numpy((raw - raw.mean()) / raw.std()).float().reshape(-1, 6, 1)
    head = make_head(1, H, 1, ModelConfig(hidden=H, likelihood="categorical", bins=20))
    head.fit([x], [cells])
    at = torch.tensor([500.0, 501.0, 19_999.0])
    with torch.no_grad():
        scaled = ((at - raw.mean()) / raw.std()).float()[None, :, None, None]
        found = head(torch.zeros(1, 3, 1, H)).log_prob(scaled)[0].exp()
    assert float(found[0]) == pytest.approx(0.3, abs=0.01)
    widened = 1e-3 * raw.std()  # no cell is narrower than 1e-3 standard deviations
    assert float(found[1]) == pytest.approx(widened * 0.7 / 20_000, rel=0.2)
    assert 0 < float(found[2]) < 1e-3


@pytest.mark.parametrize("likelihood", ["categorical", "mixed"])
def test_an_atom_of_a_channel_without_a_grid_is_drawn_exactly(likelihood):
    """A share: a number between 0 and 1, and exactly 1 in half of the cases, exactly .25 in a tenth."""
    rng = np.random.default_rng(0)
    which = rng.random(30_000)
    raw = np.where(which < 0.5, 1.0, np.where(which < 0.6, 0.25, rng.random(30_000)))
    mean, scale = np.array([raw.mean()]), np.array([raw.std()])
    cells = measure_cells(raw[:, None], [Resolution(0)], mean, scale)
    x = torch.from_numpy((raw - mean) / scale).float().reshape(-1, 6, 1)
    head = make_head(1, H, 1, ModelConfig(hidden=H, likelihood=likelihood))
    head.fit([x], [cells])
    with torch.no_grad():
        drawn = head(torch.zeros(1, 4000, 6, H)).sample(draws("share"))
    for value, share in ((1.0, 0.5), (0.25, 0.1)):
        atom = torch.tensor((value - raw.mean()) / raw.std()).float()
        table = 1.0 if likelihood == "categorical" else 0.35  # its least weight where training begins
        assert table * share - 0.015 < float((drawn == atom).float().mean()) < share + 0.015
        near = ((drawn - atom).abs() < 1e-3) & (drawn != atom)
        assert float(near.float().mean()) < 0.01


# ---------------------------------------------------------------- the anchor


@pytest.mark.parametrize("likelihood", ["discretized_logistic", "mixed"])
@EVERY_WAY
def test_a_hidden_step_anchors_nothing(likelihood, channels):
    head, x, _ = head_of(likelihood, channels)
    h, past = draws("h").normal(1, 6, H), x[None, :1, :-1].clone()
    past[:, :, 2] = HIDDEN
    values = x[None, :1]
    seen, other = previous_values(past), previous_values(past)
    assert seen[0, 0, :, -1].tolist() == [1, 0, 0, 1, 0, 0]  # x_0, which there is not, and step 3
    found = head(h, seen).log_prob_steps(values)[0, 0]
    unknown = head(h).log_prob_steps(values)[0, 0]
    assert torch.equal((found == unknown), torch.tensor([True, False, False, True, False, False]))
    other[:, :, 3, :-1] = 3.0  # what would have stood in a hidden step is not looked at
    assert torch.equal(head(h, other).log_prob_steps(values)[0, 0], found)


@pytest.mark.parametrize("likelihood", ["discretized_logistic", "mixed"])
def test_a_decoder_without_the_past_has_no_anchor(likelihood):
    x, cells = recorded()
    config = ModelConfig(hidden=H, latent=4, likelihood=likelihood, channels="autoregressive")
    model = StackedModel(1, (6, 2), METHODS["feed_forward"](), "lstm", config, DiffusionConfig(L=20, hidden=8))
    initialise(model, Randomness([("cells", 0)]))
    model.decoder.inner.head.fit([x], [cells])
    z = draws("z").normal(5, 4)
    one, other = (model.decoder(z, x[None, k : k + 5, :-1]).log_prob(x[None, :5]) for k in (0, 100))
    assert torch.equal(one, other)
    assert model.decoder.generate(z, draws("samples")).shape == (1, 5, 6, 2)


@EVERY
@EVERY_WAY
@pytest.mark.parametrize("shape", [(1, 2), (6, 1), (1, 1)])
def test_one_step_and_one_channel(likelihood, channels, shape):
    """There is nothing to anchor at, or no channel before."""
    windows, cells = recorded()
    x = windows[:, : shape[0], : shape[1]].contiguous()
    config = ModelConfig(hidden=H, latent=4, likelihood=likelihood, channels=channels)
    model = StackedModel(1, shape, METHODS["latent_diffusion"](), "lstm", config, DiffusionConfig(L=20, hidden=8))
    initialise(model, Randomness([("cells", 0)]))
    model.decoder.head.fit([x], [cells if shape[1] == 2 else None])
    z = draws("z").normal(5, 4)
    assert model.decoder(z, x[None, :5, :-1]).log_prob(x[None, :5]).isfinite().all()
    assert model.decoder.generate(z, draws("samples")).shape == (1, 5, *shape)


# ---------------------------------------------------------------- the mean's dependency


@pytest.mark.parametrize("likelihood", ["gaussian", "mixed", "discretized_logistic"])
@EVERY_WAY
@pytest.mark.parametrize("backbone", ["lstm", "transformer"])
def test_the_sweep_of_the_mean_is_forward_mode_and_its_measures_are_captums(likelihood, channels, backbone):
    captum = pytest.importorskip("captum.attr")
    x, cells = recorded()
    config = ModelConfig(hidden=H, latent=3, likelihood=likelihood, channels=channels)
    model = StackedModel(1, (4, 2), METHODS["latent_diffusion"](), backbone, config, DiffusionConfig(L=20, hidden=8))
    initialise(model, Randomness([("cells", 0)]))
    model.decoder.head.fit([x], [cells])
    with torch.no_grad():
        for weights in model.decoder.head.parameters():
            weights += 0.2 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(1))
    mean = model.double().decoder.single_mean(0)
    z, past = draws("z").normal(2, 3)[0].double(), x[:2, :3].double()
    s, row = torch.tensor([0.1, 0.6, 1.0], dtype=torch.float64), torch.tensor([0, 1, 1])
    with torch.no_grad():
        for ours, theirs in zip(mean.tangent_sweep(z, past)(s, row), forward_sweep(mean, z, past)(s, row), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    found = dependency_measures(mean, z, past, 1e-4)
    change = (mean(z, past) - mean(0 * z, 0 * past)).detach()
    w = change / change.square().sum(dim=-1, keepdim=True)
    nodes = 600 if backbone == "transformer" else 200  # what captum needs to come near
    for k, t in ((0, 1), (1, 3)):
        attribution = captum.IntegratedGradients(lambda a, b, k=k, t=t: (mean(a, b)[:, t] * w[k, t]).sum(dim=-1))
        one = z[k : k + 1], past[k : k + 1]
        of_z, of_x = attribution.attribute(one, tuple(0 * part for part in one), n_steps=nodes, method="gausslegendre")
        torch.testing.assert_close(found.global_[k, t], of_z.sum(), rtol=0, atol=5e-3)
        torch.testing.assert_close(found.local[k, t], of_x[:, t - 1].sum(), rtol=0, atol=5e-3)


def test_an_anchor_is_dependence_on_the_last_value():
    """A state that sees the latent only, and a mean that is the value before: h_t alone would call the latent all."""
    head, x, _ = head_of("discretized_logistic")
    with torch.no_grad():
        for weights in head.parameters():
            weights.zero_()
        head.logit[..., 2:] = -50  # the anchored ones
    model = StackedModel(
        1,
        (6, 2),
        METHODS["latent_diffusion"](latent_route="every_step"),
        "lstm",
        ModelConfig(hidden=H, latent=3, likelihood="discretized_logistic", components=2),
        DiffusionConfig(L=20, hidden=8),
    )
    initialise(model, Randomness([("cells", 0)]))
    decoder = model.decoder
    head = decoder.head
    head.fit([x], [None])
    with torch.no_grad():
        head.logit[..., 1] = -50  # only the anchored one is left
    z, past = draws("z").normal(3, 3)[0], x[:3, :5]
    of_mean = dependency_measures(decoder.single_mean(0), z, past, 1e-3)
    assert (of_mean.local[:, 1:] - 1).abs().nan_to_num().max() < 0.02
    assert of_mean.global_[:, 1:].nan_to_num().abs().max() < 0.02


# ---------------------------------------------------------------- known laws


def exact_entropy_of(spec: DatasetSpec) -> float:
    return open_dataset(spec).entropy()  # type: ignore[attr-defined]


def test_the_simulators_entropy_is_the_mean_of_its_own_log_likelihood():
    spec = DatasetSpec("lattice", (("series", 20_000), ("window", 8)))
    dataset = open_dataset(spec)
    x = np.stack(dataset.load(None, np.random.default_rng(0)).series)
    log_p = dataset.log_likelihood(x)  # type: ignore[attr-defined]
    assert abs(-log_p.mean() - exact_entropy_of(spec)) < 4 * log_p.std() / len(x) ** 0.5


def nll_of(likelihood: str, channels: str, steps: int = 1500, hidden: int = 32) -> tuple[float, float, float]:
    """Of test series of `lattice`, nats per series: the model's excess over the exact law, its error, the entropy."""
    spec = DatasetSpec("lattice", (("series", 12_000), ("window", 6)))
    splits = load_splits(spec, 0)
    config = ModelConfig(hidden=hidden, latent=2, likelihood=likelihood, channels=channels)
    budget = [TrainConfig(steps=steps, batch_size=128, learning_rate=5e-3)], [DiffusionConfig(steps=2, hidden=8)]
    trained = train_stack([METHODS["no_latent"]()], [splits], [(spec.key, 0)], "lstm", config, *budget)
    x = torch.from_numpy(splits.test)[None]
    with torch.no_grad():
        own = trained.model.decoder(torch.zeros(1, x.shape[1], 2), x[:, :, :-1]).log_prob(x)[0].double().numpy()
    exact = open_dataset(spec).log_likelihood(splits.test * splits.scale + splits.mean)  # type: ignore[attr-defined]
    excess = exact - own
    return float(excess.mean()), float(exact.std() / len(exact) ** 0.5), exact_entropy_of(spec)


@pytest.mark.slow
def test_a_lattice_law_is_recovered():
    """Within three errors of the exact law; a table without anchors has to learn the walk from h_t and is behind."""
    excess, error, _ = nll_of("mixed", "autoregressive")
    assert abs(excess) < 3 * error
    of_table, _, entropy = nll_of("categorical", "autoregressive")
    assert excess < of_table < 0.06 * entropy


@pytest.mark.slow
def test_autoregressive_channels_recover_what_independent_ones_cannot():
    """`dependent` is known from `jumping`: ln 2 - H(.9) nats per step."""
    lost = 6 * (math.log(2) + 0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    together, _, _ = nll_of("mixed", "autoregressive", steps=600)
    apart, _, _ = nll_of("mixed", "independent", steps=600)
    assert apart - together > 0.7 * lost


@EVERY
def test_the_marginal_knows_dependent_channels_and_no_series(likelihood):
    """White noise in time with dependent channels: F is the law, so that a decoder that is the law pays no penalty."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, 4, (3000, 5))
    second = np.where(rng.random((3000, 5)) < 0.85, first, rng.integers(0, 4, (3000, 5)))
    raw = np.stack([first, second], axis=-1).astype(float)
    mean, scale = raw.mean(axis=(0, 1)), raw.std(axis=(0, 1))
    cells = measure_cells(raw.reshape(-1, 2), [Resolution(1)] * 2, mean, scale)
    x = torch.from_numpy((raw - mean) / scale).float()
    of_second = np.where(second == first, 0.85 + 0.15 / 4, 0.15 / 4)
    exact = torch.from_numpy((np.log(of_second) + np.log(1 / 4)).sum(axis=1))
    config = ModelConfig(hidden=H, likelihood=likelihood, channels="autoregressive")
    marginal = FittedMarginal(1, 5, 2, config)
    initialise(marginal, Randomness([("cells", 0)]))
    marginal.fit([x], [cells])
    found = marginal(x[None])[0].double()
    gap = exact - found  # what the bounded penalty of the true law would be, before its relu
    tolerance = {"discretized_logistic": 0.25}.get(likelihood, 0.06)  # nats per series
    assert abs(float(gap.mean())) < tolerance
    assert not any(weights.requires_grad for weights in marginal.parameters())


def test_f_is_fitted_once_for_methods_that_begin_with_the_same_one(monkeypatch):
    """What it is fitted to, and from, decides; the method does not."""
    monkeypatch.setattr("bench.models.marginal.UPDATES", 5)
    monkeypatch.setattr("bench.models.marginal._KEPT", kept := {})
    config = ModelConfig(hidden=8, latent=4, likelihood="mixed", channels="autoregressive")
    budget = [TrainConfig(steps=2, batch_size=16)], [DiffusionConfig(steps=2, hidden=8)]

    def fitted_by(name, seed=0, config=config, key=("cells", 0)):
        method, splits = METHODS[name](), make_splits(n=80, seed=seed)
        marginal = train_stack([method], [splits], [key], "lstm", config, *budget).model.marginal
        return torch.cat([weights.flatten() for weights in marginal.parameters()])

    first = fitted_by("proposed")
    assert len(kept) == 1
    for name in ("kl_free", "no_latent"):
        assert torch.equal(fitted_by(name), first)
    assert len(kept) == 1
    fitted_by("proposed", seed=1)
    fitted_by("proposed", key=("cells", 1))
    fitted_by("proposed", config=replace(config, components=3))
    assert len(kept) == 4
    kept.clear()
    assert torch.equal(fitted_by("kl_free"), first)
    for seed in range(20):
        fitted_by("proposed", seed=seed)
    assert len(kept) == 16


@EVERY
@pytest.mark.parametrize("channels", ["autoregressive"])
def test_every_likelihood_trains_with_the_bounded_penalty(likelihood, channels, monkeypatch):
    monkeypatch.setattr("bench.models.marginal.UPDATES", 40)
    config = ModelConfig(hidden=8, latent=4, likelihood=likelihood, channels=channels)
    budget = [TrainConfig(steps=60, batch_size=16)], [DiffusionConfig(steps=2, hidden=8)]
    trained = train_stack([METHODS["proposed"]()], [make_splits(n=80)], [("cells", 0)], "lstm", config, *budget)
    assert trained.diverged == [""]
    own = [row[4] for row in trained.curves.rows if row[3] == "validation_nll_own"]
    assert own[-1] < own[0]


@pytest.mark.parametrize("likelihood", ["gaussian", "heteroscedastic", "correlated", "mixture", "quantile", "mse"])
def test_a_gaussian_family_learns_from_the_channels_before(likelihood, monkeypatch):
    """The second channel is the first one's square, which no covariance knows."""
    monkeypatch.setattr("bench.models.marginal.UPDATES", 150)
    noise = draws("noise").normal(2000, 3, 1)[0]
    x = torch.cat([noise, noise.square() - 1 + 0.1 * draws("more").normal(2000, 3, 1)[0]], dim=-1)
    own = {}
    for channels in ("independent", "autoregressive"):
        config = ModelConfig(hidden=H, likelihood=likelihood, channels=channels, components=2)
        marginal = FittedMarginal(1, 3, 2, config)
        initialise(marginal, Randomness([("cells", 0)]))
        marginal.fit([x], [None])
        own[channels] = float(fitted(marginal.head(marginal.state.unsqueeze(1).expand(-1, len(x), -1, -1)), x[None])
                              .log_prob(x[None]).mean())  # fmt: skip
    assert own["autoregressive"] > own["independent"] + 1


def test_the_lattice_rounds_as_the_cells_of_the_data_do():
    for transform in ("identity", "log1p", "signed_log1p"):
        _, cells = recorded(transform)
        lattice = Lattice(1, 2)
        lattice.fit(0, cells)
        x = 2 * draws("x").normal(50, 6, 2)
        expected = cells.clipped(cells.rounded(cells.clipped(x[0].double().numpy())))
        np.testing.assert_allclose(lattice.rounded(x)[0].numpy(), expected, atol=1e-5)
