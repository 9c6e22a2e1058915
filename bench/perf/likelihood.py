"""Training the default decoder: `mixed` with autoregressive channels on an LSTM, against torch's own modules.

The other side is the same decoder as one would write it first: nn.LSTM, nn.Linear, the masked layer as a product with a
mask, the mixture with logsumexp over all of its parts, torch.optim.Adam; one run after another. Both begin at the same
weights and make the same updates, so that the weights afterwards agree within rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import ModelConfig, Resolution
from bench.loading.cells import measure_cells
from bench.models.cell_heads import RAW_LIMIT, MixedHead
from bench.models.channels import REACH, WIDTH
from bench.models.head import make_head
from bench.models.lstm import LSTMDecoder
from bench.models.stacked import Flat, RowAdam, initialise
from bench.perf.denoiser import PlainDenoiser
from bench.perf.lstm import native_of
from bench.perf.measure import Line, Scale, in_turn
from bench.randomness import Randomness, numpy_generator

LATENT, BATCH, RATE = 16, 64, 2e-3
LEVELS = 0.1  # the grid of the series


def windows_of(n: int, window: int, channels: int) -> tuple[Tensor, Any]:
    """Random walks on a grid that often stay where they are, train-scaled (n, T, C), and their cells."""
    rng = numpy_generator("perf", channels, "walks")
    moves = rng.standard_normal((n, window, channels)) * (rng.random((n, window, channels)) < 0.8)
    raw = np.round(np.cumsum(moves, axis=1) / LEVELS) * LEVELS
    flat = raw.reshape(-1, channels)
    mean, scale = flat.mean(axis=0), flat.std(axis=0)
    cells = measure_cells(flat, [Resolution(LEVELS)] * channels, mean, scale)
    return torch.from_numpy((raw - mean) / scale).float(), cells


class Ours:
    """R runs that train as one."""

    def __init__(self, runs: int, hidden: int, x: Tensor, cells: Any) -> None:
        config = ModelConfig(hidden=hidden, latent=LATENT, likelihood="mixed", channels="autoregressive")
        channels, window = x.shape[-1], x.shape[-2]
        head = make_head(runs, hidden, channels, config)
        assert isinstance(head, MixedHead)
        self.head = head
        self.decoder = LSTMDecoder(runs, channels, LATENT, hidden, 1, window, True, head)
        initialise(self.decoder, Randomness([("perf", seed) for seed in range(runs)]))
        head.fit([x] * runs, [cells] * runs)
        self.single = [PlainDecoder(self, run) for run in range(runs)]
        self.flat = Flat([self.decoder])
        self.optimiser = RowAdam(self.flat, torch.full((runs,), RATE), clip_norm=1.0)

    def train(self, batches: list[tuple[Tensor, Tensor]]) -> None:
        """One update per batch: z (R, B, D), x (R, B, T, C)."""
        for z, x in batches:
            loss = -self.decoder(z, x[:, :, :-1]).log_prob(x).mean(dim=-1) / x[0, 0].numel()
            self.optimiser.step(self.flat.gradient(loss.sum()), loss.isfinite())


class PlainDecoder(nn.Module):
    """One run of `Ours`, out of torch's own modules."""

    def __init__(self, source: Ours, run: int) -> None:
        super().__init__()
        head = source.head.alone(run)
        assert isinstance(head, MixedHead)
        assert head.masked is not None
        self.lstm = native_of(source.decoder.lstm, run)
        self.lstm.bias_hh_l0.requires_grad_(False)  # redundant; trained, it would double the other's learning rate
        self.raw, self.of_state = (PlainDenoiser.copied(part) for part in (head.raw, head.masked.of_state))
        self.of_channels, self.bias, self.output = (
            nn.Parameter(value[0].clone()) for value in (head.masked.of_channels, head.masked.bias, head.masked.output)
        )
        self.head = [head]  # in a list, so that its numbers are no parameters of this network

    def log_prob(self, z: Tensor, x: Tensor) -> Tensor:
        """ln p(x | z, past), (B): z (B, D), x (B, T, C)."""
        (head,) = self.head
        assert head.masked is not None
        before = functional.pad(x[:, :-1], (0, 0, 1, 0))
        nothing = torch.zeros(len(x), x.shape[1], 1)
        h, _ = self.lstm(torch.cat([before, nothing, z[:, None].expand(-1, x.shape[1], -1)], dim=-1))
        offset = [head.logit[0, :, : head.others], head.location[0] / head.scale[0], head.scale[0].log()]
        numbers = self.raw(h).unflatten(-1, (head.channels, -1))
        numbers = numbers + torch.cat([*offset, head.logit[0, :, head.others :]], dim=-1)
        numbers = numbers + self.moves(h, x, before, head.masked.change[0], head.masked.before)
        sizes = [head.others, head.logistics, head.logistics, head.bins]
        logits, locations, log_scales, table = numbers.split(sizes, dim=-1)
        hidden = head.needs_previous & (torch.arange(x.shape[1]) == 0)[:, None, None]
        logits = logits.masked_fill(hidden, -torch.inf)
        return self.mixture(x, before, logits, locations, log_scales, table)

    def moves(self, h: Tensor, x: Tensor, before: Tensor, usual: Tensor, mask: Tensor) -> Tensor:
        """What the channels before add to the numbers of a channel, (B, T, C, numbers)."""
        (head,) = self.head
        known = torch.ones(x.shape[1], 1)
        known[0] = 0
        change = (x - before) * known
        width = head.cells.cell(x[None])[1][0]
        value = [x.clamp(-REACH, REACH), (change / usual).clamp(-REACH, REACH), (change / width).clamp(-1, 1)]
        features = torch.stack(value, dim=-1).flatten(-2)
        hidden = functional.linear(features, self.of_channels * mask).unflatten(-1, (-1, WIDTH))
        hidden = (hidden + self.of_state(h).unsqueeze(-2) + self.bias).relu()
        return torch.einsum("btcw,cwn->btcn", hidden, self.output)

    def mixture(
        self, x: Tensor, before: Tensor, logits: Tensor, locations: Tensor, log_scales: Tensor, table: Tensor
    ) -> Tensor:
        """ln of the sum of all parts, over steps and channels, (B)."""
        (head,) = self.head
        cells, count = head.cells, head.logistics
        scale, least = head.scale[0], head.scale[0].log()
        locations = scale * locations + before.unsqueeze(-1) * head.is_anchored
        log_scales = torch.minimum(torch.maximum(log_scales, least - RAW_LIMIT), least + RAW_LIMIT)
        x = cells.clipped(x[None])[0]
        middle, width = (part[0] for part in cells.cell(x[None]))
        lowest, highest = (end[0].unsqueeze(-1) for end in cells.ends(x[None], width[None]))
        rate = (-log_scales).exp()
        low, wide = ((middle - width / 2).unsqueeze(-1) - locations) * rate, width.unsqueeze(-1) * rate
        inner = torch.log(-torch.expm1(-wide)).masked_fill(lowest | highest, 0)
        upper = functional.logsigmoid(low + wide).masked_fill(highest, 0)
        each = upper + functional.logsigmoid(-low).masked_fill(lowest, 0) + inner
        same = (x - cells.clipped(before[None])[0]).abs() < width / 2
        edges = head.edges[0]
        index = torch.stack(
            [torch.bucketize(x[..., c].contiguous(), edges[c, 1:-1], right=True) for c in range(head.channels)], -1
        )
        bins = edges.diff(dim=-1).gather(-1, index.flatten(0, 1).T).T.unflatten(0, x.shape[:2])
        share = (width.log() - bins.log()).clamp(max=0)
        inside = table.gather(-1, index.unsqueeze(-1)).squeeze(-1) + share
        repeat = logits[..., count].masked_fill(~same, -torch.inf)
        parts = torch.cat([logits[..., :count] + each, repeat.unsqueeze(-1), inside.unsqueeze(-1)], dim=-1)
        total = torch.cat([logits, table], dim=-1).logsumexp(dim=-1)
        return (parts.logsumexp(dim=-1) - total).clamp(max=0).sum(dim=(1, 2))


