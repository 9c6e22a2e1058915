"""The probability of a mixture of cells and its written-out derivative, against the sum that defines it, in float64."""

from __future__ import annotations

import math

import pytest
import torch

from bench.contracts import ModelConfig
from bench.models.channels import MaskedChannels
from bench.models.head import make_head
from bench.models.stacked import linear, linear_outputs_first
from bench.parts.cell_mixture import CellMixture
from bench.parts.cells import Lattice, logistic_log_probability, logistic_slopes

R, B, T, C = 2, 5, 4, 3
PARTS = [(3, 1, 7), (3, 0, 7), (0, 1, 7), (0, 0, 7), (3, 1, 0), (3, 0, 0)]  # logistics, "the same", bins
HALF = 0.25  # of a cell's width


def uniform(*shape: int) -> torch.Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=uniform.generator)  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def seeded():
    uniform.generator = torch.Generator().manual_seed(0)  # type: ignore[attr-defined]


def mixture_of(logistics: int, same: int, bins: int) -> tuple[CellMixture, list[torch.Tensor], torch.Tensor]:
    """On a grid of step 1/2 with bounds, some weights exactly 0 and a bin of no width; what it is made of; values.

    Values lie on the bounds, beyond them and between them; half of them are in the cell of the value before.
    """
    cells = Lattice(R, C).double()
    cells.reach.fill_(HALF)
    cells.low.fill_(-2)
    cells.high.fill_(2)
    x = (uniform(R, B, T, C) * 12 - 6).round() / 2
    before = torch.where(uniform(R, B, T, C) < 0.5, x, (uniform(R, B, T, C) * 8 - 4).round() / 2)
    logits = 3 * uniform(R, C, logistics + same, B, T)
    if logistics + same > 1:  # as at a hidden step, where anchored logistics and "the same" have no weight
        logits[:, :, :1, :, 0] = -math.inf
        logits[:, :, logistics:, :, 0] = -math.inf if logistics else 0.0
    table = 3 * uniform(R, C, bins, B, T)
    edges = torch.linspace(-2.25, 2.25, bins, dtype=torch.float64).expand(R, C, bins) if bins else torch.zeros(R, C, 0)
    if bins:
        edges = torch.cat([edges, edges[..., -1:]], dim=-1)  # the last bin has no width, and no weight
        table[:, :, -1] = -math.inf
    made = [logits, table, 4 * uniform(R, C, logistics, B, T) - 2, 2 * uniform(R, C, logistics, B, T) - 2]
    made = [part.requires_grad_() for part in made]
    points = torch.full((R, C, bins), math.nan)
    return CellMixture(*made, before.movedim(-1, 1).contiguous(), edges, points, cells=cells), made, x


def by_definition(p: CellMixture, x: torch.Tensor) -> torch.Tensor:
    """ln of the sum of the parts, each computed as it is written down, (R, B, T, C)."""
    logistics = p.locations.shape[2]
    x, before = x.movedim(-1, 1).clamp(-2, 2), p.before.clamp(-2, 2)
    low, high = ((x + side * HALF).unsqueeze(2) for side in (-1, 1))
    weights = torch.cat([p.logits, p.table], dim=2).softmax(dim=2)
    below, upto = (torch.sigmoid((end - p.locations) / p.log_scales.exp()) for end in (low, high))
    below, upto = below.masked_fill(low < -2, 0), upto.masked_fill(high > 2, 1)
    total = (weights[:, :, :logistics] * (upto - below)).sum(dim=2)
    if p.logits.shape[2] > logistics:
        total = total + weights[:, :, logistics] * ((x - before).abs() < HALF)
    for bin_ in range(p.table.shape[2]):
        left, right = p.edges[:, :, bin_, None, None], p.edges[:, :, bin_ + 1, None, None]
        share = (2 * HALF / (right - left)).clamp(max=1)
        inside = (left <= x) & (x < right)
        total = total + torch.where(inside, weights[:, :, p.logits.shape[2] + bin_] * share, 0)
    return total.log().movedim(1, -1)


@pytest.mark.parametrize("parts", PARTS)
def test_the_probability_and_its_derivative_are_those_of_the_sum(parts):
    p, made, x = mixture_of(*parts)
    found, expected = p.log_prob_channels(x), by_definition(p, x)
    possible = expected.detach() > -math.inf  # with few parts some values have no probability
    assert torch.equal(found > -math.inf, possible)
    assert possible.any()
    assert parts[0] == 0 or possible.all()
    torch.testing.assert_close(found[possible], expected[possible], rtol=0, atol=1e-12)
    above = uniform(int(possible.sum()))
    given = [part for part in made if part.numel()]
    ours = torch.autograd.grad((found[possible] * above).sum(), given)
    theirs = torch.autograd.grad((expected[possible] * above).sum(), given)
    at = possible.movedim(-1, 1).unsqueeze(2)
    for one, other in zip(ours, theirs, strict=True):
        there = at.expand_as(one)
        torch.testing.assert_close(one[there], other[there], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("parts", PARTS)
def test_in_float32_both_are_as_exact_as_its_numbers(parts):
    p, made, x = mixture_of(*parts)
    with torch.no_grad():
        expected = by_definition(p, x)
        single = [part.detach().float().requires_grad_() for part in made]
        q = CellMixture(*single, p.before.float(), p.edges.float(), p.points.float(), cells=p.cells.float())
    found, possible = q.log_prob_channels(x.float()), expected > -math.inf
    torch.testing.assert_close(found[possible].double(), expected[possible], rtol=2e-6, atol=2e-6)


def test_slopes_of_a_logistic_cell_are_those_of_automatic_differentiation():
    low = torch.tensor([-30.0, -2.0, 0.1, 4.0, 25.0], dtype=torch.float64)
    width = torch.tensor([0.01, 0.5, 1.0, 3.0, 10.0], dtype=torch.float64)
    ends = [end.requires_grad_() for end in (low, low + width, width.clone())]
    log_p = torch.nn.functional.logsigmoid(ends[1]) + torch.nn.functional.logsigmoid(-ends[0])
    log_p = log_p + (-torch.expm1(-ends[2])).log()
    expected = torch.autograd.grad(log_p.sum(), ends)
    with torch.no_grad():
        torch.testing.assert_close(logistic_log_probability(*ends), log_p.detach(), rtol=1e-12, atol=1e-14)
        for one, other in zip(logistic_slopes(*ends), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("bias", [True, False])
def test_outputs_first_is_the_same_product(bias):
    x, weight = uniform(R, B, T, 6), uniform(R, 8, 6)
    own = uniform(R, 8) if bias else None
    expected = linear(x, weight, own).movedim(-1, 1)
    torch.testing.assert_close(linear_outputs_first(x, weight, own), expected, rtol=0, atol=1e-12)


def test_all_channels_at_once_are_the_channels_in_turn():
    """Of what the channels before move, one pass in training is what generation computes channel by channel."""
    head = make_head(R, 8, C, ModelConfig(hidden=8, likelihood="mixed", channels="autoregressive")).double()
    masked = head.masked
    assert isinstance(masked, MaskedChannels)
    with torch.no_grad():
        for weights in masked.parameters():
            weights.copy_(uniform(*weights.shape) - 0.5)
        x, previous, context = uniform(R, B, T, C), uniform(R, B, T, C + 1).round(), uniform(R, B, T, 32)
        features = masked.features(x, previous, head.cells, slice(None))
        together = masked(context, features)
        for c in range(C):
            before = features[..., : 3 * c]
            torch.testing.assert_close(masked.channel(context, before, c), together[..., c : c + 1, :])
