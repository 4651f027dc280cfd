"""Processes and what they started, on Linux by /proc; elsewhere a process group is all that can be seen.

A worker and the fork server adopt what is orphaned below them (PR_SET_CHILD_SUBREAPER), so that a child which moved
to a session of its own is still found: below its worker while that lives, below the server afterwards.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress

PR_SET_CHILD_SUBREAPER = 36
ROUNDS = 50
"""Times that new children are looked for, at most: who forks faster than that is not outrun."""

LINUX = sys.platform == "linux"


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends."""
    if LINUX:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> dict[int, list[int]]:
    """Children by parent, of all processes that have not ended."""
    found: defaultdict[int, list[int]] = defaultdict(list)
    for name in os.listdir("/proc") if LINUX else ():
        if name.isdecimal():
            with suppress(OSError, ValueError):
                # The second field is the command in parentheses and may itself hold spaces and parentheses.
                state, parent = _read(f"/proc/{name}/stat").rpartition(")")[2].split(maxsplit=2)[:2]
                if state not in "ZX":
                    found[int(parent)].append(int(name))
    return found


def below(root: int, tree: dict[int, list[int]], but: Collection[int] = ()) -> list[int]:
    """Descendants of a process, without those in `but` and what stands below them."""
    found: list[int] = []
    left = [pid for pid in tree.get(root, ()) if pid not in but]
    while left:
        found.append(left.pop())
        left += tree.get(found[-1], ())
    return found


def kill(root: int) -> None:
    """SIGKILL to a process, its group and all that descends from it."""
    doomed = {root}
    new = {root}
    for _ in range(ROUNDS):
        for pid in new:
            _send(pid, signal.SIGSTOP)  # so that none of them starts another meanwhile
        new = set(below(root, children())) - doomed
        if not new:
            break
        doomed |= new
    if _leads(root):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(root, signal.SIGKILL)
    for pid in doomed:
        _send(pid, signal.SIGKILL)


def kill_orphans(adopter: int, but: Collection[int] = ()) -> None:
    """SIGKILL to all below a process save the given children: what its ended children left behind."""
    killed: set[int] = set()
    for _ in range(ROUNDS):
        left = set(below(adopter, children(), but)) - killed
        if not left:
            return
        for pid in left:
            _send(pid, signal.SIGKILL)
        killed |= left


def anonymous_mb(pid: int) -> float:
    """Memory of a process in MiB that is no file's: its own, pages that it shares with its parent, and what it has of
    shared memory; 0 where unknown.
    """
    status = f"/proc/{pid}/status"
    return _field(status, "RssAnon:") + _field(status, "RssShmem:")


def own_mb(pid: int) -> float:
    """Memory that a process has written and shares with none, in MiB; 0 where unknown."""
    return _field(f"/proc/{pid}/smaps_rollup", "Private_Dirty:")


def cpu_seconds(pid: int) -> float:
    """Time that a process has had on processors; 0 where unknown."""
    with suppress(OSError, ValueError, IndexError):
        fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _field(file: str, name: str) -> float:
    with suppress(OSError, ValueError, IndexError):
        return float(_read(file).partition(name)[2].split(maxsplit=1)[0]) / 1024
    return 0.0


def _read(file: str) -> str:
    handle = os.open(file, os.O_RDONLY)
    try:
        return os.read(handle, 8192).decode(errors="replace")
    finally:
        os.close(handle)


def _leads(pid: int) -> bool:
    """Whether a process leads a group, as a worker does once it runs; or did, when it is gone."""
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return True


def _send(pid: int, what: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, what)
