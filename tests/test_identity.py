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
    "ablation": (25, "0937d3b526f694d8", "f2e501ff14d58953"),
    "ablation-reduced": (25, "02d51a7c6dfde9e3", "ef46a06739c37cfc"),
    "architectures": (41, "015ea9f46fe4c821", "ee01cea4dedb0f29"),
    "architectures-reduced": (13, "06181c191b5ddde9", "d2653b1c53e63e2c"),
    "core": (9, "153a07017a4af441", "ce41551edfc5a24b"),
    "diagnose": (9, "153a07017a4af441", "e2d5ac80402d2116"),
    "diffusion_steps": (23, "0a983d53adaa8943", "f82f8324525c5f10"),
    "diffusion_steps-reduced": (13, "06181c191b5ddde9", "e74d0c09c65572d0"),
    "domains": (12, "0937d3b526f694d8", "d22c5574990f2438"),
    "domains-reduced": (9, "02d51a7c6dfde9e3", "ce41551edfc5a24b"),
    "early_steps": (15, "1364a5fee4e078ba", "fbed7daa187b1496"),
    "early_steps-reduced": (10, "06181c191b5ddde9", "b99a71ef53d29cd6"),
    "likelihoods": (25, "0937d3b526f694d8", "e32e66a571804883"),
    "likelihoods-reduced": (19, "145d649ffc45048b", "f37a39a9f446840f"),
    "mixture": (15, "1444beee4bc4a76d", "d0a5abfb73ff6ab7"),
    "mixture-reduced": (15, "0e784f3a9a6969e7", "e3d0a8a9cddd66ce"),
    "published": (33, "05c1698e453238d0", "fe6c593274cae15c"),
    "published-reduced": (13, "02d51a7c6dfde9e3", "ce41551edfc5a24b"),
    "quick": (9, "153a07017a4af441", "e9699f1c6602001b"),
    "registry": (49, "06181c191b5ddde9", "fcf07525732ac34f"),
    "sensitivity": (56, "07cf36957822e957", "fe50a319b57f959c"),
    "sensitivity-reduced": (18, "037e4550bd09bbbc", "e3e25f3a4eec761e"),
    "smoke": (17, "153f84c3adf685b5", "fcdcf597a1233563"),
    "sweep": (32, "001940a7d7d1a694", "fbf9561b9197d666"),
    "synthetic": (8, "104d8a0160ef3271", "eab76172cc5d5698"),
    "synthetic-reduced": (8, "06181c191b5ddde9", "b7042177f9ca0c87"),
    "transformer": (15, "05382351b707fccd", "d0a5abfb73ff6ab7"),
    "transformer-reduced": (15, "153a07017a4af441", "e3767fe26bf99163"),
}

ON_OWN_SIMULATED_DATA = {
    "diagnose": (9, "0dc1371254d252f7", "c4c3618ea6b8facb"),
    "smoke": (34, "038e755a1e8d4f17", "fd1298d80cfecb46"),
    "synthetic": (48, "0516b2987892a134", "ffbc57a388ba578c"),
    "synthetic-reduced": (48, "05dc8cade5a49591", "ffbd0ab2753c9f02"),
}

ON_OWN_REAL_DATA = {
    "architectures": (123, "00fa3f980f665f0c", "fe337c6f03583d67"),
    "architectures-reduced": (13, "169144ad38b57cd2", "fc8f9f9700cb67fd"),
    "core": (72, "01ca4af7d60426a8", "fc93446800d12a2c"),
    "diffusion_steps": (46, "00fa3f980f665f0c", "f29f069036023c1a"),
    "diffusion_steps-reduced": (13, "00e87783510fc9f2", "d4db2cffd394c0b1"),
    "early_steps": (60, "00fa3f980f665f0c", "fdfa633dd39e6b01"),
    "early_steps-reduced": (10, "169144ad38b57cd2", "ed1a524771c410ba"),
    "mixture": (45, "00c9826533562ba8", "fdfa633dd39e6b01"),
    "mixture-reduced": (15, "10ecbd35fb10c570", "fc93446800d12a2c"),
    "quick": (18, "0dc1371254d252f7", "fc93446800d12a2c"),
    "registry": (98, "00fac3da44fa1594", "facd86446e537691"),
    "sensitivity": (168, "007326afe6532033", "ffd36f526f7e1129"),
    "sensitivity-reduced": (18, "14fe41991826e67a", "fe331501b58c4c84"),
    "sweep": (64, "021762112472adbf", "ffd36f526f7e1129"),
    "transformer": (45, "030a931b7dfce326", "fdfa633dd39e6b01"),
    "transformer-reduced": (30, "1040b58ad3c32fbc", "fd91c213b2798903"),
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
