"""A user's files read into arrays, once: what is not an array already is unpacked into the user's cache.

Files of one's own come in many forms (.npy, .npz, .csv, .tsv, .parquet, folders of pictures); jobs want arrays that all
processes of a machine share. So the first who asks unpacks, and others map the pages of what lies there, which is held
against its checksum. Every fault of a file is a ValueError that says where it is and what to do about it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.datafiles import content_of, file_of, files_below
from bench.datasets.idx import cache_root

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from bench.interfaces import Floats

    Array = NDArray[Any]
    Labels = NDArray[np.int64]
    Pixels = NDArray[np.uint8]

FORM = 2
"""Counts the ways in which files have been read: what was unpacked in an earlier one is not taken."""

PICTURES = (".png", ".jpg", ".jpeg")

MOST_PIXELS = 4096 * 4096
"""Of one picture of a folder; what claims more is a bomb or a mistake."""

LARGEST = 1e18
"""Of a number of a table, in size: the square of a difference of two of these is still a number of single precision."""

SEPARATORS = {".csv": ",", ".tsv": "\t"}


Unpack = Callable[[Sequence[Path]], "dict[str, Array]"]
"""Reads files into arrays. Raises ValueError."""

_HELD: dict[tuple[tuple[str, ...], str], dict[str, Array]] = {}


def unpacked(names: Sequence[str], how: str, unpack: Unpack) -> dict[str, Array]:
    """The arrays that `unpack` makes of files, by the names of their contents and how it does it: kept, and shared.

    Raises ValueError.
    """
    contents = tuple(content_of(name) for name in names)
    if (contents, how) not in _HELD:
        place = cache_root() / "own" / hashlib.sha256("/".join((*contents, how, str(FORM))).encode()).hexdigest()[:32]
        found = _kept(place)
        if not found:
            paths = [file_of(name) for name in contents]
            try:
                found = unpack(paths)
            except MemoryError as error:
                raise ValueError(f"{paths[0]}: larger than the memory that is free; give a part of it") from error
            found = (_kept(place) if _keep(place, found) else {}) or found
        for array in found.values():
            array.setflags(write=False)
        _HELD[contents, how] = found
    return _HELD[contents, how]


def _kept(place: Path) -> dict[str, Array]:
    """The arrays of a cache folder whose checksums are right; none where there is no such folder."""
    try:
        listed = json.loads((place / "sums.json").read_text(encoding="utf-8"))
        arrays = {each: np.load(place / f"{each}.npy", mmap_mode="r", allow_pickle=False) for each in listed}
    except (OSError, ValueError):
        return {}
    return arrays if _sums(arrays) == listed else {}


def _sums(arrays: Mapping[str, Array]) -> dict[str, str]:
    flat = {name: np.ascontiguousarray(array).reshape(-1).view(np.uint8) for name, array in arrays.items()}
    return {name: hashlib.sha256(array.data).hexdigest() for name, array in flat.items()}


def _keep(place: Path, arrays: Mapping[str, Array]) -> bool:
    """Write arrays beside and rename; false where the cache cannot be written, and then each process unpacks."""
    beside = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    try:
        beside.mkdir(parents=True)
        for each, array in arrays.items():
            np.save(beside / f"{each}.npy", array, allow_pickle=False)
        (beside / "sums.json").write_text(json.dumps(_sums(arrays)), encoding="utf-8")
        if place.exists():  # what was there is damaged, or another process was first
            os.rename(place, beside.with_name(f"{beside.name}.old"))
        os.rename(beside, place)
    except OSError:
        return False
    return True


def table(path: Path, key: str | None, labels: str | int | None) -> tuple[Floats, Labels | None]:
    """Points (N, d) of a file and, where asked for, their classes (N,) from 0 on. Raises ValueError."""
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv", ".parquet"):
        points, classes = _columns(path, suffix, key, labels)
    elif suffix in (".npy", ".npz"):
        points, classes = _array(path, key, labels)
    else:
        raise ValueError(f"{path}: points are read from .npy, .npz, .csv, .tsv and .parquet; save them as one of these")
    if points.dtype.kind not in "fiub" or points.ndim not in (1, 2):
        shape = "x".join(map(str, points.shape))
        raise ValueError(
            f"{path}: holds {points.dtype} of shape {shape or 'one number'}; give numbers (N, d), a row a point"
        )
    points = (points[:, None] if points.ndim == 1 else points).astype(np.float64)
    bad = np.argwhere(~(np.abs(points) < LARGEST))  # nan is not less either
    if len(bad):
        row, column = bad[0]
        raise ValueError(
            f"{path}: row {row + 1}, column {column + 1} is {points[row, column]:g}{_others(len(bad))}; leave such "
            "rows out, or take other units"
        )
    if classes is not None:
        _check_labels(path, classes, len(points))
    return points, None if classes is None else _as_classes(classes)


def _check_labels(path: Path, labels: Array, count: int) -> None:
    """Raise ValueError where there is not one label for each row."""
    if labels.shape != (count,):
        raise ValueError(f"{path}: {count} rows and labels of shape {labels.shape}; give one label a row")
    import pandas as pd

    lost = np.flatnonzero(pd.isna(labels))
    if len(lost):
        raise ValueError(f"{path}: row {lost[0] + 1} has no label{_others(len(lost))}; leave such rows out")


def _others(count: int) -> str:
    """How many more there are of what is shown once."""
    return "" if count == 1 else f" (1 of {count} such places)"


def _as_classes(labels: Array) -> Labels:
    """Labels as numbers 0, 1, ... in the order of their values."""
    places: Labels = np.unique(labels.astype(str) if labels.dtype == object else labels, return_inverse=True)[1]
    return places.astype(np.int64)


def _columns(path: Path, suffix: str, key: str | None, labels: str | int | None) -> tuple[Array, Array | None]:
    """The columns of a table, without that of the labels, and that."""
    import pandas as pd

    if key is not None:
        raise ValueError(f"{path}: `key` names an array of an .npz file, and this is none; leave it out")
    try:
        frame = pd.read_parquet(path) if suffix == ".parquet" else _separated(path, SEPARATORS[suffix])
    except ImportError as error:
        raise ValueError(
            f"{path}: reading it needs pyarrow, which is missing here or too old; pip install -U pyarrow, or save it "
            "as .npy"
        ) from error
    except ValueError as error:  # a decoder's and the parsers' own among them
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: cannot be read as a table ({said}); {_remedy(suffix, error)}") from error
    except Exception as error:  # pyarrow's own
        raise ValueError(f"{path}: damaged ({type(error).__name__}: {error}); save it anew") from error
    if frame.empty:
        raise ValueError(f"{path}: holds no rows; give {path.name} a row a point")
    classes = None
    if labels is not None:
        by_number = isinstance(labels, int) and -len(frame.columns) <= labels < len(frame.columns)
        column = str(frame.columns[int(labels)]) if by_number else labels
        frame.columns = frame.columns.map(str)
        if column not in frame.columns:
            known = ", ".join(map(str, frame.columns[:20]))
            raise ValueError(f"{path}: no column {labels!r} for the labels; there are {known}")
        classes = frame.pop(str(column)).to_numpy()
    if len(frame.columns) == 1 and (found := [sign for sign in ";\t|" if sign in str(frame.columns[0])]):
        raise ValueError(
            f"{path}: one column only, whose name holds {found[0]!r}; separate columns by {SEPARATORS[suffix]!r}"
            + (", or name the file .tsv" if found[0] == "\t" else "")
        )
    if str(frame.columns[0]) == "Unnamed: 0" and np.array_equal(frame.iloc[:, 0].to_numpy(), np.arange(len(frame))):
        raise ValueError(
            f"{path}: column 1 has no name and counts the rows, as pandas writes its index; save it with index=False, "
            "or give the column a name if it is meant"
        )
    for number, column in enumerate(frame.columns, 1):
        if not pd.api.types.is_numeric_dtype(frame[column]):
            bad = frame[column][pd.to_numeric(frame[column], errors="coerce").isna()]
            such = repr(str((bad if len(bad) else frame[column]).iloc[0])[:40])
            raise ValueError(
                f"{path}: column {number} ({column}) is not numbers, such as {such}; drop it, or name it by `labels`"
            )
    return frame.to_numpy(np.float64), classes


def _separated(path: Path, separator: str) -> pd.DataFrame:
    """A text file's table, with the names of its first row where these are not numbers. Raises ValueError."""
    import pandas as pd

    head = pd.read_csv(path, sep=separator, header=None, nrows=1)
    names = None if all(pd.api.types.is_number(value) for value in head.iloc[0]) else 0
    with warnings.catch_warnings():  # of rows longer than the first, whose ends would be left out
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            return pd.read_csv(path, sep=separator, header=names, skipinitialspace=True, index_col=False)
        except pd.errors.ParserWarning as error:
            raise pd.errors.ParserError("rows have more columns than the first") from error


