"""The harness as a library: the numbers of a run of the engine, in a notebook's words."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_splits

import bench
from bench import check_collapse, collapse, dependency_measures, evaluate_samples, fit, library, load
from bench.contracts import Dataset, InputError, Recordings
from bench.engine.job import JobSettings, run_stack
from bench.loading.arrays import as_recordings, look_swapped, shared_stride
from bench.loading.windows import cut_windows
from bench.registry import DATASETS, register_dataset
from bench.scoring.artifacts import load_samples
from bench.scoring.scores import Scope, choose, score_samples
from bench.store import METRICS, load_curves, load_results
from bench.sweeps.expand import read_sweep
from bench.sweeps.file import read_file
from bench.sweeps.stacks import make_stacks

ROOT = Path(__file__).resolve().parent.parent
WORDS = {**os.environ, "PYTHONPATH": str(ROOT)}

SMALL = {
    "model": {"hidden": 8, "latent": 4},
    "train": {"steps": 6, "batch_size": 8},
    "diffusion": {"L": 20, "steps": 6, "batch_size": 8, "hidden": 8},
}
PROPOSED = {"N": 2, "M": 18, **SMALL}


def series(rows: int = 400, channels: int = 2) -> np.ndarray:
    """A random walk with returns, (rows, C): no two rows are equal."""
    x = np.random.default_rng(0).standard_normal((rows, channels))
    for t in range(1, rows):
        x[t] += 0.9 * x[t - 1]
    return 3.0 + 2.0 * x


def windows(n: int = 60) -> np.ndarray:
    """Independent windows with a level, (n, 7, 2)."""
    splits = make_splits(n)
    return 5.0 + 10.0 * np.concatenate([splits.train, splits.validation, splits.test]).astype(np.float64)


@pytest.fixture(scope="module")
def fitted() -> library.Fitted:
    return fit(windows(), **PROPOSED)


# ---------------------------------------------------------------- as the engine has it


@pytest.mark.parametrize("backbone", ["lstm", "transformer"])
def test_a_fit_is_the_run_of_the_engine(tmp_path, monkeypatch, backbone):
    """A data set called `array` with the same values: the same run id, weights' samples, curves and metrics."""
    monkeypatch.setattr(DATASETS, "_classes", dict(DATASETS))

    @register_dataset("array")
    @dataclass(frozen=True)
    class Array(Dataset):
        """Our windows."""

        source = licence = "ours"

        def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
            return Recordings.simulated(windows())

    path = tmp_path / "same.yaml"
    entry = {"name": "proposed", "set": {"N": 2, "M": 18}}
    evaluate = {"metrics": ["mmd2", "nll", "kl", "dependency", "probe"], "n_samples": 10}
    text = {"datasets": ["array"], "methods": [entry], "seeds": [3], "backbones": [backbone], **SMALL}
    path.write_text(json.dumps({**text, "evaluate": evaluate}))
    (run,) = [run for run in read_sweep(path).runs if run.kind == "method"]
    (stack,) = make_stacks([run], 1)
    assert run_stack(stack, JobSettings(tmp_path / "results", None))[0][1] == "ok"

    mine = fit(windows(), "proposed", backbone, seed=3, **PROPOSED)
    assert mine.run.run_id == run.run_id
    kept = load_samples(tmp_path / "results", run.run_id)
    expected = (kept["samples"].astype(np.float64) * kept["scale"] + kept["mean"]).astype(np.float32)
    np.testing.assert_array_equal(mine.sample(10), expected)
    metrics = load_results(tmp_path / "results")[1]
    theirs = metrics[(metrics.run_id == run.run_id) & (metrics.train_step < 0)].reset_index(drop=True)
    rows = mine.score(**evaluate)
    assert list(rows.columns) == list(METRICS)
    order = ["metric", "coordinate", "index"]
    both = [frame.astype({"metric": str, "coordinate": str}).sort_values(order) for frame in (rows, theirs)]
    for column in ("value", "sd", "error", "n", "index", "version", "metric_seed"):
        np.testing.assert_array_equal(both[0][column].to_numpy(), both[1][column].to_numpy(), err_msg=column)
    curves = load_curves(tmp_path / "results")
    np.testing.assert_array_equal(np.sort(mine.curves.value), np.sort(curves.value))


