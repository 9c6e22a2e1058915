"""p(x_t | h_t): what a decoder says about the next values, and the same family as a marginal without any latent.

Shapes: R runs, B series, T time steps, C channels, K mixture components. Values are in train-scaled units. A likelihood
gives log-probabilities of their cells (see `bench.parts.cells`) in nats per series, so never above 0. No standard
deviation of a family goes below a floor per channel (C,): forward-filled, zero-inflated and interpolated channels
would otherwise teach a decoder that there is no noise at all.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, cast, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from bench.contracts import Draws, Likelihood, Unavailable
from bench.parts.cells import ContinuousCells, Intervals, log_probability

LOG_TWO_PI = math.log(2 * math.pi)
EM_UPDATES = 50  # of a mixture's marginal; the log-likelihood then moves by less than 1e-3 nats per value
EM_SERIES = 2000  # at most, evenly spaced among the training windows
SCORE_STEP = 1 / 4
SCORES = tuple(k * SCORE_STEP for k in range(-12, 13))  # where quantiles go; a map goes on straight beyond them
QUANTILE_VALUES = 20_000  # at most per channel, evenly spaced among the training windows


@runtime_checkable
class Stepwise(Protocol):
    """A likelihood that tells its steps apart, so that a part of a series can be scored."""

    def log_prob_steps(self, x: Tensor) -> Tensor:
        """ln p(x_t | z, past) in nats per step, (R, B, T); its sum over t is `log_prob`."""
        ...


@runtime_checkable
class Cumulative(Protocol):
    """A likelihood whose distribution function can be written down, so that its calibration can be seen."""

    def cdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """P(X_tc < l) and P(X_tc <= u) given the channels before c, the past and z, each (R, B, T, C).

        (l, u) is the cell of x_tc; without cells it is x_tc itself. They differ by the probability of x_tc.
        """
        ...


@runtime_checkable
class Standardised(Protocol):
    """A Gaussian likelihood, perhaps of a function of x: residuals in units of the stated deviation."""

    def standardised(self, x: Tensor) -> Tensor:
        """Independent N(0, 1) values under p, each given the channels before, (R, B, T, C)."""
        ...


@runtime_checkable
class Tempered(Protocol):
    """A likelihood whose samples can be made less, or more, random."""

    def tempered(self, temperature: Tensor) -> Likelihood:
        """The likelihood to draw from at these temperatures, one per run, (R,). At 1 it is the same, bit for bit."""
        ...


def tempered(p: Likelihood, temperature: Tensor | None) -> Likelihood:
    """The distribution that a series is drawn from at a sampling temperature per run, (R,); None: p itself.

        deviations and scales    sigma' = tau sigma,    s' = tau s
        weights of a mixture     w_k' = w_k^(1/tau) / sum_j w_j^(1/tau)

    It is not the power p^(1/tau), normalised. Of one Gaussian it is the power 1 / tau^2, of a table of bins of equal
    width the power 1 / tau. The parts of a mixture are tempered one by one, which where they overlap is no power of
    their sum. As tau falls to 0, all mass goes to the location of the part with the largest weight.
    Source: the biased sampling of Graves 2013, arXiv:1308.0850, sec. 5.4, in which weights are sharpened and deviations
    shrink together. Its equations are not checked against the text. Ours: one tau for both.
    Raises Unavailable for a likelihood without `tempered`.
    """
    if temperature is None:
        return p
    if not isinstance(p, Tempered):
        raise Unavailable(
            f"evaluate.temperature: the likelihood {type(p).__name__} has no method `tempered`: expected 1"
        )
    return p.tempered(temperature)


def of_runs(values: Tensor, like: Tensor) -> Tensor:
    """A number per run (R,) beside a tensor (R, ...): (R, 1, ...), of its type."""
    return values.to(like).reshape(-1, *(1,) * (like.ndim - 1))


Refit: TypeAlias = Callable[[Tensor, Tensor | None], Likelihood]
"""From residuals (R, B, T, C), and a weight per series (R, B) or none, to the same distribution with their scale."""


@dataclass(frozen=True)
class Family:
    """What the families share: probabilities of cells, and a scale that is no parameter but follows the residuals.

    Without `refit` the scale stays as it is.
    """

    cells: Intervals = field(default=ContinuousCells(), kw_only=True, repr=False, compare=False)
    refit: Refit | None = field(default=None, kw_only=True, repr=False, compare=False)

    def log_prob(self, x: Tensor) -> Tensor:
        """ln P(cells of x) in nats per series, (R, B)."""
        return cast(Stepwise, self).log_prob_steps(x).sum(dim=-1)

    def residual(self, x: Tensor) -> Tensor:
        """x minus what the distribution predicts, (R, B, T, C)."""
        return x - cast(Likelihood, self).mean

    def noise(self, draws: Draws) -> Tensor:
        """All that is random in a draw, (R, B, T, C, numbers per value); it does not depend on the means."""
        raise NotImplementedError

    def place(self, noise: Tensor) -> Tensor:
        """The values that this noise stands for, channel by channel, (R, B, T, C)."""
        raise NotImplementedError

    def sample(self, draws: Draws) -> Tensor:
        """x ~ p, (R, B, T, C)."""
        return self.place(self.noise(draws))

    def fitted(self, x: Tensor, weight: Tensor | None = None) -> Likelihood:
        """The same distribution with the scale of this batch; in training the head's running scale follows it."""
        return cast(Likelihood, self) if self.refit is None else self.refit(self.residual(x), weight)


