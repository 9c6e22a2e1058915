"""What stands beside a number: bounds ln M, calibration, copies, floors, the test blocks; and the columns."""

import math

import pandas as pd
import pytest
from report_data import FACTS, frames, membership, reader, run_row, select, selection

from bench.registry import METRICS
from bench.report.cards import blind_spot, metric_facts
from bench.report.cautions import about_training, copies, signs, uncalibrated
from bench.report.cells import cells_of
from bench.report.columns import MetricFacts, columns_of
from bench.report.page import write
from bench.report.ranking import groups_of
from bench.report.report import build
from bench.report.statements import answer, best_text, headline
from bench.report.summary import Line, Summary
from bench.report.tables import latex, long_table, overview, wide_table

pytestmark = pytest.mark.usefixtures("undrawn")
BOUND = math.log(512)
ALL = {
    **FACTS,
    "c2st_auc": MetricFacts("probability", "lower", "samples", "How well a classifier separates.", "copies."),
    "c2st_auc_dynamics": MetricFacts("probability", "lower", "samples", unranked="Not ranked."),
    "copies": MetricFacts("probability", "lower", "samples"),
    "copies_z": MetricFacts("probability", "lower", "samples"),
    "latent_information": MetricFacts("nats per series", "higher", "latent"),
    "calibration_distance": MetricFacts("", "none", "latent"),
    "residual_ratio": MetricFacts("", "none", "latent"),
}
LABELS = ("latent_diffusion", "proposed")


def measured(values, folder=None, datasets=("energy",), labels=LABELS, floors=("floor_shift",), seeds=3):
    """A selection whose runs also have these values: (label, metric) -> value of every seed, or (value, coordinate)."""
    runs = [run_row(label, name, seed) for name in datasets for label in labels for seed in range(seeds)]
    runs += [
        run_row("floor_shift", name, seed, kind="reference")
        | {"label": floor, "method": floor, "run_id": f"{floor}{name}{seed}"}
        for name in datasets
        for floor in floors
        for seed in range(seeds)
    ]
    frame, metrics, curves = frames([run for run in runs if run["label"] != "floor_held_out"])
    frame = pd.DataFrame(runs)
    first = metrics.iloc[[0]].astype({"run_id": str, "metric": str, "coordinate": str})
    rows = []
    for (label, metric), of_seeds in values.items():
        for run in runs:
            if run["label"] == label:
                value = of_seeds[run["seed"]]
                value, coordinate = value if isinstance(value, tuple) else (value, "")
                shared = {"train_step": -1, "index": math.nan, "status": "ok", "split": "test"}
                rows.append(
                    first.assign(run_id=run["run_id"], metric=metric, value=value, coordinate=coordinate, **shared)
                )
    taken = {(label, metric) for label, metric in values}
    names = dict(zip(frame["run_id"], frame["label"], strict=True))
    old = metrics.astype({"run_id": str, "metric": str, "coordinate": str})
    old = old[[(names[run], metric) not in taken for run, metric in zip(old["run_id"], old["metric"], strict=True)]]
    return select(frame, pd.concat([old, *rows]), reader(curves), membership(runs), folder or selection([]).folder)


def the_group(values, **words):
    chosen = measured(values, **words)
    return groups_of(cells_of(chosen), ALL)[0]


def by_label(group):
    return {cell.label: cell for cell in [*group.cells, *group.references]}


# ---------------------------------------------------------------- bounds


