"""Published results: the same numbers in one part, a report per sweep, and nothing else touched."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from report_data import curve_rows, metric_rows, quick_runs, run_row

from bench.contracts import InputError
from bench.engine.evaluation import read_series
from bench.loading.cache import cache_folder
from bench.loading.latent_card import VERSION, LatentCard, kept_card
from bench.publish import main
from bench.report.figures.picture import drawn
from bench.store import Store, load_curves, load_memberships, load_results, spelled
from bench.store.publication import publish, without_places

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def results(tmp_path):
    """Two sweeps, and a run of neither."""
    store = Store(tmp_path / "results")
    store.prepare()
    runs = quick_runs(("energy",), seeds=2, shuffles=(False,), labels=("latent_diffusion", "proposed"))
    stray = run_row("no_latent")
    for place, run in enumerate([*runs, stray]):
        own = [{**row, "run_id": run["run_id"]} for row in metric_rows(run)]
        store.write_part(f"part-{place}", [run], own, curve_rows(run))
    labels = {run["run_id"]: run["label"] for run in runs}
    store.write_membership("first", labels, "all of them", "python -m bench.run --grid first --results out")
    store.write_membership("second", dict(list(labels.items())[:3]), "", "python -m bench.run --grid second")
    return store.path


def test_published_results_are_the_same_numbers(results, tmp_path, monkeypatch):
    out = tmp_path / "published"
    assert main(["--results", str(results), "--out", str(out)]) == 0
    (out / "FINDINGS.md").write_text("what was found")
    monkeypatch.setattr("bench.report.report.drawn", drawn)  # the second time pictures are drawn
    assert main(["--results", str(results), "--out", str(out)]) == 0  # again, in its place
    assert (out / "FINDINGS.md").exists()
    assert len(list(out.glob("runs/*.parquet"))) == 1
    wanted = set(load_memberships(out)[0].runs)
    for before, after in zip(
        [*load_results(results), load_curves(results)], [*load_results(out), load_curves(out)], strict=True
    ):
        before = before[before.run_id.isin(wanted)]
        order = [
            name for name in ("run_id", "metric", "train_step", "index", "stage", "term", "step") if name in before
        ]
        before, after = (spelled(table).sort_values(order, ignore_index=True) for table in (before, after))
        pd.testing.assert_frame_equal(before, after[list(before)])
    assert [(m.name, m.command) for m in load_memberships(out)] == [
        (m.name, without_places(m.command)) for m in load_memberships(results)
    ]
    for sweep in ("first", "second"):
        assert (out / "report" / sweep / "index.html").stat().st_size > 10_000


def test_a_run_that_ends_meanwhile_is_published_next_time(results, tmp_path, monkeypatch):
    sweep = Store(results).membership("second")
    late = {**run_row("proposed"), "run_id": "late"}
    tables = Store.results

    def meanwhile(store):
        found = tables(store)
        if store.path == results:
            point = {"run_id": "late", "step": 1, "stage": "autoencoder", "term": "kl", "value": 0.5}
            store.write_part("late", [late], [], [point])
        return found

    monkeypatch.setattr(Store, "results", meanwhile)
    publish(results, tmp_path / "out", [sweep._replace(runs={**sweep.runs, "late": "proposed"})])
    assert set(load_results(tmp_path / "out")[0].run_id) == set(sweep.runs)


def test_no_place_of_the_machine_is_published(results, tmp_path):
    secret = "/home/someone/secret"
    run = {**run_row("proposed", status="failed"), "run_id": "late", "reason": f"{secret}/p.csv: bad, in '{secret}/'"}
    run["traceback"] = f'File "{secret}/x.py"'
    failed = {"run_id": "late", "metric": "kl", "status": "failed", "reason": f"OSError: {secret}/q.npz (1/2)"}
    store = Store(results)
    store.write_part("late", [run], [{**failed, "version": 1, "value": np.nan}])
    given = f"python -m bench.run --grid {secret}/s.yaml --plugin ~/own/p.py --dataset table,path={secret}/a.csv"
    store.write_membership("third", {"late": "proposed"}, "", f"{given} --results {secret}")
    publish(results, tmp_path / "out", [store.membership("third")])
    runs, metrics = load_results(tmp_path / "out")
    assert runs[["reason", "traceback"]].values.tolist() == [["p.csv: bad, in 'secret'", ""]]
    assert metrics["reason"].tolist() == ["OSError: q.npz (1/2)"]
    (sweep,) = load_memberships(tmp_path / "out")
    assert sweep.command == "python -m bench.run --grid s.yaml --plugin p.py --dataset table,path=a.csv"


def test_one_sweep_only(results, tmp_path):
    out = tmp_path / "published"
    assert main(["--results", str(results), "--out", str(out), "--sweep", "second"]) == 0
    assert len(load_results(out)[0]) == 3
    with pytest.raises(InputError, match="--sweep third: no such sweep"):
        main(["--results", str(results), "--out", str(out), "--sweep", "third"])


def test_a_plugin_is_loaded_for_the_report(results, tmp_path):
    plugin, out = tmp_path / "mine.py", tmp_path / "published"
    plugin.write_text(f"open({str(tmp_path / 'loaded')!r}, 'w').close()\n")
    flags = ["--results", str(results), "--out", str(out), "--sweep", "second", "--plugin"]
    assert main([*flags, str(plugin)]) == 0
    assert (tmp_path / "loaded").exists()
    with pytest.raises(InputError, match=r"--plugin .*none\.py: no such file"):
        main([*flags, "none.py"])


def write_samples(folder, run_id, values, channels=("count", "degrees")):
    """A table as --save-samples writes it."""
    n, steps, _ = values.shape
    series, t = np.repeat(np.arange(n), steps), np.tile(np.arange(1, steps + 1), n)
    fields = [pa.field("series", pa.int64()), pa.field("t", pa.int64())]
    fields += [pa.field(name, pa.float64(), metadata={"unit": "1"}) for name in channels]
    table = pa.table([series, t, *values.reshape(n * steps, -1).T], schema=pa.schema(fields, {"run_id": run_id}))
    (folder / "samples").mkdir(exist_ok=True)
    pq.write_table(table, folder / "samples" / f"{run_id}.parquet")


def test_samples_of_one_run_of_each_method_are_published(results, tmp_path):
    runs, _ = load_results(results)
    runs = runs[runs.run_id.isin(set(load_memberships(results)[0].runs)) & (runs.kind == "method")]
    numbers = np.random.default_rng(0)
    drawn = {}
    for row in runs[~((runs.label == "proposed") & (runs.seed == 0))].itertuples():  # that one had no --save-samples
        counts = numbers.integers(0, 100, size=(20, 24, 1)) * 1.7 / 1.7 + 1e-9  # a scale was put on and taken off
        drawn[row.run_id] = np.concatenate([counts, numbers.uniform(-180, 180, size=(20, 24, 1))], axis=-1)
        write_samples(results, row.run_id, drawn[row.run_id])
    out = tmp_path / "published"
    assert main(["--results", str(results), "--out", str(out), "--sweep", "first", "--samples", "8"]) == 0
    published = {path.stem for path in out.glob("samples/*")}
    chosen = runs[runs.run_id.isin(published)]
    assert sorted(zip(chosen.label, chosen.seed, strict=True)) == [("latent_diffusion", 0), ("proposed", 1)]
    for run_id in published:
        values = read_series(out / "samples" / f"{run_id}.parquet", ["count", "degrees"])
        assert values.shape == (8, 24, 2)
        np.testing.assert_array_equal(values[..., 0], drawn[run_id][:8, :, 0].round())
        np.testing.assert_allclose(values[..., 1], drawn[run_id][:8, :, 1], atol=6e-5)
        schema = pq.read_schema(out / "samples" / f"{run_id}.parquet")
        assert schema.metadata[b"run_id"] == run_id.encode()
        assert schema.field("count").metadata == {b"unit": b"1"}
    # published again from a copy of what was published, and without samples
    again = tmp_path / "again"
    assert main(["--results", str(out), "--out", str(again), "--sweep", "first", "--samples", "8"]) == 0
    for run_id in published:
        first, second = (pd.read_parquet(folder / "samples" / f"{run_id}.parquet") for folder in (out, again))
        pd.testing.assert_frame_equal(first, second)
    assert main(["--results", str(out), "--out", str(again), "--sweep", "first"]) == 0
    assert not (again / "samples").exists()
    with pytest.raises(InputError, match="--samples -1: expected a whole number >= 0"):
        main(["--results", str(out), "--out", str(again), "--samples", "-1"])


def test_cards_that_are_known_are_published(results, tmp_path):
    """What the publishing machine has computed of the windows stands in the folder, and no older card does."""
    sha256 = load_results(results)[0].data_sha256.iloc[0]
    card = LatentCard(**dict.fromkeys((item.name for item in dataclasses.fields(LatentCard)), 0.5))
    kept = cache_folder() / "cards" / f"{sha256[:32]}-{VERSION}.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(dataclasses.asdict(card)))
    out = tmp_path / "out"
    publish(results, out, Store(results).memberships())
    assert kept_card([sha256], out) == card
    kept.unlink()
    assert kept_card([sha256], out) == card
    publish(results, out, Store(results).memberships())
    assert kept_card([sha256], out) is None


@pytest.mark.parametrize("known", [True, False])
def test_samples_of_restricted_and_of_unknown_data_are_not_published(results, tmp_path, monkeypatch, known):
    for run_id in load_results(results)[0].run_id:
        write_samples(results, run_id, np.ones((3, 24, 2)))
    if known:
        monkeypatch.setattr("bench.report.cards.restricted_datasets", lambda: {"energy"})
    else:  # as a plug-in's data set is, where the plug-in is not loaded
        monkeypatch.setattr("bench.registry.DATASETS", {"regimes": None})
    out = tmp_path / "published"
    assert main(["--results", str(results), "--out", str(out), "--sweep", "first", "--samples", "2"]) == 0
    assert not (out / "samples").exists()


def test_every_setting_has_its_own_samples(results, tmp_path):
    store = Store(tmp_path / "two")
    store.prepare()
    config = {"label": "proposed", "seed": 0, "dataset": {"name": "energy"}}
    runs = [run_row("proposed", config=json.dumps({**config, "hyper": {"N": n}})) for n in (1, 2)]
    for n, run in enumerate(runs):
        run["run_id"] = f"{n:016x}"
        store.write_part(f"part-{n}", [run], [{**row, "run_id": run["run_id"]} for row in metric_rows(run)], [])
        values = np.full((3, 24, 2), n + 0.5)
        values[0, 0, 0] = np.nan  # one value that is none does not change the others
        write_samples(store.path, run["run_id"], values)
    store.write_membership("grid", {run["run_id"]: "proposed" for run in runs})
    publish(store.path, tmp_path / "out", store.memberships(), 2, {"energy"})
    for n in (0, 1):
        table = pd.read_parquet(tmp_path / "out" / "samples" / f"{n:016x}.parquet")
        assert set(table["count"].dropna()) == {n + 0.5}


def test_a_damaged_table_of_samples_ends_with_one_line(tmp_path):
    (tmp_path / "samples").mkdir()
    with pytest.raises(InputError, match="no such file"):
        read_series(tmp_path / "samples" / "none.parquet", ["count"])
    (tmp_path / "samples" / "text.parquet").write_text("series,t\n")
    with pytest.raises(InputError, match="expected a parquet file"):
        read_series(tmp_path / "samples" / "text.parquet", ["count"])
    write_samples(tmp_path, "whole", np.arange(12.0).reshape(2, 3, 2))
    whole = tmp_path / "samples" / "whole.parquet"
    assert read_series(whole, ["degrees"]).tolist() == [[[1.0], [3.0], [5.0]], [[7.0], [9.0], [11.0]]]
    with pytest.raises(InputError, match="no column 'height': it holds series, t, count, degrees"):
        read_series(whole, ["height"])
    table = pd.read_parquet(whole)
    table.sample(frac=1, random_state=0).to_parquet(whole)  # in any order
    assert read_series(whole, ["degrees"])[1].tolist() == [[7.0], [9.0], [11.0]]
    table.iloc[:-1].to_parquet(whole)
    with pytest.raises(InputError, match="t: expected the same steps in every one of 2 series"):
        read_series(whole, ["degrees"])
    table.assign(degrees="cold").to_parquet(whole)
    with pytest.raises(InputError, match="degrees: expected numbers"):
        read_series(whole, ["degrees"])


def test_the_archive_of_an_older_version_stays(results, tmp_path):
    old = tmp_path / "published" / "archive-0.1" / "runs" / "published.parquet"
    old.parent.mkdir(parents=True)
    old.write_text("rows of another version")
    for _ in range(2):
        assert main(["--results", str(results), "--out", str(tmp_path / "published"), "--sweep", "second"]) == 0
    assert old.read_text() == "rows of another version"


def test_a_folder_of_something_else_is_left_alone(results, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "models").mkdir()
    with pytest.raises(InputError, match="holds models"):
        main(["--results", str(results), "--out", str(tmp_path / "precious")])
    (tmp_path / "thesis" / "report").mkdir(parents=True)
    (tmp_path / "thesis" / "report" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="holds report"):
        main(["--results", str(results), "--out", str(tmp_path / "thesis")])
    assert (tmp_path / "thesis" / "report" / "thesis.tex").exists()
    with pytest.raises(InputError, match="expected another folder"):
        main(["--results", str(results), "--out", str(results)])
    assert (results / "runs").is_dir()
