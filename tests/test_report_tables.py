import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_data import FACTS, frames, grid_runs, membership, quick_runs, reader, run_row, select, selection

from bench.report.cells import cells_of, verdict_of
from bench.report.formatting import counted, number, with_interval
from bench.report.ranking import groups_of
from bench.report.statements import (
    _against_baseline,
    _detectable,
    _who_samples_better,
    answer,
    best_text,
    bottleneck,
    collapse_began,
    few_windows,
    headline,
    recommendations,
    unresolved,
)
from bench.report.statistics import Advice, Standing, interval
from bench.report.tables import differences, latex, long_table, overview, wide_table

NAN = math.nan


def grouped(runs, **words):
    chosen = selection(runs, **words)
    return chosen, groups_of(cells_of(chosen), FACTS)


def test_cells_are_what_differs_by_seed_only():
    cells = cells_of(selection(quick_runs(("energy",), seeds=3, shuffles=(False,))))
    methods = [cell for cell in cells if cell.kind == "method"]
    assert [cell.label for cell in methods] == ["latent_diffusion", "kl_annealing", "proposed", "proposed + skip"]
    assert all(sorted(cell.seeds.values()) == [0, 1, 2] and not cell.settings for cell in cells)
    assert len(cells) == 4 + 5


def test_settings_that_vary_make_cells_and_name_them():
    runs = [run_row("proposed", seed=seed, N=N, note="same") for seed in (0, 1) for N in (100.0, 10.0)]
    cells = cells_of(selection(runs))
    assert [cell.name for cell in cells] == ["proposed (N = 10)", "proposed (N = 100)"]  # by value, not as text
    assert [cell.ok for cell in cells] == [2, 2]


def test_runs_on_windows_that_have_changed_are_left_out():
    runs = [run_row(label, seed=seed) for seed in range(2) for label in ("latent_diffusion", "proposed")]
    later = {"data_sha256": "cd34" * 16, "finished_at": "2026-11-24T09:00:00+00:00"}
    runs += [{**run_row("proposed", N=50.0, seed=0), **later, "run_id": "f" * 16}]
    chosen = selection(runs)
    assert chosen.left_out == ["energy: 2 runs left out, because the windows have changed since."]
    kept = {(run.label, run.seed, run.run_id == "f" * 16) for run in chosen.runs.itertuples()}
    assert kept == {("proposed", 0, True), ("latent_diffusion", 1, False), ("proposed", 1, False)}


def test_the_last_run_of_a_setting_and_seed_counts():
    first = run_row("proposed")
    again = {**first, "run_id": "f" * 16, "method_version": 2, "finished_at": "2026-11-24T09:00:00+00:00"}
    other = run_row("proposed", N=20.0)
    for runs in ([first, again, other], [again, first, other]):
        chosen = selection(runs)
        assert chosen.left_out == [
            "energy: 1 run left out, because a later or more complete run has the same settings and seed."
        ]
        assert set(chosen.runs["run_id"]) == {again["run_id"], other["run_id"]}


@pytest.mark.parametrize(
    ("earlier", "later", "stays"),
    [("ok", "killed", 0), ("ok", "diverged", 1), ("diverged", "ok", 1), ("ok", "failed", 0), ("failed", "killed", 1)],
)
def test_only_a_run_that_ended_takes_the_place_of_one_that_did(earlier, later, stays):
    first = run_row("proposed", status=earlier)
    again = {**first, "status": later, "run_id": "f" * 16, "finished_at": "2026-11-24T09:00:00+00:00"}
    assert selection([first, again]).runs["run_id"].tolist() == [(first, again)[stays]["run_id"]]


def test_different_numbers_of_generated_series_are_a_warning():
    sizes = {"evaluate.n_samples": 200}
    runs = [{**run_row("proposed"), **sizes}, {**run_row("latent_diffusion"), **sizes, "evaluate.n_samples": 1000}]
    (said,) = selection(runs).left_out
    assert said.startswith("energy: runs were measured with 200 and 1,000 generated series.")
    assert not selection([{**run, **sizes} for run in runs]).left_out


def test_values_come_by_seed_with_what_is_derived_from_them():
    chosen = selection(quick_runs(("energy",), seeds=2, shuffles=(False,)))
    cell = next(cell for cell in cells_of(chosen) if cell.label == "proposed")
    own, permuted = cell.values["nll_own"], cell.values["nll_permuted"]
    assert cell.values["nll_gap"] == {seed: permuted[seed] - own[seed] for seed in (0, 1)}
    run = next(run for run, seed in cell.seeds.items() if seed == 1)
    curve = chosen.metrics[(chosen.metrics["run_id"] == run) & (chosen.metrics["metric"] == "dependency_global")]
    assert cell.values["dependency_end"][1] == curve.set_index("index")["value"][12]
    assert cell.series["nll_own"] == 500


