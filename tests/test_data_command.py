"""`python -m bench.data`: what it prints, writes and refuses."""

import dataclasses
import gzip
import subprocess
import sys
from datetime import datetime, timedelta

import pytest
from conftest import refused

from bench.contracts import InputError
from bench.data import main
from bench.registry import DATASETS


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/earthquakes").mkdir(parents=True)
    return tmp_path


def said(capsys, *words):
    code = main(list(words))
    return code, capsys.readouterr().out


def japan(folder):
    times = [datetime(1990, 1, 1) + timedelta(days=k, hours=k * k % 7) for k in range(60)]
    lines = [f"{k},{time}.000,{140 + k % 5},{36 + k % 3},{3 + k % 4},1.0,2.0" for k, time in enumerate(times)]
    text = "id,time,longitude,latitude,magnitude,x,y\n" + "\n".join(lines)
    (folder / "data/earthquakes/japan_catalog_1990_2019.csv.gz").write_bytes(gzip.compress(text.encode()))


def test_list_names_every_data_set_and_what_is_here(folder, capsys):
    japan(folder)
    code, out = said(capsys, "list", "--data", "data")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[1:]}
    assert code == 0
    assert set(rows) >= set(DATASETS)
    assert rows["earthquakes_japan"][:2] == ["open", "yes"]
    assert rows["energy"][:2] == ["open", "no"]
    assert rows["mimic"][:2] == ["restricted", "-"]
    assert rows["csv"][:3] == ["your", "own", "-"]
    assert rows["ar1"][:2] == ["simulated", "-"]


def test_describe_prints_the_card_and_draws(folder, capsys):
    japan(folder)
    words = ["earthquakes_japan", "--data", "data", "--set", "window=4", "--set", "split=time", "--out", "figures"]
    code, out = said(capsys, "describe", *words)
    assert code == 0
    for line in (
        "source: https://github.com/ss15859/EarthquakeNPP",
        "rows: 59 in 1 series",
        "missing: nothing",
        "  sha256 7845bbe2d4de930bc80e2f1d6a9797d4f4a63abdcc0e630246654774c22c71c9; the file at that commit",
        "time between rows: 1 days 00:00:00 in the median, 1 days 03:00:00 at most",
        "windows: T = 4, test windows every 1 rows, split: time",
        "  held_out: 5 windows, ",
        "  train: ",
        "  test: 9 windows, 1990-02-18 01:00 to 1990-03-01 02:00",
        "  9 test windows = 2 that share no row, in 1 stretch\n",
        "sha256 of the windows (seed 0): ",
    ):
        assert line in out
    assert (folder / "figures/earthquakes_japan.png").read_bytes()[:4] == b"\x89PNG"
    assert "not here: energy/energydata_complete.csv" in said(capsys, "describe", "energy")[1]


@pytest.mark.parametrize("name", ["csv", "parquet", "npz"])
def test_describe_lists_the_options_of_a_file_to_come(folder, capsys, name):
    code, out = said(capsys, "describe", name)
    assert code == 0
    assert "window" in out
    assert out.splitlines()[-1] == f"no file was given: {name}:PATH describes yours"


