"""What the repeats of a run allow one to say.

Seeds are the repeats. Methods on the same data set and seed share split, batches and evaluation
noise, so they are compared by their differences, seed by seed. How differences are judge stands in
bench/docs/measures.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from scipy import special

from bench.contracts import TEST_SHARE, VALIDATION_SHARE

ALPHA = 0.05  # the chance of a wrong statement of one kind (a difference, an equivalence) in one family of comparisons
POWER = 0.8  # with which a minimal detectable effect is found
MOST_SEEDS = 50  # beyond this many in all, "more seeds" is no advice
LEAST_CHANCE = 0.8  # "more seeds" is said only where it succeeds so often, given the data
OVERLAP = TEST_SHARE / (1 - VALIDATION_SHARE - TEST_SHARE)  # test rows per training row
ROUNDING = 1e-9  # of a mean: a smaller standard deviation comes from floating-point arithmetic


class Repeats(NamedTuple):
    """What the seeds of a data set repeat."""

    units: Mapping[int, int] = MappingProxyType({})  # seed -> split, where splits have several initialisations
    overlapping: bool = False  # whether the splits deal one recording anew; see `for_overlapping_splits`


EACH_ITS_OWN = Repeats()
"""Seeds that are independent repeats."""


class Interval(NamedTuple):
    """A mean and its confidence interval; `low` and `high` are NaN where the repeats give none."""

    mean: float
    low: float
    high: float
    sd: float
    n: int

    @property
    def half(self) -> float:
        """Half the width."""
        return (self.high - self.low) / 2

    @property
    def excludes_zero(self) -> bool:
        """False, too, where there is no interval."""
        return self.low > 0 or self.high < 0

    @property
    def without_spread(self) -> bool:
        """Whether several repeats agree up to rounding."""
        return self.n > 1 and self.sd <= ROUNDING * abs(self.mean)


NOTHING = Interval(math.nan, math.nan, math.nan, math.nan, 0)


@cache
def _quantile(n: int, confidence: float) -> float:
    return float(special.stdtrit(n - 1, 0.5 + confidence / 2))


@cache
def _spreads(degrees: int, count: int = 4000) -> np.ndarray:
    """Evenly likely values of sd / sigma, the root of a chi-squared variable over its degrees of freedom."""
    return np.sqrt(special.chdtri(degrees, 1 - (np.arange(count) + 0.5) / count) / degrees)


@cache
def _noncentrality(n: int, level: float) -> float:
    """The true difference, in standard errors, that a two-sided t test of n differences finds with probability POWER.

    The noncentral t as a mean over sd / sigma: its series in scipy has no value at the levels of many comparisons.
    """
    if math.isinf(_quantile(n, 1 - level)):  # a level that rounds to none: the first of very many looks
        return math.inf
    from scipy import optimize  # here: most reports have no need of it, and it takes a quarter of a second to import

    needed = _quantile(n, 1 - level) * _spreads(n - 1)

    def power(delta: float) -> float:
        return float((special.ndtr(delta - needed) + special.ndtr(-delta - needed)).mean())

    return float(optimize.brentq(lambda delta: power(delta) - POWER, 0.0, needed.max() + 10.0))


def detectable(found: Interval, level: float = ALPHA) -> float:
    """The minimal detectable effect: what the paired t test at this level finds with probability POWER.

    At this number of repeats and, as if it were the true one, their standard deviation; NaN below two repeats, and
    where the repeats have no spread.
    """
    if found.n < 2 or found.without_spread or found.sd == 0:
        return math.nan
    return _noncentrality(found.n, level) * found.sd / math.sqrt(found.n)


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The mean over seeds and Student's t-interval; none for one seed. NaN is left out.

    At no number of seeds a bootstrap: studentised, from ten seeds, it covered .91 to .93 of what it called 95 %, and in
    its tails, where the level of one of many comparisons lies, it missed twice as often as it claimed.
    """
    x = [value for value in values if math.isfinite(value)]  # no array: a large report asks for a million of these
    n = len(x)
    if n == 0:
        return NOTHING
    mean = sum(x) / n
    if n == 1:
        return Interval(mean, math.nan, math.nan, math.nan, 1)
    sd = math.sqrt(sum((value - mean) ** 2 for value in x) / (n - 1))
    half = _quantile(n, confidence) * sd / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, sd, n)


