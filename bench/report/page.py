"""A sweep's report as files: index.html, report.md, tables/*.csv|.tex, figures/*.svg|.png."""

from __future__ import annotations

import io
import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pyarrow import csv
from safetensors import SafetensorError, safe_open

from bench.report import tables
from bench.report.cards import Card, restricted_datasets, validation_of
from bench.report.figures import figures
from bench.report.figures.figures import Bars, Channel, Picture, Styles, all_pictures, critical_difference, shown
from bench.report.statistics import RankTest, Standing, rank_test
from bench.report.tables import Answer, Cell, Column, Group, Mark, MetricFacts, Selection, number, plain
from bench.store import replacing
from bench.verdict import THRESHOLDS

MOST_ROWS = 200  # of one table on the page; the CSV files have them all
MOST_RUNS = 3000  # whose details stand on the page
MOST_FAILURES = 300
CD_DATASETS = 6  # a critical-difference diagram over fewer says nothing

ON_VALIDATION = "All numbers are of validation windows: they are for choosing, and a claim needs the test windows."

MANIFEST = ".files"

SECTIONS = [
    ("answer", "The answer"),
    ("comparison", "Comparison"),
    ("dependency", "Dependency and likelihood"),
    ("grids", "Grids"),
    ("over-training", "Over training and along the diffusion"),
    ("training", "Training curves"),
    ("samples", "Samples"),
    ("failures", "Failures"),
    ("runs", "Runs"),
    ("cards", "Methods, data and metrics"),
    ("environment", "Environment"),
    ("appendix", "Appendix: what the measures see"),
]


@dataclass(frozen=True)
class Report:
    """Everything that the page prints."""

    selection: Selection
    cells: list[Cell]
    groups: list[Group]
    pictures: list[Picture]
    cards: list[Card]
    ranks: list[tuple[Column, RankTest]]
    made: str

    @cached_property
    def headline(self) -> list[Answer]:
        """The report in a few sentences."""
        return tables.headline(self.groups, self.selection)

    @cached_property
    def answer(self) -> list[Answer]:
        """The same, one data set after the other."""
        return tables.answer(self.groups)

    @cached_property
    def overview(self) -> dict[str, list[Mark | None]]:
        """Every method on every data set, in two words each."""
        return tables.overview(self.groups)

    @cached_property
    def columns(self) -> list[Column]:
        """Every column of the comparison tables once."""
        return list({column.metric: column for group in self.groups for column in group.columns}.values())

    @property
    def repeated(self) -> bool:
        """Whether runs were measured under several metric seeds."""
        return any(cell.noise for cell in self.cells)

    def pictures_of(self, section: str) -> list[Picture]:
        """Pictures of one section of the page."""
        return [picture for picture in self.pictures if picture.section == section]

    @property
    def status(self) -> list[tuple[str, int]]:
        """How many runs ended how; `pending` have no row yet."""
        counts = Counter(self.selection.runs["status"].tolist()) if len(self.selection.runs) else Counter()
        if self.selection.pending:
            counts["pending"] = self.selection.pending
        return counts.most_common()


def build(
    selection: Selection,
    facts: Mapping[str, MetricFacts],
    cards: Sequence[Card] = (),
    bars: Bars = "seeds",
    made: str = "",
    earlier: Path | None = None,
) -> Report:
    """All tables and pictures of a selection; pictures that the report in `earlier` has are taken from there."""
    cells = tables.cells_of(selection)
    groups = tables.groups_of(cells, facts)
    pictures = all_pictures(selection, groups, bars, facts) + sample_pictures(selection, groups)
    ranks = _ranks(groups)
    pictures += [critical_difference(test, column.metric) for column, test in ranks if test.n_datasets >= CD_DATASETS]
    folder = earlier / "figures" if earlier is not None else None
    finished = [figures.drawn(picture, folder) for picture in pictures]
    return Report(selection, cells, groups, finished, list(cards), ranks, made or _now())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _ranks(groups: Sequence[Group]) -> list[tuple[Column, RankTest]]:
    """Friedman's test per quality column over ordered data sets; a method's best setting stands for it.

    A block is a data set; where there are several backbones, what is ranked is a method on a backbone.
    """
    found = []
    several = len({group.backbone for group in groups}) > 1
    columns = {column.metric: column for group in groups for column in group.quality}
    for metric, column in columns.items():
        sign = 1.0 if column.direction == "lower" else -1.0
        scores: dict[str, dict[str, float]] = {}
        for group in groups:
            if group.shuffle:
                continue
            block = scores.setdefault(group.dataset, {})
            for cell in shown(group):
                if cell.values.get(metric):
                    name = f"{cell.label} ({group.backbone})" if several else cell.label
                    block[name] = sign * cell.interval(metric).mean
        test = rank_test(scores)
        if test is not None:
            found.append((column, test))
    return found


