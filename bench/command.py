"""What the commands share: the parser, one line for bad input, exit codes and output."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bench.contracts import InputError, Unavailable

OUTPUT = "standard output"


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake as an InputError: one line, exit status 2."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """The flags. Raises InputError, also for a folder without a name, which would be the current one."""
        given = super().parse_args(args, namespace)
        for name in ("results", "data"):
            if getattr(given, name, None) == "":
                self.error(f"argument --{name}: expected a folder, not an empty name")
        return given

    def error(self, message: str) -> NoReturn:
        """Raises InputError."""
        raise InputError(f"{self.prog}: {message} (see --help)")


def parser(verb: str, description: str) -> Parser:
    """The parser of `python -m bench.VERB`."""
    return Parser(prog=f"python -m bench.{verb}", description=description, allow_abbrev=False)


def add_plugin(parser: argparse.ArgumentParser) -> None:
    """The flag --plugin, for `bench.registry.load_plugins`."""
    parser.add_argument(
        "--plugin", action="append", default=[], metavar="FILE", help="a Python file of your own (repeatable)"
    )


def plugin_flags(files: Iterable[str]) -> list[str]:
    """The words that give them to another command."""
    return [word for file in files for word in ("--plugin", file)]


def run_command(main: Callable[[Sequence[str] | None], int]) -> NoReturn:
    """Run a verb and exit: 2 and one line per mistake for bad input or a file that fails, 130 after Ctrl-C."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed, as by `>&-`
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without umlauts shows them as \\xe4, and nothing fails
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main(None)
        with _to_output():
            sys.stdout.flush()
    except (InputError, Unavailable) as error:
        _complain(str(error))
        code = 2
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # `| head`
        _silence_output()
        code = 0
    except OSError as error:
        if error.filename is None:
            raise
        if error.filename == OUTPUT:
            _silence_output()
        name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else str(error.filename)
        name = f"{name[:60]}..." if error.errno == errno.ENAMETOOLONG else name
        _complain(f"{name}: {error.strerror}")
        code = 2
    sys.exit(code)


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens
        sys.stderr.write("".join(f"error: {line}\n" for line in text.splitlines()))


@contextlib.contextmanager
def _to_output() -> Iterator[None]:
    """An error of standard output, such as that of a full disk, has its name."""
    try:
        yield
    except OSError as error:
        error.filename = OUTPUT
        raise


def _silence_output() -> None:
    """Standard output goes nowhere, so that it fails no more when Python ends."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def data_dir(given: str | None) -> Path | None:
    """The folder of --data, else of the variable BENCH_DATA, else None. Raises InputError where that is no folder."""
    place = given or os.environ.get("BENCH_DATA")
    if place and not Path(place).is_dir():
        raise InputError(f"{'--data' if given else 'BENCH_DATA'} {place}: expected a folder, there is none")
    return Path(place).resolve() if place else None


def refuse_overwriting(out: Path | None, *inputs: Path | str | None) -> None:
    """Raises InputError where --out names a file that the command reads."""
    for path in inputs:
        if out is not None and path is not None and out.exists() and Path(path).exists() and out.samefile(path):
            raise InputError(f"--out {out}: is read by this command, expected another file")


def by_reason(runs: Iterable[tuple[str, str]]) -> list[str]:
    """Reasons of many runs, given as (where, why), one line per reason: "energy: there is no such file (7 runs)"."""
    places: dict[str, list[str]] = {}
    for where, why in runs:
        places.setdefault(why, []).append(where)
    return [
        f"{'; '.join(dict.fromkeys(where))}: {why} ({len(where)} run{'s' if len(where) > 1 else ''})"
        for why, where in places.items()
    ]


def write(text: str = "") -> None:
    """Write one line to standard output."""
    with _to_output():
        sys.stdout.write(f"{text}\n")


def write_table(rows: Iterable[Sequence[str]], header: Sequence[str] = ()) -> None:
    """Write rows as columns two spaces apart; no cell is cut, so that `| grep` finds everything."""
    lines = [list(row) for row in ([header] if header else []) + list(rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    row = "  ".join(f"{{:<{width}}}" for width in widths).format
    if lines:
        write("\n".join(row(*line).rstrip() for line in lines))
