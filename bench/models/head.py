"""From a decoder's state to a distribution of the next values: one head per `model.likelihood`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import Likelihood, ModelConfig
from bench.models.stacked import Linear, parameter
from bench.parts.likelihoods import SCORES, CorrelatedGaussian, Gaussian, Marginal, Mixture, WarpedGaussian
from bench.registry import LIKELIHOODS, register_likelihood


class Head(nn.Module, ABC):
    """h (R, B, T, H) -> p(x | h), and the same family without h as the marginal F of the training windows.

    The class docstring is the card of the likelihood. A learned standard deviation begins at 1 and is never below
    sigma_min.
    """

    def __init__(self, runs: int, hidden: int, channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.channels, self.sigma_min = channels, config.sigma_min
        self.mean = Linear(runs, hidden, channels)

    @abstractmethod
    def forward(self, h: Tensor) -> Likelihood:
        """(R, B, T, H) -> p(x | h)."""

    def marginal(self, x: Tensor) -> Marginal:
        """F of one run, fitted to its windows x (n, T, C); the fields without R and B."""
        return Gaussian.marginal(x, self.sigma_min)

    def fit(self, windows: Sequence[Tensor]) -> None:
        """Take what is no parameter from each run's training windows (n, T, C); most families take nothing."""

    def at_first(self) -> float:
        """What softplus takes to 1 - sigma_min, so that sigma = 1."""
        return math.log(math.expm1(max(1 - self.sigma_min, 1e-3)))

    def sigma(self, raw: Tensor) -> Tensor:
        """A standard deviation from any number."""
        return self.sigma_min + functional.softplus(raw)


@register_likelihood("gaussian")
class GaussianHead(Head):
    """Independent Gaussians whose standard deviation is learned per channel.

        p(x_t | h_t) = N(x_t; W h_t + b, diag sigma^2)

    Source: Kingma and Welling 2014, arXiv:1312.6114, app. C.2.
    Ours: sigma depends on the channel only.
    """

    def __init__(self, runs: int, hidden: int, channels: int, config: ModelConfig) -> None:
        super().__init__(runs, hidden, channels, config)
        self.raw_sigma = parameter(runs, channels, bound=0.0, centre=self.at_first())

    def forward(self, h: Tensor) -> Gaussian:
        """(R, B, T, H) -> p(x | h)."""
        return Gaussian(self.mean(h), self.sigma(self.raw_sigma)[:, None, None])


@register_likelihood("mse")
class MSEHead(Head):
    """Independent Gaussians of variance 1: the squared error as a likelihood.

        p(x_t | h_t) = N(x_t; W h_t + b, I),   -ln p = |x_t - W h_t - b|^2 / 2 + const

    Source: the squared error that most autoencoders are trained with.
    Ours: a sample is the mean, because noise of size 1 would be no model of anything.
    """

    def forward(self, h: Tensor) -> Gaussian:
        """(R, B, T, H) -> p(x | h)."""
        mean = self.mean(h)
        return Gaussian(mean, torch.ones_like(mean[:, :1, :1]), noisy=False)

    def marginal(self, x: Tensor) -> Gaussian:
        """With the same sigma = 1."""
        mean = x.mean(dim=0)
        return Gaussian(mean, torch.ones_like(mean))


@register_likelihood("heteroscedastic")
class HeteroscedasticHead(Head):
    """Independent Gaussians with a standard deviation for every step and channel.

        p(x_t | h_t) = N(x_t; mean(h_t), diag sigma(h_t)^2),   sigma = sigma_min + softplus(W h + b)

    Source: Kingma and Welling 2014, arXiv:1312.6114, app. C.2.
    """

    def __init__(self, runs: int, hidden: int, channels: int, config: ModelConfig) -> None:
        super().__init__(runs, hidden, channels, config)
        self.raw_sigma = Linear(runs, hidden, channels)
        nn.init.constant_(self.raw_sigma.bias, self.at_first())

    def forward(self, h: Tensor) -> Gaussian:
        """(R, B, T, H) -> p(x | h)."""
        return Gaussian(self.mean(h), self.sigma(self.raw_sigma(h)))