def test_only_the_newest_version_of_a_metric_and_the_mean_of_its_repeats():
    runs, metrics, curves = frames([run_row("proposed")])
    own = metrics[(metrics["metric"] == "mmd2")]
    newer = pd.concat(
        [own.assign(version=2, value=4.0, metric_seed=0), own.assign(version=2, value=6.0, metric_seed=1)]
    )
    chosen = select(runs, pd.concat([metrics, newer]), reader(curves), None, selection([]).folder)
    (cell,) = cells_of(chosen)
    assert cell.values["mmd2"] == {0: 5.0}
    assert cell.noise == {"mmd2": pytest.approx(math.sqrt(2))}  # of 4 and 6, the same run measured twice


def test_runs_that_have_an_older_version_only_are_named():
    rows = [run_row("proposed", seed=seed) for seed in range(3)]
    runs, metrics, curves = frames(rows)
    newer = metrics[(metrics["metric"] == "mmd2") & (metrics["run_id"] == rows[0]["run_id"])].assign(version=2)
    chosen = select(runs, pd.concat([metrics, newer]), reader(curves), None, selection([]).folder)
    (cell,) = cells_of(chosen)
    assert set(cell.values["mmd2"]) == {0}
    assert chosen.left_out == [
        "mmd2: 2 runs left out, because only an older version was measured. "
        "`python -m bench.evaluate` measures runs whose models are kept by the present one."
    ]


def test_a_metric_measured_by_several_forms_of_its_code_is_left_out_and_named():
    """What a user's metric said before it was edited is not averaged with what it says now."""
    rows = [run_row(label, seed=seed) for label in ("latent_diffusion", "proposed") for seed in range(3)]
    runs, metrics, curves = frames(rows)
    of_first = metrics["run_id"] == rows[0]["run_id"]
    code = ["old" if first else "new" for first in of_first]
    metrics["metric_code"] = np.where(metrics["metric"] == "mmd2", code, "")
    chosen = select(runs, metrics, reader(curves), None, selection([]).folder)
    assert chosen.left_out == [
        "mmd2 is left out: its code was edited, and 5 runs and 1 run were measured by different forms of it. "
        "`python -m bench.evaluate` measures all of them by the present one."
    ]
    assert all("mmd2" not in cell.values and "sliced_wasserstein" in cell.values for cell in cells_of(chosen))
    whole = select(runs, metrics.assign(metric_code="new"), reader(curves), None, selection([]).folder)
    assert whole.left_out == []
    assert len(cells_of(whole)[0].values["mmd2"]) == 3


def test_a_reference_generator_is_never_the_best_and_stays_in_the_tables():
    values = {"latent_diffusion": LEVEL, "proposed": [0.2, 0.21, 0.2], "data_diffusion": [0.01, 0.01, 0.011]}
    group = of_wasserstein(values)
    column = group.quality[0]
    assert group.best(column.metric).label == "proposed"
    reference = next(cell for cell in group.cells if cell.label == "data_diffusion")
    assert group.standings[column.metric][reference.id].place == "none"
    assert "data_diffusion" not in best_text(group, column)
    assert wide_table(group)[""].tolist() == ["", "", "reference generator"]
    assert overview([group])["data_diffusion"][0].place == "none"
    assert r"\textbf{\boldmath$0.0103" not in latex(group)
    assert "0.0103" in latex(group)


def test_the_best_setting_of_a_reference_generator_is_that_with_the_best_mean():
    runs = [run_row("data_diffusion", seed=seed, rate=rate) for seed in (0, 1) for rate in (1, 2)]
    frame, metrics, curves = frames(runs)
    of = {run["run_id"]: run for run in runs}
    for row in metrics.index[metrics["metric"] == "sliced_wasserstein"]:
        metrics.loc[row, "value"] = 3.0 - of[metrics.loc[row, "run_id"]]["rate"]
    (group,) = groups_of(cells_of(select(frame, metrics, reader(curves), membership(runs), Path())), FACTS)
    assert group.best_settings["data_diffusion"].settings["rate"] == 2


