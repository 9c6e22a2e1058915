"""A user's own delimited text (CSV) as a table of text: every line is one row, or the file is refused at its line.

pandas is not asked, as it takes surplus cells for an index, skips blank lines and renames columns without a word.
"""

from __future__ import annotations

import codecs
import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import pandas as pd
from pandas.io.common import get_handle  # type: ignore[import-not-found]

from bench.contracts import InputError
from bench.loading.files import CUT_SHORT, check_file, first_line, refuse_stand_in

Header = Literal["auto", "names", "none"]
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|", "space": " "}
DECIMALS = {"": ".", "point": ".", "comma": ",", ".": ".", ",": ","}
EMPTY = ("", "NA", "NaN", "nan", "null")
"""Cells that are missing values in every table."""

_MARKS = (  # what a file with an encoding of its own begins with; the longer marks first
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_ROWS = 50_000  # that are held as Python's own text at a time
_COMPARED = 20  # rows, with which the first line is compared to tell names from a row of data


@dataclass(frozen=True)
class RawTable:
    """A table before it is interpreted, and which of its columns have no name in the file."""

    frame: pd.DataFrame
    unnamed: tuple[str, ...] = ()
    decimal: str = "."


def read_delimited(path: Path, owner: str, separator: str, decimal: str, encoding: str, header: Header) -> RawTable:
    """A CSV file (plain or compressed) as text, NaN where a cell is empty; spaces around a cell are removed.

    separator: one character or its name, "" is a comma, or what a first line `sep=;` says. encoding: "" is UTF-8, or
    what a mark at the beginning of the file says. header: `none` names the columns x1, x2, ..
    Raises InputError.
    """
    refuse_stand_in(check_file(path))
    sign, mark = _separator(separator, owner), _decimal(decimal, owner)
    name = _encoding(path, encoding, owner)
    try:
        with get_handle(path, "r", encoding=name, compression="infer") as handles:
            table = _table(handles.handle, path, sign, mark, header)
    except UnicodeError:
        known = name.replace("-sig", "").upper()
        raise InputError(
            f"{path}: expected a table as {known} CSV: line {_undecodable(path, name)} is not {known}: choose "
            "`encoding`, such as cp1252 (of Windows), latin-1 or utf-16"
        ) from None
    except CUT_SHORT as error:
        raise InputError(f"{path}: cannot be read, perhaps cut short or damaged: {first_line(error)}") from None
    except (ValueError, csv.Error) as error:  # an archive of several files; a cell without an end
        raise InputError(f"{path}: expected a table as CSV: {first_line(error)}") from None
    return table


def _table(file: IO[Any], path: Path, sign: str, decimal: str, header: Header) -> RawTable:
    lines = iter(file)
    first = next(lines, "")
    stated = re.fullmatch(r"\ufeff?\"?sep=(.)\"?\s*", first, re.IGNORECASE)
    if stated:
        sign = sign or stated[1]
    else:
        lines = itertools.chain([first], lines)
    numbered = _cells(lines, sign or ",", path, start=2 if stated else 1)
    place, names = next(((line, cells) for line, cells in numbered if cells not in ([], [""])), (0, []))
    if not names:
        raise ValueError("the file is empty")
    some = list(itertools.islice(numbered, _COMPARED))
    _refuse_other_separators(names, [cells for _, cells in some if any(cells)], sign, path)
    rows = _rows(itertools.chain(some, numbered), names, path)
    start = list(itertools.islice(rows, _COMPARED))
    if header == "auto":
        _refuse_numbers_as_names(names, start, decimal, path, place)
    if header == "none":
        start, names = [names, *start], [f"x{k + 1}" for k in range(len(names))]
    unnamed = [k for k, name in enumerate(names) if not name or re.fullmatch(r"Unnamed: \d+", name)]
    names = [f"column {k + 1}" if k in unnamed else name for k, name in enumerate(names)]
    if len(set(names)) < len(names):
        name = next(name for k, name in enumerate(names) if name in names[:k])
        raise InputError(f"{path}: line {place} names the column '{name}' twice, expected different names")
    frame = _frame(itertools.chain(start, rows), names)
    lost = [names[k] for k in unnamed if k and frame[names[k]].isna().all()]  # of a separator that ends every line
    frame = frame.drop(columns=lost)
    return RawTable(frame, tuple(names[k] for k in unnamed if names[k] not in lost), decimal)


def _cells(lines: Iterator[str], sign: str, path: Path, start: int) -> Iterator[tuple[int, list[str]]]:
    """The number of each line and its cells, none for a blank line."""
    reader = csv.reader(lines, delimiter=sign, skipinitialspace=True, strict=True)
    for cells in reader:
        line = reader.line_num + start - 1
        found = [cell.strip() for cell in cells]
        if any("\0" in cell for cell in found):
            raise InputError(
                f"{path}: expected a table as CSV: line {line} holds bytes of 0: choose `encoding: utf-16-le` if it is "
                "text of that kind"
            )
        if sign == " " and len(found) > 1 and not found[-1]:
            del found[-1]  # of spaces at the end of a line
        yield line, found


def _rows(numbered: Iterator[tuple[int, list[str]]], names: Sequence[str], path: Path) -> Iterator[list[str]]:
    """Cells of each row. Blank lines are missing values of a single column, and refused in the midst of several."""
    blank: list[int] = []
    for line, cells in numbered:
        if not cells or (cells == [""] and len(names) > 1):
            blank.append(line)
            continue
        if blank and len(names) > 1:
            raise InputError(f"{path}: line {blank[0]} is blank, expected {len(names)} cells (or no line)")
        yield from [[""] for _ in blank]
        blank.clear()
        if len(cells) != len(names):
            amount = "more" if len(cells) > len(names) else "fewer"
            title = "is the first line a title?" if len(names) == 1 else "`separator`, `decimal` say how it is written"
            raise InputError(
                f"{path}: expected a table as CSV: line {line} has {len(cells)} cells, {amount} cells than the header "
                f"({len(names)}); {title}"
            )
        yield cells


def _refuse_other_separators(names: list[str], rows: list[list[str]], sign: str, path: Path) -> None:
    if sign or len(names) > 1:
        return
    lines = [",".join(row) for row in rows]
    for word, other in (("semicolon", ";"), ("tab", "\t"), ("pipe", "|")):
        count = names[0].count(other)
        if count and all(line.count(other) == count for line in lines):
            also = " and `decimal: comma`" if any("," in line for line in lines) else ""
            raise InputError(
                f"{path}: the first line holds no comma, but {count} {word}s: choose `separator: {word}`{also}"
            )


def _refuse_numbers_as_names(names: list[str], rows: list[list[str]], decimal: str, path: Path, line: int) -> None:
    """A first line that looks like the rows below it, with a number or a date in it, may be a row of data."""
    kinds = [_kind(cell, decimal) for cell in names]
    if not {"number", "date"} & set(kinds):
        return
    for row in rows:
        pairs = zip(kinds, (_kind(cell, decimal) for cell in row), strict=True)
        if all(mine == theirs or "empty" in (mine, theirs) for mine, theirs in pairs):
            shown = ", ".join(names[:4]) + (", .." if len(names) > 4 else "")
            raise InputError(
                f"{path}: line {line} ({shown}) looks like a row of data: choose `header: none` if it is one, or "
                "`header: names` if these are the names of the columns"
            )


def _kind(cell: str, decimal: str) -> str:
    if cell in EMPTY:
        return "empty"
    if re.match(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}", cell):
        return "date"
    try:
        float(cell.replace(decimal, "."))
    except ValueError:
        return "text"
    return "number"


def _frame(rows: Iterator[list[str]], names: Sequence[str]) -> pd.DataFrame:
    parts = []
    while chunk := list(itertools.islice(rows, _ROWS)):
        parts.append(pd.DataFrame(chunk, columns=list(names), dtype="str"))
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype="str") for name in names})
    frame = pd.concat(parts, ignore_index=True)
    return frame.mask(frame.isin(EMPTY))


