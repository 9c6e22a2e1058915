"""`csv`: a user's own table, and one clear line for every way it can be wrong."""

import gzip
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.contracts import DatasetSpec, InputError
from bench.loading.windows import load_splits, open_dataset


@pytest.fixture(autouse=True)
def _no_other_data(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def load(path, **options):
    options = {"window": 3, **options, "path": str(path)}
    return open_dataset(DatasetSpec("csv", tuple(sorted(options.items())))).load(None, np.random.default_rng(0))


def write(tmp_path, text, name="own.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_numbers_only(tmp_path):
    path = write(tmp_path, "a,b\n" + "".join(f"{i},{i * i}\n" for i in range(5)))
    given_ = load(path)
    assert given_.channels == ("a", "b")
    assert given_.split == "blocks"
    np.testing.assert_array_equal(given_.series[0], [[i, i * i] for i in range(5)])
    assert load(path, channels=["b"]).channels == ("b",)
    assert load(path, split="time", stride=2).split == "time"


def test_first_column_of_timestamps_is_the_index_and_sorts_the_rows(tmp_path):
    path = write(tmp_path, "when,a\n2020-01-03,3\n2020-01-01,1\n2020-01-04 12:00,4\n2020-01-02,2\n")
    given_ = load(path)
    assert given_.channels == ("a",)
    np.testing.assert_array_equal(given_.series[0][:, 0], [1, 2, 3, 4])


@pytest.mark.parametrize("kind", ["csv", "parquet", "long"])
def test_a_value_far_too_large_is_blamed_at_its_row_and_column(tmp_path, kind):
    """In the order of the file, not in that of the series; a code for a missing value may be as large as it likes."""
    rows = {"who": list("bbbaaa"), "t": [3, 2, 1, 1, 2, 3], "x": [1.0, 2, 3, 4, -1e31, 6], "y": [0.0, 1, 0, 1, 0, 1]}
    frame, options = pd.DataFrame(rows), {"id": "who", "time": "t"}
    place = "row 5, column 'x'"
    if kind == "long":
        frame = frame.melt(["who", "t"], ["y", "x"])
        options, place = {**options, "format": "long"}, "row 11, column 'value'"
    if kind == "parquet":
        frame.to_parquet(path := tmp_path / "own.parquet")
    else:
        path = write(tmp_path, frame.to_csv(index=False))
    name = "parquet" if kind == "parquet" else "csv"

    def read(**more):
        given_ = {"window": 3, "path": str(path), **options, **more}
        return open_dataset(DatasetSpec(name, tuple(sorted(given_.items())))).load(None, np.random.default_rng(0))

    with pytest.raises(InputError, match=rf"{path.name}: {place} is .*-1e\+31.*, expected a number of at most 1e\+30"):
        read()
    assert np.isnan(read(missing_values=-1e31, missing="ffill").series[0][1, 0])


def test_years_are_numbers_not_timestamps(tmp_path):
    path = write(tmp_path, "year,a\n2001,3\n2000,1\n2002,5\n")
    assert load(path).channels == ("year", "a")
    np.testing.assert_array_equal(load(path, time="year").series[0][:, 0], [1, 3, 5])


def test_entities_are_split_as_entities(tmp_path):
    lines = "".join(f"{who},{t},{ord(who) + t}\n" for t in range(4) for who in "cab")
    given_ = load(write(tmp_path, "who,t,x\n" + lines), id="who", time="t")
    assert given_.split == "entity"
    assert given_.channels == ("x",)
    np.testing.assert_array_equal(
        [rows[:, 0] - ord(who) for who, rows in zip("abc", given_.series, strict=True)], [[0, 1, 2, 3]] * 3
    )


def test_a_long_pause_ends_a_series_and_no_window_goes_over_it(tmp_path):
    hours = [0, 1, 2, 3, 10, 11, 20, 21, 22]
    lines = "".join(f"2020-01-01 {hour:02}:00,{hour}\n" for hour in hours)
    path = write(tmp_path, "when,x\n" + lines)
    assert [len(rows) for rows in load(path).series] == [9]
    given_ = load(path, longest_pause="2h")
    assert [rows[:, 0].tolist() for rows in given_.series] == [[0, 1, 2, 3], [20, 21, 22]]  # two rows are no window
    assert [times[0] for times in given_.times] == [np.datetime64("2020-01-01T00"), np.datetime64("2020-01-01T20")]
    numbers = "".join(f"{who},{hour},{hour}\n" for who in "ab" for hour in hours)
    path = write(tmp_path, "who,t,x\n" + numbers, "many.csv")
    given_ = load(path, id="who", time="t", longest_pause=2)
    assert given_.entities == ["a", "a", "b", "b"]  # pieces of one entity share a part
    for options, message in (
        ({"longest_pause": "2h"}, "has no time: name its column"),
        ({"time": "t", "longest_pause": "soon"}, "'soon': expected a number in units of the time"),
        ({"time": "t", "longest_pause": "nan"}, "'nan': expected more than 0"),
        ({"time": "t", "longest_pause": -1}, "-1: expected more than 0"),
        ({"time": "t", "longest_pause": 0.5}, "entity 'a' has 9 rows, expected .* window of 3 without a pause"),
    ):
        with pytest.raises(InputError, match=message):
            load(path, id="who", **options)
    with pytest.raises(InputError, match="'soon': expected a duration such as 2h"):
        load(tmp_path / "own.csv", longest_pause="soon")


def test_a_time_that_winter_time_repeats_is_refused_and_utc_is_not(tmp_path):
    local = ["2020-10-25 01:00", "2020-10-25 02:00", "2020-10-25 02:00", "2020-10-25 03:00"]
    path = write(tmp_path, "when,x\n" + "".join(f"{time},{k}\n" for k, time in enumerate(local)))
    with pytest.raises(InputError, match=r"row 3 repeats when 2020-10-25 02:00:00.*or an `id`"):
        load(path)
    zoned = [f"{time}+0{zone}:00" for time, zone in zip(local, (2, 2, 1, 1), strict=True)]
    path = write(tmp_path, "when,x\n" + "".join(f"{time},{k}\n" for k, time in enumerate(zoned)))
    assert load(path).series[0][:, 0].tolist() == [0, 1, 2, 3]
    assert (np.diff(load(path).times[0]) == np.timedelta64(1, "h")).all()


def test_long_table_is_the_wide_one(tmp_path):
    wide = "id,time,x,y\n" + "".join(f"{k},{t},{k + t},{k * t}\n" for k in range(3) for t in range(4))
    long = ["id,time,variable,value"]
    for k in range(3):
        for t in (2, 0, 3, 1):
            long += [f"{k},{t},y,{k * t}", f"{k},{t},x,{k + t}"]
    a = load(write(tmp_path, wide), id="id", time="time")
    b = load(write(tmp_path, "\n".join(long), "long.csv"), format="long")
    assert a.channels == b.channels == ("x", "y")
    assert b.split == "entity"
    np.testing.assert_array_equal(a.series, b.series)


def test_policies_for_missing_values(tmp_path):
    path = write(tmp_path, "a,b\n1,1\n2,\n3,3\n4,4\n5,NaN\n")
    with pytest.raises(InputError, match="row 2, column 'b' is empty"):
        load(path)
    np.testing.assert_array_equal(load(path, missing="drop").series[0], [[1, 1], [3, 3], [4, 4]])
    np.testing.assert_array_equal(load(path, missing="ffill").series[0][:, 1], [1, np.nan, 3, 4, np.nan])
    masked = load(path, missing="mask")
    assert masked.channels == ("a", "b", "b observed")
    np.testing.assert_array_equal(masked.series[0][:, 2], [1, 0, 1, 1, 0])


def test_missing_cells_are_named_by_their_row_in_the_file(tmp_path):
    path = write(tmp_path, "when,a\n2020-01-03,\n2020-01-01,1\n2020-01-02,2\n")
    with pytest.raises(InputError, match="row 1, column 'a'"):
        load(path)
    path = write(tmp_path, "id,time,variable,value\np,0,x,1\np,0,y,1\np,1,x,1\n")
    with pytest.raises(InputError, match="p, 1, column 'y' is empty"):
        load(path, format="long")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,city\n1,Paris\n2,Rome\n3,Bonn\n", {}, "row 1, column 'city' is 'Paris', expected a number .*channels"),
        ("a,b\n1,1\n2,x7\n3,3\n", {}, "row 2, column 'b' is 'x7'"),
        ("a,b\n1,2\n", {}, "1 rows give 0 windows of T = 3; expected at least 9 rows for training"),
        ("a,b\n", {}, "has no rows"),
        ("", {}, "expected a table"),
        ("a\n1\n2\n3\n", {"channels": ["c"]}, "no column 'c' for `channels`, known: a"),
        ("a\n1\n2\n3\n", {"id": "who"}, "columns who are missing"),
        ("t,a\n2020-01-01,1\n2020-01-01,2\n2020-01-02,3\n", {}, "row 2 repeats t 2020-01-01 00:00:00"),
        (
            "t,a\n2020-01-01T00:00Z,1\n2020-01-02T00:00,2\n2020-01-03T00:00Z,3\n",
            {},
            "row 2, column 't'.*zones are mixed",
        ),
        ("t,a\n2020-01-01,1\nlater,2\n2020-01-03,3\n", {"time": "t"}, "row 2, column 't' is 'later', expected a time"),
        ("w,a\np,1\np,2\np,3\nq,1\n", {"id": "w"}, "entity 'q' has 1 rows"),
        ("w,a\np,1\np,2\np,3\nq,\nq,\nq,\n", {"id": "w", "missing": "drop"}, "entity 'q' has 0 rows"),
        ("id,time,variable\np,1,x\n", {"format": "long"}, "columns value are missing.*named by the options"),
        ("a\n1\n2\n3\n", {"channels": "a"}, "expected a list, each text$"),
        ("id,time,variable,value\np,1,x,1\np,1,x,2\n", {"format": "long"}, "row 2 repeats id p, time 1, variable x"),
        ("id,time,variable,value\np,1,x,1\n,1,y,2\n", {"format": "long"}, "row 2, column 'id' is empty"),
        ("a,b\n1,2,3,4\n5\n", {}, "expected a table.*more cells than the header"),
    ],
)
def test_unusable_tables(tmp_path, text, options, message):
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=message) as caught:
        load(path, **options)
    assert str(caught.value).startswith((str(path), "csv."))
    assert "\n" not in str(caught.value)


