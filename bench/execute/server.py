"""The fork server: a process that has torch loaded already and gives birth to every worker."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, ClassVar

from bench.errors import EngineError

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, ForkServerProcess

ENVIRONMENT = {
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

TRIES = 3
"""Fork servers that may die one after the other before a run gives up."""

SECONDS_TO_SAY = 20.0
"""What began as a message and does not end by then is none: a job has written into its worker's pipe."""


class Server:
    """One fork server, started when first needed and again when it died. A process has one at most."""

    living: ClassVar[set[int]] = set()
    """The workers of this process; whatever else stands below the server was left behind by one that ended."""

    @functools.cached_property
    def _context(self) -> ForkServerContext:
        """What makes pipes and workers. Raises EngineError on a system that cannot fork: it can do all but run jobs."""
        try:
            context = multiprocessing.get_context("forkserver")
        except ValueError as error:
            raise EngineError(
                f"no jobs can be run on this system, whose processes do not fork ({error}); plan, check, report and "
                "compare work here; run on Linux or macOS"
            ) from error
        context.set_forkserver_preload(["bench.execute.preload"])
        return context

    @property
    def pid(self) -> int | None:
        """Its process; multiprocessing tells nobody."""
        pid: int | None = getattr(getattr(forkserver, "_forkserver", None), "_forkserver_pid", None)
        return pid

    @property
    def died(self) -> bool:
        """Whether one was started and is gone. It is left for `warm_up` to bury."""
        if self.pid is None or not hasattr(os, "waitid"):
            return False
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def died_within(self, seconds: float) -> bool:
        """The same, for a server that may be dying."""
        deadline = time.monotonic() + seconds
        while not (died := self.died) and time.monotonic() < deadline:
            time.sleep(0.01)
        return died

    def wake(self) -> None:
        """Let it go on, should a job have stopped it."""
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)

    def warm_up(self) -> None:
        """Start it if none runs; it loads torch meanwhile, and this returns at once. Raises EngineError as `start`."""
        _ = self._context
        with _environment():
            forkserver.ensure_running()

    def start(self, serve: Callable[[Connection], None]) -> tuple[ForkServerProcess, Connection]:
        """A new worker and our end of its pipe. Raises EngineError where one server after the
        other dies, and on a system that has none.
        """
        for _ in range(TRIES):
            ours, theirs = self._context.Pipe()
            _give_up_after(ours, SECONDS_TO_SAY)
            self.wake()
            process = self._context.Process(target=serve, args=(theirs,), daemon=True)
            with ExitStack() as around:
                for each in (_main_hidden(), _environment(), _uninterrupted()):
                    around.enter_context(each)
                try:
                    process.start()
                except (OSError, EOFError):
                    ours.close()
                    continue
                finally:
                    theirs.close()
            return process, ours
        raise EngineError(
            f"no worker process can be started: the process that starts them died {TRIES} times in a row; "
            "what it printed stands above; check memory and the limits of processes and open files"
        )


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
def _environment() -> Iterator[None]:
    """The fork server starts in its own environment; this process keeps the user's."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _give_up_after(pipe: Connection, seconds: float) -> None:
    """Let reads from a pipe's end fail after so long without a byte."""
    with socket.socket(fileno=os.dup(pipe.fileno())) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(seconds), 0))
