"""Shared by the tests: one thread, tiny splits that need no data, and workers that are no processes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch

from bench.contracts import InputError, Splits
from bench.engine.tasks import Task
from bench.engine.workers import Worker, work
from bench.hardware.devices import Device
from bench.registry import load_plugin

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--plugin my_method.py`: the contract suite runs on it as on the shipped ones."""
    parser.addoption("--plugin", action="append", default=[], metavar="FILE.py", help="a method, data set or metric")


def pytest_configure(config: pytest.Config) -> None:
    """Plug-ins are registered before the tests are collected."""
    for path in config.getoption("--plugin"):
        load_plugin(path)


def make_splits(n: int = 40, window: int = 7, channels: int = 2, seed: int = 0) -> Splits:
    """AR(1) windows around a level per series: short, random, with something for a latent to say."""
    rng = np.random.default_rng(seed)
    level = rng.standard_normal((n, 1, channels))
    noise = rng.standard_normal((n, window, channels))
    for t in range(1, window):
        noise[:, t] = 0.5 * noise[:, t - 1] + 0.8 * noise[:, t]
    x = (0.8 * level + 0.6 * noise).astype(np.float32)
    a, b = int(0.6 * n), int(0.8 * n)
    ones = np.ones(channels)
    names = tuple(f"c{k}" for k in range(channels))
    return Splits(x[:a], x[a:b], x[b:], 0 * ones, ones, names, ("1",) * channels, window, f"tiny {n} {window} {seed}")


class InlineWorker(Worker):
    """Does its stack at once, in this process."""

    def __init__(self, device: Device | None = None) -> None:
        self.device = device

    def submit(self, task: Task, settings: Any, job: str) -> None:
        self.task, self.future = task, Future()
        try:
            self.future.set_result(work(job, task.stack, settings, task.attempt))
        except Exception as error:
            self.future.set_exception(error)

    def seconds(self) -> float:
        return 0.0

    def memory(self) -> int:
        return 0

    def stop(self) -> None:
        return


@contextlib.contextmanager
def refused(complaint: str) -> Iterator[None]:
    """What is done inside ends in an error of input: one line, in which the pattern is found."""
    with pytest.raises(InputError, match=complaint) as caught:
        yield
    assert "\n" not in str(caught.value)


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """`bench.run` starts no worker, whose imports take seconds: for tests of what it does, not of who does it."""
    monkeypatch.setattr("bench.engine.workers.LocalWorker", InlineWorker)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report plans all its pictures and draws none, which would take nine tenths of its time."""
    monkeypatch.setattr("bench.report.report.drawn", blank)


def blank(picture: Any, *_: object) -> Any:
    """The picture, captions and all, with an empty drawing."""
    return dataclasses.replace(picture, svg='<svg viewBox="0 0 1 1"></svg>', png=b"\x89PNG")


@pytest.fixture
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge of `c2st` has 5 trees in place of 60: for tests that do not depend on how good it is."""
    import sklearn.ensemble

    trees = sklearn.ensemble.HistGradientBoostingClassifier
    monkeypatch.setattr(
        sklearn.ensemble, "HistGradientBoostingClassifier", lambda **words: trees(**{**words, "max_iter": 5})
    )


@pytest.fixture
def data_dir() -> Path:
    """The folder of real data files; the test is skipped where there is none."""
    place = os.environ.get("BENCH_DATA")
    if not place or not Path(place).is_dir():
        pytest.skip("BENCH_DATA names no folder with the real data files")
    return Path(place)
