"""What a terminal shows while a sweep runs: a bar, the best method so far per data set, and the latest runs."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.engine.progress import clock
from bench.engine.tasks import Outcome
from bench.store import Done, Store
from bench.sweeps.stacks import Stack

RANKS = "sliced_wasserstein"
"""The measure that orders the methods of a data set; less is better."""

_LATEST = 8  # finished runs that stay on the screen
_PLACES = 12  # data sets


class Title(NamedTuple):
    """How a run is named in the tables."""

    place: str  # its data set
    name: str  # its label, with the settings that vary
    seed: int
    method: bool  # floors and controls are no candidates for the best


class Screen:
    """For a terminal; a `bench.engine.progress.Progress`."""

    def __init__(self, store: Store, titles: Mapping[str, Title], console: Console | None = None) -> None:
        """titles: run_id -> its title, for every run of the sweep."""
        self._store, self._titles = store, titles
        self._ended: Counter[tuple[str, str]] = Counter()  # (data set, status) -> runs
        self._values: dict[tuple[str, str], dict[str, float]] = {}  # (data set, name) -> run_id -> value
        self._working: Sequence[tuple[Stack, float]] = ()
        self._latest: deque[tuple[str, str]] = deque(maxlen=_LATEST)  # run_id, status
        self._progress = (0, len(titles), "")
        self._total = Counter(title.place for title in titles.values())
        self._resume(store.done() if store.path.exists() else {})
        self._live = Live(console=console or Console(stderr=True), get_renderable=self.render, refresh_per_second=2)
        self._live.start()

    def _resume(self, done: Mapping[str, Done]) -> None:
        here = [run_id for run_id in self._titles if run_id in done]
        for run_id in here:
            self._ended[self._titles[run_id].place, done[run_id].status] += 1
        if here:
            self._take_in(self._store.results()[1])

    def _take_in(self, metrics: pd.DataFrame) -> None:
        mine = metrics[(metrics.metric == RANKS) & (metrics.train_step < 0) & (metrics.coordinate == "")]
        for run_id, value in mine.groupby("run_id", observed=True).value.mean().items():
            title = self._titles.get(str(run_id))
            if title is not None and title.method and value == value:
                self._values.setdefault((title.place, title.name), {})[str(run_id)] = float(value)

    # ---- calls of the supervisor

    def advance(self, done: int, total: int, left: float | None) -> None:
        """done / total, time left."""
        self._progress = (done, total, "" if left is None else f"about {clock(left)} left")

    def working(self, stacks: Sequence[tuple[Stack, float]]) -> None:
        """What is being trained, and for how many seconds."""
        self._working = stacks

    def finished(self, part: str, outcomes: Sequence[Outcome]) -> None:
        """Runs ended; `part` is where the store has their numbers."""
        for run_id, status, _ in outcomes:
            if run_id in self._titles:
                self._ended[self._titles[run_id].place, status] += 1
                self._latest.append((run_id, status))
        self._take_in(self._store.numbers_of(part))

    def say(self, text: str) -> None:
        """A line above the tables."""
        self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """End, and leave the table of data sets on the screen."""
        self._working, self._latest = (), deque()
        self._live.stop()

    # ---- the picture

    def render(self) -> Group:
        """The bar and both tables."""
        done, total, left = self._progress
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=max(total, 1), completed=done, width=40), f"{done}/{total} runs", left)
        runs = self._runs()
        return Group(bar, self._places(), *([runs] if runs.row_count else []))

    def _places(self) -> Table:
        table = Table("data set", "done", "best so far", "sliced W.", "seeds", "not ok", box=None, header_style="bold")
        for place in list(self._total)[:_PLACES]:
            ended = {status: n for (where, status), n in self._ended.items() if where == place}
            bad = ", ".join(f"{n} {status}" for status, n in ended.items() if status != "ok")
            found = [(sum(v.values()) / len(v), name, len(v)) for (p, name), v in self._values.items() if p == place]
            value, name, seeds = min(found, default=(0.0, "-", 0))
            words = (name, f"{value:.4g}", str(seeds)) if seeds else ("-", "-", "-")
            table.add_row(*map(Text, (place, f"{sum(ended.values())}/{self._total[place]}", *words, bad)))
        if len(self._total) > _PLACES:
            table.add_row(f"and {len(self._total) - _PLACES} more")
        return table

    def _runs(self) -> Table:
        table = Table("run", "data set", "method", "seed", "state", "sliced W.", box=None, header_style="bold")
        for run_id, status in self._latest:
            self._row(table, run_id, status)
        for stack, seconds in self._working:
            self._row(table, stack.run_ids[0], clock(seconds), len(stack.runs) - 1)
        return table

    def _row(self, table: Table, run_id: str, state: str, others: int = 0) -> None:
        title = self._titles.get(run_id, Title("?", "?", 0, False))
        value = self._values.get((title.place, title.name), {}).get(run_id)
        name = f"{title.name} and {others} more" if others else title.name
        number = "" if value is None else f"{value:.4g}"
        table.add_row(*map(Text, (run_id[:8], title.place, name, str(title.seed), state, number)))
