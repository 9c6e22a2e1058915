"""The validation of the measures: its corruptions, its verdicts, its command."""

from __future__ import annotations

import dataclasses
import itertools
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_metrics_c2st import lattice

from bench.contracts import Cells, DatasetSpec, InputError, SampleEvaluation
from bench.loading.references import alternate_runs, halves
from bench.loading.windows import load_splits
from bench.metrics.base import SampleMetric
from bench.metrics.validate import main
from bench.registry import METRICS
from bench.scoring.scores import Scope
from bench.scoring.validation import CORRUPTIONS, Real, applies, verdict


def windows(n: int = 30, steps: int = 9, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, steps, channels)).cumsum(axis=1)


def corrupted(name: str, x: np.ndarray, strength: float, cells: Cells | None = None) -> np.ndarray:
    return CORRUPTIONS[name][0](x, strength, np.random.default_rng(1), Real(windows(40)[::-1] + 9, cells))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_begins_at_nothing_and_grows(name: str) -> None:
    x, strengths = windows(), CORRUPTIONS[name][1]
    moved = []
    for strength in strengths:
        y = corrupted(name, x, strength, lattice(channels=3))
        assert y.shape == x.shape
        assert np.isfinite(y).all()
        moved.append(np.abs(y - x).mean())
    assert strengths[0] == moved[0] == 0
    assert all(late > early for early, late in itertools.pairwise(moved)) or name == "mode_dropping"
    assert moved[-1] > 0


def test_what_each_corruption_does() -> None:
    x = windows()
    assert corrupted("shrinking", x, 1.0).std(axis=0).max() < 1e-12
    lost = corrupted("mode_dropping", x, 0.5)
    assert len(np.unique(lost, axis=0)) == 15
    warped = corrupted("time_warping", x, 0.8)
    np.testing.assert_allclose(warped[:, [0, -1]], x[:, [0, -1]])  # the ends stay
    swapped = corrupted("channel_permutation", x, 1.0)
    np.testing.assert_array_equal(swapped[:, :, 1], x[:, :, 0])
    line = np.arange(9.0)[None, :, None] + np.zeros((2, 9, 1))
    np.testing.assert_allclose(corrupted("blur", line, 1.0)[:, 2:-2], line[:, 2:-2])  # a line is smooth already
    shuffled = corrupted("time_shuffling", x, 1.0)
    np.testing.assert_array_equal(np.sort(shuffled, axis=1), np.sort(x, axis=1))
    flat = corrupted("flat_lines", x, 0.5)
    assert (np.ptp(flat, axis=1) == 0).all(axis=1).sum() == 15
    np.testing.assert_allclose(flat.mean(axis=1), x.mean(axis=1))
    copied = corrupted("copies", x, 0.3)
    assert (copied == x).all(axis=(1, 2)).sum() == 21
    assert sum((window == windows(40) + 9).all(axis=(1, 2)).any() for window in copied) == 9


def test_noise_in_cells_is_on_grids_only() -> None:
    x, cells = windows(), lattice(0.5, 3)
    half = dataclasses.replace(cells, point=np.array([0.0, np.nan, 0.0]))
    moved = (corrupted("noise_in_cells", x, 2.0, half) - x).std(axis=(0, 1))
    assert moved[1] == 0
    assert moved[0] == pytest.approx(1, rel=0.1)  # two cells of .5
    assert [applies("noise_in_cells", Real(x, known)) for known in (None, cells)] == [False, True]
    assert [applies("channel_permutation", Real(x[:, :, :k], None)) for k in (1, 2)] == [False, True]


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([0, 1, 2, 3, 4], "sees"),
        ([0, 1, 2, 2, 2], "sees"),  # a ceiling
        ([0, 0, 0, 0, 0], "blind"),
        ([0, -1, 0, 2, 4], "rewards"),
        ([0, 3, 1, 2, 4], "uneven"),
        ([0, 1, 2, 3, np.nan], "undefined"),
        ([0, 1, 2, 3, np.inf], "undefined"),
    ],
)
def test_verdicts(curve: list[float], expected: str) -> None:
    noise = 0.01 * np.random.default_rng(0).standard_normal((4, 5))
    assert verdict(np.array(curve) + noise)[0] == expected
    assert verdict(np.array([curve, curve], dtype=float))[0] == expected


