"""Tuning: equally many trials, the validation windows, the best mean rank."""

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import refused

from bench.contracts import InputError
from bench.registry import METHODS
from bench.scoring.scores import Scope
from bench.store import load_results
from bench.sweeps.expand import Selection, read_sweep
from bench.sweeps.file import find_sweep, read_file
from bench.sweeps.tuning import best_trial, ranks, trial_sweep, trials, write_sweep
from bench.tune import main

SWEEP = """
name: tiny
datasets: [regimes]
methods:
  - latent_diffusion
  - {name: proposed, label: ours, set: {N: 2, M: 9}, search: {N: [1, 3]}}
seeds: 2
model: {hidden: 4, latent: 2}
train: {steps: 4, batch_size: 4}
diffusion: {L: 10, steps: 4, batch_size: 4, hidden: 4}
evaluate: {n_samples: 20, metrics: [nll]}
tune: {trials: 2, space: {train.learning_rate: [1.0e-3, 4.0e-3]}, train: {steps: 3}}
reduced: {seeds: 1, train: {steps: 2}, methods: [latent_diffusion]}
"""


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(SWEEP)
    return path


def test_the_first_trial_is_the_entry_itself_and_all_differ(sweep):
    file = read_file(sweep)
    assert file.tune is not None
    file.tune.space, file.tune.trials = {"gamma": [1, 2]}, 6
    entry = {"name": "proposed", "set": {"N": 2, "M": 9}, "search": {"N": [1, 2, 3], "eta": [1]}}
    found = trials(file, entry, "here")
    assert found[0] == {"N": 2, "M": 9}
    assert found == trials(file, entry, "here")
    # gamma 2 and eta 1 are defaults: N 2 with them is the first trial again
    assert {(trial["N"], trial.get("gamma", 2)) for trial in found} == {(n, g) for n in (1, 2, 3) for g in (1, 2)}
    assert len(found) == 6


def test_a_sweep_is_not_overwritten_by_its_tuned_form(sweep, tmp_path):
    before = sweep.read_text()
    with refused("tiny.yaml: is read by this command, expected another file"):
        main(["--grid", str(sweep), "--out", str(tmp_path / "." / "tiny.yaml"), "--results", str(tmp_path / "r")])
    assert sweep.read_text() == before
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("reduced", [False, True])
def test_trials_of_the_shipped_sweep_can_be_planned(tmp_path, reduced):
    path = find_sweep("published")
    file = read_file(path, reduced)
    entries = [entry.model_dump(exclude_defaults=True) for entry in file.methods]
    write_sweep(tmp_path / "trials.yaml", trial_sweep(file, entries, str(path)), "trials")
    planned = read_sweep(tmp_path / "trials.yaml", Selection(datasets=("ar1",), seeds=(0,)))
    labels = {run.label for run in planned.runs if run.kind == "method"}
    assert len(labels) == file.tune.trials * len(entries)


def test_ranks_are_means_over_places_and_a_failed_run_is_last():
    rows, values = [], {"a #0": (2.0, 1.0), "a #1": (1.0, 3.0), "a #2": (3.0, np.nan)}
    numbers = []
    for label, (first, second) in values.items():
        for seed, value in enumerate((first, second)):
            run_id = f"{label}{seed}"
            rows.append({"run_id": run_id, "label": label, "dataset": "d", "shuffle": False, "backbone": "lstm"})
            rows[-1]["seed"] = seed
            if not np.isnan(value):
                shared = {"metric": "sliced_wasserstein", "split": "validation", "train_step": -1, "status": "ok"}
                numbers.append({"run_id": run_id, "value": value, "version": 2, "coordinate": "", **shared})
                numbers.append({**numbers[-1], "split": "test", "value": -value})
                numbers.append({**numbers[-2], "coordinate": "test blocks", "value": -value})
    found = ranks(pd.DataFrame(rows), pd.DataFrame(numbers), "sliced_wasserstein")
    assert found["rank"].tolist() == [1.5, 1.5, 3.0]
    assert found["change"].tolist() == [0.0, 0.5, 1.0]  # paired: of trial 2 the first seed alone
    assert found["ok"].tolist() == [2, 2, 1]
    numbers = [{**row, "metric": "coverage"} for row in numbers]
    assert ranks(pd.DataFrame(rows), pd.DataFrame(numbers), "coverage")["rank"].tolist() == [2.0, 2.0, 2.0]
    numbers[0]["version"] = 1
    with pytest.raises(InputError, match=r"coverage: the trials have numbers of its versions 1 and 2.*bench\.evaluate"):
        ranks(pd.DataFrame(rows), pd.DataFrame(numbers), "coverage")
    numbers[0]["run_id"] = "of no trial"
    ranks(pd.DataFrame(rows), pd.DataFrame(numbers), "coverage")