def test_numbers_are_of_the_test_windows_unless_no_method_has_any():
    method, reference = run_row("proposed"), run_row("floor_shift", kind="reference")
    runs, metrics, curves = frames([method, reference])
    of_method = metrics["run_id"] == method["run_id"]
    on_validation = metrics[of_method].assign(split="validation", value=metrics["value"] + 1)

    def chosen(table, split=None):
        return select(runs, table, reader(curves), None, selection([]).folder, split)

    both = pd.concat([metrics, on_validation])
    assert chosen(metrics).split == chosen(both).split == "test"
    choosing = chosen(pd.concat([metrics[~of_method], on_validation]))
    assert choosing.split == "validation"
    assert set(choosing.metrics["split"]) == {"validation"}
    ends = {split: cells_of(chosen(both, split))[0].values["mmd2"][0] for split in ("test", "validation")}
    assert ends["validation"] == pytest.approx(ends["test"] + 1)


def test_a_run_keeps_its_own_dependency_illusion_whatever_order_its_words_have():
    rows = [run_row("latent_diffusion", shuffle=True, seed=seed) for seed in range(4)]
    runs, metrics, curves = frames(rows)
    of_odd = metrics["run_id"].isin([row["run_id"] for row in rows if row["seed"] % 2])
    local = metrics["metric"] == "dependency_local"
    metrics.loc[local, ["value", "error"]] = 0.0, 0.001
    metrics.loc[local & of_odd, "value"] = 0.5
    metrics.loc[metrics["metric"].isin(["nll_own", "nll_marginal"]), "value"] = 1.0
    for order in (sorted, lambda words: sorted(words, reverse=True), lambda words: [*words[1:], words[0]]):
        words = pd.CategoricalDtype(order([row["run_id"] for row in rows]))
        coded = metrics.assign(run_id=metrics["run_id"].astype(words))
        (cell,) = cells_of(select(runs, coded, reader(curves), None, selection([]).folder))
        assert cell.illusions == {"yes": 2, "no": 2}


def test_the_noise_of_a_metric_stands_beside_the_interval_over_seeds():
    runs = [run_row("proposed", seed=seed) for seed in range(2)] + [run_row("latent_diffusion", seed=0)]
    once, metrics, curves = frames(runs)
    again = metrics[(metrics["metric"] == "mmd2")].assign(metric_seed=1)
    shift = again["run_id"].map({run["run_id"]: 0.2 * (1 + run["seed"]) for run in runs})
    again["value"] += shift
    cells = cells_of(select(once, pd.concat([metrics, again[shift > 0.3]]), reader(curves), None, selection([]).folder))
    groups = groups_of(cells, FACTS)
    noise = {cell.label: cell.noise for cell in cells}
    assert noise["proposed"] == {"mmd2": pytest.approx(0.4 / math.sqrt(2))}  # of the run that was measured twice
    assert noise["latent_diffusion"] == {}
    table = long_table(groups).set_index(["label", "metric"])["sd_over_metric_seeds"]
    assert table["proposed", "mmd2"] == pytest.approx(0.4 / math.sqrt(2))
    assert math.isnan(table["proposed", "wasserstein"])
    assert wide_table(groups[0])["MMD², sd over metric seeds"].tolist()[:2] == ["0.283", "-"]


def test_a_sweep_shows_its_runs_only_and_says_what_is_pending():
    runs = [run_row("proposed", seed=seed) for seed in range(3)]
    sweep = membership(runs[:2])._replace(runs={runs[0]["run_id"]: "mine", "f" * 16: "mine"})
    frame, metrics, curves = frames(runs)
    chosen = select(frame, metrics, reader(curves), sweep, selection([]).folder)
    assert chosen.runs["label"].tolist() == ["mine"]
    assert chosen.pending == 1
    assert set(chosen.metrics["run_id"]) == {runs[0]["run_id"]}
    assert "1 run of this sweep has not finished yet." in headline([], chosen)[0].sentences


def test_standings_are_found_per_table():
    _, (group,) = grouped(quick_runs(("energy",), seeds=3, shuffles=(False,)))
    assert group.best("sliced_wasserstein").label == "proposed + skip"
    assert {c.label for c in group.references} == {
        "floor_noise",
        "floor_shift",
        "constant_mean",
        "gaussian_fit",
        "time_shuffled",
    }
    assert group.floor("sliced_wasserstein").n == 3
    assert group.n_of("sliced_wasserstein") == "500"
    assert [c.metric for c in group.quality] == ["sliced_wasserstein", "mmd2"]  # Wasserstein rewards shrinking
    assert best_text(group, group.quality[0]).startswith(
        "Best by the sliced Wasserstein distance: proposed + skip (0.1"
    )


