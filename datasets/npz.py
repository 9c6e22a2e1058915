"""`npz`: a user's own arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from bench.contracts import Dataset, InputError, Recordings, nearest, option
from bench.loading.arrays import look_swapped
from bench.loading.files import DAMAGED_NPZ, first_line, locate, refuse_stand_in
from bench.loading.references import digest
from bench.loading.suspicions import suspicious_values
from bench.loading.tables import Missing, treat_missing, without
from bench.registry import register_dataset

MANY_CHANNELS = 8  # from here on, neighbours among them may be steps in time


@register_dataset("npz")
@dataclass(frozen=True)
class NPZ(Dataset):
    """A user's own array in a NumPy archive: `npz:PATH`, or `{name: npz, path: PATH, array: x}`.

    The array `array` (default: the only one of the file) has shape (rows, C), one long series, or (n, rows, C), n
    independent series of one length that are split as entities. `channels` gives the names (default: x1..xC). NaN is
    refused unless `missing` says otherwise (see `csv`), and so are the numbers in `missing_values`. Arrays of Python
    objects are refused. An array that looks like (n, C, rows), or like n series of one channel without a last axis, is
    doubted.

    Windows: T = `window` (default: the length of the series where there are n, else 24), `stride`, `test_stride`
    (T // 4). Series of T rows hold one window each, which shares no row with any other.
    """

    version = 2  # series are in the order of their hashes
    source = "a file of your own"
    licence = "yours"

    path: str = ""
    array: str = ""
    channels: tuple[str, ...] | list[str] = ()
    missing: Missing = "refuse"
    window: int | None = option(None, at_least=2)  # T
    stride: int = option(1, at_least=1)
    test_stride: int | None = option(None, at_least=1)
    split: Literal["auto", "blocks", "time", "entity"] = "auto"
    missing_values: float | tuple[float, ...] | list[float] = option((), later=True)

    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """The array's series."""
        path = locate(self.path, self.name, data_dir)
        values = _read(path, self.array)
        if values.dtype.kind not in "fiu" or values.ndim not in (2, 3) or not values.size:
            raise InputError(
                f"{path}: the array has shape {values.shape} and type {values.dtype}, expected numbers as "
                "(rows, channels) or (series, rows, channels)"
            )
        names = list(self.channels) or [f"x{c + 1}" for c in range(values.shape[-1])]
        if len(set(names)) < len(names):
            raise InputError(f"{self.name}.channels: expected different names")
        if len(names) != values.shape[-1]:
            raise InputError(f"{path}: {values.shape[-1]} channels, but `channels` names {len(names)}")
        series = values if values.ndim == 3 else values[None]
        frame = pd.DataFrame(series.reshape(-1, len(names)).astype(np.float64), columns=names)
        codes = (self.missing_values,) if isinstance(self.missing_values, int | float) else tuple(self.missing_values)
        frame = frame.apply(without, codes=codes)
        doubts = [*_turned(values, path), *suspicious_values(frame.to_numpy(), names, path)]
        rows, names = treat_missing(frame, self.missing, path)
        whole = rows.reshape(len(series), -1, len(names))
        window = self.window or (series.shape[1] if values.ndim == 3 else 24)
        split = self.split if self.split != "auto" else ("entity" if values.ndim == 3 else "blocks")
        if split == "entity":  # where a series stands in the file says nothing, and neighbours are not alike
            whole = whole[sorted(range(len(whole)), key=lambda k: digest(whole[k]))]
        kept = [s[~np.isnan(s).any(axis=1)] if self.missing == "drop" else s for s in whole]
        lost = whole.shape[0] * whole.shape[1] - sum(map(len, kept))
        return Recordings(
            series=kept,
            channels=tuple(names),
            units=("",) * len(names),
            window=window,
            train_stride=self.stride,
            test_stride=self.test_stride or max(self.stride, window // 4),
            split=split,
            notes=(
                f"read as {len(series):,} series of {series.shape[1]:,} rows and {values.shape[-1]} channels",
                f"row 1: {', '.join(f'{name} = {value:g}' for name, value in zip(names, series[0, 0], strict=False))}",
                "time: none, rows are taken in the order of the file",
                f"rows left out: {f'{lost:,} with an empty cell (missing: drop)' if lost else 'none'}",
            ),
            doubts=doubts,
        )


def _turned(values: np.ndarray, path: Path) -> list[str]:
    """Whether the axes may stand for something else: the last one is then the smoother one."""
    if values.ndim == 3 and look_swapped(values):
        return [
            f"{path}: the array {values.shape} looks like (series, channels, rows), expected (series, rows, channels)"
        ]
    if values.ndim == 2 and values.shape[1] >= MANY_CHANNELS and look_swapped(values[None, : values.shape[1] // 2]):
        rows, columns = values.shape
        return [
            f"{path}: the array {values.shape} is read as {rows} rows of {columns} channels, and neighbouring "
            f"channels are more alike than neighbouring rows: {rows} series of one channel have the shape "
            f"({rows}, {columns}, 1), and a recording has (rows, channels)"
        ]
    return []


def _read(path: Path, array: str) -> np.ndarray:
    if path.suffix != ".npy":
        refuse_stand_in(path, b"PK")
    try:
        with np.load(path, allow_pickle=False) as archive:
            if array and array not in archive:
                hint = nearest(array, archive.files, "the names in the file")
                raise InputError(f"{path}: no array '{array}', {hint}")
            if not array and len(archive.files) != 1:
                raise InputError(f"{path}: holds {', '.join(archive.files) or 'nothing'}: choose one with `array`")
            return np.asarray(archive[array or archive.files[0]])
    except InputError:
        raise
    except DAMAGED_NPZ as error:
        raise InputError(f"{path}: cannot be read as an .npz archive of numbers: {first_line(error)}") from None
