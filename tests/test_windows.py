"""Splits: no row in two parts, scaling from train only, windows in order."""

import dataclasses
import itertools
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.contracts import DatasetSpec, InputError, Recordings
from bench.loading.days import day_windows
from bench.loading.division import LONG, divide, divided, hold_out
from bench.loading.references import origin
from bench.loading.windows import cut_windows, load_splits, make_splits, open_dataset
from bench.randomness import numpy_generator
from bench.scoring.scores import Scope

SPEC = DatasetSpec("anything")
PARTS = ("train", "validation", "test")


def recordings(series, window=4, stride=1, split="blocks"):
    channels = series[0].shape[1]
    names = tuple(f"c{c}" for c in range(channels))
    return Recordings(series, names, ("",) * channels, window, stride, max(1, window // 4), split)


def numbered(lengths, rng):
    """Entities whose channel 0 counts rows over all entities, so that a window says which rows it holds."""
    starts = np.cumsum([0, *lengths])
    return [
        np.column_stack([np.arange(a, b, dtype=float), rng.normal(size=b - a)]) for a, b in itertools.pairwise(starts)
    ]


def row_numbers(splits, part):
    return np.rint(getattr(splits, part)[:, :, 0] * splits.scale[0] + splits.mean[0]).astype(int)


@settings(deadline=None, max_examples=60)
@example(lengths=[30, 30], window=4, stride=1, split="blocks", seed=0)  # two series, three parts
@given(
    lengths=st.lists(st.integers(30, 200), min_size=1, max_size=12),
    window=st.integers(2, 9),
    stride=st.integers(1, 5),
    split=st.sampled_from(["blocks", "time", "entity"]),
    seed=st.integers(0, 5),
)
def test_no_row_is_in_two_parts_and_every_window_is_whole(lengths, window, stride, split, seed):
    if split == "entity" and len(lengths) < 3:
        lengths = lengths * 3
    if split == "time":
        lengths = [n * 5 for n in lengths]
    series = numbered(lengths, np.random.default_rng(seed))
    splits = make_splits(recordings(series, window, stride, split), SPEC, seed)
    names = (*PARTS, "held_out") if splits.held_out is not None else PARTS
    seen = {name: row_numbers(splits, name) for name in names}
    for name in names:
        assert len(seen[name]) >= 1
        assert (np.diff(seen[name], axis=1) == 1).all()  # neighbours in the file, in order
    rows = {name: set(seen[name].ravel()) for name in names}
    assert sum(map(len, rows.values())) == len(set.union(*rows.values()))
    starts = np.cumsum([0, *lengths])
    owner = {name: np.searchsorted(starts, seen[name], side="right") for name in names}
    assert all((numbers == numbers[:, :1]).all() for numbers in owner.values())  # no window spans two entities
    if split == "entity":
        entities = [set(owner[name].ravel()) for name in PARTS]
        assert sum(map(len, entities)) == len(set.union(*entities))


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(40, 400), min_size=1, max_size=8),
    window=st.integers(2, 9),
    split=st.sampled_from(["blocks", "time"]),
    seed=st.integers(0, 5),
)
def test_held_out_rows_are_a_fifth_of_each_long_training_piece_and_a_window_away_from_its_other_rows(
    lengths, window, split, seed
):
    lengths = [n * 3 for n in lengths]
    series = numbered(lengths, np.random.default_rng(seed))
    given_ = recordings(series, window, 1, split)
    before, after = (
        divide(series, split, window, numpy_generator(SPEC.key, seed, "split")),
        divided(series, given_, SPEC, seed),
    )
    assert [piece.tolist() for piece in before["test"]] == [piece.tolist() for piece in after["test"]]
    for piece in before["train"]:
        whole = set(piece[:, 0].astype(int))
        learnt, held = (
            {row for part in after[name] for row in part[:, 0].astype(int) if row in whole}
            for name in ("train", "held_out")
        )
        if len(piece) < LONG * window:
            assert learnt == whole or held == whole
            continue
        assert 0.15 * len(piece) < len(held) < 0.25 * len(piece)
        assert len(learnt) > 0.5 * len(piece)
        near = {row + step for row in held for step in range(-window, window + 1)}
        assert not learnt & near
        assert whole - near == learnt  # nothing else is lost


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(60, 400), min_size=1, max_size=5),
    window=st.integers(2, 9),
    split=st.sampled_from(["blocks", "time"]),
    seed=st.integers(0, 5),
)
def test_with_a_gap_parts_are_at_least_a_window_apart(lengths, window, split, seed):
    lengths = [n * 3 for n in lengths]
    series = numbered(lengths, np.random.default_rng(seed))
    plain = recordings(series, window, 1, split)
    given_ = dataclasses.replace(plain, gap=window)
    parts = divided(series, given_, SPEC, seed)
    rows = {name: np.concatenate(parts[name])[:, 0].astype(int) for name in PARTS}
    owner = np.repeat(np.arange(len(lengths)), lengths)
    for a, b in itertools.combinations(rows, 2):
        for k in range(len(lengths)):
            first, second = (np.sort(rows[name][owner[rows[name]] == k]) for name in (a, b))
            if len(first) and len(second):
                after = np.searchsorted(second, first)
                ahead = second[np.minimum(after, len(second) - 1)] - first
                behind = first - second[np.maximum(after - 1, 0)]
                assert not ((ahead > 0) & (ahead <= window)).any()
                assert not ((behind > 0) & (behind <= window)).any()
    before = divided(series, plain, SPEC, seed)
    kept = {name: {int(row) for piece in before[name] for row in piece[:, 0]} for name in PARTS}
    assert set(rows["test"]) <= kept["test"]
    make_splits(given_, SPEC, seed)


