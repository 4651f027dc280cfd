"""Engines by name, and which options each of them takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError
from bench.words import unknown

if TYPE_CHECKING:
    from bench.execute.protocol import Engine

NAMES = ("local", "ray", "slurm")


def engine_named(
    name: str, slots: int | None = None, address: str | None = None, slurm: Sequence[str] = (), results: Path = Path()
) -> Engine:
    """An engine. Raises UsageError for an unknown one and for options of another."""
    if name not in NAMES:
        raise UsageError(f"--engine: {unknown('engine', name, NAMES)}")
    if address is not None and name != "ray":
        raise UsageError("--address: names a Ray cluster; give --engine ray too")
    if slurm and name != "slurm":
        raise UsageError("--slurm: asks Slurm for something; give --engine slurm too")
    if name == "ray":
        from bench.execute.remote.on_ray import RayEngine

        return RayEngine(address, slots)
    if name == "slurm":
        from bench.execute.remote.on_slurm import SlurmEngine

        return SlurmEngine(results, slots or 1, slurm)
    from bench.execute.local import LocalEngine

    return LocalEngine(slots)
