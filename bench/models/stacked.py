"""Networks of many runs at once: every parameter is (R, ...), every activation (R, B, ...).

On a CPU each run's product is computed by the same kernel call that it would get alone, so a
stacked run equals a solo run; on a GPU the runs share one batched product.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.contracts import PerRun
from bench.randomness import Randomness


def parameter(runs: int, *shape: int, bound: float, centre: float = 0.0, decays: bool = True) -> nn.Parameter:
    """A parameter of shape (runs, *shape), to be drawn uniformly from centre +- bound by `initialise`.

    decays: False for what has the shape of a matrix and is none, so that weight decay leaves it alone.
    """
    created = nn.Parameter(torch.full((runs, *shape), float(centre)))
    created.bound, created.decays = bound, decays and len(shape) > 1  # type: ignore[attr-defined]
    return created


def initialise(module: nn.Module, randomness: Randomness) -> None:
    """Draw every parameter from its own stream, named after it.

    Two methods with the same part in the same shape so begin from the same numbers, whatever
    other parts they have; a part inside a wrapper (its `inner`) begins as it would outside.
    """
    for name, weights in module.named_parameters():
        name = name.replace("inner.", "")
        bound: float = weights.bound  # type: ignore[attr-defined]
        if bound > 0:
            noise = randomness.draws(f"initial {name}").uniform(*weights.shape[1:])
            weights.data.add_((2 * noise - 1).to(weights.device) * bound)


def has_weights(module: nn.Module) -> bool:
    """Whether there is anything to train."""
    return any(True for _ in module.parameters())


def per_run(parts: list[Tensor]) -> Tensor:
    """Stack the results of single runs; one run is a view."""
    return parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(parts)


def by_run(stacked: Tensor) -> tuple[Tensor, ...]:
    """The parts of single runs; of one run it is a view in both directions, which `unbind` is only in one."""
    return (stacked.squeeze(0),) if len(stacked) == 1 else stacked.unbind()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y_r = x_r W_r^T + b_r: x (R, ..., in), weight (R, out, in), bias (R, out) -> (R, ..., out).

    Under autocast only the product is rounded: y has the type of x.
    """
    if x.device.type == "cpu":
        biases = [None] * len(weight) if bias is None else by_run(bias)
        rows = zip(by_run(x), by_run(weight), biases, strict=True)
        return per_run([functional.linear(*row).to(x.dtype) for row in rows])
    flat = x.reshape(len(x), -1, x.shape[-1])
    product = flat @ weight.mT if bias is None else torch.baddbmm(bias[:, None], flat, weight.mT)
    return product.reshape(*x.shape[:-1], -1).to(x.dtype)


