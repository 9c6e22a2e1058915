"""Which cells a picture shows, and the words about them; every caption states n and what the bars are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from bench.report.cells import Cell
from bench.report.ranking import Group

MOST_LINES = 8

UNITS = {
    "train.steps": "updates",
    "diffusion.steps": "updates",
    "diffusion.L": "diffusion steps",
    "gamma": "factor of the diffusion step",
    "eta": "divisor of the diffusion step",
}
"""What a hyper-parameter counts, where its name does not say it."""


def shown(group: Group) -> list[Cell]:
    """At most one cell per label, the best by the first quality column, and at most MOST_LINES labels."""
    return list(group.best_settings.values())[:MOST_LINES]


def shorten(text: str, width: int = 34) -> str:
    """A name that fits a legend, and that matplotlib does not read as mathematics."""
    text = "".join(c if c.isprintable() else "\ufffd" for c in text)
    return (text if len(text) <= width else text[: width - 1] + "…").replace("$", r"\$")


def legend_name(group: Group, cell: Cell, width: int = 30) -> str:
    """The label, and of how many settings this is the best."""
    count = sum(other.label == cell.label for other in group.cells)
    return shorten(cell.label, width) + (f" (best of {count})" if count > 1 else "")


def short_names(datasets: Iterable[str]) -> dict[str, str]:
    """Data set -> its name without options, or with nothing but its options where several have that name."""
    parts = {dataset: dataset.partition(",") for dataset in datasets}
    often = Counter(name for name, _, _ in parts.values())
    return {dataset: options if options and often[name] > 1 else name for dataset, (name, _, options) in parts.items()}


def in_units(unit: str) -> str:
    """A unit behind the name of a measure; that an AUC is a probability says nothing of a difference of two."""
    return f" ({unit})" if unit and unit != "probability" else ""


def heading(title: str, direction: str, unit: str = "") -> str:
    """Of a panel: "C2ST AUC (lower is better)", or "latent information (nats per series; not ranked)"."""
    words = [f"{direction} is better"] if direction != "none" else [*filter(None, [unit]), "not ranked"]
    text = f"({'; '.join(words)})"
    return title + (" " if len(title) + len(text) < 38 else "\n") + text


def axis_name(setting: str, values: Iterable[float]) -> str:
    """A hyper-parameter as an axis is labelled: steps of the diffusion below 1 are shares of its L."""
    if setting in ("N", "M"):
        share = {value < 1 for value in values if value}
        words = "diffusion step" if share != {True} else "share of L"
        words += ", or share of L below 1" if share == {True, False} else ""
    else:
        words = UNITS.get(setting, "")
    return f"{setting} ({words})" if words else setting


def choice_note(groups: Sequence[Group], others: str = "") -> str:
    """Which settings and methods are drawn; "" where all of them are. others: how those beyond the first are drawn."""
    labels = {cell.label for group in groups for cell in group.cells}
    notes = []
    if any(len(group.cells) > len({cell.label for cell in group.cells}) for group in groups):
        notes.append("Where a method has several settings, the best one by the first quality column is shown.")
    if len(labels) > MOST_LINES:
        verb = "have intervals" if others else "are shown"
        notes.append(f"The first {MOST_LINES} of {len(labels)} methods {verb}. {others}".rstrip())
    return " ".join(notes)


def by_place(groups: Sequence[Group]) -> dict[tuple[str, str], list[Group]]:
    """Ordered beside shuffled: groups by data set and backbone."""
    found: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        found.setdefault((group.dataset, group.backbone), []).append(group)
    return found


def side_name(group: Group, sides: Sequence[Group]) -> str:
    """Whether the order of time is kept, above a panel; "" where no other side stands beside it, unless shuffled."""
    return "time shuffled" if group.shuffle else "time in order" if len(sides) > 1 else ""


def place_name(dataset: str, backbone: str) -> str:
    """The data set, and the backbone where there is one."""
    return f"{dataset}, {backbone}" if backbone else dataset


def seeds_text(groups: Sequence[Group]) -> str:
    """How many seeds finished: "5 seeds", or "3 to 5 seeds" where cells differ."""
    counts = sorted({cell.ok for group in groups for cell in group.cells if cell.ok})
    if not counts:
        return "no finished seeds"
    text = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{text} seed{'s' if counts[-1] > 1 else ''}"


def series_text(counts: Iterable[float]) -> str:
    """ "n = 500 series" of the n column of rows; "" where there is none."""
    found = sorted({int(n) for n in counts if n == n and n > 0})
    return f"n = {' to '.join(map(str, found[:1] + found[1:][-1:]))} series" if found else ""


def joined(words: Iterable[str]) -> str:
    """Sentences in one line; empty ones are left out."""
    return " ".join(word for word in words if word)
