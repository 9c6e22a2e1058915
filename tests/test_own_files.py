"""A file of a user's own: found from the folder of the sweep file, by every command and from any current directory."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from bench.contracts import DatasetSpec, InputError
from bench.data import main as data_main
from bench.evaluate import main as evaluate_main
from bench.loading.windows import load_splits
from bench.publish import main as publish_main
from bench.replay import main as replay_main
from bench.report.__main__ import main as report_main
from bench.run import main as run_main
from bench.store import load_results
from bench.sweeps.expand import Selection, read_sweep
from bench.sweeps.run import Run
from bench.tune import main as tune_main

ROOT = Path(__file__).parent.parent

SWEEP = """
name: own
datasets: [{name: csv, path: tables/own.csv, window: 4}]
methods: [latent_diffusion]
seeds: 1
model: {hidden: 4, latent: 2}
train: {steps: 2, batch_size: 4}
diffusion: {L: 10, steps: 2, batch_size: 4, hidden: 4}
evaluate: {n_samples: 8, metrics: [sliced_wasserstein], during_training: 0}
tune: {trials: 2, space: {train.learning_rate: [1.0e-3, 4.0e-3]}}
"""


def write_table(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(np.random.default_rng(seed).normal(size=(120, 2)), columns=["a", "b"]).to_csv(path, index=False)
    return path


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sweep file with a table beside it; the current directory is another one, without any table."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    path = write_table(tmp_path / "mine" / "tables" / "own.csv").parent.parent / "own.yaml"
    path.write_text(SWEEP)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return path


@pytest.mark.usefixtures("inline", "undrawn")
def test_every_command_finds_the_file_from_anywhere(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(["--grid", "../mine/own.yaml", "--results", "r", "--jobs", "1", "--device", "cpu"]) == 0
    runs, _ = load_results("r")
    assert set(runs.status) == {"ok"}
    assert set(runs.dataset) == {"csv,path=tables/own.csv,window=4"}
    assert data_main(["fetch", "--sweep", "../mine/own.yaml"]) == 0

    (tmp_path / "third").mkdir()
    monkeypatch.chdir(tmp_path / "third")
    results = str(tmp_path / "elsewhere" / "r")
    capsys.readouterr()
    assert evaluate_main(["--results", results, "--metrics", "mmd2"]) == 0
    assert f"{len(runs)} runs got new metrics" in capsys.readouterr().out
    assert replay_main([runs[runs.kind == "method"].run_id.item(), "--results", results]) == 0
    assert "identical" in capsys.readouterr().out
    assert report_main(["--results", results, "--out", "report"]) == 0
    assert "a file of your own" in Path("report/index.html").read_text()

    assert publish_main(["--results", results, "--out", "published"]) == 0
    published = load_results("published")[0]
    assert set(published.run_id) == set(runs.run_id)
    assert not any(str(tmp_path) in config for config in published.config)
    assert any(str(tmp_path) in config for config in runs.config)


@pytest.mark.usefixtures("inline")
def test_tuning_keeps_the_files_and_their_splits(sweep: Path, tmp_path: Path) -> None:
    words = ["--grid", "../mine/own.yaml", "--results", "tuned", "--jobs", "1", "--device", "cpu"]
    assert tune_main([*words, "--out", "best/own.yaml"]) == 0
    (before,) = {run.data_sha256 for run in read_sweep(sweep).runs}
    for written in ("tuned/own-trials.yaml", "best/own.yaml"):
        assert yaml.safe_load(Path(written).read_text())["folder"] == "../../mine"
        assert {run.data_sha256 for run in read_sweep(written).runs} == {before}


def test_a_missing_file_is_named_with_the_place_that_was_tried(sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "tables" / "own.csv").unlink()
    write_table(tmp_path / "elsewhere" / "tables" / "own.csv")  # the current directory does not count
    with pytest.raises(InputError) as caught:
        read_sweep("../mine/own.yaml")
    assert str(caught.value) == f"datasets: csv: {tmp_path}/mine/tables/own.csv: no such file"
    with pytest.raises(InputError, match=f"{tmp_path}/elsewhere/none.csv: no such file"):
        read_sweep("../mine/own.yaml", Selection(datasets=("csv:none.csv",)))
    with pytest.raises(InputError, match=f"{tmp_path}/elsewhere/none.csv: no such file"):
        data_main(["describe", "csv:none.csv"])


def test_the_data_folder_comes_second(sweep: Path, tmp_path: Path) -> None:
    (run, *_) = read_sweep(sweep).runs
    shutil.move(tmp_path / "mine" / "tables", tmp_path / "data" / "tables")
    (moved, *_) = read_sweep(sweep, data=tmp_path / "data").runs
    assert moved.run_id == run.run_id


def test_a_path_of_the_command_line_is_the_caller_s(sweep: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "elsewhere" / "tables" / "own.csv", seed=1)
    word = "{name: csv, path: tables/own.csv, window: 4}"
    (given, *_) = read_sweep(sweep, Selection(datasets=(word,))).runs
    (named, *_) = read_sweep(sweep).runs
    assert (given.dataset.folder, named.dataset.folder) == (str(tmp_path / "elsewhere"), str(tmp_path / "mine"))
    assert given.dataset == named.dataset
    assert given.data_sha256 != named.data_sha256, "two files of one relative path are two data sets"
    again = load_splits(named.dataset, named.seed)
    assert again.sha256 == named.data_sha256, "what is remembered of one folder is not taken for the other"


def test_the_folder_is_no_part_of_a_run_but_survives_it(sweep: Path) -> None:
    (run, *_) = read_sweep(sweep).runs
    again = Run.from_config(run.to_config())
    assert again == run
    assert again.dataset.folder == run.dataset.folder == str(sweep.parent)
    values = json.loads(run.to_config())
    del values["dataset"]["folder"]  # as configurations were written before there was a folder
    old = Run.from_config(json.dumps(values))
    assert (old.run_id, old.dataset.folder) == (run.run_id, "")
    elsewhere = dataclasses.replace(run.dataset, folder="/elsewhere")
    assert (elsewhere, hash(elsewhere), elsewhere.key) == (run.dataset, hash(run.dataset), run.dataset.key)
    assert dataclasses.replace(run, dataset=elsewhere).run_id == run.run_id


def test_a_data_set_without_a_relative_path_has_no_folder(sweep: Path) -> None:
    table = sweep.parent / "tables" / "own.csv"
    for text in ("regimes", f"{{name: csv, path: {table}}}"):
        sweep.write_text(f"datasets: [{text}]\nmethods: [latent_diffusion]\nseeds: 1\n")
        (run, *_) = read_sweep(sweep).runs
        assert run.dataset.folder == ""
        assert "folder" not in run.to_config()


def test_a_data_set_of_one_s_own_with_a_path_is_found_as_well(sweep: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "mine" / "own.npz", x=np.random.default_rng(0).normal(size=(90, 2)))
    spec = DatasetSpec("npz", (("path", "own.npz"), ("window", 4)), folder=str(tmp_path / "mine"))
    assert load_splits(spec, 0).window == 4


def test_run_all_takes_a_sweep_file_from_anywhere(sweep: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"  # the script alone, with a python that reads the sweep and trains nothing
    (here / "venv" / "bin").mkdir(parents=True)
    for name in ("run_all.sh", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, here / name)
    stub = here / "venv" / "bin" / "python"
    stub.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/asked"\n')
    stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    place = {**os.environ, "VIRTUAL_ENV": str(here / "venv"), "PATH": f"{stub.parent}{os.pathsep}{os.environ['PATH']}"}
    words = ["bash", str(here / "run_all.sh"), "--sweep", "../mine/own.yaml", "--results", "r"]
    subprocess.run(words, env=place, check=True, capture_output=True)
    (asked,) = [line.split() for line in (tmp_path / "asked").read_text().splitlines() if "bench.run" in line]
    given = asked[asked.index("--grid") + 1]
    assert Path(given).is_absolute()
    assert {run.dataset.folder for run in read_sweep(given).runs} == {str(tmp_path / "mine")}
