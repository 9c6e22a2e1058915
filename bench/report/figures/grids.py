"""The pictures of a grid: heat maps over pairs of hyper-parameters, curves over single ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from bench.report.cells import Cell
from bench.report.columns import title_of
from bench.report.figures.heat_maps import heat_maps
from bench.report.figures.picture import Picture
from bench.report.figures.setting_curves import setting_curves
from bench.report.figures.style import Styles
from bench.report.ranking import Group

PAIRS = [("N", "M"), ("gamma", "eta")]
BUDGETS = ("train.steps", "diffusion.steps")


def numeric_settings(cells: Sequence[Cell]) -> list[str]:
    """The hyper-parameters with several values, all of them numbers, among these cells."""
    found = []
    for name in dict.fromkeys(name for cell in cells for name in cell.settings):
        values = {cell.settings.get(name) for cell in cells}
        if len(values) > 1 and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
            found.append(name)
    return found


Graded = tuple[str, str, Literal["lower", "higher", "none"]]
"""A metric, its title, and which values are better; none where nothing is ranked."""

USE = ("latent_information", "latent_information_second_half")
"""How much the decoder takes from the latent; not ranked, as nothing is that says so."""


def grid_metrics(group: Group) -> list[Graded]:
    """What a grid is coloured by: two quality columns, and the latent information where its bound is one."""
    quality: list[Graded] = [(c.metric, c.title, c.direction) for c in group.quality[:2] if c.direction != "none"]
    present = {column.metric for column in group.columns}
    bounds = {name: {m for cell in group.cells for m in cell.latents(name)} for name in USE if name in present}
    return [*quality, *((name, title_of(name), "none") for name, found in bounds.items() if len(found) < 2)]


def budget_metrics(group: Group) -> list[Graded]:
    """What is drawn against a number of updates: is the model trained, does it use its latent, are its samples good?"""
    columns = {column.metric: column.title for column in group.columns}
    first = next(iter(grid_metrics(group)), None)
    wanted: list[tuple[str, Literal["lower", "higher", "none"]]] = [
        ("validation_objective", "lower"),
        ("validation_denoising", "lower"),
        ("latent_information", "none"),
        ("c2st_auc", "lower"),
    ]
    found = [(name, columns[name], direction) for name, direction in wanted if name in columns]
    return found if first is None or first[0] == "c2st_auc" else [*found, first]


def grids(groups: Sequence[Group], styles: Styles) -> list[Picture]:
    """Heat maps over the paper's pairs of hyper-parameters, curves over any other."""
    pictures = []
    for group in groups:
        for label in dict.fromkeys(cell.label for cell in group.cells):
            cells = [cell for cell in group.cells if cell.label == label and cell.ok]
            free = numeric_settings(cells)
            pairs = [pair for pair in PAIRS if set(pair) <= set(free)]
            if len(free) == 2 and not pairs:
                pairs = [(free[0], free[1])]
            alone = [name for name in free if not any(name in pair for pair in pairs)]
            metrics = [m for m in grid_metrics(group) if any(cell.values.get(m[0]) for cell in cells)]
            if not metrics:
                continue
            for pair in pairs:
                pictures.append(heat_maps(group, label, cells, pair, metrics, len(free) > 2))
            for name in alone:
                seen = [m for m in budget_metrics(group) if any(cell.values.get(m[0]) for cell in cells)]
                chosen = seen if name in BUDGETS and seen else metrics
                pictures.append(setting_curves(group, label, cells, name, chosen, styles, len(free) > 1))
    return pictures
