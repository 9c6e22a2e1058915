"""Scoring: references, failures as rows, kept runs measured again, samples of any other model.

More than 500 lines, because the parts share the runs of one small sweep and the rows of the references.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_splits, refused
from safetensors import safe_open
from scipy.special import stdtrit

from bench import evaluate
from bench.contracts import DatasetSpec, EvaluateConfig, InputError, Measurement, Metric
from bench.engine import evaluation
from bench.engine.job import JobSettings, run_stack
from bench.engine.progress import Lines
from bench.loading.references import REFERENCES, reference_windows
from bench.loading.windows import load_splits
from bench.metrics.base import SampleMetric
from bench.registry import METHODS, METRICS
from bench.report.cells import cells_of
from bench.report.selection import load
from bench.scoring import scores
from bench.scoring.artifacts import load_samples
from bench.scoring.scores import Scope, choose, score_during_training, score_reference, score_samples
from bench.store import Store, load_curves, load_results
from bench.sweeps.expand import read_sweep
from bench.sweeps.stacks import make_stacks

SWEEP = """
name: tiny
datasets: [{name: regimes, series: 60}]
methods: [latent_diffusion, {name: proposed, set: {N: 2, M: 18}}]
seeds: 1
model: {hidden: 8, latent: 4}
train: {steps: 4, batch_size: 8}
diffusion: {L: 20, steps: 4, batch_size: 8, hidden: 8}
evaluate: {n_samples: 12, metrics: [mmd2, nll, kl, dependency]}
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """A finished tiny sweep."""
    folder = tmp_path_factory.mktemp("results")
    path = folder / "tiny.yaml"
    path.write_text(SWEEP)
    for stack in make_stacks(read_sweep(path).runs, 2):
        assert {status for _, status, _ in run_stack(stack, JobSettings(folder, None))} == {"ok"}
    return folder


def test_a_backbone_that_a_method_does_not_serve_is_a_skipped_row(tmp_path, monkeypatch):
    path = tmp_path / "tiny.yaml"
    path.write_text(SWEEP + "backbones: [lstm, transformer]\n")
    monkeypatch.setattr(METHODS["latent_diffusion"], "backbones", ("lstm",))
    wanted = [run for run in read_sweep(path).runs if run.method == "latent_diffusion"]
    for stack in make_stacks(wanted, 1):
        run_stack(stack, JobSettings(tmp_path / "results", None))
    runs, _ = load_results(tmp_path / "results")
    found = {row.backbone: (row.status, row.reason) for row in runs.itertuples()}
    assert found["lstm"] == ("ok", "")
    assert found["transformer"] == ("skipped", "latent_diffusion serves the backbones lstm, not transformer")


def test_a_job_writes_rows_curves_and_kept_files(results):
    runs, metrics = load_results(results)
    assert sorted(runs.kind) == ["method"] * 2 + ["reference"] * len(REFERENCES)
    mine = runs[runs.method == "proposed"].iloc[0]
    assert mine.status == "ok"
    assert mine.N == 2
    assert mine["diffusion.L"] == 20
    assert mine.n_parameters > 1000
    assert mine.peak_memory_bytes > 1e7
    assert mine.train_seconds > 0
    found = metrics[(metrics.run_id == mine.run_id) & (metrics.train_step == -1)]
    assert (found[found.metric == "dependency_global"]["index"] == np.arange(1, 25)).all()
    assert found[found.metric == "kl"].status.tolist() == ["undefined"]
    assert found[(found.metric == "nll_own")].n.tolist() == [12]
    assert set(load_curves(results).stage) == {"autoencoder", "denoiser"}
    on_the_way = metrics[(metrics.run_id == mine.run_id) & (metrics.train_step >= 0)]
    assert sorted(set(on_the_way.train_step)) == [1, 2, 3, 4]  # ten looks at four steps
    last = on_the_way[(on_the_way.metric == "nll_own") & (on_the_way.train_step == 4)].value.iloc[0]
    # of the same series after the last update; the scale is then settled on validation windows
    assert last == pytest.approx(found[found.metric == "nll_own"].value.iloc[0], rel=1e-3)
    kept = load_samples(results, mine.run_id)
    assert kept["samples"].shape == (12, 24, 6)
    assert kept["real"].shape[1:] == (24, 6)
    with safe_open(results / "models" / mine.run_id / "samples.safetensors", framework="np") as file:
        words = {key: json.loads(file.metadata()[key]) for key in ("channels", "units")}
    assert words == {"channels": [f"x{c}" for c in range(1, 7)], "units": [""] * 6}


