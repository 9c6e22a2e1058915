"""Ranks of methods over data sets: Friedman's test, and which pairs differ."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd

Pairs: TypeAlias = Mapping[tuple[str, str], float]
"""(method with the lower mean rank, the other) -> p-value, adjusted for the number of pairs."""


class RankTest(NamedTuple):
    """Friedman's test that all methods rank alike over the data sets, and two tests of which pairs do not.

    Nemenyi's compares mean ranks, so that a third method can move the verdict on a pair (Benavoli et al. 2016, JMLR
    17(5)); Wilcoxon's signed ranks with Holm's correction look at the pair alone. Over n data sets the smallest p-value
    of the latter is 2^(1-n) times the number of pairs: with few data sets it finds no difference between many methods.
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
    import scikit_posthocs as posthocs  # here, as the other: few reports have ranks
    from scipy import stats  # half a second to import

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
