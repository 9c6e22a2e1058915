"""Logarithms whose last bit is the same on every processor.

numpy chooses its loops by the processor's instructions, and some round differently: `np.log1p` with and without
AVX-512. The hash of the windows is part of a run's identity, so such a data set would have other runs elsewhere.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

_log1p = np.frompyfunc(math.log1p, 1, 1)
_log = np.frompyfunc(math.log, 1, 1)


def log1p(x: ArrayLike) -> np.ndarray:
    """ln(1 + x) of each number by the C library, float64 of the same shape; NaN stays NaN.

    Raises ValueError for a number of -1 or less.

    >>> log1p([0.0, 1.0]).round(3).tolist()
    [0.0, 0.693]
    """
    return np.asarray(_log1p(np.asarray(x, dtype=np.float64)), dtype=np.float64)


def log(x: ArrayLike) -> np.ndarray:
    """ln x of each number by the C library, float64 of the same shape; NaN stays NaN.

    Raises ValueError for a number of 0 or less.

    >>> log([1.0, 2.0]).round(3).tolist()
    [0.0, 0.693]
    """
    return np.asarray(_log(np.asarray(x, dtype=np.float64)), dtype=np.float64)
