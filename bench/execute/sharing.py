"""What other drivers on the same store have in hand, so that no job is done twice."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from bench.execute.protocol import Outcome
from bench.kinds import KINDS
from bench.store.claims import Claims, Owner, machine_token
from bench.words import duration

if TYPE_CHECKING:
    from bench.recipes import Job, JobId
    from bench.store import Store

LOOK_SECONDS = 0.3
"""How often it is looked what became of jobs that others have."""

SAY_SECONDS = 10.0
"""A run that does nothing but wait for others says so after this time."""

TAKEN = frozenset({"failed", "diverged", "skipped"})
"""Ends of a job that another driver met and this one would meet too; limits may be another's own."""


class Sharing:
    """A driver's claims, and the jobs that it leaves to others. A store that cannot be written has no claims."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.claims = Claims(store.root) if store.writable else None
        self.elsewhere: dict[JobId, tuple[Job, Owner]] = {}
        self._noted: dict[JobId, object] = {}
        self._looked = self._busy = time.monotonic()
        self._said: set[str] = set()

    def open(self, missing: Iterable[Job]) -> None:
        """Show the other drivers that this one is at work; how these jobs failed before does not count."""
        if self.claims:
            self._noted = {job.id: self.store.failure(*_name(job)) for job in missing}
            self.claims.open()

    def take(self, job: Job) -> bool:
        """Claim a job; where another driver has it, it is left to that one."""
        owner = self.claims.claim(_name(job)) if self.claims else None
        if owner is None:
            return True
        self.elsewhere[job.id] = job, owner
        return False

    def end(self, job: Job) -> Outcome | None:
        """What became of a job that another driver had since this one began; none where it is to be done."""
        entry = self.store.find(*_name(job))
        if entry is not None:
            return Outcome("ok", entry=entry, stored=True)
        failure = self.store.failure(*_name(job)) if self.claims else None
        if failure is None or failure == self._noted.get(job.id) or failure[0] not in TAKEN:
            return None
        log = self.store.log(*_name(job))
        return Outcome(*failure[:2], log=str(log.relative_to(self.store.root)) if log.is_file() else "")

    def may_time(self) -> bool:
        """Whether stopwatches may start: no other driver of these jobs works, and none on this machine takes times."""
        if any(not KINDS[kind].alone for kind, _ in self.elsewhere):
            return False
        return self.claims is None or self.claims.claim(machine_token()) is None

    def timed(self) -> None:
        """Let others take times."""
        if self.claims:
            self.claims.release(machine_token())

    def release(self, job: Job) -> None:
        """A job has its end here."""
        if self.claims:
            self.claims.release(_name(job))

    def begun(self, job: Job) -> None:
        """Let others see that a job runs."""
        if self.claims:
            self.claims.begun(_name(job))

    def progress(self, job: Job, done: int, total: int) -> None:
        """Let others see how far a job is."""
        if self.claims:
            self.claims.progress(_name(job), done, total)

    def come_back(self) -> list[tuple[Job, Outcome | None]]:
        """Jobs that others have no longer in hand: with their ends, or none where they are still to be done."""
        if self.claims is None:
            return []
        self.claims.beat()
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return []
        self._looked = time.monotonic()
        found: list[tuple[Job, Outcome | None]] = []
        for job, _ in list(self.elsewhere.values()):
            owner = self.claims.holder(_name(job))
            if owner is not None:
                self.elsewhere[job.id] = job, owner
                continue
            del self.elsewhere[job.id]
            found.append((job, self.end(job)))
        return found

    def waits_for(self, busy: bool) -> Iterable[str]:
        """Sentences about whom a run waits for that has nothing else to do, each once."""
        if busy or not self.elsewhere:
            self._busy = time.monotonic()
        if time.monotonic() - self._busy < SAY_SECONDS:
            return
        for owner in {owner.name: owner for _, owner in self.elsewhere.values()}.values():
            if owner.name not in self._said:
                self._said.add(owner.name)
                count = sum(1 for _, other in self.elsewhere.values() if other.name == owner.name)
                since = duration(max(0.0, time.time() - owner.since))
                jobs = f"{count} job{'' if count == 1 else 's'}"
                yield f"waiting for {jobs} that {owner.words} has in hand; it began {since} ago"

    def close(self) -> None:
        """Let everything go."""
        if self.claims:
            self.claims.close()


def _name(job: Job) -> tuple[str, str, str]:
    return job.kind, job.key, job.code
