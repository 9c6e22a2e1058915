"""The cost of a resolved answer: known verdicts, known costs, and a type I error of at most five percent."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from report_data import quick_runs
from scipy import stats
from test_contrasts import LIVE, selection

from bench.perf.resolved import LOOKS, Seed, adaptive, decided, fixed, lines, resampled, seconds_of
from bench.report.statistics import interval

BOUND = 0.05


def seeds(differences: np.ndarray, plateau: float = 10.0, whole: float = 40.0) -> list[Seed]:
    return [Seed(float(difference), plateau, whole) for difference in differences]


def test_a_verdict_is_that_of_the_t_test_at_its_level() -> None:
    values = [-0.10, -0.02, -0.07, -0.05]
    p = stats.ttest_1samp(values, 0).pvalue
    found = interval(values)
    assert decided(found, math.nan, p * 1.001) == "better"
    assert decided(found, math.nan, p * 0.999) == "undecided"
    assert decided(interval([-value for value in values]), math.nan, p * 1.001) == "worse"
    assert decided(interval([0.001, -0.002, 0.0005, 0.0]), BOUND, 0.05) == "equivalent"
    assert decided(interval([0.001, -0.002, 0.0005, 0.0]), math.nan, 0.05) == "undecided"
    assert decided(interval([0.1]), BOUND, 0.05) == "undecided"


def test_a_run_costs_its_updates() -> None:
    row = pd.Series(
        {
            "train_seconds": 20.0, "updates": 1000, "train.steps": 4000,
            "denoiser_seconds": 8.0, "denoiser_updates": 400, "diffusion.steps": 800,
            "sample_seconds": 1.0, "evaluate_seconds": 2.0,
        }
    )  # fmt: skip
    assert seconds_of(row) == (31.0, 80.0 + 16.0 + 3.0)
    assert seconds_of(row.drop(["updates", "denoiser_updates"])) == (31.0, 31.0)  # of older rows nothing is known
    row["updates"] = math.nan
    assert seconds_of(row) == (31.0, 20.0 + 16.0 + 3.0)


def test_a_plain_difference_costs_few_seeds_and_none_costs_them_all() -> None:
    rng = np.random.default_rng(0)
    plain = seeds(-0.3 + 0.01 * rng.standard_normal(10))
    assert fixed(plain, BOUND) == ("better", 400.0)
    assert adaptive(plain, BOUND).verdict == "better"
    assert adaptive(plain, BOUND).seconds == 10.0 * min(LOOKS)
    none = seeds(0.001 * (-1.0) ** np.arange(10))
    assert fixed(none, BOUND).verdict == "equivalent"
    assert adaptive(none, BOUND) == ("equivalent", 100.0)  # which no look before the last may say
    wide = seeds(0.2 * (-1.0) ** np.arange(10))
    assert adaptive(wide, BOUND) == ("undecided", 100.0)


def test_looking_several_times_is_wrong_in_five_percent() -> None:
    rng = np.random.default_rng(1)
    n = 1500
    verdicts = Counter(adaptive(seeds(0.1 * rng.standard_normal(10)), math.nan).verdict for _ in range(n))
    assert verdicts["better"] + verdicts["worse"] <= stats.binom.ppf(0.999, n, 0.05)
    assert verdicts["better"] > 0


def test_designs_are_compared_on_the_same_seeds() -> None:
    rng = np.random.default_rng(2)
    found = resampled(seeds(-0.3 + 0.02 * rng.standard_normal(10)), BOUND, 200, rng)
    assert found.agreement > 0.95
    assert found.saving == pytest.approx(400 / 60)  # a quarter of the updates, and six seeds of ten
    assert found.whole == 400.0
    assert found.wrong <= 0.12  # 200 replications of 2 in 64, and a bit


def test_stated_contrasts_of_a_folder_are_resampled() -> None:
    chosen = selection(quick_runs(("bike", "energy"), seeds=4, shuffles=(False,)), LIVE)
    found = list(lines(chosen, 20))
    assert [line.what for line in found] == [
        f"{name} · lstm: proposed + skip - latent_diffusion" for name in ("bike", "energy")
    ]
    assert all(line.ratio >= 1 for line in found)  # these rows do not say how many updates were made
    assert all("4 seeds" in line.note for line in found)
    assert not list(lines(dataclasses.replace(chosen, contrasts=()), 20))
    few = selection(quick_runs(("bike",), seeds=3, shuffles=(False,)), LIVE)
    assert not list(lines(few, 20))


@pytest.mark.parametrize("count", [1, 2])
def test_few_seeds_decide_nothing(count: int) -> None:
    assert fixed(seeds(np.full(count, -0.3)), BOUND).verdict == "undecided"