def linear_outputs_first(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`linear` with the outputs before all that x has many of: x (R, ..., in) -> (R, out, ...).

    What is done with each output afterwards runs through contiguous memory.
    """
    columns = x.reshape(len(x), -1, x.shape[-1]).mT.contiguous()
    if x.device.type == "cpu":
        rows = [own @ of_run for own, of_run in zip(by_run(weight), by_run(columns), strict=True)]
        if bias is not None:
            rows = [row.add_(own) for row, own in zip(rows, by_run(bias.unsqueeze(-1)), strict=True)]
        product = per_run(rows)
    else:
        product = weight @ columns if bias is None else torch.baddbmm(bias.unsqueeze(-1), weight, columns)
    return product.unflatten(-1, x.shape[1:-1]).to(x.dtype)


class Linear(nn.Module):
    """`linear` with its parameters, drawn as torch's nn.Linear draws them."""

    def __init__(self, runs: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = parameter(runs, outputs, inputs, bound=bound)
        self.bias = parameter(runs, outputs, bound=bound)

    def forward(self, x: Tensor) -> Tensor:
        """(R, ..., inputs) -> (R, ..., outputs)."""
        return linear(x, self.weight, self.bias)


class Flat:
    """The parameters of some modules as one buffer (R, P): they become views of it, one update moves them all."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.parameters = [weights for module in modules for weights in module.parameters()]
        runs = len(self.parameters[0])
        self.values = torch.cat([weights.data.reshape(runs, -1) for weights in self.parameters], dim=-1)
        decays = [float(getattr(weights, "decays", weights.ndim > 2)) for weights in self.parameters]
        each = [torch.full((weights[0].numel(),), own) for weights, own in zip(self.parameters, decays, strict=True)]
        self.decays = torch.cat(each).to(self.values.device)  # 1 for what weight decay moves, else 0; (P,)
        start = 0
        for weights in self.parameters:
            end = start + weights[0].numel()
            weights.data = self.values[:, start:end].view(weights.shape)
            start = end

    def beginning(self, module: nn.Module) -> Flat:
        """The parameters of the first module alone, in the same memory."""
        part = self.between(0, sum(weights[0].numel() for weights in module.parameters()))
        part.parameters = list(module.parameters())
        return part

    def between(self, first: int, end: int) -> Flat:
        """Columns first .. end - 1, in the same memory; `gradient` is that of the whole."""
        part = copy.copy(self)
        part.values, part.decays = self.values[:, first:end], self.decays[first:end]
        return part

    def gradient(self, loss: Tensor) -> Tensor:
        """d loss / d values, (R, P); zero where the loss does not depend on a parameter."""
        parts = torch.autograd.grad(loss, self.parameters, allow_unused=True, materialize_grads=True)
        return torch.cat([part.reshape(len(self.values), -1) for part in parts], dim=-1)


SETTLED = 20_000  # updates after which Adam's bias corrections are 1 in float32


@functools.cache  # computing them takes as long as several updates of a small network
def _bias_corrections(betas: tuple[float, float]) -> Tensor:
    """1 - beta^k for k updates and both betas, (SETTLED, 2), in float64."""
    return torch.tensor([[1 - beta**k for beta in betas] for k in range(SETTLED)], dtype=torch.float64)


class Averages:
    """Exponential averages of the weights after each update of a row; with decay 0 none are taken.

    The decay is min(decay, (k - 1) / (k + 8)) at update k of a row: the initial weights have no share in it, and early
    in training it spans about the last tenth of the updates.
    """

    def __init__(self, flat: Flat, decay: float) -> None:
        self._flat, self._decay = flat, decay
        self._average = flat.values.clone() if decay else None
        self._taken = torch.zeros(len(flat.values), 1, dtype=torch.int64, device=flat.values.device)

    @torch.no_grad()
    def take(self, moves: Tensor) -> None:
        """Add the weights as they are, of the rows where moves (R, 1) is true."""
        if self._average is not None:
            self._taken += moves
            decay = ((self._taken - 1) / (self._taken + 8)).clamp(max=self._decay)
            self._average.lerp_(self._flat.values, torch.where(moves, 1 - decay, 0.0))

    def state(self) -> list[Tensor]:
        """The averages and of how many updates they are, each (R, ...)."""
        return [] if self._average is None else [self._average, self._taken]

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Inside, the weights are their averages."""
        if self._average is None:
            yield
            return
        current = self._flat.values.clone()
        self.settle()
        try:
            yield
        finally:
            self._flat.values.copy_(current)

    def settle(self) -> None:
        """The weights become their averages."""
        if self._average is not None:
            self._flat.values.copy_(self._average)


class RowAdam:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1) with a learning rate and a gradient norm per run.

    learning_rate (R,), clip_norm a number. A row whose gradient is not finite, or that is not
    `active`, stays as it is.

    weight_decay w: the entries of matrices, not of biases, norms and codes (see `parameter`), lose the share (learning
    rate w) of an update (decoupled, Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2).

    average d: besides, averages of the weights are taken (`Averages`); `averaged` and `settle` bring them in.
    """

    betas = (0.9, 0.999)
    epsilon = 1e-8

    def __init__(
        self, flat: Flat, learning_rate: Tensor, clip_norm: float, weight_decay: float = 0.0, average: float = 0.0
    ) -> None:
        self.flat, self.learning_rate, self.clip_norm = flat, learning_rate, clip_norm
        self._weight_decay, self._averages = weight_decay, Averages(flat, average)
        self._first = torch.zeros_like(flat.values)
        self._second = torch.zeros_like(flat.values)
        self._moves = torch.zeros(len(flat.values), 1, dtype=torch.int64, device=flat.values.device)
        self._bias = _bias_corrections(self.betas).to(flat.values)

    @torch.no_grad()
    def step(self, gradient: Tensor, active: Tensor, rate: PerRun = 1.0) -> Tensor:
        """One update of the rows where active (R,) is true, at `rate` times the learning rate; who moved, (R,)."""
        norm = gradient.norm(dim=-1, keepdim=True)
        moves = active[:, None] & norm.isfinite()
        gradient = torch.where(moves, gradient * (self.clip_norm / (norm + 1e-6)).clamp(max=1), 0)
        self._moves += moves  # a row counts its own updates, so that it does not notice its neighbours'
        first_bias, second_bias = self._bias[self._moves.clamp(1, SETTLED - 1)].unbind(dim=-1)
        first, second = self.betas
        self._first.lerp_(gradient, (1 - first) * moves)
        self._second.mul_(torch.where(moves, second, 1.0)).addcmul_(gradient, gradient, value=1 - second)
        denominator = (self._second / second_bias).sqrt_().add_(self.epsilon)
        step = (self.learning_rate * rate)[:, None] * moves
        if self._weight_decay:
            self.flat.values.mul_(1 - self._weight_decay * step * self.flat.decays)
        self.flat.values.sub_(self._first.div(denominator).mul_(step / first_bias))
        self._averages.take(moves)
        return moves.squeeze(-1)

    def state(self) -> list[Tensor]:
        """What the next update reads beside weights and gradient, each (R, ...)."""
        return [self._first, self._second, self._moves, *self._averages.state()]

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the weights are their averages, where averages are taken."""
        return self._averages.inside()

    def settle(self) -> None:
        """The weights become their averages, where averages are taken."""
        self._averages.settle()
