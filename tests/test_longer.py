"""Runs that are trained again have twice the updates in every stage, and what they gained is what the rows say."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import shutil

import pandas as pd
import pytest

from bench import longer
from bench.contracts import InputError
from bench.engine.job import JobSettings, run_stack
from bench.engine.longer import compared, pairs, twice
from bench.store import existing, load_results
from bench.sweeps.expand import Selection, read_sweep
from bench.sweeps.stacks import Stack

# one of every kind: two stages, a denoiser that is trained in the first as well, one stage of either network
SWEEP = """
name: tiny
datasets: [{name: ar1, series: 60}]
methods: [kl_annealing, score_prior, time_vae, data_diffusion]
seeds: 1
model: {hidden: 8, latent: 4}
train: {steps: 20, batch_size: 8, patience: PATIENCE, learning_rate: 0.01}
diffusion: {L: 20, steps: 45, batch_size: 8, hidden: 8, patience: PATIENCE}
evaluate: {n_samples: 20, metrics: [c2st, latent_information], during_training: 0}
"""


def run_tiny(folder, patience=45, only=None):
    (folder / "tiny.yaml").write_text(SWEEP.replace("PATIENCE", str(patience)))
    for run in read_sweep(folder / "tiny.yaml").runs:
        if run.kind == "method" and only in (None, run.method):
            run_stack(Stack((run,)), JobSettings(folder, None))
    return folder


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return run_tiny(tmp_path_factory.mktemp("longer"))


@pytest.fixture(scope="module")
def printed(results):
    """The command on all runs of the folder."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert longer.main(["--results", str(results), "--share", "1", "--jobs", "1"]) == 0
    return out.getvalue()


def test_every_stage_has_twice_the_updates(results, printed):
    before, after = (load_results(folder)[0].set_index("label") for folder in (results, results / "longer"))
    assert len(before) == len(after) == 4
    assert set(after.status) == {"ok"}
    for stage in ("updates", "denoiser_updates"):  # rounded down to whole checks
        made, again = before[stage].fillna(0), after[stage].fillna(0).reindex(before.index)
        assert again.between(1.85 * made, 2 * made).all(), pd.concat([made, again], axis=1)
    assert before.denoiser_updates["score_prior"] > 0
    assert "of 4 improve their objective by less than 1% with twice the updates" in printed


