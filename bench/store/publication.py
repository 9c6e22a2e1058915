"""The compact form of results that can be committed: tables without weights, lists of sweeps, cards, a few samples."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.contracts import InputError
from bench.loading.latent_card import publish_cards
from bench.store.memberships import Membership
from bench.store.store import Store, existing

PLACES = ("--results", "--data")
OWN = ("runs", "metrics", "curves", "sweeps", "samples", "cards", "report")
SEEDS = ("seed", "split_seed", "data_sha256")  # of a configuration: what differs between the runs of one setting
INDEX = ("series", "t")  # of a table of samples; its other columns are the channels
_ABSOLUTE = re.compile(r"(?<![\w.:/~-])~?(/[^\s/:;,'\"()]+){2,}/?")  # of two names or more: "/" alone is a sign
DIGITS = 7  # of a sample's largest value, which are kept: float32 has no more


def publish(
    source: Path, out: Path, sweeps: Sequence[Membership], series: int = 0, open_data: Collection[str] = ()
) -> int:
    """Write the tables and lists of these sweeps to `out`, in place of what was published there; its size in bytes.

    series: how many samples of a method on a data set whose name is in `open_data`.

    Files beside them (.md, .yaml) and folders `archive-VERSION` of older results stay; old tables are removed when the
    new ones are complete. Raises InputError where `out` holds anything else, or tables and reports that this command
    has not written.
    """
    staging = out / ".publishing"
    allowed = (*OWN, "leases", staging.name) if (out / "runs" / "published.parquet").is_file() else (staging.name,)
    beside = [p.name for p in out.glob("*") if p.suffix not in (".md", ".yaml") and not p.name.startswith("archive-")]
    strangers = [name for name in beside if name not in allowed]
    if strangers:
        raise InputError(
            f"--out {out}: holds {min(strangers)}: expected a new folder, or one that was published before"
        )
    wanted = {run_id for sweep in sweeps for run_id in sweep.runs}
    store = existing(source)
    tables = [*store.results(), store.curves(wanted)]  # of the runs that `results` saw: a sweep may still run
    runs, metrics, curves = (table[table["run_id"].isin(wanted)].astype(object) for table in tables)
    runs["config"] = runs["config"].map(without_folder)
    runs["traceback"] = ""  # it names files of the machine, and the reason says what happened
    for table in (runs, metrics):
        table["reason"] = table["reason"].map(without_paths)
    shutil.rmtree(staging, ignore_errors=True)
    target = Store(staging)
    target.prepare()
    target.write_part("published", _rows(runs), _rows(metrics), _rows(curves))
    for sweep in sorted(sweeps, key=lambda sweep: sweep.written):
        command = without_places(sweep.command)
        target.write_membership(
            sweep.name,
            sweep.runs,
            sweep.description,
            command,
            equivalence=sweep.equivalence,
            contrasts=sweep.contrasts,
        )
    publish_cards(sorted(set(runs["data_sha256"].astype(str))), source, staging)
    if series:
        names = runs["dataset"].map(lambda key: str(key).partition(",")[0])
        _publish_samples(source, staging, runs[names.isin(set(open_data))], series)
    for name in OWN:
        shutil.rmtree(out / name, ignore_errors=True)
        if (staging / name).exists():
            (staging / name).rename(out / name)
    shutil.rmtree(staging)
    return sum(path.stat().st_size for path in out.glob("*/*.parquet"))


def _publish_samples(source: Path, out: Path, runs: pd.DataFrame, series: int) -> None:
    """The first series of one run of each setting on each data set, the one with the lowest seed that has samples.

    A table as `--save-samples` writes it, in float32, so that it is small.
    """
    cells: set[str] = set()
    for row in runs.sort_values(["seed", "run_id"]).to_dict("records"):
        place = source / "samples" / f"{row['run_id']}.parquet"
        config = {key: value for key, value in json.loads(row["config"]).items() if key not in SEEDS}
        cell = json.dumps(config, sort_keys=True)
        if cell in cells or not place.is_file():
            continue
        cells.add(cell)
        table = pq.read_table(place)
        table = table.filter(pc.less(table["series"], series))
        columns = [
            column.cast(pa.int32()) if field.name in INDEX else pa.array(_shortened(column.to_numpy()))
            for field, column in zip(table.schema, table.columns, strict=True)
        ]
        fields = [field.with_type(column.type) for field, column in zip(table.schema, columns, strict=True)]
        target = out / "samples" / place.name
        target.parent.mkdir(exist_ok=True)
        small = pa.table(columns, schema=pa.schema(fields, table.schema.metadata))
        channels = [name for name in small.column_names if name not in INDEX]
        pq.write_table(  # a quarter smaller than by the defaults
            small,
            target,
            compression="zstd",
            compression_level=19,
            use_dictionary=list(INDEX),
            use_byte_stream_split=channels,
        )


def _shortened(values: np.ndarray) -> np.ndarray:
    """Values to seven digits of the largest, in float32: what they were before a scale was put on and taken off."""
    largest = np.abs(values[np.isfinite(values)]).max(initial=0.0)
    decimals = DIGITS - 1 - int(np.floor(np.log10(largest))) if largest > 0 else 0
    return np.round(values, decimals).astype(np.float32)


def without_places(command: str) -> str:
    """A command without its folders of results and data, which are places on the machine that ran it.

    >>> without_places("python -m bench.run --grid quick --results /home/me/out --jobs 2 --data=/data")
    'python -m bench.run --grid quick --jobs 2'
    >>> without_places("python -m bench.run --grid /home/me/own.yaml --plugin=/home/me/mine.py")
    'python -m bench.run --grid own.yaml --plugin=mine.py'
    """
    words = shlex.split(command)
    after = {k + 1 for k, word in enumerate(words) if word in PLACES}
    kept = [word for k, word in enumerate(words) if k not in after and word.partition("=")[0] not in PLACES]
    return shlex.join(map(without_paths, kept))


def without_paths(text: str) -> str:
    """A text with the last name alone of every absolute path, which is a place on the machine that ran it.

    >>> without_paths("/home/me/data/own.csv: no column 'x/y' (see https://example.org/a/b)")
    "own.csv: no column 'x/y' (see https://example.org/a/b)"
    """
    return _ABSOLUTE.sub(lambda path: PurePath(path.group()).name, text)


def without_folder(config: str) -> str:
    """A run's configuration without the folder of its data file, which is a place on the machine that trained it."""
    values = json.loads(config)
    if not values["dataset"].pop("folder", ""):
        return config
    return json.dumps(values, sort_keys=True)


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows without their empty cells."""
    return [{str(key): value for key, value in row.items() if value == value} for row in table.to_dict("records")]
