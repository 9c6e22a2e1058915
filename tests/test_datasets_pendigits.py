"""`pendigits` on a miniature of its two files, and facts of the real ones."""

import os
from pathlib import Path

import numpy as np
import pytest

from bench.contracts import DatasetSpec, InputError, Unavailable
from bench.loading.windows import load_splits, make_splits, open_dataset

GOOD = ",".join(["  0", "100"] * 7)
OTHERS = ",".join(["100", "  0", "  0", "100"] * 3 + ["100", "100"])


def rows_of(n, first):
    """Digits that count, so that a window says which row it is: x1 is the row."""
    return "".join(f"{(first + row) % 101:3d},  0,{OTHERS}, {row % 10}\n" for row in range(n))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "pendigits").mkdir()
    (tmp_path / "pendigits/pendigits.tra").write_text(rows_of(40, 0))
    (tmp_path / "pendigits/pendigits.tes").write_text(rows_of(12, 50))
    return tmp_path


def load(folder, **options):
    spec = DatasetSpec("pendigits", tuple(options.items()))
    return open_dataset(spec).load(folder, np.random.default_rng(0)), spec


def test_the_official_split_is_the_files_and_the_same_for_every_seed(folder):
    recordings, spec = load(folder)
    assert recordings.channels == ("x", "y")
    assert len(recordings.series) == 52
    np.testing.assert_array_equal(recordings.series[3], [[3, 0], *[[100, 0], [0, 100]] * 3, [100, 100]])
    first, other = (make_splits(recordings, spec, seed) for seed in (0, 7))
    assert (len(first.train), len(first.validation), len(first.test)) == (28, 5, 12)
    assert len(first.held_out) == 7
    np.testing.assert_array_equal(first.train, other.train)
    np.testing.assert_array_equal(first.held_out, other.held_out)
    start = first.test[:, 0, 0] * first.scale[0] + first.mean[0]
    np.testing.assert_allclose(start, 50 + np.arange(12), atol=1e-4)
    np.testing.assert_array_equal(first.test_truth["digit"].argmax(axis=1), np.arange(12) % 10)


def test_the_other_split_is_drawn_by_the_seed(folder):
    recordings, spec = load(folder, split="entity")
    assert not np.array_equal(make_splits(recordings, spec, 0).test, make_splits(recordings, spec, 1).test)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("1,2,3", r"pendigits\.tra: row 2, column y2: expected a whole number from 0 to 100"),
        (f"  0,101,{GOOD}, 1", r"pendigits\.tra: row 2, column y1: expected a whole number from 0 to 100"),
        (f" .5, 10,{GOOD}, 1", r"pendigits\.tra: row 2, column x1: expected a whole number from 0 to 100"),
        (f"  5, 10,{GOOD},10", r"pendigits\.tra: row 2, column digit: expected a whole number from 0 to 9"),
        (f"  x, 10,{GOOD}, 1", r"pendigits\.tra.*'x'"),
    ],
)
def test_a_cell_that_is_none_is_named(folder, row, complaint):
    (folder / "pendigits/pendigits.tra").write_text(rows_of(1, 0) + row + "\n")
    with pytest.raises(InputError, match=complaint):
        load(folder)


def test_an_empty_and_a_missing_file(folder):
    path = folder / "pendigits/pendigits.tes"
    path.write_text("")
    with pytest.raises(InputError, match=r"pendigits\.tes: "):
        load(folder)
    path.unlink()
    with pytest.raises(Unavailable, match=r"pendigits\.tes .*archive\.ics\.uci\.edu"):
        load(folder)


@pytest.mark.data
@pytest.mark.skipif("BENCH_DATA" not in os.environ, reason="the variable BENCH_DATA names no folder of real data")
def test_the_real_files():
    splits = load_splits(DatasetSpec("pendigits"), 0, Path(os.environ["BENCH_DATA"]))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (5246, 937, 3498)
    assert len(splits.held_out) == 1311
    raw = splits.train * splits.scale + splits.mean
    assert (np.abs(raw.min(axis=(1, 2))) < 1e-4).all()  # every digit fills the square
    assert (np.abs(raw.max(axis=(1, 2)) - 100) < 1e-4).all()
    assert splits.cells is not None
    np.testing.assert_allclose(splits.cells.rounded(splits.test), splits.test, atol=1e-5)
    assert splits.test_truth["digit"].sum(axis=0).min() == 335