def _remedy(suffix: str, error: ValueError) -> str:
    """What to do about a table that cannot be read."""
    if suffix == ".parquet":
        return "save it anew, each column under a name of its own"
    if isinstance(error, UnicodeDecodeError):
        return "save it as UTF-8 text, and unpack it if it is packed"
    return "let every row have as many columns, separated alike"


def _array(path: Path, key: str | None, labels: str | int | None) -> tuple[Array, Array | None]:
    """The array of an .npy or .npz file, without the column of the labels where that is a number, and the labels."""
    loaded = _load(path)
    if isinstance(loaded, np.ndarray):
        if key is not None:
            raise ValueError(f"{path}: `key` names an array of an .npz file, and this is none; leave it out")
        return _without(path, loaded, labels)
    if isinstance(labels, str) and labels not in loaded:
        raise ValueError(f"{path}: no array {labels!r} for the labels; there are {', '.join(loaded)}")
    chosen = _chosen(path, loaded, key, labels)
    return (chosen, loaded[labels]) if isinstance(labels, str) else _without(path, chosen, labels)


def _without(path: Path, points: Array, labels: str | int | None) -> tuple[Array, Array | None]:
    if labels is None:
        return points, None
    if not isinstance(labels, int) or points.ndim != 2 or not -points.shape[1] <= labels < points.shape[1]:
        raise ValueError(f"{path}: no column {labels!r} for the labels; give the number of one, from 0 on, or -1")
    return np.delete(points, labels, axis=1), points[:, labels]