def test_without_a_gap_nothing_changes():
    series = numbered([400], np.random.default_rng(0))
    given_ = recordings(series)
    assert make_splits(dataclasses.replace(given_, gap=0), SPEC, 0).sha256 == make_splits(given_, SPEC, 0).sha256


def days(hours=24, count=40, late=5):
    """Hourly rows from some hour on; channel 0 counts rows."""
    series = numbered([count * hours - late], np.random.default_rng(0))
    times = np.datetime64("2020-01-01T00") + np.arange(late, count * hours) * np.timedelta64(1, "h")
    return dataclasses.replace(recordings(series, 24, 1), times=[times])


@pytest.mark.parametrize("split", ["blocks", "time"])
@pytest.mark.parametrize("gap", [0, 24])
def test_windows_of_days(split, gap):
    given_ = dataclasses.replace(days(), split=split, gap=gap)
    aligned = day_windows(given_, "mine")
    assert all(times[0].astype("datetime64[D]") == times[0] for times in aligned.times)
    assert all(len(rows) == 24 for rows in aligned.series)
    assert (aligned.train_stride, aligned.test_stride) == (24, 24)
    if not gap:
        assert len(aligned.series) == 39  # the first day began before the recording did
    splits = make_splits(aligned, SPEC, 0)
    rows = {part: set(row_numbers(splits, part).ravel()) for part in PARTS}
    for a, b in itertools.combinations(PARTS, 2):
        nearest = min(abs(first - second) for first in rows[a] for second in rows[b])
        assert nearest > gap
    assert len(splits.train) > len(splits.test) > len(splits.validation) > 0


def test_windows_of_days_of_an_irregular_recording():
    clock = ["06", "08", "11", "07", "09", "08", "10", "12", "13", "09"]
    date = ["01", "01", "01", "02", "02", "03", "03", "03", "03", "04"]
    times = np.array([f"2020-01-{d}T{h}" for d, h in zip(date, clock, strict=True)], dtype="datetime64[h]")
    series = numbered([10], np.random.default_rng(0))
    given_ = dataclasses.replace(recordings(series, 3), times=[times], split="entity", entities=["shop"])
    aligned = day_windows(given_, "mine")
    assert [rows[:, 0].tolist() for rows in aligned.series] == [[3, 4, 5]]  # the third day shares a row with it
    assert list(aligned.entities) == ["shop"]
    with pytest.raises(InputError, match=r"mine: align = 'day': its rows have no times"):
        day_windows(dataclasses.replace(given_, times=()), "mine")
    with pytest.raises(InputError, match=r"mine: no day has 9 rows from its beginning on"):
        day_windows(dataclasses.replace(given_, window=9), "mine")


