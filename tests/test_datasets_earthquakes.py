"""`earthquakes` on a miniature export, and facts of the real one."""

import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import refused

from bench.contracts import DatasetSpec, InputError, Unavailable
from bench.loading.windows import load_splits, open_dataset

HEADER = (
    "time,latitude,longitude,depth,mag,magType,nst,gap,dmin,rms,net,id,updated,place,type,"
    "horizontalError,depthError,magError,magNst,status,locationSource,magSource"
)


def event(time, latitude=10.0, longitude=20.0, depth=10.0, mag=5.0, kind="earthquake"):
    return (
        f'{time},{latitude},{longitude},{depth},{mag},mb,,,,,us,us1,2019-01-01T00:00:00.000Z,"1 km S of A, B",{kind},'
        ",,,,reviewed,us,us"
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "earthquakes").mkdir()
    return tmp_path


def write(folder, lines, name="usgs_comcat_global_m5_2009_2019.csv.gz"):
    with gzip.open(folder / "earthquakes" / name, "wt", encoding="utf-8", newline="\r\n") as out:
        out.write("\n".join([HEADER, *lines]) + "\n")


def load(folder, **options):
    spec = DatasetSpec("earthquakes", tuple(sorted(options.items())))
    return open_dataset(spec).load(folder, np.random.default_rng(0))


def test_events_in_time_order_with_positions_that_do_not_jump(folder):
    lines = [
        event("2009-01-01T00:00:10.000Z", 0, 179.999, depth=-1, mag=6),
        event("2009-01-01T00:00:03.000Z", 0, -179.999, depth=100, mag=7),  # newest first, as the service sends
        event("2009-01-01T00:00:02.000Z", 5, 5, kind="nuclear explosion"),
        event("2009-01-01T00:00:01.500Z", 90, 12, mag=""),
        event("2009-01-01T00:00:01.0Z", 0, 90),
    ]
    write(folder, lines)
    with pytest.raises(InputError, match="3 events are left, expected more than one window of 24"):
        load(folder)
    with pytest.raises(InputError, match="3 events are left"):
        load(folder, window=4)
    write(
        folder,
        [*lines, *(event(f"2009-01-0{d}T00:00:00.000Z") for d in (2, 3))],
        name="usgs_comcat_oklahoma_1973_2016.csv.gz",
    )
    rows = load(folder, region="oklahoma", window=4).series[0]
    assert rows.shape == (4, 6)
    np.testing.assert_allclose(rows[:2, 0], np.log1p([2.0, 7.0]))
    np.testing.assert_allclose(rows[:2, 1], [7, 6])
    np.testing.assert_allclose(rows[:2, 2], np.log1p([100.0, 0.0]))
    assert np.linalg.norm(rows[0, 3:] - rows[1, 3:]) < 1e-4  # neighbours across 180 degrees
    np.testing.assert_allclose(np.linalg.norm(rows[:, 3:], axis=1), 1)
    assert (load(folder, region="oklahoma", window=4, minimum_magnitude=5.0).series[0] == rows).all()
    with pytest.raises(InputError, match="2 events are left"):
        load(folder, region="oklahoma", window=4, minimum_magnitude=5.5)


def test_two_catalogues_are_two_recordings(folder):
    """Split within them by blocks and in time, and by recording; windows never run from one into the other."""
    days = pd.date_range("2009-01-01", periods=97)
    events = [event(f"{day:%Y-%m-%d}T00:00:00.000Z", depth=k, mag=5 + k % 7 / 10) for k, day in enumerate(days)]
    write(folder, events)
    write(folder, [line.replace(",5.", ",3.") for line in events[:49]], "usgs_comcat_oklahoma_1973_2016.csv.gz")
    both = load(folder, region="both", window=4)
    assert [len(rows) for rows in both.series] == [96, 48]
    assert (both.split, list(both.entities), list(both.parts)) == ("blocks", ["global", "oklahoma"], [])
    for number, region in enumerate(("global", "oklahoma")):
        np.testing.assert_array_equal(both.series[number], load(folder, region=region, window=4).series[0])
    apart = load(folder, region="both", split="catalogue", window=4)
    assert (apart.split, list(apart.parts)) == ("given", ["train", "validation", "test"])
    assert [len(rows) for rows in apart.series] == [len(times) for times in apart.times] == [84, 12, 48]
    np.testing.assert_array_equal(np.concatenate(apart.series[:2]), both.series[0])
    spec = DatasetSpec("earthquakes", (("region", "both"), ("split", "catalogue"), ("window", 4)))
    with pytest.warns(UserWarning, match="is constant"):
        first, second = load_splits(spec, 0, folder), load_splits(spec, 1, folder)
    assert first.sha256 == second.sha256  # one split
    assert (
        (first.test * first.scale + first.mean)[..., 1].max()
        < 4
        < (first.train * first.scale + first.mean)[..., 1].min()
    )
    with pytest.raises(InputError, match=r"earthquakes\.split = catalogue: expected region: both, not global"):
        load(folder, split="catalogue")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: text.replace("latitude", "lat"), "columns latitude are missing"),
        (lambda text: text.replace("10.0", "ten", 1), "row 1, column 'latitude' is 'ten', expected a number"),
        (lambda text: text.replace("2009-01-01T", "01/01/2009 "), "row 1, column 'time' is '01/01/2009"),
        (lambda text: text.replace("1.000Z", "1.000"), "column 'time' .*zones are mixed"),
        (lambda text: "", "expected a table"),
    ],
)
def test_unusable_exports(folder, spoil, message):
    lines = [event("2009-01-01T00:00:01.000Z"), event("2009-01-01T00:00:02.000Z")]
    path = folder / "earthquakes" / "usgs_comcat_global_m5_2009_2019.csv"
    path.write_text(spoil("\n".join([HEADER, *lines])))
    with pytest.raises(InputError, match=message) as caught:
        load(folder)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"latitude": ""}, "row 3, column 'latitude' is empty, expected a number from -90 to 90"),
        ({"latitude": 999}, "row 3, column 'latitude' is 999, expected a number from -90 to 90"),
        ({"longitude": -180.5}, "row 3, column 'longitude' is -180.5, expected a number from -180 to 360"),
        ({"depth": ""}, "row 3, column 'depth' is empty, expected a number from -100 to 1000"),
    ],
)
def test_an_event_without_a_place_is_refused_where_it_would_be_used(folder, cells, message):
    def lines(**more):
        return [event(f"2009-01-{d:02}T00:00:00.000Z", **(more if d == 3 else {})) for d in range(1, 16)]

    write(folder, lines(**cells))
    with refused(message):
        load(folder, window=4)
    for reason in ({"mag": ""}, {"kind": "quarry blast"}):  # an event that is left out anyway
        write(folder, lines(**cells, **reason))
        assert len(load(folder, window=4).series[0]) == 13


