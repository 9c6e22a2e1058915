"""What `bench.diagnose` says: whether a model collapses on a file, and what helps, on one page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.command import write, write_table
from bench.loading.phase_transition import Criterion, Spectrum
from bench.report.cautions import about_training, ended_early, signed_name, uncalibrated
from bench.report.cells import Cell, verdict_of
from bench.report.columns import title_of
from bench.report.contrasts import Sides, Stated
from bench.report.formatting import counted, number, signed
from bench.report.gains import GAIN
from bench.report.ranking import Group, floor_of
from bench.report.report import Report
from bench.report.statements import Answer, nothing_detectable
from bench.report.statistics import Comparison, more_seeds
from bench.verdict import SAID

VANILLA = "latent_diffusion"
NONE = "no_latent"
WIDER = "no_latent, twice as wide"
LENGTH = {"autoencoder": "train.steps", "denoiser": "diffusion.steps"}
LITTLE = 0.03  # of the variance: two splits of one recording differ by a few hundredths

ASSUMES = (
    "The phase-transition criterion assumes a linear decoder. Without a past it says when the variance of the windows "
    "lets a latent dimension live. An autoregressive decoder can collapse earlier, because it needs z only for what it "
    "does not predict, so the residuals of the best linear prediction from the past are judged as well. Their second "
    "half lacks the first step, which has no past."
)


@dataclass(frozen=True)
class Expected:
    """What the phase-transition criterion expects, and of which runs."""

    cell: Cell
    trained: bool  # whether the criteria take the variance of its trained decoder, or one from before training
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
        name = self.cell.name if self.trained else f"{self.cell.name}, before training"
        measured = ("latent_information", "latent_information_second_half")
        texts = [mean(self.cell, "active_units"), *(self.cell.text(metric) for metric in measured)]
        return [name, variance, *expected, *texts]


def mean(cell: Cell, metric: str) -> str:
    """A mean over seeds as text."""
    values = cell.values.get(metric)
    return number(cell.interval(metric).mean) if values else "-"


def steps(group: Group, report: Report) -> list[Answer]:
    """The questions in the order in which one has to ask them, each with what the numbers of a data set say."""
    stated = [one for one in report.stated if one.question.backbone == group.backbone]
    found = [(one, one.finding.datasets[group.dataset]) for one in stated if group.dataset in one.finding.datasets]
    trained, faults = _trained(group, report)
    follows = [f"First {', and '.join(faults)}."] if faults else _what_follows(group, found)
    return [
        Answer("Can a latent matter on these data?", _can_matter(group)),
        Answer("Are the models trained?", trained),
        Answer("Has the latent collapsed?", _collapsed(group)),
        Answer("Does a live latent make better samples?", [_contrast(*each) for each in found] or ["Not measured."]),
        Answer("What follows?", follows),
    ]


def _can_matter(group: Group) -> list[str]:
    """What a window knows of itself over a long range: the part that a latent of the whole window could carry."""
    real = floor_of(group.references, GAIN)
    if real is None:
        return ["Not measured."]
    gain = real.interval(GAIN)
    what = (
        "By ridge regression, the first two thirds of a window say more of its last third than the two steps just "
        f"before it: {signed(gain)} of the variance."
    )
    if gain.n == 1:
        return [what, "One seed gives no interval."]
    if gain.high < LITTLE:
        return [what, "That is next to nothing, so a latent of the whole window has little to add to the recent past."]
    if gain.low > 0:
        return [what, "A latent of the whole window can carry that. So can a decoder with a longer memory."]
    return [what, "Whether that is more than nothing is not clear from these seeds."]


def _trained(group: Group, report: Report) -> tuple[list[str], list[str]]:
    """What is to be said of training, and what has to be done before anything else counts."""
    mine = {run for cell in group.cells for run in cell.seeds}
    runs = report.selection.runs
    runs = runs[runs["run_id"].isin(mine)]
    sentences, faults = about_training(group.cells), []
    for stage, early in ended_early(runs).items():
        if early:
            sentences.append(f"{len(early)} of {len(mine)} runs ended before the plateau of their {stage}.")
            faults.append(f"train the {stage} longer (--set {LENGTH[stage]}=20000)")
    if any(uncalibrated(cell) for cell in group.cells):
        faults.append("find a likelihood that fits these data (such as --set model.likelihood=categorical)")
    return sentences, faults


def _collapsed(group: Group) -> list[str]:
    """Whether the latent of vanilla is used, and whose is, in sentences that the verdicts support."""
    by_label = {cell.label: cell for cell in group.cells}
    if VANILLA not in by_label:
        return ["Not measured."]
    word = verdict_of(by_label[VANILLA])
    if word in SAID:
        lines = [f"Vanilla latent diffusion {SAID[word]}."]
    else:
        seen = ", ".join(f"{word} ({count})" for word, count in by_label[VANILLA].verdicts.items()) or "not measured"
        lines = [f"Vanilla latent diffusion is neither clearly collapsed nor clearly alive here: {seen}."]
        if "undecided" in seen:
            lines.append("Undecided: the interval of the latent information contains a threshold; see the report.")
    helping = [label for label, cell in by_label.items() if label != VANILLA and verdict_of(cell) == "alive"]
    lines.append(f"Alive in every seed: {', '.join(helping)}." if helping else "Nothing else is alive in every seed.")
    return lines


def _contrast(one: Stated, found: Comparison) -> str:
    """A difference with its interval, its p and what it says."""
    what = f"{signed(found.difference)} in {title_of(one.column.metric)} ({one.column.direction} is better)"
    text = f"{one.sides_text}: {what}, n = {found.difference.n}, p = {number(found.p)}: {found.words}."
    if found.verdict == "undecided" and math.isfinite(found.detectable):
        if found.detectable > one.column.span:
            said = nothing_detectable(found.difference.n)
        else:
            said = f"a true difference of {number(found.detectable)} would be found with 80 % power"
        text += f" {said[0].upper()}{said[1:]}."
    return text


def _what_follows(group: Group, found: Sequence[tuple[Stated, Comparison]]) -> list[str]:
    """What a practitioner does next: by a live latent against none with the same decoder, then with a wider one."""
    by_label = {cell.label: cell for cell in group.cells}
    against = {one.question.contrast.against: (one, comparison) for one, comparison in found}
    if NONE not in against:
        return [f"Nothing yet: runs of {NONE}, which a live latent has to beat, are missing."]
    one, comparison = against[NONE]
    of = one.question.contrast.of
    if verdict_of(by_label[of]) != "alive":
        return [f"Nothing about a live latent: that of {of} is {verdict_of(by_label[of])}."]
    if comparison.verdict == "worse":
        said = [f"Use the decoder alone ({NONE}): it makes better samples than {of}."]
    elif comparison.verdict == "equivalent" or comparison.negligible:
        said = [f"Use the decoder alone ({NONE}): a live latent changes less than {one.bound:g}."]
    elif comparison.verdict == "better":
        wider = against[WIDER][1].verdict if WIDER in against else "not measured"
        said = [
            f"Use a live latent ({of})."
            if wider == "better"
            else f"A live latent ({of}) helps this decoder. Against one that is twice as wide it is {wider}, so that "
            "it may only stand in for capacity."
        ]
    else:
        more = _more(comparison, one.sides[group.dataset])
        said = [f"These runs do not decide whether a latent helps. {more}"]
    if VANILLA in by_label and verdict_of(by_label[VANILLA]) == "collapsed":
        said.append("Vanilla latent diffusion is a decoder without a latent here, at the cost of one.")
    return said


def _more(found: Comparison, sides: Sides) -> str:
    """What further seeds would do about a difference that is not decided."""
    if found.difference.n < 3:
        return "Fewer than three seeds say too little of how much they differ: run three."
    advice = more_seeds(found.difference, 1 - found.level, sides.repeats.overlapping)
    if advice is None:
        return "More seeds of it have little chance to: the difference is small beside its spread."
    total = found.difference.n + advice.seeds
    return f"With --seeds 0:{total} they would with a chance of {advice.chance:.0%}, as far as these seeds can tell."


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
    """The answer: the numbers, what they say question by question, what was expected, and how certain that is.

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
        for place, step in enumerate(steps(group, report), 1):
            write(f"{place}. {step.about} {' '.join(step.sentences)}")
        say_expected(of_group)
    for about in report.headline[-1:]:
        write(f"{about.about} {' '.join(about.sentences)}")
    for group in groups:
        if group.dataset in report.few_windows:
            write(f"warning: {report.few_windows[group.dataset]}")
