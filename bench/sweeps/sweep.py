"""A sweep file -> checked configuration -> the list of runs it asks for.

A sweep names data sets, methods, backbones and seeds; its runs are their product, with every
`grid` multiplied out. A run is identified by what determines its training (`Run.run_id`), never
by its place in a file, so a finished run is found again from any sweep that asks for it.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from yaml.nodes import MappingNode, Node, ScalarNode

from bench.contracts import (
    TRAINING_BLOCKS,
    DatasetSpec,
    DiffusionConfig,
    EvaluateConfig,
    InputError,
    ModelConfig,
    TrainConfig,
    Unavailable,
    check_options,
    later_options,
    nearest,
)
from bench.loading.references import REFERENCES, REFERENCES_VERSION
from bench.registry import DATASETS, METHODS, METRICS

TRAINING_VERSION = 1
"""Raised when a change of the training code moves the numbers of every method; part of a run's identity."""

SHIPPED = Path(__file__).parent

_BLOCKS: dict[str, type] = {**TRAINING_BLOCKS, "evaluate": EvaluateConfig}


# ---------------------------------------------------------------- a run


def plain(value: Any) -> Any:
    """One form for equal values: 2.0 becomes 2, a list a tuple. So 2, 2.0 and 2e0 give one run."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, (list, tuple)):
        return tuple(plain(item) for item in value)
    return value


@functools.lru_cache(maxsize=4096)
def _fields(config: Any) -> dict[str, Any]:
    """A configuration block as plain values; cached because thousands of runs share one block."""
    return {item.name: plain(getattr(config, item.name)) for item in dataclasses.fields(config)}


@functools.lru_cache(maxsize=16384)
def _plain_hyper(method: str, hyper: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """A method's fields as plain values; cached because the runs of a variant share them.

    By method, because only within one a field's type is fixed: True == 1, but they are different settings.
    """
    return {name: plain(value) for name, value in hyper}


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_TEXTS: dict[tuple[Any, ...], str] = {}
"""What a method's runs have in common beside the blocks, as JSON with `"<data>"` and `"<seed>"` for what differs."""


@functools.lru_cache(maxsize=4096)
def _block_json(config: Any) -> str:
    """A block's part of a run's identity: a `later` field at its default is left out (see `bench.contracts.option`)."""
    later = {name: plain(default) for name, default in later_options(config).items()}
    return _canonical({name: value for name, value in _fields(config).items() if later.get(name, ...) != value})


