"""Nobody's finished runs are lost: the run ids of the shipped sweeps stay what they are.

Each entry holds how many runs a sweep asks for with seed 0, and the first and the last of their sorted ids. They change
only with a version (`TRAINING_VERSION` in bench/sweeps/run.py, a method's or the references'), with the windows of a
data set, or with the sweep file itself.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.sweeps.expand import Selection, read_sweep
from bench.sweeps.file import shipped_sweeps

Expected = tuple[int, str, str]

ON_AR1 = {
    "ablation": (25, "0287360257aff23f", "e957e82306463553"),
    "ablation-reduced": (25, "01168c646bb1e058", "f386548a0f07525e"),
    "architectures": (41, "00ec0d830f85b7fa", "fed4071288b91e76"),
    "architectures-reduced": (13, "128792e6f6d8e521", "f138fa7ce8861979"),
    "budget": (30, "1f20ae9041035bfe", "f1129027f7acbf23"),
    "budget-reduced": (16, "013b8ba54808aa9f", "eb921e4faab1dcea"),
    "core": (9, "12b659d371f6b41a", "f10093bfb5bdaf6c"),
    "diagnose": (9, "12b659d371f6b41a", "f10093bfb5bdaf6c"),
    "diffusion_steps": (23, "01eb8eeaba929797", "e957e82306463553"),
    "diffusion_steps-reduced": (13, "0743838adb3d434d", "ffc5f31fdb13b2ed"),
    "domains": (12, "09122ad8ec3042d2", "e957e82306463553"),
    "domains-reduced": (9, "015eb68a401eb636", "f386548a0f07525e"),
    "early_steps": (15, "0386dd97cbfebbae", "e957e82306463553"),
    "early_steps-reduced": (10, "09b0eb6a8bf5531e", "f138fa7ce8861979"),
    "likelihoods": (25, "09122ad8ec3042d2", "fa413cc6b1ee6e65"),
    "likelihoods-reduced": (19, "042eb23ad5a67d35", "fbe983cbd3c1ea39"),
    "mixture": (15, "13eda709d72189f6", "f45790e285879b8d"),
    "mixture-reduced": (15, "12b659d371f6b41a", "f10093bfb5bdaf6c"),
    "published": (33, "08d210cd5f52cdf3", "f437f9f1876a25b7"),
    "published-reduced": (13, "015eb68a401eb636", "f386548a0f07525e"),
    "quick": (9, "12b659d371f6b41a", "f10093bfb5bdaf6c"),
    "registry": (49, "007e0d6466c8cc77", "fdd4e65545b44322"),
    "sensitivity": (56, "09122ad8ec3042d2", "f0b58458bcd704df"),
    "sensitivity-reduced": (18, "06fc20b286320818", "f346221af1ea5366"),
    "smoke": (17, "06d8a5e921c83d4c", "f7fb0ccb21e2839a"),
    "sweep": (32, "051f8d6991f53d2d", "f7d639cca1723703"),
    "synthetic": (8, "12b659d371f6b41a", "f10093bfb5bdaf6c"),
    "synthetic-reduced": (8, "157679936667585b", "f138fa7ce8861979"),
    "transformer": (15, "2d76a782c117eea3", "ec49680a6ea581ba"),
    "transformer-reduced": (15, "12b659d371f6b41a", "f10093bfb5bdaf6c"),
}

ON_OWN_SIMULATED_DATA = {
    "diagnose": (9, "63950c98b687f322", "ed0cfdfba8fe5a8e"),
    "smoke": (34, "1d00aa585a42c518", "ff24ef176ddb104f"),
    "synthetic": (48, "01d8e9261a5a36a3", "fa41428abfc95b4c"),
    "synthetic-reduced": (48, "01aad8b4ba0d858f", "ffba81d9400422d1"),
}

ON_OWN_REAL_DATA = {
    "architectures": (123, "06dd758ffdd2a1d5", "fd92ae74a1c7ff60"),
    "architectures-reduced": (13, "0ae56c6016567b55", "e14c5b8695e1821f"),
    "core": (72, "03dda28b3ccdb555", "f920d3f6cba6a453"),
    "diffusion_steps": (46, "05061a8d108463a1", "fb056933e749d103"),
    "diffusion_steps-reduced": (13, "1f656e7aae6a7494", "f99111914ca7c21e"),
    "early_steps": (60, "00eb556468ddf896", "f45b4cfedab572d4"),
    "early_steps-reduced": (10, "2fabf314fd112732", "f33bc947003d950f"),
    "mixture": (45, "06dd758ffdd2a1d5", "f3b8e457412dce68"),
    "mixture-reduced": (15, "10f8f09d0038a468", "febd6b4b5abca73c"),
    "quick": (18, "2376851a66c041b4", "e2bad6038a69c7ea"),
    "registry": (98, "074fb6b9b1ad53c8", "fe9ab9a9cef5d525"),
    "sensitivity": (168, "02c3932879d56e78", "fc641b53b8ec93bc"),
    "sensitivity-reduced": (18, "095ab9089b614e27", "ec501d6b036727c8"),
    "sweep": (64, "0380d79b631a31dc", "fb99c68629f06cd6"),
    "transformer": (45, "06dd758ffdd2a1d5", "fe87a13cc5cfe68d"),
    "transformer-reduced": (30, "02c61f9e34157e81", "f2a06f75298f5680"),
}


def identities(name: str, data: Path | None = None, datasets: tuple[str, ...] = ()) -> Expected:
    """How many runs, the first and the last id; NAME-reduced is the reduced form of NAME."""
    reduced = name.endswith("-reduced")
    sweep = read_sweep(name.removesuffix("-reduced"), Selection(datasets=datasets, seeds=(0,), reduced=reduced), data)
    found = sorted(run.run_id for run in sweep.runs)
    return len(found), found[0], found[-1]


def test_every_shipped_sweep_has_an_entry() -> None:
    assert {name for name in ON_AR1 if not name.endswith("-reduced")} == set(shipped_sweeps())


@pytest.mark.parametrize("name", ON_AR1)
def test_on_one_simulated_data_set(name: str) -> None:
    assert identities(name, datasets=("ar1",)) == ON_AR1[name]


@pytest.mark.parametrize("name", ON_OWN_SIMULATED_DATA)
def test_on_the_sweeps_own_simulated_data(name: str) -> None:
    assert identities(name) == ON_OWN_SIMULATED_DATA[name]


@pytest.mark.data
@pytest.mark.parametrize("name", ON_OWN_REAL_DATA)
def test_on_the_sweeps_own_real_data(name: str, data_dir: Path) -> None:
    assert identities(name, data_dir) == ON_OWN_REAL_DATA[name]
