"""Files that others wrote, read without trust: regular files alone, and no more than a bound."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

MIB = 2**20


@contextmanager
def open_foreign(file: str | Path) -> Iterator[BinaryIO]:
    """A file to read from. Raises OSError, in words, where it is no regular file.

    A device has no end, and to open a FIFO waits for a writer; neither is read from.
    """
    with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as opened:
        about = os.fstat(opened.fileno())
        if stat.S_ISDIR(about.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(file))
        yield opened


def read_foreign(file: str | Path, most: int) -> bytes:
    """What a file holds. Raises OSError, in words, where it is no regular file or holds more than `most` bytes."""
    with open_foreign(file) as opened:
        content = opened.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"larger than {most // MIB} MiB", str(file))
    return content
