"""Folders that unfinished work is written to, and whose they are.

The owner stands in the folder's name, so that there is no moment at which a folder has none:
<kind>-<key>-<machine>-<boot>-<pid>-<start>-<random>.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import secrets
import time
from pathlib import Path

FOREIGN_SECONDS = 7 * 24 * 3600.0
"""Age at which another machine's folder counts as abandoned: whether its owner lives is not visible here."""


def staging_name(kind: str, key: str) -> str:
    """A fresh name that carries this process as its owner."""
    return f"{kind}-{key}-{owner_name()}"


def owner_name() -> str:
    """A fresh name that says which process has it: <machine>-<boot>-<pid>-<start>-<random>."""
    pid = os.getpid()
    return f"{machine()}-{_boot()}-{pid}-{_started(pid)}-{secrets.token_hex(4)}"


def alive(name: str) -> bool | None:
    """Whether the process that a name of `owner_name` tells of runs; None where that cannot be seen from here."""
    parts = name.split("-")
    if len(parts) != 5 or not parts[2].isdecimal():
        return False
    where, boot, pid, start, _ = parts
    if where != machine():
        return None
    return boot == _boot() and _started(int(pid)) == start


def abandoned(folder: Path) -> bool:
    """Whether the process that owns a staging folder is gone; False for names that are not staging's."""
    parts = folder.name.split("-")
    if len(parts) != 7 or not parts[4].isdecimal():
        return False
    lives = alive("-".join(parts[2:]))
    if lives is None:
        try:
            return time.time() - folder.stat().st_mtime > FOREIGN_SECONDS
        except FileNotFoundError:
            return False
    return not lives


@functools.cache
def machine() -> str:
    """Host and process namespace: containers on one host do not see each other's processes."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]


@functools.cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return "0"


def _started(pid: int) -> str | None:
    """When the process started, in ticks since boot (process ids are used again); None if it is gone."""
    try:
        # The second field is the command in parentheses and may itself hold spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None if Path("/proc/self").exists() else _alive(pid)
    return None if fields[0] in "ZX" else fields[19]


def _alive(pid: int) -> str | None:
    """Where there is no /proc: "0" if some process has this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "0"
    return "0"
