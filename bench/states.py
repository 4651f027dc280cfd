"""What the store alone tells of a plan's jobs: done, running, failed or left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bench.planner import Plan
    from bench.recipes import JobId
    from bench.store import Store
    from bench.store.claims import Owner
    from bench.store.entries import Entry


@dataclass(frozen=True)
class State:
    """Where a job stands. `ended`, `reason`: how and why it failed; `owner`: the driver that runs it.

    entry: its result; of a job that is not done, one of older code, where there is one.
    """

    status: Literal["done", "running", "failed", "left"]
    entry: Entry | None = None
    ended: str = ""
    reason: str = ""
    owner: Owner | None = None

    @property
    def stale(self) -> bool:
        """Whether the entry is of older code."""
        return self.entry is not None and self.status != "done"


def states(laid: Plan, store: Store, *, older: bool = False) -> dict[JobId, State]:
    """The state of each job; with `older`, results of older code are looked for where there is none of the present."""
    from bench.execute.driver import look_up
    from bench.store.claims import Claims

    done = look_up(laid, store)
    held = {name: owner for owner in Claims(store.root).living() for name in owner.jobs}
    found: dict[JobId, State] = {}
    for job in laid.jobs.values():
        name = f"{job.kind}/{job.key}/{job.code}"
        if job.id in done:
            found[job.id] = State("done", done[job.id].entry)
            continue
        other = store.other_code(job.kind, job.key, job.code) if older else None
        if name in held and held[name].jobs[name].since:
            found[job.id] = State("running", other, owner=held[name])
        elif failure := store.failure(job.kind, job.key, job.code):
            found[job.id] = State("failed", other, *failure[:2])
        else:
            found[job.id] = State("left", other)
    return found
