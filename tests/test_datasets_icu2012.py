"""`icu2012` on a miniature archive, and facts of the real one."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from conftest import refused

from bench.contracts import DatasetSpec, InputError, Unavailable
from bench.loading import files
from bench.loading.windows import load_splits, open_dataset

HEADER = "Time,Parameter,Value\n00:00,RecordID,{number}\n00:00,Age,54\n00:00,Weight,-1\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files._EXTRACTS.clear()
    (tmp_path / "icu/challenge2012").mkdir(parents=True)
    return tmp_path


def write(folder, stays, prefix="set-a/"):
    with tarfile.open(folder / "icu/challenge2012/set-a.tar.gz", "w:gz") as archive:
        for number, body in stays.items():
            content = (HEADER.format(number=number) + body).encode()
            member = tarfile.TarInfo(f"{prefix}{number}.txt")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def whole(first_hour=""):
    return first_hour + "".join(f"{h:02}:30,HR,{60 + h}\n{h:02}:40,NISysABP,{100 + h}\n" for h in range(1, 48))


def load(folder, **options):
    options = {"channels": ("HR", "SBP"), **options}
    return open_dataset(DatasetSpec("icu2012", tuple(sorted(options.items())))).load(folder, np.random.default_rng(0))


def test_hourly_means_of_plausible_values(folder):
    first = "00:10,HR,70\n00:50,HR,80\n00:55,HR,0\n00:20,SysABP,120\n00:20,NISysABP,90\n48:00,HR,207\n"
    write(folder, {1: whole(first), 2: whole("00:01,NISysABP,95\n"), 3: "00:00,HR,70\n"})
    given = load(folder)
    assert given.entities == ["1", "2"]  # stay 3 has one hour
    assert given.split == "entity"
    stay = given.series[0]
    assert stay.shape == (48, 2)
    np.testing.assert_array_equal(stay[0], [75, 120])  # 0 is a line that fell off; the arterial line comes first
    np.testing.assert_array_equal(stay[1:47], [[60 + h, 100 + h] for h in range(1, 47)])
    assert stay[47, 0] == (107 + 207) / 2  # 48:00 belongs to the last hour
    assert np.isnan(given.series[1][0, 0])
    assert given.series[1][0, 1] == 95


def test_options(folder):
    write(folder, {k: whole() for k in range(3)})
    assert load(folder, missing="mask").channels == ("HR", "SBP", "HR observed", "SBP observed")
    assert load(folder, missing="drop", window=47).series[0].shape == (47, 2)
    with pytest.raises(InputError, match="no stay with 48 hours is left"):
        load(folder, missing="drop")
    with pytest.raises(InputError, match=r"no stay with 48 hours|no stay"):
        load(folder, channels=("HR", "GCS"))
    with pytest.raises(InputError, match="unknown channel 'Hr', did you mean 'HR'"):
        load(folder, channels=("Hr",))


@pytest.mark.parametrize(
    ("stays", "prefix", "message"),
    [
        ({7: "00:10,HR\n"}, "set-a/", "set-a/7.txt, line 5 is '00:10,HR': expected"),
        ({7: "00:10,HR,fast\n"}, "set-a/", "line 5 is '00:10,HR,fast'"),
        ({7: "ten,HR,70\n"}, "set-a/", "line 5 is 'ten,HR,70'"),
        ({7: ""}, "../", r"member '../7.txt' leaves its folder"),
        ({7: ""}, "/", r"member '/7.txt' leaves its folder"),
        ({}, "", "holds no stay"),
    ],
)
def test_unusable_archives(folder, stays, prefix, message):
    write(folder, stays, prefix)
    with refused(message):
        load(folder)


def test_an_archive_cut_short_and_none(folder):
    with pytest.raises(Unavailable, match=r"bench\.data fetch icu2012"):
        load(folder)
    write(folder, {k: whole() for k in range(50)})
    path = folder / "icu/challenge2012/set-a.tar.gz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="cut short"):
        load(folder)


@pytest.mark.data
@pytest.mark.skipif("BENCH_DATA" not in os.environ, reason="the variable BENCH_DATA names no folder of real data")
def test_the_real_archive(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = Path(os.environ["BENCH_DATA"])
    with tarfile.open(data / "icu/challenge2012/set-a.tar.gz") as archive:
        assert sum(name.endswith(".txt") for name in archive.getnames()) == 4_000
    dataset = open_dataset(DatasetSpec("icu2012"))
    assert len(dataset.load(data, np.random.default_rng(0)).series) == 3_889
    splits = load_splits(DatasetSpec("icu2012"), 0, data)
    assert splits.train.shape == (2722, 48, 7)
    assert np.isfinite(splits.test).all()
