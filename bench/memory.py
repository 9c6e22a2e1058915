"""How much memory a piece of work took at its peak."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak(device: torch.device) -> None:
    """Begin a new measurement: a warm worker's earlier runs do not count, where the system can forget them."""
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    try:
        _RESET.write_text("5")
    except OSError:
        return  # not Linux: the peak is the process's


def peak_bytes(device: torch.device) -> int:
    """The peak since `reset_peak`: of the GPU's allocator on CUDA, else of the process (resident)."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device)
    return resident_peak()


def resident_peak() -> int:
    """Bytes of this process; needs no torch, which alone would take more than some work does."""
    if _STATUS.exists():
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
