"""Of restricted data nothing is kept, and nothing drawn, unless it is asked for by name."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from bench.engine.job import JobSettings, run_stack
from bench.loading.windows import load_splits
from bench.report.cards import metric_facts
from bench.report.cells import cells_of
from bench.report.figures.kept_samples import sample_pictures
from bench.report.ranking import groups_of
from bench.report.selection import load
from bench.scoring.artifacts import load_samples
from bench.store import Store
from bench.sweeps.expand import read_sweep
from bench.sweeps.stacks import make_stacks

SWEEP = """
name: tiny
datasets: [{name: wards, simulated: true, patients: 20}]
methods: [latent_diffusion]
seeds: 1
model: {hidden: 8, latent: 4}
train: {steps: 3, batch_size: 8}
diffusion: {L: 20, steps: 3, batch_size: 8, hidden: 8}
evaluate: {n_samples: 12, metrics: [mmd2]}
"""


@pytest.mark.parametrize("keep", ["all", "restricted"])
def test_what_is_kept_of_restricted_data(tmp_path, keep):
    (tmp_path / "tiny.yaml").write_text(SWEEP)
    sweep, results = read_sweep(tmp_path / "tiny.yaml"), tmp_path / "results"
    settings = JobSettings(results, None, keep=keep, save_samples="units" if keep == "restricted" else "")
    for stack in make_stacks(sweep.runs, 1):
        assert {status for _, status, _ in run_stack(stack, settings)} == {"ok"}
    (run,) = (run for run in sweep.runs if run.kind == "method")
    kept = sorted(path.name for path in results.rglob("*.safetensors"))
    series = list((results / "samples").glob("*.parquet"))
    if keep == "all":
        assert kept == []
        assert series == []
    else:
        assert kept == ["samples.safetensors", "weights.safetensors"]
        samples, splits = load_samples(results, run.run_id)["samples"], load_splits(run.dataset, run.seed)
        table = pq.read_table(series[0])
        assert table.column_names == ["series", "t", *splits.channels]
        assert table.schema.field("heart_rate").metadata == {b"unit": b"bpm"}
        in_units = samples.reshape(-1, len(splits.channels)) * splits.scale + splits.mean
        np.testing.assert_allclose(table.to_pandas()[list(splits.channels)], in_units, rtol=1e-6)
    Store(results).write_membership("tiny", {run.run_id: run.label for run in sweep.runs})
    selection = load(results, "tiny")
    groups = groups_of(cells_of(selection), metric_facts())
    assert groups
    assert sample_pictures(selection, groups) == []
