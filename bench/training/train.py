"""One training loop for every method: the autoencoder stage, then the denoiser on the frozen encoder.

Losses and clipping are in nats per value (the objective divided by T * C), so that one learning
rate and one `clip_norm` serve every window. A run that diverges stops moving and keeps its
reason; its neighbours in the stack do not notice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from bench.contracts import DiffusionConfig, Draws, ModelConfig, Posterior, Splits, Step, TrainConfig
from bench.hardware.precision import check_precision, forward, products
from bench.hardware.recorded_steps import Index, Program
from bench.method import Method, stacked
from bench.models.build import StackedModel
from bench.models.stacked import Flat, RowAdam, initialise
from bench.parts.posteriors import GaussianPosterior, concatenate, mutual_information
from bench.randomness import Ahead, Randomness

CHECKS = 20  # of the reconstruction NLL (own latent) on validation series, evenly over the autoencoder stage
WARM_UP = 0.1  # share of the stage before the divergence guard looks
TOLERANCE = 1.0  # nats per value by which the reconstruction NLL may exceed the marginal's
PATIENCE = 3  # checks in a row
VALIDATION_SERIES = 256
CURVE_POINTS = 50


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


@dataclass
class Trained:
    """A stack after training. `diverged` holds a run's reason, or an empty text; `programs`: see `Program.how`."""

    model: StackedModel
    method: Method
    diverged: list[str]
    curves: Curves
    autoencoder_seconds: float
    denoiser_seconds: float
    watching_seconds: float = 0.0
    programs: Mapping[str, str] = field(default_factory=dict)  # how the steps of each stage were done


class Windows:
    """The windows of each run on the device, and batches of them."""

    def __init__(self, parts: Sequence[np.ndarray], device: torch.device) -> None:
        different = {id(part): part for part in parts}  # runs that share their windows share the memory
        loaded = [torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in different.values()]
        self._values = loaded[0] if len(loaded) == 1 else torch.cat(loaded)
        split = dict(zip(different, self._values.split([len(part) for part in loaded]), strict=True))
        first = dict(zip(different, np.cumsum([0, *map(len, loaded)]).tolist(), strict=False))
        self.parts = [split[id(part)] for part in parts]
        self._first = torch.tensor([[first[id(part)]] for part in parts], device=device)
        self.last = torch.tensor([len(part) - 1 for part in parts], device=device)

    def at(self, index: Tensor) -> Tensor:
        """index (R, B) -> (R, B, T, C)."""
        return self._values[index + self._first]


def own_nll(model: StackedModel, method: Method, x: Tensor, randomness: Randomness) -> Tensor:
    """-ln p(x | own z) in nats per value, (R), with the full past and the same noise at every call."""
    training = model.training
    model.eval()
    with torch.no_grad():
        z = method.posterior(model, x).rsample(randomness.draws("validation posterior"))
        log_p = model.decoder(z, x[:, :, :-1]).log_prob(x)
    model.train(training)
    return -log_p.mean(dim=-1) / x[0, 0].numel()


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


def train_stack(
    methods: Sequence[Method],
    splits: Sequence[Splits],
    keys: Sequence[tuple[str, int]],
    backbone: str,
    config: ModelConfig,
    train: Sequence[TrainConfig],
    diffusion: Sequence[DiffusionConfig],
    device: torch.device | str = "cpu",
    watch: Callable[[StackedModel, int], None] | None = None,
    looks: int = 0,
) -> Trained:
    """Train R runs together; keys are (data set key, seed), the other sequences hold one item per run.

    `watch(model, step)` is called at `looks` steps, evenly over the autoencoder stage, and may not
    change the model. Raises Unavailable where the device has no products of `train.precision`.
    """
    device, runs, precision = torch.device(device), len(methods), train[0].precision
    check_precision(precision, device)
    resolved = [method.resolved(config) for method, config in zip(methods, diffusion, strict=True)]
    method, budget, schedule = stacked(resolved, device), stacked(train, device), stacked(diffusion, device)
    randomness = Randomness(keys, device)
    model = StackedModel(runs, splits[0].train.shape[1:], method, backbone, config, diffusion[0]).to(device)
    initialise(model, randomness)
    windows = Windows([part.train for part in splits], device)
    model.fit_marginal(windows.parts)

    curves, guard, watched = Curves(runs), Guard(runs), None
    programs: dict[str, str] = {}
    began = time.perf_counter()
    denoiser_steps = schedule.steps
    if model.autoencoder():
        model.train()
        validation = _validation(splits, randomness)
        watched = Watch(model, watch, budget.steps, looks) if watch is not None else None
        with products(precision):
            programs["autoencoder"] = _train_autoencoder(
                model, method, windows, validation, budget, randomness, guard, curves, watched
            )
        model.eval()
        # A joint objective has moved the denoiser train.steps times already: equal updates for every method.
        denoiser_steps -= budget.steps if method.denoises_jointly else 0
    else:  # diffusion in data space: its one network gets the updates of both stages
        denoiser_steps += budget.steps
    middle = time.perf_counter()
    with products(precision):
        programs["denoiser"] = _train_denoiser(
            model, method, windows, schedule, denoiser_steps, precision, randomness, guard, curves
        )
    ended = time.perf_counter()
    watching = watched.seconds if watched is not None else 0.0
    times = middle - began - watching, ended - middle, watching
    return Trained(model, method, guard.reasons, curves, *times, programs)


