"""`mimic` on miniature tables of both versions, and the open demo."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.contracts import DatasetSpec, InputError, Unavailable
from bench.loading import files
from bench.loading.windows import load_splits, open_dataset

BEGIN = "2150-01-01 00:30:00"
END = {1: "2150-01-02 02:00:00", 2: "2150-01-02 00:30:00", 3: "2150-01-01 03:00:00"}


def at(hour, minute=45):
    return f"2150-01-{1 + hour // 24:02} {hour % 24:02}:{minute:02}:00"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files._EXTRACTS.clear()
    (tmp_path / "mimic/icu").mkdir(parents=True)
    return tmp_path


def write(folder, extra=(), version=3, heart=(211, 220045)):
    """Stays 1 and 2 of patient 10, stay 3 (too short) of patient 11; heart rate every hour."""
    stays = [f"{10 + (stay == 3)},{stay},{BEGIN},{end}" for stay, end in END.items()]
    rows = [(stay, heart[stay % 2], at(h), 60 + h, "") for stay in END for h in range(26)]
    rows += extra
    if version == 3:  # upper case, plain text
        (folder / "mimic/ICUSTAYS.csv").write_text("\n".join(["SUBJECT_ID,ICUSTAY_ID,INTIME,OUTTIME", *stays]))
        lines = [
            f'{k},{stay},{item},{time},"{value},x",{value},{error}'
            for k, (stay, item, time, value, error) in enumerate(rows)
        ]
        text = "\n".join(["ROW_ID,ICUSTAY_ID,ITEMID,CHARTTIME,VALUE,VALUENUM,ERROR", *lines])
        (folder / "mimic/CHARTEVENTS.csv").write_text(text)
    else:
        with gzip.open(folder / "mimic/icu/icustays.csv.gz", "wt") as out:
            out.write("\n".join(["subject_id,stay_id,intime,outtime", *stays]))
        with gzip.open(folder / "mimic/icu/chartevents.csv.gz", "wt") as out:
            lines = [f"{stay},{time},{item},{value}" for stay, item, time, value, _ in rows]
            out.write("\n".join(["stay_id,charttime,itemid,valuenum", *lines]))


def load(data, **options):
    options = {"channels": ("HR", "SBP", "Temp", "FiO2"), "window": 24, **options}
    return open_dataset(DatasetSpec("mimic", tuple(sorted(options.items())))).load(data, np.random.default_rng(0))


EXTRA = [
    (1, 6701, at(1), 120, ""),  # arterial
    (1, 455, at(1), 90, ""),  # cuff, in the same hour
    (1, 455, at(2), 100, ""),
    (1, 220179, at(2), 110, ""),
    (1, 51, at(3), 11647, ""),  # a typing error
    (1, 51, at(4), 130, "1"),  # marked as an error
    ("", 51, at(5), 140, ""),  # without a stay
    (1, 51, "2149-12-31 23:00:00", 150, ""),  # before the stay
    (1, 678, at(1), 98.6, ""),
    (1, 676, at(2), 38, ""),
    (1, 190, at(1), 0.5, ""),
    (1, 223835, at(2), 60, ""),
    (1, 51, at(6), "", ""),
    (99, 51, at(6), 120, ""),  # a stay that is not in the table
    (1, 4242, at(7), 120, ""),  # another item
]


@pytest.mark.parametrize("version", [3, 4])
def test_units_sources_and_plausible_values(folder, version):
    extra = [row for row in EXTRA if version == 3 or row[-1] == ""]
    write(folder, extra, version)
    given = load(folder)
    assert given.entities == ["10", "10"]  # stay 3 is shorter than a window; both others are one patient's
    assert given.split == "entity"
    assert given.units == ("bpm", "mmHg", "deg C", "%")
    first, second = given.series
    assert first.shape == (26, 4)  # 25.5 hours
    np.testing.assert_array_equal(first[:, 0], 60 + np.arange(26))
    np.testing.assert_array_equal(first[:8, 1], [np.nan, 120, 105, *[np.nan] * 5])
    np.testing.assert_allclose(first[:4, 2], [np.nan, 37, 38, np.nan], rtol=1e-6)
    np.testing.assert_allclose(first[:4, 3], [np.nan, 50, 60, np.nan])
    assert second.shape == (24, 4)
    assert np.isnan(second[:, 1:]).all()


def test_a_short_look_and_a_kept_extract(folder, monkeypatch):
    write(folder)
    assert load(folder, hours=24).series[0].shape == (24, 4)
    assert len(list((folder / "mimic/.bench").glob("mimic-*.parquet"))) == 1
    files._EXTRACTS.clear()
    monkeypatch.setattr("datasets.mimic._events", lambda *_: pytest.fail("read again"))
    assert load(folder, hours=24).series[0].shape == (24, 4)
    assert not list((folder / "cache").rglob("*.parquet"))  # restricted data stay beside their source


def test_rows_after_outtime_count_within_the_hour_in_which_the_stay_ends(folder):
    """As the card says: hours count from `intime`, and the last one is whole."""
    write(folder, [(2, 51, "2150-01-02 00:29:00", 120, ""), (3, 51, at(3, 20), 130, ""), (3, 51, at(3, 31), 140, "")])
    assert END[3] == at(3, 0)
    short = load(folder, window=2).series[2]
    assert short.shape == (3, 4)
    np.testing.assert_array_equal(short[:, 1], [np.nan, np.nan, 130])


@pytest.mark.parametrize("order", [(24, 2), (2, 24)])
def test_the_stays_do_not_depend_on_what_was_loaded_before(folder, order):
    """The extract is kept beside the data, so it must hold what every window needs."""
    write(folder)
    found = {window: [len(rows) for rows in load(folder, window=window).series] for window in order}
    assert found == {24: [26, 24], 2: [26, 24, 3]}
    files._EXTRACTS.clear()  # as in another process
    again = {window: [len(rows) for rows in load(folder, window=window).series] for window in order}
    assert again == found
    assert len(list((folder / "mimic/.bench").glob("mimic-*.parquet"))) == 1
    with pytest.raises(InputError, match="no stay with 27 hours is left"):
        load(folder, window=27)


def test_an_extract_beside_data_that_may_not_be_written_is_still_found(folder, monkeypatch):
    """Hours of reading are not done again on a cluster that mounts the data read-only."""
    write(folder)
    load(folder, hours=24)
    files._EXTRACTS.clear()
    (folder / "mimic").chmod(0o555)
    try:
        with monkeypatch.context() as patched:
            patched.setattr("datasets.mimic._events", lambda *_: pytest.fail("read again"))
            assert load(folder, hours=24).series[0].shape == (24, 4)
        assert load(folder, hours=25).series[0].shape == (25, 4)  # another extract, which is not written there
        assert len(list((folder / "mimic/.bench").glob("mimic-*.parquet"))) == 1
    finally:
        (folder / "mimic").chmod(0o755)
        files._EXTRACTS.clear()


def test_unusable_tables(folder):
    write(folder)
    with pytest.raises(InputError, match="unknown channel 'hr'"):
        load(folder, channels=("hr",))
    events = folder / "mimic/CHARTEVENTS.csv"
    good = events.read_text()
    events.write_text(good.replace("VALUENUM", "NUMBER"))
    with pytest.raises(InputError, match=r"CHARTEVENTS\.csv: the columns valuenum are missing"):
        load(folder)
    events.write_text(good.replace(",85,", ",fast,"))
    with pytest.raises(InputError, match=r"CHARTEVENTS\.csv: .*fast"):
        load(folder)
    events.unlink()
    with pytest.raises(InputError, match=r"expected CHARTEVENTS\.csv or \.csv\.gz here or in icu/"):
        load(folder)
    with pytest.raises(Unavailable, match=r"mimi4/ is not in the data folder.*credentialed access"):
        load(folder, folder="mimi4")
    write(folder, version=4)
    (folder / "mimic/ICUSTAYS.csv").unlink()
    path = folder / "mimic/icu/chartevents.csv.gz"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=r"chartevents\.csv\.gz: cannot be read, perhaps cut short"):
        load(folder)


PEAK = """
import sys
from pathlib import Path
import torch
from bench.hardware.memory import peak_bytes
from datasets import mimic

