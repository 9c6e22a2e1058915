"""The published results: the tables on the README's first screen are those of the report behind them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "results" / "reference" / "report" / "published-reduced-tuned"


def rows_of(text: str) -> list[list[str]]:
    """The cells of a Markdown table's rows, without emphasis and escapes."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    plain = [line.replace("\\|", "\u00a6").replace("\\", "").replace("*", "").replace("`", "") for line in lines]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in plain]
    return [row for row in rows if not set("".join(row)) <= set("-: ")]


def report_of(dataset: str) -> dict[str, dict[str, str]]:
    """One data set's comparison table in the report, by method and column."""
    text = (REPORT / "report.md").read_text(encoding="utf-8")
    table = text.split(f"### {dataset} · lstm\n")[1].split("\n### ")[0].split("\n\n")[0]
    head, *rows = rows_of(table)
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def test_the_readmes_main_table_is_that_of_the_report() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    head, *rows = rows_of(readme.split("\n## ")[0])
    assert len(rows) >= 8
    for place, title in enumerate(head[1:], 1):
        dataset, _, column = title.partition(": ")
        of_report = report_of(dataset)
        for row in rows:
            name = row[0] if row[0] in of_report else f"{row[0]} (reference)"
            assert row[place] == of_report[name][column], (row[0], title)


def test_the_readmes_picture_is_published() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", readme.split("\n## ")[0])
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).is_file()
