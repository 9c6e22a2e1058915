"""Standard errors of means over test windows that overlap."""

import math

import numpy as np
import pytest

from bench.metrics.base import block_error, spread


def test_without_overlap_it_is_the_usual_standard_error():
    values = np.random.default_rng(0).normal(size=50)
    assert block_error(values, 1) == pytest.approx(values.std(ddof=1) / math.sqrt(50))
    assert spread("x", values, block=1).error == pytest.approx(values.std(ddof=1) / math.sqrt(50))
    assert math.isnan(spread("x", values).error)  # values that are no sequence of windows


def test_by_hand():
    # blocks of two of 0, 0, 4, 4: means 0, 2, 4 with variance 8 / 3, times b / (n - b) = 1
    assert block_error(np.array([0.0, 0, 4, 4]), 2) == pytest.approx(math.sqrt(8 / 3))
    assert math.isnan(block_error(np.array([0.0, 0, 4]), 2))


@pytest.mark.parametrize("steps", [4, 8])
def test_means_over_overlapping_windows(steps):
    """Windows of T = `steps` rows at stride 1: the truth is the spread of the mean over many recordings."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(400, 400 + steps - 1))
    sums = np.cumsum(np.pad(rows, ((0, 0), (1, 0))), axis=1)
    windows = (sums[:, steps:] - sums[:, :-steps]) / steps  # (recordings, windows)
    truth = windows.mean(axis=1).std(ddof=1)
    ours = np.mean([block_error(values, 2 * steps) for values in windows])
    naive = np.mean([values.std(ddof=1) / math.sqrt(len(values)) for values in windows])
    # A block misses the correlations across its ends: low by about 10 % here, by 17 % with blocks of T.
    assert 0.84 * truth < ours < 1.05 * truth
    assert naive < 1.2 * truth / math.sqrt(steps)
