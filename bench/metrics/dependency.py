"""How much of a decoder's state is due to the latent, and how much to the last input.

    h_t = f_dec([z, x_1, .., x_{t-1}]),   h~_t the state at all-zero inputs,   u_0 = z, u_j = x_j
    m_{t,j} = <h_t - h~_t, int_0^1 <d f_dec(s u) / d u_j, u_j> ds> / ||h_t - h~_t||^2,   sum_j m_{t,j} = 1

m_{t,0} is the global dependency, m_{t,t-1} the first-order local one (integrated gradients along a straight line,
projected on the change of the state). Source: Li et al., arXiv:2405.14021, definition 3.2; Sundararajan et al. 2017,
arXiv:1703.01365. The number of the definition is not checked against the text.

The integral over s is adaptive, per series: a trained decoder has sharp transitions that fixed nodes miss. An interval
[a, b] gets Boole's rule, 5 equidistant nodes, exact up to degree 5, and is halved until two errors are small enough
for their sums over all intervals to stay below the tolerance. The halves take over all nodes of the whole, so that no
evaluation is thrown away: at the tolerances of interest that is worth more than the degree 9 of Gauss and Legendre's 5
nodes (bench/perf/README.md). The two errors are

- completeness, ||h(b) - h(a) - int_a^b dh/ds ds|| / ||h_t - h~_t||, a vector in H dimensions, not met by accident;
- roughness, from the Legendre coefficients of the two integrands themselves, because two sharp features may cancel
  in dh/ds while neither cancels in its own measure (unless both are narrower than the nodes are apart).

What is still open at the maximum depth keeps its value and is counted as unresolved, with its error.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from bench.contracts import InputError, LatentEvaluation, Measurement
from bench.metrics.base import LatentMetric, from_everywhere, groups_of, own_latents, spread, undefined
from bench.registry import register_metric

Decoder: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""h = decoder(z, x_prev): z (B, D), x_prev x_1..x_{T-1} (B, T-1, C) -> h (B, T, H); rows independent of each other."""

Sweep: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
"""(s (n,), row (n,)) -> h, d_total, d_global, d_local, each (n, T, H), at the points s of the paths of the series row;
see `forward_sweep`."""

NODES = 5
MAX_DEPTH = 14  # the shortest interval is 6e-5 long
SHARE = 1 / 4
MAX_WIDTH = 128  # open intervals per series and level; beyond that the integrand is noise, and halving it is no help
ROWS = 32  # series integrated together: their nodes are kept until the next level
POINTS = 192  # evaluated at once: what a core's cache holds
ON_A_GPU = 2048  # of both there: a kernel costs the same for few and for many


class DependencyMeasures(NamedTuple):
    """Values per series and time, NaN where h_t does not differ from its baseline (0 / 0).

    completeness_error is ||h_t - h~_t - int dh_t/ds ds|| / ||h_t - h~_t||, at least |1 - sum_j m_{t,j}|.
    unresolved counts the cells (series, t) that are 0 / 0 or did not reach the tolerance; resolved are the others.
    """

    global_: Tensor  # (B, T), m_{t,0}
    local: Tensor  # (B, T), m_{t,t-1}; at t = 1 the latent is the last input, so local = global = 1
    completeness_error: Tensor  # (B, T)
    unresolved: int
    resolved: Tensor  # (B, T), bool


# ------------------------------------------------------------------------- derivatives along the path


def forward_sweep(decoder: Decoder, z: Tensor, x_prev: Tensor) -> Sweep:
    """States and tangents at s (z, x) by forward-mode differentiation: T + 1 passes.

    d_total: direction (z, x). d_global: (z, 0). d_local at t: only x_{t-1}; at t = 1 it is d_global.
    """
    with warnings.catch_warnings():  # the first use of forward mode warns about torch's own use of torch.jit
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.func.jvp(torch.neg, (torch.zeros(()),), (torch.zeros(()),))

    def sweep(s: Tensor, row: Tensor) -> tuple[Tensor, ...]:
        to_z, to_x = z[row], x_prev[row]
        point = (s[:, None] * to_z, s[:, None, None] * to_x)

        def tangent(of_z: Tensor, of_x: Tensor) -> tuple[Tensor, Tensor]:
            value, slope = torch.func.jvp(decoder, point, (of_z, of_x))[:2]
            return value, slope

        h, total = tangent(to_z, to_x)
        global_ = tangent(to_z, torch.zeros_like(to_x))[1]
        local = [global_[:, 0]]
        for t in range(to_x.shape[1]):
            only = torch.zeros_like(to_x)
            only[:, t] = to_x[:, t]
            local.append(tangent(torch.zeros_like(to_z), only)[1][:, t + 1])
        return h, total, global_, torch.stack(local, dim=1)

    return sweep


