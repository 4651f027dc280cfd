"""The store: finds finished work by (kind, key, code) and publishes new work, whole or not at all.

    <root>/<kind>/<key>-<code>/                 folder kinds: job.json, arrays, weights, log.txt, DONE
    <root>/<kind>/<key[:2]>/<key>-<code>.json   one-file kinds
    <root>/staging/                              unfinished work; sweep() removes what its owner left behind
    <root>/partial/                              checkpoints of trainings that were killed
    <root>/failed/                               logs and reasons of jobs that failed, until they are done after all
    <root>/claims/, drivers/                     who does what at this moment; see `bench.store.claims`
    <root>/aside/                                what failed its checksum, or stood where it does not belong
    <root>/index.sqlite                          can always be made again from the rest

An entry appears by one rename, or one link, of what is already flushed and checked. A process may be killed
at any point, and several may share a store. A store that cannot be written is read all the same.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.errors import Corrupt, StoreError
from bench.files import (
    SEAL_LIMIT,
    UNWRITABLE,
    disk,
    is_folder,
    make_folder,
    put_aside,
    read_regular,
    refuse_other_than_folder,
    remove,
    write_beside,
)
from bench.store.entries import (
    FORMS,
    NAME,
    Entry,
    flush_folder,
    locate,
    read_entry,
    seal_folder,
    write_file_entry,
)
from bench.store.index import Index, Past, Row
from bench.store.staging import abandoned, staging_name

HEX = re.compile(r"[0-9a-f]{2,64}")

FORGOTTEN_SECONDS = 30 * 86400.0
"""Age at which a checkpoint or a log is removed: its suite was changed or given up; a job that ends removes its own."""

FOLDERS = (*FORMS, "staging", "partial", "failed", "aside", "claims", "drivers")

SETTLED_NS = 2_000_000_000
"""A list of names is kept only if its folder was this long unchanged when read: file times are coarse."""


class Store:
    """A folder of finished work. For one process: open another after a fork.

    `notices` are sentences for the user: what was damaged and set aside, and an index that could not follow.
    """

    def __init__(self, root: Path, fault: Callable[[Entry], str] | None = None, reading: bool = False) -> None:
        """`fault` says what is wrong with a whole entry's job, for those who know what it should hold.

        `reading`: nothing is made or moved here, whether it could be or not.
        """
        self.root = root.absolute()
        self.notices: list[str] = []
        self._fault = fault or (lambda entry: "")
        self._verified: set[Path] = set()
        self._listed: dict[Path, tuple[int, dict[str, list[str]]]] = {}
        self._refused: StoreError | None = None
        self._refused = StoreError(f"{self.root}: opened to be read") if reading else self._prepare()
        self._index = Index(None if self._refused else self.root / "index.sqlite", self._rows)

    def _prepare(self) -> StoreError | None:
        """Make the store's folders; why nothing can be written here, where that is so, which is said when it is."""
        try:
            make_folder(self.root)
            if self.root.is_symlink():
                raise StoreError(
                    f"{self.root}: a link where the store's folder belongs; move it away, or give --results the folder "
                    "that holds the store it leads to"
                )
            for name in FOLDERS:
                make_folder(self.root, name)
            self.discard(self.staging("train", "00"))  # whether it can be written shows here
        except StoreError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in UNWRITABLE and not self.root.is_symlink():
                return error
            raise
        return None

    @property
    def writable(self) -> bool:
        """Whether results can be stored; one that cannot be written is good for reading."""
        return self._refused is None

    def free_mb(self) -> float:
        """What is free on the store's disk, in MiB; 0 where unknown."""
        try:
            return shutil.disk_usage(self.root).free / 2**20
        except OSError:
            return 0.0

    def find(self, kind: str, key: str, code: str) -> Entry | None:
        """The entry, its checksums verified (each folder's once), or None. Damaged: set aside, said, None."""
        place = self._place(kind, key, code)
        fault = Corrupt("")
        # Twice: another process may have set it aside, and published anew, while it was being read.
        for _ in range(2):
            try:
                entry = self._read(place, kind, key, code, deep=place not in self._verified)
            except Corrupt as error:
                fault = error
                self._verified.discard(place)
            else:
                if entry is not None:
                    self._verified.add(place)
                return entry
        self._set_aside(place, kind, key, code, fault)
        return None

    def look(self, kind: str, key: str, code: str, below: Path | None = None) -> Entry | None:
        """The entry, every file of it read, or None; Corrupt where it is damaged, and nothing is moved.

        `below`: another folder that is laid out like a store.
        """
        place, root = self._place(kind, key, code), below or self.root
        return self._read(root / place.relative_to(self.root), kind, key, code, deep=True, root=root)

    def adopt(self, ready: Path, kind: str, key: str, code: str) -> bool:
        """Move an entry from a staging folder into place; False where a whole one stands there, which stays."""
        place = self._place(kind, key, code)
        if self.find(kind, key, code) is not None:
            return False
        relative = str(ready.relative_to(self.root))
        with disk(ready, "read the entry"):
            entry = read_entry(self.root, relative, kind, key, code, deep=True)
        if entry is None:
            raise StoreError(f"{ready}: vanished while it was taken in; do it again")
        self._settle(ready, replace(entry, place=place))
        return True

    def outdated(self) -> list[Path]:
        """Whole entries of which a newer one stands here, of the same kind and key and another code."""
        by_key: defaultdict[tuple[str, str], list[Entry]] = defaultdict(list)
        for kind, key, code in self.entries():
            with suppress(Corrupt):
                entry = self._read(locate(self.root, kind, key, code), kind, key, code, deep=False)
                if entry is not None:
                    by_key[kind, key].append(entry)
        ordered = (sorted(found, key=lambda entry: entry.published) for found in by_key.values())
        return [entry.place for found in ordered for entry in found[:-1]]

    def throw_away(self, path: Path) -> None:
        """Remove what stands somewhere in the store, links themselves and not what they lead to: out of sight first."""
        with disk(path, "remove it"):
            folder = self.staging("train", "00")
            with suppress(FileNotFoundError):
                path.rename(folder / path.name)
            self.discard(folder)

    def _read(self, place: Path, kind: str, key: str, code: str, deep: bool, root: Path | None = None) -> Entry | None:
        """The entry at a place below the root, which holds what its kind should; else Corrupt."""
        root = root or self.root
        with disk(place, "read the entry"):
            entry = read_entry(root, str(place.relative_to(root)), kind, key, code, deep)
        if entry is not None and (words := self._fault(entry)):
            raise Corrupt(f"{place}: {words}")
        return entry

    def other_code(self, kind: str, key: str, code: str) -> Entry | None:
        """The newest whole entry of the same key and another code: a stale one."""
        self._place(kind, key, code)
        found = [self.find(kind, key, other) for other in self._codes(kind, key) if other != code]
        return max((entry for entry in found if entry), key=lambda entry: entry.published, default=None)

    def standing(self, jobs: Collection[tuple[str, str]]) -> dict[tuple[str, str], list[str]]:
        """Of these (kind, key) the codes under which the files hold something, whole or not; the others are left out.

        Each folder that they could stand in is listed once, so that many cost little.
        """
        found = dict[tuple[str, str], list[str]]()
        folders = {kind: [""] if form == "folder" else [f"{n:02x}" for n in range(256)] for kind, form in FORMS.items()}
        for kind in dict.fromkeys(kind for kind, _ in jobs):
            for below in folders[kind]:
                folder = self.root / kind / below
                with disk(folder, "list the folder"):
                    refuse_other_than_folder(folder)
                    try:
                        names = os.listdir(folder)
                    except FileNotFoundError:
                        continue
                for match in filter(None, map(NAME.fullmatch, names)):
                    if (kind, match[1]) in jobs:
                        found.setdefault((kind, match[1]), []).append(match[2])
        return found

    def staging(self, kind: str, key: str) -> Path:
        """A fresh folder for a worker to write into, on the store's own disk."""
        self._place(kind, key, "00")
        self._want_writable()
        folder = self.root / "staging" / staging_name(kind, key)
        with disk(folder.parent, "make a folder"):
            folder.mkdir()
        return folder

    def checkpoint(self, kind: str, key: str, code: str) -> Path:
        """The file from which a job goes on that was killed; for the same code alone. It need not exist."""
        self._place(kind, key, code)
        return self.root / "partial" / f"{kind}-{key}-{code}.safetensors"

    def log(self, kind: str, key: str, code: str) -> Path:
        """Where the log of a job that failed is kept. It need not exist."""
        self._place(kind, key, code)
        return self.root / "failed" / f"{kind}-{key}-{code}.log"

    def keep_log(self, staging: Path, kind: str, key: str, code: str) -> str:
        """Keep what a failed job wrote into its log; returns its name below the root, empty where it wrote nothing."""
        self._own(staging)
        kept = self.log(kind, key, code)
        if is_folder(kept):
            self._clear(kept)
        with disk(kept, "keep the log"):
            try:
                if not (staging / "log.txt").stat().st_size:
                    return ""
                (staging / "log.txt").replace(kept)
            except FileNotFoundError:
                return ""
        return str(kept.relative_to(self.root))

    def note_failure(self, kind: str, key: str, code: str, status: str, reason: str) -> None:
        """Keep why a job has no result, for who asks the store alone."""
        self._place(kind, key, code)
        text = json.dumps({"status": status, "reason": reason, "at": time.time()}, ensure_ascii=False)
        content = text.encode("utf-8", "backslashreplace")
        write_beside(self.root, f"failed/{kind}-{key}-{code}.json", content)

    def failure(self, kind: str, key: str, code: str) -> tuple[str, str, float] | None:
        """Status and reason of a job that failed and was not done since, and when (seconds since the epoch)."""
        try:
            about = json.loads(read_regular(self.root, f"failed/{kind}-{key}-{code}.json", SEAL_LIMIT))
            return str(about["status"]), str(about["reason"]), float(about["at"])
        except FileNotFoundError:
            return None
        except (OSError, Corrupt, ValueError, KeyError, TypeError, RecursionError):
            return "failed", "the note of why cannot be read", 0.0

    def forget(self, kind: str, key: str, code: str) -> None:
        """Remove checkpoint, log and reason of a job that is done; what stands there and is none is set aside."""
        log = self.log(kind, key, code)
        for path in (self.checkpoint(kind, key, code), log, log.with_suffix(".json")):
            if is_folder(path):
                self._clear(path)
            else:
                remove(self.root, f"{path.parent.name}/{path.name}")

    def publish(self, kind: str, key: str, code: str, staging: Path, job: Mapping[str, Any]) -> Entry:
        """Seal what a worker wrote and move it into place; what somebody else published meanwhile is kept.

        `job` is plain JSON with finite numbers (else a ValueError); its "group" and "seconds" feed `seconds`.
        """
        place = self._place(kind, key, code, "folder")
        self._own(staging)
        with disk(staging, "write the entry"):
            seal_folder(staging, kind, key, code, job)
        with disk(staging, "read the entry"):
            entry = read_entry(self.root, f"staging/{staging.name}", kind, key, code, deep=True)
        if entry is None:
            raise StoreError(f"{staging}: vanished while it was published; do the job again")
        published = self._settle(staging, replace(entry, place=place))
        self.discard(staging)
        return published

    def publish_score(self, kind: str, key: str, code: str, job: Mapping[str, Any]) -> Entry:
        """Publish a one-file kind, whose values are its job; otherwise as `publish`."""
        place = self._place(kind, key, code, "file")
        folder = self.staging(kind, key)
        file = folder / "entry.json"
        try:
            with disk(folder, "write the entry"):
                write_file_entry(file, kind, key, code, job)
                entry = read_entry(self.root, f"staging/{folder.name}/{file.name}", kind, key, code, deep=True)
            if entry is None:
                raise StoreError(f"{file}: vanished while it was published; do the job again")
            return self._settle(file, replace(entry, place=place))
        finally:
            self.discard(folder)

    def discard(self, staging: Path) -> None:
        """Remove a staging folder; one that is gone already is no fault."""
        self._own(staging)
        shutil.rmtree(staging, ignore_errors=True)

    def sweep(self) -> None:
        """Remove staging folders whose process is gone; checkpoints and logs that nobody came back to for a month."""
        if not self.writable:
            return
        for file in self.forgotten("partial", "failed"):
            with suppress(FileNotFoundError, IsADirectoryError), disk(file, "remove the file"):
                file.unlink()
        for folder in self.left_behind():
            self.discard(folder)

    def forgotten(self, *folders: str) -> list[Path]:
        """What stands in these of the store's folders and is older than a month."""
        found = []
        for file in (file for folder in folders for file in self._names(self.root / folder)):
            with suppress(FileNotFoundError):
                if time.time() - file.lstat().st_mtime > FORGOTTEN_SECONDS:
                    found.append(file)
        return found

    def left_behind(self) -> list[Path]:
        """Staging folders whose process is gone."""
        return [folder for folder in self._names(self.root / "staging") if abandoned(folder)]

    def entries(self) -> Iterator[tuple[str, str, str]]:
        """Kind, key and code of everything that stands in an entry's place, whole or not."""
        for kind, form in FORMS.items():
            top = self.root / kind
            for folder in [top] if form == "folder" else [one for one in self._names(top) if is_folder(one)]:
                for place in self._names(folder):
                    match = NAME.fullmatch(place.name)
                    if match and locate(self.root, kind, match[1], match[2]) == place:
                        yield kind, match[1], match[2]

    @staticmethod
    def _names(folder: Path) -> list[Path]:
        """What a folder holds, in order; nothing where it is missing or a link."""
        with disk(folder, "list the folder"):
            return sorted(folder.iterdir()) if is_folder(folder) else []

    def seconds(self, group: str, device: str = "") -> list[float]:
        """Seconds of past jobs of this group, newest first, at most 100; on this kind of device, where it is named."""
        return [past.seconds for past in self._index.past(group, device=device)]

    def past(self, begins: str, kind: str = "", device: str = "") -> list[Past]:
        """Past jobs for estimates; see `Index.past`."""
        return self._index.past(begins, kind, device)

    def rebuild(self) -> int:
        """Make the index again from the files; returns the number of entries."""
        return self._index.rebuild()

    def close(self) -> None:
        """Let go of the index's file."""
        self._index.close()

    def _settle(self, ready: Path, entry: Entry) -> Entry:
        """Move what is ready into place, unless a whole entry stands there already; returns what stands."""
        for _ in range(3):
            theirs = self.find(entry.kind, entry.key, entry.code)
            if theirs is not None:
                return theirs
            with disk(entry.place, "move the entry into place"):
                moved = _move(ready, entry.place)
            if moved:
                self._verified.add(entry.place)
                self._follow(lambda: self._index.add(_row(entry)))
                return entry
        raise StoreError(f"{entry.place}: something keeps appearing there that is no entry; move it away")

    def _set_aside(self, place: Path, kind: str, key: str, code: str, fault: Corrupt) -> None:
        if not self.writable:
            self.notices.append(f"{fault}; it has to be made again, and cannot be set aside: the store is read-only")
            return
        aside = self._clear(place, kind)
        if aside is None:
            return  # another process was faster, and says so itself
        self._follow(lambda: self._index.remove(kind, key, code))
        self.notices.append(f"{fault}; the entry was moved to {aside} and has to be made again")

    def _clear(self, path: Path, kind: str = "file") -> Path | None:
        """Move what stands at a path aside, unopened; where it went."""
        return put_aside(path, self.root / "aside", kind)

    def _want_writable(self) -> None:
        if self._refused is not None:
            raise StoreError(str(self._refused)) from self._refused

    def _follow(self, change: Callable[[], None]) -> None:
        """Bring the index up to date; the entry counts without it, so a failure is said and no more."""
        try:
            change()
        except StoreError as error:
            self.notices.append(str(error))

    def _codes(self, kind: str, key: str) -> list[str]:
        """Codes under which the files hold this key, whole or not."""
        folder = locate(self.root, kind, key, "00").parent
        with disk(folder, "list the folder"):
            now = time.time_ns()
            try:
                changed = folder.stat().st_mtime_ns
                known = self._listed.get(folder)
                if known is not None and known[0] == changed:
                    return known[1].get(key, [])
                codes: defaultdict[str, list[str]] = defaultdict(list)
                for name in os.listdir(folder):
                    if match := NAME.fullmatch(name):
                        codes[match[1]].append(match[2])
            except FileNotFoundError:
                return []
        if now - changed > SETTLED_NS:
            self._listed[folder] = (changed, codes)
        return codes.get(key, [])

    def _rows(self) -> Iterator[Row]:
        """A row per readable entry, from the files; what is damaged is left for `find` to say."""
        for kind, key, code in self.entries():
            with suppress(Corrupt):
                entry = self._read(locate(self.root, kind, key, code), kind, key, code, deep=False)
                if entry is not None:
                    yield _row(entry)

    def _place(self, kind: str, key: str, code: str, form: str | None = None) -> Path:
        """The entry's path; a ValueError where kind, key or code cannot name one."""
        known = [name for name, its_form in FORMS.items() if form in (None, its_form)]
        if kind not in known:
            raise ValueError(f"kind must be one of {', '.join(known)} here, got {kind!r}")
        if not (HEX.fullmatch(key) and HEX.fullmatch(code)):
            raise ValueError(f"key and code must be lowercase hexadecimal, got {key!r} and {code!r}")
        return locate(self.root, kind, key, code)

    def _own(self, staging: Path) -> None:
        if staging.parent != self.root / "staging":
            raise ValueError(f"{staging}: not a folder that staging() of {self.root} gave")


def _move(ready: Path, place: Path) -> bool:
    """Move a folder by rename, a file by link; False if something stands there, which neither replaces."""
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        if ready.is_dir():
            ready.rename(place)
            flush_folder(place.parent)
        else:
            place.hardlink_to(ready)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            return False
        if error.errno in (errno.EPERM, errno.ENOTSUP, errno.EMLINK) and ready.is_file():
            ready.rename(place)  # a disk without links: the later of two whole entries stays
            return True
        raise
    return True


def _row(entry: Entry) -> Row:
    group, device = (text if isinstance(text := entry.job.get(name), str) else None for name in ("group", "device"))
    seconds, peak_mb = (
        float(number) if isinstance(number := entry.job.get(name), int | float) else None
        for name in ("seconds", "peak_mb")
    )
    kind = device.partition(":")[0] if device else None
    return Row(entry.kind, entry.key, entry.code, group, kind, seconds, peak_mb, entry.published)
