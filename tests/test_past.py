"""What earlier runs say about the memory of others, and how many workers that allows."""

from __future__ import annotations

from collections.abc import Iterator

import fake_job
import pandas as pd
import pytest
from fake_job import fake_run

from bench.engine.estimates import Past
from bench.hardware.devices import CONTEXT_BYTES, Device, slots_that_fit
from bench.registry import METHODS
from bench.sweeps.stacks import Stack


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    fake_job.register()
    yield
    METHODS._classes.pop("fake", None)


def past(*peaks_and_sizes: tuple[int, int]) -> Past:
    rows = [
        {**fake_run("ok", seed=seed).columns(), "peak_memory_bytes": peak, "stack_size": size}
        for seed, (peak, size) in enumerate(peaks_and_sizes)
    ]
    return Past(pd.DataFrame(rows).assign(status="ok", device="cuda"), "cuda")


def test_a_stack_takes_the_peak_per_run_of_its_shape() -> None:
    runs = tuple(fake_run("ok", number=number, seed=9) for number in range(3))
    known = past((100, 1), (800, 4), (0, 1))  # 0: not measured
    assert known.memory([Stack(runs[:1])]) == 200
    assert known.memory([Stack(runs[:1]), Stack(runs)]) == 600
    assert known.memory([Stack((fake_run("ok", backbone="transformer"),))]) == 0
    assert past((0, 1)).memory([Stack(runs)]) == 0


def test_workers_per_device_by_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"cuda:0": 100 * 2**30, "cuda:1": 40 * 2**30, "cpu": 10 * 2**30}
    monkeypatch.setattr("bench.hardware.devices.memory_of", lambda device: sizes[device.name])
    monkeypatch.setattr("bench.hardware.devices.usable_cores", lambda: 16)
    two, one, cpu = [Device("cuda:0"), Device("cuda:1")], [Device("cuda:0")], [Device("cpu")]
    need = 8 * 2**30 - CONTEXT_BYTES
    assert slots_that_fit(one, need) == 10
    assert slots_that_fit(two, need) == 4  # the smaller one decides
    assert slots_that_fit(one, 1) == 16  # a core each
    assert slots_that_fit(two, 1) == 8
    assert slots_that_fit(one, 1e15) == 1
    assert slots_that_fit(cpu, 2**30) == 8
    assert slots_that_fit(cpu, 0) is None
    sizes["cpu"] = 0
    assert slots_that_fit(cpu, 2**30) is None
