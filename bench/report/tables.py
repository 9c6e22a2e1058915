"""The tables of a report: the overview, the comparison tables, and their CSV and LaTeX files."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
from pyarrow import csv

from bench.report.cautions import cautions, is_reference, signed_name, signs
from bench.report.cells import Cell, verdict_of
from bench.report.formatting import counted, number, signed
from bench.report.ranking import Group, floor_of
from bench.report.statistics import NOTHING, Standing


class Mark(NamedTuple):
    """What the overview says of one method on one data set."""

    cell: Cell
    verdict: str
    value: str  # of the first quality column
    above_floor: str  # the same minus its floor; "" where there is none
    place: str
    signs: str  # of `bench.report.cautions`


def overview(groups: Sequence[Group]) -> dict[str, list[Mark | None]]:
    """Label -> a mark per group for its best setting there; None where the group lacks the label."""
    settings = [group.best_settings for group in groups]
    found: dict[str, list[Mark | None]] = {}
    for label in dict.fromkeys(label for cells in settings for label in cells):
        found[label] = []
        for group, cells in zip(groups, settings, strict=True):
            column, cell = next(iter(group.quality), None), cells.get(label)
            if cell is None:
                found[label].append(None)
                continue
            value = cell.text(column.metric) if column else "-"
            place = group.standings[column.metric][cell.id].place if column else "none"
            above = signed(group.above_floor(cell, column)) if column else ""
            found[label].append(Mark(cell, verdict_of(cell), value, above, place, signs(cell)))
    return found


WHOSE = ("dataset", "shuffle", "backbone", "kind", "label", "setting")
NUMBERS = ("metric", "mean", "low", "high", "sd", "seeds", "sd_over_metric_seeds", "series", "place")
HINTS = ("detectable", "more_seeds", "chance", "at_bound")
FLOOR = ("minus_floor", "minus_floor_low", "minus_floor_high", "floor", "mean_beside_test_blocks")
WORDS = ("verdict", "dependency_illusion", "caution")
"""The columns of the table of everything: whose a number is, the number, how it stands, what is said of the cell."""


def long_table(groups: Iterable[Group]) -> pd.DataFrame:
    """Every number of every comparison table, one row each."""
    wholes: list[tuple[Any, ...]] = []  # what is the same in all rows of a cell
    rows: list[tuple[Any, ...]] = []
    none = Standing("none")
    for group in groups:
        shown = {column.metric: column for column in group.columns}
        floors = {metric: floor_of(group.references, metric) for metric in shown}
        for cell in group.cells + group.references:
            words = counted(cell.verdicts), counted(cell.illusions), cautions(cell)
            for metric in [*shown, *sorted(cell.values.keys() - shown.keys())]:
                if metric in cell.values:
                    standing = group.standings.get(metric, {}).get(cell.id, none)
                    noise, series = cell.noise.get(metric, math.nan), cell.series.get(metric, 0)
                    place = standing.place, standing.detectable, *(standing.more or (None, math.nan))
                    above = group.above_floor(cell, shown[metric]) if metric in shown else NOTHING
                    floor = reference.label if above.n and (reference := floors[metric]) else ""
                    beside_test = cell.beside_test.get(metric, {}).values()
                    mean = sum(beside_test) / len(beside_test) if beside_test else math.nan
                    against = above.mean, above.low, above.high, floor, mean
                    hints = *place, cell.at_bound(metric)
                    rows.append((len(wholes), metric, *cell.interval(metric), noise, series, *hints, *against))
            wholes.append((cell.dataset, cell.shuffle, group.backbone, cell.kind, cell.label, cell.variant, *words))
    numbers = pd.DataFrame(rows, columns=["cell", *NUMBERS, *HINTS, *FLOOR]).astype({"cell": int})
    whole = pd.DataFrame(wholes, columns=[*WHOSE, *WORDS])
    return numbers.join(whole, on="cell")[[*WHOSE, *NUMBERS, *HINTS, *FLOOR, *WORDS]]


DIFFERENCE = (
    "difference",
    "low",
    "high",
    "repeats",
    "p_holm",
    "detectable",
    "equivalence_bound",
    "equivalence_p_holm",
)


def differences(groups: Iterable[Group]) -> pd.DataFrame:
    """Every comparison with a group's baseline in every quality column, one row each; low and high at Holm's level."""
    rows = []
    for group in groups:
        for column in group.quality:
            bound = group.equivalence.get(column.metric, math.nan)
            for cell, found in group.comparisons(column):
                gap, base = found.difference, group.baseline.name if group.baseline else ""
                whose = (group.dataset, group.shuffle, group.backbone, column.metric, cell.label, cell.variant, base)
                numbers = (
                    gap.mean,
                    gap.low,
                    gap.high,
                    gap.n,
                    found.p,
                    found.detectable,
                    bound,
                    found.equivalence_p,
                )
                rows.append((*whose, *numbers, found.verdict))
    whose_names = ("dataset", "shuffle", "backbone", "metric", "label", "setting", "against")
    return pd.DataFrame(rows, columns=[*whose_names, *DIFFERENCE, "verdict"])


def wide_table(group: Group) -> pd.DataFrame:
    """One comparison table as it is printed, floors and controls last."""
    cells = group.cells + group.references
    table: dict[str, list[str]] = {
        "": [_kind(cell) for cell in cells],
        "method": [cell.name for cell in cells],
        "seeds": [f"{cell.ok}/{cell.status.total()}" for cell in cells],
    }
    noisy = {metric for cell in group.cells for metric in cell.noise}
    for column in group.columns:
        metric, title = column.metric, column.title
        table[title] = [cell.text(metric) for cell in cells]
        if any(above := [signed(group.above_floor(cell, column)) for cell in cells]):
            table[f"{title}, minus floor"] = above
        if metric in noisy:
            table[f"{title}, sd over metric seeds"] = [number(cell.noise.get(metric, math.nan)) for cell in cells]
    table["verdict"] = [counted(cell.verdicts) for cell in cells]
    table["dependency illusion"] = [counted(cell.illusions) for cell in cells]
    table["caution"] = [cautions(cell) for cell in cells]
    return pd.DataFrame(table)


def _kind(cell: Cell) -> str:
    if cell.kind != "method":
        return "reference"
    return "reference generator" if is_reference(cell) else ""


def csv_of(table: pd.DataFrame) -> bytes:
    """A table as CSV, words in quotes, nothing where there is no value; in a tenth of the time pandas takes for it."""
    mixed = {name: column.map(str, na_action="ignore") for name, column in table.items() if column.dtype == object}
    content = io.BytesIO()
    csv.write_csv(pa.Table.from_pandas(pd.DataFrame({**dict(table.items()), **mixed}), preserve_index=False), content)
    return content.getvalue()


def latex(group: Group) -> str:
    """A comparison table for a paper (booktabs): best mean bold, second underlined, mean ± interval."""
    signs = {"latent_information", "dependency_end"}
    if "latent_information" not in {column.metric for column in group.columns}:
        signs.add("nll_gap")
    columns = [column for column in group.columns if column.metric in signs] + group.quality[:4]
    titles = ["method"] + [tex(column.title) for column in columns] + ["latent"]
    lines = [
        f"% {tex(group.name)}: mean and 95 % interval over seeds; needs \\usepackage{{booktabs}}",
        r"\begin{tabular}{l" + "r" * len(columns) + "l}",
        r"\toprule",
        " & ".join(titles) + r" \\",
        r"\midrule",
    ]
    for cells in (group.cells, group.references):
        for cell in cells:
            words = [tex(signed_name(cell))]
            for column in columns:
                text = cell.text(column.metric).replace(" ± ", r" \pm ").replace(">=", r"\geq")
                text = f"${text}$" if cell.values.get(column.metric) else "--"
                rank = group.standings.get(column.metric, {}).get(cell.id, Standing("none")).rank
                words.append({1: rf"\textbf{{{bold(text)}}}", 2: rf"\underline{{{text}}}"}.get(rank, text))
            words.append(tex(counted(cell.verdicts)) if cell.kind == "method" else "")
            lines.append(" & ".join(words) + r" \\")
        if cells is group.cells and group.references:
            lines.append(r"\midrule")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def bold(text: str) -> str:
    """Mathematics that \\textbf reaches."""
    return rf"\boldmath{text}" if text.startswith("$") else text


def tex(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    special = {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
        "²": r"\textsuperscript{2}", "−": "--", "·": r"\textperiodcentered{}", "†": r"\textdagger{}",
        "‡": r"\textdaggerdbl{}",
    }  # fmt: skip
    return "".join(special.get(c, c if c.isprintable() else " ") for c in text)
