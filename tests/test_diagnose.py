"""One page for a user's own file."""

from __future__ import annotations

import gzip
import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conftest import refused

from bench import diagnose
from bench.contracts import InputError
from bench.loading.windows import load_splits
from bench.registry import METHODS
from bench.report.columns import Column
from bench.report.contrasts import Sides
from bench.report.diagnosis import _can_matter, _collapsed, _contrast, _what_follows
from bench.report.statistics import Comparison, interval
from bench.sweeps.expand import named_dataset

SMALL = ("evaluate.n_samples=50", "evaluate.dependency_series=8", "evaluate.during_training=0")


@pytest.mark.slow
def test_a_users_file_gets_an_answer_and_a_report(tmp_path, capsys):
    rng = np.random.default_rng(0)
    time = pd.date_range("2024-01-01", periods=600, freq="h")
    frame = pd.DataFrame({"time": time, "a": rng.normal(size=600).cumsum() * 0.1, "b": rng.normal(size=600)})
    frame.to_csv(tmp_path / "mine.csv", index=False)
    (tmp_path / "own.py").write_text(
        "from bench.registry import register_method\n"
        "from bench.method import Method\n"
        "@register_method('own')\n"
        "class Own(Method):\n"
        "    def objective(self, model, x, step, draws):\n"
        "        return {}\n"
    )
    words = [str(tmp_path / "mine.csv"), "--results", str(tmp_path / "out"), "--window", "12", "--seeds", "0:1"]
    words += ["--plugin", str(tmp_path / "own.py")]
    for setting in (
        "train.steps=4",
        "diffusion.steps=4",
        "model.hidden=8",
        "diffusion.hidden=8",
        *SMALL,
    ):
        words += ["--set", setting]
    try:
        assert diagnose.main(words) == 0
        capsys.readouterr()
        longer = ["train.steps=5" if word == "train.steps=4" else word for word in words]
        assert diagnose.main(longer) == 0  # the answer is about these runs alone
        assert "own" in METHODS
    finally:
        METHODS._classes.pop("own", None)
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if line]
    assert len(lines) == len(set(lines))
    for once in (
        "1. Can a latent matter on these data? ",
        "2. Are the models trained?",
        "4 of 4 runs ended before the plateau of their autoencoder",
        "3. Has the latent collapsed? Vanilla latent diffusion",
        "4. Does a live latent make better samples? kl_free − no_latent: ",
        "5. What follows? First train the autoencoder longer (--set train.steps=20000), and ",
        "How certain are these results?",
        "before training",  # by the phase-transition criterion
        "The phase-transition criterion assumes a linear decoder.",
        "warning: ",
        "report: ",
    ):  # the answer
        assert printed.count(once) == 1, once
    for row in ("kl_free", "floor_held_out"):  # perhaps with a sign after its name
        assert [line.split()[0] for line in lines].count(row) == 1, printed
    assert "Vanilla latent diffusion" in printed
    assert "kl_free" in printed
    assert "no_latent" in printed
    assert (tmp_path / "out" / "report" / "index.html").is_file()


def group_of(verdict: str, labels: tuple[str, ...] = ("latent_diffusion", "kl_free")) -> SimpleNamespace:
    cells = [SimpleNamespace(label=label, verdicts={verdict: 3}, has_latent=True) for label in labels]
    return SimpleNamespace(cells=cells, references=[], dataset="data")


def contrast(
    against: str, verdict: str, values: tuple[float, ...] = (-0.04, -0.01, -0.05), equivalence_p: float = 1.0
) -> tuple:
    contrast = SimpleNamespace(of="kl_free", against=against)
    sides = {"data": Sides(dict(enumerate(values)), dict.fromkeys(range(len(values)), 0.0))}
    stated = SimpleNamespace(question=SimpleNamespace(contrast=contrast), bound=0.05, sides=sides)
    return stated, Comparison(interval(values), math.nan, math.nan, equivalence_p, verdict, level=0.05)