def test_verdicts_and_illusions_are_counted_over_seeds():
    _, groups = grouped(quick_runs(("energy",), seeds=3))
    ordered, shuffled = groups
    of = {cell.label: cell for cell in ordered.cells}
    assert counted(of["latent_diffusion"].verdicts) == "collapsed 3/3"
    assert counted(of["proposed"].verdicts) == "alive 3/3"
    assert counted(of["proposed"].illusions) == "-"  # ordered data
    of = {cell.label: cell for cell in shuffled.cells}
    assert counted(of["latent_diffusion"].illusions) == "yes 3/3"
    assert counted(of["proposed + skip"].illusions) == "no 3/3"
    assert counted(of["proposed"].illusions) == "-"  # a local dependency that the likelihood may have earned


def test_failed_runs_count_and_give_no_numbers():
    runs = [run_row("proposed", seed=0), run_row("proposed", seed=1, status="diverged")]
    _, (group,) = grouped(runs)
    (cell,) = group.cells
    assert (cell.ok, len(cell.seeds)) == (1, 2)
    assert set(cell.values["mmd2"]) == {0}
    assert wide_table(group)["seeds"].tolist() == ["1/2"]


def test_few_independent_windows_are_a_warning():
    def runs(*shapes):
        return pd.DataFrame(
            [{**run_row("proposed", name), "n_test": n, "window": 24, "test_stride": s} for name, n, s in shapes]
        )

    found = few_windows(runs(("wide", 30, 24), ("apart", 29, 48), ("close", 119, 6), ("enough", 120, 6)))
    assert found == {
        "apart": "apart has 29 independent test windows, fewer than 30. "
        "Do not draw conclusions about the samples from so few.",
        "close": "close has 29 independent test windows (119 that overlap), fewer than 30. "
        "Do not draw conclusions about the samples from so few.",
    }
    assert "has 3 independent" in few_windows(runs(("a", 500, 24), ("a", 3, 24), ("a", 0, 0)))["a"]  # 0: not read
    assert few_windows(runs(("a", 0, 0))) == {}
    held_out = runs(("a", 500, 6)).assign(n_held_out=100)  # what samples are compared with
    assert "has 25 independent held-out windows (100 that overlap)" in few_windows(held_out)["a"]


def of_wasserstein(values):
    """One group whose methods have these sliced Wasserstein distances by seed."""
    runs = [run_row(label, seed=seed) for label, column in values.items() for seed in range(len(column))]
    frame, metrics, curves = frames(runs)
    for run in runs:
        here = (metrics["run_id"] == run["run_id"]) & (metrics["metric"] == "sliced_wasserstein")
        metrics.loc[here, "value"] = values[run["label"]][run["seed"]]
    chosen = select(frame, metrics, reader(curves), membership(runs), selection([]).folder)
    return groups_of(cells_of(chosen), FACTS)[0]


LEVEL = [0.30, 0.31, 0.35]


@pytest.mark.parametrize(
    ("shifts", "text"),
    [
        (
            {"far": [0.20, 0.21, 0.20], "near": [0.01, -0.01, 0.02]},
            "Best by the sliced Wasserstein distance: best (0.320 ± 0.066), significantly better than far "
            "(corrected for 2 comparisons with the best mean in this table). "
            "Not significantly worse: near. What this comparison can show: for near a true difference of 0.0706 "
            "would be found with 80 % power.",
        ),
        (
            {"far": [0.20, 0.21, 0.20], "farther": [0.30, 0.30, 0.31]},
            "Best by the sliced Wasserstein distance: best (0.320 ± 0.066), significantly better than all others "
            "(corrected for 2 comparisons with the best mean in this table).",
        ),
        (
            {"near": [0.01, -0.01, 0.02], "nearer": [0.0, 0.0, 0.0]},
            "No significant difference between the methods in the sliced Wasserstein distance "
            "(corrected for 2 comparisons with the best mean in this table): none is significantly "
            "worse than best (0.320 ± 0.066), which has the best mean. What this comparison can show: for near a true "
            "difference of 0.0706 would be found with 80 % power.",
        ),
        (
            {"short": [0.01, 0.01]},
            "Only best (0.320 ± 0.066) can be ranked by the sliced Wasserstein distance. "
            "Not ranked because seeds are missing: short.",
        ),
    ],
)
def test_the_best_method_is_named_with_those_that_it_is_better_than(shifts, text):
    moved = {label: [a + b for a, b in zip(LEVEL, shift, strict=False)] for label, shift in shifts.items()}
    group = of_wasserstein({"best": LEVEL, **moved})
    assert best_text(group, group.quality[0]) == text


def test_one_seed_is_never_resolved():
    chosen, groups = grouped(quick_runs(("energy",), seeds=1, shuffles=(False,)))
    said = [*headline(groups, chosen), *answer(groups)]
    text = " ".join(sentence for about in said for sentence in about.sentences)
    assert "can be tested with fewer than two shared seeds" in text
    assert "ignificantly better" not in text
    assert "There is one seed, so no difference can be tested." in text
    assert "±" not in text


