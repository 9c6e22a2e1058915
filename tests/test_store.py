"""The tables of a results folder: what is written is read, and nothing that was killed half-way counts."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.contracts import Contrast, InputError
from bench.store import METRICS, RUNS, Store, lease_owner, load_curves, load_memberships, load_results, spelled
from bench.store.memberships import Membership, read_memberships
from bench.store.schema import LATER


def row(run_id: str, attempt: int = 0, status: str = "ok", **values: Any) -> dict[str, Any]:
    return {"run_id": run_id, "attempt": attempt, "status": status, "label": "a", "method": "m", "seed": 1, **values}


def number(run_id: str, metric: str = "kl", value: float = 1.5, **values: Any) -> dict[str, Any]:
    return {"run_id": run_id, "metric": metric, "version": 1, "value": value, "n": 3, **values}


def point(run_id: str, step: int) -> dict[str, Any]:
    return {"run_id": run_id, "step": step, "stage": "autoencoder", "term": "kl", "value": 0.5}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    store.prepare()
    return store


def test_what_is_written_is_read(store: Store) -> None:
    store.write_part("p", [row("a", N=10, joint=True, form="bounded")], [number("a")], [point("a", 0), point("a", 1)])
    runs, metrics = load_results(store.path)
    assert list(runs.columns)[: len(RUNS)] == list(RUNS)
    assert runs.loc[0, ["run_id", "status", "N", "joint", "form"]].tolist() == ["a", "ok", 10.0, True, "bounded"]
    assert [runs.N.dtype, runs.joint.dtype] == ["float64", "bool"]
    assert list(metrics.columns) == list(METRICS)
    assert metrics.iloc[0][["value", "n", "split", "train_step", "status"]].tolist() == [1.5, 3, "test", -1, "ok"]
    assert metrics.loc[0, ["sd", "index"]].isna().all()
    assert load_curves(store.path).step.tolist() == [0, 1]


def test_an_empty_folder_gives_empty_tables(store: Store) -> None:
    runs, metrics = load_results(store.path)
    assert len(runs) == len(metrics) == len(load_curves(store.path)) == 0
    assert list(metrics.columns) == list(METRICS)


def test_parts_of_different_methods_share_one_table(store: Store) -> None:
    store.write_part("p", [row("a", N=10, depth=None)])
    store.write_part("q", [row("b", beta=0.5, N="many")])
    runs, _ = load_results(store.path)
    assert runs.set_index("run_id").beta.isna().tolist() == [True, False]
    assert runs.set_index("run_id").N.tolist() == ["10", "many"]


def test_the_latest_attempt_counts_with_its_own_numbers(store: Store) -> None:
    store.write_part("p-0", [row("a", 0, "oom"), row("b")], [number("a"), number("b", value=2)], [point("a", 7)])
    store.write_part("p-1", [row("a", 1)], [number("a", value=3)])
    runs, metrics = load_results(store.path)
    assert runs.set_index("run_id").status.to_dict() == {"a": "ok", "b": "ok"}
    assert metrics.set_index("run_id").value.to_dict() == {"a": 3, "b": 2}
    assert len(load_curves(store.path)) == 0
    assert store.done() == {"a": ("ok", 1), "b": ("ok", 0)}


def test_two_rows_of_one_attempt_are_refused(store: Store) -> None:
    store.write_part("p", [row("a")])
    store.write_part("q", [row("a")])
    with pytest.raises(InputError, match="run a has two rows for attempt 0"):
        load_results(store.path)


def test_metrics_without_their_runs_do_not_count(store: Store) -> None:
    store.write_part("p", [row("a")], [number("a")])
    store.write_part("q", [row("b")], [number("b")])
    (store.path / "runs" / "q.parquet").unlink()
    runs, metrics = load_results(store.path)
    assert runs.run_id.tolist() == metrics.run_id.tolist() == ["a"]


def test_added_numbers_win_and_belong_to_an_attempt(store: Store) -> None:
    store.write_part("p", [row("a"), row("b")], [number("a", value=1), number("b", value=2), number("a", "mmd2", 9)])
    store.write_evaluated([number("a", value=5), number("b", value=6, version=2), number("a", "c2st", 7)])
    _, metrics = load_results(store.path)
    found = metrics.set_index(["run_id", "metric"]).value.to_dict()
    assert found == {("a", "kl"): 5, ("b", "kl"): 6, ("a", "mmd2"): 9, ("a", "c2st"): 7}
    store.write_part("p-1", [row("a", 1)], [number("a", value=8)])
    _, metrics = load_results(store.path)
    assert metrics[metrics.run_id == "a"].value.tolist() == [8]
    with pytest.raises(InputError, match="no run z"):
        store.write_evaluated([number("z")])


def test_a_new_version_of_one_split_leaves_the_numbers_of_the_other(store: Store) -> None:
    on_the_way = number("a", value=2, train_step=100)
    store.write_part("p", [row("a")], [number("a", value=1), on_the_way])
    store.write_evaluated([number("a", value=3, split="validation", version=2)])
    _, metrics = load_results(store.path)
    assert sorted(metrics[["split", "train_step", "value", "version"]].values.tolist()) == [
        ["test", -1, 1, 1],
        ["test", 100, 2, 1],
        ["validation", -1, 3, 2],
    ]


def test_numbers_of_the_code_that_was_added_last_win(store: Store) -> None:
    curve = [number("a", value=k, index=k, metric_code="old") for k in range(3)]
    others = [number("b", value=3, metric_code="old"), number("b", "mmd2", 4)]
    store.write_part("p", [row("a"), row("b")], [*curve, *others])
    store.write_evaluated([number("a", value=7, index=1, metric_code="new")])
    store.write_evaluated([number("b", value=8, split="validation", metric_code="new")])
    _, metrics = load_results(store.path)
    found = metrics[["run_id", "metric", "value", "metric_code"]].values.tolist()
    assert sorted(found) == [["a", "kl", 7, "new"], ["b", "kl", 3, "old"], ["b", "kl", 8, "new"], ["b", "mmd2", 4, ""]]


@pytest.mark.parametrize("folder", ["runs", "metrics", "curves"])
@pytest.mark.parametrize("size", [0, 3, 200, -10])
def test_a_truncated_part_is_set_aside_and_its_runs_redone(store: Store, folder: str, size: int) -> None:
    store.write_part("p", [row("a")], [number("a")], [point("a", 0)])
    store.write_part("q", [row("b")], [number("b")], [point("b", 0)])
    path = store.path / folder / "p.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:size])
    with pytest.warns(UserWarning, match="part p is damaged and set aside, its runs will be redone"):
        assert set(Store(store.path).done()) == {"b"}
    assert path.with_suffix(".corrupt").exists()
    runs, metrics = load_results(store.path)
    assert runs.run_id.tolist() == metrics.run_id.tolist() == ["b"]
    store.write_part("p", [row("a")], [number("a")])
    assert len(load_results(store.path)[0]) == 2


@pytest.mark.parametrize("folder", ["runs", "metrics", "curves"])
def test_a_flipped_bit_is_noticed(store: Store, folder: str) -> None:
    store.write_part("q", [row("b")], [number("b")], [point("b", 0)])
    store.write_part("p", [row("a", x=0.25)], [number("a", value=0.25)], [point("a", 0)])
    path = store.path / folder / "p.parquet"
    content, before = path.read_bytes(), [*load_results(store.path), load_curves(store.path)]
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    for place in [*range(4, footer, footer // 12), *range(footer, len(content), (len(content) - footer) // 25)]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        with warnings.catch_warnings(record=True, action="always") as heard:
            try:
                after = [*load_results(store.path), load_curves(store.path)]
            except InputError:  # such as a version that does not exist yet
                assert place >= footer
                continue
        if heard:
            assert all(set(table.run_id) <= {"a", "b"} for table in after)
            assert "b" in set(after[0].run_id)
            for lost in store.path.rglob("*.corrupt"):
                lost.rename(lost.with_suffix(".parquet"))
        elif place < footer:  # values have checksums, the names of the hyper-parameters' columns have none
            for was, now in zip(before, after, strict=True):
                pd.testing.assert_frame_equal(was, now)
        path.write_bytes(content)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO, errno.ESTALE])
def test_what_cannot_be_read_just_now_is_not_set_aside(
    store: Store, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    store.write_part("p", [row("a")], [number("a")])

    def failing(*args: Any, **kwargs: Any) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(pq, "ParquetFile", failing)
        for read in (Store(store.path).done, lambda: load_results(store.path)):
            with pytest.raises(InputError, match=rf"p.parquet: cannot be read: {os.strerror(code)}"):
                read()
    assert set(load_results(store.path)[1].run_id) == {"a"}


@pytest.mark.parametrize(
    "error",
    [
        pa.ArrowMemoryError("malloc of size 64 failed"),
        MemoryError(),
        pa.ArrowNotImplementedError("Support for codec 'zstd' not built"),
        pa.ArrowException("Unknown error: Failed to launch worker thread"),
        OSError("ZSTD decompression failed: Allocation error : not enough memory"),
    ],
)
def test_a_part_that_this_process_cannot_read_is_not_set_aside(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    store.write_part("p", [row("a")], [number("a")])

    def failing(*args: Any, **kwargs: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetFile, "read", failing)
        for read in (Store(store.path).done, lambda: load_results(store.path)):
            with pytest.raises(InputError, match=rf"p.parquet: cannot be read: {str(error) or 'out of memory'}"):
                read()
    assert set(load_results(store.path)[1].run_id) == {"a"}


def test_compaction_leaves_out_a_part_whose_numbers_are_damaged(store: Store) -> None:
    for name in "pqr":
        store.write_part(name, [row(name)], [number(name)])
    path = store.path / "metrics" / "q.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(60) + content[64:])
    with pytest.warns(UserWarning, match="part q is damaged and set aside"):
        assert store.compact(at=2)
    assert set(load_results(store.path)[0].run_id) == set(Store(store.path).done()) == {"p", "r"}


def test_a_missing_metrics_file_is_noticed(store: Store) -> None:
    store.write_part("p", [row("a")], [number("a")])
    (store.path / "metrics" / "p.parquet").unlink()
    with pytest.warns(UserWarning, match="metrics/p.parquet is missing"):
        assert store.done() == {}


def test_a_newer_schema_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.store.parquet.SCHEMA_VERSION", 99)
    store.write_part("p", [row("a")])
    monkeypatch.undo()
    for read in (store.done, lambda: load_results(store.path)):
        with pytest.raises(InputError, match=r"newer version of this benchmark \(schema 99"):
            read()


def test_a_folder_without_results_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no results there"):
        load_results(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file, expected a folder"):
        Store(tmp_path / "file").prepare()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written: Permission denied"):
        Store(tmp_path / "results").prepare()


def test_a_full_disk_is_said_in_one_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        Path(args[1]).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(InputError, match="the disk is full; what is finished is safe"):
        store.write_part("p", [row("a")], [number("a")])
    assert [path for path in store.path.rglob("*") if path.is_file()] == []


def test_words_are_categories_and_sort_as_words(store: Store) -> None:
    for run_id, metric in (("b", "wasserstein"), ("a", "mmd2")):
        store.write_part(run_id, [row(run_id)], [number(run_id, metric=metric), number(run_id, metric="kl", n=7)])
    _, metrics = load_results(store.path)
    assert metrics.metric.cat.categories.tolist() == ["kl", "mmd2", "wasserstein"]
    assert metrics.sort_values("run_id").run_id.tolist() == ["a", "a", "b", "b"]
    assert {str(metrics[name].dtype) for name in ("version", "train_step", "metric_seed", "n")} == {"int32"}
    assert (metrics.status == "ok").all()
    assert "category" not in set(map(str, spelled(metrics).dtypes))


def test_words_of_earlier_attempts_are_no_categories(store: Store) -> None:
    store.write_part("p", [row("a")], [number("a", metric="old")])
    store.write_part("q", [row("a", 2)], [number("a", metric="new")])
    assert load_results(store.path)[1].metric.cat.categories.tolist() == ["new"]


def test_many_words_and_large_numbers_fit(store: Store) -> None:
    store.write_part("p", [row("a")], [number("a", metric=f"m{k:03d}", n=k) for k in range(300)])
    store.write_part("q", [row("b")], [number("b", n=2**40)])
    _, metrics = load_results(store.path)
    assert metrics.metric.tolist()[:300] == [f"m{k:03d}" for k in range(300)]
    assert metrics.n.tolist() == [*range(300), 2**40]


def test_reading_results_needs_no_torch() -> None:
    code = "import sys, bench.store; print(sorted({'pyarrow', 'torch'} & set(sys.modules)))"
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "['pyarrow']"


def test_compaction_changes_no_row(store: Store) -> None:
    for k in range(12):
        store.write_part(f"p{k:02d}", [row(f"r{k}", N=k)], [number(f"r{k}", value=k)], [point(f"r{k}", k)])
    store.write_part("q", [row("r3", 1, "failed")])
    store.write_evaluated([number("r0", value=99)])
    before = [*load_results(store.path), load_curves(store.path), store.done()]
    assert not store.compact(at=14)
    assert store.compact(at=13)
    assert [len(list((store.path / folder).iterdir())) for folder in ("runs", "metrics", "curves")] == [1, 1, 1]
    after = [*load_results(store.path), load_curves(store.path), Store(store.path).done()]
    for was, now in zip(before[:3], after[:3], strict=True):
        pd.testing.assert_frame_equal(
            was.sort_values("run_id", ignore_index=True), now.sort_values("run_id", ignore_index=True)
        )
    assert before[3] == after[3]
    store.write_evaluated([number("r0", value=100), number("r1", value=101)])
    store.write_evaluated([number("r0", value=102)])
    assert store.compact(at=1), "added numbers are compacted as well"
    assert len(list((store.path / "metrics").iterdir())) == 2
    values = load_results(store.path)[1].set_index("run_id").value
    assert (values["r0"], values["r1"], values["r2"], len(values)) == (102, 101, 2, 11)


def test_compaction_hides_no_run_that_another_process_wrote(store: Store) -> None:
    store.write_part("mine", [row("x")])
    assert set(store.done()) == {"x"}
    Store(store.path).write_part("theirs", [row("y")])
    assert store.compact(at=1)
    assert set(store.done()) == {"x", "y"}


def test_without_locks_parts_are_not_merged_and_the_rest_works(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*args: Any) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("bench.store.lock.fcntl.flock", unsupported)
    orphan = store.path / "metrics" / "compact-1-of-another.parquet"  # whose runs file another supervisor writes now
    for name in "pq":
        store.write_part(name, [row(name)], [number(name)])
    orphan.write_bytes((store.path / "metrics" / "p.parquet").read_bytes())
    assert not store.compact(at=1)
    assert orphan.exists()
    assert store.leases.claim(["a"], lease_owner()) == set()
    store.write_membership("s", {"p": "one"})
    assert set(load_results(store.path)[0].run_id) == {"p", "q"}


class Killed(BaseException):
    """The process is gone: from this moment it changes nothing any more."""


def test_compaction_killed_at_any_move_loses_and_repeats_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "whole")
    store.prepare()
    for k in range(4):
        store.write_part(f"p{k}", [row(f"r{k}")], [number(f"r{k}", value=k)], [point(f"r{k}", k)])
    survived = False
    for k in range(40):
        copy = Store(shutil.copytree(store.path, tmp_path / str(k)))
        changes = itertools.count()

        def dying(change: Callable[..., Any], changes: Iterator[int] = changes, last: int = k) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                if next(changes) >= last:
                    raise Killed
                return change(*args, **kwargs)

            return call

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "replace", dying(os.replace))
            patch.setattr(Path, "unlink", dying(Path.unlink))
            try:
                survived = copy.compact(at=2)
            except Killed:
                assert not survived
        for _ in ("as it was left", "after the next compaction"):
            runs, metrics = load_results(copy.path)
            for table in (runs, metrics, load_curves(copy.path)):
                assert sorted(table.run_id) == ["r0", "r1", "r2", "r3"]
            assert len(Store(copy.path).done()) == 4
            copy.compact(at=2)
        assert len(list((copy.path / "runs").glob("[!.]*"))) == len(list((copy.path / "metrics").glob("[!.]*"))) == 1
        if survived:
            break
    assert survived
    assert k > 8


def test_membership_that_says_the_same_is_written_once(store: Store) -> None:
    """So that its report need not be made anew. It is, where another was written since: a report shows the last one."""
    path = store.path / "sweeps" / "a.json"
    store.write_membership("a", {"1": "x"}, "one", "go")
    first = path.read_bytes()
    store.write_membership("a", {"1": "x"}, "one", "go")
    assert path.read_bytes() == first
    store.write_membership("b", {"2": "y"})
    store.write_membership("a", {"1": "x"}, "one", "go")
    assert [membership.name for membership in store.memberships()] == ["b", "a"]
    second = path.read_bytes()
    store.write_membership("a", {"1": "x"}, "one", "go", equivalence={"c2st_auc": 0.05})
    assert path.read_bytes() != second
    for order in (["1", "2"], ["2", "1"]):  # of the sweep's file, which the tables follow
        store.write_membership("a", dict.fromkeys(order, "x"))
        assert list(store.memberships()[-1].runs) == order


def test_membership_is_overwritten_or_merged(store: Store) -> None:
    store.write_membership("s", {"a": "one"}, description="d", command="c")
    store.write_membership("s", {"b": "two"}, merge=True)
    store.write_membership("t", {"z": "other"})
    assert [membership.name for membership in load_memberships(store.path)] == ["s", "t"]
    assert load_memberships(store.path)[0].runs == {"a": "one", "b": "two"}
    store.write_membership("s", {"b": "two"})
    assert load_memberships(store.path)[-1].runs == {"b": "two"}
    assert not load_memberships(store.path)[-1].equivalence
    store.write_membership("s", {"b": "two"}, equivalence={"mmd2": 0.1})
    assert load_memberships(store.path)[-1].equivalence == {"mmd2": 0.1}
    assert load_memberships(store.path)[-1].contrasts == []
    stated = [Contrast("live", "one", "two"), Contrast("dead", "two", "one", secondary=True)]
    store.write_membership("s", {"b": "two"}, contrasts=stated)
    assert load_memberships(store.path)[-1].contrasts == stated
    older = json.loads((store.path / "sweeps" / "s.json").read_text())
    del older["contrasts"]  # of before there were any
    (store.path / "sweeps" / "s.json").write_text(json.dumps(older))
    assert load_memberships(store.path)[-1].contrasts == []


def test_two_that_merge_at_once_lose_no_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    other = threading.Thread(target=lambda: Store(store.path).write_membership("s", {"b": "two"}, merge=True))
    reading = read_memberships

    def slowly(folder: Path) -> list[Membership]:
        found = reading(folder)
        if threading.current_thread() is threading.main_thread():
            other.start()
            other.join(0.3)  # it waits for the lock, or writes what is lost below
        return found

    with monkeypatch.context() as patch:
        patch.setattr("bench.store.memberships.read_memberships", slowly)
        store.write_membership("s", {"a": "one"}, merge=True)
    other.join()
    assert store.membership("s").runs == {"a": "one", "b": "two"}


def test_leases(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = lease_owner(), "elsewhere 1 0 x"
    assert store.leases.claim(["a", "b"], here) == set()
    assert store.leases.claim(["b"], here) == set()
    assert store.leases.claim(["c", "b"], there) is None
    assert store.leases.claim(["c"], there) == set(), "a claim that failed must hold nothing"
    assert store.leases.claim(["c"], here) is None
    store.leases.release(["a", "b"], there)
    assert store.leases.claim(["b"], there) is None, "a lease is given back by its holder only"
    store.leases.release(["a", "b"], here)
    assert store.leases.claim(["b"], there) == set()
    child = subprocess.Popen(["true"])
    child.wait()
    machine, pid, born, token = here.split()
    assert store.leases.claim(["d"], f"{machine} {child.pid} {born} x") == set()
    assert store.leases.claim(["d"], here) == set(), "a lease of a dead process is void"
    assert store.leases.claim(["e"], f"{machine} {pid} {int(born) - 1} {token}") == set()
    assert store.leases.claim(["e"], here) == set(), "its process number was given to another"
    (store.path / "leases" / "f").write_bytes(b"")  # the disk was full, or the power went
    assert store.leases.claim(["f"], here) == set()


def test_a_lease_of_another_machine_ends_by_silence_whatever_the_clocks_say(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there, now = lease_owner(), "elsewhere 1 0 x", [100.0]
    monkeypatch.setattr("bench.store.leases.time.monotonic", lambda: now[0])
    lease = store.path / "leases" / "a"
    assert store.leases.claim(["a"], there) == set()
    for clock in (0, 2_000_000_000, 4_000_000_000):  # wherever the clock of the file server jumps
        os.utime(lease, (clock, clock))
        now[0] += 59
        assert store.leases.claim(["a"], here) is None
    now[0] += 59
    assert store.leases.claim(["a"], here) is None
    assert store.leases.renew(["a"], there) == set()
    now[0] += 59
    assert store.leases.claim(["a"], here) is None, "there was a sign of life"
    now[0] += 61
    assert store.leases.claim(["a"], here) == {"a"}
    assert store.leases.renew(["a"], there) == {"a"}, "the old holder is told"
    assert store.leases.claim(["a"], there) is None


def test_a_column_of_the_wrong_type_is_named(store: Store) -> None:
    with pytest.raises(TypeError, match="column seed"):
        store.write_part("p", [row("a") | {"seed": "x"}])
    assert pa.types.is_string(RUNS["label"])


def test_what_nobody_knows_of_a_run_is_empty(store: Store) -> None:
    store.write_part("old", [row("a")])
    store.write_part("new", [row("b") | {"updates": 80, "converged": True, "denoiser_updates": 40}])
    runs = load_results(store.path)[0].set_index("run_id").sort_index()
    assert runs.updates.isna().tolist() == [True, False]
    assert runs.updates["b"] == 80
    assert runs.converged["b"] is True
    assert [runs.converged["a"], *runs.denoiser_converged] == [None] * 3


def test_a_part_of_before_a_column_was_added_is_whole(tmp_path):
    store = Store(tmp_path)
    store.write_part(
        "old", [{"run_id": "a", "attempt": 1, "status": "ok"}], [{"run_id": "a", "metric": "kl", "value": 2.0}]
    )
    path = tmp_path / "metrics" / "old.parquet"
    pq.write_table(pq.read_table(path).drop_columns(list(LATER["metrics"])), path)
    _, metrics = load_results(tmp_path)
    assert metrics["value"].tolist() == [2.0]
    assert metrics["error"].isna().all()
    assert metrics["metric_code"].tolist() == [""]
    assert store.done()["a"].status == "ok"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../elsewhere"},
        {"runs": ["a"]},
        {"runs": {"a": 1}},
        {"runs": None},
        {"command": 3},
        {"other": ""},
        {"contrasts": 3},
        {"contrasts": [{"name": "x", "of": "a"}]},
        {"contrasts": [{"name": "x", "of": "a", "against": 3}]},
    ],
)
def test_a_list_of_a_sweep_that_is_none_is_named(store: Store, change: dict[str, Any]) -> None:
    store.write_membership("first", {"a": "label"})
    path = store.path / "sweeps" / "first.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=r"sweeps/first\.json: expected a sweep's list of runs"):
        store.memberships()


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "[]", "3", "null", "\x00"])
def test_a_list_of_a_sweep_of_another_shape_is_named(store: Store, text: str) -> None:
    (store.path / "sweeps").mkdir(exist_ok=True)
    (store.path / "sweeps" / "first.json").write_text(text)
    with pytest.raises(InputError, match=r"sweeps/first\.json: expected a sweep's list of runs"):
        store.memberships()


@pytest.mark.parametrize(
    ("folder", "column", "kind"),
    [
        ("runs", "seed", pa.string()),
        ("runs", "status", pa.int64()),
        ("runs", "train_seconds", pa.string()),
        ("metrics", "value", pa.string()),
        ("metrics", "run_id", pa.int64()),
        ("curves", "step", pa.string()),
    ],
)
def test_a_part_whose_columns_are_of_another_type_is_set_aside(
    store: Store, folder: str, column: str, kind: pa.DataType
) -> None:
    store.write_part(
        "p", [row("a")], [number("a")], [{"run_id": "a", "step": 1, "stage": "s", "term": "t", "value": 1.0}]
    )
    store.write_part("q", [row("b")], [number("b")])
    path = store.path / folder / "p.parquet"
    table = pq.read_table(path)
    place = table.schema.names.index(column)
    changed = pa.array(["1" if pa.types.is_string(kind) else 1] * len(table), kind)
    pq.write_table(table.set_column(place, pa.field(column, kind), changed), path)
    read = load_curves if folder == "curves" else load_results
    with pytest.warns(UserWarning, match=f"damaged.*column {column} holds"):
        read(store.path)
    assert "b" in set(load_results(store.path)[0]["run_id"])


def test_a_number_that_no_column_holds_is_an_error_of_its_row(store: Store) -> None:
    with pytest.raises(TypeError, match="column seed"):
        store.write_part("p", [{**row("a"), "seed": 2**70}])
