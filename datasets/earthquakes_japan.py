"""`earthquakes_japan`: 30 years of earthquakes around Japan, in the form of a published benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from bench.contracts import Dataset, InputError, Recordings, option
from bench.loading.files import Remote, find, read_csv, refuse_empty
from bench.registry import register_dataset
from datasets.earthquakes import CONTINUOUS, MAGNITUDES, log_gaps, refuse_beyond_limits, unit_vector


@register_dataset("earthquakes_japan")
@dataclass(frozen=True)
class EarthquakesJapan(Dataset):
    """One row per event in 22..46 N, 122..150 E, 1990 to 2019, in the processed form of EarthquakeNPP.

    37,581 events of M 2.7 or more, 5,734 of them in 2011 (Tohoku). Channels: ln(1 + seconds since the event before),
    magnitude, position as a unit vector (see `earthquakes`); this catalogue has no depth.

    Quirks: the agency changed what it lists, so that events below M 4 almost end in 2009 and the distribution of
    magnitudes changes there (`minimum_magnitude: 4` avoids that). Published studies cut overlapping pieces of 30 days;
    here the split comes before any window.

    Windows: T = 24 events, stride 1 for training; test windows overlap, stride T // 4 = 6.
    Split: contiguous blocks (see `bench.loading.division`), or `time` for one cut in time.
    """

    source = "https://github.com/ss15859/EarthquakeNPP"
    licence = "data public domain (credit: U.S. Geological Survey); processed form MIT (Sam Stockman, 2024)"
    remote = (
        Remote(
            "https://raw.githubusercontent.com/ss15859/EarthquakeNPP/2e4224ce1251953ee4b9e4a0dadf37b6280da728"
            "/Datasets/Japan_Deprecated/Japan_catalog.csv",
            "earthquakes/japan_catalog_1990_2019.csv",
            sha256="7845bbe2d4de930bc80e2f1d6a9797d4f4a63abdcc0e630246654774c22c71c9",
            known_from="the file at that commit has the length and the end of a mirrored copy, whose hash this is",
        ),
    )

    minimum_magnitude: float | None = None
    window: int = option(24, at_least=4)  # T
    split: Literal["blocks", "time"] = "blocks"

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """The catalogue's events, one series."""
        path = find(
            ["earthquakes/japan_catalog_1990_2019.csv", "earthquakes/japan_catalog_1990_2019.csv.gz"],
            data_dir,
            "python -m bench.data fetch earthquakes_japan, or save Datasets/Japan_Deprecated/Japan_catalog.csv of "
            f"{self.source} under this name",
        )
        events = read_csv(path, numbers=["longitude", "latitude", "magnitude"], times=["time"])
        refuse_empty(events, ["magnitude"], path)
        refuse_beyond_limits(events, events["magnitude"].notna(), path)
        if self.minimum_magnitude is not None:
            events = events[events["magnitude"] >= self.minimum_magnitude]
        if len(events) <= self.window:
            raise InputError(f"{path}: {len(events)} events are left, expected more than one window of {self.window}")
        events = events.sort_values("time", kind="stable")
        position = unit_vector(events["latitude"].to_numpy(), events["longitude"].to_numpy())
        rows = np.column_stack([log_gaps(events["time"]), events["magnitude"].to_numpy()[1:], position[1:]])
        return Recordings(
            series=[rows],
            channels=("log_gap", "magnitude", "x", "y", "z"),
            units=("ln(1 + s)", "", "", "", ""),
            window=self.window,
            train_stride=1,
            test_stride=self.window // 4,
            split=self.split,
            times=[events["time"].to_numpy()[1:]],
            resolutions=[CONTINUOUS, MAGNITUDES["global"], *[CONTINUOUS] * 3],
        )
