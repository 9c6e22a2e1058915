"""Generated beside real windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from bench.report.figures.captions import shorten
from bench.report.figures.layout import add_legend
from bench.report.figures.picture import Picture, slug
from bench.report.figures.style import INK, REAL, Styles
from bench.report.ranking import Group

MOST_CHANNELS = 3
MOST_SOURCES = 5
MOST_POINTS = 300


class Channel(NamedTuple):
    """One channel of a data set, and the way from its train-scaled values to its unit."""

    name: str
    unit: str = ""
    mean: float = 0.0
    scale: float = 1.0

    def of(self, x: np.ndarray) -> np.ndarray:
        """Train-scaled values in this channel's unit."""
        return x * self.scale + self.mean

    def title(self, width: int) -> str:
        """The name, cut to a width, and the whole unit."""
        return shorten(self.name, width) + (f" ({self.unit})" if self.unit else "")


class Windows(NamedTuple):
    """The windows (n, T, C) of one source, train-scaled."""

    name: str
    style: dict[str, Any]
    x: np.ndarray


def samples(
    group: Group,
    windows: Mapping[str, np.ndarray],
    real: np.ndarray,
    channels: Sequence[Channel],
    styles: Styles,
    seed: int,
    which: str,
) -> list[Picture]:
    """Generated beside real windows: some series, principal components, marginals, autocorrelation.

    windows: label -> (n, T, C), real (n, T, C), all train-scaled; the C channels; `which` real windows they are.
    """
    chosen = list(channels)[:MOST_CHANNELS]
    few = [Windows(shorten(label, 22), styles[label], x) for label, x in list(windows.items())[:MOST_SOURCES]]
    more = f" The first {MOST_SOURCES} of {len(windows)} methods are shown." if len(windows) > MOST_SOURCES else ""
    flat, C = real.reshape(len(real), -1), real.shape[2]
    centre = flat.mean(axis=0)
    _, size, axes_of = np.linalg.svd(flat - centre, full_matrices=False)
    shares = (size**2 / max(float((size**2).sum()), 1e-12))[:2].tolist()
    points = [(w.name, w.style, _on_axes(w.x, centre, axes_of)) for w in few]
    spread = _spread(real, 6)  # of the windows kept: neighbours overlap
    lines = [w._replace(x=_spread(w.x, 6)[..., : len(chosen)]) for w in few]
    limits = [_limits(c, channel, real, few) for c, channel in enumerate(chosen)]

    def picture(make: partial[None], size: tuple[float, float], kind: str, title: str, caption: str) -> Picture:
        alt = f"{title} of {', '.join(w.name for w in few)} beside real ones on {group.name}."
        where = group.dataset, group.backbone
        name, heading = slug(f"{kind} {group.name}"), f"{title}: {group.name}"
        return Picture(name, "samples", heading, f"{caption} Seed {seed}.{more}", alt, size, make, *where)

    of_real = f"n = {len(real)} real windows ({which})"
    densities = [_density(channel, c, real, few) for c, channel in enumerate(chosen)]
    lags = min(real.shape[1], 25)
    correlation = [autocorrelation(x, lags) for x in (real, *(w.x for w in few))]
    real_style = {"color": INK, "linewidth": 2.0}
    sources = [("real", real_style), *((w.name, {**w.style, "marker": ""}) for w in few)]
    return [
        picture(
            partial(_series_panels, real=spread[..., : len(chosen)], few=lines, channels=chosen, limits=limits),
            (1.75 * (1 + len(few)) + 0.6, 1.4 * len(chosen) + 0.6),
            "samples",
            "Real and generated windows",
            f"Six windows each, evenly spread over those that are stored, on the same axes, for {len(chosen)} of {C} "
            "channels. The axes show the range of the real windows and at most as much again on either side.",
        ),
        picture(
            partial(_plane, real=_on_axes(real, centre, axes_of), points=points, shares=shares),
            (2.1 * len(few) + 0.7, 2.7),
            "components",
            "Principal components",
            "The first two principal components of the real windows (scaled as for training), with their shares of the "
            f"variance. A method whose crosses cover the grey dots covers the data. Up to {MOST_POINTS} of {of_real}.",
        ),
        picture(
            partial(_overlays, sources=sources, densities=densities, correlation=correlation),
            (2.5 * (len(chosen) + 1) + 0.4, 2.9),
            "marginals",
            "Marginals and autocorrelation",
            f"Over all steps of {of_real}. The autocorrelation is the mean over all {C} channels.",
        ),
    ]


def _spread(x: np.ndarray, count: int) -> np.ndarray:
    return x[np.unique(np.linspace(0, len(x) - 1, count).round().astype(int))]


def _on_axes(x: np.ndarray, centre: np.ndarray, axes_of: np.ndarray) -> np.ndarray:
    return (_spread(x, MOST_POINTS).reshape(-1, len(centre)) - centre) @ axes_of[:2].T


