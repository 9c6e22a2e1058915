"""`mimic`: hourly vital signs from the official tables of MIMIC-III or MIMIC-IV."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import rich.console
import rich.progress

from bench.contracts import Dataset, InputError, Recordings, Unavailable, nearest, option
from bench.loading.files import as_numbers, as_times, extract, places, read_text
from bench.loading.hourly import HourlyMeans, stay_recordings, within
from bench.registry import register_dataset

# channel: unit, lowest and highest plausible value
CHANNELS: dict[str, tuple[str, float, float]] = {
    "HR": ("bpm", 10, 300),
    "SBP": ("mmHg", 20, 300),
    "DBP": ("mmHg", 10, 200),
    "MAP": ("mmHg", 10, 250),
    "RR": ("1/min", 1, 80),
    "SpO2": ("%", 20, 100),
    "Temp": ("deg C", 25, 45),
    "FiO2": ("%", 20, 100),
    "Glucose": ("mg/dL", 10, 2000),
}
DEFAULT = ("HR", "SBP", "DBP", "MAP", "RR", "SpO2", "Temp")


class Source(NamedTuple):
    """Item ids (CareVue and MetaVision) of one channel; a second source of a channel fills hours without the first."""

    channel: str
    items: tuple[int, ...]
    unit: Literal["", "fahrenheit", "fraction"] = ""


SOURCES = (
    Source("HR", (211, 220045)),
    Source("SBP", (51, 6701, 220050, 225309)),  # arterial line
    Source("SBP", (455, 442, 220179)),  # cuff
    Source("DBP", (8368, 8555, 220051, 225310)),
    Source("DBP", (8441, 8440, 220180)),
    Source("MAP", (52, 6702, 220052, 225312)),
    Source("MAP", (456, 443, 220181)),
    Source("RR", (618, 615, 220210, 224690, 224689)),
    Source("SpO2", (646, 220277)),
    Source("Temp", (676, 223762)),
    Source("Temp", (678, 223761), "fahrenheit"),
    Source("FiO2", (190, 223835), "fraction"),
    Source("Glucose", (807, 811, 1529, 225664, 220621, 226537)),
)


@register_dataset("mimic")
@dataclass(frozen=True)
class MIMIC(Dataset):
    """Hourly means of vital signs per stay in intensive care; needs credentialed files of your own.

    Reads the official tables of MIMIC-III (ICUSTAYS, CHARTEVENTS) or MIMIC-IV (icu/icustays, icu/chartevents), as .csv
    or .csv.gz, names of files and columns in either case, from the folder `mimic` (option `folder`) of the data folder.
    Channels: HR, SBP, DBP, MAP, RR, SpO2, Temp. The option `channels` adds FiO2 and Glucose.

    Quirks: the item ids of both charting systems are read; pressures come from the arterial line, or from the cuff in
    hours without one; deg F becomes deg C by item id, and FiO2 as a fraction becomes per cent; rows that are marked as
    errors, without a stay, before `intime` or after the hour in which the stay ends (hours count from `intime`) are
    left out; implausible values count as missing (outside HR 10..300 bpm, SBP 20..300, DBP 10..200, MAP 10..250 mmHg,
    RR 1..80, SpO2 20..100 %, Temp 25..45 deg C, FiO2 20..100 %, Glucose 10..2000 mg/dL).
    The first `hours` of each stay with at least T hours of heart rate are used. Dates are shifted per patient, so only
    differences are used. The extract is stored beside the data if that folder is not marked read-only, nowhere else.
    Missing hours: as in `icu2012` (`missing: ffill`, `mask`, `drop`).
    Without credentials: the open demo of 100 patients (https://physionet.org/content/mimiciii-demo/1.4/) has the same
    tables, and `--set folder=DIR` reads them. It is enough to try the code, and too small for results.

    Windows: T = 24 hours, disjoint. Split by patient.
    """

    source = "https://physionet.org/content/mimiciii/1.4/ and https://physionet.org/content/mimiciv/"
    licence = (
        "PhysioNet Credentialed Health Data License 1.5.0 (Johnson et al., 2016, Scientific Data 3:160035); the open "
        "demo: Open Database License 1.0 (Johnson, Pollard, Mark, 2019, doi:10.13026/C2HM2Q)"
    )
    restricted = True
    version = 2  # the extract holds every stay, whatever the window

    folder: str = "mimic"
    channels: tuple[str, ...] | list[str] = DEFAULT
    hours: int = option(240, at_least=1)
    missing: Literal["ffill", "drop", "mask"] = "ffill"
    window: int = option(24, at_least=2)  # T

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """The stays' hours, one series per stay."""
        for name in self.channels:
            if name not in CHANNELS:
                hint = nearest(name, CHANNELS, "`python -m bench.data describe mimic`")
                raise InputError(f"mimic.channels: unknown channel '{name}', {hint}")
        folder = self._folder(data_dir)
        stays, events = _table(folder, "icustays"), _table(folder, "chartevents")
        label = f"mimic version {self.version} {self.hours} {','.join(self.channels)}"
        hours = extract(label, [events, stays], lambda: self._hours(stays, events), private=True)
        hours = hours[hours["heard"] >= self.window]
        lengths = hours.groupby("stay", sort=False)["hour"].size().to_numpy()
        owners = hours["subject"].to_numpy()[np.cumsum(lengths) - lengths]
        units = {name: CHANNELS[name][0] for name in self.channels}
        rows = hours[list(units)].to_numpy()
        return stay_recordings(rows, lengths, owners.astype(str).tolist(), units, self.window, self.missing, events)

    def _folder(self, data_dir: Path | None) -> Path:
        for place in places(data_dir):
            if (place / self.folder).is_dir():
                return place / self.folder
        raise Unavailable(
            f"{self.folder}/ is not in the data folder (--data or BENCH_DATA): get credentialed access at {self.source}"
            f", download ICUSTAYS and CHARTEVENTS and put them into {self.folder}/"
        )

    def _hours(self, stays_path: Path, events_path: Path) -> pd.DataFrame:
        """One row per hour of every stay: subject, stay, hour, the stay's hours with a heart rate, and the channels.

        Which stays are used depends on the window, which is no part of the extract's name.
        """
        stays = _stays(stays_path, self.hours)
        sources = [source for source in SOURCES if source.channel in {"HR", *self.channels}]
        source_of = {item: number for number, source in enumerate(sources) for item in source.items}
        means = HourlyMeans(stays["hours"].to_numpy(), len(sources))
        begin, index = stays["intime"].to_numpy(), pd.Index(stays["stay"])
        for batch in _events(events_path, list(source_of)):
            stay = index.get_indexer(pd.Index(batch["stay"]))
            batch, stay = batch[stay >= 0], stay[stay >= 0]
            number = batch["itemid"].map(source_of).to_numpy()
            hours = (batch["charttime"].to_numpy() - begin[stay]) / np.timedelta64(1, "h")
            means.add(stay, hours, number, _in_units(batch["valuenum"].to_numpy(), number, sources))
        measured = means.means()
        owner = np.repeat(np.arange(len(stays), dtype=np.int32), means.lengths)
        columns: dict[str, np.ndarray] = {}
        for source, column in zip(sources, measured.T, strict=True):
            known = columns.setdefault(source.channel, column)
            known[np.isnan(known)] = column[np.isnan(known)]
        heard = np.bincount(owner, weights=~np.isnan(columns["HR"]), minlength=len(stays))
        first = np.cumsum(means.lengths) - means.lengths
        table = {
            "subject": stays["subject"].to_numpy(np.int32)[owner],
            "stay": stays["stay"].to_numpy(np.int32)[owner],
            "hour": (np.arange(len(owner)) - first[owner]).astype(np.int32),
            "heard": heard.astype(np.int32)[owner],
        }
        return pd.DataFrame({**table, **{name: columns[name] for name in self.channels}}, copy=False)


def _in_units(values: np.ndarray, number: np.ndarray, sources: Sequence[Source]) -> np.ndarray:
    """Values in the channel's unit, NaN where that is implausible."""
    unit = np.array([source.unit for source in sources])[number]
    values = np.where(unit == "fahrenheit", (values - 32) / 1.8, values)
    values = np.where((unit == "fraction") & (values <= 1), 100 * values, values)  # 190: .21..1, 223835: 21..100
    limits = np.array([CHANNELS[source.channel][1:] for source in sources])[number]
    return within(values, limits[:, 0], limits[:, 1])


def _table(folder: Path, name: str) -> Path:
    for place in (folder, folder / "icu"):
        for path in sorted(place.glob("*")) if place.is_dir() else []:
            if path.name.lower() in (f"{name}.csv", f"{name}.csv.gz"):
                return path
    raise InputError(f"{folder}: expected {name.upper()}.csv or .csv.gz here or in icu/, found none")


def _names(path: Path, wanted: dict[str, tuple[str, ...]], optional: tuple[str, ...] = ()) -> dict[str, str]:
    """Our name of each column -> the file's; a column may have several official names, in upper or lower case."""
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            header = [name.strip().strip('"') for name in file.readline().split(",")]
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        raise InputError(f"{path}: cannot be read, perhaps cut short or damaged: {error}") from None
    present = {name.lower(): name for name in header}
    found = {ours: present[name] for ours, names in wanted.items() for name in names if name in present}
    missing = ["/".join(names) for ours, names in wanted.items() if ours not in found and ours not in optional]
    if missing:
        raise InputError(f"{path}: the columns {', '.join(missing)} are missing, found {', '.join(header)}")
    return found


def _stays(path: Path, most: int) -> pd.DataFrame:
    """Stays with a beginning and an end: subject, stay, intime and whole hours, at most `most`."""
    wanted = {
        "subject": ("subject_id",),
        "stay": ("icustay_id", "stay_id"),
        "intime": ("intime",),
        "outtime": ("outtime",),
    }
    names = _names(path, wanted)
    stays = read_text(path, list(names.values())).rename(columns={theirs: ours for ours, theirs in names.items()})
    stays = stays.dropna().reset_index(drop=True)
    for name in ("intime", "outtime"):
        stays[name] = as_times(stays[name], path)
    for name in ("subject", "stay"):
        stays[name] = as_numbers(stays[name], path).astype("int64")
    seconds = (stays["outtime"] - stays["intime"]).dt.total_seconds().to_numpy()
    hours = np.ceil(seconds / 3600).astype(np.int64)
    return stays.assign(hours=np.minimum(hours, most))[hours > 0].reset_index(drop=True)


def _events(path: Path, items: Sequence[int]) -> Iterator[pd.DataFrame]:
    """Chart rows of these items, batch by batch, so that a file of 33 GB needs only a few megabytes of memory."""
    wanted = {
        "stay": ("icustay_id", "stay_id"),
        "itemid": ("itemid",),
        "charttime": ("charttime",),
        "valuenum": ("valuenum",),
        "error": ("error",),  # MIMIC-III only
    }
    names = _names(path, wanted, optional=("error",))
    kinds = dict(zip(wanted, (pa.int64(), pa.int64(), pa.timestamp("s"), pa.float64(), pa.float64()), strict=True))
    convert = pa.csv.ConvertOptions(
        include_columns=list(names.values()), column_types={theirs: kinds[ours] for ours, theirs in names.items()}
    )
    console = rich.console.Console(stderr=True)
    title, quiet = f"reading {path.name}", not console.is_terminal
    try:
        with (
            rich.progress.open(path, "rb", description=title, console=console, disable=quiet, transient=True) as file,
            pa.input_stream(file, compression="gzip" if path.suffix == ".gz" else None) as stream,
        ):
            # Small blocks: the reader keeps dozens of them, whatever the length of the file.
            parse, read = pa.csv.ParseOptions(newlines_in_values=True), pa.csv.ReadOptions(block_size=2**20)
            for batch in pa.csv.open_csv(stream, read, parse, convert):
                table = pa.table(batch).rename_columns(list(names))
                keep = pa.compute.and_(
                    pa.compute.is_in(table["itemid"], pa.array(items)), pa.compute.is_valid(table["valuenum"])
                )
                frame = table.filter(keep).to_pandas()
                frame = frame[frame["stay"].notna() & frame["charttime"].notna()]
                if "error" in frame:
                    frame = frame[frame["error"].fillna(0) != 1]
                yield frame.astype({"stay": "int64"})
    except (pa.ArrowInvalid, OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: cannot be read, perhaps cut short or damaged: {str(error).splitlines()[0]}"
        ) from None