class _Nodes(NamedTuple):
    """What is known at n points, or at the nodes of n intervals: (n, ..) or (n, NODES, ..).

    Where derivatives are known in the direction w only, H = 1: the components of h and d_total along w / ||w||.
    """

    h: Tensor  # (.., T, H)
    total: Tensor  # d_total, (.., T, H)
    shares: Tensor  # <w, d_global> and <w, d_local>, (.., 2, T)


Slopes: TypeAlias = Callable[[Tensor, Tensor], _Nodes]
"""(s (n,), row (n,)) -> what is known there."""


def _projected(found: Sequence[Tensor], row: Tensor, w: Tensor) -> _Nodes:
    """What a sweep gave for points of the series row (n,)."""
    h, total, *parts = found
    steps_first = w.transpose(0, 1)  # as our own sweep has them in memory
    directions = steps_first.index_select(1, row).transpose(0, 1)
    return _Nodes(h, total, torch.stack([torch.linalg.vecdot(part, directions) for part in parts], dim=1))


def _forward_slopes(sweep: Sweep, w: Tensor) -> Slopes:
    return lambda s, row: _projected(sweep(s, row), row, w)


def _reverse_slopes(decoder: Decoder, z: Tensor, x_prev: Tensor, w: Tensor) -> Slopes:
    """T backward passes: d_total itself stays unknown, because a backward pass sees h_t in one direction only."""

    norms = w.norm(dim=-1, keepdim=True)
    unit = w / norms.clamp(min=torch.finfo(w.dtype).tiny)

    def slopes(s: Tensor, row: Tensor) -> _Nodes:
        to_z, to_x = z[row], x_prev[row]
        at_z = (s[:, None] * to_z).requires_grad_()
        at_x = (s[:, None, None] * to_x).requires_grad_()
        total, shares = z.new_zeros(len(s), w.shape[1], 1), z.new_zeros(len(s), 2, w.shape[1])
        # cuDNN's LSTM has no backward in evaluation mode
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            h = torch.linalg.vecdot(decoder(at_z, at_x), unit[row])
            for t, value in enumerate(h.sum(dim=0) if h.requires_grad else ()):
                of_z, of_x = torch.autograd.grad(
                    value, (at_z, at_x), retain_graph=True, allow_unused=True, materialize_grads=True
                )
                per_input = (of_x * to_x).sum(-1)
                shares[:, 0, t] = (of_z * to_z).sum(-1)
                shares[:, 1, t] = per_input[:, t - 1] if t > 0 else shares[:, 0, t]
                total[:, t, 0] = shares[:, 0, t] + per_input.sum(-1)
        return _Nodes(h.detach()[..., None], total, shares * norms[row].mT)

    return slopes


class _HasSweep(Protocol):
    def tangent_sweep(self, z: Tensor, x_prev: Tensor) -> Sweep: ...


def _sweep_of(decoder: Decoder | _HasSweep, z: Tensor, x_prev: Tensor) -> Sweep | None:
    """The decoder's own sweep, else forward mode; None where there is none (nn.LSTM under oneDNN)."""
    if hasattr(decoder, "tangent_sweep"):
        return decoder.tangent_sweep(z, x_prev)
    sweep = forward_sweep(decoder, z, x_prev)
    try:
        sweep(torch.ones_like(z[:1, 0]), torch.zeros(1, dtype=torch.int64, device=z.device))
    except (NotImplementedError, RuntimeError):
        return None
    return sweep


