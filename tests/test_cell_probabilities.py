"""Probabilities of cells in float32 against float64, and the cells of torch against those of numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import erfcx

from bench.loading.cells import MeasuredCells
from bench.parts.cells import ContinuousCells, MeasuredIntervals, log_probability

WIDTHS = (1e-3, 3e-3, 1e-2, 0.1, 0.5, 1.0, 2.0, 3.5, 20.0)


def truth(middle: np.ndarray, width: np.ndarray) -> np.ndarray:
    """ln P by Gauss's rule with 400 nodes in float64, relative to the density at the nearest point of the cell."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    z = middle[..., None] + width[..., None] / 2 * nodes
    nearest = np.clip(0, middle - width / 2, middle + width / 2)
    relative = np.exp((nearest[..., None] ** 2 - z**2) / 2) @ weights * width / 2
    return np.log(relative) - nearest**2 / 2 - np.log(2 * np.pi) / 2


@pytest.mark.parametrize("width", WIDTHS)
def test_log_probabilities_are_those_of_float64(width):
    middle = torch.linspace(-40, 40, 641)
    found = log_probability(middle, torch.tensor(width))
    expected = truth(middle.double().numpy(), torch.full_like(middle, width).double().numpy())
    assert (found <= 0).all()
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=2e-6)


def test_the_reference_is_scipys_where_scipy_can_say_it():
    edge = np.linspace(0, 30, 31)  # P(Z > edge) = erfcx(edge / sqrt 2) exp(-edge^2 / 2) / 2, a cell without end
    upto = np.full_like(edge, 12.0)
    tail = np.log(erfcx(edge / np.sqrt(2)) / 2) - edge**2 / 2
    np.testing.assert_allclose(truth(edge + upto / 2, upto), tail, atol=1e-9)


def test_gradients_are_finite_differences():
    generator = np.random.default_rng(0)
    middle, width = generator.uniform(-40, 40, 400), np.exp(generator.uniform(np.log(1e-3), np.log(3.5), 400))
    at = [torch.tensor(value, dtype=torch.float32).requires_grad_() for value in (middle, width)]
    of_middle, of_width = torch.autograd.grad(log_probability(*at).sum(), at)
    middle, width = (value.detach().double().numpy() for value in at)
    h = 1e-4
    slope = (truth(middle + h, width) - truth(middle - h, width)) / (2 * h)
    np.testing.assert_allclose(of_middle.numpy(), slope, rtol=2e-4, atol=2e-4)
    h = 1e-3 * width
    slope = (truth(middle, width + h) - truth(middle, width - h)) / (2 * h)
    np.testing.assert_allclose(of_width.numpy(), slope, rtol=2e-4)


def test_gradients_of_parameters_of_other_shapes_are_summed():
    x, mean, sigma = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(3), torch.ones(1)
    mean.requires_grad_()
    sigma.requires_grad_()
    of_mean, of_sigma = torch.autograd.grad(log_probability((x - mean) / sigma, 1e-3 / sigma).sum(), (mean, sigma))
    torch.testing.assert_close(of_mean, x.sum(dim=0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(of_sigma, (x.square() - 1).sum()[None], rtol=1e-4, atol=1e-3)


def measured(transform: str) -> tuple[MeasuredCells, np.ndarray]:
    """Whole numbers under a transform, a channel near 755 with tenths, and one without a grid."""
    generator = np.random.default_rng(0)
    first = 3 if transform == "signed_log1p" else 0
    raw = np.stack([generator.integers(-first, 400, 900) * 1.0, 755 + generator.integers(-90, 90, 900) / 10], axis=-1)
    recorded = raw.copy()
    if transform != "identity":
        recorded[:, 0] = np.sign(raw[:, 0]) * np.log1p(np.abs(raw[:, 0]))
    recorded = np.concatenate([recorded, generator.standard_normal((900, 1))], axis=-1)
    mean, scale = recorded.mean(axis=0), recorded.std(axis=0)
    widths, nothing = np.array([1.0, 0.1, 1e-3 * scale[2]]), np.zeros(3)
    kinds = (transform, "identity", "identity")
    cells = MeasuredCells(kinds, widths, nothing, nothing, nothing, ((), (), ()), mean, scale)
    return cells, ((recorded - mean) / scale).astype(np.float32)


@pytest.mark.parametrize("transform", ["identity", "log1p", "signed_log1p"])
def test_the_cells_of_torch_are_those_of_numpy(transform):
    cells, x = measured(transform)
    torchs = MeasuredIntervals(2, 3)
    torchs.fit(1, cells)
    windows = torch.from_numpy(x).reshape(1, 30, 30, 3).expand(2, -1, -1, -1)
    middle, width = torchs.cell(windows)
    low, high = cells.interval(x.astype(np.float64))
    np.testing.assert_allclose(width.expand_as(windows)[1].reshape(-1, 3).numpy(), high - low, rtol=1e-4)
    np.testing.assert_allclose(middle[1].reshape(-1, 3).numpy(), (low + high) / 2, atol=2e-6)
    plain = ContinuousCells().cell(windows[:1])
    torch.testing.assert_close(middle[0], plain[0][0])  # a run without cells of its own
    torch.testing.assert_close(width.expand_as(windows)[0], plain[1].expand_as(windows[0]))
    again = MeasuredIntervals(2, 3)
    assert again.linear
    again.load_state_dict(torchs.state_dict())
    assert again.linear == (transform == "identity")
    assert torch.equal(again.cell(windows)[1], width)
    alone = torchs.of_run(1).cell(windows[1:])
    assert torch.equal(alone[0], middle[1:])
