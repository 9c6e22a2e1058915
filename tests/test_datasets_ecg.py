"""`ecg` on records of the same format, and facts of the real ones."""

import io
import itertools
import lzma
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from conftest import refused

from bench.contracts import DatasetSpec, InputError, Unavailable
from bench.loading.windows import load_splits, make_splits, open_dataset
from datasets import ecg
from datasets.ecg import HASHES, decode_212, decode_marks

SAMPLES = 60_000  # in place of 650,000: a block is 8 s
RECORDS = ("101", "106", "107", "109")


def encode_212(values):
    """(n, 2) whole numbers of 12 bits."""
    first, second = (values % 4096).T
    return np.stack([first & 255, first >> 8 | second >> 8 << 4, second & 255], axis=1).astype(np.uint8).tobytes()


def marks(samples, code):
    """A text, every mark with its code, one of them after a long way, and the end."""
    words, before = [28 << 10 | 18, 63 << 10 | 3, 0x4E28, 0x0000], 18
    for place, sample in enumerate(samples):
        step, before = sample - before, sample
        words += [59 << 10, step >> 16, step & 65535, code << 10] if place == 1 else [code << 10 | step]
    return np.array([*words, 0], "<u2").tobytes()


def beat_signal(number):
    """A slow wave of the record's own, and a spike of 1 mV in the first lead 0.1 s after each beat of a second."""
    time = np.arange(SAMPLES)
    wander = 300 + 20 * number + 30 * np.sin(time / 2000)
    spike = np.where((time % 360 >= 36) & (time % 360 < 42), 200, 0)
    return np.stack([1024 + np.rint(wander) + spike, 1024 - np.rint(wander) + time // 36 % 3], axis=1).astype(int)


def files():
    found = {}
    for number, record in enumerate(RECORDS):
        found[f"{record}.dat"] = encode_212(beat_signal(number))
        found[f"{record}.atr"] = marks(range(360, SAMPLES - 360, 360), 1 if number else 5)
    return found


def write(folder, content):
    with lzma.open(folder / ecg.ARCHIVE, "w") as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in content.items():
            entry = tarfile.TarInfo(f"mitdb/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(ecg, "SAMPLES", SAMPLES)
    monkeypatch.setattr(ecg, "HASHES", {record: HASHES[record] for record in RECORDS})
    monkeypatch.setattr(ecg.ECG, "remote", tuple(r for r in ecg.ECG.remote if Path(r.path).stem in RECORDS))
    (tmp_path / "ecg/mitdb").mkdir(parents=True)
    write(tmp_path, files())
    return tmp_path


def load(folder, **options):
    spec = DatasetSpec("ecg", tuple(sorted(options.items())))
    return open_dataset(spec).load(folder, np.random.default_rng(0)), spec


def test_the_formats():
    values = np.array([[0, -1], [2047, -2048], [5, 1000]])
    np.testing.assert_array_equal(decode_212(encode_212(values)), values)
    samples, codes = decode_marks(marks([20, 200_000, 200_300], 5), Path("x.atr"))
    np.testing.assert_array_equal(samples, [18, 20, 200_000, 200_300])
    np.testing.assert_array_equal(codes, [28, 5, 5, 5])
    with pytest.raises(InputError, match=r"x\.atr: ends before its last mark"):
        decode_marks(marks([20, 90], 5)[:-2], Path("x.atr"))


def test_a_window_is_a_beat_without_the_baseline(folder):
    given, spec = load(folder, view="beats")
    windows = np.array(given.series)
    assert windows.shape[1:] == (96, 2)
    assert (windows[:, 48:50, 0] > 0.95).all()  # 36 steps before the mark, 12 more to the spike
    assert np.abs(np.delete(windows[:, :, 0], [48, 49], axis=1)).max() < 0.06
    assert np.abs(windows[:, :, 1]).max() < 0.06
    beat, record = given.truth["beat"], given.truth["record"]
    assert (beat[record[:, 0] == 1].argmax(axis=1) == list(ecg.BEATS).index(5)).all()
    assert (beat[record[:, 0] == 0].argmax(axis=1) == 0).all()
    make_splits(given, spec, 0)


def test_the_ways_to_split(folder):
    steps = SAMPLES // 6
    edges = np.arange(21) * steps // 20
    per_block = sum((b - a) // 128 - 1 for a, b in itertools.pairwise(edges))
    blocks, spec = load(folder)
    assert len(blocks.series) == 4 * per_block
    assert len(set(blocks.entities)) == 80
    splits = make_splits(blocks, spec, 0)
    assert splits.division == "entity"
    assert splits.sha256 != make_splits(blocks, spec, 1).sha256
    time, spec = load(folder, split="time")
    assert make_splits(time, spec, 0).sha256 == make_splits(time, spec, 1).sha256
    assert time.parts.count("train") == 14 / 20 * len(time.parts)
    records, spec = load(folder, split="record")
    splits = make_splits(records, spec, 0)
    whose = [set(truth["record"].argmax(axis=1)) for truth in (splits.train_truth, splits.test_truth)]
    assert not whose[0] & whose[1]


def test_single_files_are_the_same_as_the_archive(folder):
    packed, _ = load(folder)
    (folder / ecg.ARCHIVE).unlink()
    with pytest.raises(Unavailable, match=r"ecg/mitdb/101\.dat .*bench\.data fetch ecg, or put 101\.dat of https"):
        load(folder)
    for name, content in files().items():
        (folder / "ecg/mitdb" / name).write_bytes(content)
    np.testing.assert_array_equal(np.array(load(folder)[0].series), np.array(packed.series))


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("106.dat", b"abc", r"mitdb_10_records\.tar\.xz/mitdb/106\.dat: 3 bytes, expected 180000"),
        ("107.atr", b"", r"107\.atr: ends before its last mark, perhaps cut short"),
        ("109.dat", None, r"mitdb: holds no 109\.dat, expected the records 101, 106, 107, 109"),
    ],
)
def test_what_an_archive_may_not_hold(folder, name, content, complaint):
    changed = files() | {name: content}
    write(folder, {key: value for key, value in changed.items() if value is not None})
    with refused(complaint):
        load(folder, view="beats")


def test_an_archive_cut_short(folder):
    path = folder / ecg.ARCHIVE
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match="cut short"):
        load(folder)


@pytest.mark.data
@pytest.mark.skipif("BENCH_DATA" not in os.environ, reason="the variable BENCH_DATA names no folder of real data")
def test_the_real_records(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = Path(os.environ["BENCH_DATA"])
    sources = [data / ecg.ARCHIVE]
    beats = ecg._beats(ecg._files(sources))
    assert len(beats) == 22_479
    counted = beats[beats["record"] == 4]["code"].map(ecg.BEATS).value_counts().to_dict()
    assert counted == {"L": 2123, "V": 1}
    splits = load_splits(DatasetSpec("ecg"), 0, data)
    assert splits.train.shape[1:] == (128, 2)
    assert sum(len(getattr(splits, part)) for part in ("train", "validation", "test")) == 10 * 20 * 41
    assert len(load(data, view="beats")[0].series) > 22_000
