"""Sentences that state what the numbers show, and never more than they allow."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pandas as pd

from bench.report.cells import VERDICTS, Cell, scalars_by, verdict_of
from bench.report.columns import LONG, Column
from bench.report.formatting import number, plural
from bench.report.ranking import BASELINE, Group
from bench.report.selection import Selection
from bench.report.statistics import ALPHA, Interval, Standing, detectable, difference, standings
from bench.verdict import THRESHOLDS, independent_windows

FEW_WINDOWS = 30
"""With fewer independent test windows a distance between distributions is mostly noise."""


class Answer(NamedTuple):
    """What the numbers allow to be said about one thing."""

    about: str
    sentences: list[str]


def few_test_windows(runs: pd.DataFrame) -> dict[str, str]:
    """Data set -> a warning, for those with fewer than FEW_WINDOWS independent test windows under some seed."""
    found = {}
    shapes = runs.reindex(columns=["dataset", "n_test", "window", "test_stride"]).drop_duplicates()
    for dataset, rows in shapes.groupby("dataset", sort=False):
        counts = [
            (independent_windows(n, window, stride), n, window, stride)
            for n, window, stride in rows.drop(columns="dataset").fillna(0).astype(int).to_numpy().tolist()
            if n > 0
        ]
        if counts and (fewest := min(counts))[0] < FEW_WINDOWS:
            independent, n, window, stride = fewest
            overlap = f" ({n} windows of T = {window}, one every {stride} rows)" if independent < n else ""
            amount = plural(int(independent), "independent test window")
            found[str(dataset)] = (
                f"{dataset} has {amount}{overlap}, fewer than {FEW_WINDOWS}. "
                "Do not draw conclusions about the samples from so few."
            )
    return found


def headline(groups: Sequence[Group], selection: Selection) -> list[Answer]:
    """The three questions over all data sets: does the latent live, are the samples better, how sure is that."""
    chosen = compared(groups)
    found = [
        Answer("Which method keeps its latent?", _who_lives(chosen)),
        Answer("Does it sample better?", _who_samples_better(chosen)),
        Answer("How sure is that?", _how_sure(groups, selection)),
    ]
    return [about for about in found if about.sentences]


def compared(groups: Sequence[Group]) -> list[Group]:
    """The groups that the headline counts: ordered data, unless all of them are shuffled."""
    return [group for group in groups if not group.shuffle] or list(groups)


def _who_lives(groups: Sequence[Group]) -> list[str]:
    seen: dict[str, Counter[str]] = {}
    for group in groups:
        for label, cell in group.best_settings.items():
            seen.setdefault(label, Counter())[verdict_of(cell)] += 1
    profiles: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for label, words in seen.items():
        profile = tuple((word, words[word]) for word in VERDICTS if words[word])
        profiles.setdefault(profile, []).append(label)
    sentences = []
    for profile in sorted(profiles, key=lambda profile: (len(profile), VERDICTS.index(profile[0][0]))):
        total = _of(sum(count for _, count in profile), groups)
        words_ = profile[0][0] if len(profile) == 1 else ", ".join(f"{word} on {count}" for word, count in profile)
        where = f"on {total}" if len(profile) == 1 else f"of {total}"
        sentences.append(f"{words_.capitalize()} {where}: {', '.join(profiles[profile])}.")
    return sentences


def _of(count: int, groups: Sequence[Group]) -> str:
    """ "4 data sets"; where there are several backbones, pairs are counted; one is called by its name."""
    if len(groups) == 1:
        return groups[0].name
    kind = "data sets" if len({group.backbone for group in groups}) == 1 else "pairs of data set and backbone"
    return f"{count} {kind}"


def _who_samples_better(groups: Sequence[Group]) -> list[str]:
    """Every method's best setting against the baseline, paired over seeds; and whose samples are best."""
    ranked = [group for group in groups if group.quality]
    if not ranked:
        return []
    column = ranked[0].quality[0]
    measure = LONG.get(column.metric, column.title)
    gaps, level = _against_baseline(ranked, column)
    scored = {c.label for group in ranked for c in group.best_settings.values() if c.values.get(column.metric)}
    outcomes: dict[str, list[str]] = {"better": [], "worse": [], "not resolved": []}
    for label, found in gaps.items():
        if label not in scored:
            continue
        better, worse = sum(gap.high < 0 for gap in found), sum(gap.low > 0 for gap in found)
        for word, count in (("better", better), ("worse", worse)):
            if count:
                outcomes[word].append(f"{label} ({count} of {len(found)})" if len(ranked) > 1 else label)
        if not better and not worse:
            smallest = [effect for gap in found if math.isfinite(effect := detectable(gap, level))]
            outcomes["not resolved"].append(f"{label}{_detectable(smallest)}")
    sentences = [
        f"{start} {BASELINE} by the {measure}: {', '.join(outcomes[word])}."
        for word, start in (("better", "Better than"), ("worse", "Worse than"), ("not resolved", "Not told from"))
        if outcomes[word]
    ]
    if silent := [label for label in gaps if label not in scored]:
        sentences.append(f"No finished run to compare: {', '.join(silent)}.")
    best = [(cell, group) for group in ranked if (cell := group.best(column.metric))]
    words = Counter(verdict_of(cell) for cell, _ in best)
    if len(best) == 1:
        sentences.append(f"The best mean is that of {best[0][0].name}, whose latent is {next(iter(words))}.")
    elif best:
        counts = ", ".join(f"{word} on {words[word]}" for word in VERDICTS if words[word])
        sentences.append(f"The latent of the method with the best mean is {counts} of {_of(len(best), ranked)}.")
    return sentences


