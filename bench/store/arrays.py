"""Arrays of an entry on disk: plain .npy files, and large ones in less room, bit for bit the same. Never unpickled.

<name>.planes is the head of a .npy file and then zlib's stream of the array's bytes, in planes: the first byte of every
number, the second of every number, and so on, since those of one significance are like each other.
"""

from __future__ import annotations

import io
import math
import os
import zlib
from collections.abc import Container
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.files import disk

PLAIN, PLANES = ".npy", ".planes"

NUMBERS = "iufc"
"""Kinds of NumPy's types that are packed."""

LARGE = 1 << 15
"""Bytes from which on an array is packed; below, it saves hardly a disk's block."""

WORTH = 0.95
"""Share of its bytes to which packing must bring an array, or it stays plain."""

MOST = 1100
"""Bytes that zlib gives for one at most, with some room (1032, zlib's technical details): a head that promises more
lies.
"""


def array_file(files: Container[str], name: str) -> str | None:
    """Of an entry's files the one that holds this array, in either form."""
    return next((file for ending in (PLAIN, PLANES) if (file := name + ending) in files), None)


def write_array(folder: Path, name: str, array: ArrayLike) -> None:
    """Write an array as <name>.npy or <name>.planes; one of Python objects is a ValueError, it would need pickle."""
    array = np.asarray(array)
    packed = _packed(array) if array.nbytes >= LARGE and array.dtype.kind in NUMBERS else None
    file = name + (PLANES if packed else PLAIN)
    with disk(folder, f"write {file}"):
        if packed:
            (folder / file).write_bytes(packed)
        else:
            np.save(folder / file, array, allow_pickle=False)


def load_array(stream: IO[bytes], file: str) -> NDArray[Any]:
    """The array that a file of this name holds. A ValueError where its head promises another size than it has."""
    shape, dtype = _head(stream, file)
    if file.endswith(PLANES):
        return _unpacked(stream.read(), shape, dtype)
    stream.seek(0)
    array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def array_shape(stream: IO[bytes], file: str) -> tuple[int, ...]:
    """The shape that the head gives, of which the file is the right size, or can be. Else a ValueError."""
    return _head(stream, file)[0]


def array_bytes(stream: IO[bytes], file: str) -> int:
    """Bytes that the array takes in memory. Else as `array_shape`."""
    shape, dtype = _head(stream, file)
    return math.prod(shape) * dtype.itemsize


def _head(stream: IO[bytes], file: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read_head = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read_head(stream)
    place = stream.tell()
    there = stream.seek(0, os.SEEK_END) - place
    stream.seek(place)
    due = math.prod(shape) * dtype.itemsize
    if file.endswith(PLANES):
        fits = due <= MOST * there and not by_columns and dtype.kind in NUMBERS
    else:
        fits = dtype.hasobject or due == there
    if not fits or any(type(side) is not int or side < 0 for side in shape):
        raise ValueError(f"an array of {shape} {dtype} in {there} bytes")
    return shape, dtype


def _packed(array: NDArray[Any]) -> bytes | None:
    """Head and planes, or nothing where they are hardly fewer bytes."""
    array = np.ascontiguousarray(array)
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
    planes = np.ascontiguousarray(array.reshape(-1).view(np.uint8).reshape(-1, array.itemsize).T)
    held = zlib.compress(planes.data, 1)  # higher levels take three times as long, for a fiftieth
    return head.getvalue() + held if len(held) <= WORTH * array.nbytes else None


def _unpacked(held: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    due, stream = math.prod(shape) * dtype.itemsize, zlib.decompressobj()
    try:
        planes = stream.decompress(held, due + 1)
    except zlib.error as error:
        raise ValueError(f"an array of {shape} {dtype} whose bytes cannot be unpacked ({error})") from error
    if len(planes) != due or not stream.eof or stream.unused_data:
        raise ValueError(f"an array of {shape} {dtype}, and other bytes")
    numbers = np.frombuffer(planes, np.uint8).reshape(dtype.itemsize, -1).T.copy()
    return numbers.reshape(-1).view(dtype).reshape(shape)
