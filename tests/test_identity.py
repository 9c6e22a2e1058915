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
    "ablation": (26, "0287360257aff23f", "d4f1cb4b87140148"),
    "ablation-reduced": (26, "01168c646bb1e058", "f386548a0f07525e"),
    "architectures": (42, "00ec0d830f85b7fa", "fed4071288b91e76"),
    "architectures-reduced": (14, "128792e6f6d8e521", "debfcd9a1a036ea5"),
    "budget": (25, "09558c4b5eb33f1b", "fb2a23ee7fd47022"),
    "budget-reduced": (17, "0d0be22cc614763a", "f48d2c0b78138e40"),
    "core": (12, "07cce53f8d6a289d", "aef6a046b678f322"),
    "core_gaussian": (11, "2c6f6656d9cbd3cd", "f2493f1a44f29f52"),
    "decoders": (11, "1f5bfabd2834514b", "aef6a046b678f322"),
    "decoders-reduced": (11, "192a5817dd64e8a7", "f53f0f475692de33"),
    "diagnose": (10, "27d561bd3e997fa4", "ed9d6e7066b16c8d"),
    "diffusion_steps": (24, "01eb8eeaba929797", "dc1bcea33708b382"),
    "diffusion_steps-reduced": (14, "0743838adb3d434d", "ffc5f31fdb13b2ed"),
    "domains": (13, "09122ad8ec3042d2", "da387a88257c7a1b"),
    "domains-reduced": (10, "015eb68a401eb636", "f386548a0f07525e"),
    "early_steps": (16, "0386dd97cbfebbae", "e4b53f5559acbf74"),
    "early_steps-reduced": (11, "09b0eb6a8bf5531e", "debfcd9a1a036ea5"),
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
    "sensitivity": (57, "09122ad8ec3042d2", "f0b58458bcd704df"),
    "sensitivity-reduced": (19, "06fc20b286320818", "f346221af1ea5366"),
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
    "smoke": (36, "17e049a768b77f9e", "ff24ef176ddb104f"),
    "synthetic": (66, "001e44c5046ec4fb", "fcb916286e571c28"),
    "synthetic-reduced": (66, "06930e17802ed583", "fe01929a9435a6c1"),
}

ON_OWN_REAL_DATA = {
    "architectures": (126, "0302be613c25d42b", "fd92ae74a1c7ff60"),
    "architectures-reduced": (14, "036b592b9dc33247", "e8fcc6b43eeca835"),
    "core": (108, "021be9d56a130d1d", "fda741770cdbc5fe"),
    "core_gaussian": (33, "021be9d56a130d1d", "f57360d182a8a934"),
    "diffusion_steps": (48, "05061a8d108463a1", "fb056933e749d103"),
    "diffusion_steps-reduced": (14, "036b592b9dc33247", "f99111914ca7c21e"),
    "early_steps": (64, "00eb556468ddf896", "facccdc4ecc6afac"),
    "early_steps-reduced": (11, "036b592b9dc33247", "f33bc947003d950f"),
    "example": (36, "021be9d56a130d1d", "facccdc4ecc6afac"),
    "latent_per_step": (168, "003cd2b1fcce1059", "fe8cc23ce842cdb9"),
    "learning_curve": (54, "021be9d56a130d1d", "fe540d1bf93ea98e"),
    "literature": (49, "0a7a815065e9eca4", "f5370c6988ac3095"),
    "mixture": (48, "01cdd8ae18d68f15", "facccdc4ecc6afac"),
    "mixture-reduced": (16, "219c55c12b9cf57b", "f952a5c6ee69ff7b"),
    "quick": (18, "0b76c24cb09fac07", "fdc3088794604882"),
    "registry": (204, "00abc4762ff0f949", "fe8b4373fc2772e3"),
    "sensitivity": (171, "02c3932879d56e78", "ff96fdebeb2617f8"),
    "sensitivity-reduced": (19, "036b592b9dc33247", "ec501d6b036727c8"),
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