def test_halves_share_no_window() -> None:
    x = np.arange(500)[:, None, None] + np.zeros((1, 4, 1))
    first, second = halves(x)
    assert len(first) + len(second) == 500
    assert not set(first[:, 0, 0]) & set(second[:, 0, 0])
    assert (np.diff(first[:, 0, 0]) != 1).sum() == 6  # seven runs of forty
    assert {len(part) for part in halves(x[:30])} == {15}
    parts = alternate_runs(x, 3)
    assert sorted(np.concatenate(parts)[:, 0, 0]) == list(range(500))
    assert [len(part) for part in parts] == [180, 160, 160]


RANKING = ("c2st_auc", "sliced_wasserstein", "sliced_wasserstein_increments", "mmd2", "mmd2_increments")


def test_shrinking_by_30_percent_raises_every_ranking_measure() -> None:
    """The exact Wasserstein distance, which rewards it on `energy`, ranks nothing."""
    splits = load_splits(DatasetSpec("regimes"), 0)
    real = Real(splits.train[800:], splits.cells)
    reference, samples = splits.train[:200], splits.train[400:600]
    shrunk = CORRUPTIONS["shrinking"][0](samples, 0.3, np.random.default_rng(0), real).astype(np.float32)
    values = {}
    for name in ("c2st", *RANKING[1:]):
        for windows_, of in ((samples, "before"), (shrunk, "after")):
            at = SampleEvaluation(reference, windows_, real.train, Scope("regimes", 0).numpy, cells=splits.cells)
            values.update({(row.name, of): row.value for row in METRICS[name]().measure(at)})
    for name in RANKING:
        assert values[name, "after"] > values[name, "before"], name
    table = pd.read_csv(resources.files("bench.metrics") / "validation.csv")
    shown = table[table.corruption == "shrinking"].set_index(["dataset", "metric"])
    assert shown.verdict["energy", "wasserstein"] == "rewards"
    rows = shown[shown.index.isin(RANKING, level=1)].reset_index()
    assert set(rows.metric) == set(RANKING)
    for row in rows.itertuples():
        by_strength = dict(zip(row.strengths.split(), map(float, row.means.split()), strict=True))
        assert by_strength["0.3"] > by_strength["0"], row


def test_every_claim_names_an_output_and_a_corruption() -> None:
    for name in METRICS:
        metric = METRICS[name]
        if issubclass(metric, SampleMetric):
            assert set(metric.sees) <= set(metric.outputs)
            assert {word for words in metric.sees.values() for word in words} <= set(CORRUPTIONS)


def test_the_shipped_table_is_of_todays_measures_and_their_claims_hold() -> None:
    table = pd.read_csv(resources.files("bench.metrics") / "validation.csv")
    known = table.groupby("metric")
    for name in METRICS:
        metric = METRICS[name]
        if metric.fast and issubclass(metric, SampleMetric):
            for score, claims in metric.sees.items():
                rows = known.get_group(score)
                assert set(rows.dataset) == {"regimes", "energy", "earthquakes", "pendigits"}
                assert set(rows.version) == {metric.version}, f"{score}: run the command again"
                for _, each in rows.groupby("dataset"):
                    assert set(CORRUPTIONS) - set(each.corruption) <= {"noise_in_cells"}  # where there is no grid
                    assert set(each.corruption[each.claimed]) == set(claims) & set(each.corruption)
                assert set(rows.verdict[rows.claimed]) <= {"sees"}


