"""The precision of matrix products in training (float32, TF32 or bfloat16), and bit-identical results on a GPU.

Weights, moments of the optimiser, losses and everything between the products stay float32; samples
and measures of a trained run are always computed in float32.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bench.contracts import Unavailable

CAPABILITY = (8, 0)  # of the first CUDA devices with TF32 and bfloat16


def bf16_on_cpu() -> bool:
    """Whether this processor has the instructions that oneDNN needs for bfloat16 (and for a bfloat16 LSTM at all)."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def check_precision(precision: str, device: torch.device) -> None:
    """Raises Unavailable where the device has no such products."""
    if precision == "float32" or ((precision, device.type) == ("bf16", "cpu") and bf16_on_cpu()):
        return
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < CAPABILITY:
        known = "float32 or bf16" if device.type == "cpu" and bf16_on_cpu() else "float32"
        needed = ".".join(map(str, CAPABILITY))
        raise Unavailable(
            f"train.precision = {precision}: needs a CUDA device of compute capability {needed} or newer, "
            f"expected {known} on {device.type}"
        )


@contextmanager
def products(precision: str) -> Iterator[None]:
    """CUDA's float32 products inside: exact ones, or TF32. cuDNN rounds to TF32 unless it is told not to."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    cudnn = torch.backends.cudnn
    kept = {"enabled": cudnn.enabled, "benchmark": cudnn.benchmark, "deterministic": cudnn.deterministic}
    try:
        with cudnn.flags(**kept, allow_tf32=precision == "tf32"):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def forward(precision: str, device: torch.device) -> torch.autocast:
    """The context of a loss: bfloat16 products with `bf16` (their backward pass follows), else nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """With `wanted`, torch's operations inside give the same bits every time, or raise RuntimeError naming themselves.

    On a CPU with one thread per worker they do so anyway. On CUDA this costs time, and cuBLAS reads its part of it
    (CUBLAS_WORKSPACE_CONFIG) when a process first multiplies there, so it belongs around a worker's whole job.
    """
    if not wanted:  # asking for what is so anyway would import torch's compiler: 70 MB, and a second of a worker
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