def by_unit(values: Mapping[int, float], units: Mapping[int, int]) -> dict[int, float]:
    """The mean of each unit's values, by unit. values: seed -> value; units: seed -> unit (none: each seed is one).

    Where every split of the data has several initialisations, its unit is the split. Values of one split share what
    the split does to them, so they are averaged first, and the splits are the repeats. In a balanced design that is
    the test of the mixed model with a random effect per split, exactly, and it needs no estimate of two variances.
    """
    found: dict[int, list[float]] = {}
    for seed, value in values.items():
        found.setdefault(units.get(seed, seed), []).append(value)
    return {unit: sum(members) / len(members) for unit, members in found.items()}


def difference(
    a: Mapping[int, float], b: Mapping[int, float], confidence: float = 0.95, repeats: Repeats = EACH_ITS_OWN
) -> Interval:
    """a - b, paired over the seeds that both have; no interval where two differences are equal.

    The mean is over the units of `repeats`, and corrected where these overlap.
    Two equal differences give a standard deviation of zero, and an interval of no width that excludes zero. That is
    no evidence: it happens by rounding, and with quantities that do not depend on the seed.
    """
    paired = {seed: a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())}
    found = interval(list(by_unit(paired, repeats.units).values() if repeats.units else paired.values()), confidence)
    if found.n == 2 and found.without_spread:
        return found._replace(low=math.nan, high=math.nan)
    return for_overlapping_splits(found) if repeats.overlapping else found


class Advice(NamedTuple):
    """How many further seeds would resolve a difference, and with which probability."""

    seeds: int
    chance: float


def for_overlapping_splits(found: Interval) -> Interval:
    """The interval of Nadeau and Bengio (2003, eq. 9), for means over splits that deal one recording anew.

    Such splits share training windows, so that their values are correlated and s^2 / n understates the variance of
    their mean. The correction puts (1 / n + n_test / n_train) s^2 in its place, with the shares of the rows, 20 and
    70 %: no number of splits makes the variance smaller than that of three or four
    independent ones. `sd` is widened alike, so that tests of what is returned are corrected as well.
    """
    wider = math.sqrt(1 + found.n * OVERLAP)
    half = found.half * wider
    return found._replace(low=found.mean - half, high=found.mean + half, sd=found.sd * wider)


def more_seeds(found: Interval, confidence: float = 0.95, overlapping: bool = False) -> Advice | None:
    """The fewest further seeds after which the paired t test resolves the difference with LEAST_CHANCE, given the data.

    The probability is that of the posterior predictive distribution: later seeds are drawn with every true mean and
    variance that the present ones allow (a flat prior on the mean and on ln sigma), and are tested together with them.
    None where MOST_SEEDS in all would not do, and below three seeds, which say too little of the variance. A prior
    that expects no difference would promise less: of pairs that are exactly equal
    6 % (ten seeds) to 18 % (three seeds) are given advice.
    overlapping: `found` is corrected by `for_overlapping_splits` and the later test will be, so that its error has a
    part that no number of splits takes away.
    """
    if found.n < 3 or found.without_spread or not found.sd > 0:
        return None
    overlap = OVERLAP if overlapping else 0.0
    t = abs(found.mean) / found.sd * math.sqrt(found.n * (1 + found.n * overlap))
    return _advice(round(t, 2), found.n, confidence, overlap)


