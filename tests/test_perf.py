"""Every part of `bench.perf` runs and gives finite ratios; fast paths are the plain ones; samplers and precision."""

from __future__ import annotations

import ctypes
import dataclasses
import itertools
import math
import os
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import pytest
import torch
from conftest import make_splits

from bench.contracts import DiffusionConfig, ModelConfig, TrainConfig, Unavailable
from bench.engine import job
from bench.hardware import precision as precision_module
from bench.hardware.memory import keep_freed, reset_peak
from bench.hardware.precision import bf16_on_cpu, check_precision, deterministic, products
from bench.loading.windows import load_splits
from bench.method import stacked
from bench.models.build import StackedModel
from bench.models.stacked import initialise
from bench.parts.diffusion import reverse_diffusion, sampling_grid
from bench.perf import __main__ as perf
from bench.perf import denoiser, dependency, sampler, sampling, sweep_overhead
from bench.perf.measure import Line
from bench.randomness import Randomness
from bench.registry import METHODS
from bench.scoring.artifacts import load_model
from bench.scoring.scores import Scope, choose, score_beside_both
from bench.store import Store
from bench.sweeps.expand import read_sweep
from bench.sweeps.stacks import make_stacks
from bench.training.stack import train_stack

KEYS = [("perf", 0), ("perf", 1)]
DIFFUSION = DiffusionConfig(L=20, steps=6, batch_size=8, hidden=8)


class Doubles:
    """The stream of a role in float64."""

    def __init__(self) -> None:
        self._stream = Randomness(KEYS).draws("s")

    def normal(self, *shape: int) -> torch.Tensor:
        return self._stream.normal(*shape).double()


def model_of(diffusion: DiffusionConfig = DIFFUSION, dtype: torch.dtype = torch.float64) -> StackedModel:
    method = stacked([METHODS["latent_diffusion"]()] * 2)
    model = StackedModel(2, (5, 2), method, "lstm", ModelConfig(hidden=8, latent=4), diffusion)
    initialise(model, Randomness(KEYS))
    return model.to(dtype).eval()


OTHERWISE = ("sweep_overhead", "many_runs", "scheduler", "loading", "sampler", "resolved")
"""All but one have tests of their own, and loading measures nothing where there are no files."""


@cache
def measured(part: str) -> list[Line]:
    """A part at its smallest, measured once for all tests."""
    return list(perf.PARTS[part]("tiny"))


@pytest.mark.parametrize("part", [name for name in perf.PARTS if name not in OTHERWISE])
def test_a_part_runs_and_its_ratios_are_finite(part: str) -> None:
    pytest.importorskip("captum")
    lines = measured(part)
    assert lines
    assert all(math.isfinite(line.ratio) and line.ratio > 0 for line in lines)
    assert all(line.what in str(line) for line in lines)


@pytest.mark.slow
def test_the_overhead_of_a_sweep_is_measured() -> None:
    share, idle = sweep_overhead.measure("tiny")
    assert 0 < share.ratio < 1
    assert idle.ratio >= 0


@pytest.mark.slow
def test_many_runs_are_loaded_listed_and_reported() -> None:
    lines = list(perf.PARTS["many_runs"]("tiny"))
    assert [line.what for line in lines] == [
        f"11 runs: {what}" for what in ("both tables", "dry run", "report", "the report's page, MB")
    ]
    assert all(math.isfinite(line.ratio) and line.ratio > 0 for line in lines)


@pytest.mark.slow
def test_the_supervisor_of_a_cluster_is_measured_at_both_ends_of_a_sweep() -> None:
    pytest.importorskip("distributed")
    lines = list(perf.PARTS["scheduler"]("tiny"))
    assert [line.what for line in lines] == [f"{moment} of 20 runs: a stack" for moment in ("beginning", "end")]
    assert all(math.isfinite(line.ratio) and line.ratio > 0 for line in lines)


SOME = (("ddpm", 8), ("ddim", 5), ("dpm_solver", 5), ("dpm_solver_sde", 5))
SWEEP = """
name: kept
datasets: [{name: regimes, series: 200}]
methods: [latent_diffusion, no_latent]
seeds: 2
model: {hidden: 4, latent: 2}
train: {steps: 2, batch_size: 4}
diffusion: {L: 10, steps: 2, batch_size: 4, hidden: 4}
evaluate: {n_samples: 20, metrics: [c2st], during_training: 0}
"""