def test_means_over_test_windows_have_their_standard_error(results):
    _, metrics = load_results(results)
    means = metrics[metrics.metric.isin(["nll_own", "dependency_local"]) & (metrics.train_step == -1)]
    widened = means.sd / np.sqrt(means.n) * stdtrit(means.n - 1, 0.975) / 1.96  # simulated series: each by itself
    np.testing.assert_allclose(means.error, widened, rtol=1e-6)
    assert (metrics.loc[metrics.metric == "mmd2", "error"].isna()).all()


def test_metrics_are_added_to_kept_runs_once_and_agree(results, capsys):
    before = load_results(results)[1]
    assert evaluate.main(["--results", str(results), "--metrics", "mmd2", "sliced_wasserstein"]) == 0
    after = load_results(results)[1]
    assert set(after.metric) - set(before.metric) == {"sliced_wasserstein"}
    assert (after.metric == "sliced_wasserstein").sum() == 2 + len(REFERENCES)
    assert "8 runs got new metrics" in capsys.readouterr().out
    evaluate.main(["--results", str(results), "--metrics", "sliced_wasserstein"])
    assert "0 runs got new metrics" in capsys.readouterr().out
    # measured anew from what was kept, the numbers are those of the sweep
    run_id = load_results(results)[0].query("kind == 'method'").run_id.iloc[0]
    wanted = choose(["nll", "mmd2"])
    run = evaluation.load_run(results, run_id)
    again = {row["metric"]: row["value"] for row in evaluation._evaluate_one(results, run, None, wanted)}
    ended = before[(before.run_id == run_id) & (before.train_step == -1)]
    known = ended[ended.metric.isin(list(again))].set_index("metric").value
    for name, value in again.items():
        assert value == pytest.approx(known[name], rel=1e-6)


def test_measuring_kept_runs_says_how_far_it_is(results, tmp_path, capsys, monkeypatch):
    folder = shutil.copytree(results, tmp_path / "copy")
    for kept in (folder / "models").iterdir():
        shutil.rmtree(kept)
    monkeypatch.setattr("bench.engine.progress.Lines", lambda: Lines(every=0))
    assert evaluate.main(["--results", str(folder), "--metrics", "mmd2", "--split", "validation"]) == 0
    shown, log = capsys.readouterr()
    first, *others, last = log.splitlines()
    assert (first, last) == ("0/8 runs", "8/8 runs")
    assert len(others) == 7
    for done, line in enumerate(others, 1):
        assert re.fullmatch(rf"{done}/8 runs, about [0-9]+ s left", line)
    (refused,) = [line for line in shown.splitlines() if line.startswith("not evaluated")]
    assert refused.endswith(": nothing of it was kept (--keep none) (2 runs)")
    assert "proposed on regimes,series=60" in refused
    assert f"{len(REFERENCES)} runs got new metrics" in shown
    (folder / "models").rename(folder / "nothing")
    evaluate.main(["--results", str(folder), "--metrics", "kl"])  # all of them have it
    assert capsys.readouterr().err == ""


PLUGGED = """
from dataclasses import dataclass
from bench.contracts import Measurement
from bench.metrics.base import SampleMetric
from bench.registry import register_metric
@register_metric("plugged")
@dataclass(frozen=True)
class Plugged(SampleMetric):
    '''The level. Blind to: the rest.'''
    version, outputs, unit, direction, source = 1, ("plugged",), "1", "none", "ours"
    def compare(self, evaluation):
        value = VALUE
        return [Measurement("plugged", value)]
"""


def test_an_edited_metric_of_a_plug_in_is_measured_again(results, tmp_path):
    folder, plugin = shutil.copytree(results, tmp_path / "copy"), tmp_path / "plugged.py"
    for value, measured in (("1.0", 8), ("1.0  # the same", 0), ("2.0", 8)):
        plugin.write_text(PLUGGED.replace("VALUE", value))
        words = ["--results", str(folder), "--plugin", str(plugin), "--metrics", "plugged"]
        command = [sys.executable, "-m", "bench.evaluate", *words]  # a process reads a plug-in once
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert f"{measured} runs got new metrics" in done.stdout
        assert set(load_results(folder)[1].query("metric == 'plugged'").value) == {float(value[:3])}


