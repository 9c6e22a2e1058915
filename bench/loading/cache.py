"""Where what was worked out once lies on this machine: extracts of data files, cards, what a metric has fitted."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path | None:
    """The user's cache folder; None for a user without a home, as in some containers."""
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return Path(cache) / "latent-diffusion-bench"
