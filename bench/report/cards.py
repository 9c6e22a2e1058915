"""What is registered about the methods, data sets and metrics of a report: their docstrings and declarations."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bench.contracts import InputError
from bench.loading.latent_card import kept_card
from bench.registry import DATASETS, METHODS, METRICS
from bench.report.columns import MetricFacts
from bench.report.selection import Selection

RESTRICTED = "yes: windows, samples and weights are neither stored nor drawn; only summaries are shown"


class Card(NamedTuple):
    """One thing, as its author describes it."""

    kind: str
    name: str
    facts: dict[str, str]
    text: str


def metric_facts() -> dict[str, MetricFacts]:
    """Unit, direction, needs and blind spots of every registered metric's outputs."""
    found = {}
    for name in METRICS:
        metric = METRICS[name]
        unit, text = "" if metric.unit in ("none", "1") else metric.unit, _text(metric)
        own = not metric.__module__.startswith("bench.")
        for output in metric.outputs:
            facts = metric.needs, text.partition("\n")[0], blind_spot(text), own, metric.unranked.get(output, "")
            found[output] = MetricFacts(unit, metric.direction, *facts)
    return found


def blind_spot(text: str) -> str:
    """The sentence of a card that follows "Blind to:"; "" where there is none."""
    sentence = re.match(r".*?[.](?=\s|$)", " ".join(text.partition("Blind to:")[2].split()))
    return sentence.group() if sentence else ""


class Validation(NamedTuple):
    """What `python -m bench.metrics.validate` found of the measures of a report, as a table."""

    n: int
    datasets: str
    corruptions: list[str]
    rows: list[tuple[str, list[str]]]  # metric@version, a verdict per corruption


def validation_of(selection: Selection) -> Validation | None:
    """The shipped table, for the measures that this report shows; None where it has none of them at their version."""
    with (resources.files("bench.metrics") / "validation.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file)
    versions = selection.metrics.groupby("metric", observed=True)["version"].first()  # of each the newest only
    measured = set(versions.items())
    table = table[[key in measured for key in zip(table["metric"], table["version"], strict=True)]]
    if table.empty:
        return None
    corruptions = list(dict.fromkeys(table["corruption"]))
    words: dict[str, dict[str, list[str]]] = {}
    for row in table.itertuples():
        cells = words.setdefault(f"{row.metric}@{row.version}", {name: [] for name in corruptions})
        cells[str(row.corruption)].append(f"{row.verdict}{'*' if row.claimed else ''}")
    rows = [
        (name, [" / ".join(dict.fromkeys(found)) or "-" for found in cells.values()]) for name, cells in words.items()
    ]
    return Validation(int(table["n"].max()), " / ".join(dict.fromkeys(table["dataset"])), corruptions, rows)


def restricted_datasets() -> set[str]:
    """Names of the data sets of which nothing but summaries is shown."""
    return {name for name in DATASETS if DATASETS[name].restricted}


def _text(thing: Any) -> str:
    return inspect.getdoc(thing) or "No description."


def _chosen(registry: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """What is registered of `names`; None for a name that is not (a plug-in that is not loaded)."""
    found = {}
    for name in dict.fromkeys(names):
        try:
            found[name] = registry[name]
        except InputError:
            found[name] = None
    return found


def _latent_facts(runs: pd.DataFrame, name: str, folder: Path) -> dict[str, str]:
    """What windows of a data set know of themselves, where it was computed; of each set of options that has it.

    folder: of the results, which may have been published with cards.
    """
    facts: dict[str, str] = {}
    for key, hashes in runs.groupby(runs["dataset"].astype(str), sort=False)["data_sha256"]:
        dataset, _, options = str(key).partition(",")
        card = kept_card(dict.fromkeys(hashes.astype(str)), folder) if dataset == name else None
        if card:
            facts |= {f"{fact}{f' ({options})' if options else ''}": words for fact, words in card.to_facts().items()}
    return facts or {"what a window knows of itself": f"not computed (python -m bench.data describe {name})"}


def cards_of(selection: Selection) -> list[Card]:
    """Cards of everything that the report shows."""
    runs, absent = selection.runs, "Not registered: load the plug-in that defines it with --plugin."
    cards = []
    for name, method in _chosen(METHODS, runs.loc[runs["kind"] == "method", "method"].unique()).items():
        version = runs.loc[runs["method"] == name, "method_version"].max()
        cards.append(Card("method", name, {"version": str(version)}, _text(method) if method else absent))
    for name, dataset in _chosen(DATASETS, [str(key).split(",")[0] for key in runs["dataset"].unique()]).items():
        facts = {}
        if dataset:
            facts = {"source": dataset.source, "licence and credit": dataset.licence, "version": str(dataset.version)}
            facts["restricted"] = RESTRICTED if dataset.restricted else "no"
            facts |= _latent_facts(runs, name, selection.folder)
        cards.append(Card("data set", name, facts, _text(dataset) if dataset else absent))
    measured = selection.metrics.groupby("metric", observed=True)["version"].max().to_dict()
    owners = {output: name for name in METRICS for output in METRICS[name].outputs}
    for name in sorted({owners.get(str(metric), str(metric)) for metric in measured}):
        if name not in METRICS:
            cards.append(Card("metric", name, {}, absent))
            continue
        metric = METRICS[name]
        facts = {
            "numbers": ", ".join(metric.outputs),
            "version": ", ".join(sorted({str(measured[output]) for output in metric.outputs if output in measured})),
            "unit": metric.unit,
            "better": metric.direction,
            "source": metric.source,
        }
        cards.append(Card("metric", name, facts, _text(metric)))
    return cards
