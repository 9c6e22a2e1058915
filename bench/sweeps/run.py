"""A run: one method on one data set with one seed, and its identity.

A run is identified by what determines its training (`Run.run_id`), never by its place in a sweep file, so a finished
run is found again from any sweep that asks for it.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.code_hash import code_of
from bench.contracts import (
    TRAINING_BLOCKS,
    DatasetSpec,
    DiffusionConfig,
    EvaluateConfig,
    InputError,
    ModelConfig,
    TrainConfig,
    later_options,
)
from bench.loading.references import version_of
from bench.registry import METHODS

TRAINING_VERSION = 2
"""Raised when a change of the training code moves the numbers of every method; part of a run's identity."""

BLOCKS: dict[str, type] = {**TRAINING_BLOCKS, "evaluate": EvaluateConfig}
"""The blocks of options that every run has, by their names in a sweep file."""


def plain(value: Any) -> Any:
    """One form for equal values: 2.0 becomes 2, a list a tuple. So 2, 2.0 and 2e0 give one run."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, (list, tuple)):
        return tuple(plain(item) for item in value)
    return value


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same mapping, its values in their one form."""
    return {name: plain(value) for name, value in values.items()}


@functools.lru_cache(maxsize=4096)
def plain_fields(config: Any) -> dict[str, Any]:
    """A configuration block as plain values; cached because thousands of runs share one block."""
    return plain_values({item.name: getattr(config, item.name) for item in dataclasses.fields(config)})


@functools.lru_cache(maxsize=16384)
def _plain_hyper(method: str, hyper: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """A method's fields as plain values, as `_block_json` has them; cached because the runs of a variant share them.

    By method, because only within one a field's type is fixed: True == 1, but they are different settings.
    """
    later = plain_values(later_options(METHODS[method]))
    return {name: value for name, value in plain_values(dict(hyper)).items() if later.get(name, ...) != value}


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_TEXTS: dict[tuple[Any, ...], str] = {}
"""What a method's runs have in common beside the blocks, as JSON with `"<data>"` and `"<seed>"` for what differs."""


@functools.lru_cache(maxsize=4096)
def _block_json(config: Any) -> str:
    """A block's part of a run's identity; `later` fields at their neutral values are left out (see `option`)."""
    later = plain_values(later_options(config))
    return _canonical({name: value for name, value in plain_fields(config).items() if later.get(name, ...) != value})


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
    split_seed: int | None = None  # of the data's division, or of a simulator's draw; none: `seed` is that, too

    @property
    def data_seed(self) -> int:
        """The seed of the windows; `seed` is that of everything else (weights, batches, noise)."""
        return self.seed if self.split_seed is None else self.split_seed

    @property
    def ingredients(self) -> dict[str, Any]:
        """What determines the result of training, and nothing else: no label, no sweep, no evaluation."""
        return {**self._own, **{name: plain_fields(getattr(self, name)) for name in self._blocks}}

    @property
    def _blocks(self) -> Iterable[str]:
        """Those of the training blocks that determine the result."""
        return TRAINING_BLOCKS if self.kind == "method" else ()

    @property
    def _own(self) -> dict[str, Any]:
        """The ingredients beside the blocks, which thousands of runs share."""
        shared = {
            "dataset": self.dataset.stream,
            "shuffle": self.dataset.shuffle,
            "data_sha256": self.data_sha256,
            "seed": self.seed,
            **({} if self.split_seed is None else {"split_seed": self.split_seed}),
        }
        if self.kind == "reference":
            version = {"references_version": version_of(self.method), "n_samples": self.evaluate.n_samples}
            return {"reference": self.method, **version, **shared}
        return {
            "method": self.method,
            "method_version": METHODS[self.method].version,
            **({"method_code": code} if (code := code_of(METHODS[self.method])) else {}),
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
        versions = METHODS[self.method].version, code_of(METHODS[self.method]), TRAINING_VERSION
        shared = self.method, *versions, self.hyper, self.backbone, self.dataset, self.split_seed
        if (text := _TEXTS.get(shared)) is None:
            text = _TEXTS[shared] = _canonical({**self._own, "data_sha256": "<data>", "seed": "<seed>"})
        return text.replace('"<data>"', f'"{self.data_sha256}"').replace('"<seed>"', str(self.seed))

    def build_method(self) -> Any:
        """The method with its hyper-parameters, every one of them a number that training can use."""
        return METHODS[self.method](**dict(self.hyper)).resolved(self.diffusion)

    def to_config(self) -> str:
        """The whole run as JSON; `from_config` reads it back."""
        values = dataclasses.asdict(self)
        if not self.dataset.folder:  # nothing to say for the data sets that have no relative path
            del values["dataset"]["folder"]
        if self.split_seed is None:
            del values["split_seed"]
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_config(cls, text: str) -> Run:
        """The run that `to_config` wrote. Raises InputError where the text is no such run."""
        try:
            values = json.loads(text)
            spec = values.pop("dataset")
            # What an older configuration does not say was not there yet, so it has its neutral value.
            blocks = {
                name: block(**{**later_options(block), **plain_values(values.pop(name))})
                for name, block in BLOCKS.items()
            }
            options = tuple((name, plain(value)) for name, value in spec["options"])
            dataset = DatasetSpec(spec["name"], options, spec["shuffle"], spec.get("folder", ""))
            given = {name: plain(value) for name, value in values.pop("hyper")}
            known = later_options(METHODS[values["method"]]) if values["method"] in METHODS else {}
            missing = {name: value for name, value in plain_values(known).items() if name not in given}
            hyper = tuple({**given, **missing}.items())
            return cls(**values, hyper=hyper, dataset=dataset, **blocks)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"this is no configuration of a run: {type(error).__name__}: {error}") from error

    def columns(self) -> dict[str, Any]:
        """What the runs table says about this run before it has been trained."""
        method_version, method_code = 0, ""
        if self.kind == "method" and self.method in METHODS:
            method_version, method_code = METHODS[self.method].version, code_of(METHODS[self.method])
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
            "split_seed": self.data_seed,
            "data_sha256": self.data_sha256,
            "training_version": TRAINING_VERSION,
            "method_version": method_version,
            "method_code": method_code,
            "config": self.to_config(),
            **({} if self.kind == "reference" else dict(self.hyper)),
            **{f"{name}.{key}": value for name in BLOCKS for key, value in plain_fields(getattr(self, name)).items()},
        }