def test_a_value_near_its_bound_is_at_least_that_and_is_never_ranked(tmp_path):
    near, far = [6.0, 6.1, 6.0], [2.0, 2.1, 2.2]
    values = {("latent_diffusion", "latent_information"): far, ("proposed", "latent_information"): near}
    values |= {(label, "latent_information_bound"): [BOUND] * 3 for label in LABELS}
    group = the_group(values)
    cells = by_label(group)
    assert cells["proposed"].text("latent_information") == ">= 6.03"
    assert cells["latent_diffusion"].text("latent_information") == "2.10 ± 0.25"
    assert cells["proposed"].text_of("latent_information", 1) == ">= 6.10"
    assert "latent_information" not in group.standings
    assert "latent_information" not in {column.metric for column in group.quality}
    assert group.comparisons(next(c for c in group.columns if c.metric == "latent_information")) == []
    table = long_table([group]).set_index(["label", "metric"])
    assert table["at_bound"]["proposed", "latent_information"]
    assert not table["at_bound"]["latent_diffusion", "latent_information"]
    assert table["place"]["proposed", "latent_information"] == "none"
    assert wide_table(group)["latent information"].tolist() == [
        cells["latent_diffusion"].text("latent_information"),
        ">= 6.03",
        "-",
    ]
    assert r"$\geq 6.03$" in latex(group)
    said = " ".join(sentence for about in answer([group]) for sentence in about.sentences)
    assert 'latent information: ">=" marks values near their bound ln M, which have no order.' in said
    assert "numbers M" not in said
    page = write(build(measured(values, tmp_path), ALL), tmp_path, compact=True)
    assert "&gt;= 6.03" in page.read_text(encoding="utf-8")
    assert " >= 6.03 |" in (tmp_path / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("below", "text"), [(0.49, ">= "), (0.51, "")])
def test_near_is_within_half_a_nat(below, text):
    values = {
        ("proposed", "latent_information"): [BOUND - below] * 3,
        ("proposed", "latent_information_bound"): [BOUND] * 3,
    }
    assert by_label(the_group(values))["proposed"].text("latent_information").startswith(text + "5")


def test_values_of_different_numbers_of_latents_are_not_pooled():
    values = {(label, "latent_information"): [2.0, 2.1, 2.2] for label in LABELS}
    values[("latent_diffusion", "latent_information_bound")] = [BOUND] * 3
    values[("proposed", "latent_information_bound")] = [math.log(300), math.log(300), math.log(310)]
    group = the_group(values)
    cells = by_label(group)
    assert cells["proposed"].text("latent_information") == "2.00 to 2.20 (M = 300 to 310)"
    assert cells["proposed"].interval("latent_information").n == 0
    assert cells["latent_diffusion"].text("latent_information") == "2.10 ± 0.25"
    said = " ".join(answer([group])[0].sentences)
    assert "the numbers M of latents are 300, 310, 512. Values of different M cannot be compared" in said


# ---------------------------------------------------------------- is it trained?


@pytest.mark.parametrize(
    ("distance", "ratio", "seeds"),
    [
        ([0.05, 0.1, 0.09], [0.8, 1.25, 1.0], []),
        ([0.05, 0.11, 0.09], [1.0, 1.0, 1.0], [1]),
        ([0.05, 0.05, 0.05], [0.79, 1.0, 1.26], [0, 2]),
    ],
)
def test_a_decoder_outside_the_limits_is_not_calibrated(distance, ratio, seeds):
    values = {("proposed", "calibration_distance"): distance, ("proposed", "residual_ratio"): ratio}
    cell = by_label(the_group(values))["proposed"]
    assert uncalibrated(cell) == seeds
    assert signs(cell) == ("†" if seeds else "")


@pytest.mark.parametrize(
    ("share", "z", "found"),
    [
        ([0.70, 0.71, 0.72], [5.0, 6.0, 7.0], True),
        ([0.70, 0.71, 0.72], [2.0, 3.0, 3.5], False),  # the mean of z is below 3
        ([0.30, 0.71, 0.99], [5.0, 6.0, 7.0], False),  # the interval contains .5
        ([0.20, 0.21, 0.22], [-9.0, -9.0, -9.0], False),
        ([0.70], [5.0], True),  # one seed: its z alone
        ([0.55], [2.9], False),
    ],
)
def test_copies_are_more_than_held_out_windows_have(share, z, found):
    group = the_group({("proposed", "copies"): share, ("proposed", "copies_z"): z}, seeds=len(share))
    assert copies(by_label(group)["proposed"]) == found


TRAINED = {
    ("latent_diffusion", "calibration_distance"): [0.2, 0.05, 0.05],
    ("proposed", "calibration_distance"): [0.05] * 3,
    ("latent_diffusion", "copies"): [0.5, 0.51, 0.5],
    ("latent_diffusion", "copies_z"): [0.0, 0.1, 0.0],
    ("proposed", "copies"): [0.8, 0.81, 0.8],
    ("proposed", "copies_z"): [9.0, 9.1, 9.0],
    ("floor_shift", "copies"): [1.0] * 3,
    ("floor_shift", "copies_z"): [30.0] * 3,
}


