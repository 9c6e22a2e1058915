"""The scale of a likelihood follows the residuals at every budget: their root mean square in units of it is about 1."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.contracts import DatasetSpec, DiffusionConfig, ModelConfig, Splits, TrainConfig
from bench.loading.windows import load_splits
from bench.metrics.decoder_calibration import distance_from_uniform
from bench.models.build import StackedModel
from bench.models.head import FollowingHead
from bench.parts.likelihoods import Mixture, Standardised
from bench.randomness import Randomness
from bench.registry import LIKELIHOODS, METHODS
from bench.training.device_windows import Windows, validation_series
from bench.training.stack import train_stack

FAMILIES = pytest.mark.parametrize(
    "likelihood", [name for name in LIKELIHOODS if issubclass(LIKELIHOODS[name], FollowingHead)]
)
OVERFITTED = pytest.mark.xfail(strict=True, reason="bins of smooth channels overfit: distance .14")
OF_CELLS = [
    *itertools.product(["discretized_logistic", "mixed"], [800, 3000]),
    ("categorical", 800),
    pytest.param("categorical", 3000, marks=OVERFITTED),
]
SINES = DatasetSpec("sines", (("series", 600),))


@pytest.fixture(autouse=True)
def quick_marginals(monkeypatch: pytest.MonkeyPatch) -> None:
    """The marginal of the training windows has no part in any of this."""
    monkeypatch.setattr("bench.models.marginal.UPDATES", 1)


def standardised(p: object, x: Tensor) -> Tensor:
    """Residuals in units of the deviation that p states."""
    if isinstance(p, Standardised):
        return p.standardised(x)
    assert isinstance(p, Mixture)
    weights = p.log_weights.exp().unsqueeze(-1)
    variance = (weights * (p.sigmas.square() + p.means.square())).sum(dim=-2) - p.mean.square()
    return (x - p.mean) / variance.sqrt()


def ratios(model: StackedModel, method: object, x: Tensor) -> np.ndarray:
    """Per channel, (C,)."""
    training = model.training
    model.eval()
    with torch.no_grad():
        z = method.posterior(model, x).rsample(Randomness([("scale", 0)]).draws("z"))  # type: ignore[attr-defined]
        found = standardised(model.decoder(z, x[:, :, :-1]), x)
    model.train(training)
    return found.square().mean(dim=(0, 1, 2)).sqrt().numpy()


def check(likelihood: str, splits: Splits, key: str, updates: int, name: str = "latent_diffusion") -> list[np.ndarray]:
    """The ratios half way on windows of training, with the running scale, and on validation windows at the end."""
    method, seen = METHODS[name](), []
    train = Windows([splits.train], torch.device("cpu")).parts[0][None, :: max(1, len(splits.train) // 256)]

    def look(model: StackedModel, step: int) -> None:
        seen.append(ratios(model, method, train))

    config = ModelConfig(hidden=16, latent=4, likelihood=likelihood, components=3)
    budget = TrainConfig(steps=updates, batch_size=32)
    diffusion = DiffusionConfig(steps=2, hidden=8)
    trained = train_stack([method], [splits], [(key, 0)], "lstm", config, [budget], [diffusion], watch=look, looks=2)
    assert trained.diverged == [""]
    validation = validation_series([splits], Randomness([(key, 0)])).padded
    return [seen[0], ratios(trained.model, method, validation)]


@FAMILIES
def test_residuals_have_the_stated_scale_on_sines(likelihood):
    for found in check(likelihood, load_splits(SINES, 0, None), SINES.key, 500):
        assert (found > 0.8).all(), found
        assert (found < 1.25).all(), found


def test_masked_training_leaves_the_scale_of_the_full_past():
    """`kl_free` hides three steps in ten: its running scale is too wide for the past that it generates with."""
    masked, full = check("gaussian", load_splits(SINES, 0, None), SINES.key, 400, "kl_free")
    assert (masked < 1).all()
    assert (abs(full - 1) < 0.05).all()


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(("likelihood", "updates"), OF_CELLS)
def test_likelihoods_of_cells_are_calibrated_on_energy(likelihood, updates, data_dir: Path):
    """They have no deviation to follow the residuals: where values fall in their distributions, at small budgets.

    On windows that share blocks with training: other blocks have other levels, which `categorical` cannot follow (its
    distance is .15 to .21 there, that of the other two .04 to .07). The rate is constant, so that the model after 400
    of 800 updates is the one that a budget of 400 ends with.
    """
    spec = DatasetSpec("energy")
    splits, method = load_splits(spec, 0, data_dir), METHODS["no_latent"]()
    config = ModelConfig(hidden=16, latent=4, likelihood=likelihood, channels="autoregressive")
    budget, diffusion = TrainConfig(steps=updates, batch_size=32), DiffusionConfig(steps=2, hidden=8)
    x = torch.from_numpy(splits.held_out[:: max(1, len(splits.held_out) // 512)])[None]
    found: dict[int, float] = {}

    def look(model: StackedModel, step: int) -> None:
        training = model.training
        model.eval()
        with torch.no_grad():
            below, upto = model.decoder(torch.zeros(1, x.shape[1], 4), x[:, :, :-1]).cdf(x)
        model.train(training)
        u = below + Randomness([("scale", 0)]).draws("u").uniform(*x.shape[1:]) * (upto - below)
        found[step] = float(distance_from_uniform(u.flatten(0, 2)).mean())

    train_stack([method], [splits], [(spec.key, 0)], "lstm", config, [budget], [diffusion], watch=look, looks=2)
    assert found.keys() == {updates // 2, updates}
    assert max(found.values()) <= 0.1, found


@pytest.mark.data
@pytest.mark.slow
@FAMILIES
def test_residuals_have_the_stated_scale_on_energy(likelihood, data_dir: Path):
    spec = DatasetSpec("energy")
    for found in check(likelihood, load_splits(spec, 0, data_dir), spec.key, 800):
        assert 0.8 < np.sqrt(np.square(found).mean()) < 1.25, found
        assert 0.8 < np.median(found) < 1.25, found


@pytest.mark.data
@pytest.mark.slow
@FAMILIES
def test_residuals_have_the_stated_scale_on_energy_after_3000_updates(likelihood, data_dir: Path):
    spec = DatasetSpec("energy")
    found = check(likelihood, load_splits(spec, 0, data_dir), spec.key, 3000)[-1]
    assert 0.8 < np.sqrt(np.square(found).mean()) < 1.25, found
    assert 0.8 < np.median(found) < 1.25, found
