"""What is published, and what is withdrawn: the README claims nothing, and the archive says why and how to check it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import replay
from bench.contracts import InputError
from bench.store import load_memberships, load_results

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "results" / "reference"
ARCHIVE = REFERENCE / "archive-0.1"


def test_the_readme_claims_no_result_while_none_is_published() -> None:
    first = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## ")[0]
    assert not (REFERENCE / "runs").exists()
    assert "**No result is claimed until the findings are rerun.**" in first
    assert "|" not in first, "expected no table of results"
    assert "±" not in first


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
