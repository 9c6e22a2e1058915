"""Is what the latent holds a property of the whole series, or the noise of its parts?"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.contracts import LatentEvaluation, Measurement
from bench.metrics.base import LatentMetric, groups_of, own_latents, spread, training_series, undefined
from bench.metrics.nll import nll_per_value, shifted
from bench.metrics.probe import reading_of_test
from bench.registry import register_metric

SHARE = 3  # the first and the last third are compared; the middle third keeps them apart


@register_metric("split_half")
@dataclass(frozen=True)
class SplitHalf(LatentMetric):
    """The share of z on which two distant parts of a series agree, and what that share tells the decoder.

        x_A, x_B: the first and the last third of the series;   z^_A, z^_B: z as a linear model reads it from each
        split_half_reliability = sum_j Cov(z^_A,j, z^_B,j) / sum_j Var(z_j)
        split_half_gap = (ln p(x_A | z^_B, past) - ln p(x_A | z^_B of another series, past)) / values in x_A

    A method that does not price z (no KL) writes the noise of a series into it and is "alive" even where there is no
    global latent: the decoder uses what z holds. Noise of one part says nothing about a distant part, a global latent
    is what distant parts have in common (as two halves of a questionnaire share the trait and not the error). Where
    x_A and x_B are independent both numbers are 0 in expectation, whatever the encoder and the decoder do. 1: every
    third alone tells all of z.
    The linear models are fitted as in `probe`, on series and their own latents. sd is over test series. Measured
    (reliability, gap) for `proposed`, z at every step, 1,000 steps: ar1 .03 and .01 beside a permuted gap of 1.8,
    dialled_latent at 0 .02 and .00 beside 1.8; with hidden 32, latent 8, no penalty, 400 steps: ar1 .05 and .01,
    dialled_latent at .5 .41 and .11, linear_gaussian .73 and .52, regimes .85 and .76.
    Shapes: series (n, T, C), one own latent z ~ q(z | x) each. Unit: share; nats per value.
    Errors: undefined below T = 3, below 2 series, without training series and where z does not vary.
    Source: ours, after the split-half reliability of Spearman 1910 and Brown 1910 (Brit. J. Psychol. 3:271, 3:296).
    Blind to: a latent that a third does not tell linearly or that shows in one part only; a memory longer than T / 3
    counts as global (that of ar1, .8 per step, leaves .02 to .05 at T = 24). The gap also needs a decoder that bears
    z^_B, which lies between latents; only a gap above 0 says something. Neither says that the decoder needs z where
    its own past tells the same, nor how good the samples are.
    """

    version = 2  # 1 was fitted on training series only
    outputs = ("split_half_reliability", "split_half_gap")
    unit = "share"
    direction = "higher"
    source = "ours; Spearman 1910, Brown 1910 (split-half reliability)"

    @torch.no_grad()
    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """Two values."""
        train, test = training_series(evaluation), evaluation.series
        n, part = len(test), test.shape[1] // SHARE
        if train is None:
            return undefined(self.outputs, "no training series at hand")
        if part < 1 or n < 2:
            return undefined(self.outputs, f"needs {SHARE} time steps and 2 series", n)
        z, other_z = own_latents(evaluation, train)[0], own_latents(evaluation)[0]
        groups = groups_of(evaluation)
        (_, first), (mean, last) = (
            reading_of_test(train[:, where].flatten(1), z, test[:, where].flatten(1), other_z, groups)
            for where in (slice(None, part), slice(-part, None))
        )
        variance = other_z.double().var(dim=0).sum()
        if not variance > 1e-12:
            return undefined(self.outputs, "z does not vary", n)
        agreed = ((first - first.mean(dim=0)) * (last - last.mean(dim=0))).sum(dim=1) * n / (n - 1)
        told = (mean + last).to(z)[None]
        other = shifted(evaluation.draws("permutation").permutation(n)[0])
        own, foreign = (nll_per_value(evaluation.model, latent, test[:, :part]) for latent in (told, told[:, other]))
        return [
            spread("split_half_reliability", agreed / variance, groups=groups),
            spread("split_half_gap", foreign - own, groups=groups),
        ]
