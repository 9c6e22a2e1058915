"""How much of a decoder's state is due to the latent, and how much to the last input.

    h_t = f_dec([z, x_1, .., x_{t-1}]),   h~_t the state at all-zero inputs,   u_0 = z, u_j = x_j
    m_{t,j} = <h_t - h~_t, int_0^1 <d f_dec(s u) / d u_j, u_j> ds> / ||h_t - h~_t||^2,   sum_j m_{t,j} = 1

m_{t,0} is the global dependency, m_{t,t-1} the first-order local one (integrated gradients along a straight line,
projected on the change of the state). Source: Li et al., arXiv:2405.14021; Sundararajan et al. 2017, arXiv:1703.01365.

The integral over s is adaptive, per series: a trained decoder has sharp transitions that fixed nodes miss. An interval
[a, b] gets 5 Gauss-Legendre nodes and is halved until two errors are below tolerance * max(b - a, 1/4):

- completeness, ||h(b) - h(a) - int_a^b dh/ds ds|| / ||h_t - h~_t||, a vector in H dimensions, not met by accident;
- roughness, from the Legendre coefficients of the two integrands themselves, because two sharp features may cancel
  in dh/ds while neither cancels in its own measure (unless both are narrower than the nodes are apart).

What is still open at the maximum depth keeps its value and is counted as unresolved, with its error.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from bench.contracts import InputError, LatentEvaluation, Measurement
from bench.metrics.base import LatentMetric, own_latents, spread, undefined
from bench.registry import register_metric

Decoder: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""h = decoder(z, x_prev): z (B, D), x_prev x_1..x_{T-1} (B, T-1, C) -> h (B, T, H); rows independent of each other."""

Sweep: TypeAlias = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]
"""(s (B,), z, x_prev) -> h, d_total, d_global, d_local, each (B, T, H); see `forward_sweep`."""

NODES = 5
MAX_DEPTH = 14  # the shortest interval is 6e-5 long
SHARE = 1 / 4  # of the tolerance, what a short interval may use up at least; the sum is checked at the end
MAX_WIDTH = 64  # open intervals per series and level; beyond that the integrand is noise, and halving it is no help
ROWS = 64  # series integrated together
INTERVALS = 64  # intervals evaluated at once, NODES rows each: what a core's cache holds
ON_A_GPU = 2048  # of both there: a kernel costs the same for few and for many


class DependencyMeasures(NamedTuple):
    """Values per series and time, NaN where h_t does not differ from its baseline (0 / 0).

    completeness_error is ||h_t - h~_t - int dh_t/ds ds|| / ||h_t - h~_t||, at least |1 - sum_j m_{t,j}|.
    unresolved counts the cells (series, t) that are 0 / 0 or did not reach the tolerance.
    """

    global_: Tensor  # (B, T), m_{t,0}
    local: Tensor  # (B, T), m_{t,t-1}; at t = 1 the latent is the last input, so local = global = 1
    completeness_error: Tensor  # (B, T)
    unresolved: int


# ------------------------------------------------------------------------- derivatives along the path


