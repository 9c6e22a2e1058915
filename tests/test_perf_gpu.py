"""`bench.perf gpu`: every part runs (small, on a CPU, with graphs that are none), and says what it needs."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.contracts import Unavailable
from bench.perf import __main__ as perf
from bench.perf import gpu

needs_none = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")


@pytest.mark.parametrize("part", [name for name in gpu.PARTS if name != "processes"])
def test_a_part_runs_and_its_numbers_are_finite(part: str, tmp_path: Path) -> None:
    said: list[str] = []
    assert gpu.measure([part], "tiny", said.append, tmp_path / "new" / "gpu.json")
    found = json.loads((tmp_path / "new" / "gpu.json").read_text())
    rows = [row for row in found["rows"] if not row["note"].startswith("not here")]  # a CPU has no tf32
    assert rows
    assert all(row["part"] == part and math.isfinite(row["value"]) for row in rows)
    assert all(any(row["what"] in line for line in said) for row in rows)
    assert found["machine"]["torch"] == torch.__version__
    if part == "agreement":
        differences = {row["what"]: row["value"] for row in rows}
        assert len(differences) == len(rows) == 4
        assert all(value == 0 for value in differences.values()), differences  # on a CPU all of them are the same
    if part == "runs":
        assert {row["unit"] for row in rows} == {"runs per hour", "times", "updates/s"}


def test_a_part_that_fails_is_a_row_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(given: gpu.Plan):
        yield gpu.Row("memory", "before", 1.0, "MiB")
        raise RuntimeError("out of luck\nand more")

    monkeypatch.setattr(
        gpu, "PARTS", {"memory": fails, "lstm": lambda given: iter([gpu.Row("lstm", "after", 2.0, "us")])}
    )
    said: list[str] = []
    assert not gpu.measure(["memory", "lstm"], "tiny", said.append, tmp_path / "gpu.json")
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert [(row["what"], row["value"]) for row in rows] == [("before", 1.0), ("failed", None), ("after", 2.0)]
    assert rows[1]["note"] == "RuntimeError: out of luck"


@pytest.mark.slow
def test_processes_that_share_a_device() -> None:
    slices, service = gpu.processes_part(gpu.plan("tiny"))
    assert slices.value > 0
    assert "time slicing" in slices.what
    assert "not installed" in service.note


def test_the_bound_is_the_chain_until_the_arithmetic_takes_longer() -> None:
    assert gpu.SMALL.bound(1) == gpu.SMALL.bound(32) == pytest.approx(0.816e-3)
    assert gpu.SMALL.bound(128) == pytest.approx(3.2e-3)
    assert gpu.MEDIUM.bound(32) == pytest.approx(8e-3)


def test_mean_utilisation_of_nothing_is_no_number() -> None:
    with gpu.Utilisation(torch.device("cpu")) as busy:
        pass
    assert math.isnan(busy.percent)


@needs_none
@pytest.mark.parametrize("name", ["gpu", "gpu.runs"])
def test_without_cuda_one_line_says_what_is_needed(name: str) -> None:
    with pytest.raises(Unavailable, match=r"bench.perf gpu: needs a CUDA device and a CUDA build of torch"):
        perf.main([name])


@needs_none
def test_the_command_ends_with_2_and_needs_torch_and_numpy_only() -> None:
    block = """
import sys, runpy
class Absent:
    known = {"pydantic", "pandas", "pyarrow", "ot", "pooch", "scipy", "yaml", "jinja2", "rich", "joblib", "safetensors"}
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.known:
            raise ImportError(name)
sys.meta_path.insert(0, Absent())
sys.argv = ["bench.perf", "gpu"]
runpy.run_module("bench.perf", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: bench.perf gpu: needs a CUDA device")
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_part_is_named() -> None:
    with pytest.raises(perf.InputError, match=r"unknown part 'gpu.run': did you mean 'gpu.runs'"):
        perf.main(["gpu.run"])
    with pytest.raises(perf.InputError, match="--stacks 0: expected a whole number"):
        perf.main(["gpu.creep", "--stacks", "0"])
