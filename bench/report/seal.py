"""The files of a run's folder: what the run wrote, what a report made of it, and whether both are still that.

suite.json carries a checksum of its body, one of each table that the run wrote (`inputs`), and one of each file that
the last report wrote (`written`). Folders of versions without checksums are read, and cannot be verified.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import Corrupt, StoreError
from bench.files import (
    PAGE_LIMIT,
    TABLE_LIMIT,
    make_folder,
    read_regular,
    refuse_other_than_folder,
    remove,
    size_of,
    write_beside,
)
from bench.report.shape import misshapen

SUITE, PAGE, HTML = "suite.json", "report.md", "report.html"
TABLES = ("tables/cells.csv", "tables/records.csv")
"""What a run writes; everything else is made from it."""

SEAL, INPUTS, WRITTEN = "sha256", "inputs", "written"
FOLDERS = ("", "tables", "figures")

OURS = re.compile(r"report\.html|tables/[^/\0]+\.(csv|md|tex)|figures/[^/\0]+\.(svg|webp|png)")
"""What a report may have written beside report.md, and so may remove."""

ENTRY = re.compile(r"\b([a-z_]{1,40})/([0-9a-f]{2,64})-([0-9a-f]{2,64})\b")
"""How tables name an entry of the store."""

REMEDY = "run its suite again: finished work is in the store, and the report is written anew"


def read_suite(folder: Path) -> dict[str, Any]:
    """What suite.json says. FileNotFoundError where there is none, Corrupt where it is not whole."""
    file = folder / SUITE
    raw = read(folder, SUITE, PAGE_LIMIT)
    try:
        about = json.loads(raw)
    except (ValueError, RecursionError):
        raise Corrupt(f"{file}: {'not JSON' if raw else 'empty'}; {REMEDY}") from None
    if not isinstance(about, dict) or not isinstance(about.get("suite"), str):
        raise Corrupt(f"{file}: does not tell of a suite; {REMEDY}")
    if fault := misshapen(about):
        raise Corrupt(f"{file}: {fault}; {REMEDY}")
    if {SEAL, INPUTS, WRITTEN} & set(about) and about.get(SEAL) != _checksum(about):
        raise Corrupt(f"{file}: its checksum differs; {REMEDY}")
    return about


def said(about: Mapping[str, Any]) -> dict[str, Any]:
    """What a suite.json says, without its checksums."""
    return {key: value for key, value in about.items() if key not in (SEAL, INPUTS, WRITTEN)}


def is_sealed(about: Mapping[str, Any]) -> bool:
    """Whether a suite.json carries checksums; those of older versions do not."""
    return SEAL in about


def read_table(folder: Path, name: str, about: Mapping[str, Any]) -> bytes:
    """One of TABLES, as suite.json says that it was written; else Corrupt."""
    try:
        content = read(folder, name, TABLE_LIMIT)
    except FileNotFoundError:
        raise Corrupt(f"{folder / name}: missing; {REMEDY}") from None
    if is_sealed(about) and _noted(about, INPUTS).get(name) != digest(content):
        raise Corrupt(f"{folder / name}: not as the run wrote it (its checksum differs); {REMEDY}")
    return content


def write_run(folder: Path, tables: Mapping[str, bytes], about: Mapping[str, Any]) -> None:
    """Write what a run found: its tables, then suite.json over them; what is known of an earlier report is kept."""
    _make_folders(folder)
    for name in TABLES:
        write(folder, name, tables[name])
    try:
        written = _noted(read_suite(folder), WRITTEN)
    except (FileNotFoundError, Corrupt):
        written = {}
    _write_suite(folder, {**about, INPUTS: {name: digest(tables[name]) for name in TABLES}, WRITTEN: written})


def lay_out(folder: Path, about: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Write a report's files, and remove those that an earlier one wrote and this one does not.

    What else stands in the folder stays: only a file whose bytes are those that were noted is removed.
    """
    _make_folders(folder)
    for name, noted in _noted(about, WRITTEN).items():
        if name not in files and name not in TABLES and OURS.fullmatch(name) and is_as_noted(folder, name, noted):
            remove(folder.parent, f"{folder.name}/{name}")
    if is_sealed(about):  # before the files: a report that was cut off does not fit what is noted, and is made anew
        _write_suite(folder, {**about, WRITTEN: {name: digest(content) for name, content in sorted(files.items())}})
    for name, content in files.items():
        write(folder, name, content)