def test_unusable_files(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "none.csv")
    with pytest.raises(InputError, match="is a folder"):
        load(tmp_path)
    with pytest.raises(InputError, match=r"csv\.path is empty"):
        load("")
    short = tmp_path / "short.csv.gz"
    short.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 99999)[:-40])
    with pytest.raises(InputError, match="cut short"):
        load(short)
    binary = tmp_path / "binary.csv"
    binary.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(InputError, match="expected a table"):
        load(binary)


def test_a_constant_channel_is_named(tmp_path):
    path = write(tmp_path, "a,b\n" + "".join(f"{i % 7},5\n" for i in range(200)))
    spec = DatasetSpec("csv", (("path", str(path)), ("window", 3)))
    with pytest.warns(UserWarning, match="channel 'b' is constant"):
        splits = load_splits(spec, 0)
    assert splits.scale[1] == 1


def test_a_path_below_the_data_folder(tmp_path):
    write(tmp_path, "a\n1\n2\n3\n")
    spec = DatasetSpec("csv", (("path", "own.csv"), ("window", 3)))
    assert len(open_dataset(spec).load(tmp_path, np.random.default_rng(0)).series[0]) == 3


@settings(deadline=None, max_examples=40)
@given(values=st.lists(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2), min_size=30, max_size=60))
def test_what_is_written_is_read(tmp_path_factory, values):
    path = write(tmp_path_factory.mktemp("table"), "a,b\n" + "".join(f"{a!r},{b!r}\n" for a, b in values))
    np.testing.assert_array_equal(load(path).series[0], values)


