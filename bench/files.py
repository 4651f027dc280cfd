"""Files of a results folder: read and written below its root, through no link, and of bounded size.

The root itself may be reached through a link; below it a path is opened folder by folder, so that nothing that is
exchanged meanwhile leads elsewhere. What stands in a file's place and is none (a folder, a link, a FIFO, a device)
is Corrupt, and never opened for long: nothing here waits.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bench.errors import Corrupt, StoreError

SEAL_LIMIT = 16 * 2**20
"""Bytes of a sealed JSON file at most: a score, DONE, job.json."""

PAGE_LIMIT = 64 * 2**20
"""Bytes of suite.json, a page or a figure at most."""

TABLE_LIMIT = 2**30
"""Bytes of a table at most."""

REMEDIES: dict[int | None, str] = {
    errno.ENOSPC: "free some space there, or keep the results on another disk",
    errno.EDQUOT: "free some of your quota there, or keep the results on another disk",
    errno.EROFS: "it is mounted read-only; keep the results in a folder that can be written",
    errno.EACCES: "make it readable and writable for you, or keep the results in another folder",
    errno.EPERM: "make it readable and writable for you, or keep the results in another folder",
    errno.ENOTDIR: "a file stands where a folder belongs; move it away",
    errno.EEXIST: "a file stands where a folder belongs; move it away",
    errno.EISDIR: "a folder stands where a file belongs; move it away",
    errno.ELOOP: "a link stands where a file or folder belongs; move it away",
}

UNWRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
"""What the system says of a place that may be read and not written."""

KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
)


@contextmanager
def disk(place: Path, deed: str) -> Iterator[None]:
    """Turn the system's errors into a StoreError that names the place, what failed and what to do."""
    try:
        yield
    except OSError as error:
        remedy = REMEDIES.get(error.errno, "check the disk and who may write there")
        raise StoreError(f"{place}: cannot {deed}: {error.strerror or error}; {remedy}") from error


@contextmanager
def open_regular(root: Path, relative: str, limit: int | None = None) -> Iterator[IO[bytes]]:
    """A file below root to read from.

    FileNotFoundError where nothing stands, Corrupt where something else than a file of at most `limit` bytes does,
    StoreError where the way to it leads through a link.
    """
    path = root / relative
    with _parent(root, relative) as (folder, name):
        _regular(path, os.stat(name, dir_fd=folder, follow_symlinks=False))
        # The second look is at what was opened; a FIFO that came between is opened without waiting, and not read.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with os.fdopen(handle, "rb") as stream:
        found = os.fstat(handle)
        _regular(path, found)
        if limit is not None and found.st_size > limit:
            raise Corrupt(f"{path}: {found.st_size} bytes, more than the {limit} that such a file may have")
        yield stream


def read_regular(root: Path, relative: str, limit: int) -> bytes:
    """The bytes of a file below root; otherwise as `open_regular`."""
    with open_regular(root, relative, limit) as stream:
        size = os.fstat(stream.fileno()).st_size
        content = stream.read(size + 1)  # as much is set aside at once, so not the limit
    if len(content) > size:
        raise Corrupt(f"{root / relative}: grew while it was read")
    return content


def size_of(root: Path, relative: str) -> int:
    """Bytes of a file below root, without a look inside; otherwise as `open_regular`."""
    with _parent(root, relative) as (folder, name):
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    _regular(root / relative, found)
    return found.st_size


def checksum(stream: IO[bytes]) -> str:
    """SHA-256 of the rest of a stream."""
    digest = hashlib.sha256()
    while block := stream.read(io.DEFAULT_BUFFER_SIZE * 128):
        digest.update(block)
    return digest.hexdigest()


def is_folder(path: Path) -> bool:
    """Whether a folder stands here itself, not a link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def refuse_other_than_folder(path: Path) -> None:
    """StoreError where something stands here that is no folder."""
    if os.path.lexists(path):
        _folder(path)


def make_folder(root: Path, relative: str = "") -> Path:
    """Have a folder below root, made where it is missing. StoreError where a link or a file stands in its place."""
    path = root / relative if relative else root
    with disk(path, "make the folder"):
        root.mkdir(parents=True, exist_ok=True)
        for part in _parts(relative) if relative else ():
            root = root / part
            try:
                root.mkdir()
            except FileExistsError:
                _folder(root)
    return path


def write_beside(root: Path, relative: str, content: bytes) -> None:
    """Write a file whole or not at all: beside it, then renamed into place, with the mode that the umask says.

    Its folder must be there. What stands in its place and is no file is refused with a StoreError.
    """
    path = root / relative
    with disk(path, "write the file"), _parent(root, relative) as (folder, name):
        try:
            _regular(path, os.stat(name, dir_fd=folder, follow_symlinks=False))
        except FileNotFoundError:
            pass
        except Corrupt as error:
            raise StoreError(f"{error}; move it away, and it is written anew") from None
        beside = f".{name[:200]}.{secrets.token_hex(4)}"
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666, dir_fd=folder)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(beside, dir_fd=folder)
            raise


def remove(root: Path, relative: str) -> None:
    """Remove a file below root, or the link that stands in its place, never what that leads to; none is no fault."""
    try:
        with disk(root / relative, "remove the file"), _parent(root, relative) as (folder, name):
            os.unlink(name, dir_fd=folder)
    except StoreError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise


def put_aside(path: Path, folder: Path, kind: str) -> Path | None:
    """Move whatever stands at `path` into a folder, unopened; where it went, or None if it is gone.

    `kind` begins its name there.
    """
    folder = make_folder(folder.parent, folder.name)
    aside = folder / f"{kind}-{secrets.token_hex(4)}-{path.name}"
    with disk(path, "set it aside"):
        try:
            path.rename(aside)
        except FileNotFoundError:
            return None
    return aside


def what(mode: int) -> str:
    """What a file's mode says it is, in words."""
    return next((words for test, words in KINDS if test(mode)), "a device")


@contextmanager
def _parent(root: Path, relative: str) -> Iterator[tuple[int, str]]:
    """The open folder that holds a path below root, and the path's last name."""
    *folders, name = _parts(relative)
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        at = root
        for part in folders:
            at = at / part
            try:
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handle)
            except OSError as error:
                if error.errno in (errno.ENOTDIR, errno.ELOOP):
                    _folder(at)
                raise
            os.close(handle)
            handle = inner
        yield handle, name
    finally:
        os.close(handle)


def _parts(relative: str) -> list[str]:
    """The names of a path, each of which leads down."""
    parts = relative.split("/")
    if not all(parts) or {".", ".."} & set(parts) or "\0" in relative:
        raise StoreError(f"{relative!r}: not a path below the results folder")
    return parts


def _folder(path: Path) -> None:
    """Say what stands where a folder belongs."""
    mode = os.lstat(path).st_mode
    if not stat.S_ISDIR(mode):
        found = "a file" if stat.S_ISREG(mode) else what(mode)
        raise StoreError(
            f"{path}: {found} where a folder belongs; nothing is read or written through it: move it away, or give "
            "--results the folder that is meant"
        )


def _regular(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Corrupt(f"{path}: {what(found.st_mode)}, not a plain file")
