"""A run replayed is the run, and a run that was tampered with is noticed."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from bench import replay
from bench.contracts import InputError
from bench.engine import repetition
from bench.engine.job import JobSettings, run_stack
from bench.store import Store, load_results
from bench.sweeps.expand import read_sweep
from bench.sweeps.run import Run
from bench.sweeps.stacks import Stack

SWEEP = """
name: tiny
datasets: [{name: ar1, series: 60}]
methods: [latent_diffusion]
seeds: 2
model: {hidden: 8, latent: 4}
train: {steps: 4, batch_size: 8}
diffusion: {L: 20, steps: 4, batch_size: 8, hidden: 8}
evaluate: {n_samples: 10, metrics: [mmd2, nll], during_training: 0}
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay")
    (folder / "tiny.yaml").write_text(SWEEP)
    for run in read_sweep(folder / "tiny.yaml").runs:
        if run.kind == "method":
            run_stack(Stack((run,)), JobSettings(folder, None))
    return folder


def test_a_replayed_run_is_identical(results, capsys):
    run_id = load_results(results)[0].run_id.iloc[0]
    assert replay.main([run_id[:8], "--results", str(results)]) == 0
    assert "identical: 6 numbers compared, 0 moved" in capsys.readouterr().out


def test_a_number_that_moved_is_found_and_measured_in_seeds(results, capsys):
    runs, metrics = load_results(results)
    run_id = runs.run_id.iloc[0]
    spread = metrics[metrics.metric == "nll_own"].value.std()
    mine = metrics[(metrics.run_id == run_id) & (metrics.metric == "nll_own")].iloc[0].to_dict()
    for factor, word, code in ((0.3, "within noise", 0), (30, "different", 1)):
        Store(results).write_evaluated([{**mine, "value": mine["value"] + factor * spread}])
        assert replay.main([run_id, "--results", str(results)]) == code
        printed = capsys.readouterr().out
        assert f"{word}: 6 numbers compared, 1 moved" in printed
        assert "nll_own" in printed
    Store(results).write_evaluated([mine])


def test_without_other_seeds_any_move_is_a_difference():
    before, after = pd.Series({"a": 1.0, "b": 2.0}), pd.Series({"a": 1.0, "b": 2.00001})
    word, moved = repetition.judge(before, after, pd.Series({"a": float("nan"), "b": float("nan")}))
    assert word == "different"
    assert list(moved.index) == ["b"]


def test_random_rows_of_a_folder_are_replayed_and_a_false_one_is_found(results, capsys):
    words = ["--all", "--sample", "2", "--under", "1000", "--results", str(results)]
    assert replay.main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 identical"
    assert replay.main([*words, "--under", "0"]) == 1
    assert capsys.readouterr().out == "no row was run again, of the 2 that --sample asks for\n"
    _, metrics = load_results(results)
    mine = metrics[metrics.metric == "nll_own"].iloc[0].to_dict()
    Store(results).write_evaluated([{**mine, "value": mine["value"] + 100.0}])
    assert replay.main(["--all", "--results", str(results)]) == 1
    printed = capsys.readouterr().out
    assert "nll_own" in printed
    assert printed.splitlines()[-1] in ("1 identical, 1 different", "1 different, 1 identical")
    Store(results).write_evaluated([mine])


def test_the_draw_depends_on_the_seed_alone():
    runs = pd.DataFrame({"run_id": [f"{k:016x}" for k in range(40)], "status": "ok", "train_seconds": range(40)})
    runs.loc[3, "status"] = "failed"

    def order(seed, under=None, table=runs):
        return [row.run_id for row in repetition.drawn(table, seed, under)]

    assert order("a") == order("a", table=runs[::-1]) != order("b")
    assert sorted(order(None)) == sorted(order("a")) == [run for run in runs.run_id if run != f"{3:016x}"]
    assert set(order("a", 10.0)) == {f"{k:016x}" for k in range(10) if k != 3}
    assert order("a", 10.0) == [run for run in order("a") if run in order("a", 10.0)]


def test_rows_of_another_version_are_not_run_again(results, capsys, monkeypatch):
    monkeypatch.setattr(repetition, "TRAINING_VERSION", 99)
    assert replay.main(["--all", "--results", str(results)]) == 0
    assert capsys.readouterr().out.splitlines() == ["older: another training version (2 rows)", "no row was run again"]
    assert replay.main(["--all", "--sample", "5", "--results", str(results)]) == 1


