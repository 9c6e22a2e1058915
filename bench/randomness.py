"""The only source of random numbers.

A stream is named by (data set, seed, role) and never by the method, so that two methods on the
same data set and seed see the same split, batches, noise and evaluation subset: comparisons are
paired. Every run of a stack has a stream of its own, so a run's numbers do not depend on its
neighbours.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from bench.contracts import Draws, PerRun


def seed_of(dataset: str, seed: int, role: str) -> int:
    """64 bits that depend on all three arguments and on nothing else (not on the platform or the hash seed)."""
    digest = hashlib.sha256(f"{dataset}\x1f{seed}\x1f{role}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def numpy_generator(dataset: str, seed: int, role: str) -> np.random.Generator:
    """A numpy generator for one role."""
    return np.random.default_rng(seed_of(dataset, seed, role))


def _torch_generator(dataset: str, seed: int, role: str) -> torch.Generator:
    generator = torch.Generator()
    generator.manual_seed(seed_of(dataset, seed, role) % 2**63)
    return generator


class Randomness:
    """Streams for a stack of runs.

    keys: (data set key, seed) of each run; R = len(keys). Blocks are drawn on the CPU, so that a
    seed means the same numbers on every device, and moved to `device`.
    """

    def __init__(self, keys: Sequence[tuple[str, int]], device: torch.device | str = "cpu") -> None:
        self.keys = tuple(keys)
        self.device = torch.device(device)

    def draws(self, role: str) -> Stream:
        """The stream of one role, from its beginning. Runs of the same key share what is drawn."""
        different = list(dict.fromkeys(self.keys))
        generators = [_torch_generator(dataset, seed, role) for dataset, seed in different]
        return Stream(generators, [different.index(key) for key in self.keys], self.device)


def _permuted(shape: Sequence[int], generator: torch.Generator, out: Tensor | None = None) -> Tensor:
    return torch.randperm(*shape, generator=generator, out=out)


_DRAW: Mapping[str, Callable[..., Tensor]] = {
    "normal": torch.randn,
    "uniform": torch.rand,
    "steps": functools.partial(torch.rand, dtype=torch.float64),
    "permutation": _permuted,
}
_TYPES = {"steps": torch.float64, "permutation": torch.int64}

Call = tuple[str, tuple[int, ...]]
"""A requested block: a kind of `_DRAW`, and the block's shape for one run."""


def _between(low: PerRun, high: PerRun, u: Tensor) -> Tensor:
    """u (R, ...) uniform on [0, 1), float64 -> integers uniform on {low, .., high}; bounds are numbers or (R,)."""

    def bound(value: PerRun) -> Tensor | int:
        if not isinstance(value, Tensor) or (value.device.type == "cpu" and value.numel() == 1):
            return int(value)
        return value.to(u.device, torch.int64).reshape(-1, *(1,) * (u.ndim - 1))

    first, last = bound(low), bound(high)
    return first + (u * (last - first + 1)).to(torch.int64)


class Stream:
    """See `bench.contracts.Draws`. Run r has the blocks of generator `whose[r]`."""

    def __init__(self, generators: Sequence[torch.Generator], whose: Sequence[int], device: torch.device) -> None:
        self.generators, self.whose, self.device = generators, whose, device

    def _block(self, kind: str, shape: tuple[int, ...]) -> Tensor:
        blocks = [_DRAW[kind](shape, generator=generator) for generator in self.generators]
        together = torch.stack([blocks[which] for which in self.whose])
        return together.to(self.device, non_blocking=True)  # the host does not wait for the device

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, (R, *shape), float32."""
        return self._block("normal", shape)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform on [0, 1), (R, *shape), float32."""
        return self._block("uniform", shape)

    def steps(self, low: PerRun, high: PerRun, *shape: int) -> Tensor:
        """Integers uniform on {low, .., high}, (R, *shape); low and high are numbers or of shape (R,)."""
        return _between(low, high, self._block("steps", shape))

    def permutation(self, n: int) -> Tensor:
        """One permutation of 0..n-1 per run, (R, n)."""
        return self._block("permutation", (n,))


AHEAD_BYTES = 2**26  # of host memory for blocks drawn ahead, taken twice: one half is filled while the other is used
AHEAD_STEPS = 64
THREADS = 8


class Irregular(Exception):
    """A step asked for other random blocks than the steps before it, so they cannot be drawn ahead."""


