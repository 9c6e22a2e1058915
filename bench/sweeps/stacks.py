"""Runs -> stacks of runs that can train together.

Runs share a stack when everything agrees except their seed and what is marked `PerRun`: whatever
changes a shape or the program is part of the key. Reference runs train nothing; those of one
(data set, shuffle, seed) share a stack because they share the windows.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.contracts import per_run_fields
from bench.registry import METHODS
from bench.sweeps.run import Run


@dataclass(frozen=True)
class Stack:
    """Runs that one worker trains as one."""

    runs: tuple[Run, ...]

    @functools.cached_property
    def stack_id(self) -> str:
        """A name that depends on the runs and on nothing else."""
        return hashlib.sha256(" ".join(run.run_id for run in self.runs).encode()).hexdigest()[:16]

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs' identities, in the order of the stack."""
        return tuple(run.run_id for run in self.runs)


@functools.lru_cache(maxsize=4096)
def _shared(config: Any) -> tuple[tuple[str, Any], ...]:
    """A block's values without those that may differ inside a stack."""
    own = per_run_fields(type(config))  # type: ignore[arg-type]
    return tuple((f.name, getattr(config, f.name)) for f in dataclasses.fields(config) if f.name not in own)


def stack_key(run: Run) -> Hashable:
    """Runs with equal keys may share a stack."""
    if run.kind == "reference":
        return run.kind, run.dataset, run.seed, run.split_seed, run.evaluate
    own = per_run_fields(METHODS[run.method])  # type: ignore[arg-type]
    hyper = tuple((name, value) for name, value in run.hyper if name not in own)
    blocks = (run.model, _shared(run.train), _shared(run.diffusion), run.evaluate)
    return run.kind, run.method, hyper, run.dataset, run.backbone, bool(run.data_sha256), blocks


def make_stacks(runs: Iterable[Run], size: int | Callable[[Sequence[Run]], int]) -> list[Stack]:
    """Stacks of at most `size` runs (references: all of one data set and seed), in the order of the runs.

    size: a number, or a function of the runs that may share a stack; those are divided evenly, so that no stack is
    left with a few.
    """
    groups: dict[Hashable, list[Run]] = {}
    place = {}
    for index, run in enumerate(runs):
        groups.setdefault(stack_key(run), []).append(run)
        place[run.run_id] = index
    stacks = []
    for group in groups.values():
        most = len(group) if group[0].kind == "reference" else size if isinstance(size, int) else size(group)
        step = -(-len(group) // -(-len(group) // most))
        stacks += [Stack(tuple(group[start : start + step])) for start in range(0, len(group), step)]
    return sorted(stacks, key=lambda stack: place[stack.runs[0].run_id])


def alone(stack: Stack) -> list[Stack]:
    """One stack per run: how a stack is repeated after its worker died."""
    return [Stack((run,)) for run in stack.runs]


def halves(stack: Stack) -> Sequence[Stack]:
    """Two stacks of half the size: how a stack is repeated after it ran out of memory."""
    middle = (len(stack.runs) + 1) // 2
    return [Stack(part) for part in (stack.runs[:middle], stack.runs[middle:]) if part]
