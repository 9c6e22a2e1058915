"""What every data set promises, whatever it is: a card, whole splits, scaling from train only and invertible.

Every registered data set is held to it as it is, and with the options that stand here; one whose files are not here
is skipped. A new data set needs no entry.
"""

import dataclasses
import functools
import inspect
import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy._core import _multiarray_umath as numpy_build

from bench.contracts import DatasetSpec, Unavailable
from bench.loading.description import kind
from bench.loading.division import PARTS, divided
from bench.loading.files import remotes
from bench.loading.windows import cut_windows, make_splits, open_dataset
from bench.randomness import numpy_generator
from bench.registry import DATASETS

OPTIONS = {  # in place of the defaults: fewer series, files of a user's own, other views
    **{name: [{"series": 40}] for name in ("regimes", "sines", "ar1", "linear_gaussian", "dialled_latent")},
    "wards": [{"simulated": True, "patients": 30}],
    "csv": [{"path": "own.csv", "id": "who", "time": "t", "window": 5, "missing": "ffill"}],
    "parquet": [{"path": "own.parquet", "format": "long", "window": 5, "missing": "mask"}],
    "npz": [{"path": "own.npz", "window": 6}],
    "energy": [{}, {"split": "time"}, {"noise_channels": True}],
    "earthquakes": [
        {},
        {"region": "oklahoma", "minimum_magnitude": 2.0},
        {"region": "both"},
        {"region": "both", "split": "catalogue"},
    ],
    "earthquakes_japan": [{}, {"minimum_magnitude": 4.0, "split": "time"}],
    "retail": [{}, {"view": "hours"}, {"view": "days", "window": 15}],
    "icu2012": [{}, {"missing": "mask"}],
    "pendigits": [{}, {"split": "entity"}],
    "bike": [{}, {"begin": "any", "split": "time"}, {"weather": True}],
    "steel": [{}, {"step": "quarter", "split": "time"}, {"begin": "any"}],
    "ecg": [{}, {"view": "beats", "split": "time"}, {"view": "beats", "split": "record"}],
    "emg": [{}, {"split": "series"}],
    "walking": [{}, {"split": "time", "level": "removed"}],
    "stocks": [{}, {"values": "returns"}],
    "mimic": [{"folder": "icu/mimic3_demo"}],
}
NAMES = sorted(DATASETS)


def cases(options):
    """A parameter per data set and set of options; those that need files carry the mark `data`."""
    for name in NAMES:
        needs = kind(DATASETS[name]) in ("open", "restricted") and name != "wards"
        for given_ in OPTIONS.get(name, [{}])[: None if options else 1]:
            words = "-".join([name, *(f"{key}={value}" for key, value in given_.items() if key != "path")])
            yield pytest.param(name, given_, id=words, marks=[pytest.mark.data] if needs else [])


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


def load(name, options, folder):
    """The spec and the recordings; skips where the files are not here."""
    spec = DatasetSpec(name, tuple(sorted(options.items())))
    try:
        return spec, recordings_of(spec, folder)
    except Unavailable as reason:
        pytest.skip(str(reason))


@functools.lru_cache(maxsize=1)
def recordings_of(spec, folder):
    return open_dataset(spec).load(folder, numpy_generator(spec.key, 0, "data"))


