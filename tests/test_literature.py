"""The published numbers: the table of the report code and the page hold the same ones, each with its source."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import bench.report

PAGE = Path(__file__).resolve().parent.parent / "bench" / "docs" / "literature.md"
TABLE = Path(bench.report.__file__).with_name("published.csv")
COLUMNS = ["method", "dataset", "score", "value", "error", "source", "table", "note"]
HEADINGS = {
    "discriminative": "### Discriminative score",
    "predictive": "### Predictive score",
    "context_fid": "### Context-FID",
    "correlational": "### Correlational score",
}


def published() -> list[dict[str, str]]:
    with TABLE.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == COLUMNS
        return list(reader)


def rows_below(heading: str) -> list[list[str]]:
    """The table below a heading of the page, its head first."""
    section = re.split(r"^#+ ", PAGE.read_text(encoding="utf-8").partition(f"\n{heading}\n")[2], flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines]
    return [rows[0], *rows[2:]]


def test_every_number_is_one_and_has_its_source():
    rows = published()
    assert rows
    for row in rows:
        assert all(row[name] for name in COLUMNS[:-1]), row
        assert float(row["value"]) >= 0
        assert float(row["error"]) >= 0
        assert row["score"] in HEADINGS
        assert row["score"] != "discriminative" or float(row["value"]) <= 0.5
    assert {row["dataset"] for row in rows} == {"sines", "stocks", "etth", "energy"}
    assert {row["source"] for row in rows} == {row[0] for row in rows_below("## Sources")[1:]}
    keys = [(row["method"], row["dataset"], row["score"], row["source"]) for row in rows]
    assert len(keys) == len(set(keys))


def test_the_page_and_the_table_agree():
    for score, heading in HEADINGS.items():
        names, *rows = rows_below(heading)
        on_page = {
            (row[0], row[1], name): cell
            for row in rows
            for name, cell in zip(names[2:], row[2:], strict=True)
            if cell != "–"
        }
        in_table = {
            (row["method"], row["source"], row["dataset"]): f"{row['value']} ± {row['error']}"
            for row in published()
            if row["score"] == score
        }
        assert on_page == in_table


def test_a_number_that_one_paper_took_from_another_is_the_same():
    rows = published()
    names = ("method", "dataset", "score", "value", "error")
    numbers = {(row["source"], *(row[name] for name in names)) for row in rows}
    for row in rows:
        taken = re.search(r"the number of (.+)$", row["note"])
        assert not taken or (taken[1], *(row[name] for name in names)) in numbers


def test_the_page_and_the_report_say_the_same_of_a_source():
    with TABLE.with_name("published_sources.csv").open(newline="", encoding="utf-8") as file:
        assert [list(row.values()) for row in csv.DictReader(file)] == rows_below("## Sources")[1:]


def test_our_own_rows_are_numbers_or_marked_as_missing():
    for row in rows_below("## Rows that no table prints")[1:]:
        assert row[-1] == "not measured yet" or re.fullmatch(r"\d\.\d{3} ± \d\.\d{3}", row[-1]), row
