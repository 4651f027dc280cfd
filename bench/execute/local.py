"""The local engine: one fresh process a batch, forked from a server that has torch loaded already."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess

from bench.execute import child
from bench.execute.protocol import Ended, Event, Progressed, Returned, Started, Work

SERVER = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # Tensors of images are given back and asked for again at every step. Left to itself, glibc returns them to the
    # system and gets them again zeroed: 3400 page faults and 6 to 12 ms of a U-Net's step of 100 to 150 ms.
    "MALLOC_MMAP_THRESHOLD_": "33554432",  # 32 MiB, the most that glibc takes
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "THP_MEM_ALLOC_ENABLE": "1",
    # Python starts the server with `-c`, for which it would put the working directory first among its folders.
    "PYTHONSAFEPATH": "1",
}
"""Environment that the fork server starts with: one thread a library (a job that wants more asks torch for them),
memory that stays with the process, in huge pages where the system has them, and nothing imported from the working
directory."""


@dataclass
class _Worker:
    process: ForkServerProcess
    pipe: Connection
    waiting: list[Work]
    begun: set[tuple[str, str]] = field(default_factory=set)


class LocalEngine:
    """Processes on this machine; `slots` of them at once, by default one a core."""

    def __init__(self, slots: int | None = None) -> None:
        self.slots = slots or len(os.sched_getaffinity(0) if sys.platform == "linux" else range(os.cpu_count() or 1))
        self._workers: list[_Worker] = []
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["bench.execute.preload"])
        self._warm = False

    def warm_up(self) -> None:
        """Start the fork server, which loads torch meanwhile; returns at once."""
        with _server_environment():
            forkserver.ensure_running()
        self._warm = True

    @property
    def free(self) -> int:
        """Number of batches that can start at once."""
        return self.slots - len(self._workers)

    def submit(self, batch: Sequence[Work]) -> None:
        """Fork a process for this batch."""
        if not self._warm:
            self.warm_up()
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=child.serve, args=(theirs,), daemon=True)
        with _main_hidden(), _server_environment(), _uninterrupted():
            process.start()
        theirs.close()
        ours.send_bytes(json.dumps([work.plain() for work in batch]).encode())
        self._workers.append(_Worker(process, ours, list(batch)))

    def events(self, timeout: float) -> list[Event]:
        """Messages of all workers; a process that died costs its current job, the rest comes back."""
        events: list[Event] = []
        pipes: dict[object, _Worker] = {worker.pipe: worker for worker in self._workers}
        for pipe in wait([worker.pipe for worker in self._workers], timeout):
            worker = pipes[pipe]
            try:
                while worker.pipe.poll():
                    events.append(self._read(worker))
            except (EOFError, ConnectionResetError):
                events += self._buried(worker)
        return events

    def stop(self) -> None:
        """Kill every worker's process group and wait for it."""
        for worker in self._workers:
            _kill(worker.process)
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()
        self._workers.clear()

    def _read(self, worker: _Worker) -> Event:
        message = json.loads(worker.pipe.recv_bytes())
        kind, job = message.pop("event"), tuple(message.pop("job"))
        if kind == "started":
            worker.begun.add(job)
            return Started(job)
        if kind == "progressed":
            return Progressed(job, **message)
        worker.waiting = [work for work in worker.waiting if work.id != job]
        worker.begun.discard(job)
        return Ended(job, **message)

    def _buried(self, worker: _Worker) -> list[Event]:
        """A worker's pipe has closed: it is done, or dead."""
        worker.process.join(timeout=10)
        _kill(worker.process)
        worker.pipe.close()
        self._workers.remove(worker)
        if not worker.waiting:
            return []
        if len(worker.begun) > 1:
            return [Returned(work.id, suspect=work.id in worker.begun) for work in worker.waiting]
        lost = next(iter(worker.begun), worker.waiting[0].id)
        code = worker.process.exitcode or 0
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        events: list[Event] = [Ended(lost, "failed", f"the worker process died ({how})")]
        return events + [Returned(work.id) for work in worker.waiting if work.id != lost]


def _kill(process: ForkServerProcess) -> None:
    """SIGKILL to the process and to what it started; it leads a group of its own once it runs."""
    if process.pid is None:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        process.kill()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back while the fork server is spoken to: half a request would have it print a traceback."""
    signals = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Keep children from importing the console script again (twenty times the cost of a fork), and from the working
    directory, which is "" in the path of a driver that is no script.
    """
    main, path = sys.modules["__main__"], sys.path
    hidden: dict[str, object] = {
        name: main.__dict__.pop(name) for name in ("__spec__", "__file__") if name in main.__dict__
    }
    main.__spec__ = None
    sys.path = [place for place in path if place]
    try:
        yield
    finally:
        sys.path = path
        main.__dict__.update(hidden)


@contextmanager
def _server_environment() -> Iterator[None]:
    """The fork server starts in its own environment; this process keeps the user's."""
    before = {name: os.environ.get(name) for name in SERVER}
    os.environ.update(SERVER)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
