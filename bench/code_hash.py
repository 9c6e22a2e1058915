"""What a plug-in's code is: a hash of its syntax, so that an edited method is another method.

The hash knows no comments, no docstrings and no layout, and it is the same under every supported Python.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHIPPED = ("methods", "datasets", "bench")
"""Packages whose code has versions of its own."""


def code_of(thing: type) -> str:
    """A hash of the file that defines a class and of the modules beside it that this file imports.

    "" for a class of this project, whose version is raised by hand, and for one that no file defines.
    """
    if thing.__module__.partition(".")[0] in SHIPPED:
        return ""
    place = getattr(sys.modules.get(thing.__module__), "__file__", None)
    return code_hash(Path(place)) if place else ""


_HASHES: dict[Path, str] = {}
"""Of the files that this process has imported, as they were then: they may have been edited since."""


def remember(path: Path, code: str) -> None:
    """The hash of a file as it was imported."""
    _HASHES[path] = code


def code_hash(path: Path) -> str:
    """The hash of a file as it was imported, or else as it is now; from then on it is the same."""
    if path not in _HASHES:
        remember(path, read_hash(path))
    return _HASHES[path]


def read_hash(path: Path) -> str:
    """16 hexadecimal digits, of the file as it is now."""
    digest = hashlib.sha256()
    for file in _with_neighbours(path):
        tree = ast.parse(file.read_bytes())
        digest.update("".join(_spelled(tree)).encode())
    return digest.hexdigest()[:16]


def _with_neighbours(path: Path) -> list[Path]:
    """The file, and the modules in its folder that it or they import, by name."""
    found, waiting = {path}, [path]
    while waiting:
        for name in _imported(ast.parse(waiting.pop().read_bytes())):
            beside = path.with_name(f"{name}.py")
            if beside not in found and beside.is_file():
                found.add(beside)
                waiting.append(beside)
    return [path, *sorted(found - {path})]


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").partition(".")[0]
            yield from [module] if module else (alias.name for alias in node.names)


def _spelled(node: Any) -> Iterator[str]:
    """The syntax tree as text: what is empty is left out, because newer versions of Python have more fields."""
    if isinstance(node, ast.AST):
        yield f"{type(node).__name__}("
        for name, value in sorted(ast.iter_fields(node)):
            if name == "body" and isinstance(value, list) and value and _is_docstring(value[0]):
                value = value[1:]
            if value is not None and value != []:
                yield f"{name}="
                yield from _spelled(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for item in node:
            yield from _spelled(item)
        yield "]"
    else:
        yield f"{node!r},"


def _is_docstring(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