def _load(path: Path) -> Array | dict[str, Array]:
    """What NumPy has saved; never unpickled."""
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {each: loaded[each] for each in loaded.files}
    except (OSError, EOFError, ValueError, KeyError) as error:
        said = (
            "objects, which are not read"
            if "pickle" in str(error) or "objects" in str(error)
            else " ".join(str(error).split())[:200]
        )
        raise ValueError(
            f"{path}: cannot be read as NumPy's ({said}); save plain numbers by numpy.save or savez"
        ) from error
    except Exception as error:  # a damaged archive: zipfile's and zlib's own
        raise ValueError(f"{path}: damaged ({type(error).__name__}: {error}); save it anew") from error


def _chosen(path: Path, arrays: Mapping[str, Array], key: str | None, labels: str | int | None) -> Array:
    """The array that `key` names, or the only one beside the labels."""
    others = [each for each in arrays if each != labels]
    if key is None and len(others) != 1:
        raise ValueError(f"{path}: holds {', '.join(arrays) or 'nothing'}; say which by `key`")
    if key is not None and key not in arrays:
        raise ValueError(f"{path}: no array {key!r}; there are {', '.join(arrays)}")
    return arrays[key or others[0]]


def pictures(path: Path, key: str | None, labels: str | None, side: int | None) -> tuple[Pixels, Labels]:
    """Pictures (N, C, H, W) of a file or a folder and their classes (N,), all 0 without labels. Raises ValueError."""
    if path.is_dir():
        if key is not None or labels is not None:
            raise ValueError(f"{path}: a folder's classes are the folders in it; leave out `key` and `labels`")
        images, classes = _folder(path, side)
    else:
        images, classes = _stacked(path, key, labels)
        if side is not None:
            raise ValueError(f"{path}: `side` resizes the pictures of a folder; resize an array before it is saved")
    if classes is not None:
        _check_labels(path, classes, len(images))
    return images, np.zeros(len(images), dtype=np.int64) if classes is None else _as_classes(classes)


