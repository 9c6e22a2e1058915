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
    "ablation": (27, "00bf59ca40b249fc", "f4f535736296207e"),
    "ablation-reduced": (27, "053139ebb1860bbd", "f53d833856be8b62"),
    "architectures": (24, "19680f969594d7f4", "fb0a2a23063f28af"),
    "architectures-reduced": (14, "197844171ed62c8c", "f53d833856be8b62"),
    "budget": (44, "09558c4b5eb33f1b", "fb2a23ee7fd47022"),
    "budget-reduced": (17, "0d0be22cc614763a", "f53d833856be8b62"),
    "core": (12, "07cce53f8d6a289d", "aef6a046b678f322"),
    "core_averaged": (11, "2c6f6656d9cbd3cd", "dec36157230457e1"),
    "core_averaged-reduced": (11, "042b4e8d7dbcd21c", "f53d833856be8b62"),
    "core_gaussian": (11, "2c6f6656d9cbd3cd", "f2493f1a44f29f52"),
    "decoders": (11, "1f5bfabd2834514b", "aef6a046b678f322"),
    "decoders-reduced": (11, "192a5817dd64e8a7", "f53f0f475692de33"),
    "diagnose": (11, "43836400c1ed5568", "f652a3e7101cbcd4"),
    "diffusion_steps": (18, "0ccfc1413301a2f4", "b67ef6f0c17a523e"),
    "diffusion_steps-reduced": (18, "078898525f85dd21", "f53d833856be8b62"),
    "domains": (10, "00bf59ca40b249fc", "f4f535736296207e"),
    "domains-reduced": (10, "07f07159f80b8c51", "f53d833856be8b62"),
    "early_steps": (17, "03adef6386338bb8", "fa1263bd3a499908"),
    "early_steps-reduced": (17, "197844171ed62c8c", "fd6201af6e1825fe"),
    "endings": (18, "07cce53f8d6a289d", "aef6a046b678f322"),
    "endings-reduced": (12, "005e657c872c1fb2", "f8db91fe3b99b937"),
    "endings_small": (21, "0ccfc1413301a2f4", "fb153a2eb102066c"),
    "example": (12, "08dc3343a56131b6", "ba0e09b1fb5b4230"),
    "latent_per_step": (32, "15e1f8f583861176", "f4f535736296207e"),
    "latent_per_step-reduced": (20, "124105690f669e59", "f5f7f090b29ced0a"),
    "learning_curve": (9, "07cce53f8d6a289d", "aef6a046b678f322"),
    "likelihoods": (21, "097309680e0c6a69", "e7c1c385cdbf381c"),
    "likelihoods-reduced": (10, "197844171ed62c8c", "fc9e00d69b3e6809"),
    "literature": (13, "04edcd7e05392b6c", "f240eed11daf00a9"),
    "core-reduced": (12, "1623fdb8894e2dfb", "f53d833856be8b62"),
    "literature-reduced": (9, "29435147b8fcbbf8", "ee36071a145fde35"),
    "published": (34, "085794e02d305a63", "f735c1a629078d7b"),
    "published-reduced": (14, "25141110991a25ea", "ed9d6e7066b16c8d"),
    "quick": (9, "309959e308302d39", "f0996fb8312ee0f8"),
    "registry": (38, "0500cfd9650ed4ed", "f4f535736296207e"),
    "sensitivity": (31, "00bf59ca40b249fc", "e4999f0d5e0f167f"),
    "sensitivity-reduced": (31, "06d5b54be73e201c", "f53d833856be8b62"),
    "smoke": (18, "06d8a5e921c83d4c", "f7fb0ccb21e2839a"),
    "sweep": (33, "034badeef25dfff2", "fca178924bce6e61"),
    "synthetic": (11, "07e98471d6d8db82", "fd3c578745fd459c"),
    "synthetic-reduced": (11, "113207dc5dee7536", "d26281b710a0db87"),
    "transformer": (10, "25e8e4a95ac52766", "d44404c47be6976d"),
    "transformer-reduced": (10, "197844171ed62c8c", "f53d833856be8b62"),
    "replication": (10, "07cce53f8d6a289d", "aef6a046b678f322"),
    "replication-reduced": (10, "1623fdb8894e2dfb", "f53d833856be8b62"),
    "window_length": (9, "080008f5572a7f3e", "f4f535736296207e"),
    "window_length-reduced": (9, "07f07159f80b8c51", "f53d833856be8b62"),
}

