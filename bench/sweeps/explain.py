"""Why a run counts as done or not: which parts of its identity differ from those of the nearest existing run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench.contracts import InputError
from bench.sweeps.run import Run, plain

_NO_INGREDIENT = ("run_id", "sweep", "label", "kind", "config")


def explain(word: str, runs: Sequence[Run], table: pd.DataFrame, to_do: Mapping[str, int], place: str) -> list[str]:
    """Lines about the run whose identity begins with `word`; `runs` are the sweep's, `table` the finished ones.

    to_do: run_id -> the attempt that would be made. Raises InputError where no run, or several, begin so.
    """
    rows: dict[str, Any] = {str(row["run_id"]): row for row in table.to_dict("records")}
    asked = {run.run_id: run for run in runs}
    found = sorted({run_id for run_id in (*asked, *rows) if word and run_id.startswith(word)})
    if len(found) != 1:
        many = f"{len(found)} runs begin with it" if found else "no such run in the sweep or in the results"
        raise InputError(f"--explain {word}: {many}: expected the beginning of one run_id (see --dry-run)")
    (run_id,) = found
    lines = [_state(run_id, rows.get(run_id), asked.get(run_id), to_do, place)]
    if run_id not in rows:
        known = {other: _of_row(row) for other, row in rows.items() if row["kind"] == asked[run_id].kind}
        lines += _nearest(_of_run(asked[run_id]), known, "the nearest run in the results", ("asked for", "there"))
    elif run_id not in asked:
        known = {run.run_id: _of_run(run) for run in runs if run.kind == rows[run_id]["kind"]}
        lines += _nearest(_of_row(rows[run_id]), known, "the nearest run of the sweep", ("there", "asked for"))
    return lines


def _state(run_id: str, row: Mapping[str, Any] | None, run: Run | None, to_do: Mapping[str, int], place: str) -> str:
    if row is None:
        return f"{run_id} is to do: nothing in {place} has this identity"
    past = f"attempt {row['attempt']} ended {row['status']} at {row['finished_at']}"
    past += f" ({row['reason']})" if row["reason"] else ""
    if run is None:
        return f"{run_id} is in {place} but the sweep does not ask for it: {past}"
    if run_id in to_do:
        return f"{run_id} will be done again, as attempt {to_do[run_id]}: {past}"
    return f"{run_id} is done: {past}"


def _of_run(run: Run) -> dict[str, Any]:
    columns = run.columns()
    if run.kind == "reference":
        words = ("method", "dataset", "shuffle", "seed", "data_sha256", "evaluate.n_samples")
        return {name: columns[name] for name in words}
    return {k: v for k, v in columns.items() if k not in _NO_INGREDIENT and not k.startswith("evaluate.")}


def _of_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a row of the runs table, whose configuration says which columns are its own.

    An option that came after the run is in no column, and has its neutral value in the configuration.
    """
    configured = _of_run(Run.from_config(row["config"]))
    return {name: row[name] if pd.notna(row.get(name)) else value for name, value in configured.items()}


def _nearest(
    own: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]], title: str, sides: tuple[str, str]
) -> list[str]:
    if not known:
        return [f"there is no other run to compare it with: {title} would be named here"]
    differences = {other: _differences(own, values) for other, values in known.items()}
    best = min(differences, key=lambda other: len(differences[other]))
    shown = differences[best]
    lines = [f"{title} is {best}; it differs in {len(shown)} of {len(own)} ingredients:"]
    return lines + [f"  {name}: {mine} ({sides[0]}), {other} ({sides[1]})" for name, mine, other in shown]


def _differences(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    names = dict.fromkeys((*one, *two))
    pairs = [(name, plain(one.get(name, "-")), plain(two.get(name, "-"))) for name in names]
    return [(name, a, b) for name, a, b in pairs if _word(a) != _word(b)]


def _word(value: Any) -> str:
    """As the table keeps it: tuples and numbers are compared as text."""
    return str(list(value)) if isinstance(value, tuple) else str(value)
