"""The pages are true: their code is executed, their links lead somewhere, and their tables are those of the code."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bench.contracts import (
    Dataset,
    DiffusionConfig,
    EvaluateConfig,
    InputError,
    ModelConfig,
    TrainConfig,
    check_options,
)
from bench.registry import DATASETS, METHODS, METRICS
from bench.report.claims import CLAIMS
from bench.store import CURVES, RUNS, STATUSES
from bench.store import METRICS as METRIC_COLUMNS
from bench.sweeps.file import BackboneEntry, ContrastEntry, DatasetEntry, MethodEntry, SweepFile, Tune, shipped_sweeps

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "bench" / "docs"
TOP = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PAGES = sorted(DOCS.glob("*.md"))
EVERY_PAGE = pytest.mark.parametrize("page", [*TOP, *PAGES], ids=lambda page: page.stem)
SECONDS = 600  # of one block of shell commands, on a busy machine


# ---------------------------------------------------------------- what a page holds


class Block(NamedTuple):
    """A fenced block of code: ```language option=value option="some words"."""

    language: str
    options: Mapping[str, str]
    content: str

    @property
    def executed(self) -> bool:
        """`text` is output or a drawing; `no-run` says why a block of code cannot be executed by CI."""
        return self.language != "text" and "no-run" not in self.options


@functools.cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks_of(page: Path) -> list[Block]:
    found = re.findall(r"^```(\w*)([^\n]*)\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)
    return [
        Block(language, dict(word.split("=", 1) for word in shlex.split(options)), content)
        for language, options, content in found
    ]


