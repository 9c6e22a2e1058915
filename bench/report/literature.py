"""Published numbers beside ours, for results that hold the protocol of the literature.

The published ones lie beside this file: `published.csv` has the numbers, `published_sources.csv` where they come from
and what was spent, and `published_datasets.csv` which data set of ours is the published one.
"""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal, NamedTuple

import numpy as np

from bench.report.cells import Cell
from bench.report.formatting import number
from bench.report.selection import Selection

SCORES = {
    "discriminative": "discriminative.timegan",
    "predictive": "predictive.timegan",
    "context_fid": "context_fid.diffusion_ts",
    "correlational": "correlational.diffusion_ts",
}
"""The score of a paper -> the measure that computes it as the published code does. All are better when lower."""

RESTARTS, T_QUANTILE = 5, 2.776  # of a published score, and Student's t at .975 with 4 degrees of freedom

Whose = Literal["published", "this benchmark", "reference"]


class Source(NamedTuple):
    """Where published numbers come from."""

    name: str
    paper: str
    version: str  # what was read
    budget: str  # of the generators
    repetitions: str  # behind the number after ±


class Row(NamedTuple):
    """One line: a published method, one of ours, or a row that no published table prints."""

    whose: Whose
    method: str
    origin: str  # the source with its table, or what ours cost
    cells: list[str]  # a text per score
    note: str = ""


@dataclass(frozen=True)
class PublishedTable:
    """One data set."""

    dataset: str
    rows: list[Row]
    sources: list[Source]
    caution: str  # "" where ours are on all windows

    def of(self, whose: Whose) -> list[Row]:
        """The rows of one kind."""
        return [row for row in self.rows if row.whose == whose]


def published_tables(selection: Selection, cells: Sequence[Cell]) -> list[PublishedTable]:
    """A table for every data set of the protocol of which a score was measured, in the order of the published ones."""
    spread = _spread_over_restarts(selection)
    found = []
    for place in _read("published_datasets.csv"):
        mine = [cell for cell in cells if cell.dataset == place["key"] and not cell.shuffle]
        mine = [cell for cell in mine if any(metric in cell.values for metric in SCORES.values())]
        if not mine:
            continue
        published = _published(place["dataset"])
        named = {row["source"] for row in _read("published.csv") if row["dataset"] == place["dataset"]}
        sources = [Source(*row.values()) for row in _read("published_sources.csv") if row["source"] in named]
        several = len({cell.backbone for cell in mine if cell.kind == "method"}) > 1
        ours = [_ours(cell, spread, several) for cell in sorted(mine, key=lambda cell: cell.kind != "method")]
        found.append(
            PublishedTable(place["dataset"], published + ours, sources, _caution(selection, place["key"], mine))
        )
    return found


@functools.cache
def _read(name: str) -> list[dict[str, str]]:
    with (resources.files("bench.report") / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _published(dataset: str) -> list[Row]:
    lines: dict[tuple[str, str], dict[str, str]] = {}
    notes: dict[tuple[str, str], list[str]] = {}
    for row in _read("published.csv"):
        if row["dataset"] == dataset:
            key = row["method"], f"{row['source']}, {row['table']}"
            lines.setdefault(key, {})[row["score"]] = f"{row['value']} ± {row['error']}"
            notes.setdefault(key, []).append(row["note"])
    return [
        Row(
            "published",
            *key,
            [cells.get(score, "-") for score in SCORES],
            "; ".join(dict.fromkeys(filter(None, notes[key]))),
        )
        for key, cells in lines.items()
    ]


def _ours(cell: Cell, spread: Mapping[tuple[str, str], float], several: bool) -> Row:
    texts = []
    for metric in SCORES.values():
        sds = [spread[run, metric] for run in cell.seeds if (run, metric) in spread]
        half = T_QUANTILE * float(np.mean(sds)) / math.sqrt(RESTARTS) if sds else math.nan
        judges = f" (restarts ± {number(half)})" if math.isfinite(half) else ""
        texts.append(f"{cell.text(metric)}{judges}")
    if cell.kind != "method":
        return Row("reference", cell.name, "no published table prints it", texts)
    seconds = cell.interval("train_seconds").mean + np.nan_to_num(cell.interval("denoiser_seconds").mean)
    weights = cell.interval("n_parameters").mean
    cost = f"{seconds:,.0f} s of training" if math.isfinite(seconds) else ""
    size = f"{round(weights):,} weights" if math.isfinite(weights) else ""
    name = f"{cell.name} ({cell.backbone})" if several else cell.name
    return Row("this benchmark", name, ", ".join(filter(None, [cost, size])), texts)


def _spread_over_restarts(selection: Selection) -> dict[tuple[str, str], float]:
    """(run, measure) -> the standard deviation over the restarts of its judge or encoder."""
    table = selection.metrics
    table = table[table["metric"].isin(list(SCORES.values())) & table["sd"].notna()]
    words = zip(table["run_id"].astype(str), table["metric"].astype(str), strict=True)
    return dict(zip(words, table["sd"].astype(float), strict=True))


def _caution(selection: Selection, key: str, cells: Sequence[Cell]) -> str:
    """That ours are on fewer windows than the protocol asks for, where they are."""
    runs = selection.runs
    windows = max((int(n) for n in runs.loc[runs["dataset"].astype(str) == key, "n_train"].dropna()), default=0)
    of_methods = [cell.series for cell in cells if cell.kind == "method"]
    measured = min((n for series in of_methods for metric, n in series.items() if metric in SCORES.values()), default=0)
    if measured in (0, windows):
        return ""
    return (
        f"Ours are on {measured:,} of {windows:,} windows, where the protocol takes all of them: these are not scores "
        "of the protocol."
    )
