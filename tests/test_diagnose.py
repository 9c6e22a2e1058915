"""One page for a user's own file."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from bench import diagnose
from bench.contracts import InputError
from bench.registry import METHODS
from bench.report.diagnosis import _collapsed, _what_follows

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
        assert "own" in METHODS
    finally:
        METHODS._classes.pop("own", None)
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if line]
    assert len(lines) == len(set(lines))
    for once in (
        "1. Can a latent matter on these data? ",
        "2. Are the models trained?",
        "4 of 4 runs have not reached",
        "3. Has the latent collapsed? Vanilla latent diffusion",
        "4. Does a live latent make better samples? kl_free − no_latent: ",
        "5. What follows? First train longer",
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


def group_of(verdict: str, labels: tuple[str, ...] = ("latent_diffusion", "kl_free", "no_latent")) -> SimpleNamespace:
    cells = [SimpleNamespace(label=label, verdicts={verdict: 3}) for label in labels]
    return SimpleNamespace(cells=cells, references=[])


@pytest.mark.parametrize(
    ("verdict", "first"),
    [
        ("better", "Use a live latent (kl_free)."),
        ("worse", "Use the decoder alone (no_latent): it makes better samples than kl_free."),
        ("equivalent", "Use the decoder alone (no_latent): a live latent changes less than 0.05."),
        ("undecided", "These runs do not decide whether a latent helps."),
    ],
)
def test_what_follows_is_what_the_contrast_says(verdict, first):
    contrast = SimpleNamespace(of="kl_free", against="no_latent")
    stated = SimpleNamespace(question=SimpleNamespace(contrast=contrast), bound=0.05)
    comparison = SimpleNamespace(verdict=verdict, difference=SimpleNamespace(n=3))
    said = _what_follows(group_of("collapsed"), [(stated, comparison)])
    assert said[0] == first
    assert said[-1] == "Vanilla latent diffusion is a decoder without a latent here, at the cost of one."
    assert any("a wider decoder" in sentence for sentence in said) == (verdict == "better")
    assert any("--seeds 0:8" in sentence for sentence in said) == (verdict == "undecided")
    assert _what_follows(group_of("alive"), [(stated, comparison)]) == said[:-1]
    assert _what_follows(group_of("alive"), []) == ["Nothing yet: the runs that would be compared are missing."]


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
    assert "Alive in every seed: kl_free, no_latent." in _collapsed(group_of("alive"))


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
    monkeypatch.setattr(diagnose.run, "main", lambda words, summary: asked.append((words, summary)) or 2)
    options = ["--plugin", "one.py", "--plugin", "two.py", "--set", "N=2"]
    for file in ([str(tmp_path / "mine.csv")], ["--data", str(tmp_path / "mine.csv")]):
        assert diagnose.main([*file, *options]) == 2
    (words, summary), other = asked
    assert other == (words, summary)
    assert words[-6:] == ["--set", "N=2", "--plugin", "one.py", "--plugin", "two.py"]
    assert f"{{name: csv, path: {str(tmp_path / 'mine.csv')!r}}}" in words
    assert not summary  # it prints an answer of its own


@pytest.mark.parametrize(
    ("name", "message"), [("mine.xls", "expected a file that ends with"), ("mine.csv", "no such file")]
)
def test_a_bad_file_is_one_line(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        diagnose.main(["--data", str(tmp_path / name)])
