"""The dependency measures against closed forms, brute force, captum and dense quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.contracts import EvaluateConfig, InputError, LatentEvaluation
from bench.metrics import dependency
from bench.metrics.base import group_error
from bench.metrics.dependency import Dependency, Sweep, dependency_measures, forward_sweep
from bench.models.lstm import SingleLSTMDecoder, decoder_inputs
from bench.parts.posteriors import DeterministicPosterior
from bench.randomness import Randomness

B, T, C, D, H = 3, 5, 2, 4, 6
ROUTES = pytest.mark.parametrize(
    ("every_step", "latent_steps"), [(False, 1), (True, 1), (True, T)], ids=["first", "every_step", "latent_steps"]
)
# torch warns about itself at the first use of forward mode, and that is caught here
forward_sweep(lambda z, x_prev: z, torch.zeros(1, 1), torch.zeros(1, 0, 1))


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def inputs(steps: int = T, latent_steps: int = 1) -> tuple[Tensor, Tensor]:
    return normal(1, B, latent_steps * D), normal(2, B, steps - 1, C)


def lstm_decoder(
    layers: int = 1, every_step: bool = False, scale: float = 1.0, latent_steps: int = 1
) -> SingleLSTMDecoder:
    weights = []
    for layer in range(layers):
        width = C + 1 + D if layer == 0 else H
        shapes = ((4 * H, width), (4 * H, H), (4 * H,))
        weights.append(tuple(scale * normal(10 * layer + k, *shape) for k, shape in enumerate(shapes)))
    return SingleLSTMDecoder(weights, every_step, latent_steps)


def native_lstm(decoder: SingleLSTMDecoder) -> Callable[[Tensor, Tensor], Tensor]:
    """The same function as a torch.nn.LSTM."""
    first = decoder.layers[0]
    lstm = nn.LSTM(first[0].shape[1], first[1].shape[1], len(decoder.layers), batch_first=True).to(first[0].dtype)
    with torch.no_grad():
        for layer, (weight_ih, weight_hh, bias) in enumerate(decoder.layers):
            getattr(lstm, f"weight_ih_l{layer}").copy_(weight_ih)
            getattr(lstm, f"weight_hh_l{layer}").copy_(weight_hh)
            getattr(lstm, f"bias_ih_l{layer}").copy_(bias)
            getattr(lstm, f"bias_hh_l{layer}").zero_()
    return lambda z, x_prev: lstm(decoder_inputs(z, x_prev, decoder.every_step, decoder.latent_steps))[0]


def brute_force_sweep(decoder: Callable[[Tensor, Tensor], Tensor], z: Tensor, x_prev: Tensor) -> Sweep:
    """Whole Jacobians by reverse mode, one point at a time."""

    def sweep(s: Tensor, row: Tensor) -> tuple[Tensor, ...]:
        points = []
        for scale, one_z, one_x in zip(s, z[row][:, None], x_prev[row][:, None], strict=True):
            point = (scale * one_z, scale * one_x)
            of_z, of_x = torch.autograd.functional.jacobian(decoder, point)
            from_z = (of_z[0, :, :, 0] * one_z[0]).sum(-1)  # (T, H)
            from_x = (of_x[0, :, :, 0] * one_x[0]).sum(-1)  # (T, H, T - 1): every earlier input apart
            last = [from_z[0]] + [from_x[t, :, t - 1] for t in range(1, len(from_z))]
            points.append((decoder(*point)[0], from_z + from_x.sum(-1), from_z, torch.stack(last)))
        return tuple(torch.stack(parts) for parts in zip(*points, strict=True))

    return sweep


def at_fixed_nodes(sweep: Sweep, change: Tensor, n: int) -> Tensor:
    """sum_j m_{t,j}, m_{t,0}, m_{t,t-1} with n Gauss-Legendre nodes on the whole path, (3, B, T)."""
    w = change / change.square().sum(-1, keepdim=True)
    result = change.new_zeros(3, *change.shape[:2])
    for node, weight in zip(*np.polynomial.legendre.leggauss(n), strict=True):
        s = change.new_full((len(change),), (node + 1) / 2)
        for k, slope in enumerate(sweep(s, torch.arange(len(change)))[1:]):
            result[k] += weight / 2 * (slope * w).sum(-1)
    return result


@ROUTES
@pytest.mark.parametrize("layers", [1, 2])
def test_tangent_sweep_is_forward_mode_is_brute_force_is_captum(
    layers: int, every_step: bool, latent_steps: int
) -> None:
    captum = pytest.importorskip("captum.attr")
    decoder, (z, x) = lstm_decoder(layers, every_step, 1.0, latent_steps), inputs(T, latent_steps)
    sweeps = (decoder.tangent_sweep(z, x), forward_sweep(decoder, z, x), brute_force_sweep(decoder, z, x))
    s, row = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0], dtype=z.dtype), torch.tensor([0, 2, 1, 0, 1])
    ours, forward, brute = (sweep(s, row) for sweep in sweeps)
    for k in range(4):
        torch.testing.assert_close(ours[k], brute[k], rtol=0, atol=1e-12)
        torch.testing.assert_close(forward[k], brute[k], rtol=0, atol=1e-12)

    n, native = 12, native_lstm(decoder)
    change = decoder(z, x) - decoder(0 * z, 0 * x)
    total, global_, local = at_fixed_nodes(decoder.tangent_sweep(z, x), change, n)
    w = change / change.square().sum(-1, keepdim=True)
    for t in range(T):
        attribution = captum.IntegratedGradients(lambda a, b, at=t: native(a, b)[:, at])
        for_each_unit = [
            attribution.attribute((z, x), (0 * z, 0 * x), target=unit, n_steps=n, method="gausslegendre")
            for unit in range(H)
        ]
        of_z = torch.stack([a.sum(-1) for a, _ in for_each_unit], dim=-1)  # (B, H)
        of_x = torch.stack([b.sum(-1) for _, b in for_each_unit], dim=-1)  # (B, T - 1, H)
        for found, direction in ((global_, of_z), (local, of_x[:, t - 1] if t else of_z), (total, of_z + of_x.sum(1))):
            torch.testing.assert_close(found[:, t], (direction * w[:, t]).sum(-1), rtol=0, atol=1e-6)


@ROUTES
def test_shares_of_all_inputs_sum_to_one(every_step: bool, latent_steps: int) -> None:
    decoder, (z, x) = lstm_decoder(1, every_step, 1.0, latent_steps), inputs(T, latent_steps)
    change = decoder(z, x) - decoder(0 * z, 0 * x)
    w = change / change.square().sum(-1, keepdim=True)
    shares = torch.zeros(T, B, T, dtype=z.dtype)  # m_{t,j} by j, series, t
    for node, weight in zip(*np.polynomial.legendre.leggauss(40), strict=True):
        s = (node + 1) / 2
        for j in range(T):
            of_z, of_x = torch.zeros_like(z), torch.zeros_like(x)
            if j == 0:
                of_z = z
            else:
                of_x[:, j - 1] = x[:, j - 1]
            slope = torch.func.jvp(decoder, (s * z, s * x), (of_z, of_x))[1]
            shares[j] += weight / 2 * (slope * w).sum(-1)
    torch.testing.assert_close(shares.sum(0), torch.ones(B, T, dtype=z.dtype), rtol=0, atol=1e-9)
    found = dependency_measures(decoder, z, x, tolerance=1e-10)
    torch.testing.assert_close(found.global_, shares[0], rtol=0, atol=1e-8)
    for t in range(T):
        torch.testing.assert_close(found.local[:, t], shares[t, :, t], rtol=0, atol=1e-8)
    assert found.unresolved == 0
    assert found.completeness_error.max() < 1e-9


def test_linear_decoder_in_closed_form() -> None:
    of_z, of_x = normal(3, T, H, D), torch.tril(normal(4, H, C, T, T - 1), diagonal=-1)  # h_t sees x_1 .. x_{t-1}

    def decoder(z: Tensor, x_prev: Tensor) -> Tensor:
        return torch.einsum("thd,bd->bth", of_z, z) + torch.einsum("hctj,bjc->bth", of_x, x_prev) + 7

    z, x = inputs()
    found = dependency_measures(decoder, z, x, tolerance=1e-8)
    change = decoder(z, x) - 7
    scale = change.square().sum(-1)
    torch.testing.assert_close(found.global_, (change * (decoder(z, 0 * x) - 7)).sum(-1) / scale)
    for t in range(1, T):
        last = torch.einsum("hc,bc->bh", of_x[:, :, t, t - 1], x[:, t - 1])
        torch.testing.assert_close(found.local[:, t], (change[:, t] * last).sum(-1) / scale[:, t])
    assert (found.local[:, 0] == 1).all()
    assert found.unresolved == 0


@ROUTES
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-6])
def test_adaptive_is_dense_quadrature(tolerance: float, every_step: bool, latent_steps: int) -> None:
    # a scale of 2: sharper than a fresh decoder
    decoder, (z, x) = lstm_decoder(1, every_step, 2.0, latent_steps), inputs(T, latent_steps)
    _, global_, local = at_fixed_nodes(decoder.tangent_sweep(z, x), decoder(z, x) - decoder(0 * z, 0 * x), 400)
    found = dependency_measures(decoder, z, x, tolerance)
    assert found.unresolved == 0
    assert found.completeness_error.max() <= tolerance
    torch.testing.assert_close(found.global_, global_, rtol=0, atol=tolerance)
    torch.testing.assert_close(found.local, local, rtol=0, atol=tolerance)


def sharp(z: Tensor, x_prev: Tensor) -> Tensor:
    """A latent that is let through by a gate, open only where z_1 + x is above .7: h (B, 2, 1)."""
    level = z[:, :1] + x_prev[:, 0, :1]
    opened = torch.sigmoid(200 * (level - 0.7)) * z[:, 1:2] + x_prev[:, 0, 1:2]
    return torch.stack([z[:, :1], opened], dim=1)


def test_sharp_gate_against_dense_quadrature() -> None:
    z, x = torch.tensor([[0.6, 2.0]]).double(), torch.tensor([[[0.7, 0.3]]]).double()
    change = float((sharp(z, x) - sharp(0 * z, 0 * x))[0, 1])
    s = (torch.arange(200_000, dtype=z.dtype) + 0.5) / 200_000  # midpoint rule
    gate = torch.sigmoid(200 * (1.3 * s - 0.7))
    slope = 200 * gate * (1 - gate)
    truth = float((slope * 0.6 * 2.0 * s + gate * 2.0).mean()) / change
    truth_local = float((slope * 0.7 * 2.0 * s + 0.3).mean()) / change
    for tolerance in (1e-2, 1e-4, 1e-8):
        found = dependency_measures(sharp, z, x, tolerance)
        assert found.global_[0, 1].item() == pytest.approx(truth, abs=tolerance)
        assert found.local[0, 1].item() == pytest.approx(truth_local, abs=tolerance)
        assert found.completeness_error[0, 1] <= tolerance
        assert found.unresolved == 0
    fixed = at_fixed_nodes(forward_sweep(sharp, z, x), sharp(z, x) - sharp(0 * z, 0 * x), 16)
    assert abs(float(fixed[1, 0, 1]) - truth) > 0.1  # what the subdivision is for


@pytest.mark.parametrize("place", [0.2, 0.37, 0.5, 0.61])
def test_features_that_cancel_in_the_total_are_seen(place: float) -> None:
    def step(value: Tensor) -> Tensor:
        return torch.sigmoid(40 * (value - place))

    def decoder(z: Tensor, x_prev: Tensor) -> Tensor:
        return torch.stack([z, z + step(z) - step(x_prev[:, 0])], dim=1)

    one = torch.ones(1, 1, dtype=torch.float64)
    height = float(step(one) - step(0 * one))
    found = dependency_measures(decoder, one, one[None], tolerance=1e-3)  # dh/ds is 1 all along
    assert found.global_[0, 1].item() == pytest.approx(1 + height, abs=1e-3)
    assert found.local[0, 1].item() == pytest.approx(-height, abs=1e-3)
    assert found.unresolved == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_native_lstm_as_the_callable(dtype: torch.dtype) -> None:
    """Under oneDNN (float32) it has no forward mode."""
    z, x = (value.to(dtype) for value in inputs())
    weights = [tuple(w.to(dtype) for w in layer) for layer in lstm_decoder(2).layers]
    decoder = SingleLSTMDecoder(weights, True)  # type: ignore[arg-type]
    ours, theirs = dependency_measures(decoder, z, x, 1e-4), dependency_measures(native_lstm(decoder), z, x, 1e-4)
    for k in range(2):
        torch.testing.assert_close(ours[k], theirs[k], rtol=0, atol=2e-4)
    assert ours.unresolved == theirs.unresolved == 0


def test_reverse_mode_where_there_is_no_forward_mode() -> None:
    class OnlyBackward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):  # type: ignore[no-untyped-def]
            ctx.save_for_backward(x)
            return x.tanh()

        @staticmethod
        def backward(ctx, grad):  # type: ignore[no-untyped-def]
            (x,) = ctx.saved_tensors
            return grad * (1 - x.tanh().square())

    def decoder(z: Tensor, x_prev: Tensor, tanh: Callable[[Tensor], Tensor] = torch.tanh) -> Tensor:
        total = torch.cat([torch.zeros_like(x_prev[:, :1]), x_prev], dim=1).cumsum(1).sum(-1, keepdim=True)
        return tanh(z[:, None, :] * (1 + total) + total)

    z, x = inputs()
    forward = dependency_measures(decoder, z, x, 1e-9)
    reverse = dependency_measures(lambda z, x: decoder(z, x, OnlyBackward.apply), z, x, 1e-9)
    for k in range(2):
        torch.testing.assert_close(forward[k], reverse[k], rtol=0, atol=1e-8)
    assert reverse.completeness_error.max() < 1e-9
    assert forward.unresolved == reverse.unresolved == 0


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_decoder_that_ignores_the_latent(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if mode == "reverse":
        monkeypatch.setattr(dependency, "_sweep_of", lambda *given: None)

    def decoder(z: Tensor, x_prev: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(x_prev[:, :1]), x_prev.cumsum(1)], dim=1).tanh()

    z, x = inputs()
    found = dependency_measures(decoder, z, x, 1e-6)
    assert (found.global_[:, 1:] == 0).all()
    torch.testing.assert_close(found.local[:, 1], torch.ones(B, dtype=z.dtype), rtol=0, atol=1e-6)
    assert found.global_[:, 0].isnan().all()  # h_1 never changes: 0 / 0
    assert found.unresolved == B


def test_what_no_subdivision_resolves_is_kept_and_counted() -> None:
    def decoder(z: Tensor, x_prev: Tensor) -> Tensor:  # a jump has no derivative to integrate
        return torch.stack([z, z + (z + x_prev[:, 0] > 1).to(z.dtype)], dim=1)

    one = torch.ones(2, 1, dtype=torch.float64)
    found = dependency_measures(decoder, one, one[:, None], 1e-3)
    assert found.unresolved == 2
    torch.testing.assert_close(found.global_[:, 1], torch.full((2,), 0.5, dtype=torch.float64))
    torch.testing.assert_close(found.completeness_error[:, 1], torch.full((2,), 0.5, dtype=torch.float64))


def test_a_change_that_is_only_rounding_is_unresolved() -> None:
    def decoder(z: Tensor, x_prev: Tensor) -> Tensor:
        return torch.stack([z, 1e5 + 1e-2 * z], dim=1)

    z = torch.ones(4, 1)
    found = dependency_measures(decoder, z, torch.ones(4, 1, 1))
    assert found.global_[:, 1].isnan().all()
    assert found.completeness_error[:, 1].isnan().all()
    assert found.unresolved == 4


def test_rows_do_not_know_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, (z, x) = lstm_decoder(scale=3), inputs()
    together = dependency_measures(decoder, z, x, 1e-6)
    monkeypatch.setattr(dependency, "ROWS", 1)
    monkeypatch.setattr(dependency, "POINTS", 2)
    apart = dependency_measures(decoder, z, x, 1e-6)
    for k in range(2):
        torch.testing.assert_close(together[k], apart[k], rtol=0, atol=1e-12)


def test_one_step() -> None:
    z, x = inputs(steps=1)
    found = dependency_measures(lstm_decoder(), z, x)
    assert found.global_.tolist() == found.local.tolist() == [[1.0]] * B


def test_what_does_not_fit_is_refused() -> None:
    z, x = inputs()
    with pytest.raises(InputError, match="tolerance = 0"):
        dependency_measures(lstm_decoder(), z, x, 0)
    with pytest.raises(InputError, match=r"expected \(B, D\) and \(B, T-1, C\)"):
        dependency_measures(lstm_decoder(), z, x[:2])
    with pytest.raises(InputError, match=r"the decoder gave \(1, 4, 6\)"):
        dependency_measures(lambda z, x: lstm_decoder()(z, x)[:, 1:], z, x)


def test_the_metric_has_a_row_for_every_t() -> None:
    n, single = 7, lstm_decoder()
    series = normal(5, n, T, C)
    latents = normal(6, n, D)
    latents[2] = 0  # its h_1 is the baseline: unresolved at t = 1
    method = SimpleNamespace(posterior=lambda model, x: DeterministicPosterior(latents[None]))
    model = SimpleNamespace(decoder=SimpleNamespace(single=lambda run: single))
    config = EvaluateConfig(dependency_tolerance=1e-6)
    evaluation = LatentEvaluation(model, method, series, Randomness([("test", 0)]).draws, config)
    rows = {(row.name, int(row.index)): row for row in Dependency().measure(evaluation)}
    assert len(rows) == 4 * T
    assert {row.coordinate for row in rows.values()} == {"t"}
    found = dependency_measures(single, latents, series[:, :-1], 1e-6)
    for t in range(1, T + 1):
        resolved = n - 1 if t == 1 else n
        assert rows["dependency_unresolved", t].value == n - resolved
        assert rows["dependency_global", t].n == resolved
        assert rows["dependency_global", t].value == pytest.approx(float(found.global_[:, t - 1].nanmean()))
        assert rows["dependency_local", t].value == pytest.approx(float(found.local[:, t - 1].nanmean()))
        assert rows["dependency_completeness_error", t].value < 1e-6
    assert math.isfinite(rows["dependency_global", T].sd)
    few = replace(evaluation, config=replace(config, dependency_series=3), groups=np.array([0, 0, 0, 1, 1, 2, 2]))
    rows = {(row.name, int(row.index)): row for row in Dependency().measure(few)}
    of_few = rows["dependency_global", T]
    chosen = found.global_[[0, 3, 6], T - 1]  # evenly spaced, and each of a group of its own
    assert (of_few.value, of_few.n) == (pytest.approx(float(chosen.mean())), 3)
    assert of_few.error == pytest.approx(group_error(chosen.double().numpy(), np.arange(3)))
