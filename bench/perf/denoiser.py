"""Denoiser training against torch modules with torch.optim.Adam: the same network, losses and updates.

And what larger denoisers cost: the options of `diffusion`, against the default network.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import DiffusionConfig
from bench.models.denoiser import Denoiser, make_denoiser
from bench.models.stacked import Flat, RowAdam, initialise
from bench.parts.diffusion import linear_schedule, loss_weights
from bench.perf.measure import Line, Scale, in_turn
from bench.randomness import Randomness

LATENT, BATCH, STEPS = 16, 256, 1000


class PlainDenoiser(nn.Module):
    """`bench.models.denoiser.Denoiser` of one run, out of torch's own modules."""

    def __init__(self, source: Denoiser) -> None:
        super().__init__()
        self.embed_step = source.diffusion_steps
        self.input, self.step, self.output = (self.copied(part) for part in (source.input, source.step, source.output))
        self.hidden = nn.ModuleList(self.copied(part) for part in source.hidden)

    @staticmethod
    def copied(source: nn.Module) -> nn.Linear:
        """One run's linear layer as torch's own."""
        weight, bias = (value.detach()[0].clone() for value in source.parameters())
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
        return layer

    def forward(self, z: Tensor, i: Tensor) -> Tensor:
        """z (B, D), i (B,) -> (B, D)."""
        powers = torch.arange(Denoiser.frequencies) / Denoiser.frequencies
        angles = (1000 / self.embed_step) * i[:, None] * torch.exp(-torch.log(torch.tensor(1e4)) * powers)
        steps = self.step(torch.cat([angles.sin(), angles.cos()], dim=-1)).chunk(len(self.hidden), dim=-1)
        h = self.input(z)
        for layer, step in zip(self.hidden, steps, strict=True):
            h = h + layer(functional.silu(h + step))
        return self.output(functional.silu(h))


class Ours:
    """R runs that train as one."""

    def __init__(self, runs: int, hidden: int) -> None:
        self.network = Denoiser(runs, LATENT, hidden, STEPS)
        initialise(self.network, Randomness([("perf", seed) for seed in range(runs)]))
        self.single = [self._alone(run, hidden) for run in range(runs)]
        self.flat = Flat([self.network])
        self.optimiser = RowAdam(self.flat, torch.full((runs,), 1e-3), clip_norm=1.0)
        self.active = torch.ones(runs, dtype=torch.bool)

    def _alone(self, run: int, hidden: int) -> PlainDenoiser:
        one = Denoiser(1, LATENT, hidden, STEPS)
        one.load_state_dict({name: value[run : run + 1] for name, value in self.network.state_dict().items()})
        return PlainDenoiser(one)

    def train(self, batches: list[tuple[Tensor, Tensor, Tensor]]) -> None:
        """One update per batch: z^i, i, noise, each (R, B, ...)."""
        for z, i, noise in batches:
            loss = (noise - self.network(z, i)).square().sum(dim=-1).mean(dim=-1) / LATENT
            self.optimiser.step(self.flat.gradient(loss.sum()), self.active & loss.isfinite())


class Plain:
    """The same runs one after another."""

    def __init__(self, networks: list[PlainDenoiser]) -> None:
        self.networks = copy.deepcopy(networks)
        self.optimisers = [torch.optim.Adam(network.parameters(), lr=1e-3) for network in self.networks]

    def train(self, batches: list[tuple[Tensor, Tensor, Tensor]]) -> None:
        """The updates of `Ours.train`."""
        for run, (network, adam) in enumerate(zip(self.networks, self.optimisers, strict=True)):
            for z, i, noise in batches:
                adam.zero_grad()
                loss = (noise[run] - network(z[run], i[run])).square().sum(dim=-1).mean() / LATENT
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                adam.step()


