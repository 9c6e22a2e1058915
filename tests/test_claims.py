"""The table of claims: what its rows are, that prose agrees with them, and that published ones follow from rows."""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from conftest import blank
from report_data import FACTS, curve_rows, frames, membership, metric_rows, quick_runs, reader, select
from test_contrasts import LIVE, SKIP

from bench.claims import main
from bench.contracts import InputError
from bench.publish import main as publish
from bench.report.cards import metric_facts
from bench.report.cells import cells_of
from bench.report.claims import CLAIMS, FILE, as_parquet, claims_of, mismatches, read_claims
from bench.report.contrasts import stated_contrasts
from bench.report.figures.picture import Picture, drawn
from bench.report.gains import gains_of
from bench.report.page import write
from bench.report.ranking import groups_of
from bench.report.report import build
from bench.report.selection import Selection, load
from bench.report.statements import compared
from bench.store import Store

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = [ROOT / "results" / name for name in ("reference", "core")]
RUNS = quick_runs(("bike", "energy", "regimes"), seeds=4, shuffles=(False,))
ID = "quick/a-live-latent-against-vanilla/pooled/sliced_wasserstein"


def select_of(runs: list[dict]) -> Selection:
    frame, metrics, curves = frames(runs)
    return select(frame, metrics, reader(curves), membership(runs), Path("results"))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder whose report has claims; of its pictures those of the contrasts are drawn."""
    folder = tmp_path_factory.mktemp("results")
    chosen = select_of(RUNS)
    stated = {"contrasts": [LIVE, SKIP], "equivalence": {"sliced_wasserstein": 0.05}}

    def some(picture: Picture, *_: object) -> Picture:
        return drawn(picture) if picture.section == "contrasts" else blank(picture)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.report.report.drawn", some)
        write(build(dataclasses.replace(chosen, **stated), FACTS), folder / "report")
    return folder


def test_a_row_per_contrast_scope_and_measure(results: Path) -> None:
    table = pd.read_parquet(results / "report" / FILE)
    assert list(table) == list(CLAIMS)
    assert table["claim"].is_unique
    datasets = ["bike", "energy", "regimes"]
    dependence = [*(f"without {name}" for name in datasets), "first half of the seeds"]
    of_one = table[table["contrast"] == LIVE.name]
    assert of_one.loc[of_one["measure"] == "sliced_wasserstein", "scope"].tolist() == ["pooled", *datasets, *dependence]
    assert of_one.loc[of_one["measure"] == "mmd2", "scope"].tolist() == ["pooled", *datasets]
    assert len(table) == 2 * (4 + 4 + 4)
    assert table.loc[table["role"] == "confirmatory", "claim"].tolist() == [ID]
    row = table.set_index("claim").loc[ID]
    assert (row["of"], row["against"], row["backbone"]) == (LIVE.of, LIVE.against, "lstm")
    assert (row["n"], row["seeds"], row["verdict"]) == (3, 4, "better")
    assert row["low"] < row["effect"] < row["high"] < 0
    assert row["p"] == row["p_adjusted"] < row["level"] == 0.05
    assert row["equivalence_bound"] == 0.05
    assert math.isnan(table.loc[table["measure"] == "mmd2", "equivalence_bound"].iloc[0])
    assert row["statement"] == (
        "proposed + skip is better than latent_diffusion in the sliced Wasserstein distance over 3 data sets."
    )
    assert row["command"] == "python -m bench.run --grid quick && python -m bench.report --sweep quick"
    assert row["git_commits"] == "587d681"
    assert table.set_index("scope")["seeds"]["first half of the seeds"].tolist() == [2, 2]


def test_a_claim_counts_the_runs_of_its_own_seeds() -> None:
    early = [
        {
            **run,
            "converged": run["seed"] < 2,
            "denoiser_converged": True,
            "denoiser_updates": 100,
            "git_commit": "early" if run["seed"] < 2 else "late",
        }
        for run in RUNS
    ]
    chosen = dataclasses.replace(select_of(early), contrasts=[LIVE])
    table = claims_from(chosen).to_pandas().set_index(["scope", "measure"])
    measure = "sliced_wasserstein"
    assert table.loc[("pooled", measure), ["not_converged", "git_commits"]].tolist() == [12, "early, late"]
    for scope in ("first half of the seeds", "trained runs only"):
        assert table.loc[(scope, measure), ["seeds", "not_converged", "git_commits"]].tolist() == [2, 0, "early"]


def test_the_pooled_effect_is_the_mean_of_its_data_sets(results: Path) -> None:
    table = pd.read_parquet(results / "report" / FILE)
    for _, rows in table.groupby(["contrast", "measure"]):
        by_scope = rows.set_index("scope")["effect"]
        assert by_scope["pooled"] == pytest.approx(by_scope[["bike", "energy", "regimes"]].mean())


def test_the_command_lists_the_claims(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(results)]) == 0
    text = capsys.readouterr().out
    numbers = ", ".join(read_claims(results)[ID].numbers)
    assert f"{ID} (confirmatory)\n  proposed + skip is better than" in text
    assert numbers in text
    assert numbers.endswith("better")
    assert "mmd2" not in text
    assert main([str(results), "--all"]) == 0
    assert "/pooled/mmd2 (sensitivity)" in capsys.readouterr().out


def test_prose_with_the_numbers_of_its_claim_passes(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    effect, n, p, verdict = read_claims(results)[ID].numbers
    page = tmp_path / "page.md"
    page.write_text(
        f"# A finding\n\nNo claim here: 0.5.\n\n"
        f"A live latent against vanilla: {effect}\n({n}, {p}): **{verdict}**.\n<!-- claim: {ID} -->\n\n"
        f"| difference | |\n| --- | --- |\n| {effect}, {n}, {p}, {verdict} | <!-- claim: {ID} --> |\n\n"
        "```text\nAn example <!-- claim: none/such -->\n```\n\nA paragraph ends in `<!-- claim: ID -->`.\n"
    )
    assert main([str(results), "--check", str(page)]) == 0
    assert capsys.readouterr().out == "2 marks compared: the numbers are those of the claims.\n"


def test_prose_that_differs_fails_with_a_line_per_mismatch(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    effect, n, p, verdict = read_claims(results)[ID].numbers
    page = tmp_path / "page.md"
    page.write_text(
        f"{effect}0 ({n}0, {p}1, {verdict}).\n<!-- claim: {ID} -->\n\n"
        f"{effect}, {n}, {p}, {verdict}\n\n<!-- claim: {ID} -->\n\n"
        f"- {effect}, {n}, {p}, {verdict}\n- nothing <!-- claim:{ID}-->\n\n"
        f"{effect}, {n}, {p}, {verdict} <!-- claim: {ID}x -->\n\n"
        f"Marks with a slip. <!-- Claimed: {ID} --> <!-- Claims: {ID} -->\n\n"
        f"{effect}, {n}, {p}, not {verdict} <!-- claim: {ID} -->\n\n"
        f"{verdict} {n}, {effect}, {p} <!-- claim: {ID} -->\n\n"
        f"It is no {verdict}: {effect}, {n}, {p} <!-- claim: {ID} -->\n\n"
        f"{effect}, {n}, {p}: {verdict}, below the bound. <!-- claim: {ID} -->\n"
    )
    assert main([str(results), "--check", str(page)]) == 1
    lines = capsys.readouterr().out.splitlines()
    everything = f"expected '{effect}', '{n}', '{p}', '{verdict}' in this paragraph"
    order = f"expected {effect}, {n}, {p}, {verdict} one after another, at the end of a sentence or cell"
    assert lines[0] == f"{page}:13: a comment names a claim and is no mark: expected `<!-- claim: ID -->`"
    assert lines[1] == f"{page}:2: claim {ID}: expected '{effect}', '{n}', '{p}' in this paragraph"
    assert lines[2] == f"{page}:6: claim {ID}: {everything}"
    assert lines[3] == f"{page}:9: claim {ID}: {everything}"
    assert lines[4].startswith(f"{page}:11: claim {ID}x: there is no such claim: did you mean '{ID}'")
    assert lines[5] == f"{page}:13: claim {ID}: {everything}"
    assert lines[6:] == [f"{page}:{line}: claim {ID}: {order}" for line in (15, 17, 19, 21)]


def test_a_verdict_is_printed_with_below_the_bound(tmp_path: Path) -> None:
    table = pd.read_parquet(ROOT / "results" / "core" / "report" / "core" / FILE)
    better = table[(table["scope"] == "pooled") & (table["verdict"] == "better")].head(1)
    better.assign(equivalence_bound=0.05, equivalence_p=0.01).to_parquet(tmp_path / FILE)
    ((name, claim),) = read_claims(tmp_path).items()
    assert claim.verdict == "better, below the bound"
    page = tmp_path / "page.md"
    for verdict, wrong in (("better", 1), (claim.verdict, 0)):
        page.write_text(f"{claim.effect}, {claim.n}, {claim.p}: {verdict}. <!-- claim: {name} -->\n")
        assert len(mismatches(page, read_claims(tmp_path))) == wrong


def test_a_folder_without_claims_and_a_claim_in_two_reports_are_refused(results: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no claims\.parquet there"):
        main([str(tmp_path)])
    shutil.copytree(results, tmp_path / "twice")
    shutil.copytree(results / "report", tmp_path / "twice" / "report" / "quick")
    with pytest.raises(InputError, match="stands in two reports"):
        main([str(tmp_path / "twice")])
    table = pd.read_parquet(results / "report" / FILE)
    table.assign(effect="much").to_parquet(tmp_path / FILE)
    with pytest.raises(InputError, match="expected a table of claims"):
        main([str(tmp_path)])
    (tmp_path / FILE).write_text("no table")
    with pytest.raises(InputError, match="expected a table of claims"):
        main([str(tmp_path)])


def test_the_page_shows_the_contrasts_and_a_later_report_without_any_takes_them_away(
    results: Path, tmp_path: Path, undrawn: None
) -> None:
    shutil.copytree(results / "report", tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    text = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert '<a href="#contrasts">Stated contrasts</a>' in page
    assert page.index('id="contrasts"') < page.index('id="comparison"')
    assert text.index("## Stated contrasts") < text.index("## Comparison")
    assert "| a live latent against vanilla | proposed + skip − latent\\_diffusion | 3 of 3 | 4 | -0.1" in text
    assert "figures/contrast-a-live-latent-against-vanilla.svg" in page
    assert "(secondary)" in text
    write(build(select_of(RUNS), FACTS), tmp_path / "report")
    assert not (tmp_path / "report" / FILE).exists()
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "contrasts" not in page


def test_published_results_have_their_claims(tmp_path: Path, undrawn: None) -> None:
    store = Store(tmp_path / "results")
    store.prepare()
    runs = quick_runs(("bike", "energy", "regimes"), seeds=2, shuffles=(False,), labels=(LIVE.of, LIVE.against))
    rows, curves = ([row for run in runs for row in of(run)] for of in (metric_rows, curve_rows))
    store.write_part("part", runs, rows, curves)
    labels = {run["run_id"]: run["label"] for run in runs}
    store.write_membership("live", labels, "", "python -m bench.run --grid live --results out", contrasts=[LIVE])
    assert publish(["--results", str(store.path), "--out", str(tmp_path / "published")]) == 0
    table = pd.read_parquet(tmp_path / "published" / "report" / "live" / FILE)
    assert set(table["command"]) == {"python -m bench.run --grid live && python -m bench.report --sweep live"}
    assert set(read_claims(tmp_path / "published")) == set(table["claim"])
    assert (
        recomputed(tmp_path / "published", "live") == (tmp_path / "published" / "report" / "live" / FILE).read_bytes()
    )


def recomputed(folder: Path, sweep: str) -> bytes:
    """The claims of a sweep from its rows, as a file."""
    return as_parquet(claims_from(load(folder, sweep)))


def claims_from(selection: Selection) -> pa.Table:
    """The claims of what was selected."""
    groups = groups_of(cells_of(selection), metric_facts(), selection.equivalence)
    stated = stated_contrasts(selection, groups)
    gains = gains_of(selection.contrasts, compared(groups), stated[0].column)
    return claims_of(stated, selection, gains)


PUBLISHED = sorted(file for folder in FOLDERS for file in folder.glob(f"report/*/{FILE}"))


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.parent.name)
def test_the_claims_of_published_results_follow_from_their_rows(file: Path, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(recomputed(file.parents[2], file.parent.name))
    pd.testing.assert_frame_equal(pd.read_parquet(file), pd.read_parquet(tmp_path / FILE), rtol=1e-9)


PLACES = (ROOT, ROOT / "results", ROOT / "results" / "findings", *FOLDERS, ROOT / "bench" / "docs")
PAGES = [page for place in PLACES for page in place.glob("*.md")]


@pytest.mark.parametrize("page", sorted(PAGES), ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_the_pages_have_the_numbers_of_their_claims(page: Path) -> None:
    folders = {file.parents[2] for file in PUBLISHED}
    assert mismatches(page, {name: claim for folder in folders for name, claim in read_claims(folder).items()}) == []