def _in_parts(evaluate: Callable[[Tensor, Tensor], Sequence[Tensor]], s: Tensor, row: Tensor) -> Sequence[Tensor]:
    """`evaluate` at all points s (n,), as many at once as a cache holds."""
    size = ON_A_GPU if s.is_cuda else POINTS
    found = [evaluate(*some) for some in zip(s.split(size), row.split(size), strict=True)]
    return found[0] if len(found) == 1 else [torch.cat(parts) for parts in zip(*found, strict=True)]


# ------------------------------------------------------------------------- the adaptive integral


class _Integrals(NamedTuple):
    global_: Tensor
    local: Tensor
    error: Tensor  # completeness
    resolved: Tensor  # bool; all four (B, T)


_places = np.linspace(0, 1, NODES)
_boole = np.array([7, 32, 12, 32, 7]) / 90
# row k gives the k-th Legendre coefficient on the interval of the polynomial through the five nodes
_LEGENDRE = np.linalg.inv(np.polynomial.legendre.legvander(2 * _places - 1, NODES - 1))
# what the rule makes of the Legendre polynomial of degree 6, the first whose integral (zero) it misses
_FIRST_LOST = float(_boole @ np.polynomial.legendre.legval(2 * _places - 1, [0] * 6 + [1]))


def _roughness(values: Tensor, to_legendre: Tensor) -> Tensor:
    """An estimate of the mean's quadrature error from the values at the nodes, (n, NODES, ..) -> (n, ..).

    Where the coefficients c_k fall geometrically, |c_{k+2}| = decay |c_k|, the first term that is lost is c_6, about
    |c_4| decay; odd neighbours stand in where the integrand is nearly odd or even.
    """
    c = (to_legendre @ values.flatten(2)).abs().unflatten(2, values.shape[2:])
    low, high = torch.maximum(c[:, 1], c[:, 2]), torch.maximum(c[:, 3], c[:, 4])
    decay = (high / low.clamp(min=torch.finfo(c.dtype).tiny)).clamp(max=1)
    return _FIRST_LOST * torch.maximum(c[:, 3] * decay.sqrt(), c[:, 4]) * decay


def _halves(old: Tensor, new: Tensor) -> Tensor:
    """The nodes of n left halves, then of n right ones: old (n, NODES, ..), new (n, 4, ..) between them."""
    n = len(old)
    halves = old.new_empty(2 * n, *old.shape[1:])
    halves[:n, 0::2], halves[n:, 0::2] = old[:, :3], old[:, 2:]
    halves[:n, 1::2], halves[n:, 1::2] = new[:, :2], new[:, 2:]
    return halves


def _mean(weights: Tensor, values: Tensor) -> Tensor:
    """(n, NODES, ..) -> (n, ..)."""
    return (weights @ values.flatten(2)).unflatten(1, values.shape[2:])