@dataclass(frozen=True)
class Run:
    """One method on one data set with one seed, every hyper-parameter resolved."""

    sweep: str
    label: str  # the row of a table; several runs share it
    method: str
    hyper: tuple[tuple[str, Any], ...]  # every field of the method
    dataset: DatasetSpec
    backbone: str
    seed: int
    model: ModelConfig
    train: TrainConfig
    diffusion: DiffusionConfig
    evaluate: EvaluateConfig
    data_sha256: str  # of the windows; "" where the data are not available
    kind: Literal["method", "reference"] = "method"

    @property
    def ingredients(self) -> dict[str, Any]:
        """What determines the result of training, and nothing else: no label, no sweep, no evaluation."""
        return {**self._own, **{name: _fields(getattr(self, name)) for name in self._blocks}}

    @property
    def _blocks(self) -> Iterable[str]:
        """Those of the training blocks that determine the result."""
        return TRAINING_BLOCKS if self.kind == "method" else ()

    @property
    def _own(self) -> dict[str, Any]:
        """The ingredients beside the blocks, which thousands of runs share."""
        shared = {
            "dataset": self.dataset.key,
            "shuffle": self.dataset.shuffle,
            "data_sha256": self.data_sha256,
            "seed": self.seed,
        }
        if self.kind == "reference":
            version = {"references_version": REFERENCES_VERSION, "n_samples": self.evaluate.n_samples}
            return {"reference": self.method, **version, **shared}
        return {
            "method": self.method,
            "method_version": METHODS[self.method].version,
            "training_version": TRAINING_VERSION,
            "hyper": _plain_hyper(self.method, self.hyper),
            "backbone": self.backbone,
            **shared,
        }

    @functools.cached_property
    def run_id(self) -> str:
        """The first 16 hexadecimal digits of the sha256 of `ingredients`."""
        own = self._own_json() if self.kind == "method" else _canonical(self._own)
        blocks = [_block_json(getattr(self, name)) for name in self._blocks]
        return hashlib.sha256("\n".join([own, *blocks]).encode()).hexdigest()[:16]

    def _own_json(self) -> str:
        """`_canonical(self._own)` from a text that thousands of runs share."""
        versions = METHODS[self.method].version, TRAINING_VERSION
        shared = self.method, *versions, self.hyper, self.backbone, self.dataset
        if (text := _TEXTS.get(shared)) is None:
            text = _TEXTS[shared] = _canonical({**self._own, "data_sha256": "<data>", "seed": "<seed>"})
        return text.replace('"<data>"', f'"{self.data_sha256}"').replace('"<seed>"', str(self.seed))

    def build_method(self) -> Any:
        """The method with its hyper-parameters, every one of them a number that training can use."""
        return METHODS[self.method](**dict(self.hyper)).resolved(self.diffusion)

    def to_config(self) -> str:
        """The whole run as JSON; `from_config` reads it back."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_config(cls, text: str) -> Run:
        """The run that `to_config` wrote. Raises InputError where the text is no such run."""
        try:
            values = json.loads(text)
            spec = values.pop("dataset")
            blocks = {name: block(**_frozen(values.pop(name))) for name, block in _BLOCKS.items()}
            dataset = DatasetSpec(spec["name"], tuple((k, plain(v)) for k, v in spec["options"]), spec["shuffle"])
            hyper = tuple((name, plain(value)) for name, value in values.pop("hyper"))
            return cls(**values, hyper=hyper, dataset=dataset, **blocks)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"this is no configuration of a run: {type(error).__name__}: {error}") from error

    def columns(self) -> dict[str, Any]:
        """What the runs table says about this run before it has been trained."""
        method_version = 0
        if self.kind == "method" and self.method in METHODS:
            method_version = METHODS[self.method].version
        return {
            "run_id": self.run_id,
            "sweep": self.sweep,
            "label": self.label,
            "kind": self.kind,
            "method": self.method,
            "dataset": self.dataset.key,
            "shuffle": self.dataset.shuffle,
            "backbone": self.backbone,
            "seed": self.seed,
            "data_sha256": self.data_sha256,
            "training_version": TRAINING_VERSION,
            "method_version": method_version,
            "config": self.to_config(),
            **({} if self.kind == "reference" else dict(self.hyper)),
            **{f"{name}.{key}": value for name in _BLOCKS for key, value in _fields(getattr(self, name)).items()},
        }


def _frozen(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: plain(value) for name, value in values.items()}


# ---------------------------------------------------------------- YAML


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain scalars: `no` is a word, `2e-3` a number, `010` ten; a key may be given once."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"key '{key.value}' twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _scalar(tag: str, pattern: str, first: str, make: Any) -> None:
    def construct(loader: _Loader, node: Node) -> Any:
        try:
            return make(node.value)
        except (ValueError, TypeError, AttributeError) as error:  # a tag on something else, or thousands of digits
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error

    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), list(first))
    _Loader.add_constructor(f"tag:yaml.org,2002:{tag}", construct)


def _float(text: str) -> float:
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


_scalar("bool", "true|false", "tf", lambda text: text == "true")
_scalar("null", "null|~|", "n~", lambda text: None)
_Loader.yaml_implicit_resolvers.setdefault("", []).append(("tag:yaml.org,2002:null", re.compile("^$")))
_scalar("int", r"[-+]?[0-9]+", "-+0123456789", int)
_scalar(
    "float",
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan",
    "-+0123456789.",
    _float,
)


def parse_yaml(text: str, place: str) -> Any:
    """The value of a YAML text. Raises InputError with line and column; tags that make Python objects are refused."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{place}{where}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{place}: not valid YAML: {' '.join(str(error).split())}") from error
    except (ValueError, TypeError, AttributeError) as error:  # a tag on what it does not fit
        raise InputError(f"{place}: not valid YAML: {error}") from error
    except RecursionError as error:
        raise InputError(f"{place}: nested too deeply") from error


# ---------------------------------------------------------------- the structure of a sweep file


_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _seeds(value: Any) -> tuple[int, ...]:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1_000_000:
        return tuple(range(value))
    good = isinstance(value, list) and all(isinstance(seed, int) and not isinstance(seed, bool) for seed in value)
    if good and value and 0 <= min(value) <= max(value) < 2**63 and len(set(value)) == len(value):
        return tuple(value)
    raise ValueError(
        "expected how many (a whole number >= 1) or a list of different whole numbers >= 0 and below 2^63, "
        f"not {_short(value)}"
    )


