"""The page in a real browser: Chromium without a window, driven by a script put into a copy of the page.

No package is needed: the script does what a reader does, writes what it saw into the page, and
`--dump-dom` hands the page back.
"""

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from report_data import FACTS, quick_runs, run_row, selection

import bench.report.report
from bench.report.figures.likelihoods import likelihoods
from bench.report.page import write
from bench.report.report import build

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)

LONG = "variational_autoencoder_with_masking"
"""A name that fits a line of a phone, and no column of a table there."""

READER = """
const seen = { errors: window.__errors };
const table = document.querySelector(".group table");
const column = [...table.tHead.rows[0].cells].findIndex((head) => head.textContent.includes("sliced W."));
const values = () => [...table.tBodies[0].rows].map((row) => Number(row.cells[column].dataset.sort));
const button = table.tHead.rows[0].cells[column].querySelector("button");
button.click(); seen.up = values(); seen.sortUp = table.tHead.rows[0].cells[column].getAttribute("aria-sort");
button.click(); seen.down = values(); seen.sortDown = table.tHead.rows[0].cells[column].getAttribute("aria-sort");
seen.references = [...table.tBodies[1].rows].map((row) => row.cells[0].textContent.trim());

const more = document.querySelector(".group button[aria-expanded]");
const heads = () => [...table.tHead.rows[0].cells].filter((head) => head.offsetParent !== null).length;
seen.few = heads(); more.click(); seen.all = heads(); seen.expanded = more.getAttribute("aria-expanded");
more.click(); seen.fewAgain = heads();

const form = document.getElementById("filter");
const visible = (selector) => [...document.querySelectorAll(selector)].filter((e) => e.offsetParent !== null).length;
const choose = (name, value) => {
  form.elements[name].value = value; form.dispatchEvent(new Event("input", { bubbles: true }));
};
seen.groups = visible(".group"); seen.figures = visible("figure");
choose("dataset", "regimes"); seen.groupsFiltered = visible(".group"); seen.figuresFiltered = visible("figure");
choose("dataset", ""); choose("label", "proposed");
seen.rows = visible(".group > .wide tbody:not(.reference) tr");
seen.count = document.getElementById("count").textContent;
choose("label", "");
choose("text", "skip"); seen.byText = visible(".group > .wide tbody:not(.reference) tr"); choose("text", "");

const root = document.documentElement, colour = () => getComputedStyle(document.body).backgroundColor;
const switchTheme = () => document.getElementById("theme").click();
const before = colour(); switchTheme(); seen.theme = [before, colour(), root.dataset.theme];
switchTheme(); seen.back = colour();

const link = table.querySelector("td.number a"); seen.link = link.getAttribute("href"); link.click();
setTimeout(() => {
  const target = document.querySelector(seen.link), details = target.parentElement;
  seen.opened = details.open; seen.focused = document.activeElement === target;
  seen.command = details.querySelector("td.command code").textContent;
  seen.fetched = performance.getEntriesByType("resource").map((entry) => entry.name);
  seen.wider = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  const out = document.createElement("pre"); out.id = "seen"; out.textContent = JSON.stringify(seen);
  document.body.append(out);
}, 100);
"""


