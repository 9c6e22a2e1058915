"""No method's recorded step needs the host: shown without a GPU, on torch's `meta` device of tensors without numbers.

A step on it takes the code paths of a GPU. Reading a number of a tensor raises there; what is brought from the host,
which a CUDA graph could not repeat, is seen on its way to the device.
"""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
import torch
from conftest import make_splits
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.contracts import DiffusionConfig, ModelConfig, TrainConfig
from bench.hardware.recorded_steps import Index, Program, Recorder, Work, recording
from bench.method import DataSpaceMethod, Method, stacked
from bench.models.build import StackedModel
from bench.models.stacked import initialise
from bench.parts.diffusion import reverse_diffusion
from bench.randomness import Ahead, Randomness
from bench.registry import METHODS
from bench.training.denoiser import train_denoiser
from bench.training.device_windows import ValidationSeries, Windows
from bench.training.loop import Curves
from bench.training.stack import train_stack
from bench.training.stopping import Guard

META = torch.device("meta")
KEYS = [("tiny", 0), ("tiny", 1), ("tiny", 0)]
MODEL = ModelConfig(hidden=8, latent=4)
DIFFUSION = DiffusionConfig(L=20, steps=400, batch_size=8, hidden=8)
STEPS = 400  # so many that a step is recorded before the loop looks at a curve
IN_DATA_SPACE = [name for name in METHODS if issubclass(METHODS[name], DataSpaceMethod)]
RECORDED = [name for name in METHODS if name not in IN_DATA_SPACE and not METHODS[name].encoder_updates]


class FromTheHost(TorchDispatchMode):
    """Collects operations that bring memory of the host (more than a scalar argument) to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.operations += 1
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        copies = "copy" in str(func)
        on_host = [tensor for tensor in given if tensor.device.type == "cpu" and (tensor.ndim > 0 or copies)]
        if on_host and any(tensor.device == META for tensor in [*given, *made]):
            self.found.append(str(func))
        return result


class MadeFromNumbers(TorchFunctionMode):
    """Collects calls that make a tensor on the device from numbers, which on a GPU are copied there."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func in (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor):
            data = args[-1] if args else None
            if result.device == META and not isinstance(data, torch.Tensor):
                self.found.append(func.__name__)
        return result


class Recorded(BaseException):
    """Ends the training at its first recorded step; no handler of errors may catch it."""


def look_at(work: Work) -> Work:
    with FromTheHost() as noticed, MadeFromNumbers(noticed.found):
        work()
    raise Recorded(noticed)


def noticed_in(call) -> FromTheHost:
    with recording(Recorder(look_at, least=0)), pytest.raises(Recorded) as ended:
        call()
    return ended.value.args[0]


@pytest.fixture(autouse=True)
def without_numbers(monkeypatch):
    """What the device cannot do, and no step needs: drawing initial weights there, and autocast.

    One plain step before the recorded one: there are no kernels to compile, and a step on the device takes a second.
    """
    monkeypatch.setattr("bench.hardware.recorded_steps.WARM_UP", 1)
    monkeypatch.setattr("bench.training.stack.initialise", lambda *_: None)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())


def of(name: str, **options) -> Method:
    fields = {item.name for item in dataclasses.fields(METHODS[name])}
    small = {"N": 2, "M": 18, **options}
    return METHODS[name](**{key: value for key, value in small.items() if key in fields})


EVERYTHING = {
    "model": dataclasses.replace(MODEL, layers=2, dropout=0.1),
    "train": TrainConfig(
        steps=STEPS, batch_size=8, patience=100, warm_up=20, weight_decay=0.1, ema=0.9, fall_from="best"
    ),
    "diffusion": dataclasses.replace(
        DIFFUSION,
        **{"block": "film", "predicts": "v", "weighting": "min_snr", "ema": 0.9, "dropout": 0.1},
        **{"weight_decay": 0.1, "patience": 100, "warm_up": 20},
    ),
}
"""The options of training that are not in use by default."""


def autoencoder_step(method: Method, backbone: str, model=MODEL, train=None, diffusion=DIFFUSION) -> FromTheHost:
    splits, config = [make_splits(seed=seed) for _, seed in KEYS], train or TrainConfig(steps=STEPS, batch_size=8)
    given = [method] * 3, splits, KEYS, backbone, model, [config] * 3, [diffusion] * 3, META
    return noticed_in(lambda: train_stack(*given))


