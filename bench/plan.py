"""`python -m bench.plan`: how many runs, how long and how much memory.

The prediction comes from earlier runs. Where there are none (of a method, or of a reference), a few updates of each
method, one evaluation and a reference row of each data set are timed. Reference rows count as runs of their own.
"""

from __future__ import annotations

import math
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench import command
from bench.hardware.devices import Device, make_slots, parse_count, parse_devices
from bench.run import add_selection, read_selected

if TYPE_CHECKING:  # what takes seconds to import waits until the options are known to be good
    from bench.engine.estimates import Estimate, Past
    from bench.sweeps.run import Run


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the plan; no run is started."""
    parser = command.parser("plan", "Predict the time and the memory of a sweep before anything starts.")
    add_selection(parser, positional=True)
    given = parser.parse_args(arguments)
    given.grid = given.grid or given.sweep or "quick"
    devices, jobs = parse_devices(given.device), parse_count(given.jobs, "--jobs")
    sweep = read_selected(given)
    for note in sweep.notes:
        sys.stderr.write(f"note: {note}\n")

    from bench.engine.estimates import Past  # here, after the parser, as all that takes long to import
    from bench.engine.progress import clock
    from bench.engine.stack_size import choose
    from bench.engine.tasks import to_do
    from bench.report.formatting import plural
    from bench.store import Store
    from bench.sweeps.stacks import make_stacks

    store = Store(given.results)
    here = (store.path / "runs").is_dir()
    done = store.done() if here else {}
    left = [run for run, _ in to_do(sweep.runs, done)]
    size = choose(given.stack, devices, command.data_dir(given.data), given.plugin, measure=False)
    stacks = make_stacks(left, size)
    command.write(f"{sweep.name}: {len(sweep.runs)} runs, {len(sweep.runs) - len(left)} done, {len(left)} to do")
    if not left:
        return 0
    slots = make_slots(devices, jobs)[: len(stacks)]
    command.write(f"{len(stacks)} stacks on {len(slots)} workers ({', '.join(sorted({slot.name for slot in slots}))})")
    finished = Past(store.runs(), devices[0].kind) if here else None
    known, unknown = _predicted(finished, left)
    pasts, sources, remarks = [finished], list[str](), list[str]()
    if known and finished:
        sources.append(plural(len(finished.runs), "finished run"))
        if not math.isnan(error := finished.error()):
            remarks.append(f"past predictions were typically wrong by a factor of {error:.2f}")
    if unknown:
        pasts.append(_tried(unknown, given, devices[0]))
        more, _ = _predicted(pasts[-1], unknown)
        known += more
        if more:
            sources.append("what was timed")
            remarks.append("starting the workers takes additional time")
    if len(known) < len(left):
        command.write(f"the time and memory of {len(left) - len(known)} of {len(left)} runs cannot be predicted")
    if not known:
        return 0
    wall = sum(guess.seconds for guess in known) / len(slots)
    memory = max(past.memory(stacks) for past in pasts if past) or max(guess.memory for guess in known)
    command.write("; ".join([f"about {clock(wall)}, from {' and '.join(sources)}", *remarks]))
    command.write(f"about {memory / 2**30:.1f} GiB at most per worker, {memory * len(slots) / 2**30:.1f} GiB in all")
    return 0


def _tried(runs: Sequence[Run], given: Namespace, device: Device) -> Past | None:
    """Short trials in the place of past runs, and what was timed in words; none where none was possible."""
    import torch  # here, as the trials: most plans need none of it

    from bench.engine.estimates import Past
    from bench.engine.progress import clock
    from bench.engine.trials import UPDATES, try_runs
    from bench.report.formatting import plural

    found = try_runs(runs, command.data_dir(given.data), torch.device(device.kind))
    count, references = len(found.of("method")), len(found.of("reference"))
    settings = f"{plural(count, 'setting')} of method, backbone and data set"
    source = f"{UPDATES} updates of {settings}, one evaluation" if count else "no training"
    source += f" and {plural(references, 'reference row')}" if references else ""
    missing = f"no finished run in {given.results} to predict {plural(len(runs), 'run')} from"
    command.write(f"{missing}: timed {source} ({clock(found.seconds)})")
    for note in found.notes:
        command.write(f"  {note}")
    if device.kind == "cuda":
        command.write("  the sweep takes less on a GPU, where updates are recorded and runs train as one stack")
    return None if found.runs.empty else Past(found.runs, device.kind)


def _predicted(past: Past | None, runs: Sequence[Run]) -> tuple[list[Estimate], list[Run]]:
    """What the runs that will not be skipped are expected to take, and those of which that is not known.

    Thousands that differ in no cost are asked once.
    """
    guesses: dict[tuple[object, ...], Estimate | None] = {}
    found: list[Estimate] = []
    unknown: list[Run] = []
    for run in (run for run in runs if run.data_sha256):  # without data it is skipped
        route = dict(run.hyper).get("latent_route")
        key = (run.method, route, run.backbone, run.dataset, run.model, run.train, run.diffusion, run.evaluate)
        if key not in guesses:
            guesses[key] = past.predict(run.columns()) if past else None
        if guess := guesses[key]:
            found.append(guess)
        else:
            unknown.append(run)
    return found, unknown


if __name__ == "__main__":
    command.run_command(main)
