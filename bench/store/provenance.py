"""Where results come from: the code, the libraries and the machine."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.distribution import DISTRIBUTION

LIBRARIES = ("torch", "numpy", "pot", "torchdiffeq", "torch-fidelity")

CODE = ("bench", "suites", "pyproject.toml")
"""What can change a result; an edit elsewhere does not make a checkout dirty."""


def provenance(root: Path) -> dict[str, Any]:
    """Commit, dirty flag, versions, CPU, cores that this process may use, and platform; once per run.

    `root` is the checkout's top folder; commit and dirty are None where it is not one. A library that is
    not installed, and this package where it runs from its source alone, has the version None. Reads metadata only,
    imports none of the libraries.
    """
    commit, dirty = _checkout(root)
    return {
        "commit": commit,
        "dirty": dirty,
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in (DISTRIBUTION, *LIBRARIES)},
        },
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "platform": platform.platform(),
    }


def _checkout(root: Path) -> tuple[str | None, bool | None]:
    """Commit and dirty flag. A repository that merely contains `root` is not ours: then both are None."""
    told = _git(root, "rev-parse", "--show-toplevel", "HEAD")
    if told is None:
        return None, None
    top, commit = told.splitlines()
    if Path(top).resolve() != root.resolve():
        return None, None
    changes = _git(root, "status", "--porcelain", "--", *CODE)
    return commit, None if changes is None else bool(changes)


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints, or None where it fails or is not there."""
    # A hook's variables would point git at another repository; a lock would disturb the user's own git.
    settings = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    settings["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            env=settings, capture_output=True, check=True, timeout=30,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return os.fsdecode(done.stdout)  # a folder may be called by any bytes


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    """The processor's name; Linux alone says it in full, in /proc/cpuinfo.

    With family and model, since virtual machines of one name, `AMD EPYC`, differ in speed by half and more.
    """
    about, told = Path("/proc/cpuinfo"), dict[str, str]()
    for line in about.read_text(encoding="utf-8", errors="replace").splitlines() if about.is_file() else ():
        name, _, value = line.partition(":")
        told.setdefault(name.strip(), value.strip())
    if "model name" not in told:
        return platform.processor() or platform.machine()
    numbers = [f"{kind} {told[name]}" for kind, name in (("family", "cpu family"), ("model", "model")) if name in told]
    return told["model name"] + (f" ({', '.join(numbers)})" if numbers else "")
