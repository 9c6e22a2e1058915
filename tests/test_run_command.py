"""`python -m bench.run` and `bench.list`: what they print, how they exit, and one line for every mistake."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from conftest import refused

import bench.report.cells
import bench.report.ranking
import bench.report.selection
import bench.run
from bench import command
from bench.contracts import DatasetSpec, InputError
from bench.list import main as list_main
from bench.plan import main as plan_main
from bench.registry import METHODS, METRICS
from bench.report.__main__ import main as report_main
from bench.report.statistics import Standing, level_of_look
from bench.run import main
from bench.store import Store, load_curves, load_memberships, load_results

ROOT = Path(__file__).parent.parent

TINY = """
name: tiny
description: smaller than small
datasets: [sines]
methods: [latent_diffusion, {name: proposed, label: none, set: {collapse_penalty: none}, grid: {N: [2, 3], M: [9]}}]
seeds: 1
model: {hidden: 4, latent: 2}
train: {steps: 2, batch_size: 4}
diffusion: {L: 10, steps: 2, batch_size: 4, hidden: 4}
evaluate: {n_samples: 20, metrics: [sliced_wasserstein, kl]}
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


def exit_code(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        command.run_command(lambda _: main(words))
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_a_sweep_from_the_command_line(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--grid", str(tiny), "--results", str(tmp_path / "r"), "--jobs", "1", "--device", "cpu")
    assert exit_code(*words, "--dry-run") == 0
    assert "9 runs: 0 done, 9 to do in 4 stacks" in capsys.readouterr().out
    assert not (tmp_path / "r").exists()

    assert exit_code(*words, "--seeds", "0", "--method", "none") == 0
    assert exit_code(*words) == 0
    shown, log = capsys.readouterr()
    assert "9/9 runs" in log
    titles = [line.split()[:2] for line in shown.splitlines() if line.startswith("none")]
    assert titles == [["none", "N=2"], ["none", "N=3"]] * 2
    assert f"To render the report: python -m bench.report --results {tmp_path / 'r'}" in shown
    (head,) = {" ".join(line.split()) for line in shown.splitlines() if line.startswith("sines")}
    assert head == "sines backbone sliced W. n_test run status"  # no column without a value
    assert shown.count("sliced W.: ") == 2  # one explanation for each of the two calls
    assert shown.count("Not measured: calibration of the decoder, copies.") == 2
    assert report_main(["--results", str(tmp_path / "r")]) == 0
    rendered = capsys.readouterr().out
    assert rendered.splitlines()[-1] == f"report: {tmp_path / 'r' / 'report' / 'index.html'}"
    assert not set(filter(None, shown.splitlines())) & set(rendered.splitlines())  # nothing is printed twice
    runs, metrics = load_results(tmp_path / "r")
    assert (len(runs), set(runs.status), set(runs.attempt)) == (9, {"ok"}, {1})
    assert {"sliced_wasserstein", "kl"} <= set(metrics.metric)
    assert set(load_curves(tmp_path / "r").run_id) == set(runs[runs.kind == "method"].run_id)
    (membership,) = load_memberships(tmp_path / "r")
    assert membership.runs == dict(zip(runs.run_id, runs.label, strict=True))
    assert membership.description == "smaller than small"
    assert membership.command == f"python -m bench.run {shlex.join(words)}"

    assert exit_code(*words, "--dry-run") == 0
    listed = capsys.readouterr().out
    assert "9 runs: 9 done, 0 to do in 0 stacks" in listed
    done_id = next(line.split()[0] for line in listed.splitlines() if "none N=2" in line)
    assert exit_code(*words, "--explain", done_id) == 0
    assert capsys.readouterr().out.startswith(f"{done_id} is done: attempt 1 ended ok at ")
    changed = (*words, "--set", "train.steps=3")
    assert exit_code(*changed, "--explain", done_id[:9]) == 0
    assert f"{done_id} is in {tmp_path / 'r'} but the sweep does not ask for it" in capsys.readouterr().out
    assert exit_code(*changed, "--dry-run") == 0
    new_id = next(line.split()[0] for line in capsys.readouterr().out.splitlines() if "none N=2" in line)
    assert exit_code(*changed, "--explain", new_id) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{new_id} is to do: nothing in ")
    assert said[1].startswith(f"the nearest run in the results is {done_id}; it differs in 1 of ")
    assert said[2:] == ["  train.steps: 3 (asked for), 2 (there)"]
    assert exit_code(*words, "--explain", "nonsense") == 2
    assert "--explain nonsense: no such run" in capsys.readouterr().err

    plan = (str(tiny), "--results", str(tmp_path / "r"), "--device", "cpu", "--jobs", "2")
    assert plan_main([*plan, "--set", "train.steps=4000"]) == 0
    planned = capsys.readouterr().out
    assert "tiny: 9 runs, 6 done, 3 to do" in planned
    assert "3 stacks on 2 workers (cpu)" in planned
    assert "from 9 finished runs; past predictions were typically wrong by a factor of" in planned
    assert plan_main([*plan]) == 0
    assert capsys.readouterr().out == "tiny: 9 runs, 9 done, 0 to do\n"
    assert exit_code(*words, "--quiet") == 0
    assert capsys.readouterr().out == ""
    assert set(load_results(tmp_path / "r")[0].attempt) == {1}


@pytest.mark.usefixtures("inline")
def test_equal_skips_are_one_line_with_a_count(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    plugin = tmp_path / "unserved.py"
    plugin.write_text(
        "from bench.registry import register_method\n"
        "from methods.latent_diffusion import LatentDiffusion\n"
        "@register_method('unserved')\n"
        "class Unserved(LatentDiffusion):\n"
        "    backbones = ('transformer',)\n"
    )
    tiny.write_text(TINY.replace("[latent_diffusion,", "[unserved,"))
    words = ["--grid", str(tiny), "--plugin", str(plugin), "--results", str(tmp_path / "r"), "--jobs", "1"]
    for name in ("sines", "energy", "{name: energy, window: 12}"):
        words += ["--dataset", name]
    try:
        assert exit_code(*words, "--seeds", "0:2", "--device", "cpu") == 0
    finally:
        METHODS._classes.pop("unserved", None)
    shown, log = capsys.readouterr()
    (note,) = [line for line in log.splitlines() if "skipped" in line]
    absent = "energy; energy,window=12: energy/energydata_complete.csv is not in the data folder"
    assert note.startswith(f"note: will be skipped: {absent}")
    assert note.endswith(" (36 runs)")
    skipped = [line for line in shown.splitlines() if "skipped" in line]
    assert [line.rpartition(" (")[2] for line in skipped] == ["2 runs)", "36 runs)"]
    assert skipped[0].startswith("skipped: sines: unserved serves the backbones transformer, not lstm (")
    assert skipped[1].startswith(f"skipped: {absent}")


@pytest.mark.usefixtures("inline")
def test_failures_are_rows_and_exit_1(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = tmp_path / "own.py"
    plugin.write_text(
        "from dataclasses import dataclass\n"
        "from bench.method import Method\n"
        "from bench.registry import register_method\n"
        "@register_method('own')\n"
        "@dataclass(frozen=True)\n"
        "class Own(Method):\n"
        "    '''Cannot be trained.'''\n"
        "    def objective(self, model, x, step, draws):\n"
        "        raise ValueError('this is mine')\n"
    )
    tiny.write_text(TINY.replace("[latent_diffusion,", "[own,"))
    words = ("--grid", str(tiny), "--plugin", str(plugin), "--results", str(tmp_path / "r"), "--jobs", "1")
    words += ("--method", "own", "--device", "cpu")
    try:
        assert exit_code(*words) == 1
        assert "failed: own, sines, seed 0" in capsys.readouterr().err
        runs, _ = load_results(tmp_path / "r")
        (row,) = runs[runs.method == "own"].to_dict("records")
        assert (row["status"], row["reason"]) == ("failed", "ValueError: this is mine")
        assert "own.py" in row["traceback"]
        assert exit_code(*words, "--dry-run", "--retry", "failed") == 0
        assert "to do again (failed)" in capsys.readouterr().out
    finally:
        METHODS._classes.pop("own", None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--jobs 0", "--jobs 0: expected a whole number >= 1 or auto"),
        ("--stack x", "--stack x: expected a whole number >= 1 or auto"),
        ("--slots-per-device 0", "--slots-per-device 0: expected"),
        ("--device tpu", "--device tpu: expected auto, cpu, cuda or cuda:0,cuda:1"),
        ("--device cuda:99", "--device cuda:99: no "),
        ("--seeds 5:1", "--seeds 5:1: expected FROM:TO"),
        ("--set steps", "--set steps: expected KEY=VALUE"),
        ("--set train.stps=1", "did you mean 'steps'?"),
        ("--method proposd", "--method proposd: not in "),
        ("--dataset sinus", "did you mean 'sines'?"),
        ("--backbone lstn", "did you mean 'lstm'?"),
        ("--retry fialed", "--retry fialed: unknown status 'fialed': did you mean 'failed'?"),
        ("--retry ok", "--retry ok: unknown status 'ok'"),
        ("--time-limit 0", "--time-limit 0: expected a time"),
        ("--memory-limit lots", "--memory-limit lots: expected a size"),
        ("--max-retries -1", "--max-retries -1: expected a whole number >= 0"),
        ("--max-seeds 5", "--max-seeds has no effect without --until-resolved"),
        ("--no-shared-fs", "--no-shared-fs has no effect without --cluster"),
        ("--max-retries two", "invalid int value: 'two'"),
        ("--grid nowhere.yaml", "--grid nowhere.yaml: no such file"),
        ("--grid .", "--grid .: is a directory"),
        ("--data nowhere", "--data nowhere: expected a folder"),
        ("--plugin nowhere.py", "nowhere.py: no such file"),
        ("--data=", "argument --data: expected a folder, not an empty name"),
        ("--results=", "argument --results: expected a folder, not an empty name"),
        ("--keep everything", "argument --keep: invalid choice: 'everything'"),
        ("--jbos 3", "unrecognized arguments: --jbos 3"),
        ("--results FILE", "is a file, expected a folder"),
        ("--results /proc/nothing", "--results /proc/nothing: cannot be written"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    words: str, message: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = words.replace("FILE", str(tiny)).split()
    base = [] if "--grid" in given else ["--grid", str(tiny)]
    base += [] if "--results" in words else ["--results", str(tmp_path / "r")]
    assert exit_code(*base, *given) == 2
    shown, errors = capsys.readouterr()
    assert errors.startswith("error: ")
    assert message in errors
    assert errors.count("\n") == 1
    assert shown == ""
    assert not (tmp_path / "r").exists()


def test_a_plan_says_nothing_before_a_mistake(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with refused("--jobs x: expected a whole number"):
        plan_main([str(tiny), "--results", str(tmp_path / "r"), "--jobs", "x"])
    assert capsys.readouterr().out == ""


def test_a_plugin_that_does_not_import(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.py"
    for text, said in (
        ("import nowhere_at_all", "ModuleNotFoundError"),
        ("def (", "SyntaxError"),
        ("1/0", "ZeroDivision"),
    ):
        bad.write_text(text)
        assert exit_code("--grid", str(tiny), "--plugin", str(bad)) == 2
        errors = capsys.readouterr().err
        assert errors.startswith(f"error: --plugin {bad}: does not import: {said}")
        assert errors.count("\n") == 1


def test_results_of_a_newer_version_are_refused(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "r")
    store.prepare()
    with monkeypatch.context() as patch:
        patch.setattr("bench.store.parquet.SCHEMA_VERSION", 99)
        store.write_part("p", [{"run_id": "a", "attempt": 1, "status": "ok"}])
    for extra in ([], ["--dry-run"], ["--explain", "a"]):
        assert exit_code("--grid", str(tiny), "--results", str(tmp_path / "r"), *extra) == 2
        errors = capsys.readouterr().err
        assert "written by a newer version of this benchmark (schema 99" in errors
        assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a,b", *["1,x"] * 90], "column 'b' is 'x', expected a number"),
        (["a,b", *["1,"] * 90], "column 'b' is empty, expected a number"),
        (["a,b", *["1,2"] * 9], "9 rows give 0 windows of T = 24; expected at least 72 rows"),
        ([], "own.csv"),
    ],
)
def test_a_table_that_cannot_be_used(
    rows: list[str], message: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.csv"
    own.write_text("\n".join(rows))
    assert exit_code("--grid", str(tiny), "--dataset", f"csv:{own}", "--results", str(tmp_path / "r")) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"error: datasets: csv: {own}")
    assert message in errors
    assert errors.count("\n") == 1


def called(words: list[str], cwd: Path = ROOT, environment: Any = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def python(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_foreign_package_called_datasets(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").write_text("")
    found = python("-m", "bench.list", "datasets", "--long", cwd=tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert found.returncode == 2
    assert found.stderr.startswith("error: the name 'datasets' is taken by another installed package")
    assert found.stderr.count("\n") == 1


def test_the_list_says_which_measures_are_slow(capsys: pytest.CaptureFixture[str]) -> None:
    assert list_main(["metrics"]) == 0
    short = {line.split("@")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert list_main(["metrics", "--long"]) == 0
    cards = re.split(r"^(?=\S+@[0-9]+$)", capsys.readouterr().out, flags=re.MULTILINE)
    long = {card.split("@")[0]: card for card in cards if card}
    assert set(short) == set(long) == set(METRICS)
    for name in METRICS:
        slow = not METRICS[name].fast and "." not in name
        for text in (short[name], long[name]):
            assert ("slow, with `all` but not with `fast`" in text) == slow, name
        assert ("; only by its name]" in short[name]) == ("." in name)
        assert ("Measured: with `fast` and with `all`" in long[name]) == METRICS[name].fast


def test_the_list_is_never_cut(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert list_main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    for kind in ("methods", "datasets", "metrics", "backbones", "sweeps"):
        assert kind in lines
    for name in ("proposed", "latent_diffusion", "regimes", "energy", "wasserstein@1", "lstm", "quick"):
        assert any(line.split()[:1] == [name] and len(line) > len(name) + 2 for line in lines), name
    assert not any("…" in line or "..." in line for line in lines)
    assert list_main(["metrics", "--long"]) == 0
    assert "Source: " in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        command.run_command(lambda _: list_main(["methds"]))
    assert caught.value.code == 2


def test_a_pipe_that_closes_is_no_error() -> None:
    line = f"{shlex.quote(sys.executable)} -m bench.list --long | head -1"
    found = called(["bash", "-o", "pipefail", "-c", line])
    assert (found.stdout, found.stderr) == ("methods\n", "")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--help"], 0, "usage: ./run_all.sh"),
        (["--swep", "x"], 2, "error: unknown option --swep"),
        (["--sweep"], 2, "error: --sweep: expected a value"),
        (["--data", "nowhere"], 2, "error: --data nowhere: expected a folder"),
    ],
)
def test_run_all_says_what_it_expects(words: list[str], code: int, message: str) -> None:
    found = called([str(ROOT / "run_all.sh"), *words])
    assert found.returncode == code
    assert message in found.stdout + found.stderr


def test_run_all_fetches_only_when_asked(tmp_path: Path) -> None:
    here = tmp_path / "here"  # the script alone, with a python that only notes what it is asked
    here.mkdir()
    for name in ("run_all.sh", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, here / name)
    (here / "venv" / "bin").mkdir(parents=True)
    stub = here / "venv" / "bin" / "python"
    stub.write_text(f'#!/bin/sh\necho "$@" >> {shlex.quote(str(tmp_path / "asked"))}\n')
    stub.chmod(0o755)
    place = {**os.environ, "VIRTUAL_ENV": str(here / "venv"), "PATH": f"{stub.parent}{os.pathsep}{os.environ['PATH']}"}
    place.pop("BENCH_DATA", None)
    for words, fetched in (([], []), (["--fetch", "--sweep", "core"], ["-m bench.data fetch --sweep core"])):
        (tmp_path / "asked").unlink(missing_ok=True)
        assert called(["bash", str(here / "run_all.sh"), *words], cwd=here, environment=place).returncode == 0
        asked = (tmp_path / "asked").read_text().splitlines()
        assert [line for line in asked if "fetch" in line] == fetched
        sweep = words[-1] if words else "quick"
        assert [line for line in asked if "pip" not in line][len(fetched)] == (
            f"-m bench.run --grid {sweep} --results results"
        )


@pytest.mark.slow
@pytest.mark.usefixtures("inline")
def test_seeds_are_added_only_where_the_ranks_are_unclear(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = tmp_path / "small.yaml"
    sweep.write_text(
        "name: small\n"
        "datasets: [{name: ar1, series: 60}]\n"
        "methods: [latent_diffusion, kl_annealing]\n"
        "seeds: 2\n"
        "model: {hidden: 8, latent: 4}\n"
        "train: {steps: 4, batch_size: 8}\n"
        "diffusion: {L: 20, steps: 4, batch_size: 8, hidden: 8}\n"
        "evaluate: {n_samples: 12, metrics: [sliced_wasserstein], during_training: 0}\n"
    )
    words = ["--grid", str(sweep), "--results", str(tmp_path / "r"), "--jobs", "1", "--save-samples"]
    assert main([*words, "--until-resolved", "--max-seeds", "3"]) == 0
    runs, _ = load_results(tmp_path / "r")
    assert sorted(runs[runs.kind == "method"].seed) in ([0, 0, 1, 1], [0, 0, 1, 1, 2, 2])
    printed = capsys.readouterr().out
    assert ("one more seed (2)" in printed) == (runs.seed.max() == 2)
    assert "resolved" in printed
    # --save-samples: series in units, one row per series and time step
    saved = sorted((tmp_path / "r" / "samples").iterdir())
    assert len(saved) == (runs.kind == "method").sum()
    table = pd.read_parquet(saved[0])
    assert list(table.columns) == ["series", "t", "x1", "x2", "x3", "x4", "x5"]
    assert len(table) == 12 * 24
    assert main(words) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_another_seed_is_for_the_unclear_data_sets_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "two.yaml"
    sweep.write_text(
        "name: two\ndatasets: [ar1, {name: sines, series: 60, shuffle: true}]\nmethods: [latent_diffusion]\nseeds: 2\n"
    )
    unclear = [{"ar1", "sines,series=60"}, {"sines,series=60"}, {"sines,series=60"}, set()]
    asked = []

    levels = []

    def groups(*given: Any) -> list[SimpleNamespace]:
        levels.append(given[-1])
        ties = unclear[len(asked) - 1]
        return [
            SimpleNamespace(
                dataset=key,
                shuffle=shuffle,
                quality=[SimpleNamespace(metric="m")],
                standings={"m": {"a": Standing("best", 1), "b": Standing("tie" if key in ties else "worse", 2)}},
            )
            for key, shuffle in (("ar1", False), ("sines,series=60", True))
        ]

    monkeypatch.setattr(bench.run, "_run", lambda given, line: asked.append((given.dataset[:], given.seeds)) or 0)
    monkeypatch.setattr(bench.report.selection, "load", lambda *_: None)
    monkeypatch.setattr(bench.report.cells, "cells_of", lambda _: [])
    monkeypatch.setattr(bench.report.ranking, "groups_of", groups)
    words = ["--grid", str(sweep), "--results", str(tmp_path), "--until-resolved", "--max-seeds"]
    assert main([*words, "9"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "looks at 2 to 9 seeds share a level of 5 % (O'Brien-Fleming spending)"
    assert printed[-2] == "resolved with 5 seeds"
    assert levels == [level_of_look(count, 2, 9) for count in (2, 3, 4, 5)]
    assert f"not resolved at level {levels[0]:.2g} (2 seeds): ar1, sines,series=60: one more seed (2)" in printed
    sines = DatasetSpec("sines", (("series", 60),), shuffle=True)
    assert asked == [
        ([], None),
        ([DatasetSpec("ar1"), sines], "2:3"),
        ([sines], "3:4"),
        ([sines], "4:5"),
    ]
    asked.clear()
    assert main([*words, "3"]) == 0  # no more than three seeds, resolved or not
    assert [seeds for _, seeds in asked] == [None, "2:3"]
    assert capsys.readouterr().out.splitlines()[-2] == "not resolved with 3 seeds: sines,series=60"


def test_until_resolved_needs_an_end(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--max-seeds None: expected a whole number"):
        main(["--grid", "smoke", "--results", str(tmp_path), "--until-resolved"])