@cache
def _advice(t: float, n: int, confidence: float, overlap: float) -> Advice | None:
    low, high = n, MOST_SEEDS
    if n >= high or t > _quantile(n, confidence) * math.sqrt(1 + n * overlap):
        return None
    if special.stdtr(n - 1, t) < LEAST_CHANCE or _chance(t, n, high, confidence, overlap) < LEAST_CHANCE:
        return None  # the first is the chance of any number of seeds
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _chance(t, n, middle, confidence, overlap) >= LEAST_CHANCE else (middle, high)
    return Advice(high - n, _chance(t, n, high, confidence, overlap))


def _chance(t: float, n: int, total: int, confidence: float, overlap: float = 0.0) -> float:
    """P(the t test of `total` seeds rejects in the direction seen | n of them have this t and standard deviation 1).

    Given sigma, the mean of the later k is normal around the present one with variance sigma^2 (1/n + 1/k), and their
    sum of squares is sigma^2 times a chi-squared variable of k - 1 degrees of freedom: a mean over quantiles of both.
    overlap: see `for_overlapping_splits`.
    """
    k, mean = total - n, t / math.sqrt(n)
    sigma = 1 / _spreads(n - 1, 40)[:, None]
    later = mean + sigma * math.sqrt(1 / n + 1 / k) * special.ndtri((np.arange(80) + 0.5) / 80)
    pooled = (n * mean + k * later) / total
    # the sum of squares that still rejects
    most = total * (total - 1) * (pooled / _quantile(total, confidence)) ** 2 / (1 + total * overlap)
    room = most - (n - 1) - n * k / total * (later - mean) ** 2
    below = special.gammainc((k - 1) / 2, np.maximum(room, 0) / (2 * sigma**2))
    return float(np.where((pooled > 0) & (room >= 0), below, 0.0).mean())


@dataclass(frozen=True)
class Standing:
    """One cell's place in one column: the best, a tie with it, worse; or too few seeds for any of them."""

    place: Literal["best", "tie", "worse", "incomplete", "none"]
    rank: int = 0  # by the mean, from 1; 0 where seeds are missing or all are
    gap: Interval = NOTHING  # worse side minus best, so that a positive mean is worse
    detectable: float = math.nan  # the smallest true gap that is found with probability POWER
    more: Advice | None = None  # further seeds that might resolve a tie


def standings(
    column: Mapping[str, Mapping[int, float]],
    direction: Literal["lower", "higher"],
    alpha: float = ALPHA,
    repeats: Repeats = EACH_ITS_OWN,
) -> dict[str, Standing]:
    """Which cell is best in a column, and which do not differ significantly from it.

    column: cell -> seed -> value. The interval of each difference from the best is widened for
    the number of comparisons (Bonferroni), so that the cell whose expectation is best is called worse in at most
    alpha / 2 of columns, whichever it is: the best and its ties are a confidence set for it (Hsu 1996, Multiple
    Comparisons, ch. 4). That none of several equal cells is called worse is not promised. With one seed all others are
    ties: nothing speaks against them. A cell that lacks a seed of another one (runs that diverged) is neither the
    best nor a tie, because what is missing is no accident; it is worse where it is so on the seeds that it has. Where
    every cell lacks some, they are compared on the seeds that all of them have.
    """
    sign = 1.0 if direction == "lower" else -1.0
    signed = {
        cell: {seed: sign * value for seed, value in values.items() if math.isfinite(value)}
        for cell, values in column.items()
    }
    known = [values.keys() for values in signed.values() if values]
    seeds: set[int] = set().union(*known)
    if known and not any(keys == seeds for keys in known):
        seeds = set.intersection(*map(set, known))
        signed = {cell: {seed: values[seed] for seed in seeds & values.keys()} for cell, values in signed.items()}
    means = {
        cell: sum(values.values()) / len(seeds) for cell, values in signed.items() if values.keys() == seeds and seeds
    }
    found = {cell: Standing("none") for cell in column}
    if not means:
        return found
    order = sorted(means, key=lambda cell: means[cell])
    best = order[0]
    found[best] = Standing("best", 1)
    compared = sum(bool(values) for values in signed.values()) - 1
    level = alpha / max(compared, 1)
    confidence = 1 - level
    for rank, cell in enumerate(order[1:], start=2):
        gap = difference(signed[cell], signed[best], confidence, repeats)
        if gap.low > 0:
            found[cell] = Standing("worse", rank, gap, detectable(gap, level))
        else:
            more = more_seeds(gap, confidence, repeats.overlapping)
            found[cell] = Standing("tie", rank, gap, detectable(gap, level), more)
    for cell, values in signed.items():
        if 0 < len(values) < len(seeds):
            gap = difference(values, signed[best], confidence, repeats)
            found[cell] = Standing("worse" if gap.low > 0 else "incomplete", 0, gap, detectable(gap, level))
    return found