def test_a_trial_must_beat_the_own_setting_by_the_margin():
    table = pd.DataFrame({"trial": [0, 1, 2], "rank": [2.0, 1.0, 3.0], "change": [0.0, -0.01, 0.1], "ok": [3, 3, 3]})
    assert best_trial(table, 0.0, higher=False) == 1
    assert best_trial(table, 0.015, higher=False) == 0
    assert best_trial(table, 0.0, higher=True) == 0  # 1 has the better rank but the lower mean
    assert best_trial(table.assign(ok=[2, 3, 3]), 0.015, higher=False) == 1  # the own setting failed somewhere
    assert (
        best_trial(table.assign(ok=[2, 3, 3], change=[0.0, 0.01, 0.1]), 0.015, higher=False) == 0
    )  # worse where both ran
    assert best_trial(table.assign(ok=[0, 3, 3], change=np.nan), 0.015, higher=False) == 1
    assert best_trial(table.assign(ok=[3, 2, 3]), 0.0, higher=False) == 0  # better where it did not fail
    assert best_trial(table.assign(rank=2.0), 0.0, higher=False) == 0


@pytest.mark.usefixtures("inline")
def test_a_tuned_sweep_holds_the_best_trials_and_nothing_of_the_test_windows(sweep, tmp_path, capsys):
    assert main(["--grid", str(sweep), "--results", str(tmp_path / "r"), "--jobs", "1"]) == 0
    runs, metrics = load_results(tmp_path / "r")
    assert set(metrics["split"]) == {"validation"}
    assert runs[runs.kind == "method"].groupby("method").size().tolist() == [2, 2]
    document = yaml.safe_load((tmp_path / "r" / "tiny-tuned.yaml").read_text())
    assert "tune" not in document
    assert all("search" not in entry for entry in document["methods"])
    tuned = read_sweep(tmp_path / "r" / "tiny-tuned.yaml")
    assert {run.train.steps for run in tuned.runs} == {4}  # the trials' shorter budget is not the sweep's
    assert {run.evaluate.split for run in tuned.runs} == {"test"}
    value = runs.assign(value=runs.run_id.map(metrics.set_index("run_id").value)).set_index("label").value
    best = {name: min((0, 1), key=lambda k, name=name: value[f"{name} #{k}"]) for name in ("latent_diffusion", "ours")}
    for entry in document["methods"]:
        label = entry.get("label", entry["name"])
        own = {"ours": {"N": 2, "M": 9}, "latent_diffusion": None}[label]
        assert (entry.get("set") == own) == (best[label] == 0)


@pytest.mark.usefixtures("inline")
def test_a_method_of_a_plugin_is_tuned(sweep, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from dataclasses import dataclass\n"
        "from bench.registry import register_method\n"
        "from methods.latent_diffusion import LatentDiffusion\n"
        '@register_method("tuned_plugin")\n'
        "@dataclass(frozen=True)\n"
        "class Mine(LatentDiffusion):\n"
        '    """Vanilla under another name.\n\n    Shapes: as there.\n    Source: none.\n    Ours: all."""\n'
    )
    sweep.write_text(SWEEP.replace("  - latent_diffusion\n", "  - tuned_plugin\n"))
    flags = ["--grid", str(sweep), "--results", str(tmp_path / "r"), "--jobs", "1", "--plugin", str(plugin)]
    try:
        assert main(flags) == 0
    finally:
        METHODS._classes.pop("tuned_plugin", None)
    text = (tmp_path / "r" / "tiny-tuned.yaml").read_text()
    assert f"--plugin {plugin}" in text
    assert [entry["name"] for entry in yaml.safe_load(text)["methods"]] == ["tuned_plugin", "proposed"]


def test_validation_windows_take_the_place_of_the_test_windows():
    from bench.contracts import DatasetSpec
    from bench.loading.windows import load_splits

    splits = load_splits(DatasetSpec("regimes"), 0)
    assert Scope("regimes", 0).measured(splits) is splits
    measured = Scope("regimes", 0, split="validation").measured(splits)
    assert measured.test is splits.validation
    assert measured.train is splits.train


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tune: {trials: 2, space: {train.learning_rate: [1.0e-3, 4.0e-3]}, train: {steps: 3}}", "", "tune: expected"),
        ("trials: 2", "trials: 9", "expected at least tune.trials = 9"),
        ("search: {N: [1, 3]}", "grid: {N: [1, 3]}", "ours: expected no grid"),
        ("trials: 2", "trails: 2", "tune.trails: unknown key: did you mean 'trials'"),
    ],
)
def test_a_sweep_that_cannot_be_tuned(sweep, tmp_path, old, new, message):
    assert old in SWEEP
    sweep.write_text(SWEEP.replace(old, new))
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        main(["--grid", str(sweep), "--results", str(tmp_path / "r")])


def test_the_reduced_form(sweep):
    whole, reduced = read_sweep(sweep), read_sweep(sweep, Selection(reduced=True))
    assert (whole.name, reduced.name) == ("tiny", "tiny-reduced")
    assert {run.seed for run in reduced.runs} == {0}
    assert {run.label for run in reduced.runs if run.kind == "method"} == {"latent_diffusion"}
    assert {(run.train.steps, run.train.batch_size) for run in reduced.runs} == {(2, 4)}


def test_a_mistake_in_the_reduced_form_is_found_without_it(sweep):
    sweep.write_text(SWEEP.replace("reduced: {seeds: 1", "reduced: {seeds: 0"))
    with pytest.raises(InputError, match="reduced: seeds"):
        read_sweep(sweep)
    sweep.write_text(SWEEP[: SWEEP.index("reduced")])
    with pytest.raises(InputError, match="reduced: expected a mapping"):
        read_sweep(sweep, Selection(reduced=True))
