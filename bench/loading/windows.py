"""Split first, then scale on the training rows, then cut windows; no other module does any of this.

    recordings (entities of rows) -> pieces of rows -> train / validation / test (70 / 10 / 20)
        -> train / held out (where a piece is long) -> fill missing values -> scale -> windows

A piece is a run of neighbouring rows of one entity that belongs to one part as a whole. Windows are
cut inside a piece, so no row is ever in two parts, whatever the strides are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.contracts import (
    ONE_SPLIT,
    OVERLAPPING,
    TEST_SHARE,
    VALIDATION_SHARE,
    Dataset,
    DatasetSpec,
    InputError,
    Recordings,
    Splits,
    Truth,
    Unavailable,
    check_options,
    in_one_line,
    nearest,
)
from bench.loading.cells import measure_cells, resolutions_of
from bench.loading.days import day_windows
from bench.loading.files import anchored, remotes, stored
from bench.randomness import numpy_generator
from bench.registry import DATASETS

PARTS = ("train", "validation", "test")
HELD_OUT = 0.2  # of the rows of a long training piece: what samples are compared with
LONG = 8  # windows: in a shorter piece the rows held out and the gap beside them would leave too little for training
LARGEST = 1e30  # of a value: float32 holds it, and its square has room in float64
BLOCKS = 40  # one long series is cut into at most this many blocks,
WINDOWS_PER_BLOCK = 4  # and a block is at least this many windows long while there are rows for three such blocks
SPLITS = (*OVERLAPPING, *ONE_SPLIT)
GROUPS = 8  # at least, of test windows that resemble each other, where the recordings allow


def open_dataset(spec: DatasetSpec) -> Dataset:
    """The data set a spec names, its options checked. Raises InputError for an unknown name or option."""
    cls = DATASETS[spec.name]
    options, known = dict(spec.options), [field.name for field in dataclasses.fields(cls)]
    for name in options:
        if name not in known:
            hint = nearest(name, known, f"`python -m bench.data describe {spec.name}`")
            raise InputError(f"{spec.name}.{name}: unknown option, {hint}")
    try:
        dataset = cls(**options)
    except TypeError as error:  # an option without a default that was not given
        needed = [name for name in known if name not in options]
        raise InputError(f"{spec.name}: expected the options {', '.join(needed)} ({error})") from None
    check_options(dataset, spec.name)
    return dataset


def load_splits(spec: DatasetSpec, seed: int, data_dir: Path | None = None) -> Splits:
    """Windows of one data set under one seed; the same for every method, and remembered.

    Raises InputError (unknown name or option, unusable file) and Unavailable (file not here).
    """
    frozen = tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in spec.options)
    return _remembered(dataclasses.replace(spec, options=frozen), spec.folder, seed, data_dir, _stamps(spec, data_dir))


def _stamps(spec: DatasetSpec, data_dir: Path | None) -> tuple[tuple[int, int], ...]:
    """Time and size of the files of a data set that can be named, so that a file that changed is read again."""
    given = dict(spec.options).get("path")
    own = [anchored(str(given), spec.folder, data_dir)] if given else []
    found = [stored(remote, data_dir) for remote in remotes(DATASETS[spec.name])]
    states = [path.stat() for path in (*own, *found) if path is not None and path.is_file()]
    return tuple((state.st_mtime_ns, state.st_size) for state in states)


@lru_cache(maxsize=4)
def _remembered(spec: DatasetSpec, _folder: str, seed: int, data_dir: Path | None, _stamps: object) -> Splits:
    # The folder is an argument of its own, because equal specs may name different files in different folders.
    return make_splits(load_recordings(spec, seed, data_dir), spec, seed)


def load_recordings(spec: DatasetSpec, seed: int, data_dir: Path | None) -> Recordings:
    """The recordings of a spec's data set; a relative `path` starts in the spec's folder.

    Raises InputError and Unavailable as `load_splits` does.
    """
    given = dict(spec.options).get("path")
    if given and spec.folder:
        options = {**dict(spec.options), "path": str(anchored(given, spec.folder, data_dir))}
        dataset = open_dataset(dataclasses.replace(spec, options=tuple(options.items())))
    else:
        dataset = open_dataset(spec)
    recordings = _loaded(dataset, spec, seed, data_dir)
    if not type(dataset).__module__.startswith("datasets."):  # a plug-in's
        again = _loaded(dataset, spec, seed, data_dir)
        _check(recordings, spec.key)
        pairs = zip(recordings.series, again.series, strict=False)
        if len(recordings.series) != len(again.series) or not all(np.array_equal(*p, equal_nan=True) for p in pairs):
            raise InputError(
                f"{spec.key}: gives other series when it is loaded again under the same seed: expected that all random "
                "numbers come from the `rng` of `load`"
            )
    return recordings


def _loaded(dataset: Dataset, spec: DatasetSpec, seed: int, data_dir: Path | None) -> Recordings:
    rng = numpy_generator(spec.stream, seed, "data")
    untouched = repr(rng.bit_generator.state)
    try:
        recordings = dataset.load(data_dir, rng)
    except (InputError, Unavailable):
        raise
    except (Exception, SystemExit) as error:  # a user's own data set, or sizes that do not fit into memory
        raise InputError(f"{spec.key}: cannot be loaded: {in_one_line(error)}") from error
    if not isinstance(recordings, Recordings):
        raise InputError(f"{spec.key}: `load` returns {type(recordings).__name__}, expected Recordings")
    drawn, gap = repr(rng.bit_generator.state) != untouched, recordings.window if dataset.gap == "T" else 0
    recordings = dataclasses.replace(recordings, drawn=drawn, gap=gap)
    return day_windows(recordings, spec.key) if dataset.align == "day" else recordings


def make_splits(recordings: Recordings, spec: DatasetSpec, seed: int) -> Splits:
    """Divide, fill, scale and cut recordings of shape (rows, C) into windows (n, T, C).

    NaN is a missing value: it takes the last value before it in the same piece, else the channel's median
    over the observed training rows. x_scaled = (x - mean) / scale with the mean and standard deviation of the training
    rows; a channel that is constant there keeps scale 1 and is named in a warning.

    Raises InputError when a part would hold no window, or a value is infinite.
    """
    window, owner = recordings.window, spec.key
    series = _check(recordings, owner)
    for doubt in recordings.doubts:
        warnings.warn(doubt, stacklevel=2)
    parts = divided(series, recordings, spec, seed)
    owners = len(set(recordings.entities)) if recordings.entities else len(series)
    if recordings.split == "entity" and owners < len(PARTS):
        raise InputError(f"{owner}: {owners} entities, expected at least one for each of {', '.join(PARTS)}")
    if not all(any(len(piece) >= window for piece in parts[name]) for name in PARTS):
        rows_of_each = [len(rows) for rows in series]
        raise InputError(too_short(owner, rows_of_each, window, recordings.split, recordings.gap))

    median = _medians(parts["train"], recordings.channels, owner)
    filled = {name: np.concatenate(pieces) for name, pieces in parts.items() if pieces}
    for name, joined in filled.items():
        if np.isnan(joined).any():
            filled[name] = np.concatenate([_fill(piece, median) for piece in parts[name]])
    lengths = {name: [len(piece) for piece in pieces] for name, pieces in parts.items()}
    names = tuple(name for name, pieces in parts.items() if pieces)

    rows = filled["train"]
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    constant = (np.ptp(rows, axis=0) == 0) | (scale == 0)
    scale[constant] = 1.0
    cells = measure_cells(rows, resolutions_of(np.concatenate(series), recordings.resolutions, owner), mean, scale)
    del rows, parts  # large where the data are
    for channel in np.flatnonzero(constant):
        warnings.warn(
            f"{owner}: channel '{recordings.channels[channel]}' is constant in the training rows; kept with scale 1",
            stacklevel=2,
        )

    order = numpy_generator(spec.stream, seed, "shuffle") if spec.shuffle else None
    strides = {"train": recordings.train_stride, "validation": recordings.train_stride, "test": recordings.test_stride}
    cut = {}
    for name in names:
        joined = filled.pop(name)
        joined -= mean
        joined /= scale
        if not max(joined.max(), -joined.min()) <= LARGEST:
            raise InputError(
                f"{owner}: values of the part {name} are not finite after scaling: expected values that the mean and "
                "the standard deviation of the training rows bring to a common size"
            )
        cut[name] = _cut(joined.astype(np.float32), lengths[name], window, strides.get(name, recordings.test_stride))
        if order is not None:
            steps = order.random(cut[name].shape[:2]).argsort(axis=1)  # one permutation per window
            cut[name] = np.take_along_axis(cut[name], steps[:, :, None], axis=1)
    truth, groups = _divided_truth(recordings, spec, seed), _groups(series, recordings, spec, seed)
    return Splits(
        **{name: cut[name] for name in PARTS},
        mean=mean,
        scale=scale,
        channels=recordings.channels,
        units=recordings.units,
        test_stride=recordings.test_stride,
        sha256=_fingerprint([*cut.values(), mean, scale], (recordings.channels, strides, spec.shuffle, cells.identity)),
        train_truth=truth["train"],
        validation_truth=truth["validation"],
        test_truth=truth["test"],
        train_stride=recordings.train_stride,
        test_groups=groups["test"],
        validation_groups=groups["validation"],
        cells=cells,
        division="drawn" if recordings.drawn else recordings.split,
        held_out=cut.get("held_out") if len(cut.get("held_out", ())) else None,
    )


def divided(
    series: Sequence[np.ndarray], recordings: Recordings, spec: DatasetSpec, seed: int, window: int | None = None
) -> dict[str, list[np.ndarray]]:
    """Pieces of something that belongs to the rows of recordings: `PARTS`, and `held_out`, which may be empty."""
    window = window or recordings.window
    rng = numpy_generator(spec.stream, seed, "split")
    gap = recordings.gap
    parts = divide(series, recordings.split, window, rng, recordings.entities, recordings.parts, gap)
    at_random = recordings.split in ("blocks", "entity")
    rng = numpy_generator(spec.stream, seed if at_random else 0, "held out")  # one split stays one split
    owners = recordings.entities if recordings.split in ("given", "time") else ()
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
    drawn = rng.permutation(max(runs, default=-1) + 1)
    drawn = drawn[: round(HELD_OUT * len(drawn))]
    chosen = {index for index, run in zip(short, runs, strict=True) if run in set(drawn.tolist())}
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
            first, second = (round(len(rows) * share) for share in (1 - VALIDATION_SHARE - TEST_SHARE, 1 - TEST_SHARE))
            apart = _apart(np.split(rows, [first, second]), PARTS, gap)
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


def _divided_truth(recordings: Recordings, spec: DatasetSpec, seed: int) -> Mapping[str, Truth]:
    """Each part's rows of the truth, in the order of its windows: divided as the series are, a series being one row."""
    if not recordings.truth:
        return {name: {} for name in PARTS}
    places = list(np.arange(len(recordings.series))[:, None])
    parts = divided(places, recordings, spec, seed, window=1)
    chosen = {name: np.concatenate(parts[name]) for name in PARTS}
    return {name: {factor: values[chosen[name]] for factor, values in recordings.truth.items()} for name in PARTS}


