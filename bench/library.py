"""The harness for a notebook: from an array to a trained model, samples and measures, without files.

A run that is made here has the split, the scaling, the streams of randomness, the training and the measures of a run
of `python -m bench.run`. Streams are named by data set and seed, and the data set of an array is called `array`, so the
numbers are those of a run on a data set of that name with the same values. See bench/docs/library.md.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file as save_tensors

from bench.contracts import (
    DatasetSpec,
    EvaluateConfig,
    InputError,
    Splits,
    Unavailable,
    Undefined,
)
from bench.hardware.precision import products
from bench.loading.arrays import as_recordings, look_swapped, read_windows, shared_stride
from bench.loading.cells import MeasuredCells, measure_cells, resolutions_of
from bench.loading.references import halves
from bench.loading.windows import make_splits
from bench.method import Method
from bench.models.build import StackedModel
from bench.registry import METHODS, load_entry_points
from bench.scoring.artifacts import read_arrays, read_model
from bench.scoring.scores import Scope, choose, draw_samples, draw_series, score_beside_references, score_run
from bench.store import METRICS as METRIC_COLUMNS
from bench.store import unwritable
from bench.sweeps.expand import Variant, variants_of
from bench.sweeps.file import SweepFile
from bench.sweeps.options import check_backbones, checked, target
from bench.sweeps.run import Run
from bench.training.stack import Trained, train_stack

ARRAY = DatasetSpec("array")
"""What the data set of an array is called; with the seed it names every stream of randomness of a run."""

SAVED_VERSION = 1
"""Of a folder that `Fitted.save` writes; raised when an older `load` could not read it."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of updates that are done and the number of all updates."""

_CALLS = 20  # of a `Progress` in the autoencoder stage
_CHUNK = 256  # windows that are encoded at once


# ---------------------------------------------------------------- a trained run