def test_samplers_are_compared_on_the_kept_models_of_a_folder(
    tmp_path: Path, few_trees: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "SAMPLERS", SOME)  # one of each kind
    (tmp_path / "kept.yaml").write_text(SWEEP)
    results = tmp_path / "results"
    store = Store(results)
    store.prepare()
    runs = [run for run in read_sweep(tmp_path / "kept.yaml").runs if run.kind == "method"]
    for stack in make_stacks(runs, 1):
        job.run_stack(stack, job.JobSettings(results, None))
    with_latent, *others = sampler.kept_runs(results, "full")
    assert [run.label for run in (with_latent, *others)] == ["latent_diffusion"] * 2 + ["no_latent"] * 2
    lines = list(sampler.measure("full", results))
    names = [sampler.CHANCE, *(f"{name}, {steps} steps" for name, steps in sampler.SAMPLERS)]
    group = with_latent.dataset.key
    assert [line.what for line in lines[: len(names)]] == [f"{group}: {name}" for name in names]
    assert {line.what for line in lines[len(names) :]} == {f"all: {name}" for name in names}
    assert all(math.isfinite(line.ratio) and line.ratio > 0 for line in lines)
    assert [
        line.note for line in lines if "2 runs" not in line.note
    ] == []  # a sampler is no matter for a run without a latent
    assert list(sampler.measure("full", tmp_path)) == []

    splits = load_splits(with_latent.dataset, with_latent.data_seed, None)
    loaded = load_model(results, with_latent, splits)
    assert loaded is not None
    kept = sampler.Kept(with_latent, *loaded, splits)
    samples = kept.series(kept.latents("ddpm", 0, "samples")[0])
    rows = score_beside_both(samples, splits, choose(["c2st"]), Scope.of(with_latent))
    assert kept.distance(samples) == next(row["value"] for row in rows if row["metric"] == sampler.MEASURE)


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(perf.InputError, match="unknown part 'lst'"):
        perf.main(["lst"])


# ---------------------------------------------------------------- fast paths are the plain ones


def test_the_sampling_loop_is_the_plain_one() -> None:
    model = model_of()
    ours = reverse_diffusion(model, 7, Doubles())
    plain = sampling.plain_reverse_diffusion(model, 7, Doubles())
    torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-12)


def test_a_stack_of_denoisers_trains_like_torchs_modules_one_by_one() -> None:
    ours = denoiser.Ours(3, 8)
    plain, batches = denoiser.Plain(ours.single), denoiser.batches_of(3, 5, 16)
    before = ours.flat.values.clone()
    ours.train(batches)
    plain.train(batches)
    assert (ours.flat.values - before).abs().max() > 1e-3
    assert denoiser.difference(ours, plain) < 1e-6


def test_dependency_measures_are_captums() -> None:
    pytest.importorskip("captum")
    decoder = dependency.fresh_decoder(6, 4)
    draws = Randomness([("perf", 0)]).draws("inputs")
    z, past = draws.normal(3, dependency.LATENT)[0], draws.normal(3, 5, dependency.CHANNELS)[0]
    theirs = dependency.by_captum(dependency.native(decoder), z, past, 32)
    ours = dependency.dependency_measures(decoder, z, past, 1e-4)
    for k in range(2):
        torch.testing.assert_close(ours[k], theirs[k], rtol=0, atol=2e-4)


