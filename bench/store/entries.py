"""One entry of the store: its form on disk, its seal, and how it is read and checked.

A seal is one line of JSON, {"sha256": ..., "body": ...}, whose checksum covers the bytes of the body; the
rest of the line is fixed, so that a change of any byte is noticed. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bench.errors import Corrupt, NoEntry, StoreError
from bench.files import SEAL_LIMIT, checksum, disk, is_folder, open_regular, read_regular, size_of
from bench.kinds import KINDS
from bench.store.arrays import PLAIN, array_file, load_array

FORMS: dict[str, str] = {kind.name: kind.form for kind in KINDS.values()}
"""Every kind of entry: a folder of files sealed by DONE, or one sealed JSON file that holds its job alone."""

DONE = "DONE"
JOB = "job.json"

NAME = re.compile(r"([0-9a-f]{2,64})-([0-9a-f]{2,64})(\.json)?")
"""What an entry is called: key and code."""

FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")
"""What a file of an entry may be called: it stands in the entry's own folder."""


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
        file = self.file(array_file(self.files, name) or f"{name}{PLAIN}")
        with disk(self.place, "read the entry"), open_regular(file.parent, file.name) as stream:
            return load_array(stream, file.name)

    def has(self, name: str) -> bool:
        """Whether there is an array, or a file, of this name."""
        return name in self.files or array_file(self.files, name) is not None

    def file(self, name: str) -> Path:
        """Path of one file of a folder entry, by its full name."""
        if name not in self.files:
            held = ", ".join(sorted(self.files)) or "no files"
            raise StoreError(f"{self.place}: no file named {name!r}; the entry holds {held}")
        return self.place / name


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
    """Write job.json, flush every file of the folder to the disk, and write DONE over their checksums.

    Raises NoEntry where the folder is none, or holds other than plain files of plain names.
    """
    if not is_folder(folder):
        raise NoEntry(f"{folder}: no folder any more; a job writes into it and leaves it where it is")
    with _plain(kind, key, code):
        text = json.dumps(dict(job), allow_nan=False, indent=1).encode()
    _write(folder / JOB, text)
    mode = stat.S_IMODE((folder / JOB).stat().st_mode)  # what the umask says; some libraries write for the owner alone
    files = {}
    with os.scandir(folder) as found:
        for item in sorted(found, key=lambda item: item.name):
            if not item.is_file(follow_symlinks=False):
                raise NoEntry(f"{item.path}: not a plain file; an entry is a flat folder of files")
            if not FILE_NAME.fullmatch(item.name):
                raise NoEntry(f"{item.path}: a file of an entry is called by letters, digits, '.', '_', '-' and '+'")
            if item.name != DONE:
                os.chmod(item.path, mode)
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


def read_entry(root: Path, relative: str, kind: str, key: str, code: str, deep: bool) -> Entry | None:
    """The entry that stands below root, or None; Corrupt if it is not what was published, however it is sealed.

    `deep` reads every file. Otherwise seal and job are checked, and of the other files the size.
    """
    place, folder = root / relative, FORMS[kind] == "folder"
    if folder and not is_folder(place):
        if os.path.lexists(place):
            raise Corrupt(f"{place / DONE}: missing; {place.name} is no folder")
        return None
    body = read_seal(root, f"{relative}/{DONE}" if folder else relative)
    if body is None:
        if folder and is_folder(place):
            raise Corrupt(f"{place / DONE}: missing or not a plain file")
        return None
    sealed = place / DONE if folder else place
    mine = tuple(body.get(name) for name in ("kind", "key", "code"))
    if mine != (kind, key, code):
        raise Corrupt(f"{sealed}: belongs to {' '.join(map(str, mine))}")
    published = body.get("published")
    if not isinstance(published, int | float) or not math.isfinite(published):
        raise Corrupt(f"{sealed}: does not say when it was published")
    if not folder:
        return Entry(kind, key, code, place, _job(body.get("job"), sealed), published=published)
    files = listed(body, sealed)
    for name, expected in files.items():
        check_file(root, f"{relative}/{name}", expected, deep or name == JOB)
    text = read_regular(root, f"{relative}/{JOB}", SEAL_LIMIT)
    return Entry(kind, key, code, place, _job(_parsed(text, place / JOB), place / JOB), frozenset(files), published)


def read_seal(root: Path, relative: str) -> dict[str, Any] | None:
    """The body of a sealed file below root, or None where none stands; Corrupt where it is not whole."""
    try:
        raw = read_regular(root, relative, SEAL_LIMIT)
    except FileNotFoundError:
        return None
    return _unseal(raw, root / relative)


def listed(body: Mapping[str, Any], sealed: Path) -> dict[str, dict[str, Any]]:
    """The files that DONE lists, job.json among them, with the checksum and size of each."""
    files = body.get("files")
    whole = isinstance(files, dict) and JOB in files
    for name, expected in files.items() if isinstance(files, dict) else ():
        whole &= bool(FILE_NAME.fullmatch(name)) and isinstance(expected, dict)
        whole = whole and type(expected.get("size")) is int and isinstance(expected.get("sha256"), str)
    if not whole or not isinstance(files, dict):
        raise Corrupt(f"{sealed}: does not list the entry's files as it should")
    return files


def check_file(root: Path, relative: str, expected: Mapping[str, Any], deep: bool) -> None:
    """Raise Corrupt unless the file has the size and, if deep, the checksum that DONE gives."""
    path = root / relative
    try:
        size = size_of(root, relative)
        if size != expected["size"]:
            raise Corrupt(f"{path}: {size} bytes instead of {expected['size']}")
        if deep:
            with open_regular(root, relative, size) as stream:
                if checksum(stream) != expected["sha256"]:
                    raise Corrupt(f"{path}: its checksum differs")
    except FileNotFoundError:
        raise Corrupt(f"{path}: missing") from None


def _job(job: Any, file: Path) -> dict[str, Any]:
    if not isinstance(job, dict):
        raise Corrupt(f"{file}: holds no job")
    return job


def _parsed(text: bytes, file: Path) -> Any:
    """JSON, or Corrupt: a checksum is right of whatever was sealed."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Corrupt(f"{file}: not JSON") from None


def _checksum(path: Path, flush: bool = False) -> dict[str, Any]:
    """SHA-256 and size in bytes; `flush` first has the system write the file to the disk."""
    with path.open("rb") as stream:
        if flush:
            os.fsync(stream.fileno())
        return {"sha256": checksum(stream), "size": stream.tell()}


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
    body = _parsed(text, path)
    if not isinstance(body, dict):
        raise Corrupt(f"{path}: holds no entry")
    return body


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
