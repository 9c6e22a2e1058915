"""A latent of several steps: who reads which block, what training, sampling and the measures make of it.

R = 2 runs, B = 5 series, T = 6 steps, C = 2 channels, T' = 3 latent steps of D' = 4 numbers: all different.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import make_splits
from torch import Tensor

from bench import command, fit, load
from bench.contracts import (
    DiffusionConfig,
    EvaluateConfig,
    InputError,
    LatentEvaluation,
    ModelConfig,
    TrainConfig,
    Unavailable,
)
from bench.method import stacked
from bench.metrics.base import own_latents
from bench.metrics.dependency import dependency_measures
from bench.models.autoregression import latent_inputs
from bench.models.build import StackedModel
from bench.models.stacked import initialise
from bench.parts.likelihoods import Gaussian
from bench.parts.posteriors import DeterministicPosterior
from bench.randomness import Randomness
from bench.registry import METHODS, METRICS
from bench.report.selection import _with_later_options
from bench.run import main
from bench.scoring.scores import Scope, score_run
from bench.store import load_results
from bench.sweeps.expand import Selection, read_sweep
from bench.sweeps.run import Run
from bench.training.stack import train_stack

R, B, T, C, STEPS, D, H = 2, 5, 6, 2, 3, 4, 8
LENGTH = T // STEPS
KEYS = [("steps", seed) for seed in range(R)]
SHAPE = ModelConfig(hidden=H, latent=D, latent_steps=STEPS)
SMALL = DiffusionConfig(L=20, steps=5, batch_size=8, hidden=8)
BACKBONES = pytest.mark.parametrize("backbone", ["lstm", "transformer"])
OPTIONS: dict[str, dict[str, Any]] = {"encoder_updates": {"encoder_updates": 2}, "N": {"N": 0.1}, "M": {"M": 0.9}}


def method_of(name: str) -> Any:
    """A method that has a latent, whose decoder reads it at every step, in small."""
    fields = {item.name for item in dataclasses.fields(METHODS[name])}
    given: dict[str, Any] = {"latent_route": "every_step"} if METHODS[name]().latent_route == "first" else {}
    for field, options in OPTIONS.items():
        given |= options if field in fields else {}
    return METHODS[name](**given)


def model_of(name: str, backbone: str, config: ModelConfig = SHAPE, keys: Any = KEYS) -> StackedModel:
    model = StackedModel(len(keys), (T, C), stacked([method_of(name)] * len(keys)), backbone, config, SMALL)
    initialise(model, Randomness(keys))
    return model.eval()


def inputs() -> tuple[Tensor, Tensor]:
    draws = Randomness(KEYS).draws("inputs")
    return draws.normal(B, STEPS * D), draws.normal(B, T, C)


# ---------------------------------------------------------------- who reads which block


@BACKBONES
@pytest.mark.parametrize("name", ["beta_vae", "feed_forward"])
def test_a_block_is_read_from_its_first_step_on(name: str, backbone: str) -> None:
    """With the past fixed: nothing before it moves, and everything from there on."""
    model, (z, x) = model_of(name, backbone), inputs()
    past = x[:, :, :-1]
    before = model.decoder(z, past).mean
    for block in range(STEPS):
        other = z.clone()
        other[..., block * D : (block + 1) * D] += 1
        moved = (model.decoder(other, past).mean != before).any(dim=-1)
        assert not moved[:, :, : block * LENGTH].any()
        assert moved[:, :, block * LENGTH :].all()
    for steps in (1, 3):  # the first steps of a series, as `split_half` asks for them
        torch.testing.assert_close(model.decoder(z, past[:, :, : steps - 1]).mean, before[:, :, :steps])


def test_a_step_reads_its_own_block_only() -> None:
    z = torch.arange(2.0 * STEPS * D).reshape(2, STEPS * D)
    found = latent_inputs(z, T, every_step=True, latent_steps=STEPS)
    assert found.shape == (2, T, D)
    for t in range(T):
        block = t * STEPS // T
        assert torch.equal(found[:, t], z[:, block * D : (block + 1) * D])
    assert torch.equal(latent_inputs(z, T, True, 1), z[:, None].expand(-1, T, -1))


@BACKBONES
def test_the_encoder_shows_every_latent_step_the_whole_series(backbone: str) -> None:
    model, (_, x) = model_of("beta_vae", backbone), inputs()
    x.requires_grad_()
    q = method_of("beta_vae").posterior(model, x)
    assert q.mean.shape == q.log_sigma.shape == (R, B, STEPS * D)
    inner: Any = model.encoder.inner  # type: ignore[union-attr]
    each = inner(x).unflatten(-1, (STEPS, 2, D))
    assert torch.equal(q.mean, each[:, :, :, 0].flatten(2))
    assert torch.equal(q.log_sigma, each[:, :, :, 1].flatten(2))
    for k in range(STEPS):
        of_x = torch.autograd.grad(q.mean[:, :, k * D].sum(), x, retain_graph=True)[0]
        assert (of_x.abs().sum(dim=-1) > 0).all()


@BACKBONES
@pytest.mark.parametrize("name", ["beta_vae", "feed_forward"])
def test_gradients_are_finite_differences(name: str, backbone: str) -> None:
    model = model_of(name, backbone, keys=KEYS[:1]).double()
    z, x = (value[:1, :2].double() for value in inputs())
    past = x[:, :, :-1]
    torch.autograd.gradcheck(lambda z: model.decoder.states(z, past), z.requires_grad_())
    torch.autograd.gradcheck(model.encoder, x.requires_grad_())


# ---------------------------------------------------------------- training and sampling


@pytest.mark.parametrize("name", [name for name in METHODS if name != "data_diffusion"])
def test_every_method_trains_and_samples(name: str) -> None:
    """In a stack, whose rows are what each is alone."""
    splits, train = make_splits(window=T), TrainConfig(steps=3, batch_size=8)
    method = method_of(name)

    def trained(keys: list[tuple[str, int]]) -> Any:
        n = len(keys)
        return train_stack([method] * n, [splits] * n, keys, "lstm", SHAPE, [train] * n, [SMALL] * n)

    together, alone = trained(KEYS), trained(KEYS[1:])
    for one, other in zip(alone.model.state_of(0).items(), together.model.state_of(1).items(), strict=True):
        assert one[0] == other[0]
        torch.testing.assert_close(one[1], other[1], rtol=1e-5, atol=1e-6)
    ready = stacked([method.resolved(SMALL)] * R)
    with torch.no_grad():
        samples = ready.sample(together.model, 7, Randomness(KEYS).draws("samples"))
    assert samples.shape == (R, 7, T, C)
    assert samples.isfinite().all()
    assert together.model.latent == STEPS * D


@BACKBONES
@pytest.mark.parametrize("name", ["beta_vae", "feed_forward"])
def test_masking_and_channels_one_after_another(name: str, backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.models.marginal.UPDATES", 20)
    method = method_of(name)
    if name == "beta_vae":
        method = dataclasses.replace(method, masking_rate=0.4)
    config = dataclasses.replace(SHAPE, channels="autoregressive", likelihood="mixture")
    splits, train = make_splits(window=T), TrainConfig(steps=2, batch_size=8)
    trained = train_stack([method], [splits], KEYS[:1], backbone, config, [train], [SMALL])
    metrics = ["latent_information", "dependency", "dependency_mean", "kl", "active_units", "probe", "split_half"]
    evaluate = EvaluateConfig(n_samples=8, metrics=metrics)
    with torch.no_grad():
        samples = stacked([method]).sample(trained.model, 8, Randomness(KEYS[:1]).draws("samples"))[0].numpy()
    rows = score_run(trained.model, stacked([method]), splits, samples, evaluate, Scope("steps", 0))
    assert not [row for row in rows if row["status"] != "ok"]
    values = {(row["metric"], row["index"]): row["value"] for row in rows}
    assert values["dependency_global", 1] == 1
    if name == "feed_forward":
        shares = [values["dependency_global", t] for t in range(1, T + 1)]
        assert shares == pytest.approx([1] * T, abs=2 * evaluate.dependency_tolerance)


# ---------------------------------------------------------------- measures


def test_m_t0_is_the_share_of_all_latents_together() -> None:
    """h_t = sum over s <= t of (z_s + x_{s-1}): the shares are those of the sums."""
    z, x = (value[0] for value in inputs())
    past = x[:, :-1]

    def decoder(z: Tensor, past: Tensor) -> Tensor:
        told = latent_inputs(z, T, True, STEPS)[..., :C]
        return (told + torch.cat([torch.zeros_like(past[:, :1]), past], dim=1)).cumsum(dim=1)

    found = dependency_measures(decoder, z, past, tolerance=1e-4)
    h, of_z = decoder(z, past), decoder(z, 0 * past)
    expected = (h * of_z).sum(dim=-1) / h.square().sum(dim=-1)
    torch.testing.assert_close(found.global_, expected, rtol=0, atol=1e-4)


class Told:
    """x_t = the block of z that step t reads, plus noise of deviation `noise`; a posterior that knows z."""

    latent = STEPS * C

    def __init__(self, noise: float) -> None:
        self.noise = noise

    def decoder(self, z: Tensor, past: Tensor) -> Gaussian:
        return Gaussian(latent_inputs(z, T, True, STEPS).double(), torch.full((T, C), self.noise, dtype=torch.float64))


class Knowing:
    """Its posterior is a point, the mean of each block; `blind`: those of another series."""

    def __init__(self, blind: bool) -> None:
        self.blind = blind

    def posterior(self, model: Any, x: Tensor) -> DeterministicPosterior:
        blocks = x.unflatten(2, (STEPS, LENGTH)).mean(dim=3).flatten(2)
        return DeterministicPosterior(blocks.roll(1, dims=1) if self.blind else blocks)


def told(noise: float, blind: bool = False, n: int = 400) -> LatentEvaluation:
    draws = Randomness([("told", 0)]).draws
    z = draws("z").normal(2 * n, STEPS * C)[0]
    x = latent_inputs(z, T, True, STEPS) + noise * draws("noise").normal(2 * n, T, C)[0]
    return LatentEvaluation(Told(noise), Knowing(blind), x[:n], draws, validation=x[n:], train=x[n:])


def test_latent_information_is_that_of_all_blocks() -> None:
    """Of a hand-made model: ln M where the blocks identify the series, also in the second half; 0 where they do not."""
    for blind, expected in ((False, math.log(400)), (True, 0.0)):
        rows = {row.name: row.value for row in METRICS["latent_information"]().measure(told(0.05, blind))}
        assert rows["latent_information"] == pytest.approx(expected, abs=0.05)
        assert rows["latent_information_second_half"] == pytest.approx(expected, abs=0.05)
        assert rows["latent_information_bound"] == pytest.approx(math.log(400))


def test_own_latents_have_all_blocks() -> None:
    assert own_latents(told(0.1)).shape == (1, 400, STEPS * C)


# ---------------------------------------------------------------- options, identity, commands


def test_bad_values_end_in_one_line() -> None:
    with pytest.raises(InputError, match=r"model.latent_steps = 3: latent_diffusion has latent_route: first"):
        METHODS["latent_diffusion"]().check(SHAPE, SMALL)
    for name in ("proposed", "vq", "delta_vae", "info_vae"):
        with pytest.raises(InputError, match=r"model.latent_steps = 3"):
            METHODS[name](latent_route="first").check(SHAPE, DiffusionConfig())
        METHODS[name](latent_route="every_step").check(SHAPE, DiffusionConfig())
    for name, why in (("data_diffusion", "has no latent"), ("flow_matching", "has no latent"), ("time_vae", "one z")):
        with pytest.raises(InputError, match=rf"model.latent_steps = 3: {name} .*{why}: expected 1"):
            METHODS[name]().check(SHAPE, DiffusionConfig())
    METHODS["no_latent"]().check(SHAPE, DiffusionConfig())  # the same network, whose decoder sees nothing of z
    for steps in (4, 12):
        with pytest.raises(Unavailable, match=rf"model.latent_steps = {steps}: a window has 6 steps: expected a div"):
            model_of("beta_vae", "lstm", dataclasses.replace(SHAPE, latent_steps=steps))
    one = ModelConfig(latent=1, latent_steps=2)  # two numbers can be normalised
    METHODS["kl_free"]().check(one, DiffusionConfig())


SWEEP = """
name: steps
datasets: [{name: regimes, series: 60, window: 6}]
methods:
  - {name: beta_vae, set: {latent_route: every_step}, grid: {model.latent_steps: [1, 3, 4]}}
  - {name: feed_forward, grid: {beta: [1, 0.01]}}
