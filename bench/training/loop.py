"""The update loop that both stages share, and what is recorded on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from bench.contracts import PerRun, Step
from bench.hardware.recorded_steps import Index, Program
from bench.models.build import StackedModel
from bench.models.stacked import Flat
from bench.randomness import Ahead
from bench.training.stopping import Guard, Plateau

CURVE_POINTS = 50


class Optimiser(Protocol):
    """What moves the parameters of `flat`."""

    flat: Flat

    def step(self, gradient: Tensor, active: Tensor, rate: PerRun = 1.0) -> Tensor:
        """One update of the rows where active (R,) is true, at `rate` times the learning rate; who moved, (R,)."""
        ...

    def state(self) -> list[Tensor]:
        """What the next update reads beside weights and gradient, each (R, ...)."""
        ...

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the weights are those that training ends with: averages, where averages are taken."""
        ...

    def settle(self) -> None:
        """The weights become those."""
        ...


class StageEnd(NamedTuple):
    """How a stage went: how its updates were done (see `Program.how`), and for each run how many, and if it converged.

    converged: whether the plateau was reached at the full rate; None where nothing waited for one.
    objective: the validation objective of the weights that are kept; None where it was not computed.
    """

    how: str
    updates: list[int]
    converged: list[bool | None]
    objective: list[float | None]


@dataclass
class Curves:
    """Means of each term between recorded steps, per run."""

    runs: int
    rows: list[tuple[int, int, str, str, float]] = field(default_factory=list)  # run, step, stage, term, value

    def record(self, stage: str, step: int, sums: Mapping[str, Tensor], count: int, active: Tensor) -> None:
        """Add one point for every active run."""
        for term, total in sums.items():
            for run, value in enumerate((total / count).tolist()):
                if active[run]:
                    self.rows.append((run, step, stage, term, value))


class Watch:
    """Somebody who looks at the model on the way, and how long that took."""

    def __init__(self, model: StackedModel, watch: Callable[[StackedModel, int], None], steps: int, looks: int) -> None:
        self._model, self._watch = model, watch
        self._steps = {round(steps * (look + 1) / looks) for look in range(looks)}
        self.seconds = 0.0

    def after(self, step: int, optimiser: Optimiser) -> None:
        """Called after every update; what is looked at are the weights that training would end with here."""
        if step in self._steps:
            began = time.perf_counter()
            with optimiser.averaged():
                self._watch(self._model, step)
            self.seconds += time.perf_counter() - began


def run_updates(
    terms_at: Callable[[Step], dict[str, Tensor]],
    streams: Sequence[Ahead],
    optimiser: Optimiser,
    plateau: Plateau,
    stage: str,
    guard: Guard,
    curves: Curves,
    check: Callable[[int, list[bool]], None],
    watched: Watch | None = None,
    irregular: str = "",
) -> StageEnd:
    """The loop itself: terms, backward, clip and update row by row; curves and checks on the way.

    `check(step, active)` is called after an update, with the runs that have made it. A run that has ended or diverged
    stays as it is: what it has become does not depend on how long its neighbours go on.
    An update is a step of a `Program`, so it reads and changes `active`, `finite` and `sums` in place.
    """
    device, steps = optimiser.flat.values.device, plateau.last
    still = [good and end > 0 for good, end in zip(guard.active, plateau.ends, strict=True)]
    active = torch.tensor(still, device=device)
    finite = torch.ones_like(active)
    curve_every = max(1, steps // CURVE_POINTS)
    updates = [0] * len(still)
    sums: dict[str, Tensor] = {}
    count = 0

    def update(index: Index) -> None:
        terms = terms_at(Step(index, steps))
        loss = sum(terms.values(), torch.zeros(()))
        assert isinstance(loss, Tensor)
        moved = optimiser.step(optimiser.flat.gradient(loss.sum()), active & loss.isfinite(), plateau.rate(index))
        finite.logical_and_(moved | ~active)
        for name, value in terms.items():
            if name not in sums:
                sums[name] = torch.zeros_like(value)
            sums[name].add_(value.detach())

    with Program(update, streams, steps, device, irregular) as program:
        for step in range(1, steps + 1):
            if not any(still):
                break
            program.run()
            count += 1
            if step % curve_every == 0 or step == steps:
                curves.record(stage, step, sums, count, active)
                for total in sums.values():
                    total.zero_()
                count = 0
            checked = step % plateau.every == 0 or step == steps
            due = [alive and (checked or step == end) for alive, end in zip(still, plateau.ends, strict=True)]
            if any(due):
                updates = [step if mine else made for mine, made in zip(due, updates, strict=True)]
                guard.watch_loss(finite, step, due)
                if checked:
                    check(step, still)
                still = [good and step < end for good, end in zip(guard.active, plateau.ends, strict=True)]
                active.copy_(torch.tensor(still))
            if watched is not None:
                watched.after(step, optimiser)
    return StageEnd(program.how, updates, plateau.converged, [None] * len(updates))
