"""How finely each channel was measured: the cell of a value, the observed bounds, and values that are common.

A recorded number stands for an interval, its cell: 21.4 degrees of a thermometer that shows tenths is [21.35, 21.45].
A likelihood that knows cells gives probabilities of them and cannot grow without bound on a channel that repeats its
values; a measure that rounds to cells does not reward or punish digits that were never measured.

Cells are stated in raw units, before a logarithm or any other transform of a data set, and carried through it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.contracts import CONTINUOUS, Cells, InputError, Resolution
from bench.loading.exact_logarithms import log1p
from bench.randomness import numpy_generator

ON_GRID = 1e-6  # of a standard deviation: how near to a grid's point a value must be
SHARE_ON_GRID = 0.99  # of the values that a grid must hold
FINEST = 1e-5  # of a standard deviation: a finer grid could not be distinguished from chance
ATOM = 0.01  # a value with a larger share of the training rows is an atom
TRIES, VALUES_PER_TRY = 40, 24  # of the search for a grid


def to_raw(values: np.ndarray, transform: str) -> np.ndarray:
    """Raw units from recorded ones: the inverse of `from_raw`."""
    if transform == "identity":
        return values
    return np.sign(values) * np.expm1(np.abs(values)) if transform == "signed_log1p" else np.expm1(values)


def from_raw(values: np.ndarray, transform: str) -> np.ndarray:
    """Recorded units from raw ones: x, ln(1 + x), or sign(x) ln(1 + |x|)."""
    if transform == "identity":
        return values
    if transform == "signed_log1p":
        return np.sign(values) * log1p(np.abs(values))
    return log1p(np.maximum(values, -1.0))


def find_grid(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """The coarsest grid that holds 99 % of the values: its width and one of its points; width 0 where there is none.

    A grid's width divides every difference of values on it. So it is the greatest common divisor of differences of a
    few values, found by Euclid's algorithm, for a draw of values that are all on the grid; several draws are tried.

    >>> import numpy as np
    >>> width, point = find_grid(np.round(np.linspace(20, 22, 500), 1), np.random.default_rng(0))
    >>> round(width, 9), round(point % width, 9) in (0.0, 0.1)
    (0.1, True)
    """
    values = np.asarray(values, dtype=np.float64)
    values = values[~np.isnan(values)]
    different, counts = np.unique(values, return_counts=True)
    sd = values.std() if len(values) else 0.0
    if len(different) < 2 or sd == 0:
        return 0.0, float(different[0]) if len(different) else 0.0
    if len(different) > len(values) / 2 and np.ptp(different) / len(different) < FINEST * sd:
        return 0.0, float(different[0])
    tolerance = ON_GRID * sd
    point = float(different[counts.argmax()])
    best = 0.0
    for _ in range(TRIES):
        chosen = rng.choice(values, VALUES_PER_TRY)  # of rows, not of different values: strays are rare only there
        width = _common_divisor(np.abs(chosen - point), tolerance)
        if width < max(best, FINEST * sd):
            continue
        steps = np.round((different - point) / width)
        roughly = (np.abs(different - point - steps * width) < 0.01 * width) & (steps != 0)
        if not roughly.any():
            continue
        k = steps[roughly]
        width = float(np.sum(k * (different[roughly] - point)) / np.sum(k * k))  # least squares over many values
        near = np.abs(different - point - steps * width) <= tolerance
        if counts[near].sum() >= SHARE_ON_GRID * len(values):
            best = width
    return best, point


def _common_divisor(differences: np.ndarray, tolerance: float) -> float:
    """Of numbers that are whole multiples of one width up to the tolerance."""
    width = 0.0
    for difference in differences:
        larger, smaller = max(width, difference), min(width, difference)
        while smaller > 2 * tolerance:
            larger, smaller = smaller, abs(larger - round(larger / smaller) * smaller)
        width = larger
    return width


@dataclass(frozen=True)
class MeasuredCells:
    """The cells of train-scaled values, with the observed bounds and the atoms; a column per channel.

        raw = to_raw(x * scale + mean),   cell of x = [scaled(raw - width / 2), scaled(raw + width / 2)]

    Shapes: every array (C,). Units: `width`, `point`, `low`, `high` and the values of `atoms` are raw.
    """

    transforms: tuple[str, ...]
    width: np.ndarray  # of a cell; of a channel without a grid 1e-3 standard deviations of the recorded values
    point: np.ndarray  # one point of the grid; NaN for a channel without a grid
    low: np.ndarray  # the least and the largest value of the training rows
    high: np.ndarray
    atoms: tuple[tuple[tuple[float, float], ...], ...]  # per channel (value, share), the most common first
    mean: np.ndarray
    scale: np.ndarray

    @property
    def on_grid(self) -> np.ndarray:
        """Whether each channel has a grid, (C,)."""
        return ~np.isnan(self.point)

    def interval(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The cell (l, u) of each value of x (..., C), train-scaled like x; nowhere narrower than 1e-3."""
        raw = self._raw(x)
        low, high = self._scaled(raw - self.width / 2), self._scaled(raw + self.width / 2)
        return np.minimum(low, x - CONTINUOUS / 2), np.maximum(high, x + CONTINUOUS / 2)

    def rounded(self, x: np.ndarray) -> np.ndarray:
        """x (..., C) with every value at the centre of its cell; channels without a grid get one of their cell's width.

        Rounding of a rounded value changes nothing, and noise strictly inside half a cell vanishes.
        """
        found = np.empty_like(x)
        points = np.where(self.on_grid, self.point, 0.0)
        # one channel after another: all at once take ten times the memory of the windows
        for c, (kind, width, point) in enumerate(zip(self.transforms, self.width, points, strict=True)):
            raw = to_raw(x[..., c].astype(np.float64) * self.scale[c] + self.mean[c], kind)
            placed = np.round((raw - point) / width) * width + point
            if kind == "log1p":
                placed = np.maximum(placed, point + np.floor((-1 - point) / width + 1) * width)  # above its end at -1
            found[..., c] = (from_raw(placed, kind) - self.mean[c]) / self.scale[c]
        return found

    def clipped(self, x: np.ndarray) -> np.ndarray:
        """x (..., C) with values beyond the observed bounds put on them."""
        return np.clip(x, self._scaled(self.low), self._scaled(self.high)).astype(x.dtype)

    @property
    def identity(self) -> tuple[str, ...]:
        """What is hashed of each channel's cells, in six digits: processors round an estimated width differently."""
        grids = zip(self.transforms, self.width, self.point, strict=True)
        return tuple("continuous" if np.isnan(p) else f"{kind} {w:.6g} {p:.6g}" for kind, w, p in grids)

    def to_facts(self) -> dict[str, Any]:
        """Plain values that JSON can hold; `from_facts` reads them back."""
        arrays = {name: getattr(self, name).tolist() for name in ("low", "high", "width")}
        point = [None if np.isnan(value) else float(value) for value in self.point]
        return {"transforms": self.transforms, "atoms": self.atoms, "point": point, **arrays}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], mean: np.ndarray, scale: np.ndarray) -> MeasuredCells:
        """What `to_facts` gave, with the scaling of the same windows."""
        width, low, high = (np.array(facts[name], dtype=np.float64) for name in ("width", "low", "high"))
        point = np.array([np.nan if value is None else value for value in facts["point"]])
        atoms = tuple(tuple((value, share) for value, share in channel) for channel in facts["atoms"])
        return cls(tuple(facts["transforms"]), width, point, low, high, atoms, mean, scale)

    def _raw(self, x: np.ndarray) -> np.ndarray:
        recorded = np.asarray(x, dtype=np.float64) * self.scale + self.mean
        return np.stack([to_raw(recorded[..., c], kind) for c, kind in enumerate(self.transforms)], axis=-1)

    def _scaled(self, raw: np.ndarray) -> np.ndarray:
        recorded = np.stack([from_raw(raw[..., c], kind) for c, kind in enumerate(self.transforms)], axis=-1)
        return (recorded - self.mean) / self.scale


