"""The structure of a sweep file: its keys, the message for every mistake in it, and where the shipped files are."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from bench.contracts import InputError, nearest
from bench.sweeps.plain_yaml import parse_yaml

SHIPPED = Path(__file__).parent
"""The folder of the sweep files that come with the bench."""

KEYS_LISTED_BY = "bench/docs/sweep_files.md"
"""Where the keys and options of a sweep file can be read."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


MOST_SPLITS = 10_000


class SplitSeeds(BaseModel):
    """The form of `seeds` that tells the data's division from the initialisation: every pair of them is a run."""

    model_config = ConfigDict(extra="forbid", strict=True)
    splits: int = Field(ge=1, le=MOST_SPLITS)
    initialisations: int = Field(default=1, ge=1, le=MOST_SPLITS)


class SeedPair(NamedTuple):
    """The seeds of one run; `split` is None where one seed is both."""

    seed: int
    split: int | None = None


def seed_pairs(seeds: Sequence[int] | SplitSeeds) -> list[SeedPair]:
    """The seeds of the runs that a sweep asks for, split by split.

    No two runs share an initialisation seed, so that the effect of a split is nobody else's: initialisation k of split
    s has the seed s + MOST_SPLITS k. Initialisation 0 is the run that the plain seed s asks for, so that it is found
    again, and so are all others when splits or initialisations are added.
    """
    if not isinstance(seeds, SplitSeeds):
        return [SeedPair(seed) for seed in seeds]
    return [
        SeedPair(split + MOST_SPLITS * initialisation, split if initialisation else None)
        for split in range(seeds.splits)
        for initialisation in range(seeds.initialisations)
    ]


def _sweep_seeds(value: Any) -> Any:
    if not isinstance(value, dict):
        return _seeds(value)
    try:
        return SplitSeeds.model_validate(value)
    except ValidationError:
        limits = f"whole numbers from 1 to {MOST_SPLITS:,}"
        raise ValueError(f"expected {{splits: S, initialisations: I}}, {limits}, not {_short(value)}") from None


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


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class DatasetEntry(BaseModel):
    """One entry of `datasets`."""

    model_config = ConfigDict(extra="allow", strict=True)  # the extra keys are options of the data set
    name: str
    shuffle: bool = False
    set: dict[str, Any] = {}  # options of the blocks, of every method on this data set


_Axes = dict[str, Annotated[list[Any], Field(min_length=1)]]


class MethodEntry(BaseModel):
    """One entry of `methods`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    label: str | None = Field(default=None, min_length=1)
    set: dict[str, Any] = {}
    grid: _Axes = {}
    search: _Axes = {}  # the values that `bench.tune` draws from, beside `tune.space`; a sweep itself ignores it


class BackboneEntry(BaseModel):
    """One entry of `backbones`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    set: dict[str, Any] = {}  # options of the blocks, of every method on this backbone


class Tune(BaseModel):
    """The block `tune` of a sweep file; see `bench.tune`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    trials: int = Field(ge=2)  # of every method; the first is its setting in the file
    metric: str = "sliced_wasserstein"  # measured on the validation windows
    margin: float = Field(default=0.0, ge=0)  # a trial must beat the entry's own setting by this much on average
    space: _Axes = {}  # searched for every method
    seeds: Annotated[tuple[int, ...], BeforeValidator(_seeds)] = (0,)
    train: dict[str, Any] = {}
    diffusion: dict[str, Any] = {}


def _contrast_name(value: str) -> str:
    if value.strip() and value.isprintable():
        return value
    raise ValueError(f"expected one line of text, not {_short(value)}")


class ContrastEntry(BaseModel):
    """One entry of `contrasts`; see `bench.contracts.Contrast`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: Annotated[str, AfterValidator(_contrast_name)]
    of: str
    against: str
    secondary: bool = False
    without: list[str] = []


