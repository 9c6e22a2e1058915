"""`python -m bench.run`: do the runs of a sweep that are not done yet."""

from __future__ import annotations

import gc
import shlex
import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import command
from bench.contracts import InputError, nearest
from bench.hardware.devices import (
    Device,
    make_slots,
    parse_count,
    parse_devices,
    parse_duration,
    parse_size,
    slots_that_fit,
)
from bench.registry import load_plugins

BAD = ("failed", "oom", "timeout", "killed")
RETRIED = ("diverged", *BAD, "skipped")


def main(arguments: Sequence[str] | None = None, answered: bool = False) -> int:
    """Exit 0: every run is ok, diverged or skipped with a reason. 1: some are not. 2: bad input. 130: Ctrl-C.

    answered: by the command that calls this, about these runs alone. No table is printed, and the sweep's list holds
    these runs only, in place of those of an earlier call with other settings.
    """
    given = _parser().parse_args(arguments)
    gc.set_threshold(100_000)  # millions of objects stay in a large sweep: looking for cycles took a sixth of it
    line = shlex.join(["python", "-m", "bench.run", *(sys.argv[1:] if arguments is None else arguments)])
    for flag, value, other, beside in (
        ("--max-seeds", given.max_seeds, "--until-resolved", given.until_resolved),
        ("--no-shared-fs", given.no_shared_fs or None, "--cluster", given.cluster),
    ):
        if value is not None and not beside:
            raise InputError(f"{flag} has no effect without {other} (see --help)")
    if not given.until_resolved:
        return _run(given, line, answered)
    if given.max_seeds is None or given.max_seeds < 1:
        raise InputError(f"--max-seeds {given.max_seeds}: expected a whole number >= 1 with --until-resolved")
    return _run_until_resolved(given, line)


def _run_until_resolved(given: Namespace, line: str) -> int:
    """One more seed at a time, only on data sets where other methods are not significantly worse than the best one.

    Testing again after every seed is optional stopping: each test has a level of its own, and all together have 5 %.
    """
    # imported here, because only a sweep with --until-resolved reads its own report, and these imports take time
    from bench.report.cards import metric_facts
    from bench.report.cells import cells_of
    from bench.report.ranking import groups_of
    from bench.report.selection import load
    from bench.report.statistics import level_of_look

    sweep = read_selected(given)
    if any(run.split_seed is not None for run in sweep.runs):
        raise InputError("--until-resolved adds seeds one by one: expected `seeds` as a number or a list")
    specs = {(run.dataset.key, run.dataset.shuffle): run.dataset for run in sweep.runs}
    seed = max(run.seed for run in sweep.runs) + 1
    first = count = len({run.seed for run in sweep.runs})
    most = max(given.max_seeds, first)
    command.write(f"looks at {first} to {most} seeds share a level of 5 % (O'Brien-Fleming spending)")
    status = _run(given, line)
    while status in (0, 1) and not given.dry_run:
        level = level_of_look(count, first, most)
        groups = groups_of(cells_of(load(Path(given.results), sweep.name)), metric_facts(), None, level)
        unclear = [group for group in groups if any(place.place == "tie" for place in _places(group))]
        keys = dict.fromkeys((group.dataset, group.shuffle) for group in unclear)
        wanted = [specs[key] for key in keys if key in specs]  # the folder may hold more than was asked for
        names = ", ".join(spec.key for spec in wanted)
        if not wanted or count >= given.max_seeds:
            command.write(f"not resolved with {count} seeds: {names}" if wanted else f"resolved with {count} seeds")
            command.write("The report tests at 5 % as if this were the only look; the line above is corrected for all.")
            return status
        command.write(f"not resolved at level {level:.2g} ({count} seeds): {names}: one more seed ({seed})")
        given.dataset, given.seeds = wanted, f"{seed}:{seed + 1}"
        status = max(status, _run(given, line))
        seed, count = seed + 1, count + 1
    return status


def _places(group: Any) -> Iterable[Any]:
    """Standings in the first quality column: what the ranking of a report is about."""
    column = next(iter(group.quality), None)
    return group.standings[column.metric].values() if column else ()


def run_sweep(sweep: Any, flags: Sequence[str], line: str) -> int:
    """Do the runs of a `bench.sweeps.expand.Sweep` that another command has made; returns the exit status.

    flags: of this command, beside those that select runs. line: the command that the sweep's list names; the list keeps
    what it held before.
    """
    return _run(_parser().parse_args(flags), line, answered=True, made=sweep)


