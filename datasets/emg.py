"""`emg`: UCI "EMG Data for Gestures", the strength of muscle activity while a hand is held."""

from __future__ import annotations

import io
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from bench.contracts import Dataset, InputError, Recordings, Resolution, option
from bench.loading.archives import members
from bench.loading.exact_logarithms import log
from bench.loading.files import Remote, as_numbers, check_columns, extract, find
from bench.registry import register_dataset

BIN = 20  # ms
STEP = 1e-5  # of the converter, in the file's unit
FLOOR = 1e-6  # added before the logarithm
CHANNELS = [f"channel{k}" for k in range(1, 9)]
GESTURES = ("rest", "fist", "wrist bent in", "wrist bent out", "to the thumb side", "to the little-finger side")
PERSONS = [f"{k:02}" for k in range(1, 37) if k not in (2, 7, 11, 13, 30, 34)]
NAMES = ["emg/emg_gestures_30_subjects.tar.xz", "emg/emg+data+for+gestures.zip"]
MEMBER = re.compile(r"(?:.*/)?(\d\d)/([12])_raw_data_[^/]*\.txt$")


@register_dataset("emg")
@dataclass(frozen=True)
class EMG(Dataset):
    """How strongly eight places of the forearm are active while a hand is held in one of six ways, 30 persons.

    Two series of about a minute for each person. Every series runs through rest, fist, wrist bent in, wrist bent out,
    to the thumb side and to the little-finger side, in this order and twice, about two seconds each.
    Channels: ln(root mean square in 20 ms + 1e-6) of eight electrodes in a band round the forearm; no unit is given.

    Quirks: the clock shows 1 ms, but the band sends new values about 104 times a second and the rows between repeat
    them, so that rows are no samples. The values are noise around zero whose strength is the signal: a latent can be a
    level and a regime, and not a shape. Three bins are empty and take the mean of their neighbours. Windows lie inside
    one marked stretch, never across two gestures. The published set has 36 persons; 02, 07, 11, 13, 30 and 34 are
    not used, because the mirrored copy that this project's numbers come from has none of them.

    Windows: T = 48 bins (0.96 s), stride 12; test windows have the same stride and overlap.
    Split by recording: `person` divides the persons anew for every seed. Within the recordings: `series` takes the
    first series of each person for training and the second one for testing; of the first, the second round of every
    third person is for validation. There is one such split.
    The gesture and the person are known (the truth `gesture` and `person`); no model sees them.
    """

    source = "https://archive.ics.uci.edu/dataset/481/emg+data+for+gestures"
    licence = (
        "CC BY 4.0 (N. Krilova et al., 2018, EMG Data for Gestures, UCI, doi:10.24432/C5ZP5C; cite Lobov et al. 2018, "
        "Sensors 18(4), 1122)"
    )
    remote = (
        Remote(
            "https://archive.ics.uci.edu/static/public/481/emg+data+for+gestures.zip",
            NAMES[1],
            begins=b"PK",
            instead=(NAMES[0],),
            copies=("627599e493f6dbbbff2b6775029abc3e5e96bf03b17a166ba333993a2514a677",),
            known_from="many public repositories record this address; no hash of the archive is published, and the "
            "numbers of this project come from a mirrored archive of 30 persons",
        ),
    )

    window: int = option(48, at_least=2)  # T
    stride: int = option(12, at_least=1)
    split: Literal["person", "series"] = "person"

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """Every marked stretch is a series."""
        how = f"python -m bench.data fetch emg, or put the archive of {self.source} into emg/"
        path = find(NAMES, data_dir, how)
        bins = extract(f"emg version {self.version}", [path], lambda: _bins(path))
        owner = bins["stretch"].to_numpy()
        runs = np.split(np.arange(len(owner)), np.flatnonzero(np.diff(owner)) + 1)
        runs = [run for run in runs if len(run) >= self.window]
        if not runs:
            raise InputError(f"{path}: no marked stretch has {self.window} bins of {BIN} ms, expected some")
        first = bins.iloc[[run[0] for run in runs]]
        values = bins[CHANNELS].to_numpy()
        return Recordings(
            series=[values[run] for run in runs],
            channels=tuple(CHANNELS),
            units=("ln(RMS)",) * len(CHANNELS),
            window=self.window,
            train_stride=self.stride,
            test_stride=self.stride,
            split="given" if self.split == "series" else "entity",
            entities=[PERSONS[person] for person in first["person"]],
            parts=[_part(*row) for row in zip(first["person"], first["series"], first["round"], strict=True)]
            if self.split == "series"
            else (),
            truth={name: _one_hot(first[name].to_numpy()) for name in ("gesture", "person")},
            resolutions=(Resolution(0),) * len(CHANNELS),
        )


