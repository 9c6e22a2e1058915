"""What is published, and what is withdrawn: the README claims nothing, and the archive says why and how to check it."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
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


@pytest.mark.parametrize(
    ("page", "section", "rows"),
    [
        (ROOT / "README.md", "an example of a table, which is no finding", 6),
        (REFERENCE / "README.md", "the sweep", 18),
        (CORE / "README.md", "each method on each data set", 39),
    ],
)
def test_a_table_is_what_the_published_rows_say(page: Path, section: str, rows: int) -> None:
    """Every number of the table, computed from the parquet files without the report's code."""
    (table,) = [part for part in page.read_text(encoding="utf-8").split("\n## ") if part.lower().startswith(section)]
    lines = [line for line in table.splitlines() if "| `" in line and line.count("|") == 8]
    shown = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]
    runs, metrics = load_results(CORE if page.parent == CORE else REFERENCE)
    ended = metrics[(metrics.train_step < 0) & (metrics.coordinate == "")]
    named = ended.merge(runs[["run_id", "dataset", "label", "seed"]], on="run_id")
    by = ["dataset", "label", "metric", "seed"]
    values = named.astype(dict.fromkeys(by[:3], str)).set_index(by)["value"].sort_index()

    def cell(found: np.ndarray, digits: int) -> str:
        if len(found) == 1:
            text = f"{found[0]:.{digits}f}"
            return text if float(text) else text.lstrip("-")
        half = stdtrit(len(found) - 1, 0.975) * found.std(ddof=1) / math.sqrt(len(found))
        return f"{found.mean():.{digits}f} ± {half:.{digits}f}".replace("-0.0 ", "0.0 ")

    assert len(shown) == rows
    for data, label, calibration, *information, auc, sliced in shown:
        of, floor = values[data, label.replace("`", "")], values[data, "floor_held_out"]
        for metric, said, digits in (("c2st_auc", auc, 2), ("sliced_wasserstein", sliced, 3)):
            found = of[metric] - floor[metric].reindex(of[metric].index)
            assert cell(found.to_numpy(), digits) == said, (data, label, metric)
        if information == ["–", "–"]:
            assert "latent_information" not in of.index or of["latent_information"].isna().all()
            continue
        assert f"{of['calibration_distance'].mean():.2f}" == calibration
        for metric, said in zip(("latent_information", "latent_information_second_half"), information, strict=True):
            near = math.log(512) - 0.5
            expected = f"≥ {near:.1f}" if of[metric].min() > near else cell(of[metric].to_numpy(), 1)
            if of["latent_information_bound"].nunique() > 1:  # seeds of other bounds are never averaged
                expected = f"{of[metric].min():.1f} to {of[metric].max():.1f}"
            assert expected == said, (data, label, metric)


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
