"""The decoder's likelihoods: probabilities of cells against torch.distributions, sampling, the marginal F."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import make_splits
from torch import distributions

from bench.contracts import DiffusionConfig, InputError, ModelConfig, TrainConfig, check_options
from bench.models.build import StackedModel
from bench.models.head import FollowingHead, make_head
from bench.models.stacked import initialise
from bench.parts.likelihoods import (
    SCORES,
    CorrelatedGaussian,
    Cumulative,
    Gaussian,
    Mixture,
    Standardised,
    Stepwise,
    WarpedGaussian,
)
from bench.randomness import Randomness
from bench.registry import BACKBONES, METHODS
from bench.sweeps.options import checked
from bench.training.stack import train_stack

R, B, T, C, H, K = 3, 5, 7, 2, 6, 4
SIGMA_MIN = 0.05
FLOOR = torch.full((C,), SIGMA_MIN)
HALF_WIDTHS = (0.05, 0.3)  # of the cells of two channels
NAMES = ("correlated", "gaussian", "heteroscedastic", "mixture", "mse", "quantile")  # see also test_cell_likelihoods
LEARNED = pytest.mark.parametrize("likelihood", [name for name in NAMES if name != "mse"])
OF_TORCH = pytest.mark.parametrize("likelihood", [name for name in NAMES if name != "quantile"])
EVERY = pytest.mark.parametrize("likelihood", NAMES)


def draws(role: str = "here", runs: int = R):
    return Randomness([("likelihoods", seed) for seed in range(runs)]).draws(role)


def normal(role: str, *shape: int, runs: int = R) -> torch.Tensor:
    return draws(role, runs).normal(*shape).double()


def config_of(likelihood: str) -> ModelConfig:
    return ModelConfig(likelihood=likelihood, sigma_min=SIGMA_MIN, components=K)


def head_of(likelihood: str, runs: int = R):
    head = make_head(runs, H, C, config_of(likelihood))
    initialise(head, Randomness([("likelihoods", seed) for seed in range(runs)]))
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in head.parameters():  # away from where training begins, so that nothing is 0 or 1 by design
            weights += 0.3 * torch.randn(weights.shape, generator=random)
        head.cells.reach.copy_(torch.tensor(HALF_WIDTHS).expand(runs, C))
        if isinstance(head, FollowingHead):
            residuals = torch.rand(1, 50, T, C, generator=random).expand(runs, -1, -1, -1) - 0.3
            head.square.copy_(head.squares(residuals, None))
    return head.double()


def truth_of(likelihood: str, head, h: torch.Tensor) -> distributions.Distribution:
    """The same distribution of x_t, built by torch from one run's h (B, T, H) and weights."""

    def linear(part):
        return h @ part.weight[0].mT + part.bias[0]

    def sigma(raw):
        return (SIGMA_MIN**2 + head.square[0] * (2 * raw).exp()).sqrt()

    if likelihood == "mixture":
        mean, raw = (linear(part).unflatten(-1, (K, C)) for part in (head.mean, head.raw_sigma))
        parts = distributions.Independent(distributions.Normal(mean, sigma(raw)), 1)
        return distributions.MixtureSameFamily(distributions.Categorical(logits=linear(head.weights)), parts)
    mean = linear(head.mean)
    if likelihood == "correlated":
        covariance = head.square[0] + SIGMA_MIN**2 * torch.eye(C, dtype=torch.float64)
        return distributions.MultivariateNormal(mean, covariance)
    scale = {
        "mse": lambda: torch.ones(C, dtype=torch.float64),
        "gaussian": lambda: head.square[0].sqrt(),
        "heteroscedastic": lambda: sigma(linear(head.raw_sigma)),
    }[likelihood]()
    return distributions.Independent(distributions.Normal(mean, scale.expand_as(mean)), 1)


