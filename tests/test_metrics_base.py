"""Errors of means over test windows that overlap, and that are cut from recordings with a memory."""

import math
from typing import ClassVar

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import t

from bench.contracts import DatasetSpec, InputError, Recordings, Resolution
from bench.loading.windows import make_splits
from bench.metrics.base import SampleMetric, from_everywhere, group_error, spread
from bench.registry import METRICS, _missing, register_metric


def test_without_groups_it_is_the_usual_standard_error():
    values = np.random.default_rng(0).normal(size=50)
    usual = values.std(ddof=1) / math.sqrt(50) * t.ppf(0.975, 49) / 1.96
    assert group_error(values, np.arange(50)) == pytest.approx(usual)
    assert spread("x", values, groups=np.arange(50)).error == pytest.approx(usual)
    assert math.isnan(spread("x", values).error)  # values that are no test windows


def test_by_hand():
    # sums of the deviations from 3: -4, 0, 4; e^2 = 3 / 2 * 32 / 36, times t_2
    values, groups = np.array([1.0, 1, 3, 3, 5, 5]), np.array([7, 7, 0, 0, 4, 4])
    assert group_error(values, groups) == pytest.approx(math.sqrt(1.5 * 32 / 36) * t.ppf(0.975, 2) / 1.96)
    assert math.isnan(group_error(values, np.zeros(6, int)))


@pytest.mark.parametrize("split", ["blocks", "time"])
@pytest.mark.parametrize("memory", [1, 24, 48])  # rows over which the recording forgets; windows have 24
def test_intervals_of_level_like_scores_cover_what_they_say(split, memory):
    """The mean level of windows at stride 4 of a recording of 12,000 rows; its expectation is 0. 200 recordings."""
    rng, forget = np.random.default_rng(1), math.exp(-1 / memory)
    inside = []
    for seed in range(200):
        noise = rng.normal(size=12_000 + 20 * memory)
        rows = lfilter([math.sqrt(1 - forget**2)], [1, -forget], noise)[-12_000:]
        recordings = Recordings([rows[:, None]], ("x",), ("",), 24, 240, 4, split, resolutions=[Resolution(0)])
        splits = make_splits(recordings, DatasetSpec("regimes"), seed)
        level = (splits.test * splits.scale + splits.mean).mean(axis=(1, 2), dtype=np.float64)
        chosen = np.sort(rng.permutation(len(level))[:400])
        interval = 1.96 * group_error(level[chosen], splits.test_groups[chosen])
        inside.append(abs(level[chosen].mean()) < interval)
    assert 0.9 <= np.mean(inside) <= 0.98


def test_a_part_is_taken_from_everywhere():
    assert from_everywhere(10, 4).tolist() == [0, 3, 6, 9]
    assert from_everywhere(3, 4).tolist() == [0, 1, 2]
    assert from_everywhere(5, 1).tolist() == [0]


def test_a_plug_in_that_lacks_what_its_kind_needs_is_refused_by_name():
    class Half(SampleMetric):
        """It compares nothing."""

        outputs, direction, source = ("half",), "lower", "ours"

    with pytest.raises(InputError, match=r"metric 'half' in test_metrics_base: expected it to have compare, unit, v"):
        register_metric("half")(Half)
    assert "half" not in METRICS
    with pytest.raises(InputError, match=r"metric 'half': expected a class, not <function"):
        register_metric("half")(lambda: None)


def test_what_a_plug_in_states_for_itself_may_have_no_value_yet():
    class Filled(SampleMetric):
        """It fills a table at its first use."""

        version, unit, outputs, direction, source = 1, "1", ("filled",), "lower", "ours"
        table: ClassVar[dict]

        def compare(self, evaluation):
            return []

    assert not _missing(Filled)
