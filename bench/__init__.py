"""The benchmark harness: every command is `python -m bench.VERB`; `python -m bench` lists them.

In a notebook or a script: `from bench import fit, load, check_collapse, evaluate_samples, latent_information,
dependency_measures`; see bench/docs/library.md. These names are imported on first use, so that `import bench` is cheap.
"""

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.collapse import check_collapse as check_collapse
    from bench.library import evaluate_samples as evaluate_samples
    from bench.library import fit as fit
    from bench.library import load as load
    from bench.metrics.dependency import dependency_measures as dependency_measures
    from bench.own_model import latent_information as latent_information

_PLACES = {
    "check_collapse": "bench.collapse",
    "dependency_measures": "bench.metrics.dependency",
    "latent_information": "bench.own_model",
    **dict.fromkeys(("evaluate_samples", "fit", "load"), "bench.library"),
}


def __getattr__(name: str) -> Any:
    """What the library offers, by name."""
    if name not in _PLACES:
        raise AttributeError(f"module 'bench' has no attribute '{name}'")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})


def _check_environment() -> None:
    """End a command whose Python lacks our packages, with one line that says which Python has them."""
    needed = (
        ["numpy", "torch"] if "bench.perf" in sys.orig_argv else ["numpy", "torch", "pydantic"]
    )  # a lent GPU has two
    if sys.argv[:1] != ["-m"] or all(find_spec(package) for package in needed):
        return
    root = Path(__file__).resolve().parent.parent
    activate = root / ".venv" / "bin" / "activate"
    hint = (
        f"activate it with: . {activate}"
        if activate.is_file()
        else f"make and activate it with: cd {root} && ./run_all.sh --smoke && . .venv/bin/activate"
    )
    sys.stderr.write(
        f"error: {sys.executable} lacks the packages of this benchmark: expected its environment; {hint}\n"
    )
    sys.exit(2)


_check_environment()
