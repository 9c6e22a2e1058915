"""From a decoder's state to a distribution of the next values: one head per `model.likelihood`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import Likelihood
from bench.models.stacked import Linear, parameter
from bench.parts.likelihoods import SCORES, CorrelatedGaussian, Gaussian, Marginal, Mixture, WarpedGaussian


class Head(nn.Module, ABC):
    """h (R, B, T, H) -> p(x | h), and the same family without h as the marginal F of the training windows.

    A learned standard deviation begins at 1 and is never below sigma_min.
    """

    def __init__(self, runs: int, hidden: int, channels: int, sigma_min: float) -> None:
        super().__init__()
        self.channels, self.sigma_min = channels, sigma_min
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


class GaussianHead(Head):
    """`gaussian`: N(mean(h), sigma^2), sigma learned per channel."""

    def __init__(self, runs: int, hidden: int, channels: int, sigma_min: float) -> None:
        super().__init__(runs, hidden, channels, sigma_min)
        self.raw_sigma = parameter(runs, channels, bound=0.0, centre=self.at_first())

    def forward(self, h: Tensor) -> Gaussian:
        """(R, B, T, H) -> p(x | h)."""
        return Gaussian(self.mean(h), self.sigma(self.raw_sigma)[:, None, None])


class MSEHead(Head):
    """`mse`: sigma = 1, fixed, so that -ln p is half the squared error plus a constant.

    A sample is then the mean, because noise of size 1 would be no model of anything.
    """

    def forward(self, h: Tensor) -> Gaussian:
        """(R, B, T, H) -> p(x | h)."""
        mean = self.mean(h)
        return Gaussian(mean, torch.ones_like(mean[:, :1, :1]), noisy=False)

    def marginal(self, x: Tensor) -> Gaussian:
        """With the same sigma = 1."""
        mean = x.mean(dim=0)
        return Gaussian(mean, torch.ones_like(mean))


class HeteroscedasticHead(Head):
    """`heteroscedastic`: N(mean(h), sigma(h)^2), a deviation for every step and channel."""

    def __init__(self, runs: int, hidden: int, channels: int, sigma_min: float) -> None:
        super().__init__(runs, hidden, channels, sigma_min)
        self.raw_sigma = Linear(runs, hidden, channels)
        nn.init.constant_(self.raw_sigma.bias, self.at_first())

    def forward(self, h: Tensor) -> Gaussian:
        """(R, B, T, H) -> p(x | h)."""
        return Gaussian(self.mean(h), self.sigma(self.raw_sigma(h)))


class CorrelatedHead(Head):
    """`correlated`: N(mean(h), A A^T + sigma_min^2 I), a learned covariance of the channels, the same at every step."""

    def __init__(self, runs: int, hidden: int, channels: int, sigma_min: float) -> None:
        super().__init__(runs, hidden, channels, sigma_min)
        self.root = parameter(runs, channels, channels, bound=0.0)  # A
        self.root.data += math.sqrt(max(1 - sigma_min**2, 1e-3)) * torch.eye(channels)

    def forward(self, h: Tensor) -> CorrelatedGaussian:
        """(R, B, T, H) -> p(x | h)."""
        covariance = (self.root @ self.root.mT)[:, None, None]
        return CorrelatedGaussian.of_covariance(self.mean(h), covariance, self.sigma_min)

    def marginal(self, x: Tensor) -> CorrelatedGaussian:
        """With a covariance per time step."""
        return CorrelatedGaussian.marginal(x, self.sigma_min)


class QuantileHead(GaussianHead):
    """`quantile`: a Gaussian of g(x), g fitted to each channel's quantiles before training; see `WarpedGaussian`."""

    def __init__(self, runs: int, hidden: int, channels: int, sigma_min: float) -> None:
        super().__init__(runs, hidden, channels, sigma_min)
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


class MixtureHead(Head):
    """`mixture`: K diagonal Gaussians whose weights, means and deviations all depend on h; see `Mixture`."""

    def __init__(self, runs: int, hidden: int, channels: int, sigma_min: float, components: int) -> None:
        super().__init__(runs, hidden, channels * components, sigma_min)
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


def make_head(runs: int, hidden: int, channels: int, likelihood: str, sigma_min: float, components: int) -> Head:
    """The head of a `bench.contracts.ModelConfig`."""
    if likelihood == "mixture":
        return MixtureHead(runs, hidden, channels, sigma_min, components)
    kinds: dict[str, Callable[[int, int, int, float], Head]] = {
        "gaussian": GaussianHead,
        "mse": MSEHead,
        "heteroscedastic": HeteroscedasticHead,
        "correlated": CorrelatedHead,
        "quantile": QuantileHead,
    }
    return kinds[likelihood](runs, hidden, channels, sigma_min)