@pytest.mark.parametrize(
    ("name", "backbone"),
    [*((name, "lstm") for name in RECORDED), ("latent_diffusion", "transformer"), ("proposed", "transformer")],
)
def test_an_update_of_the_autoencoder(name, backbone):
    noticed = autoencoder_step(of(name), backbone)
    assert noticed.operations > 100
    assert noticed.found == []


@pytest.mark.parametrize("penalty", ["literal", "permuted", "contrast", "none"])
def test_penalties(penalty):
    assert autoencoder_step(of("proposed", collapse_penalty=penalty, joint=True), "lstm").found == []


@pytest.mark.parametrize("backbone", ["lstm", "transformer"])
@pytest.mark.parametrize("joint", [False, True])
def test_options_of_training(joint, backbone):
    assert autoencoder_step(of("proposed", joint=joint), backbone, **EVERYTHING).found == []


@pytest.mark.parametrize("likelihood", ["gaussian", "mixture", "discretized_logistic", "categorical", "mixed"])
def test_channels_one_after_another(likelihood, monkeypatch):
    monkeypatch.setattr("bench.models.build.StackedModel.fit_marginal", lambda *_: None)  # before the first step
    config = dataclasses.replace(MODEL, likelihood=likelihood, channels="autoregressive")
    noticed = autoencoder_step(of("proposed"), "lstm", config)
    assert noticed.operations > 100
    assert noticed.found == []


@pytest.mark.parametrize("schedule", ["linear", "cyclical"])
def test_schedules(schedule):
    assert autoencoder_step(of("kl_annealing", schedule=schedule), "lstm").found == []


@pytest.mark.parametrize("diffusion", [DIFFUSION, EVERYTHING["diffusion"]], ids=["default", "everything"])
@pytest.mark.parametrize("name", ["latent_diffusion", "proposed", "vq", "bn_vae", *IN_DATA_SPACE])
def test_an_update_of_the_denoiser(name, diffusion, monkeypatch):
    method, randomness = stacked([of(name)] * 3, META), Randomness(KEYS, META)
    model = StackedModel(3, (7, 2), method, "lstm", MODEL, diffusion).to(META)
    windows = Windows([make_splits(seed=seed).train for _, seed in KEYS], META)
    rows = torch.zeros(3, 30, dtype=torch.int64, device=META)
    monkeypatch.setattr("bench.training.denoiser.encode", lambda *_: method.codes(model, windows.at(rows)))
    guard, curves, schedule = Guard(3), Curves(3), stacked([diffusion] * 3, META)
    validation = ValidationSeries(torch.zeros(3, 5, 7, 2, device=META), [5] * 3)
    given = model, method, windows, validation, schedule, STEPS, [0] * 3, "float32", randomness, guard, curves
    noticed = noticed_in(lambda: train_denoiser(*given))
    assert noticed.operations > 50
    assert noticed.found == []


@pytest.mark.parametrize("name", ["latent_diffusion", "data_diffusion", "diffusion_transformer"])
def test_a_step_of_sampling(name):
    method = stacked([of(name)] * 3, META)
    model = StackedModel(3, (7, 2), method, "lstm", MODEL, DIFFUSION)
    initialise(model, Randomness(KEYS))
    model.to(META)
    draws = Randomness(KEYS, META).draws("samples")
    assert noticed_in(lambda: reverse_diffusion(model, 5, draws)).found == []


def test_what_comes_from_the_host_is_noticed():
    """The test above could fail: a step that makes a tensor from a number."""
    stream = Ahead(Randomness(KEYS, META).draws("s"))

    def careless(index: Index) -> None:
        stream.normal(3).add_(torch.tensor([1.0, 2.0, 3.0], device=META))

    def run() -> None:
        with Program(careless, [stream], 9, META) as program:
            for _ in range(9):
                program.run()

    assert noticed_in(run).found

    def reads(index: Index) -> None:
        if stream.normal(3).sum() > 0:
            return

    with recording(None), Program(reads, [stream], 9, META) as program, pytest.raises(RuntimeError, match="meta"):
        program.run()
