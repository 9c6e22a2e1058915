"""`parquet`: a user's own parquet file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.contracts import Recordings
from bench.loading.tables import Table, read_columns
from bench.registry import register_dataset


@register_dataset("parquet")
@dataclass(frozen=True)
class Parquet(Table):
    """A user's own table as parquet: `parquet:PATH`; all options and rules are those of `csv`.

    The options that say how text is written (separator, decimal, encoding, header) are of `csv` alone.
    """

    source = "a file of your own"
    licence = "yours"

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """The table's rows."""
        path = self.locate(data_dir)
        return self.recordings(read_columns(path), path)
