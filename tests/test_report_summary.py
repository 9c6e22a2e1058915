"""The tables that a sweep ends with on the terminal."""

from report_data import FACTS, run_row, selection

from bench.report.summary import MOST_ROWS, Line, Summary

WINDOWS = {"window": 12, "test_stride": 12}


def test_a_row_for_each_method_and_backbone_with_its_verdicts():
    runs = [
        {**run_row(label, seed=seed, backbone=backbone), **WINDOWS, "n_test": 500 + seed}
        for backbone in ("lstm", "transformer")
        for label in ("latent_diffusion", "proposed")
        for seed in (0, 1)
    ]
    runs += [{**run_row("floor_shift", seed=0, kind="reference"), **WINDOWS}]
    runs[3]["status"] = "diverged"
    lines: dict[tuple[str, str], Line] = {}
    for run in runs:
        key = run["label"], run["backbone"]
        lines.setdefault(key, Line("energy", *key, [])).run_ids.append(run["run_id"])
    lines["later", "lstm"] = Line("regimes", "later", "lstm", ["not there yet"])
    statuses = {run["run_id"]: run["status"] for run in runs}
    energy, regimes = Summary(selection(runs), list(lines.values()), statuses, FACTS).tables
    assert energy.heads == ("energy", "backbone", "latent", "m_T,0", "sliced W.", "MMD²", "n_test", "run status")
    rows = {row[:2]: dict(zip(energy.heads[2:], row[2:], strict=True)) for row in energy.rows}
    assert list(rows) == [
        ("latent_diffusion", "lstm"),
        ("proposed", "lstm"),
        ("latent_diffusion", "transformer"),
        ("proposed", "transformer"),
        ("floor_shift", "-"),
    ]
    assert [row["latent"] for row in rows.values()] == ["collapsed 2/2", "alive 1/2", "collapsed 2/2", "alive 2/2", "-"]
    assert rows["proposed", "lstm"]["run status"] == "1 ok, 1 diverged"
    assert rows["proposed", "transformer"]["n_test"] == "500 to 501"
    assert rows["floor_shift", "-"]["n_test"] == "500"
    assert rows["floor_shift", "-"]["m_T,0"] == "-"
    assert 0.6 < float(rows["proposed", "transformer"]["m_T,0"]) < 0.8
    assert (regimes.heads, regimes.rows) == (("regimes", "backbone", "run status"), [("later", "lstm", "1 to do")])


def test_a_long_table_is_cut_and_says_how_much_is_left():
    lines = [Line("energy", f"proposed N={k}", "lstm", [str(k)]) for k in range(MOST_ROWS + 3)]
    (table,) = Summary(selection([run_row("proposed")]), lines, {}, FACTS).tables
    assert len(table.rows) == MOST_ROWS + 1
    assert table.rows[-1] == ("and 3 more, see the report", *[""] * (len(table.heads) - 1))


def test_the_legend_explains_the_attribution_and_warns_of_few_windows():
    runs = [{**run_row("proposed", seed=0), **WINDOWS, "n_test": 7}]
    lines = [Line("energy", "proposed", "lstm", [runs[0]["run_id"]])]
    legend = Summary(selection(runs), lines, {}, FACTS).legend
    (signed,) = (line for line in legend if line.startswith("m_T,0: "))
    assert "a signed attribution that can be above 1 or below 0" in signed
    assert signed.partition(" Blind to: ")[0].count(".") == 1  # one sentence
    assert "n_test: The number of test windows." in legend
    assert legend[-2] == "Not measured: calibration of the decoder, copies."
    assert legend[-1].startswith("warning: energy has 7 independent test windows, fewer than 30.")
