"""Terms of an objective: schedules of weights, and penalties. Nats per series throughout."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.contracts import Draws, Likelihood, PerRun, Posterior, Step


def reconstruction(p: Likelihood, x: Tensor) -> Tensor:
    """E[-ln p(x | z)]: mean over the batch, (R)."""
    return -p.log_prob(x).mean(dim=-1)


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


def other_series(n: int, draws: Draws) -> Tensor:
    """For each series of a batch another one, (R, n): its successor in a random order, so never itself (n >= 2)."""
    order = draws.permutation(n)
    return torch.empty_like(order).scatter_(-1, order, order.roll(-1, dims=-1))


def linear_warm_up(step: Step, share: PerRun) -> Tensor:
    """A weight from 0 to 1 over the first `share` of training, then 1.

    Source: Bowman et al. 2016, arXiv:1511.06349, sec. 3 (there a sigmoid; linear is the common form).

    >>> [float(linear_warm_up(Step(k, 100), 0.5)) for k in (0, 25, 50, 99)]
    [0.0, 0.5, 1.0, 1.0]
    """
    return (step.fraction / torch.as_tensor(share, dtype=torch.float32)).clamp(max=1.0)


def cyclical_warm_up(step: Step, cycles: PerRun, share: PerRun) -> Tensor:
    """`linear_warm_up` begun anew `cycles` times, each over `share` of its cycle.

    Source: Fu et al. 2019, arXiv:1903.10145, eq. 6 and 7 (4 cycles, ratio .5).

    >>> [float(cyclical_warm_up(Step(k, 100), 4, 0.5)) for k in (0, 5, 20, 25, 30)]
    [0.0, 0.4000000059604645, 1.0, 0.0, 0.4000000059604645]
    """
    position = torch.as_tensor(step.fraction * torch.as_tensor(cycles, dtype=torch.float64)) % 1
    return (position.float() / torch.as_tensor(share, dtype=torch.float32)).clamp(max=1.0)
