"""What a worker process does: plain Work in, arrays into the staging folder, one message an end."""

from __future__ import annotations

import fcntl
import functools
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
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench import batches, exact, reference, sample, score, timing, train
from bench.components import Config, Tables
from bench.errors import JobError, Undefined
from bench.execute.protocol import Work
from bench.interfaces import Field
from bench.seeds import salted
from bench.store import write_array

Send = Callable[[dict[str, Any]], None]


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
        pipe.send_bytes(json.dumps(message).encode())

    if batch and batch[0].kind == "time":
        _time_together(batch, send)
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
            meta, status, reason = STAGES[work.kind](_Resolved(work), send), "ok", ""
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


def explain(error: Exception) -> tuple[str, str]:
    """Status and reason of a record, out of what a job raised."""
    if isinstance(error, JobError):
        return error.status, str(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "oom", f"out of memory: {error}"
    where = traceback.extract_tb(error.__traceback__)[-1]
    return "failed", f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"


@dataclass(frozen=True)
class _Resolved:
    """A Work with its components built and its upstream entries opened."""

    work: Work

    def component(self, factor: str) -> Any:
        config = next(Config(*c) for c in self.work.configs if c[0] == factor)
        return _tables(tuple(self.work.plugins)).build(config)

    def input(self, role: str, name: str) -> np.ndarray[Any, Any]:
        array: np.ndarray[Any, Any] = np.load(Path(self.work.inputs[role]) / f"{name}.npy", allow_pickle=False)
        return array

    @property
    def seed(self) -> int:
        return salted(self.work.seed, self.work.replica)

    @property
    def device(self) -> torch.device:
        return torch.device(self.work.device)

    def keep(self, name: str, array: np.ndarray[Any, Any]) -> None:
        write_array(Path(self.work.staging), name, array)

    def train_job(self) -> batches.TrainJob:
        names = ("dataset", "source", "coupling", "path", "target", "prediction", "clock", "net", "training")
        return batches.TrainJob(
            **{name: self.component(name) for name in names}, seed=self.work.seed, replica=self.work.replica
        )

    def sample_job(self) -> sample.SampleJob:
        names = ("source", "path", "target", "prediction", "clock", "direction", "solver", "sampling")
        shape = self.component("dataset").shape
        return sample.SampleJob(
            shape,
            **{name: self.component(name) for name in names},
            seed=self.work.seed,
            replica=self.work.replica,
        )

    def field(self) -> tuple[Field, torch.dtype]:
        """The velocity to integrate, and its precision: float64 for the oracle, float32 for nets."""
        clock, direction = self.component("clock"), self.component("direction")
        net, path, prediction = (self.component(factor) for factor in ("net", "path", "prediction"))
        if not net.trained:
            known = net.field(self.component("dataset"), path, self.component("target"), prediction, self.seed)
            seen = sample.with_clock(known.to(self.device), clock, prediction)
            return sample.velocity(seen, clock, direction, path, prediction), torch.float64
        module = train.build(self.train_job())
        weights = module.state_dict()
        if "train" in self.work.inputs:
            name = self.component("sampling").weights
            weights = load_file(Path(self.work.inputs["train"]) / f"weights_{name}.safetensors")
        seen = sample.load(module, weights, self.device)

        def made(predictor: sample.Predictor) -> Field:
            return sample.velocity(predictor, clock, direction, path, prediction)

        if net.classes:
            return sample.Conditional(seen, net.classes, self.component("sampling").guidance, made), torch.float32
        return made(seen), torch.float32


def _train_together(batch: list[Work], send: Send) -> None:
    """All train jobs of a batch as one cohort; a fault before training starts is that of each of them."""
    began, started, last = time.perf_counter(), time.time(), dict.fromkeys(range(len(batch)), 0.0)
    for work in batch:
        send({"event": "started", "job": work.id})

    def progress(place: int, done: int, total: int, loss: float) -> None:
        if time.monotonic() - last[place] > 0.2 or done == total:
            last[place] = time.monotonic()
            send({"event": "progressed", "job": batch[place].id, "done": done, "total": total, "loss": loss})

    jobs = [_Resolved(work) for work in batch]
    outcomes: Sequence[train.Trained | Exception]
    with _logged(batch[0]) as text:
        try:
            torch.set_num_threads(batch[0].threads)
            file = batch[0].options.get("checkpoint")
            specs = [job.train_job() for job in jobs]
            outcomes = train.train_together(specs, jobs[0].device, progress, Path(file) if file else None)
        except Exception as error:
            outcomes = [error] * len(batch)
            traceback.print_exc(file=text)
    for job, outcome in zip(jobs, outcomes, strict=True):
        status, reason = explain(outcome) if isinstance(outcome, Exception) else ("ok", "")
        kept = {} if isinstance(outcome, Exception) else _keep_trained(job, outcome)
        meta = {
            **{"seconds": (time.perf_counter() - began) / len(batch), "started": started, "peak_mb": _peak_mb()},
            **{"cohort": len(batch), **kept},
        }
        send({"event": "ended", "job": job.work.id, "status": status, "reason": reason, "meta": meta})


def _keep_trained(job: _Resolved, trained: train.Trained) -> dict[str, Any]:
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


def _reference(job: _Resolved, send: Send) -> dict[str, Any]:
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


def _sample(job: _Resolved, send: Send) -> dict[str, Any]:
    field, dtype = job.field()

    def report(done: int, total: int) -> None:
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


def _score(job: _Resolved, send: Send) -> dict[str, Any]:
    metric = job.component("metric")
    began = time.perf_counter()
    values: dict[str, list[float]] = {}
    undefined = ""
    try:
        values = score.score(metric, _inputs(job, set(metric.inputs)))
    except Undefined as error:  # an answer, kept like any other: the same cell will never have this value
        undefined = str(error)
    repeats = max((len(numbers) for numbers in values.values()), default=0)
    spent = time.perf_counter() - began
    return {"values": values, "undefined": undefined, "score_seconds": spent, "repeats": repeats}


def _inputs(job: _Resolved, asked: set[str]) -> score.Inputs:
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
    return score.Inputs(**given, integrate=exact.integrate, seed=job.work.seed)


def _time_together(batch: list[Work], send: Send) -> None:
    """All time jobs of a run in one process, in interleaved rounds; a job that cannot be done fails alone."""
    torch.set_num_threads(batch[0].threads)
    device, clocked, firsts = torch.device(batch[0].device), list[_Clocked](), list[float]()
    ready: list[Work] = []
    for work in batch:
        send({"event": "started", "job": work.id})
        try:
            made = _training_call(_Resolved(work)) if work.options.get("of") == "train" else _one_call(_Resolved(work))
            firsts.append(timing.first(made.call, device))
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
            "seconds": row.first + row.median * row.rounds,
            "peak_mb": None,
        }
        send({"event": "ended", "job": work.id, "status": "ok", "reason": "", "meta": meta})