def test_the_headline_counts_data_sets_and_pairs_seeds():
    labels = ("latent_diffusion", "proposed", "proposed + skip")
    chosen, groups = grouped(quick_runs(("energy", "regimes"), seeds=5, labels=labels))
    trained, lives, samples, sure = headline(groups, chosen)
    assert trained.sentences == ["Not measured: calibration of the decoder, copies."]
    assert lives.sentences == [
        "Alive on 2 data sets: proposed, proposed + skip.",
        "Collapsed on 2 data sets: latent_diffusion.",
    ]
    better, best = samples.sentences
    assert better == (
        "Significantly better than latent_diffusion in the sliced Wasserstein distance "
        "(corrected for 4 comparisons with latent_diffusion on 2 data sets): "
        "proposed (on 2 of 2), proposed + skip (on 2 of 2)."
    )
    assert best == "The latent of the method with the best mean is alive on 2 of 2 data sets."
    assert sure.sentences[0] == "Each mean is over 5 seeds."
    marks = overview(groups)["proposed + skip"]
    assert [(mark.verdict, mark.place) for mark in marks] == [("alive", "best")] * 4  # shuffled ones as well
    one = headline(*reversed(grouped(quick_runs(("energy",), 1, (False,), labels))))
    assert one[2].sentences[0] == (
        "No significant difference from latent_diffusion in the sliced Wasserstein distance "
        "(corrected for 2 comparisons with latent_diffusion on energy · lstm): proposed, proposed + skip."
    )
    assert one[2].sentences[1] == "proposed + skip has the best mean. Its latent is alive."


def test_the_headline_stands_for_the_best_setting_and_says_what_depends_on_the_data():
    runs = [run_row("proposed", name, seed, rate=rate) for name in ("a", "b") for seed in (0, 1) for rate in (1, 2)]
    frame, metrics, curves = frames(runs)
    of = {run["run_id"]: run for run in runs}
    for row in metrics.index[metrics["metric"] == "sliced_wasserstein"]:
        metrics.loc[row, "value"] = of[metrics.loc[row, "run_id"]]["rate"]
    permuted = metrics["metric"] == "nll_permuted"
    on_a = metrics["run_id"].map(lambda run: of[run]["dataset"] == "a" and of[run]["rate"] == 1)
    metrics.loc[permuted & on_a, "value"] = 0.0  # below the own NLL: nothing is said about x
    chosen = select(frame, metrics, reader(curves), membership(runs), selection([]).folder)
    groups = groups_of(cells_of(chosen), FACTS)
    assert headline(groups, chosen)[1].sentences == ["Alive on 1 and collapsed on 1 of 2 data sets: proposed."]
    assert [mark.cell.settings["rate"] for mark in overview(groups)["proposed"]] == [1, 1]


def test_recommendation_is_the_best_of_those_alive():
    _, (group,) = grouped(grid_runs())
    (line,) = recommendations(group)
    assert "N = 50" in line
    assert "of 24 settings whose latent is alive" in line


def test_a_single_setting_that_is_alive_is_the_best_of_nothing():
    runs = [run_row("proposed", seed=seed, N=N) for seed in range(3) for N in (10.0, 50.0)]
    frame, metrics, curves = frames(runs)
    forgotten = {run["run_id"] for run in runs if run["N"] == 50}
    metrics.loc[(metrics["metric"] == "nll_permuted") & metrics["run_id"].isin(forgotten), "value"] = 0.0
    group = groups_of(cells_of(select(frame, metrics, reader(curves), membership(runs), Path("results"))), FACTS)[0]
    (line,) = recommendations(group)
    assert "N = 10 is the only one of 2 settings whose latent is alive, with a sliced Wasserstein distance (" in line
    assert "significantly" not in line


