"""`csv`: a CSV file of a user's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.contracts import Recordings
from bench.files import read_text
from bench.registry import register_dataset
from bench.tables import Table


@register_dataset("csv")
@dataclass(frozen=True)
class CSV(Table):
    """A user's own table as CSV (plain or .gz, UTF-8): `csv:PATH`, or `{name: csv, path: PATH, window: 48}`.

    wide (default): one row per time step, one column per channel; a first column that parses as timestamps is the
    time, `id` names a column that tells entities apart. long: the columns id, time, variable, value.
    Rows are sorted by time within an entity; a time that occurs twice, a text column, an empty cell (unless `missing`
    says drop, ffill or mask) and an entity shorter than one window are refused by name.
    `drop` leaves rows out, so that their neighbours become neighbours.

    Windows: T = `window`, `stride` for training, `test_stride` (T // 4) for testing.
    Split: by entity where there is an `id`, else contiguous blocks; or `time`.
    """

    source = "a file of your own"
    licence = "yours"

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """The table's rows."""
        path = self.locate(data_dir)
        return self.recordings(read_text(path), path)