def test_the_options_of_every_data_set(tmp_path):
    hours = np.datetime64("2020-01-01T00:00") + np.arange(40 * 24) * np.timedelta64(1, "h")
    rows = "".join(f"{hour},{k}\n" for k, hour in enumerate(hours))
    (tmp_path / "mine.csv").write_text(f"time,x\n{rows}")
    options = (("align", "day"), ("gap", "T"), ("path", str(tmp_path / "mine.csv")), ("window", 12))
    splits = load_splits(DatasetSpec("csv", options), 0)
    begins = np.rint(splits.train[:, 0, 0] * splits.scale[0] + splits.mean[0]).astype(int)
    assert (begins % 24 == 0).all()
    with pytest.raises(InputError, match=r"csv\.gap = 3: expected one of 0, T"):
        load_splits(DatasetSpec("csv", (("gap", 3), *options[2:])), 0)


def test_short_pieces_are_held_out_as_a_whole_only_where_the_parts_were_not_drawn():
    series = [np.full((4, 1), float(k)) for k in range(50)]
    drawn = divided(series, recordings(series, split="entity"), SPEC, 0)
    assert drawn["held_out"] == []
    assert (
        make_splits(recordings(numbered([4] * 50, np.random.default_rng(0)), split="entity"), SPEC, 0).held_out is None
    )
    stated = dataclasses.replace(
        recordings(series, split="given"), parts=("train",) * 30 + ("validation",) * 10 + ("test",) * 10
    )
    parts = divided(series, stated, SPEC, 0)
    assert (len(parts["train"]), len(parts["held_out"])) == (24, 6)
    numbers = [int(piece[0, 0]) for name in ("train", "held_out") for piece in parts[name]]
    assert sorted(numbers) == list(range(30))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 50), split=st.sampled_from(["blocks", "time", "entity"]))
def test_scaling_knows_the_training_rows_only_and_inverts(seed, split):
    rng = np.random.default_rng(seed)
    series = [rng.normal(3, 5, size=(60, 3)) for _ in range(10)]
    given_ = recordings(series, split=split, window=6)
    splits = make_splits(given_, SPEC, seed)
    parts = divided(series, given_, SPEC, seed)
    train = np.concatenate(parts["train"])
    np.testing.assert_allclose(splits.mean, train.mean(0), rtol=1e-12)
    np.testing.assert_allclose(splits.scale, train.std(0), rtol=1e-12)
    back = splits.test * splits.scale + splits.mean
    expected = np.concatenate([cut_windows(piece, 6, given_.test_stride) for piece in parts["test"]])
    np.testing.assert_allclose(back, expected, atol=1e-5)

    for piece in (
        *parts["test"],
        *parts["validation"],
    ):  # views of the rows: change everything that is not for training
        assert np.shares_memory(piece, series[0]) or any(np.shares_memory(piece, rows) for rows in series)
        piece += 1e6
    again = make_splits(given_, SPEC, seed)
    np.testing.assert_array_equal(again.mean, splits.mean)
    np.testing.assert_array_equal(again.train, splits.train)
    assert abs(again.test).min() > abs(splits.test).max()


def test_shares_are_70_10_20():
    rng = np.random.default_rng(0)
    for split, expected in (("blocks", (28, 4, 8)), ("entity", (28, 4, 8))):
        series = [rng.normal(size=(4000, 1))] if split == "blocks" else [rng.normal(size=(100, 1))] * 40
        parts = divide(series, split, 10, rng)
        assert tuple(len(parts[name]) for name in PARTS) == expected
        assert sum(len(piece) for pieces in parts.values() for piece in pieces) == 4000
    parts = divide([np.zeros((1000, 1))], "time", 10, rng)
    assert [len(parts[name][0]) for name in PARTS] == [700, 100, 200]