def test_nothing_is_claimed_that_the_shipped_table_does_not_show() -> None:
    table = pd.read_csv(resources.files("bench.metrics") / "validation.csv")
    shown = table[table.verdict == "sees"]
    seen = set(zip(shown.metric, shown.version, shown.corruption, strict=True))
    for name in METRICS:
        metric = METRICS[name]
        if issubclass(metric, SampleMetric):
            for score, claims in metric.sees.items():
                assert {(score, metric.version, corruption) for corruption in claims} <= seen
    assert set(table.verdict[table.claimed]) == {"sees"}


LEVEL = """
from dataclasses import dataclass
from bench.contracts import Measurement, Undefined
from bench.metrics.base import SampleMetric
from bench.registry import register_metric
@register_metric("level")
@dataclass(frozen=True)
class Level(SampleMetric):
    '''The level. Blind to: the rest.'''
    version, outputs, unit, direction, source = 1, ("level",), "1", "lower", "ours"
    sees = {"level": ("noise",)}
    def compare(self, evaluation):
        value = deviation = float(evaluation.samples.std())
        BODY
        return [Measurement("level", value)]
"""


def test_the_command_prints_verdicts_and_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "validation.csv"
    names = ["wasserstein", "sliced_wasserstein", "marginal", "autocorrelation"]
    code = main(["--metrics", *names, "--n", "250", "--repeats", "3", "--out", str(out)])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "0 fail" in printed
    table = pd.read_csv(out)
    assert set(table.metric) == set(names)
    assert set(table.corruption) == set(CORRUPTIONS) - {"noise_in_cells"}
    words = table.set_index(["metric", "corruption"]).verdict
    assert words["wasserstein", "shrinking"] == "rewards"  # why it never stands alone in a table
    assert words["sliced_wasserstein", "mode_dropping"] == "sees"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("raise Undefined('no level')", "undefined: no level (CLAIM FAILS)"),
        ("raise ZeroDivisionError('mine')", "undefined: ZeroDivisionError: mine (CLAIM FAILS)"),
        ("value = float('nan') if deviation > 1.1 else deviation", "undefined: the value is nan (CLAIM FAILS)"),
    ],
)
def test_a_claim_without_a_number_fails(
    tmp_path: Path, body: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin, out = tmp_path / "level.py", tmp_path / "validation.csv"
    plugin.write_text(LEVEL.replace("BODY", body))
    words = ["--plugin", str(plugin), "--metrics", "level", "--n", "20", "--repeats", "2", "--out", str(out)]
    try:
        assert main(words) == 1
    finally:
        METRICS._classes.pop("level", None)
    said = capsys.readouterr().out
    assert shown in said
    assert "0 claims hold, 1 fail" in said
    table = pd.read_csv(out).set_index("corruption")
    assert table.verdict["noise"] == "undefined"
    assert table.claimed["noise"]
    assert "undefined" not in set(table.verdict.drop("noise"))


def test_the_number_of_windows_that_were_used_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "mine.csv", tmp_path / "validation.csv"
    pd.DataFrame({"a": np.random.default_rng(0).normal(size=600)}).to_csv(path, index=False)
    main(["--dataset", f"csv:{path}", "--metrics", "marginal", "--repeats", "2", "--n", "100000", "--out", str(out)])
    parts = alternate_runs(load_splits(DatasetSpec("csv", (("path", str(path)),)), 0).train, 3)
    n = min(map(len, parts[:2]))
    assert set(pd.read_csv(out).n) == {n}
    assert f", n = {n}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "nll"], "--metrics nll: expected some that claim to see a corruption"),
        (["--metrics", "discriminative.timegan"], "expected some that claim to see a corruption"),
        (["--n", "3"], "--n 3: expected a whole number >= 10"),
        (["--repeats", "1"], "--repeats 1: expected a whole number >= 2"),
        (["--metrics", "wassersteen"], "unknown metric 'wassersteen'"),
        (["--dataset", "regime"], "unknown data set 'regime'"),
        (["--metrics", "marginal", "--n", "10", "--out", "/nowhere/x.csv"], "--out /nowhere/x.csv: cannot be written"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")) as caught:
        main(arguments)
    assert "\n" not in str(caught.value)