def _groups(
    series: Sequence[np.ndarray], recordings: Recordings, spec: DatasetSpec, seed: int
) -> dict[str, np.ndarray]:
    """Which validation and test windows belong together, (n,) each: those of one entity, or of one piece.

    Where there are fewer than 8 of these, each is cut into neighbouring windows, two windows' length or more of rows,
    so that there are about 8: few enough that a group is long beside the memory of most recordings.
    """
    window, whose = recordings.window, np.arange(len(series))
    if recordings.entities:
        whose = np.unique(np.asarray(recordings.entities), return_inverse=True)[1]
    owners = [np.full((len(rows), 1), owner) for rows, owner in zip(series, whose, strict=True)]
    parts = divided(owners, recordings, spec, seed)
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


def _cut(rows: np.ndarray, lengths: Sequence[int], window: int, stride: int) -> np.ndarray:
    """All windows (n, T, C) of pieces of these lengths, one after another in `rows`."""
    if set(lengths) == {window}:
        return rows.reshape(-1, window, rows.shape[1])
    pieces = np.split(rows, np.cumsum(lengths)[:-1])
    return np.concatenate([cut_windows(piece, window, stride) for piece in pieces])


def cut_windows(rows: np.ndarray, window: int, stride: int) -> np.ndarray:
    """Windows (n, T, C) that begin at rows 0, stride, 2 stride, ..; none where there are fewer than T rows."""
    if len(rows) < window:
        return np.empty((0, window, rows.shape[1]), dtype=rows.dtype)
    view = np.lib.stride_tricks.sliding_window_view(rows, window, axis=0)[::stride]
    return np.ascontiguousarray(view.transpose(0, 2, 1))


