"""The columns of the three tables, their types and versions, and the statuses of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa

SCHEMA_VERSION = 1

STATUSES = ("ok", "diverged", "failed", "oom", "timeout", "killed", "skipped")

TEXT, INT, FLOAT, BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()

RUNS: dict[str, pa.DataType] = {
    **dict.fromkeys(("run_id", "sweep", "label", "kind", "method", "dataset", "backbone"), TEXT),
    **{"shuffle": BOOL, "seed": INT, "split_seed": INT, "attempt": INT},
    **dict.fromkeys(("status", "reason", "traceback", "device", "programs"), TEXT),
    "stack_size": INT,
    **dict.fromkeys(
        ("train_seconds", "denoiser_seconds", "sample_seconds", "evaluate_seconds", "energy_joules"), FLOAT
    ),
    "decoder_passes_per_update": FLOAT,
    **{"updates": INT, "converged": BOOL, "validation_objective": FLOAT},
    **{"denoiser_updates": INT, "denoiser_converged": BOOL, "validation_denoising": FLOAT},
    **dict.fromkeys(
        ("peak_memory_bytes", "n_parameters", "n_train", "n_held_out", "n_test", "window", "test_stride", "n_channels"),
        INT,
    ),
    **{"division": TEXT, "data_sha256": TEXT, "method_code": TEXT, "git_commit": TEXT, "git_dirty": BOOL},
    **dict.fromkeys(("version_python", "version_torch", "version_numpy", "version_bench"), TEXT),
    **dict.fromkeys(("training_version", "method_version", "schema_version"), INT),
    **{"finished_at": TEXT, "config": TEXT},
}
"""The columns that every runs table has; the hyper-parameters stand after them."""

UNKNOWN = ("updates", "converged", "denoiser_updates", "denoiser_converged")
"""Columns of runs that are null where nobody knows: of older rows, and `converged` where no plateau was looked for."""

METRICS: dict[str, pa.DataType] = {
    **{"run_id": TEXT, "metric": TEXT, "version": INT, "split": TEXT, "train_step": INT},
    **{"coordinate": TEXT, "index": FLOAT, "metric_seed": INT},
    **{"value": FLOAT, "sd": FLOAT, "error": FLOAT, "n": INT, "status": TEXT, "reason": TEXT},
    "metric_code": TEXT,
}

CURVES: dict[str, pa.DataType] = {"run_id": TEXT, "step": INT, "stage": TEXT, "term": TEXT, "value": FLOAT}

# A stored row also says which attempt a number is of, and whether it was added after the run ended.
STORED_METRICS = {**METRICS, "attempt": INT, "added": BOOL}
STORED_CURVES = {**CURVES, "attempt": INT}

LATER: dict[str, dict[str, pa.DataType]] = {"metrics": {"error": FLOAT, "metric_code": TEXT}}
"""Columns that parts written before them lack; read as null."""

NEEDED: dict[str, Iterable[str]] = {
    "runs": ("run_id", "status", "attempt"),
    "metrics": [name for name in STORED_METRICS if name not in LATER["metrics"]],
    "curves": STORED_CURVES,
}
"""By folder: the columns that every file of this store has."""

STORED: dict[str, Mapping[str, pa.DataType]] = {"metrics": STORED_METRICS, "curves": STORED_CURVES, "runs": RUNS}
"""By folder: the columns of its tables, as stored."""
