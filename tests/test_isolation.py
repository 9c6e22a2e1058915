"""What a run does to its process is undone, also where the working directory is gone."""

import os
import tempfile

from bench.engine.isolation import isolated


def test_a_working_directory_that_is_removed_fails_no_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # which is where the test ends
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    with isolated() as changed:  # removed during a run
        (tmp_path / "gone").rmdir()
    assert changed == []
    with isolated() as changed:  # and every later run begins in it
        pass
    assert changed == []


def test_a_run_that_moves_away_is_put_back_also_from_a_removed_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with isolated() as changed, tempfile.TemporaryDirectory() as away:
        os.chdir(away)
    assert changed == ["the working directory"]
    assert os.getcwd() == str(tmp_path)
