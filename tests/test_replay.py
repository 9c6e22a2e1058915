"""A run replayed is the run, and a run that was tampered with is noticed."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
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
seeds: 3
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
    for factor, word, code in ((0.3, "within noise", 0), (1e4, "different", 1)):  # two other seeds tell no finer
        Store(results).write_evaluated([{**mine, "value": mine["value"] + factor * spread}])
        assert replay.main([run_id, "--results", str(results)]) == code
        printed = capsys.readouterr().out
        assert f"{word}: 6 numbers compared, 1 moved" in printed
        assert "nll_own" in printed
    Store(results).write_evaluated([mine])


def number(name="a", value=0.0, **place):
    """One number of a row by `KEY`."""
    return {**dict.fromkeys(repetition.KEY, 0), "metric": name, **place, "value": value}


def numbers(*rows):
    return pd.DataFrame(rows).set_index(repetition.KEY)["value"]


def seeds(**groups):
    """The spread out of values by metric: those of one cell of the data set, and those of another."""
    values = [(name, cell, v) for name, both in groups.items() for cell, of_cell in enumerate(both) for v in of_cell]
    rows = [number(name, v, cell=cell) for name, cell, v in values]
    return repetition.spread(pd.DataFrame(rows, columns=[*repetition.KEY, "value", "cell"]))


def test_without_other_seeds_any_move_is_a_difference():
    before, after = numbers(number("a", 1.0), number("b", 2.0)), numbers(number("a", 1.0), number("b", 2.00001))
    word, moved = repetition.judge(before, after, seeds(a=([1.0], []), b=([2.0], [2.5])))
    assert word == "different"
    assert list(moved.index.get_level_values("metric")) == ["b"]


@pytest.mark.parametrize("own", [0, 4])
def test_chance_alone_is_called_different_as_rarely_as_the_level_says(own):
    """Five cells of three seeds whose spreads differ threefold, 30 numbers a row; then one is thirty spreads off."""
    generator = np.random.default_rng(0)
    sizes = np.linspace(1, 3, 5)
    places = [(f"m{name}", cell, seed) for name in range(30) for cell in range(5) for seed in range(3)]
    table = pd.DataFrame([number(name, cell=cell) for name, cell, _ in places])
    others = np.array([(cell, seed) != (own, 0) for _, cell, seed in places])
    false = found = 0
    for _ in range(200):
        drawn = generator.normal(size=(30, 5, 3)) * sizes[:, None]
        noise = repetition.spread(table.assign(value=drawn.ravel())[others])
        then = numbers(*(number(f"m{k}", drawn[k, own, 0]) for k in range(30)))
        now = pd.Series(generator.normal(size=30) * sizes[own], then.index)
        false += repetition.judge(then, now, noise)[0] == "different"
        now.iloc[0] = then.iloc[0] + 30 * sizes[own]
        found += not repetition.judge(then, now, noise)[1].inside.iloc[0]
    assert false <= 0.05 * 200 + 3 * np.sqrt(0.05 * 0.95 * 200)
    assert found > 100


def test_methods_spread_unequally_and_the_wider_spread_counts():
    wide, narrow = ([0.0, 9.0, -9.0, 8.0, -8.0], [0.0, 0.1] * 20), ([0.0, 0.1, 0.0, 0.1], [0.0, 9.0] * 20)
    before, after = numbers(number("a"), number("b")), numbers(number("a", 10.0), number("b", 10.0))
    assert repetition.judge(before, after, seeds(a=wide, b=narrow))[0] == "within noise"
    assert not repetition.judge(before, after + 90.0, seeds(a=wide, b=narrow))[1].inside.any()


def test_seeds_that_agree_by_luck_at_one_place_of_a_curve_say_little():
    generator = np.random.default_rng(0)
    curves = generator.normal(size=(3, 16))
    curves[1:, 5] = 0.3, 0.3001
    rows = [number("kl", curves[seed, t], index=t, cell=0) for seed in (1, 2) for t in range(16)]
    rows += [number("kl", 0.0, index=t, cell=1) for _ in range(5) for t in range(16)]  # of a method without spread
    then = numbers(*(number("kl", curves[0, t], index=t) for t in range(16)))
    noise = repetition.spread(pd.DataFrame(rows))
    assert 0.5 < noise.sd.item() < 2
    assert repetition.judge(then, then + 1, noise)[0] == "within noise"
    assert repetition.judge(then, then + 20, noise)[1].inside.sum() == 0


def test_random_rows_of_a_folder_are_replayed_and_a_false_one_is_found(results, capsys):
    words = ["--all", "--sample", "3", "--under", "1000", "--results", str(results)]
    assert replay.main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 identical"
    assert replay.main([*words, "--under", "0"]) == 1
    assert capsys.readouterr().out == "no row was run again, of the 3 that --sample asks for\n"
    _, metrics = load_results(results)
    mine = metrics[metrics.metric == "nll_own"].iloc[0].to_dict()
    Store(results).write_evaluated([{**mine, "value": mine["value"] + 1e9}])
    assert replay.main(["--all", "--results", str(results)]) == 1
    printed = capsys.readouterr().out
    assert "nll_own" in printed
    assert printed.splitlines()[-1] == "2 identical, 1 different"
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
    assert capsys.readouterr().out.splitlines() == ["older: another training version (3 rows)", "no row was run again"]
    assert replay.main(["--all", "--sample", "5", "--results", str(results)]) == 1


def test_a_number_that_is_gone_is_a_difference():
    def table(*rows):
        return pd.DataFrame(rows, columns=[*repetition.KEY, "value"]).set_index(repetition.KEY)["value"]

    nothing = float("nan")
    kl = ("kl", 1, "test", -1, "", nothing, 0, 3.0)
    curve = [("dependency_global", 1, "test", -1, "t", float(t), 0, 0.5) for t in range(1, 25)]
    failed = ("dependency_global", 1, "test", -1, "", nothing, 0, nothing)
    other = ("kl", 2, "test", -1, "", nothing, 0, 3.0), ("kl", 1, "validation", -1, "", nothing, 0, 3.0)
    before, after = repetition.comparable(table(kl, *curve, *other), table(kl, failed))
    assert len(before) == 25
    word, moved = repetition.judge(before, after, seeds(a=([], [])))
    assert (word, len(moved)) == ("different", 24)
    before, after = repetition.comparable(table(kl, *curve), table(*curve[::-1], kl, *other))
    assert repetition.judge(before, after, seeds(a=([], [])))[0] == "identical"
    assert repetition.comparable(table(kl), table(*curve))[0].empty


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
    (tmp_path / "tiny.yaml").write_text(SWEEP.replace("seeds: 3", "seeds: {splits: 1, initialisations: 2}"))
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
        (["0", "--level", "nan"], "--level nan: expected a number between 0 and 1"),
        (["0", "--level", "1"], "--level 1.0: expected a number between 0 and 1"),
        (["--all", "--under", "nan"], "--under nan: expected a finite number >= 0"),
        (["0", "--device", "foo"], "--device foo: expected cpu or cuda:K"),
        (["0", "--device", "cuda:999"], "--device cuda:999: no "),
    ],
)
def test_what_is_replayed_is_said_one_way(results, words, message):
    with pytest.raises(InputError, match=message):
        replay.main([*words, "--results", str(results)])


def test_tolerances_are_of_the_metric():
    assert repetition.tolerance("mmd2", 0.5) == repetition.ROUNDING
    assert repetition.tolerance("nll_own", -40.0) == pytest.approx(40 * repetition.ROUNDING)
    assert repetition.tolerance("dependency_global", 0.5) == 0.01
    assert repetition.tolerance("dependency_unresolved", 3.0) == float("inf")


def test_an_unknown_run_is_one_line(results):
    with pytest.raises(InputError, match="no such run"):
        replay.main(["zzz", "--results", str(results)])


def test_what_counts_as_noise_can_be_widened():
    before, after = numbers(number("a", 1.0)), numbers(number("a", 1.3))
    noise = seeds(a=([0.9, 1.0, 1.1], [0.0, 0.1, 0.2] * 3))
    assert repetition.judge(before, after, noise, level=0.2)[0] == "different"
    assert repetition.judge(before, after, noise, level=0.05)[0] == "within noise"
    assert repetition.judge(before, after + 1, noise, level=0.05)[0] == "different"


def test_how_well_a_number_was_computed_is_not_judged_by_the_spread_over_seeds():
    steady, spread = [1e-3, 1e-3 + 1e-9] * 3, [0.49, 0.5, 0.51] * 3
    noise = seeds(dependency_completeness_error=(steady, []), dependency_global=(spread, []))
    before = numbers(number("dependency_completeness_error", 1e-3), number("dependency_global", 0.5))
    finer = before.replace(1e-3, 2e-3)
    assert repetition.judge(before, finer, noise)[0] == "within noise"
    assert len(repetition.judge(before, finer, noise)[1]) == 1  # it is shown all the same
    assert repetition.judge(before, finer.replace(0.5, 0.6), noise)[0] == "different"


def test_a_row_of_an_unknown_method_makes_room_for_others(results, tmp_path, capsys):
    folder = shutil.copytree(results, tmp_path / "copy")
    (part, *_) = sorted((folder / "runs").glob("*.parquet"))
    rows = pd.read_parquet(part)
    config = rows.config.str.replace('"method": "latent_diffusion"', '"method": "mine"')
    rows.assign(method="mine", config=config).to_parquet(part)
    assert replay.main(["--all", "--results", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "not here: unknown method 'mine'" in printed
    assert printed.rstrip().endswith("2 identical")
