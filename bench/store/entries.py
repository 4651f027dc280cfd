"""One entry of the store: its form on disk, its seal, and how it is read and checked.

A seal is one line of JSON, {"sha256": ..., "body": ...}, whose checksum covers the bytes of the body; the
rest of the line is fixed, so that a change of any byte is noticed. Nothing is ever unpickled.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.errors import Corrupt, StoreError
from bench.kinds import KINDS

FORMS: dict[str, str] = {kind.name: kind.form for kind in KINDS.values()}
"""Every kind of entry: a folder of files sealed by DONE, or one sealed JSON file that holds its job alone."""

DONE = "DONE"
JOB = "job.json"

REMEDIES: dict[int | None, str] = {
    errno.ENOSPC: "free some space there, or keep the results on another disk",
    errno.EDQUOT: "free some of your quota there, or keep the results on another disk",
    errno.EROFS: "it is mounted read-only; keep the results in a folder that can be written",
    errno.EACCES: "make it readable and writable for you, or keep the results in another folder",
    errno.EPERM: "make it readable and writable for you, or keep the results in another folder",
    errno.ENOTDIR: "a file stands where a folder belongs; move it away",
    errno.EEXIST: "a file stands where a folder belongs; move it away",
}


@dataclass(frozen=True)
class Entry:
    """One finished job. `job` is what job.json holds (for one-file kinds: the values themselves).

    `files` are the names that DONE lists; `published` is in seconds since 1970.
    """

    kind: str
    key: str
    code: str
    place: Path
    job: dict[str, Any]
    files: frozenset[str] = frozenset()
    published: float = 0.0

    def array(self, name: str) -> NDArray[Any]:
        """The array that `write_array` wrote under this name, with its shape and dtype."""
        with disk(self.place, "read the entry"):
            array: NDArray[Any] = np.load(self.file(f"{name}.npy"), allow_pickle=False)
            return array

    def has(self, name: str) -> bool:
        """Whether there is an array, or a file, of this name."""
        return name in self.files or f"{name}.npy" in self.files

    def file(self, name: str) -> Path:
        """Path of one file of a folder entry, by its full name."""
        if name not in self.files:
            held = ", ".join(sorted(self.files)) or "no files"
            raise StoreError(f"{self.place}: no file named {name!r}; the entry holds {held}")
        return self.place / name


@contextmanager
def disk(place: Path, deed: str) -> Iterator[None]:
    """Turn the system's errors into a StoreError that names the place, what failed and what to do."""
    try:
        yield
    except OSError as error:
        remedy = REMEDIES.get(error.errno, "check the disk and who may write there")
        raise StoreError(f"{place}: cannot {deed}: {error.strerror or error}; {remedy}") from error


def write_array(folder: Path, name: str, array: ArrayLike) -> None:
    """Write an array as <name>.npy; one of Python objects is a ValueError, since it would need pickle."""
    with disk(folder, f"write {name}.npy"):
        np.save(folder / f"{name}.npy", np.asarray(array), allow_pickle=False)


def locate(root: Path, kind: str, key: str, code: str) -> Path:
    """Where an entry stands. One-file kinds are many: they are spread over 256 folders."""
    if FORMS[kind] == "file":
        return root / kind / key[:2] / f"{key}-{code}.json"
    return root / kind / f"{key}-{code}"


def write_file_entry(path: Path, kind: str, key: str, code: str, job: Mapping[str, Any]) -> None:
    """Write a one-file entry and flush it to the disk."""
    body = {"kind": kind, "key": key, "code": code, "published": time.time(), "job": dict(job)}
    with _plain(kind, key, code):
        sealed = _seal(body)
    _write(path, sealed)


def seal_folder(folder: Path, kind: str, key: str, code: str, job: Mapping[str, Any]) -> None:
    """Write job.json, flush every file of the folder to the disk, and write DONE over their checksums."""
    with _plain(kind, key, code):
        text = json.dumps(dict(job), allow_nan=False, indent=1).encode()
    _write(folder / JOB, text)
    files = {}
    with os.scandir(folder) as found:
        for item in sorted(found, key=lambda item: item.name):
            if not item.is_file(follow_symlinks=False):
                raise StoreError(f"{item.path}: not a plain file; an entry is a flat folder of files")
            if item.name != DONE:
                files[item.name] = _checksum(Path(item.path), flush=True)
    body = {"kind": kind, "key": key, "code": code, "published": time.time(), "files": files}
    _write(folder / DONE, _seal(body))
    flush_folder(folder)


def flush_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_entry(place: Path, kind: str, key: str, code: str, deep: bool) -> Entry | None:
    """The entry that stands at `place`, or None; Corrupt if its bytes are not what was published.

    `deep` reads every file. Otherwise seal and job are checked, and of the other files the size.
    """
    folder = FORMS[kind] == "folder"
    sealed = place / DONE if folder else place
    try:
        raw = sealed.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        if os.path.lexists(place):
            raise Corrupt(f"{sealed}: missing or not a plain file") from None
        return None
    body = _unseal(raw, sealed)
    mine = tuple(body.get(name) for name in ("kind", "key", "code"))
    if mine != (kind, key, code):
        raise Corrupt(f"{sealed}: belongs to {' '.join(map(str, mine))}")
    if not folder:
        return Entry(kind, key, code, place, body["job"], published=body["published"])
    for name, expected in body["files"].items():
        _check(place / name, expected, deep or name == JOB)
    job = json.loads((place / JOB).read_bytes())
    return Entry(kind, key, code, place, job, frozenset(body["files"]), body["published"])


def _check(path: Path, expected: Mapping[str, Any], deep: bool) -> None:
    """Raise Corrupt unless the file has the size and, if deep, the checksum that DONE gives."""
    try:
        size = path.stat().st_size
        if size != expected["size"]:
            raise Corrupt(f"{path}: {size} bytes instead of {expected['size']}")
        if deep and _checksum(path) != expected:
            raise Corrupt(f"{path}: its checksum differs")
    except FileNotFoundError:
        raise Corrupt(f"{path}: missing") from None


def _checksum(path: Path, flush: bool = False) -> dict[str, Any]:
    """SHA-256 and size in bytes; `flush` first has the system write the file to the disk."""
    with path.open("rb") as stream:
        if flush:
            os.fsync(stream.fileno())
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {"sha256": digest, "size": stream.tell()}


@contextmanager
def _plain(kind: str, key: str, code: str) -> Iterator[None]:
    """Say whose job JSON cannot hold: one with NaN, infinity, or an object that is not plain."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ValueError(f"{kind} {key}-{code}: its job must be plain JSON with finite numbers: {error}") from error


def _seal(body: Mapping[str, Any]) -> bytes:
    text = json.dumps(body, allow_nan=False).encode()
    return b'{"sha256": "%s", "body": %s}\n' % (hashlib.sha256(text).hexdigest().encode(), text)


def _unseal(raw: bytes, path: Path) -> dict[str, Any]:
    """The body of a seal; it must be, byte for byte, what `_seal` writes."""
    start = len(b'{"sha256": "", "body": ') + hashlib.sha256().digest_size * 2
    text = raw[start:-2]
    if raw != b'{"sha256": "%s", "body": %s}\n' % (hashlib.sha256(text).hexdigest().encode(), text):
        raise Corrupt(f"{path}: its checksum differs")
    body: dict[str, Any] = json.loads(text)
    return body


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
