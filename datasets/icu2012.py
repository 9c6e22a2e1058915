"""`icu2012`: PhysioNet / Computing in Cardiology Challenge 2012, set A."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from bench.contracts import Dataset, InputError, Recordings, nearest, option
from bench.loading.archives import members
from bench.loading.files import Remote, extract, find
from bench.loading.hourly import HourlyMeans, stay_recordings, within
from bench.registry import register_dataset

HOURS = 48
# channel: unit, lowest and highest plausible value, parameters of the file in the order of preference
CHANNELS: dict[str, tuple[str, float, float, tuple[str, ...]]] = {
    "HR": ("bpm", 10, 300, ("HR",)),
    "SBP": ("mmHg", 20, 300, ("SysABP", "NISysABP")),
    "DBP": ("mmHg", 10, 200, ("DiasABP", "NIDiasABP")),
    "MAP": ("mmHg", 10, 250, ("MAP", "NIMAP")),
    "Temp": ("deg C", 25, 45, ("Temp",)),
    "GCS": ("", 3, 15, ("GCS",)),
    "Urine": ("mL", 0, 5000, ("Urine",)),
    "RespRate": ("1/min", 1, 80, ("RespRate",)),
    "FiO2": ("fraction", 0.2, 1, ("FiO2",)),
}
DEFAULT = ("HR", "SBP", "DBP", "MAP", "Temp", "GCS", "Urine")


@register_dataset("icu2012")
@dataclass(frozen=True)
class ICU2012(Dataset):
    """The first 48 hours of 4,000 adult stays in intensive care, hourly means; open data.

    Channels: heart rate, systolic, diastolic and mean arterial pressure (the invasive measurement, or that of the cuff
    in hours without one), temperature, Glasgow coma scale, urine. The option `channels` adds RespRate and FiO2.
    A stay is used if it has at least 24 hours of heart rate and of systolic pressure (`minimum_hours`), and at least
    one value of each of Temp and GCS that is chosen.

    Quirks: implausible values are taken as missing (heart rate outside 10..300 bpm, systolic 20..300, diastolic
    10..200, mean 10..250 mmHg, temperature 25..45 deg C, GCS 3..15, urine 0..5000 mL, respiratory rate 1..80,
    FiO2 .2..1); a time of 48:00 belongs to the last hour; repeated measurements are averaged.
    Missing hours: `missing: ffill` (default) takes the last value of the stay, and the training median where there is
    none before. Such constant stretches make a series easy to predict from its own past. `mask` adds channels of 0 and
    1, and `drop` leaves hours out.

    Windows: T = 48 hours, one per stay. Split by stay.
    """

    source = "https://physionet.org/content/challenge-2012/1.0.0/"
    licence = (
        "Open Data Commons Attribution License 1.0 (Silva, Moody, Scott, Celi, Mark, 2012, Computing in Cardiology 39)"
    )
    remote = (
        Remote(
            "https://physionet.org/files/challenge-2012/1.0.0/set-a.tar.gz",
            "icu/challenge2012/set-a.tar.gz",
            sha256="8cb250f179cd0952b4b9ebcf8954b63d70383131670fac1cfee13deaa13ca920",
            copies=("1a07574d64ddd760a9dbff8d83e8e98e9e764e4abbad7b7f60ac7c159484c870",),
            known_from="several public repositories record this address and hash; the numbers of this project come "
            "from a mirrored copy that was packed again (4,000 stays, 1,757,980 rows)",
        ),
    )

    channels: tuple[str, ...] | list[str] = DEFAULT
    minimum_hours: int = option(24, at_least=0, at_most=HOURS)  # of heart rate and systolic pressure
    missing: Literal["ffill", "drop", "mask"] = "ffill"
    window: int = option(HOURS, at_least=2, at_most=HOURS)  # T

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """The stays' hours, one series per stay."""
        for name in self.channels:
            if name not in CHANNELS:
                hint = nearest(name, CHANNELS, "`python -m bench.data describe icu2012`")
                raise InputError(f"icu2012.channels: unknown channel '{name}', {hint}")
        path = find(
            ["icu/challenge2012/set-a.tar.gz", "icu2012/set-a.tar.gz"],
            data_dir,
            f"python -m bench.data fetch icu2012, or download set-a.tar.gz from {self.source} and put it there",
        )
        hours = extract(f"icu2012 version {self.version}", [path], lambda: _hours(path))
        stays = hours[list(CHANNELS)].to_numpy().reshape(-1, HOURS, len(CHANNELS))
        seen = dict(zip(CHANNELS, (~np.isnan(stays)).sum(axis=1).T, strict=True))
        kept = (seen["HR"] >= self.minimum_hours) & (seen["SBP"] >= self.minimum_hours)
        for name in {"Temp", "GCS"} & set(self.channels):
            kept &= seen[name] >= 1
        chosen = [list(CHANNELS).index(name) for name in self.channels]
        rows = stays[kept][:, :, chosen]
        return stay_recordings(
            rows.reshape(-1, len(chosen)),
            [HOURS] * len(rows),
            hours["stay"].to_numpy()[::HOURS][kept].tolist(),
            {name: CHANNELS[name][0] for name in self.channels},
            self.window,
            self.missing,
            path,
        )


def _hours(path: Path) -> pd.DataFrame:
    """All stays, 48 rows each: the stay's number and one column per channel."""
    sources = [(name, parameter) for name, (*_, parameters) in CHANNELS.items() for parameter in parameters]
    code_of = {parameter: code for code, (_, parameter) in enumerate(sources)}
    names: list[str] = []
    stay, hour, code, value = [], [], [], []
    for name, content in members(path, ".txt", "set-a/<RecordID>.txt"):
        lines = content.decode("latin-1").splitlines()
        if not lines or lines[0].strip() != "Time,Parameter,Value":
            raise InputError(f"{path}: {name}, line 1: expected Time,Parameter,Value")
        for number, line in enumerate(lines[1:], start=2):
            try:
                clock, parameter, measured = line.split(",")
                if parameter in code_of:
                    hour.append(int(clock[:-3]) + int(clock[-2:]) / 60)
                    value.append(float(measured))
                    code.append(code_of[parameter])
                    stay.append(len(names))
            except ValueError:
                raise InputError(
                    f"{path}: {name}, line {number} is '{line}': expected hours:minutes, a name and a number"
                ) from None
        names.append(Path(name).stem)
    if not names:
        raise InputError(f"{path}: holds no stay, expected set-a/<RecordID>.txt")
    limits = np.array([CHANNELS[name][1:3] for name, _ in sources])[code]
    means = HourlyMeans(np.full(len(names), HOURS), len(sources))
    within_stay = np.minimum(np.array(hour), HOURS - 1)  # 48:00 occurs
    plausible = within(np.array(value), limits[:, 0], limits[:, 1])
    means.add(np.array(stay), within_stay, np.array(code), plausible)
    hourly = pd.DataFrame(means.means(), columns=[parameter for _, parameter in sources])
    rows = {"stay": np.repeat(names, HOURS)}
    for name, (*_, parameters) in CHANNELS.items():
        best = hourly[parameters[0]]
        for other in parameters[1:]:
            best = best.fillna(hourly[other])
        rows[name] = best.to_numpy()
    return pd.DataFrame(rows)
