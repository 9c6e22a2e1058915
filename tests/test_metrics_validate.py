"""The validation of the measures: its corruptions, its verdicts, its command."""

from __future__ import annotations

import itertools
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.contracts import InputError
from bench.loading.references import halves
from bench.metrics.base import SampleMetric
from bench.metrics.validate import CORRUPTIONS, STRENGTHS, main, verdict
from bench.registry import METRICS


def windows(n: int = 30, steps: int = 9, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, steps, channels)).cumsum(axis=1)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_begins_at_nothing_and_grows(name: str) -> None:
    x = windows()
    moved = []
    for strength in STRENGTHS:
        y = CORRUPTIONS[name](x, strength, np.random.default_rng(1))
        assert y.shape == x.shape
        assert np.isfinite(y).all()
        moved.append(np.abs(y - x).mean())
    assert moved[0] == 0
    assert all(late > early for early, late in itertools.pairwise(moved)) or name == "mode_dropping"
    assert moved[-1] > 0


def test_what_each_corruption_does() -> None:
    x, rng = windows(), np.random.default_rng(0)
    assert CORRUPTIONS["mean_only"](x, 1.0, rng).std(axis=0).max() < 1e-12
    lost = CORRUPTIONS["mode_dropping"](x, 0.5, rng)
    assert len(np.unique(lost, axis=0)) == 15
    warped = CORRUPTIONS["time_warping"](x, 0.8, rng)
    np.testing.assert_allclose(warped[:, [0, -1]], x[:, [0, -1]])  # the ends stay
    swapped = CORRUPTIONS["channel_permutation"](x, 1.0, rng)
    np.testing.assert_array_equal(swapped[:, :, 1], x[:, :, 0])
    line = np.arange(9.0)[None, :, None] + np.zeros((2, 9, 1))
    np.testing.assert_allclose(CORRUPTIONS["blur"](line, 1.0, rng)[:, 2:-2], line[:, 2:-2])  # a line is smooth already


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([0, 1, 2, 3, 4], "sees"),
        ([0, 1, 2, 2, 2], "sees"),  # a ceiling
        ([0, 0, 0, 0, 0], "blind"),
        ([0, -1, 0, 2, 4], "rewards"),
        ([0, 3, 1, 2, 4], "uneven"),
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
                assert set(rows.dataset) == {"regimes", "energy"}
                assert set(rows.version) == {metric.version}, f"{score}: run the command again"
                for _, each in rows.groupby("dataset"):
                    assert set(each.corruption) == set(CORRUPTIONS)
                    assert set(each.corruption[each.claimed]) == set(claims)
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


def test_the_command_prints_verdicts_and_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "validation.csv"
    names = ["wasserstein", "sliced_wasserstein", "marginal", "autocorrelation"]
    code = main(["--metrics", *names, "--n", "250", "--repeats", "3", "--out", str(out)])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "0 fail" in printed
    table = pd.read_csv(out)
    assert set(table.metric) == set(names)
    assert set(table.corruption) == set(CORRUPTIONS)
    words = table.set_index(["metric", "corruption"]).verdict
    assert words["wasserstein", "mean_only"] == "rewards"  # why it never stands alone in a table
    assert words["sliced_wasserstein", "mode_dropping"] == "sees"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
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