def test_a_seed_decides_everything(fitted):
    again, other = fit(windows(), **PROPOSED), fit(windows(), seed=1, **PROPOSED)
    np.testing.assert_array_equal(again.sample(4), fitted.sample(4))
    assert not np.array_equal(other.sample(4), fitted.sample(4))
    assert not np.array_equal(fitted.sample(4, seed=1), fitted.sample(4))


def test_samples_and_codes_have_their_shapes_and_units(fitted):
    drawn, x = fitted.sample(30), windows()
    assert (drawn.shape, drawn.dtype) == ((30, 7, 2), np.float32)
    assert abs(drawn.mean() - x.mean()) < 2 * x.std()
    assert drawn.std() > 0.2 * x.std()
    codes = fitted.encode(x)
    assert codes.shape == (60, 4)
    scaled = torch.from_numpy(((x - fitted.splits.mean) / fitted.splits.scale).astype(np.float32))
    expected = fitted.method.posterior(fitted.model, scaled[None]).mean[0].detach()
    np.testing.assert_allclose(codes, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fitted.encode(x[7:9]), codes[7:9], rtol=1e-5, atol=1e-6)


def test_options_may_be_given_as_in_a_sweep_file():
    by_block = fit(windows(), "latent_diffusion", model={**SMALL["model"], "likelihood": "mixture"}, **_without_model())
    options = {"likelihood": "mixture", "hidden": 8, "latent": 4, "train.steps": np.int64(6), "train.batch_size": 8}
    del options["hidden"]
    by_name = fit(
        windows(),
        "latent_diffusion",
        **options,
        **{"model.hidden": 8, "diffusion.hidden": 8, "L": 20},
        **{"diffusion.steps": 6, "diffusion.batch_size": 8},
    )
    assert by_name.run.run_id == by_block.run.run_id


def _without_model() -> dict:
    return {name: block for name, block in SMALL.items() if name != "model"}


def test_a_table_or_a_tensor_is_an_array_too():
    frame = pd.DataFrame(series(), columns=["a", "b"])
    of_frame = fit(frame, window=12, channels=list(frame.columns), units=["m", "s"], **PROPOSED)
    assert of_frame.splits.channels == ("a", "b")
    assert of_frame.splits.units == ("m", "s")
    of_tensor = fit(torch.from_numpy(series()), window=12, channels=["a", "b"], **PROPOSED)
    np.testing.assert_array_equal(of_tensor.sample(3), of_frame.sample(3))


# ---------------------------------------------------------------- which windows


def test_overlapping_windows_are_split_as_the_series_they_were_cut_from():
    whole = as_recordings(series(), window=12, stride=3)
    cut = as_recordings(cut_windows(series()[:399], 12, 3), stride=3)
    assert (cut.split, cut.train_stride, cut.test_stride) == (whole.split, 3, 3) == ("blocks", 3, 3)
    np.testing.assert_array_equal(cut.series[0], whole.series[0][:399])


def test_a_recording_that_pauses_gives_two_series():
    x = series()
    both = np.concatenate([cut_windows(x[:100], 12, 4), cut_windows(x[200:300], 12, 4)])
    found = as_recordings(both, stride=4).series
    assert [len(rows) for rows in found] == [100, 100]
    np.testing.assert_array_equal(found[1], x[200:300])


def test_no_row_is_in_two_parts():
    splits = fit(cut_windows(series(), 12, 3), stride=3, **PROPOSED).splits
    rows = [{row.tobytes() for row in getattr(splits, name).reshape(-1, 2)} for name in ("train", "validation", "test")]
    assert not rows[0] & rows[1]
    assert not rows[0] & rows[2]
    assert not rows[1] & rows[2]


def test_shared_rows_are_noticed():
    x = series()
    assert shared_stride(cut_windows(x, 12, 5)) == 5
    assert shared_stride(cut_windows(x, 12, 12)) is None
    assert shared_stride(np.zeros((50, 12, 2))) is None
    counts = np.random.default_rng(0).integers(0, 2, (200, 12, 1)) * (
        np.random.default_rng(1).random((200, 12, 1)) < 0.2
    )
    assert shared_stride(counts) is None  # rare events: most neighbours agree on a row or two by chance
    with pytest.warns(UserWarning, match="share rows") as caught:
        fit(cut_windows(x, 12, 5), **PROPOSED)
    (warning,) = caught
    assert str(warning.message) == (
        "windows of x share rows with those after them, so parts of the split would too: give stride=5"
    )
    assert warning.filename == __file__