def test_a_number_that_is_gone_is_a_difference():
    def numbers(*rows):
        return pd.DataFrame(rows, columns=[*repetition.KEY, "value"]).set_index(repetition.KEY)["value"]

    nothing = float("nan")
    kl = ("kl", 1, "test", -1, "", nothing, 0, 3.0)
    curve = [("dependency_global", 1, "test", -1, "t", float(t), 0, 0.5) for t in range(1, 25)]
    failed = ("dependency_global", 1, "test", -1, "", nothing, 0, nothing)
    other = ("kl", 2, "test", -1, "", nothing, 0, 3.0), ("kl", 1, "validation", -1, "", nothing, 0, 3.0)
    before, after = repetition.comparable(numbers(kl, *curve, *other), numbers(kl, failed))
    assert len(before) == 25
    word, moved = repetition.judge(before, after, before.iloc[:0])
    assert (word, len(moved)) == ("different", 24)
    before, after = repetition.comparable(numbers(kl, *curve), numbers(*curve[::-1], kl, *other))
    assert repetition.judge(before, after, before.iloc[:0])[0] == "identical"
    assert repetition.comparable(numbers(kl), numbers(*curve))[0].empty


def test_a_reference_of_another_version_is_not_run_again(results, monkeypatch):
    runs, _ = load_results(results)
    row = runs.iloc[0]
    run = dataclasses.replace(Run.from_config(row.config), kind="reference", method="floor_noise")
    old = row.copy()
    old["run_id"] = run.run_id
    assert "reference_version" not in {name for name, *_ in repetition.changed_ingredients(old, run, row.data_sha256)}
    monkeypatch.setattr("bench.sweeps.run.version_of", lambda name: 99)
    changed = repetition.changed_ingredients(old, dataclasses.replace(run), row.data_sha256)
    assert {name for name, *_ in changed} & set(repetition.VERSIONS) == {"reference_version"}


def test_a_run_with_a_split_seed_is_trained_on_that_split(tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(SWEEP.replace("seeds: 2", "seeds: {splits: 1, initialisations: 2}"))
    for run in read_sweep(tmp_path / "tiny.yaml").runs:
        if run.kind == "method":
            run_stack(Stack((run,)), JobSettings(tmp_path, None))
    runs, metrics = load_results(tmp_path)
    assert sorted(zip(runs.seed, runs.split_seed, strict=True)) == [(0, 0), (10_000, 0)]
    assert runs.data_sha256.nunique() == 1
    assert set(runs.division) == {"drawn"}
    assert metrics[metrics.metric == "nll_own"].value.nunique() == 2
    assert replay.main(["--all", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 identical"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected a RUN_ID, or --all"),
        (["0", "--all"], "expected a RUN_ID, or --all"),
        (["0", "--sample", "3"], "expected --all with them"),
        (["--all", "--sample", "0"], "--sample 0: expected a whole number >= 1"),
        (["0", "--within", "nan"], "--within nan: expected a finite number >= 0"),
        (["0", "--within", "-1"], "--within -1.0: expected a finite number >= 0"),
        (["--all", "--under", "nan"], "--under nan: expected a finite number >= 0"),
        (["0", "--device", "foo"], "--device foo: expected cpu or cuda:K"),
        (["0", "--device", "cuda:999"], "--device cuda:999: no "),
    ],
)
def test_what_is_replayed_is_said_one_way(results, words, message):
    with pytest.raises(InputError, match=message):
        replay.main([*words, "--results", str(results)])


def test_tolerances_are_of_the_metric_where_the_seeds_say_less():
    assert repetition.tolerance("mmd2", 0.5, 0.1, 3) == pytest.approx(0.3)
    assert repetition.tolerance("mmd2", 0.5, float("nan"), 3) == repetition.ROUNDING
    assert repetition.tolerance("nll_own", -40.0, 0.0, 1) == pytest.approx(40 * repetition.ROUNDING)
    assert repetition.tolerance("dependency_global", 0.5, 1e-4, 1) == 0.01
    assert repetition.tolerance("dependency_unresolved", 3.0, 1e-4, 1) == float("inf")


def test_an_unknown_run_is_one_line(results):
    with pytest.raises(InputError, match="no such run"):
        replay.main(["zzz", "--results", str(results)])


def test_what_counts_as_noise_can_be_widened():
    before, after = pd.Series({"a": 1.0}), pd.Series({"a": 1.2})
    noise = pd.Series({"a": 0.1})
    assert repetition.judge(before, after, noise)[0] == "different"
    assert repetition.judge(before, after, noise, within=3)[0] == "within noise"
    assert repetition.judge(before, after + 0.2, noise, within=3)[0] == "different"


def test_how_well_a_number_was_computed_is_not_judged_by_the_spread_over_seeds():
    noise = pd.Series({"dependency_completeness_error": 1e-9, "dependency_global": 0.01})
    before = pd.Series({"dependency_completeness_error": 1e-3, "dependency_global": 0.5})
    finer = before.replace(1e-3, 2e-3)
    assert repetition.judge(before, finer, noise)[0] == "within noise"
    assert len(repetition.judge(before, finer, noise)[1]) == 1  # it is shown all the same
    assert repetition.judge(before, finer.replace(0.5, 0.6), noise)[0] == "different"
