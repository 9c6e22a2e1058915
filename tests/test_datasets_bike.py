"""`bike` on a miniature file, and facts of the real one."""

import itertools
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import refused

from bench.contracts import DatasetSpec, InputError, Unavailable
from bench.loading.windows import load_splits, make_splits, open_dataset

COLUMNS = (
    "instant,dteday,season,yr,mnth,hr,holiday,weekday,workingday,weathersit,temp,atemp,hum,windspeed,"
    "casual,registered,cnt"
)
DAYS = 28  # four weeks from a Monday on


def rows_of_a_day(day):
    """`casual` is the day and `registered` the hour, so that a window says where it comes from."""
    date = pd.Timestamp("2012-01-02") + pd.Timedelta(days=day)
    return [
        f"0,{date:%Y-%m-%d},1,1,1,{hour},0,{(day + 1) % 7},{int(day % 7 < 5)},1,.5,0.{5 + hour % 2},.{day + 10},0,"
        f"{day},{hour},{day + hour}"
        for hour in range(24)
    ]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "bike").mkdir()
    write(tmp_path, [row for day in range(DAYS) for row in rows_of_a_day(day)])
    return tmp_path


def write(folder, rows):
    (folder / "bike/hour.csv").write_text("\r\n".join([COLUMNS, *rows]) + "\r\n", newline="")


def load(folder, **options):
    spec = DatasetSpec("bike", tuple(sorted(options.items())))
    return open_dataset(spec).load(folder, np.random.default_rng(0)), spec


def test_a_window_is_a_day_and_weeks_stay_whole(folder):
    given, spec = load(folder)
    assert given.channels == ("casual", "registered")
    np.testing.assert_allclose(np.expm1(given.series[3]), np.column_stack([np.full(24, 3), np.arange(24)]), atol=1e-9)
    assert given.times[3][0] == np.datetime64("2012-01-05T00:00")
    splits = make_splits(given, spec, 0)
    weeks = {
        part: {
            round(np.expm1(window[0, 0] * splits.scale[0] + splits.mean[0])) // 7 for window in getattr(splits, part)
        }
        for part in ("train", "validation", "test")
    }
    assert sorted(week for part in weeks.values() for week in part) == [0, 1, 2, 3]
    assert splits.test_truth["working_day"].sum() == 5
    assert (splits.test_truth["season"] == [1, 0, 0, 0]).all()


def test_a_window_that_is_no_day_does_not_begin_at_midnight(folder):
    with refused(r"bike\.window = 48: expected 24, a day, where begin = midnight; or begin = any"):
        load(folder, window=48)
    for options in ({"window": 24}, {"begin": "any"}, {"begin": "any", "window": 24}):
        assert load(folder, **options)[0].window == 24
    assert load(folder, begin="any", window=12)[0].window == 12


def test_short_days_are_left_out_and_missing_hours_are_without_rentals(folder):
    rows = [rows_of_a_day(day) for day in range(DAYS)]
    del rows[4][5], rows[6][:3]
    write(folder, itertools.chain(*rows))
    given, _ = load(folder)
    assert len(given.series) == DAYS - 1
    np.testing.assert_array_equal(given.series[4][5], [0, 0])
    every, _ = load(folder, begin="any", window=48, split="time")
    assert {len(rows) % 24 for rows in every.series} == {0}
    assert sum(map(len, every.series)) == (DAYS - 1) * 24
    assert list(dict.fromkeys(every.parts)) == ["train", "validation", "test"]
    assert (every.test_stride, load(folder, begin="any")[0].test_stride) == (13, 7)  # no divisor of a day
    assert {7 * k % 24 for k in range(24)} == set(range(24))  # so that test windows begin at every hour
    weather, _ = load(folder, weather=True)
    assert np.isnan(weather.series[4][5, 2:]).all()
    assert np.isfinite(weather.series[5]).all()


def test_values_that_stand_for_nothing_are_missing(folder):
    rows = [rows_of_a_day(day) for day in range(DAYS)]
    rows[2] = [row.replace(".12,0,", "0,0,") for row in rows[2]]
    rows[3] = [
        row.replace(",.5,0.5,", f",.{hour + 10},0.5,").replace(",.5,0.6,", f",.{hour + 10},0.5,")
        for hour, row in enumerate(rows[3])
    ]
    write(folder, itertools.chain(*rows))
    weather, _ = load(folder, weather=True)
    columns = dict(zip(weather.channels, range(6), strict=True))
    assert np.isnan(weather.series[2][:, columns["hum"]]).all()
    assert np.isnan(weather.series[3][:, columns["atemp"]]).all()
    assert np.isfinite(weather.series[4]).all()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (",5,0,1,1,1,", ",24,0,1,1,1,", r"hour\.csv: row 6, column 'hr' is 24, expected a whole number from 0 to 23"),
        ("02,1,1,1,5,", "02,0,1,1,5,", r"row 6, column 'season' is 0, expected a whole number from 1 to 4"),
        (",0,5,5\r", ",0,,5\r", r"row 6, column 'registered' is empty, expected a whole number from 0"),
        (",0,5,5\r", ",0,-5,5\r", r"row 6, column 'registered' is -5, expected a whole number from 0"),
        (",0,5,5\r", ",0,some,5\r", r"row 6, column 'registered' is 'some', expected a number"),
        (",5,0,1,1,1,", ",4,0,1,1,1,", r"row 6 repeats hour 4 of its day, expected it once"),
        (
            "2012-01-02,1,1,1,5,",
            "2nd of January,1,1,1,5,",
            r"row 6, column 'dteday' is '2nd of January', expected a time",
        ),
        ("casual", "casuals", r"columns casual are missing"),
    ],
)
def test_what_a_file_may_not_hold(folder, old, new, complaint):
    path = folder / "bike/hour.csv"
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode(), 1))
    with refused(complaint):
        load(folder)


def test_a_missing_file_and_one_without_a_whole_day(folder):
    write(folder, rows_of_a_day(0)[:20])
    with pytest.raises(InputError, match="no day has 22 hours"):
        load(folder)
    (folder / "bike/hour.csv").unlink()
    with pytest.raises(Unavailable, match=r"hour\.csv .*bench\.data fetch bike"):
        load(folder)


@pytest.mark.data
@pytest.mark.skipif("BENCH_DATA" not in os.environ, reason="the variable BENCH_DATA names no folder of real data")
def test_the_real_file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = Path(os.environ["BENCH_DATA"])
    given, spec = load(data)
    assert len(given.series) == 723
    assert round(np.expm1(np.concatenate(given.series)).sum(axis=0).max()) == 2_664_887  # registered, of 723 days
    splits = make_splits(given, spec, 0)
    assert sum(len(getattr(splits, part)) for part in ("train", "validation", "test")) == 723
    assert splits.cells.low.tolist() == [0, 0]
    assert len(load_splits(DatasetSpec("bike", (("begin", "any"), ("split", "time"))), 0, data).test) > 450
    missing = np.isnan(np.concatenate(load(data, weather=True)[0].series)).sum(axis=0)
    np.testing.assert_array_equal(missing, [0, 0, 74, 122, 96, 74])
