import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from bench.report.ranks import rank_test
from bench.report.statistics import (
    LEAST_CHANCE,
    MOST_SEEDS,
    OVERLAP,
    POWER,
    Repeats,
    _chance,
    by_unit,
    comparisons,
    detectable,
    difference,
    for_overlapping_splits,
    holm,
    interval,
    level_of_look,
    more_seeds,
    p_difference,
    p_equivalence,
    spent,
    standings,
)


@pytest.mark.parametrize("n", [3, 5, 10, 20])
def test_paired_intervals_cover_what_they_claim(n):
    """Over 4,000 pairs of methods that share a strong effect of the seed; the error of a coverage of .95 is .0034."""
    rng, truth, hits = np.random.default_rng(7), 0.3, 0
    shared = rng.normal(0, 5, (4000, n))
    a, b = shared + truth + rng.normal(0, 1, (4000, n)), shared + rng.normal(0, 2, (4000, n))
    for mine, other in zip(a.tolist(), b.tolist(), strict=True):
        found = difference(dict(enumerate(mine)), dict(enumerate(other)))
        hits += found.low <= truth <= found.high
    assert 0.93 <= hits / 4000 <= 0.97


def test_skewed_values_are_covered_nearly_as_often():
    draws = np.random.default_rng(7).exponential(1.0, (4000, 10)).tolist()
    found = [interval(values) for values in draws]
    assert np.mean([one.low <= 1.0 <= one.high for one in found]) == pytest.approx(0.90, abs=0.02)


@pytest.mark.parametrize("n", [4, 12])
@pytest.mark.parametrize("confidence", [0.95, 0.995])
def test_t_interval_is_scipys(n, confidence):
    x = np.random.default_rng(0).normal(size=n).tolist()
    low, high = stats.t.interval(confidence, n - 1, loc=np.mean(x), scale=stats.sem(x))
    found = interval(x, confidence)
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((np.mean(x), low, high, n))


def test_paired_difference_is_scipys_paired_t():
    a, b = {0: 1.0, 1: 2.0, 2: 4.0, 3: 9.9}, {0: 0.5, 1: 1.7, 2: 3.1, 4: -7.0}
    theirs = stats.ttest_rel([1.0, 2.0, 4.0], [0.5, 1.7, 3.1]).confidence_interval()
    found = difference(a, b)
    assert (found.low, found.high, found.n) == pytest.approx((theirs.low, theirs.high, 3))


def test_two_equal_differences_have_no_interval_and_resolve_nothing():
    a, b, c = {0: 1.0, 1: 2.0}, {0: 1.1, 1: 2.1}, {0: 1.1, 1: 2.1, 2: 3.1}
    found = difference(b, a)
    assert (found.mean, found.n, found.excludes_zero) == (pytest.approx(0.1), 2, False)
    assert math.isnan(found.low)
    assert {name: place.place for name, place in standings({"a": a, "b": b}, "lower").items()} == {
        "a": "best",
        "b": "tie",
    }
    assert difference(c, {**a, 2: 3.0}).excludes_zero  # three agree


def test_pairing_resolves_what_the_spread_over_seeds_hides():
    level = {seed: 10.0 * seed for seed in range(4)}
    better = {seed: value - 1 - 0.01 * seed for seed, value in level.items()}
    assert interval(list(level.values())).half > 10
    assert standings({"a": level, "b": better}, "lower")["a"].place == "worse"


def test_one_seed_has_no_interval_and_resolves_nothing():
    found = interval([2.0])
    assert found.mean == 2.0
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    table = standings({"a": {0: 1.0}, "b": {0: 50.0}}, "lower")
    assert table["a"].place == "best"
    assert table["b"].place == "tie"
    assert table["b"].more is None


def test_no_value_is_no_place():
    assert interval([]).n == 0
    assert interval([math.nan]).n == 0
    assert standings({"a": {}, "b": {0: math.nan}}, "lower")["b"].place == "none"


def test_direction_decides_who_is_best():
    column = {"a": {0: 0.1, 1: 0.12, 2: 0.11}, "b": {0: 0.9, 1: 0.91, 2: 0.89}}
    assert standings(column, "lower")["a"].place == "best"
    assert standings(column, "higher")["b"].place == "best"
    assert standings(column, "higher")["a"].place == "worse"


