"""A batch of work as it travels: the jobs as plain JSON, and the files that they read by content.

Another machine has none of this machine's folders. So paths of inputs, plugins and data become names of contents, and
those become paths again below a folder of the other machine's own (`unpacked`). What a job wrote there comes back the
same way (`written`, `land`). Contents are bytes; nothing of ours is pickled.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.datafiles import files_below
from bench.datasets import idx
from bench.errors import StoreError
from bench.execute.protocol import Work
from bench.files import disk, make_folder, read_regular, write_beside
from bench.plugins import read_plugin

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")
"""Names of files that a job may have written."""

MOST_FILES = 10_000
MOST_BYTES = 2**36
"""Files that one job may have written, and bytes of one of them."""


@dataclass(frozen=True)
class Bundle:
    """Some files that belong together, by their names from a folder on; `name` tells them from all others."""

    name: str
    files: dict[str, bytes]


@dataclass(frozen=True)
class Parcel:
    """Jobs whose paths are names of bundles, and those names; `checkpoint` is where the one training left off."""

    batch: list[Work]
    bundles: list[str] = field(default_factory=list)
    checkpoint: bytes = b""


class Packer:
    """Packs batches; what several of them need is read once and has one name."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def pack(self, batch: Iterable[Work]) -> tuple[Parcel, dict[str, Bundle]]:
        """The parcel of a batch, and those of its bundles that no earlier parcel had."""
        new: dict[str, Bundle] = {}
        packed, needed, checkpoint = list[Work](), dict[str, None](), b""
        for work in batch:
            inputs = {kind: self._input(place, new) for kind, place in work.inputs.items()}
            plugins = {self._plugin(file, new): content for file, content in work.plugins.items()}
            files = {name: self._file(name, Path(place), new) for name, place in work.files.items()}
            data = [self._data(known, new) for known in idx.KNOWN if _asks_for(work, known)]
            held = [*inputs.values(), *plugins, *files.values(), *filter(None, data)]
            needed |= dict.fromkeys(name.partition("/")[0] for name in held)
            if work.checkpoint:
                checkpoint = _read_checkpoint(Path(work.checkpoint))
            here = data[0] if any(data) else ""
            packed.append(replace(work, inputs=inputs, plugins=plugins, files=files, data=here))
        return Parcel(packed, list(needed), checkpoint), new

    def _input(self, place: str, new: dict[str, Bundle]) -> str:
        """Of an upstream entry, a folder or one file, the name that it has over there."""
        path = Path(place)
        folder = path.is_dir()
        if place not in self._names:
            files = sorted(path.iterdir()) if folder else [path]
            self._add(place, {file.name: read_regular(file.parent, file.name, MOST_BYTES) for file in files}, new)
        return self._names[place] if folder else f"{self._names[place]}/{path.name}"

    def _plugin(self, file: str, new: dict[str, Bundle]) -> str:
        """Of a plugin the path of its file over there, with its neighbours around it as they lie here."""
        if file not in self._names:
            paths = read_plugin(file).files
            root = Path(os.path.commonpath([path.parent for path in paths]))
            self._add(file, {str(path.relative_to(root)): path.read_bytes() for path in paths}, new)
            self._names[file] += f"/{Path(file).resolve().relative_to(root)}"
        return self._names[file]

    def _file(self, name: str, place: Path, new: dict[str, Bundle]) -> str:
        """Of a file or a folder of data, the path that it has over there."""
        if name not in self._names:
            paths = {str(path.relative_to(place)): path for path in files_below(place)} if place.is_dir() else {}
            content = {relative: path.read_bytes() for relative, path in (paths or {place.name: place}).items()}
            self._add(name, content, new)
            self._names[name] += "" if paths else f"/{place.name}"
        return self._names[name]

    def _data(self, known: idx.IdxSet, new: dict[str, Bundle]) -> str:
        """The name of a picture set's files, which were found here; none where they were not."""
        if known.name not in self._names:
            found = idx.found(known)
            self._names[known.name] = ""
            if found:
                self._add(known.name, {f"{known.name}/{path.name}": path.read_bytes() for path in found}, new)
        return self._names[known.name]

    def _add(self, source: str, files: dict[str, bytes], new: dict[str, Bundle]) -> None:
        name = _digest(files)
        self._names[source] = name
        new[name] = Bundle(name, files)


def _asks_for(work: Work, known: idx.IdxSet) -> bool:
    return any(factor == "dataset" and name == known.name for _, factor, name, _ in work.configs)


def _digest(files: Mapping[str, bytes]) -> str:
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}" for name, content in sorted(files.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def _read_checkpoint(file: Path) -> bytes:
    try:
        return read_regular(file.parent, file.name, MOST_BYTES)
    except (OSError, StoreError):
        return b""  # what is no checkpoint starts nobody's training


def lay(bundle: Bundle, root: Path) -> None:
    """Write a bundle's files below root/<its name>, whole or not at all; who comes second changes nothing."""
    target = root / bundle.name
    if target.is_dir():
        return
    beside = root / f".{bundle.name}.{secrets.token_hex(4)}"
    for name, content in bundle.files.items():
        file = beside / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    try:
        beside.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def unpacked(parcel: Parcel, root: Path, scratch: Path, environment: Mapping[str, str]) -> list[Work]:
    """The jobs with paths of this machine: bundles below root, what they write below scratch."""
    works = []
    for number, work in enumerate(parcel.batch):
        staging = scratch / str(number)
        staging.mkdir(parents=True)
        checkpoint = scratch / "partial" / Path(work.checkpoint).name if work.checkpoint else None
        if checkpoint and parcel.checkpoint:
            checkpoint.parent.mkdir()
            checkpoint.write_bytes(parcel.checkpoint)
        here = dict(environment) | ({"BENCH_DATA": str(root / work.data)} if work.data else {})
        works.append(
            replace(
                work,
                inputs={kind: str(root / name) for kind, name in work.inputs.items()},
                plugins={str(root / name): content for name, content in work.plugins.items()},
                files={name: str(root / place) for name, place in work.files.items()},
                staging=str(staging),
                checkpoint=str(checkpoint or ""),
                environment=here,
            )
        )
    return works


def written(staging: str) -> dict[str, bytes]:
    """What a job wrote, by name."""
    folder = Path(staging)
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and not path.is_symlink())
    return {name: read_regular(folder, name, MOST_BYTES) for name in names}


def land(files: Mapping[str, bytes], staging: str) -> None:
    """Write what came back into the staging folder of the store; StoreError where a name is no plain one."""
    folder = Path(staging)
    make_folder(folder.parent, folder.name)
    if len(files) > MOST_FILES or not all(NAME.fullmatch(name) for name in files):
        raise StoreError(f"{folder}: a worker sent files that no job writes: {sorted(files)[:3]}")
    for name, content in files.items():
        with disk(folder / name, "write what a worker sent"):
            write_beside(folder, name, content)
