"""What earlier runs say about the memory of others, and how many workers that allows."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import fake_job
import pandas as pd
import pytest
import torch
from fake_job import fake_run

from bench.contracts import InputError
from bench.engine.estimates import Past
from bench.engine.trials import try_runs
from bench.hardware.devices import CONTEXT_BYTES, Device, slots_that_fit
from bench.plan import main as plan_main
from bench.registry import METHODS
from bench.store import Store
from bench.sweeps.expand import read_sweep
from bench.sweeps.stacks import Stack

TINY = """
datasets: [{name: sines, series: 60}]
methods: [latent_diffusion, data_diffusion, {name: proposed, label: joint, set: {joint: true, N: 2, M: 9}}]
seeds: 2
model: {hidden: 4, latent: 2}
train: {steps: 50, batch_size: 4}
diffusion: {L: 10, steps: 80, batch_size: 4, hidden: 4}
evaluate: {n_samples: 8, metrics: [sliced_wasserstein, kl], during_training: 1}
"""


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    fake_job.register()
    yield
    METHODS._classes.pop("fake", None)


def past(*peaks_and_sizes: tuple[int, int]) -> Past:
    rows = [
        {**fake_run("ok", seed=seed).columns(), "peak_memory_bytes": peak, "stack_size": size}
        for seed, (peak, size) in enumerate(peaks_and_sizes)
    ]
    return Past(pd.DataFrame(rows).assign(status="ok", device="cuda"), "cuda")


def test_a_stack_takes_the_peak_per_run_of_its_shape() -> None:
    runs = tuple(fake_run("ok", number=number, seed=9) for number in range(3))
    known = past((100, 1), (800, 4), (0, 1))  # 0: not measured
    assert known.memory([Stack(runs[:1])]) == 200
    assert known.memory([Stack(runs[:1]), Stack(runs)]) == 600
    assert known.memory([Stack((fake_run("ok", backbone="transformer"),))]) == 0
    assert past((0, 1)).memory([Stack(runs)]) == 0


def test_workers_per_device_by_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"cuda:0": 100 * 2**30, "cuda:1": 40 * 2**30, "cpu": 10 * 2**30}
    monkeypatch.setattr("bench.hardware.devices.memory_of", lambda device: sizes[device.name])
    monkeypatch.setattr("bench.hardware.devices.usable_cores", lambda: 16)
    two, one, cpu = [Device("cuda:0"), Device("cuda:1")], [Device("cuda:0")], [Device("cpu")]
    need = 8 * 2**30 - CONTEXT_BYTES
    assert slots_that_fit(one, need) == 10
    assert slots_that_fit(two, need) == 4  # the smaller one decides
    assert slots_that_fit(one, 1) == 16  # a core each
    assert slots_that_fit(two, 1) == 8
    assert slots_that_fit(one, 1e15) == 1
    assert slots_that_fit(cpu, 2**30) == 8
    assert slots_that_fit(cpu, 0) is None
    sizes["cpu"] = 0
    assert slots_that_fit(cpu, 2**30) is None


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for limit in ("UPDATES_SECONDS", "EVALUATION_SECONDS"):  # a busy machine leaves nothing out
        monkeypatch.setattr(f"bench.engine.trials.{limit}", 600.0)
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def test_without_a_past_run_a_few_updates_are_timed(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tiny.parent / "none"
    assert plan_main([str(tiny), "--results", str(results), "--device", "cpu", "--jobs", "2"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "tiny: 18 runs, 0 done, 18 to do"
    assert said[2].startswith(
        f"no finished run in {results} to predict 18 runs from: timed 5 updates of 3 settings of method, backbone "
        "and data set, one evaluation and 1 reference row ("
    )
    assert said[3].startswith("about ")
    assert said[3].endswith("s, from what was timed; starting the workers takes additional time")
    assert said[4].startswith("about 0.")
    assert not results.exists()


@pytest.mark.parametrize(("done", "timed"), [("reference", "one evaluation ("), ("method", "no training and 1 ref")])
def test_a_kind_without_a_finished_run_is_timed(
    tiny: Path, done: str, timed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """References alone say nothing about methods, which take most of the time."""
    results = tiny.parent / "some"
    store = Store(results)
    store.prepare()
    seconds = {"train_seconds": 3600.0, "evaluate_seconds": 3600.0, "peak_memory_bytes": 10**8, "stack_size": 1}
    finished = [run for run in read_sweep(tiny).runs if run.kind == done][:2]
    store.write_part(
        "part", [{**run.columns(), "attempt": 1, "status": "ok", "device": "cpu", **seconds} for run in finished]
    )
    assert plan_main(["--grid", str(tiny), "--results", str(results), "--device", "cpu", "--jobs", "1"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[2].startswith(f"no finished run in {results} to predict ")
    assert timed in said[2]
    assert re.fullmatch(r"about .* h.*, from 2 finished runs and what was timed; past predictions .*", said[3])
    assert len(said) == 5


def test_how_many_runs_cannot_be_predicted_is_said(
    tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("this is mine")

    monkeypatch.setattr("bench.engine.trials.time_updates", broken)
    assert plan_main([str(tiny), "--results", str(tiny.parent / "none"), "--device", "cpu", "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "the time and memory of 6 of 18 runs cannot be predicted\nabout " in said


def test_a_sweep_is_named_once() -> None:
    with pytest.raises(InputError, match="argument --grid: not allowed with argument SWEEP"):
        plan_main(["quick", "--grid", "quick"])


def test_what_is_timed_is_scaled_to_the_whole_run(tiny: Path) -> None:
    found = try_runs(read_sweep(tiny).runs, None, torch.device("cpu"))
    assert found.notes == ()
    rows = found.of("method").set_index("label")
    assert list(rows.index) == ["latent_diffusion", "data_diffusion", "joint"]
    assert (rows.loc[["latent_diffusion", "joint"], "train_seconds"] > 0).all()
    assert rows.train_seconds["data_diffusion"] == 0, "its one network has the updates of both stages"
    assert (rows[["sample_seconds", "evaluate_seconds", "peak_memory_bytes"]] > 0).all(axis=None)
    longer = Past(found.runs, "cpu").predict({**found.runs.iloc[0].to_dict(), "train.steps": 5000})
    shorter = Past(found.runs, "cpu").predict(found.runs.iloc[0].to_dict())
    assert longer is not None
    assert shorter is not None
    assert longer.seconds - shorter.seconds == pytest.approx(99 * rows.train_seconds["latent_diffusion"])


def test_a_generator_without_one_of_the_stages_is_predicted_from_the_updates_of_both() -> None:
    """Such a run made more updates of its only stage than that stage's budget."""

    def run(made: int, denoiser_made: int) -> dict[str, object]:
        seconds = {"train_seconds": 2.0 * made, "denoiser_seconds": 1.0 * denoiser_made}
        updates = {"updates": made, "denoiser_updates": denoiser_made}
        budgets = {"train.steps": 50, "diffusion.steps": 80}
        others = {"sample_seconds": 0.0, "evaluate_seconds": 0.0}
        return {**fake_run("ok").columns(), **budgets, **seconds, **updates, **others, "peak_memory_bytes": 1}

    budgets = {"train.steps": 500, "diffusion.steps": 2000}
    for row, seconds in ((run(50, 80), 500 * 2 + 2000), (run(130, 0), 2500 * 2), (run(0, 130), 2500)):
        known = Past(pd.DataFrame([row]).assign(status="ok", device="cpu", stack_size=1), "cpu")
        guess = known.predict({**row, **budgets})
        assert guess is not None
        assert guess.seconds == pytest.approx(seconds)


