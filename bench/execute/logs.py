"""What a job prints and how it failed, kept in its own log; and what it used."""

from __future__ import annotations

import os
import resource
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO

from bench.execute.protocol import Work


@contextmanager
def logged(work: Work) -> Iterator[TextIO]:
    """What a job prints goes into its log."""
    log = _log(work).open("a", encoding="utf-8", errors="backslashreplace")
    with log as text, redirect_stdout(text), redirect_stderr(text):
        yield text


def note(work: Work, error: Exception) -> None:
    """Write an error's traceback into a job's log."""
    with logged(work) as text:
        traceback.print_exception(error, file=text)


def peak_mb() -> float:
    """Largest memory of this process so far, in MiB."""
    unit = 1024 if sys.platform != "darwin" else 1024**2
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def _log(work: Work) -> Path:
    return Path(work.staging) / "log.txt" if work.staging else Path(os.devnull)