def _separator(given: str, owner: str) -> str:
    sign = SEPARATORS.get(given, given)
    if sign and (len(sign) > 1 or sign.isalnum() or sign in '."\r\n+-_'):
        words = ", ".join(word for word in SEPARATORS if word.isalpha())
        raise InputError(f"{owner}.separator = {given!r}: expected one character such as ';', or one of {words}")
    return sign


def _decimal(given: str, owner: str) -> str:
    if given not in DECIMALS:
        raise InputError(f"{owner}.decimal = {given!r}: expected point or comma")
    return DECIMALS[given]


def _encoding(path: Path, given: str, owner: str) -> str:
    """The name of the encoding. What a mark at the beginning says is so, whatever was given."""
    if given:
        try:
            known = codecs.lookup(given)
            "".encode(given)  # refuses what turns text into text, such as rot13
        except LookupError:
            raise InputError(
                f"{owner}.encoding = {given!r}: unknown, expected one such as utf-8, cp1252 or latin-1"
            ) from None
        given = known.name
    try:
        with get_handle(path, "rb", compression="infer", is_text=False) as handles:
            begins: Any = handles.handle.read(4)
    except CUT_SHORT as error:
        raise InputError(f"{path}: cannot be read, perhaps cut short or damaged: {first_line(error)}") from None
    except ValueError as error:
        raise InputError(f"{path}: expected a table as CSV: {first_line(error)}") from None
    return next((name for mark, name in _MARKS if begins.startswith(mark)), given or "utf-8")


def _undecodable(path: Path, encoding: str) -> int:
    """The number of the first line that is not text of this encoding; 1 where lines cannot be told apart."""
    with get_handle(path, "rb", compression="infer", is_text=False) as handles:
        content: Any = handles.handle
        for number, line in enumerate(content, start=1):
            try:
                line.decode(encoding)
            except UnicodeError:
                return number
    return 1