def prose_of(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


def section_of(page: Path, heading: str) -> str:
    """What stands below a heading, up to the next one."""
    _, found, rest = f"\n{prose_of(page)}".partition(f"\n{heading}\n")
    assert found, f"{page.name} has no heading '{heading}'"
    return re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def table_of(page: Path, heading: str) -> dict[str, list[str]]:
    """The rows of the table below a heading: first cell -> the others, without marks of code."""
    lines = [line for line in section_of(page, heading).splitlines() if line.startswith("|")]
    assert len(lines) > 2, f"{page.name}: no table below '{heading}'"
    rows = [[cell.strip().replace("`", "") for cell in line.strip("|").split(" |")] for line in lines[2:]]
    return {row[0]: row[1:] for row in rows}


# ---------------------------------------------------------------- code


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b.executed for b in blocks_of(page))], ids=lambda page: page.stem
)
def test_every_block_of_a_page_runs(page, tmp_path, monkeypatch):
    """In the page's order, in one empty folder; blocks of Python share their names."""
    monkeypatch.chdir(tmp_path)
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": paths, "FOLDER": str(tmp_path), "OMP_NUM_THREADS": "1"}
    names: dict[str, object] = {}
    for block in blocks_of(page):
        if "file" in block.options:
            path = tmp_path / block.options["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.content)
        elif not block.executed:
            continue
        elif block.language == "sh":
            folder = ROOT if block.options.get("cwd") == "repository" else tmp_path
            script = ["bash", "-euo", "pipefail", "-c", block.content]
            done = subprocess.run(script, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS)
            wanted = int(block.options.get("exit", 0))
            assert done.returncode == wanted, f"{block.content}\n{done.stdout}\n{done.stderr}"
        elif block.language == "python":
            # without this file's `annotations`, as in a notebook: a class there has no module that knows its names
            exec(compile(block.content, page.name, "exec", dont_inherit=True), names)
        else:
            pytest.fail(f"a block of {block.language} that nothing executes")


@EVERY_PAGE
def test_a_block_that_is_not_executed_says_why(page):
    for block in blocks_of(page):
        assert block.language, f"a block without a language:\n{block.content}"
        assert set(block.options) <= {"file", "exit", "cwd", "no-run"}
        assert len(block.options.get("no-run", "a reason of some words").split()) > 2


@pytest.mark.parametrize("page", TOP, ids=lambda page: page.stem)
def test_code_at_the_top_level_is_executed_on_another_page(page):
    """The README's example method is complete and works, because a page executes the same text."""
    executed = {block.content for other in PAGES for block in blocks_of(other) if block.executed}
    for block in blocks_of(page):
        assert not block.executed or block.content in executed, f"no page executes:\n{block.content}"


@EVERY_PAGE
def test_every_named_command_and_file_exists(page):
    for module in set(re.findall(r"python -m (bench(?:\.[a-z_]+)*)", text_of(page))):
        assert importlib.util.find_spec(module), f"{page.name} names {module}"
    for path in set(re.findall(r"`((?:bench|methods|datasets|tests)/[\w./-]*)`", prose_of(page))):
        assert (ROOT / path).exists(), f"{page.name} names {path}"


# ---------------------------------------------------------------- links and lengths


def anchors_of(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


RESULTS = sorted(
    page for place in ("", "findings", "core", "anew", "longer") for page in (ROOT / "results" / place).glob("*.md")
)


@pytest.mark.parametrize("page", [*TOP, *PAGES, *RESULTS], ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors_of(path), f"{page.name}: {target}"


def test_the_readme_is_short_and_links_every_page():
    readme = text_of(ROOT / "README.md")
    assert len(readme.split()) <= 1800
    assert not [page.name for page in PAGES if f"(bench/docs/{page.name})" not in readme]
    assert "(CONTRIBUTING.md)" in readme


def test_the_readme_activates_the_environment_before_any_other_command():
    commands = [line for block in blocks_of(ROOT / "README.md") for line in block.content.splitlines()]
    of_python = next(place for place, line in enumerate(commands) if line.startswith("python -m"))
    assert commands.index(". .venv/bin/activate") < of_python


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_begins_with_what_it_is_for(page):
    title, first, *_ = text_of(page).split("\n\n")
    assert title.startswith("# ")
    assert first[0].isupper()
    assert len(first.split()) > 8
    assert first.rstrip().endswith(".")


# ---------------------------------------------------------------- tables that are the code's


def shown(value: Any) -> str:
    """A default as a sweep file has it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(shown, value))}]"
    return '""' if value == "" else f"{value:g}" if isinstance(value, float) else str(value)


def range_of(config: Any, name: str) -> str:
    """What the message about an impossible value says it expected."""
    with pytest.raises(InputError) as refused:
        check_options(dataclasses.replace(config, **{name: object()}), "owner")
    return str(refused.value).partition(": expected ")[2]


@pytest.mark.parametrize(
    ("heading", "config"),
    [
        ("### `model`", ModelConfig()),
        ("### `train`", TrainConfig()),
        ("### `diffusion`", DiffusionConfig()),
        ("### `evaluate`", EvaluateConfig()),
    ],
)
def test_sweep_files_has_every_option_of_a_block(heading, config):
    table = table_of(DOCS / "sweep_files.md", heading)
    rows = {item.name: [shown(item.default), range_of(config, item.name)] for item in dataclasses.fields(config)}
    assert {name: cells[:2] for name, cells in table.items()} == rows
    assert all(cells[2] for cells in table.values())


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("## The keys of the file", SweepFile),
        ("## An entry of `datasets`", DatasetEntry),
        ("## An entry of `backbones`", BackboneEntry),
        ("## An entry of `methods`", MethodEntry),
        ("## An entry of `contrasts`", ContrastEntry),
        ("### `tune`", Tune),
    ],
)
def test_sweep_files_has_every_key_of_the_file(heading: str, model: type[BaseModel]) -> None:
    def default(name: str, field: FieldInfo) -> str:
        if model is SweepFile and name == "name":
            return "the name of the file"  # filled in before the file is checked
        return "required" if field.is_required() else shown(field.default)

    table = table_of(DOCS / "sweep_files.md", heading)
    rows = {name: default(name, field) for name, field in model.model_fields.items()}
    assert {name: cells[0] for name, cells in table.items()} == rows
    assert all(cells[1] and cells[2] for cells in table.values())


def shipped(registry: Mapping[str, Any]) -> list[str]:
    """The names that the repository holds; another test of this process may have registered more."""
    rooms = ("methods.", "datasets.", "bench.metrics.")
    return [name for name in registry if registry[name].__module__.startswith(rooms)]


def options_of(registry: Mapping[str, Any], shared: Iterable[str] = ()) -> dict[str, list[str]]:
    found = {}
    for name in shipped(registry):
        thing = registry[name]()
        for item in dataclasses.fields(thing):
            if item.name not in shared:
                found[f"{name}.{item.name}"] = [shown(item.default), range_of(thing, item.name)]
    return found


def test_methods_has_every_method_and_every_option():
    page = DOCS / "methods.md"
    assert set(table_of(page, "## The methods")) == set(shipped(METHODS))
    table = table_of(page, "## Options of one method")
    own = options_of(METHODS, ("latent_route", "masking_rate"))
    assert {name: cells[:2] for name, cells in table.items()} == own
    assert all(cells[2] for cells in table.values())
    standard = table_of(page, "## Options of every method")
    assert set(standard) == {"latent_route", "masking_rate"}
    vanilla = METHODS["latent_diffusion"]()
    for name, cells in standard.items():
        assert cells[:2] == [shown(getattr(vanilla, name)), range_of(vanilla, name)]


def test_choices_has_every_source_that_was_not_checked():
    files = [ROOT / "bench" / "early_diffusion.py"]
    for folder in ("methods", "bench/parts", "bench/metrics"):
        files += (ROOT / folder).glob("*.py")
    said = [file for file in files if "not checked against the text" in " ".join(text_of(file).split())]
    table = table_of(DOCS / "choices.md", "## Sources")
    assert set(table) == {file.relative_to(ROOT).as_posix() for file in said}
    assert all(all(cells) for cells in table.values())


def test_data_has_every_data_set_and_every_option():
    page = DOCS / "data.md"
    named = {name for first in table_of(page, "## The data sets") for name in first.replace(":PATH", "").split(", ")}
    assert named == set(shipped(DATASETS))
    table = table_of(page, "## Options of a data set")
    assert {name: cells[:2] for name, cells in table.items()} == options_of(
        DATASETS, ("gap", "align", "protocol", "training_windows")
    )
    energy = DATASETS["energy"]()
    standard = table_of(page, "## Options of every data set")
    assert set(standard) == {item.name for item in dataclasses.fields(Dataset)}
    for name, cells in standard.items():
        assert cells[:2] == [shown(getattr(energy, name)), range_of(energy, name)]


def test_measures_has_every_metric():
    table = table_of(DOCS / "measures.md", "## Every metric")
    rows = {}
    for name in shipped(METRICS):
        metric = METRICS[name]
        outputs, fast = ", ".join(metric.outputs), "yes" if metric.fast else "no"
        rows[name] = [outputs, metric.unit, metric.direction, fast]
    assert {name: cells[:4] for name, cells in table.items()} == rows
    assert all(cells[4] for cells in table.values())


KINDS = {"string": "text", "int64": "whole number", "double": "number", "bool": "true or false"}


@pytest.mark.parametrize(
    ("heading", "columns"),
    [
        ("## The table of runs", RUNS),
        ("## The table of metrics", METRIC_COLUMNS),
        ("## The table of curves", CURVES),
        ("## The table of claims", CLAIMS),
    ],
)
def test_results_has_every_column(heading, columns):
    table = table_of(DOCS / "results.md", heading)
    assert {name: cells[0] for name, cells in table.items()} == {name: KINDS[str(t)] for name, t in columns.items()}
    assert all(cells[1] for cells in table.values())


def test_results_has_every_status():
    assert set(table_of(DOCS / "results.md", "## Run status")) == set(STATUSES)


def test_commands_has_every_command_and_every_sweep():
    text = text_of(DOCS / "commands.md")
    commands = [path.stem for path in (ROOT / "bench").glob("*.py") if "run_command(main)" in path.read_text()]
    assert len(commands) >= 10
    for name in (*commands, "report", "metrics.validate", "perf"):
        assert f"## `bench.{name}`" in text
    assert set(table_of(DOCS / "sweep_files.md", "## Shipped sweeps")) == set(shipped_sweeps())


def test_the_readme_names_every_dependency():
    project = (ROOT / "pyproject.toml").read_text()
    required = re.search(r"^dependencies = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    assert required
    names: Sequence[str] = re.findall(r'"([A-Za-z0-9-]+)', required[1])
    table = section_of(ROOT / "README.md", "## Dependencies").lower()
    assert not [name for name in names if name.lower() not in table]
