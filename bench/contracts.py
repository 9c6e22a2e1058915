"""The types that every part of the harness shares; nothing here computes.

Shapes, everywhere: R runs that train together, B series in a batch, T time steps,
C channels, D latent dimensions, H hidden units. `t` is series time, `i` is a
diffusion step. Everything below needs only the standard library, numpy and torch.

This file is longer than usual because an author of a plug-in finds every shared type in one place.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np

if TYPE_CHECKING:  # reading results must not wait for torch, nor take 150 MB for it
    from torch import Tensor

PerRun: TypeAlias = Annotated[Any, "a number per run"]
"""A hyper-parameter that may differ between runs of one stack.

In a sweep file it is a number; inside a stack it is a tensor of shape (R,).
"""


class InputError(Exception):
    """A user's input cannot be used: one line that names the place, the key and what was expected.

    Every command prints it without a traceback and exits with status 2.
    """


class Unavailable(Exception):
    """Something that a run needs is missing (such as a data set): the run becomes a `skipped` row with this reason."""


class Undefined(Exception):
    """A metric needs something that the method lacks (a latent, a decoder): the metric becomes an `undefined` row."""


class Diverged(Exception):
    """Training cannot go on (see `bench.training`): the run becomes a `diverged` row with this reason."""


def in_one_line(error: BaseException) -> str:
    """The type of an error and the first line of its message: "ValueError: this is mine"."""
    return printable(f"{type(error).__name__}: {error}".splitlines()[0])


def printable(text: str) -> str:
    """A text with escapes for what a terminal would obey or cannot show.

    >>> printable("one\\ttwo")
    'one\\\\ttwo'
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


LISTED = 8
"""Up to this many known names are listed in a message; if there are more, only the nearest few are."""


def nearest(word: str, known: Iterable[str], listed_by: str = "") -> str:
    """A hint for an unknown name: the known names that are close to it, and what else is known.

    listed_by: where all of them can be read, for the message that does not list them.

    >>> nearest("rad", ["red", "green"])
    "did you mean 'red'? known: green, red"
    >>> nearest("s11", [f"s{number}" for number in range(12)], "the manual")
    "did you mean 's11', 's1' or 's10'? 12 are known: see the manual"
    """
    known = sorted(known)
    short = len(known) <= LISTED
    close = [f"'{name}'" for name in difflib.get_close_matches(word, known, n=1 if short else 3, cutoff=0.5)]
    names = " or ".join(filter(None, [", ".join(close[:-1]), *close[-1:]]))
    hint = f"did you mean {names}? " if close else ""
    if short:
        return f"{hint}known: {', '.join(known)}"
    return f"{hint}{len(known)} are known{listed_by and f': see {listed_by}'}"


# ---------------------------------------------------------------- options of methods, data sets and configurations


def option(
    default: Any,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    whole: bool = False,
    later: bool = False,
    neutral: Any = dataclasses.MISSING,
    kw_only: bool = False,
) -> Any:
    """A dataclass field with a legal range, checked by `check_options`. `whole` asks for an integer value.

    `later` marks an option that was added after the first release: at its neutral value, with which training is as it
    was before, it is no part of a run's identity, so that older runs keep theirs. The neutral value is the default
    unless `neutral` says another one, as it does where the default has changed since.
    """
    limits = {"at_least": at_least, "above": above, "at_most": at_most, "below": below}
    metadata: dict[str, Any] = {name: limit for name, limit in limits.items() if limit is not None}
    neutral = default if neutral is dataclasses.MISSING else neutral
    metadata |= {"whole": whole, "later": later, "neutral": neutral}
    return field(default=default, metadata=metadata, kw_only=kw_only)


def _matches(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if hint is Any:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if origin is Annotated:
        return _matches(value, typing.get_args(hint)[0])
    if origin is Literal:
        return value in typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_matches(value, choice) for choice in typing.get_args(hint))
    if hint in (None, type(None)):
        return value is None
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin in (tuple, list):
        inner = typing.get_args(hint)[0]
        return isinstance(value, (tuple, list)) and all(_matches(item, inner) for item in value)
    return isinstance(value, hint)


