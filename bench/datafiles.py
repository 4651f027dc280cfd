"""Files of data that a suite names: known by what they hold, wherever they lie.

A suite gives a path from its own folder on. What enters configurations, and so every key and the hash of every result,
is `sha256:...` of the content, so that a changed file is another one and a moved file the same. Where a content lies is
noted here, in every process that may ask for it; a worker is told with its job.

A component's parameter names a file by its annotation, `file: Annotated[str, DataFile()]`, and gets at it by
`file_of(self.file)`.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.errors import JobError
from bench.files import checksum
from bench.foreign import open_foreign

NAME = re.compile(r"sha256:[0-9a-f]{64}")
"""What a configuration holds in a path's place."""

MOST_FILES = 1_000_000
"""Files that a folder of data may hold."""

PLACES: dict[str, Path] = {}
"""Where contents lie, as far as this process knows; who gives a job to a worker adds to it."""


@dataclass(frozen=True)
class DataFile:
    """Marks a parameter of text as the path of a file of data; `folder`: or of a folder of files."""

    folder: bool = False


@functools.cache
def parameters_of(cls: type) -> dict[str, DataFile]:
    """The parameters of a component that name files, with their marks."""
    found: dict[str, DataFile] = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        for part in (hint, *typing.get_args(hint)):  # plain, or an alternative to none
            for mark in getattr(part, "__metadata__", ()):
                if isinstance(mark, DataFile):
                    found[name] = mark
    return found


def named(path: Path, *, folder: bool = False) -> str:
    """The name of what a file, or all files of a folder, hold; noted. Raises OSError where it cannot be read."""
    if path.is_dir():
        if not folder:
            raise IsADirectoryError(21, "a folder, where a file is due", str(path))
        lines = [f"{_sum(file)}  {file.relative_to(path)}" for file in files_below(path)]
        digest = hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    else:
        digest = _sum(path)
    name = f"sha256:{digest}"
    PLACES[name] = path.absolute()
    return name


def files_below(folder: Path) -> list[Path]:
    """The files of a folder and of those in it, in one order; hidden ones are passed over. Raises OSError."""
    found: list[Path] = []
    for root, folders, files in os.walk(folder, onerror=_raised):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        found += [Path(root, each) for each in sorted(files) if not each.startswith(".")]
        if len(found) > MOST_FILES:
            raise OSError(27, f"more than {MOST_FILES:,} files", str(folder))
    return found


def held(texts: Iterable[str]) -> dict[str, str]:
    """The contents that configurations name, with where each lies as far as it is known."""
    names = {name for text in texts for name in NAME.findall(text)}
    return {name: str(PLACES[name]) for name in sorted(names) if name in PLACES}


def content_of(name: str) -> str:
    """The name of a content: itself, or that of what lies at a path. Raises ValueError where it cannot be read."""
    if NAME.fullmatch(name):
        return name
    try:
        return named(Path(name), folder=True)
    except OSError as error:
        raise ValueError(f"{name}: {error.strerror}") from error


def file_of(name: str) -> Path:
    """Where a parameter's file or folder lies, its content held against its name once a process.

    What is no name of a content is a path as it is. Raises JobError where the content lies nowhere any more.
    """
    if not NAME.fullmatch(name):
        return Path(name)
    if name not in PLACES:
        raise JobError(f"{name}: no file with this content is known here; run the suite again where its data lie")
    return _checked(name, PLACES[name])


@functools.cache
def _checked(name: str, place: Path) -> Path:
    try:
        found = named(place, folder=True)
    except OSError as error:
        raise JobError(f"{place}: cannot be read any more ({error.strerror}); put it back, and run again") from error
    if found != name:
        raise JobError(f"{place}: changed while the run was under way; run again, and what it touches is made anew")
    return place


def _sum(file: Path) -> str:
    about = file.stat()
    return _sum_as(str(file), about.st_size, about.st_mtime_ns, about.st_ino)


@functools.lru_cache(maxsize=4 * MOST_FILES)
def _sum_as(file: str, size: int, modified: int, inode: int) -> str:
    """Checksum of a file as it is now; a file that looks the same is not read twice by a process."""
    with open_foreign(file) as opened:
        return checksum(opened)


def _raised(error: OSError) -> None:
    raise error
