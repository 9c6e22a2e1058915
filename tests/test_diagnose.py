"""One page for a user's own file."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench import diagnose
from bench.contracts import InputError
from bench.registry import METHODS

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
        "Vanilla latent diffusion",
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
    assert "latent_diffusion + mixture" in printed
    assert (tmp_path / "out" / "report" / "index.html").is_file()


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