def test_kept_runs_are_scored_on_the_other_windows(results, tmp_path, capsys):
    folder = shutil.copytree(results, tmp_path / "copy")
    words = ["--results", str(folder), "--metrics", "mmd2", "nll", "--split", "validation"]
    evaluate.main(words)
    evaluate.main(words)
    assert "0 runs got new metrics" in capsys.readouterr().out
    metrics = load_results(folder)[1].query("train_step == -1 and metric in ['mmd2', 'nll_own']")
    both = metrics.pivot(index=["run_id", "metric"], columns="split", values="value")
    assert len(both.dropna()) == 4 + len(REFERENCES)  # the latter have no latent
    assert (both.validation != both.test).all()
    splits = load_splits(DatasetSpec("regimes", (("series", 60),)), 0)
    run_id = load_results(folder)[0].query("method == 'proposed'").run_id.iloc[0]
    samples, scope = load_samples(folder, run_id)["samples"], Scope("regimes,series=60", 0, split="validation")
    real = reference_windows(scope.measured(splits), len(samples), scope.reference())
    samples = samples[: len(real)]  # there are fewer validation windows
    (expected,) = score_samples(real, samples, splits, choose(["mmd2"]), scope)
    assert both.validation[run_id, "mmd2"] == pytest.approx(expected["value"], rel=1e-6)


def test_one_sweep_of_a_folder_is_scored(results, tmp_path, capsys):
    folder = shutil.copytree(results, tmp_path / "copy")
    run_id = load_results(folder)[0].query("method == 'proposed'").run_id.iloc[0]
    Store(folder).write_membership("few", {run_id: "proposed"})
    words = ["--results", str(folder), "--metrics", "mmd2", "--split", "validation"]
    evaluate.main([*words, "--sweep", "few"])
    assert "1 runs got new metrics" in capsys.readouterr().out
    assert set(load_results(folder)[1].query("split == 'validation'").run_id) == {run_id}
    with pytest.raises(InputError, match=r"--sweep fw: no such sweep .*few"):
        evaluate.main([*words, "--sweep", "fw"])


def test_latent_measures_have_a_noise_of_their_own(results, capsys):
    """The same run measured again: other draws of z, another permutation, other test windows where there are more."""
    words = ["--results", str(results), "--metrics", "nll", "mmd2", "--metric-seeds", "3"]
    before = load_results(results)[1].query("metric == 'nll_own' and train_step == -1").set_index("run_id").value
    assert evaluate.main(words) == 0
    assert "8 runs got new metrics" in capsys.readouterr().out
    after = load_results(results)[1].query("train_step == -1")
    for run_id, rows in after[after.metric == "nll_permuted"].groupby("run_id"):
        assert sorted(rows.metric_seed) == [0, 1, 2]
        assert rows.value.nunique() == 3
        own = after[(after.metric == "nll_own") & (after.run_id == run_id) & (after.metric_seed == 0)]
        assert own.value.iloc[0] == pytest.approx(before[run_id], rel=1e-6)  # the first seed is what it was
    assert set(after[after.metric == "mmd2"].groupby("run_id").size()) == {3}
    selection = load(results)
    cells = [cell for cell in cells_of(selection) if cell.kind == "method"]
    assert cells
    for cell in cells:
        assert cell.noise["nll_gap"] > 0
        assert "kl" not in cell.noise  # measured once only
    evaluate.main(words)
    assert "0 runs got new metrics" in capsys.readouterr().out
    with pytest.raises(InputError, match="--metric-seeds 0: expected a whole number >= 1"):
        evaluate.main(["--results", str(results), "--metric-seeds", "0"])


