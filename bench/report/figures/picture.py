"""A picture: planned first, then drawn as SVG and PNG; nothing here writes a file.

A picture is planned as its words and a function of this package with all that it draws, so that
one whose inputs did not change since the last report is not drawn again.
"""

from __future__ import annotations

import functools
import hashlib
import io
import re
import warnings
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import matplotlib
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator

from bench.report.figures.style import STYLE

matplotlib.use("Agg")  # seaborn imports pyplot, which would look for a display


@dataclass(frozen=True)
class Picture:
    """One picture: its words, what draws it on a figure, and once drawn its files."""

    name: str  # of its files
    section: str  # of the page
    title: str
    caption: str
    alt: str
    size: tuple[float, float]  # inches
    make: partial[None]  # a function of this package and all it draws; takes the figure
    dataset: str = ""
    backbone: str = ""
    placed: bool = False  # `make` gives the axes their places, so that no layout engine is needed
    svg: str = ""
    png: bytes = b""

    @property
    def key(self) -> str:
        """What decides how it looks: pictures of one key are the same files."""
        arguments = self.make.func.__name__, self.make.args, self.make.keywords
        program = source_hash(Path(__file__).parent), matplotlib.__version__
        return str(joblib.hash((program, self.name, self.size, arguments)))


@functools.cache
def source_hash(folder: Path) -> str:
    """A hash of all source files of a package, because several of them draw one picture."""
    source = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        source.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return source.hexdigest()


def drawn(picture: Picture, earlier: Path | None = None) -> Picture:
    """The picture with its files: those of the same key in the folder `earlier`, else drawn now."""
    key = picture.key
    found = _found(picture, key, earlier) if earlier is not None else None
    if found is None:
        style: Any = {**STYLE, "svg.hashsalt": picture.name}
        with warnings.catch_warnings(), matplotlib.rc_context(style):
            warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a name in a script the font lacks
            figure = Figure(figsize=picture.size)
            picture.make(figure)
            svg, png = io.StringIO(), io.BytesIO()
            if not picture.placed:
                ConstrainedLayoutEngine().execute(figure)  # once for both files, not at each draw
            for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
                axis.set_major_locator(FixedLocator(axis.get_majorticklocs().tolist()))  # nor are ticks chosen again
            figure.savefig(svg, format="svg", dpi=150, metadata={"Date": None, "Creator": None, "Identifier": key})
            figure.savefig(png, format="png", dpi=130, facecolor="white", metadata={"Identifier": key})
        found = svg.getvalue(), png.getvalue()
    return replace(picture, svg=found[0], png=found[1])


def _found(picture: Picture, key: str, earlier: Path) -> tuple[str, bytes] | None:
    try:
        svg = (earlier / f"{picture.name}.svg").read_text(encoding="utf-8")
        png = (earlier / f"{picture.name}.png").read_bytes()
    except (OSError, ValueError):
        return None
    return (svg, png) if f"<dc:identifier>{key}<" in svg and key.encode() in png[:1000] else None


def slug(text: str) -> str:
    """A file name, distinct for texts that differ in more than case, spaces and dots."""
    plain_text = re.sub(r"[ .·]+", "-", text.lower()).strip("-")
    word = re.sub(r"[^a-z0-9_]+", "-", plain_text).strip("-")[:60]
    return word if word == plain_text else f"{word}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
