"""The tutorial and the README's example are true: every block is executed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_every_block_of_the_tutorial_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": paths, "FOLDER": str(tmp_path), "OMP_NUM_THREADS": "1"}
    words: dict[str, object] = {}
    blocks = BLOCK.findall((ROOT / "bench" / "tutorial.md").read_text())
    assert len(blocks) >= 10
    for language, options, content in blocks:
        option = dict(word.split("=", 1) for word in options.split())
        if "file" in option:
            (tmp_path / option["file"]).write_text(content)
        elif language == "sh":
            folder = ROOT if option.get("cwd") == "repository" else tmp_path
            script = ["bash", "-euo", "pipefail", "-c", content]
            done = subprocess.run(script, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
            assert done.returncode == int(option.get("exit", 0)), f"{content}\n{done.stdout}\n{done.stderr}"
        elif language == "python":
            exec(compile(content, "bench/tutorial.md", "exec"), words)
        else:
            pytest.fail(f"a block of {language} that nothing executes")
    assert (tmp_path / "out" / "report" / "index.html").is_file()


def test_the_readme_shows_the_tutorials_method():
    """One complete example, so that the tutorial's execution proves the README's as well."""
    readme = (ROOT / "README.md").read_text()
    example = next(
        c for _, options, c in BLOCK.findall((ROOT / "bench" / "tutorial.md").read_text()) if "half_kl.py" in options
    )
    assert example in readme


def test_the_readme_names_every_method_and_every_dependency():
    from bench.registry import METHODS

    readme = (ROOT / "README.md").read_text()
    assert not [name for name in METHODS if f"`{name}`" not in readme]
    project = (ROOT / "pyproject.toml").read_text()
    required = re.search(r"^dependencies = \[(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    assert required
    names = re.findall(r'"([A-Za-z0-9-]+)', required[1])
    table = readme[readme.index("## Dependencies") :]
    assert not [name for name in names if name.lower() not in table.lower()]
