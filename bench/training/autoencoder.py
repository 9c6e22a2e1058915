"""The autoencoder stage: encoder, decoder and whatever else the method's objective moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from bench.contracts import DiffusionConfig, Draws, PerRun, Step, TrainConfig
from bench.hardware.precision import forward
from bench.method import Method
from bench.models.build import StackedModel
from bench.models.dropout import dropping
from bench.models.stacked import Flat, RowAdam
from bench.parts.stopping_times import schedule_end
from bench.randomness import Ahead, Randomness
from bench.training.denoiser import denoiser_adam
from bench.training.device_windows import ValidationSeries, Windows
from bench.training.lagging import Lagging
from bench.training.loop import Curves, Optimiser, StageEnd, Watch, run_updates
from bench.training.stopping import (
    WARM_UP,
    BestWeights,
    Guard,
    Plateau,
    own_nll,
    settle_scale,
    validation_objective,
)


class Passes:
    """How often the decoder is run forward in an update; of a recorded step its plain updates count."""

    def __init__(self, model: StackedModel) -> None:
        self._decoder = getattr(model, "decoder", None)
        self._passes = self._updates = 0

    @property
    def per_update(self) -> float:
        """The mean over the updates that were seen."""
        return self._passes / max(self._updates, 1)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """An update is made inside."""

        def count(*_: object) -> None:
            self._passes += 1

        self._updates += 1
        hook = None if self._decoder is None else self._decoder.register_forward_hook(count)
        try:
            yield
        finally:
            if hook is not None:
                hook.remove()


def adam(flat: Flat, budget: TrainConfig) -> RowAdam:
    """The optimiser of the autoencoder."""
    return RowAdam(flat, budget.learning_rate, budget.clip_norm, budget.weight_decay, budget.ema)


class Jointly:
    """The autoencoder's networks and, last in `flat`, the denoiser: each with its own learning rate and clipping.

    values: of a series, by which the loss is divided; the denoiser's own stage divides it by the latent's size.
    """

    def __init__(
        self, flat: Flat, model: StackedModel, values: int, budget: TrainConfig, schedule: DiffusionConfig
    ) -> None:
        self.flat = flat
        width = flat.values.shape[1]
        self._width = width - sum(weights[0].numel() for weights in model.denoiser.parameters())
        self._scale = values / model.latent
        self._autoencoder = adam(flat.between(0, self._width), budget)
        self._denoiser = denoiser_adam(flat.between(self._width, width), schedule)

    def step(self, gradient: Tensor, active: Tensor, rate: PerRun = 1.0) -> Tensor:
        """As `RowAdam.step`; a row moves whole or not at all."""
        active = active & gradient.isfinite().all(dim=-1)
        moved = self._autoencoder.step(gradient[:, : self._width], active, rate)
        return moved & self._denoiser.step(self._scale * gradient[:, self._width :], active, rate)

    def state(self) -> list[Tensor]:
        """As `RowAdam.state`, of both."""
        return [*self._autoencoder.state(), *self._denoiser.state()]

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """As `RowAdam.averaged`, each with its own decay."""
        with self._autoencoder.averaged(), self._denoiser.averaged():
            yield

    def settle(self) -> None:
        """As `RowAdam.settle`."""
        self._autoencoder.settle()
        self._denoiser.settle()


def train_autoencoder(
    model: StackedModel,
    method: Method,
    shares: Sequence[float],
    windows: Windows,
    validation: ValidationSeries,
    budget: TrainConfig,
    schedule: DiffusionConfig,
    randomness: Randomness,
    guard: Guard,
    curves: Curves,
    watched: Watch | None,
    passes: Passes,
) -> StageEnd:
    """Train encoder, decoder and what else the objective moves; shares: `schedule_share` of each run's method.

    Afterwards they are those of the last update, or with `budget.patience` or `budget.select` of the best check.
    """
    order, draws = (Ahead(randomness.draws(role)) for role in ("batches", "objective"))
    parts = [*model.autoencoder(), *([model.denoiser] if method.moves_denoiser else [])]
    flat = Flat(parts)
    values = validation.values
    marginal = validation.each(lambda x: -model.marginal_log_prob(x).mean(dim=-1)) / values
    buffers = [own for part in parts for own in part.buffers() if own.shape[:1] == (model.runs,)]  # running means
    schedules = budget.schedule_steps or budget.steps
    earliest = [schedule_end(share, schedules) for share in shares]
    patience = budget.steps, budget.patience, budget.tolerance, budget.warm_up
    plateau = Plateau(earliest, *patience, windows.last.device)
    lagging = Lagging(flat, model, method, budget, randomness) if method.encoder_updates else None
    optimiser: Optimiser = lagging or adam(flat, budget)
    if method.moves_denoiser:
        optimiser = Jointly(flat, model, values, budget, schedule)
    back = budget.fall_from == "best"
    state = [flat.values, *buffers, *(optimiser.state() if back else [])]
    best = BestWeights(state, model.runs) if budget.patience or budget.select == "best_validation" else None

    def terms_from(step: Step, order: Draws, draws: Draws) -> dict[str, Tensor]:
        x = windows.at(order.steps(0, windows.last, budget.batch_size))
        with forward(budget.precision, windows.last.device), dropping(model, draws):
            terms = method.objective(model, x, step, draws)
            if method.denoises_jointly:
                x = windows.at(order.steps(0, windows.last, schedule.batch_size))
                terms = {**terms, "denoising": method.joint_denoising(model, x, draws)}
        _check_terms(terms, model.runs)
        return {name: value / values for name, value in terms.items()}

    def terms_at(step: Step) -> dict[str, Tensor]:
        step = Step(step.index, schedules)
        if lagging is not None:
            moving = [good and step.index < end for good, end in zip(guard.active, plateau.ends, strict=True)]
            active = torch.tensor(moving, device=windows.last.device)
            lagging.catch_up(step, terms_from, active, plateau.rate(step.index))
        return terms_from(step, order, draws)

    def counted_terms_at(step: Step) -> dict[str, Tensor]:
        with passes.counted():
            return terms_at(step)

    def check(step: int, active: list[bool]) -> None:
        with optimiser.averaged():
            compare(step, active)
        falling = [a and b for a, b in zip(active, plateau.begins_to_fall(step), strict=True)]
        if back and best is not None and any(falling):
            best.restore(falling)

    def compare(step: int, active: list[bool]) -> None:
        own = validation.each(lambda x: own_nll(model, method, x, randomness))
        seen = {"validation_nll_own": own}
        if best is not None:
            seen["validation_objective"] = validation.each(
                lambda x: validation_objective(model, method, x, randomness, schedules)
            )
        curves.record("autoencoder", step, seen, 1, torch.tensor(active))
        if step > WARM_UP * budget.steps:
            guard.watch_nll(own, marginal, step, active)
        if lagging is not None:
            lagging.check(validation)
        if best is not None:
            comparable = plateau.comparable(step)
            best.compare(seen["validation_objective"], [a and b for a, b in zip(active, comparable, strict=True)])
            waiting = lagging.running.tolist() if lagging is not None else [False] * model.runs
            plateau.watch(seen["validation_objective"].tolist(), step, [not each for each in waiting])

    irregular = "its encoder runs ahead for as long as the data ask" if lagging else ""
    each = counted_terms_at, (order, draws), optimiser, plateau, "autoencoder", guard, curves
    end = run_updates(*each, check, watched, irregular)
    optimiser.settle()
    if best is not None:
        end = end._replace(objective=best.restore())
    settle_scale(model, method, validation, randomness)
    return end


def _check_terms(terms: object, runs: int) -> None:
    if not isinstance(terms, dict) or not terms:
        raise TypeError(f"objective: expected a dict of name -> tensor ({runs},), not {type(terms).__name__}")
    for name, value in terms.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.shape != (runs,):
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"objective: {name!r}: expected a name and a tensor of shape ({runs},), not {found}")
