"""`etth` and `stocks` on miniature files, and facts of the real ones."""

import os
from pathlib import Path

import numpy as np
import pytest
from conftest import refused

from bench.contracts import DatasetSpec, Unavailable
from bench.loading.windows import load_splits, open_dataset

NEEDS_DATA = pytest.mark.skipif(
    "BENCH_DATA" not in os.environ, reason="the variable BENCH_DATA names no folder of real data"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "literature").mkdir()
    hours = [f"2016-07-{1 + k // 24:02} {k % 24:02}:00:00,{k},1,2,3,4,5,{-k / 2}" for k in range(200)]
    write(tmp_path / "literature/ETTh1.csv", "date,HUFL,HULL,MUFL,MULL,LUFL,LULL,OT", hours)
    days = [f"{k + 1},{k + 2},{k + 1},{2**k},{2**k},{100 * (k + 1)}" for k in range(60)]
    write(tmp_path / "literature/stock_data.csv", "Open,High,Low,Close,Adj_Close,Volume", days)
    return tmp_path


def write(path, header, rows):
    path.write_text("\n".join([header, *rows]) + "\n")


def load(name, folder, **options):
    return open_dataset(DatasetSpec(name, tuple(options.items()))).load(folder, np.random.default_rng(0))


def test_hours_of_a_transformer(folder):
    given = load("etth", folder)
    assert given.channels == ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
    assert given.series[0].shape == (200, 7)
    np.testing.assert_array_equal(given.series[0][9], [9, 1, 2, 3, 4, 5, -4.5])
    assert given.times[0][24] == np.datetime64("2016-07-02")


def test_prices_and_returns(folder):
    levels = load("stocks", folder)
    assert levels.units[0] == "USD"
    np.testing.assert_array_equal(levels.series[0][2], [3, 4, 3, 4, 4, 300])
    returns = load("stocks", folder, values="returns")
    assert returns.series[0].shape == (59, 6)
    np.testing.assert_allclose(returns.series[0][:, 3], np.log(2))


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "complaint"),
    [
        ("etth", "ETTh1.csv", "9,1,2", "nine,1,2", r"ETTh1\.csv: row 10, column 'HUFL' is 'nine', expected a number"),
        ("etth", "ETTh1.csv", "9,1,2", "9,,2", r"ETTh1\.csv: row 10, column 'HULL' is empty, expected a number"),
        ("etth", "ETTh1.csv", "01 03:00", "01 02:00", r"ETTh1\.csv: row 4 repeats date 2016-07-01 02:00:00"),
        ("etth", "ETTh1.csv", "OT", "TO", r"columns OT are missing"),
        ("stocks", "stock_data.csv", "2,3,2,2", "2,3,0,2", r"row 2, column 'Low' is 0, expected a number above 0"),
        ("stocks", "stock_data.csv", "2,3,2,2", "2,,2,2", r"row 2, column 'High' is empty, expected a number above 0"),
        ("stocks", "stock_data.csv", "2,3,2,2", "2,x,2,2", r"row 2, column 'High' is 'x', expected a number"),
        ("stocks", "stock_data.csv", "Adj_Close", "Adj", r"columns Adj_Close are missing"),
    ],
)
def test_what_a_file_may_not_hold(folder, name, file, old, new, complaint):
    path = folder / "literature" / file
    path.write_text(path.read_text().replace(old, new, 1))
    with refused(complaint):
        load(name, folder)


@pytest.mark.parametrize("name", ["etth", "stocks"])
def test_a_missing_file(tmp_path, name, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    with pytest.raises(Unavailable, match=rf"literature/.*bench\.data fetch {name}"):
        load(name, tmp_path)


@pytest.mark.data
@NEEDS_DATA
def test_the_real_files():
    data = Path(os.environ["BENCH_DATA"])
    rows = load("etth", data).series[0]
    assert rows.shape == (17_420, 7)
    splits = load_splits(DatasetSpec("etth"), 0, data)
    # Values are multiples of the instruments' steps to three decimals, so rounding to cells moves them by less.
    assert (np.abs(splits.cells.rounded(splits.test) - splits.test) * splits.scale < 1e-3).all()
    prices = load("stocks", data).series[0]
    assert prices.shape == (3_685, 6)
    assert (prices[:, 3] == prices[:, 4]).all()
