"""All data sets together: the estimators of scipy, intervals that hold, and which runs are counted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from report_data import FACTS, frames, membership, quick_runs, reader, select
from scipy.stats import mannwhitneyu, trim_mean

from bench.report.aggregates import aggregates, interquartile_mean, over_datasets
from bench.report.cells import cells_of
from bench.report.page import write
from bench.report.ranking import floor_of, groups_of
from bench.report.report import build


def drawn(seed: int, datasets: int = 6, seeds: int = 5, shift: float = 0.5) -> dict[str, dict[str, dict[int, float]]]:
    rng = np.random.default_rng(seed)
    return {
        f"data {k}": {
            "a": dict(enumerate(rng.normal(k, 1, seeds))),
            "b": dict(enumerate(rng.normal(k + shift, 1, seeds))),
        }
        for k in range(datasets)
    }


@pytest.mark.parametrize("seed", range(5))
def test_the_estimators_are_those_of_scipy(seed: int) -> None:
    scores = drawn(seed)
    found = aggregates(scores, against=["b"])
    assert found is not None
    assert (len(found.datasets), found.repeats) == (6, 5)
    by_name = {each.name: each for each in found.methods}
    a, b = (np.asarray([[*row[name].values()] for row in scores.values()]) for name in "ab")
    assert by_name["a"].mean.value == pytest.approx(trim_mean(a, 0.25, axis=None))
    below = [mannwhitneyu(theirs, ours).statistic / 25 for ours, theirs in zip(a, b, strict=True)]
    assert by_name["a"].better["b"].value == pytest.approx(np.mean(below))
    assert not by_name["b"].better
    assert [each.name for each in found.methods] == sorted(by_name, key=lambda name: by_name[name].mean.value)


def test_equal_values_count_half() -> None:
    found = aggregates({k: {"a": {0: 1.0, 1: 2.0}, "b": {0: 1.0, 1: 2.0}} for k in "xyz"}, against=["b"])
    assert found is not None
    assert {each.name: each.better for each in found.methods}["a"]["b"].value == 0.5


@pytest.mark.parametrize("n", [1, 3, 4, 7, 30])
def test_a_quarter_is_cut_from_either_end(n: int) -> None:
    values = np.random.default_rng(n).normal(size=(3, n))
    assert interquartile_mean(values) == pytest.approx(trim_mean(values, 0.25, axis=1))


def test_intervals_hold_what_more_seeds_would_give() -> None:
    """Of 10 seeds a data set: the value of infinitely many seeds lies in most intervals."""
    many = drawn(1, seeds=2000)
    mean = trim_mean(np.asarray([[*row["a"].values()] for row in many.values()]), 0.25, axis=None)
    below = [mannwhitneyu([*row["b"].values()], [*row["a"].values()]).statistic / 2000**2 for row in many.values()]
    better = np.mean(below)
    inside = np.zeros(2)
    for seed in range(60):
        found = aggregates(drawn(100 + seed, seeds=10), against=["b"])
        assert found is not None
        a = {each.name: each for each in found.methods}["a"]
        pairs = (a.mean, mean), (a.better["b"], better)
        inside += [span.low <= value <= span.high for span, value in pairs]
    assert (inside >= 0.85 * 60).all()  # of 95 %, in 60 repetitions


def test_only_complete_methods_and_as_many_repeats_everywhere_count() -> None:
    scores = drawn(3)
    del scores["data 1"]["b"][4]
    scores["data 0"]["rare"] = {0: 1.0, 1: 2.0}
    found = aggregates(scores)
    assert found is not None
    assert (len(found.datasets), found.repeats, found.left_out) == (6, 4, ["rare"])
    assert {each.name for each in found.methods} == {"a", "b"}
    del scores["data 0"]["b"], scores["data 2"]["a"]  # both have five of six, and four in common
    found = aggregates(scores)
    assert found is not None
    assert found.datasets == ["data 1", "data 3", "data 4", "data 5"]
    assert aggregates({name: scores[name] for name in ("data 0", "data 1", "data 3")}) is None  # a alone has all
    for name in ("data 1", "data 3", "data 4", "data 5"):
        scores[name]["one"] = scores[name]["a"]
    scores["data 6"] = {"a": {0: 0.0, 1: 1.0}}  # a alone has the most
    found = aggregates(scores)
    assert found is not None
    assert (len(found.methods), found.datasets) == (3, ["data 1", "data 3", "data 4", "data 5"])
    assert aggregates({name: {"a": row.get("a", {})} for name, row in scores.items()}) is None  # nothing to compare
    assert aggregates({}) is None


def test_options_of_one_data_set_are_one_and_backbones_are_apart() -> None:
    names = ("energy", "energy,window=12", "bike", "ecg")
    runs = quick_runs(names, seeds=2, labels=("latent_diffusion", "proposed"))
    frame, metrics, curves = frames(runs)
    groups = groups_of(cells_of(select(frame, metrics, reader(curves), membership(runs), Path("results"))), FACTS)
    (found,) = over_datasets(groups)
    assert found.datasets == ["bike", "ecg", "energy"]
    ordered = [group for group in groups if not group.shuffle]
    more = [dataclasses.replace(group, backbone="transformer") for group in ordered]
    assert [each.backbone for each in over_datasets([*groups, *more])] == [found.backbone, "transformer"]
    assert not over_datasets([group for group in groups if group.dataset.startswith("energy")])


def test_the_report_has_them_above_the_floor(tmp_path: Path, undrawn: None) -> None:
    runs = quick_runs(("bike", "energy", "regimes"), seeds=3, labels=("latent_diffusion", "proposed"))
    frame, metrics, curves = frames(runs)
    chosen = select(frame, metrics, reader(curves), membership(runs), tmp_path)
    groups = groups_of(cells_of(chosen), FACTS)
    (found,) = over_datasets(groups)
    assert (found.datasets, found.repeats, found.against) == (["bike", "energy", "regimes"], 3, ["latent_diffusion"])
    ordered = [group for group in groups if not group.shuffle]
    column = ordered[0].quality[0]
    above = []
    for group in ordered:
        floor = floor_of(group.references, column.metric)
        assert floor is not None
        cell = group.best_settings["proposed"]
        above += [value - floor.values[column.metric][seed] for seed, value in cell.values[column.metric].items()]
    mean = {each.name: each.mean.value for each in found.methods}["proposed"]
    assert mean == pytest.approx(trim_mean(above, 0.25))
    assert found.measure == f"{column.title} minus its floor"
    write(build(chosen, FACTS), tmp_path / "report")
    for page in ("index.html", "report.md"):
        text = (tmp_path / "report" / page).read_text()
        assert "All data sets together" in text
        assert found.methods[0].mean.text in text