def test_swapped_axes_are_noticed():
    x = cut_windows(series(2400, 2), 24, 24)
    assert not look_swapped(x)
    assert not look_swapped(np.random.default_rng(0).standard_normal((50, 5, 30)))
    with pytest.warns(UserWarning, match="looks like") as caught:
        fit(x.transpose(0, 2, 1), **PROPOSED)
    (warning,) = caught
    assert str(warning.message) == (
        "x looks like (n, C, T), with its last axis for the time: expected (n, T, C). If so, give "
        "x.transpose(0, 2, 1) of shape (100, 24, 2)"
    )


# ---------------------------------------------------------------- mistakes

NAN = windows()
NAN[3, 2, 1] = np.nan

MISTAKES = {
    "nan": (
        lambda: fit(NAN),
        "x[3, 2, 1] is nan, one of 1 values that are no finite numbers: fill in what is missing, "
        "or leave those windows out",
    ),
    "inf": (
        lambda: fit(np.where(np.isnan(NAN), np.inf, NAN)),
        "x[3, 2, 1] is inf, one of 1 values that are no finite "
        "numbers: fill in what is missing, or leave those windows out",
    ),
    "words": (lambda: fit(np.array([["a"]])), "x has the type <U1: expected numbers"),
    "objects": (lambda: fit(windows().astype(object)), "x has the type object: expected numbers"),
    "2d": (
        lambda: fit(series()),
        "x has shape (400, 2): expected windows (n, T, C), or one long series (rows, C) with window=T",
    ),
    "few": (lambda: fit(windows()[:9]), "x holds 9 windows: expected at least 10 (to train, to validate, to test)"),
    "short": (lambda: fit(windows()[:, :1]), "x has shape (60, 1, 2): expected windows (n, T, C) of T >= 2 time steps"),
    "empty": (lambda: fit(np.zeros((0, 7, 2))), "x has shape (0, 7, 2): expected some values"),
    "window": (
        lambda: fit(windows(), window=5),
        "window = 5: x holds windows of 7 time steps already; leave window out",
    ),
    "window type": (lambda: fit(series(), window=12.5), "window = 12.5: expected a whole number >= 2"),
    "long window": (
        lambda: fit(series(), window=500),
        "array: 400 rows give 0 windows of T = 500; expected at least 1500 rows for training, validation and test "
        "parts of a whole window each (split: blocks)",
    ),
    "stride": (lambda: fit(windows(), stride=0), "stride = 0: expected a whole number >= 1"),
    "no overlap": (
        lambda: fit(windows(), stride=2),
        "stride = 2: x[1] does not begin with x[0, 2:], nor do most "
        "windows after it: expected windows of a recording in order, 2 rows apart (leave stride out if the "
        "windows are independent)",
    ),
    "other stride": (
        lambda: fit(cut_windows(series(), 12, 5), stride=2),
        "stride = 2: x[1] does not begin with x[0, "
        "2:], nor do most windows after it: expected windows of a recording in order, 2 rows apart "
        "(stride=5 fits)",
    ),
    "channels": (lambda: fit(windows(), channels=["a"]), "channels = ['a']: expected 2 names, one per channel"),
    "same channels": (lambda: fit(windows(), channels=["a", "a"]), "channels: expected different names"),
    "seed": (lambda: fit(windows(), seed=-1), "seed = -1: expected a whole number >= 0"),
    "device": (lambda: fit(windows(), device="tpu"), "device = 'tpu': expected cpu, cuda or cuda:0"),
    "backbone": (
        lambda: fit(windows(), backbone="lst"),
        "fit: unknown backbone 'lst': did you mean 'lstm'? known: lstm, transformer; one of your own needs --plugin "
        "FILE.py",
    ),
    "block key": (
        lambda: fit(windows(), train={"step": 5}),
        "fit: train.step: unknown key: did you mean 'steps'? 13 are known: see bench/docs/sweep_files.md",
    ),
    "block value": (lambda: fit(windows(), train={"steps": 0}), "fit: train.steps = 0: expected a whole number >= 1"),
    "no block": (lambda: fit(windows(), train=500), "fit: train = 500: expected a dict of options"),
    "ambiguous": (lambda: fit(windows(), steps=5), "fit: steps: ambiguous: write train.steps or diffusion.steps"),
    "option": (lambda: fit(windows(), N=-1), "fit: proposed.N = -1: expected a number >= 0 or one of auto"),
    "metrics": (
        lambda: fit(windows(), metrics="all"),
        "fit: metrics: expected in score(...), it does not change training",
    ),
    "array option": (
        lambda: fit(windows(), N=np.arange(3)),
        "fit: N: expected a number, a word or a list, not ndarray",
    ),
    "samples 2d": (
        lambda: evaluate_samples(windows(), windows()[0]),
        "generated has shape (7, 2): expected (n, 7, 2): windows, time steps, channels",
    ),
    "samples few": (lambda: evaluate_samples(windows()[:7], windows()), "real holds 7 windows: expected at least 8"),
    "samples metric": (
        lambda: evaluate_samples(windows(), windows(), "nll"),
        "evaluate_samples: metrics = 'nll': expected some that need samples only",
    ),
    "budget": (lambda: check_collapse(windows(), budget=0), "budget = 0: expected a number of seconds > 0"),
    "alternative": (
        lambda: check_collapse(windows(), alternative="kl_fre"),
        "alternative = 'kl_fre': did you mean 'kl_free'? known: kl_free, proposed + skip",
    ),
    "folder": (lambda: load("nowhere"), "nowhere: holds no saved run: expected a folder that Fitted.save wrote"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name):
    call, line = MISTAKES[name]
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == line


def test_an_unknown_method_is_one_line():
    with pytest.raises(InputError, match=r"^fit: unknown method 'propose': did you mean 'proposed'\? [0-9]+ are known"):
        fit(windows(), "propose")


USES = {
    "n": (lambda f: f.sample(0), "n = 0: expected a whole number >= 1"),
    "shape": (
        lambda f: f.encode(windows()[:, :5]),
        "x has shape (60, 5, 2): expected (n, 7, 2): windows, time steps, channels",
    ),
    "metric": (lambda f: f.score("mmd"), "evaluate.metrics: unknown metric 'mmd': did you mean 'mmd2'?"),
    "option": (
        lambda f: f.score(n_sample=3),
        "score: evaluate.n_sample: unknown key: did you mean 'n_samples'? 9 are known: ",
    ),
}


@pytest.mark.parametrize("name", USES)
def test_a_mistake_with_a_trained_run_is_one_line(fitted, name):
    call, line = USES[name]
    with pytest.raises(InputError, match=f"^{re.escape(line)}[^\n]*$"):
        call(fitted)


def test_a_method_without_a_latent_has_no_codes():
    plain = fit(windows(), "data_diffusion", **SMALL)
    assert plain.sample(2).shape == (2, 7, 2)
    with pytest.raises(InputError, match=r"^encode: data_diffusion has no latent$"):
        plain.encode(windows())


def test_a_run_that_diverges_says_so(tmp_path):
    with pytest.warns(UserWarning, match="^fit: training diverged and was stopped: "):
        broken = fit(windows(), **{**PROPOSED, "train": {"steps": 40, "batch_size": 8, "learning_rate": 1e30}})
    assert "step" in broken.diverged
    for use in (lambda: broken.sample(1), lambda: broken.encode(windows()), broken.score):
        with pytest.raises(InputError, match="this run diverged and has no model to use"):
            use()
    broken.save(tmp_path / "broken")
    assert load(tmp_path / "broken").diverged == broken.diverged


# ---------------------------------------------------------------- saved runs


def test_a_saved_run_is_the_same(tmp_path, fitted):
    fitted.save(tmp_path / "mine")
    files = sorted(path.name for path in (tmp_path / "mine").iterdir())
    assert files == ["fitted.json", "weights.safetensors", "windows.safetensors"]
    again = load(str(tmp_path / "mine"))
    assert again.run == fitted.run
    np.testing.assert_array_equal(again.sample(5), fitted.sample(5))
    np.testing.assert_array_equal(again.encode(windows()), fitted.encode(windows()))
    wanted = ["nll", "mmd2", "dependency"]
    pd.testing.assert_frame_equal(again.score(wanted), fitted.score(wanted))
    pd.testing.assert_frame_equal(again.curves, fitted.curves)
    assert repr(again) == repr(fitted) == "<proposed with lstm, seed 0, trained on 42 windows of T = 7, C = 2>"
    again.save(tmp_path / "mine")  # an older one is replaced
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_of_something_else_is_left_alone(tmp_path, fitted):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else than a saved run"):
        fitted.save(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(InputError, match="holds something else than a saved run"):
        fitted.save(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="holds no saved run"):
        load(tmp_path)


def test_a_newer_or_damaged_folder_is_refused(tmp_path, fitted):
    fitted.save(tmp_path / "mine")
    path = tmp_path / "mine" / "fitted.json"
    facts = json.loads(path.read_text())
    for change, line in (
        ({"saved_version": 2}, "was saved by a newer version of this package (format 2): expected 1"),
        ({"splits": {}}, "is damaged: TypeError: "),
        ({"run": {"seed": 0}}, "this is no configuration of a run"),
    ):
        path.write_text(json.dumps({**facts, **change}))
        with pytest.raises(InputError, match=re.escape(line)):
            load(tmp_path / "mine")
    path.write_text(json.dumps({**facts, "run_id": "0" * 16}))
    with pytest.warns(UserWarning, match="was trained by another version of this code"):
        load(tmp_path / "mine")
    path.write_text(json.dumps(facts))
    (tmp_path / "mine" / "weights.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="expected a safetensors file"):
        load(tmp_path / "mine")


# ---------------------------------------------------------------- anybody's samples


def test_good_samples_score_like_the_floor_and_bad_ones_do_not():
    x = windows(600)
    rows = evaluate_samples(x[:400], x[400:], ["sliced_wasserstein", "mmd2"])
    assert list(rows.columns) == ["label", *(name for name in METRICS if name != "run_id")]
    good = rows.pivot_table(index="label", columns="metric", values="value")
    assert rows[rows.label == "generated"].n.tolist() == [190, 190]  # half of 400, as stretches of 10 T windows give it
    assert good.sliced_wasserstein["generated"] < 2 * good.sliced_wasserstein["floor_shift"]
    bad = evaluate_samples(x[:400], x[400:] + 20, "sliced_wasserstein").set_index("label")
    assert bad.value["generated"] > 5 * bad.value["floor_shift"]
    assert bad.value["floor_shift"] == good.sliced_wasserstein["floor_shift"]


def test_samples_are_scored_as_the_command_scores_them(fitted):
    """On the run's own windows, in units: the rows of `score_samples`, up to the rounding of the units."""
    splits = fitted.splits
    units = {name: getattr(splits, name) * splits.scale + splits.mean for name in ("train", "test")}
    rows = evaluate_samples(units["test"], fitted.sample(12), ["mmd2"], train=units["train"])
    scope = Scope("array", 0)
    drawn = ((fitted.sample(12) - splits.mean) / splits.scale).astype(np.float32)
    expected = score_samples(splits.test, drawn, splits, choose(["mmd2"]), scope)
    assert rows[rows.label == "generated"].value.item() == pytest.approx(expected[0]["value"], abs=1e-5)


def test_dependency_measures_are_offered_at_the_top():
    decoder = lambda z, x: torch.cat([z[:, None], z[:, None] + x], dim=1).cumsum(1)  # noqa: E731
    found = dependency_measures(decoder, torch.ones(1, 1), torch.ones(1, 2, 1))
    np.testing.assert_allclose(found.global_[0], [1, 2 / 3, 3 / 5], rtol=1e-5)


# ---------------------------------------------------------------- a first look


def few_updates(path, steps=8, **options):
    """The sweep file with fewer updates, and with a small network, because its measures take most of the time."""
    file = read_file(path)
    stages = {name: {**getattr(file, name), "steps": steps, **options} for name in ("train", "diffusion")}
    return file.model_copy(update={**stages, "model": {**file.model, "hidden": 8}})


def test_a_first_look_at_a_tiny_size(monkeypatch):
    monkeypatch.setattr(collapse, "read_file", few_updates)
    monkeypatch.setattr(collapse, "_FEWEST_STEPS", 4)
    monkeypatch.setattr(collapse, "_CHECKED", 2)
    found = check_collapse(windows(), budget=1.0, alternative="kl_free")
    assert 4 <= found.train_steps <= 8
    assert list(found.table.index) == ["latent_diffusion", "kl_free", "floor_noise", "floor_held_out"]
    numbers = ["latent_information", "second_half", "gap", "dependency_end", "sliced_wasserstein"]
    assert found.table.loc["kl_free", numbers].notna().all()
    assert found.table.sliced_wasserstein.notna().all()
    assert found.collapsed == (found.table.verdict.iloc[0] == "collapsed")
    assert found.models["kl_free"].run.train.steps == found.train_steps
    lines = str(found).splitlines()
    assert repr(found) == str(found)
    assert lines[0].startswith("latent_diffusion ")
    assert f"{found.train_steps} + {found.diffusion_steps} updates each" in lines[-2]
    assert f"at most ln M = {found.bound:.1f}" in lines[-3]
    assert list(found.table.converged[:2]) == [False, False]  # 8 updates are fewer than the patience
    assert "Ended before the plateau of the validation objective: latent_diffusion and kl_free." in lines[-1]


def test_a_first_look_may_make_as_many_updates_as_the_sweep_whose_methods_it_trains(monkeypatch):
    """A budget without end: the sweep file's own maximum, and a plateau that is said to be reached."""
    monkeypatch.setattr(collapse, "read_file", lambda path: few_updates(path, 300, patience=10, tolerance=0.5))
    found = check_collapse(windows(), budget=1e6)
    assert (found.train_steps, found.diffusion_steps) == (300, 300)
    assert list(found.table.converged[:2]) == [True, True]
    assert str(found).splitlines()[-1] == "Training ended at the plateau of the validation objective."


def rows_of(information, second_half):
    """What a run is scored with: a large gap, and these values and errors of the latent information."""
    names = ("latent_information", "latent_information_second_half", "latent_information_bound")
    values = [information, second_half, (np.log(512), np.nan), (1.0, np.nan), (9.0, np.nan)]
    frame = pd.DataFrame(values, columns=["value", "error"])
    return frame.assign(metric=[*names, "nll_own", "nll_permuted"], coordinate="", index=np.nan)


def test_a_first_look_has_the_verdict_by_information():
    words = {}
    for word, told in {
        "alive": ((3.0, 0.1), (1.0, 0.1)),
        "partial": ((3.0, 0.1), (0.0, 0.01)),
        "collapsed": ((0.1, 0.01), (0.0, 0.01)),
        "undecided": ((0.5, 0.1), (0.0, 0.01)),
    }.items():
        rows = rows_of(*told)
        fitted = SimpleNamespace(diverged="", score=lambda rows=rows, **_: rows, splits=SimpleNamespace(window=12))
        facts = collapse._facts(fitted, {})
        words[word] = facts["verdict"]
        table = pd.DataFrame([facts, facts], index=["vanilla", "other"]).assign(converged=True)
        said = str(collapse.CollapseCheck(table, 100, 100, 1.0, facts["bound"], {})).splitlines()[0]
        assert "could not be measured" not in said
    assert words == {word: word for word in words}
    assert "neither clearly collapsed nor clearly alive" in said


@pytest.mark.slow
def test_a_first_look_finds_what_a_sweep_finds():
    """On `regimes` vanilla collapses and the alternative does not; a busy machine exceeds the budget a little."""
    x = np.stack(DATASETS["regimes"](series=1000).load(None, np.random.default_rng(0)).series)
    found = check_collapse(x, budget=60.0)
    assert found.collapsed
    assert found.table.verdict["proposed + skip"] == "alive"
    assert found.seconds < 120


# ---------------------------------------------------------------- how it is used


def test_importing_bench_is_cheap():
    code = (
        "import sys, bench; assert {'fit', 'load', 'check_collapse'} <= set(dir(bench)); "
        "print(sorted({'torch', 'numpy', 'pandas', 'bench.library'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=WORDS, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    with pytest.raises(AttributeError, match=r"^module 'bench' has no attribute 'fitt'$"):
        bench.fitt  # noqa: B018


SCRIPT = """
import numpy as np
from bench import fit
x = np.random.default_rng(0).standard_normal((40, 6, 1))
small = {"train": {"steps": 4}, "model": {"hidden": 8, "latent": 4}}
run = fit(x, "latent_diffusion", diffusion={"L": 20, "steps": 4, "hidden": 8}, progress=True, **small)
print(run.sample(3).shape)
"""


def test_a_script_needs_no_main_guard(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=WORDS, capture_output=True, text=True)
    assert done.stdout == "(3, 6, 1)\n"
    assert done.stderr.endswith("\n8 of 8 updates\n")  # a carriage return before it


def state_of_torch() -> list:
    settings = torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.is_grad_enabled()
    return [*settings, torch.get_rng_state().tolist()]


def test_progress_is_told_and_torch_is_left_as_it_was():
    seen, before = [], state_of_torch()
    run = fit(windows(), progress=lambda done, total: seen.append((done, total)), **PROPOSED)
    drawn = run.sample(2)
    assert seen == [*((done, 12) for done in range(1, 7)), (12, 12)]
    assert state_of_torch() == before
    np.testing.assert_array_equal(drawn, fit(windows(), **PROPOSED).sample(2))
