"""What a terminal shows while a sweep runs."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import fake_job
import pytest
from fake_job import fake_run
from rich.console import Console

from bench.engine.screen import Screen, Title
from bench.registry import METHODS
from bench.store import Store
from bench.sweeps.run import Run
from bench.sweeps.stacks import Stack


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    fake_job.register()
    yield
    METHODS._classes.pop("fake", None)


def write(store: Store, run: Run, value: float, status: str = "ok") -> str:
    part = f"{Stack((run,)).stack_id}-1"
    rows = [{"run_id": run.run_id, "metric": "sliced_wasserstein", "version": 1, "value": value, "n": 9}]
    store.write_part(part, [{**run.columns(), "attempt": 1, "status": status}], rows if status == "ok" else [])
    return part


def test_the_screen_names_the_best_per_data_set_and_the_latest_runs(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.prepare()
    runs = [fake_run(label, seed=seed) for label in ("[red]good", "bad", "perfect copy") for seed in (0, 1)]
    titles = {run.run_id: Title("sines", run.label, run.seed, run.label != "perfect copy") for run in runs}
    write(store, runs[2], 0.5)  # of an earlier time
    write(store, runs[4], 0.0)  # a reference is never the best
    console = Console(file=io.StringIO(), width=110)
    screen = Screen(store, titles, console)
    try:
        screen.advance(2, 6, None)
        shown = text(screen)
        assert "2/6 runs" in shown
        assert row(shown, "sines") == ["sines", "2/6", "bad", "0.5", "1"]

        screen.working([(Stack((runs[1], runs[3])), 12.0)])
        screen.finished(write(store, runs[0], 0.25), [(runs[0].run_id, "ok", "")])
        screen.finished(write(store, runs[3], 0, "failed"), [(runs[3].run_id, "failed", "why")])
        screen.advance(4, 6, 90.0)
        shown = text(screen)
        assert "4/6 runs about 2 min left" in shown
        assert row(shown, "sines") == ["sines", "4/6", "[red]good", "0.25", "1", "1 failed"]
        assert row(shown, runs[0].run_id[:8]) == [runs[0].run_id[:8], "sines", "[red]good", "0", "ok", "0.25"]
        assert row(shown, runs[3].run_id[:8]) == [runs[3].run_id[:8], "sines", "bad", "1", "failed"]
        assert row(shown, runs[1].run_id[:8])[2:] == ["[red]good and 1 more", "1", "12 s"]
        screen.say("a line that stays")
    finally:
        screen.close()
    assert runs[1].run_id[:8] not in text(screen)  # nothing is running any more
    assert "a line that stays" in console.file.getvalue()  # type: ignore[attr-defined]


def text(screen: Screen) -> str:
    console = Console(file=io.StringIO(), width=110)
    console.print(screen.render())
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def row(shown: str, first: str) -> list[str]:
    line = next(line for line in shown.splitlines() if line.strip().startswith(first))
    return [word.strip() for word in line.split("  ") if word.strip()]
