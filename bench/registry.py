"""Names of methods, data sets, metrics, backbones and likelihoods: one decorator each, found by importing folders.

A new method is one new file in `methods/` (data set: `datasets/`, metric: `bench/metrics/`, backbone or likelihood:
`bench/models/`) or a plug-in: a file given with `--plugin path.py`, or an installed package that declares an entry
point in the group `bench.plugins`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Generic, TypeVar

from bench.code_hash import code_of, read_hash, remember
from bench.contracts import Dataset, InputError, Metric, Unavailable, in_one_line, nearest

T = TypeVar("T")
OWN = "one of your own needs --plugin FILE.py"


class Registry(Mapping[str, type[T]], Generic[T]):
    """A mapping from registered names to classes, filled on first use."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._classes: dict[str, type[T]] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Decorator. Raises InputError for a name that another class has, and for a class that is not whole."""

        def decorate(cls: type[T]) -> type[T]:
            if not isinstance(cls, type):
                raise InputError(f"{self.kind} '{name}': expected a class, not {cls!r}")
            known = self._classes.get(name)
            if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
                raise InputError(
                    f"{self.kind} '{name}' is registered twice: in {known.__module__} and {cls.__module__}"
                )
            if missing := _missing(cls):
                raise InputError(f"{self.kind} '{name}' in {cls.__module__}: expected it to have {', '.join(missing)}")
            self._classes[name] = cls
            cls.name = name  # type: ignore[attr-defined]
            return cls

        return decorate

    def _discover(self) -> None:
        if self._discovered:
            return
        package = importlib.import_module(self.package)
        here = Path(__file__).resolve().parent.parent / self.package.replace(".", "/")
        if here not in [Path(place).resolve() for place in package.__path__]:
            raise InputError(
                f"the name '{self.package}' is taken by another installed package ({next(iter(package.__path__))}): "
                "use a virtual environment of this project's own"
            )
        self._discovered = True  # before the modules, which look names up while they are imported
        try:
            for module in pkgutil.iter_modules(package.__path__, f"{self.package}."):
                with _importing(f"{module.name.replace('.', '/')}{'' if module.ispkg else '.py'}"):
                    importlib.import_module(module.name)
        except BaseException:
            self._discovered = False  # the next look-up says again what does not import, and not "unknown"
            raise

    def unknown(self, name: str) -> str:
        """The message for a name that is not registered, with the nearest registered names."""
        listed_by = f"`python -m bench.list {self.kind.replace(' ', '')}s`"
        return f"unknown {self.kind} '{name}': {nearest(name, self, listed_by)}; {OWN}"

    def __getitem__(self, name: str) -> type[T]:
        self._discover()
        if name not in self._classes:
            raise InputError(self.unknown(name))
        return self._classes[name]

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._classes

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(sorted(self._classes))

    def __len__(self) -> int:
        self._discover()
        return len(self._classes)


def _missing(cls: type) -> list[str]:
    """The methods and class attributes that a class's bases ask for and that it lacks; its name comes with it.

    What a class states for itself alone, such as a table that it fills at its first use, may have no value yet.
    """
    stated = {
        name
        for base in cls.__mro__[1:]
        for name, hint in vars(base).get("__annotations__", {}).items()
        if "ClassVar" in str(hint) and not hasattr(cls, name)
    }
    return sorted({*getattr(cls, "__abstractmethods__", ()), *stated} - {"name"})


METHODS: Registry = Registry("method", "methods")
DATASETS: Registry[Dataset] = Registry("data set", "datasets")
METRICS: Registry[Metric] = Registry("metric", "bench.metrics")
BACKBONES: Registry = Registry("backbone", "bench.models")
LIKELIHOODS: Registry = Registry("likelihood", "bench.models")

register_method = METHODS.register
register_dataset = DATASETS.register
register_metric = METRICS.register
register_backbone = BACKBONES.register
register_likelihood = LIKELIHOODS.register


def load_plugins(files: Iterable[str | Path]) -> None:
    """Everything that is not shipped: plug-ins of installed packages, then a user's own files (`--plugin`)."""
    load_entry_points()
    for file in files:
        load_plugin(file)


def load_plugin(path: str | Path) -> None:
    """Import a user's own file. Raises InputError that names the file and what went wrong."""
    path = Path(path).resolve()
    if not path.is_file():
        raise InputError(f"--plugin {path}: no such file")
    name = f"bench_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"--plugin {path}: expected a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        code = _code_before_import(path)
        with _importing(str(path), f"--plugin {path}"):
            spec.loader.exec_module(module)
    except (InputError, Unavailable):
        del sys.modules[name]
        raise
    if code:
        remember(path, code)


@contextlib.contextmanager
def _importing(file: str, place: str = "") -> Iterator[None]:
    """Whatever a file or the files of a folder raise while they are imported becomes an InputError that names a line.

    file: its path or the end of it; place: how the message names it.
    """
    try:
        yield
    except (InputError, Unavailable):
        raise
    except (Exception, SystemExit) as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if file and file in frame.filename]
        line = f" (line {frames[-1].lineno})" if frames else ""  # a SyntaxError says its own
        raise InputError(f"{place or file}: does not import: {in_one_line(error)}{line}") from error


def _code_before_import(path: Path) -> str:
    """The hash of a file that is about to be imported, because it may be edited right after; "" where it has none."""
    try:
        return read_hash(path)
    except (SyntaxError, ValueError, OSError):  # the import says what is wrong with it
        return ""


def load_entry_points() -> None:
    """Import the plug-ins of installed packages (entry-point group `bench.plugins`)."""
    for entry in entry_points(group="bench.plugins"):
        package = f" of the package {entry.dist.name}" if entry.dist else ""
        with _importing("", f"the plug-in '{entry.value}'{package}"):
            entry.load()
        for cls in (*METHODS._classes.values(), *METRICS._classes.values()):
            with contextlib.suppress(SyntaxError, ValueError, OSError):  # said where the hash is needed
                code_of(cls)  # read as soon as it is imported
