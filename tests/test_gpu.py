"""On a CUDA device (`pytest -m gpu`): stack = solo, recorded = plain, fused = batched, CPU = GPU, up to tolerances.

Training amplifies rounding, so trainings are compared after few updates. Needs torch, numpy and pytest only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc

import numpy as np
import pytest
import torch
from conftest import make_splits

from bench.contracts import DiffusionConfig, ModelConfig, TrainConfig
from bench.hardware.recorded_steps import Recorder, recording
from bench.method import Method, stacked
from bench.metrics.dependency import dependency_measures
from bench.metrics.sliced import sliced_distance
from bench.models import lstm_triton
from bench.models.build import StackedModel
from bench.models.lstm import LSTM, _fused, _native, _stacked
from bench.models.stacked import initialise
from bench.randomness import Randomness
from bench.registry import BACKBONES, METHODS
from bench.training.stack import Trained, train_stack

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.filterwarnings("ignore:RNN module weights are not part of single contiguous chunk"),
]

SUMS = 2e-5  # relative, for sums of products in another order
FEW_UPDATES = 2e-3  # nats per value, of curves after UPDATES updates of stack against solo, recorded against plain
LOOSE = 2e-2  # nats per value, CPU against GPU after as many
UPDATES = 100
MODEL = ModelConfig(hidden=16, latent=4)
DIFFUSION = DiffusionConfig(L=50, steps=UPDATES, batch_size=16, hidden=16)
KEYS = [("tiny", 0), ("tiny", 1), ("tiny", 0)]


@contextlib.contextmanager
def kernels(recorded: bool, fused: bool):
    with recording(Recorder() if recorded else None), lstm_triton.fusing(fused):
        yield


def of(name: str) -> Method:
    fields = {item.name for item in dataclasses.fields(METHODS[name])}
    small = {"N": 2, "M": 45, "encoder_updates": 10}
    return METHODS[name](**{key: value for key, value in small.items() if key in fields})


def train(name: str, backbone: str = "lstm", keys=tuple(KEYS), device: str = "cuda", precision="float32") -> Trained:
    config = TrainConfig(steps=UPDATES, batch_size=16, precision=precision)
    splits = {seed: make_splits(n=200, window=9, seed=seed) for _, seed in keys}
    n, each = len(keys), [splits[seed] for _, seed in keys]
    return train_stack([of(name)] * n, each, list(keys), backbone, MODEL, [config] * n, [DIFFUSION] * n, device)


def assert_curves_close(one: Trained, other: Trained, tolerance: float, runs=((0, 0), (1, 1), (2, 2))) -> None:
    """Run by run, the early points of every term: later ones have amplified the rounding."""
    for mine, theirs in runs:
        first = {row[1:4]: row[4] for row in one.curves.rows if row[0] == mine}
        second = {row[1:4]: row[4] for row in other.curves.rows if row[0] == theirs}
        assert first.keys() == second.keys()
        for point, value in first.items():
            if point[0] <= 20:
                assert value == pytest.approx(second[point], abs=tolerance, rel=tolerance), point


@pytest.mark.parametrize(("name", "backbone"), [(m, b) for b in BACKBONES for m in METHODS])
def test_recorded_training_is_plain_training(name, backbone):
    with kernels(False, False):
        plain = train(name, backbone)
    with kernels(True, False):
        recorded = train(name, backbone)
    assert_curves_close(plain, recorded, FEW_UPDATES)
    expected = "plain: its encoder runs ahead" if METHODS[name].encoder_updates else "recorded"
    stages = dict(recorded.programs)
    assert stages.pop("denoiser") == ("nothing to do" if plain.method.moves_denoiser else "recorded")
    assert all(how.startswith(("recorded", expected)) for how in stages.values()), recorded.programs


def test_a_stack_is_its_runs():
    with kernels(True, True):
        together = train("proposed")
        for run, key in enumerate(KEYS):
            assert_curves_close(together, train("proposed", keys=(key,)), FEW_UPDATES, [(run, 0)])


def test_the_same_twice():
    with kernels(True, True):
        assert_curves_close(train("proposed"), train("proposed"), 1e-6)


def test_the_gpu_is_the_cpu():
    with kernels(True, True):
        assert_curves_close(train("latent_diffusion"), train("latent_diffusion", device="cpu"), LOOSE)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_coarser_products_train_as_well(precision):
    with kernels(True, True):
        trained = train("latent_diffusion", precision=precision)
    assert trained.diverged == [""] * 3
    assert set(trained.programs.values()) == {"recorded"}


@pytest.mark.parametrize(("runs", "batch", "steps", "hidden", "layers"), [(1, 64, 24, 64, 1), (3, 50, 7, 20, 2)])
def test_the_kernels_of_the_lstm_are_one_function(runs, batch, steps, hidden, layers):
    keys = [("tests", seed) for seed in range(runs)]
    module = LSTM(runs, 5, hidden, layers).to("cuda")
    initialise(module, Randomness(keys, "cuda"))
    randomness = Randomness(keys, "cuda")
    u = randomness.draws("u").normal(batch, steps, 5).requires_grad_()
    weight = randomness.draws("weight").normal(batch, steps, hidden)

    def of_kernel(kernel, u, module, weight):
        h = kernel(u, module.layers)
        return [h.detach(), *torch.autograd.grad((h * weight).sum(), [u, *module.parameters()])]

    truth = of_kernel(_stacked, u.detach().double().requires_grad_(), module.double(), weight.double())
    module.float()
    found = {"native": _native, "batched": _stacked}
    if lstm_triton.usable(u, hidden):
        found["fused"] = _fused
    for name, kernel in found.items():
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            values = of_kernel(kernel, u, module, weight)
        for value, exact in zip(values, truth, strict=True):
            error = float((value.double() - exact).norm() / exact.norm())
            assert error < SUMS, (name, error)


def test_triton_is_used_where_it_is_installed():
    if lstm_triton.triton is None:
        pytest.skip("Triton is not installed here")
    assert lstm_triton.usable(torch.zeros(1, device="cuda"), 32)
    with lstm_triton.fusing(False):
        assert not lstm_triton.usable(torch.zeros(1, device="cuda"), 32)


def model_of(name: str, keys, device: str) -> tuple[StackedModel, Method]:
    method = stacked([of(name)] * len(keys), device)
    model = StackedModel(len(keys), (9, 2), stacked([of(name)] * len(keys)), "lstm", MODEL, DIFFUSION)
    initialise(model, Randomness(keys))
    return model.to(device).eval(), method


@pytest.mark.parametrize("name", ["latent_diffusion", "proposed", "data_diffusion"])
def test_samples_recorded_plain_stacked_solo_and_on_the_cpu(name):
    def samples(keys, device: str, recorded: bool) -> np.ndarray:
        model, method = model_of(name, keys, device)
        with torch.no_grad(), kernels(recorded, recorded):
            return method.sample(model, 40, Randomness(keys, device).draws("samples")).cpu().numpy()

    base = samples(KEYS, "cuda", False)
    np.testing.assert_allclose(samples(KEYS, "cuda", True), base, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(samples(KEYS[1:2], "cuda", True)[0], base[1], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(samples(KEYS, "cpu", False), base, rtol=1e-2, atol=1e-2)


def test_measures_on_the_device():
    model, _ = model_of("latent_diffusion", KEYS, "cpu")
    draws = Randomness([("m", 0)]).draws("m")
    z, past = draws.normal(30, 4)[0], draws.normal(30, 8, 2)[0]
    here = dependency_measures(model.decoder.single(1), z, past)
    there = dependency_measures(model.to("cuda").decoder.single(1), z.cuda(), past.cuda())
    torch.testing.assert_close(there.global_.cpu(), here.global_, rtol=0, atol=1e-3)
    torch.testing.assert_close(there.local.cpu(), here.local, rtol=0, atol=1e-3)
    one, other = (np.random.default_rng(k).standard_normal((50, 9, 2)) for k in (0, 1))
    directions = np.random.default_rng(2).standard_normal((18, 100))
    distances = [sliced_distance(one, other, directions, device=device) for device in ("cpu", "cuda")]
    assert distances[0] == pytest.approx(distances[1], rel=1e-9)


def test_stacks_leave_no_memory_behind():
    sizes = []
    for _ in range(6):
        with kernels(True, True):
            train("latent_diffusion")
        gc.collect()
        torch.cuda.empty_cache()
        sizes.append(torch.cuda.memory_allocated())
    assert max(sizes[2:]) <= sizes[1] + 2**20