seeds: 1
model: {hidden: 4, latent: 2}
train: {steps: 2, batch_size: 4}
diffusion: {L: 10, steps: 2, batch_size: 4, hidden: 4}
evaluate: {n_samples: 6, metrics: [kl, dependency]}
"""


def exit_code(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        command.run_command(lambda _: main(words))
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_a_sweep_is_trained_skipped_explained_and_not_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], inline: None
) -> None:
    path, results = tmp_path / "steps.yaml", tmp_path / "r"
    path.write_text(SWEEP)
    words = ("--grid", str(path), "--results", str(results), "--jobs", "1", "--device", "cpu")
    exit_code(*words)
    runs, metrics = load_results(results)
    runs = runs[runs.kind == "method"].set_index("run_id")
    assert len(runs) == 5
    (skipped,) = runs.index[runs.status == "skipped"]
    assert runs["model.latent_steps"][skipped] == 4
    assert runs.reason[skipped] == "model.latent_steps = 4: a window has 6 steps: expected a divisor of 6"
    assert set(runs.status.drop(skipped)) == {"ok"}
    per_dimension = metrics[metrics.metric == "kl_per_dimension"]
    assert per_dimension.groupby("run_id", observed=True)["index"].nunique().max() == 3 * 2
    capsys.readouterr()
    exit_code(*words, "--dry-run")
    assert "11 runs: 10 done, 1 to do in 1 stacks" in capsys.readouterr().out  # what was skipped is tried again
    setting = "model.latent_steps=2"
    asked = read_sweep(path, Selection(methods=("feed_forward",), settings=(setting,))).runs
    exit_code(*words, "--set", setting, "--method", "feed_forward", "--explain", asked[-1].run_id)
    assert capsys.readouterr().out.splitlines()[2:] == ["  model.latent_steps: 2 (asked for), 1 (there)"]
    assert exit_code(*words, "--set", "latent_route=first", "--method", "beta_vae", "--dry-run") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "beta_vae: model.latent_steps = 3: beta_vae has latent_route: first" in line


def test_an_option_of_a_method_at_its_neutral_value_is_no_part_of_an_identity(tmp_path: Path) -> None:
    path = tmp_path / "steps.yaml"
    path.write_text(SWEEP)
    one, weighted = (run for run in read_sweep(path).runs if run.method == "feed_forward")
    assert one.run_id != weighted.run_id
    assert "beta" not in one.ingredients["hyper"]
    assert weighted.ingredients["hyper"]["beta"] == 0.01
    older = json.loads(one.to_config())
    older["hyper"] = [pair for pair in older["hyper"] if pair[0] != "beta"]
    assert Run.from_config(json.dumps(older)) == one
    rows = pd.DataFrame(
        {"method": ["feed_forward", "feed_forward", "latent_diffusion"], "beta": [math.nan, 0.1, math.nan]}
    )
    assert _with_later_options(rows)["beta"].fillna(-1).tolist() == [1, 0.1, -1]


def test_a_model_is_saved_and_loaded(tmp_path: Path) -> None:
    x = make_splits(n=60, window=T).train
    small: dict[str, Any] = {"model.hidden": 8, "model.latent": 2, "train.steps": 3, "diffusion.steps": 3}
    run = fit(x, "feed_forward", beta=1e-3, **{"model.latent_steps": STEPS, "diffusion.L": 20}, **small)
    assert run.encode(x).shape == (len(x), STEPS * 2)
    samples = run.sample(4)
    assert samples.shape == (4, T, C)
    run.save(tmp_path / "kept")
    assert (load(tmp_path / "kept").sample(4) == samples).all()
