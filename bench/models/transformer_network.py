"""A stack of Transformer blocks, whole or one token at a time.

Pre-norm blocks (Vaswani et al. 2017, arXiv:1706.03762; the norm's place: Xiong et al. 2020, arXiv:2002.04745),

    a <- a + Attention(LayerNorm(a)),   a <- a + W_2 gelu(W_1 LayerNorm(a)),   h = LayerNorm(a)

with 4 heads (2 or 1 where 4 does not divide the width H), feed-forward width 2 H, so that a layer has 8 H^2 weights as
an LSTM's layer has, and sinusoidal positions added to the linear embedding of each token: they need no window and keep
the first layer norm away from 0 / 0 at the all-zero baseline of the dependency measures. `model.dropout` acts on what
attention and feed-forward layer add.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import InputError
from bench.models.dropout import Dropout
from bench.models.layer_norm import LayerNorm
from bench.models.stacked import Linear


class Block(nn.Module):
    """Attention and a feed-forward layer, each on the normalised stream and added to it."""

    def __init__(self, runs: int, width: int) -> None:
        super().__init__()
        self.heads = math.gcd(width, 4)
        self.attention_norm = LayerNorm(runs, width)
        self.query_key_value = Linear(runs, width, 3 * width)
        self.mix = Linear(runs, width, width)
        self.feed_forward_norm = LayerNorm(runs, width)
        self.dropout = Dropout()
        self.up = Linear(runs, width, 2 * width)
        self.down = Linear(runs, 2 * width, width)

    def queries_keys_values(self, a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The stream (R, B, T, H) -> three times (R B, heads, T, H / heads)."""
        return self.split(self.attention_norm(a))

    def split(self, normal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The normalised stream (R, B, T, H) -> three times (R B, heads, T, H / heads)."""
        packed = self.query_key_value(normal).flatten(0, 1)
        q, k, v = packed.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        return q, k, v

    def mixed(self, a: Tensor, attended: Tensor) -> Tensor:
        """The stream after the attention, given its result (R B, heads, T, H / heads)."""
        return a + self.dropout(self.mix(attended.transpose(1, 2).reshape(a.shape)))

    def fed(self, a: Tensor, normal: Tensor) -> Tensor:
        """The stream after the feed-forward layer, given the stream and what is normalised of it."""
        return a + self.dropout(self.down(functional.gelu(self.up(normal))))

    def add(self, a: Tensor, attended: Tensor) -> Tensor:
        """The stream after this block, given the attention's result (R B, heads, T, H / heads)."""
        a = self.mixed(a, attended)
        return self.fed(a, self.feed_forward_norm(a))

    def forward(self, a: Tensor, causal: bool) -> Tensor:
        """(R, B, T, H) -> (R, B, T, H); with `causal`, token j sees tokens <= j."""
        q, k, v = self.queries_keys_values(a)
        return self.add(a, functional.scaled_dot_product_attention(q, k, v, is_causal=causal))


class Transformer(nn.Module):
    """u (R, B, T, inputs) -> the normalised stream of every token, (R, B, T, H).

    Raises InputError for a width below 2: a layer norm of one number is a constant.
    """

    def __init__(self, runs: int, inputs: int, hidden: int, layers: int, causal: bool) -> None:
        super().__init__()
        if hidden < 2:
            raise InputError(f"model.hidden = {hidden}: expected a whole number >= 2 for the backbone transformer")
        self.shape = (inputs, hidden, layers, causal)
        self.causal = causal
        self.input = Linear(runs, inputs, hidden)
        self.blocks: Sequence[Block] = nn.ModuleList(  # type: ignore[assignment]
            Block(runs, hidden) for _ in range(layers)
        )
        self.norm = LayerNorm(runs, hidden)

    def positions(self, steps: int) -> Tensor:
        """sin and cos of t / 10000^(2 k / H), t = 0 .. steps - 1, all sines before all cosines: (steps, H).

        Source: Vaswani et al. 2017, sec. 3.5.
        """
        weight = self.norm.weight
        half = (weight.shape[-1] + 1) // 2
        rates = torch.exp(-math.log(1e4) / half * torch.arange(half, device=weight.device))
        angles = torch.arange(steps, device=weight.device)[:, None] * rates
        return torch.cat([angles.sin(), angles.cos()], dim=-1)[:, : weight.shape[-1]].to(weight.dtype)

    def forward(self, u: Tensor) -> Tensor:
        """(R, B, T, inputs) -> (R, B, T, H)."""
        a = self.input(u) + self.positions(u.shape[2])
        for block in self.blocks:
            a = block(a, self.causal)
        return self.norm(a)

    def stepper(self, batch: int, steps: int) -> Callable[[Tensor], Tensor]:
        """One token at a time, with the keys and values of the tokens before; see `CausalNetwork`."""
        weight = self.input.weight
        caches: list[tuple[Tensor, Tensor]] = []
        for block in self.blocks:
            shape = (len(weight) * batch, block.heads, steps, weight.shape[1] // block.heads)
            caches.append((weight.new_empty(shape), weight.new_empty(shape)))
        every_position = self.positions(steps)
        t = 0

        def step(u: Tensor) -> Tensor:
            nonlocal t
            a = self.input(u).unsqueeze(2) + every_position[t]
            for block, (keys, values) in zip(self.blocks, caches, strict=True):
                q, keys[:, :, t : t + 1], values[:, :, t : t + 1] = block.queries_keys_values(a)
                past = slice(t + 1)
                attended = functional.scaled_dot_product_attention(q, keys[:, :, past], values[:, :, past])
                a = block.add(a, attended)
            t += 1
            return self.norm(a).squeeze(2)

        return step

    def alone(self, run: int) -> Transformer:
        """A copy of one run, R = 1, without gradients."""
        copy = Transformer(1, *self.shape).to(self.input.weight)
        copy.load_state_dict({name: value[run : run + 1] for name, value in self.state_dict().items()})
        return copy.requires_grad_(False)