def check_rows(recordings, spec, seed):
    """No row is in two parts, windows are neighbouring rows of one series, and the test part is cut whole.

    The fourth part, where there is one, is what is held out of training.
    """
    starts = np.cumsum([0, *(len(rows) for rows in recordings.series)])
    numbers = [np.arange(a, b, dtype=float)[:, None] for a, b in itertools.pairwise(starts)]
    numbered = dataclasses.replace(recordings, series=numbers, channels=("row",), units=("",), resolutions=())
    splits = make_splits(numbered, dataclasses.replace(spec, shuffle=False), seed)
    seen, owner = {}, {}
    names = (*PARTS, "held_out") if splits.held_out is not None else PARTS
    for part in names:
        rows = np.rint(getattr(splits, part)[:, :, 0] * splits.scale[0] + splits.mean[0]).astype(int)
        assert len(rows) >= 1
        assert (np.diff(rows, axis=1) == 1).all()
        series = np.searchsorted(starts, rows, side="right") - 1
        assert (series == series[:, :1]).all()
        seen[part] = np.flatnonzero(np.bincount(rows.ravel()))
        owner[part] = set(series[:, 0].tolist())
    assert len(np.unique(np.concatenate(list(seen.values())))) == sum(map(len, seen.values()))
    if recordings.split == "entity":
        whose = {part: {recordings.entities[k] if recordings.entities else k for k in owner[part]} for part in PARTS}
        assert sum(map(len, whose.values())) == len(set.union(*whose.values()))
    pieces = divided(numbers, recordings, spec, seed)["test"]
    expected = [cut_windows(piece, recordings.window, recordings.test_stride) for piece in pieces]
    assert len(splits.test) == sum(map(len, expected))  # never a batch of it
    wanted = np.concatenate([windows.ravel() for windows in expected]).astype(int)
    np.testing.assert_array_equal(seen["test"], np.flatnonzero(np.bincount(wanted)))


def check_scaling(recordings, spec, seed):
    """Mean and scale are those of the training rows, know nothing of the other rows, and can be undone."""
    series = [np.array(rows, dtype=np.float64) for rows in recordings.series]
    recordings = dataclasses.replace(recordings, series=series)
    splits = make_splits(recordings, spec, seed)
    parts = divided(series, recordings, spec, seed)
    train = np.concatenate(parts["train"])
    whole = ~np.isnan(train).any(axis=0)
    np.testing.assert_allclose(splits.mean[whole], train.mean(0)[whole], rtol=1e-9, atol=1e-9)
    moves = whole & (np.ptp(train, axis=0) > 0)
    np.testing.assert_allclose(splits.scale[moves], train.std(0)[moves], rtol=1e-9)
    assert (splits.scale > 0).all()
    assert len(splits.channels) == len(splits.units) == splits.train.shape[2]
    for part in PARTS:
        windows = getattr(splits, part)
        assert windows.dtype == np.float32
        assert np.isfinite(windows).all()
    if not spec.shuffle:
        expected = np.concatenate(
            [cut_windows(piece, recordings.window, recordings.test_stride) for piece in parts["test"]]
        )
        off = np.abs(splits.test.astype(float) * splits.scale + splits.mean - expected) / splits.scale
        assert np.nanmax(off / np.maximum(1, np.abs(splits.test))) < 1e-6
    for piece in (*parts["validation"], *parts["test"]):  # views of the rows
        piece *= 3
        piece += 1e3
    again = make_splits(recordings, spec, seed)
    np.testing.assert_array_equal(again.mean, splits.mean)
    np.testing.assert_array_equal(again.scale, splits.scale)
    np.testing.assert_array_equal(again.train, splits.train)
    assert again.sha256 != splits.sha256


@pytest.mark.parametrize("name", NAMES)
def test_the_card_is_whole(name):
    dataset = DATASETS[name]
    card = inspect.getdoc(dataset)
    assert card
    assert card.splitlines()[0].endswith(".")
    assert dataset.source
    assert dataset.licence
    for remote in remotes(dataset):
        assert remote.sha256 or remote.copies  # a service's answer has no hash of its own
        assert remote.known_from
    if dataset.__module__.startswith("datasets."):
        assert dataset.restricted is (name in ("mimic", "wards", "walking"))


@pytest.mark.parametrize(("name", "options"), list(cases(options=True)))
def test_splits_as_they_are_used(name, options, own_files):
    spec, recordings = load(name, options, own_files)
    check_rows(recordings, spec, 0)
    splits = make_splits(recordings, spec, 0)
    mixed = make_splits(recordings, dataclasses.replace(spec, shuffle=True), 0)
    np.testing.assert_allclose(np.sort(mixed.test, axis=1), np.sort(splits.test, axis=1))
    assert mixed.sha256 != splits.sha256


