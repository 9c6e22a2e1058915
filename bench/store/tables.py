"""Arrow tables in memory: made of rows, joined, and reduced to the latest attempts."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bench.contracts import InputError
from bench.store.schema import BOOL, FLOAT, INT, RUNS, TEXT, UNKNOWN

_ABSENT = {TEXT: "", INT: 0, FLOAT: float("nan"), BOOL: False}
_DEFAULTS: dict[str, Any] = {"split": "test", "train_step": -1, "status": "ok"}  # where a writer leaves a column out


def table_of(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, pa.DataType]) -> pa.Table:
    """Rows as a table: the stated columns, then any others in order of appearance."""
    arrays = {}
    for name, kind in columns.items():
        default = None if name in UNKNOWN else _DEFAULTS.get(name, _ABSENT[kind])
        values = [default if row.get(name) is None else row[name] for row in rows]
        try:
            arrays[name] = pa.array(values, kind)
        except UnicodeEncodeError:  # half of a surrogate pair, as an error's message may have it
            texts = [value and value.encode("utf-8", "backslashreplace").decode() for value in values]
            arrays[name] = pa.array(texts, kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise TypeError(f"column {name}: {error}") from error
    for name in dict.fromkeys(name for row in rows for name in row):
        if name not in arrays:
            arrays[name] = _hyper_column([row.get(name) for row in rows])
    return pa.table(arrays)


def _hyper_column(values: Sequence[Any]) -> pa.Array:
    """Numbers as float64, bools as bool, anything else as text; None stays null."""
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, bool) for value in present):
        return pa.array(values, BOOL)
    if present and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in present):
        return pa.array([None if value is None else float(value) for value in values], FLOAT)
    text = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return pa.array(text, TEXT if present else pa.null())


def joined(tables: Sequence[pa.Table], columns: Mapping[str, pa.DataType]) -> pa.Table:
    """One table of many: columns that a part lacks are null, columns of different types become text."""
    kinds: dict[str, set[pa.DataType]] = {}
    for table in tables:
        for item in table.schema:
            kinds.setdefault(item.name, set()).add(item.type)
    mixed = {name for name, found in kinds.items() if len(found - {pa.null()}) > 1}
    empty = pa.table({name: pa.array([], kind) for name, kind in columns.items()})
    even = []
    for table in tables:
        for name in mixed & set(table.column_names):
            table = table.set_column(table.column_names.index(name), name, table[name].cast(TEXT))
        even.append(table.replace_schema_metadata(None))
    return pa.concat_tables([empty, *even], promote_options="default")


def in_few_tables(tables: Iterator[pa.Table]) -> list[pa.Table]:
    """The same rows in few tables: a thousand small ones of eighty columns each hold more memory than their rows."""
    merged = []
    while group := list(itertools.islice(tables, 50)):
        merged.append(joined(group, RUNS).combine_chunks())
    return merged


def latest_attempts(runs: pa.Table, path: Path) -> pa.Table:
    """The row of the latest attempt at every run. Raises InputError where an attempt has two rows."""
    if not runs.num_rows:
        return runs
    counts = runs.group_by(["run_id", "attempt"]).aggregate([([], "count_all")])
    if counts.num_rows != runs.num_rows:
        row = counts.filter(pc.greater(counts["count_all"], 1)).slice(0, 1).to_pylist()[0]
        raise InputError(f"{path}: run {row['run_id']} has two rows for attempt {row['attempt']}: delete one part")
    ids, attempts = runs["run_id"].to_pylist(), runs["attempt"].to_pylist()
    last: dict[str, int] = {}
    for place, (run_id, attempt) in enumerate(zip(ids, attempts, strict=True)):
        if run_id not in last or attempt > attempts[last[run_id]]:
            last[run_id] = place
    return runs if len(last) == runs.num_rows else runs.take(pa.array(sorted(last.values()), pa.int64()))
