"""The pictures of the samples that runs have kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from bench.report.cards import restricted_datasets
from bench.report.figures.captions import shown
from bench.report.figures.picture import Picture
from bench.report.figures.samples import Channel, samples
from bench.report.figures.style import Styles
from bench.report.ranking import Group
from bench.report.selection import Selection


def sample_pictures(selection: Selection, groups: Sequence[Group]) -> list[Picture]:
    """Pictures of the kept samples; of restricted data sets none, even where they were kept."""
    styles = Styles([cell.label for group in groups for cell in group.cells])
    pictures = []
    for group in groups:
        if group.dataset.partition(",")[0] in restricted_datasets():
            continue
        seeds = sorted({seed for cell in group.cells for seed in cell.seeds.values()})
        for seed in seeds[:1]:
            windows: dict[str, np.ndarray] = {}
            last: Kept | None = None
            for cell in shown(group):
                run = next((run for run, its in cell.seeds.items() if its == seed), "")
                kept = _read_samples(selection.folder / "models" / run / "samples.safetensors")
                if kept is None:
                    continue
                windows[cell.label], last = kept.samples, kept
            if last is not None and len(last.real) > 1:
                pictures += samples(group, windows, last.real, last.channels, styles, seed, last.which)
    return pictures


class Kept(NamedTuple):
    """A run's samples and some real windows (n, T, C), train-scaled."""

    samples: np.ndarray
    real: np.ndarray
    channels: list[Channel]
    which: str  # of the test windows the real ones are


def _read_samples(path: Path) -> Kept | None:
    try:
        with safe_open(path, framework="np") as file:
            words = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        samples, real = arrays["samples"], arrays["real"]
        if samples.ndim != 3 or samples.shape[1:] != real.shape[1:] or not samples.size:
            return None
        n = real.shape[2]
        names = json.loads(words.get("channels", "[]")) or [f"channel {c + 1}" for c in range(n)]
        units = json.loads(words.get("units", "[]")) or [""] * n
        mean, scale = (arrays.get(name, np.full(n, value)) for name, value in (("mean", 0.0), ("scale", 1.0)))
        channels = [Channel(*facts) for facts in zip(names, units, mean.tolist(), scale.tolist(), strict=True)]
        return Kept(samples, real, channels, words.get("real", "the first of the test set"))
    except (OSError, SafetensorError, ValueError, LookupError):
        return None