def of(values):
    """The difference of a method with these values from one that is 0 on every seed."""
    return difference(dict(enumerate(values)), dict.fromkeys(range(len(values)), 0.0))


@pytest.mark.parametrize("overlap", [0.0, OVERLAP])
@pytest.mark.parametrize(("n", "t", "total"), [(3, 3.0, 9), (5, 2.0, 20), (10, 1.5, 11)])
def test_the_chance_of_more_seeds_is_that_of_simulated_futures(n, t, total, overlap):
    rng, k = np.random.default_rng(0), total - n
    mean, repeats = t / math.sqrt(n), 100_000
    sigma = np.sqrt((n - 1) / rng.chisquare(n - 1, repeats))
    later = rng.normal(rng.normal(mean, sigma / math.sqrt(n)), sigma, (k, repeats))
    now = mean + np.resize([1.0, -1.0], n) * np.where(n % 2, np.r_[np.ones(n - 1), 0], np.ones(n))
    now = mean + (now - mean) / now.std(ddof=1)  # n values with this mean and standard deviation 1
    everything = np.concatenate([np.broadcast_to(now[:, None], (n, repeats)), later])
    error = everything.std(axis=0, ddof=1) * math.sqrt(1 / total + overlap)
    wins = (everything.mean(axis=0) / error > stats.t.ppf(0.975, total - 1)).mean()
    assert _chance(t, n, total, 0.95, overlap) == pytest.approx(wins, abs=0.012)


def test_where_splits_overlap_fewer_seeds_are_advised():
    found = for_overlapping_splits(of([0.5, 1.5, 2.5, 1.0]))
    assert not found.excludes_zero
    assert more_seeds(found, overlapping=True) is None  # no number of splits is enough
    assert more_seeds(for_overlapping_splits(of([0.9, 1.4, 1.9])), overlapping=True).chance >= 0.8


def overlapping_splits(rng, n, methods=2):
    """Method -> seed -> value of equal methods whose differences over splits correlate as Nadeau and Bengio assume."""
    shared = rng.normal(0, math.sqrt(OVERLAP / (1 + OVERLAP)), (methods, 1))
    own = rng.normal(0, math.sqrt(1 / (1 + OVERLAP)), (methods, n))
    return {str(k): dict(enumerate(row.tolist())) for k, row in enumerate(shared + own)}


def test_equal_methods_are_rarely_told_apart_where_splits_overlap():
    """The best of a column, and the verdict of a comparison, at 5 %; without the correction both are wrong far more."""
    rng, repeats = np.random.default_rng(5), 2000
    counts = {False: [0, 0], True: [0, 0]}
    for _ in range(repeats):
        column = overlapping_splits(rng, 5)
        for corrected in counts:
            how = Repeats(overlapping=corrected)
            counts[corrected][0] += any(
                one.place == "worse" for one in standings(column, "lower", repeats=how).values()
            )
            counts[corrected][1] += comparisons(column, "0", "lower", repeats=how)["1"].verdict != "undecided"
    assert all(0.035 <= wrong / repeats <= 0.065 for wrong in counts[True])
    assert all(wrong / repeats > 0.1 for wrong in counts[False])


def test_sides_at_the_end_of_a_measure_are_not_equivalent():
    near, far = {0: 0.991, 1: 0.993, 2: 0.992}, {0: 0.55, 1: 0.553, 2: 0.551}
    for side, verdict in ((near, "undecided"), (far, "equivalent")):
        column = {"base": side, "other": {seed: value + 0.001 * (seed - 1) for seed, value in side.items()}}
        assert comparisons(column, "base", "lower", bound=0.05, saturated=0.98)["other"].verdict == verdict


def test_more_seeds_gives_the_first_number_that_would_do_and_its_chance():
    found = of([1.2, -0.2, 0.9, 0.5])
    t = round(found.mean / found.sd * 2, 2)
    more = more_seeds(found)
    assert more is not None
    assert more.chance == _chance(t, 4, 4 + more.seeds, 0.95) >= LEAST_CHANCE > _chance(t, 4, 3 + more.seeds, 0.95)
    assert 4 + more.seeds <= MOST_SEEDS
    assert more_seeds(of([1.0, -1.0, 0.1])) is None
    assert more_seeds(of([1.0, 0.5])) is None


