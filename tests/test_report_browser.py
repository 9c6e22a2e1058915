"""The page in a real browser: Chromium without a window, driven by a script put into a copy of the page.

No package is needed: the script does what a reader does, writes what it saw into the page, and
`--dump-dom` hands the page back.
"""

import json
import re
import shutil
import subprocess

import pytest
from report_data import FACTS, quick_runs, run_row, selection

import bench.report.report
from bench.report.figures.likelihoods import likelihoods
from bench.report.page import write
from bench.report.report import build

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)

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
seen.rows = visible(".group tbody:not(.reference) tr");
seen.count = document.getElementById("count").textContent;
choose("label", "");
choose("text", "skip"); seen.byText = visible(".group tbody:not(.reference) tr"); choose("text", "");

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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.report.report, "all_pictures", lambda s, g, b, f: likelihoods(g))
        return write(build(selection(runs, out), FACTS), out)


def test_a_reader_sorts_filters_and_finds_a_run(page):
    html = page.read_text(encoding="utf-8")
    listen = '<script>window.__errors = []; addEventListener("error", (e) => window.__errors.push(e.message));</script>'
    copy = page.with_name("driven.html")
    copy.write_text(
        html.replace("</title>", f"</title>{listen}").replace(
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
    assert (seen["few"], seen["fewAgain"]) == (9, 9)
    assert seen["all"] > 9
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


def test_the_page_fits_a_phone(page):
    html = page.read_text(encoding="utf-8")
    copy = page.with_name("phone.html")
    inside = html.replace("&", "&amp;").replace('"', "&quot;")
    frame = f'<iframe srcdoc="{inside}" style="width:390px;height:800px"></iframe>'
    probe = (
        "addEventListener('load', () => { const d = document.querySelector('iframe').contentDocument.documentElement;"
        "document.body.append(Object.assign(document.createElement('pre'), { id: 'seen',"
        " textContent: `${d.clientWidth} ${d.scrollWidth}` })); })"
    )
    copy.write_text(f"<!doctype html><body>{frame}<script>{probe}</script></body>", encoding="utf-8")
    dom, _ = browse(copy, "--dump-dom")
    found = re.search(r'<pre id="seen">(\d+) (\d+)</pre>', dom)
    assert found
    assert int(found.group(1)) <= 390
    assert int(found.group(2)) <= int(found.group(1))
