import math

import pytest
import torch

import bench.hardware.energy
from bench.hardware.energy import Meter


@pytest.fixture
def zones(tmp_path, monkeypatch):
    monkeypatch.setattr(bench.hardware.energy, "_ZONES", tmp_path)

    def write(name, microjoules, span=262_143_328_850):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "energy_uj").write_text(f"{microjoules}\n")
        (tmp_path / name / "max_energy_range_uj").write_text(f"{span}\n")

    return write


CPU = torch.device("cpu")


def test_packages_are_summed_and_their_parts_are_not(zones):
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        zones(name, 5_000_000)
    meter = Meter(CPU)
    for name, joules in (("intel-rapl:0", 7), ("intel-rapl:1", 8), ("intel-rapl:0:0", 99)):
        zones(name, joules * 1_000_000)
    assert meter.joules() == pytest.approx(2 + 3)


def test_a_counter_that_starts_again_is_followed_once(zones, monkeypatch):
    zones("intel-rapl:0", 90_000_000, span=100_000_000)
    meter = Meter(CPU)
    zones("intel-rapl:0", 15_000_000, span=100_000_000)
    assert meter.joules() == pytest.approx(25)
    monkeypatch.setattr(bench.hardware.energy.time, "monotonic", lambda: 1e9)  # long enough to start again unseen
    assert math.isnan(meter.joules())


def test_unknown_is_nan(zones, tmp_path):
    assert math.isnan(Meter(CPU).joules())
    zones("intel-rapl:0", 1)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("")
    assert math.isnan(Meter(CPU).joules())


def test_a_gpu_is_asked_by_its_uuid(monkeypatch):
    class Library:
        millijoules, error = 5_000, 0

        def nvmlDeviceGetHandleByUUID(self, name, handle):
            assert name == b"GPU-1234"
            return self.error

        def nvmlDeviceGetTotalEnergyConsumption(self, handle, total):
            total._obj.value = self.millijoules
            return 0

    library = Library()
    monkeypatch.setattr(bench.hardware.energy, "_nvml", lambda: library)
    properties = type("Properties", (), {"uuid": "1234"})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    meter = Meter(torch.device("cuda:0"))
    library.millijoules = 6_500
    assert meter.joules() == pytest.approx(1.5)
    library.error = 3  # not supported
    assert math.isnan(meter.joules())
