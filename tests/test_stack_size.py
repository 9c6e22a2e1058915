"""--stack auto: by memory and speed on a GPU, one on a CPU; stacks of a group are of even size."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bench.contracts import InputError
from bench.engine import stack_size
from bench.engine.stack_size import LEAST, MOST, bytes_of, choose, fastest, measured, most_in
from bench.hardware.devices import Device, turn
from bench.sweeps.expand import read_sweep
from bench.sweeps.stacks import make_stacks

CPU, GPU = [Device("cpu")], [Device("cuda:0", "0")]
SWEEP = """
name: sizes
datasets: [{name: sines, series: 60}]
methods: [{name: proposed, grid: {N: [2, 5], gamma: [1, 2]}, set: {M: 15}}, latent_diffusion]
seeds: 10
model: {hidden: 8, latent: 4}
train: {steps: 4, batch_size: 8}
diffusion: {L: 20, steps: 4, batch_size: 8, hidden: 8}
"""


@pytest.fixture
def runs(tmp_path: Path):
    path = tmp_path / "sizes.yaml"
    path.write_text(SWEEP)
    return [run for run in read_sweep(path).runs if run.kind == "method"]


def test_stacks_of_a_group_are_of_even_size(runs):
    assert len(runs) == 50
    sizes = [len(stack.runs) for stack in make_stacks(runs, 32)]
    assert sorted(sizes) == [10, 20, 20]  # 40 of one method as 20 + 20, not 32 + 8
    assert sorted(run_id for stack in make_stacks(runs, 7) for run_id in stack.run_ids) == sorted(
        run.run_id for run in runs
    )
    by_method = make_stacks(runs, lambda group: 4 if group[0].method == "proposed" else 10)
    assert sorted(len(stack.runs) for stack in by_method) == [4] * 10 + [10]


def test_a_number_is_taken_as_it_is_and_a_cpu_stacks_nothing(runs):
    assert choose("5", GPU, None, (), measure=True) == 5
    assert choose("auto", CPU, None, (), measure=True) == 1
    assert choose("auto", [Device("cuda")], None, (), measure=True) == LEAST  # of a cluster
    with pytest.raises(InputError, match="--stack many"):
        choose("many", GPU, None, (), measure=True)


def test_a_gpu_is_measured_once_per_shape_and_never_beyond_its_memory(runs, monkeypatch):
    asked = []

    def measure(run, device, data, plugins, most):
        asked.append(most)
        return 16

    monkeypatch.setattr(stack_size, "measured", measure)
    monkeypatch.setattr(stack_size, "memory_of", lambda device: 80 * 2**30)
    size = choose("auto", GPU, None, (), measure=True)
    assert callable(size)
    assert [size(runs), size(runs[:20]), size(runs[40:])] == [16, 16, 16]
    assert asked == [MOST]
    monkeypatch.setattr(stack_size, "memory_of", lambda device: 2**31)
    wide = [dataclasses.replace(run, model=dataclasses.replace(run.model, hidden=512)) for run in runs]
    small = choose("auto", GPU, None, (), measure=True)
    assert callable(small)
    assert small(wide) == most_in(2**31, wide[0]) < LEAST
    assert asked == [MOST]  # too few fit for a measurement to matter
    listed = choose("auto", GPU, None, (), measure=False)
    assert callable(listed)
    assert listed(runs) == MOST


def test_bytes_grow_with_every_size(runs):
    run = runs[0]
    base = bytes_of(run)
    sizes = {"model": ("hidden", "layers", "latent_steps"), "train": ("batch_size",), "diffusion": ("hidden",)}
    for block, name in ((block, name) for block, names in sizes.items() for name in names):
        config = getattr(run, block)
        larger = dataclasses.replace(config, **{name: 2 * getattr(config, name)})
        assert bytes_of(dataclasses.replace(run, **{block: larger})) > base
    assert most_in(0, run) == 1


@pytest.mark.parametrize(
    ("seconds", "most", "expected"),
    [
        (lambda runs: max(0.8, 0.025 * runs), 256, 32),  # a chain of kernels, then arithmetic
        (lambda runs: 0.025 * runs, 256, 8),  # no gain at all
        (lambda runs: 1.0, 100, 64),
        (lambda runs: 1.0, 3, 3),
        (lambda runs: 1.0 if runs < 33 else 1 / 0, 256, 32),  # out of memory
    ],
    ids=["chain", "flat", "limit", "few", "error"],
)
def test_the_search_ends_where_doubling_does_not_pay(seconds, most, expected):
    assert fastest(seconds, most) == expected


def test_what_the_smallest_stack_raises_is_passed_on():
    with pytest.raises(ZeroDivisionError):
        fastest(lambda runs: 1 / 0, 64)


@pytest.mark.slow
def test_a_measurement_in_a_process_of_its_own(runs, monkeypatch, capfd):
    assert 1 <= measured(runs[0], Device("cpu"), None, (), 8) <= 8
    assert "runs per stack for proposed" in capfd.readouterr().err
    assert measured(runs[0], Device("cuda:0", "0"), None, (), 64) == LEAST
    assert "could not be measured" in capfd.readouterr().err


def test_a_gpu_is_used_in_turn(tmp_path):
    import fcntl

    with turn("cpu", tmp_path):
        assert not list(tmp_path.iterdir())
    with turn("cuda", tmp_path):
        (lock,) = tmp_path.iterdir()
        with lock.open("w") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
