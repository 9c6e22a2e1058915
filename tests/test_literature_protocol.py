"""The literature's protocol: what is compared with what, the scores as published code computes them, and the tables."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import report_data
import torch
from conftest import make_splits, refused
from torch import nn

import bench.report
from bench import evaluate, run
from bench.contracts import DatasetSpec, EvaluateConfig, SampleEvaluation, Splits
from bench.loading.references import EVERY_REFERENCE, REFERENCES, references_of
from bench.loading.windows import load_splits, zero_and_span
from bench.metrics import context_fid, discriminative, predictive, ts2vec
from bench.metrics.networks import PublishedRecurrent
from bench.randomness import numpy_generator
from bench.registry import METRICS
from bench.report.literature import SCORES
from bench.report.page import PUBLISHED_ROWS, write
from bench.report.report import build
from bench.scoring.artifacts import load_samples
from bench.scoring.scores import Scope, score_reference
from bench.store import load_results
from bench.sweeps.expand import Selection, read_sweep
from bench.sweeps.file import find_sweep, read_file
from bench.sweeps.options import dataset_spec

KEY = "energy,noise_channels=True,protocol=literature"
SINES = {"channels": 5, "form": "timegan", "protocol": "literature", "series": 60}


def spec(name: str = "sines", **options: object) -> DatasetSpec:
    return DatasetSpec(name, tuple(sorted({**SINES, **options}.items())))


def noisy(n: int = 400) -> Splits:
    """Windows (n, 8, 4) under the protocol whose last two channels are one uniform noise, as energy's are."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 8, 4)).astype(np.float32)
    x[:, :, :2] = x[:, :, :2].cumsum(axis=1)
    x[:, :, 2:] = rng.uniform(-1.7, 1.7, (n, 8, 1))
    names = ("a", "b", "rv1", "rv2")
    whole = dataclasses.replace(make_splits(60, 8, 4), channels=names, units=("",) * 4, held_out=None, cells=None)
    return dataclasses.replace(
        whole, train=x, validation=x, test=x, whole=True, noise=("rv1", "rv2"), mean=np.zeros(4), scale=np.ones(4)
    )


# ---------------------------------------------------------------- the data


