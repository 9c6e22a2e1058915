"""`emg` on a miniature archive, and facts of the real one."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import refused

from bench.contracts import DatasetSpec, InputError, Unavailable
from bench.loading.windows import load_splits, make_splits, open_dataset
from datasets.emg import CHANNELS, NAMES

PEOPLE = ("01", "03", "04", "05", "06", "08", "09", "10", "12", "14")
BINS = 8  # of a stretch
HEADER = "\t".join(["time", *CHANNELS, "class"])


def rows_of(person, series):
    """Two rounds of rest and fist, 10 ms between rows; the strength is person, series and gesture, in 1e-5."""
    rows, time = [], 1
    for gesture in (1, 0, 2, 0, 1, 0, 2, 0):
        for k in range(2 * BINS if gesture else 4):
            level = (100 * gesture + 10 * series + person) * (-1) ** k
            rows.append("\t".join([str(time), *([f"{level}e-05"] * 7), "0", str(gesture)]))
            time += 10
    return rows


def files():
    return {
        f"EMG_data_for_gestures-master/{name}/{series}_raw_data_10-00_01.01.16.txt": [HEADER, *rows_of(k, series)]
        for k, name in enumerate(PEOPLE)
        for series in (1, 2)
    }


def write(folder, content):
    with tarfile.open(folder / NAMES[0], "w:xz") as archive:
        for name, lines in content.items():
            data = ("\r\n".join(lines) + "\r\n").encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "emg").mkdir()
    write(tmp_path, files())
    return tmp_path


def load(folder, **options):
    spec = DatasetSpec("emg", tuple(sorted({"window": 4, "stride": 2, **options}.items())))
    return open_dataset(spec).load(folder, np.random.default_rng(0)), spec


def test_the_logarithm_of_the_strength_in_marked_stretches(folder):
    given, _ = load(folder)
    assert len(given.series) == len(PEOPLE) * 2 * 4
    third = given.series[2 * 8 + 1]  # the first fist of the third person's first series
    assert third.shape == (BINS, 8)
    np.testing.assert_allclose(third[:, :7], np.log(212e-5 + 1e-6))
    np.testing.assert_allclose(third[:, 7], np.log(1e-6))
    assert given.entities[2 * 8 + 1] == "04"


def test_an_empty_bin_and_a_mixed_one(folder):
    content = files()
    name = next(iter(content))
    rows = content[name][1:]
    del rows[2:4]  # of 20 to 40 ms, in the middle of a rest
    mixed = rows.index(next(row for row in rows if row.endswith("\t2")))
    rows[mixed] = rows[mixed][:-1] + "0"
    write(folder, content | {name: [HEADER, *rows]})
    given, _ = load(folder)
    assert [len(rows) for rows in given.series[:2]] == [BINS, BINS - 1]
    np.testing.assert_allclose(given.series[0][:, :7], np.log(110e-5 + 1e-6))


@pytest.mark.filterwarnings("ignore:.*is constant in the training rows")
def test_the_ways_to_split(folder):
    persons, spec = load(folder)
    splits = make_splits(persons, spec, 0)
    assert splits.division == "entity"
    assert splits.sha256 != make_splits(persons, spec, 1).sha256
    per_stretch = (BINS - 4) // 2 + 1
    assert [len(splits.train), len(splits.test)] == [7 * 8 * per_stretch, 2 * 8 * per_stretch]
    series, spec = load(folder, split="series")
    assert series.parts[:8] == ["train"] * 2 + ["validation"] * 2 + ["test"] * 4
    assert series.parts[8:16] == ["train"] * 4 + ["test"] * 4
    assert make_splits(series, spec, 0).sha256 == make_splits(series, spec, 1).sha256


@pytest.mark.filterwarnings("ignore:.*is constant in the training rows")
@pytest.mark.parametrize("split", ["person", "series"])
def test_every_window_knows_its_gesture_and_its_person(folder, split):
    """A stretch has several windows, and all of them are of its gesture."""
    given, spec = load(folder, split=split)
    assert given.truth["gesture"].argmax(1).tolist() == [0, 1] * (2 * 2 * len(PEOPLE))
    splits = make_splits(given, spec, 0)
    for part in ("train", "validation", "test"):
        windows, truth = getattr(splits, part), getattr(splits, f"{part}_truth")
        assert len(windows) == len(truth["gesture"]) == len(truth["person"])
        strength = (windows * splits.scale + splits.mean)[:, 0, 0]
        fist = truth["gesture"].argmax(1) == 1
        assert strength[fist].min() > strength[~fist].max()
    if split == "person":
        assert not ({*splits.train_truth["person"].argmax(1)} & {*splits.test_truth["person"].argmax(1)})


def test_the_published_archive_is_a_zip(folder):
    packed, _ = load(folder)
    (folder / NAMES[0]).unlink()
    with pytest.raises(Unavailable, match=r"bench\.data fetch emg, or put the archive of https"):
        load(folder)
    with zipfile.ZipFile(folder / NAMES[1], "w") as archive:
        for name, lines in files().items():
            archive.writestr(name, "\n".join(lines) + "\n")
        archive.writestr("EMG_data_for_gestures-master/02/1_raw_data_10-00_01.01.16.txt", "another person")
        archive.writestr("EMG_data_for_gestures-master/README.txt", "words")
    np.testing.assert_array_equal(np.array(load(folder)[0].series), np.array(packed.series))


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (1, r"row 1, column 'class' is 9, expected a whole number from 0 to 7"),
        (2, r"row 2, column 'time' is 1, expected a later time than before"),
        (3, r"row 3, column 'channel3' is 'strong', expected a number"),
        (4, r"row 4, column 'channel2' is nan, expected a number"),
        (0, r"the columns channel5 are missing"),
    ],
)
def test_what_a_series_may_not_hold(folder, row, complaint):
    content = files()
    name = next(iter(content))
    cells = [line.split("\t") for line in content[name]]
    column, text = [(5, "x"), (9, "9"), (0, "1"), (3, "strong"), (2, "")][row]
    cells[row][column] = text
    write(folder, content | {name: ["\t".join(line) for line in cells]})
    with refused(r"tar\.xz/EMG_data.*/01/1_raw_data_.*\.txt: " + complaint):
        load(folder)


def test_archives_without_anything(folder):
    with pytest.raises(InputError, match=r"no marked stretch has 9 bins of 20 ms, expected some"):
        load(folder, window=9)
    path = folder / NAMES[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="cut short"):
        load(folder)
    write(folder, {"elsewhere.txt": ["words"]})
    with pytest.raises(InputError, match=r"holds no file NN/S_raw_data_"):
        load(folder)


@pytest.mark.data
@pytest.mark.skipif("BENCH_DATA" not in os.environ, reason="the variable BENCH_DATA names no folder of real data")
def test_the_real_archive(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = Path(os.environ["BENCH_DATA"])
    given, _ = load(data, window=48, stride=12)
    assert len(given.series) == 720
    assert len(set(given.entities)) == 30
    splits = load_splits(DatasetSpec("emg"), 0, data)
    assert sum(len(getattr(splits, part)) for part in ("train", "validation", "test")) == 2_695
    assert np.isfinite(splits.train).all()
