"""A store and its reports as one ZIP file, and back. What comes in is checked as a whole before any of it is published.

Names are deterministic and bear no dates: the same results give the same bytes. An archive holds files alone, each
below `store/<kind>/` or a suite's folder, by the names that are written here and no others.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.errors import Corrupt, StoreError
from bench.files import disk, make_folder, open_regular, size_of
from bench.store.arrays import PLANES, array_bytes
from bench.store.entries import FORMS, NAME, locate
from bench.store.store import Store

LIMIT = 64 * 2**30
"""Bytes that an archive may unpack to, unless another bound is asked for."""

MOST_FILES = 10**6
BLOCK = 2**20
HASHES = r"[0-9a-f]{2,64}-[0-9a-f]{2,64}"
FOLDER_KINDS, FILE_KINDS = ("|".join(k for k, form in FORMS.items() if form == wanted) for wanted in ("folder", "file"))
ENTRY = re.compile(
    rf"store/(?:({FOLDER_KINDS})/({HASHES})/[A-Za-z0-9_][A-Za-z0-9_.+-]{{0,199}}"
    rf"|({FILE_KINDS})/[0-9a-f]{{2}}/({HASHES})\.json)"
)
REPORT = re.compile(
    r"(?!store/)([A-Za-z0-9_][A-Za-z0-9_.+-]{0,199})/"
    r"(?:suite\.json|report\.(?:md|html)|tables/[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}|figures/[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199})"
)

DATE = (1980, 1, 1, 0, 0, 0)


def pack(file: Path, root: Path, names: Iterator[str] | list[str]) -> int:
    """Write files below root into an archive, beside and renamed; how many."""
    names = sorted(names)
    beside = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    if os.path.lexists(file) and not stat.S_ISREG(file.lstat().st_mode):
        raise StoreError(f"{file}: not a plain file; give the archive another name")
    with disk(file, "write the archive"):
        try:
            with zipfile.ZipFile(beside, "x", zipfile.ZIP_DEFLATED) as archive:
                for name in names:
                    about = zipfile.ZipInfo(name, DATE)
                    about.compress_type, about.external_attr = zipfile.ZIP_DEFLATED, (stat.S_IFREG | 0o644) << 16
                    about.create_system = 3
                    with open_regular(root, name) as stream:
                        about.file_size = os.fstat(stream.fileno()).st_size
                        with archive.open(about, "w") as packed:
                            while block := stream.read(BLOCK):
                                packed.write(block)
            beside.replace(file)
        finally:
            beside.unlink(missing_ok=True)
    return len(names)


def entry_files(store: Store) -> tuple[list[str], list[str]]:
    """Names, below the results folder, of all files of whole entries; and what is wrong with the others."""
    names, faults = list[str](), list[str]()
    for kind, key, code in store.entries():
        try:
            entry = store.look(kind, key, code)
        except Corrupt as error:
            faults.append(str(error))
            continue
        if entry is not None:
            place = f"store/{entry.place.relative_to(store.root)}"
            names += [f"{place}/{name}" for name in (*entry.files, "DONE")] if FORMS[kind] == "folder" else [place]
    return names, faults


def unpack(file: Path, folder: Path, limit: int = LIMIT) -> list[str]:
    """Write an archive's files below an empty folder; their names. StoreError where one of them is not as it should be.

    Refused: a name that leads out of the folder or that no archive has, anything but a plain file, two files of one
    name, and more bytes than the limit, whatever the archive says of its own size.
    """
    left = limit
    try:
        if size_of(file.parent, file.name) > limit:
            raise StoreError(_too_large(file, limit))
        with (
            disk(file, "read the archive"),
            open_regular(file.parent, file.name, limit) as raw,
            zipfile.ZipFile(raw) as archive,
        ):
            members = archive.infolist()
            _check(file, members, limit)
            for member in members:
                make_folder(folder, member.filename.rpartition("/")[0])
                with archive.open(member) as packed, (folder / member.filename).open("xb") as target:
                    while block := packed.read(min(BLOCK, left + 1)):
                        left -= len(block)
                        if left < 0:
                            raise StoreError(_too_large(file, limit))
                        target.write(block)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, UnicodeError, zlib.error) as error:
        raise StoreError(f"{file}: not an archive that can be read ({error}); export it again") from None
    return [member.filename for member in members]


def _check(file: Path, members: list[zipfile.ZipInfo], limit: int) -> None:
    seen = set[str]()
    if len(members) > MOST_FILES or sum(member.file_size for member in members) > limit:
        raise StoreError(_too_large(file, limit))
    for member in members:
        name, mode = member.filename, member.external_attr >> 16
        fault = ""
        if member.orig_filename != name or not (ENTRY.fullmatch(name) or REPORT.fullmatch(name)):
            fault = "not a name that an export gives"
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            fault = "not a plain file"
        elif member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            fault = "encrypted, or packed in another way than exports are"
        elif name in seen:
            fault = "there twice"
        if fault:
            raise StoreError(f"{file}: {name[:200]!r}: {fault}; nothing was imported")
        seen.add(name)


def _too_large(file: Path, limit: int) -> str:
    return (
        f"{file}: more than {limit / 2**30:.3g} GiB, or {MOST_FILES} files; nothing was imported. Raise the bound with "
        "--limit if you trust who sent it"
    )


def take_in(
    store: Store, file: Path, limit: int, check_report: Callable[[Path], object]
) -> tuple[int, int, list[str], list[str]]:
    """Import an archive: entries published, entries that stood there already, suites laid out, and suites kept.

    Everything is verified before anything is published, and nothing whole is overwritten. check_report raises
    StoreError where a suite's folder is not as it was written.
    """
    staging = store.staging("train", "00")
    try:
        names = unpack(file, staging, limit)
        if sum(_held(staging, name) for name in names) > limit:
            raise StoreError(_too_large(file, limit))
        entries = sorted({_identity(match) for name in names if (match := ENTRY.fullmatch(name))})
        suites = sorted({match[1] for name in names if (match := REPORT.fullmatch(name))})
        inner = staging / "store"
        for kind, key, code in entries:
            place = locate(inner, kind, key, code)
            entry = store.look(kind, key, code, below=inner)
            held = {place.name} if FORMS[kind] == "file" else {"DONE", *(entry.files if entry else ())}
            there = {place.name} if FORMS[kind] == "file" else {path.name for path in place.iterdir()}
            if entry is None or held != there:
                raise Corrupt(f"{place.relative_to(staging)}: not whole, or with files that it does not list")
        for suite in suites:
            check_report(staging / suite)
        new = sum(store.adopt(locate(inner, *entry), *entry) for entry in entries)
        laid = [suite for suite in suites if not os.path.lexists(store.root.parent / suite)]
        for suite in laid:
            with disk(store.root.parent / suite, "move the report into place"):
                (staging / suite).rename(store.root.parent / suite)
    except Corrupt as error:
        text = str(error).replace(f"{staging}/", "")
        raise StoreError(f"{file}: {text}; nothing was imported") from None
    finally:
        store.discard(staging)
    return new, len(entries) - new, laid, [suite for suite in suites if suite not in laid]


def _held(folder: Path, name: str) -> int:
    """Bytes of a file as it is read: arrays may be packed once more inside the archive."""
    with open_regular(folder, name) as stream:
        try:
            return array_bytes(stream, name) if name.endswith(PLANES) else stream.seek(0, os.SEEK_END)
        except ValueError as error:
            raise Corrupt(f"{folder / name}: {error}") from None


def _identity(match: re.Match[str]) -> tuple[str, str, str]:
    """Kind, key and code of an entry's file."""
    found = NAME.fullmatch(match[2] or match[4])
    assert found is not None
    return match[1] or match[3], found[1], found[2]
