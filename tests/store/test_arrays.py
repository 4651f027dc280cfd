"""Arrays on disk: whatever is written is read, bit for bit, in less room where that pays; lies cost no memory."""

import io
import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bench.datasets import DATASETS
from bench.store.arrays import LARGE, array_file, array_shape, load_array, write_array

KINDS = ["?", "u1", "<i2", ">i4", "<f2", "<f4", ">f4", "<f8", "<c8", "<U3", "S2"]


def written(folder, array):
    """The only file that holds it."""
    folder.mkdir(exist_ok=True)
    for left in folder.iterdir():
        left.unlink()
    write_array(folder, "x", array)
    (file,) = folder.iterdir()
    assert array_file({file.name}, "x") == file.name
    return file


def read(file):
    with file.open("rb") as stream:
        shape = array_shape(stream, file.name)
        stream.seek(0)
        array = load_array(stream, file.name)
    assert array.shape == shape
    return array


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from(KINDS), times=st.sampled_from([1, 2000]), turned=st.booleans())
def test_any_array_comes_back_bit_for_bit(tmp_path_factory, data, kind, times, turned):
    part = data.draw(hnp.arrays(np.dtype(kind), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)))
    array = np.stack([part] * times) if times > 1 else part
    array = array.T[::-1] if turned and array.ndim else array
    found = read(written(tmp_path_factory.getbasetemp() / "any", array))
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()  # the very NaN as well
    assert found.flags.writeable or not found.size


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_large_arrays_of_numbers_take_less_room_and_what_cannot_be_made_smaller_stays_plain(tmp_path, kind):
    random = np.random.default_rng(0)
    numbers = random.normal(size=LARGE // 4).astype(kind)
    file = written(tmp_path, numbers)
    assert file.name == "x.planes"
    assert file.stat().st_size < 0.95 * numbers.nbytes
    assert written(tmp_path, random.integers(0, 256, 4 * LARGE, dtype=np.uint8)).name == "x.npy"
    assert written(tmp_path, numbers[:100]).name == "x.npy"


def test_pictures_take_a_fifth_of_the_room(tmp_path):
    pictures = DATASETS["mnist"]().judge.draw(500, 0, torch.Generator().manual_seed(0)).numpy()
    assert written(tmp_path, pictures).stat().st_size < pictures.nbytes / 5


def packed(head, held):
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {**{"descr": "<f4", "fortran_order": False} | head})
    return content.getvalue() + held


BOMB = zlib.compress(bytes(10**8), 9)
LIES = {
    "more than its head says": packed({"shape": (1000,)}, BOMB),
    "more by a byte": packed({"shape": (1000,)}, zlib.compress(bytes(4001))),
    "less than its head says": packed({"shape": (1001,)}, zlib.compress(bytes(4000))),
    "a head beyond all bounds": packed({"shape": (10**9, 10**9)}, BOMB),
    "a side below nothing": packed({"shape": (-1,), "descr": "|u1"}, BOMB),
    "two sides below nothing": packed({"shape": (-1000, -1)}, zlib.compress(bytes(4000))),
    "cut short": packed({"shape": (1000,)}, zlib.compress(np.random.default_rng(0).bytes(4000))[:-9]),
    "no stream": packed({"shape": (1000,)}, bytes(4000)),
    "something behind": packed({"shape": (1000,)}, zlib.compress(bytes(4000)) + b"more"),
    "objects": packed({"shape": (500,), "descr": "|O"}, zlib.compress(bytes(4000))),
    "columns first": packed({"shape": (10, 100), "fortran_order": True}, zlib.compress(bytes(4000))),
    "a side that is no number": packed({"shape": (True, 1000)}, zlib.compress(bytes(4000))),
    "nothing, endlessly": packed({"shape": (0, 10**30)}, zlib.compress(b"")),
    "nothing as a type": packed({"shape": (10**9,), "descr": "|V0"}, zlib.compress(b"")),
    "no head": BOMB,
    "nothing": b"",
}


@pytest.mark.parametrize("what", LIES)
def test_a_file_that_is_not_what_its_head_says_is_refused_before_it_takes_memory(what):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"an array of|magic|header|EOF|dimension"):
            load_array(io.BytesIO(LIES[what]), "x.planes")
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()
