"""Hyper-parameters chosen on validation windows: the sweep of all trials, and the best of each method."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from bench import command
from bench.contracts import InputError
from bench.randomness import numpy_generator
from bench.registry import METHODS, METRICS
from bench.store import existing, load_results, replacing
from bench.sweeps.expand import Variant, variants_of
from bench.sweeps.file import SplitSeeds, SweepFile, Tune

Settings = dict[str, Any]


def trials(file: SweepFile, entry: Mapping[str, Any], place: str) -> list[Settings]:
    """At most `tune.trials` settings of a method: its own first, then random points of its space, all different.

    Every method of a file draws from its own stream, so that adding one does not change the others.
    """
    assert file.tune is not None
    nothing = METHODS[entry["name"]].without_effect if entry["name"] in METHODS else ()
    shared = {option: values for option, values in file.tune.space.items() if option not in nothing}
    own, axes = dict(entry.get("set", {})), {**shared, **entry.get("search", {})}
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    order = numpy_generator("tune", 0, f"trials of {entry.get('label') or entry['name']}").permutation(len(points))
    found: list[Settings] = []
    seen: list[list[Variant]] = []
    for setting in (own, *({**own, **points[index]} for index in order)):
        variant = variants_of(file, {"name": entry["name"], "set": setting}, place)
        if variant not in seen:  # a point that only writes out a default is no new trial
            seen.append(variant)
            found.append(setting)
        if len(found) == file.tune.trials:
            break
    return found


def trial_sweep(file: SweepFile, entries: Sequence[Mapping[str, Any]], place: str) -> Settings:
    """The sweep file of all trials; the label of a trial is LABEL #NUMBER."""
    tune = file.tune
    if tune is None:
        raise InputError(f"{place}: tune: expected a block with trials and a space, for bench.tune")
    methods = []
    for entry in entries:
        label = entry.get("label") or entry["name"]
        if entry.get("grid"):
            raise InputError(f"{place}: {label}: expected no grid in a sweep that is tuned: use search")
        found = trials(file, entry, place)
        if len(found) < tune.trials:
            raise InputError(
                f"{place}: {label}: its space has {len(found)} settings, its own included: expected at least "
                f"tune.trials = {tune.trials}, the same number for every method"
            )
        methods += [
            {"name": entry["name"], "label": f"{label} #{number}", "set": setting}
            for number, setting in enumerate(found)
        ]
    return {
        "name": f"{file.name}-trials",
        "description": f"{tune.trials} trials per method, on validation windows",
        "datasets": [entry.model_dump(exclude_defaults=True) for entry in file.datasets],
        "methods": methods,
        "backbones": [entry.model_dump(exclude_defaults=True) for entry in file.backbones],
        "seeds": list(tune.seeds),
        "model": file.model,
        "train": {**file.train, **tune.train},
        "diffusion": {**file.diffusion, **tune.diffusion},
        "evaluate": {**file.evaluate, "metrics": [tune.metric], "split": "validation", "during_training": 0},
    }


