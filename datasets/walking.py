"""`walking`: UCI "User Identification From Walking Activity"."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from bench.contracts import Dataset, InputError, Recordings, Resolution, option
from bench.loading.archives import members
from bench.loading.days import in_time
from bench.loading.files import Remote, as_numbers, extract, find
from bench.registry import register_dataset

AXES = ("x", "y", "z")
LONGEST_PAUSE = 0.2  # s
REPEATED = 10  # rows one after another whose z is their y: a fault of the recording
NAMES = [
    "walking/user_identification_from_walking.tar.gz",
    "walking/user+identification+from+walking+activity.zip",
]


@register_dataset("walking")
@dataclass(frozen=True)
class Walking(Dataset):
    """Acceleration of a phone in the chest pocket of 21 persons who walk outdoors along one path.

    About 33 rows a second, 29 s to 11 min for each person. Channels: acceleration along x, y and z in m/s2, with
    gravity.
    The licence of this set is not confirmed: the repository states CC BY 4.0 for what is donated to it in general, and
    the set's own README names none. So it is handled as restricted data are: measures may be published, and neither
    windows nor samples.

    Quirks: z repeats y in every row of person 19 and in 1,738 rows of person 18; these rows are left out. The clock of
    persons 17 and 18 jumps back and repeats a block of rows several times; a row is used only if its time is later than
    all before. A series ends at a step longer than 0.2 s. Otherwise the rows are taken as evenly spaced, although their
    steps vary (30 ms in the median, 41 ms at the 95th percentile). Persons differ much in length: 17, 18 and 20 hold 40
    % of the windows.
    How the phone hangs tells a person by itself. `level: removed` subtracts the mean of each person's rows, to ask for
    the gait alone.

    Windows: T = 64 rows (1.9 s, about two steps), one after another without overlap.
    Split by recording: `person` divides the persons anew for every seed. Within the recordings: `time` takes the first
    70 % of the windows of each person for training and the last 20 % for testing; there is one such split.
    The person is known (the truth `person`); no model sees it.
    """

    source = "https://archive.ics.uci.edu/dataset/286/user+identification+from+walking+activity"
    licence = (
        "not confirmed; CC BY 4.0 by the repository's general statement (P. Casale, O. Pujol, P. Radeva 2012, Personal "
        "and Ubiquitous Computing 16(5), 563)"
    )
    restricted = True
    remote = (
        Remote(
            "https://archive.ics.uci.edu/static/public/286/user+identification+from+walking+activity.zip",
            NAMES[1],
            begins=b"PK",
            instead=(NAMES[0],),
            copies=("b35e79036f91db7879312b329589b1b4ba6994fbb6b7cbb6b88f98c4f18cad23",),
            known_from="the pattern of the repository's addresses; no hash of the archive is published, and the "
            "numbers of this project come from a mirrored archive of the same files",
        ),
    )

    window: int = option(64, at_least=2)  # T
    level: Literal["kept", "removed"] = "kept"
    split: Literal["person", "time"] = "person"

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """Every window is a series of its own."""
        how = f"python -m bench.data fetch walking, or put the archive of {self.source} into walking/"
        path = find(NAMES, data_dir, how)
        rows = extract(f"walking version {self.version}", [path], lambda: _rows(path), private=True)
        values, owner = rows[list(AXES)].to_numpy().copy(), rows["person"].to_numpy()
        persons = np.unique(owner).tolist()
        if self.level == "removed":
            for person in persons:
                own = values[owner == person]
                own -= [math.fsum(axis) / len(own) for axis in own.T]  # exact on every processor
                values[owner == person] = own
        stretch = rows["stretch"].to_numpy()
        begins = np.flatnonzero(np.diff(stretch, prepend=-1))
        place = np.arange(len(stretch)) - np.repeat(begins, np.diff([*begins, len(stretch)]))
        starts = np.flatnonzero(place % self.window == self.window - 1) - self.window + 1
        if not len(starts):
            raise InputError(f"{path}: no stretch without a pause has {self.window} rows, expected some")
        whose = owner[starts]
        counts = [int((whose == person).sum()) for person in persons]
        return Recordings(
            series=[values[start : start + self.window] for start in starts],
            channels=AXES,
            units=("m/s2",) * 3,
            window=self.window,
            train_stride=self.window,
            test_stride=self.window,
            split="given" if self.split == "time" else "entity",
            entities=[str(person) for person in whose],
            parts=np.concatenate([in_time(count) for count in counts]).tolist() if self.split == "time" else (),
            truth={"person": np.eye(len(persons))[np.searchsorted(persons, whose)]},
            resolutions=(Resolution(0),) * 3,
        )


def _rows(path: Path) -> pd.DataFrame:
    """Person, stretch without a pause, and the three axes, in the order of the persons' numbers."""
    files = {}
    for name, content in members(path, ".csv", "User Identification From Walking Activity/N.csv"):
        if Path(name).stem.isdigit():
            files[int(Path(name).stem)] = (path / name, content)
    if not files:
        raise InputError(f"{path}: holds no file N.csv, expected one for each person")
    tables, before = [], 0
    for person in sorted(files):
        table = _one_person(*files[person])
        if len(table):
            stretch = before + (table["time"].diff() > LONGEST_PAUSE).cumsum().to_numpy()
            before = int(stretch[-1]) + 1
            tables.append(table.assign(person=person, stretch=stretch))
    if not tables:
        raise InputError(f"{path}: no row is left, expected some with different y and z")
    return pd.concat(tables, ignore_index=True)[["person", "stretch", *AXES]]


def _one_person(path: Path, content: bytes) -> pd.DataFrame:
    """Rows whose time is later than all before, without those whose z repeats y."""
    columns = ["time", *AXES]
    try:
        table = pd.read_csv(io.BytesIO(content), header=None, names=columns, dtype=str, index_col=False)
    except (ValueError, pd.errors.ParserError) as error:
        raise InputError(f"{path}: expected four columns of numbers: {str(error).splitlines()[0]}") from None
    table = pd.DataFrame({name: as_numbers(table[name], path) for name in columns})
    if table.empty:
        raise InputError(f"{path}: has no rows, expected four columns of numbers")
    for row, column in np.argwhere(~np.isfinite(table.to_numpy()))[:1]:
        raise InputError(f"{path}: row {row + 1}, column '{columns[column]}' is empty, expected a number")
    same = table["y"] == table["z"]
    run = (same != same.shift()).cumsum()
    repeated = same & (same.groupby(run).transform("size") >= REPEATED)
    later = table["time"] > table["time"].cummax().shift(fill_value=-np.inf)
    return table[later & ~repeated]
