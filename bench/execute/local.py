"""The local engine: one fresh process a batch, forked from a server that has torch loaded already.

A worker ends with its last job, by its own hand, or by one of its limits, and then everything that it started ends
too: no child of a job keeps a slot, a pipe or the machine.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing.connection import wait

from bench.execute import child, group, tree
from bench.execute.logs import cut_log
from bench.execute.protocol import Ended, Event, Noticed, Progressed, Returned, Started, Work, heard
from bench.execute.server import TRIES, Server
from bench.execute.watch import POLL_SECONDS, Watched, excess
from bench.kinds import KINDS


class LocalEngine:
    """Processes on this machine; `slots` of them at once, by default one a core."""

    def __init__(self, slots: int | None = None) -> None:
        self.slots = slots or len(os.sched_getaffinity(0) if sys.platform == "linux" else range(os.cpu_count() or 1))
        self._workers: list[Watched] = []
        self._server = Server()
        self._falls: Counter[tuple[str, str]] = Counter()
        self._polled = 0.0

    def warm_up(self) -> None:
        """Start the fork server, which loads torch meanwhile; returns at once."""
        self._server.warm_up()
        group.tidy()

    machine = ""
    """Times are taken here."""

    @property
    def has_gpu(self) -> bool:
        """Whether torch sees a CUDA device here."""
        import torch

        return torch.cuda.is_available()

    @property
    def free(self) -> int:
        """Number of batches that can start at once."""
        return self.slots - len(self._workers)

    def submit(self, batch: Sequence[Work]) -> None:
        """Fork a process for this batch. Raises EngineError where none can be had."""
        process, pipe = self._server.start(child.serve)
        worker = Watched(process, pipe, list(batch), self._server.pid)
        self._workers.append(worker)
        self._server.living.add(worker.pid)
        try:
            pipe.send_bytes(json.dumps([work.plain() for work in batch]).encode())
        except OSError:  # it died at once; `events` says of what
            return

    def events(self, timeout: float) -> list[Event]:
        """Messages of all workers; a process that died costs its current job, the rest comes back."""
        ready = wait(
            [it for worker in self._workers for it in (worker.pipe, worker.process.sentinel)],
            min(timeout, POLL_SECONDS) if self._workers else timeout,
        )
        events: list[Event] = []
        for worker in list(self._workers):
            if worker.pipe not in ready and worker.process.sentinel not in ready:
                continue
            closed = self._drain(worker, events)
            if not worker.waiting:
                worker.kill()
                self._bury(worker)
            elif closed or worker.process.sentinel in ready:
                events += self._died(worker)
        if time.monotonic() - self._polled >= POLL_SECONDS:
            self._polled = time.monotonic()
            for worker in list(self._workers):
                events += self._watch(worker)
        return events

    def stop(self) -> None:
        """Kill every worker with all that it started, and wait for it."""
        for worker in self._workers:
            worker.kill()
        for worker in list(self._workers):
            self._bury(worker)

    def _drain(self, worker: Watched, events: list[Event]) -> bool:
        """Take in what a worker has sent; True where its pipe has closed, or brings what is no message of ours."""
        try:
            while worker.pipe.poll():
                events.append(self._read(worker))
        except (EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return True
        return False

    def _read(self, worker: Watched) -> Event:
        event = heard(json.loads(worker.pipe.recv_bytes()))
        worker.heard = time.monotonic()
        if isinstance(event, Started) or (isinstance(event, Progressed) and KINDS[event.job[0]].alone):
            # Each stopwatch says that it is its turn.
            worker.begin(event.job, trial=isinstance(event, Started) and event.trial)
        elif isinstance(event, Ended):
            for work in worker.waiting:
                if work.id == event.job:
                    cut_log(work)
            worker.end(event.job)
        return event

    def _watch(self, worker: Watched) -> list[Event]:
        """Hold a worker to its limits."""
        for work in worker.in_hand:
            cut_log(work, slack=4)
        over = excess(worker)
        if over is None:
            return []
        status, reason = over
        events: list[Event] = []
        last, several = worker.current, len(worker.begun) > 1
        self._end(worker, events)
        if not any(work.id == last for work in worker.waiting):  # it was done at that very moment
            return events + [Returned(work.id) for work in worker.waiting]
        if several and not KINDS[last[0]].alone:
            return events + worker.returned(worker.begun)
        if status == "oom" and (several or worker.ended):  # others may have left the memory behind
            return events + worker.returned({last})
        return [*events, Ended(last, status, reason), *worker.returned(set(), but=last)]

    def _died(self, worker: Watched) -> list[Event]:
        """A worker has ended before its jobs: one is to blame, or several are suspects."""
        events: list[Event] = []
        worker.process.join(timeout=1)
        code = worker.process.exitcode
        # multiprocessing says 255 where the server's end closed, which it does a moment before the server is gone.
        if worker.server != self._server.pid or (code == 255 and self._server.died_within(2.0)):
            return self._fallen()
        self._end(worker, events)
        if len(worker.begun) > 1 and not KINDS[worker.current[0]].alone:
            return events + worker.returned(worker.begun)
        if not worker.waiting:
            return events
        lost = worker.current if worker.begun else worker.waiting[0].id
        if code is None:
            how = "it closed its connection, or wrote into it what is no message"
        else:
            how = f"signal {_signal(-code)}" if code < 0 else f"exit status {code} before it was done"
        return [*events, Ended(lost, "failed", f"the worker process died ({how})"), *worker.returned(set(), but=lost)]

    def _fallen(self) -> list[Event]:
        """The fork server died, and with it who knows how its workers fare: all of them are tried again."""
        events: list[Event] = []
        again = 0
        current = None if self._server.died else self._server.pid
        for worker in [worker for worker in self._workers if worker.server != current]:
            self._end(worker, events)
            self._falls.update(worker.begun)
            for work in worker.waiting:
                if self._falls[work.id] >= TRIES:
                    reason = f"the process that starts the workers died while this job ran, {TRIES} times"
                    events.append(Ended(work.id, "failed", reason))
                else:
                    events.append(Returned(work.id, suspect=work.id in worker.begun))
                    again += 1
        self._server.warm_up()
        jobs = f"{again} job{'' if again == 1 else 's'}"
        text = "the process that starts the workers died, killed by somebody or for want of memory"
        return [Noticed(f"{text}; it was started again, and so {'is' if again == 1 else 'are'} {jobs}"), *events]

    def _end(self, worker: Watched, events: list[Event]) -> None:
        """Kill a worker, and take in what it had still sent."""
        worker.kill()
        self._drain(worker, events)
        self._bury(worker)

    def _bury(self, worker: Watched) -> None:
        """Free a killed worker's slot, and end what it left behind."""
        self._server.wake()  # which tells of its end
        worker.process.join(timeout=10)
        worker.pipe.close()
        worker.group.remove()
        self._workers.remove(worker)
        self._server.living.discard(worker.pid)
        if self._server.pid is not None:
            tree.kill_orphans(self._server.pid, self._server.living)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