@pytest.mark.parametrize("name", list(REFERENCES))
def test_references_give_as_many_windows_as_they_are_compared_with(name):
    splits = make_splits(n=60)
    reference, samples = REFERENCES[name](splits, 9, np.random.default_rng(0))
    assert reference.shape == samples.shape == (9, 7, 2)
    again = REFERENCES[name](splits, 9, np.random.default_rng(0))
    assert np.array_equal(again[1], samples)
    if name == "floor_noise":
        assert not {row.tobytes() for row in reference} & {row.tobytes() for row in samples}
    if name == "time_shuffled":
        train = {np.sort(row, axis=0).tobytes() for row in splits.train}
        assert all(np.sort(row, axis=0).tobytes() in train for row in samples)


def test_halves_of_train_part_no_entity_and_few_neighbours():
    splits = make_splits(n=60)
    whose = np.arange(len(splits.train)) // 3
    known = dataclasses.replace(splits, entities={"train": whose})
    of = {row.tobytes(): owner for row, owner in zip(known.train, whose, strict=True)}
    first, second = (
        {of[row.tobytes()] for row in part} for part in REFERENCES["floor_noise"](known, 99, np.random.default_rng(0))
    )
    assert not first & second
    windows = np.lib.stride_tricks.sliding_window_view(np.arange(1000.0), 5)[:, :, None].astype(np.float32)
    shared = dataclasses.replace(splits, train=windows[::2], test=windows, test_stride=2, train_stride=2)
    first, second = REFERENCES["floor_noise"](shared, 999, np.random.default_rng(0))
    assert len(first) == len(second) == 248  # stretches of 50 rows in turn
    assert set(first[:, 0, 0] // 50 % 2) == {0}
    assert set(second[:, 0, 0] // 50 % 2) == {1}
    few = dataclasses.replace(shared, test=windows[:7])
    assert len(REFERENCES["floor_noise"](few, 999, np.random.default_rng(0))[0]) == 7  # as many as the other rows have


@pytest.mark.parametrize("floor", ["floor_noise", "floor_held_out"])
def test_floors_of_independent_series_are_at_chance(tmp_path, floor):
    """Series of a file that differ in level: neither their order nor a stride below T makes two of them neighbours."""
    path, rng = tmp_path / "iid.npz", np.random.default_rng(0)
    np.savez(path, x=rng.normal(size=(600, 24, 1)) + rng.normal(size=(600, 1, 1)))
    config, found = EvaluateConfig(n_samples=100, metrics=["c2st", "sliced_wasserstein"]), []
    for seed in (1, 2, 3):
        splits = load_splits(DatasetSpec("npz", (("path", str(path)),)), seed)
        found += score_reference(floor, splits, config, Scope("tiny", seed))
    area, distance = ([row["value"] for row in found if row["metric"] == m] for m in ("c2st_auc", "sliced_wasserstein"))
    assert np.mean(area) == pytest.approx(0.5, abs=0.1)  # the standard error is .03
    assert max(distance) < 0.4  # .7 between the lower and the upper half


def test_the_gaussian_fit_has_the_covariance_of_train():
    splits = make_splits(n=400, window=3)
    many = dataclasses.replace(splits, test=np.repeat(splits.test, 500, axis=0))
    _, samples = REFERENCES["gaussian_fit"](many, 40_000, np.random.default_rng(0))
    flat = splits.train.reshape(len(splits.train), -1)
    assert np.abs(np.cov(samples.reshape(len(samples), -1).T) - np.cov(flat.T)).max() < 0.05


def test_samples_with_nan_are_rows_with_a_reason():
    splits = make_splits()
    samples = splits.train[:8].copy()
    samples[0, 0, 0] = np.nan
    rows = score_samples(splits.test[:8], samples, splits, choose(["mmd2"]), Scope("tiny", 0))
    assert [row["status"] for row in rows] == ["failed"]
    assert "1 of 8 samples hold NaN" in rows[0]["reason"]


@dataclass(frozen=True)
class Broken(SampleMetric):
    """Raises."""

    version = 1
    outputs = ("broken",)
    unit = direction = source = "none"
    name = "broken"

    def compare(self, evaluation) -> list[Measurement]:
        raise ZeroDivisionError("on purpose")


def test_a_metric_that_raises_is_a_row_and_the_others_go_on():
    splits = make_splits()
    metrics: list[Metric] = [Broken(), METRICS["mmd2"]()]
    rows = score_samples(splits.test, splits.train[: len(splits.test)], splits, metrics, Scope("tiny", 0))
    assert [(row["metric"], row["status"]) for row in rows] == [("broken", "failed"), ("mmd2", "ok")]
    assert rows[0]["reason"] == "ZeroDivisionError: on purpose"


def test_an_unknown_metric_is_named():
    with pytest.raises(InputError, match="did you mean 'wasserstein'"):
        choose(["waserstein"])


def test_the_metric_seed_moves_only_what_the_metric_draws():
    splits = make_splits(n=200)
    reference, samples, metrics = splits.test[:20], splits.train[:20], choose(["sliced_wasserstein", "mmd2"])
    one, two = (score_samples(reference, samples, splits, metrics, Scope("tiny", 0, seed)) for seed in (0, 1))
    assert one[0]["value"] != two[0]["value"]  # other projections
    assert one[1]["value"] == two[1]["value"]  # MMD draws nothing


def test_metric_seeds_are_rows_of_their_own():
    splits = make_splits(n=200)
    config = EvaluateConfig(n_samples=20, metrics=["sliced_wasserstein"], metric_seeds=3)
    rows = score_reference("floor_shift", splits, config, Scope("tiny", 0))
    assert [row["metric_seed"] for row in rows] == [0, 1, 2]
    assert len({row["value"] for row in rows}) == 3


def test_samples_of_any_model_are_scored_beside_the_floors(tmp_path, capsys):
    path, out = tmp_path / "mine.npz", tmp_path / "rows.csv"
    np.savez(path, samples=np.random.default_rng(0).standard_normal((30, 24, 6)))
    words = ["--samples", str(path), "--dataset", "regimes", "--scaled", "--metrics", "mmd2", "--out", str(out)]
    assert evaluate.main(words) == 0
    printed = capsys.readouterr().out
    assert "mine.npz" in printed
    assert "floor_noise" in printed
    assert out.read_text().count("\n") == 2 + len(REFERENCES)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--samples mine.npz --dataset half", "unknown data set 'half': .*; one of your own needs --plugin FILE.py$"),
        ("--samples mine.npz --dataset regimes --metrics half", "unknown metric 'half': .*needs --plugin FILE.py$"),
        ("--samples mine.npz --dataset regimes --metrics nll kl", "--metrics nll kl: expected some that need samples"),
        ("--samples mine.npz", "expected --dataset NAME with it"),
        ("--samples mine.npz --dataset regimes --split validation", "--split has no effect with --samples"),
        ("--samples mine.npz --dataset regimes --metric-seeds 3", "--metric-seeds has no effect with --samples"),
        ("--samples mine.npz --dataset regimes --tolerance 0.1", "--tolerance has no effect without --decoder"),
        ("--samples mine.npz --decoder m:f --metrics mmd2", "--metrics has no effect without --dataset"),
        ("--samples mine.npz --decoder m:f --scale train", "--scale has no effect without --dataset"),
        ("--dataset nosuch", "--dataset has no effect without --samples"),
        ("--decoder m:f", "--decoder has no effect without --samples"),
        ("--out rows.csv", "--out has no effect without --samples"),
        ("--samples mine.npz --dataset regimes --out mine.npz", "--out mine.npz: is read by this command"),
        ("--samples mine.npz --dataset npz:../{0}/data.npz --out data.npz", "--out data.npz: is read by this command"),
    ],
)
def test_what_would_have_no_effect_is_refused(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", samples=np.random.default_rng(0).standard_normal((30, 24, 6)))
    np.savez("data.npz", x=np.ones((20, 5, 1)))
    with pytest.raises(InputError, match=message):
        evaluate.main(words.format(tmp_path.name).split())


def test_rows_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    (tmp_path / "rows.csv").write_text("earlier\n")

    def full(frame, path, index):
        Path(path).write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pandas.DataFrame.to_csv", full)
    with refused("rows.csv: the disk is full"):
        evaluation.write_rows([{"metric": "nll"}], tmp_path / "rows.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]
    assert (tmp_path / "rows.csv").read_text() == "earlier\n"


def test_a_metric_that_needs_a_model_is_said_to_be_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", samples=np.random.default_rng(0).standard_normal((30, 24, 6)))
    words = "--samples mine.npz --dataset regimes --scaled --n 20 --metrics sliced_wasserstein nll"
    assert evaluate.main(words.split()) == 0
    assert capsys.readouterr().err == "note: nll needs a trained model: left out\n"


def test_a_choice_of_no_metric_measures_none():
    config = EvaluateConfig(n_samples=20, metrics=["mmd2"])
    assert score_reference("floor_shift", make_splits(n=200), config, Scope("tiny", 0), []) == []


def test_a_decoder_of_anybody_gets_its_dependency_measures(tmp_path, capsys, monkeypatch):
    (tmp_path / "my_decoder.py").write_text(
        "import torch\n"
        "def states(z, x_prev):\n"
        "    return torch.cat([z[:, None, :2], z[:, None, :2] + x_prev], dim=1).cumsum(1)\n"
    )
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("mine.npz", z=rng.standard_normal((5, 3)), x=rng.standard_normal((5, 4, 2)))
    assert evaluate.main(["--samples", "mine.npz", "--decoder", "my_decoder:states"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "0 of 20 cells unresolved" in lines[0]
    assert lines[2].split() == ["1", "1.0000", "1.0000"]
    assert lines[6].startswith(
        "dependency_global is m_{t,0}: near 0 at large t, the latent is forgotten. It can be near 1"
    )
    sys.modules.pop("my_decoder", None)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("boom", (5, 4, 2), "--decoder faulty_decoder:boom: fails: ValueError: no$"),
        ("number", (5, 4, 2), "--decoder faulty_decoder:number: fails: TypeError: 'int' object is not callable"),
        ("nothing", (5, 4, 2), "--decoder faulty_decoder:nothing: does not import: AttributeError"),
        ("flat", (5, 4, 2), r"the decoder gave \(1, 3\) for one series: expected \(1, 4, H\)"),
        ("flat", (5, 0, 2), r"z \(5, 3\), x \(5, 0, 2\): expected \(n, D\) and \(n, T, C\), none of them 0"),
    ],
)
def test_a_faulty_decoder_is_one_line(tmp_path, monkeypatch, name, shape, message):
    (tmp_path / "faulty_decoder.py").write_text(
        "number = 3\ndef flat(z, x_prev):\n    return z\ndef boom(z, x_prev):\n    raise ValueError('no\\nmore')\n"
    )
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", z=np.ones((5, 3)), x=np.ones(shape))
    with pytest.raises(InputError, match=message):
        evaluate.main(["--samples", "mine.npz", "--decoder", f"faulty_decoder:{name}"])
    sys.modules.pop("faulty_decoder", None)


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("z", (1, 1), np.nan, r"mine.npz: z\[1, 1\] is nan, one of 1 values that are no finite numbers"),
        ("x", (4, 2, 1), -np.inf, r"mine.npz: x\[4, 2, 1\] is -inf, one of 1 values"),
        ("z", (0, 2), 1e300, r"mine.npz: z\[0, 2\] is 1e\+300, one of 1 values that are .* in single precision"),
    ],
)
def test_a_decoder_is_given_finite_numbers_alone(tmp_path, monkeypatch, name, place, value, message):
    arrays = {"z": np.ones((5, 3)), "x": np.ones((5, 4, 2))}
    arrays[name][place] = value
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", **arrays)
    with refused(message):
        evaluate.main(["--samples", "mine.npz", "--decoder", "math:sqrt"])


