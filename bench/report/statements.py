"""Sentences that state what the numbers show, and no more than they show."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pandas as pd

from bench.report.cautions import about_bounds, about_training, copies, is_reference, said_name
from bench.report.cells import VERDICTS, Cell, scalars_by, verdict_of
from bench.report.columns import BOUNDED, LONG, Column
from bench.report.formatting import number, plural, signed
from bench.report.ranking import BASELINE, Group, floor_of
from bench.report.selection import Selection
from bench.report.statistics import ALPHA, Gap, Standing, detectable, difference, paired, standings
from bench.verdict import THRESHOLDS, independent_windows

MOST_NAMES = 3  # in one sentence
FEW_WINDOWS = 30
"""With fewer independent windows to compare samples with, a distance between distributions is mostly noise."""


class Answer(NamedTuple):
    """What the numbers allow to be said about one thing."""

    about: str
    sentences: list[str]


def few_windows(runs: pd.DataFrame) -> dict[str, str]:
    """Data set -> a warning, for those whose samples are compared with fewer than FEW_WINDOWS independent windows.

    These are the windows held out of the training recordings where there are such (`Splits.reference`), and they are
    cut as the test windows are. The seed with the fewest counts.
    """
    found = {}
    shapes = runs.reindex(columns=["dataset", "n_held_out", "n_test", "window", "test_stride"]).drop_duplicates()
    for dataset, rows in shapes.groupby("dataset", sort=False):
        counts = []
        for held_out, test, window, stride in rows.drop(columns="dataset").fillna(0).astype(int).to_numpy().tolist():
            n, which = (held_out, "held-out") if held_out else (test, "test")
            if n:
                counts.append((independent_windows(n, window, stride), n, which))
        if counts and (fewest := min(counts))[0] < FEW_WINDOWS:
            independent, n, which = fewest
            overlap = f" ({n} that overlap)" if independent < n else ""
            amount = plural(int(independent), f"independent {which} window")
            found[str(dataset)] = (
                f"{dataset} has {amount}{overlap}, fewer than {FEW_WINDOWS}. "
                "Do not draw conclusions about the samples from so few."
            )
    return found


def headline(groups: Sequence[Group], selection: Selection) -> list[Answer]:
    """Over all data sets: are the models trained, is the latent used, are the samples better, how certain is that."""
    chosen = compared(groups)
    found = [
        Answer("Are the models trained?", about_training(cell for group in groups for cell in group.cells)),
        Answer("Which methods use the latent?", _who_lives(chosen)),
        Answer("Which methods generate better samples?", _who_samples_better(chosen)),
        Answer("How certain are these results?", _how_certain(groups, selection)),
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
        said = [("without a latent" if word == "absent" else word, count) for word, count in profile]
        words_ = said[0][0] if len(said) == 1 else listed([f"{word} on {count}" for word, count in said])
        where = f"on {total}" if len(profile) == 1 else f"of {total}"
        sentences.append(f"{words_.capitalize()} {where}: {', '.join(profiles[profile])}.")
    return sentences


def _of(count: int, groups: Sequence[Group]) -> str:
    """ "4 data sets"; where there are several backbones, pairs are counted; one is called by its name."""
    if len(groups) == 1:
        return groups[0].name
    one_backbone = len({group.backbone for group in groups}) == 1
    many = "" if count == 1 else "s"
    return f"{count} data set{many}" if one_backbone else f"{count} pair{many} of data set and backbone"


def _who_samples_better(groups: Sequence[Group]) -> list[str]:
    """Every method's best setting against the baseline, paired over seeds; and whose samples are best."""
    ranked = [group for group in groups if group.quality]
    if not ranked:
        return []
    column = ranked[0].quality[0]
    measure = measure_of(column)
    gaps, count = _against_baseline(ranked, column)
    shown = [cell for group in ranked for cell in group.best_settings.values()]
    scored = {cell.label for cell in shown if cell.values.get(column.metric)}
    copying = Counter(cell.label for cell in shown if copies(cell))
    references = {cell.label for cell in shown if is_reference(cell)}
    outcomes: dict[str, list[str]] = {"better": [], "worse": [], "neither": []}
    for label, found in gaps.items():
        if label not in scored:
            continue
        at = [gap.at(1 - ALPHA / count) for gap in found]
        better = sum(each.high < 0 and not gap.lacks for each, gap in zip(at, found, strict=True))
        worse = sum(each.low > 0 and not gap.other_lacks for each, gap in zip(at, found, strict=True))
        caution = " [reference generator]" if label in references else ""
        caution += f" [samples are copies on {_of(copying[label], ranked)}]" if copying[label] else ""
        for word, times in (("better", better), ("worse", worse)):
            if times:
                where = f" (on {times} of {len(found)})" if len(ranked) > 1 else ""
                outcomes[word].append(f"{label}{where}{caution}")
        if not better and not worse:
            smallest = [effect for each in at if math.isfinite(effect := detectable(each, ALPHA / count))]
            found_by = _detectable(smallest, column.span, max((each.n for each in at), default=0))
            outcomes["neither"].append(f"{label}{found_by}{caution}")
    family = corrected(count, f"with {BASELINE} on {_of(len(ranked), ranked)}")
    starts = {
        "better": f"Significantly better than {BASELINE} in the {measure}{family}",
        "worse": f"Significantly worse than {BASELINE} in the {measure}{family}",
        "neither": f"No significant difference from {BASELINE} in the {measure}{family}",
    }
    sentences = [f"{start}: {', '.join(outcomes[word])}." for word, start in starts.items() if outcomes[word]]
    if silent := [label for label in gaps if label not in scored]:
        sentences.append(f"No finished run to compare: {', '.join(silent)}.")
    best = [(cell, group) for group in ranked if (cell := group.best(column.metric))]
    words = Counter(verdict_of(cell) for cell, _ in best)
    if len(best) == 1:
        sentences.append(f"{said_name(best[0][0])} has the best mean. Its latent is {next(iter(words))}.")
    elif best:
        counts = listed([f"{word} on {words[word]}" for word in VERDICTS if words[word]])
        sentences.append(f"The latent of the method with the best mean is {counts} of {_of(len(best), ranked)}.")
    return sentences


