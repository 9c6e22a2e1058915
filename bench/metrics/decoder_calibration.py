"""Are the decoder's probabilities right? Where values fall in the distributions that were stated for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.contracts import LatentEvaluation, Measurement
from bench.metrics.base import CHUNK, LatentMetric, from_everywhere, own_latents, spread, undefined
from bench.parts.likelihoods import Cumulative, Standardised
from bench.registry import register_metric

SERIES = 512


def distance_from_uniform(u: Tensor) -> Tensor:
    """Kolmogorov's distance of values (n, K) from the uniform distribution on [0, 1], (K,).

    >>> distance_from_uniform(torch.tensor([[0.25], [0.75]])).tolist()
    [0.25]
    """
    n, ordered = len(u), u.double().sort(dim=0).values
    rank = torch.arange(1, n + 1, dtype=torch.float64, device=u.device)[:, None]
    return torch.maximum((rank / n - ordered).amax(dim=0), (ordered - (rank - 1) / n).amax(dim=0))


@register_metric("decoder_calibration")
@dataclass(frozen=True)
class DecoderCalibration(LatentMetric):
    """The probability integral transform of each value, given z, the past and the channels before.

        u_tc = P(X_tc < x_tc) + v P(X_tc = x_tc),   v ~ U(0, 1),   z ~ q(z | x)
        calibration_distance = mean over c of sup_a | share of u_.c <= a - a |
        residual_ratio = sqrt( mean ((x_tc - mean_tc) / sigma_tc)^2 ),   Gaussian families only

    Were the decoder right, u would be uniform whatever the family is, and the ratio 1: below 1 the stated deviations
    are too large, above it too small. Good: a distance of at most .1, a ratio of .8 to 1.25. `.._by_channel` has each
    channel; the distance's sd is over channels. For correlated channels the residual is whitened, under `quantile` it
    is that of g(x).
    Shapes: 512 held-out windows of the training recordings evenly spaced (validation windows where there are none), one
    own latent each; n says how many; coordinate channel. Unit: 1. A perfect decoder has about .9 / sqrt(values per
    channel), not 0.
    Errors: undefined for a likelihood without a distribution function; the ratio also where it is no Gaussian.
    Source: Dawid 1984, J. R. Stat. Soc. A 147, 278; Brockwell 2007, Stat. Probab. Lett. 77, 1473 (randomised form).
    Blind to: calibration that depends on t or on the series, and how sharp the distributions are.
    """

    version = 1
    outputs = (
        "calibration_distance",
        "calibration_distance_by_channel",
        "residual_ratio",
        "residual_ratio_by_channel",
    )
    unit = "1"
    direction = "none"
    source = "Dawid 1984; Brockwell 2007 (randomised PIT)"

    @torch.no_grad()
    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """Two values, and two per channel."""
        series = next(w for w in (evaluation.held_out, evaluation.validation, evaluation.series) if w is not None)
        chosen = series[from_everywhere(len(series), SERIES)]
        n, draws, z = len(chosen), evaluation.draws("calibration"), own_latents(evaluation, chosen)
        transformed, squares = [], []
        for latent, x in zip(z.split(CHUNK, dim=1), chosen[None].split(CHUNK, dim=1), strict=True):
            p = evaluation.model.decoder(latent, x[:, :, :-1])
            if not isinstance(p, Cumulative):
                return undefined(self.outputs, "the likelihood has no distribution function", n)
            below, upto = p.cdf(x)
            transformed.append(below + draws.uniform(*x.shape[1:]) * (upto - below))
            if isinstance(p, Standardised):
                squares.append(p.standardised(x).double().square())
        distance = distance_from_uniform(torch.cat(transformed, dim=1).flatten(0, 2))
        rows = [spread(self.outputs[0], distance, n), *_by_channel(self.outputs[1], distance, n)]
        if not squares:
            return rows + undefined(self.outputs[2:], "the likelihood is no Gaussian", n)
        ratio = torch.cat(squares, dim=1).mean(dim=(0, 1, 2))
        whole = spread(self.outputs[2], ratio.mean().sqrt()[None], n)
        return [*rows, whole, *_by_channel(self.outputs[3], ratio.sqrt(), n)]


def _by_channel(name: str, values: Tensor, n: int) -> list[Measurement]:
    return [spread(name, np.array([value]), n, "channel", c + 1) for c, value in enumerate(values.tolist())]