def test_a_file_cut_short_a_folder_and_no_file(folder):
    with pytest.raises(
        Unavailable, match=r"usgs_comcat_global_m5_2009_2019\.csv is not in the data folder.*earthquake\.usgs\.gov"
    ):
        load(folder)
    write(folder, [event(f"2009-01-01T00:{m:02}:{s:02}.000Z", m, s) for m in range(60) for s in range(60)])
    path = folder / "earthquakes" / "usgs_comcat_global_m5_2009_2019.csv.gz"
    load(folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="cut short"):
        load(folder)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="is a folder, expected a file"):
        load(folder)


@pytest.mark.data
@pytest.mark.skipif("BENCH_DATA" not in os.environ, reason="the variable BENCH_DATA names no folder of real data")
def test_the_real_catalogue():
    data = Path(os.environ["BENCH_DATA"])
    raw = pd.read_csv(data / "earthquakes/usgs_comcat_global_m5_2009_2019.csv.gz", usecols=["mag", "type"])
    assert len(raw) == 20_000
    assert (raw.mag.min(), raw.mag.max()) == (5.0, 9.1)
    rows = load(data).series[0]
    assert len(rows) == (raw.type == "earthquake").sum() - 1
    assert (rows[:, 0] > 0).all()
    splits = load_splits(DatasetSpec("earthquakes"), 0, data)
    assert splits.train.shape[1:] == (24, 6)
    assert len(splits.test) > 600


def test_japan_has_a_schema_of_its_own(folder):
    lines = [f"{k},1990-01-0{k + 1} 00:00:00.000,{140 + k},36,{3 + k},1.0,2.0" for k in range(6)]
    path = folder / "earthquakes/japan_catalog_1990_2019.csv"
    path.write_text("id,time,longitude,latitude,magnitude,x,y\n" + "\n".join(lines))
    japan = open_dataset(DatasetSpec("earthquakes_japan", (("window", 4),)))
    given = japan.load(folder, np.random.default_rng(0))
    np.testing.assert_allclose(given.series[0][:, 0], np.log1p(86400.0))
    np.testing.assert_allclose(given.series[0][:, 1], [4, 5, 6, 7, 8])
    few = open_dataset(DatasetSpec("earthquakes_japan", (("minimum_magnitude", 6), ("window", 4))))
    with pytest.raises(InputError, match="3 events are left"):
        few.load(folder, np.random.default_rng(0))
    for old, new, message in (
        ("36,4,", "36,,", "row 2, column 'magnitude' is empty, expected a number"),
        ("141,36,", "141,136,", "row 2, column 'latitude' is 136, expected a number from -90 to 90"),
    ):
        path.write_text("id,time,longitude,latitude,magnitude,x,y\n" + "\n".join(lines).replace(old, new))
        with refused(message):
            japan.load(folder, np.random.default_rng(0))
    path.write_text(HEADER + "\n" + event("2009-01-01T00:00:01.000Z"))
    with pytest.raises(InputError, match="columns magnitude are missing"):
        japan.load(folder, np.random.default_rng(0))


@pytest.mark.data
@pytest.mark.skipif("BENCH_DATA" not in os.environ, reason="the variable BENCH_DATA names no folder of real data")
def test_the_real_japanese_catalogue():
    rows = open_dataset(DatasetSpec("earthquakes_japan")).load(Path(os.environ["BENCH_DATA"]), np.random.default_rng(0))
    assert rows.series[0].shape == (37_580, 5)
    assert rows.series[0][:, 1].min() == 2.7


def test_position_in_degrees_east(folder):
    write(folder, [event(f"2009-01-{d:02}T00:00:00.000Z", 10 - d, 170 + d) for d in range(1, 16)])
    recordings = load(folder, window=4, position="degrees")
    assert recordings.channels == ("log_gap", "magnitude", "log_depth", "latitude", "longitude")
    assert recordings.units[3:] == ("degrees", "degrees")
    assert recordings.series[0][:, 3].tolist() == [10 - d for d in range(2, 16)]
    write(folder, [event(f"2009-01-{d:02}T00:00:00.000Z", 0, -d) for d in range(1, 16)])
    assert load(folder, window=4, position="degrees").series[0][:, 4].tolist() == [360 - d for d in range(2, 16)]