def test_when_the_latent_collapsed():
    runs = [run_row("proposed", seed=seed) for seed in (0, 1)]
    chosen = selection(runs)
    rows = []
    for run, gaps in zip(runs, ([0.0, 0.5, 0.5, 0.01, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]), strict=True):
        for step, gap in enumerate(gaps):
            for metric, value in (("nll_own", 1.0), ("nll_permuted", 1.0 + gap)):
                row = {"run_id": run["run_id"], "metric": metric, "train_step": step}
                rows.append({**row, "coordinate": "", "value": value})
    history = pd.DataFrame(rows)
    found = collapse_began(select_with(chosen, history), groups_of(cells_of(chosen), FACTS))
    assert found == [
        "energy · lstm, proposed: In 1 of 2 runs the latent was not used at any check. "
        "In 1 of 2 runs the latent was used at first, but not from update 3 on."
    ]
    nats = [
        {**chosen.metrics.iloc[0].to_dict(), "run_id": run["run_id"], "metric": metric, "value": value, "error": 0.01}
        for run, values in zip(runs, ((0.0, 0.0), (3.0, 1.0)), strict=True)
        for metric, value in zip(("latent_information", "latent_information_second_half"), values, strict=True)
    ]
    told = dataclasses.replace(chosen, metrics=pd.concat([chosen.metrics, pd.DataFrame(nats)]))
    assert collapse_began(select_with(told, history), groups_of(cells_of(told), FACTS)) == [  # the second is alive
        "energy · lstm, proposed: In 1 of 2 runs the latent was used at first, but not from update 3 on."
    ]


def select_with(chosen, history):
    return dataclasses.replace(chosen, history=history)


def test_a_method_without_a_latent_has_no_verdict():
    runs = [run_row(label, seed=seed) for seed in (0, 1) for label in ("latent_diffusion", "proposed")]
    runs += [run_row("no_latent", seed=seed, latent_route="none") for seed in (0, 1)]
    chosen = selection(runs)
    groups = groups_of(cells_of(chosen), FACTS)
    cell = next(cell for cell in groups[0].cells if cell.label == "no_latent")
    assert (counted(cell.verdicts), verdict_of(cell)) == ("-", "absent")
    found = headline(groups, chosen)[1].sentences
    assert "Without a latent on energy · lstm: no_latent." in found
    assert "Latent absent: no_latent." in answer(groups)[0].sentences
    assert not [line for line in collapse_began(chosen, groups) if "no_latent" in line]


def test_long_table_holds_every_number_with_its_interval():
    _, groups = grouped(quick_runs(("energy",), seeds=3, shuffles=(False,)))
    table = long_table(groups)
    row = table[(table["label"] == "proposed") & (table["metric"] == "mmd2")].iloc[0]
    cell = next(cell for cell in groups[0].cells if cell.label == "proposed")
    found = interval(list(cell.values["mmd2"].values()))
    assert (row["mean"], row["low"], row["high"], row["seeds"]) == (found.mean, found.low, found.high, 3)
    assert not table.duplicated(["dataset", "shuffle", "backbone", "label", "setting", "metric"]).any()


@pytest.mark.parametrize(
    ("value", "half", "text"),
    [
        (0.17234, 0.01512, "0.172"),
        (5.8712, 0.4, "5.87"),
        (41000.0, NAN, "41000"),
        (0.0, NAN, "0"),
        (-0.00213, NAN, "-0.00213"),
        (1.41, 6e-16, "1.41"),
        (2.5e9, NAN, "2.50e+09"),
        (NAN, NAN, "-"),
        (math.inf, NAN, "-"),
    ],
)
def test_numbers_are_as_precise_as_they_deserve(value, half, text):
    assert number(value, half) == text


def test_intervals_read_as_they_are():
    assert with_interval(interval([0.16, 0.18])) == "0.17 ± 0.13"
    assert with_interval(interval([0.16])) == "0.160"
    assert with_interval(interval([])) == "-"


def test_runs_of_before_an_option_are_in_one_cell_with_runs_at_its_default():
    old = run_row("proposed", seed=0)
    new = run_row("proposed", seed=1, **{"model.components": 5.0, "diffusion.sampler": "ddpm"})
    other = run_row("proposed", seed=2, **{"model.components": 3.0, "diffusion.sampler": "ddpm"})
    cells = cells_of(selection([old, new]))
    assert [(cell.name, sorted(cell.seeds.values())) for cell in cells] == [("proposed", [0, 1])]
    assert [sorted(cell.seeds.values()) for cell in cells_of(selection([old, new, other]))] == [[2], [0, 1]]


def test_a_method_without_a_finished_run_is_not_called_a_tie():
    runs = [run_row(label, seed=seed) for label in ("latent_diffusion", "proposed") for seed in (0, 1)]
    runs += [run_row("kl_free", seed=seed, status="diverged") for seed in (0, 1)]
    chosen = selection(runs)
    frame = chosen.metrics[~chosen.metrics["run_id"].isin(chosen.runs["run_id"][chosen.runs["status"] != "ok"])]
    chosen = dataclasses.replace(chosen, metrics=frame)
    better = headline(groups_of(cells_of(chosen), FACTS), chosen)[2].sentences
    assert "kl_free" not in better[0]
    assert better[1] == "No finished run to compare: kl_free."