def test_who_is_not_trained_is_said_and_marked_wherever_samples_are_ranked(tmp_path):
    chosen = measured(TRAINED, tmp_path, datasets=("energy", "regimes"))
    groups = groups_of(cells_of(chosen), ALL)
    group = groups[0]
    assert headline(groups, chosen)[0].about == "Are the models trained?"
    calibration, copying = headline(groups, chosen)[0].sentences
    assert calibration.startswith("Decoders that are not calibrated (†; good is a calibration distance of at most 0.1")
    assert calibration.endswith(
        "latent_diffusion (1 of 3 seeds) on energy; latent_diffusion (1 of 3 seeds) on regimes."
    )
    assert copying == (
        "Samples that are copies of training windows (‡): proposed (copies 0.803) on energy; "
        "proposed (copies 0.803) on regimes."
    )
    assert signs(by_label(group)["floor_shift"]) == ""  # a reference is what it is
    assert "proposed [samples are copies] (" in best_text(group, group.quality[0])
    better = headline(groups, chosen)[2].sentences
    assert "proposed (on 2 of 2) [samples are copies on 2 data sets]" in better[0]
    assert [mark.signs for mark in overview(groups)["proposed"]] == ["‡", "‡"]
    assert wide_table(group)["caution"].tolist() == [
        "decoder not calibrated in 1 of 3 seeds",
        "samples are copies",
        "",
    ]
    assert set(long_table([group]).set_index("label")["caution"]["proposed"]) == {"samples are copies"}
    assert r"proposed \textdaggerdbl{}" in latex(group)
    html = write(build(chosen, ALL), tmp_path, compact=True).read_text(encoding="utf-8")
    assert html.count('<b class="sign">‡</b>') == 4  # the overview and the tables of two data sets
    assert "‡: The samples are copies of training windows" in html
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| proposed ‡ |" in text
    assert "| latent\\_diffusion † |" in text
    assert "0.10 ± 0.22 † |" in text
    assert "- ‡: The samples are copies" in text


def test_what_was_not_measured_is_said():
    cells = cells_of(selection([run_row("proposed")]))
    assert about_training(cells) == ["Not measured: calibration of the decoder, copies."]
    fine = {**TRAINED, ("latent_diffusion", "calibration_distance"): [0.05] * 3}
    fine |= {("proposed", metric): TRAINED["latent_diffusion", metric] for metric in ("copies", "copies_z")}
    assert about_training(cells_of(measured(fine))) == [
        "Every decoder is calibrated within the limits and no method copies training windows."
    ]


def test_where_training_had_no_patience_nobody_knows_of_a_plateau():
    def said(*patience):
        runs = [run_row("proposed", seed=seed, **{"train.patience": p}) for seed, p in enumerate(patience)]
        return about_training(cells_of(selection(runs)))[0]

    told = "made a fixed number of updates (`train.patience` is 0), so whether they have reached a plateau is unknown."
    assert said(0, 0) == f"All 2 runs {told}"
    assert said(0) == f"The run {told.replace('they have', 'it has')}"
    fixed = [run_row("proposed", seed=seed, **{"train.patience": 0}) for seed in range(2)]
    others = [run_row(label, **{"train.patience": 50}) for label in ("latent_diffusion", "kl_annealing")]
    others.append(run_row("data_diffusion", **{"train.patience": 0}))  # has no autoencoder
    assert about_training(cells_of(selection([*fixed, *others])))[0] == f"2 of 5 runs {told}"
    assert said(50, 50).startswith("Not measured")


# ---------------------------------------------------------------- floors and the test blocks