def test_nothing_is_held_out_and_the_scale_is_that_of_all_rows(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = np.random.default_rng(0).normal(3, 2, (120, 2)).cumsum(axis=0)
    pd.DataFrame(rows, columns=["a", "b"]).to_csv(tmp_path / "own.csv", index=False)
    options = (("path", str(tmp_path / "own.csv")), ("window", 6))
    apart = load_splits(DatasetSpec("csv", options), 0)
    splits = load_splits(DatasetSpec("csv", (*options, ("protocol", "literature"))), 0)
    assert len(apart.train) < len(splits.train) == 120 - 6 + 1
    assert splits.train is splits.test is splits.validation is splits.reference
    np.testing.assert_allclose(splits.mean, rows.mean(axis=0))
    np.testing.assert_allclose(splits.scale, rows.std(axis=0))
    np.testing.assert_allclose(splits.train[7] * splits.scale + splits.mean, rows[7:13], rtol=1e-5)
    low, span = zero_and_span(splits.train, splits.zero_one)
    np.testing.assert_allclose(low * splits.scale + splits.mean, rows.min(axis=0), rtol=1e-5)
    np.testing.assert_allclose(span * splits.scale, np.ptp(rows, axis=0), rtol=1e-5)
    again = load_splits(DatasetSpec("csv", (*options, ("protocol", "literature"))), 1)
    assert again.sha256 == splits.sha256  # one division: a seed is an initialisation


@pytest.mark.parametrize(("option", "value"), [("gap", "T"), ("split", "time")])
def test_what_would_divide_is_refused(tmp_path, option, value):
    pd.DataFrame({"a": np.arange(200.0) % 7}).to_csv(tmp_path / "own.csv", index=False)
    options = {"path": str(tmp_path / "own.csv"), "window": 5, "protocol": "literature", option: value}
    with refused(rf"{option} = '{value}' divides what `protocol: literature` leaves undivided, expected "):
        load_splits(DatasetSpec("csv", tuple(sorted(options.items()))), 0)


def test_a_refused_option_is_named_with_its_sweep_file(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("datasets: [{name: sines, series: 60, protocol: literature, gap: T}]\nmethods: [time_vae]\n")
    with refused(rf"^{re.escape(str(path))}: sines.*: gap = 'T' divides what .* undivided, expected 0$"):
        read_sweep(path)


def test_the_published_sines_are_scored_on_their_own_scale():
    splits = load_splits(spec(), 0)
    values = splits.train * splits.scale + splits.mean
    assert splits.train.shape == (60, 24, 5)
    assert 0.5 <= values.min() < 0.6 < 0.9 < values.max() <= 1  # (1 + sin) / 2 of angles from 0 to 2.4
    low, span = zero_and_span(splits.train, splits.zero_one)
    np.testing.assert_allclose((splits.train - low) / span, values, rtol=1e-5)
    assert load_splits(spec(), 1).sha256 != splits.sha256


# ---------------------------------------------------------------- the rows that no published table prints


def test_references_are_those_of_the_protocol():
    assert references_of(make_splits()) == list(REFERENCES)
    names = ["half_against_half", "floor_noise", "memorised", "constant_mean", "gaussian_fit"]
    assert references_of(load_splits(spec(), 0)) == names
    assert references_of(noisy()) == [*references_of(load_splits(spec(), 0)), "noise_redrawn"]
    runs = read_sweep("literature", Selection(datasets=(spec(),), seeds=(0,))).runs
    assert [each.label for each in runs if each.kind == "reference"] == references_of(load_splits(spec(), 0))


def test_noise_that_is_drawn_anew_leaves_everything_else():
    splits = noisy()
    reference, samples = EVERY_REFERENCE["noise_redrawn"](splits, 50, np.random.default_rng(0))
    assert len(reference) == len(samples) == 50
    known = {window.tobytes() for window in splits.train[:, :, :2].copy()}
    assert all(window.tobytes() in known for window in samples[:, :, :2].copy())
    assert np.abs(samples[:, :, 2] - samples[:, :, 3]).mean() > 0.5  # each by itself
    assert set(samples[:, :, 3].ravel()) <= set(splits.train[:, :, 3].ravel())
    assert (splits.train[:, :, 2] == splits.train[:, :, 3]).all()  # nothing was written into the data


def test_a_memoriser_and_half_against_half_are_at_the_null_and_redrawn_noise_is_found(monkeypatch):
    monkeypatch.setattr(discriminative, "TIMEGAN_STEPS", 50)
    monkeypatch.setattr(discriminative, "STEPS", 250)
    splits, config = noisy(), EvaluateConfig(n_samples=400, round=False)

    def score(reference: str, metric: str) -> float:
        (row,) = score_reference(reference, splits, config, Scope("tiny", 0), [metric])
        return row["value"]

    # 40 or 80 windows of either kind are judged: chance alone gives .04 or .03 on average, and .1 is far above it
    assert score("half_against_half", "discriminative.timegan") < 0.1
    assert score("memorised", "discriminative.timegan") < 0.1
    assert score("memorised", "discriminative") < 0.1
    assert score("noise_redrawn", "discriminative") > 0.2


def test_copies_are_undefined_where_nothing_is_held_out():
    for row in score_reference("memorised", noisy(60), EvaluateConfig(), Scope("tiny", 0), ["copies", "authenticity"]):
        assert (row["status"], row["reason"].partition(":")[0]) == ("undefined", "nothing is held out")


def test_a_constant_reaches_the_predictive_score_of_pure_noise(monkeypatch):
    """Energy's last channel is uniform noise: the best forecast is its middle, with an error of a quarter."""
    monkeypatch.setattr(predictive, "TIMEGAN_STEPS", 200)
    splits, config = noisy(), EvaluateConfig(n_samples=400, round=False)
    for name in ("constant_mean", "memorised"):
        (row,) = score_reference(name, splits, config, Scope("tiny", 0), ["predictive.timegan"])
        assert row["value"] == pytest.approx(0.25, abs=0.02)


# ---------------------------------------------------------------- the scores


def test_the_published_judge_is_tensorflows_cell():
    """Its equations, written again one step at a time for one network."""
    network = PublishedRecurrent(np.random.default_rng(0), 3, 4, 5, 2)
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((3, 6, 7, 4)).astype(np.float32))
    found = network(x)[1].detach()
    gates, state, output = (getattr(network, name)[1].detach() for name in ("gates", "state", "output"))
    assert network.gates_bias.unique().tolist() == [1]
    assert float(gates.abs().max()) <= math.sqrt(6 / (9 + 10))
    h = torch.zeros(6, 5)
    for t in range(7):
        joined = torch.cat([x[1, :, t], h], dim=1)
        reset, keep = (joined @ gates + 1).sigmoid().chunk(2, dim=1)
        new = (torch.cat([x[1, :, t], reset * h], dim=1) @ state).tanh()
        h = keep * h + (1 - keep) * new
        torch.testing.assert_close(found[:, t], h @ output)


@pytest.mark.parametrize("dilation", [1, 2, 5, 6, 64])
def test_the_encoders_convolutions_are_convolutions(dilation):
    layer = ts2vec.Convolution(np.random.default_rng(0), 3, 4, dilation)
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 6, 3)).astype(np.float32))
    known = layer.convolution.weight, layer.convolution.bias
    padded = nn.functional.conv1d(x.transpose(1, 2), *known, padding=dilation, dilation=dilation)
    torch.testing.assert_close(layer(x), padded.transpose(1, 2))