def test_the_means_of_anybodys_decoder_are_over_its_resolved_series(tmp_path, monkeypatch):
    (tmp_path / "sharp_decoder.py").write_text(
        "import torch\n"
        "def states(z, x_prev):\n"
        "    first = z[:, None, :1]\n"
        "    smooth = torch.cat([first, first + x_prev.cumsum(1)[:, :, :1]], dim=1)\n"
        "    return torch.cat([smooth, (first > 0.8).float() * torch.sin(4e5 * smooth**3)], dim=2)\n"
    )
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    z = rng.uniform(0.1, 0.7, (12, 2))
    z[:3] += 0.8
    np.savez("mine.npz", z=z, x=rng.uniform(0.1, 1, (12, 4, 1)))
    np.savez("easy.npz", **{name: values[3:] for name, values in np.load("mine.npz").items()})
    found, easy = (evaluation.measure_decoder("sharp_decoder:states", Path(f"{n}.npz"), 1e-2) for n in ("mine", "easy"))
    sys.modules.pop("sharp_decoder", None)
    for mine, expected in zip(found, easy, strict=True):
        assert (mine["metric"], mine["index"], mine["n"]) == (expected["metric"], expected["index"], 9)
        assert (mine["value"], mine["sd"]) == pytest.approx((expected["value"], expected["sd"]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"samples": np.zeros((3, 5, 6))}, r"shape \(3, 5, 6\): expected \(n, 24, 6\)"),
        ({"other": np.zeros(3)}, "no array 'samples': it holds other"),
        ({"samples": np.array(["a"])}, "expected numbers"),
        ({"samples": np.array([object()])}, "expected an .npz file of plain arrays"),
        (b"not a zip", "expected an .npz file"),
        (b"\x93NUMPY\x01\x00v\x00", "expected an .npz file"),
        (None, "no such file"),
    ],
)
def test_a_bad_samples_file_is_one_line(tmp_path, content, message):
    path = tmp_path / "mine.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.savez(path, **content)
    with pytest.raises(InputError, match=message):
        evaluate.main(["--samples", str(path), "--dataset", "regimes"])


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("a", [True, False] * 4, "a: expected numbers, not bool"),
        ("t", [1] * 8, "t: expected different steps in a series, the first has one twice"),
        ("t", [1, 2, 3, 4, 1, 2, 3, 5], "t: expected the same steps in every one of 2 series"),
    ],
)
def test_a_bad_table_of_samples_is_one_line(tmp_path, column, values, message):
    table = pd.DataFrame({"series": np.repeat([0, 1], 4), "t": np.tile(np.arange(1, 5), 2), "a": np.arange(8.0)})
    table.assign(**{column: values}).to_parquet(tmp_path / "mine.parquet")
    with refused(message):
        evaluation.read_series(tmp_path / "mine.parquet", ["a"])


