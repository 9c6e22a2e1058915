"""A residual MLP with its backward pass written out, in place of some thirty nodes of autograd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from bench.models.stacked import linear, per_run


def residual_mlp(z: Tensor, embedded: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """h_0 = W_0 z + b_0,  h_k = h_{k-1} + W_k silu(h_{k-1} + e_k) + b_k for k = 1..K,  y = W silu(h_K) + b.

    Shapes: z (R, B, D), embedded = [e_1, .., e_K] (R, B, K H) or (R, 1, K H), layers K + 2 pairs of weight
    (R, out, in) and bias (R, out); y (R, B, out). Under autocast the products are rounded, forward and backward.
    """
    result: Tensor = _ResidualMLP.apply(z, embedded, *(part for layer in layers for part in layer))
    return result


def _of_weight(gradient: Tensor, x: Tensor) -> Tensor:
    """sum_b g_b x_b^T of every run: (R, B, out), (R, B, in) -> (R, out, in)."""
    if x.device.type == "cpu":
        return per_run([(g.mT @ part).to(x.dtype) for g, part in zip(gradient.unbind(), x.unbind(), strict=True)])
    return (gradient.mT @ x).to(x.dtype)


class _ResidualMLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, embedded: Tensor, *flat: Tensor) -> Tensor:
        weights, biases = flat[::2], flat[1::2]
        ctx.rounded = torch.is_autocast_enabled(z.device.type)
        opened, passed = [], []  # sigmoid(a) and silu(a) = a sigmoid(a) of every a
        h = linear(z, weights[0], biases[0])
        for weight, bias, step in zip(
            weights[1:-1], biases[1:-1], embedded.chunk(len(weights) - 2, dim=-1), strict=True
        ):
            a = h + step
            opened.append(a.sigmoid())
            passed.append(a.mul_(opened[-1]))
            h = linear(a, weight, bias).add_(h)
        opened.append(h.sigmoid())
        passed.append(h.mul_(opened[-1]))
        ctx.save_for_backward(z, embedded, *weights, *opened, *passed)
        return linear(h, weights[-1], biases[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """silu'(a) = s + silu(a) (1 - s) with s = sigmoid(a)."""
        z, embedded, *saved = ctx.saved_tensors
        blocks = (len(saved) - 4) // 3  # blocks + 2 weights, twice blocks + 1 values
        weights, opened, passed = saved[: blocks + 2], saved[blocks + 2 : 2 * blocks + 3], saved[2 * blocks + 3 :]
        found: list[Tensor] = []  # from the last layer to the first: bias, weight

        def through(g: Tensor, k: int) -> Tensor:
            """The gradient of layer k's parameters from g, that of its output; returns that of its a."""
            found.extend([g.sum(dim=-2), _of_weight(g, passed[k - 1])])
            s, y = opened[k - 1], passed[k - 1]
            slope = torch.addcmul(y, y, s, value=-1).add_(s)
            return linear(g, weights[k].mT).mul_(slope)

        kind = z.device.type
        steps = []
        with torch.autocast(kind, torch.bfloat16, enabled=ctx.rounded):
            h = through(gradient, blocks + 1)
            for k in range(blocks, 0, -1):
                steps.append(through(h, k))
                h = h + steps[-1]
            found.extend([h.sum(dim=-2), _of_weight(h, z)])
            of_z = linear(h, weights[0].mT) if ctx.needs_input_grad[0] else None
        of_step = torch.cat(steps[::-1], dim=-1).sum_to_size(embedded.shape) if ctx.needs_input_grad[1] else None
        return of_z, of_step, *found[::-1]
