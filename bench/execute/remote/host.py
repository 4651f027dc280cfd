"""What runs on the other machine: the local engine with one slot, fed from a parcel.

A host's process lives on between parcels, and with it the fork server that has torch loaded already.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.distribution import DISTRIBUTION
from bench.execute.allowance import MACHINE, memory_mb
from bench.execute.local import LocalEngine
from bench.execute.protocol import Ended, Returned, Work, told
from bench.execute.remote.parcel import MOST_BYTES, Parcel, unpacked, written
from bench.store.partial import Partial
from bench.store.provenance import provenance

PACKAGE = Path(__file__).resolve().parents[2]
"""This package's folder."""

ABOUT = ("versions", "cpu", "cores", "platform")
"""What of the provenance is the machine's own; the commit is that of who asked."""

POLL = 0.2

ABANDONED_SECONDS = 7 * 24 * 3600.0
"""Age of what parcels brought from which it is removed: each parcel makes it young again."""


@functools.cache
def engine() -> LocalEngine:
    """The one of this process, with its fork server."""
    return LocalEngine(1)


@functools.cache
def about() -> dict[str, Any]:
    """What this machine is, and a digest of the code that it would run."""
    found = provenance(PACKAGE.parent)
    return {name: found[name] for name in ABOUT} | {"code": code()}


@functools.cache
def code() -> str:
    """Hash of this package's Python files."""
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(PACKAGE)}"
        for file in PACKAGE.rglob("*.py")
    ]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def serve(parcel: Parcel, root: Path, environment: Mapping[str, str], slots: int) -> Iterator[dict[str, Any]]:
    """Do a parcel's batch; yields each event as JSON-able data, an end with what the job wrote as `files`.

    root: folder with the parcel's bundles; slots: workers that share this machine's memory. A training that saves its
    state yields it as a `checkpoint`, so that it goes on elsewhere if this machine is lost.
    """
    with tempfile.TemporaryDirectory(dir=root, prefix=".work-") as scratch:
        batch = [_bounded(work, slots) for work in unpacked(parcel, root, Path(scratch), environment)]
        staging = {work.id: work.staging for work in batch}
        saved = {work.id: Partial(Path(work.checkpoint)) for work in batch if work.checkpoint}
        changed = dict.fromkeys(saved, 0.0)
        for message in do(batch):
            if message["event"] == "ended":
                message["files"] = written(staging[message["job"]])
            yield message
            for job, file in saved.items():
                if file.file.exists() and (stamp := file.file.stat().st_mtime) > changed[job]:
                    changed[job] = stamp
                    yield {"event": "checkpoint", "job": job, "content": file.read(MOST_BYTES)}


def do(batch: list[Work]) -> Iterator[dict[str, Any]]:
    """The events of a batch whose paths are this machine's, as JSON-able data; `waiting` where there is none."""
    mine = {name: value for name, value in about().items() if name != "code"}
    local = engine()
    left = {work.id for work in batch}
    try:
        local.submit(batch)
        while left:
            events = local.events(POLL)
            for event in events:
                message = told(event)
                if isinstance(event, Ended | Returned):
                    left.discard(event.job)
                if isinstance(event, Ended):
                    message["meta"] = {**event.meta, **mine}
                yield message
            if not events:
                yield {"event": "waiting"}  # so that who asked can call it off
    finally:
        local.stop()


def forget(root: Path) -> None:
    """Remove what parcels left on this machine."""
    shutil.rmtree(root, ignore_errors=True)


def _bounded(work: Work, slots: int) -> Work:
    """A job's share of memory is of the machine that it runs on."""
    _, by = work.limits.get("memory", (0.0, ""))
    if by != MACHINE:
        return work
    return replace(work, limits={**work.limits, "memory": (memory_mb() / slots, MACHINE)})


def place(run: str, node: str) -> Path:
    """Where a node keeps what a run's parcels brought; only its user may look."""
    root = Path(tempfile.gettempdir()) / f"{DISTRIBUTION}-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    if root.is_symlink() or root.stat().st_uid != os.getuid():
        raise PermissionError(f"{root}: belongs to somebody else; remove it, or set TMPDIR")
    folder = root / f"{run}-{node}"
    if not folder.exists():
        for old in root.iterdir():  # of drivers that were killed
            if time.time() - old.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    os.utime(folder)
    return folder