def _dataset_entry(value: Any) -> Any:
    if isinstance(value, str):
        name, colon, path = value.partition(":")
        return {"name": name, "path": path} if colon else {"name": name}
    return value


def _method_entry(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class _DatasetEntry(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)  # the extra keys are options of the data set
    name: str
    shuffle: bool = False


_Axes = dict[str, Annotated[list[Any], Field(min_length=1)]]


class _MethodEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    label: str | None = Field(default=None, min_length=1)
    set: dict[str, Any] = {}
    grid: _Axes = {}
    search: _Axes = {}  # what `bench.tune` draws from, beside `tune.space`; a sweep itself ignores it


class Tune(BaseModel):
    """The block `tune` of a sweep file; see `bench.tune`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    trials: int = Field(ge=2)  # of every method; the first is its setting in the file
    metric: str = "sliced_wasserstein"  # measured on the validation windows
    margin: float = Field(default=0.0, ge=0)  # by so much a trial must beat the entry's own setting, on average
    space: _Axes = {}  # searched for every method
    seeds: Annotated[tuple[int, ...], BeforeValidator(_seeds)] = (0,)
    train: dict[str, Any] = {}
    diffusion: dict[str, Any] = {}


class SweepFile(BaseModel):
    """The structure of a sweep file; what its options may be is checked when its runs are made."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str = Field(pattern=f"^{_NAME}$")
    description: str = ""
    datasets: list[Annotated[_DatasetEntry, BeforeValidator(_dataset_entry)]] = Field(min_length=1)
    methods: list[Annotated[_MethodEntry, BeforeValidator(_method_entry)]] = Field(min_length=1)
    backbones: list[str] = Field(default=["lstm"], min_length=1)
    seeds: Annotated[tuple[int, ...], BeforeValidator(_seeds)] = (0, 1, 2, 3, 4)
    model: dict[str, Any] = {}
    train: dict[str, Any] = {}
    diffusion: dict[str, Any] = {}
    evaluate: dict[str, Any] = {}
    tune: Tune | None = None
    reduced: dict[str, Any] = {}  # keys of the file in a smaller form: what --reduced puts in their place


def _complaint(error: Mapping[str, Any]) -> str:
    """One of pydantic's errors as "KEY: expected ..."."""
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    if error["type"] == "extra_forbidden":
        level = SweepFile if len(error["loc"]) == 1 else Tune if error["loc"][0] == "tune" else _MethodEntry
        return f"{key}: unknown key: {nearest(str(error['loc'][-1]), level.model_fields)}"
    if error["type"] == "missing":
        return f"{key}: expected this key, it is not there"
    if error["type"] == "value_error":
        return f"{key}: {error['ctx']['error']}"
    if error["type"] == "too_short":
        return f"{key}: expected at least one entry, it is empty"
    if error["type"] == "string_pattern_mismatch":
        return f"{key}: expected letters, digits and . _ + - (it names a file), not {_short(error['input'])}"
    wanted = error["msg"].replace("Input should be ", "").replace("a valid ", "a ").replace("dictionary", "mapping")
    wanted = wanted.replace(" or instance of _MethodEntry", "").replace(" or instance of _DatasetEntry", "")
    return f"{key}: expected {wanted}, not {_short(error['input'])}"


def _reduced(value: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The file with its `reduced` block over it: a mapping key by key, anything else as a whole."""
    smaller = value.get("reduced")
    if not isinstance(smaller, dict) or not smaller:
        raise InputError(f"{place}: reduced: expected a mapping of keys in their smaller form, for --reduced")
    merged = {**value, "name": f"{value['name']}-reduced"}
    for key, item in smaller.items():
        old = merged.get(key)
        merged[str(key)] = {**old, **item} if isinstance(old, dict) and isinstance(item, dict) else item
    del merged["reduced"]
    return merged


def _structure(value: Any, place: str, default_name: str, reduced: bool = False) -> SweepFile:
    keys = ", ".join(SweepFile.model_fields)
    if value is None:
        raise InputError(f"{place}: is empty: expected a mapping with the keys {keys}")
    if not isinstance(value, dict):
        raise InputError(f"{place}: expected a mapping with the keys {keys}, not {_short(value)}")
    value = {"name": default_name, **{str(key): item for key, item in value.items()}}
    if reduced or "reduced" in value:
        smaller = _reduced(value, place)  # checked even where it is not asked for
        _structure(smaller, f"{place}: reduced", default_name)
        value = smaller if reduced else value
    try:
        return SweepFile.model_validate(value)
    except ValidationError as error:
        lines = [f"{place}: {_complaint(dict(item))}" for item in error.errors()]
        raise InputError("\n".join(dict.fromkeys(lines))) from error
    except RecursionError as error:
        raise InputError(f"{place}: nested too deeply") from error


def find_sweep(source: str | Path) -> Path:
    """A path if it exists, else a shipped sweep by name. Raises InputError."""
    path = Path(source)
    if path.is_dir():
        raise InputError(f"--grid {source}: is a directory, expected a sweep file")
    if path.is_file():
        return path
    for candidate in (SHIPPED / path.name, SHIPPED / f"{path.name}.yaml"):
        if path.parent == Path(".") and candidate.is_file():
            return candidate
    raise InputError(f"--grid {source}: no such file, and no shipped sweep: {nearest(str(source), shipped_sweeps())}")


def shipped_sweeps() -> list[str]:
    """The names of the sweeps in `bench/sweeps/`."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


# ---------------------------------------------------------------- options, checked


def _build(cls: type, given: Mapping[str, Any], place: str, owner: str) -> Any:
    """An instance of a configuration dataclass; unknown and illegal values raise InputError."""
    known = [item.name for item in dataclasses.fields(cls)]
    for key in given:
        if key not in known:
            raise InputError(f"{place}: {owner}.{key}: unknown key: {nearest(str(key), known)}")
    for item in dataclasses.fields(cls):
        if item.name not in given and item.default is dataclasses.MISSING:
            raise InputError(f"{place}: {owner}.{item.name}: expected this option, it has no default")
    value = cls(**_frozen(given))
    check_options(value, f"{place}: {owner}")
    return value


def dataset_spec(given: Mapping[str, Any], place: str) -> DatasetSpec:
    """A data set entry, its options checked; options at their default are dropped so that equal specs are one."""
    options = dict(given)
    name, shuffle = options.pop("name"), options.pop("shuffle", False)
    if name not in DATASETS:
        raise InputError(f"{place}: datasets: unknown data set '{name}': {nearest(name, DATASETS)}")
    built = _build(DATASETS[name], options, place, name)
    defaults = {item.name: plain(item.default) for item in dataclasses.fields(built)}
    kept = {key: plain(value) for key, value in options.items() if repr(plain(value)) != repr(defaults[key])}
    if kept.get("path"):
        kept["path"] = str(Path(kept["path"]))  # ./own.csv is own.csv: one data set, one split
    return DatasetSpec(name, tuple(sorted(kept.items())), shuffle)


def _target(key: str, method: type | None, place: str) -> tuple[str, str]:
    """Where a key of `set`, `grid` or --set belongs: ("method", field) or (block, field)."""
    own = [item.name for item in dataclasses.fields(method)] if method else []
    if key in own:
        return "method", key
    fields = {name: [item.name for item in dataclasses.fields(block)] for name, block in _BLOCKS.items()}
    block, dot, name = key.partition(".")
    if dot and block in fields:
        if name in fields[block]:
            return block, name
        raise InputError(f"{place}: {key}: unknown key: {nearest(name, fields[block])}")
    holders = [block for block, names in fields.items() if key in names]
    if len(holders) == 1:
        return holders[0], key
    if holders:
        choices = " or ".join(f"{block}.{key}" for block in holders)
        raise InputError(f"{place}: {key}: ambiguous: write {choices}")
    known = [*own, *(f"{block}.{name}" for block, names in fields.items() for name in names)]
    raise InputError(f"{place}: {key}: unknown key: {nearest(key, known)}")


def parse_seeds(text: str) -> tuple[int, ...]:
    """`0:5` (0 to 4) or `1,2,7`. Raises InputError."""
    span = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", text)
    if span and int(span[1]) < int(span[2]) <= int(span[1]) + 1_000_000:
        return tuple(range(int(span[1]), int(span[2])))
    if re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", text):
        seeds = tuple(int(word) for word in text.split(","))
        if len(set(seeds)) == len(seeds):
            return seeds
    raise InputError(f"--seeds {text}: expected FROM:TO (0:5 means 0 to 4) or different whole numbers (1,2,7)")


def parse_setting(text: str) -> tuple[str, Any]:
    """`key=value`, the value read as in a sweep file. Raises InputError."""
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", key):
        raise InputError(f"--set {text}: expected KEY=VALUE, such as train.steps=500")
    parsed = parse_yaml(value, f"--set {text}")
    if isinstance(parsed, dict) or value.strip() == "":
        raise InputError(f"--set {text}: expected a number, a word, true or false after the equals sign")
    return key, parsed


# ---------------------------------------------------------------- runs


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep file, in a fixed order, and what the user should know about them."""

    name: str
    description: str
    runs: tuple[Run, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Selection:
    """What the command line changes about a sweep file."""

    methods: tuple[str, ...] = ()  # names or labels to keep
    datasets: tuple[str, ...] = ()  # replace the file's
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
    return _expand(read_file(path, selection.reduced), str(path), selection, data)


def read_file(path: Path, reduced: bool = False) -> SweepFile:
    """The structure of a sweep file, or of its reduced form. Raises InputError, one line per mistake."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected a text file in UTF-8, this is binary") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return _structure(parse_yaml(text, str(path)), str(path), path.stem, reduced)


def variants_of(file: SweepFile, entry: Mapping[str, Any], place: str) -> list[Variant]:
    """What a method entry of a file asks for, resolved and checked. Raises InputError."""
    blocks = {name: _build(block, getattr(file, name), place, name) for name, block in _BLOCKS.items()}
    chosen = _selected([_MethodEntry.model_validate(entry)], (), place)
    return [variant for entry in chosen for variant in _variants(entry, blocks, {}, place)]


def _expand(parsed: SweepFile, place: str, selection: Selection, data: Path | None) -> Sweep:
    entries = _selected(parsed.methods, selection.methods, place)
    settings = _settings(selection.settings, [METHODS[entry.name] for entry in entries])
    given = {name: {**getattr(parsed, name), **settings.get(name, {})} for name in _BLOCKS}
    blocks = {name: _build(block, given[name], place, name) for name, block in _BLOCKS.items()}
    _check_metrics(blocks["evaluate"].metrics, place)
    variants = [variant for entry in entries for variant in _variants(entry, blocks, settings, place)]
    chosen = [_fields_of(variant) for variant in variants]
    backbones = selection.backbones or tuple(parsed.backbones)
    _check_backbones(backbones, "--backbone" if selection.backbones else f"{place}: backbones")
    specs = _specs(parsed, selection.datasets, place)
    seeds = selection.seeds or parsed.seeds

    notes: list[str] = []
    runs: dict[str, Run] = {}
    for seed, spec in itertools.product(seeds, specs):
        shared: dict[str, Any] = {"sweep": parsed.name, "dataset": spec, "seed": seed, "evaluate": blocks["evaluate"]}
        shared["data_sha256"] = _sha256(spec, seed, data, notes)
        training = {name: blocks[name] for name in TRAINING_BLOCKS}
        rows: list[Run] = [
            Run(label=name, method=name, hyper=(), backbone="", kind="reference", **training, **shared)
            for name in REFERENCES
        ]
        rows += [
            Run(backbone=backbone, **fields, **shared) for backbone, fields in itertools.product(backbones, chosen)
        ]
        for run in rows:
            first = runs.setdefault(run.run_id, run)
            if first is not run:
                other = f" and '{run.label}'" if run.label != first.label else ""
                notes.append(f"{place}: asked for twice, run once: '{first.label}'{other}")
    return Sweep(parsed.name, parsed.description, tuple(runs.values()), tuple(dict.fromkeys(notes)))


def _fields_of(variant: Variant) -> dict[str, Any]:
    return {item.name: getattr(variant, item.name) for item in dataclasses.fields(variant)}


def _sha256(spec: DatasetSpec, seed: int, data: Path | None, notes: list[str]) -> str:
    from bench.loading.windows import load_splits

    try:
        return load_splits(spec, seed, data).sha256
    except Unavailable as error:
        notes.append(f"{spec.key}: will be skipped: {error}")
        return ""


def _selected(entries: Sequence[_MethodEntry], wanted: Iterable[str], place: str) -> list[_MethodEntry]:
    from bench.store import RUNS  # here: it imports pandas and pyarrow, and a list of sweeps needs neither

    for entry in entries:
        if entry.name not in METHODS:
            raise InputError(f"{place}: methods: unknown method '{entry.name}': {nearest(entry.name, METHODS)}")
        if taken := sorted({item.name for item in dataclasses.fields(METHODS[entry.name])} & set(RUNS)):
            raise InputError(
                f"{place}: methods: {entry.name}: its option '{taken[0]}' has the name of a column of the runs table, "
                "expected another"
            )
    owners: dict[str, str] = {}
    for entry in entries:
        label = entry.label or entry.name
        if label in REFERENCES or owners.setdefault(label, entry.name) != entry.name:
            whose = "a reference row" if label in REFERENCES else f"the method {owners[label]}"
            raise InputError(f"{place}: methods: label '{label}' is that of {whose} as well, expected one of its own")
    names = list(wanted)
    known = {name for entry in entries for name in (entry.name, entry.label) if name}
    for name in names:
        if name not in known:
            raise InputError(f"--method {name}: not in {place}: {nearest(name, known)}")
    return [entry for entry in entries if not names or entry.name in names or entry.label in names]


def _given(entry: _DatasetEntry) -> dict[str, Any]:
    return {"name": entry.name, "shuffle": entry.shuffle, **(entry.model_extra or {})}


def _specs(parsed: SweepFile, replacing: Sequence[str], place: str) -> list[DatasetSpec]:
    if not replacing:
        return list(dict.fromkeys(dataset_spec(_given(entry), place) for entry in parsed.datasets))
    specs = []
    for word in replacing:
        here = f"--dataset {word}"
        value = parse_yaml(word, here) if word.startswith("{") else word
        try:
            entry = _DatasetEntry.model_validate(_dataset_entry(value))
        except ValidationError as error:
            raise InputError("\n".join(f"{here}: {_complaint(dict(item))}" for item in error.errors())) from error
        specs.append(dataset_spec(_given(entry), here))
    return list(dict.fromkeys(specs))


def _settings(texts: Iterable[str], methods: Sequence[type]) -> dict[str, dict[str, Any]]:
    """--set, sorted into blocks; "method" holds what goes to every method that has the field."""
    sorted_: dict[str, dict[str, Any]] = {}
    for text in texts:
        key, value = parse_setting(text)
        holder = next((m for m in methods if key in {item.name for item in dataclasses.fields(m)}), None)
        if holder is None and methods:
            holder = methods[0]  # for its field names in the message
        block, name = _target(key, holder, f"--set {text}")
        sorted_.setdefault(block, {})[name] = value
    return sorted_


def _variants(
    entry: _MethodEntry, blocks: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]], place: str
) -> Iterator[Variant]:
    """The product of an entry's grid over its `set`; the command line's --set wins over both."""
    cls = METHODS[entry.name]
    label = entry.label or entry.name
    here = f"{place}: {label}"
    axes: list[list[tuple[str, str, Any]]] = []
    for values in ({key: [value] for key, value in entry.set.items()}, entry.grid):
        for key, choices in values.items():
            block, name = _target(key, cls, here)
            if block == "evaluate":
                raise InputError(f"{here}: {key}: expected in the sweep's own evaluate block, the same for all methods")
            if name in settings.get(block, {}):
                continue
            if any((block, name) == axis[0][:2] for axis in axes):
                raise InputError(f"{here}: {key}: given twice, in `set` and in `grid`")
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
                    changed = {**_fields(blocks[name]), **given[name]}
                    built[key] = _build(_BLOCKS[name], changed, place, f"{label}: {name}")
                configs[name] = built[key]
        method = _build(cls, given.get("method", {}), place, label)
        try:
            method.check(configs["model"], configs["diffusion"])
        except InputError as error:
            raise InputError(f"{here}: {error}") from error
        method = method.resolved(configs["diffusion"])
        yield Variant(label, entry.name, tuple(_fields(method).items()), **configs)


def _check_metrics(wanted: str | Sequence[str], place: str) -> None:
    if wanted in ("fast", "all"):
        return
    if isinstance(wanted, str) or not wanted:
        raise InputError(f"{place}: evaluate.metrics = {wanted!r}: expected fast, all or a list of metrics")
    for name in wanted:
        if name not in METRICS:
            raise InputError(f"{place}: evaluate.metrics: unknown metric '{name}': {nearest(name, METRICS)}")


def _check_backbones(names: Iterable[str], place: str) -> None:
    from bench.models.build import BACKBONES

    for name in names:
        if name not in BACKBONES:
            raise InputError(f"{place}: unknown backbone '{name}': {nearest(name, BACKBONES)}")
