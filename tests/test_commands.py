"""What holds for every command: it is listed, and says in one line what it needs."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import refused

from bench import __main__ as listing
from bench.command import run_command, write

ROOT = Path(__file__).resolve().parent.parent


def test_every_command_is_listed_with_its_purpose(capsys):
    assert listing.main() == 0
    lines = capsys.readouterr().out.splitlines()
    listed = {line.split()[2].removeprefix("bench."): line for line in lines if line.startswith("python -m bench.")}
    files = [path for path in (ROOT / "bench").rglob("*.py") if path.name != "command.py"]
    runs = [path for path in files if "run_command(" in path.read_text(encoding="utf-8")]
    verbs = {
        ".".join(path.relative_to(ROOT / "bench").with_suffix("").parts).removesuffix(".__main__") for path in runs
    }
    assert set(listed) == verbs - {"__main__"}
    for verb, line in listed.items():
        assert line.endswith("."), f"{verb}: expected a sentence"
        assert len(line.split()) > 6, f"{verb}: expected a sentence"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("run", "^python -m bench run: expected python -m bench.run$"),
        ("reprot", "^python -m bench reprot: did you mean .*'report'"),
    ],
)
def test_a_command_is_named_with_a_dot(word, message):
    with refused(message):
        listing.main([word, "--help"])


def test_another_python_is_told_which_environment_to_activate():
    """-S leaves out the installed packages, as another Python would."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for verb in ("bench", "bench.run", "bench.report"):
        done = subprocess.run(
            [sys.executable, "-S", "-m", verb], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 2
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ")
        assert ".venv/bin/activate" in line


def test_a_file_that_fails_is_one_line(capsys):
    def main(_):
        raise PermissionError(errno.EACCES, "Permission denied", "private/own.csv")

    with pytest.raises(SystemExit) as caught:
        run_command(main)
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: private/own.csv: Permission denied\n"


@pytest.mark.parametrize("length", [6, 10_000])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_an_output_that_takes_nothing_is_one_line(capsys, monkeypatch, length):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit) as caught:
            run_command(lambda _: write("x" * length) or 0)
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: standard output: No space left on device\n"


def test_an_output_that_is_closed_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(SystemExit) as caught:
        run_command(lambda _: write("a line") or 0)
    sys.stdout.close()
    assert caught.value.code == 0


def test_another_error_of_the_system_keeps_its_traceback():
    def main(_):
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        run_command(main)
