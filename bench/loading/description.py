"""What can be said of a data set: its card, what was read from its files, its windows and parts, a figure."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import inspect
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bench.contracts import ONE_SPLIT, OVERLAPPING, Dataset, DatasetSpec, InputError, Recordings, Splits
from bench.loading.cells import MeasuredCells
from bench.loading.division import PARTS, divided
from bench.loading.fetch import recorded
from bench.loading.files import Remote, remotes
from bench.loading.latent_card import latent_card
from bench.loading.windows import without_effect
from bench.verdict import independent_windows


def kind(dataset: type[Dataset]) -> str:
    """The kind of a data set: open, restricted, simulated, or your own."""
    if dataset.restricted:
        return "restricted"
    if remotes(dataset):
        return "open"
    return "simulated" if dataset.source.startswith("simulated") else "your own"


def card(dataset: Dataset) -> list[str]:
    """The card of a data set, and its options; beside a file that is given, without those that list nothing."""
    options = [(item.name, getattr(dataset, item.name)) for item in dataclasses.fields(dataset)]
    if getattr(dataset, "path", ""):
        options = [(name, value) for name, value in options if value != ()]
    return [
        f"{dataset.name}: {inspect.getdoc(type(dataset))}",
        "",
        f"source: {dataset.source}",
        f"licence: {dataset.licence}",
        f"restricted: {'yes' if dataset.restricted else 'no'}",
        "options: " + ", ".join(f"{name} = {value!r}" for name, value in options),
        *(line for remote in remotes(type(dataset)) for line in _file(remote)),
    ]


def _file(remote: Remote) -> list[str]:
    """A file's place, address and hash, and how they are known."""
    where = f" ({remote.member} in it)" if remote.member else ""
    sha256 = remote.sha256 or "none is published; it is recorded at the first download"
    return [
        f"file: {remote.path}",
        f"  from {remote.url}{where}",
        f"  sha256 {sha256}{f'; {remote.known_from}' if remote.known_from else ''}",
    ]


ONE = "1: seeds are initialisations, and results say nothing about another split"
OVERLAP = "one for every seed; they deal the same rows anew, so their training parts overlap"
ATOMS = 3  # common values of a channel that are printed
SPLITS_OF = {
    **dict.fromkeys(ONE_SPLIT, ONE),
    **dict.fromkeys(OVERLAPPING, OVERLAP),
    "drawn": "one for every seed, each a fresh draw of the simulator",
}


def as_read(recordings: Recordings) -> list[str]:
    """What was understood of a user's file: its first rows, time, entities, and what was left out."""
    if not recordings.notes:
        return []
    rows = np.concatenate([np.asarray(series, dtype=np.float64) for series in recordings.series])
    same = int(pd.DataFrame(rows).duplicated().sum())
    equal = f"{same:,} of {len(rows):,} have the values of an earlier row" if same else "none"
    lines = ["as read from the file:", *(f"  {note}" for note in recordings.notes), f"  equal rows: {equal}"]
    for channel, name in enumerate(recordings.channels):
        seen = rows[~np.isnan(rows[:, channel]), channel]
        if not len(seen):
            lines.append(f"  channel {name}: no value")
            continue
        values, counts = np.unique(seen, return_counts=True)
        lines.append(
            f"  channel {name}: {seen.min():.6g} to {seen.max():.6g}, {len(values):,} different values, "
            f"{values[counts.argmax()]:.6g} in {counts.max() / len(seen):.1%} of the rows"
        )
    return lines


def contents(recordings: Recordings, splits: Splits, spec: DatasetSpec, seed: int) -> list[str]:
    """Rows, channels, missing values, windows and parts, line by line."""
    rows = np.concatenate([np.asarray(series, dtype=np.float64) for series in recordings.series])
    missing, still = np.isnan(rows).mean(axis=0), (np.ptp(splits.test, axis=1) == 0).mean(axis=0)
    lines = [
        f"rows: {len(rows):,} in {len(recordings.series):,} series",
        "channels (mean and sd of the training rows):",
    ]
    for channel, (name, unit) in enumerate(zip(splits.channels, splits.units, strict=True)):
        filled = f", {missing[channel]:.1%} missing and filled in" if missing[channel] else ""
        filled += f", constant in {still[channel]:.0%} of the test windows" if still[channel] >= 0.005 else ""
        filled += _measured(splits, channel)
        amount = f"{splits.mean[channel]:.4g} +- {splits.scale[channel]:.4g}"
        lines.append(f"  {name}{f' ({unit})' if unit else ''}: {amount}{filled}")
    share = missing.mean()
    lines.append(
        f"missing: {share:.1%} of all values; filled forward within a piece, then with the training median, so that "
        "such stretches are easy to predict from their own past"
        if share
        else "missing: nothing"
    )
    lines += pauses(recordings)
    gap = f", {recordings.gap} rows left out between parts" if recordings.gap else ""
    lines.append(
        f"windows: T = {splits.window}, test windows every {splits.test_stride} rows, split: {recordings.split}{gap}"
    )
    lines += without_effect(spec, splits)
    dealt = (
        f" ({len(set(recordings.entities))} entities)" if recordings.entities and splits.division == "entity" else ""
    )
    lines.append(f"different splits: {SPLITS_OF[splits.division]}{dealt}")
    dates = divided_times(recordings, spec, seed)
    for part in (*PARTS, "held_out"):
        if (windows := getattr(splits, part)) is not None:
            lines.append(f"  {part}: {len(windows):,} windows{dates.get(part, '')}")
    lines.append(f"  {_apart(splits, recordings)}")
    if splits.whole:
        lines.append("  every part is all windows: samples are compared with the windows that a method is trained on")
    elif splits.held_out is None:
        lines.append("  nothing is held out of the training recordings: samples are compared with the test windows")
    lines.append("what a window knows of itself:")
    lines += [f"  {name}: {words}" for name, words in latent_card(splits).to_facts().items()]
    lines.append(f"sha256 of the windows (seed {seed}): {splits.sha256}")
    return lines


