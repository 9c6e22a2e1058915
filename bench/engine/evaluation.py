"""Measures of runs that are trained already, and of the samples of any other model."""

from __future__ import annotations

import dataclasses
import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from bench.code_hash import code_of
from bench.command import by_reason, write, write_table
from bench.contracts import InputError, Metric, Scale, Scored, Splits, Unavailable, in_one_line
from bench.engine.progress import Progress, Silent
from bench.loading.files import DAMAGED_NPZ, first_line, refuse_stand_in
from bench.loading.references import evaluation_size
from bench.loading.windows import load_splits, zero_and_span
from bench.metrics.base import spread
from bench.metrics.dependency import dependency_measures
from bench.scoring.artifacts import load_model, load_run, load_samples
from bench.scoring.scores import (
    Scope,
    score_beside_both,
    score_beside_references,
    score_reference,
    score_run,
)
from bench.store import Store
from bench.store.durable import replacing
from bench.sweeps.run import Run

Row = dict[str, Any]
MEASURED_BY = ["metric", "version", "metric_code", "metric_seed"]
FAR = 2  # ranges of the training values, beyond which a value is far outside


# ---------------------------------------------------------------- finished runs


def missing_metrics(run: Run, wanted: Sequence[Metric], metrics: pd.DataFrame) -> list[Metric]:
    """Those of `wanted` of which the run lacks some output of this version and code, on its windows and seeds."""
    mine = metrics[(metrics.run_id == run.run_id) & (metrics.train_step < 0) & (metrics.split == run.evaluate.split)]
    have, seeds = set(zip(*(mine[name] for name in MEASURED_BY), strict=True)), range(run.evaluate.metric_seeds)

    def missing(metric: Metric) -> bool:
        code = code_of(type(metric))
        return any((name, metric.version, code, seed) not in have for name in metric.outputs for seed in seeds)

    return [metric for metric in wanted if missing(metric)]


def evaluate_kept(
    results: Path,
    data: Path | None,
    wanted: Sequence[Metric],
    metric_seeds: int = 1,
    split: Scored | None = None,
    sweep: str | None = None,
    progress: Progress | None = None,
) -> tuple[int, list[str]]:
    """Add what is missing to every finished run, or to those of one sweep.

    Returns how many runs got new metrics, and one line per reason why others did not. metric_seeds: evaluations of
    each run, where its sweep asked for fewer. split: the windows to measure on, in place of those of its sweep. In this
    way a setting that was chosen on validation windows is confirmed on test windows without training again.
    """
    progress = progress or Silent()
    store = Store(results)
    chosen = store.membership(sweep).runs if sweep is not None else None
    runs, metrics = store.results()
    finished = runs[runs.status == "ok"]
    if chosen is not None:
        finished = finished[finished.run_id.isin(chosen)]
    to_do: list[tuple[Run, list[Metric]]] = []
    for config in finished.config:
        run = Run.from_config(config)
        seeds = max(metric_seeds, run.evaluate.metric_seeds)
        asked = dataclasses.replace(run.evaluate, metric_seeds=seeds, split=split or run.evaluate.split)
        run = dataclasses.replace(run, evaluate=asked)
        needed = missing_metrics(run, wanted, metrics)
        if run.kind == "reference":
            needed = [metric for metric in needed if metric.needs == "samples"]
        if needed:
            to_do.append((run, needed))

    refused: list[tuple[str, str]] = []
    began = time.monotonic()
    if to_do:
        progress.advance(0, len(to_do), None)
    for position, (run, needed) in enumerate(to_do, start=1):
        try:
            found = _evaluate_one(results, run, data, needed)
        except Unavailable as reason:
            refused.append((f"{run.label} on {run.dataset.key}", str(reason)))
        else:
            store.write_evaluated([{"run_id": run.run_id, **item} for item in found])
            names = ", ".join(metric.name for metric in needed)
            write(f"{run.label}  {run.dataset.key}  seed {run.seed}: {names}")
        left = (time.monotonic() - began) / position * (len(to_do) - position)
        progress.advance(position, len(to_do), left or None)
    progress.close()
    store.compact()
    return len(to_do) - len(refused), by_reason(refused)