def batches_of(runs: int, count: int, batch: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Noised latents, their steps and their noise."""
    draws, alpha_bar = Randomness([("perf", seed) for seed in range(runs)]).draws("batches"), linear_schedule(STEPS)
    found = []
    for _ in range(count):
        z, i, noise = draws.normal(batch, LATENT), draws.steps(1, STEPS, batch), draws.normal(batch, LATENT)
        kept = alpha_bar[i].unsqueeze(-1)
        found.append((kept.sqrt() * z + (1 - kept).sqrt() * noise, i, noise))
    return found


def difference(ours: Ours, plain: Plain) -> float:
    """The largest difference between the weights of the two."""
    worst = 0.0
    for run, network in enumerate(plain.networks):
        theirs = dict(network.named_parameters())
        for name, value in ours.network.named_parameters():
            worst = max(worst, float((value[run] - theirs[name]).detach().abs().max()))
    return worst


class Options:
    """Updates of one run's denoiser as its stage makes them, with some options of `diffusion`."""

    def __init__(self, **options: Any) -> None:
        self.config = DiffusionConfig(**options)
        self.network = make_denoiser(1, LATENT, self.config)
        initialise(self.network, Randomness([("perf", 0)]))
        self.flat = Flat([self.network])
        rate = torch.tensor([self.config.learning_rate])
        self.optimiser = RowAdam(self.flat, rate, 1.0, self.config.weight_decay, self.config.ema)
        self.weights = loss_weights(self.config.predicts, self.config.weighting, linear_schedule(STEPS))

    def train(self, batches: list[tuple[Tensor, Tensor, Tensor]]) -> None:
        """One update per batch: z^i, i, noise, each (1, B, ...)."""
        for z, i, noise in batches:
            error = (noise - self.network(z, i)).square().sum(dim=-1) * self.weights[i]
            loss = error.mean(dim=-1) / LATENT
            self.optimiser.step(self.flat.gradient(loss.sum()), loss.isfinite())


def larger(scale: Scale) -> Iterator[Line]:
    """Updates with other options than the default ones."""
    repeats, count, widths = (1, 2, (8, 8)) if scale == "tiny" else (5, 30, (128, 256))
    film: dict[str, Any] = {"block": "film", "predicts": "v", "weighting": "min_snr", "ema": 0.999}
    cases: dict[str, dict[str, Any]] = {
        "averaged weights": {"hidden": widths[0], "ema": 0.999},
        f"film {widths[0]} x 3, v, min_snr, averages": {"hidden": widths[0], **film},
        f"film {widths[1]} x 4, v, min_snr, averages": {"hidden": widths[1], "blocks": 4, **film},
    }
    batches = batches_of(1, count, BATCH)
    for what, options in cases.items():
        mine, plain = Options(**options), Options(hidden=widths[0])
        found = in_turn(partial(mine.train, batches), partial(plain.train, batches), repeats)
        note = f"per update, against the default network of width {widths[0]}"
        yield Line(f"options: {what}", found.ratio, found.ours / count, found.other / count, "", note)


def measure(scale: Scale) -> Iterator[Line]:
    """Updates of one run and of eight, at three widths; then larger networks."""
    repeats, count = {"tiny": (1, 3), "quick": (3, 15), "full": (7, 50)}[scale]
    cases = [(1, 128, BATCH), (8, 128, BATCH), (8, 64, 128), (1, 32, 64), (8, 32, 64)]
    if scale == "tiny":
        cases = [(1, 8, 8), (2, 8, 8)]
    for runs, hidden, batch in cases:
        ours = Ours(runs, hidden)
        plain, batches = Plain(ours.single), batches_of(runs, count, batch)
        ours.train(batches)
        plain.train(batches)
        apart = difference(ours, plain)
        found = in_turn(partial(ours.train, batches), partial(plain.train, batches), repeats, warm=False)
        each = runs * count
        target = ">= 1.7" if runs == 8 else ""
        note = f"per update of one run; weights after {count} updates differ by {apart:.1g}"
        what = f"R = {runs}, hidden {hidden}, batch {batch}"
        yield Line(what, found.ratio, found.ours / each, found.other / each, target, note)
    yield from larger(scale)