def _apart(splits: Splits, recordings: Recordings) -> str:
    """How many test windows there are, how many of them share no row, and in how many groups they are."""
    n, alone = len(splits.test), int(independent_windows(len(splits.test), splits.window, splits.test_stride))
    words = f"{n:,} test windows = {alone:,} that share no row"
    if splits.test_groups is None:
        return words
    groups = len(np.unique(splits.test_groups))
    owners = len(np.unique(splits.entities["test"])) if splits.entities else n  # few are cut into stretches
    whole = recordings.split in ("entity", "given") and groups == owners
    kind, kinds = ("entity", "entities") if whole else ("stretch", "stretches")
    return f"{words}, in {groups:,} {kind if groups == 1 else kinds}"


def _measured(splits: Splits, channel: int) -> str:
    """Bounds, resolution and common values of a channel over the training rows, in raw units."""
    cells = splits.cells
    if not isinstance(cells, MeasuredCells):
        return ""
    raw = {"identity": "", "log1p": " before ln(1 + x)", "signed_log1p": " before the signed ln(1 + |x|)"}
    grid = f" in steps of {cells.width[channel]:.4g}" if cells.on_grid[channel] else " without a grid"
    atoms = ", ".join(f"{value:.4g} in {share:.0%}" for value, share in cells.atoms[channel][:ATOMS])
    bounds = f"{cells.low[channel]:.4g} to {cells.high[channel]:.4g}{grid}{raw[cells.transforms[channel]]}"
    return f"; {bounds}{f'; often {atoms}' if atoms else ''}"


def pauses(recordings: Recordings) -> list[str]:
    """How far apart neighbouring rows are; nothing where the rows have no time."""
    steps = [np.diff(times) for times in recordings.times if len(times) > 1]
    if not steps:
        return []
    between = np.concatenate(steps)
    usual, longest = (pd.Timedelta(value) for value in (np.median(between), between.max()))
    if between.min() == between.max():
        return [f"time between rows: always {usual}"]
    return [f"time between rows: {usual} in the median, {longest} at most (a window may span such a pause)"]


def divided_times(recordings: Recordings, spec: DatasetSpec, seed: int) -> dict[str, str]:
    """For each part: how many pieces, and from when to when; nothing where the rows have no time."""
    if not recordings.times:
        return {}
    texts = {}
    for part, pieces in divided(recordings.times, recordings, spec, seed).items():
        if not pieces:
            continue
        first, last = (np.datetime_as_string(f(pieces), unit="m").replace("T", " ") for f in (_first, _last))
        many = f"{len(pieces)} pieces between " if len(pieces) > 1 else ""
        texts[part] = f", {many}{first} and {last}" if many else f", {first} to {last}"
    return texts


def _first(pieces: Sequence[np.ndarray]) -> np.datetime64:
    return min(piece[0] for piece in pieces)


def _last(pieces: Sequence[np.ndarray]) -> np.datetime64:
    return max(piece[-1] for piece in pieces)


def draw(splits: Splits, spec: DatasetSpec, folder: Path) -> Path:
    """Six test windows, the first eight channels as lines, in train-scaled units, as NAME.png."""
    from matplotlib.figure import Figure

    chosen = np.linspace(0, len(splits.test) - 1, 6).astype(int)
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True, sharey=True)
    for axis, index in zip(axes.flat, chosen, strict=True):
        lines = axis.plot(np.arange(1, splits.window + 1), splits.test[index][:, :8], linewidth=1)
        axis.set_title(f"test window {index + 1}", fontsize=8)
    names = [f" {name}" for name in splits.channels[:8]]  # a name that begins with _ would be left out
    legend = figure.legend(lines, names, loc="outside upper center", ncols=8, fontsize=7, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a $ is a $
    figure.supxlabel("t", fontsize=8)
    count = len(splits.channels)
    figure.supylabel("train-scaled" + (f" (8 of {count} channels)" if count > 8 else ""), fontsize=8)
    own = dict(spec.options).get("path")
    path = folder / f"{spec.name}{f'-{Path(own).name}' if own else ''}.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise InputError(f"--out {folder}: cannot be written: {error.strerror or error}") from None
    return path


def checked(remote: Remote, path: Path | None) -> str:
    """Compare a stored file with the published hash of its content, else with the one noted when it was fetched."""
    if path is None:
        return "not here"
    try:
        found = content_sha256(path)
    except (OSError, EOFError, zlib.error) as error:
        return f"DIFFERS: {path}: cannot be read, perhaps cut short or damaged: {error}"
    known = remote.sha256 or recorded(path)
    if found in remote.copies:
        return f"{path}: ok, the copy that this project's numbers come from"
    if not known:
        return f"{path}: no checksum to compare with (sha256 {found})"
    return f"{path}: ok" if found == known else f"DIFFERS: {path}: SHA-256 is {found}, expected {known}"


def content_sha256(path: Path) -> str:
    """The SHA-256 of the content: a compressed table has the hash of the table, an archive (.tar.gz) its own."""
    digest = hashlib.sha256()
    with gzip.open(path) if path.suffix == ".gz" and not path.name.endswith(".tar.gz") else path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