@settings(deadline=None, max_examples=60)
@given(text=st.text(alphabet=st.sampled_from(list('ab,;"\n 01.-:TZx\x00é')), max_size=60))
def test_any_text_gives_recordings_or_one_line(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("table") / "own.csv"
    path.write_text(text, encoding="utf-8")
    try:
        assert load(path).series
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017


def open_file(name, path, **options):
    options = {"window": 3, **options, "path": str(path)}
    return open_dataset(DatasetSpec(name, tuple(sorted(options.items())))).load(None, np.random.default_rng(0))


def test_parquet_is_the_csv_of_the_same_table(tmp_path):
    table = pd.DataFrame(
        {"when": pd.date_range("2020-01-01", periods=6, tz="CET")[::-1], "a": range(6), "b": [0.5] * 6}
    )
    table.to_parquet(tmp_path / "own.parquet")
    table.to_csv(tmp_path / "own.csv", index=False)
    ours, theirs = open_file("parquet", tmp_path / "own.parquet"), load(tmp_path / "own.csv")
    assert ours.channels == theirs.channels == ("a", "b")
    np.testing.assert_array_equal(ours.series, theirs.series)
    np.testing.assert_array_equal(ours.series[0][:, 0], [5, 4, 3, 2, 1, 0])
    table.set_index("when").to_parquet(tmp_path / "indexed.parquet")
    np.testing.assert_array_equal(open_file("parquet", tmp_path / "indexed.parquet").series, theirs.series)
    table.assign(city="Bonn").to_parquet(tmp_path / "text.parquet")
    with pytest.raises(InputError, match="row 1, column 'city' is 'Bonn', expected a number"):
        open_file("parquet", tmp_path / "text.parquet")
    (tmp_path / "own.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(InputError, match="cannot be read as parquet"):
        open_file("parquet", tmp_path / "own.parquet")


def test_npz_arrays(tmp_path):
    path = tmp_path / "own.npz"
    x = np.random.default_rng(0).normal(size=(12, 8, 2))
    np.savez(path, x=x)
    given = open_file("npz", path, window=8)
    assert given.split == "entity"
    assert given.channels == ("x1", "x2")
    found = np.array(given.series)
    assert (found[:, 0, 0] != np.sort(x[:, 0, 0])).any()  # their order says nothing of what they hold
    np.testing.assert_array_equal(found[np.argsort(found[:, 0, 0])], x[np.argsort(x[:, 0, 0])])
    np.savez(path, x=x[0], y=x)
    assert open_file("npz", path, array="x", channels=("p", "q")).channels == ("p", "q")
    assert open_file("npz", path, array="x").split == "blocks"
    with pytest.raises(InputError, match="holds x, y: choose one with `array`"):
        open_file("npz", path)
    with pytest.raises(InputError, match="no array 'z', known: x, y"):
        open_file("npz", path, array="z")
    with pytest.raises(InputError, match="2 channels, but `channels` names 1"):
        open_file("npz", path, array="x", channels=("p",))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(9), r"shape \(9,\)"),
        (np.zeros((9, 0)), r"shape \(9, 0\)"),
        (np.array([["a", "b"]] * 9), "type <U1"),
        (np.array([[{}], [{}]], dtype=object), "cannot be read as an .npz archive of numbers"),
        (np.array([[1.0, 2], [np.nan, 3], [4, 5]]), "row 2, column 'x1' is empty"),
    ],
)
def test_unusable_arrays(tmp_path, array, message):
    path = tmp_path / "own.npz"
    np.savez(path, array)
    with pytest.raises(InputError, match=message):
        open_file("npz", path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match="cannot be read"):
        open_file("npz", path)
    np.save(tmp_path / "one.npy", np.zeros((9, 2)))
    with pytest.raises(InputError, match=r"one\.npy: cannot be read"):
        open_file("npz", tmp_path / "one.npy")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"no array")
    with pytest.raises(InputError, match=r"own\.npz: "):
        open_file("npz", path)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("who,x\na,1\n,2\n", {"id": "who"}, "row 2, column 'who' is empty, expected an entity"),
        ("x,y\n1,2\n", {"channels": ("x", "x")}, r"csv\.channels: 'x' twice"),
    ],
)
def test_unusable_columns(tmp_path, text, options, message):
    with pytest.raises(InputError, match=message):
        load(write(tmp_path, text), **options)


@pytest.mark.parametrize("ending", ["gz", "zip", "xz", "tar", "bz2"])
def test_a_packed_table_that_is_none_is_one_line(tmp_path, ending):
    path = tmp_path / f"own.csv.{ending}"
    path.write_bytes(b"no archive at all")
    with pytest.raises(InputError, match="cannot be read, perhaps cut short or damaged"):
        load(path)