def _run(given: Namespace, line: str, answered: bool = False, made: Any = None) -> int:
    retry = _statuses(given.retry)
    jobs, per_device = parse_count(given.jobs, "--jobs"), parse_count(given.slots_per_device, "--slots-per-device")
    seconds = None if given.time_limit is None else parse_duration(given.time_limit, "--time-limit")
    memory = None if given.memory_limit is None else parse_size(given.memory_limit, "--memory-limit")
    if given.max_retries < 0:
        raise InputError(f"--max-retries {given.max_retries}: expected a whole number >= 0")
    devices = parse_devices(given.device) if given.cluster is None else _elsewhere(given.device)
    parse_count(given.stack, "--stack")
    sweep = made or read_selected(given)
    for note in sweep.notes:
        sys.stderr.write(f"note: {note}\n")

    from bench.engine.estimates import Past
    from bench.engine.stack_size import choose
    from bench.engine.supervisor import Limits, Supervisor
    from bench.engine.tasks import to_do
    from bench.engine.workers import LocalWorker
    from bench.store import Store
    from bench.sweeps.stacks import make_stacks

    store = Store(given.results)
    done = store.done() if store.path.exists() else {}
    left = to_do(sweep.runs, done, retry, given.max_retries)
    attempts = {run.run_id: attempt for run, attempt in left}
    listing = given.dry_run or given.explain is not None
    place = devices, command.data_dir(given.data), given.plugin
    stacks = make_stacks((run for run, _ in left), choose(given.stack, *place, measure=not listing))
    if given.explain is not None:
        from bench.sweeps.explain import explain

        command.write("\n".join(explain(given.explain, sweep.runs, store.runs(), attempts, given.results)))
        return 0
    if given.dry_run:
        _list(sweep.runs, done, attempts, len(stacks))
        return 0

    cluster = _connect(given, devices[0]) if stacks else None
    interrupted, ended = 0, {}
    try:
        store.prepare()
        labels = {run.run_id: run.label for run in sweep.runs}
        narrowed = bool(given.method or given.dataset or given.backbone or given.seeds) and not answered
        stated = sweep.equivalence, sweep.contrasts
        store.write_membership(sweep.name, labels, sweep.description, line, narrowed or made is not None, *stated)
        if not stacks and not given.quiet:
            command.write(f"nothing to do: all {len(sweep.runs)} runs are done")
        if stacks:
            pairs = [(stack, max(attempts[run_id] for run_id in stack.run_ids)) for stack in stacks]
            limits = Limits(given.max_retries, seconds, memory)
            if cluster:
                workers = cluster.workers(jobs, store)
            else:
                if jobs is None and per_device is None and done:
                    per_device = slots_that_fit(devices, Past(store.runs(), devices[0].kind).memory(stacks))
                workers = [LocalWorker(slot) for slot in make_slots(devices, jobs, per_device)]
            settings = _settings(given, store, devices[0])
            progress = _progress(given, store, sweep.runs)
            supervisor = Supervisor(store, settings, workers[: len(stacks)], limits, progress)
            report = supervisor.run(pairs, len(sweep.runs) - len(left))
            interrupted, ended = report.interrupted, report.statuses
    finally:
        if cluster:
            cluster.close()
    # Files that workers on other machines wrote may not be visible on this machine yet.
    statuses = {run_id: done.status for run_id, done in store.done().items()} | ended
    if not answered and not given.quiet:
        _summary(sweep.runs, store, statuses)
        again = ["python", "-m", "bench.report", "--results", given.results]
        again += command.plugin_flags(given.plugin)
        command.write(f"To render the report: {shlex.join(again)}")
    if interrupted:
        command.write("interrupted: start the same command again to go on")
        return 128 + interrupted
    return int(any(statuses.get(run.run_id, "killed") in BAD for run in sweep.runs))


def add_selection(parser: command.Parser, positional: bool = False) -> None:
    """Add the flags that select the runs, the devices and the results folder."""
    add = parser.add_argument
    what = "a sweep file, or the name of a shipped sweep (quick)"
    if positional:  # as a word or, as for the other commands, with --grid; `plan` takes the one that is given
        one = parser.add_mutually_exclusive_group()
        one.add_argument("sweep", nargs="?", metavar="SWEEP", help=what)
        one.add_argument("--grid", metavar="SWEEP", help="the same, as an option")
    else:
        add("--grid", default="quick", metavar="SWEEP", help=what)
    add("--reduced", action="store_true", help="the sweep's smaller form (the block `reduced` of its file)")
    add("--method", action="append", default=[], metavar="NAME", help="only this method or label (repeatable)")
    add("--dataset", action="append", default=[], metavar="NAME", help="use this data set instead (repeatable)")
    add("--backbone", action="append", default=[], metavar="NAME", help="use this backbone instead (repeatable)")
    add("--seeds", metavar="LIST", help="use these seeds instead: 0:5 (0 to 4) or 1,2,7")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="train.steps=500, N=20, ... (repeatable)")
    add("--jobs", default="auto", metavar="N|auto", help="number of workers (auto: one per core, or up to 4 per GPU)")
    add(
        "--stack", default="auto", metavar="K|auto", help="runs that train as one (auto: 1 on a CPU; measured on a GPU)"
    )
    add("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda or cuda:0,cuda:1")
    add("--results", default="results", metavar="DIR", help="the results folder (default: results)")
    add("--data", metavar="DIR", help="the folder of the real data (default: the variable BENCH_DATA)")
    command.add_plugin(parser)


