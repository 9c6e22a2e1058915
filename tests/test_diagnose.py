"""One page for a user's own file."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench import diagnose
from bench.contracts import InputError

SMALL = ("evaluate.n_samples=50", "evaluate.dependency_series=8", "evaluate.during_training=0")


@pytest.mark.slow
def test_a_users_file_gets_an_answer_and_a_report(tmp_path, capsys):
    rng = np.random.default_rng(0)
    time = pd.date_range("2024-01-01", periods=600, freq="h")
    frame = pd.DataFrame({"time": time, "a": rng.normal(size=600).cumsum() * 0.1, "b": rng.normal(size=600)})
    frame.to_csv(tmp_path / "mine.csv", index=False)
    words = [
        "--data",
        str(tmp_path / "mine.csv"),
        "--results",
        str(tmp_path / "out"),
        "--window",
        "12",
        "--seeds",
        "0:1",
    ]
    for setting in (
        "train.steps=4",
        "diffusion.steps=4",
        "model.hidden=8",
        "diffusion.hidden=8",
        *SMALL,
    ):
        words += ["--set", setting]
    assert diagnose.main(words) == 0
    printed = capsys.readouterr().out
    assert "Vanilla latent diffusion" in printed
    assert "kl_free" in printed
    assert "latent_diffusion + mixture" in printed
    assert (tmp_path / "out" / "report" / "index.html").is_file()


@pytest.mark.parametrize(
    ("name", "message"), [("mine.xls", "expected a file that ends with"), ("mine.csv", "no such file")]
)
def test_a_bad_file_is_one_line(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        diagnose.main(["--data", str(tmp_path / name)])
