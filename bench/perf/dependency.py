"""Dependency measures for all t against captum's IntegratedGradients on the same decoder, a native nn.LSTM there.

captum needs one attribution, so one backward pass through the whole sequence, per t; it gets the fewest Gauss-Legendre
nodes that reach a completeness error of 1e-4. Ours gets the tolerance 1e-4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from bench.contracts import DiffusionConfig, ModelConfig, TrainConfig
from bench.metrics.dependency import dependency_measures
from bench.models.head import make_head
from bench.models.lstm import LSTM, LSTMDecoder, SingleLSTMDecoder, decoder_inputs
from bench.models.stacked import initialise
from bench.perf.measure import Line, Scale, cpu_seconds, in_turn, windows
from bench.randomness import Randomness
from bench.registry import METHODS
from bench.training.stack import train_stack

TARGETS = {24: 20, 48: 40}
ACCURACY = 1e-4
LATENT, CHANNELS = 16, 6


def native(decoder: SingleLSTMDecoder) -> Callable[[Tensor, Tensor], Tensor]:
    """The same decoder as a torch.nn.LSTM."""
    first = decoder.layers[0]
    lstm = nn.LSTM(first[0].shape[1], first[1].shape[1], len(decoder.layers), batch_first=True)
    with torch.no_grad():
        for layer, (weight_ih, weight_hh, bias) in enumerate(decoder.layers):
            getattr(lstm, f"weight_ih_l{layer}").copy_(weight_ih)
            getattr(lstm, f"weight_hh_l{layer}").copy_(weight_hh)
            getattr(lstm, f"bias_ih_l{layer}").copy_(bias)
            getattr(lstm, f"bias_hh_l{layer}").zero_()
    return lambda z, past: lstm(decoder_inputs(z, past, decoder.every_step))[0]


def by_captum(states: Callable[[Tensor, Tensor], Tensor], z: Tensor, past: Tensor, nodes: int) -> Tensor:
    """m_{t,0}, m_{t,t-1} and sum_j m_{t,j}, (3, B, T)."""
    from captum.attr import IntegratedGradients

    with torch.no_grad():
        change = states(z, past) - states(0 * z, 0 * past)
        w = change / change.square().sum(dim=-1, keepdim=True)
    result = z.new_zeros(3, *change.shape[:2])
    for t in range(change.shape[1]):

        def along(a: Tensor, b: Tensor, w_t: Tensor, t: int = t) -> Tensor:
            return (states(a, b)[:, t] * w_t).sum(dim=-1)

        of_z, of_x = IntegratedGradients(along).attribute(
            (z, past), (0 * z, 0 * past), additional_forward_args=(w[:, t],), n_steps=nodes, method="gausslegendre"
        )
        result[0, :, t] = of_z.sum(dim=-1)
        result[1, :, t] = of_x[:, t - 1].sum(dim=-1) if t else result[0, :, 0]
        result[2, :, t] = of_z.sum(dim=-1) + of_x.sum(dim=(-2, -1))
    return result.detach()


def enough_nodes(
    states: Callable[[Tensor, Tensor], Tensor], z: Tensor, past: Tensor, most: int, accuracy: float = ACCURACY
) -> int:
    """The fewest of 4, 8, 16, .. nodes with a completeness error of at most `accuracy`; `most` where none is enough."""
    nodes = 4
    while nodes < most and float((by_captum(states, z, past, nodes)[2] - 1).abs().max()) > accuracy:
        nodes *= 2
    return nodes


def fresh_decoder(window: int, hidden: int) -> SingleLSTMDecoder:
    """A decoder as it is before training: smooth."""
    decoder = LSTMDecoder(1, CHANNELS, LATENT, hidden, 1, window, False, make_head(1, hidden, CHANNELS, ModelConfig()))
    initialise(decoder, Randomness([("perf", 0)]))
    assert isinstance(decoder.lstm, LSTM)
    return decoder.single(0)


def trained_decoder(window: int, hidden: int, steps: int) -> SingleLSTMDecoder:
    """The decoder of a short `proposed` run: transitions that fixed nodes miss."""
    splits, config = windows(600, window, CHANNELS), ModelConfig(hidden=hidden, latent=LATENT)
    train, diffusion = TrainConfig(steps=steps), DiffusionConfig(steps=1)
    found = train_stack([METHODS["proposed"]()], [splits], [("perf", 0)], "lstm", config, [train], [diffusion])
    decoder = found.model.decoder
    assert isinstance(decoder, LSTMDecoder)
    return decoder.single(0)


def measure(scale: Scale) -> Iterator[Line]:
    """Ratios at T = 24 and 48, and what a series costs on a trained decoder."""
    tiny = scale == "tiny"
    hidden, series, repeats = (4, 3, 1) if tiny else (64, 32, 3 if scale == "quick" else 9)
    draws = Randomness([("perf", 1)]).draws("inputs")
    for window in (5, 6) if tiny else (24, 48):
        decoder = fresh_decoder(window, hidden)
        z, past = draws.normal(series, LATENT)[0], draws.normal(series, window - 1, CHANNELS)[0]
        states = native(decoder)
        nodes = enough_nodes(states, z[:4], past[:4], most=64)
        found = in_turn(
            partial(dependency_measures, decoder, z, past, ACCURACY),
            partial(by_captum, states, z, past, nodes),
            repeats,
            warm=tiny,
        )
        ours, theirs = dependency_measures(decoder, z, past, ACCURACY), by_captum(states, z, past, nodes)
        apart = max(float((ours[k] - theirs[k]).abs().max()) for k in range(2))
        note = f"captum: {nodes} nodes; largest difference {apart:.1g}; completeness {ours[2].max():.1g}"
        target = TARGETS.get(window)
        what = f"T = {window}, fresh decoder, seconds of {series} series"
        yield Line(what, found.ratio, found.ours, found.other, f">= {target}" if target else "", note)
    window, steps, count = (5, 4, 3) if tiny else (24, 400, 64) if scale == "quick" else (24, 1500, 128)
    decoder, splits = trained_decoder(window, hidden, steps), windows(600, window, CHANNELS)
    past = torch.from_numpy(splits.test[:count])[:, :-1]
    z = draws.normal(len(past), LATENT)[0]
    for tolerance in (1e-2, ACCURACY):
        seconds = cpu_seconds(partial(dependency_measures, decoder, z, past, tolerance)) / len(past)
        found_ = dependency_measures(decoder, z, past, tolerance)
        note = f"{1000 * seconds:.3g} ms per series; unresolved {found_.unresolved}"
        what = f"trained `proposed` ({steps} steps), tolerance {tolerance:g}: series per s"
        yield Line(what, 1 / seconds, note=note)
    series = min(series, 8 if scale == "quick" else 32)
    states, z, past = native(decoder), z[:series], past[:series]
    most = 8 if tiny else 256
    nodes = enough_nodes(states, z, past, most)
    found = in_turn(
        partial(dependency_measures, decoder, z, past, ACCURACY),
        partial(by_captum, states, z, past, nodes),
        1,
        warm=tiny,
    )
    left = float((by_captum(states, z, past, nodes)[2] - 1).abs().max())
    note = f"captum: {nodes} nodes, completeness {left:.1g}"
    yield Line(f"T = {window}, trained, seconds of {len(past)} series", found.ratio, found.ours, found.other, note=note)
