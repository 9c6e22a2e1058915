"""What a resolved answer costs: fixed seeds and updates, or runs that end at their plateau and seeds that end early.

Fixed: SEEDS seeds of both methods, every run for all of its updates. Adaptive: runs as they were, which stopped at the
plateau of their validation objective, and looks at the seeds of LOOKS (a group-sequential test, little alpha early and
most of it late, as in O'Brien and Fleming 1979); the first look at which a difference is significant is the last. An
equivalence is said of all seeds only: of fewer it is often said of a small difference that all of them resolve. Both
have the same stated contrasts, measure and equivalence bound, one data set at a time.

Seeds are drawn anew, with replacement, from those that a results folder holds. A replication gives both designs the
same seeds. What is not resampled: a run's value at its plateau stands for its value after all updates; the page of the
sweep `budget` says what that costs. Where labels are exchanged seed by seed at random, every statement of a difference
is wrong: their share is the type I error.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.perf.measure import Line, Scale
from bench.randomness import numpy_generator
from bench.report.cards import metric_facts
from bench.report.cells import cells_of
from bench.report.ranking import Group, groups_of
from bench.report.selection import Selection, load
from bench.report.statistics import ALPHA, Interval, interval, p_difference, p_equivalence
from bench.store import existing

SEEDS = 10
LOOKS = {6: 0.006, 8: 0.015, SEEDS: 0.034}
"""Seeds at a look, and the level of its t test. Together the looks are wrong in under 5 % of families of normal
differences; the levels leave room, because seeds drawn anew from five are not normal. They begin at six, because of
five seeds one in 16 has differences of one sign only, whatever their size."""
LEAST = 4  # seeds that a data set must have, so that drawing them anew says anything
REPLICATIONS: Mapping[Scale, int] = {"tiny": 20, "quick": 200}
MOST = 1000


class Seed(NamedTuple):
    """One seed of a contrast: the difference, and CPU seconds of both runs to the plateau and to the last update."""

    difference: float
    plateau: float
    whole: float


class Answer(NamedTuple):
    """A verdict and what it cost."""

    verdict: str
    seconds: float


def decided(found: Interval, bound: float, level: float) -> str:
    """ "better" or "worse" (lower is better), "equivalent" or "undecided", at a level.

    Undecided, too, where all seeds agree: among seeds that were drawn anew it happens by drawing one several times.
    """
    if found.without_spread:
        return "undecided"
    if p_difference(found) <= level:
        return "better" if found.mean < 0 else "worse"
    return "equivalent" if not math.isnan(bound) and p_equivalence(found, bound) <= level else "undecided"


def fixed(seeds: Sequence[Seed], bound: float) -> Answer:
    """All seeds, every run for all of its updates."""
    found = interval([seed.difference for seed in seeds])
    return Answer(decided(found, bound, ALPHA), sum(seed.whole for seed in seeds))


def adaptive(seeds: Sequence[Seed], bound: float) -> Answer:
    """Runs to their plateau, and no more seeds than the first look that resolves a difference.

    >>> alike = [Seed(-0.2 - 0.001 * k, 10.0, 50.0) for k in range(10)]
    >>> adaptive(alike, 0.05)
    Answer(verdict='better', seconds=60.0)
    """
    verdict, look = "undecided", 0
    for look, level in LOOKS.items():
        verdict = decided(interval([seed.difference for seed in seeds[:look]]), bound, level)
        if verdict in ("better", "worse"):
            break
    return Answer(verdict, sum(seed.plateau for seed in seeds[:look]))


def seconds_of(row: pd.Series) -> tuple[float, float]:
    """CPU seconds of a run to its plateau, and to the last update of both stages.

    A stage that made all of its updates costs the same in both; so does everything after training.
    """
    rest = float(row["sample_seconds"] + row["evaluate_seconds"])
    stages = [
        (float(row["train_seconds"]), row.get("updates", math.nan), row.get("train.steps", math.nan)),
        (float(row["denoiser_seconds"]), row.get("denoiser_updates", math.nan), row.get("diffusion.steps", math.nan)),
    ]
    plateau = sum(seconds for seconds, _, _ in stages)
    whole = sum(seconds * most / made if most > made > 0 else seconds for seconds, made, most in stages)
    return plateau + rest, whole + rest


def pairs(group: Group, selection: Selection, of: str, against: str, metric: str) -> list[Seed]:
    """The seeds of a data set that both sides of a contrast have."""
    cells = {cell.label: cell for cell in group.cells if cell.label in (of, against)}
    if len(cells) < 2:
        return []
    runs = selection.runs.set_index("run_id")
    costs = {
        label: {seed: seconds_of(pd.Series(runs.loc[run])) for run, seed in cell.seeds.items() if run in runs.index}
        for label, cell in cells.items()
    }
    a, b = (cells[label].values.get(metric, {}) for label in (of, against))
    found = []
    for seed in sorted(a.keys() & b.keys()):
        (own, all_own), (other, all_other) = costs[of][seed], costs[against][seed]
        if math.isfinite(a[seed] - b[seed]):
            found.append(Seed(a[seed] - b[seed], own + other, all_own + all_other))
    return found


class Resampled(NamedTuple):
    """Over replications."""

    saving: float  # median of the fixed design's cost over the adaptive one's
    plateau: float  # median cost of the adaptive design
    whole: float  # median cost of the fixed one
    agreement: float
    wrong: float  # the share of statements of a difference under exchanged labels

    def line(self, what: str, n: int) -> Line:
        """The row of the table."""
        note = f"{n} seeds; verdicts agree in {self.agreement:.1%}; type I error {self.wrong:.1%}"
        return Line(what, self.saving, self.plateau, self.whole, "3", note)


def resampled(seeds: Sequence[Seed], bound: float, replications: int, rng: np.random.Generator) -> Resampled:
    """Both designs on the same seeds, drawn anew."""
    savings, cheap, dear, agreed, wrong = [], [], [], 0, 0
    for _ in range(replications):
        drawn = [seeds[k] for k in rng.integers(len(seeds), size=SEEDS)]
        ours, other = adaptive(drawn, bound), fixed(drawn, bound)
        savings.append(other.seconds / ours.seconds)
        cheap.append(ours.seconds)
        dear.append(other.seconds)
        agreed += ours.verdict == other.verdict
        signs = rng.choice([-1.0, 1.0], size=SEEDS)
        exchanged = [seed._replace(difference=seed.difference * sign) for seed, sign in zip(drawn, signs, strict=True)]
        wrong += adaptive(exchanged, bound).verdict in ("better", "worse")
    saving, plateau, whole = (statistics.median(values) for values in (savings, cheap, dear))
    return Resampled(saving, plateau, whole, agreed / replications, wrong / replications)


def measure(scale: Scale, results: Path) -> Iterator[Line]:
    """A line per stated contrast and data set of every sweep of a results folder; see `lines`."""
    sweeps = existing(results).memberships()
    for sweep in sweeps:
        for line in lines(load(results, sweep.name), REPLICATIONS.get(scale, MOST)):
            yield replace(line, what=f"{sweep.name}, {line.what}") if len(sweeps) > 1 else line


def lines(selection: Selection, replications: int) -> Iterator[Line]:
    """One per stated contrast and data set with at least LEAST seeds; none where nothing is stated."""
    rng = numpy_generator("resolved", 0, "seeds")
    for group in groups_of(cells_of(selection), metric_facts(), selection.equivalence):
        column = next(iter(group.quality), None)
        if column is None or column.direction != "lower":
            continue
        bound = selection.equivalence.get(column.metric, math.nan)
        for contrast in selection.contrasts:
            seeds = pairs(group, selection, contrast.of, contrast.against, column.metric)
            if len(seeds) >= LEAST:
                found = resampled(seeds, bound, replications, rng)
                yield found.line(f"{group.name}: {contrast.of} - {contrast.against}", len(seeds))