def _evaluate_one(results: Path, run: Run, data: Path | None, needed: Sequence[Metric]) -> list[Row]:
    splits = load_splits(run.dataset, run.data_seed, data)
    if splits.sha256 != run.data_sha256:
        raise Unavailable("its windows are not those that it was trained on (the data file or its loader changed)")
    scope = Scope.of(run)
    names = [metric.name for metric in needed]
    if run.kind == "reference":
        return score_reference(run.method, splits, run.evaluate, scope, names)
    if not (results / "models" / run.run_id).is_dir():
        raise Unavailable("nothing of it was kept (--keep none)")
    load_run(results, run.run_id)  # raises an error if the folder is damaged
    kept = load_samples(results, run.run_id)
    loaded = load_model(results, run, splits)
    if kept is None or (loaded is None and any(metric.needs == "latent" for metric in needed)):
        raise Unavailable("its weights or samples were not kept")
    measured = scope.measured(splits)
    samples = kept["samples"][: evaluation_size(measured, len(kept["samples"]))]  # drawn for other windows, maybe more
    if loaded is None:
        rows: list[Row] = []
        for again in scope.repeats(run.evaluate):
            rows += score_beside_both(samples, measured, needed, again)
        return rows
    model, method = loaded
    model.temperature = kept.get("temperature", np.ones(1)).tolist()  # that of the samples
    return score_run(model, method, splits, samples, run.evaluate, scope, names)


