"""The peak memory of a piece of work, and whether freed memory stays with the process."""

from __future__ import annotations

import ctypes
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of glibc's mallopt
_KEPT = 2**30


def keep_freed() -> None:
    """From now on freed blocks of up to 1 GiB stay with this process, until `reset_peak`; where the C library is glibc.

    By itself it gives large temporaries back to the system, and the next update of training maps and zeroes every page
    of them again: a third of the time of an LSTM of width 128 (bench/perf/README.md).
    """
    c_library = ctypes.CDLL(None)
    if hasattr(c_library, "mallopt"):
        for name in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            c_library.mallopt(name, _KEPT)


def reset_peak(device: torch.device) -> None:
    """Begin a new measurement: a warm worker's earlier runs do not count, where the system can forget them."""
    c_library = ctypes.CDLL(None)
    if hasattr(c_library, "malloc_trim"):
        c_library.malloc_trim(0)
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
