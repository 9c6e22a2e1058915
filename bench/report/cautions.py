"""Is the model trained? What must be known of it before its samples are believed: calibration, and copies.

A sign stands beside the name of a method in every table that ranks its samples; sentences say it in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from bench.registry import METHODS
from bench.report.cells import Cell
from bench.report.columns import AS_HELD_OUT, COPIES_Z, MOST_DISTANCE, RATIOS
from bench.report.formatting import number

CALIBRATION = "†"
COPIES = "‡"
CALIBRATION_LIMITS = (
    f"a calibration distance of at most {MOST_DISTANCE:g}, a residual / sigma of {RATIOS[0]:g} to {RATIOS[1]:g}"
)
COPIES_RULE = (
    f"the 95 % interval over seeds (for one seed, the value) of the measure of copies lies above {AS_HELD_OUT:g}, "
    f"and its mean z above {COPIES_Z:g}"
)
MEANING = {
    CALIBRATION: f"The decoder is not calibrated on validation windows. Good: {CALIBRATION_LIMITS}.",
    COPIES: f"The samples are copies of training windows: {COPIES_RULE}.",
}
"""Sign -> what it means, in one legend for all tables."""


def uncalibrated(cell: Cell) -> list[int]:
    """The seeds whose decoder is outside the limits."""
    far = {seed for seed, value in cell.values.get("calibration_distance", {}).items() if value > MOST_DISTANCE}
    low, high = RATIOS
    return sorted(far | {s for s, ratio in cell.values.get("residual_ratio", {}).items() if not low <= ratio <= high})


def not_converged(runs: pd.DataFrame) -> set[str]:
    """The finished runs of which a stage ended at its maximum, before its objective had stopped improving."""
    return set[str]().union(*ended_early(runs).values())


def ended_early(runs: pd.DataFrame) -> dict[str, set[str]]:
    """Stage -> the finished runs that ended at its maximum, before its objective had stopped improving.

    Not those of which nobody knows, nor those whose denoiser makes one update: it is none (`no_latent` has no use
    for it).
    """
    known = runs.reindex(columns=["run_id", "status", "converged", "denoiser_converged", "denoiser_updates"])
    known = known[known["status"] == "ok"]
    ended = {
        "autoencoder": known["converged"] == False,  # noqa: E712  (null is no answer)
        "denoiser": (known["denoiser_converged"] == False) & (known["denoiser_updates"] > 1),  # noqa: E712
    }
    return {stage: set(known.loc[early.fillna(False).astype(bool), "run_id"]) for stage, early in ended.items()}


def copies(cell: Cell) -> bool:
    """Whether the samples are significantly nearer to the training windows than held-out windows are."""
    share, z = cell.interval("copies"), cell.interval("copies_z")
    if cell.kind != "method" or not z.mean > COPIES_Z:
        return False
    return (share.low if share.n > 1 else share.mean) > AS_HELD_OUT


def signs(cell: Cell) -> str:
    """The signs of a method, "" where there is none or for a reference."""
    if cell.kind != "method":
        return ""
    return (CALIBRATION if uncalibrated(cell) else "") + (COPIES if copies(cell) else "")


def shown_signs(cells: Iterable[Cell]) -> list[tuple[str, str]]:
    """The signs of these cells, and what they mean."""
    seen = "".join(signs(cell) for cell in cells)
    return [(sign, meaning) for sign, meaning in MEANING.items() if sign in seen]


def signed_name(cell: Cell) -> str:
    """The name of a cell and its signs."""
    return " ".join(filter(None, [cell.name, signs(cell)]))


def is_reference(cell: Cell) -> bool:
    """Whether a method is registered as another kind of generator, and not as an answer to posterior collapse."""
    return cell.kind == "method" and cell.method in METHODS and METHODS[cell.method].reference


def said_name(cell: Cell) -> str:
    """The name of a cell in a sentence that ranks it; a reference says so, and so does a method that copies."""
    reference = " [reference generator]" if is_reference(cell) else ""
    return f"{cell.name}{reference}{' [samples are copies]' if copies(cell) else ''}"


def cautions(cell: Cell) -> str:
    """The same in words, for a file: "decoder not calibrated in 1 of 3 seeds, samples are copies"."""
    if cell.kind != "method":
        return ""
    seeds = uncalibrated(cell)
    calibration = f"decoder not calibrated in {len(seeds)} of {cell.status.total()} seeds" if seeds else ""
    return ", ".join(filter(None, [calibration, "samples are copies" if copies(cell) else ""]))


def about_training(cells: Iterable[Cell]) -> list[str]:
    """How training ended, which decoders are not calibrated and which methods copy, and what was not measured."""
    methods = [cell for cell in cells if cell.kind == "method" and cell.ok]
    if not methods:
        return []
    calibrated = [cell for cell in methods if cell.values.get("calibration_distance")]
    checked = [cell for cell in methods if cell.values.get("copies_z")]
    bad = {cell.id: len(uncalibrated(cell)) for cell in calibrated if uncalibrated(cell)}
    sentences = _about_plateaus(methods)
    if bad:
        chosen = [cell for cell in calibrated if cell.id in bad]
        named = _by_place(chosen, methods, lambda cell: f"{bad[cell.id]} of {cell.status.total()} seeds")
        sentences.append(f"Decoders that are not calibrated ({CALIBRATION}; good is {CALIBRATION_LIMITS}): {named}.")
    if copying := [cell for cell in checked if copies(cell)]:
        named = _by_place(copying, methods, lambda cell: f"copies {number(cell.interval('copies').mean)}")
        sentences.append(f"Samples that are copies of training windows ({COPIES}): {named}.")
    fine = [
        *(["every decoder is calibrated within the limits"] if calibrated and not bad else []),
        *(["no method copies training windows"] if checked and not copying else []),
    ]
    if fine:
        sentences.append(f"{' and '.join(fine).capitalize()}{_where(calibrated + checked, methods)}.")
    missing = [
        *(["calibration of the decoder"] if len(calibrated) < len(methods) else []),
        *(["copies"] if len(checked) < len(methods) else []),
    ]
    if missing:
        some = "" if not calibrated and not checked else " for every method"
        sentences.append(f"Not measured{some}: {', '.join(missing)}.")
    return sentences


def _about_plateaus(methods: Sequence[Cell]) -> list[str]:
    """Of how many runs nobody can know whether they reached a plateau; [] where that is known of all."""
    count = sum(cell.fixed for cell in methods if not (cell.fixed and _trains_elsewhere(cell)))
    if not count:
        return []
    total = sum(cell.ok for cell in methods)
    which = "The run" if count == total == 1 else f"All {total} runs" if count == total else f"{count} of {total} runs"
    unknown = f"whether {'it has' if count == 1 else 'they have'} reached a plateau is unknown"
    return [f"{which} made a fixed number of updates (`train.patience` is 0), so {unknown}."]


def _trains_elsewhere(cell: Cell) -> bool:
    """Whether the patience of the autoencoder means nothing to a method, because it has none."""
    return cell.method in METHODS and "train.patience" in METHODS[cell.method].without_effect


def _where(measured: Sequence[Cell], methods: Sequence[Cell]) -> str:
    return "" if {cell.id for cell in measured} == {cell.id for cell in methods} else ", where it was measured"


def _by_place(chosen: Sequence[Cell], methods: Sequence[Cell], detail: Callable[[Cell], str]) -> str:
    """ "proposed (2 of 3 seeds), kl_free (1 of 3 seeds) on energy; ..."; backbones are named where several."""
    several = len({cell.backbone for cell in methods}) > 1
    places: dict[str, list[str]] = {}
    for cell in chosen:
        parts = [cell.dataset, "shuffled" if cell.shuffle else "", cell.backbone if several else ""]
        places.setdefault(" · ".join(filter(None, parts)), []).append(f"{cell.name} ({detail(cell)})")
    return "; ".join(f"{', '.join(names)} on {place}" for place, names in places.items())


def about_bounds(cells: Sequence[Cell], metric: str, title: str) -> list[str]:
    """What limits the numbers of a measure that cannot exceed ln M: which M, and that several cannot be compared."""
    known = [cell for cell in cells if cell.latents(metric)]
    if not known:
        return []
    counts = sorted({m for cell in known for m in cell.latents(metric)})
    sentences = []
    if len(counts) > 1:
        sentences.append(
            f"{title}: the numbers M of latents are {', '.join(map(str, counts))}. Values of different M cannot be "
            "compared, so they are neither averaged nor to be read side by side."
        )
    if any(cell.at_bound(metric) for cell in known):
        sentences.append(f'{title}: ">=" marks values near their bound ln M, which have no order.')
    return sentences