def _detectable(effects: Sequence[float]) -> str:
    """The smallest effects that comparisons without a result could have found; "" where nothing is known of them."""
    if not effects:
        return ""
    low, high = number(min(effects)), number(max(effects))
    return f" (detectable: {low if low == high else f'{low} to {high}'})"


def _against_baseline(groups: Sequence[Group], column: Column) -> tuple[dict[str, list[Interval]], float]:
    """Label -> its best setting minus the baseline's, per group, below 0 where it is better; paired over seeds.

    And the level of each comparison.

    Widened for every comparison that could have been made (Bonferroni): the numbers that choose a setting judge it.
    """
    sign = 1.0 if column.direction == "lower" else -1.0
    pairs: list[tuple[str, Cell, Cell]] = []
    count = 0
    for group in groups:
        cells = group.best_settings
        base = cells.get(BASELINE)
        settings = Counter(cell.label for cell in group.cells)
        count += sum(settings[label] * settings[BASELINE] for label in cells if label != BASELINE)
        pairs += [(label, cell, base) for label, cell in cells.items() if base is not None and cell is not base]
    found: dict[str, list[Interval]] = {}
    for label, *both in pairs:
        mine, other = ({seed: sign * v for seed, v in c.values.get(column.metric, {}).items()} for c in both)
        found.setdefault(label, []).append(difference(mine, other, 1 - ALPHA / count, both[0].units))
    return found, ALPHA / max(count, 1)


def _how_sure(groups: Sequence[Group], selection: Selection) -> list[str]:
    counts = sorted({cell.ok for group in groups for cell in group.cells} - {0})
    sentences = []
    if counts == [1]:
        sentences.append("One seed: no interval, so nothing here is resolved; give it more before concluding.")
    elif counts:
        seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        few = " With so few, intervals are wide; give it more before concluding." if counts[0] < 3 else ""
        sentences.append(
            f"{seeds} seeds behind a number. Better and worse are said at 95 %, paired over seeds and corrected for "
            f"the number of comparisons; what is not told apart may differ all the same.{few}"
        )
    runs = selection.runs
    if selection.pending:
        sentences.append(f"{selection.pending} runs of this sweep have not finished yet.")
    bad = Counter(runs["status"].astype(str)) if len(runs) else Counter()
    bad.pop("ok", None)
    if bad:
        sentences.append("Not every run ended well: " + ", ".join(f"{n} {word}" for word, n in bad.most_common()) + ".")
    return sentences


def answer(groups: Iterable[Group]) -> list[Answer]:
    """One data set after the other, never more than the numbers allow."""
    found = []
    for group in groups:
        words: dict[str, list[Cell]] = {}
        for cell in group.cells:
            words.setdefault(verdict_of(cell), []).append(cell)
        kinds = [f"{word}: {_by_label(group, words[word])}" for word in VERDICTS if word in words]
        sentences = [f"Latent {'; '.join(kinds)}."]
        column = next(iter(group.quality), None)
        if column is not None and (ties := ties_text(group, column)):
            floor = group.floor(column.metric)
            beside = f" Floor (train against test): {number(floor.mean)}." if floor is not None else ""
            sentences.append(f"{column.title}: {ties}.{beside}")
        illusions = [cell for cell in group.cells if cell.illusions["yes"]]
        if illusions:
            sentences.append(f"Dependency illusion: {_by_label(group, illusions)}.")
        found.append(Answer(group.name, sentences))
    return found


