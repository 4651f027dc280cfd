"""What every command prints with, and the statuses that it exits with."""

from __future__ import annotations

import codecs
import errno
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import IO, Any, TextIO, cast

from rich.console import Console

from bench.words import printable

OK, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses: all well, something failed, the suite or the command line is wrong, interrupted."""

SPELT = {
    "±": "+-", "–": "-", "—": "-", "−": "-", "×": "x", "·": "|", "…": "...", "“": '"', "”": '"', "‘": "'", "’": "'",
    "≤": "<=", "≥": ">=", "≈": "~", "²": "^2", "√": "sqrt", "↓": "v", "↑": "^", "→": "->", "█": "#",
}  # fmt: skip
"""Characters that we print, in ASCII."""


class Plain(Console):
    """A console that prints what is said as it is, but for control characters: texts come from plugins and files.

    What the stream's encoding lacks is spelt in ASCII. Raises Unwritable where the stream is.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(soft_wrap=True, markup=False, highlight=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does, texts made printable."""
        super().print(*(printable(each) if isinstance(each, str) else each for each in objects), **options)

    @property
    def file(self) -> IO[str]:
        """The stream, with a `write` that its encoding cannot make fail."""
        return cast(IO[str], _Spelt(cast(TextIO, super().file)))

    @file.setter
    def file(self, stream: IO[str]) -> None:
        self._file = stream


class Unwritable(OSError):
    """A stream to print on that cannot be written: its disk is full, its reader went away."""


class _Spelt:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with _told(self._stream):
            return self._stream.write(encodable(text, getattr(self._stream, "encoding", None) or "utf-8"))

    def flush(self) -> None:
        with _told(self._stream):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":
            raise AttributeError(name)  # bytes would pass by `write`
        return getattr(self._stream, name)


def encodable(text: str, encoding: str) -> str:
    """The text where it can be encoded; else with ASCII for what cannot, "0.5 ± 0.1" at its width: "0.5 +-0.1"."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError as error:
        if "±" in text[error.start :] and not _has(encoding, "±"):
            text = text.replace("± ", SPELT["±"])
        return text.encode(encoding, "bench.spelt").decode(encoding)
    return text


def _has(encoding: str, character: str) -> bool:
    with suppress(UnicodeEncodeError):
        return bool(character.encode(encoding))
    return False


def _spell(error: UnicodeError) -> tuple[str, int]:
    """What stands for the characters of an error: their spelling, their letters without accents, or their number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    spelt = (
        SPELT.get(each)
        or unicodedata.normalize("NFKD", each).encode("ascii", "ignore").decode()
        or each.encode("ascii", "backslashreplace").decode()
        for each in error.object[error.start : error.end]
    )
    return "".join(spelt), error.end


codecs.register_error("bench.spelt", _spell)

out, err = Plain(), Plain(stderr=True)


@contextmanager
def _told(stream: TextIO) -> Iterator[None]:
    try:
        yield
    except Unwritable:
        raise
    except (OSError, ValueError) as error:  # a stream that is closed raises a ValueError
        number, why = (error.errno, error.strerror) if isinstance(error, OSError) else (errno.EBADF, str(error))
        raise Unwritable(number, why, getattr(stream, "name", "output")) from error


@contextmanager
def spelt_streams() -> Iterator[None]:
    """Meanwhile what others print on stdout and stderr is treated like what a Plain prints."""
    said, told = (cast(TextIO, stream and _Spelt(stream)) for stream in (sys.stdout, sys.stderr))
    with redirect_stdout(said), redirect_stderr(told):
        yield


def written(error: BaseException | None = None) -> bool:
    """Whether all that was printed has left this process, where one error came up or none.

    Where not, it is said on stderr, unless a reader merely went away, and what is left is dropped: Python would try
    again as it ends.
    """
    faults = [error] if isinstance(error, Unwritable) else []
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            with _told(stream):
                if stream is sys.stderr and faults and faults[0].errno != errno.EPIPE:
                    err.print(f"{faults[0].filename}: cannot be written: {faults[0].strerror}")
                stream.flush()
        except Unwritable as fault:
            faults.append(fault)
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return not faults