def test_what_diverged_speaks_for_no_verdict_and_is_seen_beside_the_number():
    runs = [run_row("proposed", seed=seed, status="ok" if seed < 2 else "diverged") for seed in range(5)]
    runs += [run_row("latent_diffusion", seed=seed) for seed in range(5)]
    _, (group,) = grouped(runs)
    proposed = next(cell for cell in group.cells if cell.label == "proposed")
    assert counted(proposed.verdicts) == "alive 2/5"
    assert verdict_of(proposed) == "mixed over seeds"
    assert proposed.text("sliced_wasserstein").endswith("(2 of 5 seeds)")
    assert group.standings["sliced_wasserstein"][proposed.id].place in ("incomplete", "worse")
    assert group.best("sliced_wasserstein").label == "latent_diffusion"


def test_differences_from_the_baseline_stand_with_what_they_could_have_found():
    cells = cells_of(selection(quick_runs(("energy",), seeds=4, shuffles=(False,))))
    of = {cell.label: cell.values["sliced_wasserstein"] for cell in cells}
    of["kl_annealing"].update({seed: value + 0.001 * (-1) ** seed for seed, value in of["latent_diffusion"].items()})
    (group,) = groups_of(cells, FACTS, {"sliced_wasserstein": 0.05})
    assert group.baseline.label == "latent_diffusion"
    table = differences([group])
    assert set(table["metric"]) == {column.metric for column in group.quality}
    assert set(table["label"]) == {"kl_annealing", "proposed", "proposed + skip"}
    ranked = table[table["metric"] == "sliced_wasserstein"].set_index("label")
    assert ranked["verdict"].to_dict() == {
        "kl_annealing": "equivalent",
        "proposed": "better",
        "proposed + skip": "better",
    }
    assert (ranked["equivalence_bound"] == 0.05).all()
    assert (ranked["detectable"] > 0).all()
    others = table[table["metric"] == "mmd2"]
    assert others["equivalence_p_holm"].isna().all()
    assert set(others["verdict"]) <= {"better", "undecided"}


def of_splits(splits, initialisations, division, dataset="energy"):
    labels = ("latent_diffusion", "proposed")
    runs = []
    for split in range(splits):
        for k in range(initialisations):
            same = {"split_seed": split, "division": division}
            runs += [{**run_row(label, dataset, split + 10_000 * k), **same} for label in labels]
    return grouped(runs)[1][0]


def test_initialisations_are_averaged_within_a_split():
    group = of_splits(3, 2, "blocks")
    cell = group.cells[1]
    values = cell.values["sliced_wasserstein"]
    assert len(values) == 6
    means = [(values[split] + values[split + 10_000]) / 2 for split in range(3)]
    assert cell.interval("sliced_wasserstein") == pytest.approx(interval(means))
    assert "seeds" not in cell.text("sliced_wasserstein")
    assert group.standings["sliced_wasserstein"][group.cells[0].id].gap.n == 3
    assert differences([group])["repeats"].tolist() == [3] * len(group.quality)
    assert group.about_seeds == (
        "Every split deals the same recording anew, so splits overlap. "
        "Comparisons are corrected for that, intervals of means are not. "
        "Initialisations are averaged within each split, and the splits are the repeats."
    )


def test_intervals_are_corrected_only_where_splits_overlap():
    tables = [differences([of_splits(4, 1, division)]) for division in ("drawn", "entity")]
    half, wider = (table["high"] - table["difference"] for table in tables)
    assert (wider / half).tolist() == pytest.approx([math.sqrt(1 + 4 * 0.2 / 0.7)] * len(half))
    for division, words in (
        ("drawn", "Every split is a fresh draw of the simulator."),
        ("given", "One split: seeds are initialisations, and the intervals say nothing about another split."),
        ("", ""),
    ):
        group = of_splits(4, 1, division)
        assert group.about_seeds == words or not division
        assert not group.repeats.overlapping
    dealt_once = of_splits(1, 4, "blocks")  # four initialisations of one split are no splits that overlap
    assert not dealt_once.repeats.overlapping
    assert dealt_once.about_seeds.startswith("One split: seeds are initialisations")


def test_one_split_with_many_initialisations_has_seeds_as_repeats():
    group = of_splits(1, 4, "time")
    assert group.cells[0].interval("sliced_wasserstein").n == 4
    assert group.about_seeds.startswith("One split")


def test_of_older_runs_one_split_is_known_by_the_windows_hash():
    same = [run_row("proposed", seed=seed) for seed in range(3)]
    assert grouped(same)[1][0].about_seeds.startswith("One split")
    apart = [{**row, "data_sha256": f"{row['seed']}" * 64} for row in same]
    assert grouped(apart)[1][0].about_seeds == ""


