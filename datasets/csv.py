"""`csv`: a CSV file of a user's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.contracts import Recordings
from bench.loading.files import read_text
from bench.loading.tables import Table
from bench.registry import register_dataset


@register_dataset("csv")
@dataclass(frozen=True)
class CSV(Table):
    """A user's own table as CSV (plain or .gz, UTF-8): `csv:PATH`, or `{name: csv, path: PATH, window: 48}`.

    path: a relative one starts in the folder of the sweep file, on the command line in the current directory, and where
    there is no such file in a data folder.
    format: wide (default), one row per time step, one column per channel; `id` names a column that tells entities
    apart, `time` the column of the time (none: the first one, if it parses as timestamps). long, the columns id, time,
    variable, value; the first two may be called otherwise and named by `id` and `time`.
    channels: the columns to use (none: all others). Columns have no unit here, so the card shows none.
    Times are ISO 8601 or numbers; those with a zone become UTC, zoned beside unzoned ones are refused. Rows are sorted
    by time within an entity, a time that occurs twice is refused (so is the hour that a change to winter time repeats:
    write UTC). Windows go on over pauses unless `longest_pause` (2h, 30min; a number for times that are numbers) cuts
    a series there; stretches shorter than one window are then left out.
    missing: refuse (default) an empty cell by name; ffill: the last value of the entity, before the first one the
    training median; mask: as ffill, and a channel of 0 and 1 for each that has empty cells; drop: leaves rows out, so
    that their neighbours become neighbours. An entity shorter than one window is refused by name.

    Windows: T = `window`, `stride` for training, `test_stride` (none: `stride` or T // 4, the larger) for testing.
    Split: by entity where there is an `id`, else contiguous blocks; or `time`, 70 / 10 / 20
    (see `bench.loading.windows`).
    """

    source = "a file of your own"
    licence = "yours"

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """The table's rows."""
        path = self.locate(data_dir)
        return self.recordings(read_text(path), path)
