"""A line of one method, and the rows that it is made of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.report.cells import Cell


class Line(NamedTuple):
    """One method in one panel: x, the mean over seeds, and how far the bar or the shade reaches from it."""

    name: str
    style: dict[str, Any]
    x: np.ndarray
    mean: np.ndarray
    down: np.ndarray
    up: np.ndarray
    hollow: np.ndarray  # where a point is not to be trusted


def rows_of(table: pd.DataFrame, cell: Cell) -> pd.DataFrame:
    """The rows of a cell's runs."""
    return table[table["run_id"].isin(cell.seeds)]
