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
    "ablation": (29, "00bf59ca40b249fc", "f4f535736296207e"),
    "ablation-reduced": (29, "053139ebb1860bbd", "e0532e09c69ec9f2"),
    "architectures": (42, "00ec0d830f85b7fa", "fed4071288b91e76"),
    "architectures-reduced": (14, "128792e6f6d8e521", "debfcd9a1a036ea5"),
    "budget": (25, "09558c4b5eb33f1b", "fb2a23ee7fd47022"),
    "budget-reduced": (17, "0d0be22cc614763a", "f48d2c0b78138e40"),
    "core": (12, "07cce53f8d6a289d", "aef6a046b678f322"),
    "core_gaussian": (11, "2c6f6656d9cbd3cd", "f2493f1a44f29f52"),
    "decoders": (11, "1f5bfabd2834514b", "aef6a046b678f322"),
    "decoders-reduced": (11, "192a5817dd64e8a7", "f53f0f475692de33"),
    "diagnose": (10, "43836400c1ed5568", "f652a3e7101cbcd4"),
    "diffusion_steps": (16, "1190c7ddae0a9e54", "f4aed3499fa8d64b"),
    "diffusion_steps-reduced": (16, "078898525f85dd21", "e5f19c1ebfa4fb21"),
    "domains": (13, "09122ad8ec3042d2", "da387a88257c7a1b"),
    "domains-reduced": (10, "015eb68a401eb636", "f386548a0f07525e"),
    "early_steps": (17, "03adef6386338bb8", "fa1263bd3a499908"),
    "early_steps-reduced": (17, "197844171ed62c8c", "fd6201af6e1825fe"),
    "example": (12, "08dc3343a56131b6", "ba0e09b1fb5b4230"),
    "latent_per_step": (56, "015a5620c63fbff1", "ff658a73d7068d64"),
    "latent_per_step-reduced": (20, "05ce5ee2cd2ce199", "eaac9d90a7edb1d2"),
    "learning_curve": (9, "07cce53f8d6a289d", "aef6a046b678f322"),
    "likelihoods": (26, "09122ad8ec3042d2", "fa413cc6b1ee6e65"),
    "likelihoods-reduced": (20, "042eb23ad5a67d35", "fbe983cbd3c1ea39"),
    "literature": (13, "4ee67cdd9b064ab5", "f8fa6ec307862c2a"),
    "core-reduced": (12, "1623fdb8894e2dfb", "cec417a381ba060c"),
    "literature-reduced": (9, "02d320292d80a3eb", "debfcd9a1a036ea5"),
    "mixture": (16, "13eda709d72189f6", "f45790e285879b8d"),
    "mixture-reduced": (16, "177216b00320116c", "edd6bb06889048a4"),
    "published": (34, "08d210cd5f52cdf3", "f437f9f1876a25b7"),
    "published-reduced": (14, "015eb68a401eb636", "f386548a0f07525e"),
    "quick": (9, "309959e308302d39", "f0996fb8312ee0f8"),
    "registry": (68, "014bda7a9e4726b7", "fc923a96491dda2d"),
    "sensitivity": (31, "00bf59ca40b249fc", "e4999f0d5e0f167f"),
    "sensitivity-reduced": (31, "06d5b54be73e201c", "e0532e09c69ec9f2"),
    "smoke": (18, "06d8a5e921c83d4c", "f7fb0ccb21e2839a"),
    "sweep": (33, "051f8d6991f53d2d", "f7d639cca1723703"),
    "synthetic": (11, "01df6bbc783ce0ae", "fd3c578745fd459c"),
    "synthetic-reduced": (11, "113207dc5dee7536", "debfcd9a1a036ea5"),
    "transformer": (16, "2c6f6656d9cbd3cd", "ec49680a6ea581ba"),
    "transformer-reduced": (16, "43836400c1ed5568", "edd6bb06889048a4"),
}

ON_OWN_SIMULATED_DATA = {
    "diagnose": (10, "0323c07a527455a2", "fec51e2654b4b98b"),
    "latent_per_step-reduced": (20, "035ed6910952928a", "e11a30adb53cc8f7"),
    "core-reduced": (12, "13cf922599d6c23b", "e0ee88036a0b7c07"),
    "literature-reduced": (8, "7c3ffee6087e64dd", "eba463f1d70f9319"),
    "diffusion_steps-reduced": (16, "0ae79d65f77259a5", "ecd3e5977dcb203d"),
    "early_steps-reduced": (17, "0ae79d65f77259a5", "f19bce15821228d7"),
    "sensitivity-reduced": (31, "0ae79d65f77259a5", "ff3d8c49b6e386f0"),
    "smoke": (36, "17e049a768b77f9e", "ff24ef176ddb104f"),
    "synthetic": (66, "001e44c5046ec4fb", "fcb916286e571c28"),
    "synthetic-reduced": (66, "06930e17802ed583", "fe01929a9435a6c1"),
}

ON_OWN_REAL_DATA = {
    "architectures": (126, "0302be613c25d42b", "fd92ae74a1c7ff60"),
    "architectures-reduced": (14, "036b592b9dc33247", "e8fcc6b43eeca835"),
    "core": (108, "021be9d56a130d1d", "fda741770cdbc5fe"),
    "core_gaussian": (33, "021be9d56a130d1d", "f57360d182a8a934"),
    "diffusion_steps": (32, "021be9d56a130d1d", "fc0cf60ba9f82a50"),
    "early_steps": (51, "00330776cb9895cb", "fc0cf60ba9f82a50"),
    "example": (36, "021be9d56a130d1d", "facccdc4ecc6afac"),
    "latent_per_step": (168, "003cd2b1fcce1059", "fe8cc23ce842cdb9"),
    "learning_curve": (54, "021be9d56a130d1d", "fe540d1bf93ea98e"),
    "literature": (49, "0a7a815065e9eca4", "f5370c6988ac3095"),
    "mixture": (48, "01cdd8ae18d68f15", "facccdc4ecc6afac"),
    "mixture-reduced": (16, "219c55c12b9cf57b", "f952a5c6ee69ff7b"),
    "quick": (18, "0b76c24cb09fac07", "fdc3088794604882"),
    "registry": (204, "00abc4762ff0f949", "fe8b4373fc2772e3"),
    "sensitivity": (62, "021be9d56a130d1d", "fc0cf60ba9f82a50"),
    "sweep": (66, "068d2b7ff30cef5f", "fbf17d1bf800cd20"),
    "transformer": (48, "01cdd8ae18d68f15", "facccdc4ecc6afac"),
    "transformer-reduced": (32, "005e098a1aa03856", "fe55251c7aefcd04"),
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
