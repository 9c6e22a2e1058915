"""`wards`: vital signs of hospital wards; the data are private, so this is their schema, a validator, a simulator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from bench.contracts import Dataset, InputError, Recordings, nearest, option
from bench.loading.files import as_numbers, check_columns, find, read_parquet, read_text
from bench.loading.hourly import HourlyMeans, stay_recordings
from bench.registry import register_dataset

# variable: unit, lowest and highest legal value, and for the simulator: mean, spread between and within patients, rate
VARIABLES: dict[str, tuple[str, float, float, float, float, float, float]] = {
    "heart_rate": ("bpm", 10, 300, 82, 10, 5, 0.7),
    "systolic_pressure": ("mmHg", 20, 300, 124, 14, 8, 0.4),
    "diastolic_pressure": ("mmHg", 10, 200, 70, 8, 5, 0.4),
    "respiratory_rate": ("1/min", 1, 80, 18, 2, 1.5, 0.5),
    "oxygen_saturation": ("%", 20, 100, 96, 1, 0.8, 0.7),
    "temperature": ("deg C", 25, 45, 37, 0.3, 0.2, 0.3),
}
SICKER = np.array([12.0, -10.0, -5.0, 3.0, -1.2, 0.4])  # what one unit of severity does to each variable
MOST_HOURS = 24 * 366
COLUMNS = ("patient", "time", "variable", "value")


@register_dataset("wards")
@dataclass(frozen=True)
class Wards(Dataset):
    """Vital signs of ward patients, hourly means; the owner's own export, or a simulation of its schema.

    The schema: a long table `wards/wards.csv` (.csv.gz, .parquet) with the columns
        patient   any text or number, never empty
        time      hours since admission, a number in 0..8784
        variable  heart_rate (bpm), systolic_pressure, diastolic_pressure (mmHg), respiratory_rate (1/min),
                  oxygen_saturation (%), temperature (deg C)
        value     a number in the legal range: 10..300, 20..300, 10..200, 1..80, 20..100, 25..45, in this order
    An error names the first row that breaks it. Repeated measurements within an hour are averaged.
    `simulated: true` draws patients of this schema instead: a severity per patient that drifts, measurements at random
    times, stays of 1 to 4 days. Results on simulated patients say nothing about the published ones.

    A patient's hours run to the last measurement; patients with fewer hours than one window are left out.
    Missing hours: as in `icu2012` (`missing: ffill`, `mask`, `drop`).
    Windows: T = 24 hours, disjoint. Split by patient.
    """

    source = "private hospital data; the schema is in this card"
    licence = "the owner's; not distributed"
    restricted = True

    simulated: bool = False
    patients: int = option(500, at_least=10)  # of the simulation
    missing: Literal["ffill", "drop", "mask"] = "ffill"
    window: int = option(24, at_least=2)  # T

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """The patients' hours, one series per patient."""
        if self.simulated:
            path, table = Path("simulated wards"), simulate(self.patients, rng)
        else:
            names = [f"wards/wards{ending}" for ending in (".csv", ".csv.gz", ".parquet")]
            path = find(names, data_dir, "ask its owner for an export in the schema of the card (bench.data describe)")
            table = read_parquet(path) if path.suffix == ".parquet" else read_text(path)
        table = validate(table, path)
        patient, owners = pd.factorize(table["patient"])
        time = table["time"].to_numpy()
        lengths = np.zeros(len(owners), dtype=np.int64)
        np.maximum.at(lengths, patient, np.floor(time).astype(np.int64) + 1)
        means = HourlyMeans(lengths, len(VARIABLES))
        code = pd.Index(list(VARIABLES)).get_indexer(pd.Index(table["variable"]))
        means.add(patient, time, code, table["value"].to_numpy())
        units = {name: unit for name, (unit, *_) in VARIABLES.items()}
        return stay_recordings(means.means(), lengths, list(map(str, owners)), units, self.window, self.missing, path)


def validate(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The table in the schema of the card. Raises InputError that names the first row that breaks it."""
    check_columns(path, list(table.columns), COLUMNS)
    table = table.assign(**{name: as_numbers(table[name], path) for name in ("time", "value")})
    low = table["variable"].map({name: limits[1] for name, limits in VARIABLES.items()})
    high = table["variable"].map({name: limits[2] for name, limits in VARIABLES.items()})
    legal = pd.DataFrame(
        {
            "patient": table["patient"].notna(),
            "time": table["time"].between(0, MOST_HOURS),
            "variable": low.notna(),
            "value": table["value"].between(low, high) | low.isna(),
        }
    )
    broken = ~legal.all(axis=1).to_numpy()
    if broken.any():
        row = int(np.flatnonzero(broken)[0])
        name = next(name for name in COLUMNS if not legal[name].iloc[row])
        variable = table["variable"].iloc[row]
        expected = {
            "patient": "a name or number",
            "time": f"hours since admission, 0..{MOST_HOURS}",
            "variable": f"a variable of the schema, {nearest(str(variable), VARIABLES)}",
            "value": f"{low.iloc[row]:g}..{high.iloc[row]:g} for {variable}",
        }[name]
        cell = table[name].iloc[row]
        shown = "empty" if pd.isna(cell) else repr(cell) if isinstance(cell, str) else f"{cell:g}"
        raise InputError(f"{path}: row {row + 1}, column '{name}' is {shown}, expected {expected}")
    return table


def simulate(patients: int, rng: np.random.Generator) -> pd.DataFrame:
    """A long table in the schema of the card.

    Per patient an hourly severity s_h = s_{h-1} + .1 e, s_0 ~ N(0, 1); a variable is
    mean + (its response) s + spread between patients + spread within, measured in an hour with the variable's rate.
    """
    names, settings = list(VARIABLES), np.array([limits[3:] for limits in VARIABLES.values()])
    mean, between, spread, rate = settings.T
    low, high = (np.array([limits[k] for limits in VARIABLES.values()]) for k in (1, 2))
    parts = []
    for patient in range(patients):
        hours = int(rng.integers(24, 97))
        severity = np.cumsum(np.append(rng.standard_normal(1), 0.1 * rng.standard_normal(hours - 1)))
        own = mean + between * rng.standard_normal(len(names))
        values = own + SICKER * severity[:, None] + spread * rng.standard_normal((hours, len(names)))
        measured = rng.random((hours, len(names))) < rate
        measured[[0, -1], 0] = True  # a first and a last heart rate, so that the stay has its length
        hour, variable = np.nonzero(measured)
        parts.append(
            pd.DataFrame(
                {
                    "patient": f"P{patient:05}",
                    "time": hour + rng.random(len(hour)).round(3) * 0.999,
                    "variable": np.array(names)[variable],
                    "value": np.clip(values[hour, variable], low[variable], high[variable]).round(1),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