def test_the_straightforward_run_has_our_results() -> None:
    pytest.importorskip("captum")
    line = measured("whole_run")[0]
    samples, shares = (float(word.split()[-1]) for word in line.note.split(","))
    assert samples < 1e-3
    assert shares < 1e-2  # the tolerance of ours


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
def test_freed_memory_stays_until_the_next_measurement() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    cpu, size = torch.device("cpu"), 2**26
    keep_freed()
    reset_peak(cpu)
    before = resident()
    for _ in range(2):
        torch.ones(size // 4)
        assert resident() - before > size / 2
    reset_peak(cpu)
    assert resident() - before < size / 2


# ---------------------------------------------------------------- samplers


def ddim_by_hand(model: StackedModel, n: int, grid: list[int]) -> torch.Tensor:
    """Song et al. 2021, eq. 12 at sigma = 0, in its own words: predicted z^0, and the direction to z^i."""
    z = Doubles().normal(n, model.latent)
    with torch.no_grad():
        for i, j in itertools.pairwise(grid):
            noise = model.denoiser(z, torch.full((2, n), i))
            clean = (z - (1 - model.alpha_bar[i]).sqrt() * noise) / model.alpha_bar[i].sqrt()
            z = model.alpha_bar[j].sqrt() * clean + (1 - model.alpha_bar[j]).sqrt() * noise
    return z


@pytest.mark.parametrize("steps", [0, 1, 7, 20, 50])
def test_ddim_is_its_equation(steps: int) -> None:
    model = model_of(dataclasses.replace(DIFFUSION, sampler="ddim", sampling_steps=steps))
    grid = sampling_grid(20, steps)
    assert (grid[0], grid[-1], len(grid)) == (20, 0, min(steps or 20, 20) + 1)
    found = reverse_diffusion(model, 5, Doubles())
    torch.testing.assert_close(found, ddim_by_hand(model, 5, grid), rtol=1e-9, atol=1e-9)


def dpm_solver_by_hand(model: StackedModel, n: int, grid: list[int]) -> torch.Tensor:
    """Lu et al. 2022, (SDE-)DPM-Solver++(2M), in its own letters: alpha, sigma, h, r, D; a step to 0 gives x0."""
    draws, seen, noisy = Doubles(), [], model.sampler == "dpm_solver_sde"
    z = draws.normal(n, model.latent)
    alpha, sigma = model.alpha_bar.sqrt(), (1 - model.alpha_bar).sqrt()
    steps = (alpha / sigma).log()[grid].tolist()
    with torch.no_grad():
        for k, (i, j) in enumerate(itertools.pairwise(grid)):
            seen.append((z - sigma[i] * model.denoiser(z, torch.full((2, n), i))) / alpha[i])
            noise = draws.normal(n, model.latent) if noisy else 0
            if j == 0:
                return seen[-1]
            h, direction = steps[k + 1] - steps[k], seen[-1]
            if k > 0:
                r = (steps[k] - steps[k - 1]) / h
                direction = (1 + 1 / (2 * r)) * seen[-1] - 1 / (2 * r) * seen[-2]
            if noisy:
                z = sigma[j] / sigma[i] * math.exp(-h) * z - alpha[j] * math.expm1(-2 * h) * direction
                z = z + sigma[j] * math.sqrt(-math.expm1(-2 * h)) * noise
            else:
                z = sigma[j] / sigma[i] * z - alpha[j] * math.expm1(-h) * direction
    return z


@pytest.mark.parametrize("sampler", ["dpm_solver", "dpm_solver_sde"])
@pytest.mark.parametrize("steps", [0, 1, 7, 20])
def test_dpm_solver_is_its_equation(steps: int, sampler: str) -> None:
    model = model_of(dataclasses.replace(DIFFUSION, sampler=sampler, sampling_steps=steps))
    grid = sampling_grid(20, steps, quadratic=True)
    assert (grid[0], grid[-1], len(set(grid))) == (20, 0, min(steps or 20, 20) + 1)
    found = reverse_diffusion(model, 5, Doubles())
    torch.testing.assert_close(found, dpm_solver_by_hand(model, 5, grid), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm_solver", "dpm_solver_sde"])
@pytest.mark.parametrize("steps", [0, 6])
def test_a_stop_is_reached_whether_it_is_on_the_grid_or_not(sampler: str, steps: int) -> None:
    model = model_of(dataclasses.replace(DIFFUSION, sampler=sampler, sampling_steps=steps))
    whole = reverse_diffusion(model, 21, Doubles())
    stop = torch.arange(21).expand(2, -1)
    found = reverse_diffusion(model, 21, Doubles(), stop)
    start = Doubles().normal(21, 4)
    assert torch.equal(found[:, 0], whole[:, 0])
    assert torch.equal(found[:, 20], start[:, 20])
    assert not torch.isclose(found[:, 1:20], whole[:, 1:20]).any(dim=-1).all()
    if sampler != "ddpm":  # the last step before the stop is a step of the sampler to the stop itself
        grid = [i for i in sampling_grid(20, steps, quadratic=sampler != "ddim") if i > 5] + [5]
        by_hand = ddim_by_hand if sampler == "ddim" else dpm_solver_by_hand
        torch.testing.assert_close(found[:, 5], by_hand(model, 21, grid)[:, 5], rtol=1e-6, atol=1e-6)


def test_new_options_are_part_of_a_runs_identity_and_their_defaults_are_not() -> None:
    run = next(run for run in read_sweep("smoke").runs if run.kind == "method")
    others = {
        dataclasses.replace(run, diffusion=dataclasses.replace(run.diffusion, sampler="ddim")).run_id,
        dataclasses.replace(run, diffusion=dataclasses.replace(run.diffusion, sampling_steps=5)).run_id,
        dataclasses.replace(run, train=dataclasses.replace(run.train, precision="bf16")).run_id,
    }
    assert len(others | {run.run_id}) == 4
    again = dataclasses.replace(run, train=dataclasses.replace(run.train, precision="float32"))
    assert again.run_id == run.run_id


# ---------------------------------------------------------------- precision


def train(precision: str, backbone: str = "lstm") -> StackedModel:
    config = TrainConfig(steps=8, batch_size=8, precision=precision)
    return train_stack(
        [METHODS["proposed"](N=2, M=18)],
        [make_splits()],
        [("tiny", 0)],
        backbone,
        ModelConfig(hidden=8, latent=4),
        [config],
        [DIFFUSION],
    ).model


@pytest.mark.skipif(not bf16_on_cpu(), reason="this processor has no instructions for bfloat16")
@pytest.mark.parametrize("backbone", ["lstm", "transformer"])
def test_bf16_trains_nearly_the_same_weights_in_float32(backbone: str) -> None:
    exact, rounded = (train(precision, backbone).state_of(0) for precision in ("float32", "bf16"))
    apart = [float((exact[name] - rounded[name]).abs().max()) for name in exact]
    assert all(value.dtype == torch.float32 for value in rounded.values() if value.is_floating_point())
    assert 0 < max(apart) < 0.05


@pytest.mark.parametrize("has_bf16", [True, False])
def test_what_a_cpu_cannot_do_is_unavailable_and_says_why(has_bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_module, "bf16_on_cpu", lambda: has_bf16)
    known = "float32 or bf16" if has_bf16 else "float32"
    with pytest.raises(Unavailable, match=f"train.precision = tf32: needs a CUDA device .* expected {known} on cpu"):
        train("tf32")
    with nullcontext() if has_bf16 else pytest.raises(Unavailable, match="bf16: needs a CUDA device"):
        check_precision("bf16", torch.device("cpu"))


def test_the_precision_of_products_is_put_back() -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    with products("tf32"):
        assert torch.get_float32_matmul_precision() == "high"
    with products("float32"):
        assert not torch.backends.cudnn.allow_tf32
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before


@pytest.mark.parametrize("wanted", [True, False])
def test_a_job_is_deterministic_where_it_is_asked_to_be(
    wanted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that what the job sets is taken back
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    seen, rounds = [], []
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)

    def work(*_: object) -> None:
        seen.append((torch.are_deterministic_algorithms_enabled(), os.environ.get("CUBLAS_WORKSPACE_CONFIG")))
        rounds.append(torch.backends.cudnn.allow_tf32)

    monkeypatch.setattr(job, "_work", work)
    job.run_stack(make_stacks(read_sweep("smoke").runs, 1)[0], job.JobSettings(tmp_path, None, deterministic=wanted))
    assert seen == [(True, ":4096:8") if wanted else (False, None)]
    assert rounds == [False]  # samples and measures are exact; training says for itself what it rounds
    assert not torch.are_deterministic_algorithms_enabled()


def test_deterministic_training_has_the_same_bits_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    usual = train("float32").state_of(0)
    with deterministic(True):
        repeated = train("float32").state_of(0)
    assert all(torch.equal(usual[name], repeated[name]) for name in usual)