def corrected(count: int, which: str) -> str:
    """The family of tests that a statement about significance is corrected for; "" for a single test."""
    return f" (corrected for {count} comparisons {which})" if count > 1 else ""


def _detectable(effects: Sequence[float], span: float, n: int) -> str:
    """The smallest effects that comparisons without a result could have found; "" where nothing is known of them.

    span: of the measure, see `Column`. n: the most seeds that one of these comparisons has.
    """
    if not effects:
        return ""
    if min(effects) > span:
        return f" ({nothing_detectable(n)})"
    low, high = number(min(effects)), number(max(effects))
    if max(effects) > span:
        return f" (detectable: {low} or more)"
    return f" (detectable: {low if low == high else f'{low} to {high}'})"


def nothing_detectable(n: int, repeat: str = "seed") -> str:
    """Said where the smallest detectable difference is larger than two values of the measure can differ by."""
    return f"no possible difference could have been found with {plural(n, repeat)}"


def _against_baseline(groups: Sequence[Group], column: Column) -> tuple[dict[str, list[Gap]], int]:
    """Label -> its best setting minus the baseline's, per group, below 0 where it is better; paired over seeds.

    To be corrected for every comparison that could have been made (Bonferroni), because the numbers that choose a
    setting judge it: their number is returned as well.
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
    found: dict[str, list[Gap]] = {}
    for label, *both in pairs:
        mine, other = ({seed: sign * v for seed, v in c.values.get(column.metric, {}).items()} for c in both)
        found.setdefault(label, []).append(paired(mine, other, both[0].repeats))
    return found, count


def _how_certain(groups: Sequence[Group], selection: Selection) -> list[str]:
    counts = sorted({cell.ok for group in groups for cell in group.cells} - {0})
    sentences = []
    if counts == [1]:
        sentences.append(
            "There is one seed, so no difference can be tested. Run more seeds before you conclude anything."
        )
    elif counts:
        seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        sentences.append(f"Each mean is over {seeds} seeds.")
        sentences.append(
            "Differences are tested at the 5 % level, paired over seeds and corrected for the number of comparisons."
        )
        sentences.append("Methods without a significant difference may still differ.")
        if counts[0] < 3:
            sentences.append("With so few seeds the intervals are wide. Run more seeds before you conclude anything.")
    runs = selection.runs
    if selection.pending:
        have = "has" if selection.pending == 1 else "have"
        sentences.append(f"{plural(selection.pending, 'run')} of this sweep {have} not finished yet.")
    bad = Counter(runs["status"].astype(str)) if len(runs) else Counter()
    bad.pop("ok", None)
    if bad:
        sentences.append(f"Not every run finished: {', '.join(f'{n} {word}' for word, n in bad.most_common())}.")
    return sentences


def answer(groups: Iterable[Group]) -> list[Answer]:
    """One data set after the other: what the latent does, and which method is best."""
    found = []
    for group in groups:
        words: dict[str, list[Cell]] = {}
        for cell in group.cells:
            words.setdefault(verdict_of(cell), []).append(cell)
        sentences = [f"Latent {word}: {_by_label(group, words[word])}." for word in VERDICTS if word in words]
        sentences += bounds(group)
        column = next(iter(group.quality), None)
        if column is not None and (best := best_text(group, column)):
            sentences.append(best)
            if (floor := group.floor(column.metric)) is not None:
                sentences.append(f"The floor ({group.about_floor(column.metric)}) is {number(floor.mean)}.")
                if (first := group.best(column.metric)) and (above := group.above_floor(first, column)).n:
                    sentences.append(f"The best mean minus the floor of the same seeds is {signed(above)}.")
        sentences += bottleneck(group)
        if illusions := [cell for cell in group.cells if cell.illusions["yes"]]:
            sentences.append(f"Dependency illusion: {_by_label(group, illusions)}.")
        found.append(Answer(group.name, sentences))
    return found


def bounds(group: Group) -> list[str]:
    """What limits the columns that cannot exceed ln M, in a sentence or two each."""
    return [
        sentence
        for column in group.columns
        if column.metric in BOUNDED
        for sentence in about_bounds(group.cells, column.metric, column.title)
    ]


def _by_label(group: Group, chosen: Sequence[Cell]) -> str:
    """Cells as a reader counts them: "proposed (20 of its 24 settings), kl_annealing"."""
    settings, mine = Counter(cell.label for cell in group.cells), Counter(cell.label for cell in chosen)
    named = [
        label if settings[label] == 1 else f"{label} ({count} of its {settings[label]} settings)"
        for label, count in mine.items()
    ]
    return ", ".join(named)


def best_text(group: Group, column: Column) -> str:
    """Who is best by a measure, and from whom it differs significantly; "" where there is no value."""
    best = group.best(column.metric)
    if best is None:
        return ""
    measure, places = measure_of(column), group.standings[column.metric]
    ranked = sorted(group.cells, key=lambda cell: places[cell.id].rank or len(group.cells) + 1)
    of = {word: [cell for cell in ranked if places[cell.id].place == word] for word in ("tie", "worse", "incomplete")}
    whose = f"{said_name(best)} ({best.text(column.metric)})"
    family = corrected(sum(place.place != "none" for place in places.values()) - 1, "with the best mean in this table")
    if of["worse"]:
        alone = not of["tie"] and not of["incomplete"] and len(of["worse"]) > 1
        others = "all others" if alone else _first_few([said_name(cell) for cell in of["worse"]])
        sentences = [f"Best by the {measure}: {whose}, significantly better than {others}{family}."]
    elif of["tie"] and all(places[cell.id].gap.n < 2 for cell in of["tie"]):
        sentences = [
            f"No difference in the {measure} can be tested with fewer than two shared seeds. Best mean: {whose}."
        ]
    elif of["tie"]:
        start = f"No significant difference between the methods in the {measure}{family}"
        sentences = [f"{start}: none is significantly worse than {whose}, which has the best mean."]
    else:
        sentences = [f"Only {whose} can be ranked by the {measure}."]
    if of["tie"] and of["worse"]:
        sentences.append(f"Not significantly worse: {_first_few([said_name(cell) for cell in of['tie']])}.")
    if tested := [cell for cell in of["tie"] if places[cell.id].gap.n > 1]:
        repeat = "split" if best.repeats.units else "seed"
        effects = {cell.id: places[cell.id].detectable for cell in tested}
        hardest = max(tested, key=lambda cell: effects[cell.id] if math.isfinite(effects[cell.id]) else -math.inf)
        power = unresolved(places[hardest.id], repeat, column.span)
        sentences.append(f"What this comparison can show: for {said_name(hardest)} {power}.")
    if of["incomplete"]:
        sentences.append(
            f"Not ranked because seeds are missing: {_first_few([said_name(c) for c in of['incomplete']])}."
        )
    return " ".join(sentences)


def measure_of(column: Column) -> str:
    """A column's measure as a sentence names it."""
    return LONG.get(column.metric, column.title)


