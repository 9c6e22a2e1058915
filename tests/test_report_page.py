import ast
import csv
import dataclasses
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import blank
from report_data import FACTS, REFERENCES, frames, grid_runs, membership, quick_runs, reader, run_row, select, selection
from safetensors.numpy import save_file

import bench.report
from bench.contracts import InputError
from bench.report import __main__ as report_command
from bench.report.cards import cards_of
from bench.report.cells import cells_of
from bench.report.columns import MetricFacts
from bench.report.figures import picture as drawing
from bench.report.figures.captions import axis_name
from bench.report.figures.dependency import dependency
from bench.report.figures.grids import grids
from bench.report.figures.heat_maps import MOST_NUMBERS
from bench.report.figures.style import Styles
from bench.report.formatting import number
from bench.report.page import markdown, write
from bench.report.ranking import groups_of
from bench.report.report import build
from bench.report.run_details import replay_command
from bench.report.tables import latex, tex
from bench.store import Store, spelled

MADE = "2026-11-23T17:00:00+00:00"
VOID = {"meta", "link", "input", "br", "wbr", "img", "hr", "path", "use", "circle", "rect", "line"}


class Page(HTMLParser):
    """Checks that tags close in order, ids are unique and links inside the page arrive; keeps the text."""

    def __init__(self, html):
        super().__init__()
        self.open, self.ids, self.links, self.fetched, self.text = [], [], [], [], []
        self.feed(html)
        assert not self.open, f"never closed: {self.open}"
        assert len(self.ids) == len(set(self.ids))
        assert not {link for link in self.links if link.startswith("#") and link[1:] not in self.ids}

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if tag == "a":
            self.links.append(attrs["href"])
        self.fetched += [value for key, value in attrs.items() if key in ("src", "srcset", "action", "data", "poster")]

    def handle_startendtag(self, tag, attrs):
        if "id" in dict(attrs):
            self.ids.append(dict(attrs)["id"])

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def rendered(runs, out, pictures=True, **words):
    """A report and its checked page; most tests do without the pictures, which take nearly all the time."""
    with pytest.MonkeyPatch.context() as patch:
        if not pictures:
            patch.setattr("bench.report.report.drawn", blank)
        return _rendered(runs, out, **words)