class Holm(NamedTuple):
    """One test of a family by Holm's step-down procedure."""

    p: float  # adjusted: compared with ALPHA
    level: float  # at which it was tested: its own p-value at or below it is rejected


def holm(p_values: Mapping[str, float], alpha: float = ALPHA, choices: int = 1) -> dict[str, Holm]:
    """Holm (1979): a wrong rejection among all of them in at most `alpha` of families.

    The smallest of m p-values is tested at alpha / m, the next at alpha / (m - 1), and so on until one is not
    rejected; it and all after it share that level. A p-value that is NaN (no test) is one of the m, and NaN again.
    choices: the family was picked as one of so many, by the same data.
    """
    order = sorted(p_values, key=lambda name: (math.isnan(p_values[name]), p_values[name]))
    found: dict[str, Holm] = {}
    adjusted, level = 0.0, alpha
    for place, name in enumerate(order):
        factor = (len(order) - place) * choices
        if adjusted <= alpha:  # nothing before it was kept
            level = alpha / factor
        adjusted = max(adjusted, min(1.0, factor * p_values[name])) if p_values[name] == p_values[name] else math.inf
        found[name] = Holm(adjusted if math.isfinite(adjusted) else math.nan, level)
    return found


def p_difference(found: Interval) -> float:
    """The two-sided p-value of the t test that the mean is zero; NaN where there is no interval."""
    if not math.isfinite(found.low):
        return math.nan
    if found.sd == 0:
        return 1.0 if found.mean == 0 else 0.0
    return float(2 * special.stdtr(found.n - 1, -abs(found.mean) / found.sd * math.sqrt(found.n)))


def p_equivalence(found: Interval, bound: float) -> float:
    """The p-value of two one-sided t tests (TOST, Schuirmann 1987) that the mean lies outside -bound .. bound."""
    if not math.isfinite(found.low) or math.isnan(bound):
        return math.nan
    if found.sd == 0:
        return 0.0 if abs(found.mean) < bound else 1.0
    return float(special.stdtr(found.n - 1, (abs(found.mean) - bound) / found.sd * math.sqrt(found.n)))


Verdict: TypeAlias = Literal["better", "worse", "equivalent", "undecided"]


class Comparison(NamedTuple):
    """One side against another."""

    difference: Interval  # the first side - the other, at the level at which Holm's procedure tested it
    p: float  # of the difference, adjusted by Holm
    detectable: float  # the smallest true difference that is found with probability POWER at that level
    equivalence_p: float  # of the equivalence, adjusted by Holm; NaN without a bound
    verdict: Verdict
    level: float  # at which Holm's procedure tested it

    @property
    def negligible(self) -> bool:
        """Whether the difference is significant and significantly below the bound: there, and of no importance."""
        return self.verdict in ("better", "worse") and self.equivalence_p <= ALPHA

    @property
    def words(self) -> str:
        """The verdict as it is printed."""
        return f"{self.verdict}, below the bound" if self.negligible else self.verdict


class Gap(NamedTuple):
    """A difference of two sides before it is tested."""

    at: Callable[[float], Interval]  # confidence -> the mean difference and its interval
    lacks: bool  # whether the first side lacks repeats that the other has
    other_lacks: bool
    saturated: bool = False  # whether the measure cannot tell the sides apart, so that no difference says nothing