def read_selected(given: Namespace) -> Any:
    """The `bench.sweeps.expand.Sweep` that the flags of `add_selection` ask for. Raises InputError."""
    data = command.data_dir(given.data)
    load_plugins(given.plugin)

    from bench.sweeps.expand import Selection, read_sweep
    from bench.sweeps.options import parse_seeds

    seeds = () if given.seeds is None else parse_seeds(given.seeds)
    chosen = (tuple(given.method), tuple(given.dataset), tuple(given.backbone), seeds, tuple(given.set), given.reduced)
    return read_sweep(given.grid, Selection(*chosen), data)


def _parser() -> command.Parser:
    parser = command.parser("run", "Do the runs of a sweep that are not done yet, and write what was measured.")
    add_selection(parser)
    add = parser.add_argument
    slots = "workers per device (auto: as many as the memory of similar earlier runs allows, at most one per core; "
    slots += "without earlier runs up to 4 per GPU, of which one trains while the others score)"
    add("--slots-per-device", default="auto", metavar="N|auto", help=slots)
    add("--cluster", metavar="ADDRESS", help="a dask scheduler: tcp://HOST:8786, or local:4 to start one here")
    add("--no-shared-fs", action="store_true", help="the cluster's workers do not see --results; send results back")
    add("--retry", default="", metavar="LIST", help=f"repeat runs that ended with these statuses: {','.join(RETRIED)}")
    add("--max-retries", type=int, default=2, metavar="N", help="repetitions after a crash or lack of memory (2)")
    add("--time-limit", metavar="TIME", help="limit per run, such as 90s, 10m or 2h (waiting for a shared GPU counts)")
    add("--memory-limit", metavar="SIZE", help="limit per worker, such as 4G")
    keep = "store weights and samples (default), samples, or nothing; restricted: all, of restricted data as well"
    add("--keep", choices=("all", "samples", "none", "restricted"), default="all", help=keep)
    save = "write generated series to DIR/samples: in units as RUN_ID.parquet (default), or minmax: as RUN_ID.npy, "
    save += "from 0 to 1 as the literature has them; bench.evaluate --samples reads it"
    add("--save-samples", nargs="?", const="units", default="", choices=("units", "minmax"), help=save)
    add("--deterministic", action="store_true", help="bit-identical results on a GPU; a run without them fails")
    add("--kernels", choices=("auto", "plain"), default="auto", help="plain: no CUDA graphs and no fused LSTM on a GPU")
    add(
        "--until-resolved",
        action="store_true",
        help="add seeds where other methods are not significantly worse than the best one",
    )
    add("--max-seeds", type=int, metavar="S", help="with --until-resolved: no more than S seeds per data set")
    add("--dry-run", action="store_true", help="list the runs, done and to do, and end")
    add("--explain", metavar="RUN", help="say why this run (the beginning of its run_id) is done or not, and end")
    add("--quiet", action="store_true", help="print only what went wrong")
    return parser


def _statuses(text: str) -> list[str]:
    words = [word for word in text.split(",") if word]
    for word in words:
        if word not in RETRIED:
            raise InputError(f"--retry {text}: unknown status '{word}': {nearest(word, RETRIED)}")
    return words


def _settings(given: Namespace, store: Any, device: Device) -> Any:
    from bench.engine.job import JobSettings

    plugins = tuple(str(Path(plugin).resolve()) for plugin in given.plugin)
    place, data = store.path.resolve(), command.data_dir(given.data)
    how = given.save_samples, given.kernels, given.deterministic
    return JobSettings(place, data, device.kind, given.keep, plugins, *how)


def _progress(given: Namespace, store: Any, runs: Sequence[Any]) -> Any:
    from bench.engine.progress import Lines, Silent

    if given.quiet:
        return Silent()
    if not sys.stderr.isatty():
        return Lines()
    from bench.engine.screen import Screen, Title

    names = varying(runs)
    return Screen(
        store,
        {run.run_id: Title(_place(run), _title(run, names), run.seed, run.kind == "method") for run in runs},
    )