def _integrate(decoder: Decoder, z: Tensor, x_prev: Tensor, first: Tensor, tolerance: float) -> _Integrals:
    """first (1, T, H): the state at all-zero inputs."""
    epsilon = torch.finfo(z.dtype).eps
    weights, to_legendre, places = (z.new_tensor(value) for value in (_boole, _LEGENDRE, _places))
    # every open interval of a level has the same length: its series, its left end, what is known at its nodes
    row, start = torch.arange(len(z), device=z.device), z.new_zeros(len(z))
    at_nodes = places.repeat(len(z)), row.repeat_interleave(NODES)
    sweep = _sweep_of(decoder, z, x_prev)
    found = None if sweep is None else _in_parts(sweep, *at_nodes)
    own = decoder(z, x_prev) if found is None else found[0][NODES - 1 :: NODES]  # the states at s = 1
    change = own - first
    norm = change.norm(dim=-1)
    size = first.norm(dim=-1) + own.norm(dim=-1)
    defined = norm > 1000 * epsilon * size  # below that the change is rounding
    rounding = 8 * epsilon * size / norm  # a residual this small is rounding, and no subdivision removes it
    w = torch.where(defined[..., None], change / norm.square()[..., None], 0)  # m = <w, int d>
    slopes = _reverse_slopes(decoder, z, x_prev, w) if sweep is None else _forward_slopes(sweep, w)

    def at(s: Tensor, row: Tensor) -> _Nodes:
        """s (n, k) of the series row (n,)."""
        flat = _in_parts(slopes, s.flatten(), row.repeat_interleave(s.shape[1]))
        return _Nodes(*(part.unflatten(0, s.shape) for part in flat))

    flat = _in_parts(slopes, *at_nodes) if found is None else _projected(found, at_nodes[1], w)
    nodes = _Nodes(*(part.unflatten(0, (-1, NODES)) for part in flat))
    del found, flat, own  # on a GPU they are large, and nodes are replaced at the next level
    shares = z.new_zeros(len(z), 2, norm.shape[1])
    residuals = torch.zeros_like(nodes.h[:, 0])
    doubt, used = torch.zeros_like(norm), torch.zeros_like(norm)
    for depth in range(MAX_DEPTH + 1):
        length = 0.5**depth
        residual = nodes.h[:, -1] - nodes.h[:, 0] - length * _mean(weights, nodes.total)
        rough = length * _roughness(nodes.shares, to_legendre).amax(dim=1)
        error = torch.maximum(residual.norm(dim=-1) / norm[row], rough)
        left = (tolerance - used).clamp(min=0)
        most = max(length, SHARE) * left
        small = torch.zeros_like(used).index_add_(0, row, torch.where(error <= most[row], error, 0))
        # a level uses up half of what is left; where many small errors are more than that, each gets an equal part
        count = torch.bincount(row, minlength=len(z))[:, None]
        most = torch.where(small <= left / 2, most, left / (2 * count))
        large = error > most[row] + rounding[row]
        # a series that is done with this level may use up all that is left
        fits = (torch.zeros_like(used).index_add_(0, row, error) <= left) | ~defined
        large &= (defined & ~fits.all(dim=-1, keepdim=True))[row]
        split = large.any(dim=-1) if depth < MAX_DEPTH else torch.zeros_like(row, dtype=torch.bool)
        split &= (torch.bincount(row[split], minlength=len(z)) <= MAX_WIDTH)[row]

        done = ~split
        shares.index_add_(0, row[done], length * _mean(weights, nodes.shares[done]))
        residuals.index_add_(0, row[done], residual[done])
        doubt.index_add_(0, row[done], rough[done])
        used.index_add_(0, row[done], error[done])
        if not split.any():
            break
        start, row = start[split], row[split]
        between = at(start[:, None] + length * (places[1:] + places[:-1]) / 2, row)
        nodes = _Nodes(*(_halves(old[split], new) for old, new in zip(nodes, between, strict=True)))
        start, row = torch.cat([start, start + length / 2]), row.repeat(2)

    error = torch.where(defined, residuals.norm(dim=-1) / norm, torch.nan)
    resolved = defined & (error <= tolerance + rounding) & (doubt <= tolerance + rounding)
    global_, local = torch.where(defined[:, None], shares, torch.nan).unbind(dim=1)
    global_[:, 0] = local[:, 0] = torch.where(defined[:, 0], 1.0, torch.nan)  # the latent is the only input
    return _Integrals(global_, local, error, resolved)


@torch.no_grad()
def _measures(decoder: Decoder, z: Tensor, x_prev: Tensor, tolerance: float) -> _Integrals:
    size = ON_A_GPU if z.is_cuda else ROWS
    first = decoder(0 * z[:1], 0 * x_prev[:1])
    if first.ndim != 3 or first.shape[:2] != (1, x_prev.shape[1] + 1):
        raise InputError(
            f"dependency_measures: the decoder gave {tuple(first.shape)} for one series: "
            f"expected (1, {x_prev.shape[1] + 1}, H)"
        )
    series = zip(z.split(size), x_prev.split(size), strict=True)
    parts = [_integrate(decoder, *some, first, tolerance) for some in series]
    return _Integrals(*(torch.cat(values) for values in zip(*parts, strict=True)))


