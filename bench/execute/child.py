"""What a worker process does: plain Work in, arrays into the staging folder, one message an end."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from safetensors.torch import save_file

from bench import exact, reference, sample, score, train
from bench.errors import Undefined
from bench.execute.clocks import time_together
from bench.execute.protocol import Work
from bench.execute.resolved import Resolved, Send, explain


def serve(pipe: Connection) -> None:
    """Entry point of a forked worker: read one batch, do it in order, report each job as it ends."""
    os.setsid()
    _die_with_the_driver()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, BrokenPipeError):  # the driver is gone, and with it who would read this
        _do_batch(pipe)


def _do_batch(pipe: Connection) -> None:
    batch = [_work(item) for item in json.loads(pipe.recv_bytes())]

    def send(message: dict[str, Any]) -> None:
        """One message to the driver, as JSON."""
        pipe.send_bytes(json.dumps(message).encode())

    if batch and batch[0].kind == "time":
        time_together(batch, send)
        return
    if batch and batch[0].kind == "train":
        _train_together(batch, send)
        return
    for work in batch:
        send({"event": "started", "job": work.id})
        send(attempt(work, send))


def _work(item: dict[str, Any]) -> Work:
    return Work(**{**item, "configs": [tuple(config) for config in item["configs"]]})


def attempt(work: Work, send: Send) -> dict[str, Any]:
    """Do one job; every exception becomes its status and reason, with the traceback in its log."""
    began, started = time.perf_counter(), time.time()
    with _logged(work) as text:
        try:
            torch.set_num_threads(work.threads)
            meta, status, reason = STAGES[work.kind](Resolved(work), send), "ok", ""
        except Exception as error:
            meta, (status, reason) = {}, explain(error)
            traceback.print_exc(file=text)
    meta = {"seconds": time.perf_counter() - began, "started": started, "peak_mb": _peak_mb(), **meta}
    return {"event": "ended", "job": work.id, "status": status, "reason": reason, "meta": meta}


@contextmanager
def _logged(work: Work) -> Iterator[TextIO]:
    """What a job prints goes into its log."""
    log = Path(work.staging) / "log.txt" if work.staging else Path(os.devnull)
    with log.open("a", encoding="utf-8") as text, redirect_stdout(text), redirect_stderr(text):
        yield text


def _peak_mb() -> float:
    return round(
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2), 1
    )


def _train_together(batch: list[Work], send: Send) -> None:
    """All train jobs of a batch as one cohort; if one raises, each by itself, so that it alone fails."""
    began, started, last = time.perf_counter(), time.time(), dict.fromkeys((work.id for work in batch), 0.0)
    for work in batch:
        send({"event": "started", "job": work.id})

    def progress(work: Work, done: int, total: int, loss: float) -> None:
        """Tell the driver, five times a second at most."""
        if time.monotonic() - last[work.id] > 0.2 or done == total:
            last[work.id] = time.monotonic()
            send({"event": "progressed", "job": work.id, "done": done, "total": total, "loss": loss})

    for work, outcome in zip(batch, _outcomes(batch, progress), strict=True):
        meta = {"seconds": (time.perf_counter() - began) / len(batch), "started": started, "peak_mb": _peak_mb()}
        try:
            if isinstance(outcome, Exception):
                raise outcome
            meta |= {"cohort": len(batch), **_keep_trained(Resolved(work), outcome)}
            status, reason = "ok", ""
        except Exception as error:
            status, reason = explain(error)
        send({"event": "ended", "job": work.id, "status": status, "reason": reason, "meta": meta})


def _outcomes(
    batch: Sequence[Work], progress: Callable[[Work, int, int, float], None]
) -> Sequence[train.Trained | Exception]:
    """What became of each member; an error that names no member is looked for in each by itself."""
    with _logged(batch[0]) as text:
        try:
            torch.set_num_threads(batch[0].threads)
            jobs, file = [Resolved(work) for work in batch], batch[0].options.get("checkpoint")
            return train.train_together(
                [job.train_job() for job in jobs],
                jobs[0].device,
                lambda place, *news: progress(batch[place], *news),
                Path(file) if file else None,
            )
        except Exception as error:
            if len(batch) == 1:
                traceback.print_exc(file=text)
                return [error]
    return [outcome for work in batch for outcome in _outcomes([work], progress)]


def _keep_trained(job: Resolved, trained: train.Trained) -> dict[str, Any]:
    for name, weights in trained.weights.items():
        save_file(weights, Path(job.work.staging) / f"weights_{name}.safetensors")
    job.keep("losses", trained.losses)
    (Path(job.work.staging) / "log.txt").touch()
    tail = trained.losses[-max(1, len(trained.losses) // 10) :]
    return {
        "spent_seconds": trained.seconds,
        "train_loss": float(tail.mean(dtype=np.float64)),
        "parameters": trained.parameters,
    }


def _reference(job: Resolved, send: Send) -> dict[str, Any]:
    if job.work.options.get("of") == "metric":
        return _prepare(job)
    settings = job.component("sampling")
    made = reference.reference(
        reference.ReferenceJob(
            job.component("dataset"),
            settings.n,
            settings.repeats,
            job.work.options["floor"],
            job.work.seed,
            settings.reference,
            job.work.replica,
        )
    )
    job.keep("reference", made.reference)
    job.keep("floor", made.floor)
    if made.density is not None:
        for name, array in zip(("density_x", "density_y", "density"), made.density, strict=True):
            job.keep(name, array.astype(np.float32))
    return {"floor": job.work.options["floor"], "n": settings.n, "repeats": settings.repeats}


def _prepare(job: Resolved) -> dict[str, Any]:
    """What metrics work out of a law once; of a law that has no such thing there is no array."""
    with suppress(Undefined):  # the metric says so of each cell
        job.keep("prepared", job.component("metric").prepares().make(job.component("dataset")))
    return {}


def _sample(job: Resolved, send: Send) -> dict[str, Any]:
    field, dtype = job.field()

    def report(done: int, total: int) -> None:
        """Tell the driver how many pieces are done."""
        send({"event": "progressed", "job": job.work.id, "done": done, "total": total, "loss": None})

    spec = job.sample_job()
    drawn = sample.sample(spec, field, job.device, dtype, report)
    for name in ("samples", "frames", "times"):
        job.keep(name, getattr(drawn, name))
    return {
        "nfe": drawn.nfe,
        "rejected_steps": drawn.rejected,
        "spent_seconds": drawn.seconds,
        "n": spec.sampling.n,
        "repeats": spec.sampling.repeats,
    }


def _score(job: Resolved, send: Send) -> dict[str, Any]:
    metric = job.component("metric")
    began = time.perf_counter()
    values: dict[str, list[float]] = {}
    undefined = ""
    try:
        if job.work.kind == "floor" and metric.draws_floor:
            n, law = job.work.options["n"], job.component("dataset")
            values = {name: list(of) for name, of in metric.floors(law, n, job.work.seed, job.prepared()).items()}
        else:
            values = score.score(metric, _inputs(job, set(metric.inputs)))
    except Undefined as error:  # an answer, kept like any other: the same cell will never have this value
        undefined = str(error)
    repeats = max((len(numbers) for numbers in values.values()), default=0)
    spent = time.perf_counter() - began
    return {"values": values, "undefined": undefined, "score_seconds": spent, "repeats": repeats}


def _inputs(job: Resolved, asked: set[str]) -> score.Inputs:
    """What a metric declares, out of the entries and settings that its job stands on."""
    given: dict[str, Any] = {name: job.input("reference", name) for name in ("reference", "floor") if name in asked}
    if job.work.kind == "floor":
        given["samples"] = job.input("reference", "floor")
    elif "samples" in asked:
        given["samples"] = job.input("sample", "samples")
    if asked & {"start", "trajectory"}:
        exact.refuse_noise(job.component("solver"))
    if "trajectory" in asked:
        given["trajectory"] = job.input("sample", "frames"), job.input("sample", "times")
    if "start" in asked:
        given["start"] = exact.starts(job.sample_job())
    if "law" in asked:
        given["law"] = exact.law_of(job.component("dataset"))
    if "training" in asked:
        given["training"] = exact.training_points(job.component("dataset"), job.seed)
    if "oracle" in asked:
        trained = job.component("net").trained
        coupling = job.component("coupling") if trained else None
        about = [job.component(factor) for factor in ("path", "target")]
        given["oracle"] = exact.exact(job.component("dataset"), job.component("source"), coupling, *about)
    if "field" in asked:
        given["field"] = exact.in_own_precision(*job.field())
    if asked & {"start", "field"}:
        given["start_scale"] = exact.start_scale(job.sample_job())
    return score.Inputs(**given, integrate=exact.integrate, prepared=job.prepared(), seed=job.work.seed)


STAGES: dict[str, Callable[[Resolved, Send], dict[str, Any]]] = {
    "reference": _reference,
    "sample": _sample,
    "score": _score,
    "floor": _score,
}


def _die_with_the_driver() -> None:
    """Have the kernel kill this process group when the driver's end of its pipe closes, however it died.

    PR_SET_PDEATHSIG would watch the fork server, which is this process's parent, and a watchdog thread
    starves while C code holds the interpreter's lock.
    """
    parent = parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel
    if sys.platform == "linux":
        fcntl.fcntl(sentinel, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(sentinel, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(sentinel, fcntl.F_SETFL, fcntl.fcntl(sentinel, fcntl.F_GETFL) | os.O_ASYNC)
        if select.select([sentinel], [], [], 0)[0]:
            os.killpg(os.getpgrp(), signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    select.select([sentinel], [], [])
    os.killpg(os.getpgrp(), signal.SIGKILL)