@dataclass(frozen=True, eq=False, repr=False)
class Fitted:
    """One trained run: what `fit` and `load` give.

    run: its whole configuration. splits: its windows, train-scaled, with `mean` and `scale` (C,) to go back to units.
    diverged: why training stopped early, "" where it did not. curves: the columns step, stage, term and value (a mean
    since the point before it, in nats per value); both stages count their steps from 1.
    """

    run: Run
    splits: Splits
    model: StackedModel  # R = 1
    method: Method
    diverged: str
    curves: pd.DataFrame

    def __repr__(self) -> str:
        steps, channels = self._shape
        state = f", diverged: {self.diverged}" if self.diverged else ""
        return (
            f"<{self.run.method} with {self.run.backbone}, seed {self.run.seed}, trained on "
            f"{len(self.splits.train)} windows of T = {steps}, C = {channels}{state}>"
        )

    @property
    def _shape(self) -> tuple[int, int]:
        return self.splits.window, len(self.splits.channels)

    @property
    def _device(self) -> torch.device:
        return self.model.alpha_bar.device

    def sample(self, n: int, seed: int = 0, temperature: float | Sequence[float] = 1.0) -> np.ndarray:
        """n new series in the units of the data, (n, T, C) float32; a channel that has a grid is on it.

        With seed 0 and as many series as there are test windows (at most 1,000) they are those that `score` measures.
        temperature: of the decoder's likelihood, as `evaluate.temperature` of a sweep file; of several the best one.
        Raises InputError where the run diverged, and where it has no likelihood that knows a temperature.
        """
        self._refuse_diverged("sample")
        n, seed = read_whole(n, "n", 1), read_whole(seed, "seed", 0)
        config = checked(EvaluateConfig, {"temperature": temperature}, "sample", "evaluate")
        scope = Scope(self.run.dataset.stream, self.run.seed, seed)
        try:
            with torch.no_grad(), products("float32"):
                drawn = draw_series(self.model, self.method, [self.splits], config, [scope], n)[0]
        except Unavailable as reason:
            raise InputError(f"sample: {reason}") from reason
        return (drawn.astype(np.float64) * self.splits.scale + self.splits.mean).astype(np.float32)

    def encode(self, x: ArrayLike) -> np.ndarray:
        """The posterior mean of each window: x (n, T, C) in the units of the data -> (n, D) float32.

        Raises InputError where x has another shape, where the method has no latent, or where the run diverged.
        """
        self._refuse_diverged("encode")
        windows = read_windows(x, "x", like=self._shape)
        scaled = torch.from_numpy(((windows - self.splits.mean) / self.splits.scale).astype(np.float32))
        try:
            with torch.no_grad(), products("float32"):
                parts = [
                    self.method.posterior(self.model, part[None].to(self._device)).mean[0].cpu()
                    for part in scaled.split(_CHUNK)
                ]
        except Undefined as reason:
            raise InputError(f"encode: {reason}") from reason
        return torch.cat(parts).numpy()

    def score(self, metrics: str | Sequence[str] = "fast", **evaluate: Any) -> pd.DataFrame:
        """Metrics on test windows: rows with the columns of the metrics table.

        metrics: fast, all, or names of metrics (`python -m bench.list`). evaluate: options of a sweep file's block
        `evaluate`, such as `n_samples=500` or `split="validation"`.
        Raises InputError for an unknown name or option, and where the run diverged.
        """
        self._refuse_diverged("score")
        names = [metrics] if isinstance(metrics, str) and metrics not in ("fast", "all") else metrics
        config = checked(EvaluateConfig, {"metrics": names, **evaluate}, "score", "evaluate")
        scope = Scope(self.run.dataset.stream, self.run.seed, split=config.split)
        choose(config.metrics)
        try:
            with torch.no_grad(), products("float32"):
                samples = draw_samples(self.model, self.method, self.splits, config, scope)
                rows = score_run(self.model, self.method, self.splits, samples, config, scope)
        except Unavailable as reason:
            raise InputError(f"score: {reason}") from reason
        return pd.DataFrame([{"run_id": self.run.run_id, **row} for row in rows])[list(METRIC_COLUMNS)]

    def _refuse_diverged(self, what: str) -> None:
        if self.diverged:
            raise InputError(f"{what}: this run diverged and has no model to use: {self.diverged}")

    def save(self, folder: str | Path) -> None:
        """Write the run to a folder: weights and windows as safetensors, the rest as JSON. `load` reads it back.

        The folder holds the windows, so it is as confidential as the data. An older saved run there is replaced.
        Raises InputError where the folder holds something else or cannot be written.
        """
        final = Path(folder)
        if final.exists() and not (final / "fitted.json").is_file() and (final.is_file() or any(final.iterdir())):
            raise InputError(f"{final}: holds something else than a saved run: expected a new or an empty folder")
        temporary = final.with_name(f".{final.name}.{os.getpid()}")
        try:
            temporary.mkdir(parents=True)
            save_tensors(self.model.state_of(0), temporary / "weights.safetensors")
            arrays = {name: getattr(self.splits, name) for name in (*_ARRAYS, *_OPTIONAL)}
            present = {name: np.ascontiguousarray(values) for name, values in arrays.items() if values is not None}
            save_arrays(present, temporary / "windows.safetensors")
            facts = {
                "saved_version": SAVED_VERSION,
                "run_id": self.run.run_id,
                "run": json.loads(self.run.to_config()),
                "splits": {name: getattr(self.splits, name) for name in _FACTS},
                "cells": self.splits.cells.to_facts() if isinstance(self.splits.cells, MeasuredCells) else None,
                "diverged": self.diverged,
                "curves": self.curves.to_dict("list"),
            }
            (temporary / "fitted.json").write_text(json.dumps(facts), encoding="utf-8")
            shutil.rmtree(final, ignore_errors=True)
            os.replace(temporary, final)
        except OSError as error:
            raise unwritable(final, error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


_ARRAYS = ("train", "validation", "test", "mean", "scale")
_OPTIONAL = ("held_out", "test_groups", "validation_groups")  # arrays that not every data set has
_FACTS = ("channels", "units", "test_stride", "train_stride", "sha256")


def load(folder: str | Path, device: str = "cpu") -> Fitted:
    """A run that `Fitted.save` wrote: it samples, encodes and scores as before.

    Raises InputError where the folder holds no such run, is damaged, or was written by a newer version.
    """
    load_entry_points()
    path, where = Path(folder) / "fitted.json", read_device(device)
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        version = facts["saved_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: holds no saved run: expected a folder that Fitted.save wrote") from error
    if version != SAVED_VERSION:
        raise InputError(
            f"{folder}: was saved by a newer version of this package (format {version}): expected {SAVED_VERSION}"
        )
    arrays = read_arrays(Path(folder) / "windows.safetensors")
    try:
        run = Run.from_config(json.dumps(facts["run"]))
        about = {name: tuple(value) if isinstance(value, list) else value for name, value in facts["splits"].items()}
        parts: dict[str, Any] = {
            **{name: arrays[name] for name in _ARRAYS},
            **{name: arrays[name] for name in _OPTIONAL if name in arrays},
            **about,
        }
        cells = MeasuredCells.from_facts(facts["cells"], parts["mean"], parts["scale"]) if facts["cells"] else None
        splits = Splits(**parts, cells=cells)
        curves, diverged, run_id = pd.DataFrame(facts["curves"]), str(facts["diverged"]), facts["run_id"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: is damaged: {type(error).__name__}: {error}") from error
    model, method = read_model(Path(folder) / "weights.safetensors", run, splits, where)
    if run_id != run.run_id:
        warnings.warn(f"{folder}: was trained by another version of this code, whose numbers differ", stacklevel=2)
    return Fitted(run, splits, model, method, diverged, curves)


# ---------------------------------------------------------------- training


def fit(
    x: ArrayLike,
    method: str = "proposed",
    backbone: str = "lstm",
    seed: int = 0,
    *,
    window: int | None = None,
    stride: int | None = None,
    channels: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
    model: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    diffusion: Mapping[str, Any] | None = None,
    device: str = "cpu",
    progress: bool | Progress = False,
    **options: Any,
) -> Fitted:
    """Train one run on an array.

    x: windows (n, T, C), independent of each other, or with `stride` below T windows of recordings in order that begin
    `stride` rows apart; or one long series (rows, C) with `window` = T and `stride` (1) rows between training windows.
    No row of a series is in two of the parts train (70 %), validation (10 %) and test (20 %).
    channels, units: C names each. model, train, diffusion: options of these blocks, as in a sweep file.
    options: those of the method (`N=100`), and of blocks by their name where only one has it (`likelihood="mixture"`)
    or with the block's name before it (`**{"train.steps": 500}`), as in `set` of a sweep file.
    progress: True writes a line to standard error; a function is called with the number of updates done and of all
    updates, 20 times in the autoencoder stage and at the end.

    Warns where windows that were given as independent share rows, where x looks like (n, C, T), and where training
    diverged. Raises InputError, one line per mistake.
    """
    variant = _variant(method, {"model": model, "train": train, "diffusion": diffusion}, options)
    check_backbones([backbone], "fit")
    where, seed = read_device(device), read_whole(seed, "seed", 0)
    splits = read_splits(x, seed, window, stride, channels, units)
    run = make_run(variant, backbone, seed, splits)
    total, tell = run.train.steps + run.diffusion.steps, _line if progress is True else progress or None

    trained = train_run(run, splits, where, None if tell is None else lambda _, step: tell(step, total))
    if tell is not None:
        tell(total, total)
    if trained.diverged[0]:
        warnings.warn(f"fit: training diverged and was stopped: {trained.diverged[0]}", stacklevel=2)
    return fitted_of(run, splits, trained)


def _line(done: int, total: int) -> None:
    sys.stderr.write(f"\r{done:,} of {total:,} updates" + ("\n" if done == total else ""))
    sys.stderr.flush()


def read_whole(value: Any, name: str, least: int) -> int:
    """The argument `name`, checked. Raises InputError unless it is a whole number from `least` on, below 2^63."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not least <= value < 2**63:
        raise InputError(f"{name} = {value!r}: expected a whole number >= {least}")
    return int(value)


def read_device(word: str) -> torch.device:
    """The argument `device`, checked. Raises InputError where there is no such device."""
    try:
        device = torch.device(word)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"device = {word!r}: expected cpu, cuda or cuda:0") from error
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not torch.cuda.is_available()):
        raise InputError(f"device = {word!r}: there is none here, expected cpu")
    return device


def read_splits(
    x: Any,
    seed: int,
    window: int | None,
    stride: int | None,
    channels: Sequence[str] | None,
    units: Sequence[str] | None,
) -> Splits:
    """The windows of a run; warns where x may have another layout (`stacklevel` names the user's line)."""
    recordings = as_recordings(x, window, stride, channels, units)
    if recordings.split == "entity":
        windows = np.asarray(x)
        if look_swapped(windows):
            n, steps, width = windows.shape
            warnings.warn(
                f"x looks like (n, C, T), with its last axis for the time: expected (n, T, C). If so, give "
                f"x.transpose(0, 2, 1) of shape ({n}, {width}, {steps})",
                stacklevel=3,
            )
        if (shared := shared_stride(windows)) is not None:
            warnings.warn(
                f"windows of x share rows with those after them, so parts of the split would too: give stride={shared}",
                stacklevel=3,
            )
    return make_splits(recordings, ARRAY, seed)


def _plain(values: Mapping[str, Any] | None, block: str = "") -> dict[str, Any]:
    """Options as a sweep file would have them: numbers of numpy become Python's. `block`: what they belong to."""
    if not isinstance(values, Mapping | None):
        raise InputError(f"fit: {block} = {values!r}: expected a dict of options")
    plain = {str(key): v.item() if isinstance(v, np.generic) else v for key, v in (values or {}).items()}
    for key, value in plain.items():
        if not isinstance(value, str | int | float | list | tuple | None):
            name = f"{block}.{key}" if block else key
            raise InputError(f"fit: {name}: expected a number, a word or a list, not {type(value).__name__}")
    return plain


def _variant(method: str, blocks: Mapping[str, Any], options: Mapping[str, Any]) -> Variant:
    """The method with all options of a run, checked as those of a sweep file are."""
    load_entry_points()
    if not isinstance(method, str) or method not in METHODS:
        raise InputError(f"fit: {METHODS.unknown(str(method))}")
    for key in options:
        if target(key, METHODS[method], "fit")[0] == "evaluate":
            raise InputError(f"fit: {key}: expected in score(...), it does not change training")
    given = {name: _plain(block, name) for name, block in blocks.items()}
    file = SweepFile.model_validate({"name": "fit", "datasets": [ARRAY.name], "methods": [method], **given})
    (variant,) = variants_of(file, {"name": method, "set": _plain(options)}, "fit")
    return variant


def make_run(variant: Variant, backbone: str, seed: int, splits: Splits) -> Run:
    """One run on an array's windows."""
    return Run(
        sweep="",
        **vars(variant),
        dataset=ARRAY,
        backbone=backbone,
        seed=seed,
        evaluate=EvaluateConfig(),
        data_sha256=splits.sha256,
    )


def train_run(
    run: Run, splits: Splits, device: torch.device, watch: Callable[[StackedModel, int], None] | None = None
) -> Trained:
    """A stack of this one run. Raises InputError where backbone, method and device do not go together."""
    one = [run.build_method()], [splits], [(run.dataset.stream, run.seed)], run.backbone, run.model
    try:
        with products("float32"):
            return train_stack(*one, [run.train], [run.diffusion], device, watch, _CALLS if watch else 0)
    except Unavailable as reason:
        raise InputError(f"fit: {reason}") from reason


def fitted_of(run: Run, splits: Splits, trained: Trained) -> Fitted:
    """A trained run, ready for use."""
    curves = pd.DataFrame(trained.curves.rows, columns=["run", "step", "stage", "term", "value"]).drop(columns="run")
    return Fitted(run, splits, trained.model.eval(), trained.method, trained.diverged[0], curves)


# ---------------------------------------------------------------- samples of any model


def evaluate_samples(
    real: ArrayLike,
    generated: ArrayLike,
    metrics: str | Sequence[str] = "fast",
    train: ArrayLike | None = None,
    seed: int = 0,
    n: int = 1000,
) -> pd.DataFrame:
    """Score the samples of any model beside real windows, with the floors and controls of `bench.evaluate --samples`.

    real, generated, train: (n, T, C) in the same units, of any three sizes; at most n of each of the first two are
    compared, as many of one as of the other, chosen under `seed`. Windows are scaled by the mean and standard
    deviation of `train`, on which some metrics fit a model. Without `train`, `real` is cut into two halves that share
    no windows (alternate stretches of 10 T windows, or two where there are fewer than 20 T): one is `train`, the other
    is what is compared.
    Returns the columns of the metrics table, with `label` (generated, or the name of a floor or control) for `run_id`.
    Raises InputError.
    """
    load_entry_points()
    n, seed = read_whole(n, "n", 2), read_whole(seed, "seed", 0)
    reference = read_windows(real, "real", 2 if train is not None else 8)
    like = reference.shape[1], reference.shape[2]
    samples = read_windows(generated, "generated", 2, like)
    fitting, reference = halves(reference) if train is None else (read_windows(train, "train", 4, like), reference)
    rows = fitting.reshape(-1, like[1]).astype(np.float64)
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    scale[(scale == 0) | (np.ptp(rows, axis=0) == 0)] = 1.0  # as of a run: see `bench.loading.windows.make_splits`

    def scaled(windows: np.ndarray) -> np.ndarray:
        return ((windows - mean) / scale).astype(np.float32)

    splits = Splits(
        train=scaled(fitting),
        validation=scaled(fitting[:0]),
        test=scaled(reference),
        mean=mean,
        scale=scale,
        channels=tuple(f"x{c + 1}" for c in range(like[1])),
        units=("",) * like[1],
        test_stride=like[0],
        sha256="",
        cells=measure_cells(rows, resolutions_of(rows, (), "train"), mean, scale),
    )
    chosen = choose(metrics, "samples")
    if not chosen:
        raise InputError(f"evaluate_samples: metrics = {metrics!r}: expected some that need samples only")
    found = score_beside_references("generated", scaled(samples), splits, chosen, Scope(ARRAY.stream, seed), n)
    columns = ["label", *(name for name in METRIC_COLUMNS if name != "run_id")]
    return pd.DataFrame(found)[columns]
