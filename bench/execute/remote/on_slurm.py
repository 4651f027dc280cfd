"""The engine over Slurm, through submitit: long-lived pilot jobs, each a host that takes batch after batch.

Slurm's clusters share a disk, so jobs read and write the store's own folders. Between driver and pilots lie files in a
spool folder beside the store, each written beside and renamed: `<pilot>/todo-<n>.json` for a batch, and a line of JSON
in `<pilot>/said.jsonl` for each event. A pilot ends when it is told to, or when its driver shows no sign of life.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.distribution import DISTRIBUTION
from bench.errors import EngineError, UsageError
from bench.execute.protocol import Ended, Event, Noticed, Progressed, Returned, Started, Work, heard
from bench.execute.remote import host
from bench.execute.server import TRIES
from bench.files import write_beside
from bench.kinds import KINDS

BEAT_SECONDS = 5.0
"""How often a driver shows that it lives."""

LOST_SECONDS = 60.0
"""A pilot that has seen no sign of its driver for so long ends: long enough for a disk that is slow to tell."""

ABANDONED_SECONDS = 3600.0
"""Age of a driver's last sign from which its spool is removed by the next."""

POLL_SECONDS = 0.1
ALIVE, HERE, SAID, STOP = "alive", "here.json", "said.jsonl", "stop"


@dataclass
class Pilot:
    """A Slurm job that does batches: its folder, what it is once it runs, and what it has in hand."""

    folder: Path
    job: Any
    about: dict[str, Any] = field(default_factory=dict)
    waiting: dict[tuple[str, str], Work] = field(default_factory=dict)
    begun: set[tuple[str, str]] = field(default_factory=set)
    heard: int = 0
    batches: int = 0

    @property
    def kind(self) -> str:
        """The kind of machine that it runs on."""
        return f"{self.about.get('cpu')}, {self.about.get('cores')} cores"


