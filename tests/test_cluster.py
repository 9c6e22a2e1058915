"""The same supervisor on a dask cluster (needs the extra `cluster`; skipped without it)."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_job
import pandas as pd
import pytest
from fake_job import JOB, Settings, fake_run

from bench import command
from bench.contracts import InputError
from bench.engine.cluster import Cluster
from bench.engine.job import JobSettings, run_stack
from bench.engine.progress import Silent
from bench.engine.supervisor import Limits, Supervisor
from bench.engine.tally import Report
from bench.registry import METHODS
from bench.run import main
from bench.store import Store, load_results
from bench.sweeps.expand import read_sweep
from bench.sweeps.stacks import Stack, make_stacks

pytestmark = pytest.mark.filterwarnings("ignore")  # dask's own


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    fake_job.register()
    yield
    METHODS._classes.pop("fake", None)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    pytest.importorskip("distributed", reason="dask.distributed is not installed (extra `cluster`)")
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parent)]))  # for the workers
    made = Cluster("local:2")
    yield made
    made.close()


def supervise(
    cluster: Cluster, results: Path, acts: dict[str, int], limits: Limits | None = None, **more: Any
) -> Report:
    store = Store(results)
    store.prepare()
    runs = [fake_run(act, seed=seed) for act, count in acts.items() for seed in range(count)]
    supervisor = Supervisor(store, Settings(results, **more), cluster.workers(None, store, JOB), limits, Silent(), JOB)
    return supervisor.run([(Stack((run,)), 1) for run in runs])


def after_two_runs(results: Path, act: Callable[[], None]) -> None:
    while len(list((results / "runs").glob("[!.]*.parquet"))) < 2:
        time.sleep(0.05)
    act()


def test_every_end_is_a_row(cluster: Cluster, tmp_path: Path) -> None:
    report = supervise(cluster, tmp_path, {"ok": 4, "raise": 1, "exit once": 1}, Limits(max_retries=1))
    runs, metrics = load_results(tmp_path)
    assert report.counts == {"ok": 5, "failed": 1}
    assert runs.groupby("label").status.unique().map(list).to_dict() == {
        "ok": ["ok"],
        "raise": ["failed"],
        "exit once": ["ok"],
    }
    assert len(metrics) == 5


@pytest.mark.slow
def test_a_time_limit_holds(cluster: Cluster, tmp_path: Path) -> None:
    report = supervise(cluster, tmp_path, {"loop": 1, "ok": 3}, Limits(seconds=5))
    assert report.counts == {"ok": 3, "timeout": 1}


@pytest.mark.slow
def test_a_memory_limit_holds(cluster: Cluster, tmp_path: Path) -> None:
    cluster.client.run(importlib.import_module, "torch")
    cluster._asked = -10.0
    limit = max(cluster.memory().values()) + 3 * 2**28
    assert limit > 3 * 2**28
    report = supervise(cluster, tmp_path, {"grow": 1, "ok": 3}, Limits(memory=limit, max_retries=0))
    assert report.counts == {"ok": 3, "oom": 1}
    runs = load_results(tmp_path)[0].set_index("label")
    assert "took more memory than the limit of" in runs.reason["grow"]


SWEEP = """
name: small
datasets: [{name: ar1, series: 60}]
methods: [latent_diffusion]
seeds: 1
model: {hidden: 8, latent: 4}
train: {steps: 4, batch_size: 8}
diffusion: {L: 20, steps: 4, batch_size: 8, hidden: 8}
evaluate: {n_samples: 12, metrics: [sliced_wasserstein], during_training: 0}
"""


@pytest.mark.slow
def test_results_come_back_without_a_shared_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="dask.distributed is not installed (extra `cluster`)")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    sweep, here, there = tmp_path / "small.yaml", tmp_path / "here", tmp_path / "there"
    sweep.write_text(SWEEP)
    words = ["--grid", str(sweep), "--device", "cpu", "--quiet"]
    assert main([*words, "--results", str(there), "--cluster", "local:1", "--no-shared-fs"]) == 0
    here.mkdir()
    for stack in make_stacks(read_sweep(sweep).runs, 1):
        run_stack(stack, JobSettings(here, None))
    for mine, theirs in zip(load_results(here), load_results(there), strict=True):
        keys = [name for name in ("run_id", "metric", "index", "value", "status", "label") if name in mine]
        left, right = (table[keys].sort_values(keys, ignore_index=True) for table in (mine, theirs))
        pd.testing.assert_frame_equal(left, right, check_exact=True)
    names = {path.relative_to(there).as_posix() for path in (there / "models").rglob("*")}
    assert names == {path.relative_to(here).as_posix() for path in (here / "models").rglob("*")}
    assert any(name.endswith("weights.safetensors") for name in names)


ELSEWHERE = """
import sys, time
from distributed import LocalCluster
if __name__ == "__main__":
    cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)
    print(cluster.scheduler_address, flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_lost_scheduler_is_one_line_and_the_rest_can_be_resumed(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="dask.distributed is not installed (extra `cluster`)")
    script = tmp_path / "elsewhere.py"
    script.write_text(ELSEWHERE)
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])}
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=pipe, stderr=null, env=environment, start_new_session=True, text=True
    ) as other:
        assert other.stdout is not None
        found = Cluster(other.stdout.readline().strip())
        thread = threading.Thread(target=after_two_runs, args=(tmp_path, lambda: os.killpg(other.pid, signal.SIGKILL)))
        thread.start()
        with pytest.raises(InputError, match="the scheduler is gone; finished runs are safe"):
            supervise(found, tmp_path, {"ok": 40}, seconds=0.3)
        thread.join()
        found.close()
    assert 2 <= len(Store(tmp_path).done()) < 40
    assert not list((tmp_path / "leases").iterdir())


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="dask.distributed is not installed (extra `cluster`)")
    for address in ("nonsense", "local:0", "local:x", "tcp://host", "8786"):
        with pytest.raises(InputError, match=r"--cluster .*: expected tcp://HOST:PORT, or local:N"):
            Cluster(address)
    monkeypatch.setattr("bench.engine.cluster._ANSWER_SECONDS", 1)
    with pytest.raises(InputError, match=r"--cluster tcp://127.0.0.1:9: no scheduler answers there"):
        Cluster("tcp://127.0.0.1:9")


def test_an_unreachable_cluster_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("distributed", reason="dask.distributed is not installed (extra `cluster`)")
    monkeypatch.setattr("bench.engine.cluster._ANSWER_SECONDS", 1)
    sweep = tmp_path / "small.yaml"
    sweep.write_text(SWEEP)
    words = ["--grid", str(sweep), "--results", str(tmp_path / "r"), "--cluster", "tcp://127.0.0.1:9"]
    with pytest.raises(SystemExit, match="2"):
        command.run_command(lambda _: main(words))
    errors = capsys.readouterr().err
    assert errors == "error: --cluster tcp://127.0.0.1:9: no scheduler answers there, expected tcp://HOST:PORT\n"
    assert not (tmp_path / "r").exists()


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"--cluster needs dask.distributed: pip install '\.\[cluster\]'"):
        Cluster("local:1")


def test_a_worker_killed_from_outside_costs_no_run(cluster: Cluster, tmp_path: Path) -> None:
    victim = next(iter(cluster.client.run(os.getpid).values()))
    thread = threading.Thread(target=after_two_runs, args=(tmp_path, lambda: os.kill(victim, signal.SIGKILL)))
    thread.start()
    assert supervise(cluster, tmp_path, {"ok": 10}, seconds=0.3).counts == {"ok": 10}
    thread.join()