def _rendered(runs, out, **words):
    report = build(selection(runs, out, **words), FACTS, made=MADE)
    page = write(report, out)
    return report, Page(page.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    out = tmp_path_factory.mktemp("quick")
    small_grid = [run for run in grid_runs(seeds=2) if run["diffusion.L"] == 250 and run["gamma"] == 1]
    return out, *rendered(quick_runs(("energy",), seeds=2) + small_grid, out)


def test_page_stands_alone(quick):
    out, _, page = quick
    html = (out / "index.html").read_text(encoding="utf-8")
    assert page.fetched == []
    assert set(re.findall(r"https?://[^\s\"'<]+", html)) <= {
        "http://www.w3.org/1999/xlink",
        "http://www.w3.org/2000/svg",
    }
    assert "default-src 'none'" in html
    assert "url(" not in html.replace('="url(#', "").replace(": url(#", "")


def test_page_says_what_it_must(quick):
    _, _, page = quick
    for text in (
        "a quick look, not for conclusions",
        "Floors and controls",
        "floor_shift",
        "collapsed 2/2",
        "alive 2/2",
    ):
        assert text in page.words
    assert "python -m bench.replay" in page.words
    assert {link for link in page.links if link.startswith("#cell-")}


def test_few_windows_are_said_at_the_top_and_beside_their_data_set(tmp_path):
    runs = [run_row("proposed", name) for name in ("energy", "regimes")]
    runs = [{**run, "n_test": 40, "window": 12, "test_stride": 6 if run["dataset"] == "energy" else 12} for run in runs]
    _, page = rendered(runs, tmp_path, pictures=False)
    warning = "energy has 20 independent test windows (40 that overlap), fewer than 30."
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    for words, answer, group, other in (
        (page.words, "Results in brief", "energy · lstm:", "regimes · lstm:"),
        (text, "## Results in brief", "### energy · lstm", "### regimes · lstm"),
    ):
        assert words.count(warning) == 2
        first, second = (found.start() for found in re.finditer(re.escape(warning), words))
        assert first < words.index(answer)
        assert second < words.index(other)
        assert abs(second - words.index(group)) < 250
    assert "regimes has" not in page.words


def test_files_beside_the_page(quick):
    out, report, page = quick
    for link in page.links:
        if not link.startswith("#"):
            assert (out / link).is_file(), link
    for picture in report.pictures:
        assert (out / "figures" / f"{picture.name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"figures/{picture.name}.png" in (out / "report.md").read_text(encoding="utf-8")
    with (out / "tables" / "runs.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(report.selection.runs)


def test_figures_carry_their_labels_and_captions(quick):
    _, report, _ = quick
    by_name = {picture.name: picture for picture in report.pictures}
    dependency = by_name["dependency-energy-lstm"]
    for text in ("series time t (steps)", "time in order", "time shuffled", "latent_diffusion", "proposed + skip"):
        assert text in dependency.svg
    assert "n = 500 series and 2 seeds" in dependency.caption
    assert "95 % interval over seeds" in dependency.caption
    assert "NLL (nats per value)" in by_name["likelihoods-energy-lstm"].svg
    assert {picture.section for picture in report.pictures} >= {"dependency", "grids", "over-training", "training"}
    assert all(picture.alt and picture.title and picture.caption for picture in report.pictures)


def test_a_large_grid_has_a_scale_in_place_of_numbers():
    runs = [run_row("proposed", N=float(N), M=float(M)) for N in range(10, 110, 10) for M in range(100, 1000, 100)]
    groups = groups_of(cells_of(selection(runs)), FACTS)
    (planned,) = grids(groups, Styles(["proposed"]))
    picture = drawing.drawn(planned)
    assert len(runs) > MOST_NUMBERS
    texts = re.findall(r"<text[^>]*>([^<]*)<", picture.svg)
    assert "≈ best" not in texts
    assert "≈ best" not in picture.caption
    assert "the ends of the scale are given above each map" in picture.caption
    assert "<image" in picture.svg  # of the scale
    assert texts.count("best") == texts.count("worst") == 1  # its ends
    values = groups[0].cells
    low, high = (f(cell.interval("sliced_wasserstein").mean for cell in values) for f in (min, max))
    assert f"best {number(low, (high - low) / 10)}, worst {number(high, (high - low) / 10)}" in texts
    assert "Best: sliced W. N = 50" in picture.alt


def test_a_grid_shows_the_latent_information_and_no_best_of_it():
    runs = [run_row("proposed", seed=seed, N=N, M=M) for seed in range(2) for N in (0.05, 0.1) for M in (0.5, 0.9)]
    frame, metrics, curves = frames(runs)
    template = metrics.assign(metric=metrics["metric"].astype(str)).drop_duplicates("run_id")
    extra = [
        template.assign(metric=name, train_step=-1, coordinate="", value=[1.0 + k for k in range(len(runs))])
        for name in ("latent_information", "latent_information_second_half")
    ]
    chosen = select(frame, pd.concat([metrics, *extra]), reader(curves), membership(runs), Path("results"))
    facts = {**FACTS, "latent_information": MetricFacts("nats per series", "none", "latent")}
    (planned,) = grids(groups_of(cells_of(chosen), facts), Styles(["proposed"]))
    assert "latent" not in planned.alt  # which names the best
    assert "Where nothing is ranked, brighter is more." in planned.caption
    texts = " ".join(re.findall(r"<text[^>]*>([^<]*)<", drawing.drawn(planned).svg))
    assert "latent information (nats per series; not ranked)" in texts
    assert "N (share of L)" in texts
    assert "M (share of L)" in texts
    assert texts.count("best") == 2 * 4  # in the maps that rank: the best, and its ties


def test_an_axis_says_what_a_setting_counts():
    assert axis_name("N", [0, 0.05]) == "N (share of L)"
    assert axis_name("N", [0, 50]) == "N (diffusion step)"
    assert axis_name("M", [0.5, 900]) == "M (diffusion step, or share of L below 1)"
    assert axis_name("train.steps", [100]) == "train.steps (updates)"
    assert axis_name("beta", [0.5]) == "beta"


def test_bars_can_be_the_papers():
    chosen = selection(quick_runs(("energy",), 1, (False,), ("proposed",)))
    groups = groups_of(cells_of(chosen), FACTS)
    (picture,) = dependency(chosen, groups, Styles(["proposed"]), "series")
    assert "is: proposed " in picture.alt
    assert "order" not in drawing.drawn(picture).svg  # a single panel needs no title
    assert "3 standard deviations over series" in picture.caption


@pytest.fixture(scope="module")
def drawn_before(tmp_path_factory):
    """A report of one method, whose folder is copied and never changed."""
    out = tmp_path_factory.mktemp("before")
    chosen = selection(quick_runs(("energy",), 1, (False,), ("proposed",)))
    report = build(chosen, FACTS, made=MADE)
    write(report, out)
    return out, chosen, report


def test_rendering_again_is_the_same_and_removes_what_is_gone(tmp_path, drawn_before):
    earlier, chosen, _ = drawn_before
    shutil.copytree(earlier, tmp_path, dirs_exist_ok=True)
    first = {path.name: path.read_bytes() for path in tmp_path.rglob("*.*")}
    (tmp_path / "figures" / "mine.png").write_bytes(b"a user's own file")
    write(build(chosen, FACTS, made=MADE), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.rglob("*.*") if path.name != "mine.png"} == first
    rendered([], tmp_path)
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["mine.png"]


def test_pictures_are_drawn_again_only_where_they_changed(tmp_path, monkeypatch, drawn_before):
    earlier, chosen, report = drawn_before
    shutil.copytree(earlier, tmp_path, dirs_exist_ok=True)
    made, draw = [], drawing.Figure
    monkeypatch.setattr(drawing, "Figure", lambda **words: made.append(1) or draw(**words))
    again = build(chosen, FACTS, earlier=tmp_path)
    assert made == []
    assert [(p.svg, p.png) for p in again.pictures] == [(p.svg, p.png) for p in report.pictures]
    moved = chosen.metrics["value"].where(chosen.metrics["metric"] != "nll_own", 0.5)
    other = build(replace(chosen, metrics=chosen.metrics.assign(value=moved)), FACTS, earlier=tmp_path)
    names = [new.name for new, old in zip(other.pictures, report.pictures, strict=True) if new.svg != old.svg]
    assert names == ["likelihoods-energy-lstm"]
    assert len(made) == 1 < len(report.pictures)
    (tmp_path / "figures" / "likelihoods-energy-lstm.png").write_bytes(b"a file of another")
    build(chosen, FACTS, earlier=tmp_path)
    assert len(made) == 2


def test_a_change_of_any_file_that_draws_draws_again(tmp_path):
    files = {"style.py": "INK = 1", "heat_maps.py": "", "deeper/lines.py": "x = 1"}

    def package(name, **changes):
        for path, text in {**files, **changes}.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(text)
        return drawing.source_hash(tmp_path / name)

    same = package("first")
    assert package("second") == same
    changed = [package(f"changed {path}", **{path: "y = 2"}) for path in files]
    assert len({same, package("more", **{"new.py": ""}), *changed}) == 5


def test_a_compact_report_is_two_files_and_the_main_figures(tmp_path, drawn_before):
    earlier, chosen, _ = drawn_before
    shutil.copytree(earlier, tmp_path, dirs_exist_ok=True)
    report = build(chosen, FACTS, made=MADE, earlier=tmp_path)
    page = Page(write(report, tmp_path, compact=True).read_text(encoding="utf-8"))
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == [".files", "figures/dependency-energy-lstm.png", "index.html", "report.md"]
    assert [link for link in page.links if not link.startswith("#")] == []
    assert len(report.pictures) == (tmp_path / "index.html").read_text(encoding="utf-8").count("<svg ") > 0
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    kept = [file for file in files if file.endswith(".png")]
    assert re.findall(r"figures/[\w-]+\.png", text) == kept
    assert "tables/" not in text


def test_golden_table(tmp_path, undrawn):
    """Text of one table from fixed numbers, to the letter."""
    runs = [run_row(label, seed=seed) for seed in (0, 1, 2) for label in ("latent_diffusion", "proposed")]
    runs += [run_row("floor_shift", seed=seed, kind="reference") for seed in (0, 1, 2)]
    frame, metrics, curves = frames(runs)
    fixed = {
        ("latent_diffusion", "sliced_wasserstein"): [0.30, 0.31, 0.32],
        ("proposed", "sliced_wasserstein"): [0.20, 0.21, 0.22],
        ("floor_shift", "sliced_wasserstein"): [0.13, 0.13, 0.13],
        ("latent_diffusion", "mmd2"): [0.010, 0.030, 0.020],
        ("proposed", "mmd2"): [0.015, 0.010, 0.020],
    }
    for (label, metric), values in fixed.items():
        for seed, value in enumerate(values):
            run = next(r["run_id"] for r in runs if r["label"] == label and r["seed"] == seed)
            metrics.loc[(metrics["run_id"] == run) & (metrics["metric"] == metric), "value"] = value
    kept = metrics["metric"].isin(["sliced_wasserstein", "mmd2", "nll_own", "nll_permuted"]) & (
        metrics["train_step"] < 0
    )
    chosen = select(frame, metrics[kept], reader(curves[:0]), membership(runs), tmp_path)
    write(build(chosen, FACTS, made=MADE), tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in text.partition("## Appendix")[0].splitlines() if line.startswith("| "))
    assert table == (Path(__file__).parent / "golden_report.txt").read_text(encoding="utf-8").rstrip("\n")


# ---------------------------------------------------------------- awkward results


HOSTILE = [
    "<script>alert(1)</script>",
    "quotes \" and ' & ampersands",
    "名前 ünïcode \u202e",
    "x" * 200,
    "$\\frac{a$ | `code` [link](http://e.vil) *_",
    "{{ 7 * 7 }}{% endif %}",
    "../../etc/passwd",
    "line\nbreak\x00\x1b",
]


def test_hostile_names_are_text(tmp_path):
    runs = [run_row(name, dataset=HOSTILE[0], backbone=HOSTILE[1], note=name) for name in HOSTILE]
    runs += [run_row(HOSTILE[2], dataset=name, backbone=HOSTILE[7], status="failed") for name in HOSTILE]
    runs[0] = {**runs[0], "status": "failed", "reason": HOSTILE[0], "traceback": HOSTILE[0]}
    _, page = rendered(runs, tmp_path, name=HOSTILE[0], description=HOSTILE[1])
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert HOSTILE[0] in page.words
    assert HOSTILE[5] in page.words
    assert html.count("<script>") == 1
    assert all(path.resolve().is_relative_to(tmp_path) for path in tmp_path.rglob("*"))
    assert all(len(path.name) < 120 for path in tmp_path.rglob("*"))
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in text.replace("\\<script\\>", "")
    lengths = {line.count(" | ") for line in text.splitlines() if line.startswith("| \\<script")}
    assert len(lengths) <= 2
    for path in (tmp_path / "tables").glob("*.tex"):
        check_latex(path.read_text(encoding="utf-8"))


def test_nothing_at_all(tmp_path):
    report, page = rendered([], tmp_path, pictures=False)
    assert report.groups == []
    assert "No run has finished yet." in page.words
    assert "There is nothing to compare" in page.words


def test_one_run(tmp_path):
    _, page = rendered([run_row("proposed")], tmp_path, pictures=False)
    assert "No floors or controls were measured." in page.words
    assert "There is one seed, so no difference can be tested." in page.words
    assert " ± " not in page.words.replace("seeds ± half", "")


def test_all_failed(tmp_path):
    runs = [run_row("proposed", seed=seed, status=status) for seed, status in enumerate(("failed", "oom", "timeout"))]
    report, page = rendered(runs, tmp_path, pictures=False)
    assert "3 runs did not finish with status ok" in page.words
    assert "own NLL above the marginal's" in page.words
    assert "latent not measured: proposed" in page.words.lower()
    assert [about.about for about in report.answer] == ["energy · lstm"]
    assert report.headline[-1].about == "How certain are these results?"


def test_missing_metrics(tmp_path, undrawn):
    runs = [run_row("proposed", seed=seed) for seed in (0, 1)]
    frame, metrics, curves = frames(runs)
    few = spelled(metrics[metrics["metric"].isin(["nll_own"]) & (metrics["train_step"] < 0)])
    few.loc[few.index[0], ["value", "status", "reason"]] = [np.nan, "failed", "ValueError: no <b>"]
    chosen = select(frame, few, reader(curves[:0]), membership(runs), tmp_path)
    page = Page(write(build(chosen, FACTS, made=MADE), tmp_path).read_text(encoding="utf-8"))
    for text in (
        "No sample metric was measured.",
        "ValueError: no <b>",
        "No training curves were recorded.",
        "There are no samples in this results folder.",
    ):
        assert text in page.words
    empty = select(frame, metrics[:0], reader(curves[:0]), membership(runs), tmp_path)
    page = Page(write(build(empty, FACTS, made=MADE), tmp_path).read_text(encoding="utf-8"))
    assert "Latent not measured: proposed" in page.words


def test_data_cards_and_the_noise_of_metrics(tmp_path, undrawn):
    runs = [run_row("proposed", dataset=name) for name in ("energy", "mimic")]
    frame, metrics, curves = frames(runs)
    again = metrics.assign(metric_seed=1, value=metrics["value"] + 0.1)
    chosen = select(frame, pd.concat([metrics, again]), reader(curves), membership(runs), tmp_path)
    page = Page(write(build(chosen, FACTS, cards_of(chosen), made=MADE), tmp_path).read_text(encoding="utf-8"))
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    for words in (page.words, text):
        assert "CC BY 4.0 (L. Candanedo, 2017" in words
        assert "https://archive.ics.uci.edu" in words
        assert "PhysioNet Credentialed Health Data License" in words
        assert "only summaries are shown" in words
        assert "validation of the measures" in words
        assert "energy" in words[words.rindex("validation of the measures") :]
        assert "metric sd 0.0707" in words
    chosen = select(frame, metrics, reader(curves), membership(runs), tmp_path)
    write(build(chosen, FACTS, made=MADE), tmp_path)
    assert "metric sd" not in (tmp_path / "report.md").read_text(encoding="utf-8").lower()


def test_samples_page(tmp_path, undrawn):
    runs = [run_row(label) for label in ("latent_diffusion", "proposed")]
    rng = np.random.default_rng(0)
    for run in runs:
        folder = tmp_path / "models" / run["run_id"]
        folder.mkdir(parents=True)
        arrays = {name: rng.normal(size=(30, 12, 2)).astype(np.float32) for name in ("samples", "real")}
        save_file(arrays, folder / "samples.safetensors")
    report, _ = rendered(runs, tmp_path, pictures=False)
    titles = [picture.title for picture in report.pictures_of("samples")]
    assert titles == [
        "Real and generated windows: energy · lstm",
        "Principal components: energy · lstm",
        "Marginals and autocorrelation: energy · lstm",
    ]
    series, components, _ = report.pictures_of("samples")
    assert "channel 2" in drawing.drawn(series).svg
    assert drawing.drawn(components).png
    arrays |= {"mean": np.array([500.0, 0.0]), "scale": np.array([10.0, 1.0])}
    words = {"channels": json.dumps(["Appliances", "x_2"]), "units": json.dumps(["Wh", ""])}
    save_file(arrays, folder / "samples.safetensors", words)
    report, _ = rendered(runs, tmp_path, pictures=False)
    series, _, marginals = report.pictures_of("samples")
    for svg in (drawing.drawn(picture).svg for picture in (series, marginals)):
        assert "Appliances (Wh)" in svg
        assert ">500<" in svg  # a tick in units
    (tmp_path / "models" / runs[0]["run_id"] / "samples.safetensors").write_bytes(b"cut short")
    report, _ = rendered(runs, tmp_path, pictures=False)
    assert "latent_diffusion" not in drawing.drawn(report.pictures_of("samples")[0]).svg


def test_ranks_need_data_sets(tmp_path):
    names = [f"set{k}" for k in range(6)]
    report, page = rendered(quick_runs(names, seeds=1, shuffles=(False,)), tmp_path, pictures=False)
    assert {test.n_datasets for _, test in report.ranks} == {6}
    assert "Ranks by sliced W. over 6 data sets" in page.words
    assert "too few for a critical-difference diagram" not in page.words
    report, page = rendered(quick_runs(names[:5], seeds=1, shuffles=(False,)), tmp_path, pictures=False)
    assert report.pictures_of("comparison") == []
    assert "Friedman" in page.words
    assert "There are fewer than 6 data sets. That is too few for a critical-difference diagram" in page.words
    report, page = rendered(quick_runs(names[:2], seeds=1, shuffles=(False,)), tmp_path, pictures=False)
    assert report.ranks == []


# ---------------------------------------------------------------- LaTeX and Markdown


def check_latex(text):
    """A small parser of what we write: balanced groups, mathematics closed per cell, as many columns in every row."""
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    assert lines[0].startswith(r"\begin{tabular}{")
    assert lines[-1] == r"\end{tabular}"
    columns = len(lines[0][len(r"\begin{tabular}{") : -1])
    for line in lines[1:-1]:
        if line in (r"\toprule", r"\midrule", r"\bottomrule"):
            continue
        assert line.endswith(r" \\")
        cells = re.split(r"(?<!\\)&", line[: -len(r" \\")])
        assert len(cells) == columns
        for cell in cells:
            depth = 0
            for token in re.findall(r"\\.|[{}]", cell):
                depth += {"{": 1, "}": -1}.get(token, 0)
                assert depth >= 0
            assert depth == 0
            assert len(re.findall(r"(?<!\\)\$", cell)) % 2 == 0
            outside = re.sub(r"\$[^$]*\$", "", re.sub(r"\\[\\&%$#_{}]|\\[a-zA-Z]+\{?", "", cell))
            assert not re.search(r"[#%_^~<>]", outside)


def test_latex_marks_best_and_second():
    (group,) = groups_of(cells_of(selection(quick_runs(("energy",), 3, (False,)))), FACTS)
    text = latex(group)
    check_latex(text)
    assert text.count(r"\textbf{") == len(group.quality)
    assert text.count(r"\underline{") == len(group.quality)
    best = next(line for line in text.splitlines() if line.startswith("proposed + skip"))
    assert r"\textbf{\boldmath$0.18" in best
    assert text.count(r"\midrule") == 2
    assert all(tex(name) in text for name in REFERENCES)


@pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="no pdflatex on this machine (Debian: texlive-latex-recommended)"
)
def test_latex_compiles(tmp_path):
    names = [name for name in HOSTILE if "名" not in name]  # CJK needs another TeX and a font
    runs = quick_runs(("energy",), 2, (False,)) + [run_row(name, seed=seed) for name in names for seed in (0, 1)]
    (group,) = groups_of(cells_of(selection(runs)), FACTS)
    (tmp_path / "table.tex").write_text(latex(group), encoding="utf-8")
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{table}\end{document}"
    (tmp_path / "paper.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "-no-shell-escape", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("name", HOSTILE)
def test_escapes_leave_no_syntax(name):
    check_latex("\\begin{tabular}{l}\n" + tex(name).replace("\n", " ") + " \\\\\n\\end{tabular}")
    assert not re.search(r"(?<!\\)[|<`*\[]|\n", markdown(name))


# ---------------------------------------------------------------- the command


@pytest.fixture
def results(tmp_path):
    runs = quick_runs(("energy",), seeds=1, shuffles=(False,))
    folder = tmp_path / "results"
    store = Store(folder)
    store.prepare()
    _, metrics, curves = frames(runs)
    store.write_part("part", runs, metrics.to_dict("records"), curves.to_dict("records"))
    labels = {run["run_id"]: run["label"] for run in runs}
    store.write_membership("first", dict(list(labels.items())[:1]), "the first", "python -m bench.run")
    store.write_membership("second", labels, "the second", "python -m bench.run")
    return folder


def test_command_renders_the_sweep_written_last(results, capsys, undrawn):
    assert report_command.main(["--results", str(results)]) == 0
    out = capsys.readouterr().out
    assert out == f"second: 9 ok\nreport: {results / 'report' / 'index.html'}\n"
    page = Page((results / "report" / "index.html").read_text(encoding="utf-8"))
    assert "the second" in page.words
    assert "not registered" not in page.words.lower()


def test_command_renders_a_named_sweep_elsewhere(results, tmp_path, undrawn):
    assert report_command.main(["--results", str(results), "--sweep", "first", "--out", str(tmp_path / "there")]) == 0
    assert "the first" in (tmp_path / "there" / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sweep", "secnd"], "--sweep secnd: no such sweep in .*did you mean 'second'"),
        (["--results", "nowhere"], "--results nowhere: no results there"),
        (["--bars", "sd"], "--bars: invalid choice"),
        (["--every", "0"], "--every 0: expected a number of seconds > 0"),
        (["--nonsense"], "unrecognized arguments"),
    ],
)
def test_command_says_what_is_wrong(results, words, message):
    with pytest.raises(InputError, match=message) as caught:
        report_command.main([*([] if "--results" in words else ["--results", str(results)]), *words])
    assert "\n" not in str(caught.value)


def test_watch_renders_when_results_arrive(results, monkeypatch, capsys, undrawn):
    more = [run_row("proposed", seed=7)]
    naps = []

    def nap(_):
        naps.append(1)
        if len(naps) == 2:
            Store(results).write_part("later", more)
            Store(results).write_membership("third", {more[0]["run_id"]: "proposed"})
        if len(naps) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(report_command.time, "sleep", nap)
    with pytest.raises(KeyboardInterrupt):
        report_command.main(["--results", str(results), "--watch"])
    lines = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["second", "report", "third", "report"]


def test_report_never_imports_torch():
    for path in Path(bench.report.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "torch"], path.name


def test_a_replay_has_the_plugins_and_data_of_its_sweep(tmp_path, undrawn):
    chosen = replace(
        selection([run_row("mine")], tmp_path / "my results"),
        command="python -m bench.run --grid mine.yaml --plugin own.py --jobs 2 --data 'a b'",
    )
    command = replay_command(build(chosen, FACTS, made=MADE), "abc")
    assert command == f"python -m bench.replay abc --results '{tmp_path}/my results' --plugin own.py --data 'a b'"


def test_a_replay_stays_within_its_marks(tmp_path, undrawn):
    chosen = selection([run_row("mine", status="failed"), run_row("proposed")], tmp_path)
    write(
        build(replace(chosen, command="python -m bench.run --plugin 'a`b.py'"), FACTS, made=MADE), tmp_path / "report"
    )
    (line,) = [line for line in (tmp_path / "report" / "report.md").read_text().splitlines() if "bench.replay" in line]
    assert line.count("`") == 2


@pytest.mark.slow
def test_a_thousand_runs_render_in_time(tmp_path):
    import time

    runs = [
        run_row(label, dataset, seed, shuffle)
        for label in [f"method {k}" for k in range(10)]
        for dataset in ("energy", "regimes", "sines", "ar1", "retail")
        for shuffle in (False, True)
        for seed in range(10)
    ]
    chosen = selection(runs, tmp_path)
    began = time.process_time()
    page = write(build(chosen, FACTS, made=MADE), tmp_path)
    assert time.process_time() - began < 20
    assert page.stat().st_size < 5e6


def test_differences_stand_below_the_table_and_say_where_splits_overlap(tmp_path, undrawn):
    runs = [
        {**row, "split_seed": row["seed"], "division": "blocks"}
        for row in quick_runs(("energy",), seeds=4, shuffles=(False,))
    ]
    chosen = dataclasses.replace(selection(runs, folder=tmp_path), equivalence={"sliced_wasserstein": 0.05})
    write(build(chosen, FACTS, made=MADE), tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "sliced W.: differences from latent_diffusion" in page
    assert "Equivalent: below 0.0500 in size by two one-sided tests." in page
    assert "Every split deals the same recording anew, so splits overlap." in page
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| method | difference | p (Holm) | detectable | verdict |" in text
    assert "energy,False,lstm,sliced_wasserstein,proposed" in (tmp_path / "tables" / "differences.csv").read_text(
        encoding="utf-8"
    ).replace('"', "").replace("false", "False")


def test_a_grid_of_budgets_is_drawn_with_what_training_reached(tmp_path):
    """Against `train.steps`: the validation objective, and the measure that ranks."""
    runs = []
    for steps in (100.0, 200.0, 400.0):
        for seed in range(2):
            row = run_row("proposed", seed=seed, **{"train.steps": steps})
            runs.append({**row, "updates": int(steps), "validation_objective": 1 / steps, "converged": False})
    frame, metrics, curves = frames(runs)
    chosen = select(frame, metrics, reader(curves), membership(runs), tmp_path)
    groups = groups_of(cells_of(chosen), FACTS)
    assert [column.metric for column in groups[0].columns if column.metric.startswith("v")] == ["validation_objective"]
    (picture,) = grids(groups, Styles(["proposed"]))
    assert picture.title.startswith("proposed over train.steps")
    assert "validation objective (lower is better): 100: 0.0100" in picture.alt
    assert "sliced W. (lower is better)" in picture.alt
    assert "m_T,0" not in picture.alt
