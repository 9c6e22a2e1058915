"""A sweep's report as files: index.html, report.md, tables/*.csv|.tex, figures/*.svg|.png."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from bench.report.cards import validation_of
from bench.report.cautions import CALIBRATION, COPIES, is_reference, shown_signs, signed_name, signs
from bench.report.cells import Cell
from bench.report.claims import FILE as CLAIMS_FILE
from bench.report.claims import as_parquet, claims_of
from bench.report.columns import COSTS, LONG, Column
from bench.report.contrasts import sensitivity
from bench.report.figures.picture import Picture, slug
from bench.report.formatting import counted, number, plain, probability, signed, with_interval
from bench.report.inline_svg import inlined
from bench.report.literature import SCORES
from bench.report.ranking import Group
from bench.report.report import CD_DATASETS, Report
from bench.report.run_details import environment, failures, replay_command, run_rows, settings_of, unmeasured
from bench.report.statements import best_text, bounds, collapse_began, recommendations
from bench.report.statistics import Comparison, Standing
from bench.report.tables import csv_of, differences, latex, long_table, wide_table
from bench.store import replacing
from bench.verdict import THRESHOLDS

MOST_ROWS = 200  # of one table on the page; the CSV files have them all
MOST_RUNS = 3000  # whose details stand on the page
MOST_FAILURES = 300
ON_VALIDATION = (
    "All numbers are from validation windows. Use them to choose settings; conclusions need the test windows."
)
PUBLISHED_ROWS = (
    "The published rows were copied from papers: they come from other code and other budgets, and their ± is over "
    "restarts of the judge on one trained generator. Ours have half of a 95 % interval over seeds of the generator, "
    "and in brackets half of a 95 % t interval over restarts, averaged over seeds. Under this protocol the reference "
    "is the training set, so a generator that stores it is not punished: see the row memorised."
)
PUBLISHED_HEADS = {
    "published": "Published: other code, other budgets",
    "this benchmark": "This benchmark",
    "reference": "This benchmark, rows that no published table prints",
}
STATED = (
    "The sweep file states these contrasts. On each data set the two methods are paired over seeds. The mean of these "
    "differences over data sets has a t interval, with the data set as the unit. Interval, p and detectable effect are "
    "at the level of Holm's procedure over all contrasts of a family; secondary contrasts are a family of their own. "
    "Both methods have the same floor on a seed, so the difference of two values minus their floors is the same number."
)
MANIFEST = ".files"

SECTIONS = [
    ("answer", "Results in brief"),
    ("contrasts", "Stated contrasts"),  # where the sweep states any
    ("comparison", "Comparison"),
    ("dependency", "Dependency and likelihood"),
    ("grids", "Grids"),
    ("over-training", "During training and along the diffusion"),
    ("training", "Training curves"),
    ("samples", "Samples"),
    ("failures", "Failures"),
    ("runs", "Runs"),
    ("cards", "Methods, data and metrics"),
    ("environment", "Environment"),
    ("appendix", "Appendix: validation of the measures"),
]


@dataclass(frozen=True)
class Entry:
    """One number of a comparison table."""

    text: str
    sort: str
    place: str
    note: str
    noise: str = ""  # the metric's own: sd over metric seeds, where there are several
    above_floor: str = ""  # a measure of samples minus its floor


def entry(group: Group, cell: Cell, column: Column) -> Entry:
    """The number of a cell in a column, with its standing in words for those who do not see the style."""
    found = cell.interval(column.metric)
    if not found.n:  # several M are a range, which has no place in an order
        return Entry(cell.text(column.metric), "", "none", "")
    standing = group.standings.get(column.metric, {}).get(cell.id, Standing("none"))
    notes = {"best": "best mean", "tie": "not significantly worse than the best", "incomplete": "seeds are missing"}
    noise = number(cell.noise[column.metric]) if column.metric in cell.noise else ""
    sign = {"calibration_distance": CALIBRATION, "residual_ratio": CALIBRATION, "copies": COPIES}.get(column.metric, "")
    text = f"{cell.text(column.metric)} {sign}" if sign and sign in signs(cell) else cell.text(column.metric)
    above = signed(group.above_floor(cell, column))
    return Entry(text, f"{found.mean:.9g}", standing.place, notes.get(standing.place, ""), noise, above)


def floors(group: Group) -> str:
    """What "minus floor" means below a table: the rows that are subtracted; "" where there is none."""
    named = dict.fromkeys(group.about_floor(column.metric) for column in group.columns if column.question == "samples")
    return "; ".join(filter(None, named))


def listed(group: Group) -> list[Cell]:
    """The rows of a table on the page: all, or the best MOST_ROWS."""
    column = next(iter(group.quality), None)
    if len(group.cells) <= MOST_ROWS:
        return group.cells
    if column is None:
        return group.cells[:MOST_ROWS]
    places = group.standings[column.metric]
    return sorted(group.cells, key=lambda cell: places[cell.id].rank or 10**9)[:MOST_ROWS]


def judged(group: Group) -> list[tuple[Column, list[tuple[Cell, Comparison]]]]:
    """The comparisons with the baseline that the page shows: in the column that ranks, and where there is a bound."""
    shown = [column for column in group.quality if column is group.quality[0] or column.metric in group.equivalence]
    listed_ids = {cell.id for cell in listed(group)}
    found = [(column, [pair for pair in group.comparisons(column) if pair[0].id in listed_ids]) for column in shown]
    return [(column, pairs) for column, pairs in found if pairs]


def detailed(report: Report) -> list[Cell]:
    """The cells whose runs are listed on the page: those of its tables, up to MOST_RUNS runs."""
    order = [cell for group in report.groups for cell in listed(group)]
    order += [cell for cell in report.cells if cell.kind != "method"]
    chosen, runs = [], 0
    for cell in order:
        runs += len(cell.seeds)
        if runs > MOST_RUNS:
            break
        chosen.append(cell)
    return chosen


def markdown(text: str) -> str:
    """Text that Markdown prints as it stands, also inside a table."""
    text = "".join(c if c.isprintable() else " " for c in str(text))
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", text)


def breakable(text: str) -> Markup:
    """Text that may break after a comma or a slash: "csv,path=data/mine.csv,window=24" is one word to a browser."""
    return Markup(re.sub("([,/])", r"\1<wbr>", str(escape(text))))


def _environment() -> Environment:
    jinja = Environment(
        loader=PackageLoader("bench.report", "."),
        autoescape=lambda name: bool(name and name.endswith("html.jinja")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters.update(md=markdown, number=number, with_interval=with_interval, plain=plain)
    jinja.filters.update(counted=counted, signed=signed, breakable=breakable, probability=probability)
    jinja.globals.update(
        limits=asdict(THRESHOLDS), entry=entry, listed=listed, judged=judged,
        settings_of=settings_of, best_text=best_text, replay_command=replay_command, costs=tuple(COSTS), slug=slug,
        signs=signs, signed_name=signed_name, floors=floors, bounds=bounds, shown_signs=shown_signs,
        is_reference=is_reference, most_failures=MOST_FAILURES, on_validation=ON_VALIDATION, long=LONG,
        cd_datasets=CD_DATASETS,
        stated_contrasts=STATED, sensitivity=sensitivity,
        published_rows=PUBLISHED_ROWS, published_heads=PUBLISHED_HEADS, published_scores=list(SCORES),
    )  # fmt: skip
    return jinja


def write(report: Report, out: Path, compact: bool = False) -> Path:
    """Write the whole report under `out` and return the page's path. What an earlier report left there is removed.

    compact: index.html, report.md and the main figures as PNG, nothing else: small enough to commit.
    Raises InputError where `out` cannot be written.
    """
    pictures = _kept_pictures(report, compact)
    jinja, words = _environment(), {**_words(report), "compact": compact, "kept_pictures": pictures}
    files: dict[str, str | bytes] = {f"figures/{picture.name}.png": picture.png for picture in pictures}
    if not compact:
        files |= _files_beside(report)
    if report.stated:
        files[CLAIMS_FILE] = as_parquet(claims_of(report.stated, report.selection, report.gains))
    files["report.md"] = jinja.get_template("report.md.jinja").render(words)
    files["index.html"] = jinja.get_template("page.html.jinja").render(words)
    _remove_earlier(out, set(files))
    for name, content in files.items():
        with replacing(out / name) as temporary:
            temporary.write_bytes(content.encode("utf-8", "replace") if isinstance(content, str) else content)
    with replacing(out / MANIFEST) as temporary:
        temporary.write_text("\n".join(files), encoding="utf-8")
    return out / "index.html"


def _kept_pictures(report: Report, compact: bool) -> list[Picture]:
    """All pictures, or the few of a compact report: stated contrasts, dependency, information and quality."""
    if not compact:
        return report.pictures
    kinds = ("dependency-", "information-and-quality-")
    return [each for each in report.pictures if each.section == "contrasts" or each.name.startswith(kinds)]


def _files_beside(report: Report) -> dict[str, str | bytes]:
    """Figures that scale, and tables, as files of their own, by their path."""
    files: dict[str, str | bytes] = {f"figures/{picture.name}.svg": picture.svg for picture in report.pictures}
    for group in report.groups:
        name = slug(group.name)
        files[f"tables/{name}.csv"] = csv_of(wide_table(group))
        files[f"tables/{name}.tex"] = latex(group)
    files["tables/all.csv"] = csv_of(long_table(report.groups))
    files["tables/differences.csv"] = csv_of(differences(report.groups))
    long_texts = [name for name in ("traceback", "config") if name in report.selection.runs]
    files["tables/runs.csv"] = csv_of(report.selection.runs.drop(columns=long_texts))
    return files


def _remove_earlier(out: Path, new: set[str]) -> None:
    """Delete what the last report wrote and this one does not: a method that has gone leaves no picture behind."""
    try:
        earlier = (out / MANIFEST).read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for name in set(earlier) - new:
        if name == CLAIMS_FILE or re.fullmatch(r"(tables|figures)/[\w.-]+", name):
            (out / name).unlink(missing_ok=True)


def _words(report: Report) -> dict[str, Any]:
    cells = detailed(report)
    return {
        "report": report,
        "sections": [section for section in SECTIONS if section[0] != "contrasts" or report.stated],
        "selection": report.selection,
        "cells": cells,
        "has_details": {cell.id for cell in cells},
        "rows": run_rows(report, cells),
        "failed": failures(report).to_dict("records"),
        "unmeasured": unmeasured(report),
        "environment": environment(report),
        "validation": validation_of(report.selection),
        "inlined": inlined(report.pictures),
        "notes": {
            "grids": [line for group in report.groups for line in recommendations(group)],
            "over-training": collapse_began(report.selection, report.groups),
        },
    }
