"""`energy` on a miniature file, and facts of the real one."""

import os
from pathlib import Path

import numpy as np
import pytest
from conftest import refused

from bench.contracts import DatasetSpec, InputError, Unavailable
from bench.loading.files import read_csv
from bench.loading.windows import load_splits, open_dataset
from datasets.energy import UNITS


def load(folder, **options):
    dataset = open_dataset(DatasetSpec("energy", tuple(sorted(options.items()))))
    return dataset.load(folder, np.random.default_rng(0))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "energy").mkdir()
    names = ["date", *UNITS]
    rows = [
        [f"2016-01-11 {h:02}:{m}0:00", *(f"  {100 * h + m + c}" for c in range(len(UNITS)))]
        for h in range(24)
        for m in range(6)
    ]
    text = "\n".join(",".join(f'"{cell}"' for cell in row) for row in [names, *rows])  # quoted, leading spaces
    (tmp_path / "energy/energydata_complete.csv").write_text(text)
    return tmp_path


def test_rows_and_channels(folder):
    given = load(folder)
    assert len(given.channels) == len(given.units) == 26
    assert "rv1" not in given.channels
    assert given.series[0].shape == (144, 26)
    np.testing.assert_array_equal(given.series[0][7, :3], [101, 102, 103])
    assert load(folder, noise_channels=True).channels[-2:] == ("rv1", "rv2")
    assert dict(zip(given.channels, given.units, strict=True))["RH_6"] == "%"


def test_a_missing_column_and_a_missing_file(folder):
    path = folder / "energy/energydata_complete.csv"
    path.write_text(path.read_text().replace('"T3"', '"T33"'))
    with pytest.raises(InputError, match="columns T3 are missing"):
        load(folder)
    path.unlink()
    with pytest.raises(Unavailable, match=r"energydata_complete\.csv .*archive\.ics\.uci\.edu.* put it into energy/"):
        load(folder)


def test_an_empty_cell_is_refused(folder):
    """The file has none, so one is a damage that nothing should fill in."""
    path = folder / "energy/energydata_complete.csv"
    path.write_text(path.read_text().replace('"  103"', '""', 1))
    with refused(r"energydata_complete\.csv: row 7, column 'RH_1' is empty, expected a number"):
        load(folder)


@pytest.mark.data
@pytest.mark.skipif("BENCH_DATA" not in os.environ, reason="the variable BENCH_DATA names no folder of real data")
def test_the_real_file():
    data = Path(os.environ["BENCH_DATA"])
    noise = read_csv(data / "energy/energydata_complete.csv.gz", numbers=["rv1", "rv2"])
    assert len(noise) == 19_735
    assert (noise["rv1"] == noise["rv2"]).all()
    splits = load_splits(DatasetSpec("energy"), 0, data)
    assert splits.train.shape[1:] == (24, 26)
    rows = load(data).series[0].astype(np.float32)
    first = splits.test[0] * splits.scale + splits.mean
    assert (np.abs(rows - first[0]).max(axis=1) < 1e-3 * np.abs(rows).max()).any()
