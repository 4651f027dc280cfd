"""A worker as the engine sees it: whose turn it is, since when, how much memory it holds, and what that may be."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from bench.execute import tree
from bench.execute.allowance import MACHINE, free_mb, memory_mb, remedy
from bench.execute.group import Group
from bench.execute.protocol import Event, Returned, Work
from bench.kinds import KINDS
from bench.words import duration

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

POLL_SECONDS = 0.1
"""How often a worker's limits are looked at."""

TREE_SECONDS = 0.5
"""How often its children are looked for, which takes reading all processes, and what it has used and written."""

LEAST_USED = 0.01
"""Share of a processor below which a worker counts as idle."""

SHORT = 0.1
"""Share of the machine's memory below which it runs short."""

Id = tuple[str, str]


class Watched:
    """A worker process with the jobs that it has still to do."""

    def __init__(self, process: ForkServerProcess, pipe: Connection, waiting: list[Work], server: int | None) -> None:
        self.process, self.pipe, self.waiting, self.server = process, pipe, waiting, server
        self.pid = process.pid or 0
        self.group = Group.around(self.pid, server)  # before it has its jobs, so that all they start is in it
        self.begun: set[Id] = set()
        self.trial = False
        self.ended = 0
        self.credit = 0.0
        self.current: Id = waiting[0].id
        self.since = self.heard = time.monotonic()
        self._start_mb = tree.anonymous_mb(self.pid)
        self._children: set[int] = set()
        self._measured = self.moved = self.since
        self._used = self._disk = 0.0

    @property
    def in_hand(self) -> list[Work]:
        """The jobs that have begun; before that, the first."""
        return [work for work in self.waiting if work.id in self.begun] or self.waiting[:1]

    def kill(self) -> None:
        """SIGKILL to it and to all that it started, also what has left its group or its descent."""
        self.group.kill()
        tree.kill(self.pid)

    def begin(self, job: Id, trial: bool = False) -> None:
        """It is this job's turn; or it is tried with others, which is over when the first of them begins in earnest."""
        if self.trial and not trial:
            self.begun.clear()
        self.trial, self.credit = trial, 0.0
        self.begun.add(job)
        self.current, self.since = job, time.monotonic()

    def end(self, job: Id) -> None:
        """A job has its result. Its seconds are still those of others that began with it."""
        self.credit += sum(work.limits.get("seconds", (0.0, ""))[0] for work in self.waiting if work.id == job)
        self.waiting = [work for work in self.waiting if work.id != job]
        self.begun.discard(job)
        self.ended += 1

    def returned(self, suspects: Collection[Id], but: Id | None = None) -> list[Event]:
        """All jobs but one, to be tried again."""
        return [Returned(work.id, suspect=work.id in suspects) for work in self.waiting if work.id != but]

    def idle_seconds(self) -> float:
        """Since when neither it nor a child of it used a processor, nor said anything."""
        self._measure()
        return time.monotonic() - max(self.heard, self.moved)

    def disk_mb(self) -> float:
        """What the jobs in hand have written, in MiB."""
        self._measure()
        return self._disk

    def _measure(self) -> None:
        now = time.monotonic()
        if now - self._measured < TREE_SECONDS:
            return
        self._measured = now
        self._children = {*tree.below(self.pid, tree.children()), *self.group.pids()} - {self.pid}
        used = sum(map(tree.cpu_seconds, (self.pid, *self._children)))
        if abs(used - self._used) > LEAST_USED * TREE_SECONDS:
            self.moved = now
        self._used = used
        places = [place for work in self.in_hand for place in (work.staging, work.checkpoint) if place]
        self._disk = sum(_size(Path(place)) for place in places)

    def memory_mb(self) -> float:
        """Memory of the worker above its start, and what its children have written."""
        self._measure()
        return tree.anonymous_mb(self.pid) - self._start_mb + sum(map(tree.own_mb, self._children))


def excess(worker: Watched) -> tuple[str, str] | None:
    """Status and reason where a worker is beyond a limit. Jobs that train together have their minutes together."""
    works = worker.in_hand
    mine = [work for work in works if work.id == worker.current] or works[:1]
    shared = works if not KINDS[worker.current[0]].alone else mine
    now = time.monotonic()
    limits = [work.limits.get("seconds") for work in shared]
    seconds = sum(limit[0] for limit in limits if limit) + worker.credit
    if limits and all(limits) and now - worker.since > seconds:
        return "timeout", f"not done after {_time(seconds)}, {remedy('seconds', mine[0].limits['seconds'][1])}"
    still = mine[0].limits.get("still") if mine else None
    if still and now - worker.heard > still[0]:
        return "timeout", f"no sign of progress for {_time(still[0])}, {remedy('still', still[1])}"
    idle = mine[0].limits.get("idle") if mine else None
    if idle and worker.idle_seconds() > idle[0]:
        return "timeout", f"did nothing at all for {_time(idle[0])}; --max-still or `limits` of the suite sets another"
    disk = mine[0].limits.get("disk") if mine else None
    if disk and (held := worker.disk_mb()) > disk[0]:
        return "failed", f"filled {held:.0f} MiB of the disk, the limit is {disk[0]:.0f} MiB, {remedy('disk', disk[1])}"
    memory = mine[0].limits.get("memory") if mine else None
    if memory and (held := worker.memory_mb()) > memory[0]:
        most, by = memory
        if by != MACHINE:
            return "oom", f"took {held:.0f} MiB of memory, the limit is {most:.0f} MiB, {remedy('memory', by)}"
        if free_mb() < SHORT * memory_mb():
            share = f"its share is {most:.0f} MiB and the machine ran short"
            return "oom", f"took {held:.0f} MiB of memory, {share}; use fewer --workers, or raise it by --max-memory"
    return None


def _size(place: Path) -> float:
    """MiB of disk that a file takes, or all in a folder; what goes meanwhile counts for nothing."""
    total = 0
    with suppress(OSError):
        if not place.is_dir():
            return place.lstat().st_blocks / 2048
        for folder, _, names in os.walk(place):
            for name in names:
                with suppress(OSError):
                    total += os.lstat(os.path.join(folder, name)).st_blocks
    return total / 2048


def _time(seconds: float) -> str:
    return duration(seconds) if seconds >= 10 else f"{seconds:.3g} s"