def _by_label(group: Group, chosen: Sequence[Cell]) -> str:
    """Cells as a reader counts them: "proposed (20 of its 24 settings), kl_annealing"."""
    settings, mine = Counter(cell.label for cell in group.cells), Counter(cell.label for cell in chosen)
    named = [
        label if settings[label] == 1 else f"{label} ({count} of its {settings[label]} settings)"
        for label, count in mine.items()
    ]
    return ", ".join(named)


def ties_text(group: Group, column: Column) -> str:
    """Who is best in a column and what cannot be told from it, in one sentence; "" where there is no value."""
    best = group.best(column.metric)
    if best is None:
        return ""
    places = group.standings[column.metric]
    text = f"best mean: {best.name}, {best.text(column.metric)}"
    tied = [(cell, places[cell.id]) for cell in group.cells if places[cell.id].place == "tie"]
    tied.sort(key=lambda pair: pair[1].rank)
    if not tied:
        return text + ("; every other is worse (95 %)" if len(places) > 1 else "")
    named = []
    for cell, standing in tied[:3]:
        named.append(f"{cell.name} ({unresolved(standing)})")
    rest = f" and {len(tied) - 3} more" if len(tied) > 3 else ""
    return f"{text}; not resolved against {', '.join(named)}{rest}"


def unresolved(standing: Standing) -> str:
    """What a comparison without a result could have found, and what more seeds would do."""
    if standing.gap.n < 2:
        return "fewer than two shared seeds"
    text = f"detectable: {number(standing.detectable)}" if math.isfinite(standing.detectable) else "no variance"
    if standing.more is not None:
        text += f"; {plural(standing.more.seeds, 'more seed')} would do with a chance of {standing.more.chance:.0%}"
    return text


def recommendations(group: Group) -> list[str]:
    """For every method with several settings: which one, and how many others cannot be told from it.

    Among settings whose latent is alive in every seed, where there are any, the best mean of the first quality column.
    """
    column = next(iter(group.quality), None)
    lines = []
    for label in dict.fromkeys(cell.label for cell in group.cells):
        cells = [cell for cell in group.cells if cell.label == label and column and cell.values.get(column.metric)]
        if column is None or column.direction == "none" or len(cells) < 2:
            continue
        alive = [cell for cell in cells if verdict_of(cell) == "alive"]
        pool = alive or cells
        places = standings(
            {cell.id: cell.values[column.metric] for cell in pool}, column.direction, units=pool[0].units
        )
        best = next(cell for cell in pool if places[cell.id].place == "best")
        ties = [standing.detectable for standing in places.values() if standing.place == "tie"]
        whose = f"{len(alive)} settings whose latent is alive" if alive else f"{len(cells)} settings (none is alive)"
        value = best.text(column.metric)
        lines.append(
            f"{group.name}, {label}: {best.variant}, the best mean {column.title} ({value}) of {whose}; "
            f"{len(ties) or 'none'} of the others cannot be told from it{_detectable([e for e in ties if e == e])}."
        )
    return lines


def collapse_began(selection: Selection, groups: Iterable[Group]) -> list[str]:
    """When the latent fell silent: the first check from which permuted - own NLL stays below `gap_collapsed`."""
    history = selection.history
    wide = scalars_by(history[history["metric"].isin(["nll_own", "nll_permuted"])], ["run_id", "train_step"])
    if not {"nll_own", "nll_permuted"} <= set(wide.columns):
        return []
    differences = (wide["nll_permuted"] - wide["nll_own"]).dropna()
    gaps: dict[str, list[tuple[int, float]]] = {}  # run -> (update, gap), in the order of updates
    for (run, step), gap in zip(differences.index, differences.tolist(), strict=True):
        gaps.setdefault(str(run), []).append((int(step), gap))
    lines = []
    for group in groups:
        for cell in group.cells:
            mine = [gaps[run] for run in cell.seeds if run in gaps]
            silent = [checks for checks in mine if checks[-1][1] < THRESHOLDS.gap_collapsed]
            if not silent:
                continue
            last = [
                max((k for k, (_, gap) in enumerate(c) if gap >= THRESHOLDS.gap_collapsed), default=-1) for c in silent
            ]
            at = sorted(checks[k + 1][0] for checks, k in zip(silent, last, strict=True) if k >= 0)
            words = [f"never informed x at any check in {len(silent) - len(at)}"] if len(at) < len(silent) else []
            if at:
                when = str(at[0]) if at[0] == at[-1] else f"{at[0]} to {at[-1]}"
                words.append(f"fell silent for good at update {when} in {len(at)}")
            lines.append(f"{group.name}, {cell.name}: the latent {' and '.join(words)} of {len(mine)} runs.")
    return lines
