"""What ends a run: a plateau of its validation objective, a loss that is no number, a model worse than the marginal."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bench.contracts import Likelihood, Step
from bench.method import Method
from bench.models.build import StackedModel
from bench.models.head import FollowingHead
from bench.parts.likelihoods import fitted
from bench.parts.stopping_times import StoppingTimes
from bench.randomness import Randomness
from bench.training.device_windows import ValidationSeries

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


def validation_objective(
    model: StackedModel, method: Method, x: Tensor, randomness: Randomness, schedule_steps: int
) -> Tensor:
    """The method's own objective as it is at the end of its schedules, in nats per value, (R): all of its terms.

    The draws are the same at every call, so that two checks differ by the weights alone.
    """
    training = model.training
    model.eval()
    draws = randomness.draws("validation objective")
    with torch.no_grad():
        terms = method.objective(model, x, Step(schedule_steps, schedule_steps), draws)
        if method.denoises_jointly:
            terms = {**terms, "denoising": method.joint_denoising(model, x, draws)}
    model.train(training)
    return torch.stack(list(terms.values())).sum(dim=0) / x[0, 0].numel()


def settle_scale(model: StackedModel, method: Method, validation: ValidationSeries, randomness: Randomness) -> None:
    """Set the scale of the decoder's likelihood from its residuals on the validation series, given the full past.

    The running scale of training is that of the pasts in training, which may be masked, and of the series trained on.
    """
    training = model.training
    model.eval()
    heads = [part for part in model.modules() if isinstance(part, FollowingHead)]
    scales = [scale for head in heads for scale in (head.square, head.updates)]
    before, settled = ([scale.clone() for scale in scales] for _ in range(2))
    for x, own in validation.by_count():
        for scale, former in zip(scales, before, strict=True):
            scale.copy_(former)
        for head in heads:
            head.forget()
            head.train()
        with torch.no_grad():
            fitted(_own(model, method, x, randomness), x)
        for scale, found in zip(scales, settled, strict=True):
            found[own] = scale[own]
    for scale, found in zip(scales, settled, strict=True):
        scale.copy_(found)
    model.train(training)


def _own(model: StackedModel, method: Method, x: Tensor, randomness: Randomness) -> Likelihood:
    """p(x | own z), with the full past."""
    z = method.posterior(model, x).rsample(randomness.draws("validation posterior"))
    return model.decoder(z, x[:, :, :-1])


class Plateau:
    """When each run of a stage ends, and which share of its learning rate it has on the way.

    Without `patience` every run makes `steps` updates at the full rate. With it, `steps` is a maximum: the full rate
    holds until the validation objective has not been `tolerance` below its best for `patience` updates, then the rate
    falls linearly to 0 over DECAY times the updates made so far, rounded up to whole checks (`StoppingTimes`). A run
    that has not stopped when no more than its decay is left begins it there, and has not converged. In both cases the
    rate first rises linearly over `warm_up` updates. `fewer` (R) is what a run's own maximum lacks of `steps`.

    Nothing stops during the warm-up or before update `earliest` (R) of a run, when its method's own schedules end;
    what was seen before is not compared with.
    Source: a constant rate with a cool-down as in Haegele et al. 2024, arXiv:2405.18392, there over 20 % of the
    updates; the end of the full rate by patience is ours.

    >>> plateau = Plateau([0], steps=120, patience=10, tolerance=0)
    >>> for step in range(2, 61, 2):
    ...     plateau.watch([max(1 - step / 40, 0)], step, [True])
    >>> plateau.ends, plateau.converged, [float(plateau.rate(k)) for k in (49, 50, 55, 59)]
    ([60], [True], [1.0, 1.0, 0.5, 0.10000000149011612])
    """

    def __init__(
        self,
        earliest: Sequence[int],
        steps: int,
        patience: int = 0,
        tolerance: float = 0.0,
        warm_up: int = 0,
        device: torch.device | str = "cpu",
        fewer: Sequence[int] = (),
    ) -> None:
        self._patience, self._tolerance, self._warm_up = patience, tolerance, warm_up
        self._times = StoppingTimes(steps, patience)
        self.every = self._times.every
        maxima = [max(steps - each, 0) for each in fewer or [0] * len(earliest)]
        self._full, self.ends = [list(each) for each in zip(*map(self._times.limits, maxima), strict=True)]
        self.last = self._times.limits(steps)[1]  # of a run that lacks none: the same whoever is in the stack
        self._earliest = [max(each, warm_up) for each in earliest]
        self._best = [math.inf] * len(earliest)
        self._improved = list(self._earliest)
        self._stopped = [False] * len(earliest)
        self._falls_after = list(self._full)
        # On the device, where a recorded step reads them.
        self._decay_from = torch.tensor(self._full, dtype=torch.float64, device=device)
        self._decay_to = torch.tensor(self.ends, dtype=torch.float64, device=device)
        self._whole = torch.ones(len(earliest), device=device)

    @property
    def converged(self) -> list[bool | None]:
        """Whether a run's plateau was reached at the full rate; None without patience, and where no update was left.

        A run that stopped although its objective was never a finite number has no plateau.
        """
        known = zip(self._stopped, self._best, self.ends, strict=True)
        return [stopped and math.isfinite(best) if self._patience and end else None for stopped, best, end in known]

    def comparable(self, step: int) -> list[bool]:
        """Whether the weights after update `step` are those of a run whose schedules have ended."""
        return [step >= each for each in self._earliest]

    def begins_to_fall(self, step: int) -> list[bool]:
        """Whether the rate of each run falls from update `step`, a check, on."""
        return [bool(self._patience) and step == last for last in self._falls_after]

    def rate(self, index: int | Tensor) -> Tensor:
        """The share of the learning rate for update `index`, counted from 0: (R), on the device."""
        rate = self._whole
        if self._patience:
            left = (self._decay_to - index) / (self._decay_to - self._decay_from).clamp(min=1)
            rate = left.clamp(0, 1).float()
        if self._warm_up:
            risen = (index + 1) / self._warm_up
            rate = rate * (min(risen, 1.0) if isinstance(risen, float) else risen.clamp(max=1).float())
        return rate

    def watch(self, objective: Sequence[float], step: int, may_stop: Sequence[bool]) -> None:
        """The validation objective of every run after update `step`; runs that may not stop are still in a schedule."""
        for run, (value, may) in enumerate(zip(objective, may_stop, strict=True)):
            if not self._patience or self._stopped[run] or not self._earliest[run] <= step <= self._full[run]:
                continue
            if value < self._best[run] - self._tolerance:  # never a NaN
                self._best[run], self._improved[run] = value, step
            if not may:
                self._improved[run] = step
            if step - self._improved[run] >= self._patience:
                self._stopped[run], self.ends[run] = True, self._times.end_of(step)
                self._falls_after[run] = step
                self._decay_from[run], self._decay_to[run] = float(step), float(self.ends[run])


class BestWeights:
    """The weights of each run's best check, by its validation objective."""

    def __init__(self, state: Sequence[Tensor], runs: int) -> None:
        self._state, self._kept = state, [now.clone() for now in state]
        self._best = torch.full((runs,), torch.inf, device=state[0].device)

    def compare(self, objective: Tensor, comparable: Sequence[bool]) -> None:
        """Keep the weights of runs that are `comparable` and whose objective (R) is below all before."""
        better = (objective < self._best) & torch.tensor(comparable, device=objective.device)
        self._best[better] = objective[better]
        for kept, now in zip(self._kept, self._state, strict=True):
            kept[better] = now[better]

    def restore(self, chosen: Sequence[bool] | None = None) -> list[float | None]:
        """Every run, or those chosen, has the weights of its best check; one that had none stays as it is.

        Returns the objectives of all best checks.
        """
        found = self._best < torch.inf
        if chosen is not None:
            found &= torch.tensor(chosen, device=found.device)
        for kept, now in zip(self._kept, self._state, strict=True):
            now[found] = kept[found]
        return [value if value < math.inf else None for value in self._best.tolist()]


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

    def watch_loss(self, finite: Tensor, step: int, due: Sequence[bool]) -> None:
        """finite (R): whether each run's loss and gradient were numbers until this step; of the runs that are due."""
        for run, (good, mine) in enumerate(zip(finite.tolist(), due, strict=True)):
            if mine and not good and not self.reasons[run]:
                self.reasons[run] = f"loss or gradient was not finite by step {step}"

    def watch_nll(self, own: Tensor, marginal: Tensor, step: int, active: Sequence[bool]) -> None:
        """own, marginal (R) in nats per value, of the runs that are active."""
        for run, (value, bound) in enumerate(zip(own.tolist(), marginal.tolist(), strict=True)):
            if not active[run]:
                continue
            above = not value <= bound + TOLERANCE  # true for a NaN as well
            self._strikes[run] = self._strikes[run] + 1 if above else 0
            if self._strikes[run] >= PATIENCE and not self.reasons[run]:
                self.reasons[run] = (
                    f"reconstruction NLL (own latent) {value:.3g} nats per value at step {step}, above the "
                    f"marginal's {bound:.3g} by more than {TOLERANCE:g} at {PATIENCE} checks in a row"
                )
