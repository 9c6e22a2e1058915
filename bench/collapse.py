"""Does vanilla latent diffusion collapse on an array? A first look within a minute; see bench/docs/library.md."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from numpy.typing import ArrayLike

from bench.contracts import DiffusionConfig, EvaluateConfig, InputError, Splits, TrainConfig, nearest
from bench.engine.trials import time_updates
from bench.library import ARRAY, Fitted, fitted_of, make_run, read_device, read_splits, read_whole, train_run
from bench.parts.stopping_times import CHECKS, StoppingTimes
from bench.registry import METHODS, load_entry_points
from bench.scoring.scores import Scope, score_reference
from bench.sweeps.expand import variants_of
from bench.sweeps.file import SHIPPED, read_file
from bench.sweeps.options import check_backbones, checked
from bench.sweeps.run import Run
from bench.training.stack import Trained
from bench.verdict import NEAR_BOUND, SAID, UNKNOWN, Estimate, verdict

_FEWEST_STEPS = 50
_CHECKED = CHECKS  # updates of a short training that has all the checks of a longer one


@dataclass(frozen=True, eq=False, repr=False)
class CollapseCheck:
    """What `check_collapse` found; printing it gives a few lines.

    table: a row for vanilla latent diffusion, for the alternative, and for the floors of the sample distance; columns
    verdict (version 2 of `bench.verdict`), latent_information and second_half (what it rests on, nats per series),
    gap (NLL with another series' latent minus NLL with the own, nats per value), dependency_end (m_{T,0}, the share
    of the last state that is due to the latent), sliced_wasserstein and converged (whether both stages ended at the
    plateau of their validation objective).
    """

    table: pd.DataFrame
    train_steps: int  # updates of each autoencoder, at most
    diffusion_steps: int  # updates of each denoiser, at most
    seconds: float  # in all
    bound: float  # ln M, which no latent information exceeds; NaN where none was measured
    models: Mapping[str, Fitted]  # by the names of the table's rows

    @property
    def collapsed(self) -> bool:
        """Whether vanilla latent diffusion collapsed."""
        return bool(self.table.verdict.iloc[0] == "collapsed")

    def __str__(self) -> str:
        vanilla, other = self.table.index[:2]
        first, second = self.table.verdict.iloc[:2]
        said = {
            **SAID,
            "undecided": "is neither clearly collapsed nor clearly alive on these data: the interval of its latent "
            "information contains a threshold",
            "diverged": "diverged on these data",
        }
        lines = [
            f"{vanilla} {said.get(first, 'could not be measured')}; {other}: {second}.",
            self.table.astype(object).where(self.table.notna(), "").to_string(float_format="{:.3f}".format),
            f"latent_information and second_half in nats per series, at most ln M = {self.bound:.1f}; values within "
            f"{NEAR_BOUND:g} of it are lower bounds without an order. gap in nats per value.",
            f"{self.train_steps:,} + {self.diffusion_steps:,} updates each at most, {self.seconds:.0f} seconds, one "
            "seed: a first look only.",
        ]
        converged = self.table.converged[:2]
        if early := list(converged.index[converged == False]):  # noqa: E712  (none is no answer)
            lines.append(
                f"Ended before the plateau of the validation objective: {' and '.join(early)}. A latent may need more "
                "updates than these, so a longer training may give another verdict."
            )
        elif converged.all():
            lines.append("Training ended at the plateau of the validation objective.")
        return "\n".join(lines)

    __repr__ = __str__


def check_collapse(
    x: ArrayLike,
    budget: float = 60.0,
    backbone: str = "lstm",
    seed: int = 0,
    *,
    window: int | None = None,
    stride: int | None = None,
    channels: Sequence[str] | None = None,
    alternative: str | None = None,
    device: str = "cpu",
) -> CollapseCheck:
    """Does vanilla latent diffusion collapse on these data, and does an alternative keep its latent alive?

    Both are trained for as many updates as fit into about `budget` seconds, as estimated from two short trainings of
    each. There are at least 50 updates, even if they take longer, and at most those of the sweep `diagnose`. Training
    ends before that where the objective is at its plateau, and the result says whether it was.
    For x, window, stride, channels and the warnings see `fit`.
    alternative: a label of the shipped sweep `diagnose` (default: its second). `python -m bench.diagnose` answers the
    same question for a file, with more methods and seeds. Raises InputError.
    """
    began = time.perf_counter()
    load_entry_points()
    if not isinstance(budget, int | float) or isinstance(budget, bool) or not 0 < budget < math.inf:
        raise InputError(f"budget = {budget!r}: expected a number of seconds > 0")
    check_backbones([backbone], "check_collapse")
    file = read_file(SHIPPED / "diagnose.yaml")
    entries = {entry.label or entry.name: entry for entry in file.methods}
    vanilla, *others = (label for label, entry in entries.items() if METHODS[entry.name].latent_route != "none")
    other = others[0] if alternative is None else alternative
    if other not in others:
        raise InputError(f"alternative = {other!r}: {nearest(str(other), others)}")
    where, seed = read_device(device), read_whole(seed, "seed", 0)
    splits = read_splits(x, seed, window, stride, channels, None)
    evaluate = {**file.evaluate, "metrics": ["latent_information", "nll", "dependency", "sliced_wasserstein"]}
    runs = {}
    for label in (vanilla, other):
        (variant,) = variants_of(file, entries[label].model_dump(), "check_collapse")
        runs[label] = make_run(variant, backbone, seed, splits)
    share = _share(list(runs.values()), splits, where, evaluate, budget, began)
    full = runs[vanilla].train.steps, runs[vanilla].diffusion.steps
    train_steps, diffusion_steps = (min(most, max(_FEWEST_STEPS, int(share * most))) for most in full)
    models, table = {}, {}
    for label, run in runs.items():
        longer = _with_steps(run, train_steps, diffusion_steps)
        trained = train_run(longer, splits, where)
        models[label] = fitted_of(longer, splits, trained)
        table[label] = {**_facts(models[label], evaluate), "converged": _converged(trained)}
    bounds = [facts.pop("bound") for facts in table.values() if "bound" in facts]  # equal: of the same windows
    config = checked(EvaluateConfig, evaluate, "check_collapse", "evaluate")
    for floor in ("floor_noise", "floor_held_out"):
        (row,) = score_reference(floor, splits, config, Scope(ARRAY.stream, seed), ["sliced_wasserstein"])
        table[floor] = {"verdict": "", "sliced_wasserstein": row["value"]}
    frame = pd.DataFrame.from_dict(table, orient="index")
    return CollapseCheck(
        frame, train_steps, diffusion_steps, time.perf_counter() - began, bounds[0] if bounds else math.nan, models
    )


def _with_steps(run: Run, train: int, diffusion: int) -> Run:
    blocks = replace(run.train, steps=train), replace(run.diffusion, steps=diffusion)
    return replace(run, train=blocks[0], diffusion=blocks[1])


def _share(
    runs: Sequence[Run],
    splits: Splits,
    device: torch.device,
    evaluate: Mapping[str, Any],
    budget: float,
    began: float,
) -> float:
    """The share of the sweep's updates that fits into the budget for every run, at most 1."""
    fixed, full = 0.0, 0.0
    for run in runs:
        train_run(_with_steps(run, 2, 2), splits, device)  # the first updates of a process are slow
        each = time_updates(run, splits, device)
        short = train_run(_with_steps(run, _CHECKED, _CHECKED), splits, device)
        for stage, budget_of, update in (
            ("autoencoder", run.train, each.autoencoder),
            ("denoiser", run.diffusion, each.denoiser),
        ):
            checks = max(getattr(short, f"{stage}_seconds") - _CHECKED * update, 0.0)  # what else there is, is little
            fixed += checks  # of a training so short that it has no more of them
            full += budget_of.steps * update + checks * _more_checks(budget_of)
    scored = time.perf_counter()
    _facts(fitted_of(run, splits, short), evaluate)
    fixed += len(runs) * (time.perf_counter() - scored)
    left = budget - (time.perf_counter() - began) - fixed
    return min(1.0, max(left, 0.0) / max(full, 1e-9))