@pytest.mark.parametrize(
    ("verdict", "first"),
    [
        ("better", "A live latent (kl_free) helps this decoder. Against one that is twice as wide it is undecided"),
        ("worse", "Use the decoder alone (no_latent): it makes better samples than kl_free."),
        ("equivalent", "Use the decoder alone (no_latent): a live latent changes less than 0.05."),
        ("undecided", "These runs do not decide whether a latent helps. With --seeds 0:"),
    ],
)
def test_what_follows_is_what_the_contrasts_say(verdict, first):
    found = [contrast("no_latent, twice as wide", "undecided"), contrast("no_latent", verdict)]
    (said,) = _what_follows(group_of("alive"), found)
    assert said.startswith(first)


def test_a_difference_that_is_there_and_does_not_matter_is_no_reason_for_a_latent():
    (said,) = _what_follows(group_of("alive"), [contrast("no_latent", "better", (-0.01, -0.012, -0.009), 0.001)])
    assert said == "Use the decoder alone (no_latent): a live latent changes less than 0.05."


def test_a_latent_is_credited_only_beside_a_wider_decoder_and_only_where_it_lives():
    better = [contrast("no_latent", "better"), contrast("no_latent, twice as wide", "better")]
    assert _what_follows(group_of("alive"), better) == ["Use a live latent (kl_free)."]
    assert _what_follows(group_of("collapsed"), better) == [
        "Nothing about a live latent: that of kl_free is collapsed."
    ]
    (said,) = _what_follows(group_of("alive"), better[:1])
    assert "not measured" in said
    for missing in ([], [contrast("latent_diffusion", "better")]):
        (said,) = _what_follows(group_of("alive"), missing)
        assert said.startswith("Nothing yet: runs of no_latent, which a live latent has to beat, are missing.")


def test_more_seeds_are_never_advised_without_their_chance():
    small = contrast("no_latent", "undecided", (-0.04, 0.03, 0.02, -0.02))
    (said,) = _what_follows(group_of("alive"), [small])
    assert "little chance" in said
    assert "--seeds" not in said
    (said,) = _what_follows(group_of("alive"), [contrast("no_latent", "undecided", (-0.04, 0.03))])
    assert said.endswith("Fewer than three seeds say too little of how much they differ: run three.")
    collapsed = group_of("alive")
    collapsed.cells[0].verdicts = {"collapsed": 3}
    assert _what_follows(collapsed, [small])[-1].startswith("Vanilla latent diffusion is a decoder without a latent")


def test_no_area_differs_by_more_than_one():
    stated = SimpleNamespace(sides_text="kl_free − no_latent", column=Column("c2st_auc", "C2ST AUC", "", "lower"))
    found = Comparison(interval((-0.4, 0.3)), 0.5, 2.5, 1.0, "undecided", level=0.05)
    assert _contrast(stated, found).endswith("No possible difference could have been found with 2 seeds.")
    found = found._replace(detectable=0.5)
    assert _contrast(stated, found).endswith("A true difference of 0.500 would be found with 80 % power.")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((0.001, 0.002, 0.0), "next to nothing"),
        ((0.2, 0.22, 0.19), "can carry that"),
        ((-0.2, 0.22, 0.05), "not clear from these seeds"),
        ((0.2,), "One seed gives no interval."),
    ],
)
def test_whether_a_latent_can_matter_is_said_by_an_interval(values, says, monkeypatch):
    real = SimpleNamespace(interval=lambda metric: interval(values))
    monkeypatch.setattr("bench.report.diagnosis.floor_of", lambda references, metric: real)
    assert says in _can_matter(group_of("alive"))[-1]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("collapsed", "Vanilla latent diffusion collapses on these data"),
        ("partial", "for the first steps only"),
        ("undecided", "the interval of the latent information contains a threshold"),
    ],
)
def test_only_an_alive_latent_is_called_alive(word, says):
    assert says in " ".join(_collapsed(group_of(word)))
    assert "Nothing else is alive in every seed." in _collapsed(group_of(word))
    assert "Alive in every seed: kl_free." in _collapsed(group_of("alive"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected one file, as FILE or as --data FILE: none is given"),
        (["mine.csv", "--data", "mine.csv"], "expected one file, as FILE or as --data FILE: both are given"),
    ],
)
def test_one_file_is_given(words, message):
    with pytest.raises(InputError, match=message):
        diagnose.main(words)