@pytest.mark.parametrize(("n", "most"), [(3, 0.2), (5, 0.15), (10, 0.08)])
def test_equal_methods_are_rarely_advised_to_go_on(n, most):
    rng = np.random.default_rng(1)
    found = [of(values) for values in rng.normal(size=(1500, n)).tolist()]
    unresolved = [one for one in found if not one.excludes_zero]
    assert np.mean([more_seeds(one) is not None for one in unresolved]) < most


@pytest.mark.parametrize("n", [3, 5, 10, 20])
@pytest.mark.parametrize("level", [0.05, 0.01])
def test_the_detectable_effect_is_that_of_statsmodels(n, level):
    values = np.random.default_rng(n).normal(0, 2, n).tolist()
    theirs = TTestPower().power(detectable(of(values), level) / np.std(values, ddof=1), n, level)
    assert theirs == pytest.approx(POWER, abs=1e-4)


@pytest.mark.parametrize(("n", "level"), [(2, 0.05), (5, 0.05 / 7), (5, 0.05 / 100)])
def test_the_detectable_effect_is_found_as_often_as_it_says(n, level):
    """At levels where scipy's noncentral t has no value, by simulation; its error is .0013."""
    values = of([1.0, -1.0] if n == 2 else [1.0, -1.0, 0.5, -0.5, 0.0])
    effect = detectable(values, level) / values.sd
    p = stats.ttest_1samp(np.random.default_rng(0).normal(effect, 1, (n, 100_000)), 0).pvalue
    assert (p <= level).mean() == pytest.approx(POWER, abs=0.005)


def test_nothing_is_detectable_without_a_spread():
    assert math.isnan(detectable(of([1.0])))
    assert math.isnan(detectable(of([1.0, 1.0, 1.0])))


def test_holm_is_that_of_statsmodels():
    p_values = np.array([0.2, 0.0001, 0.04, 0.008, 0.011, 0.03, 0.0007, 0.9, 0.03])
    found = holm({str(k): p for k, p in enumerate(p_values.tolist())})
    rejected, adjusted, *_ = multipletests(p_values, 0.05, "holm")
    assert 0 < rejected.sum() < 9
    assert [found[str(k)].p for k in range(9)] == pytest.approx(adjusted.tolist())
    assert [p <= found[str(k)].level for k, p in enumerate(p_values.tolist())] == rejected.tolist()
    with_a_hole = holm({"a": 0.001, "b": math.nan, "c": 0.03})
    assert (with_a_hole["a"].p, with_a_hole["c"].p) == pytest.approx((0.003, 0.06))
    assert math.isnan(with_a_hole["b"].p)
    assert holm({"a": 0.01}, choices=3)["a"] == pytest.approx((0.03, 0.05 / 3))


def test_p_values_are_those_of_scipy_and_statsmodels():
    a, b = np.random.default_rng(2).normal(0.1, 1, (2, 7))
    found = difference(dict(enumerate(a.tolist())), dict(enumerate(b.tolist())))
    assert p_difference(found) == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert p_equivalence(found, 0.8) == pytest.approx(ttost_paired(a, b, -0.8, 0.8)[0])
    assert p_difference(of([0.0, 0.0, 0.0])) == 1.0
    assert p_equivalence(of([0.0, 0.0, 0.0]), 0.1) == 0.0
    assert math.isnan(p_equivalence(found, math.nan))
    assert math.isnan(p_difference(of([1.0])))


