"""`python -m bench.plan`: how many runs, how long and how much memory, from what earlier runs took."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench import command
from bench.devices import make_slots, parse_count, parse_devices
from bench.run import add_selection, read_selected, stack_size
from bench.runner import clock, to_do
from bench.stacks import make_stacks
from bench.store import Store
from bench.sweep import Run

# What a phase's seconds grow with: columns of the runs table (1 where a phase has none).
WORK = {
    "train_seconds": ("train.steps", "train.batch_size", "window"),
    "denoiser_seconds": ("diffusion.steps", "diffusion.batch_size"),
    "sample_seconds": ("diffusion.L", "evaluate.n_samples"),
    "evaluate_seconds": (),
}

# What a past run must have in common, from near to far; the first that finds any is used.
ALIKE: tuple[list[str], ...] = (
    ["method", "backbone", "dataset", "latent_route", "model.hidden", "model.latent", "model.layers"],
    ["method", "backbone", "dataset"],
    ["backbone", "dataset"],
    ["backbone", "model.hidden"],
    ["backbone"],
    [],
)


@dataclass(frozen=True)
class Estimate:
    """What one run is expected to take."""

    seconds: float
    memory: float  # bytes


class Past:
    """Finished runs of one kind of device, to predict others from."""

    def __init__(self, runs: pd.DataFrame, device: str) -> None:
        right = (runs.kind == "method") & (runs.status == "ok") & runs.device.str.startswith(device)
        self.runs = runs[right].reset_index(drop=True)

    def predict(self, wanted: dict[str, object], leaving_out: int = -1) -> Estimate | None:
        """From the runs most like it, each phase scaled by its work; None without any past run."""
        runs = self.runs.drop(index=leaving_out) if leaving_out >= 0 else self.runs
        for names in ALIKE:
            alike = runs
            for name in names:
                if name in runs:
                    alike = alike[alike[name] == wanted.get(name)]
            if len(alike):
                return self._from(alike, wanted)
        return None

    def _from(self, alike: pd.DataFrame, wanted: dict[str, object]) -> Estimate:
        seconds = 0.0
        for phase, factors in WORK.items():
            scaled = alike[phase].fillna(0.0)
            for factor in factors:
                if isinstance(target := wanted.get(factor), (int, float)) and target > 0:
                    scaled = scaled * (target / alike[factor].clip(lower=1))
            seconds += float(scaled.median())
        return Estimate(seconds, float(alike.peak_memory_bytes.max()))

    def error(self) -> float:
        """By what factor predictions of past runs from the others were typically wrong; NaN below two runs."""
        ratios = []
        for place, row in enumerate(self.runs.tail(200).to_dict("records")):
            index = place + max(0, len(self.runs) - 200)
            guess = self.predict({str(key): value for key, value in row.items()}, leaving_out=index)
            truth = sum(float(row[phase]) for phase in WORK if row[phase] == row[phase])
            if guess and guess.seconds > 0 and truth > 0:
                ratios.append(abs(math.log(guess.seconds / truth)))
        return math.exp(float(pd.Series(ratios).median())) if ratios else math.nan


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the plan; nothing is trained."""
    parser = command.parser("plan", "Say what a sweep would take, before anything starts.")
    add_selection(parser, positional=True)
    given = parser.parse_args(arguments)
    devices = parse_devices(given.device)
    sweep = read_selected(given)
    for note in sweep.notes:
        sys.stderr.write(f"note: {note}\n")
    store = Store(given.results)
    here = (store.path / "runs").is_dir()
    done = store.done() if here else {}
    left = [run for run, _ in to_do(sweep.runs, done)]
    stacks = make_stacks(left, stack_size(given.stack, devices))
    command.write(f"{sweep.name}: {len(sweep.runs)} runs, {len(sweep.runs) - len(left)} done, {len(left)} to do")
    if not left:
        return 0
    slots = make_slots(devices, parse_count(given.jobs, "--jobs"))[: len(stacks)]
    command.write(f"{len(stacks)} stacks on {len(slots)} workers ({', '.join(sorted({slot.name for slot in slots}))})")
    past = Past(store.results()[0], devices[0].kind) if here else None
    guesses = [past.predict(dict(run.columns())) for run in left if _trains(run)] if past else []
    known = [guess for guess in guesses if guess]
    if not known or past is None:
        command.write(f"no finished run in {given.results} to predict time and memory from")
        return 0
    wall = sum(guess.seconds for guess in known) / len(slots)
    memory = max(guess.memory for guess in known)
    error = past.error()
    typical = "" if math.isnan(error) else f"; past predictions were typically wrong by a factor of {error:.2f}"
    command.write(f"about {clock(wall)}, from {len(past.runs)} finished runs{typical}")
    command.write(f"about {memory / 2**30:.1f} GiB at most per worker, {memory * len(slots) / 2**30:.1f} GiB in all")
    return 0


def _trains(run: Run) -> bool:
    """Whether a run takes any time worth predicting."""
    return run.kind == "method" and bool(run.data_sha256)


if __name__ == "__main__":
    command.run_command(main)
