"""One stack from start to end in one worker: windows, training, samples, metrics, its part of the results."""

from __future__ import annotations

import copy
import dataclasses
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from bench.contracts import InputError, Splits, Unavailable, in_one_line
from bench.engine.isolation import isolated
from bench.engine.provenance import provenance
from bench.engine.tasks import CodeChanged, Outcome
from bench.hardware.devices import turn
from bench.hardware.energy import Meter
from bench.hardware.memory import keep_freed, peak_bytes, reset_peak
from bench.hardware.precision import deterministic, products
from bench.hardware.recorded_steps import recording
from bench.loading.references import evaluation_size
from bench.loading.windows import load_splits
from bench.method import stacked
from bench.models import lstm_triton
from bench.models.build import StackedModel
from bench.registry import DATASETS, load_plugins
from bench.scoring.artifacts import keep_run, save_minmax, save_series
from bench.scoring.scores import (
    Scope,
    check_temperature,
    draw_samples,
    draw_stack,
    score_during_training,
    score_reference,
    score_run,
)
from bench.store import Store, Unwritable
from bench.sweeps.run import Run
from bench.sweeps.stacks import Stack
from bench.training.stack import Trained, train_stack

Row = dict[str, Any]


@dataclass(frozen=True)
class JobSettings:
    """The settings that a worker needs beside the stack."""

    results: Path
    data: Path | None
    device: str = "cpu"
    keep: Literal["all", "samples", "none", "restricted"] = "all"  # restricted: all, also of restricted data
    plugins: tuple[str, ...] = ()
    save_samples: Literal["", "units", "minmax"] = ""  # how samples are written for others, if they are
    kernels: Literal["auto", "plain"] = "auto"  # plain: on a GPU no recorded steps and no fused kernels
    deterministic: bool = False  # see `bench.hardware.precision.deterministic`


@dataclass
class Part:
    """The rows of one stack, gathered while it is worked on."""

    stack: Stack
    attempt: int
    device: str
    runs: list[Row]
    metrics: list[Row]
    curves: list[Row]

    def finish(self, run: Run, status: str, reason: str = "", **columns: Any) -> None:
        """Add a run's row."""
        shared = {"attempt": self.attempt, "stack_size": len(self.stack.runs), "device": self.device}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        state = {"status": status, "reason": reason, "finished_at": now}
        self.runs.append({**run.columns(), **shared, **provenance(), **state, **columns})

    def drop(self, run_ids: list[str]) -> None:
        """Drop these runs, as if they had never been attempted."""
        for rows in (self.runs, self.metrics, self.curves):
            rows[:] = [row for row in rows if row["run_id"] not in run_ids]


def run_stack(stack: Stack, settings: JobSettings, attempt: int = 1) -> list[Outcome]:
    """Do the work of a stack and write its part. An error of a method, data set or metric becomes a row.

    A run that ran out of memory gets the row `oom` only if it was alone in its stack. Runs of a larger stack get no row
    and are repeated in smaller stacks. Raises Unwritable where the results cannot be written, and CodeChanged, without
    a row, where this process has imported other code than the sweep was planned with.
    """
    load_plugins(settings.plugins)
    _refuse_other_code(stack)
    device = torch.device(settings.device)
    part = Part(stack, attempt, settings.device, [], [], [])
    changed: list[str] = []
    keep_freed()
    reset_peak(device)
    meter = Meter(device)
    try:
        auto = settings.kernels == "auto"
        with (
            isolated() as changed,
            deterministic(settings.deterministic),
            recording("auto" if auto else None),
            lstm_triton.fusing(auto),
            products("float32"),  # what is not training is exact: cuDNN's recurrence rounds to TF32 unless told not to
        ):
            _work(part, settings, device)
    except Unavailable as reason:
        _rest(part, "skipped", str(reason))
    except (Unwritable, KeyboardInterrupt):
        raise
    except BaseException as error:  # the sweep goes on; the row keeps the traceback
        reason_line = in_one_line(error)
        if _out_of_memory(error):
            _rest(part, "oom", reason_line)
        else:
            _rest(part, "failed", reason_line, traceback.format_exc())
    energy = meter.joules() / len(stack.runs)  # a stack's energy is shared equally, as its time is
    for row in part.runs:
        row["energy_joules"] = energy
        if changed:
            note = f"changed {', '.join(changed)} of its process, which was put back"
            row["reason"] = f"{row['reason']}; {note}" if row["reason"] else note
    outcomes = [(row["run_id"], row["status"], row["reason"]) for row in part.runs]
    if len(stack.runs) > 1:
        part.drop([run_id for run_id, status, _ in outcomes if status == "oom"])
    if part.runs:
        Store(settings.results).write_part(f"{stack.stack_id}-{attempt}", part.runs, part.metrics, part.curves)
    return outcomes


