"""The Transformer backbone: an encoder that sees the whole series, and a causal decoder.

The network itself stands in `bench.models.transformer_network`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.models.autoregression import AutoregressiveDecoder, decoder_inputs
from bench.models.backbone import Backbone
from bench.models.head import Head
from bench.models.stacked import Linear
from bench.models.transformer_network import Transformer
from bench.models.transformer_tangent import transformer_tangent_sweep
from bench.registry import register_backbone

ROWS_AT_ONCE = 2048  # series times tokens that the measures push through together: the activations stay in the cache


class TransformerEncoder(nn.Module):
    """x (R, B, T, C) -> a linear map of the mean over tokens that all see the whole series, (R, B, outputs).

    Pre-norm, 4 heads, feed-forward width 2 H, gelu, sinusoidal positions; the decoder alike, but causal. With T' > 1
    latent steps the mean is over the T / T' tokens of each block.
    """

    def __init__(self, runs: int, channels: int, hidden: int, layers: int, outputs: int, latent_steps: int = 1) -> None:
        super().__init__()
        self.latent_steps = latent_steps
        self.transformer = Transformer(runs, channels, hidden, layers, causal=False)
        self.output = Linear(runs, hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(R, B, T, C) -> (R, B, T' outputs)."""
        h = self.transformer(x)
        if self.latent_steps == 1:
            return self.output(h.mean(dim=-2))
        return self.output(h.unflatten(2, (self.latent_steps, -1)).mean(dim=-2)).flatten(-2)


class TransformerDecoder(AutoregressiveDecoder):
    """The state h_t is the output of the last layer norm at token t - 1 of [z, x_1, .., x_{T-1}], token 0 being z.

    Token j embeds [x_j, hidden_j, z_{j+1}] linearly, with x_0 = 0 and z_t as in `latent_inputs` of
    `bench.models.autoregression`; hidden_j is 1 where step j is hidden in training, and else 0.
    """

    def __init__(
        self,
        runs: int,
        channels: int,
        latent: int,
        hidden: int,
        layers: int,
        window: int,
        every_step: bool,
        head: Head,
        latent_steps: int = 1,
    ) -> None:
        super().__init__(window, every_step, latent_steps)
        self.transformer = Transformer(runs, channels + 1 + latent, hidden, layers, causal=True)
        self.head = head

    @property
    def network(self) -> Transformer:
        """The causal Transformer."""
        return self.transformer

    def single(self, run: int) -> SingleTransformerDecoder:
        """The decoder of one run as a plain function of z (B, D) and x_prev (B, T-1, C)."""
        return SingleTransformerDecoder(self.transformer.alone(run), self.every_step, self.latent_steps)


@register_backbone("transformer")
class TransformerBackbone(Backbone):
    """A Transformer that sees the whole series reads it, and a causal one writes it.

        a <- a + Attention(LayerNorm(a)),   a <- a + W_2 gelu(W_1 LayerNorm(a)),   h = LayerNorm(a)

    Pre-norm, 4 heads, feed-forward width 2 H, gelu, sinusoidal positions; `model.dropout` acts on what a block adds.
    Shapes: x (R, B, T, C), z (R, B, D), h (R, B, T, H).
    Source: Vaswani et al. 2017, arXiv:1706.03762; the norm's place: Xiong et al. 2020, arXiv:2002.04745.
    """

    encoder = TransformerEncoder
    decoder = TransformerDecoder


class SingleTransformerDecoder:
    """One run's h = f_dec(z, x_prev), with exact tangents for the dependency measures."""

    def __init__(self, transformer: Transformer, every_step: bool, latent_steps: int = 1) -> None:
        self.transformer, self.every_step, self.latent_steps = transformer, every_step, latent_steps

    def __call__(self, z: Tensor, x_prev: Tensor) -> Tensor:
        """z (B, D), x_prev (B, T-1, C) -> h (B, T, H); differentiable in forward mode too."""
        rows = max(1, ROWS_AT_ONCE // (1 + x_prev.shape[1]))
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no forward mode
            parts = [
                self.transformer(decoder_inputs(some_z, some_x, self.every_step, self.latent_steps)[None])[0]
                for some_z, some_x in zip(z.split(rows), x_prev.split(rows), strict=True)
            ]
        return torch.cat(parts)

    def tangent_sweep(self, z: Tensor, x_prev: Tensor) -> Callable[[Tensor, Tensor], tuple[Tensor, ...]]:
        """h and its three tangents at points of the paths to z and x_prev; see `transformer_tangent_sweep`."""
        whole = transformer_tangent_sweep(self.transformer, z, x_prev, self.every_step, self.latent_steps)
        rows = max(1, ROWS_AT_ONCE // (1 + x_prev.shape[1]))

        def sweep(s: Tensor, row: Tensor) -> tuple[Tensor, ...]:
            parts = [whole(*some) for some in zip(s.split(rows), row.split(rows), strict=True)]
            return tuple(torch.cat(of) for of in zip(*parts, strict=True))

        return sweep
