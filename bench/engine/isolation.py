"""What a method, data set or metric does to its process is undone after its stack, and said.

A worker runs many stacks. A plug-in that sets torch's default type, say, would change the numbers of all runs after it.
"""

from __future__ import annotations

import contextlib
import os
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class State:
    """One thing that is shared by all that runs in a process."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]


def _set_filters(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]


HARMFUL = (
    State("torch's grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
    State("torch's default type", torch.get_default_dtype, torch.set_default_dtype),
    State("torch's default device", torch.get_default_device, torch.set_default_device),
    State("torch's threads", torch.get_num_threads, torch.set_num_threads),
    State("torch's deterministic mode", torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    State("numpy's treatment of errors", np.geterr, lambda old: np.seterr(**old)),
    State("the working directory", os.getcwd, os.chdir),
)
"""What would change other runs."""

QUIETLY = (
    State("the filters of warnings", lambda: list(warnings.filters), _set_filters),
    State("random", random.getstate, random.setstate),
    State("numpy.random", np.random.get_state, np.random.set_state),
    State("torch", torch.get_rng_state, torch.set_rng_state),
)
"""Put back without a word: libraries set filters when they are imported, and no run of this project draws from these
generators."""


@contextmanager
def isolated() -> Iterator[list[str]]:
    """Put back at the end what the block did to the process; the list then names what would have harmed other runs."""
    before = [(state, _now(state)) for state in (*HARMFUL, *QUIETLY)]
    changed: list[str] = []
    try:
        yield changed
    finally:
        for state, value in before:
            if state in QUIETLY:
                state.write(value)
            elif value is not None and _now(state) != value:
                with contextlib.suppress(OSError):  # the directory was removed, and no run needs it
                    state.write(value)
                    changed.append(state.name)


def _now(state: State) -> Any:
    try:
        return state.read()
    except OSError:  # a working directory that was removed
        return None