ON_OWN_SIMULATED_DATA = {
    "endings_small": (21, "104aef8bc7918ee7", "ef5b3ddca3b5ee16"),
    "architectures-reduced": (14, "0ae79d65f77259a5", "ea6c0b921044a944"),
    "endings-reduced": (12, "076ff1b0b3d0cc41", "ea6c0b921044a944"),
    "likelihoods-reduced": (10, "0ae79d65f77259a5", "ea6c0b921044a944"),
    "transformer-reduced": (10, "0ae79d65f77259a5", "ea6c0b921044a944"),
    "window_length-reduced": (9, "0ae79d65f77259a5", "fb43390a5716ea07"),
    "domains-reduced": (10, "07f07159f80b8c51", "f53d833856be8b62"),
    "diagnose": (11, "0323c07a527455a2", "f984ad11743979fe"),
    "latent_per_step-reduced": (20, "04b657f9dc110251", "f7f3ab4cf283c667"),
    "core-reduced": (12, "13cf922599d6c23b", "c0c26febe375afca"),
    "literature-reduced": (8, "22c8795c2465ea4f", "ff707cf159fb7ed6"),
    "diffusion_steps-reduced": (18, "074e0f00fb4e981e", "f2eec789a79e4f89"),
    "early_steps-reduced": (17, "0ae79d65f77259a5", "f19bce15821228d7"),
    "sensitivity-reduced": (31, "0ae79d65f77259a5", "ff3d8c49b6e386f0"),
    "replication-reduced": (10, "13cf922599d6c23b", "c0c26febe375afca"),
    "smoke": (36, "17e049a768b77f9e", "ff24ef176ddb104f"),
    "synthetic": (66, "001e44c5046ec4fb", "fcb916286e571c28"),
    "synthetic-reduced": (66, "06930e17802ed583", "fe01929a9435a6c1"),
}

ON_OWN_REAL_DATA = {
    "ablation": (54, "021be9d56a130d1d", "fe53288821840436"),
    "likelihoods": (63, "021be9d56a130d1d", "f57360d182a8a934"),
    "window_length": (54, "052b4a61d0677e90", "f5eecb1d38b95040"),
    "architectures": (48, "003aeb5b30c6814c", "fe437c0ed367eb7a"),
    "core": (108, "021be9d56a130d1d", "fda741770cdbc5fe"),
    "core_averaged": (99, "021be9d56a130d1d", "fb95b3faf51828a2"),
    "core_gaussian": (33, "021be9d56a130d1d", "f57360d182a8a934"),
    "diffusion_steps": (36, "021be9d56a130d1d", "fe53288821840436"),
    "early_steps": (51, "00330776cb9895cb", "f57360d182a8a934"),
    "endings": (54, "021be9d56a130d1d", "fda293dd7d83d6aa"),
    "example": (36, "021be9d56a130d1d", "facccdc4ecc6afac"),
    "latent_per_step": (64, "021be9d56a130d1d", "fc2cddd32845098f"),
    "learning_curve": (54, "021be9d56a130d1d", "fe540d1bf93ea98e"),
    "literature": (49, "0966bb72892d92a7", "f102e7bbe0c6b0ef"),
    "quick": (18, "0b76c24cb09fac07", "fdc3088794604882"),
    "registry": (114, "021be9d56a130d1d", "fe53288821840436"),
    "replication": (30, "0d370e9158a6cece", "fe4e2d4e90d73093"),
    "sensitivity": (62, "021be9d56a130d1d", "fbc87a3a819e9db6"),
    "sweep": (66, "09d1dc7663a8c0ed", "facccdc4ecc6afac"),
    "transformer": (30, "021be9d56a130d1d", "f57360d182a8a934"),
}


def identities(name: str, data: Path | None = None, datasets: tuple[str, ...] = ()) -> Expected:
    """How many runs, the first and the last id; NAME-reduced is the reduced form of NAME."""
    reduced = name.endswith("-reduced")
    sweep = read_sweep(name.removesuffix("-reduced"), Selection(datasets=datasets, seeds=(0,), reduced=reduced), data)
    found = sorted(run.run_id for run in sweep.runs)
    return len(found), found[0], found[-1]


def test_every_shipped_sweep_has_an_entry() -> None:
    assert {name for name in ON_AR1 if not name.endswith("-reduced")} == set(shipped_sweeps())


FIXED_BUDGET = {"example", "literature", "smoke"}  # published as it is, after published budgets, and no result


@pytest.mark.parametrize("name", sorted(set(shipped_sweeps()) - FIXED_BUDGET))
def test_a_sweep_that_asks_about_methods_trains_them_to_their_plateau(name: str) -> None:
    for reduced in (False, True) if f"{name}-reduced" in ON_AR1 else (False,):
        sweep = read_sweep(name, Selection(datasets=("ar1",), seeds=(0,), reduced=reduced))
        for run in (run for run in sweep.runs if run.kind == "method"):
            assert run.train.patience > 0, run.label
            assert run.diffusion.patience > 0 or run.diffusion.steps == 1, run.label


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
