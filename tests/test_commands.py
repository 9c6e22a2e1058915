"""What holds for every command: it is listed, and says in one line what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench import __main__ as listing

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
