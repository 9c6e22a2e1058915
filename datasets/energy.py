"""`energy`: UCI "Appliances Energy Prediction"."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from bench.contracts import Dataset, Recordings, Resolution, option
from bench.loading.files import Remote, extract, find, read_csv, refuse_empty
from bench.loading.tables import in_order
from bench.registry import register_dataset

ROOMS = [name for room in range(1, 10) for name in (f"T{room}", f"RH_{room}")]
WEATHER = ["T_out", "Press_mm_hg", "RH_out", "Windspeed", "Visibility", "Tdewpoint"]
NOISE = ["rv1", "rv2"]
UNITS = {
    "Appliances": "Wh",
    "lights": "Wh",
    **{name: "deg C" if name.startswith("T") else "%" for name in ROOMS},
    **dict(zip(WEATHER, ("deg C", "mm Hg", "%", "m/s", "km", "deg C"), strict=True)),
    **dict.fromkeys(NOISE, ""),
}
# Indoor values are means of several readings and lie on no grid. The weather is hourly, in tenths or whole numbers, and
# interpolated in sixths of an hour.
WIDTHS = {
    **{"Appliances": 10.0, "lights": 10.0},
    **dict(zip(WEATHER, (1 / 60, 1 / 60, 1 / 6, 1 / 6, 1 / 6, 1 / 60), strict=True)),
}


@register_dataset("energy")
@dataclass(frozen=True)
class Energy(Dataset):
    """Energy use, temperature and humidity in one Belgian house, every 10 minutes for 4.5 months.

    19,735 rows, 2016-01-11 17:00 to 2016-05-27 18:00 local time, no gap, nothing missing. 26 channels: appliances and
    lights (Wh per 10 min), temperature and humidity at 9 places, 6 weather channels of the nearest airport.
    The two columns of pure noise, rv1 and rv2 (equal in every row), are left out unless `noise_channels` is true. The
    authors added them on purpose, and they say nothing about what a latent carries.

    Quirks: `lights` is 0 in 77 % of the rows; `Appliances` is strongly right-skewed; the weather channels are hourly
    values interpolated to 10 minutes, so their own past predicts them well. The change to summer time leaves no gap.
    Rows are sorted by time; a time that occurs twice is refused.

    With `noise_channels` and `protocol: literature` these are the windows of the literature, whose file has the same 28
    columns in the same order.

    Windows: T = 24 rows (4 hours), stride 1 for training; test windows overlap, stride T // 4 = 6.
    Split: contiguous blocks (see `bench.loading.division`), or `time` for one cut in time.
    """

    source = "https://archive.ics.uci.edu/dataset/374/appliances+energy+prediction"
    licence = "CC BY 4.0 (L. Candanedo, 2017, Appliances Energy Prediction, UCI, doi:10.24432/C5VC8G)"
    remote = (
        Remote(
            "https://archive.ics.uci.edu/static/public/374/appliances+energy+prediction.zip",
            "energy/energydata_complete.csv",
            sha256="2820bf712ad0275cb18b85a05250926100d8e65ebb9f4d2d016ca91ea152a25d",
            member="energydata_complete.csv",
            known_from="many public repositories record this address and this hash, which a mirrored copy has as well",
        ),
    )

    noise_channels: bool = False
    window: int = option(24, at_least=4)  # T
    split: Literal["blocks", "time"] = "blocks"

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """The file's rows in their order, one series."""
        path = find(
            ["energy/energydata_complete.csv", "energy/energydata_complete.csv.gz"],
            data_dir,
            f"python -m bench.data fetch energy, or download it from {self.source} and put it into energy/",
        )
        channels = [name for name in UNITS if self.noise_channels or name not in NOISE]
        rows = extract(f"energy version {self.version}", [path], lambda: _rows(path))
        return Recordings(
            series=[rows[channels].to_numpy()],
            channels=tuple(channels),
            units=tuple(UNITS[name] for name in channels),
            window=self.window,
            train_stride=1,
            test_stride=self.window // 4,
            split=self.split,
            times=[rows["date"].to_numpy()],
            resolutions=[Resolution(WIDTHS.get(name, 0.0)) for name in channels],
            noise=tuple(name for name in channels if name in NOISE),
        )


def _rows(path: Path) -> pd.DataFrame:
    given = read_csv(path, numbers=list(UNITS), times=["date"], keep=False)
    refuse_empty(given, list(UNITS), path)
    return in_order(given, [], "date", path)
