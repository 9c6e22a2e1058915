"""Sweep files: what they mean, who a run is, and one line for every mistake."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import refused
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contracts import TRAINING_BLOCKS, Contrast, DatasetSpec, DiffusionConfig, InputError, later_options, option
from bench.registry import DATASETS, METHODS
from bench.sweeps.expand import Selection, Sweep, _expand, read_sweep
from bench.sweeps.file import _structure, find_sweep, shipped_sweeps
from bench.sweeps.options import parse_seeds, parse_setting
from bench.sweeps.plain_yaml import parse_yaml
from bench.sweeps.run import Run, _block_json, plain
from bench.sweeps.stacks import make_stacks

BASE = "name: s\ndatasets: [sines]\nmethods: [latent_diffusion]\nseeds: 1\n"


def sweep(tmp_path: Path, text: str, *settings: str, **selected: Any) -> Sweep:
    path = tmp_path / "s.yaml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return read_sweep(path, Selection(settings=settings, **selected))


def methods(found: Sweep) -> list[Run]:
    return [run for run in found.runs if run.kind == "method"]


# ---------------------------------------------------------------- meaning


def test_a_sweep_is_a_product(tmp_path: Path) -> None:
    found = sweep(
        tmp_path,
        """
        datasets: [sines, {name: sines, shuffle: true}]
        methods:
          - latent_diffusion
          - {name: proposed, grid: {N: [10, 20], eta: [1, 2]}, label: p}
        seeds: [3, 5]
        """,
    )
    assert found.name == "s"
    runs = methods(found)
    assert len(runs) == 2 * 2 * (1 + 4)
    grid = [dict(run.hyper) for run in runs if run.label == "p"][:4]
    assert [(hyper["N"], hyper["eta"]) for hyper in grid] == list(itertools.product([10, 20], [1, 2]))
    assert all(hyper["M"] == 900 for hyper in grid), "every field is resolved"
    references = [run for run in found.runs if run.kind == "reference"]
    assert {(run.dataset.shuffle, run.seed) for run in references} == set(itertools.product([False, True], [3, 5]))
    assert {run.method for run in references} >= {"floor_noise", "floor_shift", "constant_mean", "gaussian_fit"}


def test_set_reaches_methods_and_blocks(tmp_path: Path) -> None:
    found = sweep(
        tmp_path,
        """
        datasets: [sines]
        methods:
          - {name: proposed, set: {N: 7, likelihood: mse, train.steps: 9}, grid: {diffusion.steps: [3, 4]}}
          - latent_diffusion
        model: {hidden: 8}
        """,
    )
    first = methods(found)[0]
    assert dict(first.hyper)["N"] == 7
    assert (first.model.likelihood, first.model.hidden, first.train.steps, first.diffusion.steps) == ("mse", 8, 9, 3)
    other = next(run for run in found.runs if run.method == "latent_diffusion")
    assert (other.model.likelihood, other.train.steps) == ("gaussian", 1500)


def test_the_command_line_wins(tmp_path: Path) -> None:
    text = """
        datasets: [sines]
        methods: [latent_diffusion, {name: proposed, set: {train.steps: 9}, grid: {N: [10, 20]}}]
        seeds: 1
        train: {steps: 8}
        """
    found = sweep(tmp_path, text, "N=30", "train.steps=5", "masking_rate=0.5")
    assert {run.train.steps for run in found.runs} == {5}
    assert [dict(run.hyper).get("N") for run in methods(found)] == [None, 30]
    assert {dict(run.hyper)["masking_rate"] for run in methods(found)} == {0.5}
    datasets = ("ar1", "{name: regimes, shuffle: true}")
    narrowed = sweep(tmp_path, text, methods=("proposed",), seeds=(4,), datasets=datasets)
    assert {run.method for run in methods(narrowed)} == {"proposed"}
    assert {(run.dataset.name, run.dataset.shuffle, run.seed) for run in narrowed.runs} == {
        ("ar1", False, 4),
        ("regimes", True, 4),
    }


def test_a_data_set_has_settings_of_its_own(tmp_path: Path) -> None:
    text = """
        datasets: [sines, {name: regimes, series: 400, set: {model.bins: 64, train.steps: 9}}]
        methods: [latent_diffusion, {name: no_latent, set: {train.steps: 7}}]
        seeds: 1
        train: {steps: 8}
        """
    found = sweep(tmp_path, text)
    assert {(run.method, run.dataset.name): (run.model.bins, run.train.steps) for run in methods(found)} == {
        ("latent_diffusion", "sines"): (None, 8),
        ("no_latent", "sines"): (None, 7),
        ("latent_diffusion", "regimes"): (64, 9),
        ("no_latent", "regimes"): (64, 7),
    }
    named = sweep(tmp_path, text, datasets=("regimes,series=400",))
    assert {run.run_id for run in named.runs} == {run.run_id for run in found.runs if run.dataset.name == "regimes"}
    other = sweep(tmp_path, text, datasets=("regimes,series=500",))
    assert {run.model.bins for run in other.runs} == {None}
    over = sweep(tmp_path, text, "train.steps=5", "model.bins=3")
    assert {(run.model.bins, run.train.steps) for run in over.runs} == {(3, 5)}


def test_a_backbone_has_settings_of_its_own(tmp_path: Path) -> None:
    own = "{name: transformer, set: {train.steps: 9, train.learning_rate: 0.5}}"
    text = f"""
        datasets: [{{name: sines, set: {{model.hidden: 24, train.steps: 6}}}}]
        methods: [latent_diffusion, {{name: no_latent, set: {{train.steps: 7}}}}]
        backbones: [lstm, {own}]
        seeds: 1
        train: {{learning_rate: 0.25}}
        """
    found = sweep(tmp_path, text)
    settings = {
        (run.method, run.backbone): (run.model.hidden, run.train.steps, run.train.learning_rate)
        for run in methods(found)
    }
    assert settings == {
        ("latent_diffusion", "lstm"): (24, 6, 0.25),
        ("no_latent", "lstm"): (24, 7, 0.25),
        ("latent_diffusion", "transformer"): (24, 9, 0.5),
        ("no_latent", "transformer"): (24, 7, 0.5),
    }
    assert {run.train.steps for run in found.runs if run.kind == "reference"} == {6}
    named = sweep(tmp_path, text, backbones=("transformer",))
    assert methods(named) == [run for run in methods(found) if run.backbone == "transformer"]
    over = sweep(tmp_path, text, "train.steps=5")
    assert {run.train.steps for run in over.runs} == {5}
    plain = sweep(tmp_path, text.replace(own, "transformer"))
    shared = {run.run_id for run in plain.runs} & {run.run_id for run in found.runs}
    assert shared == {run.run_id for run in found.runs if run.backbone != "transformer"}


@pytest.mark.parametrize(("steps", "last", "first"), [(20, 1, 18), (100, 5, 90), (250, 12, 225), (2000, 100, 1800)])
def test_defaults_combine_with_another_noise_schedule(tmp_path: Path, steps: int, last: int, first: int) -> None:
    text = BASE.replace("[latent_diffusion]", "[proposed, kl_free, {name: proposed, label: own, set: {N: 3}}]")
    ours, free, own = methods(sweep(tmp_path, f"{text}diffusion: {{L: {steps}}}"))
    assert (dict(ours.hyper)["N"], dict(ours.hyper)["M"], dict(free.hyper)["N"]) == (last, first, last)
    assert (dict(own.hyper)["N"], dict(own.hyper)["M"]) == (3, first)
    assert ours.columns()["M"] == first
    with pytest.raises(InputError, match=f"proposed.M = 2001: expected 1 <= M <= L = {steps}"):
        sweep(tmp_path, f"{text}diffusion: {{L: {steps}}}", "M=2001")


def test_the_schedule_of_each_variant_gives_its_defaults(tmp_path: Path) -> None:
    text = BASE.replace("[latent_diffusion]", "[{name: proposed, grid: {diffusion.L: [100, 1000]}}]")
    found = [(run.diffusion.L, dict(run.hyper)["N"], dict(run.hyper)["M"]) for run in methods(sweep(tmp_path, text))]
    assert found == [(100, 5, 90), (1000, 50, 900)]
    assert METHODS["proposed"](**METHODS["proposed"].defaults(DiffusionConfig())) == METHODS["proposed"]()
    plain_run = one(tmp_path, text=BASE.replace("latent_diffusion", "proposed"))
    spelled_out = one(tmp_path, "N=50", "M=900", text=BASE.replace("latent_diffusion", "proposed"))
    assert plain_run.run_id == spelled_out.run_id


def test_runs_asked_for_twice_are_one(tmp_path: Path) -> None:
    found = sweep(
        tmp_path, "datasets: [sines]\nmethods: [{name: proposed, label: a}, {name: proposed, label: b, set: {N: 50.0}}]"
    )
    assert {run.label for run in methods(found)} == {"a"}
    assert any("the same run is asked for twice and done once: 'a' and 'b'" in note for note in found.notes)


def test_a_setting_that_makes_two_methods_one_is_named(tmp_path: Path) -> None:
    text = "datasets: [sines]\nmethods: [no_latent, {name: no_latent, label: wide, set: {model.hidden: 96}}]"
    assert not sweep(tmp_path, text).notes
    (note,) = sweep(tmp_path, text, "model.hidden=16").notes
    assert ": --set model.hidden=16 replaces what 'wide' has of its own: it is the same run as 'no_latent' now" in note


def test_data_that_are_not_there_are_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = sweep(tmp_path, BASE, datasets=("energy", "sines"))
    assert {run.dataset.name: bool(run.data_sha256) for run in found.runs} == {"energy": False, "sines": True}
    (note,) = found.notes
    assert note.startswith("will be skipped: energy: energy/energydata_complete.csv is not in the data folder")
    assert note.endswith(f" ({sum(run.dataset.name == 'energy' for run in found.runs)} runs)")


def test_a_csv_file_is_a_data_set(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("a,b\n" + "\n".join(f"{k % 7},{k % 5}" for k in range(400)))
    (first, *_) = sweep(tmp_path, f"datasets: ['csv:{path}']\nmethods: [latent_diffusion]").runs
    (second, *_) = sweep(tmp_path, f"datasets: [{{name: csv, path: {path}}}]\nmethods: [latent_diffusion]").runs
    assert first.dataset == second.dataset == DatasetSpec("csv", (("path", str(path)),))
    detour = f"{tmp_path}/./own.csv"
    (third, *others) = sweep(tmp_path, f"datasets: ['csv:{detour}', 'csv:{path}']\nmethods: [latent_diffusion]").runs
    assert {run.dataset for run in (third, *others)} == {first.dataset}
    assert third.run_id == first.run_id


@pytest.mark.parametrize("name", shipped_sweeps())
def test_shipped_sweeps_can_be_read(name: str) -> None:
    found = read_sweep(name, Selection(datasets=("sines",), seeds=(0,)))
    assert found.name == name
    assert methods(found)


def test_the_smoke_sweep_needs_no_file_and_takes_both_backbones() -> None:
    runs = read_sweep("smoke").runs
    assert all(DATASETS[run.dataset.name].source.startswith("simulated") for run in runs)
    assert {run.backbone for run in runs if run.kind == "method"} >= {"lstm", "transformer"}
    assert {run.dataset.shuffle for run in runs} == {False, True}


def test_the_grid_of_the_shipped_sweep() -> None:
    found = read_sweep("sweep", Selection(methods=("proposed",), datasets=("sines",), seeds=(0,)))
    assert len(methods(found)) == 3 * 2 * 2 * 2 + 1


def test_a_gap_that_leaves_out_nothing_is_said(tmp_path: Path) -> None:
    (note,) = sweep(tmp_path, BASE.replace("[sines]", "[{name: sines, gap: T}, sines]")).notes
    assert "s.yaml: sines,gap=T: gap leaves out no rows" in note
    assert "(split: drawn, expected blocks or time)" in note


def test_whole_days_of_one_recording_have_a_gap(tmp_path: Path) -> None:
    """They are divided as entities after a day was left out at every border between parts."""
    rows = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=24 * 60, freq="h"), "a": np.arange(24.0 * 60) % 7})
    rows.to_csv(tmp_path / "hours.csv", index=False)
    days = "{name: csv, path: hours.csv, window: 24, align: day, gap: T}"
    assert not [note for note in sweep(tmp_path, BASE.replace("[sines]", f"[{days}]")).notes if "gap" in note]


# ---------------------------------------------------------------- identity


def one(tmp_path: Path, *settings: str, text: str = BASE) -> Run:
    (run,) = methods(sweep(tmp_path, text, *settings))
    return run


def test_what_changes_a_run_and_what_does_not(tmp_path: Path) -> None:
    run = one(tmp_path)
    same = [
        dataclasses.replace(run, label="other", sweep="other"),
        one(tmp_path, "evaluate.n_samples=10"),
        one(tmp_path, "train.steps=1500"),
        one(tmp_path, text=BASE.replace("[sines]", "[{name: sines, shuffle: false}]")),
    ]
    assert {other.run_id for other in same} == {run.run_id}
    changed = [
        one(tmp_path, "train.steps=1501"),
        one(tmp_path, "masking_rate=0.1"),
        one(tmp_path, "likelihood=mse"),
        one(tmp_path, "diffusion.hidden=12"),
        one(tmp_path, text=BASE.replace("seeds: 1", "seeds: [1]")),
        one(tmp_path, text=BASE.replace("latent_diffusion", "proposed")),
        one(tmp_path, text=BASE.replace("[sines]", "[{name: sines, shuffle: true}]")),
        one(tmp_path, text=BASE.replace("[sines]", "[ar1]")),
        dataclasses.replace(run, data_sha256="0"),
        dataclasses.replace(run, backbone="other"),
    ]
    assert len({other.run_id for other in [run, *changed]}) == 1 + len(changed)


def test_versions_are_part_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = one(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("bench.sweeps.run.TRAINING_VERSION", 99)
        assert dataclasses.replace(run).run_id != run.run_id
    with monkeypatch.context() as patch:
        patch.setattr("methods.latent_diffusion.LatentDiffusion.version", 99)
        assert dataclasses.replace(run).run_id != run.run_id


def test_bounds_of_equivalence_are_for_the_report_and_no_part_of_a_run(tmp_path: Path) -> None:
    bounded = sweep(tmp_path, BASE + "equivalence: {sliced_wasserstein: 0.02, c2st_auc: 1}")
    assert bounded.equivalence == {"sliced_wasserstein": 0.02, "c2st_auc": 1}
    plain = sweep(tmp_path, BASE)
    assert not plain.equivalence
    assert [run.run_id for run in bounded.runs] == [run.run_id for run in plain.runs]


def test_contrasts_are_stated_of_a_sweep_and_no_part_of_a_run(tmp_path: Path) -> None:
    base = BASE.replace("[latent_diffusion]", "[latent_diffusion, {name: no_latent, label: none}]")
    text = (
        "contrasts: [{name: live, of: latent_diffusion, against: none}, {name: x, of: none, against: latent_diffusion, "
    )
    stated = sweep(tmp_path, base + text + "secondary: true}]")
    assert stated.contrasts == (
        Contrast("live", "latent_diffusion", "none"),
        Contrast("x", "none", "latent_diffusion", secondary=True),
    )
    plain = sweep(tmp_path, base)
    assert not plain.contrasts
    assert [run.run_id for run in stated.runs] == [run.run_id for run in plain.runs]
    only = sweep(tmp_path, base + text + "secondary: true}]", methods=("none",))
    assert only.contrasts == stated.contrasts  # what is stated does not depend on what is run now


def test_splits_and_initialisations_are_seeds_of_their_own(tmp_path: Path) -> None:
    def runs(seeds: str) -> dict[tuple[int, int], Run]:
        found = methods(sweep(tmp_path, BASE.replace("seeds: 1", f"seeds: {seeds}")))
        return {(run.data_seed, run.seed): run for run in found}

    plain, crossed = runs("2"), runs("{splits: 2, initialisations: 3}")
    assert list(crossed) == [(0, 0), (0, 10_000), (0, 20_000), (1, 1), (1, 10_001), (1, 20_001)]
    assert {place: run.run_id for place, run in plain.items()} == {
        place: crossed[place].run_id for place in ((0, 0), (1, 1))
    }
    assert len({run.run_id for run in crossed.values()}) == 6
    by_split: dict[int, set[str]] = {}
    for (split, _), run in crossed.items():
        by_split.setdefault(split, set()).add(run.data_sha256)
    assert [len(hashes) for hashes in by_split.values()] == [1, 1]
    assert by_split[0] != by_split[1]
    more = runs("{splits: 3, initialisations: 4}")
    assert {run.run_id for run in crossed.values()} < {run.run_id for run in more.values()}
    again = Run.from_config(crossed[1, 10_001].to_config())
    assert (again, again.run_id) == (crossed[1, 10_001], crossed[1, 10_001].run_id)
    assert (again.columns()["split_seed"], plain[1, 1].columns()["split_seed"]) == (1, 1)
    assert "split_seed" not in plain[1, 1].to_config()
    apart = dataclasses.replace(again, data_sha256=""), dataclasses.replace(again, data_sha256="", split_seed=0)
    assert apart[0].run_id != apart[1].run_id  # where the data are not here, their hash does not tell splits apart


def test_references_of_two_splits_are_never_one_stack(tmp_path: Path) -> None:
    found = sweep(tmp_path, BASE.replace("seeds: 1", "seeds: {splits: 2, initialisations: 2}"))
    stacks = make_stacks([run for run in found.runs if run.kind == "reference"], 1)
    assert all(len({(run.seed, run.data_seed) for run in stack.runs}) == 1 for stack in stacks)
    assert len(stacks) == 4


def test_one_split_is_not_divided_again(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("a,b\n" + "\n".join(f"{k % 7},{k % 5}" for k in range(400)))
    entry = data(f"[{{name: csv, path: {path}, split: time, window: 8}}]")
    with pytest.raises(InputError, match=r"seeds.splits = 2: csv,\S+ has one split \(time\), expected 1"):
        sweep(tmp_path, entry.replace("seeds: 1", "seeds: {splits: 2}"))
    one_split = methods(sweep(tmp_path, entry.replace("seeds: 1", "seeds: {splits: 1, initialisations: 3}")))
    assert [(run.seed, run.data_seed) for run in one_split] == [(0, 0), (10_000, 0), (20_000, 0)]
    assert len({run.data_sha256 for run in one_split}) == 1
    blocks = entry.replace("time", "blocks").replace("seeds: 1", "seeds: {splits: 2}")
    assert len({run.data_sha256 for run in methods(sweep(tmp_path, blocks))}) == 2


def test_equal_numbers_are_one_run(tmp_path: Path) -> None:
    ids = {one(tmp_path, f"train.steps={text}").run_id for text in ("2", "2.0", "2e0", "0.2e1", "+2")}
    assert len(ids) == 1
    rates = {one(tmp_path, f"train.learning_rate={text}").run_id for text in ("2e-3", "0.002", "0.0020", ".002")}
    assert rates == {one(tmp_path).run_id}


def test_a_reference_depends_on_what_it_measures(tmp_path: Path) -> None:
    (first, *_), (second, *_) = sweep(tmp_path, BASE).runs, sweep(tmp_path, BASE, "n_samples=10").runs
    (third, *_) = sweep(tmp_path, BASE, "train.steps=3").runs
    assert first.kind == second.kind == third.kind == "reference"
    assert first.run_id != second.run_id
    assert first.run_id == third.run_id


def test_a_run_survives_json(tmp_path: Path) -> None:
    text = """
        datasets: [{name: sines, shuffle: true}]
        methods: [{name: proposed, set: {N: 0.05}}]
        evaluate: {metrics: [wasserstein, kl]}
        seeds: [7]
        """
    for run in sweep(tmp_path, text).runs:
        again = Run.from_config(run.to_config())
        assert again == run
        assert again.run_id == run.run_id
    assert again.build_method().N == 0.05
    for text in ("", "[]", "{}", '{"a": 1}', "null", run.to_config().replace('"hyper"', '"hypo"')):
        with pytest.raises(InputError, match="this is no configuration of a run"):
            Run.from_config(text)


def test_columns_hold_every_setting(tmp_path: Path) -> None:
    columns = one(tmp_path, "N=5", text=BASE.replace("latent_diffusion", "proposed")).columns()
    assert (columns["N"], columns["train.steps"], columns["diffusion.L"], columns["model.hidden"]) == (
        5,
        1500,
        1000,
        64,
    )
    assert (columns["method"], columns["dataset"], columns["kind"]) == ("proposed", "sines", "method")


# ---------------------------------------------------------------- errors


def method(text: str) -> str:
    return BASE.replace("[latent_diffusion]", text)


def proposed(text: str) -> str:
    return method("[{name: proposed, " + text + "}]")


def data(text: str) -> str:
    return BASE.replace("[sines]", text)


def contrasts(*stated: str) -> str:
    entries = ", ".join(f"{{name: x, {words}}}" for words in stated)
    return method("[latent_diffusion, no_latent, {name: proposed, grid: {N: [1, 2]}}]") + f"contrasts: [{entries}]\n"


BAD = {
    "": "is empty: expected a mapping with the keys name",
    "# nothing": "is empty",
    "[1, 2]": "expected a mapping with the keys name, description, datasets, methods",
    "hello": "expected a mapping",
    BASE.replace("seeds: 1", "seeds: {splits: 0}"): "seeds: expected {splits: S, initialisations: I}, whole",
    BASE.replace("seeds: 1", "seeds: {initialisations: 2}"): "seeds: expected {splits: S, initialisations: I}",
    BASE.replace("seeds: 1", "seeds: {splits: 2, inits: 2}"): "seeds: expected {splits: S, initialisations: I}",
    BASE + "equivalence: 0.02": "equivalence: expected a mapping, not 0.02",
    BASE + "equivalence: {sliced: 0.02}": "equivalence.sliced: no number of a metric by which methods are ranked",
    BASE + "equivalence: {kl: 0.02}": "equivalence.kl: no number of a metric by which methods are ranked",
    BASE + "equivalence: {wasserstein: 0.02}": "equivalence.wasserstein: no number of a metric by which",
    BASE + "equivalence: {mmd2: 0}": "equivalence.mmd2: expected greater than 0, not 0",
    BASE + "equivalence: {mmd2: few}": "equivalence.mmd2: expected a number, not 'few'",
    BASE + "contrasts: 3": "contrasts: expected a list, not 3",
    BASE + "contrasts: [x]": "contrasts[0]: expected a mapping, not 'x'",
    BASE + "contrasts: [{name: x, of: a}]": "contrasts[0].against: expected this key, it is not there",
    BASE + "contrasts: [{name: x, of: a, against: b, c: d}]": "contrasts[0].c: unknown key: ",
    contrasts("of: latent_difusion, against: no_latent"): "contrasts[0].of: expected the label of a method, not "
    "'latent_difusion': did you mean 'latent_diffusion'?",
    contrasts(
        "of: latent_diffusion, against: floor_shift"
    ): "contrasts[0].against: expected the label of a method, not",
    contrasts("of: latent_diffusion, against: no_latent, without: [regime]"): "contrasts[0].without: unknown data set "
    "'regime': did you mean 'regimes'",
    contrasts(
        "of: latent_diffusion, against: no_latent, without: [sines]"
    ): "contrasts[0].without: names every data set",
    contrasts("of: no_latent, against: no_latent"): "contrasts[0].against: expected another label than that of `of`",
    contrasts(
        "of: proposed, against: no_latent"
    ): "contrasts[0].of: expected the label of one setting, 'proposed' has 2",
    contrasts("of: latent_diffusion, against: no_latent").replace("name: x", "name: ' '"): "contrasts[0].name: "
    "expected one line of text, not ' '",
    contrasts("of: latent_diffusion, against: no_latent").replace("name: x", 'name: "a\\nb"'): "contrasts[0].name: "
    "expected one line of text, not ",
    contrasts("of: latent_diffusion, against: no_latent", "of: no_latent, against: latent_diffusion").replace(
        "name: x", "name: X", 1
    ): "contrasts[1].name: expected a name of its own, 'x' is taken (by 'X')",
    contrasts(
        *["of: latent_diffusion, against: no_latent"] * 2
    ): "contrasts[1].name: expected a name of its own, 'x' is",
    "a: [1, b: ]]": "line 1, column 12: not valid YAML",
    "a: 1\nb: 'x\n": "line 3, column 1: not valid YAML",
    "a: 1\na: 2\n": "line 2, column 1: not valid YAML: key 'a' twice",
    "!!python/object/apply:os.getcwd []": "line 1, column 1: not valid YAML: could not determine a constructor",
    "x: 1\n\ty: 1": "line 2, column 1: not valid YAML",
    "name: s\nmethods: [proposed]": "datasets: expected this key, it is not there",
    data("[]"): "datasets: expected at least one entry, it is empty",
    data("sines"): "datasets: expected a list, not 'sines'",
    data("[sinus]"): "datasets: unknown data set 'sinus': did you mean 'sines'?",
    data("[{name: sines, shufle: true}]"): "sines.shufle: unknown key: ",
    data("[{name: sines, shuffle: 1}]"): "datasets[0].shuffle: expected a boolean, not 1",
    data("[3]"): "datasets[0]: expected",
    data("[{name: sines, set: 3}]"): "datasets[0].set: expected a mapping, not 3",
    data("[{name: sines, set: {N: 3}}]"): "datasets: sines: set: N: unknown key: ",
    data("[{name: sines, set: {model.bin: 3}}]"): "datasets: sines: set: model.bin: unknown key: did you mean 'bins'?",
    data("[{name: sines, set: {model.bins: 1}}]"): "s.yaml: sines: model.bins = 1: expected a whole number >= 2",
    data("[{name: sines, set: {n_samples: 9}}]"): "n_samples: expected in the sweep's own evaluate block",
    data("[{name: sines, set: {bins: 3, model.bins: 4}}]"): "model.bins: expected once, it is already given as `bins`",
    data("[sines, {name: sines, set: {bins: 3}}]"): "datasets: sines: expected once, it is listed twice",
    method("[proposd]"): "methods: unknown method 'proposd': did you mean 'proposed'?",
    method("[half_kl]"): "see `python -m bench.list methods`; one of your own needs --plugin FILE.py",
    proposed("sett: {}"): "methods[0].sett: unknown key: did you mean 'set'?",
    method("[{label: x}]"): "methods[0].name: expected this key",
    method("[null]"): "methods[0]: expected",
    proposed("set: {Nn: 3}"): "Nn: unknown key: did you mean 'N'?",
    proposed("set: {steps: 3}"): ("steps: ambiguous: write train.steps or diffusion.steps"),
    proposed("set: {train.stps: 3}"): "did you mean 'steps'?",
    proposed("set: {n_samples: 3}"): "the sweep's own evaluate block",
    proposed("grid: {N: []}"): "methods[0].grid.N: expected at least one",
    proposed("grid: {N: 3}"): "methods[0].grid.N: expected a list, not 3",
    proposed("set: {N: 1}, grid: {N: [3]}"): "grid: N: expected once, it is already given as `N` in `set`",
    proposed("set: {clip_norm: 1, train.clip_norm: 2}"): "it is already given as `clip_norm` in `set`",
    proposed("set: {N: ten}"): "proposed.N = 'ten': expected a number >= 0",
    proposed("set: {N: -1}"): "proposed.N = -1: expected a number >= 0",
    proposed("set: {N: 2000}"): "N",
    proposed("set: {N: 501}"): "gamma * N is 1002: expected at most L = 1000",
    proposed("set: {M: 0}"): "proposed.M = 0: expected a number > 0",
    proposed("set: {M: 1001}"): "expected 1 <= M <= L = 1000",
    proposed("set: {eta: 0.5}"): "proposed.eta = 0.5: expected a number >= 1",
    proposed("set: {gamma: 1.5}"): "expected a whole number >= 1",
    BASE.replace("[latent_diffusion]", "[proposed]") + "model: {latent: 1}": "latent = 1",
    BASE + "train: {steps: 0}": "train.steps = 0: expected a whole number >= 1",
    BASE + "train: {steps: -5}": "train.steps = -5: expected a whole number >= 1",
    BASE + "train: {steps: ten}": "train.steps = 'ten': expected a whole number",
    BASE + "train: {steps: .nan}": "train.steps = nan: expected a whole number",
    BASE + "train: {learning_rate: .inf}": "train.learning_rate = inf: expected a number",
    BASE + "train: {fall_from: last}": "train.fall_from = 'last': expected one of plateau, best",
    BASE + "train: {fall_from: best}": "latent_diffusion: train.fall_from = best: expected train.patience > 0, else",
    BASE + "train: {step: 5}": "train.step: unknown key: did you mean 'steps'?",
    BASE + "train: 5": "train: expected a mapping, not 5",
    BASE + "model: {likelihood: laplace}": "unknown likelihood 'laplace': 9 are known: see",
    BASE + "evaluate: {metrics: fst}": "evaluate.metrics = 'fst': expected fast, all or a list of metrics",
    BASE + "evaluate: {metrics: [wassertein]}": "unknown metric 'wassertein': did you mean 'wasserstein', ",
    BASE + "backbones: [3]": "backbones[0]: expected",
    BASE + "backbones: lstm": "backbones: expected a list, not 'lstm'",
    BASE + "backbones: [{name: lstm, sett: {}}]": "backbones[0].sett: unknown key: did you mean 'set'?",
    BASE + "backbones: [{name: lstm, set: {N: 3}}]": "backbones: lstm: set: N: unknown key: ",
    BASE + "backbones: [{name: lstm, set: {model.hidden: 0}}]": "lstm: model.hidden = 0: expected",
    BASE + "backbones: [{name: lstm, set: {n_samples: 9}}]": "n_samples: expected in the sweep's own evaluate block",
    BASE + "backbones: [lstm, {name: lstm, set: {model.hidden: 9}}]": "backbones: lstm: expected once, it is listed",
    BASE + "backbones: [lstn]": "backbones: unknown backbone 'lstn': did you mean 'lstm'?",
    BASE.replace("seeds: 1", "seeds: 0"): "seeds: expected how many (a whole number >= 1) or a list",
    BASE.replace("seeds: 1", "seeds: [1, 1]"): "seeds: expected",
    BASE.replace("seeds: 1", "seeds: [-1]"): "seeds: expected",
    BASE.replace("seeds: 1", "seeds: true"): "seeds: expected",
    BASE.replace("seeds: 1", f"seeds: [{2**63}]"): "seeds: expected",
    BASE + f"train: {{learning_rate: 1{'0' * 400}}}": "train.learning_rate = 1000",
    BASE + "train: {steps: !!int [1]}": "line 5, column 16: not valid YAML",
    BASE + "train: {steps: !!timestamp xx}": "not valid YAML",
    BASE + "train: !!map a": "not valid YAML",
    method("[{name: proposed, label: floor_noise}]"): "label 'floor_noise' is that of a reference row as well",
    method("[{name: proposed, label: x}, {name: no_latent, label: x}]"): "'x' is that of the method proposed as well",
    BASE.replace("name: s", "name: a/b"): "name: expected letters, digits",
}


@pytest.mark.parametrize(
    ("reduced", "message"),
    [
        ("{train: {steps: -5}}", "s.yaml: reduced: train.steps = -5: expected a whole number >= 1"),
        ("{methods: [nope]}", "s.yaml: reduced: .*unknown method 'nope'"),
        ("{datasets: [{name: sines, windw: 3}]}", "s.yaml: reduced: sines.windw: unknown key"),
        ("{reduced: {train: {steps: 2}}}", "s.yaml: reduced.reduced: unknown key"),
    ],
)
def test_the_smaller_form_is_checked_even_if_it_is_not_asked_for(tmp_path: Path, reduced: str, message: str) -> None:
    with refused(message):
        sweep(tmp_path, f"{BASE}reduced: {reduced}\n")


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_a_mistake_is_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError) as caught:
        sweep(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 's.yaml'}")
    assert BAD[text] in message
    assert "\n" not in message
    assert "  " not in message


@pytest.mark.parametrize(
    ("text", "listed_by"),
    [
        (data("[qqq]"), "`python -m bench.list datasets`"),
        (data("[{name: csv, qqq: 3}]"), "`python -m bench.data describe csv`"),
        (method("[qqq]"), "`python -m bench.list methods`"),
        (BASE + "evaluate: {metrics: [qqq]}", "`python -m bench.list metrics`"),
        (proposed("set: {qqq: 3}"), "bench/docs/sweep_files.md"),
        (BASE + "qqq: 3", "bench/docs/sweep_files.md"),
    ],
)
def test_a_long_list_is_counted_and_its_place_named(tmp_path: Path, text: str, listed_by: str) -> None:
    with pytest.raises(InputError) as caught:
        sweep(tmp_path, text)
    assert re.search(
        f": [0-9]+ are known: see {re.escape(listed_by)}(; one of your own needs --plugin .*)?$", str(caught.value)
    )


def test_every_mistake_of_structure_has_its_line(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        sweep(tmp_path, BASE.replace("methods", "method") + "train: 3\n")
    complaints = [line.partition(".yaml: ")[2] for line in str(caught.value).splitlines()]
    assert complaints[0] == "methods: expected this key, it is not there"
    assert complaints[1] == "train: expected a mapping, not 3"
    assert complaints[2].startswith("method: unknown key: did you mean 'methods' or 'model'? 15 are known: ")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a directory, expected a sweep file"):
        find_sweep(tmp_path)
    with pytest.raises(InputError, match="no such file, and no shipped sweep: did you mean 'quick'"):
        find_sweep("quik")
    binary = tmp_path / "x.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x01PAR1")
    with pytest.raises(InputError, match="expected a text file in UTF-8, this is binary"):
        read_sweep(binary)
    binary.write_bytes(b"PAR1\x00\x00")
    with pytest.raises(InputError, match="not valid YAML"):
        read_sweep(binary)


@pytest.mark.parametrize(
    ("selected", "message"),
    [
        ({"methods": ("proposd",)}, "--method proposd: not in "),
        ({"datasets": ("sinus",)}, "--dataset sinus: datasets: unknown data set 'sinus': did you mean 'sines'?"),
        ({"datasets": ("{name: sines",)}, "--dataset {name: sines, line 1, column 13: not valid YAML"),
        ({"datasets": ("{shuffle: true}",)}, "--dataset {shuffle: true}: name: expected this key"),
        (
            {"datasets": ("sines,name=ar1",)},
            "sines,name=ar1: name: expected once, it is already given as",
        ),
        ({"datasets": ("sines,window=20,window=30",)}, "window: expected once, it is already given as 20"),
        ({"datasets": ("csv:a.csv,path=b.csv",)}, "path: expected once, it is already given as 'a.csv'"),
        ({"datasets": ("{name: sines, set: {bins: 3}}",)}, "set: expected in a sweep file, or as --set"),
        ({"backbones": ("lstn",)}, "--backbone: unknown backbone 'lstn': did you mean 'lstm'?"),
        ({"settings": ("steps=3",)}, "--set steps=3: steps: ambiguous: write train.steps or diffusion.steps"),
        ({"settings": ("N=3",)}, "--set N=3: N: unknown key"),
        ({"settings": ("train.steps",)}, "--set train.steps: expected KEY=VALUE"),
        ({"settings": ("train.steps=3", "train.steps=4")}, "train.steps: expected once, it is already given as 3"),
        ({"settings": ("train.steps=",)}, "--set train.steps=: expected a number, a word, true or false"),
        ({"settings": ("train.steps={a: 1}",)}, "expected a number, a word"),
        ({"settings": ("train.steps=[1",)}, "not valid YAML"),
        ({"settings": ("train.steps=-1",)}, "train.steps = -1: expected a whole number >= 1"),
        ({"settings": ("masking_rate=2",)}, "masking_rate = 2: expected a number >= 0 and <= 1"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path: Path, selected: dict[str, Any], message: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(BASE)
    with pytest.raises(InputError) as caught:
        read_sweep(path, Selection(**selected))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_seeds() -> None:
    assert parse_seeds("0:5") == (0, 1, 2, 3, 4)
    assert parse_seeds("1,2,7") == (1, 2, 7)
    assert parse_seeds("3") == (3,)
    for text in ("", "5:0", "1:1", "a", "1,1", "1;2", "-1", "1,", "0:5:2", "1.5", "0:999999999"):
        with pytest.raises(InputError, match=r"--seeds .*: expected FROM:TO"):
            parse_seeds(text)


def test_yaml_means_what_it_says() -> None:
    text = "{a: 2e-3, b: no, c: 010, d: 1:30, e: [~, null, true, .5, -1.], f: 2024-01-01, g: 0x10, h: }"
    expected = {"a": 0.002, "b": "no", "c": 10, "d": "1:30", "e": [None, None, True, 0.5, -1.0], "f": "2024-01-01"}
    assert parse_yaml(text, "f") == {**expected, "g": "0x10", "h": None}
    assert [plain(2.0), plain(2.5), plain(True), plain([1.0, [2.0]])] == [2, 2.5, True, (1, (2,))]
    assert isinstance(plain(True), bool)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!bool yes", "line 1, column 4: not valid YAML: 'yes' is no bool"),
        ("a: !!null 3", "'3' is no null"),
        ("a: !!int 1.5", "'1.5' is no int"),
        ("a: !!float abc", "'abc' is no float"),
        ("a: &a [*a]", "line 1, column 4: not valid YAML: an alias stands inside the value that it repeats"),
        ("a: &a {b: {c: *a}}", "an alias stands inside the value that it repeats"),
    ],
)
def test_a_tag_that_does_not_fit_and_an_alias_of_itself_are_refused(text: str, message: str) -> None:
    with refused(re.escape(message)):
        parse_yaml(text, "f")
    kept = "{a: !!bool true, b: !!null , c: !!int 3, d: !!float 3, e: &e [1, {x: 2}], f: *e}"
    shared = [1, {"x": 2}]
    assert parse_yaml(kept, "f") == {"a": True, "b": None, "c": 3, "d": 3.0, "e": shared, "f": shared}


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=60))
def test_any_text_is_understood_or_an_input_error(text: str) -> None:
    def understood(read: Callable[[], Any]) -> Any:
        with contextlib.suppress(InputError):  # anything else would be a traceback for a user
            return read()
        return None

    understood(lambda: parse_yaml(text, "f"))
    seeds = understood(lambda: parse_seeds(text))
    assert seeds is None or (len(seeds) > 0 and min(seeds) >= 0)
    setting = understood(lambda: parse_setting(text))
    assert setting is None or text.startswith(f"{setting[0]}=")


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["name", "datasets", "methods", "seeds", "model", "train", "evaluate", "other"]), ANY)
def test_any_value_of_a_key_is_understood_or_an_input_error(key: str, value: Any) -> None:
    structure = {"name": "s", "datasets": ["sines"], "methods": ["proposed"], "seeds": 1, key: value}
    with contextlib.suppress(InputError):
        parsed = _structure(structure, "f", "s")
        if len(parsed.seeds) < 3:
            assert _expand(parsed, "f", Selection(), None).runs


@settings(deadline=None, max_examples=40)
@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**12), 10**12))
def test_numbers_survive_a_sweep_file(real: float, whole: int) -> None:
    assert plain(parse_yaml(f"a: {real!r}", "f")["a"]) == real
    assert plain(parse_yaml(f"a: {whole}.0", "f")["a"]) == whole


def test_an_identity_is_the_hash_of_its_ingredients_however_it_is_put_together(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "name: a\ndatasets: [sines, {name: regimes, shuffle: true}]\nseeds: [0, 1]\n"
        "methods: [{name: proposed, grid: {gamma: [1, 2], joint: [true, false]}}, free_bits]\n"
    )
    for run in read_sweep(path).runs:
        later = {name: later_options(getattr(run, name)) for name in TRAINING_BLOCKS}
        own, blocks = dict(run.ingredients), []
        for name in TRAINING_BLOCKS:
            if (block := own.pop(name, None)) is not None:
                blocks.append({key: value for key, value in block.items() if later[name].get(key, ...) != value})
        texts = [json.dumps(part, sort_keys=True, separators=(",", ":")) for part in (own, *blocks)]
        assert run.run_id == hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def test_an_option_named_like_a_column_of_the_runs_table_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclasses.dataclass(frozen=True)
    class Clash(METHODS["latent_diffusion"]):  # type: ignore[misc]
        seed: int = 3

    monkeypatch.setitem(METHODS._classes, "clash", Clash)
    with pytest.raises(InputError, match="methods: clash: its option 'seed' has the name of a column"):
        sweep(tmp_path, method("[clash]"))


@dataclasses.dataclass(frozen=True)
class Changed:
    """A block whose later option `average` has got another default since."""

    steps: int = 5
    average: float = option(0.9, later=True, neutral=0.0)
    norm: str = option("none", later=True)


def test_an_older_file_keeps_its_runs_when_a_default_changes() -> None:
    """What is left out of an identity is the value with which training is as before, not the present default."""
    assert later_options(Changed) == {"average": 0.0, "norm": "none"}
    assert _block_json(Changed(average=0.0)) == '{"steps":5}'  # stated in the older file, or all there was
    assert _block_json(Changed()) == '{"average":0.9,"steps":5}'


def test_a_stored_configuration_of_before_an_option_has_its_neutral_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("name: s\ndatasets: [ar1]\nmethods: [latent_diffusion]\nseeds: 1\n")
    run = next(run for run in read_sweep(str(path), Selection()).runs if run.kind == "method")
    values = json.loads(run.to_config())
    del values["diffusion"]["ema"]
    neutral = {DiffusionConfig: {"ema": 0.25}}
    monkeypatch.setattr("bench.sweeps.run.later_options", lambda block: neutral.get(block, {}))
    found = Run.from_config(json.dumps(values))
    assert found == dataclasses.replace(run, diffusion=dataclasses.replace(run.diffusion, ema=0.25))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{name: kl_annealing, set: {cycles: 6}}", ["kl_annealing: cycles = 6"]),
        ("{name: kl_annealing, set: {cycles: 6, schedule: cyclical}}", []),
        ("{name: kl_annealing}", []),
        ("{name: proposed, set: {collapse_penalty: none, M: 800, eta: 2}}", ["proposed: M = 800", "proposed: eta = 2"]),
        ("{name: proposed, set: {collapse_penalty: contrast}, grid: {eta: [1, 4]}}", ["proposed: eta = 4"]),
        ("{name: proposed, set: {M: 800, eta: 2}}", []),
        ("{name: proposed, set: {collapse_penalty: permuted, diffusion.L: 100}}", []),
    ],
)
def test_an_option_that_changes_nothing_beside_the_others_is_said(tmp_path, entry, said):
    found = sweep(tmp_path, BASE.replace("latent_diffusion", entry))
    for note, words in zip(found.notes, said, strict=True):
        assert f" {words} changes nothing beside the other options" in note
