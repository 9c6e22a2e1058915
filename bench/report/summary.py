"""The tables that a sweep ends with on the terminal: per data set a row for each method, setting and backbone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from bench.report.cells import per_run, verdicts_by_run
from bench.report.columns import DERIVED
from bench.report.formatting import counted
from bench.report.selection import Selection
from bench.report.statements import few_test_windows

HEADS = ("backbone", "sliced Wasserstein", "m_T,0", "latent", "n_test", "run status")
MOST_ROWS = 40  # per data set; all of them are in the report


class Line(NamedTuple):
    """One row of a table before it has numbers; its runs differ by their seed only."""

    place: str  # the data set, and whether it is shuffled
    title: str  # the method's label and its settings
    backbone: str
    run_ids: list[str]


def summary_tables(
    selection: Selection, lines: Sequence[Line], statuses: Mapping[str, str]
) -> dict[str, list[tuple[str, ...]]]:
    """Place -> rows of text: means over seeds, verdicts and how many runs ended how."""
    scalars = per_run(selection)
    numbers, known = (
        scalars.reindex(columns=["sliced_wasserstein", "dependency_end"]),
        verdicts_by_run(selection, scalars),
    )
    windows = selection.runs.set_index("run_id")["n_test"]
    found: dict[str, list[tuple[str, ...]]] = {}
    places = Counter(line.place for line in lines)
    for line in lines:
        rows = found.setdefault(line.place, [])
        if len(rows) >= MOST_ROWS:
            if len(rows) == MOST_ROWS:
                rows.append((f"and {places[line.place] - MOST_ROWS} more, see the report", *[""] * len(HEADS)))
            continue
        mine = numbers.reindex(line.run_ids)
        verdicts = Counter[str](known.get(run_id, "-") for run_id in line.run_ids)
        status = Counter(statuses.get(run_id, "to do") for run_id in line.run_ids)
        n_test = {int(n) for n in windows.reindex(line.run_ids).dropna() if n > 0}
        rows.append(
            (
                line.title,
                line.backbone or "-",
                *(_mean(mine[metric]) for metric in ("sliced_wasserstein", "dependency_end")),
                counted(verdicts),
                " to ".join(str(n) for n in sorted({min(n_test), max(n_test)})) if n_test else "-",
                ", ".join(f"{count} {word}" for word, count in status.items()),
            )
        )
    return found


def legend(selection: Selection) -> list[str]:
    """What stands below the tables: what the columns mean, and a warning where test windows are few."""
    warnings = [f"warning: {warning}" for warning in few_test_windows(selection.runs).values()]
    return [f"m_T,0: {DERIVED['dependency_end']}", "n_test: The number of test windows.", *warnings]


def _mean(values: Any) -> str:
    mean = values.mean()
    return "-" if pd.isna(mean) else f"{mean:.3f}"
