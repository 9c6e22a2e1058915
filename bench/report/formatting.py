"""How numbers, settings and counts are printed."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pandas as pd

from bench.report.statistics import Interval


def number(value: float, half: float = math.nan) -> str:
    """A number as precise as it deserves: two digits of its interval, else three of its own."""
    if not math.isfinite(value):
        return "-"
    if abs(value) >= 1e6 or 0 < abs(value) < 1e-4:
        return f"{value:.2e}"
    scale = half if math.isfinite(half) and half > 1e-9 * abs(value) else abs(value) / 10
    decimals = 0 if scale == 0 else min(max(1 - math.floor(math.log10(scale)), 0), 5)
    return f"{value:.{decimals}f}"


def with_interval(found: Interval) -> str:
    """ "0.172 ± 0.015", or the mean alone."""
    if not math.isfinite(found.low):
        return number(found.mean)
    half = found.half if found.half > 1e-9 * abs(found.mean) else 0.0
    return f"{number(found.mean, half)} ± {number(half, half)}"


def signed(found: Interval) -> str:
    """A difference, with its sign in any case: "+0.172 ± 0.015"; "" where there is none."""
    return ("+" if found.mean >= 0 else "") + with_interval(found) if found.n else ""


def probability(p: float) -> str:
    """A p-value: "0.032", "< 0.001"."""
    return "-" if not math.isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def plain(value: Any) -> str:
    """A setting as a reader writes it: 900, not 900.0."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:g}"
    return "none" if value is None or value is pd.NA or value != value else str(value)


def plural(count: int, noun: str) -> str:
    """ "1 seed", "3 seeds"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def counted(words: Counter[str]) -> str:
    """ "alive 2, partial 1", the most frequent first; one word alone when all agree."""
    known = Counter({word: count for word, count in words.items() if word != "-"})
    if not known:
        return "-"
    total = sum(words.values())
    if len(known) == 1 and sum(known.values()) == total:
        return f"{next(iter(known))} {total}/{total}"
    return ", ".join(f"{word} {count}/{total}" for word, count in sorted(known.items(), key=lambda kv: (-kv[1], kv[0])))
