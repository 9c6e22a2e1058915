"""`earthquakes`: the ComCat catalogue of the USGS, as a sequence of events."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from bench.contracts import Dataset, InputError, Recordings, Resolution, option
from bench.loading.exact_logarithms import log1p
from bench.loading.files import Remote, find, read_csv, refuse_cells
from bench.registry import register_dataset

FILES = {
    "global": "earthquakes/usgs_comcat_global_m5_2009_2019.csv",
    "oklahoma": "earthquakes/usgs_comcat_oklahoma_1973_2016.csv",
}

FINE = {"magnitude": Resolution(0.01), "depth": Resolution(0.001, transform="log1p")}  # of Oklahoma

LIMITS = {"latitude": (-90, 90), "longitude": (-180, 360), "depth": (-100, 1000)}  # degrees, km

CONTINUOUS = Resolution(0)
MAGNITUDES = {"global": Resolution(0.1), "oklahoma": FINE["magnitude"], "both": FINE["magnitude"]}
DEPTHS = {"global": Resolution(0.01, transform="log1p"), "oklahoma": FINE["depth"], "both": FINE["depth"]}

LIVE = (
    "the parameters follow the service's documentation, the limits the mirrored copy that the numbers of this project "
    "come from; the catalogue is revised, so today's answer may differ from that copy"
)


def unit_vector(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Position on the unit sphere, (n, 3), from degrees: no jump at 180 degrees and none at the poles."""
    latitude, longitude = np.radians(latitude), np.radians(longitude)
    x, y = np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude)
    return np.column_stack([x, y, np.sin(latitude)])


def refuse_beyond_limits(events: pd.DataFrame, kept: pd.Series, path: Path) -> None:
    """Raises InputError for a place that is none, or is missing, of an event that is kept."""
    for name, (low, high) in LIMITS.items():
        if name in events:
            wrong = kept & ~events[name].between(low, high)
            refuse_cells(events[name], wrong, path, f"a number from {low} to {high}")


def log_gaps(time: pd.Series) -> np.ndarray:
    """ln(1 + seconds since the event before), (n - 1,), of sorted times."""
    return log1p(time.diff().dt.total_seconds().to_numpy()[1:])


