"""The hardware of this machine, and which of it a sweep may use."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.contracts import InputError

CONTEXT_BYTES = 2**29
"""GPU memory that a process takes beside its tensors."""


@dataclass(frozen=True)
class Device:
    """A place where one worker runs one stack at a time."""

    name: str  # cpu, cuda:0, ...
    visible: str = ""  # the CUDA_VISIBLE_DEVICES of its workers: each sees its own GPU only

    @property
    def kind(self) -> str:
        """The device's name in torch inside its worker: cpu or cuda."""
        return self.name.partition(":")[0]


def cuda_count() -> int:
    """How many GPUs torch can see; 0 without CUDA."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def parse_devices(text: str) -> list[Device]:
    """`auto`, `cpu`, `cuda` (all visible GPUs) or `cuda:0,cuda:1`. Raises InputError.

    `auto` is every GPU there is, else the CPU.
    """
    if text == "cpu":
        return [Device("cpu")]
    if text not in ("auto", "cuda") and not re.fullmatch(r"cuda:\d{1,3}(,cuda:\d{1,3})*", text):
        raise InputError(f"--device {text}: expected auto, cpu, cuda or cuda:0,cuda:1")
    there = cuda_count()
    if text == "auto" and there == 0:
        return [Device("cpu")]
    if there == 0:
        raise InputError(f"--device {text}: no CUDA device here, expected cpu or auto")
    words = [f"cuda:{index}" for index in range(there)] if text in ("auto", "cuda") else text.split(",")
    indices = [int(word.partition(":")[2]) for word in words]
    for word, index in zip(words, indices, strict=True):
        if index >= there:
            raise InputError(f"--device {text}: no {word} here, there are cuda:0 to cuda:{there - 1}")
    if len(set(indices)) < len(indices):
        raise InputError(f"--device {text}: a device twice (see --slots-per-device)")
    # A user's own CUDA_VISIBLE_DEVICES renumbers the devices: the worker's must name the physical one.
    outer = [word.strip() for word in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if word.strip()]
    names = outer if len(outer) >= there else [str(index) for index in range(there)]
    return [Device(f"cuda:{index}", names[index]) for index in indices]


def usable_cores() -> int:
    """CPU cores that this process may use: its affinity, and a container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no quota, or not Linux
        return cores


def parse_count(text: str, flag: str) -> int | None:
    """A whole number >= 1, or None for `auto`. Raises InputError."""
    if text == "auto":
        return None
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < 1:
        raise InputError(f"{flag} {text}: expected a whole number >= 1 or auto")
    return int(text)


def memory_of(device: Device) -> int:
    """Bytes that workers can have: all of a GPU's, or what is available on this machine; 0 where it does not say."""
    if device.kind == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(int(device.name.partition(":")[2])).total_memory)
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux
        return 0


def slots_that_fit(devices: list[Device], need: float) -> int | None:
    """Workers per device whose stacks take `need` bytes each, a fifth of the memory left free, at most one per core.

    None where the need or the memory is not known.
    """
    there = min(memory_of(device) for device in devices) if need else 0
    if not there:
        return None
    on_gpu = devices[0].kind == "cuda"
    each = need + (CONTEXT_BYTES if on_gpu else 0)
    return max(1, min(usable_cores() // len(devices), int(0.8 * there / each)))


def make_slots(devices: list[Device], jobs: int | None, per_device: int | None = None) -> list[Device]:
    """One entry per worker, the devices in turn; by default one per core on the CPU and up to 4 on a GPU.

    Workers on a GPU take turns (see `turn`): the others score what they trained.
    """
    cores = usable_cores()
    each = per_device or (cores if devices[0].kind == "cpu" else max(1, min(4, cores // len(devices))))
    count = jobs or each * len(devices)
    return [devices[index % len(devices)] for index in range(count)]


@contextmanager
def turn(kind: str, folder: Path | None = None) -> Iterator[None]:
    """Inside, this process has its GPU to itself; on a CPU nothing happens.

    Workers that share a GPU train in turn, and one scores on its cores while another trains. The lock is the
    operating system's, so a worker that dies gives its turn up.
    """
    if kind != "cuda":
        yield
        return
    import fcntl

    which = re.sub(r"[^A-Za-z0-9-]", "_", os.environ.get("CUDA_VISIBLE_DEVICES", "all"))
    path = (folder or Path(tempfile.gettempdir())) / f"latent-diffusion-bench-{os.getuid()}-gpu-{which}.lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def parse_size(text: str, flag: str) -> int:
    """`4G`, `500M` or a number of bytes -> bytes. Raises InputError."""
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,3})?)([KMGT]?)B?", text, re.IGNORECASE)
    size = int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " ")) if match else 0
    if size < 1:
        raise InputError(f"{flag} {text}: expected a size such as 4G or 500M")
    return size


def parse_duration(text: str, flag: str) -> float:
    """`90`, `90s`, `10m` or `2h` -> seconds. Raises InputError."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smh]?)", text)
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if seconds <= 0:
        raise InputError(f"{flag} {text}: expected a time such as 90s, 10m or 2h")
    return seconds