def is_current(folder: Path, tables: Mapping[str, bytes], about: Mapping[str, Any], volatile: tuple[str, ...]) -> bool:
    """Whether a folder says all this already and every file of its report is as it was written.

    `volatile`: keys of suite.json that may differ.
    """
    try:
        there = read_suite(folder)
        if not is_sealed(there) or any(read_table(folder, name, there) != tables[name] for name in TABLES):
            return False
    except (FileNotFoundError, Corrupt):
        return False
    left_out = {*volatile, SEAL, INPUTS, WRITTEN}
    pages = [{key: value for key, value in page.items() if key not in left_out} for page in (there, about)]
    written = _noted(there, WRITTEN)
    whole = PAGE in written and all(is_as_noted(folder, name, noted) for name, noted in written.items())
    return whole and pages[0] == pages[1]


def is_as_noted(folder: Path, name: str, noted: str) -> bool:
    """Whether a file of a report has the checksum that was noted for it."""
    try:
        return digest(read(folder, name, TABLE_LIMIT)) == noted
    except (FileNotFoundError, Corrupt):
        return False


def noted_figure(folder: Path, name: str, about: Mapping[str, Any]) -> bytes | None:
    """A figure that an earlier report drew, or None where there is none; Corrupt where it is another now."""
    try:
        content = read(folder, name, PAGE_LIMIT)
    except FileNotFoundError:
        return None
    if is_sealed(about) and _noted(about, WRITTEN).get(name) != digest(content):
        raise Corrupt(f"{folder / name}: not as it was drawn (its checksum differs)")
    return content


def verify(folder: Path) -> bool:
    """False where a folder carries no checksums; Corrupt where a file is missing or not as it was written."""
    try:
        about = read_suite(folder)
    except FileNotFoundError:
        raise Corrupt(f"{folder / SUITE}: missing; {REMEDY}") from None
    for name in TABLES:
        read_table(folder, name, about)
    for name, noted in _noted(about, WRITTEN).items():
        if not is_as_noted(folder, name, noted):
            raise Corrupt(f"{folder / name}: missing, or not as the report wrote it; {REMEDY}")
    return is_sealed(about)


def held(folder: Path) -> list[str]:
    """The files of a folder that suite.json knows, itself among them."""
    return sorted({SUITE, *TABLES, *_noted(read_suite(folder), WRITTEN)})


def entries_of(folder: Path) -> set[str]:
    """Places below the store of the entries that a folder's tables name; none where they cannot be read."""
    try:
        about = read_suite(folder)
        text = b"\n".join(read_table(folder, name, about) for name in TABLES).decode(errors="replace")
    except (OSError, StoreError):
        return set()
    places = set()
    for kind, key, code in ENTRY.findall(text):
        places |= {f"{kind}/{key}-{code}", f"{kind}/{key[:2]}/{key}-{code}.json"}
    return places


def check_places(folder: Path) -> None:
    """StoreError, before any work, where a link or a file stands in the place of a folder, or a link in the page's."""
    for name in FOLDERS:
        refuse_other_than_folder(folder / name)
    for name in (SUITE, PAGE, HTML, *TABLES):
        try:
            size_of(folder.parent, f"{folder.name}/{name}")
        except FileNotFoundError:
            continue
        except Corrupt as error:
            raise StoreError(f"{error}; move it away, and it is written anew") from None


def is_there(folder: Path) -> bool:
    """Whether anything stands in the place of a folder's suite.json."""
    return os.path.lexists(folder / SUITE)


def read(folder: Path, name: str, limit: int) -> bytes:
    """A file of a run's folder; the folder itself is no link either."""
    return read_regular(folder.parent, f"{folder.name}/{name}", limit)


def write(folder: Path, name: str, content: bytes) -> None:
    """Write a file of a run's folder, beside and renamed."""
    write_beside(folder.parent, f"{folder.name}/{name}", content)


def digest(content: bytes) -> str:
    """SHA-256."""
    return hashlib.sha256(content).hexdigest()


def _make_folders(folder: Path) -> None:
    for name in FOLDERS:
        make_folder(folder.parent, f"{folder.name}/{name}".rstrip("/"))


def _write_suite(folder: Path, about: Mapping[str, Any]) -> None:
    body = {key: value for key, value in about.items() if key != SEAL}
    text = json.dumps({**body, SEAL: _checksum(body)}, indent=1, ensure_ascii=False) + "\n"
    write(folder, SUITE, text.encode("utf-8", "backslashreplace"))


def _checksum(about: Mapping[str, Any]) -> str:
    """Of all but the checksum itself, in one form whatever its spacing and order."""
    body = {key: value for key, value in about.items() if key != SEAL}
    return digest(json.dumps(json.loads(json.dumps(body)), sort_keys=True).encode())


def _noted(about: Mapping[str, Any], key: str) -> dict[str, str]:
    """Checksums by name, those that are text."""
    noted = about.get(key)
    return {name: value for name, value in noted.items() if isinstance(value, str)} if isinstance(noted, dict) else {}
