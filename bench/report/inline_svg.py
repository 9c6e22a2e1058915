"""Pictures as part of the page: small SVG elements that share one style sheet."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from bench.report.figures.picture import Picture
from bench.report.figures.style import GRID, INK, PAPER


class Inlined(NamedTuple):
    """Pictures as the page holds them: SVG by name, and the style sheet that they share."""

    svg: dict[str, Markup]
    style: Markup


def inlined(pictures: Sequence[Picture]) -> Inlined:
    """SVG for the page: its ink in the theme's colours, half the digits, no ids that could clash, styles said once."""
    classes: dict[str, str] = {}
    found = {}
    for place, picture in enumerate(pictures):
        svg = picture.svg[picture.svg.index("<svg") :]
        svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
        svg = re.sub(r'<g id="[^"]*"', "<g", svg)
        ids: dict[str, str] = {}
        svg = re.sub(r"<[^>]+>", lambda tag: _tag(tag.group(), classes, ids, place), svg)  # noqa: B023
        svg = re.sub(r">\s+<", "><", svg)
        while "<g></g>" in svg or "<defs></defs>" in svg:
            svg = svg.replace("<g></g>", "").replace("<defs></defs>", "")
        svg = re.sub(r'<svg\b[^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", svg, count=1)
        width = float(re.search(r'viewBox="0 0 ([\d.]+)', svg).group(1))  # type: ignore[union-attr]
        alt = Markup.escape(picture.alt)
        opening = f'<svg role="img" style="width:{width * 4 / 3:.0f}px" aria-label="{alt}" '
        found[picture.name] = Markup(opening + svg.removeprefix("<svg "))
    rules = "\n".join(f".{name}{{{style}}}" for style, name in classes.items())
    return Inlined(found, Markup(_themed(rules)))


def _themed(text: str) -> str:
    for colour, name in ((INK, "ink"), (GRID, "grid"), (PAPER, "paper")):
        text = text.replace(colour, f"var(--{name})")
    return text


def _tag(tag: str, classes: dict[str, str], ids: dict[str, str], place: int) -> str:
    """One tag of an SVG made small; a picture's ids are numbered, and so are the styles that pictures share."""
    if tag.startswith("<image"):  # its bytes are no numbers
        return tag

    def numbered(found: re.Match[str]) -> str:
        return found.group(1) + ids.setdefault(found.group(2), f"p{place}-{len(ids)}")

    tag = re.sub(r"\s+", " ", tag).replace("xlink:href", "href")
    tag = re.sub(r'(\bid="|href="#|url\(#)([^")]+)', numbered, tag)
    tag = re.sub(r"(\d\.\d\d)\d+", r"\1", tag)
    return re.sub(
        r'style="([^"]*)"', lambda s: f'class="{classes.setdefault(s.group(1), f"v{len(classes)}")}"', _themed(tag)
    )
