"""A user's own table is read as what it is, or refused with the option that reads it; it is never misread."""
# ruff: noqa: E501  (a case of a table of cases is one line)

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import evaluate
from bench.contracts import Dataset, DatasetSpec, InputError, Recordings
from bench.data import main as data_main
from bench.diagnose import dataset_of
from bench.engine import evaluation
from bench.loading import files
from bench.loading.windows import load_recordings, load_splits, make_splits
from bench.sweeps.expand import named_dataset
from bench.sweeps.options import parse_setting

WINDOW = 4


@pytest.fixture(autouse=True)
def _no_other_data(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def spec_of(path, name="csv", **options):
    return DatasetSpec(name, tuple(sorted({"window": WINDOW, **options, "path": str(path)}.items())))


def read(path, name="csv", **options):
    return load_recordings(spec_of(path, name, **options), 0, None)


def write(tmp_path, text, name="own.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


NOISE = np.random.default_rng(5).normal(size=(60, 2)).round(3)
HOURS = pd.date_range("2024-03-30 12:00", periods=60, freq="h", tz="Europe/Berlin")  # over a change to summer time


def table(**columns) -> pd.DataFrame:
    return pd.DataFrame({**columns, "x": NOISE[:, 0], "y": NOISE[:, 1]})


# ---------------------------------------------------------------- read as what it is

READ = {
    "a space after a comma": (table().to_csv(index=False).replace(",", ", "), {}),
    "a line that names the separator": ("sep=;\n" + table().to_csv(index=False, sep=";"), {}),
    "semicolons": (table().to_csv(index=False, sep=";"), {"separator": ";"}),
    "tabs": (table().to_csv(index=False, sep="\t"), {"separator": "tab"}),
    "spaces": (table().to_csv(index=False, sep=" ").replace(" ", "   "), {"separator": "space"}),
    "decimal commas": (table().to_csv(index=False, sep=";", decimal=","), {"separator": ";", "decimal": "comma"}),
    "quoted decimal commas": (table().astype(str).map(lambda s: s.replace(".", ",")).to_csv(index=False, quoting=1), {"decimal": ","}),
    "no header": (table().to_csv(index=False, header=False), {"header": "none", "channels": ("x1", "x2")}),
    "numbers that are names": (table().rename(columns={"x": "0", "y": "1"}).to_csv(index=False), {"header": "names"}),
    "carriage returns": (table().to_csv(index=False, lineterminator="\r\n"), {}),
    "lines that end with a comma": (re.sub("$", ",", table().to_csv(index=False).strip(), flags=re.MULTILINE), {}),
    "blank lines at both ends": ("\n" + table().to_csv(index=False) + "\n\n", {}),
    "day first": (table(when=HOURS.strftime("%d.%m.%Y %H:%M%z")).to_csv(index=False), {"time": "when", "time_format": "%d.%m.%Y %H:%M%z"}),
    "a time that is not first": (table(k="0").assign(when=HOURS.tz_convert(None)).drop(columns="k").to_csv(index=False), {"time": "when"}),
    "seconds since 1970": (table(at=HOURS.as_unit("s").asi8).to_csv(index=False), {"time": "at", "time_unit": "s"}),
    "days since 1970": (table(at=np.arange(60)).to_csv(index=False), {"time": "at", "time_unit": "d"}),
    "an offset of hours alone": (table(at=HOURS.strftime("%Y-%m-%d %H:%M:%S%z").str[:-2]).to_csv(index=False), {}),
    "a row number without a name": (table().to_csv(), {"time": "column 1"}),
    "a row number that was saved again": (table().rename_axis("Unnamed: 0").reset_index().to_csv(index=False), {"channels": ("x", "y")}),
    "a code for missing values": (table().to_csv(index=False).replace("\n", "\n-200.0,-200\n", 2).replace("-200.0,-200\n", "", 1), {"missing_values": -200, "missing": "drop"}),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_it_is_read_as_what_it_is(tmp_path, case):
    text, options = READ[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read(write(tmp_path, text), **options)
    np.testing.assert_array_equal(found.series[0], NOISE)
    assert len(found.series) == 1
    assert not found.doubts


@pytest.mark.parametrize("case", ["day first", "seconds since 1970", "an offset of hours alone"])
def test_times_with_a_zone_become_utc(tmp_path, case):
    text, options = READ[case]
    found = read(write(tmp_path, text), **options)
    np.testing.assert_array_equal(found.times[0], HOURS.tz_convert(None).to_numpy())
    lines = text.splitlines()
    shuffled = "\n".join([lines[0], *reversed(lines[1:])])
    np.testing.assert_array_equal(read(write(tmp_path, shuffled), **options).series[0], NOISE)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "cp1252", "latin-1"])
def test_encodings(tmp_path, encoding):
    text = table().rename(columns={"x": "größe"}).to_csv(index=False)
    options = {"encoding": encoding} if encoding in ("cp1252", "latin-1") else {}
    assert read(write(tmp_path, text, encoding=encoding), **options).channels == ("größe", "y")


def test_a_blank_line_of_a_single_column_is_a_missing_value(tmp_path):
    path = write(tmp_path, "x\n1\n\n3\n4\n5\n7\n")
    with pytest.raises(InputError, match="row 2, column 'x' is empty"):
        read(path)
    np.testing.assert_array_equal(read(path, missing="ffill").series[0][:, 0], [1, np.nan, 3, 4, 5, 7])


def test_an_index_of_a_parquet_file(tmp_path):
    path = tmp_path / "own.parquet"
    table().set_index(HOURS).to_parquet(path)
    found = read(path, "parquet")
    assert found.channels == ("x", "y")
    np.testing.assert_array_equal(found.times[0], HOURS.tz_convert(None).to_numpy())
    some = np.flatnonzero(NOISE[:, 0] > 0)
    table().iloc[some].to_parquet(path)
    with pytest.raises(InputError, match=r"column 1 has no name \(here 'index'\) and begins with '2', '4', "):
        read(path, "parquet")
    np.testing.assert_array_equal(read(path, "parquet", time="index").series[0], NOISE[some])
    table(who=["b"] * 30 + ["a"] * 30).set_index("who").to_parquet(path)
    with pytest.raises(InputError, match="column 'who' is 'b', expected a number"):
        read(path, "parquet")
    assert read(path, "parquet", id="who").entities == ["a", "b"]


# ---------------------------------------------------------------- refused with the option that reads it

GOOD = table().to_csv(index=False)
REFUSED = {
    "no header": (table().to_csv(index=False, header=False), {}, r"line 1 \(.*\) looks like a row of data: choose `header: none`"),
    "no header, with a date": (table(t=HOURS.date).to_csv(index=False, header=False), {}, "choose `header: none`"),
    "a header of numbers": ("0,1\n" + GOOD.split("\n", 1)[1], {}, "or `header: names`"),
    "semicolons": (GOOD.replace(",", ";"), {}, "choose `separator: semicolon`$"),
    "semicolons and decimal commas": (table().to_csv(index=False, sep=";", decimal=","), {}, "`separator: semicolon` and `decimal: comma`"),
    "tabs": (GOOD.replace(",", "\t"), {}, "choose `separator: tab`"),
    "decimal commas": (table().to_csv(index=False, sep=";", decimal=","), {"separator": ";"}, "row 1, column 'x' is '-0,802', expected a number.*`decimal: comma`"),
    "points where commas are": (table().to_csv(index=False, sep=";"), {"separator": ";", "decimal": ","}, r"row 1, column 'x' is '-0\.802'"),
    "two columns of one name": (GOOD.replace("x,y", "x,x"), {}, "line 1 names the column 'x' twice"),
    "a row too long": (GOOD + "1,2,3\n", {}, r"line 62 has 3 cells, more cells than the header \(2\)"),
    "a row too short": (GOOD + "1\n", {}, r"line 62 has 1 cells, fewer cells than the header"),
    "a blank line": (GOOD + "\n1,2\n", {}, "line 62 is blank"),
    "an open quotation mark": (GOOD + '1,"2\n', {}, "expected a table as CSV"),
    "an unnamed column": (table().to_csv(), {}, r"column 1 has no name \(here 'column 1'\) and begins with '0', '1', '2': choose `time: column 1`"),
    "a row number": (table(step=np.arange(60)).to_csv(index=False), {}, "column 'step' begins with '0', '1', '2' and looks like a time: choose `time: step`"),
    "years": (table(year=np.arange(1900, 1960)).to_csv(index=False), {}, "`time: year`"),
    "seconds since 1970": (table(at=HOURS.as_unit("s").asi8[::-1]).to_csv(index=False), {}, "`time: at` and `time_unit: s`"),
    "milliseconds": (table(at=HOURS.as_unit("ms").asi8).to_csv(index=False), {}, "`time: at` and `time_unit: ms`"),
    "dates of 8 digits": (table(on=pd.date_range("2020-01-01", periods=60).strftime("%Y%m%d")).to_csv(index=False), {}, "`time: on` and `time_format: '%Y%m%d'`"),
    "day first": (table(on=HOURS.strftime("%d.%m.%Y %H:%M")).to_csv(index=False), {}, "`time: on` and `time_format: '%d.%m.%Y %H:%M'`"),
    "month first": (table(on=HOURS.strftime("%m/%d/%y")).to_csv(index=False), {}, "`time_format: '%m/%d/%y'`"),
    "either first": (table(on=["01/02/2020", "03/04/2020"] * 30).to_csv(index=False), {}, "'%d/%m/%Y' .day first. or '%m/%d/%Y'"),
    "a date that is not first": (table().assign(on=HOURS.date).to_csv(index=False), {}, "column 'on' begins with .* looks like a time: choose `time: on`"),
    "an id that is not first": (table().assign(patient=np.repeat([7, 9], 30)).to_csv(index=False), {}, "looks like the name of an entity: choose `id: patient`"),
    "an unused order": (table(on=HOURS.date[::-1]).to_csv(index=False), {"channels": ("x",), "time": ""}, "expected every time once"),
    "an unused order that is not first": (table().assign(on=HOURS.tz_convert(None)[::-1]).to_csv(index=False), {"channels": ("x",)}, "the rows are not in the order of column 'on'.* choose `time: on`"),
    "a bad time": (table(on=["2020-01-01"] * 7 + ["soon"] + ["2020-01-02"] * 52).to_csv(index=False), {}, "row 8, column 'on' is 'soon', expected a time"),
    "a bad number of time": (table(t=[*range(7), "?", *range(8, 60)]).to_csv(index=False), {"time": "t"}, r"row 8, column 't' is '\?', expected a time as a number"),
    "no time": (table(t=[*range(7), "", *range(8, 60)]).to_csv(index=False), {"time": "t"}, "row 8, column 't' is empty, expected a time"),
    "a bad cell": (GOOD + "1,n/a\n", {}, r"row 61, column 'y' is 'n/a', expected a number.*`missing_values: \['n/a'\]`"),
    "date and time apart": (table(date=["2020-01-01"] * 60, clock=HOURS.strftime("%H:%M")).to_csv(index=False), {"channels": ("x",)}, r"\(join 'date' and 'clock' into one column of times\)"),
    "another format": (table(on=HOURS.strftime("%d.%m.%Y")).to_csv(index=False), {"time": "on", "time_format": "%m.%d.%Y"}, r"row 1, column 'on' is '30\.03\.2024', expected a time as `time_format: '%m\.%d\.%Y'` says"),
    "a wrong unit": (table(at=HOURS.as_unit("ms").asi8).to_csv(index=False), {"time": "at", "time_unit": "d"}, r"csv\.time_unit = 'd'.* too many"),
    "no separator": (GOOD, {"separator": "::"}, r"csv\.separator = '::': expected one character"),
    "no decimal mark": (GOOD, {"decimal": "x"}, r"csv\.decimal = 'x': expected point or comma"),
    "no encoding": (GOOD, {"encoding": "utf-9"}, r"csv\.encoding = 'utf-9': unknown"),
    "a web page": ("<!DOCTYPE html>\n<html><body>404</body></html>", {}, "is an HTML or XML page"),
    "a pointer": ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", {}, "is a pointer of Git LFS.*git lfs pull"),
    "an annex": ("../.git/annex/objects/xX/Zz/SHA256E-s1--0.csv", {}, "is a pointer of git-annex"),
    "JSON": ('[{"x": 1}, {"x": 2}]', {}, "is a JSON document"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_in_one_line(tmp_path, case):
    text, options, message = REFUSED[case]
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=message) as caught:
        read(path, **options)
    assert str(caught.value).startswith((str(path), "csv."))
    assert "\n" not in str(caught.value)


def test_files_of_another_kind(tmp_path):
    path = write(tmp_path, GOOD.replace("x", "größe"), encoding="latin-1")
    with pytest.raises(InputError, match="line 1 is not UTF-8: choose `encoding`, such as cp1252"):
        read(path)
    path = write(tmp_path, GOOD, encoding="utf-16-le")
    with pytest.raises(InputError, match="bytes of 0: choose `encoding: utf-16-le`"):
        read(path)
    np.testing.assert_array_equal(read(path, encoding="utf-16-le").series[0], NOISE)
    table().to_parquet(path)
    with pytest.raises(InputError, match="is a parquet file"):
        read(path)
    path.write_bytes(gzip.compress(GOOD.encode()))
    with pytest.raises(InputError, match="is a compressed file, expected a name that says so"):
        read(path)
    np.savez(tmp_path / "own.npz", NOISE)
    with pytest.raises(InputError, match="is a zip archive"):
        read(tmp_path / "own.npz")
    for name in ("npz", "parquet"):
        page = write(tmp_path, "<html>", f"page.{name}")
        with pytest.raises(InputError, match="is an HTML or XML page"):
            read(page, name)
    np.save(tmp_path / "one.npy", NOISE)
    with pytest.raises(InputError, match=r"one\.npy: cannot be read as an \.npz archive"):
        read(tmp_path / "one.npy", "npz")


# ---------------------------------------------------------------- warned about


def doubts_of(path, name="csv", **options):
    spec = spec_of(path, name, **options)
    with pytest.warns(UserWarning, match=re.escape(str(path))) as raised:
        load_splits(spec, 0)
    return " | ".join(str(item.message) for item in raised)


@pytest.mark.parametrize("code", [-200, -999, 9999, -1, 99999, -32768])
def test_a_code_for_missing_values_is_named(tmp_path, code):
    frame = table().assign(x=lambda t: t.x.abs() * 3 + 5)
    frame.loc[[3, 17, 40], "x"] = code
    path = tmp_path / "own.csv"
    frame.to_csv(path, index=False)
    said = f"column 'x' holds {code} in 3 rows, far from all other values: .* `missing_values: {code}`"
    assert re.search(said, doubts_of(path))
    found = read(path, missing_values=code, missing="ffill")
    assert np.isnan(found.series[0][[3, 17, 40], 0]).all()
    assert np.isnan(found.series[0]).sum() == 3
    assert not found.doubts


def test_both_ends_may_hold_a_code(tmp_path):
    frame = table()
    frame.loc[[3, 17, 40], "y"] = -200
    frame.loc[[4, 18, 41], "y"] = 9999
    frame.to_csv(tmp_path / "own.csv", index=False)
    assert [re.findall(r"holds (\S+)", doubt) for doubt in read(tmp_path / "own.csv").doubts] == [["-200"], ["9999"]]


def test_ordinary_channels_are_not_doubted(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "counts": rng.poisson(0.2, 400),
            "binary": rng.integers(0, 2, 400),
            "heavy": rng.standard_t(2, 400),
            "lognormal": np.exp(2 * rng.normal(size=400)),
            "zeros": np.where(rng.random(400) < 0.9, 0, rng.normal(100, 1, 400)),
            "clipped": np.minimum(rng.gamma(2, 50, 400), 200),
            "celsius": rng.normal(-5, 8, 400).round(),
        }
    )
    frame.to_csv(tmp_path / "own.csv", index=False)
    assert not read(tmp_path / "own.csv").doubts


def test_an_absurd_value_is_named(tmp_path):
    frame = table()
    frame.loc[29, "y"] = 1e6
    frame.to_csv(tmp_path / "own.csv", index=False)
    assert "row 30, column 'y' is 1e+06, which makes the scale" in doubts_of(tmp_path / "own.csv")


def test_an_entity_that_is_left_out_is_named(tmp_path):
    table(city=["Bonn"] * 30 + ["Rome"] * 30).to_csv(tmp_path / "own.csv", index=False)
    said = doubts_of(tmp_path / "own.csv", channels=("x", "y"))
    assert "column 'city' is not used: if it tells entities apart, windows mix them: choose `id: city`" in said


def test_arrays_with_turned_axes_are_named(tmp_path):
    waves = np.sin(np.arange(48) / 5 + np.random.default_rng(0).uniform(0, 6, (60, 3, 1)))
    np.savez(tmp_path / "own.npz", waves)
    assert "looks like (series, channels, rows)" in doubts_of(tmp_path / "own.npz", "npz", window=3)
    np.savez(tmp_path / "own.npz", waves.transpose(0, 2, 1))
    assert not read(tmp_path / "own.npz", "npz", window=48).doubts
    np.savez(tmp_path / "own.npz", waves[:, 0])
    assert "60 series of one channel have the shape (60, 48, 1)" in doubts_of(tmp_path / "own.npz", "npz")


# ---------------------------------------------------------------- what a user sees


def test_describe_says_what_was_understood(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frame = table(when=HOURS[::-1], who=["b", "a"] * 30)
    frame.loc[7, "x"] = np.nan
    frame["note"] = "words"
    frame.to_csv("own.csv", index=False)
    words = ["id=who", "channels=[x, y]", "missing=drop", "window=4", "split=blocks"]
    assert data_main(["describe", "csv:own.csv", *(word for each in words for word in ("--set", each))]) == 0
    out = capsys.readouterr().out
    for line in (
        "  row 1: when = 2024-04-02 00:00:00+02:00, who = b, x = -0.802, y = -1.324, note = words",
        "  time: column 'when', with a zone, read as UTC; the rows were not in its order and were sorted",
        "  entities: 2 of column 'who'",
        "  columns not used: note",
        "  rows left out: 1 with an empty cell (missing: drop)",
        "  equal rows: none",
        "  channel y: -1.988 to 1.901, 59 different values, ",
    ):
        assert line in out


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("separator=;", ("separator", ";")),
        ("separator=|", ("separator", "|")),
        ("decimal=,", ("decimal", ",")),
        ("time_format=%d.%m.%Y %H:%M", ("time_format", "%d.%m.%Y %H:%M")),
        ("missing_values=[-200, -999]", ("missing_values", [-200, -999])),
    ],
)
def test_marks_on_the_command_line(text, parsed):
    assert parse_setting(text) == parsed


def test_a_file_that_is_diagnosed_takes_options(tmp_path):
    path = write(tmp_path, table(who=["a"] * 30 + ["b"] * 30).to_csv(index=False, sep=";"))
    word = dataset_of(path, 5, ["separator=;", "id=who", "missing_values=[-200, '?']"])
    spec = named_dataset(word, "--dataset")
    wanted = {"id": "who", "missing_values": (-200, "?"), "path": str(path), "separator": ";", "window": 5}
    assert dict(spec.options) == wanted


# ---------------------------------------------------------------- the machine


def test_a_terminal_of_ascii_a_user_without_a_home_and_odd_names(tmp_path):
    write(tmp_path, table().rename(columns={"x": "größe $x_{", "y": "_y"}).to_csv(index=False))
    place = {key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_CACHE_HOME")}
    place |= {"PYTHONIOENCODING": "ascii", "TMPDIR": str(tmp_path / "none"), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "bench.data", "describe", "csv:own.csv", "--set", "window=4"]
    done = subprocess.run(words, env=place, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert rb"channel gr\xf6\xdfe $x_{: " in done.stdout
    assert (tmp_path / "results/data/csv-own.csv.png").is_file()


def test_no_home_is_no_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert files.places(None) == []
    assert files.places(tmp_path) == [tmp_path]


def test_a_tilde_and_variables_in_a_path(tmp_path, monkeypatch):
    write(tmp_path, GOOD)
    write(tmp_path, GOOD, "$x.csv")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MINE", "own")
    for path in ("~/own.csv", "$HOME/${MINE}.csv", str(tmp_path / "$x.csv")):
        np.testing.assert_array_equal(read(path).series[0], NOISE)


def test_nothing_is_written_beside_a_users_data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    source = write(folder, GOOD)
    files._EXTRACTS.clear()
    files.extract("some version 1", [source], lambda: pd.DataFrame({"x": [1]}))
    assert [path.name for path in folder.iterdir()] == ["own.csv"]
    assert len(list((tmp_path / "cache").rglob("some-*.parquet"))) == 1
    files._EXTRACTS.clear()


# ---------------------------------------------------------------- what a data set returns

ROWS = [np.random.default_rng(k).normal(size=(8, 2)) for k in range(12)]
RETURNED = [
    ({"window": 1}, "window = 1, expected a whole number >= 2"),
    ({"window": 4.0}, r"window = 4\.0, expected a whole number"),
    ({"train_stride": 0}, "train_stride = 0, expected a whole number >= 1"),
    ({"test_stride": None}, "test_stride = None"),
    ({"split": "random"}, "split = 'random', .*known: blocks, entity, given, time"),
    ({"channels": ("a", "a")}, "each different"),
    ({"channels": ()}, "expected one name or more"),
    ({"channels": (1, 2)}, "channels = .*expected a text for each channel"),
    ({"channels": "ab"}, "channels = 'ab', expected a text for each channel"),
    ({"units": ("",)}, "1 units, expected one for each of 2 channels"),
    ({"series": 3}, "series = 3, expected a list"),
    ({"series": [[[1, 2], [3]]]}, "series 0 is no array"),
    ({"series": [np.array([["a", "b"]])]}, "series 0 has the type <U1, expected numbers"),
    ({"series": [np.zeros((8, 2), complex)]}, "series 0 has the type complex128"),
    ({"series": [np.zeros(8)]}, r"series 0 has shape \(8,\), expected \(rows, 2 channels\)"),
    ({"series": []}, "holds no series"),
    ({"entities": ["a"]}, "1 entities, expected one for each of 12 series"),
    ({"times": [np.zeros(3)] * 12}, "`times` has other lengths"),
    ({"truth": {"z": np.zeros(3)}, "window": 8}, r"truth\['z'\] has shape \(3,\), expected \(12, k\)"),
    ({"series": [np.full((8, 2), np.inf)] * 12}, "series 0, row 0, channel 'a' is infinite"),
]


@pytest.mark.parametrize(("change", "message"), RETURNED)
def test_what_a_data_set_returns_is_checked(change, message):
    good = {"series": ROWS, "channels": ("a", "b"), "units": ("", ""), "window": 4, "train_stride": 1}
    recordings = Recordings(**{**good, "test_stride": 1, "split": "entity", **change})
    with pytest.raises(InputError, match=message) as caught:
        make_splits(recordings, DatasetSpec("mine"), 0)
    assert str(caught.value).startswith("mine: ")
    assert "\n" not in str(caught.value)


def test_values_must_be_finite_after_scaling():
    tiny = np.random.default_rng(0).normal(size=(8, 1)) * 1e-20
    parts = ["train", "validation", "test"]
    recordings = Recordings([tiny, tiny, tiny * 1e40], ("a",), ("",), 4, 1, 1, "given", parts=parts)
    with pytest.raises(InputError, match="mine: values of the part test are not finite after scaling"):
        make_splits(recordings, DatasetSpec("mine"), 0)


def test_no_recordings_are_one_line(monkeypatch):
    class Nothing(Dataset):
        name, source, licence = "nothing", "mine", "mine"

        def load(self, data_dir, rng):
            return None

    monkeypatch.setattr("bench.loading.windows.open_dataset", lambda spec: Nothing())
    with pytest.raises(InputError, match="nothing: `load` returns NoneType, expected Recordings"):
        load_recordings(DatasetSpec("nothing"), 0, None)


# ---------------------------------------------------------------- samples of other people


@pytest.fixture
def far(tmp_path, monkeypatch):
    """A data set far from 0, on which scaled samples can be told from others; returns a function that scores."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    pd.DataFrame({"x": 1e6 + rng.normal(size=400), "y": 20 + 3 * rng.normal(size=400)}).to_csv("far.csv", index=False)

    def score(samples, *words):
        path = Path("mine.npz")
        np.savez(path, samples=samples)
        return evaluate.main(["--samples", str(path), "--dataset", "csv:far.csv,window=6", "--metrics", "mmd2", *words])

    return score


def test_an_offset_is_removed_in_double_precision(far, monkeypatch):
    scored = []
    monkeypatch.setattr(evaluation, "score_beside_references", lambda name, x, *_: scored.append(x) or [])
    monkeypatch.setattr(evaluation, "print_rows", lambda rows: None)
    rng = np.random.default_rng(1)
    samples = np.stack([1e6 + rng.normal(size=(30, 6)), 20 + 3 * rng.normal(size=(30, 6))], axis=2)
    splits = load_splits(spec_of(Path("far.csv").resolve(), window=6), 0)
    splits = load_splits(DatasetSpec("csv", (("path", "far.csv"), ("window", 6)), folder=str(Path.cwd())), 0)
    assert far(samples) == 0
    np.testing.assert_array_equal(scored[0], ((samples - splits.mean) / splits.scale).astype(np.float32))
    assert len(np.unique(scored[0][:, :, 0])) == 180  # float32 has 16 values per unit at 1e6
    low, high = splits.train.min(axis=(0, 1)), splits.train.max(axis=(0, 1))
    assert far(rng.random((30, 6, 2)), "--scale", "minmax") == 0
    assert (scored[1].min(axis=(0, 1)) >= low).all()
    assert (scored[1].max(axis=(0, 1)) <= high).all()
    np.save("mine.npy", samples)
    words = ["--samples", "mine.npy", "--dataset", "{name: csv, path: far.csv, window: 6}", "--metrics", "mmd2"]
    assert evaluate.main(words) == 0
    np.testing.assert_array_equal(scored[2], scored[0])


def test_samples_on_another_scale_are_refused(far):
    rng = np.random.default_rng(1)
    scaled = rng.normal(size=(30, 6, 2))
    with pytest.raises(InputError, match=r"100% of the values of channel 'x' are far outside .*`--scale train`"):
        far(scaled)
    with pytest.raises(InputError, match="channel 'x' are far outside"):
        far(scaled + np.array([1e6, 20]), "--scaled")
    with pytest.raises(InputError, match="expected one of them"):
        far(scaled, "--scaled", "--scale", "minmax")
    pd.DataFrame({"x": 5 * rng.normal(size=400), "y": 9 * rng.normal(size=400)}).to_csv("far.csv", index=False)
    with pytest.raises(InputError, match="mean 0 and standard deviation 1 in every channel, unlike the data"):
        far(scaled)
    with pytest.raises(InputError, match="the range 0 to 1 in every channel, unlike the data"):
        far(rng.random((30, 6, 2)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused_with_its_place(far, value):
    samples = np.full((30, 6, 2), 20.0)
    samples[:, :, 0] = 1e6
    samples[29, 4, 1] = value
    with pytest.raises(InputError, match=f"series 29, step 5, channel 'y' is {value}, one of 1 values"):
        far(samples, "--n", "5")


def test_turned_samples_and_files_that_are_none(far, tmp_path):
    with pytest.raises(InputError, match=r"samples has shape \(30, 2, 6\).*it may be \(n, C, T\)"):
        far(np.zeros((30, 2, 6)))
    Path("page.npz").write_text("<!doctype html>")
    with pytest.raises(InputError, match="is an HTML or XML page"):
        evaluate.main(["--samples", "page.npz", "--dataset", "regimes"])
    with pytest.raises(InputError, match="unknown key"):
        evaluate.main(["--samples", "mine.npz", "--dataset", "regimes,windw=3"])


# ---------------------------------------------------------------- any rewriting

PATIENTS = 9


def patients() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"who": np.repeat([f"pä{k}" for k in range(PATIENTS)], 8)})
    frame["at"] = np.tile(pd.date_range("2024-03-31", periods=8, freq="30min"), PATIENTS)
    return frame.assign(x=rng.normal(size=len(frame)).round(4), y=rng.normal(50, 9, len(frame)).round(2))


def saved(frame: pd.DataFrame, folder: Path, how: dict) -> tuple[str, Path, dict]:
    """A table written in some way: the name of the data set, the path, and the options that this way needs."""
    if how["format"] == "parquet":
        path = folder / "own.parquet"
        frame.to_parquet(path, index=False, compression=how["compression"] or "snappy")
        return "parquet", path, {}
    path = folder / f"own.csv{'.gz' if how['compression'] else ''}"
    sign, mark, encoding = how["separator"], how["decimal"], how["encoding"]
    frame = frame.assign(at=frame["at"].dt.strftime(how["time"]))
    text = frame.to_csv(index=False, sep=sign, decimal=mark, lineterminator=how["ending"], quoting=how["quoting"])
    content = text.encode(encoding)
    path.write_bytes(gzip.compress(content) if how["compression"] else content)
    options = {"separator": sign} if sign != "," else {}
    options |= {"decimal": mark} if mark != "." else {}
    options |= {"encoding": encoding} if encoding in ("latin-1", "cp1252") else {}
    options |= {"time_format": how["time"]} if how["time"].startswith("%d") else {}
    return "csv", path, options


WAYS = st.fixed_dictionaries(
    {
        "format": st.sampled_from(["csv", "csv", "csv", "parquet"]),
        "compression": st.sampled_from([None, "gzip"]),
        "separator": st.sampled_from([";", "\t", "|", ","]),
        "decimal": st.sampled_from([".", ","]),
        "encoding": st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"]),
        "ending": st.sampled_from(["\n", "\r\n"]),
        "quoting": st.sampled_from([0, 1]),
        "time": st.sampled_from(["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%d.%m.%Y %H:%M"]),
        "seed": st.integers(0, 99),
        "parts": st.booleans(),
        "columns": st.permutations(["who", "at", "x", "y"]),
    }
)
BUSY = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


def splits_of(name, path, **options):
    return load_splits(spec_of(path, name, id="who", time="at", **options), 1)


@BUSY
@given(how=WAYS)
def test_a_harmless_rewriting_changes_no_window(tmp_path_factory, how):
    frame, rng = patients(), np.random.default_rng(how["seed"])
    if how["parts"]:
        frame = pd.concat([frame[frame.who == who] for who in rng.permutation(frame.who.unique())])
    else:
        frame = frame.sample(frac=1, random_state=how["seed"])
    folder = tmp_path_factory.mktemp("written")
    patients().to_csv(folder / "first.csv", index=False)
    name, path, options = saved(frame[how["columns"]], folder, how)
    options["channels"] = ("x", "y")  # their order is that of the columns where nothing is said
    one, two = splits_of("csv", folder / "first.csv", channels=("x", "y")), splits_of(name, path, **options)
    assert one.sha256 == two.sha256
    np.testing.assert_array_equal(one.train, two.train)


def harms(lines: list[str], k: int) -> dict[str, list[str]]:
    """The lines of a CSV file with faults of several kinds, at or about row k."""
    cells = lines[k].split(",")
    return {
        "no header": lines[1:],
        "other separator": [line.replace(",", ";") for line in lines],
        "decimal commas": [line.replace(".", ",") for line in lines],
        "a line twice": [*lines[: k + 1], lines[k], *lines[k + 1 :]],
        "a cell too many": [*lines[:k], f"{lines[k]},7", *lines[k + 1 :]],
        "a cell too few": [*lines[:k], lines[k].rpartition(",")[0], *lines[k + 1 :]],
        "an empty cell": [*lines[:k], ",".join([*cells[:2], "", cells[3]]), *lines[k + 1 :]],
        "a word": [*lines[:k], ",".join([*cells[:3], "n.a."]), *lines[k + 1 :]],
        "no name": [lines[0].replace("x", ""), *lines[1:]],
        "one name twice": [lines[0].replace("x", "y"), *lines[1:]],
        "a blank line": [*lines[:k], "", *lines[k:]],
        "day first": [re.sub(r"(\d{4})-(\d\d)-(\d\d)", r"\3.\2.\1", line) for line in lines],
        "no entity": [*lines[:k], ",".join(["", *cells[1:]]), *lines[k + 1 :]],
        "a code": [",".join([*line.split(",")[:3], "-999"]) if n % 9 == 1 else line for n, line in enumerate(lines)],
        "an absurd value": [*lines[:k], ",".join([*cells[:3], "1e9"]), *lines[k + 1 :]],
        "a value too large": [*lines[:k], ",".join([*cells[:3], "1e31"]), *lines[k + 1 :]],
        "an open quotation mark": [*lines[:k], '"' + lines[k], *lines[k + 1 :]],
        "one zone": [*lines[:k], ",".join([cells[0], f"{cells[1]}+02:00", *cells[2:]]), *lines[k + 1 :]],
        "a page": ["<html>", *lines],
        "a title": ["measured in spring", *lines],
        "a counter": [f"{n or 'step'},{line}" for n, line in enumerate(lines)],
    }


KINDS = sorted(harms(patients().to_csv(index=False).splitlines(), 1))


@BUSY
@given(kind=st.sampled_from(KINDS), row=st.integers(1, PATIENTS * 8), named=st.booleans())
def test_a_harmful_rewriting_is_never_silent(tmp_path_factory, kind, row, named):
    folder = tmp_path_factory.mktemp("harmed")
    good = patients().to_csv(index=False)
    (folder / "good.csv").write_text(good, encoding="utf-8")
    (folder / "own.csv").write_text("\n".join(harms(good.splitlines(), row)[kind]) + "\n", encoding="utf-8")
    options = {"id": "who", **({"time": "at"} if named else {})}
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        try:
            found = load_splits(spec_of(folder / "own.csv", **options), 1)
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017
            return
    if not raised:
        assert found.sha256 == load_splits(spec_of(folder / "good.csv", **options), 1).sha256, kind


def test_how_a_file_is_written_is_no_part_of_its_stream():
    plain = DatasetSpec("csv", (("path", "a.csv"), ("window", 48)))
    written = DatasetSpec("csv", (("decimal", ","), ("path", "b.csv"), ("separator", ";"), ("window", 48)))
    assert plain.stream == written.stream == "own file,window=48"
