"""The report: reads the store, says what the numbers allow, and never trains."""

from typing import Literal, TypeAlias

Bars: TypeAlias = Literal["seeds", "series", "windows"]
"""What the error bars of the dependency plots are of."""