def _stacked(path: Path, key: str | None, labels: str | None) -> tuple[Array, Array | None]:
    """Pictures (N, C, H, W) out of an array of (N, H, W), (N, H, W, C) or (N, C, H, W), and labels."""
    if path.suffix.lower() not in (".npy", ".npz"):
        raise ValueError(
            f"{path}: pictures are read from .npy, .npz and folders of PNG or JPEG; save them as one of these"
        )
    images, classes = _array(path, key, labels)
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise ValueError(
            f"{path}: holds {images.dtype} of shape {'x'.join(map(str, images.shape))}; pictures are whole numbers "
            "from 0 to 255 (uint8), of shape (N, H, W), (N, H, W, C) or (N, C, H, W)"
        )
    if images.ndim == 3:
        return images[:, None], classes
    if images.shape[1] in (1, 3):
        return images, classes
    if images.shape[3] not in (1, 3):
        raise ValueError(
            f"{path}: of shape {'x'.join(map(str, images.shape))}, where one of the axes is 1 grey or 3 colours"
        )
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), classes


def _folder(path: Path, side: int | None) -> tuple[Array, Array | None]:
    """All pictures of a folder, (N, C, H, W); folders in it are their classes. Grey ones stay so where all are."""
    files = [file for file in files_below(path) if file.suffix.lower() in PICTURES]
    if not files:
        raise ValueError(f"{path}: no picture in it whose name ends in {', '.join(PICTURES)}")
    read = [_picture(file, side) for file in files]
    grey = all(image.ndim == 2 for image in read)
    first = read[0].shape[:2]
    for file, image in zip(files, read, strict=True):
        if image.shape[:2] != first:
            raise ValueError(
                f"{file}: {image.shape[1]} x {image.shape[0]} pixels, not {first[1]} x {first[0]} as {files[0].name}; "
                "make them one size, or ask for it by `side`"
            )
    stacked = np.stack([image[None] if grey else _coloured(image) for image in read])
    folders = [file.relative_to(path).parts[0] if file.parent != path else "" for file in files]
    return stacked, np.array(folders) if len(set(folders)) > 1 else None


def _picture(file: Path, side: int | None) -> Array:
    """One picture, (H, W) grey or (H, W, 3); cut to a square in the middle and resized where asked."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file, formats=("PNG", "JPEG")) as coded:
            if coded.width * coded.height > MOST_PIXELS:
                raise ValueError(f"{coded.width} x {coded.height} pixels are too many")
            opened = ImageOps.exif_transpose(coded)  # as it is shown: a camera held upright notes so and turns nothing
            deep = opened.mode.startswith("I")  # 16 bits, which Pillow would cut off at 255
            if opened.has_transparency_data and np.asarray(opened.convert("RGBA"))[..., 3].min() < 255:
                raise ValueError("it is transparent in places, and what it stands on is not said; lay it on a colour")
            image = Image.fromarray(np.rint(np.asarray(opened) / 257).astype(np.uint8)) if deep else opened
            image = image.convert("L" if deep or opened.mode in ("1", "L", "LA") else "RGB")
            if side is not None:
                image = ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)
            return np.asarray(image)
    except Exception as error:  # Pillow's own, of many kinds
        said = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{file}: cannot be read as a picture ({said}); mend it, or take it out of the folder"
        ) from error


def _coloured(image: Array) -> Array:
    """(3, H, W) of either."""
    coloured = np.stack([image] * 3) if image.ndim == 2 else image.transpose(2, 0, 1)
    return np.ascontiguousarray(coloured)