def test_comparisons_say_equivalent_only_with_a_bound_and_evidence():
    seeds = range(6)
    base = {seed: 1.0 + 0.3 * seed for seed in seeds}

    def shifted(by, spread):
        return {seed: base[seed] + by + spread * (-1) ** seed for seed in seeds}

    column = {
        "base": base,
        "better": shifted(-0.5, 0.01),
        "worse": shifted(0.5, 0.01),
        "alike": shifted(0.0, 0.01),
        "loose": shifted(0.05, 0.3),
    }
    without = comparisons(column, "base", "lower")
    assert {cell: one.verdict for cell, one in without.items()} == {
        "better": "better",
        "worse": "worse",
        "alike": "undecided",
        "loose": "undecided",
    }
    with_bound = comparisons(column, "base", "lower", bound=0.1)
    assert with_bound["alike"].verdict == "equivalent"
    assert with_bound["loose"].verdict == "undecided"
    assert with_bound["better"].words == "better"
    small = comparisons({"base": base, "little": shifted(-0.05, 0.01)}, "base", "lower", bound=0.1)["little"]
    assert (small.verdict, small.words) == ("better", "better, below the bound")
    assert {c.verdict for c in comparisons({"base": base, "worse": column["better"]}, "base", "higher").values()} == {
        "worse"
    }
    loose = with_bound["loose"]
    assert loose.difference.mean == pytest.approx(0.05)
    assert loose.detectable == detectable(loose.difference, 0.05 / 2)  # two of four were rejected
    assert all((one.p <= 0.05) == one.difference.excludes_zero for one in with_bound.values())


def test_what_lacks_seeds_is_never_the_better_one():
    base = {seed: 1.0 + seed for seed in range(5)}
    survivor = {seed: seed + 0.01 * seed for seed in range(3)}
    assert comparisons({"base": base, "a": survivor}, "base", "lower")["a"].verdict == "undecided"
    assert comparisons({"base": base, "a": survivor}, "base", "higher")["a"].verdict == "worse"
    assert comparisons({"base": survivor, "a": base}, "base", "lower")["a"].verdict == "undecided"


@pytest.mark.parametrize("bound", [0.0, 0.5])
def test_wrong_statements_of_one_family_are_rare(bound):
    """Five methods, all truly at the bound's distance or equal: Holm keeps both kinds of statement below 5 %."""
    rng, different, alike, repeats = np.random.default_rng(8), 0, 0, 1500
    for _ in range(repeats):
        column = {str(k): dict(enumerate((rng.normal(size=6) + bound * (k > 0)).tolist())) for k in range(5)}
        found = comparisons(column, "0", "lower", bound or math.nan).values()
        different += any(one.verdict in ("better", "worse") for one in found)
        alike += any(one.verdict == "equivalent" for one in found)
    limit = 0.05 + 3 * math.sqrt(0.05 * 0.95 / repeats)
    assert bound or different / repeats < limit
    assert alike / repeats < limit


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=14),
    st.floats(-1e3, 1e3),
    st.sampled_from([0.9, 0.95, 0.99]),
)
def test_interval_contains_its_mean_and_moves_with_the_data(values, shift, confidence):
    found, moved = interval(values, confidence), interval([v + shift for v in values], confidence)
    assert found.low <= found.mean <= found.high
    assert moved.mean == pytest.approx(found.mean + shift, abs=1e-6)
    assert moved.half == pytest.approx(found.half, rel=1e-3, abs=1e-6)


def test_rank_test_is_friedmans_and_needs_three_of_each():
    scores = {f"d{i}": {"a": 1.0 + i, "b": 2.0 + i, "c": 3.0 + i + (i == 2) * -1.5} for i in range(4)}
    found = rank_test(scores)
    assert found is not None
    table = np.asarray([list(row.values()) for row in scores.values()])
    assert found.p_value == pytest.approx(stats.friedmanchisquare(*table.T).pvalue)
    assert found.mean_ranks == pytest.approx({"a": 1.0, "b": 2.25, "c": 2.75})
    # Demsar 2006, table 5: q = 2.343 for three classifiers
    assert found.critical_difference == pytest.approx(2.343 * math.sqrt(3 * 4 / (6 * 4)), rel=1e-3)
    assert rank_test({"d": {"a": 1.0, "b": 2.0, "c": 3.0}}) is None
    assert rank_test({f"d{i}": {"a": 1.0, "b": 2.0} for i in range(9)}) is None


