"""What each job may take: what the user set, else what its own past and the machine suggest."""

from __future__ import annotations

import math
import os
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bench.limits import Limits, option

if TYPE_CHECKING:
    from bench.recipes import Job
    from bench.store import Store

PATIENCE = 20
"""Times the median of its past that a job may take where nobody says otherwise."""

LEAST_SECONDS = 600.0
"""Below this no job is stopped unless the user says so."""

IDLE_SECONDS = 600.0
"""A job that for so long neither reports progress nor uses a processor waits for something that never comes."""

AMOUNTS = {"minutes": ("seconds", 60.0), "still": ("still", 60.0), "memory": ("memory", 1.0), "disk": ("disk", 1.0)}
"""Of each key in a suite, the name of the limit and how many of its units one is."""

DISK = "what was free on the disk when the run began"
"""Who set a limit of disk."""

MACHINE = "the machine"
"""Who set a limit of memory that counts only once the machine runs short of it."""

Allowed = dict[str, tuple[float, str]]
"""`seconds`, `still` and `idle` (seconds), `memory` and `disk` (MiB), each with who set it; none: no limit."""


class Allowance:
    """The limits of a run's jobs."""

    def __init__(self, limits: Limits, store: Store, slots: int) -> None:
        self.limits, self.store = limits, store
        self._share = memory_mb() / max(slots, 1)
        self._disk = store.free_mb() / max(slots, 1)
        self._groups: dict[str, tuple[float, str] | None] = {}

    def of(self, job: Job) -> Allowed:
        """What this job may take."""
        allowed: Allowed = {}
        for key, (name, factor) in AMOUNTS.items():
            if key in self.limits:
                amount, by = self.limits[key]
                allowed[name] = (amount * factor, by)
        if "minutes" not in self.limits and (past := self._past(job.group)):
            allowed["seconds"] = past
        if "memory" not in self.limits and self._share:
            allowed["memory"] = (self._share, MACHINE)
        if "still" not in self.limits:
            allowed["idle"] = (IDLE_SECONDS, "default")
        if "disk" not in self.limits and self._disk:
            allowed["disk"] = (self._disk, DISK)
        return {name: limit for name, limit in allowed.items() if math.isfinite(limit[0])}

    def _past(self, group: str) -> tuple[float, str] | None:
        if group not in self._groups:
            past = self.store.seconds(group) if group else []
            limit = max(LEAST_SECONDS, PATIENCE * median(past)) if past else 0.0
            by = f"{PATIENCE} times the median of its past, and 10 minutes at least"
            self._groups[group] = (limit, by) if past else None
        return self._groups[group]


def remedy(name: str, by: str) -> str:
    """Who set a limit and how it is raised."""
    key = "minutes" if name == "seconds" else name
    return f"set by {by}; {option(key)} or `limits: {{{key}: ...}}` in the suite raises it"


def memory_mb() -> float:
    """Memory that there is, in MiB: the machine's, or less where a control group bounds it; 0 where unknown."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    except (ValueError, OSError):
        return 0.0
    return min(whole, _group("memory.max") or whole)


def free_mb() -> float:
    """Memory that can still be had, in MiB; infinite where unknown."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(float(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return math.inf
    most, used, cached = _group("memory.max"), _group("memory.current"), _group("memory.stat", "file ")
    return min(free, most - used + cached) if most and used else free


def _group(name: str, line: str = "") -> float:
    """A number of this control group in MiB; 0 where there is none."""
    try:
        text = Path("/sys/fs/cgroup", name).read_text()
        words = next(row for row in text.splitlines() if row.startswith(line)).split()
        return float(words[-1]) / 2**20
    except (OSError, ValueError, StopIteration):
        return 0.0
