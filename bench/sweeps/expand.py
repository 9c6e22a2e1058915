"""A sweep file -> the runs it asks for.

A sweep names data sets, methods, backbones and seeds; its runs are their product, with every `grid` multiplied out.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bench.command import by_reason
from bench.contracts import (
    ONE_SPLIT,
    TRAINING_BLOCKS,
    Contrast,
    DatasetSpec,
    DiffusionConfig,
    EvaluateConfig,
    InputError,
    ModelConfig,
    Splits,
    TrainConfig,
    Unavailable,
    nearest,
)
from bench.loading.references import EVERY_REFERENCE, REFERENCES, references_of
from bench.parts.stopping_times import StoppingTimes, schedule_end
from bench.registry import METHODS
from bench.sweeps.file import (
    BackboneEntry,
    DatasetEntry,
    MethodEntry,
    SplitSeeds,
    SweepFile,
    find_sweep,
    parse_dataset_entry,
    read_file,
    seed_pairs,
)
from bench.sweeps.options import (
    check_backbones,
    check_contrasts,
    check_equivalence,
    check_metrics,
    checked,
    dataset_spec,
    sort_settings,
    target,
)
from bench.sweeps.run import BLOCKS, Run, plain_fields

Own = Mapping[str, Mapping[str, Any]]
"""Options by block: those of the command line, or what the `set` of a data set or of a backbone says."""


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep file, in a fixed order, and notes for the user."""

    name: str
    description: str
    runs: tuple[Run, ...]
    notes: tuple[str, ...] = ()
    equivalence: Mapping[str, float] = dataclasses.field(default_factory=dict)  # metric -> the bound of the report
    contrasts: tuple[Contrast, ...] = ()


@dataclass(frozen=True)
class Selection:
    """What the command line changes about a sweep file."""

    methods: tuple[str, ...] = ()  # names or labels to keep
    datasets: tuple[str | DatasetSpec, ...] = ()  # replace the file's; a relative path of a word is the caller's
    backbones: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    settings: tuple[str, ...] = ()  # KEY=VALUE
    reduced: bool = False  # the file's smaller form


@dataclass(frozen=True)
class Variant:
    """One row of the product over a method's grid."""

    label: str
    method: str
    hyper: tuple[tuple[str, Any], ...]
    model: ModelConfig
    train: TrainConfig
    diffusion: DiffusionConfig


def read_sweep(source: str | Path, selection: Selection | None = None, data: Path | None = None) -> Sweep:
    """Read, check and multiply out a sweep file. Raises InputError, one line per mistake.

    The windows of every (data set, seed) are made once, because their hash is part of a run's identity.
    """
    path, selection = find_sweep(source), selection or Selection()
    parsed = read_file(path, selection.reduced)
    if parsed.reduced and not selection.reduced:
        _resolved(read_file(path, reduced=True), f"{path}: reduced", Selection())  # checked even if not asked for
    return _expand(parsed, str(path), selection, data)


def variants_of(file: SweepFile, entry: Mapping[str, Any], place: str) -> list[Variant]:
    """What a method entry of a file asks for, resolved and checked. Raises InputError."""
    blocks = {name: checked(block, getattr(file, name), place, name) for name, block in BLOCKS.items()}
    chosen = _selected([MethodEntry.model_validate(entry)], (), place)
    return [variant for entry in chosen for variant in _variants(entry, blocks, {}, place)]


class _Resolved(NamedTuple):
    """What a sweep asks for, every option checked, before any windows are made."""

    evaluate: EvaluateConfig
    contrasts: tuple[Contrast, ...]
    asked: dict[DatasetSpec, tuple[dict[str, Any], list[dict[str, Any]]]]  # see `_asked`
    entries: list[MethodEntry]
    settings: Own  # of the command line


def _resolved(parsed: SweepFile, place: str, selection: Selection) -> _Resolved:
    entries = _selected(parsed.methods, selection.methods, place)
    settings = sort_settings(selection.settings, [METHODS[entry.name] for entry in entries])
    blocks = _blocks(parsed, [settings], place)
    check_metrics(blocks["evaluate"].metrics, place)
    check_equivalence(parsed.equivalence, place)
    contrasts = tuple(Contrast(**entry.model_dump()) for entry in parsed.contrasts)
    check_contrasts(contrasts, _settings(parsed.methods), [entry.name for entry in parsed.datasets], place)
    specs = _specs(parsed, selection.datasets, place)
    asked = _asked(parsed, specs, _backbones(parsed, selection.backbones, place), entries, settings, place)
    return _Resolved(blocks["evaluate"], contrasts, asked, entries, settings)


