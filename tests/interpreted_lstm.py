"""Run by test_lstm_triton.py with TRITON_INTERPRET=1: the kernels' largest errors, as JSON, for each shape."""

from __future__ import annotations

import json
import sys

import torch

from bench.models.lstm import LSTM, _fused, _stacked
from bench.models.stacked import Flat, initialise
from bench.randomness import Randomness


def errors(runs: int, batch: int, steps: int, inputs: int, hidden: int, layers: int) -> dict[str, float]:
    """Relative to the largest entry: of h, and of the gradients of the input and of every weight."""
    module = LSTM(runs, inputs, hidden, layers)
    randomness = Randomness([("tests", seed) for seed in range(runs)])
    initialise(module, randomness)
    Flat([module])  # weights as views of one buffer, as in training
    u = randomness.draws("u").normal(batch, steps, inputs).requires_grad_()
    weight = randomness.draws("weight").normal(batch, steps, hidden)
    found = []
    for kernel in (_stacked, _fused):
        h = kernel(u, module.layers)
        gradients = torch.autograd.grad((h * weight).sum(), [u, *module.parameters()])
        with torch.no_grad():
            assert torch.equal(kernel(u, module.layers), h)
        found.append([h.detach(), *gradients])
    names = ["h", "u", *(f"weight {k}" for k in range(3 * layers))]
    return {
        name: float((one - other).abs().max() / one.abs().max().clamp(min=1e-12))
        for name, one, other in zip(names, *found, strict=True)
    }


if __name__ == "__main__":
    print(json.dumps([errors(*shape) for shape in json.loads(sys.argv[1])]))