def thinned(recordings, most=1500):
    """Some of many series, or the first rows of a few: few enough for many examples."""
    if len(recordings.series) >= 30:
        some = slice(None, None, max(1, min(sum(map(len, recordings.series)) // most, len(recordings.series) // 10)))
        chosen = {name: getattr(recordings, name)[some] for name in ("series", "entities", "parts")}
        return dataclasses.replace(recordings, **chosen, times=(), truth={})
    series, entities, total = [], [], 0
    for k, rows in enumerate(recordings.series):
        if total >= most:
            break
        series.append(np.asarray(rows)[: most - total])
        entities += [recordings.entities[k]] if recordings.entities else []
        total += len(series[-1])
    return dataclasses.replace(recordings, series=series, entities=entities, times=(), truth={})


@pytest.mark.parametrize(("name", "options"), list(cases(options=False)))
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**16),
    window=st.integers(2, 12),
    strides=st.tuples(st.integers(1, 15), st.integers(1, 15)),
    blocks=st.booleans(),
    shuffle=st.booleans(),
)
@pytest.mark.filterwarnings("ignore:.*is constant in the training rows")
def test_splits_whatever_the_seed_and_the_windows(name, options, own_files, seed, window, strides, blocks, shuffle):
    spec, recordings = load(name, options, own_files)
    few = thinned(recordings)
    window = min(window, *map(len, few.series))
    changed = dataclasses.replace(few, window=window, train_stride=strides[0], test_stride=strides[1])
    if blocks:
        changed = dataclasses.replace(changed, split="blocks", entities=())
    spec = dataclasses.replace(spec, shuffle=shuffle)
    check_rows(changed, spec, seed)
    check_scaling(changed, spec, seed)


FINGERPRINTS = """
import functools, hashlib, json, sys, warnings
from pathlib import Path
import numpy as np
from bench.loading import files
from bench.contracts import DatasetSpec, Unavailable
from bench.randomness import numpy_generator
from bench.loading.windows import make_splits, open_dataset

warnings.simplefilter("ignore")
files._kept = lambda folder, key, build, write: build()  # an extract may have been made with other instructions
for name, options in json.load(sys.stdin):
    spec = DatasetSpec(name, tuple(sorted(options.items())))
    try:
        recordings = open_dataset(spec).load(Path(sys.argv[1]), numpy_generator(spec.key, 0, "data"))
    except Unavailable:
        continue
    rows = hashlib.sha256(b"".join(np.asarray(rows).tobytes() for rows in recordings.series)).hexdigest()
    print(name, options, "rows", rows)
    print(name, options, "windows", make_splits(recordings, spec, 0).sha256)
"""


@pytest.mark.slow
def test_windows_do_not_depend_on_the_processor(own_files):
    """They are part of a run's identity: published runs must count as done on a machine with other instructions."""
    given_ = json.dumps([[*case.values] for case in cases(options=True)])
    dispatched = [name for name in numpy_build.__cpu_dispatch__ if numpy_build.__cpu_features__[name]]
    beyond_avx2 = [name for name in dispatched if name.startswith("AVX512") or name == "X86_V4"]
    found = []
    for disabled in dict.fromkeys(("", " ".join(beyond_avx2), " ".join(dispatched))):  # AVX-512, AVX2, neither
        command = [sys.executable, "-c", FINGERPRINTS, str(own_files)]
        environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": disabled}
        run = subprocess.run(command, input=given_, env=environment, capture_output=True, text=True, check=True)
        found.append(run.stdout.splitlines())
    assert len(found[0]) >= 16  # simulated data sets and own files need nothing
    assert len(found) >= 2, "this processor has neither, so nothing was compared"
    assert all(lines == found[0] for lines in found)
