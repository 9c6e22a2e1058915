"""Whatever happens to a worker costs its own stack only, and ends as a row."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import fake_job
import pytest
from fake_job import JOB, Settings, fake_run

from bench.contracts import InputError
from bench.engine.job import JobSettings, run_stack
from bench.engine.progress import Lines, Silent, clock
from bench.engine.supervisor import Limits, Supervisor
from bench.engine.tally import Report
from bench.engine.tasks import CodeChanged, Task, to_do
from bench.engine.workers import LocalWorker, Worker
from bench.hardware.devices import Device, make_slots, parse_count, parse_devices, parse_duration, parse_size
from bench.registry import METHODS
from bench.store import Done, Store, lease_owner, load_results
from bench.store.parts import Parts
from bench.sweeps.run import Run
from bench.sweeps.stacks import Stack, make_stacks


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    fake_job.register()
    yield
    METHODS._classes.pop("fake", None)


def supervise(results: Path, stacks: Sequence[Sequence[Run]], limits: Limits | None = None, slots: int = 2) -> Report:
    store = Store(results)
    store.prepare()
    pairs = [(Stack(tuple(runs)), 1) for runs in stacks]
    workers = [LocalWorker(Device("cpu")) for _ in range(slots)]
    return Supervisor(store, Settings(results), workers, limits, Silent(), JOB).run(pairs)


def journal(results: Path, run: Run) -> list[str]:
    return (results / "journal" / run.run_id).read_text().splitlines()


ACTS = ("ok", "raise", "exit", "exit once", "loop", "allocate", "exit after writing")


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report, dict[str, list[Run]]]:
    """One sweep in which everything happens."""
    fake_job.register()
    results = tmp_path_factory.mktemp("troubled")
    runs = {act: [fake_run(act)] for act in ACTS}
    runs["ok"] = [fake_run("ok", seed=seed) for seed in range(6)]
    pairs = [[run] for group in runs.values() for run in group]
    runs["killed in company"] = [fake_run("killed in company", number) for number in range(2)]
    runs["needs room"] = [fake_run("needs room", number) for number in range(2)]
    stacks = [*pairs, runs["killed in company"], runs["needs room"]]
    report = supervise(results, stacks, Limits(seconds=8, memory=5 * 2**26, max_retries=1))
    return results, report, runs


def test_every_end_is_a_row_and_the_others_are_ok(troubled: tuple[Path, Report, dict[str, list[Run]]]) -> None:
    results, report, runs = troubled
    table, metrics = load_results(results)
    assert len(table) == sum(map(len, runs.values()))
    statuses = {act: set(table[table.label == act].status) for act in runs}
    assert statuses == {
        "ok": {"ok"},
        "raise": {"failed"},
        "exit": {"killed"},
        "exit once": {"ok"},
        "loop": {"timeout"},
        "allocate": {"oom"},
        "exit after writing": {"ok"},
        "killed in company": {"ok"},
        "needs room": {"ok"},
    }
    assert sum(report.counts.values()) == len(table)
    assert set(metrics.run_id) == set(table[table.status == "ok"].run_id)
    assert not list((results / "leases").iterdir())


def test_rows_say_what_happened(troubled: tuple[Path, Report, dict[str, list[Run]]]) -> None:
    table = load_results(troubled[0])[0].set_index("label")
    assert "ValueError: as it was told" in table.loc["raise", "reason"]
    assert "fake_job.py" in table.loc["raise", "traceback"]
    assert "its worker died (EXIT(3))" in table.loc["exit", "reason"]
    assert "time limit of 8 s" in table.loc["loop", "reason"]
    assert "limit of 0.31 GiB" in table.loc["allocate", "reason"]


def test_what_is_tried_again(troubled: tuple[Path, Report, dict[str, list[Run]]]) -> None:
    results, _, runs = troubled
    tried = {act: journal(results, group[0]) for act, group in runs.items()}
    assert tried["ok"] == tried["raise"] == tried["loop"] == tried["exit after writing"] == ["1 of 1"]
    assert tried["exit"] == tried["allocate"] == tried["exit once"] == ["1 of 1", "2 of 1"]
    assert tried["killed in company"] == ["1 of 2", "2 of 1"]
    assert tried["needs room"] == ["1 of 2", "1 of 1"], "for want of room in company: no attempt at this run"


def test_no_worker_is_left_behind(troubled: tuple[Path, Report, dict[str, list[Run]]]) -> None:
    assert workers(os.getpid()) == []


def children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def workers(supervisor: int) -> list[int]:
    return [pid for pid in children(supervisor) if b"loky" in command_line(pid) and b"tracker" not in command_line(pid)]


def launch(results: Path, count: int, seconds: float, slots: int = 1) -> subprocess.Popen[bytes]:
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}"}
    arguments = [sys.executable, str(here / "fake_job.py"), str(results), str(count), str(seconds), str(slots)]
    return subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)


def until(condition: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def finished(results: Path) -> int:
    return len(list((results / "runs").glob("[!.]*.parquet")))


def test_ctrl_c_once_finishes_what_is_running(tmp_path: Path) -> None:
    supervisor = launch(tmp_path, 30, 0.2)
    until(lambda: finished(tmp_path) >= 2)
    os.killpg(supervisor.pid, signal.SIGINT)  # as a terminal does: to the workers as well
    assert supervisor.wait(60) == 128 + signal.SIGINT
    count = finished(tmp_path)
    assert 2 <= count < 30
    assert not list((tmp_path / "leases").iterdir())
    assert len(list((tmp_path / "journal").iterdir())) == count, "a run that had begun was not finished"


@pytest.mark.slow
def test_ctrl_c_twice_stops_now(tmp_path: Path) -> None:
    supervisor = launch(tmp_path, 4, 600)
    until(lambda: (tmp_path / "journal").is_dir() and list((tmp_path / "journal").iterdir()))
    orphans = workers(supervisor.pid)
    os.killpg(supervisor.pid, signal.SIGINT)
    time.sleep(0.5)
    assert supervisor.poll() is None, "once: it waits for what is running"
    os.killpg(supervisor.pid, signal.SIGINT)
    assert supervisor.wait(60) == 128 + signal.SIGINT
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans), 5)
    assert finished(tmp_path) == 0
    assert not list((tmp_path / "leases").iterdir())


def test_a_dead_supervisors_workers_end_and_its_runs_are_free(tmp_path: Path) -> None:
    supervisor = launch(tmp_path, 4, 60)
    until(lambda: (tmp_path / "journal").is_dir() and len(list((tmp_path / "journal").iterdir())) == 1)
    orphans = workers(supervisor.pid)
    assert len(orphans) == 1
    supervisor.kill()
    supervisor.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans), 5)
    assert finished(tmp_path) == 0
    assert len(list((tmp_path / "leases").iterdir())) == 1
    assert Store(tmp_path).leases.claim([fake_run("ok", seed=seed).run_id for seed in range(4)], lease_owner()) == set()


@pytest.mark.slow
def test_two_supervisors_share_the_work(tmp_path: Path) -> None:
    both = [launch(tmp_path, 20, 0.05) for _ in range(2)]
    assert [supervisor.wait(60) for supervisor in both] == [0, 0]
    runs = [fake_run("ok", seed=seed) for seed in range(20)]
    assert {run.run_id: len(journal(tmp_path, run)) for run in runs} == {run.run_id: 1 for run in runs}


def chaos(results: Path, count: int, kills: int, seed: int) -> None:
    """SIGKILL to a random worker or the supervisor at random moments, started again until all is done."""
    dice = random.Random(seed)
    done = 0
    supervisor = launch(results, count, 0.1, slots=2)
    while done < kills:
        time.sleep(dice.uniform(0.2, 1.5))
        if supervisor.poll() is not None:
            break
        victims = workers(supervisor.pid)
        victim = supervisor.pid if dice.random() < 0.3 or not victims else dice.choice(victims)
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            continue
        done += 1
        if victim == supervisor.pid:
            supervisor.wait()
            supervisor = launch(results, count, 0.1, slots=2)
    assert done == kills, "the sweep was over before the kills were"
    assert supervisor.wait(120) == 0


@pytest.mark.slow
def test_chaos(tmp_path: Path) -> None:
    count, kills = 200, 24
    chaos(tmp_path / "chaos", count, kills, seed=kills)
    runs, metrics = load_results(tmp_path / "chaos")
    expected = {fake_run("ok", seed=seed).run_id: seed / 7 for seed in range(count)}
    assert set(runs.run_id) == set(expected)
    assert set(runs.status) == {"ok"}
    assert metrics.set_index("run_id").value.to_dict() == expected
    assert Counter(metrics.run_id).most_common(1)[0][1] == 1


# ---------------------------------------------------------------- one supervisor, no processes


class Stub(Worker):
    """Does its stack at once, in this process, or what it is told to do instead."""

    def __init__(self, submit: Any = None, stop: Any = None) -> None:
        self._submit, self._stop = submit, stop

    def submit(self, task: Task, settings: Any, job: str) -> None:
        self.task, self.future = task, Future()
        if self._submit:
            self._submit(task)
        else:
            self.future.set_result(fake_job.run_stack(task.stack, settings, task.attempt))

    def seconds(self) -> float:
        return 0.0

    def memory(self) -> int:
        return 0

    def stop(self) -> None:
        if self._stop and self.task:
            self._stop(self.task)


def with_stub(results: Path, worker: Worker, runs: Sequence[Run]) -> Report:
    store = Store(results)
    store.prepare()
    return Supervisor(store, Settings(results), [worker], None, Silent(), JOB).run([(Stack((run,)), 1) for run in runs])


def test_what_another_supervisor_finished_between_two_tries_is_not_repeated() -> None:
    run = fake_run("ok")
    first, third = Task(Stack((run,)), 2), Task(Stack((run,)), 4, tries=3)
    for task, status, attempt, done in [
        (first, "failed", 1, False),  # --retry failed
        (first, "ok", 2, True),
        (third, "failed", 1, False),
        (third, "ok", 2, True),
        (third, "timeout", 3, True),
        (third, "killed", 3, False),
        (third, "killed", 4, True),
    ]:
        assert task.is_done(run, {run.run_id: Done(status, attempt)}) == done, (task, status, attempt)
    assert not first.is_done(run, {})


def test_a_run_taken_over_is_another_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = fake_run("ok")
    store = Store(tmp_path)
    store.prepare()
    assert store.leases.claim([run.run_id], "elsewhere 1 0 x") == set()
    monkeypatch.setattr("bench.store.leases.LEASE_SECONDS", 0.3)
    report = with_stub(tmp_path, Stub(), [run])
    fake_job.run_stack(Stack((run,)), Settings(tmp_path), 1)  # the other one was only slow
    assert report.counts == {"ok": 1}
    assert load_results(tmp_path)[0].attempt.tolist() == [2]


def test_a_supervisor_that_was_given_up_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.engine.held_leases.LEASE_SECONDS", 0.1)
    (run, lease), stopped = (fake_run("ok"), tmp_path / "leases"), []

    def taken(task: Task) -> None:
        (lease / run.run_id).write_text("elsewhere 1 0 x")

    def stop(task: Task) -> None:
        stopped.append(task)
        fake_job.run_stack(task.stack, Settings(tmp_path), 2)  # the other one finishes
        (lease / run.run_id).unlink()

    report = with_stub(tmp_path, Stub(taken, stop), [run])
    assert (len(stopped), report.elsewhere, report.counts) == (1, 1, {})
    assert load_results(tmp_path)[0].attempt.tolist() == [2]


def test_results_that_a_file_server_shows_late_are_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [fake_run("ok", seed=seed) for seed in range(3)]
    with monkeypatch.context() as patch:
        patch.setattr(Parts, "listed", lambda parts: ({}, set()))
        report = with_stub(tmp_path, Stub(), runs)
    assert report.statuses == {run.run_id: "ok" for run in runs}
    assert [journal(tmp_path, run) for run in runs] == [["1 of 1"]] * 3


def test_a_system_that_gives_no_process_is_one_line(tmp_path: Path) -> None:
    def refuse(task: Task) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with pytest.raises(InputError, match=r"no worker can be started: Resource temporarily unavailable; finished"):
        with_stub(tmp_path, Stub(refuse), [fake_run("ok")])
    assert not list((tmp_path / "leases").iterdir())


def test_code_that_changed_leaves_its_runs_out_and_the_others_go_on(tmp_path: Path) -> None:
    reason = "the code of method 'fake' changed since the sweep was planned"

    class Edited(Stub):
        def submit(self, task: Task, settings: Any, job: str) -> None:
            if task.stack.runs[0].seed < 2:
                self.task, self.future = task, Future()
                self.future.set_exception(CodeChanged(reason))
            else:
                super().submit(task, settings, job)

    runs = [fake_run("ok", seed=seed) for seed in range(3)]
    with pytest.raises(InputError, match=f"^{reason}$"):
        with_stub(tmp_path, Edited(), runs)
    assert set(Store(tmp_path).done()) == {runs[2].run_id}
    assert not list((tmp_path / "leases").iterdir())


class Cancelled(Stub):
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def submit(self, task: Task, settings: Any, job: str) -> None:
        self.task, self.future = task, Future()
        self.future.set_exception(self.error)

    def stop(self) -> None:
        return


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (asyncio.CancelledError("mine"), "CancelledError: mine"),
        (ValueError("half \ud800 of a pair\nand more"), r"ValueError: half \ud800 of a pair"),
        (ValueError("\x1b[31mred"), r"ValueError: \x1b[31mred"),
    ],
)
def test_whatever_a_run_raises_is_a_row_and_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: BaseException, reason: str
) -> None:
    run = fake_run("ok", label="a\x1blabel")
    report = with_stub(tmp_path, Cancelled(error), [run])
    assert report.statuses == {run.run_id: "failed"}
    assert load_results(tmp_path)[0].reason.tolist() == [reason]
    where = rf"a\x1blabel, sines, seed 0 ({run.run_id})"
    assert capsys.readouterr().err == f"failed: {where}: {reason}\n"


def test_an_error_that_is_no_exception_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cancelled(*given: Any) -> None:
        raise asyncio.CancelledError("mine")

    monkeypatch.setattr("bench.engine.job._work", cancelled)
    run = fake_run("ok")
    settings = JobSettings(tmp_path, None)
    Store(tmp_path).prepare()
    assert run_stack(Stack((run,)), settings) == [(run.run_id, "failed", "CancelledError: mine")]


def test_a_log_that_is_gone_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    class Gone:
        def write(self, text: str) -> None:
            tried.append(text)
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    Lines(0).advance(1, 2, 3.0)
    assert len(tried) == 1
    Silent().say("anything")
    assert len(tried) == 2
    assert "anything" in tried[1]


# ---------------------------------------------------------------- what is left to do


def test_what_counts_as_done() -> None:
    runs = [fake_run("ok", seed=seed) for seed in range(9)]
    states = [("ok", 1), ("diverged", 1), ("failed", 1), ("killed", 3), ("killed", 2), ("oom", 1), ("skipped", 1)]
    done = {run.run_id: Done(*state) for run, state in zip(runs, states, strict=False)}
    no_data = dataclasses.replace(runs[7], data_sha256="")
    done[no_data.run_id] = Done("skipped", 1)
    left = {run.seed: attempt for run, attempt in to_do([*runs[:7], no_data, runs[8]], done)}
    assert left == {4: 3, 5: 2, 6: 2, 8: 1}
    again = {run.seed: attempt for run, attempt in to_do(runs[:4], done, retry=["failed", "killed"])}
    assert again == {2: 2, 3: 4}


def test_stacks_hold_what_may_train_together() -> None:
    runs = [
        fake_run("ok", number=1, seed=0),
        fake_run("ok", number=2, seed=1),
        fake_run("raise", number=1),
        fake_run("ok", number=3, seed=0),
        fake_run("ok", number=1, seed=5, backbone="other"),
        *(fake_run("x", seed=seed, kind="reference", method=name) for seed in (0, 1) for name in ("a", "b")),
    ]
    stacks = make_stacks(runs, 2)
    assert [[runs.index(run) for run in stack.runs] for stack in stacks] == [[0, 1], [2], [3], [4], [5, 6], [7, 8]]
    assert len(make_stacks(runs, 1)) == 7
    assert len({stack.stack_id for stack in stacks}) == len(stacks)


# ---------------------------------------------------------------- devices and numbers


def test_devices() -> None:
    assert parse_devices("cpu") == [Device("cpu")]
    for text in ("tpu", "cuda:", "cuda:0;cuda:1", "", "cuda:-1", "gpu"):
        with pytest.raises(InputError, match=r"--device .*: expected auto, cpu, cuda or cuda:0,cuda:1"):
            parse_devices(text)


def test_devices_that_do_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.hardware.devices.cuda_count", lambda: 0)
    assert parse_devices("auto") == [Device("cpu")]
    with pytest.raises(InputError, match="--device cuda: no CUDA device here"):
        parse_devices("cuda")
    monkeypatch.setattr("bench.hardware.devices.cuda_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert parse_devices("auto") == [Device("cuda:0", "0"), Device("cuda:1", "1")]
    with pytest.raises(InputError, match="no cuda:5 here, there are cuda:0 to cuda:1"):
        parse_devices("cuda:0,cuda:5")
    with pytest.raises(InputError, match="a device twice"):
        parse_devices("cuda:0,cuda:0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert parse_devices("cuda:1") == [Device("cuda:1", "7")]


def test_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    two = [Device("cuda:0", "0"), Device("cuda:1", "1")]
    monkeypatch.setattr("bench.hardware.devices.usable_cores", lambda: 16)
    assert [slot.name for slot in make_slots(two, None)] == ["cuda:0", "cuda:1"] * 4  # the others score meanwhile
    monkeypatch.setattr("bench.hardware.devices.usable_cores", lambda: 2)
    assert [slot.name for slot in make_slots(two, None)] == ["cuda:0", "cuda:1"]
    assert [slot.name for slot in make_slots(two, None, 2)] == ["cuda:0", "cuda:1"] * 2
    assert [slot.name for slot in make_slots(two, 3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert len(make_slots([Device("cpu")], 5)) == 5


def test_counts_sizes_and_times() -> None:
    assert (parse_count("auto", "--jobs"), parse_count("3", "--jobs")) == (None, 3)
    assert (parse_size("4G", "-"), parse_size("1.5k", "-"), parse_size("512MB", "-")) == (2**32, 1536, 2**29)
    assert (parse_duration("90", "-"), parse_duration("1.5m", "-"), parse_duration("2h", "-")) == (90, 90, 7200)
    for parse, text in ((parse_count, "0"), (parse_count, "-1"), (parse_count, "two"), (parse_count, "1.5")):
        with pytest.raises(InputError, match=rf"--jobs {text}: expected a whole number >= 1 or auto"):
            parse(text, "--jobs")
    for text in ("0", "", "4X", "-1G"):
        with pytest.raises(InputError, match="expected a size"):
            parse_size(text, "--memory-limit")
        with pytest.raises(InputError, match="expected a time"):
            parse_duration(text, "--time-limit")


def test_times_are_said_in_words() -> None:
    assert [clock(5), clock(600), clock(12_000)] == ["5 s", "10 min", "3 h 20 min"]