def _medians(pieces: Sequence[np.ndarray], channels: Sequence[str], owner: str) -> np.ndarray:
    """The median of the observed values of each channel, (C,). Raises InputError for a channel without any."""
    medians = np.empty(len(channels))
    for number, channel in enumerate(channels):
        values = np.concatenate([piece[:, number] for piece in pieces])
        values = values[~np.isnan(values)]
        if not len(values):
            raise InputError(f"{owner}: channel '{channel}' has no value in the training rows, expected some")
        medians[number] = np.median(values, overwrite_input=True)
    return medians


def _fill(rows: np.ndarray, median: np.ndarray) -> np.ndarray:
    missing = np.isnan(rows)
    if not missing.any():
        return rows
    last = np.where(missing, -1, np.arange(len(rows))[:, None])
    last = np.maximum.accumulate(last, axis=0)
    before = np.take_along_axis(rows, np.maximum(last, 0), axis=0)
    return np.where(last < 0, median, before)


def _check(recordings: Recordings, owner: str) -> list[np.ndarray]:
    """The series as float64. Raises InputError for whatever a data set returns that recordings cannot be.

    This is the one place where the recordings of a data set are checked, a plug-in's and a user's file alike.
    """
    if not isinstance(recordings, Recordings):
        raise InputError(f"{owner}: `load` returns {type(recordings).__name__}, expected Recordings")
    _check_words(recordings, owner)
    channels = len(recordings.channels)
    series = [_rows(rows, number, channels, owner) for number, rows in enumerate(_listed(recordings.series, owner))]
    if not series:
        raise InputError(
            f"{owner}: holds no series, expected at least {len(PARTS)} windows of {recordings.window} rows"
        )
    if recordings.truth and any(len(rows) != recordings.window for rows in series):
        raise InputError(f"{owner}: truth is known of series of one window ({recordings.window} rows) each only")
    if recordings.split == "given" and (len(recordings.parts) != len(series) or set(recordings.parts) != set(PARTS)):
        raise InputError(f"{owner}: expected a part for each of {len(series)} series, every one of {', '.join(PARTS)}")
    if len(recordings.entities) not in (0, len(series)):
        raise InputError(f"{owner}: {len(recordings.entities)} entities, expected one for each of {len(series)} series")
    if recordings.times and [len(times) for times in recordings.times] != [len(rows) for rows in series]:
        raise InputError(f"{owner}: `times` has other lengths than the series, expected a time for each row")
    for factor, values in recordings.truth.items():
        if np.ndim(values) != 2 or len(values) != len(series):
            raise InputError(
                f"{owner}: truth['{factor}'] has shape {np.shape(values)}, expected ({len(series)}, k), a row each"
            )
    for number, rows in enumerate(series):
        if len(rows) < recordings.window:
            if len(series) == 1 and recordings.split != "entity":
                raise InputError(too_short(owner, [len(rows)], recordings.window, recordings.split))
            raise InputError(
                f"{owner}: series {number} has {len(rows)} rows, expected at least one window of {recordings.window}"
            )
    if (np.abs(np.concatenate(series)) > LARGEST).any():
        number = next(number for number, rows in enumerate(series) if (np.abs(rows) > LARGEST).any())
        row, channel = np.argwhere(np.abs(series[number]) > LARGEST)[0]
        value = series[number][row, channel]
        raise InputError(
            f"{owner}: series {number}, row {row}, channel '{recordings.channels[channel]}' is "
            f"{'infinite' if np.isinf(value) else f'{value:g}'}, expected a finite number, at most {LARGEST:g} in size "
            "(or an empty cell where it is missing)"
        )
    return series


