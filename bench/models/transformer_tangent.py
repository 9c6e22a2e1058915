"""A Transformer's states and their derivatives along the path of the dependency measures, in one forward pass.

Everywhere the stream is a (B, 4, T, H): [:, 0] the value, [:, 1:] its tangents total, global and local.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bench.models.autoregression import decoder_inputs
from bench.models.layer_norm import EPSILON, LayerNorm
from bench.models.stacked import Linear
from bench.models.transformer_network import Block, Transformer


def _linear(layer: Linear, a: Tensor) -> Tensor:
    """W a + b; the tangents without b."""
    a = a @ layer.weight[0].mT
    a[:, 0] += layer.bias[0]
    return a


def _layer_norm(norm: LayerNorm, a: Tensor) -> Tensor:
    """y = (a - mean a) / sigma,  dy = (da - mean da - y mean(y da)) / sigma, then weight and bias."""
    a = a - a.mean(dim=-1, keepdim=True)
    sigma = (a[:, :1].square().mean(dim=-1, keepdim=True) + EPSILON).sqrt()
    a /= sigma
    y = a[:, :1]
    a[:, 1:] -= y * (y * a[:, 1:]).mean(dim=-1, keepdim=True)
    a *= norm.weight[0]
    a[:, 0] += norm.bias[0]
    return a


def _gelu(a: Tensor) -> Tensor:
    """x Phi(x), with slope Phi(x) + x phi(x)."""
    x = a[:, :1]
    below = torch.special.ndtr(x)
    a[:, 1:] *= below + x * (-0.5 * x.square()).exp() / math.sqrt(2 * math.pi)
    a[:, :1] *= below
    return a


def _attention(block: Block, a: Tensor) -> Tensor:
    """o_i = sum_j p_ij v_j with p_i = softmax_j(q_i k_j), j <= i, and its tangents.

        do_i = sum_j p_ij (ds_ij - r_i) v_j + p_ij dv_j,   ds_ij = dq_i k_j + q_i dk_j,   r_i = sum_j p_ij ds_ij

    A token's local tangent is that of its own input alone, and by causality no earlier token has one: for it dk_j and
    dv_j are zero at j < i, in every layer.
    """
    heads = block.heads
    packed = _linear(block.query_key_value, a).unflatten(-1, (3, heads, -1))
    q, k, v = packed.permute(3, 0, 4, 1, 2, 5).unbind()  # (B, heads, 4, T, H / heads)
    q = q / math.sqrt(q.shape[-1])
    value = slice(0, 1)
    moving = slice(1, 3)  # the tangents, total and global, that earlier tokens have as well

    s = (q.flatten(2, 3) @ k[:, :, 0].mT).unflatten(2, (4, -1))  # (B, heads, 4, T, T)
    s[:, :, moving] += q[:, :, value] @ k[:, :, moving].mT
    s[:, :, 3].diagonal(dim1=-2, dim2=-1).add_((q[:, :, 0] * k[:, :, 3]).sum(dim=-1))
    hidden = torch.ones(s.shape[-2:], dtype=torch.bool, device=s.device).triu(1)
    p = s[:, :, value].masked_fill(hidden, -torch.inf).softmax(dim=-1)
    s[:, :, 1:] *= p
    s[:, :, value] = p

    o = (s.flatten(2, 3) @ v[:, :, 0]).unflatten(2, (4, -1))
    o[:, :, 1:] -= s[:, :, 1:].sum(dim=-1, keepdim=True) * o[:, :, value]
    o[:, :, moving] += p @ v[:, :, moving]
    o[:, :, 3] += p[:, :, 0].diagonal(dim1=-2, dim2=-1).unsqueeze(-1) * v[:, :, 3]
    return o.permute(0, 2, 3, 1, 4).flatten(-2)


@torch.no_grad()
def transformer_tangent_sweep(
    network: Transformer, z: Tensor, x_prev: Tensor, every_step: bool, latent_steps: int = 1
) -> Callable[[Tensor, Tensor], tuple[Tensor, ...]]:
    """sweep(s, row): the states h at the points s (z, x) of straight lines from zero, and three derivatives of them.

        total_t  = sum_j <dh_t/du_j, u_j>     all inputs: d h_t(s z, s x) / ds
        global_t = <dh_t/dz, z>               the latent, all its copies together
        local_t  = <dh_t/dx_{t-1}, x_{t-1}>   the last input only; at t = 1 it is the latent

    All derivatives are taken at s (z, x); the directions are not scaled by s.

    Shapes: network with R = 1; z (B, D), x_prev x_1..x_{T-1} (B, T-1, C); s (n,) and row (n,), the series each point
    belongs to; each result is (n, T, H).
    Source: the chain rule; the measures are those of Li et al., arXiv:2405.14021.
    """
    # the embedding is linear in s, so it is made once per series and scaled
    of_z = decoder_inputs(z, torch.zeros_like(x_prev), every_step, latent_steps)
    of_x = decoder_inputs(torch.zeros_like(z), x_prev, every_step, latent_steps)
    last = torch.cat([of_z[:, :1], of_x[:, 1:]], dim=1)
    weight, bias = network.input.weight[0], network.input.bias[0]
    directions = torch.stack([of_z + of_x, of_z, last], dim=1) @ weight.mT  # (B, 3, T, H)
    baseline = bias + network.positions(1 + x_prev.shape[1])

    @torch.no_grad()
    def sweep(s: Tensor, row: Tensor) -> tuple[Tensor, ...]:
        tangents = directions[row]
        a = torch.cat([torch.addcmul(baseline, s[:, None, None], tangents[:, 0])[:, None], tangents], dim=1)
        for block in network.blocks:
            a = a + _linear(block.mix, _attention(block, _layer_norm(block.attention_norm, a)))
            a = a + _linear(block.down, _gelu(_linear(block.up, _layer_norm(block.feed_forward_norm, a))))
        return _layer_norm(network.norm, a).unbind(dim=1)

    return sweep
