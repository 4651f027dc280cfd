"""Who does which job, where several processes work on one store: a claim for each job, a sign of life for each driver.

    <root>/drivers/<owner>                 its name, which its claims are links to
    <root>/drivers/<owner>.json            who it is and how far its jobs are, written anew every few seconds
    <root>/claims/<kind>-<key>-<code>.<n>  the owner of the claim's n-th generation

A claim is made by a link, which exactly one process can make, on NFS too. Of a claim whose owner is gone the next
generation is made the same way, so that exactly one process takes it over, and none takes away a claim that another has
just made. Who holds the last generation holds the job. A claim is released once the entry is published: who claims it
then looks into the store before doing anything. Generations of owners that are gone stay until a driver is alone.
"""

from __future__ import annotations

import errno
import json
import math
import os
import platform
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bench.errors import Corrupt, StoreError
from bench.files import disk, is_folder, put_aside, read_regular, remove, write_beside
from bench.store.staging import alive, machine, owner_name
from bench.words import printable

BEAT_SECONDS = 3.0
"""How often a driver gives a sign of life."""

LOST_SECONDS = 60.0
"""A driver counts as gone when its sign of life has not changed for so long on our own clock."""

OWNER_LIMIT = 2**20
MOST_GENERATIONS = 1000

JobId = tuple[str, str, str]
"""Kind, key, code."""


class InHand(NamedTuple):
    """A job that a driver has claimed: since when it runs (seconds since the epoch), none while it waits for its
    worker, and how many of how many parts are done if that is known.
    """

    since: float | None
    at: tuple[int, int] | None


@dataclass(frozen=True)
class Owner:
    """A driver: its name in the store, machine, process, and when it began (seconds since the epoch)."""

    name: str
    host: str
    pid: int
    since: float
    jobs: Mapping[str, InHand]
    """The jobs that it has claimed."""
    sweeping: bool = False

    @property
    def words(self) -> str:
        """Process and host."""
        return f"process {self.pid} on {self.host}"


def machine_token() -> JobId:
    """What is claimed, of all drivers of one store on this machine, by the one that takes times."""
    return "times", machine(), "00"