class Plain:
    """The same runs one after another."""

    def __init__(self, networks: list[PlainDecoder]) -> None:
        self.networks = networks
        self.optimisers = [
            torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=RATE) for network in networks
        ]

    def train(self, batches: list[tuple[Tensor, Tensor]]) -> None:
        """The updates of `Ours.train`."""
        for run, (network, adam) in enumerate(zip(self.networks, self.optimisers, strict=True)):
            for z, x in batches:
                adam.zero_grad()
                loss = -network.log_prob(z[run], x[run]).mean() / x[0, 0].numel()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                adam.step()


def difference(ours: Ours, plain: Plain, z: Tensor, x: Tensor) -> float:
    """The largest difference between both log-probabilities, in nats per value."""
    with torch.no_grad():
        found = ours.decoder(z, x[:, :, :-1]).log_prob(x)
        other = torch.stack([one.log_prob(z[run], x[run]) for run, one in enumerate(plain.networks)])
    return float((found - other).abs().max()) / x[0, 0].numel()


def measure(scale: Scale) -> Iterator[Line]:
    """Updates of one run and of eight."""
    repeats, count = {"tiny": (1, 2), "quick": (3, 5), "full": (7, 20)}[scale]
    cases = [(1, 64, 24, 6), (1, 64, 24, 26), (8, 32, 24, 6), (8, 64, 24, 6), (8, 64, 8, 2)]
    if scale == "tiny":
        cases = [(1, 8, 4, 2), (2, 8, 4, 2)]
    for runs, hidden, window, channels in cases:
        series, cells = windows_of(2000, window, channels)
        ours = Ours(runs, hidden, series, cells)
        plain, draws = Plain(ours.single), Randomness([("perf", seed) for seed in range(runs)]).draws("batches")
        batches = [
            (draws.normal(BATCH, LATENT), series[BATCH * k : BATCH * (k + 1)].expand(runs, -1, -1, -1))
            for k in range(count)
        ]
        ours.train(batches)
        plain.train(batches)
        apart = difference(ours, plain, *batches[0])
        found = in_turn(partial(ours.train, batches), partial(plain.train, batches), repeats, warm=False)
        note = f"per update of one run; after {count} updates {apart:.1g} nats per value apart"
        what = f"R = {runs}, hidden {hidden}, T = {window}, C = {channels}"
        each = runs * count
        yield Line(what, found.ratio, found.ours / each, found.other / each, ">= 2.5" if runs == 8 else ">= 1.3", note)
