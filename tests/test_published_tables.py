"""The test over given data sets, by known answers. That the pages agree with it is in test_reference.py."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from published_rows import OverDatasets, additive_f, full_grid, holm, mean_of_given
from published_tables import ALPHA_BAR, nats_of_true_latent
from scipy.stats import f_oneway, multivariate_normal, ttest_1samp, ttest_ind, ttest_rel

from datasets.linear_gaussian import LinearGaussian


def test_one_data_set_without_overlap_is_students_t() -> None:
    gaps = np.random.default_rng(0).normal(0.2, 1, 7)
    found = mean_of_given([gaps], overlap=0)
    assert found.df == pytest.approx(6)
    assert found.p == pytest.approx(ttest_1samp(gaps, 0).pvalue)


def test_two_data_sets_without_overlap_are_welchs_t() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(0.3, 1, 5), rng.normal(0.1, 3, 8)
    welch = ttest_ind(first, -second, equal_var=False)
    found = mean_of_given([first, second], overlap=0)
    assert found.df == pytest.approx(welch.df)
    assert found.p == pytest.approx(welch.pvalue)


def test_overlap_widens_the_error_by_its_share_of_the_variance() -> None:
    gaps = [np.random.default_rng(seed).normal(0, 1, 5) for seed in range(3)]
    plain, corrected = mean_of_given(gaps, overlap=0), mean_of_given(gaps)
    assert corrected.error / plain.error == pytest.approx(np.sqrt(1 + 5 * 2 / 7))
    assert corrected.df == pytest.approx(plain.df)


@pytest.mark.parametrize(
    ("mean", "error", "words"),
    [
        (-0.1, 0.01, "helps"),
        (-0.02, 0.001, "helps, by less than what matters"),
        (0.1, 0.01, "harms"),
        (0.02, 0.001, "harms, by less than what matters"),
        (0.005, 0.01, "does not matter"),
        (-0.03, 0.03, "undecided"),
    ],
)
def test_the_words_are_those_of_the_plan_in_its_order(mean: float, error: float, words: str) -> None:
    assert OverDatasets(mean, error, 10.0).words == words


def test_a_factor_of_two_levels_is_a_paired_t_test_over_the_seeds() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.normal(0, 1, 6), rng.normal(0.5, 1, 6)
    table = pd.DataFrame({"N": np.repeat([0, 200], 6), "seed": [*range(6), *range(6)]})
    found = additive_f(pd.Series(np.concatenate([one, other])), table, "N")
    paired = ttest_rel(one, other)
    assert (found.df, found.df_rest) == (1, 5)
    assert found.statistic == pytest.approx(paired.statistic**2)
    assert found.p == pytest.approx(paired.pvalue)


def test_a_factor_alone_is_one_way_analysis_of_variance() -> None:
    levels = [np.random.default_rng(seed).normal(seed / 3, 1, 5) for seed in range(4)]
    table = pd.DataFrame({"N": np.repeat(range(4), 5)})
    found, known = additive_f(pd.Series(np.concatenate(levels)), table, "N"), f_oneway(*levels)
    assert (found.statistic, found.p) == (pytest.approx(known.statistic), pytest.approx(known.pvalue))


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_a_full_grid_leaves_out_settings_that_meet_one_level_only() -> None:
    runs = pd.DataFrame({"N": [0, 0, 50, 50, 51, 50], "M": [100, 900, 100, 900, 827, 850]})
    assert list(full_grid(runs, ("N", "M"))) == [True, True, True, True, False, False]


def test_a_full_grid_holds_the_options_of_another_one() -> None:
    """Two grids that share a setting: without this the mean of eta = 1 would be one of every N."""
    first = [(N, M, 2, 1) for N in (0, 50, 400) for M in (100, 900)]
    second = [(50, 900, gamma, eta) for gamma in (1, 2) for eta in (1, 4) if (gamma, eta) != (2, 1)]
    runs = pd.DataFrame([*first, *second], columns=["N", "M", "gamma", "eta"])
    assert list(full_grid(runs, ("N", "M"), ("gamma", "eta"))) == [True] * 6 + [False] * 3
    assert list(full_grid(runs, ("gamma", "eta"), ("N", "M"))) == [False] * 3 + [True] + [False] * 2 + [True] * 3


@pytest.mark.parametrize("i", [0, 200])
def test_the_nats_of_the_true_latent_are_the_mean_of_a_log_ratio(i: int) -> None:
    data, rng = LinearGaussian(window=6, channels=2, latent=3), np.random.default_rng(0)
    weights, offset = data.loadings()
    recordings = data.load(None, rng)
    x, z = np.stack(recordings.series), recordings.truth["latent"]
    kept = ALPHA_BAR[i]
    noised = np.sqrt(kept) * z + np.sqrt(1 - kept) * rng.standard_normal(z.shape)
    steps = np.arange(data.window)
    noise = np.kron(0.5 ** abs(steps[:, None] - steps) * data.noise**2 / 0.75, np.eye(data.channels))
    flat = weights.reshape(-1, data.latent)
    left = (x - offset).reshape(len(x), -1) - np.sqrt(kept) * noised @ flat.T
    ratio = multivariate_normal(cov=noise + (1 - kept) * flat @ flat.T).logpdf(left) - data.log_likelihood(x)
    assert nats_of_true_latent(data, i) == pytest.approx(ratio.mean(), abs=3 * ratio.std() / np.sqrt(len(ratio)))