def sample_pictures(selection: Selection, groups: Sequence[Group]) -> list[Picture]:
    """Pictures of the kept samples; of restricted data sets none, even where they were kept."""
    styles = Styles([cell.label for group in groups for cell in group.cells])
    pictures = []
    for group in groups:
        if group.dataset.partition(",")[0] in restricted_datasets():
            continue
        seeds = sorted({seed for cell in group.cells for seed in cell.seeds.values()})
        for seed in seeds[:1]:
            windows: dict[str, np.ndarray] = {}
            last: Kept | None = None
            for cell in shown(group):
                run = next((run for run, its in cell.seeds.items() if its == seed), "")
                kept = _read_samples(selection.folder / "models" / run / "samples.safetensors")
                if kept is None:
                    continue
                windows[cell.label], last = kept.samples, kept
            if last is not None and len(last.real) > 1:
                pictures += figures.samples(group, windows, last.real, last.channels, styles, seed, last.which)
    return pictures


class Kept(NamedTuple):
    """A run's samples and some real windows (n, T, C), train-scaled."""

    samples: np.ndarray
    real: np.ndarray
    channels: list[Channel]
    which: str  # of the test windows the real ones are


def _read_samples(path: Path) -> Kept | None:
    try:
        with safe_open(path, framework="np") as file:
            words = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        samples, real = arrays["samples"], arrays["real"]
        if samples.ndim != 3 or samples.shape[1:] != real.shape[1:] or not samples.size:
            return None
        n = real.shape[2]
        names = json.loads(words.get("channels", "[]")) or [f"channel {c + 1}" for c in range(n)]
        units = json.loads(words.get("units", "[]")) or [""] * n
        mean, scale = (arrays.get(name, np.full(n, value)) for name, value in (("mean", 0.0), ("scale", 1.0)))
        channels = [Channel(*facts) for facts in zip(names, units, mean.tolist(), scale.tolist(), strict=True)]
        return Kept(samples, real, channels, words.get("real", "the first of the test set"))
    except (OSError, SafetensorError, ValueError, LookupError):
        return None


# ---------------------------------------------------------------- the page


class Inlined(NamedTuple):
    """Pictures as the page holds them: SVG by name, and the style sheet that they share."""

    svg: dict[str, Markup]
    style: Markup


