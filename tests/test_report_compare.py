import re

import pytest
from report_data import frames, membership, quick_runs, reader, run_row, select

from bench import compare as verb
from bench.contracts import InputError
from bench.report import comparison
from bench.store import Store


def side(runs, folder, shift=None, version=None):
    frame, metrics, curves = frames(runs)
    for metric, by_seed in (shift or {}).items():
        for run in runs:
            here = (metrics["run_id"] == run["run_id"]) & (metrics["metric"] == metric)
            metrics.loc[here, "value"] += by_seed[run["seed"]]
    if version:
        metrics.loc[metrics["metric"] == version, "version"] = 2
    return select(frame, metrics, reader(curves), membership(runs), folder)


def test_the_same_folder_is_identical(tmp_path):
    runs = quick_runs(("energy",), seeds=2, shuffles=(False,))
    found = comparison.compare(side(runs, tmp_path), side(runs, tmp_path))
    assert {change.word for change in found.changes} == {"identical"}
    assert (found.notes, found.only_a, found.only_b) == ([], [], [])


def test_what_changed_is_found_and_what_is_noise_is_not(tmp_path):
    runs = [run_row("proposed", seed=seed) for seed in range(4)]
    shift = {
        "mmd2": [-0.010, -0.011, -0.009, -0.010],  # clearly better
        "wasserstein": [0.4, -0.5, 0.3, -0.3],  # noise
    }
    found = comparison.compare(side(runs, tmp_path), side(runs, tmp_path, shift))
    words = {change.metric: change.word for change in found.changes}
    assert words["mmd2"] == "lower in B"
    assert words["wasserstein"] == "not resolved"
    assert words["sliced_wasserstein"] == "identical"
    change = next(change for change in found.changes if change.metric == "mmd2")
    assert change.difference.mean == pytest.approx(-0.01)


def test_values_of_other_windows_are_no_pairs(tmp_path):
    runs = [run_row("proposed", seed=seed) for seed in range(3)]
    others = [{**run, "data_sha256": "ff" * 32 if run["seed"] else run["data_sha256"]} for run in runs]
    found = comparison.compare(side(runs, tmp_path), side(others, tmp_path, {"mmd2": [0.5, 0.51, 0.52]}))
    change = next(change for change in found.changes if change.metric == "mmd2")
    assert (change.word, change.difference.n, change.b.n) == ("one shared seed", 1, 3)


def test_differing_ingredients_versions_and_cells_are_named(tmp_path):
    a = [run_row("proposed", seed=seed) for seed in (0, 1)]
    b = [{**run_row("proposed", seed=seed, **{"train.steps": 1000.0}), "data_sha256": "ff" * 32} for seed in (0, 1)]
    b += [{**run_row("kl_annealing"), "data_sha256": "ff" * 32}]
    b[1]["status"] = "diverged"
    found = comparison.compare(side(a, tmp_path), side(b, tmp_path, version="mmd2"))
    notes = "\n".join(found.notes)
    for text in (
        "mmd2: version 1 in A, 2 in B: not compared",
        "train.steps: 500 in A, 1000 in B: energy · lstm: proposed",
        "the data differ",
        "ok 2/2 in A, diverged 1/2, ok 1/2 in B",
    ):
        assert text in notes
    assert [comparison.name_of(key) for key in found.only_b] == ["energy · lstm: kl_annealing"]
    assert "mmd2" not in {change.metric for change in found.changes}
    assert {change.word for change in found.changes} == {"no shared seed"}  # other windows


def test_numbers_that_one_side_lacks_are_named(tmp_path):
    runs = [run_row(label, seed=seed) for seed in range(3) for label in ("latent_diffusion", "proposed")]
    frame, metrics, curves = frames(runs)
    first = [run["run_id"] for run in runs if run["seed"] == 0]
    lost = (metrics["metric"] == "mmd2") | ((metrics["metric"] == "kl") & metrics["run_id"].isin(first))
    a, b = (select(frame, table, reader(curves), membership(runs), tmp_path) for table in (metrics, metrics[~lost]))
    notes = ["kl: 3 seeds in A, 2 in B, 2 in both: 2 cells", "mmd2: 3 seeds in A, 0 in B, 0 in both: 2 cells"]
    assert comparison.compare(a, b).notes == notes
    assert comparison.compare(b, a).notes == [
        "kl: 2 seeds in A, 3 in B, 2 in both: 2 cells",
        "mmd2: 0 seeds in A, 3 in B, 0 in both: 2 cells",
    ]
    assert comparison.compare(b, b).notes == []
    compared = {change.metric for change in comparison.compare(a, b).changes}
    assert "mmd2" not in compared
    assert "kl" in compared


