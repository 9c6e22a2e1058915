"""What is published, and what is withdrawn: the README claims nothing, and the archive says why and how to check it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import stdtrit

from bench import replay
from bench.contracts import InputError
from bench.store import load_memberships, load_results

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "results" / "reference"
CORE = ROOT / "results" / "core"
ARCHIVE = REFERENCE / "archive-0.1"


def test_the_readme_claims_no_result_before_the_findings_are_rerun() -> None:
    first = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## ")[0]
    assert "**No result is claimed until the findings are rerun.**" in first
    assert "|" not in first, "expected no table of results"
    assert "±" not in first


def values_of(folder: Path) -> pd.Series:
    """Data set, label, metric, seed -> the value at the end of training."""
    runs, metrics = load_results(folder)
    ended = metrics[(metrics.train_step < 0) & (metrics.coordinate == "")]
    named = ended.merge(runs[["run_id", "dataset", "label", "seed"]], on="run_id")
    by = ["dataset", "label", "metric", "seed"]
    return named.astype(dict.fromkeys(by[:3], str)).set_index(by)["value"].sort_index()


def mean_and_half(found: np.ndarray, digits: int) -> str:
    """Mean and half of a 95 % t interval; of one seed the value."""
    if len(found) == 1:
        text = f"{found[0]:.{digits}f}"
        return text if float(text) else text.lstrip("-")
    half = stdtrit(len(found) - 1, 0.975) * found.std(ddof=1) / math.sqrt(len(found))
    return f"{found.mean():.{digits}f} ± {half:.{digits}f}".replace("-0.0 ", "0.0 ")


def nats(of: pd.Series, metric: str) -> str:
    """A latent information: a bound where every seed is at it; least and largest where seeds have other bounds."""
    bounds = of["latent_information_bound"]
    if bounds.nunique() > 1:  # these are never averaged
        return f"{of[metric].min():.1f} to {of[metric].max():.1f}".replace("-0.0", "0.0")
    near = bounds.min() - 0.5
    return f"≥ {near:.1f}" if of[metric].min() > near else mean_and_half(of[metric].to_numpy(), 1)


def row_of(values: pd.Series, data: str, label: str) -> list[str]:
    """The cells of a published table beside the names, computed from the rows without the report's code."""
    of, floor = values[data, label], values[data, "floor_held_out"]
    cells = ["–"] * 3
    if "latent_information" in of.index and of["latent_information"].notna().any():
        information = [nats(of, metric) for metric in ("latent_information", "latent_information_second_half")]
        cells = [f"{of['calibration_distance'].mean():.2f}", *information]
    for metric, digits in (("c2st_auc", 2), ("sliced_wasserstein", 3)):
        cells.append(mean_and_half((of[metric] - floor[metric].reindex(of[metric].index)).to_numpy(), digits))
    return cells


def published(page: Path, section: str, columns: int) -> list[list[str]]:
    """The rows of the table of so many columns in a section of a page."""
    (text,) = [part for part in page.read_text(encoding="utf-8").split("\n## ") if part.lower().startswith(section)]
    lines = [line for line in text.splitlines() if "| `" in line and line.count("|") == columns + 1]
    return [[cell.strip(" ") for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize(
    ("page", "section", "rows"),
    [
        (ROOT / "README.md", "an example of a table, which is no finding", 6),
        (REFERENCE / "README.md", "the sweep", 18),
    ],
)
def test_a_table_is_what_the_published_rows_say(page: Path, section: str, rows: int) -> None:
    values, shown = values_of(REFERENCE), published(page, section, 7)
    assert len(shown) == rows
    for data, label, *cells in shown:
        assert cells == row_of(values, data.strip("`"), label.replace("`", "")), (data, label)


def rows_of_core() -> list[list[str]]:
    """Every method on every data set of the published rows of `core`, in the order of the sweep file."""
    runs, values = load_results(CORE)[0].set_index("run_id"), values_of(CORE)
    asked = runs.reindex(json.loads((CORE / "sweeps" / "core.json").read_text(encoding="utf-8"))["runs"])
    asked = asked[(asked["kind"] == "method") & (asked["status"] == "ok")]
    datasets, labels = asked["dataset"].unique(), asked["label"].unique()
    pairs = set(zip(asked["dataset"], asked["label"], strict=True))
    rows = []
    for data in datasets:
        for label in [label for label in labels if (data, label) in pairs]:
            name, *rest = label.split(", ")
            seeds = len(values[data, label, "c2st_auc"])
            rows.append([data, ", ".join([f"`{name}`", *rest]), str(seeds), *row_of(values, data, label)])
    return rows


def test_the_table_of_core_is_what_its_rows_say() -> None:
    """`python tests/test_reference.py` writes it anew, after `bench.publish` has."""
    shown = published(CORE / "README.md", "each method on each data set", 8)
    assert shown == rows_of_core()
    assert len(shown) == 45


def test_withdrawn_findings_say_so_at_their_head_and_link_to_what_is_there() -> None:
    text = (ARCHIVE / "FINDINGS.md").read_text(encoding="utf-8")
    assert text.startswith("# Findings of version 0.1, withdrawn\n\n**Every finding on this page is withdrawn.**")
    head = text.split("\n---\n")[0]
    assert len([line for line in head.splitlines() if line.startswith("| ")]) >= 12
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
        assert (ARCHIVE / picture).is_file()


def test_archived_rows_load_and_are_replayed_by_the_release_that_made_them() -> None:
    runs, metrics = load_results(ARCHIVE)
    assert len(runs) > 600
    assert set(metrics.run_id) <= set(runs.run_id)
    assert "published-reduced-tuned" in {membership.name for membership in load_memberships(ARCHIVE)}
    run_id = runs.run_id[runs.kind == "method"].iloc[0]
    with pytest.raises(InputError, match=rf"RUN_ID {run_id}: was trained by version 1 of .*`git checkout 6f9256b` has"):
        replay.main([run_id, "--results", str(ARCHIVE)])


if __name__ == "__main__":
    PAGE = CORE / "README.md"
    BEFORE, TABLE, AFTER = re.split(r"((?:^\|.*\n)+)", PAGE.read_text(encoding="utf-8"), maxsplit=1, flags=re.MULTILINE)
    HEAD = "".join(TABLE.splitlines(keepends=True)[:2])
    LINES = "".join(f"| {' | '.join(row)} |\n" for row in rows_of_core())
    PAGE.write_text(BEFORE + HEAD + LINES + AFTER, encoding="utf-8")
