"""p(x_t | h_t): what a decoder says about the next values, and the same family as a marginal without any latent.

Shapes: R runs, B series, T time steps, C channels, K mixture components. Values are in train-scaled
units, log-densities in nats per series. No standard deviation of a family goes below `sigma_min`,
because forward-filled, zero-inflated and interpolated channels make a density unbounded otherwise.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from bench.contracts import Draws

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
        """P(X_tc < x_tc) and P(X_tc <= x_tc) given the channels before c, the past and z, each (R, B, T, C).

        They differ where x_tc has a probability of its own, not only a density.
        """
        ...


@runtime_checkable
class Standardised(Protocol):
    """A Gaussian likelihood, perhaps of a function of x: residuals in units of the stated deviation."""

    def standardised(self, x: Tensor) -> Tensor:
        """Independent N(0, 1) values under p, each given the channels before, (R, B, T, C)."""
        ...


def _deviance(x: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
    """-2 ln N(x; mean, sigma^2) of each value."""
    return ((x - mean) / sigma).square() + 2 * sigma.log() + LOG_TWO_PI


def _normal_cdf(standardised: Tensor) -> tuple[Tensor, Tensor]:
    """The distribution function of a standard normal value, which no value has a probability of its own under."""
    below = torch.special.ndtr(standardised)
    return below, below


def gaussian_log_prob(x: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
    """ln N(x; mean, sigma^2) summed over time and channels: (..., T, C) -> (...), in nats per series.

    >>> import torch
    >>> x = torch.zeros(1, 1, 3, 2)
    >>> round(float(gaussian_log_prob(x, x, torch.ones(2))), 4)  # -3 ln(2 pi)
    -5.5136
    """
    return -0.5 * _deviance(x, mean, sigma).sum(dim=(-2, -1))


@dataclass(frozen=True)
class Gaussian:
    """Independent Gaussians: mean (R, B, T, C), sigma broadcastable to it."""

    mean: Tensor
    sigma: Tensor
    noisy: bool = True  # False: `sample` gives the mean

    @classmethod
    def marginal(cls, x: Tensor, sigma_min: float) -> Gaussian:
        """Maximum likelihood per time and channel: windows x (n, T, C) -> mean and sigma (T, C)."""
        return cls(x.mean(dim=0), x.std(dim=0, correction=0).clamp(min=sigma_min))

    def log_prob(self, x: Tensor) -> Tensor:
        """ln p(x) in nats per series, (R, B)."""
        return gaussian_log_prob(x, self.mean, self.sigma)

    def log_prob_steps(self, x: Tensor) -> Tensor:
        """ln p(x_t) in nats per step, (R, B, T)."""
        return -0.5 * _deviance(x, self.mean, self.sigma).sum(dim=-1)

    def standardised(self, x: Tensor) -> Tensor:
        """(x - mean) / sigma, (R, B, T, C)."""
        return (x - self.mean) / self.sigma

    def cdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """P(X < x) and P(X <= x) of each value, equal, (R, B, T, C)."""
        return _normal_cdf(self.standardised(x))

    def sample(self, draws: Draws) -> Tensor:
        """x ~ p, (R, B, T, C)."""
        if not self.noisy:
            return self.mean
        return self.mean + self.sigma * draws.normal(*self.mean.shape[1:])


@dataclass(frozen=True)
class CorrelatedGaussian:
    """Gaussians whose channels correlate within a step: mean (R, B, T, C), covariance factor factor^T.

    factor (R, 1, 1 or T, C, C) is lower triangular, shared by all series.
    """

    mean: Tensor
    factor: Tensor

    @classmethod
    def of_covariance(cls, mean: Tensor, covariance: Tensor, sigma_min: float) -> CorrelatedGaussian:
        """Covariance (..., C, C) + sigma_min^2 I, so that no direction has a deviation below sigma_min."""
        floor = sigma_min**2 * torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
        factor, failed = torch.linalg.cholesky_ex(covariance + floor)  # asks the host nothing, as `cholesky` does
        return cls(mean, factor.masked_fill((failed != 0)[..., None, None], math.nan))

    @classmethod
    def marginal(cls, x: Tensor, sigma_min: float) -> CorrelatedGaussian:
        """Mean and covariance per time: windows x (n, T, C) -> mean (T, C), factor (T, C, C)."""
        mean = x.mean(dim=0)
        of_time = (x - mean).transpose(0, 1).double()
        fitted = cls.of_covariance(mean, of_time.mT @ of_time / len(x), sigma_min)
        return cls(mean, fitted.factor.to(x.dtype))

    def log_prob(self, x: Tensor) -> Tensor:
        """ln p(x) in nats per series, (R, B)."""
        white = self._white(x).square().sum(dim=(1, 3))
        log_scale = self._log_scale().expand(-1, x.shape[2]).sum(dim=-1)
        return -0.5 * (white + x.shape[2] * x.shape[3] * LOG_TWO_PI) - log_scale.unsqueeze(-1)

    def log_prob_steps(self, x: Tensor) -> Tensor:
        """ln p(x_t) in nats per step, (R, B, T)."""
        white = self.standardised(x).square().sum(dim=-1)
        return -0.5 * (white + x.shape[3] * LOG_TWO_PI) - self._log_scale().unsqueeze(1)

    def _white(self, x: Tensor) -> Tensor:
        """factor^-1 (x - mean) with series beside channels, (R, T, B, C)."""
        factor = self.factor.squeeze(1)
        identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device).expand_as(factor)
        whitening = torch.linalg.solve_triangular(factor, identity, upper=False)
        return (x - self.mean).transpose(1, 2) @ whitening.mT

    def _log_scale(self) -> Tensor:
        """ln det factor of each step, (R, 1 or T)."""
        return self.factor.squeeze(1).diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)

    def standardised(self, x: Tensor) -> Tensor:
        """factor^-1 (x - mean): channel c given the channels before it, because the factor is triangular."""
        return self._white(x).transpose(1, 2)

    def cdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """P(X_c < x_c) and P(X_c <= x_c) given the channels before c, equal, (R, B, T, C)."""
        return _normal_cdf(self.standardised(x))

    def sample(self, draws: Draws) -> Tensor:
        """x ~ p, (R, B, T, C)."""
        noise = draws.normal(*self.mean.shape[1:]).to(self.factor)
        return self.mean + (noise.transpose(1, 2) @ self.factor.squeeze(1).mT).transpose(1, 2)


@dataclass(frozen=True)
class Mixture:
    """A mixture whose component is shared by the channels of a step, so that they depend on one another.

        p(x_t) = sum_k w_tk prod_c N(x_tc; mean_tkc, sigma_tkc^2)

    log_weights (R, B, T, K), normalised; means and sigmas (R, B, T, K, C).
    Source: mixture density networks, Bishop 1994, Aston University NCRG/94/004; Graves 2013, arXiv:1308.0850, sec. 4.1.
    """

    log_weights: Tensor
    means: Tensor
    sigmas: Tensor

    @classmethod
    def marginal(cls, x: Tensor, sigma_min: float, components: int) -> Mixture:
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
            variances = (share.mT @ x.square() / total.unsqueeze(-1) - means.square()).clamp(min=sigma_min**2)
            precisions = 1 / variances
            distances = x.square() @ precisions.mT - 2 * x @ (precisions * means).mT
            constants = weights.log() - 0.5 * (precisions * means.square() + variances.log()).sum(dim=-1)
            share = (constants.unsqueeze(1) - 0.5 * distances).softmax(dim=-1)
        return cls(weights.log().float(), means.float(), variances.sqrt().float())

    @property
    def mean(self) -> Tensor:
        """(R, B, T, C)"""
        return (self.log_weights.exp().unsqueeze(-1) * self.means).sum(dim=-2)

    def _joint(self, x: Tensor) -> Tensor:
        """ln w_tk + ln N_tk(x_t), (R, B, T, K)."""
        x, means, sigmas = x[..., None, None, :], self.means.unsqueeze(-2), self.sigmas.unsqueeze(-2)
        return self.log_weights + gaussian_log_prob(x, means, sigmas)

    def log_prob(self, x: Tensor) -> Tensor:
        """ln p(x) in nats per series, (R, B)."""
        return self.log_prob_steps(x).sum(dim=-1)

    def log_prob_steps(self, x: Tensor) -> Tensor:
        """ln p(x_t) in nats per step, (R, B, T)."""
        return self._joint(x).logsumexp(dim=-1)

    def cdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """P(X_c < x_c) and P(X_c <= x_c) given the channels before c, equal, (R, B, T, C).

        The channels before tell which component it may be: sum_k w_k|<c Phi((x_c - mean_kc) / sigma_kc).
        """
        standardised = (x.unsqueeze(-2) - self.means) / self.sigmas
        of_channel = -0.5 * _deviance(x.unsqueeze(-2), self.means, self.sigmas)
        before = functional.pad(of_channel.cumsum(dim=-1)[..., :-1], (1, 0))
        share = (self.log_weights.unsqueeze(-1) + before).softmax(dim=-2)
        below = (share * torch.special.ndtr(standardised)).sum(dim=-2)
        return below, below

    def sample(self, draws: Draws) -> Tensor:
        """x ~ p, (R, B, T, C): a component per step, then its Gaussian."""
        runs, batch, steps, _, channels = self.means.shape
        below = self.log_weights.exp().cumsum(dim=-1)[..., :-1]
        chosen = (draws.uniform(batch, steps, 1) > below).sum(dim=-1)
        index = chosen[..., None, None].expand(runs, batch, steps, 1, channels)
        mean, sigma = (values.gather(-2, index).squeeze(-2) for values in (self.means, self.sigmas))
        return mean + sigma * draws.normal(batch, steps, channels)


@dataclass(frozen=True)
class WarpedGaussian:
    """Gaussians of g(x), where g takes the quantiles of a channel's training values to those of a standard normal.

        p(x) = N(g(x); location, sigma^2) g'(x),    g linear between the knots, g(knot_k) = SCORES_k

    location (R, B, T, C), sigma broadcastable to it, knots (R, 1, 1, C, K). g is nowhere steeper than 1 / sigma_min;
    where it is steeper than 1, at values that are common, a deviation of x may be below sigma_min.
    Source: the quantile (rank-based inverse normal) transform, Beasley et al. 2009, Behavior Genetics 39, 580-595.
    """

    location: Tensor
    sigma: Tensor
    knots: Tensor

    @staticmethod
    def fitted_knots(x: Tensor, sigma_min: float) -> Tensor:
        """The knots of windows x (n, T, C), (C, K), the median where it is; ties are drawn apart."""
        values = x.flatten(0, 1)
        values = values[:: -(-len(values) // QUANTILE_VALUES)].double()
        scores = values.new_tensor(SCORES)
        quantiles = torch.quantile(values, torch.special.ndtr(scores), dim=0).mT
        gaps = quantiles.diff(dim=-1).clamp(min=sigma_min * SCORE_STEP)
        places = functional.pad(gaps.cumsum(dim=-1), (1, 0))
        middle = len(SCORES) // 2
        return (places + (quantiles - places)[:, middle, None]).to(x.dtype)

    @classmethod
    def marginal(cls, x: Tensor, sigma_min: float) -> WarpedGaussian:
        """g of all times, a Gaussian of g(x) per time: windows x (n, T, C) -> (T, C), (T, C), (1, C, K)."""
        knots = cls.fitted_knots(x, sigma_min)[None]
        of_zero = cls(torch.zeros_like(x[None]), torch.ones_like(x[None]), knots[None, None])
        normal = Gaussian.marginal(of_zero.warp(x[None])[0][0], sigma_min)
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

    def log_prob(self, x: Tensor) -> Tensor:
        """ln p(x) in nats per series, (R, B)."""
        y, log_slope = self.warp(x)
        return gaussian_log_prob(y, self.location, self.sigma) + log_slope.sum(dim=(-2, -1))

    def log_prob_steps(self, x: Tensor) -> Tensor:
        """ln p(x_t) in nats per step, (R, B, T)."""
        y, log_slope = self.warp(x)
        return (log_slope - 0.5 * _deviance(y, self.location, self.sigma)).sum(dim=-1)

    def standardised(self, x: Tensor) -> Tensor:
        """(g(x) - location) / sigma, (R, B, T, C)."""
        return (self.warp(x)[0] - self.location) / self.sigma

    def cdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """P(X < x) and P(X <= x) of each value, equal, (R, B, T, C)."""
        return _normal_cdf(self.standardised(x))

    def sample(self, draws: Draws) -> Tensor:
        """x ~ p, (R, B, T, C)."""
        return self.unwarp(self.location + self.sigma * draws.normal(*self.location.shape[1:]))


Marginal: TypeAlias = Gaussian | CorrelatedGaussian | Mixture | WarpedGaussian
"""A distribution per time step without any latent; its fields begin with T or 1, or with (R, 1, ..) in a stack."""


def tensors_of(p: Marginal) -> dict[str, Tensor]:
    """The parameters of a distribution by name."""
    values = {field.name: getattr(p, field.name) for field in dataclasses.fields(p)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}
