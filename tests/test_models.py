"""The networks: both LSTM kernels are torch's LSTM, and a stacked run is the run alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.models.lstm import LSTM, _native, _stacked
from bench.models.stacked import Flat, Linear, RowAdam, initialise
from bench.randomness import Randomness


def lstm_of(runs: int, layers: int, dtype: torch.dtype = torch.float64) -> LSTM:
    module = LSTM(runs, inputs=3, hidden=4, layers=layers)
    initialise(module, Randomness([("tests", seed) for seed in range(runs)]))
    return module.to(dtype)


@pytest.mark.parametrize("layers", [1, 2])
def test_both_kernels_are_torchs_lstm(layers):
    module = lstm_of(2, layers)
    u = torch.randn(2, 5, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for run in range(2):
        reference = nn.LSTM(3, 4, layers, batch_first=True).double()
        with torch.no_grad():
            for layer, (ih, hh, bias) in enumerate(module.layers):
                getattr(reference, f"weight_ih_l{layer}").copy_(ih[run])
                getattr(reference, f"weight_hh_l{layer}").copy_(hh[run])
                getattr(reference, f"bias_ih_l{layer}").copy_(bias[run])
                getattr(reference, f"bias_hh_l{layer}").zero_()
        expected = reference(u[run])[0]
        torch.testing.assert_close(_native(u, module.layers)[run], expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(_stacked(u, module.layers)[run], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layers", [1, 2])
def test_both_kernels_have_the_same_gradients(layers):
    module = lstm_of(3, layers)
    generator = torch.Generator().manual_seed(1)
    u = torch.randn(3, 5, 7, 3, dtype=torch.float64, generator=generator)
    weight = torch.randn(3, 5, 7, 4, dtype=torch.float64, generator=generator)
    gradients = []
    for kernel in (_native, _stacked):
        module.zero_grad()
        (kernel(u, module.layers) * weight).sum().backward()
        gradients.append([p.grad.clone() for p in module.parameters()])
    for native, stacked in zip(*gradients, strict=True):
        assert native.abs().max() > 1e-3
        torch.testing.assert_close(native, stacked, rtol=0, atol=1e-10)


def test_initial_weights_depend_on_the_name_and_the_seed_not_on_the_neighbours():
    together, alone = Linear(3, 5, 4), Linear(1, 5, 4)
    initialise(together, Randomness([("a", 0), ("a", 1), ("b", 1)]))
    initialise(alone, Randomness([("a", 1)]))
    assert torch.equal(together.weight[1], alone.weight[0])
    assert not torch.equal(together.weight[0], together.weight[1])
    assert not torch.equal(together.weight[1], together.weight[2])


def test_row_adam_is_torchs_adam_per_run():
    rates = torch.tensor([1e-2, 3e-3])
    module = Linear(2, 5, 3)
    initialise(module, Randomness([("a", 0), ("a", 1)]))
    references = []
    for run in range(2):
        layer = nn.Linear(5, 3)
        layer.load_state_dict(
            {"weight": module.weight[run].detach().clone(), "bias": module.bias[run].detach().clone()}
        )
        references.append((layer, torch.optim.Adam(layer.parameters(), lr=float(rates[run]))))
    flat = Flat([module])
    optimiser = RowAdam(flat, rates, clip_norm=0.5)
    x = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(0))
    for _ in range(20):
        optimiser.step(flat.gradient(module(x).square().sum()), torch.tensor([True, True]))
        for run, (layer, adam) in enumerate(references):
            adam.zero_grad()
            layer(x[run]).square().sum().backward()
            nn.utils.clip_grad_norm_(layer.parameters(), 0.5)
            adam.step()
    for run, (layer, _) in enumerate(references):
        torch.testing.assert_close(module.weight[run], layer.weight, rtol=1e-5, atol=1e-6)


def test_a_row_that_is_inactive_or_not_finite_stays():
    module = Linear(3, 2, 2)
    initialise(module, Randomness([("a", seed) for seed in range(3)]))
    flat = Flat([module])
    before = flat.values.clone()
    gradient = torch.ones_like(before)
    gradient[1, 0] = float("nan")
    moved = RowAdam(flat, torch.full((3,), 0.1), clip_norm=1.0).step(gradient, torch.tensor([True, True, False]))
    assert moved.tolist() == [True, False, False]
    assert (flat.values != before).any(dim=-1).tolist() == [True, False, False]
    assert flat.values.isfinite().all()
    assert torch.equal(module.weight.flatten(1), flat.values[:, : module.weight[0].numel()])


def test_a_row_that_rested_goes_on_as_if_nobody_had_moved_meanwhile():
    def moved(rests):
        linear = Linear(2, 3, 4)
        initialise(linear, Randomness([("rest", 0), ("rest", 1)]))
        flat = Flat([linear])
        optimiser = RowAdam(flat, torch.full((2,), 0.1), clip_norm=1.0)
        noise = torch.Generator().manual_seed(0)
        gradients = [torch.randn(flat.values.shape, generator=noise) for _ in range(6)]
        for k, gradient in enumerate(gradients):
            for _ in range(3 if rests and k == 3 else 0):  # the other row has moves of its own
                optimiser.step(torch.randn(flat.values.shape), torch.tensor([False, True]))
            optimiser.step(gradient, torch.tensor([True, True]))
        return flat.values[0]

    assert torch.equal(moved(False), moved(True))
