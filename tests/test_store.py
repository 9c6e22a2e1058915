"""The tables of a results folder: what is written is read, and nothing that was killed half-way counts."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bench.store as store_module
from bench.contracts import InputError
from bench.store import Store, load_curves, load_memberships, load_results


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
    assert list(runs.columns)[: len(store_module.RUNS)] == list(store_module.RUNS)
    assert runs.loc[0, ["run_id", "status", "N", "joint", "form"]].tolist() == ["a", "ok", 10.0, True, "bounded"]
    assert [runs.N.dtype, runs.joint.dtype] == ["float64", "bool"]
    assert list(metrics.columns) == list(store_module.METRICS)
    assert metrics.iloc[0][["value", "n", "split", "train_step", "status"]].tolist() == [1.5, 3, "test", -1, "ok"]
    assert metrics.loc[0, ["sd", "index"]].isna().all()
    assert load_curves(store.path).step.tolist() == [0, 1]


def test_an_empty_folder_gives_empty_tables(store: Store) -> None:
    runs, metrics = load_results(store.path)
    assert len(runs) == len(metrics) == len(load_curves(store.path)) == 0
    assert list(metrics.columns) == list(store_module.METRICS)


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


def test_a_missing_metrics_file_is_noticed(store: Store) -> None:
    store.write_part("p", [row("a")], [number("a")])
    (store.path / "metrics" / "p.parquet").unlink()
    with pytest.warns(UserWarning, match="metrics/p.parquet is missing"):
        assert store.done() == {}


def test_a_newer_schema_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SCHEMA_VERSION", 99)
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


def test_compaction_changes_no_row(store: Store) -> None:
    for k in range(12):
        store.write_part(f"p{k:02d}", [row(f"r{k}", N=k)], [number(f"r{k}", value=k)], [point(f"r{k}", k)])
    store.write_part("q", [row("r3", 1, "failed")])
    store.write_evaluated([number("r0", value=99)])
    before = [*load_results(store.path), load_curves(store.path), store.done()]
    assert not store.compact(at=13)
    assert store.compact(at=10)
    assert len(list((store.path / "runs").iterdir())) == 1
    after = [*load_results(store.path), load_curves(store.path), Store(store.path).done()]
    for was, now in zip(before[:3], after[:3], strict=True):
        pd.testing.assert_frame_equal(
            was.sort_values("run_id", ignore_index=True), now.sort_values("run_id", ignore_index=True)
        )
    assert before[3] == after[3]


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


def test_membership_is_overwritten_or_merged(store: Store) -> None:
    store.write_membership("s", {"a": "one"}, description="d", command="c")
    store.write_membership("s", {"b": "two"}, merge=True)
    store.write_membership("t", {"z": "other"})
    assert [membership.name for membership in load_memberships(store.path)] == ["s", "t"]
    assert load_memberships(store.path)[0].runs == {"a": "one", "b": "two"}
    store.write_membership("s", {"b": "two"})
    assert load_memberships(store.path)[-1].runs == {"b": "two"}


def test_leases(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = store_module.lease_owner(), "elsewhere 1 x"
    assert store.claim(["a", "b"], here)
    assert store.claim(["b"], here)
    assert not store.claim(["c", "b"], there)
    assert store.claim(["c"], there), "a claim that failed must hold nothing"
    assert not store.claim(["c"], here)
    store.release(["a", "b"])
    assert store.claim(["b"], there)
    child = subprocess.Popen(["true"])
    child.wait()
    dead = f"{here.split()[0]} {child.pid} x"
    assert store.claim(["d"], dead)
    assert store.claim(["d"], here), "a lease of a dead process is void"
    assert store.claim(["e"], there)
    os.utime(store.path / "leases" / "e", (0, 0))
    assert store.claim(["e"], here), "a lease without a sign of life is void"


def test_a_column_of_the_wrong_type_is_named(store: Store) -> None:
    with pytest.raises(TypeError, match="column seed"):
        store.write_part("p", [row("a") | {"seed": "x"}])
    assert pa.types.is_string(store_module.RUNS["label"])
