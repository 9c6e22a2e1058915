"""The benchmark harness: every command is `python -m bench.VERB`; `python -m bench` lists them."""

import sys
from importlib.util import find_spec
from pathlib import Path


def _check_environment() -> None:
    """End a command that was started with a Python without our packages in one line that says which one has them."""
    if sys.argv[:1] != ["-m"] or all(find_spec(package) for package in ("numpy", "torch", "pydantic")):
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
