"""`walking` on a miniature archive, and facts of the real one."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import refused

from bench.contracts import DatasetSpec, InputError, Unavailable
from bench.loading.windows import make_splits, open_dataset
from bench.registry import DATASETS
from datasets.walking import NAMES

PERSONS = 11


def rows_of(person, count=60):
    return [[k / 32, person + k % 3, 9 + k % 2, k % 5 / 10] for k in range(count)]


def files():
    return {person: rows_of(person) for person in range(1, PERSONS + 1)}


def text(rows):
    return "".join(",".join(map(str, row)) + "\n" for row in rows).encode()


def write(folder, content):
    with tarfile.open(folder / NAMES[0], "w:gz") as archive:
        for person, rows in content.items():
            data = rows if isinstance(rows, bytes) else text(rows)
            entry = tarfile.TarInfo(f"User Identification From Walking Activity/{person}.csv")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "walking").mkdir()
    write(tmp_path, files())
    return tmp_path


def load(folder, **options):
    spec = DatasetSpec("walking", tuple(sorted({"window": 10, **options}.items())))
    return open_dataset(spec).load(folder, np.random.default_rng(0)), spec


def test_windows_of_persons(folder):
    given, spec = load(folder)
    assert len(given.series) == PERSONS * 6
    np.testing.assert_allclose(given.series[6 * 9][:, 0], 10 + np.arange(10) % 3)  # person 10, after 9 in number
    splits = make_splits(given, spec, 0)
    whose = [set(truth["person"].argmax(axis=1)) for truth in (splits.train_truth, splits.test_truth)]
    assert not whose[0] & whose[1]
    time, spec = load(folder, split="time")
    assert time.parts[:6] == ["train"] * 4 + ["validation"] + ["test"]
    assert make_splits(time, spec, 0).sha256 == make_splits(time, spec, 1).sha256
    level, _ = load(folder, level="removed")
    assert abs(np.concatenate(level.series[6 * 9 : 6 * 10]).mean()) < 1e-12


def test_faults_end_a_series(folder):
    content = files()
    content[2][25:] = [[time + 1, *axes] for time, *axes in content[2][25:]]  # a pause
    content[3] = content[3][:20] + content[3][:20] + content[3][20:]  # the clock jumps back
    content[4] = [[time, x, y, y] for time, x, y, _ in content[4]]
    content[5][30:45] = [[time, x, y, y] for time, x, y, _ in content[5][30:45]]
    write(folder, content)
    given, _ = load(folder)
    counts = [given.entities.count(str(person)) for person in range(1, 6)]
    assert counts == [6, 5, 6, 0, 4]
    np.testing.assert_allclose(given.series[6 + 2][:, 0], 2 + np.arange(25, 35) % 3)


def test_nothing_of_it_is_kept(folder):
    assert DATASETS["walking"].restricted
    load(folder)
    assert not (folder / "cache").exists()  # the extract lies beside the data only


def test_the_published_archive_is_a_zip(folder):
    packed, _ = load(folder)
    (folder / NAMES[0]).unlink()
    with pytest.raises(Unavailable, match=r"bench\.data fetch walking, or put the archive of https"):
        load(folder)
    with zipfile.ZipFile(folder / NAMES[1], "w") as archive:
        for person, rows in files().items():
            archive.writestr(f"User Identification From Walking Activity/{person}.csv", text(rows))
    np.testing.assert_array_equal(np.array(load(folder)[0].series), np.array(packed.series))


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        (b"0,1,2,3\n1,2,x,4\n", r"7\.csv: row 2, column 'y' is 'x', expected a number"),
        (b"0,1,2,3\n1,2\n", r"7\.csv: row 2, column 'y' is empty, expected a number"),
        (b"", r"7\.csv: .*expected four columns of numbers"),
    ],
)
def test_what_a_file_may_not_hold(folder, rows, complaint):
    write(folder, files() | {7: rows})
    with refused(complaint):
        load(folder)


def test_archives_without_anything(folder):
    with pytest.raises(InputError, match="no stretch without a pause has 61 rows"):
        load(folder, window=61)
    path = folder / NAMES[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="cut short"):
        load(folder)
    write(folder, {"README": b"words"})
    with pytest.raises(InputError, match=r"holds no file N\.csv"):
        load(folder)
    write(folder, {1: [[k, 1, 2, 2] for k in range(20)]})
    with pytest.raises(InputError, match="no row is left"):
        load(folder)


@pytest.mark.data
@pytest.mark.skipif("BENCH_DATA" not in os.environ, reason="the variable BENCH_DATA names no folder of real data")
def test_the_real_archive():
    given, _ = load(Path(os.environ["BENCH_DATA"]), window=64)
    assert len(set(given.entities)) == 21
    assert len(given.series) == 2_227
    length = np.linalg.norm(np.concatenate(given.series), axis=1)
    assert 9 < length.mean() < 11
