"""A step that is repeated many times: called plainly, or on a GPU recorded once and replayed.

One launch of a small kernel costs about as much as the kernel, and a training step of a small model is hundreds of
them. A CUDA graph replays them all with one call, if the step needs nothing from the host: no number of a tensor may
be read, and its random blocks lie ready (`bench.randomness.Ahead`). What cannot be recorded is called plainly, with
the reason kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from bench.contracts import in_one_line
from bench.randomness import AHEAD_BYTES, AHEAD_STEPS, Ahead

Index: TypeAlias = int | Tensor
"""The index of a step: a number, or in a recorded step a float64 tensor () on the device."""

Work: TypeAlias = Callable[[], None]

WARM_UP = 3  # plain steps before recording: the first ones compile kernels, choose algorithms and take memory


def cuda_graph(work: Work) -> Work:
    """Record the kernels that `work` launches, without running them; the result runs them all."""
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    try:
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            work()
    finally:  # after an error the context manager leaves its own stream behind
        torch.cuda.set_stream(stream)
    return graph.replay


@dataclass(frozen=True)
class Recorder:
    """How a step is recorded, and from how many repetitions on that pays."""

    record: Callable[[Work], Work] = cuda_graph
    least: int = 64


_RECORDER: ContextVar[Recorder | Literal["auto"] | None] = ContextVar("recorder", default="auto")


@contextmanager
def recording(recorder: Recorder | Literal["auto"] | None) -> Iterator[None]:
    """Inside, steps are recorded by this on any device; by none with None; `auto`: CUDA graphs on a GPU."""
    token = _RECORDER.set(recorder)
    try:
        yield
    finally:
        _RECORDER.reset(token)


def recorder_on(device: torch.device) -> Recorder | None:
    """The recorder of this device, or None."""
    chosen = _RECORDER.get()
    if chosen == "auto":
        return Recorder() if device.type == "cuda" else None
    return chosen


class Program:
    """`run()` does the next of `total` equal steps, in order.

    step(index) does step `index`. It may change tensors in place and nothing else; between two calls of `run` the same
    tensors may be changed in place from outside. streams: where it draws. irregular: why it cannot be
    recorded, if that is known. Closing gives back what was held; `how` stays: "recorded", "plain", or "plain: REASON".
    """

    def __init__(
        self,
        step: Callable[[Index], None],
        streams: Sequence[Ahead],
        total: int,
        device: torch.device,
        irregular: str = "",
    ) -> None:
        self._step, self._streams, self._total, self._device = step, streams, total, device
        self._recorder = recorder_on(device)
        self._replay: Work | None = None
        self._done = self._loaded = 0
        self._calls: list[object] = []
        self.how = "plain"
        if self._recorder is not None and total < self._recorder.least:
            self._give_up(f"{total} steps are too few")
        elif irregular:
            self._give_up(irregular)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self._replay = None
        for stream in self._streams:
            stream.release()

    def run(self) -> None:
        """The next step."""
        if self._replay is not None:
            if self._loaded == 0:
                self._load()
            self._replay()
            self._loaded -= 1
        elif self._recorder is None:
            self._plainly()
        else:
            self._warm_up(self._recorder)
        self._done += 1

    # ---- plainly

    def _give_up(self, reason: str) -> None:
        if self._recorder is not None:
            self._recorder, self.how = None, f"plain: {reason}"

    def _plainly(self) -> None:
        for stream in self._streams:
            stream.begin()
        self._step(self._done)

    def _warm_up(self, recorder: Recorder) -> None:
        """A plain step; after the last of them the step is recorded, if it may be."""
        last = self._done + 1 == WARM_UP
        synchronised = ""
        if last and self._device.type == "cuda":
            with _noticing_synchronisation() as found:
                self._plainly()
            synchronised = found[0] if found else ""
        else:
            self._plainly()
        calls = [tuple(stream.calls) for stream in self._streams]
        if self._done and calls != self._calls:
            self._give_up("its random blocks change from step to step")
        elif synchronised:
            self._give_up(f"the host waits for the device at {synchronised}")
        elif not all(stream.can_hold for stream in self._streams):
            self._give_up("its random blocks are not drawn by bench.randomness")
        elif last:
            self._record(recorder)
        self._calls = list(calls)

    # ---- recorded

    def _record(self, recorder: Recorder) -> None:
        left = self._total - WARM_UP
        each = sum(stream.bytes_per_step() for stream in self._streams)
        self._rows = max(1, min(left, AHEAD_STEPS, AHEAD_BYTES // max(each, 1)))
        self._position = torch.zeros(1, dtype=torch.int64, device=self._device)
        self._index = torch.full((), float(WARM_UP), dtype=torch.float64, device=self._device)
        for stream in self._streams:
            stream.hold(self._rows, left)
        try:
            self._replay = recorder.record(self._self_contained)
        except torch.OutOfMemoryError:  # the caller takes a smaller stack
            raise
        except Exception as error:  # a plain step is slower and gives the same result
            for stream in self._streams:
                stream.release()
            self._give_up(in_one_line(error))
            return
        self.how = "recorded"
        for stream in self._streams:
            stream.start()

    def _self_contained(self) -> None:
        """A step that finds on the device which one it is and what it draws."""
        for stream in self._streams:
            stream.begin(self._position)
        self._step(self._index)
        self._index += 1
        self._position += 1

    def _load(self) -> None:
        for stream in self._streams:
            stream.load()
        self._position.zero_()
        self._loaded = self._rows


@contextmanager
def _noticing_synchronisation() -> Iterator[list[str]]:
    """The places (file:line) at which the host waited for the device, filled in at the end."""
    found: list[str] = []
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(before)
    for warning in heard:
        if "called a synchronizing" in str(warning.message):  # and not the first call's remark about the mode itself
            place = warning.filename.replace("\\", "/").split("/")
            found.append(f"{'/'.join(place[-3:])}:{warning.lineno}")
