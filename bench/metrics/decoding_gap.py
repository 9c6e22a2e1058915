"""Where the distance of samples comes from: the decoder, or the latents that it is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.contracts import LatentEvaluation, Measurement
from bench.metrics.base import LatentMetric, from_everywhere, own_latents, spread, training_series, undefined
from bench.metrics.sliced import PROJECTIONS, sliced_distance
from bench.registry import register_metric


@register_metric("decoding_gap")
@dataclass(frozen=True)
class DecodingGap(LatentMetric):
    """Sliced Wasserstein distance to real windows of series decoded from true posteriors, and from diffused latents.

        sliced_from_posteriors   x ~ p(x | z), z ~ q(z | x') of training windows x', noised as the method generates
        sliced_from_diffusion    x ~ p(x | z), z from the reverse diffusion, as the method samples

    The first is what a perfect diffusion model would leave to be gained: the decoder's own distance. The second minus
    the first is the diffusion's share. Both are taken along the same directions at the same n; for the equation see
    `sliced_wasserstein`, whose directions and draws are others.
    Shapes: held-out windows of the training recordings, or test windows where there are none, (n, T, C).
    Unit: standard deviations of the training data.
    Errors: undefined without a latent, and where fewer training series than real windows are at hand.
    Source: ours.
    Blind to: what sliced Wasserstein does not see, such as the order of time where windows hardly move.
    """

    version = 3  # 2: beside held-out windows; 3: a method that stops its diffusion early decodes noised posteriors
    outputs = ("sliced_from_posteriors", "sliced_from_diffusion")
    unit = "train standard deviations"
    direction = "lower"
    source = "ours"

    @torch.no_grad()
    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """Two values at n."""
        model, method, series = evaluation.model, evaluation.method, evaluation.series
        if evaluation.held_out is not None:
            series = evaluation.held_out[from_everywhere(len(evaluation.held_out), len(series))]
        n, train = len(series), training_series(evaluation)
        if train is None or len(train) < n:
            return undefined(self.outputs, "fewer training series than real windows", n)
        directions = evaluation.draws("directions of the decoding gap").normal(series[0].numel(), PROJECTIONS)

        def distance(name: str, z: Tensor) -> Measurement:
            x = model.decoder.generate(z, evaluation.draws("decoding"))
            arrays = (values.cpu().numpy() for values in (series, x[0], directions[0].double()))
            return spread(name, np.array([sliced_distance(*arrays)]), n)  # or why it is no number

        posterior = own_latents(evaluation, train)
        chosen = evaluation.draws("training series to decode").permutation(len(train))[0, :n]
        given = method.as_generated(model, posterior[:, chosen], evaluation.draws("noise of decoded posteriors"))
        diffused = method.latents(model, n, evaluation.draws("diffused latents"))
        return [distance(self.outputs[0], given), distance(self.outputs[1], diffused)]