def test_an_edited_metric_is_not_compared(tmp_path):
    runs = [run_row("proposed", seed=seed) for seed in range(3)]
    frame, metrics, curves = frames(runs)
    code = (metrics["metric"] == "mmd2").map({True: "edited", False: ""})
    edited = select(frame, metrics.assign(metric_code=code), reader(curves), membership(runs), tmp_path)
    found = comparison.compare(side(runs, tmp_path), edited)
    assert found.notes == ["mmd2: the code of this metric differs between A and B: not compared"]
    assert "mmd2" not in {change.metric for change in found.changes}


@pytest.mark.parametrize("equal", [[0.1, 0.1], [-0.25, -0.25 - 1e-15]])
def test_two_equal_differences_are_no_evidence(tmp_path, equal):
    runs = [run_row("proposed", seed=seed) for seed in (0, 1)]
    found = comparison.compare(side(runs, tmp_path), side(runs, tmp_path, {"mmd2": equal, "wasserstein": [0.10, 0.11]}))
    words = {change.metric: change.word for change in found.changes}
    assert words["mmd2"] == "not resolved: no variance over 2 seeds"
    assert words["wasserstein"] == "higher in B"
    assert words["sliced_wasserstein"] == "identical"


def test_references_do_not_train(tmp_path):
    """Their rows state the training settings of the sweep that asked for them first, and these say nothing."""
    references = [run_row("floor_shift", seed=seed, kind="reference") for seed in (0, 1)]
    other = [{**row, "train.steps": 500.0 + row["seed"], "training_version": 2} for row in references]
    a, b = (side([*rows, run_row("proposed")], tmp_path) for rows in (references, other))
    found = comparison.compare(a, b)
    assert (found.only_a, found.only_b, found.notes) == ([], [], [])
    moved = [{**row, "data_sha256": "ff" * 32} for row in references]
    assert "the data differ" in "\n".join(comparison.compare(a, side([*moved, run_row("proposed")], tmp_path)).notes)


def test_command(tmp_path, capsys):
    for name, seeds in (("a", 2), ("b", 3)):
        runs = [run_row("proposed", seed=seed) for seed in range(seeds)]
        store = Store(tmp_path / name)
        store.prepare()
        _, metrics, _ = frames(runs)
        store.write_part("part", runs, metrics.to_dict("records"))
        store.write_membership("quick", {run["run_id"]: "proposed" for run in runs})
    assert verb.main([str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    out = capsys.readouterr().out
    assert "identical" in out
    assert "alive 2/2 in A, alive 3/3 in B" in out
    assert verb.main([str(tmp_path / "a"), str(tmp_path / "b"), "--all"]) == 0
    assert "energy · lstm: proposed  mmd2" in capsys.readouterr().out
    with pytest.raises(InputError, match="nowhere: no results there"):
        verb.main([str(tmp_path / "a"), str(tmp_path / "nowhere")])


def test_numbers_of_different_windows_are_not_compared(tmp_path, capsys):
    runs = [run_row("proposed", seed=seed) for seed in (0, 1)]
    rows = frames(runs)[1].to_dict("records")
    of_validation = [{**row, "split": "validation", "value": row["value"] + 1} for row in rows]
    for name, measured in (("a", rows), ("b", of_validation), ("both", [*rows, *of_validation])):
        store = Store(tmp_path / name)
        store.prepare()
        store.write_part("part", runs, measured)
    a, b, both = (str(tmp_path / name) for name in ("a", "b", "both"))
    with pytest.raises(InputError, match=r"a has numbers of test windows, .*b of validation windows: .*--split"):
        verb.main([a, b])
    with pytest.raises(InputError, match=r"b has numbers of validation windows, .*both of test windows"):
        verb.main([b, both])
    assert verb.main([b, both, "--split", "validation"]) == 0
    assert re.search(r"^\d+ numbers compared: \d+ identical\.$", capsys.readouterr().out, re.MULTILINE)
