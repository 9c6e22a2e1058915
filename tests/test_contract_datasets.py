"""What every data set promises, whatever it is: a card, whole splits, scaling from train only and invertible."""

import dataclasses
import inspect
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.contracts import DatasetSpec
from bench.randomness import numpy_generator
from bench.registry import DATASETS
from bench.windows import PARTS, cut_windows, divide, make_splits, open_dataset

SMALL = {
    "regimes": {"series": 40},
    "sines": {"series": 40},
    "ar1": {"series": 40},
    "linear_gaussian": {"series": 40},
    "dialled_latent": {"series": 40},
    "wards": {"simulated": True, "patients": 30},
    "csv": {"path": "own.csv", "id": "who", "window": 5, "missing": "ffill"},
    "parquet": {"path": "own.parquet", "format": "long", "window": 5, "missing": "mask"},
    "npz": {"path": "own.npz", "window": 6},
}
REAL = {
    "energy": [{}, {"split": "time"}, {"noise_channels": True}],
    "earthquakes": [{}, {"region": "oklahoma", "minimum_magnitude": 2.0}],
    "earthquakes_japan": [{}, {"minimum_magnitude": 4.0, "split": "time"}],
    "retail": [{}, {"view": "hours"}],
    "icu2012": [{}, {"missing": "mask"}],
    "mimic": [{"folder": "icu/mimic3_demo"}],
}


@pytest.fixture(scope="module")
def own_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"who": np.repeat(list("abcdefghijkl"), 9), "t": np.tile(range(9), 12), "x": rng.normal(size=108)}
    )
    table["y"] = np.where(rng.random(108) < 0.3, np.nan, rng.normal(3, 2, size=108))
    table.to_csv(folder / "own.csv", index=False)
    long = table.rename(columns={"who": "id", "t": "time"}).melt(["id", "time"], var_name="variable").dropna()
    long.to_parquet(folder / "own.parquet", index=False)
    np.savez(folder / "own.npz", x=rng.normal(size=(200, 3)))
    return folder


def test_every_data_set_is_held_to_this():
    ours = {name for name in DATASETS if DATASETS[name].__module__.startswith("datasets.")}
    assert ours == {*SMALL, *REAL}


@pytest.mark.parametrize("name", sorted({*SMALL, *REAL}))
def test_the_card_is_whole(name):
    dataset = DATASETS[name]
    card = inspect.getdoc(dataset)
    assert card
    assert card.splitlines()[0].endswith(".")
    assert dataset.source
    assert dataset.licence
    assert dataset.restricted is (name in ("mimic", "wards"))


def held(name, options, data, seed):
    """Recordings whose first channel is replaced by the number of the row, and their splits."""
    spec = DatasetSpec(name, tuple(sorted(options.items())))
    recordings = open_dataset(spec).load(data, numpy_generator(spec.key, seed, "data"))
    starts = np.cumsum([0, *(len(rows) for rows in recordings.series)])
    numbered = []
    for start, rows in zip(starts[:-1], recordings.series, strict=True):
        numbers = np.arange(start, start + len(rows), dtype=float)
        numbered.append(np.column_stack([numbers, np.asarray(rows)[:, 1:]]))
    return spec, recordings, dataclasses.replace(recordings, series=numbered)


def check(name, options, data, seed=0):
    spec, recordings, numbered = held(name, options, data, seed)
    splits = make_splits(numbered, spec, seed)
    seen = {}
    for part in PARTS:
        windows = getattr(splits, part)
        assert windows.dtype == np.float32
        assert np.isfinite(windows).all()
        assert len(windows) >= 1
        rows = windows[:, :, 0].astype(float) * splits.scale[0] + splits.mean[0]
        np.testing.assert_allclose(np.diff(rows, axis=1), 1, atol=0.3)  # float32 of a large row number
        seen[part] = set(np.rint(rows).astype(int).ravel())
    assert sum(map(len, seen.values())) == len(set.union(*seen.values()))  # no row in two parts

    splits = make_splits(recordings, spec, seed)
    rng = numpy_generator(spec.key, seed, "split")
    parts = divide(
        [np.asarray(r) for r in recordings.series], recordings.split, recordings.window, rng, recordings.entities
    )
    train = np.concatenate(parts["train"])
    complete = ~np.isnan(train).any(axis=0)
    np.testing.assert_allclose(splits.mean[complete], train.mean(0)[complete], rtol=1e-9, atol=1e-9)
    assert len(splits.channels) == len(splits.units) == splits.train.shape[2]
    expected = np.concatenate(
        [cut_windows(piece, recordings.window, recordings.test_stride) for piece in parts["test"]]
    )
    assert len(expected) == len(splits.test)  # the whole test part, never a batch of it
    back = splits.test.astype(float) * splits.scale + splits.mean
    off = np.abs(back - expected) / splits.scale / np.maximum(1, np.abs(splits.test))
    assert np.nanmax(off) < 1e-6
    mixed = make_splits(recordings, dataclasses.replace(spec, shuffle=True), seed)
    np.testing.assert_allclose(np.sort(mixed.test, axis=1), np.sort(splits.test, axis=1))


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("seed", [0, 1])
def test_splits(name, seed, own_files, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    check(name, SMALL[name], own_files, seed)


@pytest.mark.data
@pytest.mark.skipif("BENCH_DATA" not in os.environ, reason="the variable BENCH_DATA names no folder of real data")
@pytest.mark.parametrize(("name", "options"), [(name, options) for name, many in REAL.items() for options in many])
def test_splits_of_real_data(name, options):
    check(name, options, Path(os.environ["BENCH_DATA"]))
