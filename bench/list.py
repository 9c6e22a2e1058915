"""`python -m bench.list`: list methods, data sets, metrics, backbones, likelihoods and sweeps."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from bench import command
from bench.contracts import InputError
from bench.registry import BACKBONES, DATASETS, LIKELIHOODS, METHODS, METRICS, load_entry_points, load_plugin

Row = tuple[str, str, str]
"""Name, one sentence, the whole card."""


def main(arguments: Sequence[str] | None = None) -> int:
    """List names with one sentence each, or with --long the whole cards."""
    parser = command.parser("list", "List methods, data sets, metrics, backbones, likelihoods and sweeps.")
    parser.add_argument("kind", nargs="?", choices=tuple(KINDS), help="only these (default: all)")
    parser.add_argument("--long", action="store_true", help="the whole card of each")
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE", help="a Python file of your own")
    given = parser.parse_args(arguments)
    load_entry_points()
    for plugin in given.plugin:
        load_plugin(plugin)
    for number, kind in enumerate([given.kind] if given.kind else KINDS):
        rows = KINDS[kind]()
        if not given.kind:
            command.write(f"{chr(10) if number else ''}{kind}")
        if given.long:
            for name, _, card in rows:
                command.write(f"{name}\n    {card.replace(chr(10), chr(10) + '    ')}\n")
        else:
            command.write_table([(name, sentence) for name, sentence, _ in rows])
    return 0


def _card(thing: Any) -> str:
    return inspect.getdoc(thing) or ""


def _first_line(card: str) -> str:
    return card.splitlines()[0] if card else ""


def _methods() -> list[Row]:
    rows = []
    for name in METHODS:
        card, mark = _card(METHODS[name]), " [reference]" if METHODS[name].reference else ""
        rows.append((name, f"{_first_line(card)}{mark}", card))
    return rows


def _datasets() -> list[Row]:
    rows = []
    for name in DATASETS:
        cls = DATASETS[name]
        card = f"{_card(cls)}\n\nSource: {cls.source}\nLicence: {cls.licence}"
        rows.append((name, _first_line(card), card))
    return rows


def _metrics() -> list[Row]:
    rows = []
    for name in METRICS:
        cls = METRICS[name]
        facts = f"{cls.unit}, {cls.direction} is better" if cls.direction != "none" else cls.unit
        group = _group(name)
        card = (
            f"{_card(cls)}\n\nUnit: {facts}\nGives: {', '.join(cls.outputs)}\nSource: {cls.source}\nMeasured: {group}"
        )
        short = "" if cls.fast else f"; {group}"
        rows.append((f"{name}@{cls.version}", f"{_first_line(card)} [{facts}{short}]", card))
    return rows


def _group(metric: str) -> str:
    """The values of `evaluate.metrics` that include a metric."""
    if METRICS[metric].fast:
        return "with `fast` and with `all`"
    # a dot marks a variant of the literature, which `all` leaves out as well
    return "only by its name" if "." in metric else "slow, with `all` but not with `fast`"


def _backbones() -> list[Row]:
    return [(name, _first_line(_card(BACKBONES[name])), _card(BACKBONES[name])) for name in BACKBONES]


def _likelihoods() -> list[Row]:
    return [(name, _first_line(_card(LIKELIHOODS[name])), _card(LIKELIHOODS[name])) for name in LIKELIHOODS]


def _sweeps() -> list[Row]:
    from bench.sweeps.file import SHIPPED, shipped_sweeps
    from bench.sweeps.plain_yaml import parse_yaml

    rows = []
    for name in shipped_sweeps():
        path = SHIPPED / f"{name}.yaml"
        text = path.read_text(encoding="utf-8")
        content = parse_yaml(text, str(path))
        if not isinstance(content, dict):
            raise InputError(f"{path}: expected a mapping")
        rows.append((name, str(content.get("description", "")), text.rstrip()))
    return rows


KINDS = {
    "methods": _methods,
    "datasets": _datasets,
    "metrics": _metrics,
    "backbones": _backbones,
    "likelihoods": _likelihoods,
    "sweeps": _sweeps,
}

if __name__ == "__main__":
    command.run_command(main)
