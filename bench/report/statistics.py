"""What the repeats of a run allow one to say.

Seeds are the repeats. Methods on the same data set and seed share split, batches and evaluation
noise, so they are compared by their differences, seed by seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from scipy import stats

MOST_SEEDS = 1000  # beyond this many, "more seeds" is no advice
ROUNDING = 1e-9  # of a mean: a smaller standard deviation comes from floating-point arithmetic


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
    return float(stats.t.ppf(0.5 + confidence / 2, n - 1))


@cache
def _reach(confidence: float) -> np.ndarray:
    """t_{n-1} / sqrt(n) at n = 2 .. MOST_SEEDS: half an interval in standard deviations, falling with n."""
    n = np.arange(2, MOST_SEEDS + 1)
    return stats.t.ppf(0.5 + confidence / 2, n - 1) / np.sqrt(n)


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


def difference(a: Mapping[int, float], b: Mapping[int, float], confidence: float = 0.95) -> Interval:
    """a - b, paired over the seeds that both have; no interval where two differences are equal.

    Two equal differences give a standard deviation of zero, and an interval of no width that excludes zero. That is
    no evidence: it happens by rounding, and with quantities that do not depend on the seed.
    """
    found = interval([a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())], confidence)
    return found._replace(low=math.nan, high=math.nan) if found.n == 2 and found.without_spread else found


def more_seeds(found: Interval, confidence: float = 0.95) -> int | None:
    """About how many further seeds would resolve a difference, were it and its spread to stay as they are.

    The smallest n with t_{n-1} sd / sqrt(n) < |mean|, less those there are. None where no advice is possible: fewer
    than two seeds, no difference at all, or more than MOST_SEEDS. At that n the chance to resolve is about a half.
    """
    if found.n < 2 or found.mean == 0:
        return None
    if found.sd == 0:
        return 1
    enough = int(np.searchsorted(-_reach(confidence), -abs(found.mean) / found.sd, side="right")) + 2
    return max(enough - found.n, 1) if enough <= MOST_SEEDS else None


@dataclass(frozen=True)
class Standing:
    """One cell's place in one column: the best, a tie with it, worse; or too few seeds for any of them."""

    place: Literal["best", "tie", "worse", "incomplete", "none"]
    rank: int = 0  # by the mean, from 1; 0 where seeds are missing or all are
    gap: Interval = NOTHING  # worse side minus best, so that a positive mean is worse
    more: int | None = None  # further seeds that might resolve a tie


def standings(column: Mapping[str, Mapping[int, float]], direction: Literal["lower", "higher"]) -> dict[str, Standing]:
    """Who is best in a column, and who cannot be told from it.

    column: cell -> seed -> value. The interval of each difference from the best is widened for the number of
    comparisons (Bonferroni), so that the cell whose expectation is best is called worse in at most 2.5 % of columns,
    whichever it is: the best and its ties are a confidence set for it (Hsu 1996, Multiple Comparisons, ch. 4). That
    none of several equal cells is called worse is not promised. With one seed all others are ties: nothing speaks
    against them. A cell with fewer seeds than the fullest one (runs that diverged) is neither the best nor a tie,
    because what is missing is no accident; it is worse where it is so on the seeds that it has.
    """
    sign = 1.0 if direction == "lower" else -1.0
    signed = {
        cell: {seed: sign * value for seed, value in values.items() if math.isfinite(value)}
        for cell, values in column.items()
    }
    most = max(map(len, signed.values()), default=0)
    means = {cell: sum(values.values()) / most for cell, values in signed.items() if values and len(values) == most}
    found = {cell: Standing("none") for cell in column}
    if not means:
        return found
    order = sorted(means, key=lambda cell: means[cell])
    best = order[0]
    found[best] = Standing("best", 1)
    compared = sum(bool(values) for values in signed.values()) - 1
    confidence = 1 - 0.05 / max(compared, 1)
    for rank, cell in enumerate(order[1:], start=2):
        gap = difference(signed[cell], signed[best], confidence)
        if gap.low > 0:
            found[cell] = Standing("worse", rank, gap)
        else:
            found[cell] = Standing("tie", rank, gap, more_seeds(gap, confidence))
    for cell, values in signed.items():
        if 0 < len(values) < most:
            gap = difference(values, signed[best], confidence)
            found[cell] = Standing("worse" if gap.low > 0 else "incomplete", 0, gap)
    return found


Pairs: TypeAlias = Mapping[tuple[str, str], float]
"""(method with the lower mean rank, the other) -> p-value, adjusted for the number of pairs."""


class RankTest(NamedTuple):
    """Friedman's test that all methods rank alike over the data sets, and two tests of which pairs do not.

    Nemenyi's compares mean ranks, so that a third method can move the verdict on a pair (Benavoli et al. 2016, JMLR
    17(5)); Wilcoxon's signed ranks with Holm's correction look at the pair alone. Over n data sets the smallest p-value
    of the latter is 2^(1-n) times the number of pairs: few data sets cannot tell many methods apart by it.
    """

    mean_ranks: dict[str, float]
    n_datasets: int
    p_value: float
    critical_difference: float  # of mean ranks, Nemenyi, 5 %
    nemenyi: Pairs
    wilcoxon_holm: Pairs

    def apart(self, pairs: Pairs) -> list[tuple[str, str]]:
        """The pairs that differ at 5 %, the better one first; none where Friedman's test does not reject."""
        return [pair for pair, p in pairs.items() if p < 0.05 and self.p_value < 0.05]


def rank_test(scores: Mapping[str, Mapping[str, float]]) -> RankTest | None:
    """Ranks across data sets. scores: data set -> method -> mean value, lower is better.

    Only data sets on which every method has a value count (Demsar 2006, JMLR 7, sec. 3.2.2). None below three methods
    or three data sets, where the test says nothing. Differences of zero count half for either side (sec. 3.1.3).
    """
    import scikit_posthocs as posthocs  # here: few reports have ranks

    methods = sorted({method for row in scores.values() for method in row})
    rows = [
        [row[m] for m in methods]
        for row in scores.values()
        if all(math.isfinite(row.get(m, math.nan)) for m in methods)
    ]
    k, n = len(methods), len(rows)
    if k < 3 or n < 3:
        return None
    ranks = np.asarray([stats.rankdata(row) for row in rows]).mean(axis=0)
    table = np.asarray(rows)
    alike = bool((table == table[:, :1]).all())
    p_value = 1.0 if alike else float(stats.friedmanchisquare(*table.T).pvalue)
    q = float(stats.studentized_range.ppf(0.95, k, np.inf)) / math.sqrt(2)
    critical = q * math.sqrt(k * (k + 1) / (6 * n))
    order = np.argsort(ranks, kind="stable")
    pairs = [(int(a), int(b)) for place, a in enumerate(order) for b in order[place + 1 :]]

    def by_pair(p_values: pd.DataFrame) -> Pairs:
        return {(methods[a], methods[b]): float(p_values.to_numpy()[a, b]) for a, b in pairs}

    nemenyi = posthocs.posthoc_nemenyi_friedman(table)
    holm = posthocs.posthoc_wilcoxon(table.T.tolist(), zero_method="zsplit", p_adjust="holm")
    mean_ranks = dict(zip(methods, ranks.tolist(), strict=True))
    return RankTest(mean_ranks, n, p_value, critical, by_pair(nemenyi), by_pair(holm))