def test_pairs_agree_with_scipy_and_with_the_critical_difference():
    rng = np.random.default_rng(1)
    names = ["a", "b", "c", "d"]
    table = rng.normal(size=(9, 4)) + np.array([3.0, 0.0, 1.0, 0.2])
    found = rank_test({f"d{i}": dict(zip(names, row.tolist(), strict=True)) for i, row in enumerate(table)})
    assert found is not None
    assert len(found.nemenyi) == len(found.wilcoxon_holm) == 6
    ranks, raw = found.mean_ranks, []
    for (better, worse), p in found.nemenyi.items():
        difference = ranks[worse] - ranks[better]
        assert difference >= 0
        assert (p < 0.05) == (difference > found.critical_difference)
        q = difference / math.sqrt(4 * 5 / (6 * 9)) * math.sqrt(2)
        assert p == pytest.approx(stats.studentized_range.sf(q, 4, np.inf))
        x, y = table[:, names.index(better)], table[:, names.index(worse)]
        raw.append(((better, worse), stats.wilcoxon(x, y, zero_method="zsplit").pvalue))
    raw.sort(key=lambda pair: pair[1])
    holm = np.maximum.accumulate([min(1.0, (6 - k) * p) for k, (_, p) in enumerate(raw)])
    assert [found.wilcoxon_holm[pair] for pair, _ in raw] == pytest.approx(holm.tolist())
    assert found.apart(found.wilcoxon_holm)
    assert {worse for _, worse in found.apart(found.nemenyi)} == {"a"}


def test_equal_methods_are_not_told_apart():
    alike = {f"d{i}": {"a": 1.0 * i, "b": 1.0 * i, "c": 1.0 * i} for i in range(7)}
    found = rank_test(alike)
    assert found is not None
    assert set(found.wilcoxon_holm.values()) == {1.0}
    assert found.apart({("a", "b"): 0.001}) == []  # Friedman's test comes first


@pytest.mark.parametrize(("cells", "seeds"), [(6, 5), (14, 10), (20, 3)])
def test_the_truly_best_is_among_the_best_and_its_ties(cells, seeds):
    """Whichever of equal cells one calls the truly best, it is called worse in 2.5 % of columns at most."""
    rng, missed, repeats = np.random.default_rng(3), 0, 600
    for _ in range(repeats):
        column = {str(k): dict(enumerate(rng.normal(size=seeds))) for k in range(cells)}
        missed += standings(column, "lower")["0"].place == "worse"
    assert missed / repeats < 0.025 + 3 * math.sqrt(0.025 * 0.975 / repeats)


def test_seeds_that_diverged_do_not_help():
    a = dict(enumerate([0.20, 0.25, 0.40, 0.45, 0.50]))
    survivor = {0: 0.23, 1: 0.2801}  # worse by .03 on both, with a better mean
    lucky = {0: 0.19}
    table = standings(
        {"a": a, "survivor": survivor, "lucky": lucky, "far": {k: v + 0.2 for k, v in a.items()}}, "lower"
    )
    assert table["a"].place == "best"
    assert table["survivor"].place == "worse"  # on the seeds that it has
    assert (table["lucky"].place, table["lucky"].rank) == ("incomplete", 0)
    assert (table["far"].place, table["far"].rank) == ("worse", 2)
    # each lacks a seed of the other: on those that both have, b is better every time
    other = {"a": dict.fromkeys(range(4), 1.0), "b": {0: 0.9, 1: 0.91, 2: 0.89, 4: 5.0}}
    table = standings(other, "lower")
    assert (table["b"].place, table["a"].place) == ("best", "worse")
    assert {place.place for place in standings({"a": {0: 1.0}, "b": {1: 0.9}}, "lower").values()} == {"none"}


def test_alpha_is_spent_as_by_obrien_and_fleming():
    assert spent(1.0) == pytest.approx(0.05)
    # Lan and DeMets' function at four equally spaced looks, as tabulated for the two-sided 5 %
    assert [spent(share) for share in (0.25, 0.5, 0.75)] == pytest.approx([0.0001, 0.0056, 0.0236], abs=5e-5)
    levels = [level_of_look(seeds, 3, 12) for seeds in range(3, 13)]
    assert sum(levels) == pytest.approx(0.05)
    assert levels == sorted(levels)
    assert level_of_look(5, 5, 5) == pytest.approx(0.05)
    column = {"a": {0: 1.0, 1: 2.0}, "b": {0: 5.0, 1: 6.1}}
    assert standings(column, "lower", level_of_look(2, 2, 100))["b"].place == "tie"  # almost nothing is spent so early


