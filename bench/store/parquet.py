"""One parquet file of a part: written whole, and checked when it is read."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.contracts import InputError
from bench.store.durable import replacing
from bench.store.schema import LATER, NEEDED, SCHEMA_VERSION, STORED


def write(path: Path, table: pa.Table, facts: Mapping[str, Any]) -> None:
    """Write a table and, as its metadata, the schema's version and other facts about it."""
    stated = {"schema_version": str(SCHEMA_VERSION), **{key: json.dumps(value) for key, value in facts.items()}}
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(stated), temporary, compression="zstd", write_page_checksum=True)


def fact(metadata: Mapping[bytes, bytes] | None, key: str, default: Any) -> Any:
    """One of the facts that a table was written with; `default` where it has none of this name."""
    return json.loads((metadata or {}).get(key.encode(), json.dumps(default).encode()))


class Corrupt(Exception):
    """A file that is no whole parquet table."""


_SHORTAGE = "not enough memory", "bad_alloc"
"""In what libraries below Arrow say of memory that they did not get, which it hands on like any damage."""


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Tell a damaged file (Corrupt) from one that cannot be read here or just now (InputError): it may be whole."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (pa.ArrowException, MemoryError, OSError, ValueError) as error:  # also JSON in a footer
        why = " ".join(str(error).split()) or "out of memory"
        if isinstance(error, OSError) and error.errno:  # too many open files, a server that does not answer, ...
            raise InputError(f"{path}: cannot be read: {error.strerror or why}") from error
        if not isinstance(error, (OSError, ValueError)) or any(word in why for word in _SHORTAGE):
            raise InputError(f"{path}: cannot be read: {why}") from error  # no memory, no thread, a codec not built in
        raise Corrupt(f"{path.parent.name}/{path.name}: {why}") from error


def _open(path: Path, coded: Sequence[str] = ()) -> tuple[pq.ParquetFile, pa.Schema]:
    """A table and its schema, which the file makes anew at every access; `coded` columns of text come as codes."""
    with reading(path):
        file = pq.ParquetFile(path, page_checksum_verification=True)
        if known := [name for name in coded if name in file.schema_arrow.names]:  # an older part lacks later columns
            footer = file.metadata
            file.close()
            file = pq.ParquetFile(path, metadata=footer, page_checksum_verification=True, read_dictionary=known)
        schema = file.schema_arrow
        version = int(fact(schema.metadata, "schema_version", 0))
    if version > SCHEMA_VERSION:
        file.close()
        raise InputError(
            f"{path}: written by a newer version of this benchmark (schema {version}, expected <= {SCHEMA_VERSION})"
        )
    for name in NEEDED[path.parent.name]:
        if name not in schema.names:
            file.close()
            raise Corrupt(f"{path.parent.name}/{path.name} has no column {name}")
    for name, kind in STORED[path.parent.name].items():
        if name in schema.names and not _alike(schema.field(name).type, kind):
            file.close()
            raise Corrupt(f"{path.parent.name}/{path.name}: column {name} holds {schema.field(name).type}, not {kind}")
    return file, schema


def _alike(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a column can be read as the wanted type: text as text, numbers as numbers, an empty column as any."""
    found = found.value_type if pa.types.is_dictionary(found) else found

    def words(kind: pa.DataType) -> bool:
        return pa.types.is_string(kind) or pa.types.is_large_string(kind)

    if pa.types.is_null(found) or (words(found) and words(wanted)):
        return True
    whole = pa.types.is_integer(found) and not pa.types.is_boolean(wanted) and not words(wanted)
    return whole or found == wanted


def schema_of(path: Path) -> pa.Schema:
    """Names and types of a table's columns, and its facts as metadata, without its rows."""
    file, schema = _open(path)
    file.close()
    return schema


def read(path: Path, columns: Sequence[str] | None = None, coded: Sequence[str] = ()) -> pa.Table:
    """Whole columns, and the file's facts as the table's metadata."""
    file, _ = _open(path, coded)
    with file, reading(path):
        table = file.read(columns=columns, use_threads=False)
    for name, kind in LATER.get(path.parent.name, {}).items():
        if name not in table.column_names and (columns is None or name in columns):
            table = table.append_column(name, pa.nulls(table.num_rows, kind))
    return table


def intact(path: Path) -> bool:
    """Whether a parquet file has its first and last four bytes: a cheap sign that it is not cut short."""
    with reading(path), open(path, "rb") as file:
        head, size = file.read(4), file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 4))
        return head == b"PAR1" == file.read(4) and size >= 12
