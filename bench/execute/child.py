"""What a worker process does: plain Work in, arrays into the staging folder, one message an end."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
import time
from contextlib import suppress
from multiprocessing import forkserver, parent_process
from multiprocessing.connection import Connection
from typing import Any

import torch

from bench.execute import tree
from bench.execute.logs import logged, note, own_descriptors, peak_mb
from bench.execute.protocol import Work
from bench.execute.task import Send, WorkTask, device_about, do, explain
from bench.execute.together import do_together
from bench.kinds import KINDS


def serve(pipe: Connection) -> None:
    """Entry point of a forked worker: read one batch, do it in order, report each job as it ends."""
    os.setsid()
    _die_with_the_driver()
    _let_the_server_go()
    tree.adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    own_descriptors()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the driver is gone: nobody would read this
        _do_batch(pipe)


def _do_batch(pipe: Connection) -> None:
    batch, me = [Work.of(item) for item in json.loads(pipe.recv_bytes())], os.getpid()

    def send(message: dict[str, Any]) -> None:
        """One message to the driver, as JSON; from a child that a job forked, its end."""
        if os.getpid() != me:
            os._exit(1)
        pipe.send_bytes(json.dumps(message).encode())

    for work in batch:  # of one batch all have the same
        os.environ.update(work.environment)
    if batch and KINDS[batch[0].kind].together == "as one":
        do_together(batch, send)
        return
    for work in batch:
        send({"event": "started", "job": work.id})
        send(attempt(work, send))


def attempt(work: Work, send: Send) -> dict[str, Any]:
    """Do one job; every exception becomes its status and reason, with the traceback in its log."""
    began, started, meta = time.perf_counter(), time.time(), dict[str, Any]()
    try:
        with logged(work):
            torch.set_num_threads(work.threads)
            task = WorkTask(work, send)
            meta, status, reason = task.keep(do(task)), "ok", ""
    except Exception as error:
        status, reason = explain(error)
        note(work, error)
    meta = {
        "seconds": time.perf_counter() - began,
        "started": started,
        "peak_mb": peak_mb(),
        **device_about(work),
        **meta,
    }
    return {"event": "ended", "job": work.id, "status": status, "reason": reason, "meta": meta}


def _let_the_server_go() -> None:
    """Close the pipe by which the fork server sees whether anybody needs it: a job's child would hold it open."""
    server = getattr(forkserver, "_forkserver", None)
    alive = getattr(server, "_forkserver_alive_fd", None)
    if server is not None and alive is not None:
        os.close(alive)
        server._forkserver_alive_fd = None


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
        import fcntl

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