def test_the_command_exits_2_without_a_traceback(tmp_path):
    words = [sys.executable, "-m", "bench.evaluate", "--results", str(tmp_path / "nowhere")]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no such folder" in done.stderr


def test_a_stack_drawn_together_and_measured_later_has_the_same_numbers(tmp_path, monkeypatch):
    """What a GPU does with a stack, on a CPU: bit for bit."""
    path = tmp_path / "tiny.yaml"
    path.write_text(SWEEP.replace("seeds: 1", "seeds: 3"))
    runs = [run for run in read_sweep(path).runs if run.kind == "method"]
    found = []
    for together in (False, True):
        monkeypatch.setattr("bench.engine.job.one_by_one", lambda _, together=together: not together)
        folder = tmp_path / str(together)
        for stack in make_stacks(runs, 3):
            assert {status for _, status, _ in run_stack(stack, JobSettings(folder, None))} == {"ok"}
        table, metrics = load_results(folder)
        assert (table.programs == "autoencoder plain; denoiser plain").all()
        assert (table.evaluate_seconds > 0).all()
        assert (table.sample_seconds > 0).all()
        order = ["run_id", "metric", "train_step", "index", "metric_seed"]
        found.append(metrics.sort_values(order).reset_index(drop=True)[[*order, "value", "sd", "n"]])
    assert len(found[0]) > 100
    assert (found[0].train_step > 0).any()
    pd.testing.assert_frame_equal(found[0], found[1], check_exact=True)


def test_a_probe_on_the_way_sees_training_windows_from_everywhere(monkeypatch):
    """The first windows of overlapping ones are one stretch of a recording."""
    seen = []
    monkeypatch.setattr(scores, "measure", lambda metric, evaluation: seen.append(evaluation.train) or [])
    splits = dataclasses.replace(make_splits(n=1000), train_stride=1)
    model = type("Model", (), {"alpha_bar": torch.ones(1)})()
    score_during_training(model, None, splits, EvaluateConfig(), Scope("tiny", 0), 5)
    assert len(seen[0]) == 250
    places = [int(np.flatnonzero((splits.train == window.numpy()).all(axis=(1, 2)))[0]) for window in seen[0]]
    assert places == list(range(0, 500, 2))
    apart = dataclasses.replace(splits, train_stride=splits.window)  # whole series: the first are as good as any
    score_during_training(model, None, apart, EvaluateConfig(), Scope("tiny", 0), 5)
    np.testing.assert_array_equal(seen[-1].numpy(), splits.train[:250])
