"""An LSTM's states and their derivatives along the path of the dependency measures, in one forward sweep."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def _cell(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One LSTM step of a value and its three tangents.

    gates (4, B, 4H): [0] the pre-activations of i, f, g, o, [1:] their tangents; c (4, B, H) alike.
    Returns h and c of the same kind, (4, B, H).

        c' = f c + i g                  dc' = f dc + (c f') dpre_f + (g i') dpre_i + (i g') dpre_g
        h' = o tanh(c')                 dh' = (o' tanh(c')) dpre_o + o (1 - tanh(c')^2) dc'
        with i' = i (1 - i), f' = f (1 - f), o' = o (1 - o), g' = 1 - g^2
    """
    width = c.shape[-1]
    i, f, o = (gates[0, :, k * width : (k + 1) * width].sigmoid() for k in (0, 1, 3))
    g = gates[0, :, 2 * width : 3 * width].tanh()
    di, df, dg, do = gates[1:].chunk(4, dim=-1)
    old = c[0]
    new = torch.empty_like(c)
    torch.addcmul(f * old, i, g, out=new[0])
    torch.mul(c[1:], f, out=new[1:])
    new[1:].addcmul_(df, old * f * (1 - f)).addcmul_(di, g * i * (1 - i)).addcmul_(dg, i * (1 - g * g))
    squashed = new[0].tanh()
    h = torch.empty_like(c)
    torch.mul(o, squashed, out=h[0])
    torch.mul(do, h[0] * (1 - o), out=h[1:])
    h[1:].addcmul_(new[1:], o * (1 - squashed * squashed))
    return h, new


@torch.no_grad()
def lstm_tangent_sweep(
    layers: Sequence[tuple[Tensor, Tensor, Tensor]], s: Tensor, z: Tensor, x_prev: Tensor, every_step: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The states h at the point s (z, x) of the straight line from zero, and three derivatives of them.

        total_t  = sum_j <dh_t/du_j, u_j>     all inputs: d h_t(s z, s x) / ds
        global_t = <dh_t/dz, z>               the latent, all its copies together
        local_t  = <dh_t/dx_{t-1}, x_{t-1}>   the last input only; at t = 1 it is the latent

    x_{t-1} first enters at cell t, where the tangent of the state is zero, so that one sweep gives the local
    derivative for every t. All derivatives are taken at s (z, x); the directions are not scaled by s.

    Shapes: s (B,), z (B, D), x_prev x_1..x_{T-1} (B, T-1, C); each result is (B, T, H), of the top layer.
    layers: weight_ih (4H, in), weight_hh (4H, H), bias (4H,) with gates i, f, g, o. The first layer's input at
    t is [x_{t-1}, z_t], x_0 = 0, z_1 = z, and for t >= 2 z_t = z with `every_step`, else 0.
    Source: the chain rule; the measures are those of Li et al., arXiv:2405.14021.
    """
    weight_ih, _, bias = layers[0]
    channels = x_prev.shape[-1]
    # the input is linear in s, so its product with the weights is made once and scaled
    from_z = z @ weight_ih[:, channels:].T
    from_x = (x_prev.transpose(0, 1) @ weight_ih[:, :channels].T).unbind()
    nothing = torch.zeros_like(from_z)
    scale = s[:, None]
    states = [(z.new_zeros(4, len(z), weight_hh.shape[-1]),) * 2 for _, weight_hh, _ in layers]
    tops = []
    for t in range(1 + len(from_x)):
        of_z = from_z if t == 0 or every_step else nothing
        of_x = from_x[t - 1] if t > 0 else nothing
        gates = z.new_empty(4, *from_z.shape)
        both = torch.add(of_x, of_z, out=gates[1])
        torch.addcmul(bias, scale, both, out=gates[0])
        gates[2], gates[3] = of_z, of_x if t > 0 else of_z
        for layer, (weight_ih, weight_hh, bias_of_layer) in enumerate(layers):
            h, c = states[layer]
            if layer > 0:
                gates = states[layer - 1][0] @ weight_ih.T  # of this t already
                gates[0] += bias_of_layer
            gates[:3].flatten(0, 1).addmm_(h[:3].flatten(0, 1), weight_hh.T)  # a view: no temporary
            c[3] = 0  # the local tangent has no past
            states[layer] = _cell(gates, c)
        tops.append(states[-1][0])
    value, total, global_, local = torch.stack(tops, dim=2).unbind()
    return value, total, global_, local
