"""Lagging inference: an encoder that runs ahead of its decoder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from bench.contracts import Draws, PerRun, Step, TrainConfig
from bench.method import Method
from bench.models.build import StackedModel
from bench.models.stacked import Averages, Flat, RowAdam
from bench.parts.posteriors import GaussianPosterior, mutual_information
from bench.randomness import Randomness
from bench.training.device_windows import ValidationSeries


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
        self._alone = RowAdam(self._encoder, budget.learning_rate, budget.clip_norm, budget.weight_decay)
        self._together = RowAdam(flat, budget.learning_rate, budget.clip_norm, budget.weight_decay)
        self._averages = Averages(flat, budget.ema)
        self._model, self._method, self._randomness = model, method, randomness
        self._information = torch.full((model.runs,), -torch.inf, device=flat.values.device)
        self.running = torch.ones(model.runs, dtype=torch.bool, device=flat.values.device)

    def catch_up(
        self,
        step: Step,
        terms_from: Callable[[Step, Draws, Draws], dict[str, Tensor]],
        active: Tensor,
        rate: PerRun = 1.0,
    ) -> None:
        """The inner loop before update `step`, of the runs that are active (R) and have not left it for good."""
        roles = (f"{role} of the encoder before {step.index}" for role in ("batches", "draws"))
        order, draws = (self._randomness.draws(role) for role in roles)
        moving = active & self.running
        before, block = torch.full_like(self._information, torch.inf), torch.zeros_like(self._information)
        decoder = self._model.get_submodule("decoder")
        decoder.eval()  # its running scale counts the updates of the decoder only
        for update in range(self._method.encoder_updates):
            if not moving.any():
                break
            terms = terms_from(step, order, draws)
            loss = sum(terms.values(), torch.zeros(()))
            assert isinstance(loss, Tensor)
            self._alone.step(self._encoder.gradient(loss.sum()), moving & loss.isfinite(), rate)
            block = block + loss.detach()
            if (update + 1) % self.BLOCK == 0:
                moving = moving & (block < before)
                before, block = block, torch.zeros_like(block)
        decoder.train()

    def step(self, gradient: Tensor, active: Tensor, rate: PerRun = 1.0) -> Tensor:
        """As `RowAdam.step`, but while a run is in the loop its encoder stays where the loop has left it."""
        caught_up = self._encoder.values.clone()
        moved = self._together.step(gradient, active, rate)
        self._encoder.values.copy_(torch.where(self.running[:, None], caught_up, self._encoder.values))
        self._averages.take(moved[:, None])
        return moved

    def state(self) -> list[Tensor]:
        """As `RowAdam.state`."""
        return [*self._alone.state(), *self._together.state(), *self._averages.state()]

    def averaged(self) -> AbstractContextManager[None]:
        """As `RowAdam.averaged`."""
        return self._averages.inside()

    def settle(self) -> None:
        """As `RowAdam.settle`."""
        self._averages.settle()

    def check(self, validation: ValidationSeries) -> None:
        """A run leaves the loop when its mutual information over these series has not risen since the last check."""
        training = self._model.training
        self._model.eval()
        information = validation.each(self._information_in)
        self._model.train(training)
        self.running &= information > self._information
        self._information = information

    @torch.no_grad()
    def _information_in(self, x: Tensor) -> Tensor:
        """The mutual information of z and series x (R, n, T, C), (R)."""
        q = self._method.posterior(self._model, x)
        assert isinstance(q, GaussianPosterior)
        return mutual_information(q, self._randomness.draws("validation information"))
