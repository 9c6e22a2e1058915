"""An LSTM's states and their derivatives along the path of the dependency measures, in one forward sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

GATES = 4  # i, f, g, o


def _by_gate(weight: Tensor) -> Tensor:
    """(4H, in) -> (4, in, H), the part of g doubled; see `_Cell`."""
    parts = weight.unflatten(0, (GATES, -1)).mT.clone(memory_format=torch.contiguous_format)
    parts[2] *= 2
    return parts


class _Cell:
    """One layer's step of n values and their three tangents, in memory that is used again at every step.

        c' = f c + i g                  dc' = f dc + (c f') dpre_f + (g i') dpre_i + (i g') dpre_g
        h' = o tanh(c')                 dh' = (o' tanh(c')) dpre_o + o (1 - tanh(c')^2) dc'
        with i' = i (1 - i), f' = f (1 - f), o' = o (1 - o), g' = 1 - g^2

    gates (4, 4, n, H): gate, then the pre-activation and its tangents total, global and local. A block of it is
    contiguous, so an operation is one run through memory. The pre-activation of g and its tangents are doubled, and so
    is c: tanh(a) = 2 sigmoid(2 a) - 1, and torch's sigmoid is three times as fast as its tanh.
    """

    def __init__(self, like: Tensor, n: int, width: int) -> None:
        self.gates = like.new_empty(GATES, 4, n, width)
        self._pre, self._tangents = self.gates[:, 0], self.gates[:, 1:].unbind()
        self._recurrent = self.gates[:, :3].view(GATES, 3 * n, width)
        self._act, self._slope = like.new_empty(GATES, n, width), like.new_empty(GATES, n, width)
        self._acts, self._slopes = self._act.unbind(), self._slope.unbind()
        self._c, self._dc = like.new_zeros(n, width), like.new_zeros(3, n, width)
        self._no_past = self._dc[2]
        self._squashed, self._through = torch.empty_like(self._c), torch.empty_like(self._c)

    def recur(self, h: Tensor, weight: Tensor) -> None:
        """Add weight (4, H, H) times h (4, n, H); the local tangent has no past."""
        self._recurrent.baddbmm_(h[:3].flatten(0, 1).expand(GATES, -1, -1), weight)

    def step(self, h: Tensor) -> None:
        """Write h' (4, n, H) from the gates."""
        value, tangents = h[0], h[1:]
        (i, f, g, o), (by_i, by_f, by_g, by_o) = self._acts, self._slopes
        squashed = self._squashed
        d_i, d_f, d_g, d_o = self._tangents
        torch.sigmoid(self._pre, out=self._act)
        torch.addcmul(self._act, self._act, self._act, value=-1, out=self._slope)
        g.mul_(4).sub_(2)  # 2 tanh
        by_i.mul_(g)
        by_f.mul_(self._c)
        by_g.mul_(i)
        self._c.mul_(f).addcmul_(i, g)
        torch.sigmoid(self._c, out=squashed).mul_(2).sub_(1)  # tanh(c')
        torch.mul(o, squashed, out=value)
        torch.addcmul(o, value, squashed, value=-1, out=self._through)
        by_o.mul_(squashed)
        self._no_past.zero_()
        self._dc.mul_(f).addcmul_(d_i, by_i).addcmul_(d_f, by_f).addcmul_(d_g, by_g, value=4)
        torch.mul(d_o, by_o, out=tangents).addcmul_(self._dc, self._through, value=0.5)


@torch.no_grad()
def lstm_tangent_sweep(
    layers: Sequence[tuple[Tensor, Tensor, Tensor]], z: Tensor, x_prev: Tensor, every_step: bool, latent_steps: int = 1
) -> Callable[[Tensor, Tensor], tuple[Tensor, ...]]:
    """sweep(s, row): the states h at the points s (z, x) of straight lines from zero, and three derivatives of them.

        total_t  = sum_j <dh_t/du_j, u_j>     all inputs: d h_t(s z, s x) / ds
        global_t = <dh_t/dz, z>               the latent, all its copies together
        local_t  = <dh_t/dx_{t-1}, x_{t-1}>   the last input only; at t = 1 it is the latent

    x_{t-1} first enters at cell t, where the tangent of the state is zero, so that one sweep gives the local
    derivative for every t. All derivatives are taken at s (z, x); the directions are not scaled by s.

    Shapes: z (B, D), x_prev x_1..x_{T-1} (B, T-1, C); s (n,) and row (n,), the series each point belongs to; each
    result is (n, T, H), of the top layer.
    layers: weight_ih (4H, in), weight_hh (4H, H), bias (4H,) with gates i, f, g, o. The first layer's input at
    t is [x_{t-1}, 0, z_t] (nothing is hidden), x_0 = 0, and z_t as in `bench.models.autoregression.latent_inputs`.
    Source: the chain rule; the measures are those of Li et al., arXiv:2405.14021.
    """
    channels, steps = x_prev.shape[-1], 1 + x_prev.shape[1]
    weights = [(_by_gate(ih), _by_gate(hh), _by_gate(bias[:, None])) for ih, hh, bias in layers]
    width = layers[0][1].shape[-1]
    # the input is linear in s, so its product with the weights is made once per series and scaled
    blocks = z.unflatten(-1, (latent_steps, -1)).unbind(dim=-2)
    from_z = [block @ weights[0][0][:, channels + 1 :] for block in blocks]  # T' times (4, B, H)
    from_x = (x_prev.transpose(0, 1)[:, None] @ weights[0][0][:, :channels]).unbind()  # T - 1 times (4, B, H)

    @torch.no_grad()
    def sweep(s: Tensor, row: Tensor) -> tuple[Tensor, ...]:
        n, scale = len(s), s[:, None]
        cells = [_Cell(z, n, width) for _ in layers]
        value, total, global_, local = cells[0].gates.unbind(dim=1)
        tops = z.new_empty(steps, 4, n, width)
        h = [z.new_zeros(4, n, width) for _ in layers]
        of_blocks, nothing = [block.index_select(1, row) for block in from_z], z.new_zeros(())
        for t in range(steps):
            of_z = of_blocks[t * latent_steps // steps]
            last = of_z if t == 0 else from_x[t - 1].index_select(1, row)
            local.copy_(last)
            if t > 0 and (every_step or latent_steps > 1):
                global_.copy_(of_z)
                torch.add(last, of_z, out=total)
            else:
                global_.copy_(of_z if t == 0 else nothing)
                total.copy_(last)
            torch.addcmul(weights[0][2], scale, total, out=value)
            for layer, (cell, (weight_ih, weight_hh, bias)) in enumerate(zip(cells, weights, strict=True)):
                if layer > 0:
                    below = h[layer - 1].flatten(0, 1).expand(GATES, -1, -1)
                    torch.bmm(below, weight_ih, out=cell.gates.view(GATES, 4 * n, width))
                    cell.gates[:, 0] += bias
                if t > 0:
                    cell.recur(h[layer], weight_hh)
                if cell is cells[-1]:
                    h[layer] = tops[t]
                cell.step(h[layer])
        return tops.permute(1, 2, 0, 3).unbind()

    return sweep
