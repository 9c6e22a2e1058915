"""Transformers over the steps of a noisy series; one whose output is a trend, a seasonality and a residual."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.models.denoiser import Denoiser
from bench.models.stacked import Linear, linear, parameter
from bench.models.transformer_network import Block
from bench.parts.bases import polynomials, waves
from bench.parts.diffusion import Predicts


class StepBlock(nn.Module):
    """A `Block` without a mask, whose two norms are scaled and shifted by the embedded diffusion step.

    Source: Peebles and Xie 2023, arXiv:2212.09748, sec. 3.2 (adaptive layer norm), without its gates.
    """

    def __init__(self, runs: int, width: int) -> None:
        super().__init__()
        self.block = Block(runs, width)

    def forward(self, a: Tensor, step: Tensor) -> Tensor:
        """a (R, B, T, H), step (R, B or 1, 4 H) -> (R, B, T, H)."""
        scale, shift, fed_scale, fed_shift = step.unsqueeze(-2).chunk(4, dim=-1)
        q, k, v = self.block.split((1 + scale) * self.block.attention_norm(a) + shift)
        a = self.block.mixed(a, functional.scaled_dot_product_attention(q, k, v))
        return self.block.fed(a, (1 + fed_scale) * self.block.feed_forward_norm(a) + fed_shift)


class Synthesis(nn.Module):
    """What a block's stream says about trend and seasonality, each (R, B, T, C).

        trend        polynomials of degree 3: the least-squares coefficients of each hidden unit, mapped to channels
        seasonality  the Fourier coefficients of each hidden unit at its K strongest frequencies, mapped to channels

    K = max(1, floor(ln(T // 2))), and the frequencies are k / T, k = 1 .. T // 2.
    Source: Yuan and Qiao 2024, arXiv:2403.01742, eq. 2 (trend) and eq. 3 to 5 (seasonality).
    """

    degree = 3

    def __init__(self, runs: int, width: int, window: int, channels: int) -> None:
        super().__init__()
        self.frequencies = window // 2
        self.strongest = min(self.frequencies, max(1, int(math.log(max(self.frequencies, 1)))))
        self.trend = Linear(runs, width, channels)
        self.season = parameter(runs, channels, width, bound=1 / math.sqrt(width))  # no bias: silence has no season
        self.powers: Tensor
        self.register_buffer("powers", polynomials(window, self.degree).float(), persistent=False)
        self.waves: Tensor
        self.register_buffer("waves", waves(window).float(), persistent=False)

    def forward(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """The stream (R, B, T, H) -> trend and seasonality."""
        trend = self.powers @ self.trend(self.powers.mT @ a)
        return trend, self.waves.mT @ linear(self.dominant(self.waves @ a), self.season)

    def dominant(self, coefficients: Tensor) -> Tensor:
        """Coefficients of `waves` (R, B, 2 (T // 2), H) with 0 beside each unit's strongest frequencies."""
        power = coefficients.unflatten(-2, (2, self.frequencies)).square().sum(dim=-3)
        least = power.topk(self.strongest, dim=-2).values[..., -1:, :]
        return coefficients * (power >= least).repeat(1, 1, 2, 1)


class TokenTransformer(Denoiser):
    """R((1 + gain_i) a_last) of a Transformer over T tokens of C numbers, which knows the diffusion step.

        a_0 = W x^i + places,   a_d = StepBlock_d(a_{d-1}, i)

    x (R, B, T * C), i (R, B) in 1..L -> (R, B, T * C), so a "latent" here is a flattened series. 6 blocks of width
    `hidden` / 2. The stream that R reads is not normalised, so that the output can be any multiple of x^i. What it is,
    `predicts` says; a call gives the noise, as of every denoiser, and `estimate` gives the output itself.
    """

    layers = 6
    per_block = 4

    def __init__(
        self, runs: int, window: int, channels: int, hidden: int, diffusion_steps: int, predicts: Predicts = "noise"
    ) -> None:
        width = max(hidden // 2, 2)  # a layer norm of one number is a constant
        super().__init__(runs, channels, width, diffusion_steps, self.layers, predicts)
        self.latent, self.window, self.channels = window * channels, window, channels
        self.places = parameter(runs, window, width, bound=0.02, decays=False)
        self.gain = Linear(runs, 2 * self.frequencies, width)

    def add_blocks(self, runs: int, hidden: int) -> None:
        """`StepBlock`s."""
        self.transformer = nn.ModuleList(StepBlock(runs, hidden) for _ in range(self.layers))

    def embed(self, i: Tensor) -> Tensor:
        """What the network takes from step i, and what makes noise of its output: (R, B) -> (R, B, ...)."""
        said = self.said(i)
        return said if self.predicts == "noise" else torch.cat([said, self.to_noise[i]], dim=-1)

    def said(self, i: Tensor) -> Tensor:
        """What the blocks take from step i, and the gains: (R, B) -> (R, B, ...)."""
        seen = self.waves[i]
        return torch.cat([self.step(seen), self.gain(seen)], dim=-1)

    def estimate(self, x: Tensor, i: Tensor) -> Tensor:
        """The output: x (R, B, T * C), i (R, B) -> (R, B, T * C)."""
        return self.network(x, self.said(i))

    def network(self, z: Tensor, embedded: Tensor) -> Tensor:
        """The output, given `said` of the step."""
        return self.residual(self.streams(z, embedded)[-1], embedded).flatten(-2)

    def streams(self, x: Tensor, said: Tensor) -> list[Tensor]:
        """a_1 .. a_last, each (R, B, T, H)."""
        a = self.input(x.unflatten(-1, (self.window, self.channels))) + self.places.unsqueeze(1)
        steps = said[..., : -self.places.shape[-1]].chunk(self.layers, dim=-1)
        found = []
        for block, step in zip(self.transformer, steps, strict=True):
            a = block(a, step)
            found.append(a)
        return found

    def residual(self, a: Tensor, said: Tensor) -> Tensor:
        """R((1 + gain_i) a), (R, B, T, C)."""
        gain = said[..., -self.places.shape[-1] :]
        return self.output((1 + gain).unsqueeze(-2) * a)


class SeriesTransformer(TokenTransformer):
    """x_hat(x^i, i) for a whole series: trend and seasonality of every block's stream, and a last residual.

        x_hat = sum_d (trend_d(a_d) + seasonality_d(a_d)) + R((1 + gain_i) a_last)

    See `Synthesis`. A step of the series is a token, and `estimate` gives x_hat.
    """

    def __init__(self, runs: int, window: int, channels: int, hidden: int, diffusion_steps: int) -> None:
        super().__init__(runs, window, channels, hidden, diffusion_steps, "x0")
        width = self.places.shape[-1]
        self.synthesis = nn.ModuleList(Synthesis(runs, width, window, channels) for _ in range(self.layers))

    def network(self, z: Tensor, embedded: Tensor) -> Tensor:
        """The sum of the parts, flattened."""
        trend, season, residual = self.parts(z, embedded)
        return (trend + season + residual).flatten(-2)

    def parts(self, x: Tensor, said: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Trend, seasonality and residual of x_hat, each (R, B, T, C), given `said` of the step."""
        streams = self.streams(x, said)
        found = [synthesis(a) for synthesis, a in zip(self.synthesis, streams, strict=True)]
        trend, season = (torch.stack(of).sum(dim=0) for of in zip(*found, strict=True))
        return trend, season, self.residual(streams[-1], said)


class SeriesVelocity(SeriesTransformer):
    """The same network for a straight path x^i = (1 - s) x + s eps, s = i / L: `estimate` is v = x - eps.

    A call gives the noise, eps = x^i - (1 - s) v.
    """

    def __init__(self, runs: int, window: int, channels: int, hidden: int, diffusion_steps: int) -> None:
        super().__init__(runs, window, channels, hidden, diffusion_steps)
        kept = 1 - torch.arange(diffusion_steps + 1) / diffusion_steps
        self.to_noise = torch.stack([-kept, torch.ones_like(kept)], dim=-1)
