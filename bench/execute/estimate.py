"""How long the missing jobs will take, from records of past ones."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import TYPE_CHECKING

from bench.kinds import KINDS

if TYPE_CHECKING:
    from bench.planner import Job
    from bench.store import Store


class Estimator:
    """Median seconds of a job's group, from the store and from this run; of its kind where that is all."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._groups: dict[str, list[float]] = {}
        self._kinds: dict[str, list[float]] = {}

    def learn(self, job: Job, seconds: float) -> None:
        """Note a job that ended."""
        self._past(job.group).append(seconds)
        self._kinds.setdefault(job.kind, []).append(seconds)

    def seconds(self, job: Job) -> float | None:
        """Expected seconds of a job on one worker, or None where nothing like it was seen."""
        past = self._past(job.group) or self._kinds.get(job.kind)
        return median(past) if past else None

    def left(self, jobs: Iterable[Job], slots: int) -> tuple[float, int]:
        """Expected seconds for these jobs on so many workers, and how many jobs it knows nothing of."""
        jobs = list(jobs)
        known = {job.group: self.seconds(job) for job in jobs}
        parallel = sum(known[job.group] or 0.0 for job in jobs if not KINDS[job.kind].alone)
        alone = sum(known[job.group] or 0.0 for job in jobs if KINDS[job.kind].alone)
        return parallel / max(slots, 1) + alone, sum(known[job.group] is None for job in jobs)

    def _past(self, group: str) -> list[float]:
        if group not in self._groups:
            self._groups[group] = self.store.seconds(group)
        return self._groups[group]