def test_a_second_call_has_nothing_to_do_and_says_the_same(results, printed, capsys):
    assert longer.main(["--results", str(results), "--share", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-5:] == printed.splitlines()[-5:]
    assert longer.main(["--results", str(results), "--share", ".2", "--seed", "other"]) == 0
    assert len(existing(results / "longer").membership("twice_as_long").runs) == 4  # those of the first draw stay


def test_what_was_gained_is_that_of_the_rows(results, printed):
    drawn, left = pairs(load_results(results)[0], 1, "", None)
    assert not left
    before, after = load_results(results), load_results(results / "longer")
    gains = {gain.pair.row.label: gain for gain in compared(drawn, before[1], *after)}
    then, now = (tables[0].set_index("label") for tables in (before, after))
    gain, cells = gains["time_vae"], 24 * then.n_channels.iloc[0]
    both = then.validation_objective["time_vae"], now.validation_objective["time_vae"]
    assert gain.objective == pytest.approx((both[0] * cells, both[1] * cells))
    assert gain.share == pytest.approx((both[0] - both[1]) / abs(both[0]))
    loss = then.validation_denoising["data_diffusion"], now.validation_denoising["data_diffusion"]  # no autoencoder
    assert gains["data_diffusion"].share == pytest.approx((loss[0] - loss[1]) / loss[0])
    for name in ("c2st_auc", "latent_information"):
        ends = [
            tables[1][(tables[1].metric == name) & (tables[1].run_id == rows.run_id["kl_annealing"])].value.item()
            for tables, rows in ((before, then), (after, now))
        ]
        assert gains["kl_annealing"].measured[name] == pytest.approx(ends)
    assert math.isnan(gains["data_diffusion"].measured["latent_information"][0])
    moves = [gain.measured["c2st_auc"][1] - gain.measured["c2st_auc"][0] for gain in gains.values()]
    assert f"AUC: {sum(moves) / 4:+.3f} ± " in printed
    assert "nats: " in printed


def test_numbers_of_another_version_are_not_compared(results, printed):
    drawn, _ = pairs(load_results(results)[0], 1, "", None)
    runs, metrics = load_results(results / "longer")
    metrics = metrics.assign(version=metrics.version + (metrics.metric == "c2st_auc"))
    for gain in compared(drawn, load_results(results)[1], runs, metrics):
        assert math.isnan(gain.measured["c2st_auc"][1])


def test_a_patience_ends_no_stage_and_schedules_end_as_they_did(tmp_path):
    run_tiny(tmp_path, patience=10, only="kl_annealing")
    (pair,), _ = pairs(load_results(tmp_path)[0], 1, "", None)
    row, run = pair.row, pair.longer
    assert run.train.steps == run.train.patience == 2 * row.updates
    assert run.diffusion.steps == run.diffusion.patience == 2 * row.denoiser_updates
    assert run.train.schedule_steps == 20  # the updates of which `kl_annealing` has its share


def test_what_a_denoiser_learns_in_the_first_stage_is_not_taken_from_the_second():
    run = read_sweep("registry", Selection(methods=("score_prior",), datasets=("ar1",), seeds=(0,))).runs[-1]
    assert run.method == "score_prior"
    again = twice(run, 5520, 1280)
    assert again.train.steps == 2 * 5520
    assert again.diffusion.patience == 2 * 1280  # so that checks are as near together as before
    assert 2 * 5520 < again.diffusion.steps <= 2 * 5520 + 2 * 1280
    assert twice(run, 5520, 0).diffusion.steps == 1


def test_rows_that_cannot_be_had_again_are_counted(results, tmp_path, capsys):
    runs = load_results(results)[0]
    config = runs.config.str.replace('"seed": 0', '"seed": 3')  # another run than its run_id says
    found, left = pairs(runs.assign(config=config), 1, "", None)
    assert (found, sum(left.values())) == ([], 4)
    assert next(iter(left)).startswith("older")
    found, left = pairs(
        runs.assign(config=runs.config.str.replace('"method": "time_vae"', '"method": "mine"')), 1, "", None
    )
    assert (len(found), sum(left.values())) == (3, 1)
    (pair, *_), _ = pairs(runs, 0.1, "", None)
    elsewhere = dataclasses.replace(pair.longer, sweep="tiny", data_sha256="0" * 64)
    other = pair.row.to_frame().T.assign(config=elsewhere.to_config(), run_id=elsewhere.run_id)
    assert pairs(other, 1, "", None) == ([], {"other windows": 1})
    assert pairs(runs.assign(status="failed"), 1, "", None) == ([], {})
    run_tiny(tmp_path, patience=0, only="time_vae")
    assert longer.main(["--results", str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "left out: no validation objective: trained without a patience (1 runs)",
        "no finished run of a method to train again",
    ]


def test_longer_runs_that_end_badly_are_named(results, printed, tmp_path, capsys):
    shutil.copytree(results, tmp_path / "copy")
    parts = (tmp_path / "copy" / "longer" / "runs").glob("*.parquet")
    (part,) = [path for path in parts if "time_vae" in set(pd.read_parquet(path).label)]
    rows = pd.read_parquet(part)
    for status, counted, code in (("diverged", 4, 0), ("failed", 3, 1)):  # one that diverged has an objective
        rows.assign(status=status, reason="a test").to_parquet(part)
        assert longer.main(["--results", str(tmp_path / "copy"), "--share", "1"]) == code
        again = capsys.readouterr().out
        assert f"time_vae on ar1,series=60, seed 0, ended as {status}: a test" in again
        assert f"of {counted} improve" in again


def test_the_draw_is_that_of_its_word(results):
    runs = load_results(results)[0]
    orders = [[pair.row.run_id for pair in pairs(runs, 1, word, None)[0]] for word in ("", "a", "a")]
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
