"""Published results: the same numbers in one part, a report per sweep, and nothing else touched."""

import pandas as pd
import pytest
from report_data import curve_rows, metric_rows, quick_runs, run_row

from bench.contracts import InputError
from bench.publish import main
from bench.store import Store, load_curves, load_memberships, load_results, spelled
from bench.store.publication import without_places


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
    with monkeypatch.context() as patch:
        patch.setattr("bench.report.report.all_pictures", lambda *_: [])  # the second time they are drawn
        assert main(["--results", str(results), "--out", str(out)]) == 0
    (out / "FINDINGS.md").write_text("what was found")
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


def test_one_sweep_only(results, tmp_path):
    out = tmp_path / "published"
    assert main(["--results", str(results), "--out", str(out), "--sweep", "second"]) == 0
    assert len(load_results(out)[0]) == 3
    with pytest.raises(InputError, match="--sweep third: no such sweep"):
        main(["--results", str(results), "--out", str(out), "--sweep", "third"])


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