def _refuse_other_code(stack: Stack) -> None:
    """Raises CodeChanged where a run that was planned elsewhere is another one by the code that is imported here."""
    for run in stack.runs:
        try:
            same = dataclasses.replace(run).run_id == run.run_id  # a run that was sent here brought its run_id along
        except InputError:  # its method has another name by now
            same = False
        if not same:
            raise CodeChanged(
                f"the code of {run.kind} '{run.method}' changed since the sweep was planned: start the command again "
                "(finished runs are safe)"
            )


def _out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; some of torch's libraries report it only in the message."""
    words = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def _rest(part: Part, status: str, reason: str, trace: str = "") -> None:
    """Add a row with the same status for every run of the stack that has none yet."""
    done = {row["run_id"] for row in part.runs}
    for run in part.stack.runs:
        if run.run_id not in done:
            part.finish(run, status, reason, traceback=trace)


def _work(part: Part, settings: JobSettings, device: torch.device) -> None:
    runs = part.stack.runs
    splits = [load_splits(run.dataset, run.data_seed, settings.data) for run in runs]
    for run, windows in zip(runs, splits, strict=True):
        if run.data_sha256 and run.data_sha256 != windows.sha256:
            raise InputError(
                f"{run.dataset.key}, seed {run.data_seed}: the windows are not those that the sweep was planned with: "
                "the file or its loader changed, or a plug-in draws random numbers that no seed fixes"
            )
    if runs[0].kind == "reference":
        for run, windows in zip(runs, splits, strict=True):
            _reference(part, run, windows)
        return
    check_temperature(runs[0], splits[0])  # before training
    scopes = [Scope.of(run) for run in runs]

    unmeasured: list[tuple[StackedModel, int]] = []

    def measure(model: StackedModel, step: int) -> None:
        for index, (run, windows, scope) in enumerate(zip(runs, splits, scopes, strict=True)):
            method, single = stacked([run.build_method()], device), single_run(model, index, run, windows, device)
            rows = score_during_training(single, method, windows, run.evaluate, scope, step)
            part.metrics += [{"run_id": run.run_id, **row} for row in rows]

    def keep(model: StackedModel, step: int) -> None:
        unmeasured.append((copy.deepcopy(model), step))

    with turn(device.type):
        trained = train_stack(
            [run.build_method() for run in runs],
            splits,
            [(run.dataset.stream, run.seed) for run in runs],
            runs[0].backbone,
            runs[0].model,
            [run.train for run in runs],
            [run.diffusion for run in runs],
            device,
            measure if one_by_one(device) else keep,
            runs[0].evaluate.during_training,
        )
        began = time.perf_counter()
        samples = _draw_together(trained, runs, splits, scopes, device)
        sampled = time.perf_counter() - began
        if device.type == "cuda":
            torch.cuda.empty_cache()  # free memory is for the next worker
    began = time.perf_counter()
    for model, step in unmeasured:
        measure(model, step)
    if "autoencoder" in trained.stages:  # a run that has ended is not looked at, however long its neighbours go on
        ends = dict(zip((run.run_id for run in runs), trained.stages["autoencoder"].updates, strict=True))
        part.metrics[:] = [row for row in part.metrics if row["train_step"] <= ends[row["run_id"]]]
    trained.watching_seconds += time.perf_counter() - began
    for index, (run, windows) in enumerate(zip(runs, splits, strict=True)):
        drawn = (samples[index], sampled / len(runs)) if samples is not None else None
        _finish(part, settings, trained, index, run, windows, device, drawn)


def one_by_one(device: torch.device) -> bool:
    """Whether runs are sampled and, in training, measured one by one; a GPU takes all together and measures later."""
    return device.type == "cpu"


def _draw_together(
    trained: Trained, runs: Sequence[Run], splits: Sequence[Splits], scopes: Sequence[Scope], device: torch.device
) -> np.ndarray | None:
    """The samples of all runs, (R, n, T, C), where drawing them in one go pays: on a GPU, and as many for each."""
    config = runs[0].evaluate
    sizes = {
        evaluation_size(scope.measured(part), config.n_samples) for scope, part in zip(scopes, splits, strict=True)
    }
    if one_by_one(device) or len(sizes) > 1:
        return None
    return draw_stack(trained.model.eval(), trained.method, splits, config, scopes)