def _validation(splits: Sequence[Splits], randomness: Randomness) -> Tensor:
    """The same number of validation series for each run, (R, n, T, C)."""
    n = min(VALIDATION_SERIES, *(len(part.validation) for part in splits))
    windows = Windows([part.validation for part in splits], randomness.device)
    last = randomness.draws("validation series").uniform(max(len(part.validation) for part in splits))
    chosen = [order[: len(part.validation)].argsort()[:n] for order, part in zip(last, splits, strict=True)]
    return windows.at(torch.stack(chosen))


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


class Lagging:
    """The encoder runs ahead of the decoder while it lags behind the true posterior (He et al. 2019, algorithm 1).

    Before an update the encoder alone moves, at most `method.encoder_updates` times, each on a
    batch of its own, until the mean loss of `BLOCK` updates is not below that of the block before.
    The update that follows moves the decoder alone. At the first check of training at which the mutual information
    between x and z, over the validation series, has not risen, a run goes on like any other. Each run of a stack stops
    by itself: an update's draws do not depend on how long the loops before it were.
    """

    BLOCK = 10

    def __init__(
        self, flat: Flat, model: StackedModel, method: Method, budget: TrainConfig, randomness: Randomness
    ) -> None:
        self.flat, self._encoder = flat, flat.beginning(model.encoder)
        self._alone = RowAdam(self._encoder, budget.learning_rate, budget.clip_norm)
        self._together = RowAdam(flat, budget.learning_rate, budget.clip_norm)
        self._model, self._method, self._randomness = model, method, randomness
        self._information = torch.full((model.runs,), -torch.inf, device=flat.values.device)
        self.running = torch.ones(model.runs, dtype=torch.bool, device=flat.values.device)

    def catch_up(
        self, step: Step, terms_from: Callable[[Step, Draws, Draws], dict[str, Tensor]], active: Tensor
    ) -> None:
        """The inner loop before update `step`, of the runs that are active (R) and have not left it for good."""
        roles = (f"{role} of the encoder before {step.index}" for role in ("batches", "draws"))
        order, draws = (self._randomness.draws(role) for role in roles)
        moving = active & self.running
        before, block = torch.full_like(self._information, torch.inf), torch.zeros_like(self._information)
        for update in range(self._method.encoder_updates):
            if not moving.any():
                return
            terms = terms_from(step, order, draws)
            loss = sum(terms.values(), torch.zeros(()))
            assert isinstance(loss, Tensor)
            self._alone.step(self._encoder.gradient(loss.sum()), moving & loss.isfinite())
            block = block + loss.detach()
            if (update + 1) % self.BLOCK == 0:
                moving = moving & (block < before)
                before, block = block, torch.zeros_like(block)

    def step(self, gradient: Tensor, active: Tensor) -> Tensor:
        """As `RowAdam.step`, but while a run is in the loop its encoder stays where the loop has left it."""
        caught_up = self._encoder.values.clone()
        moved = self._together.step(gradient, active)
        self._encoder.values.copy_(torch.where(self.running[:, None], caught_up, self._encoder.values))
        return moved

    def check(self, x: Tensor) -> None:
        """A run leaves the loop when its mutual information over x (R, n, T, C) has not risen since the last check."""
        with torch.no_grad():
            q = self._method.posterior(self._model, x)
            assert isinstance(q, GaussianPosterior)
            information = mutual_information(q, self._randomness.draws("validation information"))
        self.running &= information > self._information
        self._information = information


def _updates(
    terms_at: Callable[[Step], dict[str, Tensor]],
    streams: Sequence[Ahead],
    optimiser: RowAdam | Lagging,
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


def _check_terms(terms: object, runs: int) -> None:
    if not isinstance(terms, dict) or not terms:
        raise TypeError(f"objective: expected a dict of name -> tensor ({runs},), not {type(terms).__name__}")
    for name, value in terms.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.shape != (runs,):
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"objective: {name!r}: expected a name and a tensor of shape ({runs},), not {found}")


def _train_autoencoder(
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
    how = _updates(*each, check, watched, irregular)
    if budget.select == "best_validation":
        for saved, now in zip(kept, state, strict=True):
            now.copy_(saved)
    return how


def _train_denoiser(
    model: StackedModel,
    method: Method,
    windows: Windows,
    schedule: DiffusionConfig,
    steps: int,
    precision: str,
    randomness: Randomness,
    guard: Guard,
    curves: Curves,
) -> str:
    if steps <= 0 or not any(guard.active):
        return "nothing to do"
    order, draws = (Ahead(randomness.draws(role)) for role in ("denoiser batches", "denoiser"))
    optimiser = RowAdam(Flat([model.denoiser]), schedule.learning_rate, clip_norm=1.0)
    latents = encode(model, method, windows)

    def terms_at(step: Step) -> dict[str, Tensor]:
        rows = order.steps(0, windows.last, schedule.batch_size)
        with forward(precision, windows.last.device):
            loss = method.denoising(model, latents.rows(rows), draws)
        return {"denoising": loss / model.latent}

    return _updates(terms_at, (order, draws), optimiser, steps, "denoiser", guard, curves)


@torch.no_grad()
def encode(model: StackedModel, method: Method, windows: Windows, chunk: int = 1024) -> Posterior:
    """What the denoiser learns of all training windows; a run with fewer windows than another repeats its last one."""
    most = int(windows.last.max()) + 1
    index = torch.minimum(torch.arange(most, device=windows.last.device), windows.last[:, None])
    return concatenate([method.codes(model, windows.at(rows)) for rows in index.split(chunk, dim=1)])
