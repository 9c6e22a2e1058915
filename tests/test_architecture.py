"""The house keeps its order: no circle of imports, a purpose at the head of every file, reasons for large ones."""

from __future__ import annotations

import ast
import functools
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("bench", "methods", "datasets")
LARGEST_FILE, LARGEST_CLASS = 500, 250  # lines; above them the head of the file says why: "Longer than usual because"
REASON = "longer than usual because"


@functools.cache
def files_of(root: Path) -> dict[str, Path]:
    """Module name -> file, of all our packages."""
    paths = [path for room in ROOMS for path in sorted((root / room).rglob("*.py"))]
    names = [".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return dict(zip(names, paths, strict=True))


def imports_of(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of ours that a file imports anywhere in it, also inside a function or for types only."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: expected absolute imports"
            # `from package import module` needs the module; `from module import name` needs the module itself
            found |= {
                f"{node.module}.{a.name}" if f"{node.module}.{a.name}" in known else str(node.module)
                for a in node.names
            }
    return (found & set(known)) - {name}


def circle_in(root: Path) -> list[str]:
    """The modules of one circle of imports, empty where there is none."""
    known = files_of(root)
    try:
        TopologicalSorter({name: imports_of(name, path, known) for name, path in known.items()}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_circle_of_imports():
    assert circle_in(ROOT) == []


def test_a_circle_would_be_seen(tmp_path):
    room = tmp_path / "bench"
    room.mkdir()
    (room / "__init__.py").write_text("")
    (room / "a.py").write_text("from bench import b\n")
    (room / "b.py").write_text("def late():\n    import bench.a\n")
    assert set(circle_in(tmp_path)) == {"bench.a", "bench.b"}


@pytest.mark.parametrize("name", files_of(ROOT))
def test_every_file_says_what_it_is_for(name):
    text = files_of(ROOT)[name].read_text(encoding="utf-8")
    head = ast.get_docstring(ast.parse(text)) or ""
    if name.startswith(("methods.", "datasets.")):  # their one class is the card, which has a test of its own
        classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
        head = head or next((ast.get_docstring(node) or "" for node in classes), "")
    first = head.strip().split("\n\n")[0]
    assert len(first.split()) >= 4, "expected a docstring whose first sentence says what the file is for"


@pytest.mark.parametrize("name", files_of(ROOT))
def test_a_large_file_or_class_says_why(name):
    text = files_of(ROOT)[name].read_text(encoding="utf-8")
    tree = ast.parse(text)
    lengths = [(node.end_lineno or 0) - node.lineno + 1 for node in tree.body if isinstance(node, ast.ClassDef)]
    if len(text.splitlines()) > LARGEST_FILE or max(lengths, default=0) > LARGEST_CLASS:
        assert REASON in (ast.get_docstring(tree) or "").lower().replace("\n", " ")
