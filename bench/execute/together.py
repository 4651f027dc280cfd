"""Jobs that go as one: a cohort of trainings, and a run's stopwatches, which are read in interleaved rounds."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from bench import timing
from bench.execute.logs import logged, note, peak_mb
from bench.execute.protocol import Work
from bench.execute.settings import kept
from bench.execute.task import Send, WorkTask, contained, device_about, explain
from bench.fitting import best_size
from bench.kinds import KINDS
from bench.stages import STAGES
from bench.store.partial import Partial
from bench.task import Made
from bench.train import train_job


def do_together(batch: Sequence[Work], send: Send) -> None:
    """All jobs of a batch; each is reported by itself, and one that cannot be done fails alone."""
    torch.set_num_threads(batch[0].threads)
    if KINDS[batch[0].kind].alone:
        _begin(batch, send)
        _time(batch, send)
        return
    if len(batch) > 1:
        _begin(batch, send, trial=True)
    parts = -(-len(batch) // _size(batch, send))
    ends = [len(batch) * part // parts for part in range(parts + 1)]
    for first, end in itertools.pairwise(ends):
        _begin(batch[first:end], send)
        _train(batch[first:end], send)


def _begin(batch: Sequence[Work], send: Send, *, trial: bool = False) -> None:
    for work in batch:
        send({"event": "started", "job": work.id, "trial": trial})


def _size(batch: Sequence[Work], send: Send) -> int:
    """How many of these trainings go as one."""
    if len(batch) == 1:
        return 1
    room, _ = batch[0].limits.get("memory", (math.inf, ""))
    with logged(batch[0]):
        try:
            with contained():
                jobs = [train_job(WorkTask(work, send)) for work in batch]
                return best_size(jobs, torch.device(batch[0].device), room, peak_mb)
        except Exception:  # which they will tell themselves
            return 1


def _train(batch: Sequence[Work], send: Send) -> None:
    began, started, last = time.perf_counter(), time.time(), dict.fromkeys((work.id for work in batch), 0.0)

    def progress(work: Work, done: int, total: int, loss: float) -> None:
        """Tell the driver, five times a second at most."""
        if time.monotonic() - last[work.id] > 0.2 or done == total:
            last[work.id] = time.monotonic()
            send({"event": "progressed", "job": work.id, "done": done, "total": total, "loss": loss})

    for work, outcome in zip(batch, _outcomes(batch, send, progress), strict=True):
        meta = {"seconds": (time.perf_counter() - began) / len(batch), "started": started, "peak_mb": peak_mb()}
        try:
            if isinstance(outcome, Exception):
                raise outcome
            meta |= WorkTask(work, send).keep(outcome) | device_about(work)
            status, reason = "ok", ""
        except Exception as error:
            status, reason = explain(error)
            note(work, error)
        send({"event": "ended", "job": work.id, "status": status, "reason": reason, "meta": meta})


def _outcomes(
    batch: Sequence[Work], send: Send, progress: Callable[[Work, int, int, float], None]
) -> Sequence[Made | Exception]:
    """What became of each member; an error that names no member is looked for in each by itself.

    Too little memory is nobody's fault: each half is tried.
    """
    size = 1
    with logged(batch[0]):
        try:
            checkpoint = Partial(Path(batch[0].checkpoint)) if batch[0].checkpoint else None
            tasks = [WorkTask(work, send) for work in batch]
            run = STAGES[batch[0].kind].run
            with contained():
                made: Sequence[Made | Exception] = run(
                    tasks, lambda place, *news: progress(batch[place], *news), checkpoint, batch[0].spare
                )
            return made
        except Exception as error:
            if len(batch) == 1:
                return [error]
            if explain(error)[0] == "oom":
                size = -(-len(batch) // 2)
                torch.cuda.empty_cache()
    parts = [batch[first : first + size] for first in range(0, len(batch), size)]
    return [outcome for part in parts for outcome in _outcomes(part, send, progress)]


def _time(batch: Sequence[Work], send: Send) -> None:
    device, ready = torch.device(batch[0].device), list[tuple[Work, timing.Candidate, timing.Lap]]()

    put_back = kept()

    def turn(work: Work) -> None:
        """Tell the driver whose turn it is, so that one that hangs is known."""
        put_back()
        send({"event": "progressed", "job": work.id, "done": 0, "total": 0, "loss": None})

    def fail(work: Work, error: Exception) -> None:
        """Tell that this one cannot be timed; the others are."""
        status, reason = explain(error)
        note(work, error)
        send({"event": "ended", "job": work.id, "status": status, "reason": reason, "meta": {}})

    for work in batch:
        turn(work)
        with logged(work):
            try:
                with contained():
                    candidate: timing.Candidate = STAGES[work.kind].run(WorkTask(work, send))
                    ready.append((work, candidate, timing.lap(candidate.call, device)))
            except Exception as error:
                fail(work, error)
    if not ready:
        return
    started = time.time()
    calls, laps = [one.call for _, one, _ in ready], [lap for *_, lap in ready]
    alike = [work.alike or work.key for work, *_ in ready]
    rows = timing.measure(calls, laps, device, lambda place: turn(ready[place][0]), alike)
    for (work, candidate, _), row in zip(ready, rows, strict=True):
        try:
            if isinstance(row, Exception):
                raise row
            spent = {"rounds": row.rounds, "busy": row.busy, "started": started, "seconds": row.spent, "peak_mb": None}
            meta = {**candidate.says(row), **spent, **device_about(work)}
        except Exception as error:
            fail(work, error)
        else:
            send({"event": "ended", "job": work.id, "status": "ok", "reason": "", "meta": meta})