def _limits(c: int, channel: Channel, real: np.ndarray, few: Sequence[Windows]) -> tuple[float, float]:
    """The range of the real windows, and of the generated ones up to one more range on either side."""
    low, high = np.quantile(channel.of(real[..., c]), [0.001, 0.999]).tolist()
    inner = [np.nanquantile(channel.of(w.x[..., c]), [0.02, 0.98]) for w in few]
    bottom = max(min(low, *(float(ends[0]) for ends in inner)), 2 * low - high)
    top = min(max(high, *(float(ends[1]) for ends in inner)), 2 * high - low)
    margin = 0.08 * (top - bottom) + 1e-6
    return bottom - margin, top + margin


def _series_panels(
    figure: Figure, real: np.ndarray, few: Sequence[Windows], channels: Sequence[Channel], limits: Sequence[Any]
) -> None:
    axes = figure.subplots(len(channels), 1 + len(few), squeeze=False, sharex=True, sharey="row")
    columns = [Windows("real", {"color": INK}, real), *few]
    for c, channel in enumerate(channels):
        for ax, source in zip(axes[c], columns, strict=True):
            for row in source.x:
                steps = np.arange(1, len(row) + 1)
                ax.plot(steps, channel.of(row[:, c]), color=source.style["color"], linewidth=0.9, alpha=0.75)
            ax.set_ylim(*limits[c])
            if c == 0:
                ax.set_title(source.name, fontsize=9)
            if c == len(channels) - 1:
                ax.set_xlabel("t (steps)")
        axes[c][0].set_ylabel(channel.title(16))


def _plane(figure: Figure, real: np.ndarray, points: Sequence[Any], shares: Sequence[float]) -> None:
    panels = figure.subplots(1, len(points), squeeze=False, sharex=True, sharey=True)[0]
    reach = np.abs(np.quantile(real, [0.001, 0.999], axis=0)).max(axis=0) * 1.4 + 1e-6
    for ax, (name, style, theirs) in zip(panels, points, strict=True):
        # as an image inside the SVG: hundreds of markers are most of a page's bytes
        ax.plot(*_two(real), linestyle="", marker=".", markersize=3, color=REAL, label="real", rasterized=True)
        ax.plot(*_two(theirs), linestyle="", marker="x", markersize=3, color=style["color"], rasterized=True)
        ax.plot([], [], linestyle="", marker="x", markersize=3, color=INK, label="generated")
        ax.set_xlim(-reach[0], reach[0])
        ax.set_ylim(-reach[-1], reach[-1])
        ax.set_title(name, fontsize=9)
        ax.set_xlabel(f"component 1 ({shares[0]:.0%})")
    panels[0].set_ylabel(f"component 2 ({shares[1] if len(shares) > 1 else 0:.0%})")
    add_legend(figure, panels)


def _two(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both components; the second is 0 where the windows have one."""
    return x[:, 0], x[:, 1] if x.shape[1] > 1 else np.zeros(len(x))


def _density(channel: Channel, c: int, real: np.ndarray, few: Sequence[Windows]) -> Any:
    """The channel's title, the middles of the bins, and a density for the real windows and for each source."""
    low, high = np.quantile(channel.of(real[..., c]), [0.002, 0.998]).tolist()
    edges = np.linspace(low, high, 41) if high > low else np.linspace(low - 1, high + 1, 41)
    heights = [
        np.histogram(channel.of(x[..., c]), edges)[0] / max(x[..., c].size, 1) / (edges[1] - edges[0])
        for x in (real, *(w.x for w in few))
    ]
    return channel.title(22), (edges[1:] + edges[:-1]) / 2, heights


def _overlays(
    figure: Figure, sources: Sequence[tuple[str, Any]], densities: Sequence[Any], correlation: Sequence[np.ndarray]
) -> None:
    axes = figure.subplots(1, len(densities) + 1, squeeze=False)[0]
    for ax, (title, x, heights) in zip(axes, densities, strict=False):
        for (name, style), height in zip(sources, heights, strict=True):
            ax.plot(x, height, **style, label=name)
        ax.set_xlabel(title)
    axes[0].set_ylabel("density")
    for (_, style), values in zip(sources, correlation, strict=True):
        axes[-1].plot(np.arange(len(values)), values, **style)
    axes[-1].set_xlabel("lag (steps)")
    axes[-1].set_ylabel("autocorrelation")
    add_legend(figure, axes[:1])


def autocorrelation(x: np.ndarray, lags: int) -> np.ndarray:
    """E[(x_t - mu)(x_{t+k} - mu)] / Var[x] per channel, averaged over the channels, at k = 0 .. lags - 1; x (n, T, C).

    mu and Var are the channel's over all windows; each lag is divided by its own number of pairs.
    """
    centred = np.nan_to_num(x.astype(np.float64)) - np.nan_to_num(x.astype(np.float64)).mean(axis=(0, 1))
    power = np.maximum((centred**2).mean(axis=(0, 1)), 1e-12)
    T = x.shape[1]
    return np.asarray([((centred[:, : T - k] * centred[:, k:]).mean(axis=(0, 1)) / power).mean() for k in range(lags)])
