"""What is found by importing folders and installed packages, and the one line for what does not import."""

import importlib
import importlib.metadata
import sys

import pytest
from conftest import refused

from bench import registry


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n1 / 0\n", r"methods/mine.py: does not import: ZeroDivisionError: division by zero \(line 2\)$"),
        ("def (\n", r"methods/mine.py: does not import: SyntaxError: .*line 1\)$"),
        ("import nowhere_at_all\n", r"mine.py: does not import: ModuleNotFoundError: .*'nowhere_at_all' \(line 1\)$"),
        ("raise SystemExit\n", r"mine.py: does not import: SystemExit"),
    ],
)
def test_a_file_of_a_folder_that_does_not_import_is_one_line(tmp_path, monkeypatch, text, message):
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "mine.py").write_text(text)
    package = importlib.import_module("methods")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / "methods")])
    found = registry.Registry("method", "methods")
    for _ in range(2):  # the second look-up says the same
        with refused(message):
            list(found)
    sys.modules.pop("methods.mine", None)


def test_an_installed_plug_in_that_does_not_import_is_one_line(monkeypatch):
    broken = importlib.metadata.EntryPoint("mine", "nowhere_at_all:Mine", "bench.plugins")
    monkeypatch.setattr(registry, "entry_points", lambda group: [broken])
    with refused("^the plug-in 'nowhere_at_all:Mine': does not import: ModuleNotFoundError"):
        registry.load_plugins([])
