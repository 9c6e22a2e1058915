"""Where a contrast holds: its difference on a data set beside what the windows of that data set know of themselves.

A latent can add what a decoder's past does not hold: the long range. Of the data that is the gain of `long_range` on
the training windows (the row `floor_held_out`), so a live latent should help more where that gain is larger.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.contracts import Contrast
from bench.report.columns import Column
from bench.report.contrasts import Question, sides_of
from bench.report.ranking import Group, floor_of
from bench.report.statistics import Interval

GAIN = "long_range_gain"
LEAST = 4  # data sets; Kendall's test of three has no p below .33


class Correlation(NamedTuple):
    """Kendall's rank correlation over data sets, with the two-sided p of independent orders.

    Exact, or asymptotic where values are tied.
    """

    tau: float
    p: float
    n: int


class Point(NamedTuple):
    """One data set."""

    gain: Interval  # over seeds, of the training windows
    difference: Interval  # of the contrast, over seeds, 95 %


class Gains(NamedTuple):
    """One question on every data set, those that it leaves out included."""

    contrast: Contrast
    backbone: str
    column: Column
    points: Mapping[str, Point]
    correlation: Correlation


def gains_of(contrasts: Sequence[Contrast], groups: Sequence[Group], column: Column) -> list[Gains]:
    """Of every confirmatory contrast on every backbone with LEAST data sets or more whose gain was measured."""
    known = {group.dataset: gain.interval(GAIN) for group in groups if (gain := floor_of(group.references, GAIN))}
    confirmatory = [contrast for contrast in contrasts if not contrast.secondary]
    found = []
    for backbone in dict.fromkeys(group.backbone for group in groups):
        for contrast in confirmatory:
            everywhere = Question(dataclasses.replace(contrast, without=()), backbone)
            sides = sides_of([everywhere], groups, column)[everywhere]
            points = {
                dataset: Point(known[dataset], both.gap.at(0.95))
                for dataset, both in sides.items()
                if both.seeds and dataset in known
            }
            if len(points) >= LEAST:
                found.append(Gains(contrast, backbone, column, points, _correlation(list(points.values()))))
    return found


def _correlation(points: Sequence[Point]) -> Correlation:
    from scipy.stats import kendalltau  # here: most reports have no need of it

    gains, gaps = [point.gain.mean for point in points], [point.difference.mean for point in points]
    tied = len(set(gains)) < len(gains) or len(set(gaps)) < len(gaps)
    tau, p = kendalltau(gains, gaps, method="asymptotic" if tied else "exact")
    return Correlation(float(tau), float(p) if not math.isnan(tau) else math.nan, len(points))
