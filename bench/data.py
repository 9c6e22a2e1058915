"""`python -m bench.data`: list, describe, fetch and verify data sets."""

from __future__ import annotations

import inspect
import warnings
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from bench import command
from bench.contracts import DatasetSpec, InputError, Unavailable
from bench.registry import DATASETS, load_plugins


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0: done. 1: `verify` found a file with an unexpected content. 2: bad input."""
    given = _parser().parse_args(arguments)
    load_plugins(given.plugin)
    data = command.data_dir(given.data)
    if given.verb == "describe":
        return _describe(given, data)
    if given.verb == "fetch":
        return _fetch(given, data)
    if given.verb == "verify":
        return _verify(given.name, data)
    return _list(data)


def _parser() -> command.Parser:
    parser = command.parser("data", "List, describe, download and verify data sets.")
    shared = command.Parser(add_help=False)
    shared.add_argument("--data", metavar="DIR", help="the data folder (default: the variable BENCH_DATA)")
    command.add_plugin(shared)
    verbs = parser.add_subparsers(dest="verb", required=True, parser_class=command.Parser, metavar="VERB")
    verbs.add_parser("list", parents=[shared], help="names, kinds, and whether the files are there")
    describe = verbs.add_parser("describe", parents=[shared], help="the card, the windows, and a figure")
    describe.add_argument("name", metavar="NAME", help="a data set, or csv:PATH, parquet:PATH, npz:PATH")
    describe.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the data set")
    describe.add_argument("--seed", type=int, default=0, help="seed of the split (default: 0)")
    describe.add_argument("--out", type=Path, default=Path("results/data"), metavar="DIR", help="folder of the figure")
    describe.add_argument("--draw", action="store_true", help="draw windows of restricted data as well")
    fetching = verbs.add_parser("fetch", parents=[shared], help="download open data sets")
    fetching.add_argument("names", nargs="*", metavar="NAME", help="open data sets (python -m bench.data list)")
    fetching.add_argument("--sweep", metavar="SWEEP", help="the open data sets that a sweep names")
    verify = verbs.add_parser("verify", parents=[shared], help="compare files with their checksums and read them")
    verify.add_argument("name", nargs="?", metavar="NAME", help="a data set (default: all)")
    return parser


def _list(data: Path | None) -> int:
    from bench.loading.description import kind  # here, as in `main`
    from bench.loading.files import remotes, stored

    rows = []
    for name in DATASETS:
        dataset = DATASETS[name]
        found = [stored(remote, data) is not None for remote in remotes(dataset)]
        here = "-" if not found else "yes" if all(found) else "partly" if any(found) else "no"
        rows.append((name, kind(dataset), here, (inspect.getdoc(dataset) or "").splitlines()[0]))
    command.write_table(rows, ("name", "kind", "here", "what it is"))
    return 0


def _describe(given: Namespace, data: Path | None) -> int:
    from bench.loading.description import as_read, card, contents, draw, kind  # here, as in `main`
    from bench.loading.windows import load_recordings, load_splits, open_dataset
    from bench.sweeps.expand import named_dataset
    from bench.sweeps.options import parse_setting

    if given.seed < 0:
        raise InputError(f"--seed {given.seed}: expected a whole number >= 0")
    name = given.name.partition(":")[0]
    if name not in DATASETS and Path(given.name).is_file():
        raise InputError(
            f"bench.data describe {given.name}: a file of your own is named csv:{given.name} (or parquet:, npz:)"
        )
    spec = named_dataset(given.name, "bench.data describe", [parse_setting(text) for text in given.set])
    dataset = open_dataset(spec)
    about = "\n".join(card(dataset))
    if kind(type(dataset)) == "your own" and not getattr(dataset, "path", ""):
        command.write(f"{about}\n\nno file was given: {name}:PATH describes yours")
        return 0
    try:
        recordings = load_recordings(spec, given.seed, data)
        understood = as_read(recordings)
        for line in understood:  # before anything is divided, which may fail for what is said here
            command.write(line)
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            splits = load_splits(spec, given.seed, data)
    except Unavailable as reason:
        command.write(f"{about}\n\nnot here: {reason}")
        return 0
    for text in dict.fromkeys(str(warning.message) for warning in raised):
        command.write(f"WARNING: {text}")
    command.write(f"\n{about}\n" if understood else f"{about}\n")
    for line in contents(recordings, splits, spec, given.seed):
        command.write(line)
    if dataset.restricted and not given.draw:
        command.write("figure: none, the data are restricted (--draw draws it)")
    else:
        command.write(f"figure: {draw(splits, spec, given.out)}")
    return 0


def _fetch(given: Namespace, data: Path | None) -> int:
    from bench.loading.description import kind  # here, as in `main`
    from bench.loading.fetch import fetch
    from bench.loading.files import places, remotes, stored
    from bench.sweeps.expand import read_sweep

    names = list(given.names)
    for name in names:
        dataset = DATASETS[name]
        if not remotes(dataset):
            why = {
                "restricted": f"restricted: {dataset.licence}; its owner gives access: {dataset.source}",
                "simulated": "simulated: there is nothing to fetch",
                "your own": "reads a file of your own: there is nothing to fetch",
            }[kind(dataset)]
            raise InputError(f"bench.data fetch {name}: {why}")
    if given.sweep:
        swept = dict.fromkeys(run.dataset.name for run in read_sweep(given.sweep, data=data).runs)
        names += [name for name in swept if remotes(DATASETS[name]) and name not in names]
    elif not names:
        known = [name for name in DATASETS if remotes(DATASETS[name])]
        raise InputError(f"bench.data fetch: expected a NAME ({', '.join(known)}) or --sweep")
    folder = data or next(iter(places(None)), None)
    if folder is None:
        raise InputError("bench.data fetch: there is no home folder to put data in: expected --data DIR or BENCH_DATA")
    for name in names:
        for remote in remotes(DATASETS[name]):
            here = stored(remote, data)
            if given.sweep and here:
                command.write(f"{name}: {here} is there already")
                continue
            command.write(f"{name}: {remote.url}")
            command.write(f"  -> {fetch(remote, folder)}")
    return 0


def _verify(name: str | None, data: Path | None) -> int:
    from bench.loading.description import checked, kind  # here, as in `main`
    from bench.loading.files import remotes, stored
    from bench.loading.windows import open_dataset
    from bench.randomness import numpy_generator

    names = [name] if name else [name for name in DATASETS if kind(DATASETS[name]) in ("open", "restricted")]
    rows, bad = [], False
    for each in names:
        for remote in remotes(DATASETS[each]):
            verdict = checked(remote, stored(remote, data))
            bad |= verdict.startswith("DIFFERS")
            rows.append((each, remote.path, verdict))
        try:
            dataset = open_dataset(DatasetSpec(each))
            recordings = dataset.load(data, numpy_generator(each, 0, "data"))
            count = sum(len(series) for series in recordings.series)
            rows.append((each, "reads", f"{count:,} rows in {len(recordings.series):,} series"))
        except Unavailable as reason:
            rows.append((each, "not here", str(reason)))
        except InputError as fault:
            bad = True
            rows.append((each, "UNUSABLE", str(fault)))
    command.write_table(rows, ("name", "file", "result"))
    return int(bad)


if __name__ == "__main__":
    command.run_command(main)