class SlurmEngine:
    """`slots` pilots; `asked` is what Slurm is asked for, such as partition=gpu, time=240 or cluster=local."""

    def __init__(self, results: Path, slots: int, asked: Sequence[str] = ()) -> None:
        try:
            import submitit
        except ImportError:
            raise EngineError(
                f"--engine slurm: submitit is not installed; pip install '{DISTRIBUTION}[slurm]'"
            ) from None
        if not any(text.startswith("cluster=") for text in asked) and shutil.which("sbatch") is None:
            raise UsageError(
                "--engine slurm: there is no Slurm here (sbatch is not found); run this where jobs are submitted, or "
                "have the pilots on this machine by --slurm cluster=local"
            )
        for old in results.absolute().glob(".slurm-*"):
            _forget(old)
        self.slots = slots
        self.spool = results.absolute() / f".slurm-{secrets.token_hex(4)}"
        wanted = dict(_pair(text) for text in asked)
        self._asked = " ".join(sorted(asked))
        self._gpus = any("gpu" in f"{key}={value}" and key != "partition" for key, value in wanted.items())
        self._executor = _executor(submitit, self.spool / "jobs", wanted)
        self._pilots: list[Pilot] = []
        self._lost: Counter[tuple[str, str]] = Counter()
        self._early = 0
        self._notices: deque[Event] = deque()
        self._pinned: str | None = None
        self._beaten = 0.0

    @property
    def machine(self) -> str:
        """What Slurm is asked for: its own names for kinds of machines."""
        return f"slurm {self._asked}"

    @property
    def has_gpu(self) -> bool:
        """Whether Slurm is asked for one."""
        return self._gpus

    def warm_up(self) -> None:
        """Nothing is asked of Slurm before a suite has been read and has something to do."""

    def _fill(self) -> None:
        """Ask Slurm for the pilots that are not there."""
        self.spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._beat()
        while len(self._pilots) < self.slots:
            self._pilots.append(self._ask())

    @property
    def free(self) -> int:
        """Pilots that run and have nothing to do."""
        self._fill()
        self._look()
        return sum(1 for pilot in self._pilots if pilot.about and not pilot.waiting)

    def submit(self, batch: Sequence[Work]) -> None:
        """Give a batch to a pilot that has nothing to do; stopwatches to one of a single kind of machine."""
        idle = [pilot for pilot in self._pilots if pilot.about and not pilot.waiting]
        if KINDS[batch[0].kind].alone:
            if self._pinned is None:
                self._pinned = idle[0].kind
                text = (
                    f"times are taken on one kind of machine: {self._pinned}; --slurm exclusive=true has nobody beside"
                )
                self._notices.append(Noticed(text))
            idle = [pilot for pilot in idle if pilot.kind == self._pinned]
            if not idle:
                raise EngineError(f"times are taken on {self._pinned}, and no such machine is free; run again later")
        pilot = idle[0]
        pilot.waiting = {work.id: work for work in batch}
        pilot.batches += 1
        content = json.dumps([work.plain() for work in batch]).encode()
        write_beside(pilot.folder, f"todo-{pilot.batches}.json", content)

    def events(self, timeout: float) -> list[Event]:
        """What pilots have said; of a pilot that ended the jobs come back, and another is asked for."""
        deadline = time.monotonic() + timeout
        while True:
            self._beat()
            self._look()
            events = list(self._notices)
            self._notices.clear()
            for pilot in list(self._pilots):
                events += self._listen(pilot)
                if pilot.job.done():
                    events += self._listen(pilot) + self._gone(pilot)
            if events or time.monotonic() >= deadline:
                return events
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """End every pilot; what lies between them and the driver goes."""
        for pilot in self._pilots:
            with suppress(OSError):
                write_beside(pilot.folder, STOP, b"")
            if pilot.waiting or not pilot.about:
                with suppress(Exception):
                    pilot.job.cancel()
        deadline = time.monotonic() + 10
        while any(not pilot.job.done() for pilot in self._pilots) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        for pilot in self._pilots:
            if not pilot.job.done():
                with suppress(Exception):
                    pilot.job.cancel()
        self._pilots.clear()
        shutil.rmtree(self.spool, ignore_errors=True)

    def _ask(self) -> Pilot:
        folder = self.spool / secrets.token_hex(4)
        folder.mkdir()
        before = os.environ.get("PYTHONSAFEPATH")
        os.environ["PYTHONSAFEPATH"] = "1"  # nothing of the folder that a pilot starts in is imported
        try:
            job = self._executor.submit(serve, str(folder))
        except Exception as error:
            raise EngineError(f"Slurm takes no job: {' '.join(str(error).split())[:300]}") from error
        finally:
            if before is None:
                del os.environ["PYTHONSAFEPATH"]
        return Pilot(folder, job)

    def _beat(self) -> None:
        if time.monotonic() - self._beaten > BEAT_SECONDS:
            self._beaten = time.monotonic()
            write_beside(self.spool, ALIVE, str(time.time()).encode())

    def _look(self) -> None:
        """Notice pilots that have begun to run."""
        for pilot in self._pilots:
            file = pilot.folder / HERE
            if pilot.about or not file.exists():
                continue
            about = json.loads(file.read_text())
            if about["code"] != host.code():
                raise EngineError(
                    f"Slurm job {pilot.job.job_id} runs another version of this package; install the same"
                )
            pilot.about = about

    def _listen(self, pilot: Pilot) -> list[Event]:
        """New whole lines of a pilot."""
        try:
            with (pilot.folder / SAID).open("rb") as stream:
                stream.seek(pilot.heard)
                new = stream.read()
        except FileNotFoundError:
            return []
        whole = new[: new.rfind(b"\n") + 1]
        pilot.heard += len(whole)
        return [event for line in whole.splitlines() for event in self._told(pilot, json.loads(line))]

    def _told(self, pilot: Pilot, message: dict[str, Any]) -> list[Event]:
        event = heard(message)
        if isinstance(event, Noticed):
            return [event]
        if event.job not in pilot.waiting:
            return []
        self._early = 0
        if isinstance(event, Started | Progressed):
            pilot.begun.add(event.job)
        elif isinstance(event, Ended | Returned):
            del pilot.waiting[event.job]
            pilot.begun.discard(event.job)
        return [event]

    def _gone(self, pilot: Pilot) -> list[Event]:
        """A pilot ended by itself, by Slurm or by somebody: its jobs are tried again, but not for ever."""
        self._pilots.remove(pilot)
        self._early += 1
        if self._early >= TRIES * max(1, self.slots):
            raise EngineError(f"{self._early} Slurm jobs ended before they did anything: {_last_words(pilot)}")
        self._lost.update(pilot.begun)
        events: list[Event] = [Noticed(f"Slurm job {pilot.job.job_id} ended; another is asked for")]
        for job in pilot.waiting:
            if self._lost[job] >= TRIES:
                events.append(Ended(job, "failed", f"the Slurm job that did it ended {TRIES} times"))
            else:
                events.append(Returned(job, suspect=job in pilot.begun))
        self._fill()
        return events


