"""`bike`: UCI "Bike Sharing", the hourly file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench.contracts import Dataset, InputError, Recordings, Resolution, option
from bench.loading.days import Begin, Split, day_recordings
from bench.loading.exact_logarithms import log1p
from bench.loading.files import Remote, extract, find, read_csv, refuse_cells
from bench.registry import register_dataset

FEWEST_HOURS = 22  # of a day that is used
COUNTS = {"casual": "ln(1 + rentals)", "registered": "ln(1 + rentals)"}
WEATHER = dict.fromkeys(("temp", "atemp", "hum", "windspeed"), "scaled to 0..1")
LIMITS = {
    **{"hr": (0, 23), "season": (1, 4), "workingday": (0, 1)},
    **dict.fromkeys(COUNTS, (0, np.inf)),
    **dict.fromkeys(WEATHER, (0, 1)),
}
RESOLUTIONS = {
    **dict.fromkeys(COUNTS, Resolution(1, transform="log1p")),
    **{"temp": Resolution(0.02), "hum": Resolution(0.01)},
}


@register_dataset("bike")
@dataclass(frozen=True)
class Bike(Dataset):
    """Bicycles that were rented in Washington D.C., every hour of 2011 and 2012.

    17,379 hours of 731 days. Channels: ln(1 + rentals in the hour) by users without a subscription (`casual`) and by
    users with one (`registered`). `weather: true` adds temperature, felt temperature, humidity and wind speed, each
    scaled to 0..1. They change slowly, and hide how much of a day the counts leave open.

    Quirks: 165 hours have no row. Eight days with fewer than 22 rows (storms) are left out, which leaves 723. The 74
    hours that are missing on other days count as hours without a rental, because the sum of the counts is never 0. The
    weather of such an hour is missing and filled in. So are the humidity of 2011-03-10 (0 all day) and the felt
    temperature of 2012-08-17 and 2012-12-29 (one value while the temperature moves). Rentals grow strongly: registered
    ones by 68 % from 2011 to 2012.

    Windows: a calendar day, T = 24 from hour 0, so that a latent cannot carry the hour at which a window begins.
    `begin: any` takes every run of `window` hours (24), with stride 1 for training. For testing the stride is T // 4 or
    the next number with which windows begin at every hour in turn.
    Split: `weeks` divides whole calendar weeks, anew for every seed, which keeps the growth out. `time` is one cut in
    time over all days, so that it tests beyond the range of the training days.
    A day's season and whether it is a working day are known (the truth `season` and `working_day`); no model sees them.
    """

    source = "https://archive.ics.uci.edu/dataset/275/bike+sharing+dataset"
    licence = (
        "CC BY 4.0 (H. Fanaee-T, 2013, Bike Sharing, UCI, doi:10.24432/C5W894; the authors ask to cite Fanaee-T and "
        "Gama 2013, Progress in Artificial Intelligence, doi:10.1007/s13748-013-0040-3)"
    )
    remote = (
        Remote(
            "https://archive.ics.uci.edu/static/public/275/bike+sharing+dataset.zip",
            "bike/hour.csv",
            sha256="e03de4ee4ef4dc376ac6e04bf829673c6269e8eba5c60fa121640fa2f829504f",
            member="hour.csv",
            known_from="many public repositories record this address; the hash of a mirrored copy (17,379 rows)",
        ),
    )

    begin: Begin = "midnight"
    window: int | None = option(None, at_least=4)  # T; none: a day from midnight on, 24 steps from any step on
    weather: bool = False
    split: Split = "weeks"

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """The whole days, in the order of time."""
        how = f"python -m bench.data fetch bike, or put hour.csv of {self.source} into bike/"
        path = find(["bike/hour.csv", "bike/hour.csv.gz"], data_dir, how)
        hours = extract(f"bike version {self.version}", [path], lambda: _hours(path))
        units = {**COUNTS, **(WEATHER if self.weather else {})}
        values = hours[list(units)].to_numpy().reshape(-1, 24, len(units))
        days, first = hours["day"].to_numpy()[::24], hours.iloc[::24]
        return day_recordings(
            self.name,
            days,
            values,
            units,
            self.window,
            self.begin,
            self.split,
            [RESOLUTIONS.get(name, Resolution(0)) for name in units],
            {
                "season": np.eye(4)[first["season"].to_numpy() - 1],
                "working_day": first[["workingday"]].to_numpy(np.float64),
            },
        )


def _hours(path: Path) -> pd.DataFrame:
    """24 rows for each whole day: the day, its season and kind, the logarithms of the counts, and the weather."""
    given = read_csv(path, numbers=list(LIMITS), times=["dteday"], keep=False)
    for name, (least, most) in LIMITS.items():
        whole = name not in WEATHER
        good = given[name].between(least, most) & ((given[name] == np.floor(given[name])) | (not whole))
        kind = f"a {'whole ' if whole else ''}number from {least}{'' if np.isinf(most) else f' to {most:g}'}"
        refuse_cells(given[name], ~good, path, kind)
    twice = given.duplicated(["dteday", "hr"])
    if twice.any():
        row = int(np.flatnonzero(twice.to_numpy())[0])
        raise InputError(f"{path}: row {row + 1} repeats hour {given['hr'].iloc[row]:g} of its day, expected it once")
    rows = given.groupby("dteday")["hr"].transform("size")
    kept = given[rows >= FEWEST_HOURS]
    if kept.empty:
        raise InputError(f"{path}: no day has {FEWEST_HOURS} hours, expected some")
    days = np.unique(kept["dteday"])
    every = pd.MultiIndex.from_product([days, np.arange(24.0)], names=["dteday", "hr"])
    hours = kept.set_index(["dteday", "hr"]).reindex(every)
    labels = kept.groupby("dteday")[["season", "workingday"]].first()
    table = {"day": np.repeat(days, 24)}
    table |= {name: np.repeat(labels[name].to_numpy(np.int64), 24) for name in ("season", "workingday")}
    table |= {name: log1p(hours[name].fillna(0)) for name in COUNTS}
    hours["hum"] = hours["hum"].mask(hours["hum"] == 0)
    by_day = hours.groupby("dteday")[["temp", "atemp"]].transform("nunique")
    hours["atemp"] = hours["atemp"].mask((by_day["atemp"] == 1) & (by_day["temp"] > 1))
    table |= {name: hours[name].to_numpy() for name in WEATHER}
    return pd.DataFrame(table)