def fitted(p: Likelihood, x: Tensor, weight: Tensor | None = None) -> Likelihood:
    """p with the scale that explains x (R, B, T, C) best; a likelihood that has no such scale is used as it is.

    At that scale the derivative of the likelihood with respect to it is zero, so the gradient with respect to
    everything else is the one that the scale as a function of the residuals would give.
    Source: sigma-VAE, Rybkin et al. 2021, arXiv:2006.13202, eq. 5 (sec. 4 of the version submitted to ICLR 2021), which
    has one sigma for all values. Ours: the scale is the likelihood's own, such as one per channel.
    """
    return p.fitted(x, weight) if isinstance(p, Family) else p


def _normal_cdf(middle: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """The distribution function of a standard normal at both ends of a cell."""
    return torch.special.ndtr(middle - width / 2), torch.special.ndtr(middle + width / 2)


@dataclass(frozen=True)
class Gaussian(Family):
    """Independent Gaussians: mean (R, B, T, C), sigma broadcastable to it."""

    mean: Tensor
    sigma: Tensor
    noisy: bool = True  # False: `sample` gives the mean

    @classmethod
    def marginal(cls, x: Tensor, floor: Tensor) -> Gaussian:
        """Maximum likelihood per time and channel: windows x (n, T, C), floor (C,) -> mean and sigma (T, C)."""
        return cls(x.mean(dim=0), torch.maximum(x.std(dim=0, correction=0), floor))

    def _standard_cells(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The middle and the width of each value's cell in units of sigma, from the mean."""
        middle, width = self.cells.cell(x)
        return (middle - self.mean) / self.sigma, width / self.sigma

    def log_prob_steps(self, x: Tensor) -> Tensor:
        """ln P(cells of x_t) in nats per step, (R, B, T)."""
        return log_probability(*self._standard_cells(x)).sum(dim=-1)

    def standardised(self, x: Tensor) -> Tensor:
        """(x - mean) / sigma, (R, B, T, C)."""
        return (x - self.mean) / self.sigma

    def cdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """P(X < l) and P(X <= u) of each value's cell, (R, B, T, C)."""
        return _normal_cdf(*self._standard_cells(x))

    def noise(self, draws: Draws) -> Tensor:
        """A standard normal number per value, (R, B, T, C, 1); 0 without noise."""
        if not self.noisy:
            return torch.zeros_like(self.mean).unsqueeze(-1)
        return draws.normal(*self.mean.shape[1:]).unsqueeze(-1)

    def place(self, noise: Tensor) -> Tensor:
        """mean + sigma noise, (R, B, T, C)."""
        return self.mean + self.sigma * noise.squeeze(-1) if self.noisy else self.mean

    def tempered(self, temperature: Tensor) -> Gaussian:
        """sigma' = tau sigma."""
        return dataclasses.replace(self, sigma=self.sigma * of_runs(temperature, self.sigma), refit=None)


@dataclass(frozen=True)
class CorrelatedGaussian(Family):
    """Gaussians whose channels correlate within a step: mean (R, B, T, C), covariance factor factor^T.

    factor (R, 1, 1 or T, C, C) is lower triangular, shared by all series.
    """

    mean: Tensor
    factor: Tensor

    @classmethod
    def of_covariance(cls, mean: Tensor, covariance: Tensor, floor: Tensor) -> CorrelatedGaussian:
        """Covariance (..., C, C) + diag floor^2: given the others no channel has a deviation below floor (..., C)."""
        least = torch.diag_embed(floor.square()).to(covariance.dtype)
        factor, failed = torch.linalg.cholesky_ex(covariance + least)  # asks the host nothing, as `cholesky` does
        return cls(mean, factor.masked_fill((failed != 0)[..., None, None], math.nan))

    @classmethod
    def marginal(cls, x: Tensor, floor: Tensor) -> CorrelatedGaussian:
        """Mean and covariance per time: windows x (n, T, C) -> mean (T, C), factor (T, C, C)."""
        mean = x.mean(dim=0)
        of_time = (x - mean).transpose(0, 1).double()
        fitted = cls.of_covariance(mean, of_time.mT @ of_time / len(x), floor)
        return cls(mean, fitted.factor.to(x.dtype))

    def _standard_cells(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of each channel given the exact values of those before it."""
        middle, width = self.cells.cell(x)
        sigma = self.factor.diagonal(dim1=-2, dim2=-1)
        return self.standardised(x) + (middle - x) / sigma, width / sigma

    def log_prob_steps(self, x: Tensor) -> Tensor:
        """sum_c ln P(cell of x_tc | x_t1 .. x_t,c-1) in nats per step, (R, B, T)."""
        return log_probability(*self._standard_cells(x)).sum(dim=-1)

    def _white(self, x: Tensor) -> Tensor:
        """factor^-1 (x - mean) with series beside channels, (R, T, B, C)."""
        factor = self.factor.squeeze(1)
        identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device).expand_as(factor)
        whitening = torch.linalg.solve_triangular(factor, identity, upper=False)
        return (x - self.mean).transpose(1, 2) @ whitening.mT

    def standardised(self, x: Tensor) -> Tensor:
        """factor^-1 (x - mean): channel c given the channels before it, because the factor is triangular."""
        return self._white(x).transpose(1, 2)

    def cdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """P(X_c < l_c) and P(X_c <= u_c) given the channels before c, (R, B, T, C)."""
        return _normal_cdf(*self._standard_cells(x))

    def noise(self, draws: Draws) -> Tensor:
        """A draw of x - mean, (R, B, T, C, 1)."""
        noise = draws.normal(*self.mean.shape[1:]).to(self.factor)
        return (noise.transpose(1, 2) @ self.factor.squeeze(1).mT).transpose(1, 2).unsqueeze(-1)

    def place(self, noise: Tensor) -> Tensor:
        """mean + noise, (R, B, T, C)."""
        return self.mean + noise.squeeze(-1)

    def tempered(self, temperature: Tensor) -> CorrelatedGaussian:
        """factor' = tau factor: every deviation by the same factor, no correlation changes."""
        return dataclasses.replace(self, factor=self.factor * of_runs(temperature, self.factor), refit=None)


@dataclass(frozen=True)
class Mixture(Family):
    """A mixture whose component is shared by the channels of a step, so that they depend on one another.

        p(x_t) = sum_k w_tk prod_c N(x_tc; mean_tkc, sigma_tkc^2)

    log_weights (R, B, T, K), normalised; means and sigmas (R, B, T, K, C).
    Source: mixture density networks, Bishop 1994, Aston University NCRG/94/004; Graves 2013, arXiv:1308.0850, sec. 4.1.
    The section is not checked against the text.
    """

    log_weights: Tensor
    means: Tensor
    sigmas: Tensor

    @classmethod
    def marginal(cls, x: Tensor, floor: Tensor, components: int) -> Mixture:
        """K components per time by EM: windows x (n, T, C) -> log_weights (T, K), means and sigmas (T, K, C).

        Begins with K equal groups along the first principal direction of each step: no draws.
        """
        x = x[:: -(-len(x) // EM_SERIES)].transpose(0, 1).double()  # (T, n, C)
        centred = x - x.mean(dim=1, keepdim=True)
        main = torch.linalg.eigh(centred.mT @ centred).eigenvectors[..., -1:]
        rank = (centred @ main).squeeze(-1).argsort(dim=-1).argsort(dim=-1)
        share = functional.one_hot(rank * components // x.shape[1], components).double()  # (T, n, K)
        for _ in range(EM_UPDATES):
            total = share.sum(dim=1).clamp(min=1e-3)  # an empty component keeps a tiny weight: no logarithm of 0
            weights, means = total / total.sum(dim=-1, keepdim=True), share.mT @ x / total.unsqueeze(-1)
            variances = torch.maximum(share.mT @ x.square() / total.unsqueeze(-1) - means.square(), floor.square())
            precisions = 1 / variances
            distances = x.square() @ precisions.mT - 2 * x @ (precisions * means).mT
            constants = weights.log() - 0.5 * (precisions * means.square() + variances.log()).sum(dim=-1)
            share = (constants.unsqueeze(1) - 0.5 * distances).softmax(dim=-1)
        return cls(weights.log().float(), means.float(), variances.sqrt().float())

    @property
    def mean(self) -> Tensor:
        """(R, B, T, C)"""
        return (self.log_weights.exp().unsqueeze(-1) * self.means).sum(dim=-2)

    def _standard_cells(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of every component, (R, B, T, K, C)."""
        middle, width = self.cells.cell(x)
        width = width.expand_as(x).unsqueeze(-2)
        return (middle.unsqueeze(-2) - self.means) / self.sigmas, width / self.sigmas

    def log_prob_steps(self, x: Tensor) -> Tensor:
        """ln sum_k w_tk prod_c P_tk(cell of x_tc) in nats per step, (R, B, T)."""
        of_component = log_probability(*self._standard_cells(x)).sum(dim=-1)
        return (self.log_weights + of_component).logsumexp(dim=-1).clamp(max=0)

    def cdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """P(X_c < l_c) and P(X_c <= u_c) given the cells of the channels before c, (R, B, T, C).

        The channels before tell which component it may be: sum_k w_k|<c Phi((x_c - mean_kc) / sigma_kc).
        """
        middle, width = self._standard_cells(x)
        before = functional.pad(log_probability(middle, width).cumsum(dim=-1)[..., :-1], (1, 0))
        share = (self.log_weights.unsqueeze(-1) + before).softmax(dim=-2)
        below, upto = ((share * of_component).sum(dim=-2) for of_component in _normal_cdf(middle, width))
        return below, upto

    def noise(self, draws: Draws) -> Tensor:
        """The component of the step and a standard normal number, (R, B, T, C, 2)."""
        _, batch, steps, _, channels = self.means.shape
        below = self.log_weights.exp().cumsum(dim=-1)[..., :-1]
        chosen = (draws.uniform(batch, steps, 1) > below).sum(dim=-1, keepdim=True).expand(-1, -1, -1, channels)
        normal = draws.normal(batch, steps, channels)
        return torch.stack([chosen.to(normal), normal], dim=-1)

    def place(self, noise: Tensor) -> Tensor:
        """mean_k + sigma_k noise of the chosen component, (R, B, T, C)."""
        chosen, normal = noise.unbind(dim=-1)
        index = chosen.long().unsqueeze(-2)
        mean, sigma = (values.gather(-2, index).squeeze(-2) for values in (self.means, self.sigmas))
        return mean + sigma * normal

    def tempered(self, temperature: Tensor) -> Mixture:
        """sigma_k' = tau sigma_k, w_k' proportional to w_k^(1/tau)."""
        tau = of_runs(temperature, self.log_weights)
        sharper = (self.log_weights / tau).log_softmax(dim=-1)
        weights = torch.where(tau == 1, self.log_weights, sharper)  # normalising again would move the last bit
        sigmas = self.sigmas * of_runs(temperature, self.sigmas)
        return dataclasses.replace(self, log_weights=weights, sigmas=sigmas, refit=None)


@dataclass(frozen=True)
class WarpedGaussian(Family):
    """Gaussians of g(x), where g takes the quantiles of a channel's training values to those of a standard normal.

        P(l < x < u) = F(g(u)) - F(g(l)),   F of N(location, sigma^2)
        g linear between the knots, g(knot_k) = SCORES_k

    location (R, B, T, C), sigma broadcastable to it, knots (R, 1, 1, C, K). g is nowhere steeper than 1 / floor;
    where it is steeper than 1, at values that are common, a deviation of x may be below the floor.
    Source: the quantile (rank-based inverse normal) transform, Beasley et al. 2009, Behavior Genetics 39, 580-595.
    """

    location: Tensor
    sigma: Tensor
    knots: Tensor

    @staticmethod
    def fitted_knots(x: Tensor, floor: Tensor) -> Tensor:
        """The knots of windows x (n, T, C), (C, K), the median where it is; ties are drawn apart."""
        values = x.flatten(0, 1)
        values = values[:: -(-len(values) // QUANTILE_VALUES)].double()
        scores = values.new_tensor(SCORES)
        quantiles = torch.quantile(values, torch.special.ndtr(scores), dim=0).mT
        gaps = torch.maximum(quantiles.diff(dim=-1), floor[:, None] * SCORE_STEP)
        places = functional.pad(gaps.cumsum(dim=-1), (1, 0))
        middle = len(SCORES) // 2
        return (places + (quantiles - places)[:, middle, None]).to(x.dtype)

    @classmethod
    def marginal(cls, x: Tensor, floor: Tensor) -> WarpedGaussian:
        """g of all times, a Gaussian of g(x) per time: windows x (n, T, C) -> (T, C), (T, C), (1, C, K)."""
        knots = cls.fitted_knots(x, floor)[None]
        of_zero = cls(torch.zeros_like(x[None]), torch.ones_like(x[None]), knots[None, None])
        normal = Gaussian.marginal(of_zero.warp(x[None])[0][0], floor)
        return cls(normal.mean, normal.sigma, knots)

    @property
    def _knots_of_runs(self) -> Tensor:
        """(R, C, K)"""
        return self.knots.squeeze(1).squeeze(1)

    def _piece(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The left knot and the width of the intervals `index` (R, B, T, C)."""
        knots, flat = self._knots_of_runs, index.flatten(1, 2).mT
        left, width = (values.gather(-1, flat).mT.unflatten(1, index.shape[1:3]) for values in (knots, knots.diff()))
        return left, width

    def residual(self, x: Tensor) -> Tensor:
        """g(x) - location, (R, B, T, C)."""
        return self.warp(x)[0] - self.location

    def warp(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """g(x) and ln g'(x), each (R, B, T, C)."""
        knots = self._knots_of_runs.contiguous()
        index = torch.searchsorted(knots, x.flatten(1, 2).mT.contiguous()).clamp(1, len(SCORES) - 1) - 1
        index = index.mT.unflatten(1, x.shape[1:3])
        left, width = self._piece(index)
        return SCORES[0] + SCORE_STEP * (index + (x - left) / width), math.log(SCORE_STEP) - width.log()

    def unwarp(self, y: Tensor) -> Tensor:
        """x = g^-1(y), (R, B, T, C)."""
        place = (y - SCORES[0]) / SCORE_STEP
        index = place.detach().floor().long().clamp(0, len(SCORES) - 2)
        left, width = self._piece(index)
        return left + width * (place - index)

    @property
    def mean(self) -> Tensor:
        """(R, B, T, C): the sum over g's pieces of what a truncated normal has there."""
        inner = self.location.new_tensor(SCORES[1:-1])
        ends = functional.pad((inner - self.location[..., None]) / self.sigma[..., None], (1, 1))
        ends = torch.cat([ends[..., :1] - torch.inf, ends[..., 1:-1], ends[..., -1:] + torch.inf], dim=-1)
        mass = torch.special.ndtr(ends).diff(dim=-1)
        density = (-0.5 * ends.square()).exp().diff(dim=-1) / math.sqrt(2 * math.pi)
        of_y = self.location[..., None] * mass - self.sigma[..., None] * density
        slope = self.knots.diff(dim=-1) / SCORE_STEP
        at_zero = self.knots[..., :-1] - slope * self.location.new_tensor(SCORES[:-1])
        return (at_zero * mass + slope * of_y).sum(dim=-1)

    def _standard_cells(self, x: Tensor) -> tuple[Tensor, Tensor]:
        middle, width = self.cells.cell(x)
        low, high = (self.warp(middle + side * width / 2)[0] for side in (-1, 1))
        return ((low + high) / 2 - self.location) / self.sigma, (high - low) / self.sigma

    def log_prob_steps(self, x: Tensor) -> Tensor:
        """ln P(cells of x_t) in nats per step, (R, B, T)."""
        return log_probability(*self._standard_cells(x)).sum(dim=-1)

    def standardised(self, x: Tensor) -> Tensor:
        """(g(x) - location) / sigma, (R, B, T, C)."""
        return self.residual(x) / self.sigma

    def cdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """P(X < l) and P(X <= u) of each value's cell, (R, B, T, C)."""
        return _normal_cdf(*self._standard_cells(x))

    def noise(self, draws: Draws) -> Tensor:
        """A standard normal number per value, (R, B, T, C, 1)."""
        return draws.normal(*self.location.shape[1:]).unsqueeze(-1)

    def place(self, noise: Tensor) -> Tensor:
        """g^-1(location + sigma noise), (R, B, T, C)."""
        return self.unwarp(self.location + self.sigma * noise.squeeze(-1))

    def tempered(self, temperature: Tensor) -> WarpedGaussian:
        """sigma' = tau sigma, the deviation of g(x)."""
        return dataclasses.replace(self, sigma=self.sigma * of_runs(temperature, self.sigma), refit=None)


Marginal: TypeAlias = Gaussian | CorrelatedGaussian | Mixture | WarpedGaussian
"""A distribution per time step without any latent; its fields begin with T or 1, or with (R, 1, ..) in a stack."""


def tensors_of(p: Marginal) -> dict[str, Tensor]:
    """The parameters of a distribution by name."""
    values = {field.name: getattr(p, field.name) for field in dataclasses.fields(p)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}
