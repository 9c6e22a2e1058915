"""What changed between two results folders, cell by cell, with significance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench import command
from bench.contracts import InputError
from bench.report.cells import Cell, cells_of, is_setting
from bench.report.formatting import counted, number, plain, plural, with_interval
from bench.report.selection import Selection
from bench.report.statistics import Interval, detectable, difference

Key = tuple[str, bool, str, str, str]

OF_TRAINING = ("training_version", "method_version")
OF_EVERY_RUN = ("git_commit", "device")
"""What goes into a method's run beside its settings, and what goes into a reference's run as well."""


@dataclass(frozen=True)
class Change:
    """One metric of one cell in both folders; the difference is B - A, paired over shared seeds."""

    key: Key
    metric: str
    a: Interval
    b: Interval
    difference: Interval
    identical: bool

    @property
    def detectable(self) -> float:
        """The smallest true difference that is found with 80 % power at 95 %; NaN without a variance."""
        return detectable(self.difference)

    @property
    def word(self) -> str:
        """What may be said of it."""
        if self.identical:
            return "identical"
        if self.difference.n < 2:
            return "one shared seed" if self.difference.n else "no shared seed"
        if self.difference.n == 2 and self.difference.without_spread:
            return "not resolved: no variance over 2 seeds"
        if not self.difference.excludes_zero:
            return "not resolved"
        return "higher in B" if self.difference.mean > 0 else "lower in B"


@dataclass(frozen=True)
class Comparison:
    """Two results folders side by side."""

    changes: list[Change]
    only_a: list[Key]
    only_b: list[Key]
    notes: list[str]


def name_of(key: Key) -> str:
    """A cell in words."""
    dataset, shuffle, backbone, label, setting = key
    place = " · ".join(filter(None, [dataset, "shuffled" if shuffle else "", backbone]))
    return f"{place}: {label}{f' ({setting})' if setting else ''}"


def _keyed(selection: Selection) -> dict[Key, Cell]:
    return {(c.dataset, c.shuffle, c.backbone, c.label, c.variant): c for c in cells_of(selection)}


def compare(a: Selection, b: Selection) -> Comparison:
    """Cells that both have, metric by metric; metrics of different versions are named and left out.

    Metrics that one side lacks, or has of other seeds, are named; shared seeds are compared.

    Raises InputError where the numbers of both are not of the same windows.
    """
    if a.split != b.split:
        raise InputError(
            f"{a.folder} has numbers of {a.split} windows, {b.folder} of {b.split} windows: expected those of one "
            "split (--split test or --split validation)"
        )
    measured = [s.metrics[["metric", "version"]].drop_duplicates() for s in (a, b)]
    versions = [dict(zip(table["metric"], table["version"], strict=True)) for table in measured]
    moved = {m for m in versions[0].keys() & versions[1].keys() if versions[0][m] != versions[1][m]}
    notes = [f"{m}: version {versions[0][m]} in A, {versions[1][m]} in B: not compared" for m in sorted(moved)]
    codes = [s.metrics[["metric", "metric_code"]].drop_duplicates() for s in (a, b)]
    code = [dict(zip(table["metric"], table["metric_code"], strict=True)) for table in codes]
    edited = {m for m in code[0].keys() & code[1].keys() if code[0][m] != code[1][m]} - moved
    notes += [f"{m}: the code of this metric differs between A and B: not compared" for m in sorted(edited)]
    notes += [f"{name}: {line}" for name, s in (("A", a), ("B", b)) for line in s.left_out]
    moved |= edited
    if moved & {"nll_own", "nll_permuted"}:
        moved.add("nll_gap")
    if "dependency_global" in moved:
        moved.add("dependency_end")
    cells_a, cells_b = _keyed(a), _keyed(b)
    rows = [{str(row["run_id"]): row for row in s.runs.to_dict("records")} for s in (a, b)]
    changes: list[Change] = []
    differing: dict[str, list[str]] = {}
    for key in (key for key in cells_a if key in cells_b):
        one, two = cells_a[key], cells_b[key]
        # seconds are as much the machine's as the method's
        metrics = [m for m in sorted((one.values.keys() | two.values.keys()) - moved) if not m.endswith("_seconds")]
        for line in [*_ingredients(one, two, rows[0], rows[1]), *_missing(one, two, metrics)]:
            differing.setdefault(line, []).append(name_of(key))
        if one.verdicts != two.verdicts and one.kind == "method":
            notes.append(f"{name_of(key)}: latent {counted(one.verdicts)} in A, {counted(two.verdicts)} in B")
        if one.status != two.status:
            notes.append(f"{name_of(key)}: {counted(one.status)} in A, {counted(two.status)} in B")
        elsewhere = _on_other_windows(one, two, rows[0], rows[1])
        for metric in (m for m in metrics if m in one.values and m in two.values):
            mine, theirs = one.values[metric], {s: v for s, v in two.values[metric].items() if s not in elsewhere}
            shared = mine.keys() & theirs.keys()
            identical = bool(shared) and all(mine[seed] == theirs[seed] for seed in shared)
            changes.append(
                Change(
                    key,
                    metric,
                    one.interval(metric),
                    two.interval(metric),
                    difference(theirs, mine, repeats=one.repeats),
                    identical,
                )
            )
    for line, where in differing.items():
        notes.append(f"{line}: {where[0] if len(where) == 1 else f'{len(where)} cells'}")
    changes.sort(key=lambda change: (change.key, change.metric))
    only_a, only_b = ([key for key in x if key not in y] for x, y in ((cells_a, cells_b), (cells_b, cells_a)))
    return Comparison(changes, only_a, only_b, notes)


def _on_other_windows(a: Cell, b: Cell, rows_a: Mapping[str, Any], rows_b: Mapping[str, Any]) -> set[int]:
    """The seeds whose windows are not the same in both cells, so that their values are no pairs."""
    of_a, of_b = (
        {seed: plain(rows[run]["data_sha256"]) for run, seed in cell.seeds.items()}
        for cell, rows in ((a, rows_a), (b, rows_b))
    )
    return {seed for seed in of_a.keys() & of_b.keys() if of_a[seed] != of_b[seed]}


def _ingredients(a: Cell, b: Cell, rows_a: Mapping[str, Any], rows_b: Mapping[str, Any]) -> list[str]:
    """What went into two cells and is not the same; references do not train, so that no setting goes into them."""
    seeds_a, seeds_b = (
        {seed: rows[run] for run, seed in cell.seeds.items()} for cell, rows in ((a, rows_a), (b, rows_b))
    )
    lines: dict[str, None] = {}
    for seed in sorted(seeds_a.keys() & seeds_b.keys()):
        one, two = seeds_a[seed], seeds_b[seed]
        if one["data_sha256"] != two["data_sha256"]:
            lines["the data differ (other windows), so that no difference is taken"] = None
        names = [n for n in {**one, **two} if n in OF_EVERY_RUN or n.startswith("version_")]
        if a.kind == "method":
            names += [n for n in {**one, **two} if n in OF_TRAINING or is_setting(n)]
        for name in names:
            x, y = plain(one.get(name)), plain(two.get(name))
            if x != y:
                lines[f"{name}: {x} in A, {y} in B"] = None
    return sorted(lines)


def _missing(a: Cell, b: Cell, metrics: Sequence[str]) -> list[str]:
    """The metrics that one of two cells lacks, or has of other seeds, by the numbers of seeds."""
    found: dict[str, list[str]] = {}
    for metric in metrics:
        mine, theirs = a.values.get(metric, {}).keys(), b.values.get(metric, {}).keys()
        counts = f"{plural(len(mine), 'seed')} in A, {len(theirs)} in B, {len(mine & theirs)} in both"
        if mine != theirs:
            found.setdefault(counts, []).append(metric)
    return [f"{', '.join(names)}: {counts}" for counts, names in found.items()]


def show(found: Comparison, everything: bool) -> None:
    """The comparison as lines of text."""
    for note in found.notes:
        command.write(note)
    for name, keys in (("A", found.only_a), ("B", found.only_b)):
        for key in keys:
            command.write(f"only in {name}: {name_of(key)}")
    changed = [change for change in found.changes if change.word in ("higher in B", "lower in B")]
    listed = found.changes if everything else changed
    if listed:
        rows = [
            [
                name_of(change.key),
                change.metric,
                with_interval(change.a),
                with_interval(change.b),
                f"{with_interval(change.difference)} (n = {change.difference.n})",
                number(change.detectable),
                change.word,
            ]
            for change in listed
        ]
        command.write_table(rows, ["cell", "metric", "A", "B", "B - A, paired, 95 %", "detectable", ""])
    counts = Counter(change.word for change in found.changes)
    summary = ", ".join(f"{count} {word}" for word, count in counts.most_common()) or "nothing that both have"
    command.write(f"{len(found.changes)} numbers compared: {summary}.")
    tested = sum(counts[word] for word in ("higher in B", "lower in B", "not resolved"))
    if changed:
        command.write(f"By chance alone about {number(0.05 * tested)} of {tested} would be called higher or lower.")
