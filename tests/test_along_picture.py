"""Metrics along the diffusion: a bound is a dashed line beside the values that it bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from report_data import FACTS, frames, membership, quick_runs, reader, select

from bench.report.cells import cells_of
from bench.report.figures.along import along
from bench.report.figures.lines import Line
from bench.report.figures.panels import Panel, _panels, cut_limits
from bench.report.figures.picture import Picture, drawn
from bench.report.figures.style import Styles
from bench.report.ranking import groups_of

VALUES = {"latent_diffusion": (0.0, 0.0, 0.0), "proposed": (4.0, 2.0, 0.5)}
CAPACITY = (12.0, 2.5)  # at i = 10 and 500; infinite at 0


def picture(capacity_of_proposed: tuple[float, float] = CAPACITY) -> Picture:
    runs = quick_runs(("energy",), seeds=2, shuffles=(False,), labels=tuple(VALUES))
    frame, metrics, curves = frames(runs)
    methods = frame[frame["kind"] == "method"]
    template = metrics.iloc[0].to_dict() | {"train_step": -1, "coordinate": "diffusion_step", "status": "ok"}
    rows = []
    for run, label in zip(methods["run_id"], methods["label"], strict=True):
        capacity = capacity_of_proposed if label == "proposed" else CAPACITY
        for name, points in (
            ("noised_information", zip((0, 10, 500), VALUES[label], strict=True)),
            ("noised_information_capacity", zip((10, 500), capacity, strict=True)),
        ):
            rows += [template | {"run_id": run, "metric": name, "index": i, "value": value} for i, value in points]
    metrics["metric"], metrics["coordinate"] = metrics["metric"].astype(str), metrics["coordinate"].astype(str)
    chosen = select(frame, pd.concat([metrics, pd.DataFrame(rows)]), reader(curves), membership(runs), Path("results"))
    (found,) = along(chosen, groups_of(cells_of(chosen), FACTS), Styles(list(VALUES)), FACTS)
    return found


def test_the_capacity_is_a_dashed_line_and_no_method() -> None:
    found = picture()
    figure = Figure(figsize=found.size)
    found.make(figure)
    (ax,) = (ax for ax in figure.axes if ax.get_visible())
    assert ax.get_title() == "nats from the noised latent"
    (bound,) = (line for line in ax.lines if line.get_linestyle() == "--" and line.get_color() == "0.35")
    assert [list(map(float, values)) for values in bound.get_data()] == [[10, 500], list(CAPACITY)]
    assert ax.get_ylim() == pytest.approx((-0.4, 4.4))  # 12 would flatten the values
    assert "capacity of the noise" in found.caption
    assert drawn(found).png.startswith(b"\x89PNG")


def test_every_horizontal_axis_is_labelled_and_no_vertical_label_is_cut_off() -> None:
    lines = [Line("a", {}, np.arange(3.0), np.arange(3.0), np.zeros(3), np.zeros(3), np.zeros(3, dtype=bool))]
    panels = [Panel(f"panel {k}", "nats per value (probability of its cell)", lines) for k in range(4)]
    figure = Figure(figsize=(11.0, 5.6))
    _panels(figure, panels, "update", [])
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_xlabel() for ax in shown] == ["update"] * 4
    assert all("\n" in ax.get_ylabel() for ax in shown)
    assert min(ax.yaxis.get_tightbbox(FigureCanvasAgg(figure).get_renderer()).x0 for ax in shown) >= 0


def test_the_end_of_a_curve_is_cut_only_where_it_is_far_beyond_the_rest() -> None:
    def panel(*curves: np.ndarray) -> Panel:
        style = {"color": "black"}
        zeros, no = np.zeros(50), np.zeros(50, dtype=bool)
        return Panel("", "", [Line("a", style, np.arange(50.0), curve, zeros, zeros, no) for curve in curves])

    rising = np.linspace(0, 1, 50) ** 4
    limits = cut_limits(panel(rising, 0 * rising))
    assert limits is not None
    assert limits[1] > 1
    diverging = np.linspace(0, 1, 50) ** 60
    limits = cut_limits(panel(100 * diverging, rising))
    assert limits is not None
    assert 1 < limits[1] < 10
    figure = Figure()
    _panels(figure, [panel(100 * diverging, rising)], "update", [])
    assert [line.get_ydata()[0] for line in figure.axes[0].lines if line.get_marker() == "^"] == [limits[1]]
    assert cut_limits(Panel("", "", [])) is None


def test_of_several_capacities_the_largest_is_drawn() -> None:
    found = picture(capacity_of_proposed=(6.0, 4.0))  # another L, or another scale of the latent
    figure = Figure(figsize=found.size)
    found.make(figure)
    (ax,) = (ax for ax in figure.axes if ax.get_visible())
    (bound,) = (line for line in ax.lines if line.get_color() == "0.35")
    assert list(bound.get_ydata()) == [12.0, 4.0]
