"""The energy that a piece of work took, where a counter can be read: the GPU's (NVML), else the CPU's (RAPL).

A counter covers everything that runs on its device, so other work on the device is included in the number.
Where there is no counter the answer is NaN; nothing is estimated.
"""

from __future__ import annotations

import ctypes
import functools
import math
import time
from pathlib import Path
from typing import Any

import torch

_ZONES = Path("/sys/class/powercap")
_MOST_WATTS = 1000.0
"""No CPU package draws more: for so long a RAPL counter cannot have wrapped around twice unseen."""


class Meter:
    """The energy a device took since the meter was made."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._began, self._before = device, time.monotonic(), _counters(device)

    def joules(self) -> float:
        """Energy so far, J; NaN where no counter can be read or one may have wrapped around more than once."""
        after, seconds = _counters(self._device), time.monotonic() - self._began
        if not after or after.keys() != self._before.keys():
            return math.nan
        total = 0.0
        for name, (now, span) in after.items():
            if seconds * _MOST_WATTS > span:
                return math.nan
            grown = now - self._before[name][0]
            total += grown if grown >= 0 else grown + span
        return total


def _counters(device: torch.device) -> dict[str, tuple[float, float]]:
    """Counter -> (J so far, J at which it starts again from 0); empty where one cannot be read."""
    try:
        if device.type == "cuda":
            return {"gpu": (_nvml_joules(device), math.inf)}
        zones = sorted(_ZONES.glob("intel-rapl:[0-9]*"))  # packages of Intel and AMD; their parts have a second colon
        return {zone.name: (_micro(zone / "energy_uj"), _micro(zone / "max_energy_range_uj"))
                for zone in zones if zone.name.count(":") == 1}  # fmt: skip
    except (OSError, ValueError, AttributeError, RuntimeError):
        return {}


def _micro(path: Path) -> float:
    return int(path.read_text()) / 1e6


def _nvml_joules(device: torch.device) -> float:
    """Energy of a GPU since its driver was loaded. Raises OSError or AttributeError where NVML does not report it."""
    library, handle, total = _nvml(), ctypes.c_void_p(), ctypes.c_ulonglong()
    name = f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode()
    _check(library.nvmlDeviceGetHandleByUUID(name, ctypes.byref(handle)))
    _check(library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(total)))
    return total.value / 1e3


@functools.cache
def _nvml() -> Any:
    library = ctypes.CDLL("libnvidia-ml.so.1")
    _check(library.nvmlInit_v2())
    return library


def _check(code: int) -> None:
    if code:
        raise OSError(f"NVML: error {code}")
