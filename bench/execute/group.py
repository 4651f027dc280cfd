"""A worker's control group, where one can be had: whatever is born in it stays in it, and it ends as a whole.

The kernel's second version of control groups alone can kill one at a stroke (`cgroup.kill`, Linux 5.14; kernel.org,
"Control Group v2"). A process may be moved by who may write the group that it comes from: root, in most containers,
and a user to whom systemd has delegated one (`systemd-run --user --scope -p Delegate=yes bench run ...`). Elsewhere a
worker has none, and its descendants are looked for in /proc (`bench.execute.tree`).
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from bench.distribution import DISTRIBUTION

SECONDS_TO_END = 1.0
"""What was killed is gone by then, unless it waits for a disk; its group is then removed by a later run."""


class Group:
    """The group of one worker. Without a folder it stands for none, and does nothing."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    @classmethod
    def around(cls, worker: int, server: int | None) -> Group:
        """A new group with this process in it, named after the fork server that it came from; none where that cannot
        be.
        """
        mine = own()
        if mine is None:
            return cls(None)
        folder = mine / f"{_prefix(server or 0)}{worker}"
        try:
            folder.mkdir()
            if (folder / "cgroup.kill").exists():
                (folder / "cgroup.procs").write_text(str(worker))
                return cls(folder)
        except OSError:  # not ours to write, or full
            pass
        with suppress(OSError):
            folder.rmdir()
        return cls(None)

    def pids(self) -> set[int]:
        """The processes in it and in the groups that they made below it."""
        found: set[int] = set()
        for folder, _, _ in os.walk(self.folder) if self.folder else ():
            with suppress(OSError):  # it went meanwhile
                found |= {int(pid) for pid in Path(folder, "cgroup.procs").read_text().split()}
        return found

    def kill(self) -> None:
        """SIGKILL to all that is in it; what is about to be born is killed too."""
        if self.folder:
            with suppress(OSError):  # it is gone already; whatever else hinders is left to descent
                (self.folder / "cgroup.kill").write_text("1")

    def remove(self) -> None:
        """Kill what is left in it, and give it back to the system."""
        self.kill()
        deadline = time.monotonic() + SECONDS_TO_END
        while self.folder and not _removed(self.folder) and time.monotonic() < deadline:
            time.sleep(0.002)


def end_all_of(server: int) -> None:
    """Kill and remove the groups of a fork server's workers, which nobody needs any more."""
    for folder in _made(_prefix(server)):
        Group(folder).remove()


def tidy() -> None:
    """Remove empty groups of fork servers that were killed. One that is not empty stays: its server may live where
    process ids count differently.
    """
    for folder in _made(_prefix()):
        server = folder.name.removeprefix(_prefix()).partition("-")[0]
        if not Path("/proc", server).exists():
            _removed(folder)


def own() -> Path | None:
    """The folder of the group that this process is in; none where there is no second version of them."""
    try:
        inside = next(
            line.rstrip("\n").removeprefix("0::") for line in _lines("/proc/self/cgroup") if line.startswith("0::")
        )
        for line in _lines("/proc/self/mountinfo"):
            mount, _, kind = line.partition(" - ")
            if kind.startswith("cgroup2 "):
                root, place = mount.split()[3:5]
                folder = Path(place, os.path.relpath(inside, root))
                if ".." not in folder.parts and folder.is_dir():
                    return folder
    except (OSError, StopIteration):
        pass
    return None


def _prefix(server: int | None = None) -> str:
    return f"{DISTRIBUTION}-" if server is None else f"{DISTRIBUTION}-{server}-"


def _made(prefix: str) -> list[Path]:
    mine = own()
    return sorted(mine.glob(f"{prefix}*/")) if mine else []


def _removed(folder: Path) -> bool:
    """Whether a group is gone, with those below it; one that holds a process stays."""
    try:
        for place, _, _ in os.walk(folder, topdown=False):
            os.rmdir(place)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _lines(file: str) -> list[str]:
    return Path(file).read_text().splitlines()