def serve(folder: str) -> None:
    """A pilot: say what this machine is, then do what is laid into the folder until told to stop."""
    place = Path(folder)
    host.engine().warm_up()
    write_beside(place, HERE, json.dumps(host.about()).encode())
    number, life = 1, _Life(place.parent / ALIVE)
    while not (place / STOP).exists() and life.shown():
        todo = place / f"todo-{number}.json"
        if not todo.exists():
            time.sleep(POLL_SECONDS)
            continue
        batch = [Work.of(plain) for plain in json.loads(todo.read_text())]
        with (place / SAID).open("a", encoding="utf-8") as said:
            for message in host.do(batch):
                if message["event"] != "waiting":
                    said.write(json.dumps(message) + "\n")
                    said.flush()
                if not life.shown():
                    return
        number += 1


class _Life:
    """Whether somebody still writes a file, told by this machine's own clock alone."""

    def __init__(self, file: Path) -> None:
        self.file, self.last, self.seen = file, b"", time.monotonic()

    def shown(self) -> bool:
        """Whether it has changed within LOST_SECONDS."""
        with suppress(OSError):
            now = self.file.read_bytes()
            if now != self.last:
                self.last, self.seen = now, time.monotonic()
        return time.monotonic() - self.seen < LOST_SECONDS


def _forget(spool: Path) -> None:
    """Remove the spool of a driver that was killed: none has lived that long without a sign."""
    with suppress(OSError):
        if not spool.is_symlink() and time.time() - (spool / ALIVE).stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(spool, ignore_errors=True)


def _executor(submitit: Any, folder: Path, asked: dict[str, Any]) -> Any:
    cluster = asked.pop("cluster", None)
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        general = {"name": DISTRIBUTION, "timeout_min": asked.pop("time", 24 * 60)}
        known = {"cpus_per_task", "mem_gb", "gpus_per_node", "nodes", "tasks_per_node", "timeout_min", "name"}
        executor.update_parameters(
            **general, **{key if key in known else f"slurm_{key}": value for key, value in asked.items()}
        )
    except (NameError, KeyError, TypeError, ValueError, RuntimeError, FileNotFoundError) as error:
        raise UsageError(f"--slurm: {' '.join(str(error).split())[:300]}") from error
    return executor


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--slurm {text}: must be KEY=VALUE, such as partition=gpu, time=240 or cluster=local")
    plain = {"true": True, "false": False}.get(value.lower(), value)
    return key, int(value) if value.isdecimal() else plain


def _last_words(pilot: Pilot) -> str:
    """The end of what a pilot printed to its standard error."""
    with suppress(Exception):
        lines = [line for line in (pilot.job.stderr() or "").splitlines() if line.strip()]
        if lines:
            return lines[-1][:300]
    return "nothing was said"
