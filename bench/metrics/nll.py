"""How well the decoder explains a series from its own latent, and from latents that are not its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from bench.contracts import LatentEvaluation, Likelihood, Measurement, Model
from bench.metrics.base import CHUNK, LatentMetric, groups_of, own_latents, spread, undefined
from bench.registry import register_metric


def shifted(permutation: Tensor) -> Tensor:
    """An arrangement of 0..n-1 without a fixed point: each index gets its successor in `permutation`'s order, (n,)."""
    other = torch.empty_like(permutation)
    other[permutation] = permutation.roll(-1)
    return other


def nll_per_value(model: Model, z: Tensor, series: Tensor) -> Tensor:
    """-ln p(x | z) / (T * C) of series (n, T, C) given latents z (1, n, D), in nats per value, (n,)."""
    parts = []
    for latent, x in zip(z.split(CHUNK, dim=1), series[None].split(CHUNK, dim=1), strict=True):
        parts.append(-model.decoder(latent, x[:, :, :-1]).log_prob(x)[0])
    return torch.cat(parts) / series[0].numel()


Score: TypeAlias = Callable[[Likelihood, Tensor], Tensor]
"""p(x | z, past) of b latents, x (1, b, T, C) -> parts of its logarithm, (parts, b)."""


def crossed_log_probs(model: Model, z: Tensor, series: Tensor, score: Score) -> Tensor:
    """Every series (n, T, C) under every latent z (1, M, D), in nats per series, (parts, n, M) float64."""
    rows = []
    for x in series[None].split(1, dim=1):
        parts = []
        for latent in z.split(CHUNK, dim=1):
            here = x.expand(-1, latent.shape[1], -1, -1)
            parts.append(score(model.decoder(latent, here[:, :, :-1]), here))
        rows.append(torch.cat(parts, dim=-1).double())
    return torch.stack(rows, dim=1)


@register_metric("nll")
@dataclass(frozen=True)
class NLL(LatentMetric):
    """Reconstruction NLL (own latent), and the same under four other sources of what the decoder is told.

        -ln p(x | z, past) / (T * C),   past = x_1 .. x_{T-1}
        own: z ~ q(z | x)   permuted: z of another test series   noise: z ~ N(0, I)   zero: z = 0
        marginal: no decoder, the per-time marginal of the training windows, of the decoder's family

    `nll_own` is a reconstruction and no likelihood of a model: z was made from x itself, what it holds is not charged,
    so that the value may fall below the entropy of the data (see `prior_bound` for the model's likelihood).
    `nll_permuted - nll_own` is above 0 where z carries information about x, but it grows with 1 / sigma^2 (see
    `latent_information`). `noise` and `zero` can be far off because the decoder was never trained there, which says
    nothing about z.
    Shapes: series (n, T, C). Unit: nats per value. sd is over series.
    Errors: `nll_permuted` is undefined for one series.
    Source: Li et al., arXiv:2405.14021; He et al. 2019, arXiv:1901.05534 for the reading of collapse.
    Blind to: what the latent costs, because a reconstruction does not charge for it.
    """

    version = 2  # in 1 the error was too small where windows overlap
    outputs = ("nll_own", "nll_permuted", "nll_noise", "nll_zero", "nll_marginal")
    unit = "nats per value (probability of its cell)"
    direction = "lower"
    source = "Li et al., arXiv:2405.14021"

    @torch.no_grad()
    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """Five values over all test series."""
        model, x = evaluation.model, evaluation.series
        z = own_latents(evaluation)
        noise = evaluation.draws("latent_noise").normal(*z.shape[1:])
        groups = groups_of(evaluation)
        rows = [
            spread("nll_own", nll_per_value(model, z, x), groups=groups),
            spread("nll_noise", nll_per_value(model, noise.to(z), x), groups=groups),
            spread("nll_zero", nll_per_value(model, torch.zeros_like(z), x), groups=groups),
            spread("nll_marginal", -model.marginal_log_prob(x[None])[0] / x[0].numel(), groups=groups),
        ]
        if len(x) < 2:
            return rows + undefined(("nll_permuted",), "needs 2 series", len(x))
        other = shifted(evaluation.draws("permutation").permutation(len(x))[0])
        return [*rows, spread("nll_permuted", nll_per_value(model, z[:, other], x), groups=groups)]