@register_dataset("earthquakes")
@dataclass(frozen=True)
class Earthquakes(Dataset):
    """One row per earthquake, in time order, from the CSV export of the ANSS Comprehensive Catalog.

    Channels: ln(1 + seconds since the event before), magnitude, ln(1 + depth in km, at least 0), and the position as
    a unit vector (x towards 0 N 0 E, y towards 0 N 90 E, z towards the north pole): no jump at 180 degrees. With
    `position: degrees` latitude and longitude, 0 to 360 degrees east, stand in its place: few earthquakes lie near the
    jump at 0. The unit vector makes a model learn a sphere, which a classifier sees and which says nothing of events.

    Regions: `global` (M 5 or more, 2009-01-22 to 2019-11-06, 20,000 events, the service's limit for one query),
    `oklahoma` (1973 to 2016, mostly induced, strongly non-stationary), and `both`, two recordings.
    Quirks: files are newest or oldest first and are sorted here; only `type` earthquake is kept; events without a
    magnitude are left out; `depth` is often a default (10, 33, 35 or 5 km), not a measurement; scales of magnitude
    are mixed; 19 pairs of neighbours of `global` within 16 s and 100 km may be one event listed twice and are kept;
    four events of M 5 and more are in both catalogues.

    Windows: T = 24 events, stride 1 for training; test windows overlap, stride T // 4 = 6.
    Split within a recording: contiguous blocks (see `bench.loading.division`), or `time` for one cut in time. Split by
    recording, of `region: both`: `catalogue` trains on the first seven eighths of `global`, validates on the rest of it
    and tests on `oklahoma`. There is one such split, and it asks for another kind of earthquakes than were trained on.
    """

    source = "https://earthquake.usgs.gov/fdsnws/event/1/"
    licence = "public domain (credit: U.S. Geological Survey)"
    remote = (
        Remote(
            "https://earthquake.usgs.gov/fdsnws/event/1/query?format=csv&starttime=2009-01-22T00:00:00"
            "&endtime=2019-11-07T00:00:00&minmagnitude=5&orderby=time&limit=20000",
            FILES["global"],
            begins=b"time,latitude,longitude",
            copies=("11603c2540e7ebb484763ab7802bc8893b2ce474ca58d522a6ee39fca29e18e5",),
            known_from=LIVE,
        ),
        Remote(
            "https://earthquake.usgs.gov/fdsnws/event/1/query?format=csv&starttime=1973-01-01T00:00:00"
            "&endtime=2016-09-21T00:00:00&minmagnitude=0&minlatitude=31.08&maxlatitude=40.66"
            "&minlongitude=-106.73&maxlongitude=-90.66&orderby=time-asc&limit=20000",
            FILES["oklahoma"],
            begins=b"time,latitude,longitude",
            copies=("d62f369f8d47340da7d84a558376ae073aa99011aeb2b1eba2469868401c02d5",),
            known_from=LIVE,
        ),
    )

    region: Literal["global", "oklahoma", "both"] = "global"
    position: Literal["unit_vector", "degrees"] = "unit_vector"
    minimum_magnitude: float | None = None
    window: int = option(24, at_least=4)  # T
    split: Literal["blocks", "time", "catalogue"] = "blocks"

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """The events of a catalogue are one series; of `split: catalogue` the validation part is one, too."""
        if self.split == "catalogue" and self.region != "both":
            raise InputError(f"{self.name}.split = catalogue: expected region: both, not {self.region}")
        owners = list(FILES) if self.region == "both" else [self.region]
        series, times = (list(each) for each in zip(*(self._catalogue(each, data_dir) for each in owners), strict=True))
        parts: list[str] = []
        if self.split == "catalogue":
            cut = len(series[0]) * 7 // 8
            series[:1], times[:1] = np.split(series[0], [cut]), np.split(times[0], [cut])
            owners, parts = ["global", "global", "oklahoma"], ["train", "validation", "test"]
        degrees = self.position == "degrees"
        place = ("latitude", "longitude") if degrees else ("x", "y", "z")
        return Recordings(
            series=series,
            channels=("log_gap", "magnitude", "log_depth", *place),
            units=("ln(1 + s)", "", "ln(1 + km)", *(("degrees" if degrees else "",) * len(place))),
            window=self.window,
            train_stride=1,
            test_stride=self.window // 4,
            split="given" if self.split == "catalogue" else self.split,
            entities=owners if self.region == "both" else (),
            parts=parts,
            times=times,
            resolutions=[CONTINUOUS, MAGNITUDES[self.region], DEPTHS[self.region], *[CONTINUOUS] * len(place)],
        )

    def _catalogue(self, region: str, data_dir: Path | None) -> tuple[np.ndarray, np.ndarray]:
        """The channels (events, C) and the times of a catalogue's events but the first, which has none before it."""
        name = FILES[region]
        path = find(
            [name, f"{name}.gz"],
            data_dir,
            f"python -m bench.data fetch earthquakes, or export it as CSV from {self.source} and put it there",
        )
        events = read_csv(path, numbers=["latitude", "longitude", "depth", "mag"], text=["type"], times=["time"])
        kept = (events["type"] == "earthquake") & events["mag"].notna()
        refuse_beyond_limits(events, kept, path)
        events = events[kept]
        if self.minimum_magnitude is not None:
            events = events[events["mag"] >= self.minimum_magnitude]
        if len(events) <= self.window:
            raise InputError(f"{path}: {len(events)} events are left, expected more than one window of {self.window}")
        events = events.sort_values("time", kind="stable")
        latitude, longitude = events["latitude"].to_numpy(), events["longitude"].to_numpy()
        if self.position == "degrees":
            place = np.column_stack([latitude, longitude % 360])
        else:
            place = unit_vector(latitude, longitude)
        depth = log1p(events["depth"].clip(lower=0).to_numpy())
        rows = np.column_stack([log_gaps(events["time"]), events["mag"].to_numpy()[1:], depth[1:], place[1:]])
        return rows, events["time"].to_numpy()[1:]
