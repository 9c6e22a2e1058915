"""What is published follows from its rows, and what is withdrawn says why and how to check it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from published_rows import CORE, FINDINGS, FLOOR, MORE, README, REFERENCE, datasets_of, row_of, trained, values_of
from published_tables import METHODS, TABLES, correlation_with_the_gain, shown
from scipy.stats import mannwhitneyu

from bench import replay
from bench.contracts import InputError
from bench.store import load_memberships, load_results

ARCHIVE = REFERENCE / "archive-0.1"


@pytest.mark.parametrize(
    ("page", "section"), list(TABLES), ids=[f"{page.parent.name}-{section}" for page, section in TABLES]
)
def test_a_table_about_core_is_what_its_rows_say(page: Path, section: str) -> None:
    """`python tests/published_tables.py` writes it anew, after `bench.publish` has."""
    assert shown(page, section) == [list(row) for row in TABLES[page, section]()]


def test_the_correlation_with_the_gain_over_both_tests_is_that_of_the_rows() -> None:
    assert correlation_with_the_gain() in " ".join(FINDINGS.read_text(encoding="utf-8").split())


@pytest.mark.parametrize("other", ["latent_diffusion", "no_latent"])
def test_the_probabilities_over_runs_are_those_of_the_rows(other: str) -> None:
    values, wins = values_of(CORE, "core"), []
    for data in datasets_of("core"):
        above = [values[data, label, "c2st_auc"] - values[data, FLOOR, "c2st_auc"] for label in (other, "kl_free")]
        wins.append(mannwhitneyu(*above).statistic / 25)
    report = (CORE / "report" / "core" / "report.md").read_text(encoding="utf-8").partition("All data sets together")[2]
    (row,) = re.findall(r"^\| kl\\_free \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", report, flags=re.MULTILINE)
    printed = row[("latent_diffusion", "no_latent").index(other)]
    assert printed.startswith(f"{np.mean(wins):.2f} (")
    assert f" {printed}" in FINDINGS.read_text(encoding="utf-8")


def test_every_method_of_core_is_shown_on_every_data_set() -> None:
    done = trained("core")
    cells = done[done["label"].isin(METHODS)].groupby(["dataset", "label"], observed=True)["seed"].nunique()
    assert len(shown(CORE / "README.md", "Each method on each data set")) == len(cells) == 45
    assert set(cells) == {5}, "expected the same seeds everywhere: the test of the plan needs them"


def test_the_table_of_the_example_is_what_its_rows_say() -> None:
    values, rows = values_of(REFERENCE, "example"), shown(REFERENCE / "README.md", "The sweep `example`")
    assert len(rows) == 18
    for data, label, *cells in rows:
        assert cells == row_of(values, data, label.replace("`", "")), (data, label)


def test_the_readme_names_what_was_found_and_what_was_withdrawn() -> None:
    text = README.read_text(encoding="utf-8")
    found = text.split("\n## What was found\n")[1].split("\n## ")[0]
    assert len(re.findall(r"<!-- claim: core/[\w-]+/pooled/c2st_auc -->", found)) == 3
    for page in ("results/FINDINGS.md", "results/reference/PLAN.md", "results/reference/archive-0.1/FINDINGS.md"):
        assert page in text


PAGES = [README, FINDINGS, *sorted(MORE.glob("*.md")), CORE / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_picture_of_a_page_is_there(page: Path) -> None:
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / picture).is_file(), picture


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
