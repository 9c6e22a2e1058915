"""Which rows are for training, validation and testing, and which of the training rows are held out.

    recordings (entities of rows) -> pieces of rows -> train / validation / test (70 / 10 / 20)
        -> train / held out (where a piece is long)

A piece is a run of neighbouring rows of one entity that belongs to one part as a whole. With the split `whole`, which
the literature's protocol asks for, every part is all of the rows.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from bench.contracts import ONE_SPLIT, OVERLAPPING, TEST_SHARE, VALIDATION_SHARE, DatasetSpec, Recordings, Truth
from bench.randomness import numpy_generator

PARTS = ("train", "validation", "test")
HELD_OUT = 0.2  # of the rows of a long training piece: what samples are compared with
LONG = 8  # windows: in a shorter piece the rows held out and the gap beside them would leave too little for training
SHORT = 4  # windows: where series are shorter, many windows are at an end
BLOCKS = 40  # one long series is cut into at most this many blocks,
WINDOWS_PER_BLOCK = 4  # and a block is at least this many windows long while there are rows for three such blocks
GROUPS = 8  # at least, of test windows that resemble each other, where the recordings allow


def divided(
    series: Sequence[np.ndarray], recordings: Recordings, spec: DatasetSpec, seed: int
) -> dict[str, list[np.ndarray]]:
    """Pieces of something that belongs to the rows of recordings: `PARTS`, and `held_out`, which may be empty."""
    window = recordings.window
    rng = numpy_generator(spec.stream, seed, "split")
    gap = recordings.gap
    if recordings.split == "whole":
        return {**{name: list(series) for name in PARTS}, "held_out": []}
    parts = divide(series, recordings.split, window, rng, recordings.entities, recordings.parts, gap)
    at_random = recordings.split in OVERLAPPING
    rng = numpy_generator(spec.stream, seed if at_random else 0, "held out")  # one split stays one split
    owners = recordings.entities if recordings.split in ONE_SPLIT else ()
    if owners and recordings.split == "given":
        owners = [owner for owner, part in zip(owners, recordings.parts, strict=True) if part == "train"]
    kept, held_out = hold_out(parts["train"], window, rng, at_random, owners)
    return {**parts, "train": kept, "held_out": held_out}


def hold_out(
    pieces: Sequence[np.ndarray],
    window: int,
    rng: np.random.Generator,
    at_random: bool,
    owners: Sequence[str] = (),
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Training pieces, and the rows of the same recordings that nothing is trained on, in the order of the pieces.

    Samples are compared with windows of these rows, so that the shift between pieces is charged to no method. A piece
    of 8 windows or more gives a fifth of its rows, at an end that is drawn, and the T rows beside them are in neither
    part. A piece that is long beside the others is first seen as several stretches. Of shorter pieces a fifth are held
    out as a whole, neighbours of one owner together, as far as owners are known. Where all are short and the parts were
    drawn `at_random`, the test pieces are such a fifth already, and nothing is held out.
    """
    total = sum(map(len, pieces))
    stretch = max(LONG * window, total // round(BLOCKS * (1 - VALIDATION_SHARE - TEST_SHARE)))
    short = [index for index, piece in enumerate(pieces) if window <= len(piece) < LONG * window]
    if at_random and all(len(piece) < LONG * window for piece in pieces):
        return list(pieces), []
    runs = _runs([owners[index] for index in short]) if owners else list(range(len(short)))
    order = rng.permutation(max(runs, default=-1) + 1).tolist()
    drawn = set(order[: round(HELD_OUT * len(order))])
    chosen = {index for index, run in zip(short, runs, strict=True) if run in drawn}
    at_start = rng.random(len(pieces)) < 0.5
    train: list[np.ndarray] = []
    held_out: list[np.ndarray] = []
    for index, piece in enumerate(pieces):
        if len(piece) < LONG * window:
            (held_out if index in chosen else train).append(piece)
            continue
        cuts = np.linspace(0, len(piece), max(1, len(piece) // stretch) + 1).round().astype(int)
        learnt = np.ones(len(piece), dtype=bool)
        for first, last in itertools.pairwise(cuts):
            rows = round(HELD_OUT * (last - first))
            begin = first if at_start[index] else last - rows
            held_out.append(piece[begin : begin + rows])
            learnt[max(0, begin - window) : begin + rows + window] = False
        ends = np.flatnonzero(np.diff(learnt, prepend=False, append=False))
        train += [piece[begin:end] for begin, end in ends.reshape(-1, 2)]
    return train, held_out


def _runs(owners: Sequence[str]) -> list[int]:
    """A number per piece, the same for pieces that are held out together.

    All of one owner, where there are so many owners that a fifth of them are 8; else 8 neighbours of one owner.
    """
    places, _ = pd.factorize(np.asarray(owners, dtype=object))
    if places.max(initial=-1) + 1 >= GROUPS / HELD_OUT:
        return places.tolist()
    seen: Counter[int] = Counter()
    keys = []
    for place in places.tolist():
        keys.append((place, seen[place] // LONG))
        seen[place] += 1
    return pd.factorize(pd.Index(keys))[0].tolist()


def too_short(owner: str, rows: Sequence[int], window: int, split: str, gap: int = 0) -> str:
    """Why series of these lengths cannot be divided by `blocks` or `time`, and how many rows the longest one needs.

    blocks: a block of one window for every part that no other series can fill, with a gap on both sides. time: the
    smallest part, validation, has to hold a window.
    """
    longest = max(rows)
    share, blocks = VALIDATION_SHARE, max(len(PARTS) - len(rows) + 1, 1)
    needed = round((window + gap) / share) if split == "time" else (window + 2 * gap) * blocks
    has = f"{longest} rows give" if len(rows) == 1 else f"the longest of {len(rows)} series has {longest} rows, that is"
    windows = f"{longest // window} window{'' if longest // window == 1 else 's'} of T = {window}"
    return (
        f"{owner}: {has} {windows}; expected at least {needed} rows for training, "
        f"validation and test parts of a whole window each (split: {split}{', gap: T' if gap else ''})"
    )


def divide(
    series: Sequence[np.ndarray],
    split: str,
    window: int,
    rng: np.random.Generator,
    entities: Sequence[str] = (),
    parts: Sequence[str] = (),
    gap: int = 0,
) -> dict[str, list[np.ndarray]]:
    """Pieces of rows per part, in the order of the recordings.

    given: each series in the part that the data set names. entity: whole entities with all their series, permuted.
    blocks: contiguous blocks, permuted; about 40 of them, each of 4 windows or more where the rows allow.
    time: two cuts in time, the same shares in every series.
    gap: rows that are left out between neighbouring blocks of different parts, of the training block where one of the
    two is; the others are neither neighbours nor cut here.
    """
    if split == "given":
        return {name: [rows for rows, part in zip(series, parts, strict=True) if part == name] for name in PARTS}
    if split == "time":
        pieces: dict[str, list[np.ndarray]] = {name: [] for name in PARTS}
        for rows in series:
            apart = _apart(np.split(rows, cuts_in_time(len(rows))), PARTS, gap)
            for name, piece in zip(PARTS, apart, strict=True):
                pieces[name].append(piece)
        return pieces
    if split == "blocks":
        blocks = list(_blocks(series, window))
        whole = [[block] for rows in blocks for block in rows]
    else:
        whole = _grouped(series, entities)
    n_validation, n_test = (max(1, round(len(whole) * share)) for share in (VALIDATION_SHARE, TEST_SHARE))
    order = rng.permutation(len(whole))
    chosen = {"validation": order[:n_validation], "test": order[n_validation : n_validation + n_test]}
    chosen["train"] = order[n_validation + n_test :]
    if split == "blocks" and gap:
        part_of = {int(index): name for name in PARTS for index in chosen[name]}
        names = [part_of[index] for index in range(len(whole))]
        of_series = iter(names)
        spaced = [_apart(rows, list(itertools.islice(of_series, len(rows))), gap) for rows in blocks]
        whole = [[block] for rows in spaced for block in rows]
    return {name: [rows for index in sorted(chosen[name]) for rows in whole[index]] for name in PARTS}


def cuts_in_time(count: int) -> list[int]:
    """Where validation and test begin among `count` rows or days in time's order."""
    return [round(count * share) for share in (1 - VALIDATION_SHARE - TEST_SHARE, 1 - TEST_SHARE)]


def _apart(pieces: Sequence[np.ndarray], parts: Sequence[str], gap: int) -> list[np.ndarray]:
    """Neighbouring pieces of one series, with `gap` rows left out where their parts differ."""
    found = list(pieces)
    for k, (before, after) in enumerate(itertools.pairwise(parts)):
        if before == after or not gap:
            continue
        if before == "train":
            found[k] = found[k][: max(0, len(found[k]) - gap)]
        else:
            found[k + 1] = found[k + 1][gap:]
    return found


def _grouped(series: Sequence[np.ndarray], entities: Sequence[str]) -> list[list[np.ndarray]]:
    if not entities:
        return [[rows] for rows in series]
    groups: dict[str, list[np.ndarray]] = {}
    for owner, rows in zip(entities, series, strict=True):
        groups.setdefault(owner, []).append(rows)
    return list(groups.values())


def _blocks(series: Sequence[np.ndarray], window: int) -> Iterable[list[np.ndarray]]:
    total = sum(len(rows) for rows in series)
    length = min(max(WINDOWS_PER_BLOCK * window, total // BLOCKS), total // len(PARTS))
    if len(series) < len(PARTS):  # so that there is a block for every part, the longest series gives the ones missing
        length = min(length, max(map(len, series)) // (len(PARTS) - len(series) + 1))
    for rows in series:
        yield np.array_split(rows, max(1, len(rows) // max(length, 1)))


def _marked(series: Sequence[np.ndarray], marks: np.ndarray) -> list[np.ndarray]:
    """A column (rows, 1) of each series that holds its mark: slices of one array, because series may be many."""
    lengths = [len(rows) for rows in series]
    column = np.repeat(marks, lengths)[:, None]
    return [column[end - length : end] for length, end in zip(lengths, np.cumsum(lengths).tolist(), strict=True)]


def divided_truth(
    series: Sequence[np.ndarray], recordings: Recordings, spec: DatasetSpec, seed: int
) -> Mapping[str, Truth]:
    """Each part's rows of the truth, in the order of its windows: a window has the row of the series it is cut from."""
    if not recordings.truth:
        return {name: {} for name in PARTS}
    chosen = _marks_of_windows(np.arange(len(series)), series, recordings, spec, seed)
    return {name: {factor: values[chosen[name]] for factor, values in recordings.truth.items()} for name in PARTS}


def entities_of(
    series: Sequence[np.ndarray], recordings: Recordings, spec: DatasetSpec, seed: int
) -> dict[str, np.ndarray]:
    """Of which entity each window of each part is, (n,), in the order of its windows; none where no entity has several.

    Under the literature's protocol, where every part is all windows, no entity is kept apart. Series without names are
    entities where they are in one part as a whole.
    """
    if recordings.split == "whole" or not (recordings.entities or recordings.split in ("entity", "given")):
        return {}
    whose = _owners(series, recordings)
    found = _marks_of_windows(whose, series, recordings, spec, seed)
    return found if any(len(np.unique(whose)) < len(whose) for whose in found.values()) else {}


def starts_of(
    series: Sequence[np.ndarray], recordings: Recordings, spec: DatasetSpec, seed: int
) -> dict[str, np.ndarray]:
    """The row at which each window of each part begins, (n,), where series are short and entities of their own.

    Rows are counted through the pieces of a series, and T more between two series, so that windows of different ones
    share no row. None where series are long, so that few windows are at their ends, or neighbours of one entity: rows
    are then counted through all of them by `Splits.strides`, which takes a few windows more for neighbours.
    """
    owners = _owners(series, recordings)
    short = np.median([len(rows) for rows in series]) < SHORT * recordings.window
    if not (short and len(np.unique(owners)) == len(series)):
        return {}
    found = {}
    pieces = _windows_of_pieces(owners, series, recordings, spec, seed)
    for name, (owner, counts, stride) in pieces.items():
        apart = np.cumsum(np.diff(owner, prepend=owner[:1]) != 0) * recordings.window
        found[name] = stride * np.arange(counts.sum()) + np.repeat(apart, counts)
    return found


def _owners(series: Sequence[np.ndarray], recordings: Recordings) -> np.ndarray:
    """A number per series, the same for those of one entity, (n,); without names each is an entity."""
    if not recordings.entities:
        return np.arange(len(series))
    return np.unique(np.asarray(recordings.entities), return_inverse=True)[1]


def _marks_of_windows(
    marks: np.ndarray, series: Sequence[np.ndarray], recordings: Recordings, spec: DatasetSpec, seed: int
) -> dict[str, np.ndarray]:
    """The mark of the series that each window of each part is cut from, (n,), in the order of its windows."""
    pieces = _windows_of_pieces(marks, series, recordings, spec, seed)
    return {name: np.repeat(mark, counts) for name, (mark, counts, _) in pieces.items()}


def _windows_of_pieces(
    marks: np.ndarray, series: Sequence[np.ndarray], recordings: Recordings, spec: DatasetSpec, seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
    """Of the pieces of each part that hold windows: the mark and the number of windows, (k,) each, and the stride."""
    window, found = recordings.window, {}
    for name, pieces in divided(_marked(series, marks), recordings, spec, seed).items():
        stride = recordings.train_stride if name in ("train", "validation") else recordings.test_stride
        long = [piece for piece in pieces if len(piece) >= window]
        counts = [(len(piece) - window) // stride + 1 for piece in long]
        mark = np.array([piece[0, 0] for piece in long], dtype=np.int64)
        found[name] = mark, np.array(counts, dtype=np.int64), stride
    return found


def groups_of(
    series: Sequence[np.ndarray], recordings: Recordings, spec: DatasetSpec, seed: int
) -> dict[str, np.ndarray]:
    """Which validation and test windows belong together, (n,) each: those of one entity, or of one piece.

    Where there are fewer than 8 of these, each is cut into neighbouring windows, two windows' length or more of rows,
    so that there are about 8: few enough that a group is long beside the memory of most recordings.
    """
    window = recordings.window
    parts = divided(_marked(series, _owners(series, recordings)), recordings, spec, seed)
    strides, found = {"validation": recordings.train_stride, "test": recordings.test_stride}, {}
    for name, stride in strides.items():
        pieces = [piece for piece in parts[name] if len(piece) >= window]
        counts = [(len(piece) - window) // stride + 1 for piece in pieces]
        keys = [int(piece[0, 0]) if recordings.split in ("entity", "given") else k for k, piece in enumerate(pieces)]
        cuts = [1] * len(pieces)
        if len(set(keys)) < GROUPS:
            shortest, total = 2 * math.ceil(window / stride), sum(counts)
            cuts = [max(1, min(math.ceil(GROUPS * n / total), n // shortest)) for n in counts]
        each = zip(keys, counts, cuts, strict=True)
        found[name] = np.concatenate([key * GROUPS + np.arange(n) * cut // n for key, n, cut in each])
    return found