def _expected(hint: Any, limits: Mapping[str, Any]) -> str:
    origin = typing.get_origin(hint)
    if origin is Annotated or hint is Any or hint is float:
        text = "a whole number" if limits.get("whole") else "a number"
    elif origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in typing.get_args(hint))
    elif origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_expected(choice, limits) for choice in typing.get_args(hint)))
    elif hint in (None, type(None)):
        return "nothing"
    elif origin in (tuple, list):
        return f"a list, each {_expected(typing.get_args(hint)[0], limits)}"
    else:
        names = {int: "a whole number", str: "text", bool: "true or false"}
        text = names.get(hint, getattr(hint, "__name__", str(hint)))
    signs = {"at_least": ">=", "above": ">", "at_most": "<=", "below": "<"}
    ranges = [f"{signs[name]} {limit:g}" for name, limit in limits.items() if name in signs]
    return " ".join([text, " and ".join(ranges)]) if ranges else text


RANGE = frozenset({"at_least", "above", "at_most", "below"})


def _in_range(given: Any, limits: Mapping[str, Any]) -> bool:
    """Whether a value that is a number, or one of a list, obeys the limits of `option`; others have no range."""
    if not isinstance(given, (int, float)) or isinstance(given, bool):
        return True
    return (
        -1e300 < given < 1e300  # not `isfinite`, which fails for an integer of 400 digits
        and given >= limits.get("at_least", -math.inf)
        and given <= limits.get("at_most", math.inf)
        and ("above" not in limits or given > limits["above"])
        and ("below" not in limits or given < limits["below"])
        and (not limits.get("whole") or given == int(given))
    )


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    """The annotations of a class; worked out once, because a grid has thousands of its instances."""
    return typing.get_type_hints(cls, include_extras=True)


@functools.cache
def per_run_fields(cls: type) -> tuple[str, ...]:
    """Names of a dataclass's fields that may differ inside a stack (annotated PerRun)."""
    own = {name for name, hint in _hints(cls).items() if PerRun in (hint, *typing.get_args(hint))}
    return tuple(field.name for field in dataclasses.fields(cls) if field.name in own)


def check_options(value: Any, owner: str) -> None:
    """Check every field of a dataclass instance against its annotation and its `option` range.

    Raises InputError, for example "train.steps = 0: expected a whole number >= 1".
    """
    hints = _hints(type(value))  # type: ignore[arg-type]
    for item in dataclasses.fields(value):
        given, limits = getattr(value, item.name), item.metadata
        good = _matches(given, hints[item.name])
        listed = isinstance(given, (list, tuple))
        if good and listed and limits.keys() & RANGE:  # a list of numbers in a range has at least one
            good = bool(given)
        for number in given if listed else (given,):
            good = good and _in_range(number, limits)
        if not good:
            wanted = _expected(hints[item.name], limits)
            raise InputError(f"{owner}.{item.name} = {given!r}: expected {wanted}")