def judge(
    family: Mapping[str, Gap], direction: Literal["lower", "higher"], bound: float = math.nan, choices: int = 1
) -> dict[str, Comparison]:
    """What can be said of each difference; all of them are one family for Holm.

    bound: a difference below it does not matter. Better and worse are said where Holm rejects "no difference",
    equivalent where it does not and TOST says that the difference is below the bound. A side that lacks repeats of the
    other (runs that diverged) is never the better one, nor equivalent: what is missing is no accident. Nor are sides
    equivalent that the measure cannot tell apart. choices: the family is one of so many, and the same data chose it.
    """
    gaps = {name: gap.at(0.95) for name, gap in family.items()}
    different = holm({name: p_difference(gap) for name, gap in gaps.items()}, choices=choices)
    bounds = {name: math.nan if gap.saturated else bound for name, gap in family.items()}
    alike = holm({name: p_equivalence(gap, bounds[name]) for name, gap in gaps.items()}, choices=choices)
    found: dict[str, Comparison] = {}
    for name, (p, level) in different.items():
        at, lacks, other_lacks, _ = family[name]
        gap = at(1 - level)
        ahead = gap.mean < 0 if direction == "lower" else gap.mean > 0
        verdict: Verdict = "undecided"
        if p <= ALPHA and not (lacks if ahead else other_lacks):
            verdict = "better" if ahead else "worse"
        elif p > ALPHA and alike[name].p <= ALPHA and not lacks and not other_lacks:
            verdict = "equivalent"
        found[name] = Comparison(gap, p, detectable(gap, level), alike[name].p, verdict, level)
    return found


def comparisons(
    column: Mapping[str, Mapping[int, float]],
    reference: str,
    direction: Literal["lower", "higher"],
    bound: float = math.nan,
    choices: int = 1,
    repeats: Repeats = EACH_ITS_OWN,
    saturated: float = math.inf,
) -> dict[str, Comparison]:
    """Every other cell of a column against one of them, paired over seeds; all of these are one family for Holm.

    column: cell -> seed -> value; bound, choices: see `judge`; saturated: see `paired`.
    """
    base = {seed: value for seed, value in column[reference].items() if math.isfinite(value)}
    family = {
        cell: paired({seed: value for seed, value in values.items() if math.isfinite(value)}, base, repeats, saturated)
        for cell, values in column.items()
        if cell != reference
    }
    return judge(family, direction, bound, choices)


def paired(
    a: Mapping[int, float], b: Mapping[int, float], repeats: Repeats = EACH_ITS_OWN, saturated: float = math.inf
) -> Gap:
    """a - b, paired over the seeds that both have; see `difference`.

    saturated: a mean from which on the measure cannot tell two methods apart.
    """
    limited = math.isfinite(saturated)  # of a large report few columns are, and it asks for a million of these
    beyond = limited and all(interval(list(side.values())).mean >= saturated for side in (a, b))
    return Gap(partial(difference, a, b, repeats=repeats), not a.keys() >= b.keys(), not b.keys() >= a.keys(), beyond)


def spent(share: float, alpha: float = ALPHA) -> float:
    """How much of `alpha` may be spent until this share of the seeds is there (O'Brien and Fleming's way).

    2 - 2 Phi(z / sqrt(share)) with z the 1 - alpha / 2 quantile (Lan and DeMets 1983): little early, all of it at 1.
    """
    return float(2 * special.ndtr(special.ndtri(alpha / 2) / math.sqrt(share)))


def level_of_look(seeds: int, first: int, most: int, alpha: float = ALPHA) -> float:
    """The level of the look at so many seeds, where looks begin at `first` and another seed may follow up to `most`.

    What was spent since the look before. The levels of all looks add up to at most `alpha`, so that the chance of a
    wrong statement at any of them does too, whatever the distribution of the test statistic is at few seeds.
    """
    before = spent((seeds - 1) / most, alpha) if seeds > first else 0.0
    return spent(seeds / most, alpha) - before