@register_likelihood("correlated")
class CorrelatedHead(Head):
    """A Gaussian with a learned covariance of the channels, the same at every step.

        p(x_t | h_t) = N(x_t; W h_t + b, A A^T + sigma_min^2 I)

    Source: the multivariate normal distribution; A is a free C x C matrix.
    """

    def __init__(self, runs: int, hidden: int, channels: int, config: ModelConfig) -> None:
        super().__init__(runs, hidden, channels, config)
        self.root = parameter(runs, channels, channels, bound=0.0)  # A
        self.root.data += math.sqrt(max(1 - self.sigma_min**2, 1e-3)) * torch.eye(channels)

    def forward(self, h: Tensor) -> CorrelatedGaussian:
        """(R, B, T, H) -> p(x | h)."""
        covariance = (self.root @ self.root.mT)[:, None, None]
        return CorrelatedGaussian.of_covariance(self.mean(h), covariance, self.sigma_min)

    def marginal(self, x: Tensor) -> CorrelatedGaussian:
        """With a covariance per time step."""
        return CorrelatedGaussian.marginal(x, self.sigma_min)


@register_likelihood("quantile")
class QuantileHead(GaussianHead):
    """A Gaussian of g(x), where g maps each channel's training quantiles to those of a normal distribution.

        p(x_t | h_t) = N(g(x_t); W h_t + b, diag sigma^2) prod_c g'(x_{t,c})

    Source: the rank-based inverse normal transform, Beasley et al. 2009, Behavior Genetics 39, 580-595.
    Ours: g is piecewise linear between 25 quantiles; see `bench.parts.likelihoods.WarpedGaussian`.
    """

    def __init__(self, runs: int, hidden: int, channels: int, config: ModelConfig) -> None:
        super().__init__(runs, hidden, channels, config)
        self.knots: Tensor
        self.register_buffer("knots", torch.tensor(SCORES).repeat(runs, channels, 1))

    def fit(self, windows: Sequence[Tensor]) -> None:
        """g of each run."""
        for run, x in enumerate(windows):
            self.knots[run].copy_(WarpedGaussian.fitted_knots(x, self.sigma_min))

    def forward(self, h: Tensor) -> WarpedGaussian:  # type: ignore[override]
        """(R, B, T, H) -> p(x | h)."""
        normal = super().forward(h)
        return WarpedGaussian(normal.mean, normal.sigma, self.knots[:, None, None])

    def marginal(self, x: Tensor) -> WarpedGaussian:
        """With the same g."""
        return WarpedGaussian.marginal(x, self.sigma_min)


@register_likelihood("mixture")
class MixtureHead(Head):
    """A mixture of K diagonal Gaussians whose weights, means and standard deviations depend on h.

        p(x_t | h_t) = sum_k w_k(h_t) N(x_t; mean_k(h_t), diag sigma_k(h_t)^2)

    Source: Bishop 1994, mixture density networks.
    Ours: the K components are shared by the channels of a step; see `bench.parts.likelihoods.Mixture`.
    """

    def __init__(self, runs: int, hidden: int, channels: int, config: ModelConfig) -> None:
        components = config.components
        super().__init__(runs, hidden, channels * components, config)
        self.channels, self.components = channels, components
        self.mean.bias.bound = 1.0  # type: ignore[attr-defined]  # components that begin together part slowly
        self.raw_sigma = Linear(runs, hidden, channels * components)
        nn.init.constant_(self.raw_sigma.bias, self.at_first())
        self.weights = Linear(runs, hidden, components)

    def forward(self, h: Tensor) -> Mixture:
        """(R, B, T, H) -> p(x | h)."""
        mean, raw_sigma = (part(h).unflatten(-1, (self.components, -1)) for part in (self.mean, self.raw_sigma))
        return Mixture(self.weights(h).log_softmax(dim=-1), mean, self.sigma(raw_sigma))

    def marginal(self, x: Tensor) -> Mixture:
        """With as many components per time step."""
        return Mixture.marginal(x, self.sigma_min, self.components)


def make_head(runs: int, hidden: int, channels: int, config: ModelConfig) -> Head:
    """The head that `model.likelihood` names, on states h of width `hidden`."""
    head: Head = LIKELIHOODS[config.likelihood](runs, hidden, channels, config)
    return head