def log_of_cells(truth: distributions.Distribution, x: torch.Tensor) -> torch.Tensor:
    """ln P(cells of x_t) from torch's distribution functions: x (B, T, C) -> (B, T)."""
    half = torch.tensor(HALF_WIDTHS, dtype=torch.float64)

    def between(normal, x, half):
        return (normal.cdf(x + half) - normal.cdf(x - half)).log()

    if isinstance(truth, distributions.MixtureSameFamily):
        normal = truth.component_distribution.base_dist
        of_component = between(normal, x.unsqueeze(-2), half).sum(dim=-1)
        return (truth.mixture_distribution.logits + of_component).logsumexp(dim=-1)
    if isinstance(truth, distributions.MultivariateNormal):  # the second channel given the first
        (a, b), (_, d) = truth.covariance_matrix[0, 0]
        first = distributions.Normal(truth.mean[..., 0], a.sqrt())
        mean = truth.mean[..., 1] + b / a * (x[..., 0] - truth.mean[..., 0])
        second = distributions.Normal(mean, (d - b * b / a).sqrt())
        return between(first, x[..., 0], half[0]) + between(second, x[..., 1], half[1])
    return between(truth.base_dist, x, half).sum(dim=-1)


@OF_TORCH
def test_probabilities_and_means_are_torchs(likelihood):
    head, h = head_of(likelihood), normal("h", B, T, H)
    p = head(h)
    x = p.sample(draws("x")).detach()  # near enough for torch, whose distribution functions are 0 and 1 in the tails
    assert p.log_prob(x).shape == (R, B)
    assert (p.log_prob(x) < 0).all()
    assert p.mean.shape == (R, B, T, C)
    for run in range(R):
        alone = make_head(1, H, C, config_of(likelihood)).double()
        alone.load_state_dict({name: value[run : run + 1] for name, value in head.state_dict().items()})
        truth = truth_of(likelihood, alone, h[run])
        torch.testing.assert_close(p.log_prob_steps(x)[run], log_of_cells(truth, x[run]), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(p.mean[run], truth.mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(alone(h[run : run + 1]).log_prob(x[run : run + 1])[0], p.log_prob(x)[run])


@EVERY
def test_the_probabilities_of_all_cells_sum_to_one(likelihood):
    """Of two channels together, over a lattice of cells that fill the plane."""
    head, h = head_of(likelihood, runs=1), normal("h", 1, 1, H, runs=1)
    if likelihood == "correlated":
        head.cells.reach.fill_(0.02)  # a channel given the exact value before it: a probability where cells are small
    half = head.cells.reach[0]
    span = 6.0
    axes = [torch.arange(-span, span, 2 * width, dtype=torch.float64) for width in half.tolist()]
    lattice = torch.cartesian_prod(*axes)[None, :, None]
    p = head(h.expand(1, lattice.shape[1], 1, H))
    assert p.log_prob(lattice).exp().sum().item() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("likelihood", ["gaussian", "heteroscedastic", "correlated", "mixture"])
def test_samples_have_the_mean_and_the_covariance_of_their_distribution(likelihood):
    n, head, one = 40_000, head_of(likelihood, runs=1), normal("h", 1, 1, H, runs=1)
    sampled = head(one.expand(1, n, 1, H)).sample(draws("samples", 1))[0, :, 0]
    truth = truth_of(likelihood, head, one[0])
    torch.manual_seed(0)
    theirs = truth.sample((n,))[:, 0, 0]
    spread = theirs.std(dim=0)
    assert ((sampled.mean(dim=0) - truth.mean[0, 0]).abs() < 5 * spread / n**0.5).all()
    scale = spread.outer(spread)
    assert ((sampled.T.cov() - theirs.T.cov()).abs() / scale < 0.05).all()
    for point in (-1.0, 0.0, 1.0):  # a mixture's shape, not only its moments
        at = truth.mean[0, 0] + point * spread
        assert ((sampled < at).double().mean(0) - (theirs < at).double().mean(0)).abs().max() < 0.02


def test_a_sample_under_mse_is_the_mean():
    p = head_of("mse")(normal("h", B, T, H))
    assert torch.equal(p.sample(draws()), p.mean)


@LEARNED
def test_no_deviation_goes_below_its_bound(likelihood):
    """Residuals of zero, however far the weights go: a cell is only as probable as the floor allows."""
    head, h = head_of(likelihood), normal("h", B, T, H)
    with torch.no_grad():
        head.square.zero_()
        for name, weights in head.named_parameters():
            if name.startswith("raw_sigma"):
                weights.fill_(0 if name.endswith("weight") else -1e4)
    p = head(h)
    # under `quantile` of g(x), which is x before it is fitted
    half = torch.tensor(HALF_WIDTHS, dtype=torch.float64) / SIGMA_MIN
    most = T * (torch.special.ndtr(half) - torch.special.ndtr(-half)).log().sum()
    assert (p.log_prob(p.mean) <= most + 1e-4).all()
    if likelihood != "mixture":
        torch.testing.assert_close(p.log_prob(p.mean), most.expand(R, B), rtol=0, atol=1e-3)


@EVERY
def test_the_marginal_is_the_best_of_its_family_that_knows_no_series(likelihood):
    """F of skewed, correlated data: no worse than the Gaussian's, and what torch says of its parameters."""
    noise = normal("noise", 400, T, C, runs=1)[0]
    skewed = (noise + 0.8 * noise.flip(-1)).exp()
    windows = ((skewed - skewed.mean(0)) / skewed.std(0)).float()
    config = ModelConfig(hidden=8, latent=3, likelihood=likelihood, components=K, sigma_min=SIGMA_MIN)
    model = StackedModel(2, (T, C), METHODS["proposed"](), "lstm", config, DiffusionConfig())
    model.fit_marginal([windows, windows[:200]])
    found = model.marginal_log_prob(torch.stack([windows, windows])).mean(dim=-1)
    cells = T * C * math.log(1e-3)  # continuous ones are narrow: their probability is the density times their width
    sigma = torch.ones(T, C) if likelihood == "mse" else windows.std(dim=0, correction=0)
    gaussian = distributions.Normal(windows.mean(dim=0), sigma).log_prob(windows).sum(dim=(1, 2)).mean() + cells
    if likelihood in ("gaussian", "mse", "heteroscedastic"):
        torch.testing.assert_close(found[0], gaussian, rtol=1e-5, atol=1e-3)
    else:
        assert found[0] > gaussian + T * 0.1
    if likelihood == "correlated":
        truth = distributions.MultivariateNormal(
            windows.mean(dim=0),
            torch.stack([windows[:, t].T.cov(correction=0) for t in range(T)]) + SIGMA_MIN**2 * torch.eye(C),
        )
        expected = truth.log_prob(windows).sum(dim=-1).mean() + cells
        torch.testing.assert_close(found[0], expected, rtol=1e-5, atol=2e-3)
    assert found[1] < found[0]  # the second run knows half of the windows
    kept = StackedModel(1, (T, C), METHODS["proposed"](), "lstm", config, DiffusionConfig())
    kept.load_state_dict(model.state_of(0))
    assert torch.equal(kept.marginal_log_prob(windows[None])[0], model.marginal_log_prob(torch.stack([windows] * 2))[0])


def test_em_finds_a_mixture_and_survives_ties():
    """Two groups far apart, and a channel that is 0 in half of the series."""
    noise = normal("noise", 1000, 1, 2, runs=1)[0]
    group = torch.arange(1000).remainder(2).double()[:, None]
    x = torch.stack([0.3 * noise[:, :, 0] + 4 * group - 2, noise[:, :, 1] * group], dim=-1)
    p = Mixture.marginal(x.float(), FLOOR, 2)
    order = p.means[0, :, 0].argsort()
    torch.testing.assert_close(p.log_weights[0].exp(), torch.tensor([0.5, 0.5]), rtol=0, atol=0.01)
    torch.testing.assert_close(p.means[0, order, 0], torch.tensor([-2.0, 2.0]), rtol=0, atol=0.05)
    torch.testing.assert_close(p.sigmas[0, order, 0], torch.tensor([0.3, 0.3]), rtol=0, atol=0.03)
    torch.testing.assert_close(p.sigmas[0, order[0], 1], torch.tensor(SIGMA_MIN), rtol=0, atol=1e-6)
    constant = Mixture.marginal(torch.zeros(10, 3, 2), FLOOR, 4)
    assert all(values.isfinite().all() for values in (constant.log_weights, constant.means, constant.sigmas))


@LEARNED
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_likelihood_trains_with_the_bounded_penalty(likelihood, backbone):
    config = ModelConfig(hidden=8, latent=4, likelihood=likelihood)
    budget = [TrainConfig(steps=60, batch_size=16)], [DiffusionConfig(steps=2, hidden=8)]
    trained = train_stack([METHODS["proposed"]()], [make_splits(n=80)], [("likelihoods", 0)], backbone, config, *budget)
    assert trained.diverged == [""]
    own = [row[4] for row in trained.curves.rows if row[3] == "validation_nll_own"]
    assert own[-1] < own[0]


def test_an_unknown_likelihood_and_too_few_components_are_refused():
    with pytest.raises(InputError, match=r"^here: model.likelihood: unknown likelihood 'gausian': did you"):
        checked(ModelConfig, {"likelihood": "gausian"}, "here", "model")
    with pytest.raises(InputError, match=r"model.components = 1: expected a whole number >= 2"):
        check_options(ModelConfig(components=1), "model")


def warped(n: int = 500) -> tuple[WarpedGaussian, torch.Tensor]:
    """A channel of heavy tails and one that is 0 in most series, and a distribution whose g is fitted to them."""
    noise = normal("values", n, T, C, runs=1)[0]
    x = torch.stack([noise[..., 0] ** 3, noise[..., 1].clamp(min=0.5) - 0.5], dim=-1)
    knots = WarpedGaussian.fitted_knots(x, FLOOR).expand(R, 1, 1, C, -1)
    sigma = draws("sigma").uniform(1, 1, C).double() + 0.3
    return WarpedGaussian(normal("location", B, T, C), sigma, knots), x


def test_a_warped_gaussian_has_narrow_cells_of_its_density_and_its_mean_and_samples_are_its_own():
    p, _ = warped()
    fine = torch.linspace(-9, 9, 200_001, dtype=torch.float64)
    for channel in range(C):
        one = WarpedGaussian(
            p.location[:1, :1, :1, [channel]], p.sigma[:1, :, :, [channel]], p.knots[:1, :, :, [channel]]
        )
        grid = one.unwarp(fine[None, :, None, None]).flatten()  # dense where the density jumps
        density = one.log_prob(grid[None, :, None, None]).exp()[0] / 1e-3
        torch.testing.assert_close(torch.trapezoid(density, grid), torch.ones(()).double(), rtol=0, atol=1e-3)
        mean = torch.trapezoid(density * grid, grid)
        torch.testing.assert_close(one.mean.squeeze(), mean, rtol=0, atol=3e-3)
        below = torch.cumulative_trapezoid(density, grid)
        many = WarpedGaussian(one.location.expand(1, 40_000, 1, 1), one.sigma, one.knots)
        sampled = many.sample(draws("samples", 1)).flatten().sort().values
        there = below[torch.searchsorted(grid, sampled).clamp(1, len(below)) - 1]
        assert (there - torch.linspace(0, 1, 40_000).double()).abs().max() < 1.63 / 40_000**0.5  # Kolmogorov, 1 %
    assert p.mean.shape == (R, B, T, C)


def test_the_quantile_map_makes_a_channel_normal_and_is_undone():
    p, x = warped()
    windows = x[:B].expand(R, B, T, C)
    torch.testing.assert_close(p.unwarp(p.warp(windows)[0]), windows, rtol=0, atol=1e-9)
    y = p.warp(x.expand(R, *x.shape))[0][0, ..., 0].flatten()
    for score in (-1.5, -0.5, 0.0, 0.5, 1.5):
        share = (y <= score).double().mean()
        assert abs(share - torch.special.ndtr(torch.tensor(score))) < 0.002  # between two knots, of 3,500 values
    assert (p.warp(windows)[1] <= -torch.tensor(SIGMA_MIN).log() + 1e-9).all()  # steeper would be a spike at the ties
    torch.testing.assert_close(
        p.warp(windows)[1],
        torch.autograd.functional.jvp(lambda v: p.warp(v)[0], windows, torch.ones_like(windows))[1].log(),
    )


def test_families_agree_where_they_meet():
    """One component, or no correlation: the plain Gaussian."""
    x, mean = normal("x", B, T, C), normal("mean", B, T, C)
    sigma = draws("sigma").uniform(1, 1, C).double() + 0.5
    plain = Gaussian(mean, sigma)
    nothing = torch.zeros(R, B, T, 1, dtype=torch.float64)
    of_one = Mixture(nothing, mean.unsqueeze(-2), sigma.unsqueeze(-2).expand(R, B, T, 1, C))
    torch.testing.assert_close(of_one.log_prob(x), plain.log_prob(x))
    diagonal = CorrelatedGaussian(mean, torch.diag_embed(sigma))
    torch.testing.assert_close(diagonal.log_prob(x), plain.log_prob(x))
    straight = torch.tensor(SCORES, dtype=torch.float64).expand(R, 1, 1, C, -1)
    torch.testing.assert_close(WarpedGaussian(mean, sigma, straight).log_prob(x), plain.log_prob(x))
    torch.testing.assert_close(WarpedGaussian(mean, sigma, straight).mean, mean)


def test_a_covariance_without_a_factor_is_no_number_and_the_others_keep_theirs():
    broken = torch.stack([torch.eye(C), -torch.eye(C)]).double()  # the second is no covariance
    found = CorrelatedGaussian.of_covariance(torch.zeros(2, C).double(), broken, FLOOR)
    expected = torch.linalg.cholesky(broken[0] + SIGMA_MIN**2 * torch.eye(C).double())
    torch.testing.assert_close(found.factor[0], expected)
    assert found.factor[1].isnan().all()


@EVERY
def test_steps_add_up_to_the_series(likelihood):
    p, x = head_of(likelihood)(normal("h", B, T, H)), normal("x", B, T, C)
    assert isinstance(p, Stepwise)
    steps = p.log_prob_steps(x)
    assert steps.shape == (R, B, T)
    torch.testing.assert_close(steps.sum(dim=-1), p.log_prob(x))
    moved = x.clone()
    moved[:, :, 3] += 1  # one step's value moves that step only
    changed = (p.log_prob_steps(moved) != steps).any(dim=(0, 1))
    assert changed.tolist() == [t == 3 for t in range(T)]


@EVERY
def test_the_distribution_function_at_the_ends_of_a_cell_gives_its_probability(likelihood):
    """P(X_c <= u_c) - P(X_c < l_c) is the channel's, given those before: together they are the step's."""
    p = head_of(likelihood)(normal("h", B, T, H))
    assert isinstance(p, Cumulative)
    x = p.sample(draws("x")).double().detach().requires_grad_()
    below, upto = p.cdf(x)
    assert ((below > 0) & (below < upto) & (upto < 1)).all()
    torch.testing.assert_close((upto - below).log().sum(dim=-1), p.log_prob_steps(x), rtol=1e-6, atol=1e-6)
    first = torch.autograd.grad(below[..., 0].sum(), x)[0][..., 1]
    assert (first == 0).all()  # the first channel is told by nothing that comes after it
    if isinstance(p, Standardised):
        inside = torch.special.ndtr(p.standardised(x))
        assert ((below < inside) & (inside < upto)).all()
    else:
        assert likelihood == "mixture"


@pytest.mark.parametrize("likelihood", ["gaussian", "heteroscedastic", "correlated", "mixture", "quantile"])
def test_the_distribution_function_of_its_own_samples_is_uniform(likelihood):
    n, head, one = 20_000, head_of(likelihood, runs=1), normal("h", 1, 1, H, runs=1)
    head.cells.reach.fill_(1e-4)
    p = head(one.expand(1, n, 1, H))
    below, upto = p.cdf(p.sample(draws("samples", 1)).double())
    u = ((below + upto) / 2)[0, :, 0]  # of narrow cells
    for channel in u.unbind(dim=-1):
        assert (channel.sort().values - torch.linspace(0, 1, n).double()).abs().max() < 1.63 / n**0.5  # Kolmogorov, 1 %
    assert abs(u.T.corrcoef()[0, 1]) < 4 / n**0.5  # given the channels before, nothing is left to tell
