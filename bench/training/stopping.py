"""What stops a run: a loss that is no number, or a model of the data that gets worse than the marginal."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.contracts import Likelihood
from bench.method import Method
from bench.models.build import StackedModel
from bench.models.head import FollowingHead
from bench.parts.likelihoods import fitted
from bench.randomness import Randomness

WARM_UP = 0.1  # share of the autoencoder stage before the guard watches the reconstruction NLL
TOLERANCE = 1.0  # nats per value by which the reconstruction NLL may exceed the marginal's
PATIENCE = 3  # checks in a row


def own_nll(model: StackedModel, method: Method, x: Tensor, randomness: Randomness) -> Tensor:
    """-ln p(x | own z) in nats per value, (R), with the full past and the same noise at every call.

    The scale is the one that explains x best, as `settle_scale` leaves it after training.
    """
    training = model.training
    model.eval()
    with torch.no_grad():
        log_p = fitted(_own(model, method, x, randomness), x).log_prob(x)
    model.train(training)
    return -log_p.mean(dim=-1) / x[0, 0].numel()


def settle_scale(model: StackedModel, method: Method, x: Tensor, randomness: Randomness) -> None:
    """Set the scale of the decoder's likelihood from its residuals on x (R, n, T, C), given the full past.

    The running scale of training is that of the pasts in training, which may be masked, and of the series trained on.
    """
    training = model.training
    model.eval()
    heads = [part for part in model.modules() if isinstance(part, FollowingHead)]
    for head in heads:
        head.forget()
        head.train()
    with torch.no_grad():
        fitted(_own(model, method, x, randomness), x)
    model.train(training)


def _own(model: StackedModel, method: Method, x: Tensor, randomness: Randomness) -> Likelihood:
    """p(x | own z), with the full past."""
    z = method.posterior(model, x).rsample(randomness.draws("validation posterior"))
    return model.decoder(z, x[:, :, :-1])


class Guard:
    """Notices runs that cannot recover: a loss that is no number, or a reconstruction NLL far above the marginal's.

    A penalty without lower bound diverges without a NaN: its loss falls for ever while the model
    of the data gets worse. So the NLL is watched, not the loss.
    """

    def __init__(self, runs: int) -> None:
        self.reasons = [""] * runs
        self._strikes = [0] * runs

    @property
    def active(self) -> list[bool]:
        """Which runs still train."""
        return [not reason for reason in self.reasons]

    def watch_loss(self, finite: Tensor, step: int) -> None:
        """finite (R): whether each run's loss and gradient were numbers until this step."""
        for run, good in enumerate(finite.tolist()):
            if not good and not self.reasons[run]:
                self.reasons[run] = f"loss or gradient was not finite by step {step}"

    def watch_nll(self, own: Tensor, marginal: Tensor, step: int) -> None:
        """own, marginal (R) in nats per value."""
        for run, (value, bound) in enumerate(zip(own.tolist(), marginal.tolist(), strict=True)):
            above = not value <= bound + TOLERANCE  # true for a NaN as well
            self._strikes[run] = self._strikes[run] + 1 if above else 0
            if self._strikes[run] >= PATIENCE and not self.reasons[run]:
                self.reasons[run] = (
                    f"reconstruction NLL (own latent) {value:.3g} nats per value at step {step}, above the "
                    f"marginal's {bound:.3g} by more than {TOLERANCE:g} at {PATIENCE} checks in a row"
                )
