"""F, the marginal of the training windows, of a family that has no closed form for it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.contracts import Cells, ModelConfig
from bench.models.head import make_head
from bench.models.stacked import Flat, RowAdam, parameter
from bench.parts.likelihoods import fitted

UPDATES = 400
BATCH = 64
RATE = 2e-2  # of Adam at first; it falls linearly to a hundredth

KEPT = 16
_KEPT: dict[bytes, Tensor] = {}
"""What this process has fitted last: methods that are compared on one split and seed begin with the same F."""


class FittedMarginal(nn.Module):
    """A head of the decoder's kind whose state is a vector per time step: what is known without any series.

        F(x) = sum_t ln p(x_t | g_t),   g_t fitted with the head to the training windows, then frozen

    With autoregressive channels F is autoregressive over them as well, so that it knows how the channels of a step
    depend on each other, and nothing of the steps before. It is fitted before training, without any draw, so that what
    was fitted to the same windows from the same weights is not fitted again.
    Shapes: x (R, B, T, C) -> (R, B), nats per series.
    """

    def __init__(self, runs: int, window: int, channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.head = make_head(runs, config.hidden, channels, config)
        self.state = parameter(runs, window, config.hidden, bound=0.0)
        self.config = config
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """F(x): (R, B, T, C) -> (R, B)."""
        return self.head(self._states(x)).log_prob(x)

    def _states(self, x: Tensor) -> Tensor:
        return self.state.unsqueeze(1).expand(-1, x.shape[1], -1, -1)

    def fit(self, windows: Sequence[Tensor], cells: Sequence[Cells | None]) -> None:
        """Fit to each run's training windows (n, T, C)."""
        self.head.fit(windows, cells)
        steps, width = self.state.shape[1:]
        place = torch.arange(steps, device=self.state.device)[:, None] * torch.arange(width, device=self.state.device)
        with torch.no_grad():  # waves of every frequency: different for every step, and the first is constant
            self.state.copy_(torch.cos(math.pi * (place + 0.5 * torch.arange(width, device=place.device)) / steps))
        flat = Flat([self])
        key = self._content(windows)
        if key not in _KEPT:
            self._train(flat, windows)
            while len(_KEPT) >= KEPT:
                del _KEPT[next(iter(_KEPT))]  # the oldest
            _KEPT[key] = flat.values.clone()
        flat.values.copy_(_KEPT[key])
        self.requires_grad_(False).eval()

    def _content(self, windows: Sequence[Tensor]) -> bytes:
        """A hash of all that decides the fit: settings, weights, what the head has taken from the cells, windows."""
        found = hashlib.sha256(repr((self.config, UPDATES, BATCH, RATE, self.state.device.type)).encode())
        for tensor in (*self.parameters(), *self.buffers(), *windows):
            found.update(repr((tensor.shape, tensor.dtype)).encode())
            found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return found.digest()

    def _train(self, flat: Flat, windows: Sequence[Tensor]) -> None:
        self.requires_grad_(True).train()
        rate = torch.full((len(windows),), RATE, device=flat.values.device)
        optimiser, everyone = RowAdam(flat, rate, clip_norm=1.0), torch.ones_like(rate, dtype=torch.bool)
        for update in range(UPDATES):
            x = torch.stack([_batch(of_run, update) for of_run in windows])
            loss = -fitted(self.head(self._states(x)), x).log_prob(x).mean(dim=-1) / x[0, 0].numel()
            rate.fill_(RATE * (1 - 0.99 * update / UPDATES))
            optimiser.step(flat.gradient(loss.sum()), everyone)


def _batch(x: Tensor, update: int) -> Tensor:
    """BATCH windows evenly spaced among x (n, T, C), others at every update; all of few."""
    n = len(x)
    spaced = torch.arange(BATCH, device=x.device) * n // BATCH
    return x[(spaced + update * 7919) % n]  # a prime, so that every window has its turn
