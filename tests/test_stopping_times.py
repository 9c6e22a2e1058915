"""When a training with a patience may stop, and schedules that would end too late for it."""

from __future__ import annotations

import pytest
from conftest import refused

from bench.contracts import InputError
from bench.sweeps.expand import read_sweep, variants_of
from bench.sweeps.file import SHIPPED, SweepFile, read_file
from bench.sweeps.tuning import trial_sweep

LATE = """
name: late
datasets: [sines]
seeds: 1
methods:
  - {name: kl_annealing, set: {%s}}
train: {steps: 4000, patience: 400}
"""


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("schedule: cyclical", "ends at update 4000, .* at update 3280 at the latest, .* expected 1 to 3280"),
        ("warm_up: 0.9", "ends at update 3600, .* expected 1 to 3644"),
        ("schedule: cyclical, train.schedule_steps: 3300", "ends at update 3300, .* expected 1 to 3280"),
    ],
)
def test_a_schedule_that_leaves_no_room_for_a_plateau_is_refused(tmp_path, options, wanted):
    path = tmp_path / "late.yaml"
    path.write_text(LATE % options)
    with refused(f"kl_annealing: train.schedule_steps = .*: the schedule of kl_annealing {wanted}"):
        read_sweep(path)


@pytest.mark.parametrize(
    "options",
    ["warm_up: 0.5", "schedule: cyclical, train.schedule_steps: 3280", "schedule: cyclical, train.patience: 0"],
)
def test_a_schedule_that_ends_in_time_is_none_of_these(tmp_path, options):
    path = tmp_path / "late.yaml"
    path.write_text(LATE % options)
    assert [run.method for run in read_sweep(path).runs if run.kind == "method"] == ["kl_annealing"]


@pytest.mark.parametrize("name", sorted(path.stem for path in SHIPPED.glob("*.yaml")))
@pytest.mark.parametrize("reduced", [False, True])
def test_every_schedule_of_a_shipped_sweep_ends_in_time_for_a_plateau(name, reduced):
    """Those that `bench.tune` tries as well, with the updates of its trials."""
    try:
        file = read_file(SHIPPED / f"{name}.yaml", reduced)
    except InputError:
        return  # it has no smaller form
    entries = [entry.model_dump(exclude_defaults=True) for entry in file.methods]
    for entry in entries:
        variants_of(file, {key: value for key, value in entry.items() if key != "search"}, name)
    if file.tune is not None:
        scheduled = [entry for entry in entries if "warm_up" in entry.get("search", {})]
        document = trial_sweep(file, scheduled, name)
        tried = SweepFile.model_validate({**document, "datasets": ["sines"]})
        for entry in document["methods"]:
            variants_of(tried, entry, name)