def test_a_measure_of_samples_stands_minus_its_floor_seed_by_seed(tmp_path):
    values = {
        ("latent_diffusion", "sliced_wasserstein"): [0.30, 0.41, 0.52],
        ("proposed", "sliced_wasserstein"): [0.20, 0.30, 0.40],
        ("floor_shift", "sliced_wasserstein"): [0.10, 0.20, 0.30],
    }
    group = the_group(values)
    column = group.quality[0]
    above = {label: group.above_floor(cell, column) for label, cell in by_label(group).items()}
    assert above["proposed"].mean == pytest.approx(0.1)
    assert above["proposed"].half == pytest.approx(0, abs=1e-9)  # paired: seeds move both
    assert above["latent_diffusion"].mean == pytest.approx(0.21)
    assert above["floor_shift"].n == 0
    assert group.above_floor(group.cells[0], next(c for c in group.columns if c.metric == "kl")).n == 0
    assert wide_table(group)["sliced W., minus floor"].tolist() == ["+0.210 ± 0.025", "+0.100 ± 0", ""]
    row = long_table([group]).set_index(["label", "metric"]).loc[("latent_diffusion", "sliced_wasserstein")]
    assert (row["minus_floor"], row["floor"]) == (pytest.approx(0.21), "floor_shift")
    assert row["minus_floor_low"] == pytest.approx(above["latent_diffusion"].low)
    html = write(build(measured(values, tmp_path), ALL), tmp_path, compact=True).read_text(encoding="utf-8")
    assert '<span class="unit floor">+0.210 ± 0.025</span>' in html
    assert "minus the floor (training against test windows, floor_shift), paired over seeds" in html
    assert "0.41 ± 0.27 (+0.210 ± 0.025) |" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_the_floor_is_that_of_held_out_windows_where_it_was_measured():
    values = {
        ("floor_shift", "sliced_wasserstein"): [0.3] * 3,
        ("floor_held_out", "sliced_wasserstein"): [0.1] * 3,
        ("proposed", "sliced_wasserstein"): [0.4] * 3,
        ("floor_shift", "mmd2"): [0.2] * 3,
        ("proposed", "mmd2"): [0.5] * 3,
    }
    group = the_group(values, floors=("floor_shift", "floor_held_out"))
    columns = {column.metric: column for column in group.columns}
    proposed = by_label(group)["proposed"]
    assert group.above_floor(proposed, columns["sliced_wasserstein"]).mean == pytest.approx(0.3)
    assert group.floor("sliced_wasserstein").mean == pytest.approx(0.1)
    assert group.about_floor("sliced_wasserstein").endswith("held out of the training blocks, floor_held_out")
    assert group.above_floor(proposed, columns["mmd2"]).mean == pytest.approx(0.3)  # measured with the other row only


def test_values_beside_the_test_blocks_stand_in_the_details_and_are_not_ranked(tmp_path):
    plain = [0.2, 0.2, 0.2]
    values = {("proposed", "sliced_wasserstein"): plain, ("latent_diffusion", "sliced_wasserstein"): [0.3] * 3}
    chosen = measured(values, tmp_path)
    run = next(
        run for run, label in zip(chosen.runs["run_id"], chosen.runs["label"], strict=True) if label == "proposed"
    )
    row = chosen.metrics[(chosen.metrics["run_id"] == run) & (chosen.metrics["metric"] == "sliced_wasserstein")]
    beside = row.assign(coordinate="test blocks", index=math.nan, value=0.7)
    both = select(chosen.runs, pd.concat([chosen.metrics, beside]), chosen.curves, None, tmp_path)
    (group,) = groups_of(cells_of(both), ALL)
    proposed = by_label(group)["proposed"]
    assert proposed.beside_test == {"sliced_wasserstein": {0: 0.7}}
    assert proposed.values["sliced_wasserstein"] == dict(enumerate(plain))
    assert (
        long_table([group]).set_index(["label", "metric"])["mean_beside_test_blocks"]["proposed", "sliced_wasserstein"]
        == 0.7
    )
    report = build(both, ALL)
    assert not [picture for picture in report.pictures if "factor" in picture.name]
    html = write(report, tmp_path, compact=True).read_text(encoding="utf-8")
    assert html.count("sliced_wasserstein, beside test blocks (not ranked)") == 1


# ---------------------------------------------------------------- columns


