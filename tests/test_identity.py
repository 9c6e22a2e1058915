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
    "ablation": (25, "0a70ffe9efa15665", "fb26a1604b5ec404"),
    "ablation-reduced": (25, "12cb3ca47ce4f3a5", "f34fcb08c2812bc5"),
    "architectures": (41, "04367ffb2d5a2cc9", "fb26a1604b5ec404"),
    "architectures-reduced": (13, "06181c191b5ddde9", "c7a48c4582b6b3a7"),
    "core": (9, "153a07017a4af441", "e7990a14cf5c7848"),
    "diagnose": (9, "153a07017a4af441", "f569006f7b3b7387"),
    "diffusion_steps": (23, "05434dcce9ed1d19", "fb26a1604b5ec404"),
    "diffusion_steps-reduced": (13, "019c15e4d5c96a01", "ffe5a3ab0444cdf6"),
    "domains": (12, "1a977dabf5a22845", "fb26a1604b5ec404"),
    "domains-reduced": (9, "153a07017a4af441", "ce41551edfc5a24b"),
    "early_steps": (15, "051da5945d241a02", "fb26a1604b5ec404"),
    "early_steps-reduced": (10, "019c15e4d5c96a01", "f574828ee59fb08c"),
    "likelihoods": (25, "06f296ef8e616f4f", "fb26a1604b5ec404"),
    "likelihoods-reduced": (19, "153a07017a4af441", "ee765466758960c3"),
    "mixture": (15, "298259c99ff70616", "f6420d2be279edf2"),
    "mixture-reduced": (15, "153a07017a4af441", "e4885fcbc32d538e"),
    "published": (33, "01db59cc413bac8a", "fcd214164d8bcb2c"),
    "published-reduced": (13, "132bff18738680dc", "f34fcb08c2812bc5"),
    "quick": (9, "153a07017a4af441", "fc5e43889925534e"),
    "registry": (49, "0141eff02643aa99", "ffd3b8cca2c42e67"),
    "sensitivity": (56, "02387a07260f17dd", "fb26a1604b5ec404"),
    "sensitivity-reduced": (18, "019c15e4d5c96a01", "fcbd118f3d64420e"),
    "smoke": (7, "1bbe34b9e4db665b", "7fc4462ffd508c49"),
    "sweep": (32, "1a977dabf5a22845", "fb26a1604b5ec404"),
    "synthetic": (8, "153a07017a4af441", "ce41551edfc5a24b"),
    "synthetic-reduced": (8, "06181c191b5ddde9", "a42f9202eca1f5de"),
    "transformer": (15, "298259c99ff70616", "ea8ea8acd54ffb74"),
    "transformer-reduced": (15, "05ff92d76fdc83a5", "ce41551edfc5a24b"),
}

ON_OWN_SIMULATED_DATA = {
    "diagnose": (9, "0dc1371254d252f7", "bd5d3637932b67df"),
    "synthetic": (48, "008b3f6c8159f86b", "ffbc57a388ba578c"),
    "synthetic-reduced": (48, "0776e07a99584698", "f9dbeb25a4f7897c"),
}

ON_OWN_REAL_DATA = {
    "architectures": (123, "00fa3f980f665f0c", "fff25fe4642e0f8d"),
    "architectures-reduced": (13, "07106b0f76528aa7", "e40842a875e89b56"),
    "core": (72, "01ca4af7d60426a8", "fc93446800d12a2c"),
    "diffusion_steps": (46, "00fa3f980f665f0c", "fb3c905a365061d6"),
    "diffusion_steps-reduced": (13, "13a93f07b0722a70", "db730a40c3afed51"),
    "early_steps": (60, "00af307fb902df0c", "fdfa633dd39e6b01"),
    "early_steps-reduced": (10, "169144ad38b57cd2", "f935465ba39e1293"),
    "mixture": (45, "025e1e8459f51b25", "fdfa633dd39e6b01"),
    "mixture-reduced": (15, "059d98a3f25a1d2d", "fc93446800d12a2c"),
    "quick": (18, "0dc1371254d252f7", "fc93446800d12a2c"),
    "registry": (98, "06ad3973d7a070e1", "fe94b0582f2c7ed1"),
    "sensitivity": (168, "00f899ef36fe3921", "ff8cc7173d5d9280"),
    "sensitivity-reduced": (18, "063ed965b62b65e6", "fa9f028725cd2f3a"),
    "smoke": (14, "02a339d6f9712c68", "e59482ea56fd4915"),
    "sweep": (64, "05090c4812630881", "fc91d4be20bbf5d2"),
    "transformer": (45, "06be00dd21785635", "fdfa633dd39e6b01"),
    "transformer-reduced": (30, "115c37f97db1688a", "fc93446800d12a2c"),
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
