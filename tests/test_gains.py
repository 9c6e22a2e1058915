"""Where a contrast holds: its differences beside the gains of the data, their rank correlation, and its claim."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from report_data import FACTS, frames, membership, quick_runs, reader, select
from scipy import stats
from test_contrasts import LIVE, SKIP

from bench.report.claims import FILE
from bench.report.figures.picture import drawn
from bench.report.figures.points import mark_cut_ends, name_points
from bench.report.page import write
from bench.report.report import Report, build
from bench.report.statistics import Interval

pytestmark = pytest.mark.usefixtures("undrawn")
DATASETS = ("bike", "energy", "lattice", "pendigits", "regimes")


def report(gains: dict[str, float], gaps: dict[str, float], **words: object) -> Report:
    """Two seeds of two methods that differ by `gaps`, on data whose training windows have `gains`."""
    runs = quick_runs(tuple(gains), seeds=2, shuffles=(False,), labels=(LIVE.of, LIVE.against))
    frame, metrics, curves = frames(runs)
    known = frame.set_index("run_id")
    metrics["metric"] = metrics["metric"].astype(str)
    of_run = {name: metrics["run_id"].astype(str).map(known[name].to_dict()) for name in ("label", "dataset")}
    live = (of_run["label"] == LIVE.of) & (metrics["metric"] == "sliced_wasserstein")
    other = (of_run["label"] == LIVE.against) & (metrics["metric"] == "sliced_wasserstein")
    metrics.loc[live, "value"] = 0.3 + of_run["dataset"][live].map(gaps)
    metrics.loc[other, "value"] = 0.3
    floors = known[known["label"] == "floor_shift"]
    template = metrics[metrics["run_id"].astype(str) == floors.index[0]].iloc[:1]
    extra = [
        template.assign(run_id=run, metric="long_range_gain", value=gains[row["dataset"]] + 0.001 * row["seed"])
        for run, row in floors.iterrows()
    ]
    chosen = select(frame, pd.concat([metrics, *extra]), reader(curves), membership(runs), Path("results"))
    return build(dataclasses.replace(chosen, **{"contrasts": (LIVE,), **words}), FACTS)


def test_the_correlation_is_kendalls_over_data_sets() -> None:
    gains = dict(zip(DATASETS, (0.0, 0.1, 0.2, 0.3, 0.4), strict=True))
    gaps = dict(zip(DATASETS, (0.02, -0.01, -0.02, -0.05, -0.04), strict=True))
    (found,) = report(gains, gaps).gains
    orders = list(itertools.permutations(gaps.values()))
    taus = [stats.kendalltau(list(gains.values()), order).statistic for order in orders]
    assert found.correlation.tau == pytest.approx(-0.8)  # nine of ten pairs are in the opposite order
    assert found.correlation.p == pytest.approx(sum(abs(tau) >= 0.8 - 1e-9 for tau in taus) / len(taus))
    assert found.correlation.n == 5
    assert {name: point.difference.mean for name, point in found.points.items()} == pytest.approx(gaps)
    assert found.points["regimes"].gain.mean == pytest.approx(0.4005)


def test_data_sets_that_a_contrast_leaves_out_are_drawn_and_counted() -> None:
    gains = dict(zip(DATASETS, (0.0, 0.1, 0.2, 0.3, 0.4), strict=True))
    chosen = report(gains, {name: -gain for name, gain in gains.items()}, contrasts=(
        dataclasses.replace(LIVE, without=("regimes",)), SKIP
    ))  # fmt: skip
    (found,) = chosen.gains  # a secondary contrast has none
    assert "regimes" in found.points
    assert (found.correlation.tau, found.correlation.n) == (pytest.approx(-1), 5)
    picture = drawn(next(picture for picture in chosen.pictures if picture.name.startswith("gain-")))
    assert picture.section == "contrasts"
    assert "rank correlation" in picture.caption
    assert "Grey band" not in picture.caption  # no bound is stated
    texts = re.findall(r"<text[^>]*>([^<]*)<", picture.svg)
    assert f"negative: {LIVE.of} is better" in texts
    assert {"data set of the contrast", "not in the contrast (simulated)"} <= set(texts)
    assert set(DATASETS) <= set(texts)


def test_differences_that_do_not_matter_are_a_band() -> None:
    gains = dict(zip(DATASETS, (0.0, 0.1, 0.2, 0.3, 0.4), strict=True))
    chosen = report(gains, {name: -gain for name, gain in gains.items()}, equivalence={"sliced_wasserstein": 0.05})
    picture = drawn(next(picture for picture in chosen.pictures if picture.name.startswith("gain-")))
    assert "Grey band: differences below 0.0500 do not matter." in picture.caption
    assert "not in the contrast" not in picture.svg


def test_a_name_lies_on_no_bar_and_an_interval_that_goes_on_has_an_arrowhead() -> None:
    ax = Figure().subplots()
    ax.set_xlim(0, 10)
    ax.set_ylim(0, 10)
    narrow, wide = Interval(5, 4, 6, 1, 2), Interval(5, -20, 30, 10, 2)
    mark_cut_ends(ax, narrow, wide, "black")
    assert [(line.get_marker(), line.get_ydata()[0]) for line in ax.lines] == [("v", 0), ("^", 10)]
    name_points(ax, [("a", narrow, wide), ("b", Interval(5.2, 5, 5.4, 0.1, 2), narrow)], (400, 200))
    (a, b) = ax.texts
    assert a.get_position() != b.get_position()


def test_few_data_sets_and_equal_differences_have_no_correlation(tmp_path: Path) -> None:
    assert not report({"bike": 0.1, "energy": 0.2, "regimes": 0.3}, dict.fromkeys(DATASETS, -0.1)).gains
    alike = report({name: 0.1 * place for place, name in enumerate(DATASETS)}, dict.fromkeys(DATASETS, -0.1))
    assert alike.gains[0].correlation.p != alike.gains[0].correlation.p
    write(alike, tmp_path)
    row = pd.read_parquet(tmp_path / FILE).set_index("scope").loc["rank correlation with the gain of the data"]
    assert row["verdict"] == "undecided"


def test_the_correlation_is_a_claim(tmp_path: Path) -> None:
    gains = dict(zip(DATASETS, (0.0, 0.1, 0.2, 0.3, 0.4), strict=True))
    write(report(gains, {name: -gain for name, gain in gains.items()}), tmp_path)
    row = pd.read_parquet(tmp_path / FILE).set_index("scope").loc["rank correlation with the gain of the data"]
    assert (row["role"], row["n"], row["effect"], row["verdict"]) == ("exploratory", 5, pytest.approx(-1), "related")
    assert row["p"] == pytest.approx(2 / 120)
    assert "smaller" in row["statement"]
