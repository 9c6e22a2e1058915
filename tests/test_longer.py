"""Runs that are trained again have twice the updates in every stage, and what they gained is what the rows say."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from bench import longer
from bench.contracts import InputError
from bench.engine.job import JobSettings, run_stack
from bench.engine.longer import candidates, compared, pairs
from bench.store import existing, load_results
from bench.sweeps.expand import read_sweep
from bench.sweeps.stacks import Stack

# one of every kind: two stages, a denoiser that is trained in the first as well, one stage of either network
SWEEP = """
name: tiny
datasets: [{name: ar1, series: 60}]
methods: [latent_diffusion, no_latent, score_prior, time_vae, data_diffusion, kl_annealing]
seeds: 1
model: {hidden: 8, latent: 4}
train: {steps: 20, batch_size: 8, patience: PATIENCE, learning_rate: 0.01}
diffusion: {L: 20, steps: 20, batch_size: 8, hidden: 8, patience: PATIENCE}
evaluate: {n_samples: 10, metrics: [c2st, latent_information], during_training: 0}
"""


def run_tiny(folder, patience=20, only=None):
    (folder / "tiny.yaml").write_text(SWEEP.replace("PATIENCE", str(patience)))
    for run in read_sweep(folder / "tiny.yaml").runs:
        if run.kind == "method" and only in (None, run.method):
            run_stack(Stack((run,)), JobSettings(folder, None))
    return folder


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return run_tiny(tmp_path_factory.mktemp("longer"))


def test_every_stage_has_twice_the_updates(results, capsys):
    assert longer.main(["--results", str(results), "--share", "1", "--jobs", "1"]) == 0
    runs = load_results(results)[0]
    before, after = (runs[(runs["sweep"] == name)].set_index("label") for name in ("tiny", "twice_as_long"))
    assert len(before) == len(after) == 6
    assert set(after.status) == {"ok"}
    for stage in ("updates", "denoiser_updates"):  # rounded down to whole checks
        made, again = before[stage].fillna(0), after[stage].fillna(0).reindex(before.index)
        assert again.between(1.9 * made, 2 * made).all(), pd.concat([made, again], axis=1)
    printed = capsys.readouterr().out
    assert "of 6 improve their objective by less than 1% with twice the updates" in printed
    # a second call has nothing to do and says the same; what was trained is not drawn itself
    assert longer.main(["--results", str(results), "--share", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-4:] == printed.splitlines()[-4:]


def test_what_was_gained_is_that_of_the_rows(results):
    store = existing(results)
    runs, metrics = store.results()
    drawn, left = pairs(candidates(runs), 6, "", None)
    assert not left
    gains = {gain.pair.row.label: gain for gain in compared(drawn, runs, metrics)}
    both = runs[runs.label == "time_vae"].set_index("sweep").validation_objective
    gain = gains["time_vae"]
    cells = 24 * runs.n_channels.iloc[0]
    assert gain.objective == pytest.approx((both["tiny"] * cells, both["twice_as_long"] * cells))
    assert gain.share == pytest.approx((both["tiny"] - both["twice_as_long"]) / abs(both["tiny"]))
    loss = runs[runs.label == "data_diffusion"].set_index("sweep").validation_denoising  # it has no autoencoder
    assert gains["data_diffusion"].share == pytest.approx((loss["tiny"] - loss["twice_as_long"]) / loss["tiny"])


def test_a_patience_ends_no_stage_and_schedules_end_as_they_did(tmp_path):
    run_tiny(tmp_path, patience=10, only="kl_annealing")
    (pair,), _ = pairs(load_results(tmp_path)[0], 1, "", None)
    row, run = pair.row, pair.longer
    assert run.train.steps == run.train.patience == 2 * row.updates
    assert run.diffusion.steps == run.diffusion.patience == 2 * row.denoiser_updates
    assert run.train.schedule_steps == 20  # the updates of which `kl_annealing` has its share


def test_runs_without_an_objective_are_left_out(tmp_path, capsys):
    run_tiny(tmp_path, patience=0, only="latent_diffusion")
    assert longer.main(["--results", str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "left out: no validation objective: trained without a patience (1 runs)",
        "no finished run of a method to train again",
    ]


def test_rows_of_older_code_and_other_windows_are_left_out(results):
    runs = load_results(results)[0]
    mine = candidates(runs)
    config = mine.config.str.replace('"seed": 0', '"seed": 3')  # another run than its run_id says
    found, left = pairs(mine.assign(config=config), 2, "", None)
    assert (found, sum(left.values())) == ([], 6)
    assert next(iter(left)).startswith("older")
    (pair, *_), _ = pairs(mine, 1, "", None)
    elsewhere = dataclasses.replace(pair.longer, sweep="tiny", data_sha256="0" * 64)
    other = pair.row.to_frame().T.assign(config=elsewhere.to_config(), run_id=elsewhere.run_id)
    assert pairs(other, 1, "", None) == ([], {"other windows": 1})


def test_the_draw_is_that_of_its_word(results):
    runs = candidates(load_results(results)[0])
    orders = [[pair.row.run_id for pair in pairs(runs, 6, word, None)[0]] for word in ("", "a", "a")]
    assert orders[1] == orders[2] != orders[0]


@pytest.mark.parametrize("share", ["0", "-1", "1.5", "nan"])
def test_a_share_is_one(share):
    with pytest.raises(InputError, match="expected a number above 0, at most 1"):
        longer.main(["--share", share])


def test_a_folder_and_a_sweep_must_be_there(results, tmp_path):
    with pytest.raises(InputError, match="no results there"):
        longer.main(["--results", str(tmp_path)])
    with pytest.raises(InputError, match="no such sweep"):
        longer.main(["--results", str(results), "--sweep", "core"])