def browse(page, *flags):
    profile = page.parent / "profile"
    command = [
        BROWSER,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={profile}",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--enable-logging=stderr",
    ]
    done = subprocess.run(
        [*command, "--virtual-time-budget=5000", *flags, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    if BROWSER is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    out = tmp_path_factory.mktemp("browser")
    runs = [
        *quick_runs(("energy", "regimes"), seeds=2, shuffles=(False,)),
        run_row("proposed", seed=9, status="failed"),
    ]
    return written(runs, out)


@pytest.fixture(scope="module")
def long_page(tmp_path_factory):
    """Names that are long, and no more than a line of a phone."""
    if BROWSER is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    runs = [
        run_row(label, "csv,path=/home/someone/hourly_measurements_2024.csv,window=24", status=status)
        for label, status in ((LONG, "ok"), ("latent_diffusion", "ok"), ("kl_annealing", "failed"))
    ]
    return written([{**run, "n_test": 7} for run in runs], tmp_path_factory.mktemp("long"))


def written(runs, out):
    """A page with pictures of one kind, which take most of the time."""
    command = (
        "python -m bench.run --grid mine.yaml --plugin own.py --results results/of/mine --method 'proposed + skip'"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.report.report, "all_pictures", lambda s, g, b, f: likelihoods(g))
        return write(build(replace(selection(runs, out), command=command), FACTS), out)


def test_a_reader_sorts_filters_and_finds_a_run(page):
    text = page.read_text(encoding="utf-8")
    listen = '<script>window.__errors = []; addEventListener("error", (e) => window.__errors.push(e.message));</script>'
    copy = page.with_name("driven.html")
    copy.write_text(
        text.replace("</title>", f"</title>{listen}").replace(
            "</body>", f"<script>(() => {{{READER}}})();</script></body>"
        ),
        encoding="utf-8",
    )
    dom, console = browse(copy, "--dump-dom", "--window-size=1280,900")
    found = re.search(r'<pre id="seen">(.*?)</pre>', dom, re.DOTALL)
    assert found, console
    seen = json.loads(found.group(1).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert console == []
    assert seen["errors"] == []
    assert seen["fetched"] == []
    assert len(seen["up"]) == 4
    assert seen["up"] == sorted(seen["up"])
    assert seen["down"] == sorted(seen["up"], reverse=True)
    assert (seen["sortUp"], seen["sortDown"]) == ("ascending", "descending")
    assert seen["references"][0] == "Floors and controls"
    assert len(seen["references"]) == 6
    assert (seen["few"], seen["fewAgain"]) == (7, 7)
    assert seen["all"] > 7
    assert seen["expanded"] == "true"
    assert (seen["groups"], seen["groupsFiltered"]) == (2, 1)
    assert (seen["figures"], seen["figuresFiltered"]) == (2, 1)
    assert (seen["rows"], seen["count"]) == (2, "2 rows")
    assert seen["byText"] == 2
    assert seen["theme"][0] != seen["theme"][1]
    assert seen["back"] == seen["theme"][0]
    assert seen["link"].startswith("#cell-")
    assert seen["opened"]
    assert seen["focused"]
    assert seen["command"].startswith("python -m bench.replay ")
    assert not seen["wider"]


PROBE = """
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument, seen = {};
  for (const details of page.querySelectorAll("details")) details.open = true;
  for (const more of page.querySelectorAll(".group button[aria-expanded=false]")) more.click();
  const texts = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
  seen.words = 0; seen.broken = [];
  while (texts.nextNode()) {
    const text = texts.currentNode;
    if (text.parentElement.closest("script, style, svg") || !text.parentElement.offsetParent) continue;
    for (const word of text.data.matchAll(/[\\p{L}\\p{N}_]+/gu)) {
      const range = page.createRange();
      range.setStart(text, word.index); range.setEnd(text, word.index + word[0].length);
      const lines = [...range.getClientRects()].filter((box) => box.width > 0).map((box) => Math.round(box.top));
      seen.words += 1;
      if (new Set(lines).size > 1) seen.broken.push([word[0], text.data.trim().slice(0, 60)]);
    }
  }
  const root = page.documentElement;
  seen.width = root.clientWidth; seen.needed = root.scrollWidth;
  seen.options = [...page.querySelectorAll("code, pre.command")].filter((e) => e.textContent.includes(" --")).map(
    (e) => [e.textContent.slice(0, 40), getComputedStyle(e).whiteSpace.startsWith("pre-wrap") ? "wraps" :
      getComputedStyle(e).textWrapMode ?? getComputedStyle(e).whiteSpace]);
  seen.letters = [...page.querySelectorAll("figure svg")].map(
    (svg) => 12.7 * svg.getBoundingClientRect().width / (svg.viewBox.baseVal.width * 96 / 72));
  document.body.append(Object.assign(document.createElement("pre"), { id: "seen", textContent: JSON.stringify(seen) }));
});
"""


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("kind", ["usual", "long"])
def test_no_word_is_broken_and_no_page_is_wider_than_its_window(page, long_page, kind, width):
    """Everything is opened; what is wider than the window scrolls in a box of its own."""
    rendered = {"usual": page, "long": long_page}[kind]
    copy = rendered.with_name(f"framed-{width}.html")
    inside = rendered.read_text(encoding="utf-8").replace("&", "&amp;").replace('"', "&quot;")
    frame = f'<iframe srcdoc="{inside}" style="width:{width}px;height:800px"></iframe>'
    copy.write_text(f"<!doctype html><body>{frame}<script>{PROBE}</script></body>", encoding="utf-8")
    dom, console = browse(copy, "--dump-dom", "--window-size=1400,900")
    found = re.search(r'<pre id="seen">(.*?)</pre>', dom, re.DOTALL)
    assert found, console
    seen = json.loads(html.unescape(found.group(1)))
    assert seen["words"] > 500
    assert seen["broken"] == []
    assert width - 20 <= seen["width"] <= width
    assert seen["needed"] <= seen["width"]
    assert {wrap for _, wrap in seen["options"]} == {"nowrap"}  # an option would be broken after its hyphens
    assert min(seen["letters"]) > 8  # pixels, at the size of the figures' words
