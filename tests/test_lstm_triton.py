"""The fused LSTM is the stacked one in values and gradients; here through Triton's interpreter, on a CPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.models import lstm_triton

TOLERANCE = 2e-6  # of the largest entry; one H = 64 product in float32 is off by about 1e-7
SHAPES = [  # R, B, T, inputs, H, layers: less and more than a program's rows, widths that are padded, one step
    (2, 5, 4, 3, 8, 1),
    (3, 18, 6, 5, 20, 2),
    (1, 3, 1, 2, 16, 1),
    (2, 33, 5, 3, 64, 1),
]

has_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed here")


@has_triton
def test_values_and_gradients_are_the_stacked_kernels():
    script = Path(__file__).parent / "interpreted_lstm.py"
    path = os.pathsep.join([str(script.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": path}
    call = [sys.executable, str(script), json.dumps(SHAPES)]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == len(SHAPES)
    for shape, errors in zip(SHAPES, found, strict=True):
        assert len(errors) == 2 + 3 * shape[-1]
        assert max(errors.values()) < TOLERANCE, (shape, errors)


def test_what_goes_through_the_kernels():
    assert not lstm_triton.usable(torch.zeros(1), 64)  # a CPU tensor
    assert [lstm_triton._width(hidden) for hidden in (1, 16, 17, 64)] == [16, 16, 32, 64]


@pytest.mark.skipif(lstm_triton.triton is not None, reason="Triton is installed here")
def test_without_triton_it_says_so():
    with pytest.raises(RuntimeError, match="needs Triton"):
        lstm_triton.recurrence(torch.zeros(1, 2, 3, 16), torch.zeros(1, 16, 4))
