"""`steel` on a miniature file, and facts of the real one."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import refused

from bench.contracts import DatasetSpec, InputError, Unavailable
from bench.loading.windows import make_splits, open_dataset

COLUMNS = (
    "date,Usage_kWh,Lagging_Current_Reactive.Power_kVarh,Leading_Current_Reactive_Power_kVarh,CO2(tCO2),"
    "Lagging_Current_Power_Factor,Leading_Current_Power_Factor,NSM,WeekStatus,Day_of_week,Load_Type"
)
DAYS = 28  # four weeks from a Monday on


def lines():
    """Usage is the day, the lagging reactive energy the quarter of an hour; a day ends with 00:00 of its own date."""
    return [
        f"{pd.Timestamp('2018-01-01') + pd.Timedelta(days=day):%d/%m/%Y} {k // 4 % 24:02}:{k % 4 * 15:02},"
        f"{day + 1},{k}.5,2,0,50,100,0,Weekday,Monday,Light_Load"
        for day in range(DAYS)
        for k in range(1, 97)
    ]


def write(folder, rows):
    text = "\r\n".join([COLUMNS, *rows]) + "\r\n"
    (folder / "steel/Steel_industry_data.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "steel").mkdir()
    write(tmp_path, lines())
    return tmp_path


def load(folder, **options):
    spec = DatasetSpec("steel", tuple(sorted(options.items())))
    return open_dataset(spec).load(folder, np.random.default_rng(0)), spec


def test_days_in_the_order_of_the_file(folder):
    given, spec = load(folder, step="quarter")
    assert given.channels == ("usage", "lagging_reactive", "leading_reactive", "lagging_factor", "leading_factor")
    assert len(given.series) == DAYS
    np.testing.assert_array_equal(given.series[2][:, 0], np.full(96, 3))
    np.testing.assert_array_equal(given.series[2][:, 1], np.arange(1, 97) + 0.5)  # midnight is the last row
    hourly, spec = load(folder)
    np.testing.assert_array_equal(hourly.series[2][:, 1], np.arange(24) * 4 + 3)
    with pytest.warns(UserWarning, match="constant in the training rows"):
        splits = make_splits(hourly, spec, 0)
    days = np.rint(splits.test[:, 0, 0] * splits.scale[0] + splits.mean[0]).astype(int) - 1
    assert len(set(days // 7)) == 1  # one whole week
    np.testing.assert_array_equal(splits.test_truth["weekend"][:, 0], days % 7 >= 5)


def test_a_window_that_is_no_day_does_not_begin_at_midnight(folder):
    with refused(r"steel\.window = 96: expected 24, a day, where begin = midnight; or begin = any"):
        load(folder, window=96)
    with refused(r"steel\.window = 24: expected 96, a day"):
        load(folder, window=24, step="quarter")
    for options, steps in (({}, 96), ({"window": 96}, 96), ({"begin": "any"}, 24), ({"begin": "any", "window": 8}, 8)):
        assert load(folder, step="quarter", **options)[0].window == steps


def test_a_row_of_zeros_is_the_mean_of_its_neighbours(folder):
    rows = lines()
    rows[95] = rows[95].split(",")[0] + ",0,0,0,0,0,0,0,Weekday,Monday,Light_Load"
    write(folder, rows)
    given, _ = load(folder, step="quarter")
    np.testing.assert_array_equal(given.series[0][95], [1.5, (95.5 + 1.5) / 2, 2, 50, 100])


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            "01/01/2018 00:30",
            "01/01/2018 00:31",
            r"row 2, column 'date' is '01/01/2018 00:31', expected its day's next",
        ),
        ("02/01/2018 00:15", "2018-01-02 00:15", r"row 97, column 'date' is '2018-01-02 00:15', expected"),
        (",2.5,", ",much,", r"Steel_industry_data\.csv: row 2, column 'Lagging.*' is 'much', expected a number"),
        (",2.5,", ",,", r"row 2, column 'Lagging_Current_Reactive\.Power_kVarh' is empty, expected a number"),
        ("Usage_kWh", "Usage", r"columns Usage_kWh are missing"),
    ],
)
def test_what_a_file_may_not_hold(folder, old, new, complaint):
    path = folder / "steel/Steel_industry_data.csv"
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode(), 1))
    with refused(complaint):
        load(folder)


def test_a_missing_file_and_one_without_whole_days(folder):
    write(folder, lines()[:-1])
    with pytest.raises(InputError, match="2687 rows, expected 96 for each day"):
        load(folder)
    (folder / "steel/Steel_industry_data.csv").unlink()
    with pytest.raises(Unavailable, match=r"Steel_industry_data\.csv .*bench\.data fetch steel"):
        load(folder)


@pytest.mark.data
@pytest.mark.skipif("BENCH_DATA" not in os.environ, reason="the variable BENCH_DATA names no folder of real data")
def test_the_real_file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = Path(os.environ["BENCH_DATA"])
    quarters, _ = load(data, step="quarter")
    assert len(quarters.series) == 365
    assert min(rows.any(axis=1).all() for rows in quarters.series)  # the faulty row is mended
    given, spec = load(data)
    weekend = given.truth["weekend"][:, 0] == 1
    usage = np.array([rows[:, 0].mean() for rows in given.series])
    np.testing.assert_allclose([usage[~weekend].mean(), usage[weekend].mean()], [33.6, 11.7], atol=0.1)
    splits = make_splits(given, spec, 0)
    np.testing.assert_allclose(splits.cells.rounded(splits.test), splits.test, atol=1e-5)
    assert len(load(data, begin="any", split="time")[0].series) == 3