def ranks(runs: pd.DataFrame, metrics: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Per label and trial, over (data set, backbone, seed): mean rank, value and change from trial 0, and runs ok.

    runs: rows of the trials, their label "LABEL #NUMBER". A run that is not ok has the last rank and no change.
    Raises InputError where the trials have numbers of different versions of the metric.
    """
    at_end = metrics[(metrics.metric == metric) & (metrics.split == "validation") & (metrics.train_step < 0)]
    rows = at_end[(at_end.status == "ok") & (at_end.coordinate == "") & at_end.run_id.isin(runs.run_id)]
    if len(versions := sorted(set(rows.version))) > 1:
        raise InputError(
            f"{metric}: the trials have numbers of its versions {' and '.join(map(str, versions))}, which do not "
            "compare: measure all anew with `python -m bench.evaluate --split validation`, or give another --results"
        )
    table = runs.assign(value=runs.run_id.map(rows.groupby("run_id", observed=True).value.mean()))
    table[["label", "trial"]] = table.label.str.rsplit(" #", n=1, expand=True)
    table["trial"] = table.trial.astype(int)
    better = -table.value if better_is_higher(metric) else table.value
    place = ["label", "dataset", "shuffle", "backbone", "seed"]
    table["rank"] = better.groupby([table[name] for name in place]).rank(na_option="bottom")
    own = table[table.trial == 0].groupby(place, observed=True).value.first()
    table["change"] = table.value - own.reindex(pd.MultiIndex.from_frame(table[place])).to_numpy()
    grouped = table.groupby(["label", "trial"])
    return grouped.agg(rank=("rank", "mean"), value=("value", "mean"), change=("change", "mean"), ok=("value", "count"))


def better_is_higher(metric: str) -> bool:
    """The direction of a metric or of one of its outputs."""
    return any(METRICS[name].direction == "higher" for name in METRICS if metric in (name, *METRICS[name].outputs))


def best_trial(table: pd.DataFrame, margin: float, higher: bool) -> int:
    """The trial with the lowest mean rank (a tie: the earlier one), or 0 where it is not better by `margin`.

    Where trial 0 failed more often it need not be better, only not worse where both have a value.
    table: one method's rows of `ranks`, by `trial`.
    """
    rows = table.set_index("trial").sort_index()
    best = rows.index.to_list()[rows["rank"].to_numpy().argmin()]
    gain = rows.change[best] * (1 if higher else -1)  # NaN where no run of trial 0 is ok
    if rows.ok[0] < rows.ok[best]:
        return 0 if gain < 0 else best
    return best if gain >= margin and rows.ok[best] == rows.ok[0] else 0


def tuned_sweep(file: SweepFile, chosen: Mapping[str, Settings]) -> Settings:
    """The file with the chosen settings in place of its entries' own, and nothing left to search."""
    kept = file.model_dump(exclude_defaults=True, exclude={"tune", "reduced", "folder"})
    kept["seeds"] = file.seeds.model_dump() if isinstance(file.seeds, SplitSeeds) else list(file.seeds)
    for entry in kept["methods"]:
        entry.pop("search", None)
        if setting := chosen[entry.get("label") or entry["name"]]:
            entry["set"] = setting
    return {**kept, "name": f"{file.name}-tuned"}


def folder_key(file: SweepFile, out: Path) -> Settings:
    """The key `folder` of a sweep written to `out`, where a data set of `file` has a relative path; else nothing.

    The paths themselves stay as they are, because they are part of a data set's name and so of its split.
    """
    paths = [Path(str((entry.model_extra or {}).get("path", "/"))) for entry in file.datasets]
    if all(path.is_absolute() for path in paths):
        return {}
    return {"folder": os.path.relpath(file.folder, os.path.abspath(out.parent))}


def write_sweep(path: Path, document: Settings, comment: str) -> None:
    """Write a sweep file whole or not at all, below a comment."""
    text = "".join(f"# {line}\n" for line in comment.splitlines())
    with replacing(path) as temporary:
        temporary.write_text(text + yaml.safe_dump(document, sort_keys=False, width=110), encoding="utf-8")


def choose(results: Path, document: Settings, tune: Tune) -> dict[str, Settings]:
    """The best setting per label; prints all trials."""
    runs, metrics = load_results(results)
    labels = existing(results).membership(document["name"]).runs
    own = runs[runs.run_id.isin(labels) & (runs.kind == "method")]
    table = ranks(own.assign(label=own.run_id.map(labels)), metrics, tune.metric).reset_index()
    best = {
        str(label): best_trial(group, tune.margin, better_is_higher(tune.metric))
        for label, group in table.groupby("label")
    }
    settings = {entry["label"]: entry["set"] for entry in document["methods"]}
    rows, chosen = [], {}
    for row in table.to_dict("records"):
        label, setting = row["label"], settings[f"{row['label']} #{row['trial']}"]
        if row["trial"] == best[label]:
            chosen[label] = setting
        words = yaml.safe_dump(setting, default_flow_style=True, width=1000).strip()
        numbers = [f"{row['rank']:.2f}", f"{row['value']:.4g}", str(int(row["ok"]))]
        rows.append([label, str(row["trial"]), "*" if row["trial"] == best[label] else "", *numbers, words])
    command.write()
    command.write_table(rows, ["method", "trial", "", "mean rank", tune.metric, "ok", "setting"])
    return chosen
