"""What a job prints and how it failed, kept in its own log within bounds; and what it used."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO

from bench.execute.protocol import Work

KEPT = 2**20
"""Bytes that are kept of what a job prints."""

TRACE = 2**16
"""Characters that are kept of a traceback, from both its ends: a message may be as long as it likes."""

_descriptors = False


def own_descriptors() -> None:
    """From now on what C code prints goes into the log too: for a process that prints nothing else."""
    global _descriptors  # noqa: PLW0603 - a fact about the process
    _descriptors = True


class Capped(io.TextIOBase):
    """Text that goes into a file until the file is full or the disk is; the rest is dropped, and said."""

    def __init__(self, file: TextIO, most: int) -> None:
        self.file, self.left = file, most

    def write(self, text: str) -> int:
        """Write as much as fits; as if all did."""
        with suppress(OSError):
            if self.left > 0:
                self.file.write(text[: self.left])
            if 0 < self.left < len(text):
                self.file.write(f"\n[what followed was dropped: a log keeps {KEPT >> 20} MiB]\n")
        self.left -= len(text)
        return len(text)

    def flush(self) -> None:
        """Write it out."""
        with suppress(OSError, ValueError):
            self.file.flush()

    def fileno(self) -> int:
        """The file's own, for who gives it to a process."""
        return self.file.fileno()

    def writable(self) -> bool:
        """Yes."""
        return True


@contextmanager
def logged(work: Work) -> Iterator[Capped]:
    """What a job prints goes into its log; a disk that is full costs the log and nothing else."""
    try:
        file = _log(work).open("a", encoding="utf-8", errors="backslashreplace")
    except OSError:
        file = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - closed below like the other
    text = Capped(file, KEPT)
    try:
        with redirect_stdout(text), redirect_stderr(text), _redirected(file.fileno()):
            yield text
    finally:
        with suppress(OSError):
            file.close()


@contextmanager
def _redirected(log: int) -> Iterator[None]:
    if not _descriptors:
        yield
        return
    kept = [(number, os.dup(number)) for number in (1, 2)]
    for number, _ in kept:
        os.dup2(log, number)
    try:
        yield
    finally:
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)


def note(work: Work, error: Exception) -> None:
    """Write an error's traceback into a job's log."""
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:  # an error whose own text cannot be had
        text = "".join(traceback.format_tb(error.__traceback__)) + type(error).__name__
    if len(text) > TRACE:
        text = f"{text[: TRACE // 2]}\n[{len(text) - TRACE} characters dropped]\n{text[-TRACE // 2 :]}"
    with logged(work) as log:
        log.write(text)


def cut_log(work: Work, slack: float = 1.1) -> None:
    """Cut a log that C code or a child has filled; whoever still writes goes on at its end.

    Its last lines stay: they may be the traceback of a job that ended before anybody looked.
    """
    most, log = 2 * KEPT, _log(work)
    with suppress(OSError):
        if log.is_file() and log.stat().st_size > most * slack:
            with log.open("rb") as held:
                held.seek(-2 * TRACE, os.SEEK_END)
                end = held.read()
            os.truncate(log, most - len(end))
            with log.open("ab") as text:
                text.write(b"\n[what was written here was dropped: the log was full]\n" + end)


def peak_mb() -> float:
    """Largest memory of this process so far, in MiB."""
    import resource  # POSIX alone has it; who only plans or reports needs none

    unit = 1024 if sys.platform != "darwin" else 1024**2
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def _log(work: Work) -> Path:
    return Path(work.staging) / "log.txt" if work.staging else Path(os.devnull)