def inlined(pictures: Sequence[Picture]) -> Inlined:
    """SVG for the page: its ink in the theme's colours, half the digits, no ids that could clash, styles said once."""
    classes: dict[str, str] = {}
    found = {}
    for place, picture in enumerate(pictures):
        svg = picture.svg[picture.svg.index("<svg") :]
        svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
        svg = re.sub(r'<g id="[^"]*"', "<g", svg)
        ids: dict[str, str] = {}
        svg = re.sub(r"<[^>]+>", lambda tag: _tag(tag.group(), classes, ids, place), svg)  # noqa: B023
        svg = re.sub(r">\s+<", "><", svg)
        while "<g></g>" in svg or "<defs></defs>" in svg:
            svg = svg.replace("<g></g>", "").replace("<defs></defs>", "")
        svg = re.sub(r'<svg\b[^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", svg, count=1)
        width = float(re.search(r'viewBox="0 0 ([\d.]+)', svg).group(1))  # type: ignore[union-attr]
        alt = Markup.escape(picture.alt)
        opening = f'<svg role="img" style="width:{width * 4 / 3:.0f}px" aria-label="{alt}" '
        found[picture.name] = Markup(opening + svg.removeprefix("<svg "))
    rules = "\n".join(f".{name}{{{style}}}" for style, name in classes.items())
    return Inlined(found, Markup(_themed(rules)))


def _themed(text: str) -> str:
    for colour, name in ((figures.INK, "ink"), (figures.GRID, "grid"), (figures.PAPER, "paper")):
        text = text.replace(colour, f"var(--{name})")
    return text


def _tag(tag: str, classes: dict[str, str], ids: dict[str, str], place: int) -> str:
    """One tag of an SVG made small; a picture's ids are numbered, and so are the styles that pictures share."""
    if tag.startswith("<image"):  # its bytes are no numbers
        return tag

    def numbered(found: re.Match[str]) -> str:
        return found.group(1) + ids.setdefault(found.group(2), f"p{place}-{len(ids)}")

    tag = re.sub(r"\s+", " ", tag).replace("xlink:href", "href")
    tag = re.sub(r'(\bid="|href="#|url\(#)([^")]+)', numbered, tag)
    tag = re.sub(r"(\d\.\d\d)\d+", r"\1", tag)
    return re.sub(
        r'style="([^"]*)"', lambda s: f'class="{classes.setdefault(s.group(1), f"v{len(classes)}")}"', _themed(tag)
    )


@dataclass(frozen=True)
class Entry:
    """One number of a comparison table."""

    text: str
    sort: str
    place: str
    note: str
    noise: str = ""  # the metric's own: sd over metric seeds, where there are several


def entry(group: Group, cell: Cell, column: Column) -> Entry:
    """The number of a cell in a column, with its standing in words for those who do not see the style."""
    found = cell.interval(column.metric)
    if not found.n:
        return Entry("-", "", "none", "")
    standing = group.standings.get(column.metric, {}).get(cell.id, Standing("none"))
    notes = {"best": "best mean", "tie": "not distinguishable from the best", "incomplete": "seeds are missing"}
    noise = number(cell.noise[column.metric]) if column.metric in cell.noise else ""
    return Entry(cell.text(column.metric), f"{found.mean:.9g}", standing.place, notes.get(standing.place, ""), noise)


def listed(group: Group) -> list[Cell]:
    """The rows of a table on the page: all, or the best MOST_ROWS."""
    column = next(iter(group.quality), None)
    if len(group.cells) <= MOST_ROWS:
        return group.cells
    if column is None:
        return group.cells[:MOST_ROWS]
    places = group.standings[column.metric]
    return sorted(group.cells, key=lambda cell: places[cell.id].rank or 10**9)[:MOST_ROWS]


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


def run_rows(report: Report, cells: Sequence[Cell]) -> dict[str, dict[Any, Any]]:
    """The rows of the runs table of some cells, by run_id."""
    wanted = {run for cell in cells for run in cell.seeds}
    runs = report.selection.runs
    return {str(row["run_id"]): row for row in runs[runs["run_id"].isin(wanted)].to_dict("records")}


def settings_of(row: Mapping[str, Any]) -> str:
    """A run's whole configuration, one line per block."""
    try:
        config = json.loads(row["config"])
    except (TypeError, ValueError):
        return str(row["config"])
    return "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in config.items())


def replay_command(report: Report, run: str) -> str:
    """The command that runs one run again and compares, with the plug-ins and the data that the sweep was given."""
    try:
        given = shlex.split(report.selection.command)
    except ValueError:  # no command line
        given = []
    flags = [word for pair in pairwise(given) if pair[0] in ("--plugin", "--data") for word in pair]
    return shlex.join(["python", "-m", "bench.replay", run, "--results", str(report.selection.folder), *flags])


def failures(report: Report) -> pd.DataFrame:
    """Every run that did not end ok."""
    runs = report.selection.runs
    return runs[runs["status"] != "ok"]


def unmeasured(report: Report) -> list[tuple[str, str, int]]:
    """Metrics that failed or are undefined in finished runs: name, reason, in how many runs."""
    metrics = report.selection.metrics
    bad = metrics[metrics["status"] != "ok"]
    counts = bad.groupby(["metric", "reason"], observed=True)["run_id"].nunique()
    return [(str(key[0]), str(key[1]), int(n)) for key, n in counts.items()]  # type: ignore[index]


def environment(report: Report) -> list[tuple[str, str]]:
    """Versions, commit, devices and the time it all took; several values where runs differ."""
    runs = report.selection.runs

    def values(column: str) -> str:
        found = sorted({plain(value) for value in runs[column].unique()} - {"none", ""}) if column in runs else []
        return ", ".join(found) or "unknown"

    rows = [(name.removeprefix("version_"), values(name)) for name in runs.columns if name.startswith("version_")]
    dirty = bool(runs["git_dirty"].astype(bool).any()) if len(runs) else False
    rows.append(("commit", values("git_commit") + (" (with uncommitted changes)" if dirty else "")))
    rows.append(("device", values("device")))
    columns = [
        name for name in ("train_seconds", "denoiser_seconds", "sample_seconds", "evaluate_seconds") if name in runs
    ]
    seconds = float(np.nansum(runs[columns].to_numpy(dtype=float))) if len(runs) else 0.0
    rows.append(
        ("computing time of all runs", f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h")
    )
    finished = sorted(word for word in map(str, runs["finished_at"].unique()) if word[:1].isdigit())
    if finished:
        rows.append(("runs finished between", f"{finished[0]} and {finished[-1]}"))
    known = runs["energy_joules"].dropna() if "energy_joules" in runs else ()
    if len(known):
        what = f"{sum(known) / 3.6e6:.3g} kWh over {len(known)} of {len(runs)} runs"
        rows.append(("energy", f"{what}: what their devices drew meanwhile, other work on them included"))
    else:
        rows.append(("energy", "not known: no energy counter could be read where these runs were made"))
    return rows


def latex(group: Group) -> str:
    """A comparison table for a paper (booktabs): best mean bold, second underlined, mean ± interval."""
    columns = group.quality[:4] + [c for c in group.columns if c.metric in ("nll_gap", "dependency_end")]
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
            words = [tex(cell.name)]
            for column in columns:
                text = cell.text(column.metric).replace(" ± ", r" \pm ")
                text = f"${text}$" if cell.values.get(column.metric) else "--"
                rank = group.standings.get(column.metric, {}).get(cell.id, Standing("none")).rank
                words.append({1: rf"\textbf{{{bold(text)}}}", 2: rf"\underline{{{text}}}"}.get(rank, text))
            words.append(tex(tables.counted(cell.verdicts)) if cell.kind == "method" else "")
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
        "²": r"\textsuperscript{2}", "−": "--", "·": r"\textperiodcentered{}",
    }  # fmt: skip
    return "".join(special.get(c, c if c.isprintable() else " ") for c in text)


def markdown(text: str) -> str:
    """Text that Markdown prints as it stands, also inside a table."""
    text = "".join(c if c.isprintable() else " " for c in str(text))
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", text)


def _environment() -> Environment:
    jinja = Environment(
        loader=PackageLoader("bench.report", "."),
        autoescape=lambda name: bool(name and name.endswith("html.jinja")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters.update(md=markdown, number=number, with_interval=tables.with_interval, plain=plain)
    jinja.filters.update(counted=tables.counted)
    jinja.globals.update(
        sections=SECTIONS, limits=asdict(THRESHOLDS), entry=entry, listed=listed, settings_of=settings_of,
        ties_text=tables.ties_text, replay_command=replay_command, costs=tuple(tables.COSTS), slug=figures.slug,
        most_failures=MOST_FAILURES, on_validation=ON_VALIDATION, long=tables.LONG, cd_datasets=CD_DATASETS,
    )  # fmt: skip
    return jinja


def write(report: Report, out: Path, compact: bool = False) -> Path:
    """Write the whole report under `out` and return the page's path. What an earlier report left there is removed.

    compact: index.html, report.md and the dependency plots as PNG, nothing else: small enough to commit.
    Raises InputError where `out` cannot be written.
    """
    jinja, words = _environment(), {**_words(report), "compact": compact}
    files = _dependency_plots(report) if compact else _files_beside(report)
    files["report.md"] = jinja.get_template("report.md.jinja").render(words)
    files["index.html"] = jinja.get_template("page.html.jinja").render(words)
    _remove_earlier(out, set(files))
    for name, content in files.items():
        with replacing(out / name) as temporary:
            temporary.write_bytes(content.encode("utf-8", "replace") if isinstance(content, str) else content)
    with replacing(out / MANIFEST) as temporary:
        temporary.write_text("\n".join(files), encoding="utf-8")
    return out / "index.html"


def _dependency_plots(report: Report) -> dict[str, str | bytes]:
    """The pictures that go with a compact report, by their path."""
    chosen = [picture for picture in report.pictures if picture.name.startswith("dependency-")]
    return {f"figures/{picture.name}.png": picture.png for picture in chosen}


def _files_beside(report: Report) -> dict[str, str | bytes]:
    """Tables and figures as files of their own, by their path."""
    files: dict[str, str | bytes] = {}
    for picture in report.pictures:
        files[f"figures/{picture.name}.svg"], files[f"figures/{picture.name}.png"] = picture.svg, picture.png
    for group in report.groups:
        name = figures.slug(group.name)
        files[f"tables/{name}.csv"] = csv_of(tables.wide_table(group))
        files[f"tables/{name}.tex"] = latex(group)
    files["tables/all.csv"] = csv_of(tables.long_table(report.groups))
    long_texts = [name for name in ("traceback", "config") if name in report.selection.runs]
    files["tables/runs.csv"] = csv_of(report.selection.runs.drop(columns=long_texts))
    return files


def csv_of(table: pd.DataFrame) -> bytes:
    """A table as CSV, words in quotes, nothing where there is no value; in a tenth of the time pandas takes for it."""
    mixed = {name: column.map(str, na_action="ignore") for name, column in table.items() if column.dtype == object}
    content = io.BytesIO()
    csv.write_csv(pa.Table.from_pandas(pd.DataFrame({**dict(table.items()), **mixed}), preserve_index=False), content)
    return content.getvalue()


def _remove_earlier(out: Path, new: set[str]) -> None:
    """Delete what the last report wrote and this one does not: a method that has gone leaves no picture behind."""
    try:
        earlier = (out / MANIFEST).read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for name in set(earlier) - new:
        if re.fullmatch(r"(tables|figures)/[\w.-]+", name):
            (out / name).unlink(missing_ok=True)


def _words(report: Report) -> dict[str, Any]:
    cells = detailed(report)
    return {
        "report": report,
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
            "grids": [line for group in report.groups for line in tables.recommendations(group)],
            "over-training": tables.collapse_began(report.selection, report.groups),
        },
    }