def _more_checks(stage: TrainConfig | DiffusionConfig) -> float:
    """How many times the checks of the shortest training a training of all updates has besides."""
    return max(stage.steps / StoppingTimes(stage.steps, stage.patience).every / CHECKS - 1, 0.0)


def _converged(trained: Trained) -> bool | None:
    """Whether every stage ended at its plateau; none where a run diverged."""
    return None if trained.diverged[0] else all(end.converged[0] is not False for end in trained.stages.values())


def _facts(fitted: Fitted, evaluate: Mapping[str, Any]) -> dict[str, Any]:
    """Verdict, latent information with its ln M, gap, m_{T,0} and sample distance of a run; NaN where it diverged."""
    if fitted.diverged:
        return {"verdict": "diverged"}
    rows = fitted.score(**evaluate)
    scalars = rows[rows.coordinate == ""].set_index("metric")
    values = scalars["value"]
    at_end = rows[(rows.metric == "dependency_global") & (rows["index"] == fitted.splits.window)].value
    own, permuted = (float(values.get(name, math.nan)) for name in ("nll_own", "nll_permuted"))
    end = float(at_end.iloc[0]) if len(at_end) else math.nan
    information, second_half = (
        Estimate(*map(float, scalars.loc[name, ["value", "error"]])) if name in scalars.index else UNKNOWN
        for name in ("latent_information", "latent_information_second_half")
    )
    return {
        "verdict": verdict(own, permuted, end, information, second_half),
        "latent_information": information.value,
        "second_half": second_half.value,
        "bound": float(values.get("latent_information_bound", math.nan)),
        "gap": permuted - own,
        "dependency_end": end,
        "sliced_wasserstein": float(values.get("sliced_wasserstein", math.nan)),
    }