def test_runs_with_a_latent_per_step_are_predicted_from_their_like() -> None:
    rows = []
    for steps, seconds in ((1, 10.0), (None, 10.0), (4, 90.0)):
        row = {**fake_run("ok").columns(), "evaluate_seconds": seconds, "model.latent_steps": steps}
        rows.append({**row, "peak_memory_bytes": int(seconds), "train_seconds": 0.0, "denoiser_seconds": 0.0})
    known = Past(pd.DataFrame(rows).assign(status="ok", device="cpu", stack_size=1, sample_seconds=0.0), "cpu")
    for steps, seconds in ((1, 10.0), (4, 90.0)):
        guess = known.predict({**rows[0], "model.latent_steps": steps})
        assert guess is not None
        assert (guess.seconds, guess.memory) == (seconds, seconds)


def test_there_is_a_limit_to_what_is_tried(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.engine.trials.UPDATES_SECONDS", 0.0)
    monkeypatch.setattr("bench.engine.trials.EVALUATION_SECONDS", 0.0)
    found = try_runs(read_sweep(tiny).runs, None, torch.device("cpu"))
    assert list(found.of("method").label) == ["latent_diffusion"]
    assert found.notes == (
        "2 of 3 settings were not timed: assumed to cost as much as these",
        "2 of 2 measures were not timed: the sweep will take longer",
        "1 of 1 measures of a reference row were not timed: the sweep will take longer",
    )


def test_reference_rows_count_and_are_predicted_from_reference_rows(
    tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = read_sweep(tiny).runs
    found = try_runs(runs, None, torch.device("cpu"))
    (row,) = found.of("reference").to_dict("records")
    assert row["evaluate_seconds"] > 0
    references = [run for run in runs if run.kind == "reference"]
    past = Past(found.runs, "cpu")
    for run in references:
        guess = past.predict(run.columns())
        assert guess is not None
        assert guess.seconds == pytest.approx(row["evaluate_seconds"])
    assert Past(found.of("method"), "cpu").predict(references[0].columns()) is None
    assert Past(found.of("reference"), "cpu").predict(runs[0].columns()) is None or runs[0].kind == "reference"

    slow = found.runs.assign(evaluate_seconds=[1.0 if kind == "method" else 3600.0 for kind in found.runs["kind"]])
    monkeypatch.setattr("bench.engine.trials.try_runs", lambda *_: dataclasses.replace(found, runs=slow))
    assert plan_main([str(tiny), "--results", str(tiny.parent / "none"), "--device", "cpu", "--jobs", "1"]) == 0
    hours = 2 * len({run.method for run in references})
    assert f"about {hours} h" in capsys.readouterr().out


def test_a_method_that_cannot_be_tried_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("this is mine")

    monkeypatch.setattr("methods.latent_diffusion.LatentDiffusion.objective", broken)
    monkeypatch.setattr("methods.data_diffusion.DataDiffusion.backbones", ("transformer",))
    found = try_runs(read_sweep(tiny).runs, None, torch.device("cpu"))
    assert list(found.of("method").label) == ["joint"]
    assert found.notes == ("latent_diffusion: cannot be timed: ValueError: this is mine",)
