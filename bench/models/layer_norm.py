"""Layer norm with the run dimension: one operation with two kernels, tested against each other."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.models.stacked import parameter, per_run

EPSILON = 1e-5


def _native_norm(a: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    rows = zip(a.unbind(), weight.unbind(), bias.unbind(), strict=True)
    return per_run([functional.layer_norm(x, a.shape[-1:], w, b, EPSILON) for x, w, b in rows])


def _stacked_norm(a: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    normal = functional.layer_norm(a, a.shape[-1:], eps=EPSILON)
    shape = (len(a), *(1,) * (a.ndim - 2), -1)
    return torch.addcmul(bias.view(shape), normal, weight.view(shape))


class LayerNorm(nn.Module):
    """(a - mean) / sqrt(variance + 1e-5) over the width H, times weight, plus bias, both (R, H).

    Source: Ba et al. 2016, arXiv:1607.06450, eq. 4.
    """

    def __init__(self, runs: int, width: int) -> None:
        super().__init__()
        self.weight = parameter(runs, width, bound=0.0, centre=1.0)
        self.bias = parameter(runs, width, bound=0.0)

    def forward(self, a: Tensor) -> Tensor:
        """(R, ..., H) -> (R, ..., H)."""
        norm = _native_norm if a.device.type == "cpu" else _stacked_norm
        return norm(a, self.weight, self.bias)
