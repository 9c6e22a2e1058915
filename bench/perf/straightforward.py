"""Vanilla latent diffusion as one would write it first: nn.LSTM, torch.optim.Adam, a plain sampling loop, captum.

The model, the draws, the initial weights and the updates are those of `latent_diffusion` on the LSTM backbone, so that
the results agree within rounding; only the way of computing them is not ours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bench.contracts import CONTINUOUS, DiffusionConfig, ModelConfig, Splits, TrainConfig
from bench.models.build import StackedModel
from bench.models.denoiser import Denoiser
from bench.models.lstm import LSTMDecoder, LSTMEncoder
from bench.perf.denoiser import PlainDenoiser
from bench.perf.dependency import by_captum
from bench.perf.lstm import native_of
from bench.perf.measure import Stopwatch
from bench.randomness import Randomness
from bench.training.device_windows import validation_series


class Found(NamedTuple):
    """What a run ends with."""

    loss: float  # of the last autoencoder update, nats per value
    samples: np.ndarray  # (n, T, C)
    dependency: Tensor  # m_{t,0}, m_{t,t-1}, sum_j m_{t,j}, each (series, T)


class Straightforward(nn.Module):
    """One run's networks, from the initial weights of ours."""

    def __init__(self, source: StackedModel, config: ModelConfig) -> None:
        super().__init__()
        encoder, decoder, denoiser = source.encoder, source.decoder, source.denoiser
        assert isinstance(encoder, LSTMEncoder)
        assert isinstance(decoder, LSTMDecoder)
        assert isinstance(denoiser, Denoiser)
        self.encoder, self.decoder = native_of(encoder.lstm), native_of(decoder.lstm)
        self.posterior, self.mean = PlainDenoiser.copied(encoder.output), PlainDenoiser.copied(decoder.head.mean)
        self.denoiser = PlainDenoiser(denoiser)
        for network in (self.encoder, self.decoder):
            network.bias_hh_l0.requires_grad_(False)  # redundant; trained, it would double the other's learning rate
        self.alpha_bar, self.latent = source.alpha_bar, config.latent
        self.sigma = torch.ones(())  # (C,) after training
        self.latent_mean, self.latent_scale = torch.zeros(()), torch.ones(())  # (D,) after training

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log sigma of q(z | x)."""
        mean, log_sigma = self.posterior(self.encoder(x)[0][:, -1]).chunk(2, dim=-1)
        return mean, log_sigma.clamp(-7, 7)

    def states(self, z: Tensor, past: Tensor) -> Tensor:
        """h (B, T, H)."""
        first = torch.cat([torch.zeros_like(past[:, :1]), z.new_zeros(len(z), 1, 1), z[:, None]], dim=-1)
        rest = torch.cat([past, past.new_zeros(*past.shape[:2], 1 + z.shape[-1])], dim=-1)  # nothing is hidden
        return self.decoder(torch.cat([first, rest], dim=1))[0]

    def loss(self, x: Tensor, noise: Tensor) -> Tensor:
        """The negative ELBO in nats per value."""
        mean, log_sigma = self.encode(x)
        kl = 0.5 * (mean.square() + (2 * log_sigma).exp() - 1) - log_sigma
        residual = x - self.mean(self.states(mean + log_sigma.exp() * noise, x[:, :-1]))
        sigma = self.root_mean_square(residual)
        ends = ((residual.double() + side * CONTINUOUS / 2) / sigma for side in (-1, 1))
        below, upto = (torch.special.ndtr(end) for end in ends)
        log_p = (upto - below).log().sum(dim=(1, 2))
        return (kl.mean(dim=0).sum() - log_p.mean()) / x[0].numel()

    @staticmethod
    def root_mean_square(residual: Tensor) -> Tensor:
        """Of each channel, as a number: (B, T, C) -> (C,)."""
        return residual.detach().square().mean(dim=(0, 1)).sqrt().clamp(min=1e-3)

    @torch.no_grad()
    def sample(self, n: int, window: int, randomness: Randomness) -> Tensor:
        """The reverse diffusion, then x_t from its own past, (n, T, C)."""
        draws = randomness.draws("metric 0 samples")
        z = draws.normal(n, self.latent)[0]
        for i in range(len(self.alpha_bar) - 1, 0, -1):
            here, there = self.alpha_bar[i], self.alpha_bar[i - 1]
            alpha = here / there
            z = (z - (1 - alpha) / (1 - here).sqrt() * self.denoiser(z, torch.full((n,), i))) / alpha.sqrt()
            z = z + ((1 - there) / (1 - here) * (1 - alpha)).sqrt() * draws.normal(n, self.latent)[0]
        z = z * self.latent_scale + self.latent_mean
        x, state = z.new_zeros(n, len(self.sigma)), None
        series = []
        for t in range(window):
            u = torch.cat([x, z.new_zeros(n, 1), z if t == 0 else torch.zeros_like(z)], dim=-1)
            h, state = self.decoder(u[:, None], state)
            x = self.mean(h[:, 0]) + self.sigma * draws.normal(n, 1, x.shape[-1])[0][:, 0]
            series.append(x)
        return torch.stack(series, dim=1)


def timed(*given: Any) -> tuple[Found, Stopwatch]:
    """`run`, in a process whose first updates do not count, with its CPU seconds by phase."""
    torch.set_num_threads(1)
    source, splits, config, train, diffusion, key, n, series, nodes = given
    short, brief = replace(train, steps=2), replace(diffusion, steps=2)
    run(source, splits, config, short, brief, key, 2, series[:1], 2, Stopwatch())
    watch = Stopwatch()
    return run(source, splits, config, train, diffusion, key, n, series, nodes, watch), watch


def run(
    source: StackedModel,
    splits: Splits,
    config: ModelConfig,
    train: TrainConfig,
    diffusion: DiffusionConfig,
    key: tuple[str, int],
    n: int,
    series: Tensor,
    nodes: int,
    watch: Stopwatch,
) -> Found:
    """Train both stages, sample, and attribute with captum, which gets `nodes` nodes, for `series` (B, T, C)."""
    model, randomness = Straightforward(source, config), Randomness([key])
    x = torch.from_numpy(splits.train)
    with watch("autoencoder"):
        loss = _train_autoencoder(model, x, train, randomness)
        seen = validation_series([splits], randomness).padded[0]
        with torch.no_grad():
            mean, log_sigma = model.encode(seen)
            noise = randomness.draws("validation posterior").normal(len(seen), model.latent)[0]
            states = model.states(mean + log_sigma.exp() * noise, seen[:, :-1])
            model.sigma = model.root_mean_square(seen - model.mean(states))
    with watch("denoiser"):
        _train_denoiser(model, x, diffusion, randomness)
    with watch("sampling"):
        samples = model.sample(n, splits.window, randomness).numpy()
    with watch("dependency"):
        with torch.no_grad():
            mean, log_sigma = model.encode(series)
        z = mean + log_sigma.exp() * randomness.draws("metric 0 posterior").normal(len(series), model.latent)[0]
        shares = by_captum(model.states, z, series[:, :-1], nodes)
    return Found(loss, samples, shares)


def _train_autoencoder(model: Straightforward, x: Tensor, train: TrainConfig, randomness: Randomness) -> float:
    named = model.named_parameters()
    trained = [value for name, value in named if value.requires_grad and not name.startswith("denoiser")]
    adam = torch.optim.Adam(trained, lr=train.learning_rate)
    order, draws = randomness.draws("batches"), randomness.draws("objective")
    loss = torch.zeros(())
    for _ in range(train.steps):
        batch = x[order.steps(0, len(x) - 1, train.batch_size)[0]]
        noise = draws.normal(len(batch), model.latent)[0]
        draws.uniform(len(batch), x.shape[1] - 1, 1)  # the mask of the past, all ones
        adam.zero_grad()
        loss = model.loss(batch, noise)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, train.clip_norm)
        adam.step()
    return float(loss.detach())


def _train_denoiser(model: Straightforward, x: Tensor, diffusion: DiffusionConfig, randomness: Randomness) -> None:
    with torch.no_grad():
        mean, log_sigma = model.encode(x)
    every = mean + log_sigma.exp() * randomness.draws("latent scale").normal(len(x), model.latent)[0]
    model.latent_mean, model.latent_scale = every.mean(dim=0), every.std(dim=0, correction=0)
    adam = torch.optim.Adam(model.denoiser.parameters(), lr=diffusion.learning_rate)
    order, draws = randomness.draws("denoiser batches"), randomness.draws("denoiser")
    for _ in range(diffusion.steps):
        rows = order.steps(0, len(x) - 1, diffusion.batch_size)[0]
        latents = mean[rows] + log_sigma[rows].exp() * draws.normal(len(rows), model.latent)[0]
        latents = (latents - model.latent_mean) / model.latent_scale
        i, noise = draws.steps(1, diffusion.L, len(rows))[0], draws.normal(len(rows), model.latent)[0]
        kept = model.alpha_bar[i][:, None]
        adam.zero_grad()
        predicted = model.denoiser(kept.sqrt() * latents + (1 - kept).sqrt() * noise, i)
        ((noise - predicted).square().sum(dim=-1).mean() / model.latent).backward()
        nn.utils.clip_grad_norm_(model.denoiser.parameters(), 1.0)
        adam.step()