def listed(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _first_few(names: Sequence[str]) -> str:
    few = list(names[:MOST_NAMES])
    return listed([*few, f"{len(names) - MOST_NAMES} others"] if len(names) > MOST_NAMES + 1 else list(names))


def unresolved(standing: Standing, repeat: str = "seed", span: float = math.inf) -> str:
    """What a comparison without a result could have found, and what more repeats of this kind would do.

    span: the largest difference that two values of the measure can have.
    """
    if standing.gap.n < 2:
        return f"fewer than two shared {repeat}s"
    if not math.isfinite(standing.detectable):
        return f"no variance over {repeat}s"
    if standing.detectable > span:
        return nothing_detectable(standing.gap.n, repeat)
    text = f"a true difference of {number(standing.detectable)} would be found with 80 % power"
    if standing.more is not None:
        more = plural(standing.more.seeds, f"more {repeat}")
        text += f", and {more} would resolve the observed one with a chance of {standing.more.chance:.0%}"
    return text


def recommendations(group: Group) -> list[str]:
    """For every method with several settings: which one is best, and than how many others it is significantly better.

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
            {cell.id: cell.values[column.metric] for cell in pool}, column.direction, repeats=pool[0].repeats
        )
        best = next((cell for cell in pool if places[cell.id].place == "best"), None)
        if best is None:  # no two settings share a seed
            continue
        worse = sum(standing.place == "worse" for standing in places.values())
        copied = " [samples are copies]" if copies(best) else ""
        ties = [each for each in places.values() if each.place == "tie" and math.isfinite(each.detectable)]
        whose = f"{len(alive)} settings whose latent is alive" if alive else f"{len(cells)} settings (none is alive)"
        start = f"{group.name}, {label}: {best.variant}{copied} is the"
        value = f"{measure_of(column)} ({best.text(column.metric)})"
        if len(pool) == 1:
            lines.append(f"{start} only one of {len(cells)} settings whose latent is alive, with a {value}.")
            continue
        effects, n = [each.detectable for each in ties], max((each.gap.n for each in ties), default=0)
        lines.append(
            f"{start} best of {whose} by the {value}. It is significantly better than {worse} of the other "
            f"{len(pool) - 1}{_detectable(effects, column.span, n)}."
        )
    return lines


def bottleneck(group: Group) -> list[str]:
    """Which part keeps samples away from the data: the decoder, the diffusion, or neither; no sentence without it.

    The diffusion's share is the distance of samples from the diffusion minus that of series decoded from posteriors,
    paired over seeds. The decoder's share is the latter minus the floor, where there is one. A share counts when its
    interval lies above 0; with one seed no share can be tested, so none is named.
    """
    floor = floor_of(group.references, "sliced_wasserstein")
    words: dict[str, list[str]] = {}
    for cell in group.cells:
        decoded, drawn = (cell.values.get(f"sliced_from_{end}", {}) for end in ("posteriors", "diffusion"))
        gap = difference(drawn, decoded, 1 - ALPHA, cell.repeats)
        over = difference(decoded, floor.values["sliced_wasserstein"] if floor else {}, 1 - ALPHA, cell.repeats)
        if not gap.n:
            continue
        shares = {"the diffusion": gap, "the decoder": over}
        found = {part: share.mean for part, share in shares.items() if share.low > 0}
        word = max(found, key=lambda part: found[part]) if found else "neither part"
        if gap.n == 1:
            word = "not tested (one seed)"
        of_decoder = f", {number(over.mean)} decoder" if over.n else ""
        words.setdefault(word, []).append(f"{cell.name} ({number(gap.mean)} diffusion{of_decoder})")
    if not words:
        return []
    named = "; ".join(f"{word}: {', '.join(cells)}" for word, cells in words.items())
    return [f"What keeps samples from the data, in sliced Wasserstein distance: {named}."]


def collapse_began(selection: Selection, groups: Iterable[Group]) -> list[str]:
    """When the latent collapsed: the first check from which permuted - own NLL stays below `gap_collapsed`.

    Of runs whose verdict is by that gap or `collapsed`: where nats per series say that a latent is used, a gap that is
    small per value says nothing else.
    """
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
            if not cell.has_latent:
                continue
            by_nats = cell.values.get("latent_information", {})
            mine = [run for run in cell.seeds if run in gaps]
            silent = [
                gaps[run]
                for run in mine
                if gaps[run][-1][1] < THRESHOLDS.gap_collapsed
                and (cell.seeds[run] not in by_nats or cell.said[run] == "collapsed")
            ]
            if not silent:
                continue
            last = [
                max((k for k, (_, gap) in enumerate(c) if gap >= THRESHOLDS.gap_collapsed), default=-1) for c in silent
            ]
            at = sorted(checks[k + 1][0] for checks, k in zip(silent, last, strict=True) if k >= 0)
            never = len(silent) - len(at)
            sentences = [f"In {never} of {len(mine)} runs the latent was not used at any check."] if never else []
            if at:
                when = str(at[0]) if at[0] == at[-1] else f"{at[0]} to {at[-1]}"
                sentences.append(
                    f"In {len(at)} of {len(mine)} runs the latent was used at first, but not from update {when} on."
                )
            lines.append(f"{group.name}, {cell.name}: {' '.join(sentences)}")
    return lines
