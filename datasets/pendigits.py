"""`pendigits`: UCI "Pen-Based Recognition of Handwritten Digits"."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from bench.contracts import Dataset, InputError, Recordings, Resolution
from bench.loading.files import Remote, as_numbers, check_file, find, first_line
from bench.registry import register_dataset

STEPS = 8
FILES = {  # the writers to learn from, and the other writers; with the SHA-256 of the content
    "pendigits/pendigits.tra": "e2b9eb9f0d0467e2b64a4816a3420edf2b8043447576f4b84337aba44a9f97d3",
    "pendigits/pendigits.tes": "8bd03229c5c5291fefe43e45465dd948d2645bf23328b9d993e0b777666b2015",
}


@register_dataset("pendigits")
@dataclass(frozen=True)
class PenDigits(Dataset):
    """The path of a pen that writes a digit, 8 points evenly spaced along it.

    7,494 digits of 30 writers and 3,498 digits of 14 other writers; channels x and y of the pen, whole numbers from 0
    to 100. The digit itself is known (the truth `digit`), and no model sees it.

    Quirks: every digit is scaled on its own to fill 0..100, so each window holds at least one 0 and one 100. The time
    of a point is lost: the points are evenly spaced by length. The writer of a digit is not known.

    Windows: T = 8, one per digit, so no window shares a row with another.
    Split: `official` is the published split by writer. The first seven eighths of `pendigits.tra` are for training, the
    rest of that file for validation, and `pendigits.tes` for testing. There is one such split, so seeds differ in the
    training only. With `entity` every seed divides the digits of both files anew, and a writer may be in all parts.
    """

    source = "https://archive.ics.uci.edu/dataset/81/pen+based+recognition+of+handwritten+digits"
    licence = (
        "CC BY 4.0 (E. Alpaydin, F. Alimoglu, 1996, Pen-Based Recognition of Handwritten Digits, UCI, "
        "doi:10.24432/C5MG6K)"
    )
    remote = tuple(
        Remote(
            "https://archive.ics.uci.edu/static/public/81/pen+based+recognition+of+handwritten+digits.zip",
            path,
            sha256=content,
            member=Path(path).name,
            known_from="the official page, whose archive holds files of these names; the hash of a mirrored copy",
        )
        for path, content in FILES.items()
    )

    split: Literal["official", "entity"] = "official"

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """A digit is a series of one window."""
        how = f"python -m bench.data fetch pendigits, or save {{}} of {self.source} into pendigits/"
        paths = [find([path, f"{path}.gz"], data_dir, how.format(Path(path).name)) for path in FILES]
        table = np.concatenate(files := [_digits(path) for path in paths])
        train, test = map(len, files)
        kept = train * 7 // 8
        return Recordings(
            series=list(table[:, :-1].reshape(-1, STEPS, 2)),
            channels=("x", "y"),
            units=("% of the digit's size",) * 2,
            window=STEPS,
            train_stride=STEPS,
            test_stride=STEPS,
            split="given" if self.split == "official" else "entity",
            truth={"digit": np.eye(10)[table[:, -1].astype(int)]},
            resolutions=(Resolution(1),) * 2,
            parts=["train"] * kept + ["validation"] * (train - kept) + ["test"] * test,
        )


def _digits(path: Path) -> np.ndarray:
    """x1, y1, .., x8, y8 and the digit, (n, 17). A file is read once per process and version.

    Raises InputError that names the file, the row and the column.
    """
    status = check_file(path).stat()
    return _remembered(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=2)
def _remembered(path: Path, *_version: int) -> np.ndarray:
    columns = [f"{axis}{step}" for step in range(1, STEPS + 1) for axis in "xy"] + ["digit"]
    try:
        table = pd.read_csv(path, header=None, names=columns, dtype=str, index_col=False, skipinitialspace=True)
    except (OSError, EOFError, ValueError, pd.errors.ParserError) as error:
        raise InputError(f"{path}: cannot be read, perhaps cut short or damaged: {first_line(error)}") from None
    rows = np.column_stack([as_numbers(table[name], path, "a whole number") for name in columns])
    low, high = np.zeros(len(columns)), np.array([100] * 2 * STEPS + [9])
    wrong = ~((rows >= low) & (rows <= high) & (rows == np.round(rows)))
    if wrong.any() or not len(rows):
        row, column = np.argwhere(wrong)[0] if len(rows) else (0, 0)
        raise InputError(
            f"{path}: row {row + 1}, column {columns[column]}: expected a whole number from 0 to {high[column]} "
            f"in each of {len(columns)} columns"
        )
    rows.flags.writeable = False  # it is handed out again
    return rows
