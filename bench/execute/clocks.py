"""Time jobs: the clocks of sampling and training, read together in one process when nothing else is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bench import sample, timing, train
from bench.execute.protocol import Work
from bench.execute.resolved import Resolved, Send, explain


def time_together(batch: list[Work], send: Send) -> None:
    """All time jobs of a run in one process, in interleaved rounds; a job that cannot be done fails alone."""
    torch.set_num_threads(batch[0].threads)
    device, clocked, firsts = torch.device(batch[0].device), list[_Clocked](), list[timing.Call]()
    ready: list[Work] = []
    for work in batch:
        send({"event": "started", "job": work.id})
        try:
            made = _training_call(Resolved(work)) if work.options.get("of") == "train" else _one_call(Resolved(work))
            firsts.append(timing.clock(made.call, device))
            clocked.append(made)
            ready.append(work)
        except Exception as error:
            status, reason = explain(error)
            send({"event": "ended", "job": work.id, "status": status, "reason": reason, "meta": {}})
    if not ready:
        return
    started = time.time()
    rows = timing.measure([made.call for made in clocked], firsts, device)
    for work, made, row in zip(ready, clocked, rows, strict=True):
        meta = {
            **made.says(row),
            **{"rounds": row.rounds, "busy": row.busy, "started": started},
            "seconds": row.spent,
            "peak_mb": None,
        }
        send({"event": "ended", "job": work.id, "status": "ok", "reason": "", "meta": meta})


class _Clocked(NamedTuple):
    """A call without arguments to be timed, and what its seconds say."""

    call: Callable[[], object]
    says: Callable[[timing.Timed], dict[str, Any]]


def _one_call(job: Resolved) -> _Clocked:
    """Sampling: one batch is timed, and a repeat is as many as it has."""
    field, dtype = job.field()
    spec = job.sample_job()
    x = torch.from_numpy(sample.start(spec, 0)).to(job.device, dtype)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    piece = x[: spec.sampling.batch or len(x)]
    batches = len(x) / len(piece)
    # Classes cost the same whichever they are, so any piece may be taken for the first one.
    asked = field.at(0) if isinstance(field, sample.Conditional) else field

    def call() -> Tensor:
        """Integrate the first batch of the first repeat."""
        return sample.advance(spec, asked, piece, ends).states

    def says(row: timing.Timed) -> dict[str, Any]:
        """Seconds of all batches of a repeat; the first call's are those of the one batch."""
        seconds = {"sample_seconds": row.median, "sample_seconds_q25": row.q25, "sample_seconds_q75": row.q75}
        return {name: value * batches for name, value in seconds.items()} | {"first_call_seconds": row.first}

    return _Clocked(call, says)


def _training_call(job: Resolved) -> _Clocked:
    """Some steps of a training by itself, which say how long all of them would take."""
    spec = job.train_job()
    call, length, spent = train.rehearsal(spec, job.device)

    def says(row: timing.Timed) -> dict[str, Any]:
        """Seconds of all steps, and of their pairing."""
        part = spec.training.steps / length
        pairing = spent.coupling / row.calls  # the first call pairs like the others
        return {"train_seconds": row.median * part, "coupling_seconds": pairing * part}

    return _Clocked(call, says)