class _Clocked(NamedTuple):
    """A call without arguments to be timed, and what its seconds say."""

    call: Callable[[], object]
    says: Callable[[timing.Timed], dict[str, Any]]


def _one_call(job: _Resolved) -> _Clocked:
    """Sampling n points once."""
    field, dtype = job.field()
    spec = job.sample_job()
    x = torch.from_numpy(sample.start(spec, 0)).to(job.device, dtype)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    pieces = x.split(min(spec.sampling.batch or len(x), len(x)))
    # Classes cost the same whichever they are, so every piece may be taken for the first one.
    asked = field.at(0) if isinstance(field, sample.Conditional) else field

    def call() -> list[Tensor]:
        return [sample.advance(spec, asked, piece, ends).states for piece in pieces]

    def says(row: timing.Timed) -> dict[str, Any]:
        seconds = {"sample_seconds": row.median, "sample_seconds_q25": row.q25, "sample_seconds_q75": row.q75}
        return {**seconds, "first_call_seconds": row.first}

    return _Clocked(call, says)


def _training_call(job: _Resolved) -> _Clocked:
    """Some steps of a training by itself, which say how long all of them would take."""
    spec = job.train_job()
    call, length, spent = train.rehearsal(spec, job.device)

    def says(row: timing.Timed) -> dict[str, Any]:
        part = spec.training.steps / length
        pairing = spent.coupling / (row.rounds + 1)  # the first call pairs like the others
        return {"train_seconds": row.median * part, "coupling_seconds": pairing * part}

    return _Clocked(call, says)


STAGES: dict[str, Callable[[_Resolved, Send], dict[str, Any]]] = {
    "reference": _reference,
    "sample": _sample,
    "score": _score,
    "floor": _score,
}


@functools.cache
def _tables(plugins: tuple[str, ...]) -> Tables:
    return Tables(plugins)


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
