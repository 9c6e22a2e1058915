"""From the tables of many parts to pandas, in little memory: columns grow in place and text becomes categories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from bench.store.schema import BOOL, FLOAT, INT, TEXT

_KEY = ["run_id", "metric", "split", "train_step", "coordinate", "index", "metric_seed"]  # of one number


class _Words:
    """A column of words as codes, in the order in which the words appear."""

    def __init__(self) -> None:
        self._code: dict[str, int] = {}

    def codes(self, column: pa.Array) -> np.ndarray:
        """The code of every row, in the smallest type that holds all so far."""
        if column.null_count:
            column = column.cast(TEXT).fill_null("")
        coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        found = [self._code.setdefault(word, len(self._code)) for word in coded.dictionary.to_pylist()]
        return np.asarray(found, np.min_scalar_type(-len(self._code)))[coded.indices.to_numpy()]

    def categorical(self, codes: np.ndarray) -> Any:
        """The words of these codes, which it changes; the categories are in the order of the alphabet."""
        used = np.zeros(len(self._code), dtype=bool)
        blocks = [codes[k : k + 2**20] for k in range(0, len(codes), 2**20)]  # an index is copied, as 64 bits
        for block in blocks:
            used[block] = True
        words = sorted(word for word, code in self._code.items() if used[code])
        place = {word: k for k, word in enumerate(words)}
        order = np.asarray([place.get(word, -1) for word in self._code], codes.dtype)
        for block in blocks:
            block[:] = order[block]
        return pd.Categorical.from_codes(codes, pd.Index(words))


class _Frame:
    """A table that grows part by part: stated columns, in the types of `load_results`."""

    def __init__(self, columns: Mapping[str, pa.DataType]) -> None:
        kinds = {TEXT: np.int8, INT: np.int32, FLOAT: np.float64, BOOL: np.bool_}
        self._names = list(columns)
        self._words = {name: _Words() for name in columns if columns[name] == TEXT}
        self._found: dict[str, np.ndarray] = {name: np.empty(0, kinds[columns[name]]) for name in columns}

    def add(self, table: pa.Table, mine: np.ndarray) -> None:
        """Some rows of a part. A column grows where it is: the system moves its pages, so that nothing exists twice."""
        for name in self._names:
            column = table[name].combine_chunks()
            words = self._words.get(name)
            values = words.codes(column) if words is not None else column.to_numpy(zero_copy_only=False)
            _append(self._found, name, values if mine.all() else values[mine])

    def made(self) -> pd.DataFrame:
        """The table; nothing can be added to it any more."""
        coded = {name: words.categorical(self._found.pop(name)) for name, words in self._words.items()}
        return pd.DataFrame({name: coded.get(name, self._found.get(name)) for name in self._names}, copy=False)


def frames_of(
    tables: Iterable[pa.Table], columns: Mapping[str, pa.DataType], attempts: Mapping[str, int], apart: bool
) -> list[pd.DataFrame]:
    """The rows that belong to these attempts at their runs; every part is gone before the next one is read.

    apart: two tables, of the end of training and of what was measured during it, in place of one.
    """
    stated = {name: kind for name, kind in columns.items() if name != "attempt"}
    frames = [_Frame(stated) for _ in range(2 if apart else 1)]
    for table in tables:
        runs = table["run_id"].combine_chunks()
        latest = np.asarray([attempts.get(run_id, -1) for run_id in runs.dictionary.to_pylist()], np.int64)
        mine = table["attempt"].to_numpy() == latest[runs.indices.to_numpy()]
        masks = [mine]
        if apart:
            ended = table["train_step"].to_numpy() < 0
            masks = [mine & ended, mine & ~ended]
        for frame, mask in zip(frames, masks, strict=True):
            frame.add(table, mask)
    return [frame.made() for frame in frames]


def _append(found: dict[str, np.ndarray], name: str, values: np.ndarray) -> None:
    """Put values at the end of a column, which becomes of a wider type where they do not fit."""
    held = found[name]
    if values.dtype == np.int64 and (not values.size or max(abs(values.min()), abs(values.max())) < 2**31):
        values = values.astype(np.int32)
    if values.dtype.itemsize > held.dtype.itemsize:
        held = found[name] = held.astype(values.dtype)
    count = len(held)
    held.resize(count + len(values), refcheck=False)
    held[count:] = values


def newest(metrics: pd.DataFrame) -> pd.DataFrame:
    """One row per key, of the highest version of each metric of a run; added rows win over the stack's own.

    Test and validation windows, and the end of training and the way there, are apart: one may be measured anew without
    the other. Of a plug-in's metric the code that was added last wins.
    """
    added = metrics.pop("added")
    if not added.any():
        return metrics
    place = [metrics["run_id"], metrics["metric"], metrics["split"], metrics["train_step"] < 0]
    newest = metrics["version"] == metrics["version"].groupby(place, observed=True).transform("max")
    ordered = pd.concat([metrics[newest & ~added], metrics[newest & added]])  # a later one wins
    if ordered["metric_code"].nunique() > 1:  # a plug-in's metric was edited
        code = ordered["metric_code"].astype("category").cat.codes
        place = [ordered["run_id"], ordered["metric"], ordered["split"], ordered["train_step"] < 0]
        ordered = ordered[code == code.groupby(place, observed=True).transform("last")]
    return ordered.drop_duplicates(_KEY, keep="last", ignore_index=True)


def spelled(table: pd.DataFrame) -> pd.DataFrame:
    """A small part of a table with its words as words: an index of them can be compared with another folder's."""
    return table.astype({name: str for name in table.columns if isinstance(table[name].dtype, pd.CategoricalDtype)})