def _expand(parsed: SweepFile, place: str, selection: Selection, data: Path | None) -> Sweep:
    evaluate, contrasts, asked, entries, settings = _resolved(parsed, place, selection)
    seeds = selection.seeds or parsed.seeds
    splits = seeds.splits if isinstance(seeds, SplitSeeds) else 1

    notes = _without_use([fields for _, variants in asked.values() for fields in variants], place)
    absent: dict[DatasetSpec, str] = {}
    runs: dict[str, Run] = {}
    for (seed, split), spec in itertools.product(seed_pairs(seeds), asked):
        shared: dict[str, Any] = {"sweep": parsed.name, "dataset": spec, "seed": seed, "evaluate": evaluate}
        shared["split_seed"] = split
        found = _windows(spec, seed if split is None else split, data, absent, place)
        shared["data_sha256"], division = (found.sha256, found.division) if found else ("", "")
        if splits > 1 and division in ONE_SPLIT:
            raise InputError(
                f"{place}: seeds.splits = {splits}: {spec.key} has one split ({division}), expected 1 (its "
                "initialisations may be many), or a sweep of its own"
            )
        if found:
            from bench.loading.windows import without_effect  # here, as in `_windows`

            notes += [f"{place}: {spec.key}: {note}" for note in without_effect(spec, found)]
        training, variants = asked[spec]
        rows: list[Run] = [
            Run(label=name, method=name, hyper=(), backbone="", kind="reference", **training, **shared)
            for name in (references_of(found) if found else REFERENCES)
        ]
        rows += [Run(**fields, **shared) for fields in variants]
        for run in rows:
            first = runs.setdefault(run.run_id, run)
            if first is not run:
                notes.append(f"{place}: {_same(first.label, run.label, entries, settings)}")
    without = by_reason((run.dataset.key, absent[run.dataset]) for run in runs.values() if run.dataset in absent)
    notes += [f"will be skipped: {line}" for line in without]
    notes = list(dict.fromkeys(notes))
    return Sweep(parsed.name, parsed.description, tuple(runs.values()), tuple(notes), parsed.equivalence, contrasts)


def _same(first: str, second: str, entries: Sequence[MethodEntry], settings: Own) -> str:
    """Why two rows are one run: --set replaced what one of them sets by itself, or the file asks for it twice."""
    if first == second:
        return f"the same run is asked for twice and done once: '{first}'"
    for entry in (entry for entry in entries if (entry.label or entry.name) in (first, second)):
        label = entry.label or entry.name
        for key in (*entry.set, *entry.grid):
            block, name = target(key, METHODS[entry.name], label)
            if name in settings.get(block, {}):
                other = first if label == second else second
                return (
                    f"--set {key}={settings[block][name]} replaces what '{label}' has of its own: it is the same run "
                    f"as '{other}' now, and is done once"
                )
    return f"the same run is asked for twice and done once: '{first}' and '{second}'"


def _blocks(parsed: SweepFile, layers: Sequence[Own], place: str) -> dict[str, Any]:
    """The file's blocks with every layer over those before it."""
    given = {name: dict(getattr(parsed, name)) for name in BLOCKS}
    for layer, name in itertools.product(layers, BLOCKS):
        given[name].update(layer.get(name, {}))
    return {name: checked(block, given[name], place, name) for name, block in BLOCKS.items()}


