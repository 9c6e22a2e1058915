"""Some of many windows that stand in time's order, from everywhere."""

from __future__ import annotations

import numpy as np


def evenly_spaced(n: int, most: int) -> np.ndarray:
    """At most `most` different places among n, evenly spaced and in order, the first and the last among them.

    Places between two whole numbers are cut off. `bench.metrics.base.from_everywhere` rounds them instead: it chooses
    other windows, on which published numbers depend.

    >>> evenly_spaced(10, 4).tolist(), evenly_spaced(3, 4).tolist()
    ([0, 3, 6, 9], [0, 1, 2])
    """
    return np.linspace(0, n - 1, min(n, most)).astype(int)
