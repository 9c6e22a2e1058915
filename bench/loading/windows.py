"""Split first, then scale on the training rows, then cut windows; no other module does any of this.

    recordings (entities of rows) -> pieces of rows -> train / validation / test (70 / 10 / 20)
        -> train / held out (where a piece is long) -> fill missing values -> scale -> windows

A piece is a run of neighbouring rows of one entity that belongs to one part as a whole. Windows are
cut inside a piece, so no row is ever in two parts, whatever the strides are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bench.contracts import (
    WITH_GAP,
    Dataset,
    DatasetSpec,
    InputError,
    Recordings,
    Splits,
    Unavailable,
    check_options,
    in_one_line,
    nearest,
)
from bench.loading.cells import measure_cells, resolutions_of
from bench.loading.days import day_windows
from bench.loading.division import PARTS, divided, divided_truth, entities_of, groups_of, starts_of, too_short
from bench.loading.files import LARGEST, anchored, remotes, stored
from bench.loading.recordings_check import check
from bench.randomness import numpy_generator
from bench.registry import DATASETS


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
        check(recordings, spec.key)
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
    drawn = repr(rng.bit_generator.state) != untouched
    gap = recordings.window if dataset.gap == "T" and recordings.split in WITH_GAP else 0
    recordings = dataclasses.replace(recordings, drawn=drawn, gap=gap, training_windows=dataset.training_windows)
    recordings = day_windows(recordings, spec.key) if dataset.align == "day" else recordings
    return _undivided(recordings, dataset, spec.key) if dataset.protocol == "literature" else recordings


def _undivided(recordings: Recordings, dataset: Dataset, owner: str) -> Recordings:
    """The recordings under the literature's protocol: every part is all of their rows, cut at the training stride."""
    for item in dataclasses.fields(dataset):
        if item.name in ("gap", "split", "training_windows") and (value := getattr(dataset, item.name)) != item.default:
            raise InputError(
                f"{owner}: {item.name} = {value!r} divides what `protocol: literature` leaves undivided, expected "
                f"{item.default!r}"
            )
    return dataclasses.replace(recordings, split="whole", test_stride=recordings.train_stride)


def without_effect(spec: DatasetSpec, splits: Splits) -> list[str]:
    """What a data set is asked for and has no effect on its windows, a sentence each."""
    if not dict(spec.options).get("gap") or splits.gap:
        return []
    return [
        "gap leaves out no rows, because its parts are no neighbouring pieces of one series (split: "
        f"{splits.division}, expected {' or '.join(WITH_GAP)})"
    ]


def make_splits(recordings: Recordings, spec: DatasetSpec, seed: int) -> Splits:
    """Divide, fill, scale and cut recordings of shape (rows, C) into windows (n, T, C).

    NaN is a missing value: it takes the last value before it in the same piece, else the channel's median
    over the observed training rows. x_scaled = (x - mean) / scale with the mean and standard deviation of the training
    rows; a channel that is constant there keeps scale 1 and is named in a warning.

    Raises InputError when a part would hold no window, or a value is infinite.
    """
    window, owner = recordings.window, spec.key
    series = check(recordings, owner)
    for doubt in recordings.doubts:
        warnings.warn(doubt, stacklevel=2)
    whole = recordings.split == "whole"
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
    names = ("train",) if whole else tuple(name for name, pieces in parts.items() if pieces)

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
    if whole:
        cut = dict.fromkeys(PARTS, cut["train"])  # one array, which may be large
    truth, groups = divided_truth(series, recordings, spec, seed), groups_of(series, recordings, spec, seed)
    entities = entities_of(series, recordings, spec, seed)
    longest = {name: max(rows, default=0) for name, rows in lengths.items()}

    def apart(stride: int, *names: str) -> int:
        """The stride, or T where no piece of these parts holds two windows."""
        return stride if any(longest[name] >= window + stride for name in names) else max(stride, window)

    train_stride, validation_stride = (apart(recordings.train_stride, name) for name in ("train", "validation"))
    test_stride = apart(recordings.test_stride, "test", "held_out")
    shared = min(train_stride, validation_stride, test_stride) < window
    starts = starts_of(series, recordings, spec, seed) if shared else {}
    every = 1
    if recordings.training_windows:
        every = -(-len(cut["train"]) // recordings.training_windows)  # from everywhere
        cut["train"] = np.ascontiguousarray(cut["train"][::every])
        entities = {**entities, "train": entities["train"][::every]} if entities else {}
        starts = {**starts, "train": starts["train"][::every]} if starts else {}
    return Splits(
        **{name: cut[name] for name in PARTS},
        mean=mean,
        scale=scale,
        channels=recordings.channels,
        units=recordings.units,
        test_stride=test_stride,
        sha256=_fingerprint([*cut.values(), mean, scale], (recordings.channels, strides, spec.shuffle, cells.identity)),
        train_truth={factor: values[::every] for factor, values in truth["train"].items()},
        validation_truth=truth["validation"],
        test_truth=truth["test"],
        train_stride=every * train_stride,
        validation_stride=validation_stride,
        starts=starts,
        test_groups=groups["test"],
        validation_groups=groups["validation"],
        entities=entities,
        cells=cells,
        division="drawn" if recordings.drawn else recordings.split,
        gap=recordings.gap,
        held_out=cut.get("held_out") if len(cut.get("held_out", ())) else None,
        whole=whole,
        zero_one=None
        if recordings.zero_one is None
        else ((recordings.zero_one[0] - mean) / scale, (recordings.zero_one[1] - mean) / scale),
        noise=recordings.noise,
    )


def zero_and_span(train: np.ndarray, zero_one: tuple[np.ndarray, np.ndarray] | None) -> tuple[np.ndarray, np.ndarray]:
    """What 0 stands for in the literature's scale, and how far 1 is from it, (C,) each, train-scaled, float64.

    They are the least and the largest training value of each channel, unless the data set states other ends. A channel
    that is constant has the span 1, so that nothing is divided by 0.
    """
    low, high = zero_one or (train.min(axis=(0, 1)).astype(np.float64), train.max(axis=(0, 1)).astype(np.float64))
    return low, np.where(high > low, high - low, 1.0)


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


def _fingerprint(arrays: Sequence[np.ndarray], words: Any) -> str:
    digest = hashlib.sha256(repr(words).encode())
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
