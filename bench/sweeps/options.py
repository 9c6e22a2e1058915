"""The options of a sweep file and of the command line: every value checked, every mistake one line."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.contracts import Contrast, Dataset, DatasetSpec, InputError, ModelConfig, check_options, nearest
from bench.registry import BACKBONES, DATASETS, LIKELIHOODS, METRICS
from bench.sweeps.file import KEYS_LISTED_BY
from bench.sweeps.plain_yaml import parse_yaml
from bench.sweeps.run import BLOCKS, plain_values


def checked(cls: type, given: Mapping[str, Any], place: str, owner: str) -> Any:
    """An instance of a configuration dataclass; unknown and illegal values raise InputError."""
    known = [item.name for item in dataclasses.fields(cls)]
    for key in given:
        if key not in known:
            listed_by = f"`python -m bench.data describe {owner}`" if issubclass(cls, Dataset) else KEYS_LISTED_BY
            raise InputError(f"{place}: {owner}.{key}: unknown key: {nearest(str(key), known, listed_by)}")
    for item in dataclasses.fields(cls):
        if item.name not in given and item.default is dataclasses.MISSING:
            raise InputError(f"{place}: {owner}.{item.name}: expected this option, it has no default")
    value = cls(**plain_values(given))
    check_options(value, f"{place}: {owner}")
    if isinstance(value, ModelConfig) and value.likelihood not in LIKELIHOODS:
        raise InputError(f"{place}: {owner}.likelihood: {LIKELIHOODS.unknown(value.likelihood)}")
    return value


def dataset_spec(given: Mapping[str, Any], place: str, folder: str = "") -> DatasetSpec:
    """A data set entry, its options checked; options at their default are dropped so that equal specs are one.

    A relative `path` starts in `folder`: that of the sweep file, or "" for the current directory.
    """
    options = dict(given)
    name, shuffle = options.pop("name"), options.pop("shuffle", False)
    if name not in DATASETS:
        raise InputError(f"{place}: datasets: {DATASETS.unknown(name)}")
    built = checked(DATASETS[name], options, place, name)
    defaults = plain_values({item.name: item.default for item in dataclasses.fields(built)})
    kept = {key: value for key, value in plain_values(options).items() if repr(value) != repr(defaults[key])}
    relative = False
    if kept.get("path"):
        kept["path"] = str(Path(kept["path"]))  # ./own.csv is own.csv: one data set, one split
        relative = not Path(kept["path"]).is_absolute()
    return DatasetSpec(name, tuple(sorted(kept.items())), shuffle, os.path.abspath(folder) if relative else "")


def target(key: str, method: type | None, place: str) -> tuple[str, str]:
    """Where a key of `set`, `grid` or --set belongs: ("method", field) or (block, field)."""
    own = [item.name for item in dataclasses.fields(method)] if method else []
    if key in own:
        return "method", key
    fields = {name: [item.name for item in dataclasses.fields(block)] for name, block in BLOCKS.items()}
    block, dot, name = key.partition(".")
    if dot and block in fields:
        if name in fields[block]:
            return block, name
        raise InputError(f"{place}: {key}: unknown key: {nearest(name, fields[block], KEYS_LISTED_BY)}")
    holders = [block for block, names in fields.items() if key in names]
    if len(holders) == 1:
        return holders[0], key
    if holders:
        choices = " or ".join(f"{block}.{key}" for block in holders)
        raise InputError(f"{place}: {key}: ambiguous: write {choices}")
    known = [*own, *(f"{block}.{name}" for block, names in fields.items() for name in names)]
    raise InputError(f"{place}: {key}: unknown key: {nearest(key, known, KEYS_LISTED_BY)}")


def parse_seeds(text: str) -> tuple[int, ...]:
    """`0:5` (0 to 4) or `1,2,7`. Raises InputError."""
    span = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", text)
    if span and int(span[1]) < int(span[2]) <= int(span[1]) + 1_000_000:
        return tuple(range(int(span[1]), int(span[2])))
    if re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", text):
        seeds = tuple(int(word) for word in text.split(","))
        if len(set(seeds)) == len(seeds):
            return seeds
    raise InputError(f"--seeds {text}: expected FROM:TO (0:5 means 0 to 4) or different whole numbers (1,2,7)")


def parse_setting(text: str) -> tuple[str, Any]:
    """`key=value`, the value read as in a sweep file. Raises InputError."""
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", key):
        raise InputError(f"--set {text}: expected KEY=VALUE, such as train.steps=500")
    if re.match(r"%\w|[,|]$", value):  # a time's format, a separator: YAML means something else by these
        return key, value
    parsed = parse_yaml(value, f"--set {text}")
    if isinstance(parsed, dict) or value.strip() == "":
        raise InputError(f"--set {text}: expected a number, a word, true or false after the equals sign")
    return key, parsed


def sort_settings(texts: Iterable[str], methods: Sequence[type]) -> dict[str, dict[str, Any]]:
    """--set, sorted into blocks; "method" holds what goes to every method that has the field."""
    sorted_: dict[str, dict[str, Any]] = {}
    for text in texts:
        key, value = parse_setting(text)
        holder = next((m for m in methods if key in {item.name for item in dataclasses.fields(m)}), None)
        if holder is None and methods:
            holder = methods[0]  # for its field names in the message
        block, name = target(key, holder, f"--set {text}")
        settings = sorted_.setdefault(block, {})
        if name in settings:
            raise InputError(f"--set {text}: {key}: expected once, it is already given as {settings[name]!r}")
        settings[name] = value
    return sorted_


def check_metrics(wanted: str | Sequence[str], place: str) -> None:
    """Raises InputError unless `wanted` is fast, all or a list of known metrics."""
    if wanted in ("fast", "all"):
        return
    if isinstance(wanted, str) or not wanted:
        raise InputError(f"{place}: evaluate.metrics = {wanted!r}: expected fast, all or a list of metrics")
    for name in wanted:
        if name not in METRICS:
            raise InputError(f"{place}: evaluate.metrics: {METRICS.unknown(name)}")


def check_equivalence(bounds: Iterable[str], place: str) -> None:
    """Raises InputError where a bound is of no number by which methods are ranked."""
    ranked = [METRICS[name] for name in METRICS if METRICS[name].needs == "samples"]
    known = {output for metric in ranked if metric.direction != "none" for output in metric.outputs}
    known -= {output for metric in ranked for output in metric.unranked}
    for name in bounds:
        if name not in known:
            hint = nearest(name, known, "`python -m bench.list metrics`")
            raise InputError(f"{place}: equivalence.{name}: no number of a metric by which methods are ranked: {hint}")


def check_contrasts(
    contrasts: Sequence[Contrast], settings: Mapping[str, int], datasets: Iterable[str], place: str
) -> None:
    """Raises InputError unless every contrast has a name of its own, two methods of one setting each, and data.

    settings: label -> how many settings its entries have. The best of several would be chosen by the data that test it.
    datasets: the names of the sweep's data sets.
    """
    names = set(datasets)
    for position, contrast in enumerate(contrasts):
        here = f"{place}: contrasts[{position}]"
        for key, label in (("of", contrast.of), ("against", contrast.against)):
            if label not in settings:
                hint = nearest(label, settings, f"`methods` in {place}")
                raise InputError(f"{here}.{key}: expected the label of a method, not '{label}': {hint}")
            if settings[label] > 1:
                raise InputError(
                    f"{here}.{key}: expected the label of one setting, '{label}' has {settings[label]}: give the "
                    "setting an entry of `methods` with a label of its own"
                )
        if contrast.of == contrast.against:
            raise InputError(f"{here}.against: expected another label than that of `of`, '{contrast.of}'")
        for other in contrasts[:position]:
            if _as_in_files(contrast.name) == _as_in_files(other.name):
                raise InputError(
                    f"{here}.name: expected a name of its own, '{contrast.name}' is taken (by '{other.name}'): names "
                    "differ in more than case, spaces, dots and hyphens, because they name claims and figures"
                )
        for name in contrast.without:
            if name not in DATASETS:
                raise InputError(f"{here}.without: {DATASETS.unknown(name)}")
        if not names - set(contrast.without):
            raise InputError(f"{here}.without: names every data set of the sweep, expected one that is left")


def _as_in_files(name: str) -> str:
    """What is left of a name where it names a file or a claim; see `bench.report.figures.picture.slug`."""
    return re.sub(r"[ .·-]+", "-", name.lower()).strip("-")


def check_backbones(names: Iterable[str], place: str) -> None:
    """Raises InputError where a name is that of no backbone."""
    for name in names:
        if name not in BACKBONES:
            raise InputError(f"{place}: {BACKBONES.unknown(name)}")
