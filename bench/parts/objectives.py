"""Terms of an objective: schedules of weights, and penalties. Nats per series throughout."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from bench.contracts import Draws, Likelihood, PerRun, Posterior, Step
from bench.parts.likelihoods import fitted


def reconstruction(p: Likelihood, x: Tensor) -> Tensor:
    """E[-ln p(x | z)] with the scale that explains this batch best: mean over the batch, (R)."""
    return -fitted(p, x).log_prob(x).mean(dim=-1)


def kl_per_dimension(q: Posterior) -> Tensor:
    """E_x KL(q(z_j | x) || N(0, 1)), (R, D). Raises TypeError for a posterior without a density."""
    kl = q.kl()
    if kl is None:
        raise TypeError(f"{type(q).__name__} has no density, so no KL")
    return kl.mean(dim=-2)


def kl_to_prior(q: Posterior) -> Tensor:
    """E_x KL(q(z | x) || N(0, I)), (R)."""
    return kl_per_dimension(q).sum(dim=-1)


def negative_elbo(q: Posterior, p: Likelihood, x: Tensor) -> dict[str, Tensor]:
    """E_q[-ln p(x | z)] + KL(q(z | x) || N(0, I)), term by term, each (R)."""
    return {"reconstruction": reconstruction(p, x), "kl": kl_to_prior(q)}


def free_bits(q: Posterior, floor: PerRun) -> Tensor:
    """sum_j max(floor, E_x KL(q(z_j | x) || N(0, 1))), (R): below its floor a dimension has no gradient.

    Source: Kingma et al. 2016, arXiv:1606.04934, app. C.8, eq. 15. floor in nats per dimension.
    """
    kl = kl_per_dimension(q)
    return torch.maximum(kl, beside(floor, kl)).sum(dim=-1)


def kernel_mmd(one: Tensor, other: Tensor) -> Tensor:
    """MMD^2 between two samples (R, B, D) with the kernel exp(-|a - b|^2 / D), unbiased, (R).

    Source: Gretton et al. 2012, JMLR 13, eq. 3. The equation's number is not checked against the text. Between two
    standard normals E|a - b|^2 = 2 D.
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (-(a.unsqueeze(2) - b.unsqueeze(1)).square().mean(dim=-1)).exp()

    def mean_of_pairs(k: Tensor) -> Tensor:  # without a sample's kernel with itself, which is 1
        n = k.shape[-1]
        return (k.sum(dim=(-2, -1)) - n) / (n * (n - 1))

    across = kernel(one, other).mean(dim=(-2, -1))
    return mean_of_pairs(kernel(one, one)) + mean_of_pairs(kernel(other, other)) - 2 * across


def likelihood_contrast(own: Tensor, other: Tensor, steps: int) -> Tensor:
    """E[ T softplus((ln p(x | z_other) - ln p(x | z)) / T) ]: own, other (R, B) in nats per series, T = steps -> (R).

    Bounded below by 0, and flat once its own latent explains x better than another's by a few nats per step.
    """
    return (steps * functional.softplus((other - own) / steps)).mean(dim=-1)


def info_nce(scores: Tensor) -> Tensor:
    """A lower bound of a mutual information in nats, at most ln B, (R).

        I >= E_a [ t(a, a) - ln mean_b exp t(a, b) ]

    scores t (R, B, B), with the pairs that belong together on the diagonal.

    Source: van den Oord et al. 2018, arXiv:1807.03748, eq. 4 and app. A.1.
    """
    against = scores.logsumexp(dim=-1) - math.log(scores.shape[-1])
    return (scores.diagonal(dim1=-2, dim2=-1) - against).mean(dim=-1)


def other_series(n: int, draws: Draws) -> Tensor:
    """For each series of a batch another one, (R, n): its successor in a random order, so never itself (n >= 2)."""
    order = draws.permutation(n)
    return torch.empty_like(order).scatter_(-1, order, order.roll(-1, dims=-1))


def beside(value: PerRun, like: Tensor) -> Tensor:
    """A number, or one per run (R), ready to meet a tensor (R, ...)."""
    return torch.as_tensor(value, device=like.device).to(like.dtype).reshape(-1, *(1,) * (like.ndim - 1))


def linear_warm_up(step: Step, share: PerRun) -> Tensor:
    """A weight from 0 to 1 over the first `share` of training, then 1.

    Source: Bowman et al. 2016, arXiv:1511.06349, sec. 3.1 (there a sigmoid; linear is the common form).

    >>> [float(linear_warm_up(Step(k, 100), 0.5)) for k in (0, 25, 50, 99)]
    [0.0, 0.5, 1.0, 1.0]
    """
    return (torch.as_tensor(share, dtype=torch.float32).reciprocal() * step.fraction).clamp(max=1.0)


def cyclical_warm_up(step: Step, cycles: PerRun, share: PerRun) -> Tensor:
    """`linear_warm_up` begun anew `cycles` times, each over `share` of its cycle; 1 after the last cycle.

    Source: Fu et al. 2019, arXiv:1903.10145, eq. 6 and 7 (4 cycles, ratio .5). The equations' numbers are not checked
    against the text.

    >>> [float(cyclical_warm_up(Step(k, 100), 4, 0.5)) for k in (0, 5, 20, 25, 30, 100)]
    [0.0, 0.4000000059604645, 1.0, 0.0, 0.4000000059604645, 1.0]
    """
    cycle = torch.as_tensor(step.fraction * torch.as_tensor(cycles, dtype=torch.float64))
    position = torch.where(cycle < torch.as_tensor(cycles, dtype=torch.float64), cycle % 1, 1.0)
    return (position.float() / torch.as_tensor(share, dtype=torch.float32)).clamp(max=1.0)