def dependency_measures(decoder: Decoder, z: Tensor, x_prev: Tensor, tolerance: float = 1e-2) -> DependencyMeasures:
    """The dependency measures of any decoder, to a stated tolerance.

    decoder: a callable (z (B, D), x_prev (B, T-1, C)) -> h (B, T, H), each row a function of its own inputs. Where it
    has a method `tangent_sweep(z, x_prev)` that gives what `forward_sweep` gives, that is used; else forward-mode
    differentiation; else reverse mode, in which completeness is known only along h_t - h~_t.
    tolerance: of the completeness error and of each measure, no unit. Below about 1e-5 pass float64.

    Raises InputError where the shapes do not fit or the tolerance is not positive.

    >>> z, x = torch.ones(1, 1), torch.ones(1, 2, 1)
    >>> found = dependency_measures(lambda z, x: torch.cat([z[:, None], z[:, None] + x], dim=1).cumsum(1), z, x)
    >>> [round(share, 6) for share in found.global_[0].tolist()], found.unresolved
    ([1.0, 0.666667, 0.6], 0)
    """
    if not tolerance > 0:
        raise InputError(f"dependency_measures: tolerance = {tolerance!r}: expected a number > 0")
    if z.ndim != 2 or x_prev.ndim != 3 or len(z) != len(x_prev):
        raise InputError(
            f"dependency_measures: z {tuple(z.shape)}, x_prev {tuple(x_prev.shape)}: expected (B, D) and (B, T-1, C)"
        )
    found = _measures(decoder, z, x_prev, tolerance)
    return DependencyMeasures(found.global_, found.local, found.error, int((~found.resolved).sum()), found.resolved)


@register_metric("dependency")
@dataclass(frozen=True)
class Dependency(LatentMetric):
    """The global and the first-order local dependency of the decoder's state at every time t (see the file's head).

    Collapse is m_{t,0} going to 0 over t; the illusion of dependency is m_{t,t-1} above 0 on shuffled series.
    `dependency_completeness_error` is the worst the measures' sum can be off; `dependency_unresolved` counts series
    per t. All means are over the resolved series only, and n is how many those are; z is a draw of the series' own
    posterior.
    Shapes: `evaluate.dependency_series` test series (500, the paper's n), evenly spaced; coordinate t = 1..T. Unit:
    share of the state's change, signed. sd is over series.
    Errors: a t with no resolved series is undefined.
    Source: Li et al., arXiv:2405.14021, the dependency measures. Ours: adaptive quadrature, completeness reported.
    Blind to: a decoder that only detects noise in z; read it beside `latent_information`.
    """

    version = 2  # 1 took the first series, which lie beside each other
    outputs = ("dependency_global", "dependency_local", "dependency_completeness_error", "dependency_unresolved")
    diagnostics = outputs[2:]
    unit = "share"
    direction = "none"
    source = "Li et al., arXiv:2405.14021"

    @torch.no_grad()
    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """Four values for every t."""
        return measured_along(self.outputs, lambda: evaluation.model.decoder.single(0), evaluation)


def measured_along(
    names: tuple[str, ...], single: Callable[[], Decoder], evaluation: LatentEvaluation
) -> list[Measurement]:
    """Means over series of the measures of a decoder's states, or of any other function of the same inputs.

    names: of the global and the local measure, the completeness error and the count of unresolved series. single: gives
    the function, and is asked only of a method that has a latent.
    """
    chosen = from_everywhere(len(evaluation.series), evaluation.config.dependency_series)
    z, series = own_latents(evaluation)[0, chosen], evaluation.series[chosen]
    groups = groups_of(evaluation)[chosen]
    function, past = single(), series[None, :, :-1]
    described = getattr(evaluation.model.decoder, "described", None)  # a plug-in's decoder may have no marks
    found = _measures(function, z, (described(past) if described else past)[0], evaluation.config.dependency_tolerance)
    rows = []
    for t in range(series.shape[1]):
        keep = found.resolved[:, t]
        of_kept = groups[keep.cpu().numpy()]
        for name, values in zip(names, found[:3], strict=False):
            if keep.any():
                rows.append(spread(name, values[keep, t], coordinate="t", index=t + 1, groups=of_kept))
            else:
                rows += undefined((name,), "no series is resolved", coordinate="t", index=t + 1)
        open_cells = float((~keep).sum())
        rows.append(Measurement(names[3], open_cells, n=len(series), coordinate="t", index=t + 1))
    return rows
