"""`npz`: a user's own arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from bench.contracts import Dataset, InputError, Recordings, nearest, option
from bench.loading.files import DAMAGED_NPZ, first_line, locate
from bench.loading.tables import Missing, treat_missing
from bench.registry import register_dataset


@register_dataset("npz")
@dataclass(frozen=True)
class NPZ(Dataset):
    """A user's own array in a NumPy archive: `npz:PATH`, or `{name: npz, path: PATH, array: x}`.

    The array `array` (default: the only one of the file) has shape (rows, C), one long series, or (n, rows, C), n
    series of one length that are split as entities. `channels` gives the names (default: x1..xC). NaN is refused unless
    `missing` says otherwise (see `csv`). Arrays of Python objects are refused.

    Windows: T = `window` (default: the length of the series where there are n, else 24), `stride`, `test_stride`
    (T // 4).
    """

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
        rows, names = treat_missing(frame, self.missing, path)
        whole = rows.reshape(len(series), -1, len(names))
        window = self.window or (series.shape[1] if values.ndim == 3 else 24)
        split = self.split if self.split != "auto" else ("entity" if values.ndim == 3 else "blocks")
        if split == "entity":  # series without names are sorted by what they hold, wherever they stand in the file
            whole = whole[np.lexsort(whole.reshape(len(whole), -1).T[::-1])]
        kept = [s[~np.isnan(s).any(axis=1)] if self.missing == "drop" else s for s in whole]
        return Recordings(
            series=kept,
            channels=tuple(names),
            units=("",) * len(names),
            window=window,
            train_stride=self.stride,
            test_stride=self.test_stride or max(self.stride, window // 4),
            split=split,
        )


def _read(path: Path, array: str) -> np.ndarray:
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
