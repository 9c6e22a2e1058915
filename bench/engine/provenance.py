"""The origin of a number: commit and versions, as columns of the runs table. Never part of a run's identity."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = {"bench": "latent-diffusion-bench", "torch": "torch", "numpy": "numpy", "scipy": "scipy", "pot": "POT"}


def _git(*words: str) -> str | None:
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@functools.cache
def provenance() -> dict[str, Any]:
    """git_commit, git_dirty and version_*; empty where there is no repository or package to ask."""
    changed = _git("status", "--porcelain", "--untracked-files=no")
    found: dict[str, Any] = {"git_commit": _git("rev-parse", "HEAD") or "", "git_dirty": bool(changed)}
    found["version_python"] = platform.python_version()
    for name, package in PACKAGES.items():
        try:
            found[f"version_{name}"] = version(package)
        except PackageNotFoundError:  # run from a folder that was never installed
            found[f"version_{name}"] = ""
    return found