def forward_sweep(decoder: Decoder) -> Sweep:
    """States and tangents at s (z, x) by forward-mode differentiation: T + 1 passes.

    d_total: direction (z, x). d_global: (z, 0). d_local at t: only x_{t-1}; at t = 1 it is d_global.
    """
    with warnings.catch_warnings():  # the first use of forward mode warns about torch's own use of torch.jit
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.func.jvp(torch.neg, (torch.zeros(()),), (torch.zeros(()),))

    def sweep(s: Tensor, z: Tensor, x_prev: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        point = (s[:, None] * z, s[:, None, None] * x_prev)

        def tangent(of_z: Tensor, of_x: Tensor) -> tuple[Tensor, Tensor]:
            value, slope = torch.func.jvp(decoder, point, (of_z, of_x))[:2]
            return value, slope

        h, total = tangent(z, x_prev)
        global_ = tangent(z, torch.zeros_like(x_prev))[1]
        local = [global_[:, 0]]
        for t in range(x_prev.shape[1]):
            only = torch.zeros_like(x_prev)
            only[:, t] = x_prev[:, t]
            local.append(tangent(torch.zeros_like(z), only)[1][:, t + 1])
        return h, total, global_, torch.stack(local, dim=1)

    return sweep


Slopes: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""(s (B,), z, x_prev, w (B, T, H)) -> <w, d_total>, <w, d_global>, <w, d_local> as (3, B, T), and d_total itself."""


def _forward_slopes(sweep: Sweep) -> Slopes:
    def slopes(s: Tensor, z: Tensor, x_prev: Tensor, w: Tensor) -> tuple[Tensor, Tensor | None]:
        _, *tangents = sweep(s, z, x_prev)
        return torch.stack([torch.linalg.vecdot(tangent, w) for tangent in tangents]), tangents[0]

    return slopes


def _reverse_slopes(decoder: Decoder) -> Slopes:
    """T backward passes: d_total itself stays unknown, because a backward pass sees h_t in one direction only."""

    def slopes(s: Tensor, z: Tensor, x_prev: Tensor, w: Tensor) -> tuple[Tensor, Tensor | None]:
        at_z = (s[:, None] * z).requires_grad_()
        at_x = (s[:, None, None] * x_prev).requires_grad_()
        along = z.new_zeros(3, len(z), w.shape[1])
        # cuDNN's LSTM has no backward in evaluation mode
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            projected = torch.linalg.vecdot(decoder(at_z, at_x), w).sum(dim=0)
            for t, value in enumerate(projected if projected.requires_grad else ()):
                of_z, of_x = torch.autograd.grad(
                    value, (at_z, at_x), retain_graph=True, allow_unused=True, materialize_grads=True
                )
                per_input = (of_x * x_prev).sum(-1)
                along[1, :, t] = (of_z * z).sum(-1)
                along[0, :, t] = along[1, :, t] + per_input.sum(-1)
                along[2, :, t] = per_input[:, t - 1] if t > 0 else along[1, :, t]
        return along, None

    return slopes


class _HasSweep(Protocol):
    def tangent_sweep(self, s: Tensor, z: Tensor, x_prev: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]: ...


def _slopes_of(decoder: Decoder | _HasSweep, z: Tensor, x_prev: Tensor) -> Slopes:
    """The decoder's own sweep, else forward mode, else (nn.LSTM under oneDNN has no forward mode) reverse mode."""
    if hasattr(decoder, "tangent_sweep"):
        return _forward_slopes(decoder.tangent_sweep)
    sweep = forward_sweep(decoder)
    try:
        sweep(torch.ones_like(z[:1, 0]), z[:1], x_prev[:1])
    except (NotImplementedError, RuntimeError):
        return _reverse_slopes(decoder)
    return _forward_slopes(sweep)


# ------------------------------------------------------------------------- the adaptive integral


class _Integrals(NamedTuple):
    global_: Tensor
    local: Tensor
    error: Tensor  # completeness
    resolved: Tensor  # bool; all four (B, T)


_nodes, _weights = np.polynomial.legendre.leggauss(NODES)
# row k gives the k-th Legendre coefficient of the polynomial through the five nodes
_LEGENDRE = np.polynomial.legendre.legvander(_nodes, NODES - 1).T * _weights * (np.arange(NODES)[:, None] + 0.5)


def _roughness(values: Tensor, to_legendre: Tensor) -> Tensor:
    """An estimate of the quadrature error from the values at the nodes, (..., NODES) -> (...).

    5 nodes are exact up to degree 9. Where the coefficients c_k fall geometrically, the first term that is lost is
    about |c_4| (|c_4| / |c_2|)^3; odd neighbours stand in where the integrand is nearly odd or even.
    """
    c = (values @ to_legendre.T).abs()
    low, high = torch.maximum(c[..., 1], c[..., 2]), torch.maximum(c[..., 3], c[..., 4])
    decay = (high / low.clamp(min=torch.finfo(c.dtype).tiny)).clamp(max=1)
    return high * decay**3


def _quadrature(
    slopes: Slopes, z: Tensor, x_prev: Tensor, start: Tensor, length: float, w: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The integrals over [start, start + length], one interval per row of z, x_prev and w.

    Returns the projected integrals (3, i, T), the roughness (i, T) and the vector int d_total (i, T, H).
    """
    nodes, weights = z.new_tensor((_nodes + 1) / 2 * length), z.new_tensor(_weights / 2 * length)
    each = torch.arange(len(z), device=z.device).repeat_interleave(NODES)
    along, total = slopes((start[:, None] + nodes).flatten(), z[each], x_prev[each], w[each])
    along = along.unflatten(1, (len(z), NODES)).transpose(2, 3)  # (3, i, T, NODES)
    rough = length * _roughness(along[1:], z.new_tensor(_LEGENDRE)).amax(dim=0)
    if total is not None:
        total = torch.einsum("inth,n->ith", total.unflatten(0, (len(z), NODES)), weights)
    return along @ weights, rough, total


def _integrate(decoder: Decoder, slopes: Slopes, z: Tensor, x_prev: Tensor, tolerance: float) -> _Integrals:
    epsilon = torch.finfo(z.dtype).eps

    def states(at: Tensor, row: Tensor) -> Tensor:
        return decoder(at[:, None] * z[row], at[:, None, None] * x_prev[row])

    # every open interval of a level has the same length: its series, its left end, the states at both ends
    row = torch.arange(len(z), device=z.device)
    start = z.new_zeros(len(z))
    low, high = states(start, row), states(start + 1, row)
    change = high - low
    norm = change.norm(dim=-1)
    size = low.norm(dim=-1) + high.norm(dim=-1)
    defined = norm > 1000 * epsilon * size  # below that the change is rounding
    rounding = 8 * epsilon * size / norm  # a residual this small is rounding, and no subdivision removes it
    w = torch.where(defined[..., None], change / norm.square()[..., None], 0)  # m = <w, int d>

    sums, at_once = z.new_zeros(3, *norm.shape), ON_A_GPU if z.is_cuda else INTERVALS
    residuals, doubt = torch.zeros_like(change), torch.zeros_like(norm)
    for depth in range(MAX_DEPTH + 1):
        length = 0.5**depth
        pieces = [
            _quadrature(slopes, z[some], x_prev[some], at, length, w[some])
            for some, at in zip(row.split(at_once), start.split(at_once), strict=True)
        ]
        parts = torch.cat([piece[0] for piece in pieces], dim=1)
        rough = torch.cat([piece[1] for piece in pieces])
        totals = [piece[2] for piece in pieces if piece[2] is not None]
        if totals:
            residual = high - low - torch.cat(totals)
        else:  # only the residual's component along the change is known
            residual = (torch.linalg.vecdot(high - low, w[row]) - parts[0])[..., None] * change[row]
        budget = tolerance * max(length, SHARE) + rounding[row]
        large = (residual.norm(dim=-1) / norm[row] > budget) | (rough > budget)
        split = (large & defined[row]).any(dim=-1) if depth < MAX_DEPTH else torch.zeros_like(row, dtype=torch.bool)
        split &= (torch.bincount(row[split], minlength=len(z)) <= MAX_WIDTH)[row]

        done = ~split
        sums.index_add_(1, row[done], parts[:, done])
        residuals.index_add_(0, row[done], residual[done])
        doubt.index_add_(0, row[done], rough[done])
        if not split.any():
            break
        middle = start[split] + length / 2
        halfway = states(middle, row[split])
        low, high = torch.cat([low[split], halfway]), torch.cat([halfway, high[split]])
        start, row = torch.cat([start[split], middle]), row[split].repeat(2)

    error = torch.where(defined, residuals.norm(dim=-1) / norm, torch.nan)
    resolved = defined & (error <= tolerance + rounding) & (doubt <= tolerance + rounding)
    global_, local = torch.where(defined, sums[1:], torch.nan)
    global_[:, 0] = local[:, 0] = torch.where(defined[:, 0], 1.0, torch.nan)  # the latent is the only input
    return _Integrals(global_, local, error, resolved)


@torch.no_grad()
def _measures(decoder: Decoder, z: Tensor, x_prev: Tensor, tolerance: float) -> _Integrals:
    slopes, rows = _slopes_of(decoder, z, x_prev), ON_A_GPU if z.is_cuda else ROWS
    parts = [
        _integrate(decoder, slopes, some_z, some_x, tolerance)
        for some_z, some_x in zip(z.split(rows), x_prev.split(rows), strict=True)
    ]
    return _Integrals(*(torch.cat(values) for values in zip(*parts, strict=True)))


def dependency_measures(decoder: Decoder, z: Tensor, x_prev: Tensor, tolerance: float = 1e-2) -> DependencyMeasures:
    """The dependency measures of any decoder, to a stated tolerance.

    decoder: a callable (z (B, D), x_prev (B, T-1, C)) -> h (B, T, H), each row a function of its own inputs. Where it
    has a method `tangent_sweep(s (B,), z, x_prev) -> (h, d_total, d_global, d_local)` (see `forward_sweep`) that is
    used; else forward-mode differentiation; else reverse mode, in which completeness is known only along h_t - h~_t.
    tolerance: of the completeness error and of each measure, no unit. Below about 1e-5 pass float64.

    Raises InputError where the shapes do not fit or the tolerance is not positive.

    >>> z, x = torch.ones(1, 1), torch.ones(1, 2, 1)
    >>> found = dependency_measures(lambda z, x: torch.cat([z[:, None], z[:, None] + x], dim=1).cumsum(1), z, x)
    >>> found.global_.tolist(), found.unresolved
    ([[1.0, 0.6666666865348816, 0.6000000238418579]], 0)
    """
    if not tolerance > 0:
        raise InputError(f"dependency_measures: tolerance = {tolerance!r}: expected a number > 0")
    if z.ndim != 2 or x_prev.ndim != 3 or len(z) != len(x_prev):
        raise InputError(
            f"dependency_measures: z {tuple(z.shape)}, x_prev {tuple(x_prev.shape)}: expected (B, D) and (B, T-1, C)"
        )
    with torch.no_grad():
        shape = tuple(decoder(z[:1], x_prev[:1]).shape)
    if len(shape) != 3 or shape[:2] != (1, x_prev.shape[1] + 1):
        raise InputError(
            f"dependency_measures: the decoder gave {shape} for one series: expected (1, {x_prev.shape[1] + 1}, H)"
        )
    found = _measures(decoder, z, x_prev, tolerance)
    return DependencyMeasures(found.global_, found.local, found.error, int((~found.resolved).sum()))


@register_metric("dependency")
@dataclass(frozen=True)
class Dependency(LatentMetric):
    """The global and the first-order local dependency of the decoder's state at every time t (see the file's head).

    Collapse is m_{t,0} going to 0 over t; the illusion of dependency is m_{t,t-1} above 0 on shuffled series.
    `dependency_completeness_error` is the worst the measures' sum can be off; `dependency_unresolved` counts series
    per t. All means are over the resolved series only, and n is how many those are; z is a draw of the series' own
    posterior.
    Shapes: the first `evaluate.dependency_series` test series (500, the paper's n), coordinate t = 1..T. Unit: share
    of the state's change, signed. sd is over series.
    Errors: a t with no resolved series is undefined.
    Source: Li et al., arXiv:2405.14021, the dependency measures. Ours: adaptive quadrature, completeness reported.
    Blind to: a decoder that only detects noise in z; read it beside `nll_permuted - nll_own`.
    """

    version = 1
    outputs = ("dependency_global", "dependency_local", "dependency_completeness_error", "dependency_unresolved")
    unit = "share"
    direction = "none"
    source = "Li et al., arXiv:2405.14021"

    @torch.no_grad()
    def measure(self, evaluation: LatentEvaluation) -> list[Measurement]:
        """Four values for every t."""
        n = evaluation.config.dependency_series
        z, series = own_latents(evaluation)[0, :n], evaluation.series[:n]
        decoder = evaluation.model.decoder.single(0)
        found = _measures(decoder, z, series[:, :-1], evaluation.config.dependency_tolerance)
        rows = []
        for t in range(series.shape[1]):
            keep = found.resolved[:, t]
            for name, values in zip(self.outputs, found[:3], strict=False):
                if keep.any():
                    rows.append(spread(name, values[keep, t], coordinate="t", index=t + 1, block=evaluation.block))
                else:
                    rows += undefined((name,), "no series is resolved", coordinate="t", index=t + 1)
            open_cells = float((~keep).sum())
            rows.append(Measurement("dependency_unresolved", open_cells, n=len(series), coordinate="t", index=t + 1))
        return rows