@pytest.mark.parametrize(("first", "most"), [(2, 6), (3, 12), (5, 20)])
def test_looking_after_every_seed_tells_equal_methods_apart_in_5_percent_at_most(first, most):
    """Two equal methods, 20,000 times: uncorrected, looking until it is significant errs two to four times as often."""
    rng, repeats = np.random.default_rng(4), 20_000
    gaps = rng.normal(size=(repeats, most)) - rng.normal(size=(repeats, most))
    wrong, naive = np.zeros(repeats, dtype=bool), np.zeros(repeats, dtype=bool)
    for seeds in range(first, most + 1):
        p = stats.ttest_1samp(gaps[:, :seeds], 0, axis=1).pvalue
        wrong |= p <= level_of_look(seeds, first, most)
        naive |= p <= 0.05
    assert naive.mean() > 0.09
    assert wrong.mean() <= 0.05


def test_the_looks_of_a_table_of_equal_methods_err_in_5_percent_at_most():
    rng, wrong, repeats = np.random.default_rng(6), 0, 300
    for _ in range(repeats):
        values = rng.normal(size=(4, 8)).tolist()
        for seeds in range(3, 9):
            column = {str(k): dict(enumerate(row[:seeds])) for k, row in enumerate(values)}
            places = standings(column, "lower", level_of_look(seeds, 3, 8)).values()
            if not any(one.place == "tie" for one in places):
                wrong += 1
                break
    assert wrong / repeats <= 0.05


def nested(rng, splits, initialisations, between=1.0):
    """Paired differences of a balanced design, seed -> difference, and seed -> split."""
    of_split = np.repeat(rng.normal(0, between, splits), initialisations)
    values = of_split + rng.normal(0, 0.5, len(of_split))
    return dict(enumerate(values.tolist())), {seed: seed // initialisations for seed in range(len(values))}


def test_splits_are_the_repeats_as_in_the_mixed_model():
    """Mean and standard error are those of a random effect per split, estimated by REML, in a balanced design."""
    values, units = nested(np.random.default_rng(3), 6, 4)
    found = difference(values, dict.fromkeys(values, 0.0), repeats=Repeats(units))
    frame = pd.DataFrame({"y": values.values(), "split": [units[seed] for seed in values]})
    theirs = MixedLM.from_formula("y ~ 1", frame, groups="split").fit()
    assert found.n == 6
    assert found.mean == pytest.approx(theirs.params["Intercept"])
    assert found.sd / math.sqrt(6) == pytest.approx(theirs.bse["Intercept"], rel=1e-3)
    assert by_unit({0: 1.0, 1: 3.0, 2: 5.0}, {0: 0, 1: 0, 2: 1}) == {0: 2.0, 1: 5.0}
    assert by_unit({0: 1.0, 1: 3.0}, {}) == {0: 1.0, 1: 3.0}


def test_means_over_splits_cover_where_seeds_as_repeats_do_not():
    rng, hits, naive, repeats = np.random.default_rng(11), 0, 0, 2000
    for _ in range(repeats):
        values, units = nested(rng, 5, 4)
        zero = dict.fromkeys(values, 0.0)
        found, plain = difference(values, zero, repeats=Repeats(units)), difference(values, zero)
        hits += found.low <= 0 <= found.high
        naive += plain.low <= 0 <= plain.high
    assert 0.93 <= hits / repeats <= 0.97
    assert naive / repeats < 0.8


def test_the_interval_for_overlapping_splits_is_that_of_nadeau_and_bengio():
    x = [0.1, 0.3, 0.25, 0.4, 0.15]
    found = for_overlapping_splits(interval(x))
    error = math.sqrt((1 / 5 + 0.2 / 0.7) * np.var(x, ddof=1))
    assert found.half == pytest.approx(stats.t.ppf(0.975, 4) * error)
    assert found.mean == pytest.approx(np.mean(x))
    assert math.isnan(for_overlapping_splits(interval([1.0])).low)


def test_pairs_come_before_means_where_a_run_is_missing():
    a, b = {0: 1.0, 1: 5.0, 2: 3.0, 3: 3.5}, {0: 0.0, 2: 2.0, 3: 2.5}  # b lacks the second run of split 0
    assert difference(a, b, repeats=Repeats({0: 0, 1: 0, 2: 1, 3: 1})).mean == pytest.approx(1.0)
