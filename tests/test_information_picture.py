"""Information against quality, and against the share of the state: what is drawn, and what is left out."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from report_data import FACTS, frames, membership, quick_runs, reader, select

from bench.report.cells import cells_of
from bench.report.figures.agreement import agreement_pictures
from bench.report.figures.captions import short_names
from bench.report.figures.information import _panel, information_pictures
from bench.report.figures.picture import drawn
from bench.report.figures.style import Styles
from bench.report.formatting import number
from bench.report.ranking import Group, groups_of

INFORMATION = {"latent_diffusion": 0.1, "proposed": 3.0, "proposed + skip": 6.1}


def groups(information: dict[str, float]) -> list[Group]:
    runs = quick_runs(("bike", "energy"), seeds=2, labels=("latent_diffusion", "proposed", "proposed + skip", "other"))
    frame, metrics, curves = frames(runs)
    methods = frame[(frame["kind"] == "method") & frame["label"].isin(list(information))]
    template = metrics.iloc[:1].assign(train_step=-1, coordinate="", status="ok")
    extra = [
        template.assign(run_id=run, metric=metric, value=value)
        for run, label in zip(methods["run_id"], methods["label"], strict=True)
        for metric, value in (
            ("latent_information", information[label]),
            ("latent_information_bound", math.log(512)),
        )
    ]
    metrics["metric"] = metrics["metric"].astype(str)
    chosen = select(frame, pd.concat([metrics, *extra]), reader(curves), membership(runs), Path("results"))
    return groups_of(cells_of(chosen), FACTS)


def test_a_panel_has_every_method_above_its_floor() -> None:
    group = groups(INFORMATION)[0]
    panel = _panel(group, group.quality[0], Styles([cell.label for cell in group.cells]), "bike")
    marks = {mark.name: mark for mark in panel.marks}
    assert {name: mark.information.n for name, mark in marks.items()} == {**dict.fromkeys(INFORMATION, 2), "other": 0}
    assert [name for name, mark in marks.items() if mark.at_bound] == ["proposed + skip"]
    floor, cell = group.floor("sliced_wasserstein"), group.best_settings["proposed"]
    assert floor is not None
    quality = cell.interval("sliced_wasserstein").mean - floor.mean
    assert marks["proposed"].quality.mean == pytest.approx(quality)


def test_one_picture_of_the_ordered_data_sets() -> None:
    here = groups(INFORMATION)
    (picture,) = information_pictures(here, Styles([cell.label for group in here for cell in group.cells]))
    assert picture.alt.count("proposed + skip at least 6.10 nats") == 2
    assert picture.alt.count("other no latent") == 2
    assert "shuffled" not in picture.alt
    assert "A dashed horizontal line: a method without this number" in picture.caption
    assert drawn(picture).png.startswith(b"\x89PNG")


def test_methods_beyond_those_with_a_style_are_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.report.figures.captions.MOST_LINES", 1)
    here = groups(INFORMATION)
    styles = Styles([cell.label for group in here for cell in group.cells])
    panel = _panel(here[0], here[0].quality[0], styles, "bike")
    assert [mark.name for mark in panel.marks] == ["latent_diffusion"]
    # "other" has no latent
    assert [(label, nats) for label, nats, _ in panel.others] == [("proposed", 3.0), ("proposed + skip", 6.1)]
    (picture,) = information_pictures(here, styles)
    assert "The first 1 of 4 methods have intervals. Points with a letter: the means of the others" in picture.caption
    svg = drawn(picture).svg
    assert [svg.count(f">{label}<") for label in ("a: proposed", "b: proposed + skip", "others")] == [1, 1, 0]
    monkeypatch.setattr("string.ascii_lowercase", "a")  # more methods than letters
    (picture,) = information_pictures(here, styles)
    svg = drawn(picture).svg
    assert [svg.count(f">{label}<") for label in ("a: proposed", "b: proposed + skip", "others")] == [1, 0, 1]


def test_without_a_measured_information_there_is_no_picture() -> None:
    here = groups({})
    assert not information_pictures(here, Styles([cell.label for group in here for cell in group.cells]))


def test_the_share_of_the_state_beside_the_information() -> None:
    """A point per method and data set that has both; of one at its bound the information may be larger."""
    here = groups(INFORMATION)
    (picture,) = agreement_pictures(here, Styles([cell.label for group in here for cell in group.cells]))
    share = number(here[0].best_settings["proposed"].interval("dependency_end").mean)
    assert f"proposed on {here[0].dataset}: 3.00 nats, {share}" in picture.alt
    assert picture.alt.count("proposed + skip on ") == picture.alt.count(": at least 6.10 nats") == 2
    assert "other on" not in picture.alt
    assert "(can leave 0 to 1)" in drawn(picture).svg
    assert drawn(picture).png.startswith(b"\x89PNG")
    assert not agreement_pictures(groups({}), Styles([cell.label for group in here for cell in group.cells]))


def test_data_sets_of_one_name_are_told_apart_by_their_options() -> None:
    assert short_names(["energy,gap=T", "dialled_latent", "dialled_latent,information=0", "dialled_latent"]) == {
        "energy,gap=T": "energy",
        "dialled_latent": "dialled_latent",
        "dialled_latent,information=0": "information=0",
    }
