"""What a noised latent still tells the decoder, step by step of the diffusion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.contracts import LatentEvaluation, Measurement, Model
from bench.metrics.base import LatentMetric, from_everywhere, groups_of, own_latents, spread, undefined
from bench.metrics.nll import nll_per_value, shifted
from bench.metrics.probe import explained
from bench.parts.diffusion import from_denoiser, to_denoiser
from bench.registry import register_metric

MAX_SERIES = 500
PLACES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)  # of L


def along_diffusion(model: Model, z: Tensor, noise: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Ten steps i from 0 to L, and z^i (1, n, D) there: latents z (1, n, D) with one `noise` (n, D) at every step.

    Noise is added in the space of the denoiser, where latents are standardised, and z^i is mapped back for the decoder.
    """
    last = len(model.alpha_bar) - 1
    for i in dict.fromkeys(round(place * last) for place in PLACES):
        kept = model.alpha_bar[i]
        yield i, from_denoiser(model, kept.sqrt() * to_denoiser(model, z) + (1 - kept).sqrt() * noise)


@register_metric("diffusion_information")
@dataclass(frozen=True)
class DiffusionInformation(LatentMetric):
    """The likelihood that z^i adds over another series' z^i, and what a linear probe reads from it, against i.

        z^i = sqrt(alpha_bar_i) z + sqrt(1 - alpha_bar_i) e,   z ~ q(z | x),   e ~ N(0, I), the same e at every i
        diffusion_information = (ln p(x | z^i) - ln p(x | z^i of another series)) / (T * C)
        diffusion_nll_own = -ln p(x | z^i) / (T * C) (a reconstruction NLL)
        diffusion_probe: R^2 of the channels' means, see `probe`

    Where the curve stays flat over the first steps, those steps may stand in for variational inference: their noise
    costs the decoder nothing. The probe is fitted at each i on half of the series' groups and judged on the other half,
    both ways round.
    Shapes: 500 test series, evenly spaced; coordinate diffusion_step, ten values of i from 0 to L. Unit: nats per
    value; share. sd is over series (over channels for the probe).
    Errors: undefined below 4 series.
    Source: Li et al., arXiv:2405.14021, the question; Burgess et al. 2018, arXiv:1804.03599, rate against noise.
    Blind to: how much of what is left the decoder uses after the first steps; it sums over all of them.
    """

    version = 2  # 1: the first 500 series, a probe from the earlier half to the later, noise beside raw latents
    outputs = ("diffusion_information", "diffusion_nll_own", "diffusion_probe")
    unit = "nats per value (probability of its cell)"
    direction = "none"
    source = "Li et al., arXiv:2405.14021; ours"

    @torch.no_grad()
    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """Three values at each of ten steps."""
        model, chosen = evaluation.model, from_everywhere(len(evaluation.series), MAX_SERIES)
        x, groups = evaluation.series[chosen], groups_of(evaluation)[chosen]
        n = len(x)
        if n < 4:
            return undefined(self.outputs, "needs 4 series", n)
        z = own_latents(evaluation)[:, chosen]
        noise = evaluation.draws("diffusion noise").normal(*z.shape[1:])
        other = shifted(evaluation.draws("permutation").permutation(n)[0])
        level = x.mean(dim=1)
        varies = level.std(dim=0, correction=0) > 0
        rows = []
        for i, noised in along_diffusion(model, z, noise):
            own, permuted = (nll_per_value(model, latent, x) for latent in (noised, noised[:, other]))
            for name, values in zip(self.outputs, (permuted - own, own), strict=False):
                rows.append(spread(name, values, n, "diffusion_step", i, groups))
            share = explained(noised[0, :0], level[:0], noised[0], level, groups)[varies]
            rows.append(spread("diffusion_probe", share, n, "diffusion_step", i))
        return rows