def as_recorded(x: np.ndarray, cells: Cells | None) -> np.ndarray:
    """Generated windows x (n, T, C) as if they had been recorded: on the grid and inside the observed bounds.

    A channel without a grid stays as it is, and so does what is no number.
    """
    if cells is None or not cells.on_grid.any():
        return x
    placed = cells.clipped(cells.rounded(cells.clipped(np.nan_to_num(x))))
    return np.where(cells.on_grid & np.isfinite(x), placed, x).astype(x.dtype)


def resolutions_of(rows: np.ndarray, declared: Sequence[Resolution], owner: str) -> list[Resolution]:
    """A resolution per channel of rows (n, C), NaN where missing: as declared, or else estimated.

    Raises InputError where the data set declares more or fewer resolutions than channels.
    """
    channels = rows.shape[1]
    if declared and len(declared) != channels:
        raise InputError(f"{owner}: declares {len(declared)} resolutions, expected one for each of {channels} channels")
    rng = numpy_generator("cells", 0, "search for a grid")
    return list(declared) or [Resolution(*find_grid(rows[:, c], rng)) for c in range(channels)]


def measure_cells(
    rows: np.ndarray, resolutions: Sequence[Resolution], mean: np.ndarray, scale: np.ndarray
) -> MeasuredCells:
    """The cells of training rows (n, C) without missing values, in recorded units.

    A channel without a grid gets a cell of 1e-3 standard deviations, without any transform.
    """
    channels = rows.shape[1]
    width, point, low, high = np.empty((4, channels))
    atoms: list[tuple[tuple[float, float], ...]] = []
    transforms = []
    for c, stated in enumerate(resolutions):
        grid = stated.width > 0
        transforms.append(stated.transform if grid else "identity")
        width[c], point[c] = (stated.width, stated.point) if grid else (CONTINUOUS * scale[c], np.nan)
        raw = to_raw(rows[:, c], transforms[c])
        low[c], high[c] = raw.min(), raw.max()
        start = stated.point if grid else 0.0
        cells, counts = np.unique(np.round((raw - start) / width[c]), return_counts=True)
        common = [k for k in np.argsort(-counts, kind="stable") if counts[k] > ATOM * len(raw)]
        atoms.append(tuple((float(cells[k] * width[c] + start), float(counts[k] / len(raw))) for k in common))
    return MeasuredCells(tuple(transforms), width, point, low, high, tuple(atoms), mean, scale)