# ---------------------------------------------------------------- samples of any model


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of an .npz file by name, float64; a .npy file is its one array.

    Raises InputError naming the file and the key; never unpickles.
    """
    if not path.is_file():
        raise InputError(f"--samples {path}: no such file")
    refuse_stand_in(path, (b"PK", b"\x93NUMPY"))
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            present, arrays = ["one array without a name"], {names[0]: content}
        else:
            with content as archive:
                present = sorted(archive.files)
                arrays = {name: np.asarray(archive[name]) for name in names if name in present}
    except DAMAGED_NPZ as error:
        raise InputError(
            f"--samples {path}: cannot be read ({first_line(error)}): expected an .npz file of plain arrays"
        ) from error
    for name in names:
        if name not in arrays:
            raise InputError(f"--samples {path}: no array '{name}': it holds {', '.join(present)}")
        if arrays[name].dtype.kind not in "fiu":
            raise InputError(f"--samples {path}: {name}: expected numbers, not {arrays[name].dtype}")
    return {name: values.astype(np.float64) for name, values in arrays.items()}


def read_series(path: Path, channels: Sequence[str]) -> np.ndarray:
    """Series (n, T, C) of a parquet file as `--save-samples` writes it: columns series, t and the channels; float64.

    Raises InputError naming the file and the column where one is missing, and where series have not the same steps.
    """
    if not path.is_file():
        raise InputError(f"--samples {path}: no such file")
    try:
        table = pd.read_parquet(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"--samples {path}: cannot be read ({first_line(error)}): expected a parquet file") from error
    for name in ("series", "t", *channels):
        if name not in table:
            present = ", ".join(map(str, table.columns))
            raise InputError(f"--samples {path}: no column '{name}': it holds {present}")
        if not pd.api.types.is_numeric_dtype(table[name]) or pd.api.types.is_bool_dtype(table[name]):
            raise InputError(f"--samples {path}: {name}: expected numbers, not {table[name].dtype}")
    table = table.sort_values(["series", "t"])
    n = table["series"].nunique()
    steps = len(table) // max(n, 1)
    if n == 0 or not np.array_equal(table["t"], np.tile(table["t"].iloc[:steps], n)):
        raise InputError(f"--samples {path}: t: expected the same steps in every one of {n} series")
    if table["t"].iloc[:steps].duplicated().any():
        raise InputError(f"--samples {path}: t: expected different steps in a series, the first has one twice")
    return table[list(channels)].to_numpy(np.float64).reshape(n, steps, len(channels))


def score_file(
    path: Path, splits: Splits, metrics: Sequence[Metric], scope: Scope, scale: Scale | None, n: int
) -> list[Row]:
    """Rows for the file's `samples` (n, T, C), in the data set's units unless `scale` says otherwise, and for every
    reference. A `.parquet` file is a table as `--save-samples` writes it.

    Units: train, (x - mean) / standard deviation of the training rows; minmax, 0 and 1 at the least and the largest
    training value of each channel, or where the data set says they are. Values that are far from the training windows
    are refused unless the scale is stated as `units`.
    """
    table = path.suffix == ".parquet"
    samples = read_series(path, splits.channels) if table else read_arrays(path, ["samples"])["samples"]
    shape = (splits.window, len(splits.channels))
    if samples.ndim != 3 or samples.shape[1:] != shape:
        wanted = f"(n, {shape[0]}, {shape[1]}): series, time steps, channels ({', '.join(splits.channels)})"
        turned = samples.ndim == 3 and samples.shape[1:] == shape[::-1]
        hint = "; it may be (n, C, T): `samples.transpose(0, 2, 1)` turns it" if turned else ""
        raise InputError(f"--samples {path}: samples has shape {samples.shape}: expected {wanted}{hint}")
    if len(samples) < 2:
        raise InputError(f"--samples {path}: samples holds {len(samples)} series: expected at least 2")
    if not (finite := np.isfinite(samples)).all():
        series, step, channel = np.argwhere(~finite)[0]
        raise InputError(
            f"--samples {path}: series {series}, step {step + 1}, channel '{splits.channels[channel]}' is "
            f"{samples[series, step, channel]}, one of {(~finite).sum():,} values that are no finite numbers"
        )
    train = splits.train.astype(np.float64)
    low, high = train.min(axis=(0, 1)), train.max(axis=(0, 1))
    if scale == "minmax":
        zero, span = zero_and_span(splits.train, splits.zero_one)
        scaled = zero + samples * span
    else:
        scaled = samples if scale == "train" else (samples - splits.mean) / splits.scale
    if scale != "units" and (fault := _unlike_training(samples, scaled, splits, low, high, scale)):
        raise InputError(f"--samples {path}: {fault}")
    with np.errstate(over="ignore"):
        scaled = scaled.astype(np.float32)
    if not np.isfinite(scaled).all():
        raise InputError(f"--samples {path}: holds values that are not finite after scaling")
    return score_beside_references(path.name, scaled, splits, metrics, scope, n)


def _unlike_training(
    samples: np.ndarray, scaled: np.ndarray, splits: Splits, low: np.ndarray, high: np.ndarray, scale: Scale | None
) -> str:
    """Why samples are probably on another scale than the one that was said; empty where they may be on it."""
    choices = "choose `--scale train` or `--scale minmax`, or `--scale units` if they are meant so"
    span = np.maximum(high - low, 1e-6)
    outside = ((scaled < low - FAR * span) | (scaled > high + FAR * span)).mean(axis=(0, 1))
    if outside.max() > 0.5:
        channel = int(outside.argmax())
        mean, sd = splits.mean[channel], splits.scale[channel]
        return (
            f"{outside[channel]:.0%} of the values of channel '{splits.channels[channel]}' are far outside the "
            f"training values ({mean + sd * low[channel]:.4g} to {mean + sd * high[channel]:.4g}), beginning with "
            f"{samples[0, 0, channel]:.4g}: they are probably scaled in another way: {choices}"
        )
    if scale is not None:
        return ""
    mean, sd = samples.mean(axis=(0, 1)), samples.std(axis=(0, 1))
    like_train = (np.abs(mean) < 0.5).all() and ((sd > 0.5) & (sd < 2)).all()
    least, most = samples.min(axis=(0, 1)), samples.max(axis=(0, 1))
    like_minmax = ((least > -0.05) & (most < 1.05) & (most - least > 0.5)).all()
    spread = scaled.std(axis=(0, 1))
    narrow = ((spread < 0.25) | (spread > 4) | (np.abs(scaled.mean(axis=(0, 1))) > 2)).any()
    if narrow and (like_train or like_minmax):
        how = "mean 0 and standard deviation 1" if like_train else "the range 0 to 1"
        return f"the samples have {how} in every channel, unlike the data: they are probably scaled: {choices}"
    return ""


def measure_decoder(word: str, path: Path, tolerance: float) -> list[Row]:
    """Dependency measures of `module:function` on the file's arrays `z` (n, D) and `x` (n, T, C).

    Means are over the resolved series, as those of the metric `dependency` are.
    """
    module, colon, name = word.partition(":")
    if not colon or not module or not name:
        raise InputError(f"--decoder {word}: expected module:function")
    sys.path.insert(0, str(Path.cwd()))
    try:
        decoder = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever a user's module raises while it is imported
        raise InputError(f"--decoder {word}: does not import: {in_one_line(error)}") from error
    arrays = read_arrays(path, ["z", "x"])
    for name, numbers in arrays.items():
        with np.errstate(over="ignore"):
            arrays[name] = numbers.astype(np.float32)
        if not (finite := np.isfinite(arrays[name])).all():
            first = tuple(np.argwhere(~finite)[0].tolist())
            raise InputError(
                f"--samples {path}: {name}{list(first)} is {numbers[first]}, one of {(~finite).sum():,} values that "
                "are no finite numbers in single precision"
            )
    z, x = (torch.from_numpy(arrays[name]) for name in ("z", "x"))
    if z.ndim != 2 or x.ndim != 3 or len(z) != len(x) or 0 in (*z.shape, *x.shape):
        shapes = f"z {tuple(z.shape)}, x {tuple(x.shape)}"
        raise InputError(f"--samples {path}: {shapes}: expected (n, D) and (n, T, C), none of them 0")
    try:
        found = dependency_measures(decoder, z, x[:, :-1], tolerance)
    except InputError:
        raise
    except Exception as error:  # whatever a user's function raises, or what is no function
        raise InputError(f"--decoder {word}: fails: {in_one_line(error)}") from error
    rows = []
    for t in range(x.shape[1]):
        for key, values in (("dependency_global", found.global_), ("dependency_local", found.local)):
            item = dataclasses.asdict(spread(key, values[found.resolved[:, t], t], coordinate="t", index=t + 1))
            rows.append({"label": word, "metric": item.pop("name"), **item})
    write(f"dependency measures of {word}: {found.unresolved} of {found.global_.numel()} cells unresolved")
    return rows


READ = (
    "dependency_global is m_{t,0}: near 0 at large t, the latent is forgotten. It can be near 1 for a decoder that "
    "amplifies noise, so read nats as well (bench/docs/measures.md)."
)


def print_rows(rows: Sequence[Row]) -> None:
    """The numbers of each label side by side, and those over time."""
    frame = pd.DataFrame(rows)
    scalars = frame[frame["coordinate"] == ""]
    if len(scalars):
        names = list(dict.fromkeys(scalars.metric))
        lines = []
        for label, group in scalars.groupby("label", sort=False):
            values = group.set_index("metric")["value"]
            lines.append([str(label), str(int(group.n.max())), *(f"{values.get(name, np.nan):.4g}" for name in names)])
        write_table(lines, ["samples", "n", *names])
    over_time = frame[frame["coordinate"] == "t"]
    if len(over_time):
        table = over_time.pivot(index="index", columns="metric", values="value")
        lines = [
            [f"{t:g}", *(f"{value:.4f}" for value in row)] for t, row in zip(table.index, table.values, strict=True)
        ]
        write_table(lines, ["t", *table.columns])
        if "dependency_global" in table.columns:
            write(READ)


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write rows as a CSV file, whole or not at all. Raises InputError where that is impossible."""
    if path.exists() and not path.is_file():  # /dev/stdout is no file to be replaced
        pd.DataFrame(rows).to_csv(path, index=False)
        return
    with replacing(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