def test_the_hierarchical_loss_is_its_sums():
    """Every pair of the two contrasts, with exponentials that are summed one by one."""
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 3, 4, 5))

    def contrast(own: np.ndarray, partner: np.ndarray, others: list[np.ndarray]) -> float:
        return -math.log(math.exp(own @ partner) / sum(math.exp(own @ other) for other in [partner, *others]))

    def scale(a: np.ndarray, b: np.ndarray) -> float:
        n, steps, _ = a.shape
        of_windows, of_steps = [], []
        for i in range(n):
            for t in range(steps):
                for own, twin in ((a, b), (b, a)):
                    windows = [w[j, t] for w in (own, twin) for j in range(n) if j != i]
                    of_windows.append(contrast(own[i, t], twin[i, t], windows))
                    others = [w[i, s] for w in (own, twin) for s in range(steps) if s != t]
                    of_steps.append(contrast(own[i, t], twin[i, t], others) if steps > 1 else 0.0)
        return (np.mean(of_windows) + np.mean(of_steps)) / 2

    total = scale(first, second)
    halved = [w.reshape(3, 2, 2, 5).max(axis=2) for w in (first, second)]
    total += scale(*halved)
    total += scale(*(w.max(axis=1, keepdims=True) for w in halved))
    found = ts2vec.hierarchical_loss(*(torch.from_numpy(w) for w in (first, second)))
    assert float(found) == pytest.approx(total / 3, rel=1e-6)


def test_the_published_context_fid_averages_over_encoders_and_sees_another_law(monkeypatch):
    monkeypatch.setattr(ts2vec, "FEWER_STEPS", 20)
    monkeypatch.setattr(ts2vec, "DEPTH", 2)
    monkeypatch.setattr(context_fid, "RESTARTS", 2)
    monkeypatch.setattr(context_fid, "_ENCODERS", {})
    monkeypatch.setattr(context_fid, "_MOMENTS", {})
    rng = np.random.default_rng(0)
    real, again = (rng.standard_normal((100, 6, 2)).cumsum(axis=1).astype(np.float32) for _ in range(2))

    def measured(samples: np.ndarray):
        at = SampleEvaluation(real, samples, real, lambda role: numpy_generator("test", 0, role))
        (row,) = METRICS["context_fid.diffusion_ts"]().measure(at)
        return row

    same, close, far = measured(real), measured(again), measured(again[:, ::-1].copy() * 0.5)
    assert same.value == pytest.approx(0, abs=1e-4)
    assert close.value < far.value
    assert close.sd > 0  # over encoders
    assert len(context_fid._ENCODERS) == 2


# ---------------------------------------------------------------- samples in the literature's form


