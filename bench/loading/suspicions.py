"""Values that are numbers and yet may be none: codes for a missing value, and cells with a slipped decimal mark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

FEWEST_CODES = 3  # a value that repeats less often may be a measurement
GAP_OF_A_CODE = 0.25  # between a code and all other values, in ranges of these
GAP_OF_ANY = 100.0  # the same for a value that is no usual code
OUTLYING = 1e-3  # the share of a channel's values that may be absurd
MOVES_THE_SCALE = 1000.0
_LIMITS = (32767, 32768, 65535, 2147483647, 2147483648, 4294967295)  # of whole numbers in files


def suspicious_values(values: np.ndarray, channels: Sequence[str], path: Path) -> list[str]:
    """One line for each channel of values (rows, C) that holds a likely code for "missing", or an absurd value."""
    found = []
    for number, channel in enumerate(channels):
        column = values[:, number]
        seen = column[np.isfinite(column)]
        for code, count in _codes(seen):
            found.append(
                f"{path}: column '{channel}' holds {code:g} in {count} rows, far from all other values: if it stands "
                f"for a missing value, choose `missing_values: {code:g}`"
            )
            seen = seen[seen != code]
        if (value := _absurd(seen)) is not None:
            row = int(np.flatnonzero(column == value)[0])
            found.append(
                f"{path}: row {row + 1}, column '{channel}' is {value:g}, which makes the scale of the channel more "
                f"than {MOVES_THE_SCALE:g} times what it is without such values: is it an error of measurement?"
            )
    return found


def _codes(seen: np.ndarray) -> list[tuple[float, int]]:
    """The least and the largest value with their counts, where they are likely codes."""
    if len(seen) < 2 * FEWEST_CODES or (low := seen.min()) == (high := seen.max()):
        return []
    others = seen[(seen != low) & (seen != high)]
    if not len(others):
        return []
    codes = []
    for value, next_one, other_end in ((low, others.min(), high), (high, others.max(), low)):
        count = int((seen == value).sum())
        both = np.append(others, other_end) if (seen == other_end).sum() < FEWEST_CODES else others
        gap, span = abs(float(next_one) - float(value)), float(np.ptp(both))
        wanted = GAP_OF_A_CODE if _is_usual(float(value)) else GAP_OF_ANY
        if value != 0 and FEWEST_CODES <= count < 0.9 * len(seen) and span > 0 and gap > wanted * span:
            codes.append((float(value), count))
    return codes


def _is_usual(value: float) -> bool:
    if value != round(value) or abs(value) < 1 or abs(value) > 1e15:
        return value in (1e20, -1e20, 1e36)
    digits = str(abs(int(value)))
    alike = len(set(digits)) == 1 and len(digits) > (1 if digits[0] == "9" else 2)
    return value == -1 or alike or (value < 0 and value % 100 == 0) or abs(value) in _LIMITS


def _absurd(seen: np.ndarray) -> float | None:
    """The most distant value, where the spread without the most distant ones is a thousandth of what it is."""
    count = max(1, int(OUTLYING * len(seen)))
    if len(seen) <= 10 * count:
        return None
    distance = np.abs(seen - np.median(seen))
    order = np.argpartition(distance, len(seen) - count)
    rest, far = seen[order[:-count]], seen[order[-count:]]
    with np.errstate(over="ignore", invalid="ignore"):
        without, whole = float(rest.std()), float(seen.std())
    if without == 0 or not whole > MOVES_THE_SCALE * without:
        return None
    return float(far[np.abs(far - np.median(seen)).argmax()])
