"""Finished runs that are trained again with twice the updates: how much better the objective gets, and what follows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from pathlib import Path

import pandas as pd
from scipy import stats

from bench.command import write, write_table
from bench.contracts import Unavailable
from bench.engine.repetition import drawn
from bench.loading.windows import load_splits
from bench.registry import METHODS
from bench.sweeps.expand import Sweep
from bench.sweeps.run import Run

NAME = "twice_as_long"
"""The sweep of the runs that this trains; they are never drawn themselves."""

ENOUGH = 0.01
"""The share of its objective by which a converged run improves at most."""

MEASURES = {"c2st_auc": "AUC", "latent_information": "nats"}


@dataclass(frozen=True)
class Pair:
    """A finished run, as the runs table has it, and the same with twice the updates."""

    row: pd.Series
    longer: Run


@dataclass(frozen=True)
class Gain:
    """What twice the updates did to one run: (then, now)."""

    pair: Pair
    updates: tuple[int, int]
    objective: tuple[float, float]  # nats per series; lower is better
    measured: Mapping[str, tuple[float, float]]  # by `MEASURES`; NaN where a run has no such number

    @property
    def share(self) -> float:
        """The share of its objective by which it fell."""
        then, now = self.objective
        return (then - now) / abs(then) if then else nan


def twice(run: Run, updates: int, denoiser_updates: int) -> Run:
    """The run with twice the updates that it made in each stage. No stage stops early, and schedules end as they did.

    A method with one stage has the updates of both blocks in it (`bench.training.stack`), so one block gets them all.
    """
    first, second = 2 * updates, 2 * denoiser_updates
    if not first:
        first, second = 1, second - 1
    elif not second:
        first, second = first - 1, 1
    elif METHODS[run.method](**dict(run.hyper)).moves_denoiser:  # whose first stage is deducted from the second block
        second += first
    train = replace(
        run.train,
        steps=first,
        patience=first if run.train.patience else 0,
        schedule_steps=run.train.schedule_steps or run.train.steps,
    )
    diffusion = replace(run.diffusion, steps=second, patience=second if run.diffusion.patience else 0)
    return replace(run, sweep=NAME, train=train, diffusion=diffusion)


def pairs(runs: pd.DataFrame, count: int, seed: str, data: Path | None) -> tuple[list[Pair], Counter[str]]:
    """`count` rows of methods, drawn at random, with the runs to train, and why others were left out.

    Rows of older code, without an objective, or whose windows are not here make room for others.
    """
    found: list[Pair] = []
    left: Counter[str] = Counter()
    for row in drawn(runs, seed, None):
        if len(found) == count:
            break
        run = Run.from_config(row.config)
        if run.run_id != row.run_id:
            left["older: another version of the method or of the training code"] += 1
            continue
        if isnan(_objective(row)):
            left["no validation objective: trained without a patience"] += 1
            continue
        try:
            here = load_splits(run.dataset, run.data_seed, data).sha256 == run.data_sha256
        except Unavailable as error:
            left[f"not here: {error}"] += 1
            continue
        if not here:
            left["other windows"] += 1
            continue
        found.append(Pair(row, twice(run, _count(row, "updates"), _count(row, "denoiser_updates"))))
    return found, left


def candidates(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows that can be drawn: finished runs of methods, but not those that this has trained."""
    return runs[(runs.kind == "method") & (runs.status == "ok") & (runs["sweep"] != NAME)]


def sweep_of(found: Sequence[Pair]) -> Sweep:
    """The runs to train, as a sweep of their own."""
    about = "runs drawn at random, each with twice the updates that it made"
    return Sweep(NAME, about, tuple(pair.longer for pair in found))


def compared(found: Sequence[Pair], runs: pd.DataFrame, metrics: pd.DataFrame) -> Iterator[Gain]:
    """What each pair gained, where the longer run ended well. runs, metrics: the tables with the longer runs."""
    rows = {row.run_id: row for _, row in runs.iterrows()}
    at_end = metrics[(metrics["split"] == "test") & metrics.metric.isin(MEASURES) & metrics.coordinate.isna()]
    values = at_end.groupby(["run_id", "metric"], observed=True)["value"].mean().to_dict()
    for pair in found:
        then, now = pair.row, rows[pair.longer.run_id]
        if now.status != "ok":
            continue
        stage = "updates" if _count(then, "updates") else "denoiser_updates"
        cells = int(then.window * then.n_channels)
        both = pair.row.run_id, pair.longer.run_id
        measured = {name: (values.get((both[0], name), nan), values.get((both[1], name), nan)) for name in MEASURES}
        objective = _objective(then) * cells, _objective(now) * cells
        yield Gain(pair, (_count(then, stage), _count(now, stage)), objective, measured)


def show(gains: Sequence[Gain]) -> None:
    """The table, and what it says of all runs that were drawn."""
    if not gains:
        return
    table = []
    for gain in gains:
        run = gain.pair.longer
        place = gain.pair.row.run_id, run.label, run.dataset.key, run.backbone, str(run.seed)
        numbers = _moved(gain.updates, 0), _moved(gain.objective, 2), f"{100 * gain.share:.2f} %"
        table.append((*place, *numbers, *(_moved(gain.measured[name], 3) for name in MEASURES)))
    heads = "run", "label", "data set", "backbone", "seed", "updates", "objective, nats per series", "better by"
    write_table(table, (*heads, *MEASURES.values()))
    converged = sum(gain.share < ENOUGH for gain in gains)
    write(f"\n{converged} of {len(gains)} improve their objective by less than {ENOUGH:.0%} with twice the updates.")
    for name, what in MEASURES.items():
        moves = pd.Series([now - then for then, now in (gain.measured[name] for gain in gains)]).dropna()
        if len(moves) > 1:
            interval = stats.ttest_1samp(moves, 0).confidence_interval()
            half = (interval.high - interval.low) / 2
            write(f"{what}: {moves.mean():+.3f} ± {half:.3f} in the mean of {len(moves)} (95 % t interval over runs)")


def _count(row: pd.Series, name: str) -> int:
    return 0 if pd.isna(row[name]) else int(row[name])


def _objective(row: pd.Series) -> float:
    """Nats per value; of a method without an autoencoder the loss of its denoiser."""
    return float(row["validation_objective" if _count(row, "updates") else "validation_denoising"])


def _moved(both: tuple[float, float], digits: int) -> str:
    return "" if any(map(isnan, both)) else " -> ".join(f"{value:.{digits}f}" for value in both)