def test_a_group_without_the_baseline_compares_with_its_first_method_and_one_method_with_nothing():
    labels = ("kl_annealing", "proposed")
    (group,) = grouped(quick_runs(("energy",), 3, (False,), labels))[1]
    assert group.baseline.label == "kl_annealing"
    (alone,) = grouped(grid_runs())[1]
    assert alone.baseline is None
    assert alone.comparisons(alone.quality[0]) == []


def test_a_tie_says_what_could_have_been_found_and_what_more_seeds_would_do():
    gap = interval([0.2, -0.1, 0.3, 0.1])
    assert unresolved(Standing("tie", 2, gap, 0.25, Advice(3, 0.81))) == (
        "a true difference of 0.250 would be found with 80 % power, and 3 more seeds would resolve the observed one "
        "with a chance of 81%"
    )
    assert unresolved(Standing("tie", 2, gap, 0.25)) == "a true difference of 0.250 would be found with 80 % power"
    assert unresolved(Standing("tie", 2, interval([0.2]))) == "fewer than two shared seeds"
    two = Standing("tie", 2, interval([0.2, -0.1]), 2.5)
    assert unresolved(two, span=1.0) == "no possible difference could have been found with 2 seeds"
    assert unresolved(two) == "a true difference of 2.50 would be found with 80 % power"
    assert _detectable([0.5, 2.5], 1.0, 2) == " (detectable: 0.500 or more)"
    assert _detectable([2.5], 1.0, 2) == " (no possible difference could have been found with 2 seeds)"
    assert _detectable([0.5, 2.5], math.inf, 2) == " (detectable: 0.500 to 2.50)"
    assert "3 more splits would resolve" in unresolved(Standing("tie", 2, gap, 0.25, Advice(3, 0.81)), "split")


def test_the_best_of_many_settings_pays_for_all_of_them():
    def against(settings):
        runs = [run_row("latent_diffusion", seed=seed) for seed in range(4)]
        runs += [run_row("proposed", seed=seed, N=N) for seed in range(4) for N in settings]
        _, groups = grouped(runs)
        return _against_baseline(groups, groups[0].quality[0])[1]

    assert against([50.0]) == 1
    assert against([50.0, 60.0, 70.0]) == 3


def test_a_method_whose_seeds_diverged_is_not_called_better_in_the_headline():
    runs = [run_row("latent_diffusion", seed=seed) for seed in range(6)]
    runs += [{**run_row("proposed", seed=seed), "status": "diverged" if seed > 3 else "ok"} for seed in range(6)]

    def said(lost):
        _, groups = grouped(runs if lost else [{**run, "status": "ok"} for run in runs])
        return " ".join(_who_samples_better(groups))

    assert "Significantly better than latent_diffusion" in said(lost=False)
    assert "Significantly better" not in said(lost=True)


def test_the_bottleneck_is_the_part_with_the_larger_share():
    """A share counts where its interval over seeds lies above 0; the floor is .1."""

    def cell(label, decoded, drawn, seeds=4):
        noise = [0.001, -0.001, 0.001, -0.001][:seeds]
        values = {
            "sliced_from_posteriors": {seed: decoded for seed in range(seeds)},
            "sliced_from_diffusion": {seed: drawn + off for seed, off in enumerate(noise)},
        }
        return dataclasses.replace(base, label=label, values=values, settings={})

    _, (group,) = grouped(quick_runs(("energy",), seeds=2, shuffles=(False,)))
    base = group.cells[0]
    floor = {"sliced_wasserstein": {0: 0.1, 1: 0.099, 2: 0.101, 3: 0.1}}
    floors = [dataclasses.replace(base, label="floor_held_out", values=floor)]
    cells = [cell("A", 0.12, 0.2), cell("B", 0.2, 0.23), cell("C", 0.1, 0.1), cell("D", 0.12, 0.2, seeds=1)]
    silent = dataclasses.replace(base, label="E", values={})
    start = "What keeps samples from the data, in sliced Wasserstein distance:"
    (line,) = bottleneck(dataclasses.replace(group, cells=[*cells, silent], references=floors))
    assert line == (
        f"{start} the diffusion: A (0.0800 diffusion, 0.0200 decoder); "
        "the decoder: B (0.0300 diffusion, 0.100 decoder); "
        "neither part: C (0 diffusion, 0 decoder); not tested (one seed): D (0.0810 diffusion, 0.0200 decoder)."
    )
    assert bottleneck(dataclasses.replace(group, cells=cells[:1], references=[])) == [
        f"{start} the diffusion: A (0.0800 diffusion)."
    ]
    assert bottleneck(dataclasses.replace(group, cells=[silent])) == []