items = [item for source in mimic.SOURCES for item in source.items]
print(sum(len(batch) for batch in mimic._events(Path(sys.argv[1]), items)))
print(peak_bytes(torch.device("cpu")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc")
def test_memory_does_not_grow_with_the_number_of_rows(folder):
    """Fresh processes read 60 MB and 180 MB of chart rows: the same rows, three and nine times."""
    rng, path = np.random.default_rng(0), folder / "mimic/CHARTEVENTS.csv"
    lines = [
        f'{k},1,10,1,{item},{at(k % 24)},{at(k % 24)},17525,"{value:.1f}",{value:.1f},bpm,0,0,,\n'
        for k, (item, value) in enumerate(
            zip(rng.choice([211, 4242, 4243], 250_000), rng.normal(80, 10, 250_000), strict=True)
        )
    ]
    names = "ROW_ID,SUBJECT_ID,HADM_ID,ICUSTAY_ID,ITEMID,CHARTTIME,STORETIME,CGID,VALUE,VALUENUM,VALUEUOM,WARNING,ERROR"
    found = []
    for times in (3, 9):  # above the few dozen MB that the reader keeps at once
        path.write_text(f"{names},RESULTSTATUS,STOPPED\n" + "".join(lines) * times)
        done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
        found.append([int(word) for word in done.stdout.split()])
    (few, small), (many, large) = found
    assert many == 3 * few > 600_000
    assert large - small < 20e6  # of 120 MB more


@pytest.mark.data
@pytest.mark.skipif("BENCH_DATA" not in os.environ, reason="the variable BENCH_DATA names no folder of real data")
def test_the_open_demo():
    data = Path(os.environ["BENCH_DATA"])
    spec = DatasetSpec("mimic", (("folder", "icu/mimic3_demo"),))
    from datasets.mimic import _stays

    assert len(_stays(data / "icu/mimic3_demo/ICUSTAYS.csv", 10**6)) == 136
    given = open_dataset(spec).load(data, np.random.default_rng(0))
    assert len(given.series) == 101
    values = np.concatenate(given.series)
    assert np.nanmin(values[:, 6]) >= 25
    assert np.nanmax(values[:, 1]) <= 300
    splits = load_splits(spec, 0, data)
    assert splits.train.shape[1:] == (24, 7)
    assert np.isfinite(splits.train).all()
