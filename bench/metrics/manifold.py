"""Fidelity apart from diversity: precision and recall, density and coverage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.contracts import Measurement, SampleEvaluation
from bench.metrics.base import SampleMetric, flattened, undefined
from bench.registry import register_metric

NEIGHBOURS = 5


@register_metric("manifold")
@dataclass(frozen=True)
class Manifold(SampleMetric):
    """Whether samples lie where the reference lies (fidelity), and the reference where the samples lie (diversity).

        B(x): the ball around a window x of the radius to its 5th nearest neighbour in its own set
        precision = share of samples y inside some B(x)         recall   = share of references x inside some B(y)
        density   = mean over y of #{x : y in B(x)} / 5         coverage = share of x with a sample in B(x)

    Shapes: windows (n, T, C), flattened; Euclidean distance. Unit: share; density has no upper bound.
    Errors: undefined below 6 windows.
    Source: Kynkaanniemi et al. 2019, arXiv:1904.06991; Naeem et al. 2020, arXiv:2002.09797. Ours: on the windows
    themselves, not on an image network's features.
    Blind to: in high dimension precision, density and coverage reward samples near the middle (blur, mean decoding)
    and recall rewards noise: a wider ball reaches more. None sees time warping of windows that hardly move within T
    (`energy`).
    """

    version = 1
    outputs = ("precision", "recall", "density", "coverage")
    unit = "share"
    direction = "higher"
    source = "Kynkaanniemi et al. 2019, arXiv:1904.06991; Naeem et al. 2020, arXiv:2002.09797"
    sees: ClassVar = {
        "precision": (
            "noise",
            "channel_permutation",
        ),
        "recall": (
            "blur",
            "shrinking",
            "mode_dropping",
        ),
        "density": (
            "noise",
            "noise_in_cells",
            "time_shuffling",
            "channel_permutation",
        ),
        "coverage": (
            "noise",
            "noise_in_cells",
            "mode_dropping",
            "channel_permutation",
        ),
    }

    def compare(self, evaluation: SampleEvaluation) -> list[Measurement]:
        """Four values at n."""
        from scipy.spatial.distance import cdist  # a quarter of a second to import

        n = len(evaluation.reference)
        if min(n, len(evaluation.samples)) <= NEIGHBOURS:
            return undefined(self.outputs, f"needs {NEIGHBOURS + 1} windows of either kind", n)
        x, y = flattened(evaluation.reference, evaluation.samples)
        # the nearest window in its own set is the window itself: index 5 is the fifth neighbour
        radius_x, radius_y = (np.partition(cdist(w, w), NEIGHBOURS, axis=1)[:, NEIGHBOURS] for w in (x, y))
        between = cdist(x, y)
        in_x, in_y = between <= radius_x[:, None], between <= radius_y[None]
        values = {
            "precision": in_x.any(axis=0).mean(),
            "recall": in_y.any(axis=1).mean(),
            "density": in_x.sum(axis=0).mean() / NEIGHBOURS,
            "coverage": in_x.any(axis=1).mean(),
        }
        return [Measurement(name, float(value), n=n) for name, value in values.items()]
