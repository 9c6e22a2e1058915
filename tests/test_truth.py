"""What can be known exactly: the ELBO of a linear model, and the likelihood that generated the data."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bench.contracts import DatasetSpec, DiffusionConfig, ModelConfig, Step, TrainConfig
from bench.loading.windows import load_splits
from bench.parts.likelihoods import Gaussian
from bench.parts.objectives import kl_to_prior
from bench.randomness import Randomness
from bench.registry import DATASETS, METHODS
from bench.training.stack import train_stack

T, C, D, SIGMA = 4, 2, 3, 0.7
CELLS = T * C * math.log(1e-3)  # continuous values have narrow cells: ln P is the log-density plus their log-width


class LinearModel:
    """x = W z + b + sigma e, z ~ N(0, I), with an encoder q(z | x) = N(A (x - b), diag s^2); float64, R = 1."""

    latent = D

    def __init__(self, exact: bool) -> None:
        rng = np.random.default_rng(0)
        columns = np.linalg.qr(rng.standard_normal((T * C, D)))[0] * [1.5, 0.8, 0.3]  # orthogonal: a diagonal posterior
        self.w, self.b = torch.tensor(columns), torch.tensor(rng.standard_normal(T * C))
        precision = 1 + (self.w**2).sum(0) / SIGMA**2
        self.a = (self.w / SIGMA**2 / precision).T
        self.log_s = -0.5 * precision.log()
        if not exact:
            self.a = self.a * 0.7 + 0.1
            self.log_s = self.log_s + torch.tensor([0.5, -0.4, 0.2])

    def encoder(self, x):
        mean = (x.flatten(2) - self.b) @ self.a.T
        return torch.cat([mean, self.log_s.expand_as(mean)], dim=-1)

    def decoder(self, z, past):
        mean = (z @ self.w.T + self.b).unflatten(-1, (T, C))
        return Gaussian(mean, torch.tensor(SIGMA, dtype=torch.float64))

    def log_p(self, x):
        """Exact: x ~ N(b, W W' + sigma^2 I)."""
        covariance = self.w @ self.w.T + SIGMA**2 * torch.eye(T * C, dtype=torch.float64)
        normal = torch.distributions.MultivariateNormal(self.b, covariance)
        return normal.log_prob(x.flatten(-2)) + CELLS

    def sample(self, n):
        rng = np.random.default_rng(1)
        z, e = torch.tensor(rng.standard_normal((n, D))), torch.tensor(rng.standard_normal((n, T * C)))
        return (z @ self.w.T + self.b + SIGMA * e).unflatten(-1, (T, C))


def elbos(model, x, repeats=4000):
    """The ELBO of every series by the method's own objective: its mean and standard error over draws of z."""
    method = METHODS["latent_diffusion"]()
    many = x[:, None].expand(-1, repeats, -1, -1)  # each series is a run, its repeats are the batch
    draws = Randomness([("truth", k) for k in range(len(x))]).draws("objective")
    q = method.posterior(model, many)
    log_p = model.decoder(q.rsample(draws), method.decoder_input(many, draws)).log_prob(many)
    values = log_p - q.kl().sum(dim=-1)
    terms = method.objective(model, many, Step(0, 1), Randomness([("truth", k) for k in range(len(x))]).draws("o"))
    assert torch.isclose(
        -sum(terms.values()), values.mean(1), atol=6 * float(values.std(1).max()) / math.sqrt(repeats)
    ).all()
    assert torch.allclose(terms["kl"], kl_to_prior(q))
    return values.mean(dim=1), values.std(dim=1) / math.sqrt(repeats)


@pytest.mark.parametrize("exact", [True, False])
def test_the_elbo_of_a_linear_model_never_exceeds_its_exact_likelihood(exact):
    model = LinearModel(exact)
    x = model.sample(30)
    mean, error = elbos(model, x)
    gap = model.log_p(x) - mean
    assert (gap > -4 * error - 1e-9).all()
    if exact:  # the bound is tight where q is the posterior
        assert (gap.abs() < 4.5 * error).all()
    else:
        assert gap.min() > 0.05


@pytest.mark.parametrize("name", ["latent_diffusion", "kl_annealing"])
def test_no_trained_model_beats_the_truth_on_linear_gaussian(name):
    spec = DatasetSpec("linear_gaussian", (("series", 1500),))
    splits = load_splits(spec, 0, None)
    method = METHODS[name]()
    config = ModelConfig(hidden=32, latent=4)
    trained = train_stack(
        [method], [splits], [(spec.key, 0)], "lstm", config, [TrainConfig(steps=300)], [DiffusionConfig(steps=1)]
    )
    x = torch.from_numpy(splits.test)[None]
    with torch.no_grad():
        q = method.posterior(trained.model, x)
        z = q.rsample(Randomness([(spec.key, 0)]).draws("z"))
        elbo = trained.model.decoder(z, x[:, :, :-1]).log_prob(x) - q.kl().sum(dim=-1)
    truth = DATASETS["linear_gaussian"](series=1500).log_likelihood(splits.test, splits.mean, splits.scale)
    truth = truth + splits.test[0].size * math.log(1e-3)  # of the cells, as the model's
    excess = truth - elbo[0].numpy()  # nats per series by which the truth is better
    error = excess.std() / math.sqrt(len(excess))
    assert excess.mean() > -3 * error
    assert truth.mean() > float(trained.model.marginal_log_prob(x).mean())  # and the truth does beat the marginal


def test_the_bounded_penalty_is_zero_where_the_decoder_knows_no_more_than_the_marginal():
    """With a decoder that is the marginal, ln p(x | z^k) = F(x), so L_CS = 0 and its literal form is not."""
    method = METHODS["proposed"](N=2, M=18)
    x = torch.randn(1, 6, T, C, generator=torch.Generator().manual_seed(0))
    standard = Gaussian(torch.zeros_like(x), torch.ones(1))
    model = SimpleNamespace(
        alpha_bar=torch.linspace(1, 0, 21),
        latent=D,
        encoder=lambda x: x.flatten(2)[..., :D],
        decoder=lambda z, past: standard,
        marginal_log_prob=lambda x: standard.log_prob(x),
    )
    draws = lambda: Randomness([("truth", 0)]).draws("o")  # noqa: E731
    bounded = method.objective(model, x, Step(0, 1), draws())
    literal = METHODS["proposed"](N=2, M=18, collapse_penalty="literal").objective(model, x, Step(0, 1), draws())
    none = METHODS["proposed"](N=2, M=18, collapse_penalty="none").objective(model, x, Step(0, 1), draws())
    assert bounded["collapse_penalty"].item() == 0
    assert literal["collapse_penalty"].item() < -1
    assert "collapse_penalty" not in none
    # L_VI by hand: i is drawn from 0..N, weighted by alpha_bar_{gamma i}
    i = draws()
    i.uniform(6, T - 1, 1)
    steps = i.steps(0, 2, 6)
    expected = -(model.alpha_bar[2 * steps] * standard.log_prob(x)).mean()
    assert torch.isclose(none["variational"], expected).all()
