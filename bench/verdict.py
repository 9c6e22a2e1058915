"""Does the latent live? One word per run, from how much the decoder takes from it.

Pure: numbers in, a word out. Version 2 of the verdict asks for the information, in nats per series, over all steps and
over the second half (`bench.metrics.latent_information`); version 1, for older runs, for the gap of likelihoods and the
dependency at the last step. `verdict` decides which applies.

The thresholds of version 2 lie above what the measure sees where there is nothing, and are no smaller than half of its
95 % interval (its error at 128 series is about .1 nats where something is told). They were checked on `dialled_latent`
at the plateau of training, three seeds (the sweep `synthetic`, published in results/core). Vanilla latent diffusion,
all steps and second half, beside the nats that a series holds of its latent:

    information 0      .00 and .00    of 0      collapsed
    information .1     .00 and .00    of 1.7    collapsed
    information .25    1.0 and .0     of 3.2    partial: z sets the first steps
    information .5     2.6 and .1     of 5.1    partial
    information .75    4.7 and 1.2    of 7.2    alive
    information .9     5.8 and 2.1    of 9.4    alive (no value can exceed ln 512 = 6.2)

The thresholds of version 1 were set on the same data at 1,000 updates; a gap grows with 1 / sigma^2 of the decoder, so
that they mean different things on different data.

What the words do not say: that the data have a latent. They say that the decoder uses z. A method
that does not price the latent (no KL) writes the noise of a series into z and uses it there, even
on `ar1` and on `dialled_latent` at 0, where nothing is latent; its reconstruction NLL then falls below the
entropy of the data, which no model of the past alone can do. By the chain rule a perfect
autoregressive decoder needs no latent for any data, so no likelihood can tell the two apart.
`bench.metrics.split_half` can: it asks whether distant parts of a series agree on z.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Verdict = Literal["collapsed", "partial", "alive", "undecided", "-"]
Illusion = Literal["yes", "no", "-"]
Side = Literal["above", "below", "unclear", "unknown"]

SAID = {
    "collapsed": "collapses on these data: its decoder ignores the latent or soon forgets it",
    "alive": "keeps its latent on these data",
    "partial": "uses its latent on these data for the first steps only",
}
"""What a method does, as a sentence about one data set goes on; by the verdict."""


@dataclass(frozen=True)
class Thresholds:
    """Where the words begin: information in nats per series, gaps and gains in nats per value, shares of h_t."""

    information: float = 0.5
    second_half: float = 0.25
    gap_collapsed: float = 0.05  # a permuted latent costs less than this: z says nothing about x
    gap_alive: float = 0.3  # it costs at least this: z says much about x
    dependency_collapsed: float = 0.05  # m_{T,0} below this: z is forgotten at the end of the series
    dependency_alive: float = 0.2
    illusion_local: float = 0.05  # the local dependency on shuffled data is "clearly above 0" from here on
    illusion_gain: float = 0.02  # a smaller gain over the marginal's likelihood is "about 0"


THRESHOLDS = Thresholds()

NEAR_BOUND = 0.5
"""Nats below its bound ln M from which on a latent information says no more than "at least this much"."""


class Estimate(NamedTuple):
    """A number and its error, such that value -+ 1.96 error is a 95 % interval."""

    value: float
    error: float

    def against(self, threshold: float) -> Side:
        """Where the interval lies."""
        if math.isnan(self.value):
            return "unknown"
        if self.value - 1.96 * self.error > threshold:
            return "above"
        return "below" if self.value + 1.96 * self.error < threshold else "unclear"


UNKNOWN = Estimate(math.nan, math.nan)


def verdict(
    nll_own: float,
    nll_permuted: float,
    dependency_end: float,
    information: Estimate = UNKNOWN,
    second_half: Estimate = UNKNOWN,
    limits: Thresholds = THRESHOLDS,
) -> Verdict:
    """How much the decoder takes from the latent; version 2 where any latent information is known, else version 1.

    information, second_half: `latent_information` of all steps and of the second half, with their errors. The others
    are those of `verdict_by_gap`.
    """
    if math.isnan(information.value) and math.isnan(second_half.value):
        return verdict_by_gap(nll_own, nll_permuted, dependency_end, limits)
    return verdict_by_information(information, second_half, limits)


def verdict_by_information(information: Estimate, second_half: Estimate, limits: Thresholds = THRESHOLDS) -> Verdict:
    """Version 2, in nats per series, each number with its interval, value -+ 1.96 error.

    collapsed  information below its threshold: z says nothing about x
    alive      information and second half above theirs: z says something, and is not forgotten
    partial    information above, second half below: z sets the first steps only
    undecided  an interval that decides holds its threshold, or has no width because no error is known
    -          the information is missing, or above its threshold and the second half missing (one step, no steps told)
    """
    whole = information.against(limits.information)
    later = second_half.against(limits.second_half)
    if whole == "unknown":
        return "-"
    if whole == "below" and later in ("below", "unknown"):
        return "collapsed"
    if whole != "above":  # also where only the second half is above: both bound the same information from below
        return "undecided"
    words: dict[Side, Verdict] = {"above": "alive", "below": "partial", "unclear": "undecided", "unknown": "-"}
    return words[later]


def verdict_by_gap(
    nll_own: float, nll_permuted: float, dependency_end: float, limits: Thresholds = THRESHOLDS
) -> Verdict:
    """Version 1, of runs whose latent information was not measured.

    gap = NLL(x | z of another series) - NLL(x | own z), nats per value; it grows with 1 / sigma^2 of the decoder.
    m = m_{T,0}, the global dependency at the last step; alone it proves nothing (a noise detector has m = 1).

        collapsed  gap < gap_collapsed, or gap < gap_alive and m < dependency_collapsed
        alive      gap >= gap_alive and m >= dependency_alive
        partial    the rest, such as a latent that matters early and is forgotten at the end
        -          a number that decides is missing
    """
    gap = nll_permuted - nll_own
    if math.isnan(gap):
        return "-"
    if gap < limits.gap_collapsed:
        return "collapsed"
    if math.isnan(dependency_end):
        return "-"
    if gap < limits.gap_alive and dependency_end < limits.dependency_collapsed:
        return "collapsed"
    if gap >= limits.gap_alive and dependency_end >= limits.dependency_alive:
        return "alive"
    return "partial"


def independent_windows(n: float, window: int, test_stride: int) -> float:
    """How many windows without overlap n test windows are worth: n min(1, s / T).

    A row is in T / s windows (T = `window`, s = `test_stride`): what so many neighbours say counts once.
    """
    return n * (min(1.0, test_stride / window) if window > 0 and test_stride > 0 else 1.0)


def standard_error(sd: float, n: float, window: int, test_stride: int) -> float:
    """Of a mean over n test windows, where none was stored with it (older results): sd / sqrt(independent windows)."""
    return sd / math.sqrt(independent_windows(n, window, test_stride)) if n > 0 else math.nan


def dependency_illusion(
    shuffled: bool,
    local: Sequence[float],
    error: Sequence[float],
    nll_own: float,
    nll_marginal: float,
    limits: Thresholds = THRESHOLDS,
) -> Illusion:
    """Does the decoder lean on a past that says nothing?

    local, error: m_{t,t-1} over series (mean and its error, from groups of windows that share a recording) at
    t = 1..T of one run. With m and e their means over t >= 3 (the steps of a series move together, so their errors are
    not divided by the number of steps), and gain = nll_marginal - nll_own in nats per value:

        yes  shuffled data, m - 1.96 e > 0, m >= illusion_local, gain < illusion_gain
        no   shuffled data, m is not clearly above 0
        -    ordered data, a number is missing, or m is above 0 and the gain is too: the past of a shuffled
             series still tells its level, so that dependency may be earned
    """
    later = [(m, e) for m, e in list(zip(local, error, strict=True))[2:] if not math.isnan(m)]
    gain = nll_marginal - nll_own
    if not shuffled or not later or math.isnan(gain):
        return "-"
    mean = sum(m for m, _ in later) / len(later)
    width = 1.96 * sum(e for _, e in later) / len(later)
    if math.isnan(width):
        return "-"
    if mean < limits.illusion_local or mean - width <= 0:
        return "no"
    return "yes" if gain < limits.illusion_gain else "-"