def test_all_series_of_one_entity_share_a_part():
    series = numbered([10] * 30, np.random.default_rng(0))
    whose = [f"patient {k % 11}" for k in range(30)]
    given_ = dataclasses.replace(recordings(series, 5, 5, "entity"), entities=whose)
    splits = make_splits(given_, SPEC, 3)
    owners = [{whose[row // 10] for row in row_numbers(splits, name).ravel()} for name in PARTS]
    assert sum(map(len, owners)) == len(set.union(*owners)) == 11


@pytest.mark.parametrize("training_windows", [0, 20])
def test_whose_every_window_is(training_windows):
    series = numbered([10] * 90, np.random.default_rng(0))
    whose = [f"patient {k % 30}" for k in range(90)]
    given_ = dataclasses.replace(recordings(series, 5, 5, "entity"), entities=whose, training_windows=training_windows)
    splits = make_splits(dataclasses.replace(given_, test_stride=5), SPEC, 3)
    names = sorted(set(whose))  # numbered in the order of their names
    for part in (name for name in splits.entities if len(splits.entities[name])):
        rows = row_numbers(splits, part)
        assert [names[k] for k in splits.entities[part]] == [whose[row // 10] for row in rows[:, 0]]
    found = origin(np.concatenate([splits.test[:4], splits.train[-2:], splits.test[:1] + 1]), splits)
    assert found.start is None  # no two windows share a row
    expected = [*splits.entities["test"][:4], *splits.entities["train"][-2:], np.nan]
    np.testing.assert_array_equal(found.entity, expected)
    measured = Scope("anything", 0, split="validation").measured(splits)
    np.testing.assert_array_equal(measured.entities["test"], splits.entities["validation"])


@pytest.mark.parametrize("named", [True, False])
def test_windows_of_different_short_series_share_no_row(named):
    """Series of one window have the stride T, whatever was asked for; where some have two, ends are known."""
    rng = np.random.default_rng(0)

    def cut(lengths):
        names = [f"series {k}" for k in range(len(lengths))] if named else []
        given_ = recordings(numbered(lengths, rng), window=8, stride=1, split="entity")
        return make_splits(dataclasses.replace(given_, entities=names), SPEC, 0)

    alone = cut([8] * 40)
    assert set(alone.strides.values()) == {8}
    assert origin(alone.test, alone) == (None, None)
    mixed = cut([8, 9, 8, 11] * 10)
    assert mixed.strides["train"] == 1
    windows = np.concatenate([mixed.train, mixed.test])
    rows = np.concatenate([row_numbers(mixed, name) for name in ("train", "test")])
    start, whose = origin(windows, mixed)
    share = np.array([[bool(set(a) & set(b)) for b in rows] for a in rows])
    np.testing.assert_array_equal(np.abs(start[:, None] - start) < 8, share)
    assert (whose[:, None] == whose)[share].all()
    there = Scope("anything", 0, split="validation").measured(mixed)
    assert len(origin(there.test, there).start) == len(mixed.validation)


def test_rows_are_counted_through_long_series():
    weeks = recordings(numbered([64] * 12, np.random.default_rng(0)), window=8, stride=1, split="entity")
    assert not make_splits(weeks, SPEC, 0).starts


def test_windows_by_hand():
    rows = np.arange(7.0)[:, None]
    np.testing.assert_array_equal(cut_windows(rows, 3, 2)[:, :, 0], [[0, 1, 2], [2, 3, 4], [4, 5, 6]])
    assert cut_windows(rows, 8, 1).shape == (0, 8, 1)
    splits = make_splits(recordings([np.random.default_rng(0).normal(size=(300, 2))], window=8), SPEC, 0)
    assert splits.train.dtype == splits.test.dtype == np.float32
    assert splits.window == 8
    assert splits.test_stride == 2


def test_shuffle_permutes_time_in_every_window_of_every_part_and_nothing_else():
    series = [np.random.default_rng(0).normal(size=(10, 2)) for _ in range(50)]
    ordered = make_splits(recordings(series, 10, 10, "entity"), SPEC, 1)
    mixed = make_splits(recordings(series, 10, 10, "entity"), DatasetSpec("anything", shuffle=True), 1)
    moved = []
    for name in PARTS:
        a, b = getattr(ordered, name), getattr(mixed, name)
        for one, other in zip(a, b, strict=True):
            order = [int(np.flatnonzero((one == row).all(1))[0]) for row in other]  # rows stay whole: channels together
            assert sorted(order) == list(range(10))
            moved.append(tuple(order))
    assert len(set(moved)) == 50  # a permutation of its own per window
    assert ordered.sha256 != mixed.sha256
    np.testing.assert_array_equal(ordered.scale, mixed.scale)


def test_fingerprint_follows_the_windows():
    rows = np.random.default_rng(0).normal(size=(300, 2))
    first = make_splits(recordings([rows]), SPEC, 0)
    assert first.sha256 == make_splits(recordings([rows]), SPEC, 0).sha256
    changed = rows.copy()
    changed[17, 1] += 1e-3
    others = [
        make_splits(recordings([rows]), SPEC, 1),
        make_splits(recordings([changed]), SPEC, 0),
        make_splits(recordings([rows], window=5), SPEC, 0),
        make_splits(recordings([rows], stride=2), SPEC, 0),
    ]
    assert len({first.sha256, *(other.sha256 for other in others)}) == 5


def test_missing_values_take_the_last_value_of_the_piece_else_the_training_median():
    series = [np.arange(8.0)[:, None] + 100 * k for k in range(10)]
    for rows in series:
        rows[[0, 3, 4], 0] = np.nan
    splits = make_splits(recordings(series, 8, 8, "entity"), SPEC, 0)
    parts = divide(series, "entity", 8, numpy_generator(SPEC.key, 0, "split"))
    median = np.nanmedian(np.concatenate(parts["train"]))
    for window in (splits.test * splits.scale + splits.mean)[:, :, 0]:
        base = window[1] - 1
        np.testing.assert_allclose(window, [median, *(base + np.array([1, 2, 2, 2, 5, 6, 7]))], rtol=1e-5)


def test_constant_channel_is_named_and_keeps_scale_one():
    rows = np.random.default_rng(0).normal(size=(300, 2))
    rows[:, 1] = 0.1
    with pytest.warns(UserWarning, match="channel 'c1' is constant"):
        splits = make_splits(recordings([rows]), SPEC, 0)
    assert splits.scale[1] == 1
    np.testing.assert_allclose(splits.test[..., 1], 0, atol=1e-6)


@pytest.mark.parametrize(
    ("series", "split", "message"),
    [
        ([], "blocks", "holds no series"),
        ([np.zeros((3, 2))], "blocks", "3 rows give 0 windows of T = 4; expected at least 12 rows for training"),
        ([np.zeros((9, 2))], "blocks", "9 rows give 2 windows of T = 4; expected at least 12 rows for training"),
        ([np.zeros((7, 2))], "time", "7 rows give 1 window of T = 4; expected at least 40 rows for training"),
        ([np.zeros((20, 2))], "time", "20 rows give 5 windows of T = 4; expected at least 40 rows for training"),
        (
            [np.zeros((7, 2))] * 2,
            "blocks",
            "the longest of 2 series has 7 rows, that is 1 window of T = 4; expected",
        ),
        ([np.zeros((9, 2)), np.zeros((3, 2))], "blocks", "series 1 has 3 rows, expected at least one window of 4"),
        ([np.zeros((20, 2))] * 2, "entity", "2 entities, expected at least one for each of train, validation, test"),
        ([np.zeros((90, 3))], "blocks", r"shape \(90, 3\), expected \(rows, 2 channels\)"),
        ([np.full((90, 2), np.nan)], "blocks", "channel 'c0' has no value"),
        ([np.full((90, 2), np.inf)], "blocks", "row 0, channel 'c0' is infinite"),
        ([np.full((90, 2), -1e31)], "blocks", r"row 0, channel 'c0' is -1e\+31, expected .* at most 1e\+30 in size"),
    ],
)
def test_unusable_recordings(series, split, message):
    given_ = Recordings(series, ("c0", "c1"), ("", ""), 4, 1, 1, split)
    with pytest.raises(InputError, match=message) as caught:
        make_splits(given_, SPEC, 0)
    assert "\n" not in str(caught.value)


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(2, 60), min_size=1, max_size=4),
    window=st.integers(2, 12),
    split=st.sampled_from(["blocks", "time"]),
)
def test_the_rows_asked_for_are_enough(lengths, window, split):
    series = [np.random.default_rng(0).normal(size=(max(n, window), 2)) for n in lengths]
    try:
        make_splits(recordings(series, window, split=split), SPEC, 0)
    except InputError as error:
        needed = int(re.search(r"expected at least (\d+) rows for training", str(error)).group(1))
        longest = max(range(len(series)), key=lambda k: len(series[k]))
        assert needed > len(series[longest])
        for rows in range(needed, needed + 12):
            series[longest] = np.random.default_rng(0).normal(size=(rows, 2))
            make_splits(recordings(series, window, split=split), SPEC, 0)


def test_unknown_options_are_refused_by_name():
    with pytest.raises(InputError, match=r"regimes\.windw: unknown option, did you mean 'window'"):
        open_dataset(DatasetSpec("regimes", (("windw", 3),)))
    with pytest.raises(InputError, match=r"regimes\.licence: unknown option, ") as caught:  # of the class, no option
        open_dataset(DatasetSpec("regimes", (("licence", "mine"),)))
    assert "licence" not in str(caught.value).partition("known: ")[2]
    with pytest.raises(InputError, match=r"regimes\.window = 0: expected a whole number >= 2"):
        open_dataset(DatasetSpec("regimes", (("window", 0),)))
    with pytest.raises(InputError, match=r"unknown data set 'regime'.*did you mean 'regimes'"):
        open_dataset(DatasetSpec("regime"))


def test_splits_are_remembered_per_spec_and_seed():
    spec = DatasetSpec("ar1", (("series", 20),))
    first = load_splits(spec, 3)
    assert load_splits(spec, 3) is first
    assert load_splits(spec, 4).sha256 != first.sha256
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_splits(DatasetSpec("ar1", (("series", 20),), shuffle=True), 3).sha256 != first.sha256


def test_validation_windows_in_the_place_of_the_test_windows_keep_their_own_stride_and_groups():
    rows = np.random.default_rng(0).normal(size=(2000, 1))
    recordings = Recordings([rows], ("x",), ("",), 24, 1, 6, "time")
    splits = make_splits(recordings, DatasetSpec("regimes"), 0)
    assert np.unique(splits.test_groups, return_counts=True)[1].tolist() == [9] * 7  # of 8 windows or more
    measured = Scope("regimes", 0, split="validation").measured(splits)
    assert measured.test_stride == 1
    assert np.unique(measured.test_groups, return_counts=True)[1].tolist() == [59, 59, 59]  # of 48 windows or more
    np.testing.assert_array_equal(measured.test, splits.validation)
    assert Scope("regimes", 0).measured(splits) is splits


def groups_of(lengths, split, stride, entities=(), parts=()):
    rows = [np.random.default_rng(k).normal(size=(n, 1)) for k, n in enumerate(lengths)]
    recordings = Recordings(rows, ("x",), ("",), 10, stride, stride, split, entities, parts=parts)
    return make_splits(recordings, DatasetSpec("regimes"), 0)


def test_windows_of_one_entity_or_of_one_block_are_one_group():
    blocks = groups_of([4000], "blocks", 2)  # 40 blocks of 100 rows, 8 of them for testing
    assert np.unique(blocks.test_groups, return_counts=True)[1].tolist() == [46] * 8
    alone = groups_of([10] * 50, "entity", 10)
    assert len(set(alone.test_groups)) == len(alone.test) == 10
    twice = groups_of([10] * 100, "entity", 10, [str(k // 2) for k in range(100)])  # two series of each of 50
    assert np.unique(twice.test_groups, return_counts=True)[1].tolist() == [2] * 10
    few = groups_of([12] * 20, "entity", 1)  # 4 series of 3 windows that overlap: too short to be cut
    assert np.unique(few.test_groups, return_counts=True)[1].tolist() == [3] * 4
    given = groups_of([10] * 40, "given", 10, parts=["train", "validation", "test", "test"] * 10)
    assert len(set(given.test_groups)) == len(given.test) == 20


def test_how_the_windows_were_divided_is_known(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("a,b\n" + "\n".join(f"{k % 7},{k % 5}" for k in range(400)))
    options = (("path", str(path)), ("window", 8))
    assert load_splits(DatasetSpec("ar1", (("series", 20),)), 0).division == "drawn"
    assert load_splits(DatasetSpec("csv", options), 0).division == "blocks"
    assert load_splits(DatasetSpec("csv", (*options, ("split", "time"))), 0).division == "time"


def test_short_pieces_of_one_owner_are_held_out_together():
    pieces = [np.full((4, 1), float(k)) for k in range(96)]
    owners = [f"person {k // 48}" for k in range(96)]
    train, held_out = hold_out(pieces, 4, np.random.default_rng(0), False, owners)
    runs = sorted(int(piece[0, 0]) // 8 for piece in held_out)
    assert len(runs) == 16  # a fifth of 12 runs of 8 neighbours
    assert all(runs.count(run) == 8 for run in runs)
    assert len(train) + len(held_out) == 96
    many = [f"block {k // 2}" for k in range(96)]
    _, held_out = hold_out(pieces, 4, np.random.default_rng(0), False, many)
    blocks = sorted(int(piece[0, 0]) // 2 for piece in held_out)
    assert len(blocks) == 20  # a fifth of 48 owners, whole
    assert all(blocks.count(block) == 2 for block in blocks)


def test_whoever_counts_rows_knows_that_training_windows_are_every_kth():
    """Where windows of thinned parts begin, and the rows between validation windows in the place of test windows."""
    given_ = recordings(numbered([3000], np.random.default_rng(0)), window=6, stride=2, split="time")
    every, few = (make_splits(dataclasses.replace(given_, training_windows=most), SPEC, 0) for most in (0, 90))
    step = -(-len(every.train) // len(few.train))
    assert step > 1
    assert dict(every.strides) == {"train": 2, "validation": 2, "test": 1, "held_out": 1}
    assert dict(few.strides) == {"train": 2 * step, "validation": 2, "test": 1, "held_out": 1}
    assert every.sha256 != few.sha256
    for name in (*PARTS, "held_out"):
        windows = getattr(few, name)[:40]
        known, found = origin(windows, every).start, origin(windows, few).start
        np.testing.assert_array_equal(np.diff(found), np.diff(known))
    there = Scope("anything", 0, split="validation")
    assert there.measured(few).test_stride == there.measured(every).test_stride == 2


def test_fewer_training_windows_leave_everything_else_as_it_is(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((900, 2)).cumsum(axis=0)
    pd.DataFrame(rows, columns=["a", "b"]).to_csv(tmp_path / "own.csv", index=False)
    options = (("path", str(tmp_path / "own.csv")), ("split", "time"), ("window", 6))
    every, few = (load_splits(DatasetSpec("csv", (*options, *more)), 0) for more in ((), (("training_windows", 100),)))
    step = -(-len(every.train) // 100)
    assert step > 1
    assert len(few.train) <= 100
    assert np.array_equal(few.train, every.train[::step])
    for name in ("validation", "test", "mean", "scale"):
        assert np.array_equal(getattr(few, name), getattr(every, name))
    assert few.sha256 != every.sha256 or few.train.shape != every.train.shape
    drawn = [
        load_splits(DatasetSpec("regimes", (("series", 400), *more)), 0) for more in ((), (("training_windows", 50),))
    ]
    step = -(-len(drawn[0].train) // 50)
    for factor, values in drawn[1].train_truth.items():
        assert np.array_equal(values, drawn[0].train_truth[factor][::step])
    more = (("training_windows", 10_000),)
    assert np.array_equal(load_splits(DatasetSpec("csv", (*options, *more)), 0).train, every.train)
    with pytest.raises(InputError, match="training_windows = -1: expected a whole number >= 0"):
        load_splits(DatasetSpec("csv", (*options, ("training_windows", -1))), 0)