@pytest.mark.usefixtures("inline")
def test_samples_on_the_literatures_scale_come_back_as_they_were(tmp_path, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(
        "name: tiny\n"
        "datasets: [{name: sines, form: timegan, channels: 5, series: 60, protocol: literature}]\n"
        "methods: [latent_diffusion]\nseeds: 1\nmodel: {hidden: 8, latent: 4}\n"
        "train: {steps: 4, batch_size: 8}\ndiffusion: {L: 20, steps: 4, batch_size: 8, hidden: 8}\n"
        "evaluate: {n_samples: 40, metrics: [mmd2], during_training: 0, round: false}\n"
    )
    results = tmp_path / "results"
    words = ["--grid", str(tmp_path / "tiny.yaml"), "--results", str(results), "--jobs", "1", "--quiet"]
    assert run.main([*words, "--save-samples", "minmax"]) == 0
    (path,) = (results / "samples").iterdir()
    saved = np.load(path)
    assert (path.suffix, saved.shape) == (".npy", (40, 24, 5))
    kept = load_samples(results, path.stem)
    raw = kept["samples"] * kept["scale"] + kept["mean"]
    np.testing.assert_allclose(saved, raw, rtol=1e-5)  # of this data set 0 and 1 are 0 and 1
    seen = []
    monkeypatch.setattr(
        "bench.engine.evaluation.score_beside_references", lambda _, samples, *__: seen.append(samples) or []
    )
    monkeypatch.setattr("bench.engine.evaluation.print_rows", lambda _: None)
    dataset = "sines,form=timegan,channels=5,series=60,protocol=literature"
    given = ["--samples", str(path), "--dataset", dataset, "--scale", "minmax", "--metrics", "mmd2"]
    assert evaluate.main(given) == 0
    assert (seen[0] == kept["samples"]).all()
    runs, _ = load_results(results)
    assert sorted(runs.label) == sorted(["latent_diffusion", *references_of(load_splits(spec(), 0))])


# ---------------------------------------------------------------- the table of the report


def protocol_runs(dataset: str = KEY, label: str = "latent_diffusion") -> list[dict]:
    runs = [report_data.run_row(label, dataset, seed) for seed in (0, 1)]
    return runs + [report_data.run_row("gaussian_fit", dataset, seed, kind="reference") for seed in (0, 1)]


def selection_of(runs: list[dict], tmp_path, n: int = 2000):
    frame, metrics, curves = report_data.frames(runs)
    rows = [
        {
            "run_id": row["run_id"], "metric": metric, "version": 1, "split": "test", "train_step": -1,
            "coordinate": "", "index": math.nan, "metric_seed": 0, "value": 0.2 + 0.1 * row["seed"], "sd": 0.01,
            "n": n, "status": "ok", "reason": "", "metric_code": "",
        }
        for row in runs for metric in SCORES.values()
    ]  # fmt: skip
    metrics = pd.concat([metrics.astype({"metric": str}), pd.DataFrame(rows)], ignore_index=True)
    known = report_data.membership(runs)
    return report_data.select(frame, report_data.coded(metrics), report_data.reader(curves), known, tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_the_table_holds_published_rows_ours_and_those_that_nobody_prints(tmp_path):
    report = build(selection_of(protocol_runs(), tmp_path), report_data.FACTS, made="now")
    (table,) = report.published
    assert table.dataset == "energy"
    assert table.caution == ""
    published = {row.method: row for row in table.of("published")}
    assert published["Diffusion-TS"].cells == ["0.122 ± 0.003", "0.250 ± 0.000", "0.089 ± 0.024", "0.856 ± 0.147"]
    assert published["Diffusion-TS"].origin == "Yuan and Qiao 2024, table 1"
    assert published["RCGAN"].cells[2] == "-"  # not in that paper
    (ours,), (gaussian,) = table.of("this benchmark"), table.of("reference")
    assert ours.method == "latent_diffusion"
    assert ours.cells[0].startswith("0.25 ± ")
    assert ours.cells[0].endswith("(restarts ± 0.0124)")  # 2.776 * .01 / sqrt(5)
    assert gaussian.method == "gaussian_fit"
    page = write(report, tmp_path / "report").read_text(encoding="utf-8")
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    for words in ("Diffusion-TS", "0.122 ± 0.003", "Published: other code, other budgets"):
        assert words in page
    assert PUBLISHED_ROWS in page
    (line,) = [line for line in text.splitlines() if line.startswith("| published | Diffusion-TS |")]
    assert re.search(r"0\.122 ± 0\.003", line)
    assert "| this benchmark | latent\\_diffusion |" in text
    assert "Budget of the generators: of Diffusion-TS in the code" in text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "dataset", ["energy", "energy,noise_channels=True", "energy,protocol=literature", "sines,protocol=literature"]
)
def test_other_data_have_no_published_rows(tmp_path, dataset):
    assert build(selection_of(protocol_runs(dataset), tmp_path), report_data.FACTS).published == []


@pytest.mark.usefixtures("undrawn")
def test_fewer_windows_are_said_and_names_are_text(tmp_path):
    report = build(selection_of(protocol_runs(label="<b>mine</b> | x"), tmp_path, n=300), report_data.FACTS, made="now")
    (table,) = report.published
    assert table.caution.startswith("Ours are on 300 of 2,000 windows")
    page = write(report, tmp_path / "report").read_text(encoding="utf-8")
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "<b>mine</b>" not in page
    assert "Ours are on 300 of 2,000 windows" in page
    assert "| this benchmark | \\<b\\>mine\\</b\\> \\| x |" in text


def test_the_sweep_asks_for_the_data_that_published_rows_are_of():
    sweep = read_file(find_sweep("literature"))
    entries = [{"name": entry.name, **(entry.model_extra or {})} for entry in sweep.datasets]
    table = pd.read_csv(Path(bench.report.__file__).with_name("published_datasets.csv"))
    assert [dataset_spec(entry, "literature").key for entry in entries] == table["key"].tolist()
    assert set(SCORES.values()) < set(sweep.evaluate["metrics"])
    assert sweep.evaluate["n_samples"] >= 19_712  # all windows of the largest set
