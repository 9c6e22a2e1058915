"""Finished runs that are trained again with twice the updates: how much better the objective gets, and what follows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, isnan, nan
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from bench.command import write, write_table
from bench.contracts import InputError, Unavailable
from bench.engine.repetition import drawn
from bench.loading.windows import load_splits
from bench.parts.stopping_times import StoppingTimes
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

    A method with one stage has the updates of both blocks in it, and what a method's denoiser learns in the first stage
    counts for the second (`bench.training.stack`). A patience as long as a stage never ends it, and lets its rate fall.
    """
    first, second = 2 * updates, 2 * denoiser_updates
    scheduled = run.train.steps
    patience, denoiser_patience = first if run.train.patience else 0, second if run.diffusion.patience else 0
    if not first:  # diffusion in data space
        first, second = 1, second - 1
    elif _moves_denoiser(run):
        made = StoppingTimes(first, patience).limits(first)[1]
        second = made + second if second else 1
    elif not second:  # latents from the prior
        scheduled += run.diffusion.steps
        first, second = first - 1, 1
    train = replace(run.train, steps=first, patience=patience, schedule_steps=run.train.schedule_steps or scheduled)
    diffusion = replace(run.diffusion, steps=second, patience=denoiser_patience)
    return replace(run, sweep=NAME, train=train, diffusion=diffusion)


def _moves_denoiser(run: Run) -> bool:
    return bool(METHODS[run.method](**dict(run.hyper)).moves_denoiser)


def pairs(rows: pd.DataFrame, share: float, seed: str, data: Path | None) -> tuple[list[Pair], Counter[str]]:
    """A share of these rows of a runs table, drawn at random, with the runs to train, and why others cannot be.

    Rows that are no finished run of a method are not counted. Those whose windows are not here make room for others.
    """
    usable: list[Pair] = []
    left: Counter[str] = Counter()
    for row in drawn(rows[(rows.kind == "method") & (rows["sweep"] != NAME)], seed, None):
        try:
            run = Run.from_config(row.config)
            if run.run_id != row.run_id:
                raise InputError("older: another version of the method or of the training code")
            if isnan(_objective(row)):
                raise InputError("no validation objective: trained without a patience")
            usable.append(Pair(row, twice(run, _count(row, "updates"), _count(row, "denoiser_updates"))))
        except InputError as error:
            left[str(error)] += 1
    found: dict[str, Pair] = {}
    for pair in usable:
        if len(found) == ceil(round(share * len(usable), 6)):
            break
        run = pair.longer
        try:
            if load_splits(run.dataset, run.data_seed, data).sha256 != run.data_sha256:
                raise InputError("other windows")
            found.setdefault(run.run_id, pair)
        except (InputError, Unavailable) as error:
            left[str(error)] += 1
    return list(found.values()), left


def sweep_of(found: Sequence[Pair]) -> Sweep:
    """The runs to train, as a sweep of their own."""
    about = "runs drawn at random, each with twice the updates that it made"
    return Sweep(NAME, about, tuple(pair.longer for pair in found))


def compared(
    found: Sequence[Pair], metrics: pd.DataFrame, again: pd.DataFrame, metrics_again: pd.DataFrame
) -> Iterator[Gain]:
    """What each pair gained. A longer run that diverged has an objective, that of its best check, and no measures.

    metrics: of the runs that were drawn. again, metrics_again: both tables of the longer ones. A number that one side
    lacks, or has of another version of its measure, is NaN.
    """
    ended = again[again.status.isin(["ok", "diverged"])]
    rows = {row.run_id: row for _, row in ended[ended.run_id.isin([p.longer.run_id for p in found])].iterrows()}
    before, after = _numbers(metrics, [p.row.run_id for p in found]), _numbers(metrics_again, list(rows))
    for pair in found:
        if (now := rows.get(pair.longer.run_id)) is None:
            continue
        then = pair.row
        stage = "updates" if _count(then, "updates") else "denoiser_updates"
        cells = int(then.window * then.n_channels)
        split, measured = pair.longer.evaluate.split, {}
        for name in MEASURES:
            old, new = before.get((then.run_id, name, split)), after.get((now.run_id, name, split))
            measured[name] = (old[1], new[1]) if old and new and old[0] == new[0] else (nan, nan)
        objective = _objective(then) * cells, _objective(now) * cells
        yield Gain(pair, (_count(then, stage), _count(now, stage)), objective, measured)


def _numbers(metrics: pd.DataFrame, run_ids: Sequence[str]) -> dict[Any, Any]:
    """(run, measure, windows) -> its version and its value at the end, the mean over metric seeds."""
    mine = metrics[metrics.run_id.isin(run_ids) & metrics.metric.isin(MEASURES)]
    mine = mine[(mine.train_step < 0) & (mine.coordinate == "")]
    by_version = mine.groupby(["run_id", "metric", "split", "version", "metric_code"], observed=True, dropna=False)
    newest = by_version["value"].mean().reset_index()  # in the order of versions, so that the last one stays
    keys = zip(newest.run_id, newest.metric, newest.split, strict=True)
    versions = zip(newest.version, newest.metric_code, strict=True)
    return dict(zip(keys, zip(versions, newest.value, strict=True), strict=True))


def show(gains: Sequence[Gain]) -> None:
    """The table, and what it says of all runs that were drawn."""
    if not gains:
        return
    table = []
    for gain in gains:
        run = gain.pair.longer
        place = gain.pair.row.run_id, run.label, run.dataset.key, run.backbone, str(run.seed)
        share = f"{100 * gain.share:.2f} %" if not isnan(gain.share) else "-"
        numbers = _moved(gain.updates, 0), _moved(gain.objective, 2), share
        table.append((*place, *numbers, *(_moved(gain.measured[name], 3) for name in MEASURES)))
    heads = "run", "label", "data set", "backbone", "seed", "updates", "objective, nats per series", "better by"
    write_table(table, (*heads, *MEASURES.values()))
    known = [gain for gain in gains if not isnan(gain.share)]
    converged = sum(gain.share < ENOUGH for gain in known)
    write(f"\n{converged} of {len(known)} improve their objective by less than {ENOUGH:.0%} with twice the updates.")
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
