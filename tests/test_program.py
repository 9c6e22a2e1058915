"""Recorded steps: the numbers of plain ones bit for bit, in the order record, replay, replay; plain if need be."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass, field

import pytest
import torch
from conftest import make_splits

from bench.contracts import DiffusionConfig, ModelConfig, TrainConfig
from bench.hardware.recorded_steps import (
    WARM_UP,
    Index,
    Program,
    Recorder,
    Work,
    _noticing_synchronisation,
    recorder_on,
    recording,
)
from bench.method import Method, stacked
from bench.models.build import StackedModel
from bench.models.stacked import has_weights, initialise
from bench.parts.diffusion import reverse_diffusion
from bench.randomness import Ahead, Irregular, Randomness
from bench.registry import BACKBONES, METHODS
from bench.training.stack import train_stack

CPU = torch.device("cpu")
MODEL = ModelConfig(hidden=8, latent=4)
KEYS = [("tiny", 0), ("tiny", 1), ("tiny", 0)]  # two runs share their draws


@dataclass
class FakeGraph:
    """A recorder for the CPU: a replay calls the step, with its draws and its index on the device."""

    events: list[str] = field(default_factory=list)

    def record(self, work: Work) -> Work:
        self.events.append("record")

        def replay() -> None:
            self.events.append("replay")
            work()

        return replay


def blocks(total: int, recorder: Recorder | None, shapes=((5, 2), (1,))) -> tuple[list[torch.Tensor], str]:
    """What each of `total` steps drew, all kinds, and its number."""
    stream, seen = Ahead(Randomness(KEYS).draws("blocks")), []
    bounds = torch.tensor([3.0, 900.0, 7.0])

    def step(index: Index) -> None:
        drawn = [stream.normal(*shape) for shape in shapes] + [stream.uniform(3), stream.permutation(4)]
        drawn += [stream.steps(0, 9, 6), stream.steps(bounds.long() - 1, bounds, 6)]
        drawn.append(stream.steps(torch.tensor(2), 4, 2))
        seen.append(torch.cat([block.flatten().double() for block in drawn] + [torch.as_tensor(index).double()[None]]))

    with recording(recorder), Program(step, [stream], total, CPU) as program:
        for _ in range(total):
            program.run()
        return seen, program.how


@pytest.mark.parametrize("total", [4, 9, 150])
def test_blocks_drawn_ahead_are_those_drawn_in_time(total):
    graph = FakeGraph()
    plain, how = blocks(total, None)
    ahead, recorded = blocks(total, Recorder(graph.record, least=0))
    assert (how, recorded) == ("plain", "recorded")
    assert len(plain) == total
    assert all(torch.equal(one, other) for one, other in zip(plain, ahead, strict=True))
    assert graph.events == ["record"] + ["replay"] * (total - WARM_UP)


def test_little_memory_means_few_rows_and_the_same_numbers(monkeypatch):
    monkeypatch.setattr("bench.hardware.recorded_steps.AHEAD_BYTES", 1000)
    one, other = blocks(40, None)[0], blocks(40, Recorder(FakeGraph().record, least=0))[0]
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_stream_goes_on_where_its_steps_ended():
    numbers = []
    for recorder in (None, Recorder(FakeGraph().record, least=0)):
        stream = Randomness(KEYS).draws("s")
        ahead = Ahead(stream)
        with recording(recorder), Program(lambda _, a=ahead: a.normal(4, 2).sum(), [ahead], 70, CPU) as program:
            for _ in range(70):
                program.run()
        numbers.append(stream.normal(3))
    assert torch.equal(*numbers)


def test_changing_blocks_are_refused_before_and_after_recording():
    stream = Ahead(Randomness(KEYS).draws("s"))
    late = Recorder(FakeGraph().record, least=0)

    def growing(index: Index) -> None:
        stream.normal(1 + int(index))

    with recording(late), Program(growing, [stream], 9, CPU) as program:
        for _ in range(9):
            program.run()
        assert program.how == "plain: its random blocks change from step to step"

    def changed(index: Index) -> None:
        stream.normal(2 if int(index) < 5 else 3)

    with recording(late), Program(changed, [stream], 9, CPU) as program:
        for _ in range(5):
            program.run()
        with pytest.raises(Irregular, match="normal"):
            program.run()


def test_what_cannot_be_recorded_is_done_plainly_with_the_reason():
    def broken(work: Work) -> Work:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    plain, how = blocks(9, Recorder(broken, least=0))
    assert how == "plain: RuntimeError: operation not permitted when stream is capturing"
    assert all(torch.equal(a, b) for a, b in zip(plain, blocks(9, None)[0], strict=True))
    assert blocks(9, Recorder(broken, least=10))[1] == "plain: 9 steps are too few"


def test_lack_of_memory_is_passed_on():
    def full(work: Work) -> Work:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        blocks(9, Recorder(full, least=0))


def test_a_cpu_records_nothing_unless_told():
    assert recorder_on(CPU) is None
    assert isinstance(recorder_on(torch.device("cuda")), Recorder)
    with recording(None):
        assert recorder_on(torch.device("cuda")) is None


# ---------------------------------------------------------------- training and sampling as recorded programs


FIRST, SECOND = 9, 6  # updates of both stages, of which `WARM_UP` are not recorded


def of(name: str, **options) -> Method:
    fields = {item.name for item in dataclasses.fields(METHODS[name])}
    small = {"N": 2, "M": 18, "encoder_updates": 10, **options}
    return METHODS[name](**{key: value for key, value in small.items() if key in fields})


def train(methods, backbone="lstm", graph=None, select="last", model=MODEL, budget=None, denoiser=None):
    splits = {seed: make_splits(seed=seed) for _, seed in KEYS}
    config = TrainConfig(**{"steps": FIRST, "batch_size": 8, "select": select, **(budget or {})})
    diffusion = DiffusionConfig(**{"L": 20, "steps": SECOND, "batch_size": 8, "hidden": 8, **(denoiser or {})})
    recorder = None if graph is None else Recorder(graph.record, least=0)
    each = [splits[seed] for _, seed in KEYS]
    with recording(recorder):
        return train_stack(methods, each, KEYS, backbone, model, [config] * 3, [diffusion] * 3)


def assert_same(one, other):
    assert str(one.curves.rows) == str(other.curves.rows)  # a NaN is a NaN
    assert one.diverged == other.diverged
    for run in range(3):
        states = one.model.state_of(run), other.model.state_of(run)
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


ON_A_TRANSFORMER = (
    *("latent_diffusion", "proposed", "skip_connections", "no_latent", "inverse_lipschitz", "latent_ode"),
    *("sampled_pasts", "variable_masking", "lagging_inference"),
)
"""Every way in which a method meets its backbone: the routes of z, networks of its own, other pasts, more updates of
the encoder. What the other methods do to posteriors and latents is recorded with the LSTM alone."""


@pytest.mark.parametrize(
    ("name", "backbone"),
    [(name, backbone) for backbone in BACKBONES for name in (METHODS if backbone == "lstm" else ON_A_TRANSFORMER)],
)
def test_recorded_training_is_plain_training_bit_for_bit(name, backbone):
    graph = FakeGraph()
    plain, recorded = train([of(name)] * 3, backbone), train([of(name)] * 3, backbone, graph)
    assert_same(plain, recorded)
    denoiser = SECOND + (0 if plain.model.autoencoder() else FIRST)
    alone = not has_weights(plain.model.denoiser)  # the autoencoder gets the updates of both stages
    idle = plain.method.moves_denoiser or alone
    expected = {"denoiser": ("nothing to do", 0) if idle else ("recorded", denoiser)}
    if plain.model.autoencoder():
        lags = plain.method.encoder_updates > 0
        why = "plain: its encoder runs ahead for as long as the data ask"
        expected["autoencoder"] = (why, 0) if lags else ("recorded", FIRST + SECOND * alone)
    assert recorded.programs == {stage: how for stage, (how, _) in expected.items()}
    assert graph.events.count("record") == sum(steps > 0 for _, steps in expected.values())
    assert graph.events.count("replay") == sum(max(0, steps - WARM_UP) for _, steps in expected.values())


@pytest.mark.parametrize(
    "methods",
    [
        [of("kl_annealing", schedule="cyclical", warm_up=w) for w in (0.2, 0.5, 1)],
        [of("latent_diffusion", masking_rate=rate) for rate in (0, 0.3, 0.9)],
        [of("proposed", collapse_penalty="contrast", gamma=g) for g in (1, 2, 2)],
        [of("proposed", joint=True)] * 3,
    ],
    ids=["cyclical", "masking", "contrast", "joint"],
)
def test_options_that_enter_a_recorded_step(methods):
    assert_same(train(methods, select="best_validation"), train(methods, graph=FakeGraph(), select="best_validation"))


@pytest.mark.parametrize("joint", [False, True])
def test_a_recorded_stack_ends_where_a_plain_one_does(joint):
    ends = {"steps": 200, "patience": 10, "tolerance": 0.02, "warm_up": 5, "weight_decay": 0.1, "learning_rate": 0.02}
    denoiser = {**ends, "block": "film", "predicts": "v", "weighting": "min_snr", "ema": 0.9, "dropout": 0.1}
    budget = {**ends, "ema": 0.9, "fall_from": "best"}
    given = {"model": dataclasses.replace(MODEL, dropout=0.1), "budget": budget, "denoiser": denoiser}
    methods = [of("proposed", joint=joint)] * 3
    plain, recorded = train(methods, **given), train(methods, graph=FakeGraph(), **given)
    assert plain.stages["autoencoder"].updates == recorded.stages["autoencoder"].updates
    assert joint or len(set(plain.stages["autoencoder"].updates)) > 1
    assert max(plain.stages["autoencoder"].updates) < 200
    assert recorded.programs["autoencoder"] == "recorded"
    assert_same(plain, recorded)


@dataclass(frozen=True)
class Poisoned(METHODS["latent_diffusion"]):
    """Runs with a masking rate above a half see a NaN in the middle of training."""

    def objective(self, model, x, step, draws):
        terms = super().objective(model, x, step, draws)
        bad = (self.masking_rate > 0.5) & torch.as_tensor(step.index >= 6)
        return {**terms, "poison": torch.where(bad, torch.nan, 0.0) * terms["kl"]}


def test_a_run_that_diverges_is_masked_inside_a_recorded_stack():
    methods = [Poisoned(masking_rate=rate) for rate in (0.0, 0.9, 0.2)]
    plain, recorded = train(methods), train(methods, graph=FakeGraph())
    assert "not finite" in recorded.diverged[1]
    assert recorded.diverged[::2] == ["", ""]
    assert_same(plain, recorded)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm_solver", "dpm_solver_sde"])
@pytest.mark.parametrize("steps", [0, 7])
@pytest.mark.parametrize("stops", [False, True])
def test_recorded_sampling_is_plain_sampling_bit_for_bit(sampler, steps, stops):
    diffusion = DiffusionConfig(L=20, hidden=8, sampler=sampler, sampling_steps=steps)
    model = StackedModel(3, (5, 2), stacked([of("latent_diffusion")] * 3), "lstm", MODEL, diffusion)
    initialise(model, Randomness(KEYS))
    stop = Randomness(KEYS).draws("stop").steps(0, 6, 11) if stops else None
    found = []
    graph = FakeGraph()
    for recorder in (None, Recorder(graph.record, least=0)):
        draws = Randomness(KEYS).draws("samples")
        with recording(recorder):
            z = reverse_diffusion(model, 11, draws, stop)
        found.append((z, draws.normal(2)))
    assert graph.events.count("replay") == (steps or 20) - WARM_UP
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_the_first_remark_about_the_debug_mode_is_no_synchronisation(monkeypatch):
    def remark(mode):
        if mode == "warn":
            warnings.warn("The mode is a prototype and does not yet detect all synchronizing operations", stacklevel=1)

    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", remark)
    with _noticing_synchronisation() as found:
        pass
    assert found == []
    with _noticing_synchronisation() as found:
        warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
    assert len(found) == 1
    assert "test_program.py" in found[0]
