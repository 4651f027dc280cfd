"""The seam between the driver, which knows the store, and an engine, which has processes.

An engine takes batches of Work and gives back events; it never sees the store. The local engine forks
processes on this machine; another may place the same batches elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from bench.recipes import Job, JobId
    from bench.store import Entry


@dataclass(frozen=True)
class Work:
    """One job as a worker gets it: plain data only, so that it crosses any process boundary as JSON."""

    kind: str
    key: str
    configs: list[tuple[str, str, str | None, str]]
    """(role, factor, name, canonical JSON) of each configuration that the job declares whole."""
    fields: dict[str, Any]
    """Single fields that it declares, by dotted name."""
    seed: int
    replica: int
    inputs: dict[str, str]
    """Kind -> folder or file of a finished upstream entry."""
    staging: str
    """Folder to write arrays and the log into."""
    device: str = "cpu"
    threads: int = 1
    spare: int = 0
    """Cores beside its own that nobody else asks for; they change no result."""
    plugins: dict[str, str] = field(default_factory=dict)
    """Plugin files, and the hash of what each and its neighbours held when the job was planned."""
    options: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, tuple[float, str]] = field(default_factory=dict)
    """What it may take, each with who set it: see `bench.execute.allowance.Allowed`."""
    environment: dict[str, str] = field(default_factory=dict)
    """Variables that its process gets before anything asks for them, such as the devices that it may see."""
    alike: str = ""
    """The same for the jobs of a run that differ in their seed alone."""
    files: dict[str, str] = field(default_factory=dict)
    """Files of data that its components name, and where they lie: see `bench.datafiles`."""
    data: str = ""
    """Name of the picture sets that travel with it, where it runs on another machine."""
    checkpoint: str = ""
    """File from which a training goes on that was killed; none for cohorts, whose members are others the next time."""

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Work:
        """What `plain` gave, read from JSON again."""
        return cls(**{**plain, "configs": [tuple(config) for config in plain["configs"]]})

    @property
    def id(self) -> JobId:
        """(kind, key)."""
        return self.kind, self.key

    def plain(self) -> dict[str, Any]:
        """As JSON-able data."""
        return asdict(self)


@dataclass(frozen=True)
class Started:
    """A worker began this job; or tries it together with others, to see how many go as one best."""

    job: JobId
    trial: bool = False


@dataclass(frozen=True)
class Progressed:
    """A worker got this far; loss only where the job has one."""

    job: JobId
    done: int
    total: int
    loss: float | None = None


@dataclass(frozen=True)
class Ended:
    """A job's end: status ok, or failed, diverged, skipped, ... with its reason; `meta` is what it measured.

    The status `disk` says that the results folder cannot be written, which ends the run.
    """

    job: JobId
    status: str
    reason: str = ""
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Returned:
    """A job that its process did not live to do; it is to be queued again.

    A suspect was in hand when the process died, together with others: it is to be tried by itself.
    """

    job: JobId
    suspect: bool = False


@dataclass(frozen=True)
class Noticed:
    """Something worth saying that is no failure of a job."""

    text: str


Event = Started | Progressed | Ended | Returned | Noticed

_EVENTS: dict[str, type[Event]] = {
    kind.__name__.lower(): kind for kind in (Started, Progressed, Ended, Returned, Noticed)
}


def told(event: Event) -> dict[str, Any]:
    """An event as JSON-able data: its kind as `event`, and its fields."""
    return {"event": type(event).__name__.lower(), **asdict(event)}


def heard(message: Mapping[str, Any]) -> Event:
    """The event that `told` put into words; other keys are passed over. Raises KeyError for what is none."""
    kind = _EVENTS[message["event"]]
    given = {each.name: message[each.name] for each in fields(kind) if each.name in message}
    return kind(**(given | ({"job": tuple(given["job"])} if "job" in given else {})))


class Engine(Protocol):
    """Runs batches of work, one process a batch."""

    def warm_up(self) -> None:
        """Begin what takes a while before the first batch can start; returns at once."""

    @property
    def slots(self) -> int:
        """Number of batches that it does side by side."""

    @property
    def has_gpu(self) -> bool:
        """Whether jobs may ask for a CUDA device."""

    @property
    def machine(self) -> str:
        """The kind of machine that times are taken on; empty for this one."""

    @property
    def free(self) -> int:
        """Number of batches that can start at once."""

    def submit(self, batch: Sequence[Work]) -> None:
        """Start a batch: train jobs train together, others are done in order; each is reported as it ends."""

    def events(self, timeout: float) -> list[Event]:
        """What happened since the last call; waits up to timeout seconds for something."""

    def stop(self) -> None:
        """End every process at once; nothing of ours is left behind. More may be submitted afterwards."""


@dataclass(frozen=True)
class Outcome:
    """What became of a job. `stale` marks an entry of other code that was kept on request.

    log: below the store's folder, what a failed job printed, with its traceback.
    """

    status: str
    reason: str = ""
    log: str = ""
    entry: Entry | None = None
    stored: bool = False
    stale: bool = False

    @property
    def ok(self) -> bool:
        """Whether there is a result."""
        return self.status == "ok"


class Observer(Protocol):
    """Who watches a run: the terminal, a log, a test."""

    def looked_up(self, stored: Collection[JobId]) -> None:
        """Which jobs are in the store already."""

    def started(self, job: Job) -> None:
        """A job began."""

    def progressed(self, job: Job, event: Progressed) -> None:
        """A job got further."""

    def returned(self, job: Job) -> None:
        """A job that had begun is to be tried again."""

    def waiting(self) -> None:
        """Called several times a second while jobs run."""

    def ended(self, job: Job, outcome: Outcome) -> None:
        """A job ended, or could not begin because what it stands on failed."""

    def notice(self, text: str) -> None:
        """Something worth saying that is no failure of a job."""