class SweepFile(BaseModel):
    """The structure of a sweep file; what its options may be is checked when its runs are made."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str = Field(pattern=f"^{_NAME}$")
    description: str = ""
    datasets: list[Annotated[DatasetEntry, BeforeValidator(_dataset_entry)]] = Field(min_length=1)
    methods: list[Annotated[MethodEntry, BeforeValidator(_named)]] = Field(min_length=1)
    backbones: list[Annotated[BackboneEntry, BeforeValidator(_named)]] = Field(
        default=["lstm"], validate_default=True, min_length=1
    )
    seeds: Annotated[tuple[int, ...] | SplitSeeds, BeforeValidator(_sweep_seeds)] = (0, 1, 2, 3, 4)
    model: dict[str, Any] = {}
    train: dict[str, Any] = {}
    diffusion: dict[str, Any] = {}
    evaluate: dict[str, Any] = {}
    tune: Tune | None = None
    equivalence: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}  # below it, a difference is none
    contrasts: list[ContrastEntry] = []  # what the report tests over all data sets
    reduced: dict[str, Any] = {}  # keys of the file in a smaller form: what --reduced puts in their place
    folder: str = ""  # where a relative `path` of a data set starts, seen from the file's own folder, the default


def _complaint(error: Mapping[str, Any]) -> str:
    """One of pydantic's errors as "KEY: expected ..."."""
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    if error["type"] == "extra_forbidden":
        levels: dict[str, type[BaseModel]] = {"tune": Tune, "contrasts": ContrastEntry, "backbones": BackboneEntry}
        level: type[BaseModel] = SweepFile if len(error["loc"]) == 1 else levels.get(error["loc"][0], MethodEntry)
        return f"{key}: unknown key: {nearest(str(error['loc'][-1]), level.model_fields, KEYS_LISTED_BY)}"
    if error["type"] == "missing":
        return f"{key}: expected this key, it is not there"
    if error["type"] == "value_error":
        return f"{key}: {error['ctx']['error']}"
    if error["type"] == "too_short":
        return f"{key}: expected at least one entry, it is empty"
    if error["type"] == "string_pattern_mismatch":
        return f"{key}: expected letters, digits and . _ + - (it names a file), not {_short(error['input'])}"
    wanted = error["msg"].replace("Input should be ", "").replace("a valid ", "a ").replace("dictionary", "mapping")
    wanted = re.sub(r" or instance of \w+Entry", "", wanted)
    return f"{key}: expected {wanted}, not {_short(error['input'])}"


def _reduced(value: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The file with its `reduced` block over it: a mapping key by key, anything else as a whole."""
    smaller = value.get("reduced")
    if not isinstance(smaller, dict) or not smaller:
        raise InputError(f"{place}: reduced: expected a mapping of keys in their smaller form, for --reduced")
    if "reduced" in smaller:
        raise InputError(f"{place}: reduced.reduced: unknown key: the smaller form of a file has none of its own")
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


def with_options(given: Mapping[str, Any], options: Iterable[tuple[str, Any]], place: str) -> dict[str, Any]:
    """What is given and further options. Raises InputError for an option that would replace what is there already."""
    joined = dict(given)
    for key, value in options:
        if key in joined:
            raise InputError(f"{place}: {key}: expected once, it is already given as {_short(joined[key])}")
        joined[key] = value
    return joined


def parse_dataset_entry(text: str, place: str, options: Iterable[tuple[str, Any]] = ()) -> DatasetEntry:
    """A data set as the command line names it: a name, NAME:PATH or {name: NAME, OPTION: VALUE}. Raises InputError.

    NAME,OPTION=VALUE,.. is another way to write the options; `options` are those of flags of their own.
    """
    value: Any = text
    if text.startswith("{"):
        value = parse_yaml(text, place)
    elif len(parts := re.split(r",(?=[A-Za-z_]\w*=)", text)) > 1:
        settings = (part.partition("=") for part in parts[1:])
        written = ((key, parse_yaml(each, f"{place}: {key}")) for key, _, each in settings)
        value = with_options(_dataset_entry(parts[0]), written, place)
    value = _dataset_entry(value)
    try:
        return DatasetEntry.model_validate(with_options(value, options, place) if isinstance(value, dict) else value)
    except ValidationError as error:
        raise InputError("\n".join(f"{place}: {_complaint(dict(item))}" for item in error.errors())) from error


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
    hint = nearest(str(source), shipped_sweeps(), "`python -m bench.list sweeps`")
    raise InputError(f"--grid {source}: no such file, and no shipped sweep: {hint}")


def shipped_sweeps() -> list[str]:
    """The names of the sweeps in `bench/sweeps/`."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def read_file(path: Path, reduced: bool = False) -> SweepFile:
    """The structure of a sweep file, or of its reduced form, with `folder` as an absolute path.

    Raises InputError, one line per mistake.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected a text file in UTF-8, this is binary") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    parsed = _structure(parse_yaml(text, str(path)), str(path), path.stem, reduced)
    parsed.folder = os.path.abspath(path.parent / parsed.folder)
    return parsed