def _shape(splits: Splits) -> Row:
    return {
        "n_train": len(splits.train),
        "n_held_out": 0 if splits.held_out is None else len(splits.held_out),
        "n_test": len(splits.test),
        "window": splits.window,
        "test_stride": splits.test_stride,
        "n_channels": len(splits.channels),
        "division": splits.division,
    }


def _reference(part: Part, run: Run, splits: Splits) -> None:
    began = time.perf_counter()
    rows = score_reference(run.method, splits, run.evaluate, Scope.of(run))
    part.metrics += [{"run_id": run.run_id, **row} for row in rows]
    part.finish(run, "ok", evaluate_seconds=time.perf_counter() - began, **_shape(splits))


def _finish(
    part: Part,
    settings: JobSettings,
    trained: Trained,
    index: int,
    run: Run,
    splits: Splits,
    device: torch.device,
    drawn: tuple[np.ndarray, float] | None,
) -> None:
    """Samples (unless they are `drawn`, in so many seconds), metrics, kept files and the row of one run of a stack."""
    size = len(part.stack.runs)
    model = single_run(trained.model, index, run, splits, device)
    columns: Row = {
        "train_seconds": trained.autoencoder_seconds / size,  # a stack's time is shared equally
        "denoiser_seconds": trained.denoiser_seconds / size,
        "programs": "; ".join(f"{stage} {how}" for stage, how in trained.programs.items()),
        "decoder_passes_per_update": trained.decoder_passes,
        **_ends(trained, index),
        "n_parameters": sum(weights.numel() for weights in model.parameters() if weights.requires_grad),
        **_shape(splits),
    }
    part.curves += [
        {"run_id": run.run_id, "step": step, "stage": stage, "term": term, "value": value}
        for row_run, step, stage, term, value in trained.curves.rows
        if row_run == index
    ]
    if trained.diverged[index]:
        part.finish(run, "diverged", trained.diverged[index], peak_memory_bytes=peak_bytes(device), **columns)
        return
    scope = Scope.of(run)
    method = stacked([run.build_method()], device)
    if drawn is None:
        began = time.perf_counter()
        samples = draw_samples(model, method, splits, run.evaluate, scope)
        drawn = samples, time.perf_counter() - began
    samples, columns["sample_seconds"] = drawn
    began = time.perf_counter()
    rows = score_run(model, method, splits, samples, run.evaluate, scope)
    part.metrics += [{"run_id": run.run_id, **row} for row in rows]
    columns["evaluate_seconds"] = time.perf_counter() - began + trained.watching_seconds / size
    _keep(settings, run, splits, model, samples)
    part.finish(run, "ok", peak_memory_bytes=peak_bytes(device), **columns)


def _ends(trained: Trained, index: int) -> Row:
    """How many updates a run made in each stage that it has, whether it converged, and with what."""
    found: Row = {}
    for stage, end in trained.stages.items():
        prefix, objective = ("", "objective") if stage == "autoencoder" else ("denoiser_", "denoising")
        found |= {f"{prefix}updates": end.updates[index], f"{prefix}converged": end.converged[index]}
        found[f"validation_{objective}"] = end.objective[index]
    return found


def single_run(model: StackedModel, index: int, run: Run, splits: Splits, device: torch.device) -> StackedModel:
    """One run of a trained stack as a model with R = 1."""
    method = stacked([run.build_method()], device)
    shape = (splits.train.shape[1], splits.train.shape[2])
    single = StackedModel(1, shape, method, run.backbone, run.model, run.diffusion)
    single.load_state_dict(model.state_of(index))
    single.temperature = model.temperature[index : index + 1]
    return single.to(device).eval()


def _keep(settings: JobSettings, run: Run, splits: Splits, model: StackedModel, samples: np.ndarray) -> None:
    if settings.save_samples:  # asked for by name, so for restricted data as well
        write = save_series if settings.save_samples == "units" else save_minmax
        write(settings.results, run, splits, samples)
    if settings.keep == "none" or (DATASETS[run.dataset.name].restricted and settings.keep != "restricted"):
        return
    weights = None if settings.keep == "samples" else model.state_of(0)
    keep_run(settings.results, run, splits, weights, samples, model.temperature)