# ---------------------------------------------------------------- configuration blocks of a sweep file


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of the networks; the same for every method."""

    hidden: int = option(64, at_least=1)
    latent: int = option(16, at_least=1)  # dimensions of z; with latent_steps T' > 1 those of each latent step, D'
    layers: int = option(1, at_least=1)
    likelihood: str = "gaussian"  # the name of a registered likelihood
    sigma_min: float | None = option(None, above=0)  # floor of standard deviations, train-scaled; none: cell / sqrt 12
    components: int = option(5, at_least=2, later=True)  # of `mixture`; logistics of `discretized_logistic` and `mixed`
    bins: int | None = option(None, at_least=2, later=True)  # at most, of a channel; none: as the likelihood has it
    channels: Literal["independent", "autoregressive"] = option("independent", later=True)  # within a step, given h_t
    dropout: float = option(0.0, at_least=0, below=1, later=True)  # of the outputs of each layer, in training
    marks: bool = option(False, later=True)  # whether networks are told which values are bounds, common, or repeats
    latent_steps: int = option(1, at_least=1, later=True)  # T': z has a block for each T / T' steps; 1: one for all

    @property
    def latent_dimensions(self) -> int:
        """D = T' D', the numbers in z. Number d of block k is z[k D' + d]."""
        return self.latent_steps * self.latent


@dataclass(frozen=True)
class TrainConfig:
    """The autoencoder stage; the same budget for every method."""

    steps: int = option(1500, at_least=1)
    batch_size: int = option(64, at_least=2)
    learning_rate: PerRun = option(2e-3, above=0)
    clip_norm: float = option(1.0, above=0)  # the gradient's norm, per run
    select: Literal["last", "best_validation"] = "last"
    precision: Literal["float32", "tf32", "bf16"] = option("float32", later=True)  # of the products in training
    patience: int = option(0, at_least=0, later=True)  # updates without improvement that end the full rate; 0: never
    tolerance: float = option(1e-3, at_least=0, later=True)  # in nats per value: a smaller improvement is none
    warm_up: int = option(0, at_least=0, later=True)  # updates over which the rate rises to its full value
    schedule_steps: int = option(0, at_least=0, later=True)  # updates that a method's own schedules last; 0: `steps`
    weight_decay: float = option(0.0, at_least=0, later=True)  # decoupled; of matrices only
    ema: float = option(0.0, at_least=0, below=1, later=True)  # decay of the averages of the weights that are kept
    fall_from: Literal["plateau", "best"] = option("plateau", later=True)  # with which weights the rate begins to fall


@dataclass(frozen=True)
class DiffusionConfig:
    """The noise schedule, the denoiser stage on the frozen encoder, and how the reverse diffusion is run."""

    L: int = option(1000, at_least=2)
    steps: int = option(3000, at_least=1)
    batch_size: int = option(256, at_least=2)
    hidden: int = option(128, at_least=1)
    learning_rate: PerRun = option(1e-3, above=0)
    sampler: Literal["ddpm", "ddim", "dpm_solver", "dpm_solver_sde"] = option("ddpm", later=True)
    sampling_steps: int = option(0, at_least=0, later=True)  # of the L, see `sampling_grid`; 0 is all of them
    block: Literal["linear", "film"] = option("linear", later=True)  # of the denoiser; film: normed, two layers
    blocks: int = option(3, at_least=1, later=True)  # of the denoiser
    predicts: Literal["noise", "x0", "v"] = option("noise", later=True)  # what the denoiser's network gives
    weighting: Literal["uniform", "min_snr"] = option("uniform", later=True)  # of the diffusion steps in its loss
    dropout: float = option(0.0, at_least=0, below=1, later=True)  # inside the denoiser's blocks
    ema: float = option(0.0, at_least=0, below=1, later=True)  # decay of the average of its weights that samples
    weight_decay: float = option(0.0, at_least=0, later=True)  # decoupled; of matrices only
    patience: int = option(0, at_least=0, later=True)  # as `train.patience`, of the denoiser stage
    tolerance: float = option(1e-3, at_least=0, later=True)  # per latent dimension: a smaller improvement is none
    warm_up: int = option(0, at_least=0, later=True)  # updates over which the rate rises to its full value


TRAINING_BLOCKS: Mapping[str, type] = {"model": ModelConfig, "train": TrainConfig, "diffusion": DiffusionConfig}
"""The blocks that determine the result of training, as a sweep file and the runs table name them."""


def later_options(block: Any) -> dict[str, Any]:
    """The neutral values of a block's, or its class's, options that came after the first release; see `option`."""
    return {item.name: item.metadata["neutral"] for item in dataclasses.fields(block) if item.metadata.get("later")}


@dataclass(frozen=True)
class Contrast:
    """A comparison of two methods that a sweep states before its runs are made; no part of a run's identity."""

    name: str
    of: str  # the labels of the two methods
    against: str
    secondary: bool = False  # not confirmatory: the secondary contrasts are a family of their own
    without: Sequence[str] = ()  # the names of data sets that it says nothing about, such as simulated ones

    def __post_init__(self) -> None:
        object.__setattr__(self, "without", tuple(self.without))  # a file has a list, which has no hash

    def covers(self, dataset: str) -> bool:
        """Whether it is about this data set, by its key."""
        return dataset.partition(",")[0] not in self.without


Scored: TypeAlias = Literal["test", "validation"]
"""The windows that a run is measured on; `validation` is for choosing between settings."""
Scale: TypeAlias = Literal["units", "train", "minmax"]
"""What the numbers of somebody's samples are: in the data set's units, or scaled by the training rows."""


@dataclass(frozen=True)
class EvaluateConfig:
    """What is measured; not part of a run's identity."""

    n_samples: int = option(1000, at_least=2)
    metrics: str | list[str] = "fast"
    metric_seeds: int = option(1, at_least=1)  # evaluations of a run, each with its own windows and draws
    during_training: int = option(10, at_least=0)  # how often the cheap collapse measures are computed
    dependency_tolerance: float = option(1e-2, above=0)
    dependency_series: int = option(500, at_least=1)  # the paper's n; sharp decoders cost 10 to 20 ms per series
    split: Scored = "test"
    round: bool = True  # samples, to the grid and the observed bounds of channels that have a grid
    temperature: float | list[float] = option(1.0, above=0, at_most=10, later=True)  # of a list the best one


@dataclass(frozen=True)
class DatasetSpec:
    """One data set as a sweep names it: a registered name, its options, and whether time is permuted.

    `folder` is where a relative `path` among the options starts. It does not change what the data are, so it is neither
    compared nor part of a run's identity.
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()  # sorted by name, so that equal specs compare equal
    shuffle: bool = False
    folder: str = field(default="", compare=False)  # absolute; "" is the current directory

    @functools.cached_property
    def key(self) -> str:
        """The data set in one word, as a report names it. `shuffle` is left out."""
        return ",".join([self.name, *(f"{name}={value}" for name, value in self.options)])

    @functools.cached_property
    def stream(self) -> str:
        """The data set's part of a random stream's name, and of a run's identity beside the hash of the windows.

        It is the key, but for a user's file (which has a `path`), whose place and format say nothing about what it
        holds: equal values in another folder, format or spelling (`SPELLING`) are divided and trained in the same way.
        `shuffle` is left out, so that ordered and shuffled data are paired, and `training_windows`, so that fewer of
        them are some of the same ones.
        """
        own_file = "path" in dict(self.options)
        silent = ("training_windows", *(("path", *SPELLING) if own_file else ()))
        options = [f"{name}={value}" for name, value in self.options if name not in silent]
        return ",".join(["own file" if own_file else self.name, *options])


SPELLING = ("separator", "decimal", "encoding", "header", "missing_values", "time_format", "time_unit")
"""Options of a user's file that say how it is written, and nothing about what it holds."""


# ---------------------------------------------------------------- data


VALIDATION_SHARE, TEST_SHARE = 0.1, 0.2
"""Shares of a recording's pieces (blocks, entities) or of its rows (split `time`); the rest is for training."""

ONE_SPLIT = ("given", "time", "whole")
"""Divisions that do not depend on the seed: there is only one, so that seeds change the training only."""

OVERLAPPING = ("blocks", "entity")
"""Divisions that every seed makes anew from the same recording, so that training parts of two seeds overlap."""

WITH_GAP = ("blocks", "time")
"""Divisions of one series into neighbouring pieces, between which the rows of a `gap` are left out."""

Truth: TypeAlias = Mapping[str, np.ndarray]
"""The latent that a simulator drew for each of n series: factor -> (n, k). Empty where no truth is known."""


@dataclass(frozen=True)
class Resolution:
    """How finely a channel was measured: recorded values are transform(point + k width), k a whole number."""

    width: float  # of a cell, in raw units; 0: without a grid, a value is as good as continuous
    point: float = 0.0  # one point of the grid, in raw units
    transform: Literal["identity", "log1p", "signed_log1p"] = "identity"  # from raw units to recorded ones


@dataclass(frozen=True)
class Recordings:
    """What a data set returns: values in their units, before any split or scaling."""

    series: Sequence[np.ndarray]  # one (rows, C) float array per entity; a simulated series is an entity of T rows
    channels: tuple[str, ...]
    units: tuple[str, ...]
    window: int  # T
    train_stride: int  # rows between two windows of the training and validation parts
    test_stride: int
    split: Literal["blocks", "time", "entity", "given", "whole"]  # how rows are divided before any window is cut
    entities: Sequence[str] = ()  # of each series: those of one entity are in one part (none: each its own)
    times: Sequence[np.ndarray] = ()  # for the card only: the time of each row, (rows,) datetime64 per series
    truth: Truth = field(default_factory=dict)  # of each series, and so of its windows; no part of the windows' hash
    resolutions: Sequence[Resolution] = ()  # of each channel (none: estimated); see `bench.loading.cells`
    parts: Sequence[str] = ()  # with the split `given`: the part that each series belongs to
    drawn: bool = False  # whether the values depend on the seed; `bench.loading.windows.load_recordings` finds out
    gap: int = 0  # rows left out between pieces of different parts (blocks, time); `load_recordings` sets it
    training_windows: int = 0  # at most, every k-th of all; 0: all; `load_recordings` sets it
    notes: Sequence[str] = ()  # for the card only: what was understood of a user's file, a line each
    doubts: Sequence[str] = ()  # what may be misread in it, a line each; a warning when windows are made
    zero_one: tuple[float, float] | None = None  # what 0 and 1 stand for in the literature's scale; none: the range
    noise: tuple[str, ...] = ()  # channels of pure noise

    @classmethod
    def simulated(cls, x: np.ndarray, **truth: np.ndarray) -> Recordings:
        """Independent series of exactly one window each, channels x1..xC without a unit: x (n, T, C).

        truth: factor -> (n, k), what was drawn for each series.
        """
        _, steps, channels = x.shape
        names = tuple(f"x{c + 1}" for c in range(channels))
        continuous = (Resolution(0),) * channels
        units = ("",) * channels
        return cls(list(x), names, units, steps, steps, steps, "entity", truth=truth, resolutions=continuous)


CONTINUOUS = 1e-3
"""The narrowest cell, in training standard deviations; also that of a channel without a grid."""


class Cells(Protocol):
    """The cells of train-scaled values: the intervals that recorded numbers stand for. See `bench.loading.cells`."""

    @property
    def transforms(self) -> tuple[str, ...]:
        """From raw to recorded units, a name per channel."""
        ...

    @property
    def width(self) -> np.ndarray:
        """Of a cell, in raw units, (C,)."""
        ...

    @property
    def point(self) -> np.ndarray:
        """One point of each channel's grid, in raw units, (C,); NaN for a channel without a grid."""
        ...

    @property
    def mean(self) -> np.ndarray:
        """What scaling subtracts, (C,)."""
        ...

    @property
    def scale(self) -> np.ndarray:
        """What it divides by, (C,)."""
        ...

    @property
    def on_grid(self) -> np.ndarray:
        """Whether each channel has a grid, (C,)."""
        ...

    def interval(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The cell (l, u) of each value of x (..., C)."""
        ...

    def rounded(self, x: np.ndarray) -> np.ndarray:
        """x (..., C) with every value at the centre of its cell."""
        ...

    def clipped(self, x: np.ndarray) -> np.ndarray:
        """x (..., C) with values beyond the observed bounds put on them."""
        ...


@dataclass(frozen=True)
class Splits:
    """Windows in train-scaled units, float32, shape (n, T, C), and the way back to units."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    mean: np.ndarray  # (C,), of the training rows
    scale: np.ndarray  # (C,), standard deviation of the training rows; 1 for a constant channel
    channels: tuple[str, ...]
    units: tuple[str, ...]
    test_stride: int
    sha256: str  # of the windows: rows of each part, window, strides, shuffle, scaling, cells
    train_truth: Truth = field(default_factory=dict)  # a row per training window, and so on
    validation_truth: Truth = field(default_factory=dict)
    test_truth: Truth = field(default_factory=dict)
    train_stride: int | None = None  # of training windows, also where they are every k-th; none: as the test windows
    validation_stride: int | None = None  # none: as the training windows
    test_groups: np.ndarray | None = None  # (n,), the group of each test window, whose windows resemble each other
    validation_groups: np.ndarray | None = None
    starts: Mapping[str, np.ndarray] = field(default_factory=dict)  # part -> (n,), the row; none: see `strides`
    entities: Mapping[str, np.ndarray] = field(default_factory=dict)  # part -> (n,), whose window it is
    cells: Cells | None = None  # how finely each channel was measured; none: not known
    division: str = ""  # how the parts were made: `split` of the recordings, or `drawn` anew for every seed
    gap: int = 0  # rows that are left out between neighbouring parts of one series
    held_out: np.ndarray | None = None  # windows of the training recordings that nothing is trained on; none: as `test`
    whole: bool = False  # whether every part is all windows: samples are compared with what a method was trained on
    zero_one: tuple[np.ndarray, np.ndarray] | None = None  # (C,) each, train-scaled: 0 and 1 of the literature's scale
    noise: tuple[str, ...] = ()  # channels of pure noise

    @property
    def window(self) -> int:
        """T"""
        return int(self.train.shape[1])

    @property
    def strides(self) -> Mapping[str, int]:
        """Rows between two neighbouring windows of each part: T or more where no two windows share a row."""
        train = self.train_stride or self.test_stride
        validation = self.validation_stride or train
        return {"train": train, "validation": validation, "test": self.test_stride, "held_out": self.test_stride}

    @property
    def reference(self) -> np.ndarray:
        """What samples are compared with: `held_out`, or the test windows where these are drawn as the training ones.

        The shift between the parts of a recording is then charged to nobody (see `bench.loading.division.hold_out`).
        """
        return self.test if self.held_out is None else self.held_out


@dataclass(frozen=True)
class Dataset(ABC):
    """A source of series. Subclasses are frozen dataclasses whose fields are the options of a sweep file.

    The class docstring is the data card: what it is, the channels, the quirks and how they are handled. The options
    `gap`, `align`, `protocol` and `training_windows` are every data set's; `bench.loading.windows.load_recordings`
    sees to them.
    """

    gap: Literal[0, "T"] = field(default=0, kw_only=True)  # rows left out between pieces of different parts
    align: Literal["any", "day"] = field(default="any", kw_only=True)  # where a window may begin; day: rows with times
    protocol: Literal["held_out", "literature"] = field(
        default="held_out", kw_only=True
    )  # literature: nothing held out
    training_windows: int = option(0, at_least=0, kw_only=True)  # at most, every k-th of all; 0: all of them

    name: ClassVar[str]  # set by the registry
    source: ClassVar[str]  # the official page, or the equation of a simulator
    licence: ClassVar[str]
    restricted: ClassVar[bool] = False
    version: ClassVar[int] = 1  # raised when the same file gives other windows

    @abstractmethod
    def load(self, data_dir: Path | None, rng: np.random.Generator) -> Recordings:
        """Read or simulate. `rng` is for simulators; it depends on (data set, seed), so each seed gives a new draw.

        The values must be the same on every processor, because a run's identity depends on them: take logarithms from
        `bench.loading.exact_logarithms`.
        Raises Unavailable (how to get the file) when it is not under `data_dir`, and
        InputError (file, place, what was expected) when it is there and cannot be used.
        """


# ---------------------------------------------------------------- randomness, likelihoods, posteriors, models


class Draws(Protocol):
    """One stream of random blocks; see `bench.randomness`. Every block has the run dimension first."""

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, (R, *shape)."""
        ...

    def uniform(self, *shape: int) -> Tensor:
        """Uniform on [0, 1), (R, *shape)."""
        ...

    def steps(self, low: PerRun, high: PerRun, *shape: int) -> Tensor:
        """Integers uniform on {low, .., high}, both ends included, (R, *shape), dtype int64."""
        ...

    def permutation(self, n: int) -> Tensor:
        """One permutation of 0..n-1 per run, (R, n)."""
        ...


class Likelihood(Protocol):
    """p(x | h_1 .. h_T), one distribution per time step and channel.

    More than this is asked of a likelihood by single measures only, see `Stepwise`, `Cumulative` and `Standardised` in
    `bench.parts.likelihoods`: without `log_prob_steps` the second half's information is undefined, without `cdf` the
    calibration. `evaluate.temperature` needs `Tempered` of the same file.

    The shipped ones give probabilities of cells (`bench.parts.cells`); one without `fitted` is used as it is.
    """

    @property
    def mean(self) -> Tensor:
        """(R, B, T, C)"""
        ...

    def log_prob(self, x: Tensor) -> Tensor:
        """ln p(x | z) in nats per series, (R, B); ln P(cells of x | z) where cells are known."""
        ...

    def sample(self, draws: Draws) -> Tensor:
        """(R, B, T, C); under `mse` the mean."""
        ...


class Posterior(Protocol):
    """q(z | x) for a batch of series."""

    @property
    def mean(self) -> Tensor:
        """(R, B, D)"""
        ...

    def rsample(self, draws: Draws) -> Tensor:
        """z with gradients, (R, B, D)."""
        ...

    def kl(self) -> Tensor | None:
        """KL(q(z_j | x) || N(0, 1)) per dimension, (R, B, D); None where q is no density."""
        ...

    def rows(self, index: Tensor) -> Posterior:
        """The posterior of some of the series; index (R, b)."""
        ...


class Decoder(Protocol):
    """h_t = f_dec([z, x_1, .., x_{t-1}]) and p(x_t | h_t)."""

    def states(self, z: Tensor, past: Tensor) -> Tensor:
        """h of the top layer: z (R, B, D), past x_1..x_{T-1} (R, B, T-1, C) -> (R, B, T, H)."""
        ...

    def __call__(self, z: Tensor, past: Tensor) -> Likelihood:
        """p(x | z, past): z (R, B, D), past (R, B, T-1, C)."""
        ...

    def generate(self, z: Tensor, draws: Draws) -> Tensor:
        """x drawn step by step from its own past: z (R, B, D) -> (R, B, T, C). Under `mse` x_t is the mean."""
        ...


class Denoiser(Protocol):
    """eps_theta: the noise in z^i."""

    latent: int  # D
    predicts: Literal["noise", "x0", "v"]  # what its network gives; a call gives the noise in every case

    def __call__(self, z: Tensor, i: Tensor) -> Tensor:
        """z (R, B, D), i (R, B) in 1..L -> (R, B, D)."""
        ...

    def table(self) -> Tensor:
        """The embedding of every diffusion step, (R, L + 1, width), computed once for a sampling loop."""
        ...

    def with_step(self, z: Tensor, embedded: Tensor) -> Tensor:
        """The same as a call, given the step's embedding (R, 1 or B, width)."""
        ...


class Model(Protocol):
    """A backbone with its denoiser, R runs at once."""

    runs: int
    latent: int  # D
    alpha_bar: Tensor  # (L + 1,), alpha_bar[0] = 1
    latent_mean: Tensor  # (R, D), of training latents; 0 and 1 where a method keeps their own space
    latent_scale: Tensor  # (R, D), their standard deviation
    loss_weights: Tensor  # (L + 1,), of the diffusion steps in the denoising loss
    sampler: str  # as in `DiffusionConfig`
    sampling_steps: int  # of the L; 0 is all of them
    temperature: Sequence[float]  # of each run's likelihood in generation (`bench.parts.likelihoods.tempered`)

    @property
    def encoder(self) -> Callable[[Tensor], Tensor]:
        """x (R, B, T, C) -> (R, B, width the method declares)."""
        ...

    @property
    def decoder(self) -> Decoder:
        """The decoder: its states and its likelihood."""
        ...

    @property
    def denoiser(self) -> Denoiser:
        """The noise predictor of the latent diffusion."""
        ...

    def get_submodule(self, target: str) -> Any:
        """A network that the method added (see `bench.method.Method.networks`), by its name."""
        ...

    def marginal_log_prob(self, x: Tensor) -> Tensor:
        """F(x), (R, B): ln p of x under the training windows' marginal at each time, in nats per series."""
        ...


@dataclass(frozen=True)
class Sizes:
    """What a method needs to know to build networks of its own."""

    runs: int  # R
    window: int  # T
    channels: int  # C
    latent: int  # D
    hidden: int  # H, of the backbone
    denoiser_hidden: int
    diffusion_steps: int  # L


@dataclass(frozen=True)
class Step:
    """The position in training: the update about to be made, and the updates that a method's schedules last."""

    index: int | Tensor  # in a recorded step (see `bench.hardware.recorded_steps`) a tensor (), float64
    total: int  # all updates, or `train.schedule_steps`

    @property
    def fraction(self) -> float | Tensor:
        """0 at the first update, 1 from the end of the schedules on."""
        share = self.index / self.total
        return min(share, 1.0) if isinstance(share, float) else share.clamp(max=1.0)


# ---------------------------------------------------------------- measures


@dataclass(frozen=True)
class Measurement:
    """One number of one metric; an undefined one has value NaN and states the reason in `reason`."""

    name: str
    value: float
    sd: float = math.nan  # over series or repeats, where it is one number's spread; NaN where there is none
    n: int = 0  # series behind the value
    coordinate: str = ""  # what `index` counts: t, diffusion_step, dimension, channel, lag, threshold; "" for a scalar
    index: float = math.nan
    status: Literal["ok", "undefined", "failed"] = "ok"
    reason: str = ""
    error: float = math.nan  # of a mean over test windows, so that 1.96 errors are a 95 % interval; else NaN


@dataclass(frozen=True)
class SampleEvaluation:
    """Generated windows beside real ones, all in train-scaled units, float32.

    Windows of one recording share rows where the rows at which they begin differ by less than T. `reference_start`
    holds these rows, and so does `sample_start` where the samples are real windows themselves (a floor).
    """

    reference: np.ndarray  # (n, T, C), real windows that nothing was trained on
    samples: np.ndarray  # (m, T, C), as many as `reference` unless somebody else drew them
    train: np.ndarray  # (N, T, C), for metrics that fit something on real data
    rng: Callable[[str], np.random.Generator]  # a seeded generator per role, the same for every method
    cache: Path | None = None  # where a metric may keep what it fits on `train`; none for restricted data
    device: str = "cpu"  # where a metric may compute
    cells: Cells | None = None  # how finely each channel was measured; none: not known
    reference_start: np.ndarray | None = None  # (n,), NaN for a window of no known recording; none: nothing is shared
    sample_start: np.ndarray | None = None  # (m,)
    reference_entity: np.ndarray | None = None  # (n,), whose window it is; none: the data name no one with several
    sample_entity: np.ndarray | None = None  # (m,), NaN for a window of nobody
    zero_one: tuple[np.ndarray, np.ndarray] | None = None  # as in `Splits`; none: the range of the training windows
    whole: bool = False  # as in `Splits`: the reference windows are training windows


@dataclass(frozen=True)
class LatentEvaluation:
    """A trained model (R = 1) beside real series."""

    model: Any  # bench.models.build.StackedModel with runs == 1
    method: Any  # bench.method.Method
    series: Tensor  # (n, T, C), test windows on the model's device
    draws: Callable[[str], Draws]  # a seeded stream per role, R = 1, the same for every method
    config: EvaluateConfig = EvaluateConfig()
    train: Tensor | None = None  # (N, T, C), training windows on the model's device, for metrics that fit something
    truth: Truth = field(default_factory=dict)  # factor -> (n, k), what a simulator drew for `series`
    train_truth: Truth = field(default_factory=dict)  # factor -> (N, k), the same for `train`
    groups: np.ndarray | None = None  # (n,), the group of each series, whose series resemble each other
    validation: Tensor | None = None  # (V, T, C), validation windows from all pieces, for what a measure fits
    held_out: Tensor | None = None  # (H, T, C), `Splits.held_out`


TEST_BLOCKS = "test blocks"
"""The coordinate of a value beside the test windows, where the plain one is beside held-out windows."""


@dataclass(frozen=True)
class Metric(ABC):
    """One measure. The class docstring is its card: equation, shapes, source, and what it cannot detect.

    `name@version` identifies the numbers: a change that moves them raises the version.
    """

    name: ClassVar[str]  # set by the registry
    version: ClassVar[int]
    needs: ClassVar[Literal["samples", "latent"]]
    outputs: ClassVar[tuple[str, ...]]  # names of the Measurements it returns
    diagnostics: ClassVar[tuple[str, ...]] = ()  # those of them that say how well the others were computed
    unit: ClassVar[str]
    direction: ClassVar[Literal["lower", "higher", "none"]]  # which way is better
    unranked: ClassVar[Mapping[str, str]] = {}  # output -> why no best of it is named in the report
    source: ClassVar[str]
    fast: ClassVar[bool] = True  # part of `metrics: fast`
    generalises: ClassVar[bool] = False  # whether samples are also compared with the test windows, where these differ

    @abstractmethod
    def measure(self, evaluation: Any) -> list[Measurement]:
        """`evaluation` is a SampleEvaluation or a LatentEvaluation, as `needs` says."""