def _one_hot(numbers: np.ndarray) -> np.ndarray:
    """A column for every number that occurs, in their order."""
    kinds, place = np.unique(numbers, return_inverse=True)
    return np.eye(len(kinds))[place]


def _part(person: int, series: int, round_: int) -> str:
    """The part of a stretch where the second series is for testing."""
    if series == 2:
        return "test"
    return "validation" if round_ == 2 and person % 3 == 0 else "train"


def _bins(path: Path) -> pd.DataFrame:
    """Bins inside marked stretches of all persons: person, series, and what `_one_series` gives."""
    tables = []
    for name, content in members(path, ".txt", "NN/S_raw_data_...txt"):
        found = MEMBER.match(name)
        if found and found[1] in PERSONS:
            table = _one_series(_read(content, path / name), path / name)
            tables.append(table.assign(person=PERSONS.index(found[1]), series=int(found[2])))
    if not tables:
        raise InputError(f"{path}: holds no file NN/S_raw_data_...txt, expected two for each of {len(PERSONS)} persons")
    bins = pd.concat(tables, ignore_index=True)
    keys = bins[["person", "series", "stretch"]].to_numpy()
    bins["stretch"] = np.concatenate([[0], np.cumsum((np.diff(keys, axis=0) != 0).any(axis=1))])
    return bins


def _read(content: bytes, path: Path) -> pd.DataFrame:
    wanted = ["time", *CHANNELS, "class"]
    try:
        table = pd.read_csv(io.BytesIO(content), sep="\t", index_col=False)
        check_columns(path, list(table.columns), wanted)
        table = pd.DataFrame({name: as_numbers(table[name], path) for name in wanted})
    except (ValueError, UnicodeError, pd.errors.ParserError) as error:
        raise InputError(f"{path}: expected a table with tabs: {str(error).splitlines()[0]}") from None
    for name in wanted:
        values = table[name]
        good = values.notna() & (values.isin(range(8)) if name == "class" else np.abs(values) <= 1e9)
        if name == "time":
            good &= values.diff().fillna(1) > 0
        if not good.all():
            row = int(np.flatnonzero(~good.to_numpy())[0])
            expected = {"class": "a whole number from 0 to 7", "time": "a later time than before"}.get(name, "a number")
            raise InputError(f"{path}: row {row + 1}, column '{name}' is {values.iloc[row]:g}, expected {expected}")
    return table


def _one_series(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Bins of 20 ms inside marked stretches: gesture, round (first or second of it), stretch, and the channels."""
    place = (table["time"].to_numpy() // BIN).astype(np.int64)
    place -= place[0]
    count = np.bincount(place)
    class_ = table["class"].to_numpy(np.int64)
    steps = np.rint(table[CHANNELS].to_numpy() / STEP).astype(np.int64)  # whole numbers: their sums are exact
    bins = np.empty((len(count), len(CHANNELS)))
    filled = np.flatnonzero(count)
    for channel, squares in enumerate((steps * steps).T):
        total = np.bincount(place, weights=squares)
        level = log(np.sqrt(total[filled] / count[filled]) * STEP + FLOOR)
        bins[:, channel] = np.interp(np.arange(len(count)), filled, level)
    # A bin belongs to a gesture if all of its rows do; an empty one goes on with the gesture of the bin before it.
    ends = np.append(np.flatnonzero(np.diff(place)), len(place) - 1)
    begins = np.append(0, ends[:-1] + 1)
    pure = np.minimum.reduceat(class_, begins) == np.maximum.reduceat(class_, begins)
    of_bin = np.zeros(len(count), dtype=np.int64)
    of_bin[filled] = np.where(pure, class_[begins], 0)
    last = np.maximum.accumulate(np.where(count > 0, np.arange(len(count)), 0))
    of_bin = of_bin[last]
    edges = [0, *(np.flatnonzero(np.diff(of_bin)) + 1), len(of_bin)]
    seen = dict.fromkeys(range(8), 0)
    tables: list[pd.DataFrame] = []
    for a, b in itertools.pairwise(edges):
        if of_bin[a]:
            seen[of_bin[a]] += 1
            table = pd.DataFrame(bins[a:b], columns=CHANNELS)
            tables.append(table.assign(gesture=of_bin[a], round=seen[of_bin[a]], stretch=len(tables)))
    if not tables:
        raise InputError(f"{path}: no row has a gesture, expected classes 1 to {len(GESTURES)}")
    return pd.concat(tables, ignore_index=True)
