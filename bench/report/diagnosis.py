"""What `bench.diagnose` says: whether a model collapses on a file, and what helps, on one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.command import write, write_table
from bench.loading.phase_transition import Criterion, Spectrum
from bench.report.cautions import signed_name
from bench.report.cells import Cell, verdict_of
from bench.report.formatting import counted, number
from bench.report.ranking import Group
from bench.report.report import Report
from bench.report.statements import answer

VANILLA = "latent_diffusion"
ASSUMES = (
    "The phase-transition criterion assumes a linear decoder. Without a past it says when the variance of the windows "
    "lets a latent dimension live. An autoregressive decoder can collapse earlier, because it needs z only for what it "
    "does not predict, so the residuals of the best linear prediction from the past are judged as well. Their second "
    "half lacks the first step, which has no past."
)


@dataclass(frozen=True)
class Expected:
    """What the phase-transition criterion expects, and of which runs."""

    cell: Cell | None  # None: before training
    criteria: Sequence[Criterion]  # of each seed
    dimensions: int  # D

    def text(self, of: Callable[[Criterion], Spectrum]) -> str:
        """Dimensions that are expected to be alive at beta = 1, and the mean of the largest beta: "4 (13.7)"."""
        counts = sorted({of(criterion).alive(self.dimensions) for criterion in self.criteria})
        beta = number(float(np.mean([of(criterion).largest_beta for criterion in self.criteria])))
        return f"{' to '.join(map(str, counts[:: max(len(counts) - 1, 1)]))} ({beta})"

    def row(self) -> list[str]:
        """Name, decoder variance, three expectations, and what was measured."""
        variance = number(float(np.mean([criterion.variance.mean() for criterion in self.criteria])))
        expected = [
            self.text(lambda c: c.windows),
            self.text(lambda c: c.given_past),
            self.text(lambda c: c.second_half),
        ]
        if self.cell is None:
            return ["before training", variance, *expected, "", "", ""]
        measured = ("latent_information", "latent_information_second_half")
        texts = [mean(self.cell, "active_units"), *(self.cell.text(metric) for metric in measured)]
        return [self.cell.name, variance, *expected, *texts]


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


def say_expected(expected: Sequence[Expected]) -> None:
    """What the criterion expects, beside what was measured."""
    if not expected:
        return
    heads = ["decoder variance", "windows", "given the past", "second half"]
    measured = ["active units", "latent information", "of the second half"]
    write()
    write_table([item.row() for item in expected], ["expected alive", *heads, *measured])
    write(
        f"expected alive: of {expected[0].dimensions} latent dimensions, where the KL has the weight beta = 1; in "
        "brackets the largest beta at which one is. Before training, the variance is that of a linear decoder that "
        "ignores z."
    )
    write(ASSUMES)


def say(path: str, groups: Sequence[Group], report: Report, expected: Sequence[Sequence[Expected]]) -> None:
    """The answer: the numbers, what they say about the latent and the samples, and how certain that is.

    expected: of each group, by the phase-transition criterion.
    """
    for group, of_group in zip(groups, expected, strict=True):
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
        say_expected(of_group)
    trained, certain = report.headline[:1], report.headline[-1:]
    for about in [*trained, *answer(groups), *certain]:
        write(f"{about.about}: {' '.join(about.sentences)}")
    for group in groups:
        if group.dataset in report.few_test_windows:
            write(f"warning: {report.few_test_windows[group.dataset]}")
