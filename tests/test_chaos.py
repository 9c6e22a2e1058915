"""Real training under SIGKILL: afterwards every number is that of an undisturbed sweep, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
from test_runner import finished, until, workers

from bench.job import JobSettings, run_stack
from bench.stacks import make_stacks
from bench.store import load_curves, load_results
from bench.sweep import read_sweep

SWEEP = """
name: chaos
datasets: [{name: ar1, series: 60}]
methods: [{name: proposed, set: {M: 9}, grid: {N: [1, 2, 3, 4, 5]}}]
seeds: 2
model: {hidden: 8, latent: 4}
train: {steps: 60, batch_size: 8}
diffusion: {L: 20, steps: 20, batch_size: 8, hidden: 8}
evaluate: {n_samples: 12, metrics: [sliced_wasserstein, nll], during_training: 0}
"""
MOMENTS = (1, 3, 5, 7)  # a worker is killed soon after so many stacks are done, and once the supervisor
SUPERVISOR = 5
NOT_NUMBERS = ("attempt", "finished_at", "peak_memory_bytes", "git_commit", "git_dirty")


def launch(sweep: Path, results: Path) -> subprocess.Popen[bytes]:
    words = ["--grid", str(sweep), "--results", str(results), "--jobs", "2", "--device", "cpu", "--max-retries", "9"]
    command = [sys.executable, "-m", "bench.run", *words, "--quiet"]
    root = Path(__file__).parent.parent
    return subprocess.Popen(command, cwd=root, stderr=subprocess.DEVNULL, start_new_session=True)


def numbers(results: Path) -> list[pd.DataFrame]:
    runs, metrics = load_results(results)
    same = [name for name in runs if name not in NOT_NUMBERS and not name.endswith("_seconds")]
    tables = (runs[same], metrics, load_curves(results))
    keys = (["run_id"], ["run_id", "metric", "coordinate", "index"], ["run_id", "stage", "term", "step"])
    return [table.sort_values(key, ignore_index=True) for table, key in zip(tables, keys, strict=True)]


def test_kills_move_no_number(tmp_path: Path) -> None:
    sweep = tmp_path / "chaos.yaml"
    sweep.write_text(SWEEP)
    stacks = make_stacks(read_sweep(sweep).runs, 1)
    (tmp_path / "calm").mkdir()
    for stack in stacks:
        run_stack(stack, JobSettings(tmp_path / "calm", None))

    stormy, dice = tmp_path / "stormy", random.Random(0)
    supervisor = launch(sweep, stormy)
    try:
        for moment in MOMENTS:
            pid = supervisor.pid
            until(lambda moment=moment, pid=pid: finished(stormy) >= moment and workers(pid))
            os.kill(dice.choice(workers(pid)), signal.SIGKILL)
            if moment == SUPERVISOR:
                supervisor.kill()
                supervisor.wait()
                supervisor = launch(sweep, stormy)
        assert finished(stormy) < len(stacks), "the sweep was over before the kills were"
        assert supervisor.wait(200) == 0
    finally:
        supervisor.kill()
        supervisor.wait()
    for calm, storm in zip(numbers(tmp_path / "calm"), numbers(stormy), strict=True):
        pd.testing.assert_frame_equal(calm, storm, check_exact=True)
