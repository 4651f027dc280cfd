"""How long the missing jobs will take and what memory they need, from records of past ones."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from bench.kinds import KINDS

if TYPE_CHECKING:
    from bench.recipes import Job
    from bench.store import Store
    from bench.store.index import Past

Group = tuple[str, str]
"""(kind, group)."""

TRAINED = re.compile(r"/(\d+)x(\d+)$")
"""How the group of a training ends: batch and steps."""


@dataclass(frozen=True)
class Left:
    """What jobs will take.

    seconds: of the `known` jobs, whose like was done before; rough_seconds: of the `rough` ones, by jobs that are less
    like them; unknown: of the rest, how many of each kind. peak_mb: the most memory that a process of jobs like these
    held, in MiB, None where none was noted.
    """

    seconds: float
    known: int
    rough_seconds: float
    rough: int
    unknown: Mapping[str, int]
    peak_mb: float | None


class Estimator:
    """Median seconds of a job's group, from the store and from this run; of its kind where that is all.

    device: where jobs that take a device are done, so that those done elsewhere do not count; empty: all count.
    """

    def __init__(self, store: Store, device: str = "") -> None:
        self.store, self.device = store, device.partition(":")[0]
        self._groups: dict[str, list[float]] = {}
        self._kinds: dict[str, list[float]] = {}

    def learn(self, job: Job, seconds: float) -> None:
        """Note a job that ended."""
        self._past(job).append(seconds)
        self._kinds.setdefault(job.kind, []).append(seconds)

    def seconds(self, job: Job) -> float | None:
        """Expected seconds of a job on one worker, or None where nothing like it was seen."""
        past = self._past(job) or self._kinds.get(job.kind)
        return median(past) if past else None

    def left(self, jobs: Iterable[Job], slots: int) -> tuple[float, int]:
        """Expected seconds for these jobs on so many workers, and how many jobs it knows nothing of."""
        groups = _Groups(jobs)
        known = {group: self.seconds(job) for group, job in groups.one.items()}
        return groups.spread(known, slots), sum(many for at, many in groups.many.items() if known[at] is None)

    def cost(self, jobs: Iterable[Job], slots: int) -> Left:
        """The same with a rough guess where nothing like a job was seen, and with memory."""
        groups = _Groups(jobs)
        known, rough, peaks = dict[Group, float | None](), dict[Group, float | None](), list[float]()
        for at, job in groups.one.items():
            known[at] = self.seconds(job)
            past = self.store.past(job.group, device=self._on(job)) if job.group and not self._new else []
            past = past or ([] if known[at] is not None else self._like(job))
            rough[at] = None if known[at] is not None else _guess(job, past)
            peaks += [one.peak_mb for one in past if one.peak_mb]
        done, guessed = (sum(groups.many[at] for at in each if each[at] is not None) for each in (known, rough))
        lost = Counter[str]()
        for at, many in groups.many.items():
            if known[at] is None and rough[at] is None:
                lost[at[0]] += many
        return Left(
            groups.spread(known, slots), done, groups.spread(rough, slots), guessed, lost, max(peaks, default=None)
        )

    def _like(self, job: Job) -> list[Past]:
        """Past jobs of its kind: of the same net where it is done on a device, where nets do the work."""
        if self._new:
            return []
        if not KINDS[job.kind].on_device:
            return self.store.past("", job.kind)
        net = job.recipe.roles.get("net")
        at = job.group.find(net.digest[:12]) if net else -1
        return self.store.past(f"{job.group[: at + 12]}/", job.kind, self._on(job)) if at >= 0 else []

    def _on(self, job: Job) -> str:
        return self.device if KINDS[job.kind].on_device else ""

    def _past(self, job: Job) -> list[float]:
        if job.group not in self._groups:
            self._groups[job.group] = self.store.seconds(job.group, self._on(job)) if not self._new else []
        return self._groups[job.group]

    @functools.cached_property
    def _new(self) -> bool:
        """Whether the store had no job when it was first asked: then nobody looks for each group in it."""
        return not any(self.store.past("", kind) for kind in KINDS)


class _Groups:
    """Jobs by what they take: of each kind and group one, and how many there are."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self.one: dict[Group, Job] = {}
        self.many: Counter[Group] = Counter()
        for job in jobs:
            at = (job.kind, job.group)
            self.one.setdefault(at, job)
            self.many[at] += 1

    def spread(self, each: Mapping[Group, float | None], slots: int) -> float:
        """Seconds on so many workers, at so many each; what must be alone comes after the rest."""
        parallel, alone = (
            sum(self.many[at] * (each[at] or 0.0) for at in self.one if KINDS[at[0]].alone is by_itself)
            for by_itself in (False, True)
        )
        return parallel / max(slots, 1) + alone


def _guess(job: Job, past: Iterable[Past]) -> float | None:
    """A job's seconds by such that are somewhat like it; a training's by what they took for a point."""
    if job.kind == "train":
        rates = [one.seconds / size for one in past if (size := _size(one.group))]
        return median(rates) * _size(job.group) if rates else None
    seconds = [one.seconds for one in past]
    return median(seconds) if seconds else None


def _size(group: str) -> int:
    """Points that a training sees, by its group; 0 where it does not say."""
    found = TRAINED.search(group)
    return int(found[1]) * int(found[2]) if found else 0