def _asked(
    parsed: SweepFile,
    specs: Mapping[DatasetSpec, Own],
    backbones: Mapping[str, Own],
    entries: Sequence[MethodEntry],
    settings: Own,
    place: str,
) -> dict[DatasetSpec, tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Of every data set: the blocks that training reads, and the fields of every variant on every backbone."""
    made: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {}  # few data sets have settings of their own
    for spec, own in specs.items():
        if repr(own) not in made:
            here = f"{place}: {spec.key}" if own else place
            shared, variants = _blocks(parsed, [own, settings], here), []
            for backbone, changed in backbones.items():
                there = f"{here}: {backbone}" if changed else here
                blocks = _blocks(parsed, [own, changed, settings], there)
                found = [variant for entry in entries for variant in _variants(entry, blocks, settings, there)]
                variants += [{"backbone": backbone, **_fields_of(variant)} for variant in found]
            made[repr(own)] = {name: shared[name] for name in TRAINING_BLOCKS}, variants
    return {spec: made[repr(own)] for spec, own in specs.items()}


def _without_use(variants: Iterable[Mapping[str, Any]], place: str) -> list[str]:
    """A note for every option of a method that was set and changes nothing beside the others."""
    notes = []
    for fields in variants:
        cls, hyper = METHODS[fields["method"]], dict(fields["hyper"])
        usual = {**{item.name: item.default for item in dataclasses.fields(cls)}, **cls.defaults(fields["diffusion"])}
        notes += [
            f"{place}: {fields['label']}: {name} = {hyper[name]} changes nothing beside the other options of "
            f"{cls.name}: its runs have identities of their own and the numbers of those without it"
            for name in cls(**hyper).without_use()
            if hyper[name] != usual[name]
        ]
    return notes


def _settings(entries: Iterable[MethodEntry]) -> Counter[str]:
    """Label -> how many settings its entries ask for."""
    found: Counter[str] = Counter()
    for entry in entries:
        found[entry.label or entry.name] += math.prod(len(values) for values in entry.grid.values())
    return found


def _fields_of(variant: Variant) -> dict[str, Any]:
    return {item.name: getattr(variant, item.name) for item in dataclasses.fields(variant)}


def _windows(
    spec: DatasetSpec, seed: int, data: Path | None, absent: dict[DatasetSpec, str], place: str
) -> Splits | None:
    """The windows of a data set under a seed; none where the data are not here. An error of an option names `place`."""
    from bench.loading.windows import load_splits  # here, as it imports torch: a mistake in a file is reported before

    try:
        return load_splits(spec, seed, data)
    except Unavailable as error:
        absent[spec] = str(error)
        return None
    except InputError as error:
        if str(error).startswith(spec.name):
            raise InputError(f"{place}: {error}") from error
        raise InputError(f"datasets: {spec.name}: {error}") from error  # a file's own complaint names the file only


def _selected(entries: Sequence[MethodEntry], wanted: Iterable[str], place: str) -> list[MethodEntry]:
    from bench.store import RUNS  # here, as it imports pandas: a mistake in a file is reported before

    for entry in entries:
        if entry.name not in METHODS:
            raise InputError(f"{place}: methods: {METHODS.unknown(entry.name)}")
        if taken := sorted({item.name for item in dataclasses.fields(METHODS[entry.name])} & set(RUNS)):
            raise InputError(
                f"{place}: methods: {entry.name}: its option '{taken[0]}' has the name of a column of the runs table, "
                "expected another"
            )
    owners: dict[str, str] = {}
    for entry in entries:
        label = entry.label or entry.name
        if label in EVERY_REFERENCE or owners.setdefault(label, entry.name) != entry.name:
            whose = "a reference row" if label in EVERY_REFERENCE else f"the method {owners[label]}"
            raise InputError(f"{place}: methods: label '{label}' is that of {whose} as well, expected one of its own")
    names = list(wanted)
    known = {name for entry in entries for name in (entry.name, entry.label) if name}
    for name in names:
        if name not in known:
            raise InputError(f"--method {name}: not in {place}: {nearest(name, known, 'the file')}")
    return [entry for entry in entries if not names or entry.name in names or entry.label in names]


def _variants(entry: MethodEntry, blocks: Mapping[str, Any], settings: Own, place: str) -> Iterator[Variant]:
    """The product of an entry's grid over its `set`; the command line's --set wins over both."""
    cls = METHODS[entry.name]
    label = entry.label or entry.name
    here = f"{place}: {label}"
    axes: list[list[tuple[str, str, Any]]] = []
    written: dict[tuple[str, str], str] = {}
    for source, values in (("set", {key: [value] for key, value in entry.set.items()}), ("grid", entry.grid)):
        for key, choices in values.items():
            block, name = target(key, cls, here)
            if block == "evaluate":
                raise InputError(f"{here}: {key}: expected in the sweep's own evaluate block, the same for all methods")
            if f"{block}.{name}" in cls.without_effect:
                raise InputError(
                    f"{here}: {block}.{name}: changes nothing of {entry.name}, expected no such key here (for other "
                    f"methods the sweep's own {block} block may have it)"
                )
            if name in settings.get(block, {}):
                continue
            if earlier := written.get((block, name)):
                raise InputError(f"{here}: {source}: {key}: expected once, it is already given as {earlier}")
            written[block, name] = f"`{key}` in `{source}`"
            axes.append([(block, name, value) for value in choices])
    own = {item.name for item in dataclasses.fields(cls)}
    fixed = [("method", name, value) for name, value in settings.get("method", {}).items() if name in own]
    built: dict[str, Any] = {}  # the blocks so far: thousands of variants share a few
    for combination in itertools.product(*axes):
        given: dict[str, dict[str, Any]] = {}
        for block, name, value in (*combination, *fixed):
            given.setdefault(block, {})[name] = value
        configs = {name: blocks[name] for name in TRAINING_BLOCKS}
        for name in TRAINING_BLOCKS:
            if name in given:
                if (key := f"{name} {given[name]}") not in built:
                    changed = {**plain_fields(blocks[name]), **given[name]}
                    built[key] = checked(BLOCKS[name], changed, place, f"{label}: {name}")
                configs[name] = built[key]
        method = checked(cls, {**cls.defaults(configs["diffusion"]), **given.get("method", {})}, place, label)
        try:
            method.check(configs["model"], configs["diffusion"])
        except InputError as error:
            raise InputError(f"{here}: {error}") from error
        method = method.resolved(configs["diffusion"])
        _check_schedule(method, configs["train"], here)
        yield Variant(label, entry.name, tuple(plain_fields(method).items()), **configs)


def _check_schedule(method: Any, train: TrainConfig, here: str) -> None:
    """Refuse a fall of a rate that never falls, and a schedule of the method's own that ends too late for a plateau."""
    if train.fall_from == "best" and not train.patience:
        raise InputError(f"{here}: train.fall_from = best: expected train.patience > 0, else the rate never falls")
    share = float(method.schedule_share)
    if not train.patience or not share:
        return
    last, _ = StoppingTimes(train.steps, train.patience).limits(train.steps)
    if (end := schedule_end(share, train.schedule_steps or train.steps)) > last:
        raise InputError(
            f"{here}: train.schedule_steps = {train.schedule_steps}: the schedule of {method.name} ends at update {end}"
            f", and with train.patience the full rate ends at update {last} at the latest, so that no plateau could be "
            f"found: expected 1 to {math.floor(last / share)}"
        )


def _given(entry: DatasetEntry) -> dict[str, Any]:
    return {"name": entry.name, "shuffle": entry.shuffle, **(entry.model_extra or {})}


def _own(entry: DatasetEntry | BackboneEntry, key_of_file: str, place: str) -> Own:
    """What the `set` of a data set or of a backbone says."""
    here, found = f"{place}: {key_of_file}: {entry.name}: set", dict[str, dict[str, Any]]()
    for key, value in entry.set.items():
        block, name = target(key, None, here)
        if block == "evaluate":
            raise InputError(f"{here}: {key}: expected in the sweep's own evaluate block, the same for all runs")
        if name in found.setdefault(block, {}):
            earlier = next(other for other in entry.set if target(other, None, here) == (block, name))
            raise InputError(f"{here}: {key}: expected once, it is already given as `{earlier}`")
        found[block][name] = value
    return found


def _backbones(parsed: SweepFile, replacing: Sequence[str], place: str) -> dict[str, Own]:
    """The backbones, each with its own settings; one that the command line names keeps those of the file."""
    listed: dict[str, Own] = {}
    for entry in parsed.backbones:
        own = _own(entry, "backbones", place)
        if listed.setdefault(entry.name, own) != own:
            raise InputError(
                f"{place}: backbones: {entry.name}: expected once, it is listed twice with different `set`"
            )
    check_backbones(listed, f"{place}: backbones")
    check_backbones(replacing, "--backbone")
    return {name: listed.get(name, {}) for name in replacing or listed}


def _specs(parsed: SweepFile, replacing: Sequence[str | DatasetSpec], place: str) -> dict[DatasetSpec, Own]:
    """The data sets, each with its own settings; one that the command line names keeps those of the file."""
    listed: dict[DatasetSpec, Own] = {}
    for entry in parsed.datasets:
        spec, own = dataset_spec(_given(entry), place, parsed.folder), _own(entry, "datasets", place)
        if listed.setdefault(spec, own) != own:
            raise InputError(f"{place}: datasets: {spec.key}: expected once, it is listed twice with different `set`")
    if not replacing:
        return listed
    named = [w if isinstance(w, DatasetSpec) else named_dataset(w, f"--dataset {w}") for w in replacing]
    return {spec: listed.get(spec, {}) for spec in named}


def named_dataset(word: str, place: str, options: Iterable[tuple[str, Any]] = ()) -> DatasetSpec:
    """A data set of the command line; a relative path starts in the current directory. Raises InputError."""
    entry = parse_dataset_entry(word, place, options)
    if entry.set:
        raise InputError(f"{place}: set: expected in a sweep file, or as --set, which every data set gets")
    return dataset_spec(_given(entry), place)
