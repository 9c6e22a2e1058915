"""`steel`: UCI "Steel Industry Energy Consumption"."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from bench.contracts import Dataset, InputError, Recordings, Resolution, option
from bench.loading.days import Begin, Split, day_recordings
from bench.loading.files import Remote, extract, find, read_csv, refuse_empty
from bench.registry import register_dataset

QUARTERS = 96  # of an hour in a day
COLUMNS = {  # the file's name of each channel: ours, and the unit
    "Usage_kWh": ("usage", "kWh per 15 min"),
    "Lagging_Current_Reactive.Power_kVarh": ("lagging_reactive", "kVarh per 15 min"),
    "Leading_Current_Reactive_Power_kVarh": ("leading_reactive", "kVarh per 15 min"),
    "Lagging_Current_Power_Factor": ("lagging_factor", "%"),
    "Leading_Current_Power_Factor": ("leading_factor", "%"),
}
UNITS = dict(COLUMNS.values())


@register_dataset("steel")
@dataclass(frozen=True)
class Steel(Dataset):
    """Electricity that a steel works in South Korea used in 2018.

    35,040 quarters of an hour, 365 days without a gap. Channels: energy, reactive energy (lagging and leading current)
    and power factor (lagging and leading current). The CO2 column is left out, because it is the usage in eight coarse
    steps, and so are the columns that follow from the date. `step: hour` takes means of four rows, `step: quarter` the
    rows as they are.

    Quirks: in the file a day's rows run from 00:15 to 23:45, and its last row is 00:00 with the same date, which is the
    end of that day; the order of the file is kept. The row of 2018-11-07 24:00 is 0 in every channel, a fault: it is
    the mean of its two neighbours here. Weekdays use 33.6 kWh per 15 minutes on average, Saturdays and Sundays 11.7.
    The leading channels hardly move at night for most of the year.
    365 days are few: this is a case between others, and too small for a result of its own.

    Windows: a calendar day, T = 24 hours or 96 quarters of an hour. `begin: any` takes every run of `window` steps
    (24), with stride 1 for training. For testing the stride is T // 4 or the next number with which windows begin at
    every step of a day in turn.
    Split: `weeks` divides whole calendar weeks, anew for every seed. `time` is one cut in time.
    Whether a day is on a weekend is known (the truth `weekend`); no model sees it.
    """

    source = "https://archive.ics.uci.edu/dataset/851/steel+industry+energy+consumption"
    licence = (
        "CC BY 4.0 (Sathishkumar V E, C. Shin, Y. Cho, 2023, Steel Industry Energy Consumption, UCI, "
        "doi:10.24432/C52G8C)"
    )
    remote = (
        Remote(
            "https://archive.ics.uci.edu/static/public/851/steel+industry+energy+consumption.zip",
            "steel/Steel_industry_data.csv",
            sha256="9b1cee6f9cb9cd9df2b95814ca90a9a2ff15b7f5f1fba0fae3c643e82072eacc",
            member="Steel_industry_data.csv",
            known_from="several public repositories record this address, and one this hash, which a mirrored copy has",
        ),
    )

    step: Literal["hour", "quarter"] = "hour"
    begin: Begin = "midnight"
    window: int | None = option(None, at_least=4)  # T; none: a day from midnight on, 24 steps from any step on
    split: Split = "weeks"

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """The days, in the order of time."""
        how = f"python -m bench.data fetch steel, or put Steel_industry_data.csv of {self.source} into steel/"
        names = ["steel/Steel_industry_data.csv", "steel/Steel_industry_data.csv.gz"]
        path = find(names, data_dir, how)
        rows = extract(f"steel version {self.version}", [path], lambda: _rows(path))
        values = rows[list(UNITS)].to_numpy().reshape(-1, QUARTERS, len(UNITS))
        if self.step == "hour":
            first, second, third, last = (values[:, k::4] for k in range(4))
            values = (first + second + third + last) / 4  # in this order on every processor
        days = rows["day"].to_numpy()[::QUARTERS].astype("datetime64[D]")
        weekend = (days.astype(np.int64) + 3) % 7 >= 5  # 1970-01-01 was a Thursday
        return day_recordings(
            self.name,
            days,
            values,
            UNITS,
            self.window,
            self.begin,
            self.split,
            [Resolution(0.01 if self.step == "quarter" else 0.0025)] * len(UNITS),
            {"weekend": weekend[:, None].astype(np.float64)},
        )


def _rows(path: Path) -> pd.DataFrame:
    """The day of each row and the channels, in the order of the file."""
    given = read_csv(path, numbers=list(COLUMNS), text=["date"], keep=False)
    day = pd.to_datetime(given["date"].str[:10], format="%d/%m/%Y", errors="coerce")
    if not len(given) or len(given) % QUARTERS:
        raise InputError(f"{path}: {len(given)} rows, expected {QUARTERS} for each day")
    clock = [f" {minute // 60 % 24:02}:{minute % 60:02}" for minute in range(15, 24 * 60 + 1, 15)]
    dates = day.iloc[::QUARTERS].repeat(QUARTERS).reset_index(drop=True)
    expected = dates.dt.strftime("%d/%m/%Y") + pd.Series(clock * (len(given) // QUARTERS))
    wrong = (day.isna() | (given["date"] != expected)).to_numpy()
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        what = "its day's next quarter of an hour, as DD/MM/YYYY HH:MM from 00:15 to 00:00"
        raise InputError(f"{path}: row {row + 1}, column 'date' is {given['date'].iloc[row]!r}, expected {what}")
    refuse_empty(given, list(COLUMNS), path)
    values = given[list(COLUMNS)].to_numpy()
    fault = np.flatnonzero((values == 0).all(axis=1)[1:-1]) + 1
    values[fault] = (values[fault - 1] + values[fault + 1]) / 2
    return pd.DataFrame({"day": day, **dict(zip(UNITS, values.T, strict=True))})
