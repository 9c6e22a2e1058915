"""Stated contrasts: the data set as the unit, with known answers; and what their answers depend on."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from report_data import FACTS, REFERENCES, frames, membership, quick_runs, reader, run_row, select
from scipy import stats

from bench.contracts import Contrast
from bench.report.cautions import not_converged
from bench.report.cells import cells_of
from bench.report.columns import Column
from bench.report.contrasts import Question, Sides, Stated, answers, sensitivity, stated_contrasts
from bench.report.formatting import number, signed
from bench.report.ranking import groups_of
from bench.report.selection import Selection
from bench.report.statistics import ALPHA, Repeats, detectable, for_overlapping_splits, holm, interval, p_difference

COLUMN = Column("c2st_auc", "C2ST AUC", "probability", "lower")
ONE = Question(Contrast("one", "a", "b"), "lstm")
TWO = Question(Contrast("two", "a", "c"), "lstm")


def sides(differences: list[float], level: float = 0.7) -> Sides:
    """Two methods on one data set that differ by so much on each seed."""
    against = {seed: level + 0.01 * seed for seed in range(len(differences))}
    return Sides({seed: against[seed] + gap for seed, gap in enumerate(differences)}, against)


# ---------------------------------------------------------------- the pooled test


def test_the_pooled_test_is_the_t_test_of_the_means_of_the_data_sets() -> None:
    """Means -.10, -.06, -.02: mean -.06, sd .04, standard error .04 / sqrt 3, quantile 4.3027 of 2 degrees."""
    family = {ONE: {"x": sides([-0.12, -0.08]), "y": sides([-0.09, -0.03, -0.06]), "z": sides([-0.02])}}
    found = answers(family, COLUMN)[ONE].pooled
    assert found.difference.n == 3
    assert found.difference.mean == pytest.approx(-0.06)
    assert found.difference.half == pytest.approx(4.302653 * 0.04 / math.sqrt(3), rel=1e-6)
    assert found.p == pytest.approx(stats.ttest_1samp([-0.10, -0.06, -0.02], 0).pvalue)
    assert found.level == ALPHA
    assert found.detectable == pytest.approx(detectable(interval([-0.10, -0.06, -0.02])))
    assert found.verdict == "undecided"


def test_the_number_of_seeds_does_not_make_the_pooled_interval_narrower() -> None:
    few = answers({ONE: {"x": sides([-0.1] * 2), "y": sides([-0.3] * 2)}}, COLUMN)[ONE].pooled
    many = answers({ONE: {"x": sides([-0.1] * 50), "y": sides([-0.3] * 50)}}, COLUMN)[ONE].pooled
    assert many.difference == pytest.approx(few.difference)


def test_options_of_one_data_set_are_one_repeat() -> None:
    family = {ONE: {"x,window=24": sides([-0.1] * 2), "x,window=48": sides([-0.3] * 2), "y": sides([-0.1] * 2)}}
    found = answers(family, COLUMN)[ONE].pooled
    assert found.difference == pytest.approx(interval([-0.2, -0.1]))


def test_where_the_measure_is_at_its_end_no_equivalence_is_said() -> None:
    near = [sides([0.001 * k] * 2, level=0.98) for k in (-1, 0, 1)]
    far = [sides([0.001 * k] * 2, level=0.6) for k in (-1, 0, 1)]
    for both, verdict in ((near, "undecided"), (far, "equivalent"), ([*near[:2], far[2]], "equivalent")):
        family = {ONE: {name: one._replace(saturated=COLUMN.saturated) for name, one in zip("xyz", both, strict=True)}}
        assert answers(family, COLUMN, bound=0.05)[ONE].pooled.verdict == verdict


def test_a_floor_that_both_methods_share_changes_nothing() -> None:
    plain = {"x": sides([-0.1, -0.2]), "y": sides([0.1, 0.05])}
    floors = {"x": {0: 0.45, 1: 0.52}, "y": {0: 0.5, 1: 0.41}}
    above = {
        name: Sides(*({seed: v - floors[name][seed] for seed, v in side.items()} for side in both[:2]))
        for name, both in plain.items()
    }
    a, b = (answers({ONE: family}, COLUMN)[ONE].pooled for family in (plain, above))
    assert a.difference == pytest.approx(b.difference)


def test_holm_corrects_over_the_family_and_the_interval_has_its_level() -> None:
    rng = np.random.default_rng(0)
    strong, weak = rng.normal(-0.2, 0.02, 6), rng.normal(-0.02, 0.03, 6)
    family = {
        ONE: {str(k): sides([gap]) for k, gap in enumerate(strong)},
        TWO: {str(k): sides([g]) for k, g in enumerate(weak)},
    }
    found = answers(family, COLUMN)
    p = {question: stats.ttest_1samp(gaps, 0).pvalue for question, gaps in ((ONE, strong), (TWO, weak))}
    assert found[ONE].pooled.p == pytest.approx(2 * p[ONE])
    assert found[TWO].pooled.p == pytest.approx(max(p[TWO], 2 * p[ONE]))
    assert (found[ONE].pooled.level, found[TWO].pooled.level) == (0.025, 0.05)
    narrow = stats.ttest_1samp(strong, 0).confidence_interval(0.975)
    assert found[ONE].pooled.difference[1:3] == pytest.approx((narrow.low, narrow.high))
    assert found[ONE].pooled.verdict == "better"
    higher = answers(family, COLUMN._replace(direction="higher"))
    assert higher[ONE].pooled.verdict == "worse"


def test_equal_methods_are_called_different_in_five_percent_of_families() -> None:
    """400 families of three contrasts that share a side, 8 data sets that differ, 5 seeds; and single contrasts."""
    rng = np.random.default_rng(20261128)
    questions = [Question(Contrast(name, "live", name), "lstm") for name in ("none", "vanilla", "kl_free")]
    wrong_families = wrong_alone = 0
    for _ in range(400):
        family: dict[Question, dict[str, Sides]] = {question: {} for question in questions}
        for dataset in range(8):
            level = rng.normal(0, 0.05, (4, 1)) + rng.normal(0, 0.05, 5) + rng.normal(0, 0.02, (4, 5))
            live, *others = (dict(enumerate(row)) for row in level.tolist())
            for question, other in zip(questions, others, strict=True):
                family[question][str(dataset)] = Sides(live, other)
        wrong_families += any(one.pooled.verdict != "undecided" for one in answers(family, COLUMN).values())
        alone = answers({questions[0]: family[questions[0]]}, COLUMN)
        wrong_alone += alone[questions[0]].pooled.verdict != "undecided"
    error = 2.6 * math.sqrt(ALPHA * (1 - ALPHA) / 400)  # 99 % of such simulations
    assert wrong_families / 400 <= ALPHA + error
    assert abs(wrong_alone / 400 - ALPHA) <= error


def test_a_shifted_method_is_found_and_equal_ones_are_equivalent_within_a_bound() -> None:
    rng = np.random.default_rng(1)
    shifted = {ONE: {str(k): sides(rng.normal(-0.1, 0.02, 5).tolist()) for k in range(8)}}
    assert answers(shifted, COLUMN, 0.05)[ONE].pooled.verdict == "better"
    equal = {ONE: {str(k): sides(rng.normal(0, 0.02, 5).tolist()) for k in range(8)}}
    found = answers(equal, COLUMN, 0.05)[ONE].pooled
    assert found.verdict == "equivalent"
    means = [
        float(np.mean([a - b for a, b in zip(s.of.values(), s.against.values(), strict=True)]))
        for s in equal[ONE].values()
    ]
    lower, upper = (
        stats.ttest_1samp(means, bound, alternative=way).pvalue for bound, way in ((-0.05, "greater"), (0.05, "less"))
    )
    assert found.equivalence_p == pytest.approx(max(lower, upper))
    assert answers(equal, COLUMN)[ONE].pooled.verdict == "undecided"  # without a bound nothing is equivalent


def test_one_data_set_has_no_interval_and_no_verdict() -> None:
    found = answers({ONE: {"x": sides([-0.30, -0.31, -0.29, -0.30])}}, COLUMN, 1.0)[ONE]
    assert found.pooled.difference.n == 1
    assert found.pooled.difference.mean == pytest.approx(-0.3)
    assert math.isnan(found.pooled.difference.low)
    assert math.isnan(found.pooled.p)
    assert found.pooled.verdict == "undecided"
    assert found.datasets["x"].verdict == "better"


def test_seeds_are_paired_and_the_side_that_lacks_some_is_not_the_better_one() -> None:
    rng = np.random.default_rng(2)
    whole = {str(k): sides(rng.normal(-0.2, 0.01, 4).tolist()) for k in range(6)}
    holed = whole | {"0": whole["0"]._replace(of={s: v for s, v in whole["0"].of.items() if s != 3})}
    assert answers({ONE: whole}, COLUMN)[ONE].pooled.verdict == "better"
    found = answers({ONE: holed}, COLUMN)[ONE]
    assert found.pooled.p <= ALPHA
    assert found.pooled.verdict == "undecided"
    assert found.datasets["0"].difference.n == 3
    other = whole | {"0": whole["0"]._replace(against={s: v for s, v in whole["0"].against.items() if s != 3})}
    assert answers({ONE: other}, COLUMN)[ONE].pooled.verdict == "better"


def test_a_data_set_that_lacks_a_side_is_not_counted() -> None:
    whole = {str(k): sides([-0.2 - 0.01 * k, -0.2]) for k in range(5)}
    found = answers({ONE: whole | {"5": whole["0"]._replace(of={})}}, COLUMN)[ONE]
    assert found.pooled.difference == answers({ONE: whole}, COLUMN)[ONE].pooled.difference
    assert found.pooled.difference.n == 5
    assert found.pooled.verdict == "undecided"  # what is missing is no accident
    assert "5" not in found.datasets


def test_a_data_set_by_itself_is_corrected_where_splits_overlap() -> None:
    gaps = [-0.10, -0.12, -0.11, -0.09]
    plain, overlapping = sides(gaps), sides(gaps)._replace(repeats=Repeats(overlapping=True))
    found = answers({ONE: {"x": plain, "y": overlapping}}, COLUMN)[ONE]
    wide = for_overlapping_splits(interval(gaps))
    assert found.datasets["y"].difference == pytest.approx(wide)
    assert found.datasets["y"].p == pytest.approx(p_difference(wide))
    assert found.datasets["y"].p > found.datasets["x"].p
    assert wide.low == pytest.approx(wide.mean - stats.t.ppf(0.975, 3) * wide.sd / 2)


def test_initialisations_of_a_split_are_averaged_and_halved_together() -> None:
    both = sides([-0.1, -0.3, -0.5, -0.7])._replace(repeats=Repeats({0: 0, 1: 0, 2: 1, 3: 1}))
    assert both.gap.at(0.95).n == 2
    assert both.first_half.seeds == {0, 1}
    assert sides([-0.1]).first_half.seeds == {0}
    assert sides([-0.1, -0.2, -0.3]).first_half.seeds == {0}


# ---------------------------------------------------------------- from the rows of a store


LIVE = Contrast("a live latent against vanilla", "proposed + skip", "latent_diffusion")
SKIP = Contrast("with and without skip", "proposed", "proposed + skip", secondary=True)


def selection(runs: list[dict[str, Any]], *contrasts: Contrast, **words: Any) -> Selection:
    frame, metrics, curves = frames(runs)
    chosen = select(frame, metrics, reader(curves), membership(runs), Path("results"))
    return dataclasses.replace(chosen, contrasts=contrasts, **words)


def stated(chosen: Selection) -> list[Stated]:
    return stated_contrasts(chosen, groups_of(cells_of(chosen), FACTS, chosen.equivalence))


RUNS = quick_runs(("bike", "energy", "regimes"), seeds=4)


def test_the_contrasts_of_a_sweep_are_answered_in_the_first_measure_that_ranks() -> None:
    one, two = stated(selection(RUNS, SKIP, LIVE))
    assert (one.question.contrast, two.question.contrast) == (LIVE, SKIP)  # confirmatory ones first
    assert one.column.metric == "sliced_wasserstein"
    assert [column.metric for column, _ in one.others] == ["mmd2"]
    assert list(one.sides) == ["bike", "energy", "regimes"]  # shuffled data are another question
    assert one.finding.pooled.verdict == "better"
    assert two.finding.pooled.verdict == "worse"
    assert one.finding.pooled.level == ALPHA  # a family of one
    assert len(one.counted) == 24
    assert one.seeds_text == "4"
    assert set(one.without) == set(one.sides)
    assert all(each.difference.n == 2 for each in one.without.values())
    assert not stated(selection(RUNS))


def test_a_contrast_may_leave_data_sets_out() -> None:
    (one,) = stated(selection(RUNS, dataclasses.replace(LIVE, without=["regimes"])))
    assert list(one.sides) == ["bike", "energy"]
    assert one.finding.pooled.difference.n == 2
    assert len(one.counted) == 16
    (none,) = stated(selection(RUNS, dataclasses.replace(LIVE, without=["bike", "energy", "regimes"])))
    assert (none.finding.pooled.verdict, none.finding.pooled.difference.n) == ("undecided", 0)


def test_what_the_answer_depends_on_is_said() -> None:
    (one,) = stated(selection(RUNS, LIVE))
    first, half, others = sensitivity(one)
    ends = sorted(each.difference.mean for each in one.without.values())
    assert [f"{number(end)} (without" in first for end in (ends[0], ends[-1])] == [True, True]
    assert half == f"From the first half of the seeds: {signed(one.first_half.difference)}, {one.first_half.verdict}."
    assert others == "In the other measures that rank: better by MMD²."
    other = {**one.without, "bike": one.without["bike"]._replace(verdict="equivalent")}
    assert "The verdict changes: " in (changed := sensitivity(dataclasses.replace(one, without=other))[0])
    assert "equivalent without bike" in changed


def test_runs_that_are_not_trained_are_counted_beside_the_contrast() -> None:
    runs = [dict(run, converged=True, denoiser_converged=True, denoiser_updates=100) for run in RUNS]
    live = [run for run in runs if run["label"] == "proposed + skip" and not run["shuffle"]]
    live[0]["converged"] = False
    live[1]["denoiser_converged"] = False
    live[2] |= {"denoiser_converged": False, "denoiser_updates": 1}  # there is no denoiser to converge
    live[3] |= {"converged": None}
    live[4] |= {"converged": False, "status": "diverged"}
    chosen = selection(runs, LIVE)
    assert not_converged(chosen.runs) == {live[0]["run_id"], live[1]["run_id"]}
    (one,) = stated(chosen)
    assert one.unconverged == {live[0]["run_id"], live[1]["run_id"]}
    assert one.uncalibrated == set()
    assert len(one.counted) == 23
    assert one.share(one.unconverged) == "2 of 23 runs"
    assert one.finding.pooled.verdict == "undecided"  # a diverged run: the side that lacks a seed is not better
    assert not not_converged(chosen.runs.drop(columns=["converged", "denoiser_converged", "denoiser_updates"]))
    lost = f"On {live[4]['dataset']} proposed + skip lacks 1 seed that the other side has, and a side that lacks runs"
    assert [sentence for sentence in sensitivity(one) if sentence.startswith(lost)]


def test_the_answer_is_given_again_without_runs_that_are_not_trained() -> None:
    runs = [dict(run, converged=True) for run in RUNS]
    marked = {run["run_id"]: run for run in runs if (run["label"], run["seed"]) == ("proposed + skip", 1)}
    for run in marked.values():
        run["converged"] = False
    (one,) = stated(selection(runs, LIVE))
    assert one.trained is not None
    assert [both.seeds for both in one.trained_sides.values()] == [{0, 2, 3}] * len(one.sides)
    means = [np.mean([both.of[seed] - both.against[seed] for seed in (0, 2, 3)]) for both in one.sides.values()]
    assert one.trained.difference.mean == pytest.approx(np.mean(means))
    said = f"{signed(one.trained.difference)}, {one.trained.verdict}."
    assert f"Without the seeds of runs that have not converged or are not calibrated: {said}" in sensitivity(one)
    (all_trained,) = stated(selection([dict(run, converged=True) for run in RUNS], LIVE))
    assert all_trained.trained is None


def test_a_side_whose_samples_are_copies_is_marked() -> None:
    chosen = selection(RUNS, LIVE)
    metrics = chosen.metrics.astype({"metric": str, "run_id": str})
    live = chosen.runs.query("label == 'proposed + skip' and dataset == 'energy' and not shuffle")["run_id"]
    rows = metrics[metrics["run_id"].isin(live) & (metrics["metric"] == "sliced_wasserstein")]
    more = [rows.assign(metric=name, value=value) for name, value in (("copies", 0.9), ("copies_z", 20.0))]
    more[0]["value"] += np.arange(len(rows)) * 0.01
    (one,) = stated(dataclasses.replace(chosen, metrics=pd.concat([metrics, *more])))
    assert one.copying == {"proposed + skip": ["energy"]}
    assert one.sides_text == "proposed + skip ‡ − latent_diffusion"
    assert "The samples of proposed + skip are copies of training windows on energy." in sensitivity(one)
    assert stated(chosen)[0].sides_text == "proposed + skip − latent_diffusion"


def test_a_label_of_several_settings_has_no_side() -> None:
    runs = [run for run in RUNS if not run["shuffle"]]
    runs += [run_row("proposed + skip", "bike", seed, N=10.0) for seed in range(4)]
    (one,) = stated(selection(runs, LIVE))
    assert one.uncounted == ["bike"]
    assert one.finding.pooled.difference.n == 2
    assert "Not counted, because one side has no finished run, or several settings: bike." in sensitivity(one)


def test_every_backbone_is_a_question_of_the_same_family() -> None:
    runs = [
        run_row(label, dataset, seed, backbone=backbone)
        for backbone in ("lstm", "transformer")
        for dataset in ("bike", "energy")
        for seed in range(3)
        for label in ("latent_diffusion", "proposed + skip")
    ]
    runs += [run_row(name, dataset, 0, kind="reference") for name in REFERENCES for dataset in ("bike", "energy")]
    one, two = stated(selection(runs, LIVE))
    assert (one.name, two.name) == (f"{LIVE.name} (lstm)", f"{LIVE.name} (transformer)")
    p = holm({name: p_difference(each.finding.pooled.difference) for name, each in (("1", one), ("2", two))})
    assert (one.finding.pooled.p, two.finding.pooled.p) == pytest.approx((p["1"].p, p["2"].p))
