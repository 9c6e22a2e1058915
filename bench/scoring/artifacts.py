"""What is stored of a finished run beside its rows: weights, scaler, samples, configuration.

results/models/RUN_ID/ holds `weights.safetensors`, `samples.safetensors` (`samples` and a few
`real` windows, train-scaled, with the scaler `mean` and `scale`, and the `temperature` of the samples where it was not
1; in its metadata the names of the `channels` and their `units`, as JSON, and which test windows the `real` ones are)
and `run.json`. With `--save-samples`, results/samples/RUN_ID.parquet holds the samples in units; with
`--save-samples minmax`, RUN_ID.npy holds them on the literature's scale.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors
from torch import Tensor

from bench.contracts import InputError, Splits
from bench.loading.windows import zero_and_span
from bench.method import Method, stacked
from bench.metrics.base import from_everywhere
from bench.models.build import StackedModel
from bench.store import flush, replacing, unwritable
from bench.sweeps.run import Run

REAL_WINDOWS = 200  # kept beside the samples, for pictures


def folder(results: Path, run_id: str) -> Path:
    """Where a run's kept files lie."""
    return results / "models" / run_id


def keep_run(
    results: Path,
    run: Run,
    splits: Splits,
    weights: dict[str, Tensor] | None,
    samples: np.ndarray | None,
    temperature: Sequence[float] = (1.0,),
) -> None:
    """Write a run's files; the folder appears whole or not at all. Raises Unwritable where it cannot.

    temperature: at which the samples were drawn, one number.
    """
    final = folder(results, run.run_id)
    temporary = final.with_name(f".{run.run_id}.{os.getpid()}")
    try:
        _write_run(temporary, run, splits, weights, samples, temperature)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)
    except SafetensorError as error:  # it has the system's error in its message only
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise unwritable(final, full if f"os error {errno.ENOSPC}" in str(error) else OSError(str(error))) from error
    except OSError as error:
        raise unwritable(final, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_run(
    temporary: Path,
    run: Run,
    splits: Splits,
    weights: dict[str, Tensor] | None,
    samples: np.ndarray | None,
    temperature: Sequence[float],
) -> None:
    temporary.mkdir(parents=True, exist_ok=True)
    (temporary / "run.json").write_text(run.to_config(), encoding="utf-8")
    if weights is not None:
        save_tensors(weights, temporary / "weights.safetensors")
    if samples is not None:
        # windows of a test set lie in time's order: the first ones of a long series are all of one day
        spread = from_everywhere(len(splits.test), REAL_WINDOWS)
        arrays = {"samples": samples, "real": splits.test[spread], "mean": splits.mean, "scale": splits.scale}
        if temperature[0] != 1:
            arrays["temperature"] = np.asarray(temperature)
        words = {"channels": json.dumps(splits.channels), "units": json.dumps(splits.units)}
        words["real"] = "evenly spread over the test set"
        save_arrays({k: np.ascontiguousarray(v) for k, v in arrays.items()}, temporary / "samples.safetensors", words)
    for path in temporary.iterdir():
        flush(path)


def save_series(results: Path, run: Run, splits: Splits, samples: np.ndarray) -> Path:
    """The samples in the data set's units as results/samples/RUN_ID.parquet, one row per series and time step.

    samples (n, T, C) train-scaled. Columns: series, t (1..T), then the channels; a channel's unit
    is in its field's metadata under `unit`.
    """
    n, steps, _ = samples.shape
    values = (samples.astype(np.float64) * splits.scale + splits.mean).reshape(n * steps, -1)
    columns = [pa.array(np.repeat(np.arange(n), steps)), pa.array(np.tile(np.arange(1, steps + 1), n))]
    fields = [pa.field("series", pa.int64()), pa.field("t", pa.int64())]
    for name, unit, column in zip(splits.channels, splits.units, values.T, strict=True):
        columns.append(pa.array(column))
        fields.append(pa.field(name, pa.float64(), metadata={"unit": unit}))
    facts = {"run_id": run.run_id, "dataset": run.dataset.key, "label": run.label, "seed": str(run.seed)}
    path = results / "samples" / f"{run.run_id}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns, schema=pa.schema(fields, metadata=facts)), temporary)
    return path


def save_minmax(results: Path, run: Run, splits: Splits, samples: np.ndarray) -> Path:
    """The samples (n, T, C) on the literature's scale of 0 to 1 as results/samples/RUN_ID.npy, float64.

    `bench.evaluate --samples FILE --scale minmax` reads them back, to the same numbers.
    """
    low, span = zero_and_span(splits.train, splits.zero_one)
    path = results / "samples" / f"{run.run_id}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, (samples.astype(np.float64) - low) / span)
    return path


def load_run(results: Path, run_id: str) -> Run:
    """The configuration of a kept run. Raises InputError where there is none."""
    path = folder(results, run_id) / "run.json"
    try:
        return Run.from_config(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}: expected a kept run") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def load_samples(results: Path, run_id: str) -> dict[str, np.ndarray] | None:
    """samples, real, mean, scale, and `temperature` where it was not 1; None where samples were not kept."""
    path = folder(results, run_id) / "samples.safetensors"
    if not path.exists():
        return None
    arrays = read_arrays(path)
    if "samples" not in arrays:
        raise InputError(f"{path}: holds {', '.join(arrays) or 'nothing'}: expected an array 'samples'")
    return arrays


def load_model(
    results: Path, run: Run, splits: Splits, device: torch.device | str = "cpu"
) -> tuple[StackedModel, Method] | None:
    """The trained model (R = 1) and its method; None where weights were not kept."""
    path = folder(results, run.run_id) / "weights.safetensors"
    return read_model(path, run, splits, device) if path.exists() else None


def read_model(path: Path, run: Run, splits: Splits, device: torch.device | str = "cpu") -> tuple[StackedModel, Method]:
    """The model (R = 1) whose weights are in a file, and its method. Raises InputError where they do not fit."""
    method = stacked([run.build_method()], device)
    shape = (splits.train.shape[1], splits.train.shape[2])
    model = StackedModel(1, shape, method, run.backbone, run.model, run.diffusion)
    try:
        model.load_state_dict(_read(load_tensors, path))
    except RuntimeError as error:
        raise InputError(f"{path}: does not fit its configuration: {str(error).splitlines()[0]}") from error
    return model.to(device).eval(), method


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file. Raises InputError where it is none."""
    return dict(_read(load_arrays, path))


def _read(load: Any, path: Path) -> Any:
    try:
        return load(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}): expected a safetensors file") from error