def _elsewhere(text: str) -> list[Device]:
    """--device with --cluster: a kind, because the devices are the cluster's."""
    if text not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device {text}: expected cpu or cuda with --cluster")
    return [Device("cuda" if text == "cuda" else "cpu")]


def _connect(given: Namespace, device: Device) -> Any:
    """The cluster of --cluster, or None."""
    if given.cluster is None:
        return None
    from bench.engine.cluster import Cluster

    return Cluster(given.cluster, device.kind, shared=not given.no_shared_fs)


# ---------------------------------------------------------------- output


def varying(runs: Iterable[Any]) -> dict[str, list[str]]:
    """Per label, the hyper-parameters that differ between its runs."""
    values: dict[str, dict[str, set[Any]]] = {}
    for run in {_variant(run): run for run in runs}.values():
        fields = values.setdefault(run.label, {})
        for name, value in _settings_of(run).items():
            fields.setdefault(name, set()).add(value)
    return {label: [name for name, seen in fields.items() if len(seen) > 1] for label, fields in values.items()}


def _variant(run: Any) -> tuple[int, ...]:
    """The objects that all seeds of a variant share; a hundred thousand runs may refer to them."""
    return id(run.label), id(run.hyper), id(run.model), id(run.train), id(run.diffusion)


def _settings_of(run: Any) -> dict[str, Any]:
    blocks = {"model": run.model, "train": run.train, "diffusion": run.diffusion}
    inside = {f"{block}.{name}": value for block, config in blocks.items() for name, value in vars(config).items()}
    return {**dict(run.hyper), **inside}


def _title(run: Any, names: Mapping[str, list[str]]) -> str:
    hyper = dict(run.hyper)

    def value(name: str) -> Any:
        block, dot, key = name.partition(".")
        return getattr(getattr(run, block), key) if dot else hyper[name]

    return " ".join([run.label, *(f"{name}={value(name)}" for name in names[run.label])])


def _place(run: Any) -> str:
    return f"{run.dataset.key}{' (shuffled)' if run.dataset.shuffle else ''}"


def _list(runs: Sequence[Any], done: Mapping[str, Any], attempts: Mapping[str, int], stacks: int) -> None:
    variants = [_variant(run) for run in runs]
    first = dict(zip(variants, runs, strict=True))
    names = varying(first.values())
    titles = {variant: _title(run, names) for variant, run in first.items()}
    rows = []
    for run, variant in zip(runs, variants, strict=True):
        past = done[run.run_id].status if run.run_id in done else ""
        state = f"to do again ({past})" if past and run.run_id in attempts else past or "to do"
        rows.append((run.run_id, state, _place(run), run.backbone or "-", f"seed {run.seed}", titles[variant]))
    command.write_table(rows)
    command.write(f"{len(runs)} runs: {len(runs) - len(attempts)} done, {len(attempts)} to do in {stacks} stacks")


def _summary(runs: Sequence[Any], store: Any, statuses: Mapping[str, str]) -> None:
    """A table per data set, with a row for each method, setting and backbone; a line per reason of a skip."""
    # imported here, because only a sweep that has run reads its results, and these imports take time
    from bench.report.cards import metric_facts
    from bench.report.selection import select
    from bench.report.summary import Line, Summary
    from bench.store import Membership

    asked = Membership(runs[0].sweep, "", "", "", {run.run_id: run.label for run in runs})
    table, at_end, during = store.results_apart()
    selection = select(table, at_end, during, store.curves, asked, store.path, runs[0].evaluate.split)
    names = varying(runs)
    lines: dict[tuple[str, str, str], Line] = {}
    for run in runs:
        what = _place(run), _title(run, names), run.backbone
        lines.setdefault(what, Line(*what, [])).run_ids.append(run.run_id)
    skipped = [run for run in runs if statuses.get(run.run_id) == "skipped"]
    unmeasured = {run.run_id for run in skipped}
    measured = [line for line in lines.values() if not unmeasured.issuperset(line.run_ids)]
    summary = Summary(selection, measured, statuses, metric_facts())
    for shown in summary.tables:
        command.write()
        command.write_table(shown.rows, shown.heads)
    if measured:
        command.write()
        for line in summary.legend:
            command.write(line)
    if skipped:
        reasons = table.set_index("run_id").reason
        command.write()
        for line in command.by_reason((_place(run), str(reasons[run.run_id])) for run in skipped):
            command.write(f"skipped: {line}")


if __name__ == "__main__":
    command.run_command(main)
