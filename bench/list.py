"""`python -m bench.list`: list methods, data sets, metrics, backbones, likelihoods and sweeps."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

from bench import command
from bench.contracts import InputError
from bench.registry import BACKBONES, DATASETS, LIKELIHOODS, METHODS, METRICS, Registry, load_plugins

ROOT = Path(__file__).resolve().parent.parent


class Row(NamedTuple):
    """One thing that is listed."""

    name: str
    sentence: str
    card: str


class Entry(NamedTuple):
    """What a row is made from: the registered name, the class's docstring, and what the class states of itself."""

    name: str
    card: str
    facts: Mapping[str, Any]

    @property
    def first_line(self) -> str:
        """The sentence that says what it is."""
        return self.card.partition("\n")[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """List names with one sentence each, or with --long the whole cards."""
    parser = command.parser("list", "List methods, data sets, metrics, backbones, likelihoods and sweeps.")
    parser.add_argument("kind", nargs="?", choices=(*KINDS, "sweeps"), help="only these (default: all)")
    parser.add_argument("--long", action="store_true", help="the whole card of each")
    command.add_plugin(parser)
    given = parser.parse_args(arguments)
    shipped_only = not given.plugin and not entry_points(group="bench.plugins")
    if not shipped_only:
        load_plugins(given.plugin)
    for number, kind in enumerate([given.kind] if given.kind else (*KINDS, "sweeps")):
        rows = _sweeps() if kind == "sweeps" else _rows(kind, short=shipped_only and not given.long)
        if not given.kind:
            command.write(f"{chr(10) if number else ''}{kind}")
        if given.long:
            for name, _, card in rows:
                command.write(f"{name}\n    {card.replace(chr(10), chr(10) + '    ')}\n")
        else:
            command.write_table([(row.name, row.sentence) for row in rows])
    return 0


def _rows(kind: str, short: bool) -> list[Row]:
    """In the order of the names; `short` rows need no more than the files say."""
    registry, row, needed = KINDS[kind]
    found = written(registry) if short else None
    if found is None or any(needed - entry.facts.keys() for entry in found):
        found = list(imported(registry))
    return [row(entry) for entry in sorted(found)]


def imported(registry: Registry[Any]) -> Iterator[Entry]:
    """What is registered, with all that its class has."""
    for name in registry:
        cls = registry[name]
        facts = {key: getattr(cls, key) for key in FACTS if hasattr(cls, key)}
        yield Entry(name, inspect.getdoc(cls) or "", facts)


def written(registry: Registry[Any]) -> list[Entry] | None:
    """The same, read from the files without importing them, which would take torch and with it most of the time.

    None where a file registers something in a way that takes an import to understand.
    """
    found: list[Entry] = []
    word = f"register_{registry.kind.replace(' ', '')}"
    for path in (ROOT / registry.package.replace(".", "/")).glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if f"{word}(" not in text:
            continue
        tree, before = ast.parse(text), len(found)
        for node in tree.body:
            calls = [mark for mark in getattr(node, "decorator_list", []) if isinstance(mark, ast.Call)]
            names = [call.args for call in calls if isinstance(call.func, ast.Name) and call.func.id == word]
            if not names:
                continue
            (name,), card = names[0], ast.get_docstring(node) if isinstance(node, ast.ClassDef) else None
            if card is None or not isinstance(name, ast.Constant):
                return None
            found.append(Entry(str(name.value), card, _stated(node)))
        called = [each.func for each in ast.walk(tree) if isinstance(each, ast.Call)]
        if sum(word in (getattr(each, "id", ""), getattr(each, "attr", "")) for each in called) != len(found) - before:
            return None  # not every registration is a decorator of a class of the module
    return found


def _stated(node: ast.AST) -> dict[str, Any]:
    """The constants that the body of a class assigns, with an annotation or without."""
    lines = getattr(node, "body", [])
    pairs = [(target, line.value) for line in lines if isinstance(line, ast.Assign) for target in line.targets]
    pairs += [(line.target, line.value) for line in lines if isinstance(line, ast.AnnAssign) and line.value is not None]
    return {
        target.id: value.value
        for target, value in pairs
        if isinstance(target, ast.Name) and isinstance(value, ast.Constant)
    }


# ---------------------------------------------------------------- a row of each kind

FACTS = ("source", "licence", "unit", "direction", "version", "fast", "outputs", "reference")


def _plain(entry: Entry) -> Row:
    return Row(entry.name, entry.first_line, entry.card)


def _method(entry: Entry) -> Row:
    mark = " [reference]" if entry.facts.get("reference") else ""
    return Row(entry.name, f"{entry.first_line}{mark}", entry.card)


def _dataset(entry: Entry) -> Row:
    facts = entry.facts
    card = f"{entry.card}\n\nSource: {facts.get('source')}\nLicence: {facts.get('licence')}"
    return Row(entry.name, entry.first_line, card)


def _metric(entry: Entry) -> Row:
    of = entry.facts
    fast = of.get("fast", True)
    facts = f"{of['unit']}, {of['direction']} is better" if of["direction"] != "none" else of["unit"]
    # a dot marks a variant of the literature, which `all` leaves out as well
    slow = "only by its name" if "." in entry.name else "slow, with `all` but not with `fast`"
    group = "with `fast` and with `all`" if fast else slow
    gives = ", ".join(of.get("outputs", ()))
    card = f"{entry.card}\n\nUnit: {facts}\nGives: {gives}\nSource: {of.get('source')}\nMeasured: {group}"
    short = "" if fast else f"; {group}"
    return Row(f"{entry.name}@{of['version']}", f"{entry.first_line} [{facts}{short}]", card)


def _sweeps() -> list[Row]:
    from bench.sweeps.file import SHIPPED, shipped_sweeps  # here: they check files, for which they take their time
    from bench.sweeps.plain_yaml import parse_yaml

    rows = []
    for name in shipped_sweeps():
        path = SHIPPED / f"{name}.yaml"
        text = path.read_text(encoding="utf-8")
        content = parse_yaml(text, str(path))
        if not isinstance(content, dict):
            raise InputError(f"{path}: expected a mapping")
        rows.append(Row(name, str(content.get("description", "")), text.rstrip()))
    return rows


KINDS: Mapping[str, tuple[Registry[Any], Callable[[Entry], Row], set[str]]] = {
    "methods": (METHODS, _method, set()),
    "datasets": (DATASETS, _dataset, set()),
    "metrics": (METRICS, _metric, {"unit", "direction", "version"}),
    "backbones": (BACKBONES, _plain, set()),
    "likelihoods": (LIKELIHOODS, _plain, set()),
}
"""How the things of each kind become rows, and the facts that a short row needs."""

if __name__ == "__main__":
    command.run_command(main)