def test_columns_stand_in_the_order_of_the_questions():
    facts = metric_facts()
    names = [
        "wasserstein",
        "sliced_wasserstein",
        "c2st_auc",
        "c2st_auc_dynamics",
        "sliced_wasserstein_increments",
        "copies",
        "copies_z",
        "coverage",
        "latent_information",
        "latent_information_second_half",
        "nll_own",
        "prior_bound",
        "calibration_distance",
        "train_seconds",
    ]
    columns = columns_of(names, facts)
    assert [column.metric for column in columns] == [
        *("calibration_distance", "copies", "copies_z"),
        *("latent_information", "latent_information_second_half", "nll_own", "prior_bound"),
        *(
            "c2st_auc",
            "c2st_auc_dynamics",
            "sliced_wasserstein",
            "sliced_wasserstein_increments",
            "wasserstein",
            "coverage",
        ),
        "train_seconds",
    ]
    ranked = [column.metric for column in columns if column.direction != "none"]
    assert ranked == ["c2st_auc", "sliced_wasserstein", "sliced_wasserstein_increments", "coverage"]
    of = {column.metric: column for column in columns}
    assert of["nll_own"].title.startswith("reconstruction")
    assert of["nll_own"].unit == "nats per value (probability of its cell)"
    assert "rewards samples that vary too little" in of["wasserstein"].hint
    assert all("Blind to: " in column.hint for column in columns if column.question != "cost")


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_card_says_what_its_measure_is_blind_to(name):
    assert blind_spot(METRICS[name].__doc__)


def test_a_head_says_on_hover_what_its_column_is_blind_to(tmp_path):
    values = {(label, "c2st_auc"): [0.9, 0.8, 0.7] for label in LABELS}
    html = write(build(measured(values, tmp_path), ALL), tmp_path, compact=True).read_text(encoding="utf-8")
    assert 'title="How well a classifier separates. Lower is better. Blind to: copies."' in html


# ---------------------------------------------------------------- the terminal


def test_the_terminal_has_the_columns_that_exist_and_a_users_own_metric():
    values = {(label, "c2st_auc"): [0.9, 0.8, 0.7] for label in (*LABELS, "floor_shift")}
    values |= {(label, "mine"): [1.0, 2.0, 3.0] for label in LABELS} | TRAINED
    chosen = measured(values)
    without = chosen.metrics[~chosen.metrics["metric"].isin(["sliced_wasserstein", "wasserstein"])]
    chosen = select(chosen.runs, without, chosen.curves, None, chosen.folder)
    facts = {**ALL, "mine": MetricFacts("apples", "higher", "samples", "How many apples.", "pears.", own=True)}
    lines = {}
    for run in chosen.runs.to_dict("records"):
        lines.setdefault(run["label"], Line("energy", run["label"], run["backbone"], [])).run_ids.append(run["run_id"])
    summary = Summary(chosen, list(lines.values()), dict.fromkeys(chosen.runs["run_id"], "ok"), facts)
    (table,) = summary.tables
    assert table.heads == (
        *("energy", "backbone", "calibration distance", "copies", "latent", "m_T,0", "C2ST AUC", "MMD²", "mine"),
        *("n_test", "run status"),
    )
    rows = {row[0]: dict(zip(table.heads, row, strict=True)) for row in table.rows}
    assert list(rows) == ["latent_diffusion †", "proposed ‡", "floor_shift"]
    assert rows["proposed ‡"]["C2ST AUC"] == "0.800 (+0.000)"
    assert rows["proposed ‡"]["mine"] == "2.000"
    assert rows["floor_shift"]["C2ST AUC"] == "0.800"
    legend = "\n".join(summary.legend)
    assert "mine: How many apples. Higher is better. Blind to: pears." in legend
    assert (
        "(+...): The value minus its floor, paired over seeds (floor_shift: training against test windows)." in legend
    )
    assert "‡: The samples are copies of training windows" in legend
    assert "Samples that are copies of training windows (‡): proposed (copies 0.803) on energy." in legend
    heads = {line.partition(": ")[0] for line in summary.legend}
    assert heads >= {"calibration distance", "copies", "m_T,0", "C2ST AUC", "MMD²", "latent", "n_test"}