class Ahead:
    """The blocks of a stream for steps that all need the same shapes, drawn for many steps in advance.

    At first every call goes to the stream and is recorded in `calls`. After `hold` the blocks of a step are rows of
    memory that does not move: a step reads row `position` (a tensor on the device, which the step itself may advance),
    so that it needs nothing from the host and can be replayed. `load` brings the rows of the next steps, which threads
    draw while the device is busy: every generator gives the same numbers in the same order either way.
    """

    def __init__(self, source: Draws) -> None:
        self._source = source
        self.calls: list[Call] = []  # of the current step, or of the last one
        self._holding = False
        self._held: list[Tensor] = []
        self._asked = 0
        self._rows = torch.zeros(())

    def begin(self, position: Tensor | None = None) -> None:
        """A new step: the blocks come from the stream, or after `hold` from row `position` (1,)."""
        self._asked = 0
        if not self._holding:
            self.calls = []
        elif position is not None:
            self._rows = position * self._different + self._whose

    def _block(self, kind: str, shape: tuple[int, ...]) -> Tensor:
        if self._asked >= len(self.calls) or self.calls[self._asked] != (kind, shape):
            raise Irregular(f"a step asked for {kind} {shape}, the steps before it for something else")
        self._asked += 1
        return self._held[self._asked - 1].flatten(0, 1).index_select(0, self._rows)

    def _ask(self, kind: str, shape: tuple[int, ...]) -> bool:
        """Whether the block must come from the stream itself."""
        if not self._holding:
            self.calls.append((kind, shape))
        return not self._holding

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, (R, *shape), float32."""
        return self._source.normal(*shape) if self._ask("normal", shape) else self._block("normal", shape)

    def uniform(self, *shape: int) -> Tensor:
        """Uniform on [0, 1), (R, *shape), float32."""
        return self._source.uniform(*shape) if self._ask("uniform", shape) else self._block("uniform", shape)

    def steps(self, low: PerRun, high: PerRun, *shape: int) -> Tensor:
        """Integers uniform on {low, .., high}, (R, *shape); low and high are numbers or of shape (R,)."""
        if self._ask("steps", shape):
            return self._source.steps(low, high, *shape)
        return _between(low, high, self._block("steps", shape))

    def permutation(self, n: int) -> Tensor:
        """One permutation of 0..n-1 per run, (R, n)."""
        return self._source.permutation(n) if self._ask("permutation", (n,)) else self._block("permutation", (n,))

    # ---- drawing ahead

    def bytes_per_step(self) -> int:
        """Bytes of host memory for the blocks of one step; 0 where it needs none."""
        assert isinstance(self._source, Stream)
        each = sum(_TYPES.get(kind, torch.float32).itemsize * int(np.prod(shape)) for kind, shape in self.calls)
        return each * len(self._source.generators)

    @property
    def can_hold(self) -> bool:
        """Whether the blocks come from a stream of this file, whose generators can be asked ahead of time."""
        return isinstance(self._source, Stream)

    def hold(self, rows: int, left: int) -> None:
        """Take memory for `rows` steps; `left` steps will be asked for in all. Nothing is drawn yet."""
        assert isinstance(self._source, Stream)
        stream, self._left, self._half, self._holding = self._source, left, 0, True
        self._different = len(stream.generators)
        self._whose = torch.tensor(stream.whose, device=stream.device)
        pinned = stream.device.type == "cuda"
        shapes = [((rows, self._different, *shape), _TYPES.get(kind, torch.float32)) for kind, shape in self.calls]
        self._held = [torch.empty(shape, dtype=kind, device=stream.device) for shape, kind in shapes]
        self._halves = [[torch.empty(shape, dtype=kind, pin_memory=pinned) for shape, kind in shapes] for _ in range(2)]
        self._copied: list[torch.cuda.Event | None] = [None, None]
        self._drawn: list[Future[None]] = []
        self._threads: ThreadPoolExecutor | None = None

    def start(self) -> None:
        """Begin to draw the first rows."""
        if self._held:
            self._threads = ThreadPoolExecutor(min(self._different, THREADS), "draws")
            self._draw()

    def _draw(self) -> None:
        """Have the threads draw the next rows into the half that is not in use, one generator each."""
        assert isinstance(self._source, Stream)
        assert self._threads is not None
        host, event = self._halves[self._half], self._copied[self._half]
        if event is not None:
            event.synchronize()
        count = min(self._left, len(host[0]))
        self._left -= count
        kinds = [_DRAW[kind] for kind, _ in self.calls]
        shapes = [shape for _, shape in self.calls]

        def one(which: int, generator: torch.Generator) -> None:
            for row in range(count):
                for draw, shape, memory in zip(kinds, shapes, host, strict=True):
                    draw(shape, generator=generator, out=memory[row, which])

        self._drawn = [self._threads.submit(one, *each) for each in enumerate(self._source.generators)]

    def load(self) -> None:
        """The next rows, in the order of the device's work; the threads go on with those after them."""
        if not self._held:
            return
        for drawn in self._drawn:
            drawn.result()
        for held, host in zip(self._held, self._halves[self._half], strict=True):
            held.copy_(host, non_blocking=True)
        if self._held[0].is_cuda:
            self._copied[self._half] = torch.cuda.Event()
            self._copied[self._half].record()  # type: ignore[union-attr]
        self._half = 1 - self._half
        self._draw()

    def release(self) -> None:
        """Release the memory; calls go to the stream again, from the current state of its generators."""
        if self._holding and self._threads is not None:
            self._threads.shutdown(wait=True)
        self._holding, self._held, self._halves = False, [], []
