"""q(z | x): what an encoder says about the latent."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from bench.contracts import Draws, Posterior
from bench.parts.likelihoods import LOG_TWO_PI

P = TypeVar("P", bound=Posterior)
TOGETHER = 64  # latents at once, against the posteriors of all series


@runtime_checkable
class Density(Protocol):
    """A posterior whose density can be written down: what mutual information and importance weighting need."""

    def log_prob(self, z: Tensor) -> Tensor:
        """ln q(z | x) in nats per series: z (R, B, D) -> (R, B)."""
        ...


def take_rows(values: Tensor, index: Tensor) -> Tensor:
    """Rows of each run: values (R, n, D), index (R, b) -> (R, b, D)."""
    return torch.gather(values, 1, index.unsqueeze(-1).expand(-1, -1, values.shape[-1]))


@dataclass(frozen=True)
class GaussianPosterior:
    """N(mean, diag exp(log_sigma)^2), both (R, B, D)."""

    mean: Tensor
    log_sigma: Tensor

    @classmethod
    def from_encoder(cls, output: Tensor) -> GaussianPosterior:
        """The two halves of an encoder's output (R, B, 2D)."""
        mean, log_sigma = output.chunk(2, dim=-1)
        return cls(mean, log_sigma.clamp(-7, 7))  # sigma in [9e-4, 1.1e3]: no overflow in exp

    def rsample(self, draws: Draws) -> Tensor:
        """z = mean + sigma eps, (R, B, D)."""
        return self.mean + self.log_sigma.exp() * draws.normal(*self.mean.shape[1:])

    def kl(self) -> Tensor:
        """KL(q || N(0, 1)) per dimension, (R, B, D).

        >>> import torch
        >>> q = GaussianPosterior(torch.tensor([[[1.0]]]), torch.zeros(1, 1, 1))
        >>> float(q.kl())  # half the squared mean at unit variance
        0.5
        """
        return 0.5 * (self.mean.square() + (2 * self.log_sigma).exp() - 1) - self.log_sigma

    def log_prob(self, z: Tensor) -> Tensor:
        """ln q(z | x) in nats per series: z (R, B, D) -> (R, B).

        >>> import torch
        >>> q = GaussianPosterior(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2))
        >>> round(float(q.log_prob(torch.zeros(1, 1, 2)).exp()) * 2 * math.pi, 5)  # the height of a standard normal
        1.0
        """
        each = -0.5 * (((z - self.mean) / self.log_sigma.exp()).square() + LOG_TWO_PI) - self.log_sigma
        return each.sum(dim=-1)

    def entropy(self) -> Tensor:
        """-E[ln q(z | x)] in nats per series, (R, B).

        >>> import torch
        >>> q = GaussianPosterior(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1))
        >>> round(float(q.entropy()), 4)  # ln(2 pi e) / 2
        1.4189
        """
        return (self.log_sigma + 0.5 * (LOG_TWO_PI + 1)).sum(dim=-1)

    def rows(self, index: Tensor) -> GaussianPosterior:
        """The posterior of some of the series; index (R, b)."""
        return GaussianPosterior(take_rows(self.mean, index), take_rows(self.log_sigma, index))


@dataclass(frozen=True)
class DeterministicPosterior:
    """A single point v = f_enc(x), (R, B, D); it has no density, so no KL and no `log_prob`."""

    mean: Tensor

    @classmethod
    def normalised(cls, output: Tensor) -> DeterministicPosterior:
        """Layer norm without an affine part, so that |v|^2 = D and the noise of z^i means the same for every run."""
        return cls(functional.layer_norm(output, output.shape[-1:]))

    def rsample(self, draws: Draws) -> Tensor:
        """v itself, (R, B, D)."""
        return self.mean

    def kl(self) -> None:
        """None: a point has no KL to a density."""
        return

    def rows(self, index: Tensor) -> DeterministicPosterior:
        """The posterior of some of the series; index (R, b)."""
        return DeterministicPosterior(take_rows(self.mean, index))


def pairwise_log_density(q: Posterior, z: Tensor) -> Tensor:
    """ln q(z_a | x_b) for every pair of a batch, in nats: q (with a density) of B series, z (R, B, D) -> (R, B, B).

    Pair by pair, because (z - mean)^2 written out as a product of matrices cancels where the posterior is sharp.
    """
    runs, b = z.shape[:2]
    every, rows = torch.arange(b, device=z.device), []
    for some in z.split(TOGETHER, dim=1):
        against = q.rows(every.repeat(some.shape[1]).expand(runs, -1))
        assert isinstance(against, Density)
        rows.append(against.log_prob(some.repeat_interleave(b, dim=1)).unflatten(1, (-1, b)))
    return torch.cat(rows, dim=1)


def mutual_information(q: GaussianPosterior, draws: Draws) -> Tensor:
    """I(x; z) under q in nats, (R): E_x E_{z ~ q(z|x)} [ln q(z | x) - ln mean_m q(z | x_m)] over a batch, at most ln B.

    Source: Hoffman and Johnson 2016 (ELBO surgery); He et al. 2019, arXiv:1901.05534, eq. 5, as a difference of two KL.
    Ours: one expectation, so that no difference of two estimates is taken.
    """
    pairs = pairwise_log_density(q, q.rsample(draws))
    aggregate = pairs.logsumexp(dim=-1) - math.log(pairs.shape[-1])
    return (pairs.diagonal(dim1=-2, dim2=-1) - aggregate).mean(dim=-1)


def concatenate(parts: Sequence[P]) -> P:
    """One posterior for the series of several; every field of the parts is (R, b, D)."""
    names = [field.name for field in dataclasses.fields(parts[0])]  # type: ignore[arg-type]
    return type(parts[0])(**{name: torch.cat([getattr(part, name) for part in parts], dim=1) for name in names})
