"""The update loop that both stages share, and what is recorded on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from bench.contracts import Step
from bench.hardware.recorded_steps import Index, Program
from bench.models.build import StackedModel
from bench.models.stacked import Flat
from bench.randomness import Ahead
from bench.training.stopping import Guard

CHECKS = 20  # of every run's loss, and in the autoencoder stage of its reconstruction NLL, evenly over the stage
CURVE_POINTS = 50


class Optimiser(Protocol):
    """What moves the parameters of `flat`."""

    flat: Flat

    def step(self, gradient: Tensor, active: Tensor) -> Tensor:
        """One update of the rows where active (R,) is true; returns which rows moved, (R,)."""
        ...


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

    def after(self, step: int) -> None:
        """Called after every update."""
        if step in self._steps:
            began = time.perf_counter()
            self._watch(self._model, step)
            self.seconds += time.perf_counter() - began


def run_updates(
    terms_at: Callable[[Step], dict[str, Tensor]],
    streams: Sequence[Ahead],
    optimiser: Optimiser,
    steps: int,
    stage: str,
    guard: Guard,
    curves: Curves,
    check: Callable[[int], None] | None = None,
    watched: Watch | None = None,
    irregular: str = "",
) -> str:
    """The loop itself: terms, backward, clip and update row by row; curves and checks on the way.

    An update is a step of a `Program`, so it reads and changes `active`, `finite` and `sums` in place.
    Returns how the updates were done.
    """
    device = optimiser.flat.values.device
    active = torch.tensor(guard.active, device=device)
    finite = torch.ones_like(active)
    curve_every, check_every = max(1, steps // CURVE_POINTS), max(1, steps // CHECKS)
    sums: dict[str, Tensor] = {}
    count = 0

    def update(index: Index) -> None:
        terms = terms_at(Step(index, steps))
        loss = sum(terms.values(), torch.zeros(()))
        assert isinstance(loss, Tensor)
        moved = optimiser.step(optimiser.flat.gradient(loss.sum()), active & loss.isfinite())
        finite.logical_and_(moved | ~active)
        for name, value in terms.items():
            if name not in sums:
                sums[name] = torch.zeros_like(value)
            sums[name].add_(value.detach())

    with Program(update, streams, steps, device, irregular) as program:
        for step in range(steps):
            if step % check_every == 0 and not any(guard.active):
                break
            program.run()
            count += 1
            if (step + 1) % curve_every == 0 or step + 1 == steps:
                curves.record(stage, step + 1, sums, count, active)
                for total in sums.values():
                    total.zero_()
                count = 0
            if (step + 1) % check_every == 0 or step + 1 == steps:
                guard.watch_loss(finite, step + 1)
                if check is not None:
                    check(step + 1)
                active.copy_(torch.tensor(guard.active))
            if watched is not None:
                watched.after(step + 1)
    return program.how
