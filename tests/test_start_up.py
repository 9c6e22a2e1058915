"""Commands begin soon: nothing heavy is imported before the options are known, and what has not changed stays."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from report_data import frames, quick_runs, run_row

from bench import list as listing
from bench.__main__ import ORDER
from bench.perf.__main__ import GPU
from bench.perf.gpu import PARTS
from bench.report import __main__ as report_command
from bench.report import rendering
from bench.report.unchanged import STAMP, fingerprint
from bench.store import Store

HEAVY = ("torch", "pandas", "pyarrow", "matplotlib", "scipy", "sklearn", "pydantic", "joblib", "jinja2", "rich")

HELPS = """
import contextlib, importlib, importlib.util, io, json, sys
heavy, verbs = json.loads(sys.argv[1])
found = {}
for verb in verbs:
    name = f"bench.{verb}"
    package = importlib.util.find_spec(name).submodule_search_locations
    main = importlib.import_module(f"{name}.__main__" if package else name).main
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
        main(["--help"])
    assert "usage: python -m " + name in shown.getvalue(), verb
    found[verb] = sorted(set(heavy) & set(sys.modules))
print(json.dumps(found))
"""


def test_no_parser_waits_for_a_heavy_package():
    words = [sys.executable, "-c", HELPS, json.dumps([HEAVY, ORDER])]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert json.loads(done.stdout) == {verb: [] for verb in ORDER}


WORKER = """
import sys
from pathlib import Path
from bench.engine.job import JobSettings, run_stack
from bench.store import Store
from bench.sweeps.expand import read_sweep
from bench.sweeps.stacks import Stack
Store(Path(sys.argv[2])).prepare()
run = next(run for run in read_sweep(Path(sys.argv[1])).runs if run.kind == "method")
assert run_stack(Stack((run,)), JobSettings(Path(sys.argv[2]), None)) == [(run.run_id, "ok", "")]
print(sorted({"sympy", "torch._inductor", "torch._dynamo"} & set(sys.modules)))
"""


def test_a_worker_loads_neither_a_compiler_nor_a_computer_algebra_system(tmp_path):
    """Some functions of torch import them on the way: a second, and 100 MB of every worker."""
    sweep = tmp_path / "tiny.yaml"
    sweep.write_text(
        "name: tiny\ndatasets: [{name: regimes, series: 60}]\nmethods: [latent_diffusion]\n"
        "model: {hidden: 4, latent: 2, likelihood: mixed, channels: autoregressive}\ntrain: {steps: 2}\n"
        "diffusion: {L: 10, steps: 2, hidden: 4}\nevaluate: {n_samples: 10, metrics: [nll, sliced_wasserstein]}\n"
    )
    words = [sys.executable, "-c", WORKER, str(sweep), str(tmp_path / "out")]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", listing.KINDS)
def test_what_is_listed_without_an_import_is_what_is_registered(kind):
    """A test may have registered more in this process, and a plug-in may be under test."""
    registry, row, needed = listing.KINDS[kind]
    short = listing.written(registry)
    assert short is not None, "a file of this kind can only be understood by importing it"
    whole = {entry.name: entry for entry in listing.imported(registry)}
    shipped = {name for name in whole if registry[name].__module__.startswith(("bench.", "methods.", "datasets."))}
    assert {entry.name for entry in short} == shipped
    for entry in short:
        assert needed <= entry.facts.keys()
        assert row(entry)[:2] == row(whole[entry.name])[:2]


def test_a_registration_that_is_no_constant_is_left_to_an_import(tmp_path, monkeypatch):
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "own.py").write_text('NAME = "own"\n@register_method(NAME)\nclass Own:\n    "Mine."\n')
    monkeypatch.setattr(listing, "ROOT", tmp_path)
    assert listing.written(listing.METHODS) is None


@pytest.mark.parametrize(
    "lines",
    [
        'class Own:\n    "Mine."\nregister_method("own")(Own)\n',
        'if True:\n    @register_method("own")\n    class Own:\n        "Mine."\n',
        '@registry.register_method("own")\nclass Own:\n    "Mine."\n',
    ],
)
def test_a_registration_that_is_no_decorator_of_a_class_is_left_to_an_import(tmp_path, monkeypatch, lines):
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "own.py").write_text(lines)
    monkeypatch.setattr(listing, "ROOT", tmp_path)
    assert listing.written(listing.METHODS) is None


def test_what_a_class_states_with_an_annotation_is_listed(tmp_path, monkeypatch):
    (tmp_path / "methods").mkdir()
    text = '@register_method("own")\nclass Own:\n    "Mine."\n    reference: ClassVar[bool] = True\n    T: int\n'
    (tmp_path / "methods" / "own.py").write_text(text)
    monkeypatch.setattr(listing, "ROOT", tmp_path)
    (row,) = listing._rows("methods", short=True)
    assert row.sentence == "Mine. [reference]"


def test_the_parts_of_a_gpu_are_named_as_they_are():
    assert tuple(PARTS) == GPU


# ---------------------------------------------------------------- a report that has not changed


@pytest.fixture
def results(tmp_path, undrawn):
    runs = quick_runs(("energy",), seeds=1, shuffles=(False,))
    store = Store(tmp_path / "results")
    store.prepare()
    _, metrics, curves = frames(runs)
    store.write_part("part", runs, metrics.to_dict("records"), curves.to_dict("records"))
    store.write_membership("only", {run["run_id"]: run["label"] for run in runs}, "", "python -m bench.run")
    return store.path


@pytest.fixture
def rendered(monkeypatch):
    """How often a report was rendered."""
    calls, real = [], rendering.render
    monkeypatch.setattr(rendering, "render", lambda *given: calls.append(given) or real(*given))
    return calls


def test_a_report_is_rendered_again_only_where_something_has_changed(results, rendered, capsys):
    def report(*words):
        before = len(rendered)
        assert report_command.main(["--results", str(results), *words]) == 0
        return len(rendered) - before, capsys.readouterr().out

    first = report()
    assert first[0] == 1
    assert report() == (0, first[1])
    assert report("--bars", "series")[0] == 1  # another option
    assert report()[0] == 1  # whose report lies there now
    page = results / "report" / "index.html"
    page.unlink()
    assert report() == (1, first[1])
    page.write_text("mine")
    assert report()[0] == 1
    assert page.read_text() != "mine"
    Store(results).write_part("later", [run_row("proposed", seed=7)])
    assert report()[0] == 1
    assert report()[0] == 0
    (results / "report" / STAMP).write_text("{}")
    assert report()[0] == 1


def test_changed_code_renders_again(results, rendered, monkeypatch):
    for lines, times in ((["a"], 1), (["a"], 1), (["b"], 2)):
        monkeypatch.setattr("bench.report.unchanged._versions", lambda lines=lines: iter(lines))
        assert report_command.main(["--results", str(results)]) == 0
        assert len(rendered) == times


def test_files_that_vanish_while_they_are_looked_at_are_left_out(results, tmp_path, monkeypatch):
    """A temporary file of a running sweep, and an editor's lock among the code: both as links that lead nowhere."""
    before = fingerprint(results, [])
    (results / "runs" / ".part.tmp").symlink_to(tmp_path / "gone")
    assert fingerprint(results, []) == before
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / ".#own.py").symlink_to(tmp_path / "gone")
    monkeypatch.setattr("bench.report.unchanged.ROOT", tmp_path)
    assert fingerprint(results, [])


def test_a_compact_report_is_always_rendered_and_holds_nothing_of_this_machine(results, rendered):
    for times in (1, 2):
        assert report_command.main(["--results", str(results), "--compact"]) == 0
        assert len(rendered) == times
    assert not (results / "report" / STAMP).exists()
