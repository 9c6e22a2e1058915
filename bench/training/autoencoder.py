"""The autoencoder stage: encoder, decoder and whatever else the method's objective moves."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.contracts import Draws, Step, TrainConfig
from bench.hardware.precision import forward
from bench.method import Method
from bench.models.build import StackedModel
from bench.models.stacked import Flat, RowAdam
from bench.randomness import Ahead, Randomness
from bench.training.device_windows import Windows
from bench.training.lagging import Lagging
from bench.training.loop import Curves, Watch, run_updates
from bench.training.stopping import WARM_UP, Guard, own_nll, settle_scale


def train_autoencoder(
    model: StackedModel,
    method: Method,
    windows: Windows,
    validation: Tensor,
    budget: TrainConfig,
    randomness: Randomness,
    guard: Guard,
    curves: Curves,
    watched: Watch | None,
) -> str:
    """Train encoder, decoder and what else the objective moves; afterwards they are as `budget.select` asks.

    Returns how the updates were done, see `Program.how`.
    """
    order, draws = (Ahead(randomness.draws(role)) for role in ("batches", "objective"))
    parts = [*model.autoencoder(), *([model.denoiser] if method.denoises_jointly else [])]
    flat = Flat(parts)
    values = validation[0, 0].numel()
    marginal = -model.marginal_log_prob(validation).mean(dim=-1) / values
    buffers = [own for part in parts for own in part.buffers() if own.shape[:1] == (model.runs,)]  # running means
    state = [flat.values, *buffers]
    best, kept = torch.full_like(marginal, torch.inf), [now.clone() for now in state]
    lagging = Lagging(flat, model, method, budget, randomness) if method.encoder_updates else None
    optimiser = lagging or RowAdam(flat, budget.learning_rate, budget.clip_norm)

    def terms_from(step: Step, order: Draws, draws: Draws) -> dict[str, Tensor]:
        x = windows.at(order.steps(0, windows.last, budget.batch_size))
        with forward(budget.precision, windows.last.device):
            terms = method.objective(model, x, step, draws)
        _check_terms(terms, model.runs)
        return {name: value / values for name, value in terms.items()}

    def terms_at(step: Step) -> dict[str, Tensor]:
        if lagging is not None:
            lagging.catch_up(step, terms_from, torch.tensor(guard.active, device=windows.last.device))
        return terms_from(step, order, draws)

    def check(step: int) -> None:
        own = own_nll(model, method, validation, randomness)
        curves.record("autoencoder", step, {"validation_nll_own": own}, 1, torch.tensor(guard.active))
        if step > WARM_UP * budget.steps:
            guard.watch_nll(own, marginal, step)
        if lagging is not None:
            lagging.check(validation)
        better = own < best
        best[better] = own[better]
        for saved, now in zip(kept, state, strict=True):
            saved[better] = now[better]

    irregular = "its encoder runs ahead for as long as the data ask" if lagging else ""
    each = terms_at, (order, draws), optimiser, budget.steps, "autoencoder", guard, curves
    how = run_updates(*each, check, watched, irregular)
    if budget.select == "best_validation":
        for saved, now in zip(kept, state, strict=True):
            now.copy_(saved)
    settle_scale(model, method, validation, randomness)
    return how


def _check_terms(terms: object, runs: int) -> None:
    if not isinstance(terms, dict) or not terms:
        raise TypeError(f"objective: expected a dict of name -> tensor ({runs},), not {type(terms).__name__}")
    for name, value in terms.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.shape != (runs,):
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"objective: {name!r}: expected a name and a tensor of shape ({runs},), not {found}")