def test_describe_begins_with_what_was_read_and_prints_no_card_of_a_file_that_cannot_be_read(folder, capsys):
    (folder / "own.csv").write_text("a,b\n" + "".join(f"{k % 7},{k % 3}\n" for k in range(80)))
    _, out = said(capsys, "describe", "csv:own.csv", "--set", "window=3")
    assert out.startswith("as read from the file:\n")
    assert "\n\ncsv: A user's own" in out
    (options,) = (line for line in out.splitlines() if line.startswith("options: "))
    assert "window = 3" in options
    assert "channels" not in options
    (folder / "bad.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(InputError, match=r"^[^\n]*bad\.csv: [^\n]*$"):
        main(["describe", "csv:bad.csv"])
    assert capsys.readouterr().out == ""


def test_describe_tells_the_share_that_is_filled_in(folder, capsys):
    (folder / "own.csv").write_text("a,b\n" + "".join(f"{k % 7},{'' if k % 4 else k % 3}\n" for k in range(80)))
    _, out = said(capsys, "describe", "csv:own.csv", "--set", "window=3", "--set", "missing=ffill")
    assert ", 75.0% missing and filled in" in out
    assert "missing: 37.5% of all values; filled forward" in out
    assert (folder / "results/data/csv-own.csv.png").is_file()


def test_describe_counts_series_that_share_no_row(folder, capsys):
    out = said(capsys, "describe", "sines", "--set", "series=60")[1]
    assert "  12 test windows = 12 that share no row, in 12 entities\n" in out


def test_describe_says_that_a_gap_leaves_out_nothing(folder, capsys):
    words = ["describe", "sines", "--set", "series=60", "--set", "gap=T"]
    assert "gap leaves out no rows, because its parts are no neighbouring" in said(capsys, *words)[1]
    assert "gap leaves out" not in said(capsys, *words[:-2])[1]


def test_describe_draws_no_restricted_data_unless_asked(folder, capsys):
    words = ["describe", "wards", "--set", "simulated=true", "--set", "patients=20"]
    assert "figure: none, the data are restricted" in said(capsys, *words)[1]
    assert not (folder / "results").exists()
    assert "figure: results/data/wards.png" in said(capsys, *words, "--draw")[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fetch", "mimic"], "restricted: .*its owner gives access"),
        (["fetch", "ar1"], "nothing to fetch"),
        (["fetch", "csv"], "a file of your own"),
        (["fetch"], r"expected a NAME \(.*energy.*\) or --sweep"),
        (["fetch", "enrgy"], "unknown data set 'enrgy'.*did you mean 'energy'"),
        (["describe", "regimes", "--set", "windw=3"], "windw"),
        (["describe", "regimes", "--set", "name=lattice"], "name: expected once, it is already given as 'regimes'"),
        (["describe", "csv:a.csv", "--set", "path=b.csv"], "path: expected once, it is already given as 'a.csv'"),
        (["describe", "regimes", "--set", "series=200", "--set", "series=300"], "series: expected once.* as 200"),
        (["describe", "regimes", "--set", "shuffle=3"], "shuffle: expected a boolean, not 3"),
        (["describe", "csv:none.csv"], "none.csv: no such file"),
        (["describe", __file__], "a file of your own is named csv:"),
        (["describe", "regimes", "--seed", "-1"], "--seed -1: expected a whole number >= 0"),
        (["list", "--data", ""], "--data: expected a folder, not an empty name"),
        (["describe"], "NAME"),
        (["verify", "enrgy"], "unknown data set"),
        (["list", "--data", "nowhere"], "nowhere: expected a folder"),
        ([], "VERB"),
    ],
)
def test_bad_input_is_one_line(folder, words, message):
    with pytest.raises(InputError, match=message) as caught:
        main(words)
    assert "\n" not in str(caught.value)


def test_a_variable_that_names_no_folder_is_one_line(folder, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(folder / "nowhere"))
    with refused(f"BENCH_DATA {folder / 'nowhere'}: expected a folder, there is none"):
        main(["list"])


def test_verify_compares_and_reads(folder, capsys):
    japan(folder)
    code, out = said(capsys, "verify", "earthquakes_japan", "--data", "data")
    assert code == 1
    assert "DIFFERS" in out  # a miniature is not the published file
    assert "59 rows in 1 series" in out
    assert said(capsys, "verify", "--data", "data")[0] == 1
    (folder / "data/earthquakes/japan_catalog_1990_2019.csv.gz").unlink()
    code, out = said(capsys, "verify", "--data", "data")
    assert code == 0
    assert "not here" in out


def test_verify_knows_what_was_noted_when_it_was_fetched(folder, capsys, monkeypatch):
    from bench.loading.description import checked
    from bench.loading.fetch import record, sha256
    from bench.loading.files import Remote

    path = folder / "data/own.csv"
    path.write_text("a\n1\n")
    remote = Remote("https://example.org/own.csv", "own.csv")
    assert "no checksum to compare with" in checked(remote, path)
    record(path).write_text(f'{{"sha256": "{sha256(path)}"}}')
    assert checked(remote, path) == f"{path}: ok"
    path.write_text("a\n2\n")
    assert checked(remote, path).startswith("DIFFERS")
    copied = dataclasses.replace(remote, sha256="0" * 64, copies=(sha256(path),))
    assert checked(copied, path).startswith(f"{path}: ok, the copy")
    short = folder / "data/short.csv.gz"
    short.write_bytes(gzip.compress(b"a\n1\n" * 999)[:-20])
    assert "cut short" in checked(remote, short)


def test_fetch_puts_files_into_the_data_folder(folder, capsys, monkeypatch):
    asked = []
    note = lambda remote, place: asked.append(place / remote.path) or asked[-1]  # noqa: E731
    monkeypatch.setattr("bench.loading.fetch.fetch", note)
    assert said(capsys, "fetch", "energy", "--data", "data")[0] == 0
    assert asked == [folder / "data/energy/energydata_complete.csv"]
    said(capsys, "fetch", "energy")
    assert asked[1] == folder / "cache/latent-diffusion-bench/energy/energydata_complete.csv"


def test_the_command_exits_2_with_one_line_and_no_traceback(folder):
    command = [sys.executable, "-m", "bench.data", "fetch", "mimic"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("error: bench.data fetch mimic: restricted")
    assert len(done.stderr.splitlines()) == 1
