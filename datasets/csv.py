"""`csv`: a user's own CSV file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.contracts import Recordings, option
from bench.loading.delimited import Header, read_delimited
from bench.loading.tables import Table
from bench.registry import register_dataset


@register_dataset("csv")
@dataclass(frozen=True)
class CSV(Table):
    """A user's own table as CSV (plain or .gz): `csv:PATH`, or `{name: csv, path: PATH, window: 48}`.

    path: a relative path starts in the folder of the sweep file, or on the command line in the current directory. A
    file that is not there is looked for in the data folders. `~` and variables such as $HOME are replaced.
    separator: one character or its name (comma, semicolon, tab, pipe, space); default: a comma, or what a first line
    `sep=;` says. decimal: point (default) or comma. encoding: default UTF-8, or what a mark at its beginning says.
    header: a first line that looks like a row of data is refused, unless `names` says that it names the columns or
    `none` that it is a row; the columns are then x1, x2, .. Two columns of one name are refused.
    format: `wide` (default) has one row per time step and one column per channel. `id` names the column that tells
    entities apart, and `time` the column of the time (default: the first one, if it parses as timestamps). `long` has
    the columns id, time, variable and value; the options `id` and `time` may give other names for the first two.
    channels: the columns to use (default: all others). Columns have no unit here, so the card shows none. A column that
    looks like a time, a row number or the name of an entity is refused unless `time`, `id` or `channels` names it.
    Times are ISO 8601, or as `time_format` says (%d.%m.%Y), or numbers, which `time_unit` (s, ms, us, ns, min, h, d)
    counts from 1970. Times with a zone become UTC; times with and without a zone in one file are refused.
    Rows are sorted by time within an entity. A time that occurs twice is refused. This holds for the hour that a change
    to winter time repeats as well, so write UTC. A window may span a pause, unless `longest_pause` (2h, 30min; a number
    for times that are numbers) cuts a series there; pieces shorter than one window are then left out.
    missing_values: cells that are empty beside "", NA, NaN, nan and null, such as -200 or [-999, "?"].
    missing: `refuse` (default) is an error that names the first empty cell. `ffill` takes the last value of the entity,
    and the training median where there is none before. `mask` does the same and adds a channel of 0 and 1 for each
    channel with empty cells. `drop` leaves rows with empty cells out, so that the rows around them become neighbours.
    An entity shorter than one window is refused by name.

    Windows: T = `window`; `stride` for training, `test_stride` (default: the larger of `stride` and T // 4) for
    testing.
    Split: by entity where there is an `id`, else by contiguous blocks; or `time`, 70 / 10 / 20
    (see `bench.loading.division`).
    """

    source = "a file of your own"
    licence = "yours"

    separator: str = option("", later=True)
    decimal: str = option("", later=True)
    encoding: str = option("", later=True)
    header: Header = option("auto", later=True)

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """The table's rows."""
        path = self.locate(data_dir)
        raw = read_delimited(path, self.name, self.separator, self.decimal, self.encoding, self.header)
        return self.recordings(raw, path)
