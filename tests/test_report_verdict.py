import math

import pytest

from bench.verdict import (
    THRESHOLDS,
    UNKNOWN,
    Estimate,
    Thresholds,
    dependency_illusion,
    standard_error,
    verdict,
    verdict_by_gap,
)

LIMITS = Thresholds(
    information=1.0,
    second_half=0.5,
    gap_collapsed=0.1,
    gap_alive=0.5,
    dependency_collapsed=0.1,
    dependency_alive=0.3,
    illusion_local=0.05,
    illusion_gain=0.02,
)


@pytest.mark.parametrize(
    ("own", "permuted", "end", "word"),
    [
        (1.0, 1.05, 0.0, "collapsed"),
        (1.0, 1.05, 0.9, "collapsed"),  # a noise detector: the latent moves the state and says nothing about x
        (1.0, 1.05, math.nan, "collapsed"),  # the gap alone decides
        (1.0, 1.3, 0.05, "collapsed"),  # a trace of information, forgotten at the end
        (1.0, 1.3, 0.9, "partial"),
        (1.0, 1.8, 0.05, "partial"),  # informs early, forgotten late
        (1.0, 1.8, 0.9, "alive"),
        (1.0, 1.8, math.nan, "-"),
        (math.nan, 1.8, 0.9, "-"),
    ],
)
def test_verdict_by_the_gap_where_the_information_is_unknown(own, permuted, end, word):
    assert verdict_by_gap(own, permuted, end, LIMITS) == word
    assert verdict(own, permuted, end, limits=LIMITS) == word
    assert verdict(own, permuted, end, UNKNOWN, Estimate(2.0, 0.1), LIMITS) == "-"  # measured, and undefined


@pytest.mark.parametrize(
    ("information", "second", "word"),
    [
        ((3.0, 0.2), (1.0, 0.1), "alive"),
        ((3.0, 0.2), (0.1, 0.1), "partial"),  # sets the first steps, is forgotten then
        ((0.1, 0.1), (0.1, 0.1), "collapsed"),
        ((0.1, 0.1), (math.nan, math.nan), "collapsed"),  # what says nothing at all says nothing later
        ((3.0, 0.2), (math.nan, math.nan), "-"),
        ((1.1, 0.1), (1.0, 0.1), "undecided"),  # 1.1 - .196 < 1
        ((0.9, 0.1), (0.1, 0.1), "undecided"),
        ((3.0, 0.2), (0.6, 0.1), "undecided"),
        ((0.1, 0.1), (1.0, 0.1), "undecided"),  # two bounds of one information that contradict each other
        ((3.0, math.nan), (1.0, 0.1), "undecided"),  # too few groups of windows for an error
        ((3.0, 0.2), (1.0, math.nan), "undecided"),
    ],
)
def test_verdict_by_the_information(information, second, word):
    told = Estimate(*information), Estimate(*second)
    assert verdict(1.0, 1.8, 0.9, *told, LIMITS) == word  # whatever the gap says
    assert verdict(math.nan, math.nan, math.nan, *told, LIMITS) == word


def test_thresholds_are_ordered():
    assert 0 < THRESHOLDS.second_half < THRESHOLDS.information
    assert 0 < THRESHOLDS.gap_collapsed < THRESHOLDS.gap_alive
    assert 0 < THRESHOLDS.dependency_collapsed < THRESHOLDS.dependency_alive


@pytest.mark.parametrize(
    ("shuffled", "level", "sd", "gain", "word"),
    [
        (True, 0.4, 0.5, 0.0, "yes"),
        (True, 0.4, 0.5, -0.3, "yes"),  # worse than the marginal is no earned dependency either
        (True, 0.4, 0.5, 0.4, "-"),  # may be earned: the past tells the level
        (True, 0.0, 0.5, 0.0, "no"),
        (True, -0.3, 0.5, 0.4, "no"),
        (True, 0.4, 9.0, 0.0, "no"),  # not clearly above 0
        (True, 0.4, math.nan, 0.0, "-"),
        (True, 0.4, 0.5, math.nan, "-"),
        (False, 0.4, 0.5, 0.0, "-"),
    ],
)
def test_illusion(shuffled, level, sd, gain, word):
    local = [1.0, 0.9] + [level] * 6  # t = 1 and 2 are high for everyone
    assert dependency_illusion(shuffled, local, [sd / 10] * 8, 1.0, 1.0 + gain, LIMITS) == word


def test_overlapping_test_windows_count_as_fewer_series():
    assert standard_error(1.0, 100, 24, 6) == pytest.approx(1 / math.sqrt(25))
    assert standard_error(1.0, 100, 24, 1) == pytest.approx(1 / math.sqrt(100 / 24))
    assert standard_error(1.0, 100, 24, 24) == standard_error(1.0, 100, 24, 48) == 0.1
    assert standard_error(1.0, 100, 0, 0) == 0.1  # rows of before the stride was kept
    assert math.isnan(standard_error(1.0, 0, 24, 6))
    errors = [standard_error(sd, 100, 24, 6) for sd in (0.7, 0.9, 1.4)]
    words = [dependency_illusion(True, [0.3] * 8, [error] * 8, 1.0, 1.0, LIMITS) for error in errors]
    assert words == ["yes", "no", "no"]  # 1.96 sd / sqrt(25) against .3; as 100 independent windows all were clear


def test_illusion_skips_unresolved_steps():
    local = [1.0, 0.9, math.nan, 0.4, 0.4]
    assert dependency_illusion(True, local, [math.nan] * 3 + [0.05] * 2, 1.0, 1.0, LIMITS) == "yes"
    assert dependency_illusion(True, [math.nan] * 5, [math.nan] * 5, 1.0, 1.0, LIMITS) == "-"