class Claims:
    """One driver's claims. They end with it, however it ends."""

    def __init__(self, root: Path) -> None:
        self.root, self.name = root, owner_name()
        self._held: dict[JobId, int] = {}
        self._begun: dict[JobId, float] = {}
        self._progress: dict[JobId, list[int]] = {}
        self._since = time.time()
        self._beaten = -BEAT_SECONDS
        self._sweeping = False
        self._seen: dict[str, tuple[bytes, float]] = {}

    def open(self) -> None:
        """Give the first sign of life, and tidy up if no other driver lives; wait while another one tidies up."""
        self._sweeping = True
        self._tell()  # before the file that claims are links to: who sees that one knows whose it is
        write_beside(self.root, f"drivers/{self.name}", self.name.encode())
        left = [(folder, file.name) for folder in ("claims", "drivers") for file in _names(self.root / folder)]
        if not self.living():  # asked after the list was made: what another driver writes from now on is not on it
            self._sweep(left)
        self._sweeping = False
        self._tell()
        while any(owner.sweeping for owner in self.living()):
            time.sleep(0.05)

    def claim(self, job: JobId) -> Owner | None:
        """Claim a job: None where it is ours now, else who has it."""
        self.beat()
        if job in self._held:
            return None
        for generation in range(MOST_GENERATIONS):
            if self._make(self._file(job, generation)):
                self._held[job] = generation
                return None
            if not self._file(job, generation + 1).exists() and (owner := self._living_owner(job, generation)):
                return owner
        raise StoreError(
            f"{self._file(job, 0)}: claimed {MOST_GENERATIONS} times; remove the folder {self.root}/claims"
        )

    def holder(self, job: JobId) -> Owner | None:
        """Who has a job and lives; None where nobody does."""
        last = -1
        while self._file(job, last + 1).exists():
            last += 1
        return self._living_owner(job, last) if last >= 0 else None

    def begun(self, job: JobId) -> None:
        """Note that a job runs from now on; told with the next sign of life."""
        self._begun[job] = time.time()

    def progress(self, job: JobId, done: int, total: int) -> None:
        """Note how far a job is; told with the next sign of life."""
        self._progress[job] = [done, total]

    def release(self, job: JobId) -> None:
        """Let a job go: it is published, or this driver will not do it."""
        generation = self._held.pop(job, None)
        self._progress.pop(job, None)
        self._begun.pop(job, None)
        if generation is not None and not self._file(job, generation + 1).exists():
            remove(self.root, f"claims/{self._file(job, generation).name}")

    def beat(self) -> None:
        """Give a sign of life, if one is due."""
        if time.monotonic() - self._beaten >= BEAT_SECONDS:
            self._tell()

    def _tell(self) -> None:
        self._beaten = time.monotonic()
        jobs = {"/".join(job): {"since": self._begun.get(job), "at": self._progress.get(job)} for job in self._held}
        about = {
            "host": platform.node(), "pid": os.getpid(), "since": self._since, "beat": time.time(),
            "sweeping": self._sweeping, "jobs": jobs,
        }  # fmt: skip
        write_beside(self.root, f"drivers/{self.name}.json", json.dumps(about).encode())

    def close(self) -> None:
        """Release everything, and leave."""
        for job in list(self._held):
            self.release(job)
        for name in (f"{self.name}.json", self.name):
            remove(self.root, f"drivers/{name}")

    def living(self) -> list[Owner]:
        """The other drivers that live."""
        names = [file.name.removesuffix(".json") for file in _names(self.root / "drivers")]
        owners = [self._read(name) for name in dict.fromkeys(names) if name != self.name]
        return [owner for owner in owners if owner is not None and self._lives(owner)]

    def _sweep(self, left: Iterable[tuple[str, str]]) -> None:
        """Remove what drivers left behind, all of which are gone; what is no file is moved aside."""
        for folder, name in left:
            if name.removesuffix(".json") != self.name:
                if is_folder(self.root / folder / name):
                    put_aside(self.root / folder / name, self.root / "aside", folder)
                else:
                    remove(self.root, f"{folder}/{name}")

    def _file(self, job: JobId, generation: int) -> Path:
        return self.root / "claims" / f"{'-'.join(job)}.{generation}"

    def _make(self, file: Path) -> bool:
        """Make a claim's file with our name in it; False where it is there."""
        with disk(file, "claim a job"):
            try:
                try:
                    file.hardlink_to(self.root / "drivers" / self.name)
                except OSError as error:
                    if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                        raise
                    with file.open("x", encoding="utf-8") as stream:  # a disk without links
                        stream.write(self.name)
            except FileExistsError:
                return False
        return True

    def _living_owner(self, job: JobId, generation: int) -> Owner | None:
        """Who made a claim, where that driver lives."""
        file = self._file(job, generation)
        try:
            name = read_regular(self.root, f"claims/{file.name}", 400).decode()
        except (OSError, Corrupt, ValueError):
            return None
        owner = self._read(name)
        if owner is not None:
            return owner if self._lives(owner) else None
        # Its sign of life is on its way, or its name is; on another machine's disk either may take a while.
        young = alive(name) or ((alive(name) is None or not name) and _young(file))
        return Owner(name, "a host that is not known yet", 0, time.time(), {}) if young else None

    def _read(self, name: str) -> Owner | None:
        if not name or "/" in name or "\0" in name:
            return None
        try:
            raw = read_regular(self.root, f"drivers/{name}.json", OWNER_LIMIT)
            about = json.loads(raw)
            jobs = {str(job): _in_hand(noted) for job, noted in about["jobs"].items()}
            who = printable(str(about["host"])), int(about["pid"]), _seconds(about["since"]), jobs
            owner = Owner(name, *who, sweeping=bool(about["sweeping"]))
        except (OSError, Corrupt, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
            return None
        last = self._seen.get(name)
        if last is None or last[0] != raw:
            self._seen[name] = raw, time.monotonic()
        return owner

    def _lives(self, owner: Owner) -> bool:
        """Whether a driver lives and is at work: by its signs, and on this machine by its process, too.

        One that was stopped (Ctrl-Z) gives no sign and is not waited for; should it go on, its results are equal.
        """
        return alive(owner.name) is not False and time.monotonic() - self._seen[owner.name][1] < LOST_SECONDS


def _in_hand(noted: Mapping[str, Any]) -> InHand:
    """What a driver's file says of a job. Raises one of several errors where it says nothing of the kind."""
    since, at = noted["since"], noted["at"]
    done = None if at is None else (int(at[0]), int(at[1]))
    return InHand(None if since is None else _seconds(since), done)


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no time")
    return float(value)


def _names(folder: Path) -> list[Path]:
    with disk(folder, "list the folder"), suppress(FileNotFoundError):
        return sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    return []


def _young(file: Path) -> bool:
    with suppress(OSError):
        return time.time() - file.stat().st_mtime < LOST_SECONDS
    return False