def _check_words(recordings: Recordings, owner: str) -> None:
    """Names, units, sizes and the split."""
    for name, values in (("channels", recordings.channels), ("units", recordings.units)):
        if isinstance(values, str) or not all(isinstance(word, str) for word in _listed(values, owner, name)):
            raise InputError(f"{owner}: {name} = {values!r}, expected a text for each channel")
    if not recordings.channels or len(set(recordings.channels)) < len(recordings.channels):
        raise InputError(f"{owner}: channels = {recordings.channels!r}, expected one name or more, each different")
    if len(recordings.units) != len(recordings.channels):
        raise InputError(
            f"{owner}: {len(recordings.units)} units, expected one for each of {len(recordings.channels)} channels "
            '("" where there is none)'
        )
    for name, least in (("window", 2), ("train_stride", 1), ("test_stride", 1)):
        value = getattr(recordings, name)
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
            raise InputError(f"{owner}: {name} = {value!r}, expected a whole number >= {least}")
    if recordings.split not in SPLITS:
        raise InputError(f"{owner}: split = {recordings.split!r}, {nearest(str(recordings.split), SPLITS)}")


def _listed(values: Any, owner: str, name: str = "series") -> list[Any]:
    try:
        return list(values)
    except TypeError:
        raise InputError(f"{owner}: {name} = {values!r}, expected a list") from None


def _rows(rows: Any, number: int, channels: int, owner: str) -> np.ndarray:
    """One series (rows, C) as float64."""
    try:
        values = np.asarray(rows)
    except (ValueError, TypeError, RuntimeError) as error:  # rows of several lengths; a tensor with a gradient
        raise InputError(f"{owner}: series {number} is no array: {in_one_line(error)}") from None
    if values.dtype.kind not in "fiub":
        raise InputError(f"{owner}: series {number} has the type {values.dtype}, expected numbers")
    if values.ndim != 2 or values.shape[1] != channels:
        raise InputError(f"{owner}: series {number} has shape {values.shape}, expected (rows, {channels} channels)")
    return np.asarray(values, dtype=np.float64)


def _fingerprint(arrays: Sequence[np.ndarray], words: Any) -> str:
    digest = hashlib.sha256(repr(words).encode())
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