def test_what_is_given_reaches_the_sweep(tmp_path, monkeypatch):
    (tmp_path / "mine.csv").write_text("a\n1\n")
    asked = []
    monkeypatch.setattr(diagnose.run, "main", lambda words, answered: asked.append((words, answered)) or 2)
    options = ["--plugin", "one.py", "--plugin", "two.py", "--set", "N=2"]
    for file in ([str(tmp_path / "mine.csv")], ["--data", str(tmp_path / "mine.csv")]):
        assert diagnose.main([*file, *options]) == 2
    (words, answered), other = asked
    assert other == (words, answered)
    assert words[-6:] == ["--set", "N=2", "--plugin", "one.py", "--plugin", "two.py"]
    assert json.dumps({"name": "csv", "path": str(tmp_path / "mine.csv")}) in words
    assert answered  # it prints an answer of its own


@pytest.mark.parametrize(
    "name", ["back\\slash", "ta\tb", "narrow\u202fspace", "it's", 'a "word"', "x, y: {z} #1", "ü😀"]
)
def test_any_name_of_a_file_reaches_the_sweep(tmp_path, name):
    path = tmp_path / f"{name}.csv"
    path.write_text("a\n1\n")
    spec = named_dataset(diagnose.dataset_of(path, 12, ["id=ü😀"]), "--dataset")
    assert dict(spec.options) == {"path": str(path), "window": 12, "id": "ü😀"}
    assert str(path) in spec.key  # by which the groups of the report are found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["path=b.csv"], "--option: path: expected once, it is already given as "),
        (["window=12"], "--option: window: expected once, it is already given as 24"),
        (["id=a", "id=b"], "--option: id: expected once, it is already given as 'a'"),
        (["name=npz"], "--option: name: expected once, it is already given as 'csv'"),
    ],
)
def test_an_option_replaces_nothing_that_is_given_already(tmp_path, options, message):
    (tmp_path / "mine.csv").write_text("a\n1\n")
    with refused(message):
        diagnose.dataset_of(tmp_path / "mine.csv", 24, options)


@pytest.mark.parametrize("ending", [".CSV", ".csv.GZ"])
def test_an_ending_in_capital_letters_is_an_ending(tmp_path, ending):
    path = tmp_path / f"MINE{ending}"
    with gzip.open(path, "wt") if ending.endswith("GZ") else path.open("w") as file:
        file.write("a,b\n" + "".join(f"{k % 7}.5,{k % 5}.25\n" for k in range(200)))
    spec = named_dataset(diagnose.dataset_of(path, 4), "--dataset")
    assert spec.name == "csv"
    assert load_splits(spec, 0).train.shape[1:] == (4, 2)


@pytest.mark.parametrize("window", ["0", "-3"])
def test_a_window_without_steps_is_refused(tmp_path, window):
    (tmp_path / "mine.csv").write_text("a\n1\n")
    with refused(rf"csv\.window = {window}: expected a whole number >= 2"):
        diagnose.main([str(tmp_path / "mine.csv"), "--window", window, "--results", str(tmp_path / "out")])


@pytest.mark.parametrize(
    ("name", "message"), [("mine.xls", "expected a file that ends with"), ("mine.csv", "no such file")]
)
def test_a_bad_file_is_one_line(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        diagnose.main(["--data", str(tmp_path / name)])
