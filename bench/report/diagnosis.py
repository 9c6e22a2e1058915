"""What `bench.diagnose` says: whether a model collapses on a file, and what helps, on one page."""

from __future__ import annotations

from collections.abc import Sequence

from bench.command import write, write_table
from bench.report.cautions import signed_name
from bench.report.cells import Cell, verdict_of
from bench.report.formatting import counted, number
from bench.report.ranking import Group
from bench.report.report import Report
from bench.report.statements import answer

VANILLA = "latent_diffusion"


def mean(cell: Cell, metric: str) -> str:
    """A mean over seeds as text."""
    values = cell.values.get(metric)
    return number(cell.interval(metric).mean) if values else "-"


def one_page(group: Group) -> list[str]:
    """Whether the model collapses and what helps, in sentences that the verdicts support."""
    by_label = {cell.label: cell for cell in group.cells}

    def always(label: str, word: str) -> bool:
        cell = by_label.get(label)
        return cell is not None and verdict_of(cell) == word

    if always(VANILLA, "collapsed"):
        lines = ["Vanilla latent diffusion collapses on these data: its decoder ignores the latent or soon forgets it."]
    elif always(VANILLA, "alive"):
        lines = ["Vanilla latent diffusion keeps its latent on these data; no mitigation is needed for that."]
    elif always(VANILLA, "partial"):
        lines = ["Vanilla latent diffusion uses its latent on these data for the first steps only."]
    else:
        seen = ", ".join(f"{word} ({count})" for word, count in by_label[VANILLA].verdicts.items()) or "not measured"
        lines = [f"Vanilla latent diffusion is neither clearly collapsed nor clearly alive here: {seen}."]
        if "undecided" in seen:
            lines.append("Undecided: the interval of the latent information contains a threshold; see the report.")
    helping = [label for label in by_label if label != VANILLA and always(label, "alive")]
    lines.append(f"Alive in every seed: {', '.join(helping)}." if helping else "Nothing else is alive in every seed.")
    return lines


def say(path: str, groups: Sequence[Group], report: Report) -> None:
    """The answer: the numbers, what they say about the latent and the samples, and how certain that is."""
    for group in groups:
        rows = [
            [signed_name(cell), counted(cell.verdicts), cell.text("latent_information")]
            + [mean(cell, metric) for metric in ("nll_own", "nll_permuted", "c2st_auc", "sliced_wasserstein")]
            for cell in [*group.cells, *group.references]
        ]
        write()
        heads = ["verdict", "latent information", "reconstruction NLL", "NLL permuted", "C2ST AUC", "sliced W."]
        write_table(rows, [path, *heads])
        write()
        for line in one_page(group):
            write(line)
    trained, certain = report.headline[:1], report.headline[-1:]
    for about in [*trained, *answer(groups), *certain]:
        write(f"{about.about}: {' '.join(about.sentences)}")
    for group in groups:
        if group.dataset in report.few_test_windows:
            write(f"warning: {report.few_test_windows[group.dataset]}")
